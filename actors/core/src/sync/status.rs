//! How far the synchronisation of a device is, for those who look on.

use serde::{Deserialize, Serialize};

use crate::id::DeviceId;
use crate::time::Timestamp;

use super::machine::Sync;
use super::state::{Presence, Verdict};

/// How far the newest wish is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum SyncState {
    /// Being worked on, and nothing went wrong so far.
    #[default]
    Pending,
    /// ChirpStack holds what the registry says.
    Synced,
    /// Something went wrong; it is tried again.
    Failing,
    /// ChirpStack holds somebody else's device: a person has to decide.
    Conflict,
    /// ChirpStack will never take what is wanted: something else must be wanted.
    Rejected,
}

impl SyncState {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Synced,
        Self::Failing,
        Self::Conflict,
        Self::Rejected,
    ];

    /// The word in the API and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Synced => "synced",
            Self::Failing => "failing",
            Self::Conflict => "conflict",
            Self::Rejected => "rejected",
        }
    }

    /// The state of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// What the API tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SyncStatus {
    /// How far it is.
    pub state: SyncState,
    /// What is in the way, in a sentence; at most 300 characters, never a key.
    pub error: Option<String>,
    /// Attempts at this wish that failed.
    pub attempts: u32,
    /// When the next one comes; `None` when one is under way, or none will come.
    pub next_attempt_at: Option<Timestamp>,
}

impl Sync {
    /// How far the newest wish is.
    pub fn status(&self) -> SyncStatus {
        let state = match self.verdict {
            Verdict::Done => SyncState::Synced,
            Verdict::Conflict => SyncState::Conflict,
            Verdict::Rejected => SyncState::Rejected,
            Verdict::Open if self.trouble.attempts > 0 => SyncState::Failing,
            Verdict::Open => SyncState::Pending,
        };
        SyncStatus {
            state,
            error: self.trouble.error.clone(),
            attempts: self.trouble.attempts,
            next_attempt_at: self.next_wake(),
        }
    }

    /// Whether the newest wish is for a device to be there.
    pub fn is_wanted(&self) -> bool {
        self.wanted_device_id().is_some()
    }

    /// The registry's device that is wanted to be there.
    pub fn wanted_device_id(&self) -> Option<DeviceId> {
        let wanted = self.wish.as_ref()?.device.as_ref()?;
        Some(wanted.device_id)
    }

    /// The newest wish that is known; 0 before the first one.
    pub fn generation(&self) -> u64 {
        self.wish.as_ref().map_or(0, |wish| wish.generation)
    }

    /// The newest wish that ChirpStack was brought in step with; 0 before the first one.
    pub fn synced_generation(&self) -> u64 {
        self.synced_generation
    }

    /// Whether nothing will happen before a new wish: it may be dropped from memory.
    pub fn is_settled(&self) -> bool {
        self.verdict != Verdict::Open || self.wish.is_none()
    }

    /// Whether nothing is wanted and nothing of ours is left: its row may be removed.
    pub fn is_finished_tombstone(&self) -> bool {
        self.verdict == Verdict::Done
            && self.wish.as_ref().is_some_and(|wish| wish.device.is_none())
    }

    /// Whether ChirpStack is known to hold the device as ours.
    pub fn is_known_present(&self) -> bool {
        self.presence == Presence::Ours
    }

    /// Whether the device was there before the registry's, and was made ours.
    pub fn is_adopted(&self) -> bool {
        self.written.adopted
    }

    /// What an operator may like to know of how it ended, in a sentence.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }
}
