//! How many may be sent at once so that the answers are heard.
//!
//! ChirpStack hands over once a second what is due, and picks for each frame, at random, one of the gateways that heard
//! the device well (chirpstack-observed.md §3, §10). So all gateways begin to send in the same instant, and a gateway
//! that sends hears nothing. The device answers shortly after its frame has ended; its answer is lost if at any time
//! of it all gateways that can hear the device send. Two rules follow.
//!
//! - *Own answers.* However the lots fall, one of the gateways must have fallen silent when the first device answers:
//!   with as many frames as would keep all of them busy until then, less one, that is certain.
//! - *Others' answers.* What is still outstanding when ChirpStack hands over again must not be drowned. With fewer
//!   frames than silent gateways it cannot be; with more it may, and the probability is kept below [`DROWNED_MAX`].

use std::time::Duration;

use crate::device::Priority;
use crate::radio::{Direction, Modulation};
use crate::time::Timestamp;

/// Between two times at which ChirpStack hands over what is due: its scheduler's interval and what a run takes.
pub(super) const BEAT: Duration = Duration::from_millis(1_006);

/// From the end of a downlink to the beginning of the answer, at the least and at the most.
pub(super) const REACTION: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_millis(500));

/// A status, the answer to every command, in bytes (kuando-busylight.md §4).
const STATUS_LEN: usize = 24;

/// Answers that may be expected to be drowned by what is handed over in one second. Of 300 colours at once none or one
/// is: a lost answer costs its device half a minute and a second frame, and then what is gained by more is lost again.
/// With 0.05 one in 350 is lost and all are shown 7 % sooner, with 0.12 one in 110 and 17 %.
pub(super) const DROWNED_MAX: f64 = 0.01;

/// What an answer takes on the air.
pub(super) fn answer_airtime(uplink: Modulation) -> Duration {
    uplink.time_on_air(STATUS_LEN, Direction::Up)
}

/// Frames of classes that nobody waits for that may be under way at once among so many gateways. Two at the most can
/// then be ahead of an interactive command in its gateway, whose choice is ChirpStack's.
pub(super) fn unhurried_max(gateways: usize) -> usize {
    gateways.div_ceil(2).max(2).min(own_answers_max(gateways))
}

/// Frames that may be handed over at once to so many gateways that were silent before, for the sake of their answers.
fn own_answers_max(gateways: usize) -> usize {
    (2 * gateways).saturating_sub(1).max(1)
}

/// Whether somebody waits for commands of this class.
pub(super) fn is_hurried(priority: Priority) -> bool {
    match priority {
        Priority::Interactive | Priority::Retry => true,
        Priority::Initialisation | Priority::Bulk | Priority::Reconcile => false,
    }
}

/// Frames until a gateway that is busy for `backlog` still sends when the first device answers.
pub(super) fn frames_until_deaf(backlog: Duration, airtime: Duration) -> usize {
    let heard_from = airtime + REACTION.0;
    let Some(spare) = heard_from.checked_sub(backlog) else {
        return 0;
    };
    let frames = spare.as_micros() / airtime.as_micros().max(1) + 1;
    usize::try_from(frames).unwrap_or(usize::MAX)
}

/// Frames that a gateway still has to send when it is busy for `backlog`.
pub(super) fn frames_left(backlog: Duration, airtime: Duration) -> usize {
    let frames = backlog.as_micros().div_ceil(airtime.as_micros().max(1));
    usize::try_from(frames).unwrap_or(usize::MAX)
}

/// When an answer comes that is outstanding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// It begins no sooner.
    pub(super) from: Timestamp,
    /// It begins no later.
    pub(super) to: Timestamp,
    /// It takes so long.
    pub(super) length: Duration,
}

impl Window {
    /// Of a frame that ends no sooner than `sent_from` and no later than `sent_to`.
    pub(super) fn after(sent_from: Timestamp, sent_to: Timestamp, uplink: Modulation) -> Self {
        Self {
            from: sent_from + REACTION.0,
            to: sent_to + REACTION.1,
            length: answer_airtime(uplink),
        }
    }

    pub(super) fn ends(&self) -> Timestamp {
        self.to + self.length
    }

