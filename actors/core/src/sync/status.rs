//! What the API shows of a device's synchronisation.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// How far a wish is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncState {
    /// It has not been tried yet, or is being carried out.
    #[default]
    Pending,
    /// `ChirpStack` holds what is wanted.
    Synced,
    /// The last attempt failed; there will be another.
    Failing,
    /// `ChirpStack` holds a device of that `DevEUI` that is not ours: an operator has to decide.
    Conflict,
    /// `ChirpStack` will never accept it as it is.
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

/// What is told of a wish.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SyncStatus {
    /// How far it is.
    pub state: SyncState,
    /// What went wrong last, in words for an operator.
    pub error: Option<String>,
    /// Attempts that failed since the wish was made.
    pub attempts: u32,
    /// When it is tried again, if it is.
    pub next_attempt_at: Option<Timestamp>,
}
