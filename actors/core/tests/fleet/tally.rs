//! How much was lived through: faults that never come about prove nothing.

use std::fmt;

use downbeat_core::device::DownlinkState;

/// What is counted, by name; the order is that of [`Count`].
const NAMES: [&str; 31] = [
    "device-milliseconds",
    "steps",
    "commands",
    "verified",
    "sent",
    "unverified",
    "failed",
    "superseded",
    "cancelled",
    "expired",
    "reconciled",
    "late proofs",
    "attempts",
    "refused",
    "commits",
    "failed commits",
    "doubtful commits",
    "restarted actors",
    "crashes",
    "service restarts",
    "lost answers",
    "circuit openings",
    "webhooks",
    "told again",
    "clock steps",
    "synchronised",
    "key refusals",
    "nonsense",
    "jobs",
    "commands of jobs",
    "queue findings",
];

/// One thing that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Count {
    DeviceMillis,
    Steps,
    Commands,
    Verified,
    Sent,
    Unverified,
    Failed,
    Superseded,
    Cancelled,
    Expired,
    Reconciled,
    LateProofs,
    Attempts,
    Refused,
    Commits,
    FailedCommits,
    DoubtfulCommits,
    RestartedActors,
    Crashes,
    ServiceRestarts,
    LostAnswers,
    CircuitOpenings,
    Webhooks,
    ToldAgain,
    ClockSteps,
    Synchronised,
    KeyRefusals,
    Nonsense,
    Jobs,
    JobCommands,
    QueueFindings,
}

/// What happened, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally([u64; NAMES.len()]);

impl Tally {
    pub(crate) fn count(&mut self, what: Count) {
        self.count_many(what, 1);
    }

    pub(crate) fn count_many(&mut self, what: Count, many: u64) {
        self.0[what as usize] += many;
    }

    pub(crate) fn of(&self, what: Count) -> u64 {
        self.0[what as usize]
    }

    /// A downlink ended.
    pub(crate) fn count_end(&mut self, state: DownlinkState) {
        let what = match state {
            DownlinkState::Verified => Count::Verified,
            DownlinkState::Sent => Count::Sent,
            DownlinkState::Unverified => Count::Unverified,
            DownlinkState::Failed => Count::Failed,
            DownlinkState::Superseded => Count::Superseded,
            DownlinkState::Cancelled => Count::Cancelled,
            DownlinkState::Expired => Count::Expired,
            DownlinkState::Accepted
            | DownlinkState::Waiting
            | DownlinkState::Enqueued
            | DownlinkState::Transmitted => return,
        };
        self.count(what);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }

    pub(crate) fn device_hours(&self) -> u64 {
        self.of(Count::DeviceMillis) / 3_600_000
    }

    /// Commands that were accepted, ours to bring a light back not among them.
    pub(crate) fn commands(&self) -> u64 {
        self.of(Count::Commands)
    }

    pub(crate) fn assert_eventful(&self) {
        for (name, count) in NAMES.into_iter().zip(self.0) {
            assert!(count >= 5, "{name}: {self}");
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} device-hours", self.device_hours())?;
        for (name, count) in NAMES.into_iter().zip(self.0).skip(1) {
            write!(f, ", {count} {name}")?;
        }
        Ok(())
    }
}
