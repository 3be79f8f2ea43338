//! The words for a job and its items.

use crate::device::DownlinkState;

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// Shows a colour.
    Color,
    /// Sends bytes as they are.
    Payload,
    /// Sets devices up as Downbeat needs them.
    Initialize,
}

impl JobKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Color, Self::Payload, Self::Initialize];

    /// The word in the API and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Color => "color",
            Self::Payload => "payload",
            Self::Initialize => "initialize",
        }
    }

    /// The kind of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Its devices are being written down; nobody sees it yet.
    Preparing,
    /// Devices are handed over.
    Running,
    /// No further ones are; those that are under way go on.
    Paused,
    /// It was taken back.
    Cancelled,
    /// Every item has reached its end.
    Done,
}

impl JobState {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Preparing,
        Self::Running,
        Self::Paused,
        Self::Cancelled,
        Self::Done,
    ];

    /// The word in the API and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Done => "done",
        }
    }

    /// The state of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether it can be paused, resumed or cancelled.
    pub const fn is_open(self) -> bool {
        match self {
            Self::Running | Self::Paused => true,
            Self::Preparing | Self::Cancelled | Self::Done => false,
        }
    }
}

/// Where a job's device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemState {
    /// Not handed over yet.
    Waiting,
    /// Its command is with the device's own machine.
    UnderWay,
    /// The device proved that it applied it.
    Verified,
    /// ChirpStack has it, and no proof was asked for.
    Sent,
    /// All attempts were made without a proof. A late proof still counts.
    Unverified,
    /// It cannot be done.
    Failed,
    /// Something newer took its place.
    Superseded,
    /// It was taken back.
    Cancelled,
    /// Its time ran out.
    Expired,
    /// It was left out: there was no use in trying.
    Skipped,
}

impl ItemState {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Waiting,
        Self::UnderWay,
        Self::Verified,
        Self::Sent,
        Self::Unverified,
        Self::Failed,
        Self::Superseded,
        Self::Cancelled,
        Self::Expired,
        Self::Skipped,
    ];

    /// The word in the API and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::UnderWay => "under_way",
            Self::Verified => "verified",
            Self::Sent => "sent",
            Self::Unverified => "unverified",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Skipped => "skipped",
        }
    }

    /// The state of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing more is done about it.
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Waiting | Self::UnderWay)
    }

    /// Whether it is worth another try.
    pub const fn is_worth_a_retry(self) -> bool {
        matches!(self, Self::Unverified | Self::Failed | Self::Expired)
    }

    /// Where an item is whose downlink is in that state.
    pub const fn of(downlink: DownlinkState) -> Self {
        match downlink {
            DownlinkState::Accepted
            | DownlinkState::Waiting
            | DownlinkState::Enqueued
            | DownlinkState::Transmitted => Self::UnderWay,
            DownlinkState::Verified => Self::Verified,
            DownlinkState::Sent => Self::Sent,
            DownlinkState::Unverified => Self::Unverified,
            DownlinkState::Failed => Self::Failed,
            DownlinkState::Superseded => Self::Superseded,
            DownlinkState::Cancelled => Self::Cancelled,
            DownlinkState::Expired => Self::Expired,
        }
    }
}
