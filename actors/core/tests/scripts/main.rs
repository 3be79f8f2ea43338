//! The life of a downlink as scripts: second, event, what the machine does. One rule a test.
//!
//! How to read them: `support.rs` says in which words effects are written.

#![expect(
    clippy::float_cmp,
    reason = "seconds are compared as they were written, in whole milliseconds"
)]

mod attempts;
mod deadline;
mod desired;
mod ending;
mod initialisation;
mod proof;
mod queue_item;
mod registry;
mod restart;
mod session;
mod silence;
mod support;
