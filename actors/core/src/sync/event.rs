//! What a device's synchronisation is told, and what it wants done.

use super::remote::RemoteDevice;
use super::wish::Wish;

/// What happened, as the synchronisation of one device sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncEvent {
    /// The registry's newest wish, as read from the store. One that is known, or older, changes nothing.
    Wanted(Wish),
    /// A Look was answered: what ChirpStack holds, `None` when it has no such device.
    Looked {
        /// Number of the call, as in [`SyncEffect::Call`]; answers to other calls change nothing.
        call: u32,
        /// The device as ChirpStack holds it.
        result: Result<Option<RemoteDevice>, SyncFailure>,
    },
    /// A Create was answered.
    Created {
        /// Number of the call.
        call: u32,
        /// Whether it was carried out.
        result: Result<(), SyncFailure>,
    },
    /// An Update was answered.
    Updated {
        /// Number of the call.
        call: u32,
        /// Whether it was carried out.
        result: Result<(), SyncFailure>,
    },
    /// A Delete was answered.
    Deleted {
        /// Number of the call.
        call: u32,
        /// Whether it was carried out.
        result: Result<(), SyncFailure>,
    },
    /// A `SetKey` was answered.
    KeySet {
        /// Number of the call.
        call: u32,
        /// Whether it was carried out.
        result: Result<(), SyncFailure>,
    },
    /// ChirpStack answers again after an outage: whoever waits to try again goes on at once.
    ServerReturned,
    /// The time that [`super::Sync::next_wake`] named has come, or the clock was set.
    Elapsed,
}

/// Why a call of ChirpStack's API did not do what was asked. A variant is a difference in what is known afterwards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyncFailure {
    /// The call was certainly not carried out: it did not reach the server, or was never begun.
    #[error("ChirpStack cannot be reached")]
    Unavailable,
    /// It may have been carried out, and may still be within [`super::LOST_CALL_PATIENCE`].
    #[error("ChirpStack did not answer in time")]
    AnswerLost,
    /// An error that may pass. ChirpStack says `INTERNAL` for a duplicate `DevEUI` and for a failing database alike.
    #[error("ChirpStack refused: {0}")]
    Refused(String),
    /// There is no such device in this tenant. Of a Create or Update: or no such application or device profile.
    #[error("ChirpStack has no such device")]
    UnknownDevice,
    /// The API key is not accepted at all (a tenant's key gets the same code for what it may not see; who calls tells
    /// the two apart).
    #[error("ChirpStack does not accept the API key")]
    Unauthenticated,
    /// The request is wrong by itself; the same request will never be taken.
    #[error("ChirpStack takes the request for invalid: {0}")]
    Invalid(String),
}

/// What the shell does next, after it stored the machine.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncEffect {
    /// Call ChirpStack. The event that answers carries the number.
    Call {
        /// Counts up over the machine's whole life.
        call: u32,
        /// What to ask for.
        what: SyncCall,
    },
}

/// One call of ChirpStack's `DeviceService`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncCall {
    /// Get the device. Changes nothing.
    Look,
    /// Create the device.
    Create(Box<RemoteDevice>),
    /// Replace the device as a whole.
    Update(Box<RemoteDevice>),
    /// Delete the device, with its keys.
    Delete,
    /// Write the `AppKey` of this revision (into `nwk_key` for `LoRaWAN` 1.0.x): `UpdateKeys`, and `CreateKeys` where
    /// there are none.
    SetKey {
        /// [`super::WantedDevice::app_key_revision`].
        revision: u32,
    },
}

impl SyncCall {
    /// The event that tells of a failure.
    pub fn failed(&self, call: u32, failure: SyncFailure) -> SyncEvent {
        match self {
            Self::Look => SyncEvent::Looked {
                call,
                result: Err(failure),
            },
            Self::Create(_) | Self::Update(_) | Self::Delete | Self::SetKey { .. } => {
                self.answered(call, Err(failure))
            }
        }
    }

    /// The event that tells what became of a call that changes something. Of a Look it tells that there is nothing.
    pub fn answered(&self, call: u32, result: Result<(), SyncFailure>) -> SyncEvent {
        match self {
            Self::Look => SyncEvent::Looked {
                call,
                result: result.map(|()| None),
            },
            Self::Create(_) => SyncEvent::Created { call, result },
            Self::Update(_) => SyncEvent::Updated { call, result },
            Self::Delete => SyncEvent::Deleted { call, result },
            Self::SetKey { .. } => SyncEvent::KeySet { call, result },
        }
    }

    /// Whether it decides from what was just read: Update, Delete and `SetKey` must be begun soon after they were asked
    /// for (seconds), or else be answered with [`SyncFailure::Unavailable`], so that the device is looked at anew. Others may have
    /// changed it meanwhile, or even made it theirs.
    pub const fn goes_stale(&self) -> bool {
        match self {
            Self::Update(_) | Self::Delete | Self::SetKey { .. } => true,
            Self::Look | Self::Create(_) => false,
        }
    }
}