    /// Probability that the answer and a transmission overlap, if it begins at any time of its window alike.
    pub(super) fn overlap(&self, start: Timestamp, end: Timestamp) -> f64 {
        let span = self.to.since(self.from).as_secs_f64().max(0.001);
        let from = self.from.max(start - self.length);
        let to = self.to.min(end);
        to.since(from).as_secs_f64() / span
    }
}

/// Probability that `frames`, each thrown at one of `gateways` at random, hit all of certain `silent` ones among them.
pub(super) fn all_hit(frames: usize, silent: usize, gateways: usize) -> f64 {
    if frames < silent {
        return 0.0;
    }
    let (mut sum, mut choose, mut sign) = (0.0, 1.0, 1.0);
    for missed in 0..=silent {
        let stays = 1.0 - as_f64(missed) / as_f64(gateways.max(1));
        sum += sign * choose * stays.max(0.0).powf(as_f64(frames));
        choose *= as_f64(silent - missed) / as_f64(missed + 1);
        sign = -sign;
    }
    f64::clamp(sum, 0.0, 1.0)
}

/// Mean time between two commands of a class to devices that the same gateways hear, as far as their answers allow.
pub(super) fn pace(
    priority: Priority,
    gateways: usize,
    airtime: Duration,
    uplink: Modulation,
) -> Duration {
    let gateways = gateways.max(1);
    if gateways == 1 {
        return beats(airtime + REACTION.1 + answer_airtime(uplink));
    }
    let frames = if is_hurried(priority) {
        own_answers_max(gateways)
    } else {
        unhurried_max(gateways)
    };
    // Lots fall together now and then.
    let together = airtime.mul_f64(1.0 + as_f64(frames - 1) / as_f64(2 * gateways));
    // What is outstanding holds some back: as found for two to eight gateways.
    let share = if is_hurried(priority) { 0.77 } else { 1.0 };
    beats(together).div_f64(as_f64(frames) * share)
}

/// So long, rounded up to times at which ChirpStack hands over.
fn beats(duration: Duration) -> Duration {
    let beats = duration.as_micros().div_ceil(BEAT.as_micros()).max(1);
    BEAT.saturating_mul(u32::try_from(beats).unwrap_or(u32::MAX))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of gateways and frames are far below 2^52"
)]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn one_gateway_stays_free_for_the_first_answer() {
        let sf9 = Modulation::lora_125(9).time_on_air(5, Direction::Down);
        let sf12 = Modulation::lora_125(12).time_on_air(5, Direction::Down);
        for (backlog_ms, airtime, expected) in [
            (0, sf9, 2),
            (200, sf9, 1),
            (300, sf9, 0),
            (0, sf12, 2),
            (150, sf12, 1),
            (1_500, sf12, 0),
            (0, Duration::from_millis(51), 3),
        ] {
            let backlog = Duration::from_millis(backlog_ms);
            assert_eq!(
                frames_until_deaf(backlog, airtime),
                expected,
                "{backlog_ms} {airtime:?}"
            );
        }
    }

    /// Counted: of the 81 ways in which four frames fall on three gateways, 36 hit all.
    #[test]
    fn the_lots_are_counted_right() {
        for (frames, silent, gateways, expected) in [
            (2, 3, 3, 0.0),
            (3, 3, 3, 6.0 / 27.0),
            (4, 3, 3, 36.0 / 81.0),
            (1, 1, 3, 1.0 / 3.0),
            (1, 1, 1, 1.0),
            (5, 0, 3, 1.0),
        ] {
            let found = all_hit(frames, silent, gateways);
            assert!(
                (found - expected).abs() < 1e-9,
                "{frames} on {silent} of {gateways}: {found}"
            );
        }
    }

    #[test]
    fn an_overlap_is_the_share_of_the_window_in_which_the_answer_would_be_cut() {
        let window = Window {
            from: at(100),
            to: at(500),
            length: Duration::from_millis(80),
        };
        for (start, end, expected) in [
            (0, 20, 0.0),
            (0, 100, 0.0),
            (0, 200, 0.25),
            (380, 600, 0.5),
            (580, 900, 0.0),
            (0, 900, 1.0),
        ] {
            let found = window.overlap(at(start), at(end));
            assert!((found - expected).abs() < 1e-9, "{start} {end}: {found}");
        }
    }

    #[test]
    fn the_unhurried_leave_room() {
        let counts = [1, 2, 3, 4, 5, 10].map(unhurried_max);
        assert_eq!(counts, [1, 2, 2, 2, 3, 5]);
    }
}
