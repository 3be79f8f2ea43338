//! Keeping `ChirpStack` in step with the registry: what is wanted there, what is there, and one machine that drives the
//! two together.
//!
//! `ChirpStack` knows a device by its `DevEUI`, so there is one machine a `DevEUI` (of a network server), and it outlives
//! the registry's device: a deleted device is a wish for absence until `ChirpStack` confirmed it.

mod remote;
mod status;
mod wish;

pub use remote::{OWNER_TAG, RemoteDevice};
pub use status::{SyncState, SyncStatus};
pub use wish::{WantedDevice, Wish};
