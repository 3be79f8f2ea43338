//! What the actors keep. Lists and dashboards read the database directly; only the actors write devices' states.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use downbeat_core::app_key::AppKey;
use downbeat_core::codec::CodecKind;
use downbeat_core::device::{InitialisationStatus, PolicySettings, Presence, Record};
use downbeat_core::id::{DevEui, DeviceId, DeviceKey, GatewayId, NetworkServerId, TenantId};
use downbeat_core::light::LightState;
use downbeat_core::link_quality::table::Owner;
use downbeat_core::pacer::SentLately;
use downbeat_core::sync::{SyncStatus, Wish};
use downbeat_core::time::Timestamp;

use super::audit::AuditEntry;
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
    /// How often it speaks on its own, if its users said so.
    pub uplink_interval: Option<Duration>,
    /// What its tenant has otherwise than the configuration.
    pub tenant_policy: PolicySettings,
    /// What it has otherwise than its tenant.
    pub device_policy: PolicySettings,
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
    /// Whether anything that the registry shows of it may differ from what is stored: `unfinished`, `last_seen` and what
    /// else belongs to the device's own row. Most steps change only the state.
    pub row_changed: bool,
    /// Whether `presence`, or that it was ever heard, may differ from what is stored. Indexes go by it.
    pub presence_changed: bool,
    /// Whether `unfinished` may. Indexes go by it.
    pub unfinished_changed: bool,
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
    /// Whether it is there.
    pub presence: Presence,
    /// How far its initialisation is, if it was ever begun.
    pub initialisation: Option<InitialisationStatus>,
    /// Uplinks received, and those that its frame counter tells of and that never came.
    pub uplinks_heard: u64,
    /// See `uplinks_heard`.
    pub uplinks_missed: u64,
    /// What is to be kept in the history: the network server's event that caused it, and what follows from it.
    pub history: Vec<HistoryEntry>,
    /// Decoded fields, by their paths; as of `at`.
    pub telemetry: Vec<(FieldPath, TelemetryValue)>,
    /// Who gave the command that caused it.
    pub audit: Option<AuditEntry>,
}

/// Where a decoded field is in its report. What codecs of ours find has names that stand here.
pub type FieldPath = Cow<'static, str>;

/// A decoded value.
#[derive(Debug, Clone, PartialEq)]
pub enum TelemetryValue {
    /// A finite number; truth values are 0 and 1.
    Number(f64),
    /// A text.
    Text(String),
}

/// An event as the history keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// When Downbeat received it.
    pub at: Timestamp,
    /// `up`, `join`, `txack`, `no_txack`, `ack`, `log`, `status`, `location`, `online`, `offline`, `error`.
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
    async fn load(&self, key: DeviceKey) -> Result<Option<StoredDevice>, StoreError>;

    /// Devices with work to take up.
    async fn unfinished(&self) -> Result<Vec<DeviceKey>, StoreError>;

    /// Devices that count as present and were not heard for twice the interval in which they speak, or `interval` for
    /// those whose users did not say; the longest silent first.
    async fn silent(
        &self,
        now: Timestamp,
        interval: Duration,
        limit: u32,
    ) -> Result<Vec<DeviceKey>, StoreError>;

    /// What gateways of a network server sent since then: frames of which tx-acks told, and items without a word of it.
    async fn sent_since(
        &self,
        server: NetworkServerId,
        since: Timestamp,
    ) -> Result<SentLately, StoreError>;

    /// Wishes of a network server that are not fulfilled and not given up, those first that are due first.
    async fn unfinished_syncs(
        &self,
        server: NetworkServerId,
        limit: u32,
    ) -> Result<Vec<StoredSync>, StoreError>;

    /// Those of them that are about these devices.
    async fn unfinished_syncs_of(
        &self,
        server: NetworkServerId,
        devices: &[DevEui],
    ) -> Result<Vec<StoredSync>, StoreError>;

    /// The newest wish for a device, and how far it is. `None`: nothing was ever wanted, or its absence is confirmed.
    async fn load_sync(&self, key: DeviceKey) -> Result<Option<StoredSync>, StoreError>;

    /// Stores how far wishes are, in one transaction. A row whose wish has moved on keeps its newer generation.
    async fn commit_syncs(&self, changes: &[SyncChange]) -> Result<(), StoreError>;

    /// The root key of a device, if it still has that revision.
    async fn app_key(&self, key: DeviceKey, revision: u32) -> Result<Option<AppKey>, StoreError>;

    // What is known of gateways and links begins anew with each start if a store does not keep it.

    /// What is kept of a network server's gateways.
    async fn load_gateways(&self, _: NetworkServerId) -> Result<Vec<StoredGateway>, StoreError> {
        Ok(Vec::new())
    }

    /// What is kept of the links of a network server's devices, by `DevEUI`: at most `limit` after one.
    async fn load_links(
        &self,
        _server: NetworkServerId,
        _after: Option<DevEui>,
        _limit: u32,
    ) -> Result<Vec<StoredLinks>, StoreError> {
        Ok(Vec::new())
    }

    /// Stores what became of a network server's gateways and of links, in one transaction. Links of a device that is
    /// not registered any more under the same id and `DevEUI` are dropped.
    async fn keep_gateways(
        &self,
        _server: NetworkServerId,
        _at: Timestamp,
        _changes: &GatewayMemory,
    ) -> Result<(), StoreError> {
        Ok(())
    }
}

/// What is kept of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGateway {
    /// The gateway.
    pub gateway_id: GatewayId,
    /// A [`downbeat_core::gateway::GatewayRecord`] as JSON.
    pub record: String,
}

/// What is kept of a device's links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLinks {
    /// Whose device it is.
    pub owner: Owner,
    /// A [`downbeat_core::link_quality::DeviceLinks`] as JSON.
    pub links: String,
}

/// What is to be stored of gateways and links.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GatewayMemory {
    /// Gateways as they are now.
    pub kept: Vec<StoredGateway>,
    /// Gateways that are forgotten.
    pub gone: Vec<GatewayId>,
    /// Devices' links as they are now.
    pub links: Vec<StoredLinks>,
}

/// A wish for a device in the network server, and how far it is.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSync {
    /// The device there.
    pub key: DeviceKey,
    /// Whose it is, or was.
    pub tenant_id: TenantId,
    /// The registry's newest wish.
    pub wish: Wish,
    /// The machine as [`SyncChange::machine`] was last stored; `None` before the first.
    pub machine: Option<String>,
}

/// How far a wish is.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncChange {
    /// The device there.
    pub key: DeviceKey,
    /// The machine, serialised.
    pub machine: String,
    /// The wish that it works on.
    pub generation: u64,
    /// The newest wish that is fulfilled.
    pub synced_generation: u64,
    /// What the API shows of it.
    pub status: SyncStatus,
    /// Whether there is something to do without a new wish: what a restart takes up.
    pub unfinished: bool,
    /// Absence was wanted and is confirmed: the row goes, if nothing else is wanted since.
    pub gone: bool,
    /// When this was.
    pub at: Timestamp,
}
