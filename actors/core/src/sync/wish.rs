//! What the registry wants `ChirpStack` to hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{DeviceId, JoinEui};

/// The newest wish of the registry for one `DevEUI`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Grows with every change of the registry and every request to look again; the newest wish wins.
    pub generation: u64,
    /// An operator has decided that the registry's word stands also where `ChirpStack` holds somebody else's device.
    pub force: bool,
    /// What is to be there; `None`: nothing of ours.
    pub device: Option<WantedDevice>,
}

/// A device as the registry wants it in `ChirpStack`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedDevice {
    /// The registry's id, to be kept in the tag [`super::OWNER_TAG`].
    pub device_id: DeviceId,
    /// 1 to 100 characters.
    pub name: String,
    /// For people.
    pub description: String,
    /// `ChirpStack`'s application.
    pub application_id: Uuid,
    /// `ChirpStack`'s device profile.
    pub device_profile_id: Uuid,
    /// The join server; what is there stays when absent.
    pub join_eui: Option<JoinEui>,
    /// The registry's tags. Tags of others stay beside them.
    pub tags: BTreeMap<String, String>,
    /// Grows with every change of the `AppKey`; `None`: no key is wanted, and what is there stays.
    pub app_key_revision: Option<u32>,
}
