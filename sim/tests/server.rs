//! The simulated ChirpStack through its doors: gRPC, webhooks and the control API, on loopback.

#[path = "server/control.rs"]
mod control;
#[path = "server/errors.rs"]
mod errors;
#[path = "server/support.rs"]
mod support;
#[path = "server/way.rs"]
mod way;
