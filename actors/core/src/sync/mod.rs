//! Keeping `ChirpStack` in step with the registry: what is wanted there, what is there, and one machine that drives the
//! two together.
//!
//! `ChirpStack` knows a device by its `DevEUI`, so there is one machine a `DevEUI` (of a network server), and it outlives
//! the registry's device: a deleted device is a wish for absence until `ChirpStack` confirmed it.
//!
//! [`Sync`] is level-triggered like [`crate::device::Device`]: an event changes facts, then one look at all facts
//! decides on the next call. What it promises, whatever happens outside:
//! - once faults end, `ChirpStack` holds what the newest wish says: every field, tag and key of ours, and no device of
//!   ours that is not wanted;
//! - at most one call is under way, and nothing is done for a wish that is no longer the newest;
//! - others' tags, variables and switches are given back as they were read;
//! - a device is deleted only when a look just before showed that it is ours, by its tag [`OWNER_TAG`];
//! - an Update, which has side effects in `ChirpStack` (it resets FUOTA's counters), is made only when something differs;
//! - whatever may have been begun is in the stored value before the call.
//!
//! `ChirpStack`'s errors say little (a duplicate is `INTERNAL`, as is a failing database), so what became of a call that
//! was refused or not answered is looked up. A call whose answer was lost may even be carried out a little later:
//! until [`LOST_CALL_PATIENCE`] is over, or a look shows its effect, nothing else is changed.
//!
//! Where to look: `machine.rs` the entry and what comes next, `answers.rs` what answers tell, `state.rs` what is
//! remembered, `compare.rs` whose device it is and how it should be, `status.rs` what the API shows, `words.rs` how
//! faults are told.

mod answers;
mod compare;
mod event;
mod machine;
mod remote;
mod state;
mod status;
mod wish;
mod words;

pub use event::{SyncCall, SyncEffect, SyncEvent, SyncFailure};
pub use machine::Sync;
pub use remote::{OWNER_TAG, RemoteDevice};
pub use state::LOST_CALL_PATIENCE;
pub use status::{SyncState, SyncStatus};
pub use wish::{WantedDevice, Wish};
