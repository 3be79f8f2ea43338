//! The registry's devices.

use std::collections::BTreeMap;
use std::time::Duration;

use downbeat_actors::port::StoreError;
use downbeat_core::app_key::AppKey;
use downbeat_core::codec::CodecKind;
use downbeat_core::device::Presence;
use downbeat_core::id::{DevEui, DeviceId, JoinEui, NetworkServerId, TenantId};
use downbeat_core::light::LightState;
use downbeat_core::sync::SyncStatus;
use downbeat_core::time::Timestamp;
use uuid::Uuid;

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
    /// Unique on a network server; a device without one is only kept.
    pub dev_eui: Option<DevEui>,
    /// `ChirpStack`'s application. With the device profile: the device is kept in step with `ChirpStack`; without: it is
    /// somebody else's affair that it is there.
    pub chirpstack_app_id: Option<Uuid>,
    /// `ChirpStack`'s device profile; there if the application is.
    pub device_profile_id: Option<Uuid>,
    /// Its join server.
    pub join_eui: Option<JoinEui>,
    /// How often it speaks on its own; the configuration's interval when absent.
    pub uplink_interval: Option<Duration>,
}

/// What becomes of a device's `AppKey` in an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppKeyChange {
    /// It stays.
    Keep,
    /// This one takes its place.
    Set(AppKey),
    /// It is forgotten here; `ChirpStack` keeps what it has.
    Clear,
}

/// What is told of a device's `AppKey`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppKeyState {
    /// There is none.
    None,
    /// There is one.
    Set,
    /// There is one that everybody knows.
    Default,
}

/// How far `ChirpStack` is in step with a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSync {
    /// The newest wish.
    pub generation: u64,
    /// The newest wish that `ChirpStack` fulfils.
    pub synced_generation: u64,
    /// As of the last attempt.
    pub status: SyncStatus,
}

impl DeviceSync {
    /// Whether `ChirpStack` holds what the registry says.
    pub const fn is_synced(&self) -> bool {
        self.synced_generation == self.generation
    }
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
    /// Its root key.
    pub app_key: Option<AppKey>,
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
    /// The network server that it is on.
    pub server: NetworkServerId,
    /// What is told of its root key.
    pub app_key: AppKeyState,
    /// How far `ChirpStack` is in step; `None` if that is not our affair.
    pub sync: Option<DeviceSync>,
    /// Whether it is there.
    pub presence: Presence,
    /// Uplinks received.
    pub uplinks_heard: u64,
    /// Uplinks that its frame counter tells of and that never came.
    pub uplinks_missed: u64,
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
    /// Those of that kind, exactly.
    pub device_type: Option<String>,
    /// Those with that codec.
    pub codec: Option<CodecKind>,
    /// Those in that application of `ChirpStack`.
    pub chirpstack_app_id: Option<Uuid>,
    /// Those that carry this tag, with this value if one is given.
    pub tag: Option<(String, Option<String>)>,
    /// Those that are there, or not.
    pub presence: Option<Presence>,
    /// Those that `ChirpStack` is in step with, or is not but should be.
    pub synced: Option<bool>,
}

/// Why the registry did not change.
#[derive(Debug, thiserror::Error)]
pub enum WriteDeviceError {
    /// The tenant has as many devices as it may.
    #[error("the tenant has as many devices as it may have")]
    TenantFull,
    /// A device of the network server has that `DevEUI` already, maybe another tenant's.
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
    /// `up`, `join`, `txack`, `ack`, `log`, `status`, `location`, `online`, `offline`, `error`.
    pub kind: String,
    /// What it said, a JSON object.
    pub body: Box<serde_json::value::RawValue>,
}
