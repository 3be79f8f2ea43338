//! Who does what, in which order, after a crash too.
//!
//! The actors are thin: message to event, one step of a machine of `downbeat-core`, save, then carry out the effects.

pub mod port;
