//! What the actors keep. Lists and dashboards read the database directly; only the actors write devices' states.

use async_trait::async_trait;
use downbeat_core::codec::CodecKind;
use downbeat_core::device::Record;
use downbeat_core::id::{DevEui, DeviceId, TenantId};
use downbeat_core::light::LightState;
use downbeat_core::time::Timestamp;

use super::network_server::BoxError;

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, is locked, or is out of space: the same request may succeed later.
    #[error("the database is unavailable")]
    Unavailable(#[source] BoxError),
    /// A row breaks our own rules.
    #[error("{table} {key} holds a {column} that is not one")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row.
        key: String,
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
    /// The database refused a statement; repeating it changes nothing.
    #[error("the database refused a statement")]
    Rejected(#[source] BoxError),
}

/// A device as its actor needs it at the start.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredDevice {
    /// Its id in the registry.
    pub device_id: DeviceId,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// The codec it speaks.
    pub codec: CodecKind,
    /// The machine's state as [`DeviceChange::state`] was last stored; `None` before anything happened.
    pub state: Option<String>,
}

/// What one step of one device's machine changed. Stored whole or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceChange {
    /// The device.
    pub dev_eui: DevEui,
    /// Its id in the registry.
    pub device_id: DeviceId,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// The machine's state, serialised: what a restart takes up.
    pub state: String,
    /// Whether there is work that a restart has to take up.
    pub unfinished: bool,
    /// When this was.
    pub at: Timestamp,
    /// When the device was last heard.
    pub last_seen: Option<Timestamp>,
    /// Best RSSI of the last uplink, dBm.
    pub rssi_dbm: Option<i32>,
    /// SNR there, dB.
    pub snr_db: Option<f32>,
    /// Percent.
    pub battery_percent: Option<f32>,
    /// The light that is wanted.
    pub desired: Option<LightState>,
    /// The light last reported, and when.
    pub reported: Option<(LightState, Timestamp)>,
    /// Downlinks as they are now, each with one more step of its timeline, in order.
    pub records: Vec<Record>,
    /// The network server's event that caused it, for the history.
    pub history: Option<HistoryEntry>,
}

/// An event as the history keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// When Downbeat received it.
    pub at: Timestamp,
    /// `up`, `join`, `txack`, `ack`, `log`, `status`, `location`.
    pub kind: &'static str,
    /// What it said, as a JSON object.
    pub body: String,
}

/// The actors' side of the store.
#[async_trait]
pub trait DeviceStore: Send + Sync + 'static {
    /// Stores many devices' changes in one transaction, durable when it returns. Changes of one device are in order,
    /// and there may be several. Downlinks are inserted or updated by id, steps inserted by (downlink, seq).
    async fn commit(&self, changes: &[DeviceChange]) -> Result<(), StoreError>;

    /// A registered device.
    async fn load(&self, dev_eui: DevEui) -> Result<Option<StoredDevice>, StoreError>;

    /// Devices with work to take up.
    async fn unfinished(&self) -> Result<Vec<DevEui>, StoreError>;
}
