//! ChirpStack v4 as the actors' [`NetworkServer`](downbeat_actors::port::NetworkServer), by gRPC.
//!
//! The only place that knows ChirpStack's types: `client` connects; `network_server`, `registry`, `integration` and
//! `inspect` call; `metered` counts; `convert` turns their types into ours, `key` knows what the API key may do, `failure` tells what a
//! refusal means. ChirpStack's codes say little (an unknown device is UNAUTHENTICATED or INTERNAL), and the one question
//! that matters for a command is whether it may have been carried out.
//!
//! No call is repeated here, and nothing decides when to call: that is the actors' affair.

mod client;
mod convert;
mod failure;
mod inspect;
mod integration;
mod key;
mod metered;
mod network_server;
mod registry;
#[cfg(test)]
mod tests;

pub use client::{ChirpStackClient, ChirpStackConfig, ConfigError};
pub use inspect::{DeviceProfile, DeviceState, KeyVerdict, LoggedEvent, VersionSign};
pub use integration::HttpIntegration;
