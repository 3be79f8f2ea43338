//! The life of a downlink as scripts: second, event, what the machine does. One rule a test.
//!
//! How to read them: `support.rs` says in which words effects are written.

mod attempts;
mod desired;
mod ending;
mod proof;
mod queue_item;
mod restart;
mod session;
mod support;
