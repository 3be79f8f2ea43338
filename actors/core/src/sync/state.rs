//! What the synchronisation of a device remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::DeviceId;
use crate::random::Random;
use crate::time::Timestamp;

use super::event::SyncFailure;
use super::remote::RemoteDevice;
use super::wish::WantedDevice;

/// A call that was given up, or under way when the process ended, is carried out within this or never. Longer than the
/// deadline of any call.
pub const LOST_CALL_PATIENCE: Duration = Duration::from_secs(5);

/// Pause after a first failure, doubled for each further one.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause while ChirpStack answers, but not as it should.
const PAUSE_MAX: Duration = Duration::from_mins(5);
/// The longest pause while it cannot be reached: trying costs nothing.
const UNREACHABLE_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Doublings that reach [`PAUSE_MAX`].
const DOUBLINGS_MAX: u32 = 9;

/// What is known to be at ChirpStack under the `DevEUI`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Presence {
    /// Nothing of ours: never begun, or seen to be gone.
    Nothing,
    /// Perhaps something of ours: a call that would make it so was begun.
    Unknown,
    /// Our device.
    Ours,
    /// Somebody else's.
    Others,
}

/// What became of the newest wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// There is work to do.
    Open,
    /// It came true.
    Done,
    /// Somebody else's device is in the way.
    Conflict,
    /// ChirpStack never takes it.
    Rejected,
}

/// A call, as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CallKind {
    /// A look; `late` if it was begun when no lost call could still be carried out.
    Look {
        late: bool,
    },
    Create,
    Update,
    Delete,
    /// Whose key, and its revision.
    SetKey {
        device_id: DeviceId,
        revision: u32,
    },
}

/// The one call under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UnderWay {
    pub(super) number: u32,
    pub(super) kind: CallKind,
    /// The wish it was begun for.
    pub(super) generation: u64,
}

/// A call that changes something, of which is not known whether it was, or will be, carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Doubt {
    pub(super) kind: CallKind,
    /// The wish it was begun for.
    pub(super) generation: u64,
    /// When it was given up.
    pub(super) since: Timestamp,
    /// Looking again is of no use before its time is over.
    pub(super) looked: bool,
}

impl Doubt {
    pub(super) fn new(now: Timestamp, call: UnderWay) -> Self {
        Self {
            kind: call.kind,
            generation: call.generation,
            since: now,
            // A look does not show keys.
            looked: matches!(call.kind, CallKind::SetKey { .. }),
        }
    }

    /// From then on the call is not carried out any more.
    pub(super) fn ends_at(&self) -> Timestamp {
        self.since + LOST_CALL_PATIENCE
    }
}

/// What this machine wrote to ChirpStack, or may have written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Written {
    /// Owners.
    pub(super) owners: BTreeSet<DeviceId>,
    /// Names of the registry's tags, to be taken away when they are no longer wanted.
    pub(super) tags: BTreeSet<String>,
    /// Tags that the last Create or Update changes, for as long as nobody knows whether it was carried out.
    pub(super) sent: BTreeMap<String, String>,
    /// The key that is certainly there: whose, and its revision.
    pub(super) key: Option<(DeviceId, u32)>,
    /// The device was not created by us.
    pub(super) adopted: bool,
}

impl Written {
    /// What a call is about to change.
    pub(super) fn send(&mut self, remote: Option<&RemoteDevice>, wanted: &WantedDevice) {
        let is_new = |name: &String, value: &String| {
            remote.is_none_or(|remote| remote.tags.get(name) != Some(value))
        };
        self.owners.insert(wanted.device_id);
        self.sent = wanted.tags.clone();
        self.sent.retain(|name, value| is_new(name, value));
    }

    /// What was sent arrived.
    pub(super) fn note_sent(&mut self) {
        self.tags.extend(std::mem::take(&mut self.sent).into_keys());
    }

    /// What was sent arrived or never will: what is seen tells. A tag of others that it would have replaced stays
    /// theirs.
    pub(super) fn note_seen(&mut self, remote: &RemoteDevice) {
        self.sent
            .retain(|name, value| remote.tags.get(name) == Some(value));
        self.note_sent();
    }
}

/// What went wrong since the last success or the last new wish.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Trouble {
    pub(super) attempts: u32,
    pub(super) error: Option<String>,
    doublings: u32,
    /// Nothing is begun before the second instant. The first is when that was decided: a clock that was set back
    /// behind it makes the pause void.
    pause: Option<(Timestamp, Timestamp)>,
}

impl Trouble {
    /// One more attempt failed.
    pub(super) fn add(&mut self, now: Timestamp, unreachable: bool, random: &mut Random) {
        let pause_max = if unreachable {
            UNREACHABLE_PAUSE_MAX
        } else {
            PAUSE_MAX
        };
        let pause = (PAUSE_MIN * (1 << self.doublings.min(DOUBLINGS_MAX))).min(pause_max);
        self.pause = Some((now, now + random.jittered(pause)));
        // An outage, however long, leaves the pauses after it short.
        if pause < pause_max {
            self.doublings += 1;
        }
        self.attempts = self.attempts.saturating_add(1);
    }

    /// Whatever is waited for, go on now.
    pub(super) fn end_pause(&mut self) {
        self.pause = None;
    }

    /// The server is back: what comes is a new beginning.
    pub(super) fn forgive(&mut self) {
        self.pause = None;
        self.doublings = 0;
    }

    pub(super) fn paused_until(&self) -> Option<Timestamp> {
        self.pause.map(|(_, until)| until)
    }

    /// A clock that was set back does not prolong a pause.
    pub(super) fn check_clock(&mut self, now: Timestamp) {
        if self.pause.is_some_and(|(since, _)| now < since) {
            self.pause = None;
        }
    }
}

impl SyncFailure {
    /// Whether the call was certainly not carried out, and never will be. An error of the server leaves that open.
    pub(super) fn is_without_effect(&self) -> bool {
        match self {
            Self::Unavailable | Self::UnknownDevice | Self::Unauthenticated | Self::Invalid(_) => {
                true
            }
            Self::AnswerLost | Self::Refused(_) => false,
        }
    }
}
