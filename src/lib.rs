//! Downbeat gets a command to a LoRaWAN device behind ChirpStack and proves that it arrived.
//!
//! This package is the outside: everything that touches a socket, a file or a database. What is decided stands in
//! `downbeat_core`, who does it in `downbeat_actors`.
//!
//! - [`server`] connects, starts and stops everything; [`cli`] is how people run it; [`config`], [`telemetry`].
//! - [`http`] the API and the live stream, [`webhook`] ChirpStack's events into our words, [`dashboard`] the page.
//! - [`chirpstack`] the network server over gRPC. [`store`] the database.
//! - [`secret_key`] API keys, [`seal`] secrets at rest, [`csv`] files of spreadsheets.
//! - [`retention`] what is deleted when, [`presence`] who is silent, [`drift`] where ChirpStack and the registry differ.

pub mod chirpstack;
pub mod cli;
pub mod config;
pub mod csv;
pub mod dashboard;
pub mod drift;
pub mod http;
mod machine;
pub mod presence;
pub mod retention;
pub mod seal;
pub mod secret_key;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod webhook;
