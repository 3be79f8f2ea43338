//! Load, and what it met: closed loops of requests against a running Downbeat, and their times.
//!
//! A closed loop waits for each answer before its next request, so a slow answer also keeps requests back: its times say
//! how it is for so many patient callers, not how it is at so many requests a second.

mod measure;
mod registry;

pub use measure::{Measurement, Measuring, Report};
pub use registry::{RegistryLoad, RegistryLoadError};
