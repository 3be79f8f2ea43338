//! One command to many devices.
//!
//! A job is a list of items, one a device, in the store. [`Job`] decides which of them are handed to their devices' own
//! machines and when: a few at a time, so that a command that somebody waits for is never behind a thousand of a job.
//! What an item's command goes through is its device's affair; the job hears of its steps.
//!
//! - Each item's downlink has its id from the beginning, and an item is stored as handed over before it is. Whoever takes
//!   a job up after a crash looks those ids up: one that the store knows is followed, one that it does not know was
//!   never accepted and is handed over again. So no device is told twice.
//! - A device that was told something newer than the job is left as it is.
//! - Devices that no gateway hears are waited for beside the others and hold nobody up.
//!
//! [`plan`] tells before it starts what a job will cost and who is left out, [`progress`] how far it is and how long it
//! will still take.

pub mod machine;
pub mod plan;
pub mod progress;
pub mod words;

pub use machine::{Change, Effect, Event, Item, Job, JobLimits, Known, Refusal, TakenUp};
pub use plan::{Bottleneck, Candidate, GatewayLoad, LeftOut, Plan, Telling, spread};
pub use progress::{Clockwork, Counts, PlannedTime, remaining};
pub use words::{ItemState, JobKind, JobState};

/// Devices of one job at the most.
pub const DEVICES_MAX: usize = 100_000;

/// Jobs of one tenant that are not over, at the most.
pub const JOBS_MAX: u32 = 20;
