//! The registry's devices.

use std::collections::BTreeMap;

use downbeat_actors::port::StoreError;
use downbeat_core::codec::CodecKind;
use downbeat_core::id::{DevEui, DeviceId, JoinEui, TenantId};
use downbeat_core::light::LightState;
use downbeat_core::time::Timestamp;

/// What the registry's users decide about a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFields {
    /// Its name, for people; need not be unique.
    pub name: String,
    /// For people.
    pub description: String,
    /// What kind of thing it is, in the tenant's own words.
    pub device_type: String,
    /// The tenant's own labels.
    pub tags: BTreeMap<String, String>,
    /// How its payloads are read and written.
    pub codec: CodecKind,
    /// Unique over all tenants; a device without one is only kept.
    pub dev_eui: Option<DevEui>,
    /// `ChirpStack`'s application (a UUID there), as the client gave it.
    pub chirpstack_app_id: Option<String>,
    /// `ChirpStack`'s device profile (a UUID there), as the client gave it.
    pub device_profile_id: Option<String>,
    /// Its join server.
    pub join_eui: Option<JoinEui>,
}

/// A device to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// Chosen by whoever registers it.
    pub id: DeviceId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// When it is registered.
    pub created_at: Timestamp,
    /// What is known of it.
    pub fields: DeviceFields,
}

/// A registered device, with what its actor last stored of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// What its users decided.
    pub fields: DeviceFields,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When its users changed it last.
    pub updated_at: Timestamp,
    /// Grows by one with each change by its users, from 1: what an `ETag` is made of.
    pub version: u32,
    /// When it was last heard.
    pub last_seen: Option<Timestamp>,
    /// Best RSSI of its last uplink, dBm.
    pub rssi_dbm: Option<i32>,
    /// SNR there, dB.
    pub snr_db: Option<f32>,
    /// Percent.
    pub battery_percent: Option<f32>,
    /// The light that is wanted.
    pub desired: Option<LightState>,
    /// The light that it last reported, and when.
    pub reported: Option<(LightState, Timestamp)>,
}

/// Which devices of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceFilter {
    /// Those whose name contains this; ASCII letters match in either case.
    pub name: Option<String>,
    /// The one with this `DevEUI`.
    pub dev_eui: Option<DevEui>,
}

/// Why the registry did not change.
#[derive(Debug, thiserror::Error)]
pub enum WriteDeviceError {
    /// A device has that `DevEUI` already, maybe another tenant's.
    #[error("a device with that DevEUI is registered already")]
    DevEuiTaken,
    /// There is no such tenant, or the caller may not see it.
    #[error("there is no such tenant")]
    UnknownTenant,
    /// There is no such device, or the caller may not see it.
    #[error("there is no such device")]
    UnknownDevice,
    /// Somebody changed it since the caller read it.
    #[error("the device was changed by another")]
    VersionMismatch {
        /// The version that it has.
        current: u32,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An event of a device's history.
#[derive(Debug, Clone)]
pub struct DeviceEvent {
    /// Its id, the same for the same event.
    pub id: uuid::Uuid,
    /// The device.
    pub device_id: DeviceId,
    /// When Downbeat received it.
    pub at: Timestamp,
    /// `up`, `join`, `txack`, `ack`, `log`, `status`, `location`.
    pub kind: String,
    /// What it said, a JSON object.
    pub body: Box<serde_json::value::RawValue>,
}
