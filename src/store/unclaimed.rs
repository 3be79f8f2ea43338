//! Devices that spoke and that nobody has registered.

use downbeat_core::id::{DeviceKey, TenantId};
use downbeat_core::time::Timestamp;
use uuid::Uuid;

/// What was seen of a device that nobody has registered.
#[derive(Debug, Clone, PartialEq)]
pub struct UnclaimedSighting {
    /// The device.
    pub key: DeviceKey,
    /// The tenant whose key delivered it, or that `ChirpStack`'s tenant is; `None`: only the platform sees it.
    pub tenant_id: Option<TenantId>,
    /// `ChirpStack`'s name of it; may be empty.
    pub name: String,
    /// Its application there.
    pub application_id: Option<Uuid>,
    /// Its device profile there.
    pub device_profile_id: Option<Uuid>,
    /// The last time.
    pub at: Timestamp,
    /// How often since the last sighting was noted.
    pub events: u32,
    /// Best RSSI of the last uplink, dBm.
    pub rssi_dbm: Option<i32>,
}

/// A device that nobody has registered.
#[derive(Debug, Clone, PartialEq)]
pub struct UnclaimedDevice {
    /// What was seen last; `events` counts all.
    pub last: UnclaimedSighting,
    /// The first time.
    pub first_seen: Timestamp,
}
