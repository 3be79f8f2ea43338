//! A device as `ChirpStack` holds it.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::id::{DevEui, JoinEui};

/// The tag by which `ChirpStack`'s device names the registry's: tags come back in every event, variables never do.
pub const OWNER_TAG: &str = "downbeat_device_id";

/// A device in `ChirpStack`, whole: its Update replaces every field, so what others keep there is read first and given
/// back (`ChirpStack` 4, `DeviceService`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteDevice {
    /// Its `DevEUI`, unique over the whole installation.
    pub dev_eui: DevEui,
    /// At most 100 characters; must not be empty in an Update.
    pub name: String,
    /// For people.
    pub description: String,
    /// Its application.
    pub application_id: Uuid,
    /// Its device profile.
    pub device_profile_id: Uuid,
    /// Its join server; all zeroes where none is set.
    pub join_eui: JoinEui,
    /// Whether the network server ignores it.
    pub is_disabled: bool,
    /// Whether frame counters are not checked.
    pub skip_fcnt_check: bool,
    /// Labels, which travel in every event.
    pub tags: BTreeMap<String, String>,
    /// Variables of codecs and integrations, which travel in none.
    pub variables: BTreeMap<String, String>,
}
