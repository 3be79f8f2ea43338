//! The model against the figures that were measured on a real ChirpStack 4.20: each story is one observation.

#[path = "model/support.rs"]
mod support;

#[path = "model/class_c.rs"]
mod class_c;
#[path = "model/faults.rs"]
mod faults;
#[path = "model/joins.rs"]
mod joins;
#[path = "model/webhooks.rs"]
mod webhooks;
