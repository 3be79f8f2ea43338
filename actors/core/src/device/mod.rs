//! The life of a downlink, and of what is wanted of a device.
//!
//! One [`Device`] holds everything that is known and wanted of one device. Its only entry is [`Device::step`]: an
//! event, the time and what is known of the gateways go in, effects come out. It is level-triggered: an event changes
//! facts, then one look at all facts decides what to do next, so that a missing or repeated event costs time, never
//! correctness. [`Device::next_wake`] tells when it wants to look again.
//!
//! What it promises, whatever happens outside:
//! - every accepted downlink reaches exactly one terminal state (a late proof may still turn `unverified` into
//!   `verified`, nothing else changes after the end);
//! - `verified` is said only on evidence, which is kept;
//! - at most one item of ours is in ChirpStack's queue of the device;
//! - nothing is flushed: items expire, because a flush of a frame in flight makes ChirpStack reuse its counter and the
//!   device then drops the next command as a replay.
//!
//! Where to look: [`downlink`] the record and its words, [`policy`] the numbers, `machine.rs` the entry,
//! `sending.rs` attempts, `queue_item.rs` and `queue_look.rs` what becomes of them in ChirpStack's queue, `session.rs` boot epochs and uplinks, [`proof`] and
//! `flights.rs` what counts as evidence, [`presence`] whether it is there, `ending.rs` terminal states, `desired.rs` reconciling,
//! [`initialisation`] the settings after a join, [`settings`] what tenants and devices have otherwise.

mod asking;
mod desired;
pub mod downlink;
mod ending;
pub mod event;
mod flights;
pub mod initialisation;
mod machine;
pub mod policy;
pub mod presence;
pub mod proof;
mod queue_item;
mod queue_look;
mod sending;
mod session;
pub mod settings;
mod state;

pub use desired::WishPlan;
pub use downlink::{
    Downlink, DownlinkState, Evidence, LastTransmission, Origin, Priority, Reason, Request, Step,
    TimelineEntry,
};
pub use event::{Effect, Enqueue, Event, Record};
pub use initialisation::{InitialisationPlan, InitialisationState, InitialisationStatus};
pub use machine::Admission;
pub use policy::Policy;
pub use presence::{Presence, SILENT_INTERVALS, UplinkCounts};
pub use settings::PolicySettings;
pub use state::{Desired, Device, Hearing, Reported};
