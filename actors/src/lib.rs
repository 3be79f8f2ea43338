//! Who does what, in which order, after a crash too.
//!
//! The actors are thin: message to event, one step of a machine of `downbeat-core`, save, then carry out the effects.
//!
//! - [`system`]: the door through which the edges ask, and what all actors share. `supervisor`, `shard`: who keeps them
//!   alive.
//! - `device`: one actor a device.
//! - `link`: all that belongs to one network server.
//! - `writer`: group commit of all devices' changes.
//! - `chirpstack_pool`: the only place that calls the network server; turns and circuit breaker.
//! - `synchronizer`: keeps the network server's devices in step with the registry.
//! - [`job`]: keeps commands to many devices going.
//! - `gateway_monitor`: which gateways are there, and how each device gets on with them.
//! - `queue_cleaner`: what is stuck in the network server's queues.
//! - [`mailbox`]: how many messages wait.
//! - `timer`, [`clock`]: one timer queue, one clock.
//! - [`observe`]: what happened, for log, metrics and the live feed. `measure`: the life of downlinks in figures.
//! - [`port`]: what the actors need of the outside.

mod chirpstack_pool;
pub mod clock;
mod device;
mod gateway_monitor;
pub mod job;
mod link;
pub mod mailbox;
mod measure;
pub mod observe;
pub mod order;
pub mod port;
mod queue_cleaner;
mod shard;
mod supervisor;
mod synchronizer;
pub mod system;
#[cfg(test)]
mod tests;
mod timer;
mod writer;

pub use job::{JobCommand, JobError};
pub use order::{AskError, Cancellation, Desire, Initialising, OfJob, Order, Report, Submission};
pub use system::{Health, Leaving, StartError, System, SystemConfig};
