//! Where `ChirpStack` and the registry differ, as the last comparison found.

use downbeat_core::id::{DevEui, DeviceId};
use downbeat_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How the two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// The registry has it, `ChirpStack` has not.
    MissingInChirpstack,
    /// `ChirpStack` has it, the registry has not.
    MissingInRegistry,
    /// Both have it, with other values.
    Differs,
}

/// A field in which they differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Its name in our API.
    pub field: String,
    /// What the registry says.
    pub registry: Option<String>,
    /// What `ChirpStack` says.
    pub chirpstack: Option<String>,
}

/// One device in which they differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// The device.
    pub dev_eui: DevEui,
    /// The registry's, if it has it.
    pub device_id: Option<DeviceId>,
    /// How.
    pub kind: DriftKind,
    /// `ChirpStack`'s name, if it has it.
    pub chirpstack_name: Option<String>,
    /// `ChirpStack`'s application, if it has it.
    pub application_id: Option<Uuid>,
    /// `ChirpStack`'s device profile, if it has it.
    pub device_profile_id: Option<Uuid>,
    /// In what, if both have it.
    pub differences: Vec<Difference>,
    /// When it was found first.
    pub found_at: Timestamp,
    /// An operator has decided to leave it.
    pub ignored: bool,
}
