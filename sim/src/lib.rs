//! A simulated ChirpStack with gateways and lamps.
//!
//! - [`model`]: all of it as a value in virtual time, for tests that live through days by seed.
//! - `server` (feature `server`): the model behind ChirpStack's gRPC API, posting webhooks, with an HTTP API to cause
//!   faults and to see what the lamps really show; what `downbeat sim` and `downbeat demo` run.
//!
//! It knows `downbeat-core`'s words (identifiers, time, airtime) and ChirpStack's API, and nothing else of Downbeat.

pub mod model;
#[cfg(feature = "server")]
pub mod server;
