//! Whether a device is there, and how many of its uplinks came.
//!
//! ChirpStack does not tell that a device is gone: it follows from silence. Once it counts as gone it stays so until it
//! is heard again, so one outage is told once, however often somebody looks.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

use super::state::Device;

/// Whether a device is there, as far as its uplinks tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It was never heard.
    #[default]
    NeverSeen,
    /// It was heard when it should have been.
    Online,
    /// It was not, for twice the interval in which it speaks; or somebody who knows said so.
    Offline,
}

impl Presence {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::NeverSeen, Self::Online, Self::Offline];

    /// The word in the API and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NeverSeen => "never_seen",
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }

    /// The one of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|presence| presence.name() == name)
    }
}

/// Intervals without an uplink after which a device counts as gone: one report may be lost on the air.
pub const SILENT_INTERVALS: u32 = 2;

/// A gap that is larger is no loss: `LoRaWAN` 1.0.x calls it `MAX_FCNT_GAP`, and a device that jumps so far was reset.
const GAP_MAX: u32 = 16_384;

/// Uplinks received and missed. Kept over sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UplinkCounts {
    /// Uplinks received, each once.
    pub heard: u64,
    /// Uplinks that the frame counter tells of and that have not come.
    pub missed: u64,
    /// Which of the 64 frame counters before the newest one were received; the newest of them is bit 0.
    window: u64,
}

impl UplinkCounts {
    /// An uplink that is newer than `last`, the newest known one of its session, if there is one.
    pub(super) fn count_newer(&mut self, last: Option<u32>, f_cnt: u32) {
        self.heard += 1;
        let Some(last) = last else {
            // What came before the first one that is known is nobody's loss.
            self.window = u64::MAX;
            return;
        };
        let step = f_cnt.saturating_sub(last);
        if step.saturating_sub(1) > GAP_MAX {
            self.window = u64::MAX;
            return;
        }
        self.missed += u64::from(step.saturating_sub(1));
        self.window = match step {
            0 => self.window,
            1..=63 => (self.window << step) | (1 << (step - 1)),
            64 => 1 << 63,
            _ => 0,
        };
    }

    /// An uplink of the same session that is older than the newest known one, `last`: late, or a repetition.
    pub(super) fn count_older(&mut self, last: u32, f_cnt: u32) {
        let Some(back @ 1..=64) = last.checked_sub(f_cnt) else {
            return;
        };
        let bit = 1 << (back - 1);
        if self.window & bit == 0 {
            self.window |= bit;
            self.heard += 1;
            self.missed = self.missed.saturating_sub(1);
        }
    }
}

impl Device {
    /// Whether it is there.
    pub fn presence(&self) -> Presence {
        self.presence
    }

    /// Its uplinks, received and missed.
    pub fn uplink_counts(&self) -> UplinkCounts {
        self.uplinks
    }

    /// Somebody noticed that nothing was heard of it for long. Looked at again here: it may have spoken since.
    pub(super) fn on_silent(&mut self, now: Timestamp) {
        let allowed = self.policy.uplink_interval * SILENT_INTERVALS;
        let is_silent = self.last_seen().is_some_and(|seen| now >= seen + allowed);
        if self.presence == Presence::Online && is_silent {
            self.presence = Presence::Offline;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(uplinks: &[u32]) -> (u64, u64) {
        let (mut counts, mut last) = (UplinkCounts::default(), None);
        for f_cnt in uplinks {
            match last {
                Some(last) if *f_cnt <= last => counts.count_older(last, *f_cnt),
                _ => {
                    counts.count_newer(last, *f_cnt);
                    last = Some(*f_cnt);
                }
            }
        }
        (counts.heard, counts.missed)
    }

    #[test]
    fn gaps_are_counted_and_late_ones_taken_back() {
        for (uplinks, expected) in [
            (&[][..], (0, 0)),
            (&[7], (1, 0)),
            (&[7, 8, 9], (3, 0)),
            (&[7, 10], (2, 2)),
            (&[7, 10, 9], (3, 1)),
            (&[7, 10, 9, 9, 10, 7], (3, 1)),
            (&[7, 10, 6], (2, 2)),
            (&[1, 66, 2], (3, 63)),
            (&[1, 65, 2, 1], (3, 62)),
            (&[1, 200, 100], (2, 198)),
            (&[1, 20_000, 20_002], (3, 1)),
        ] {
            assert_eq!(counted(uplinks), expected, "{uplinks:?}");
        }
    }
}
