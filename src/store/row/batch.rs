//! Many devices' changes, as rows.

use std::collections::BTreeMap;
use std::time::Duration;

use downbeat_actors::port::{AuditEntry, DeviceChange, StoreError, StoredDevice};
use downbeat_core::codec::CodecKind;
use downbeat_core::device::Record;
use downbeat_core::id::{DevEui, DeviceId, DeviceKey, NetworkServerId, TenantId};
use downbeat_core::light::LightState;
use downbeat_core::time::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::{OutcomeValues, ReportRow, corrupt, count, event_id, millis, parse_dev_eui, policy};

#[derive(FromRow)]
pub(crate) struct StoredDeviceRow {
    pub(crate) dev_eui: String,
    pub(crate) id: Uuid,
    pub(crate) tenant_id: Uuid,
    pub(crate) codec: String,
    pub(crate) uplink_interval_ms: Option<i64>,
    pub(crate) policy: String,
    /// Of the tenant, which is there.
    pub(crate) tenant_policy: Option<String>,
    pub(crate) state: Option<String>,
}

impl StoredDeviceRow {
    /// With the `DevEUI` it was asked for by.
    pub(crate) fn of_dev_eui(self) -> Result<(DevEui, StoredDevice), StoreError> {
        let dev_eui = parse_dev_eui(&self.dev_eui, "device", self.id)?;
        Ok((dev_eui, self.try_into()?))
    }
}

impl TryFrom<StoredDeviceRow> for StoredDevice {
    type Error = StoreError;

    fn try_from(row: StoredDeviceRow) -> Result<Self, StoreError> {
        let codec = CodecKind::by_name(&row.codec)
            .ok_or_else(|| corrupt("device", "codec", &row.id, "unknown codec"))?;
        Ok(Self {
            device_id: DeviceId::from_uuid(row.id),
            tenant_id: TenantId::from_uuid(row.tenant_id),
            codec,
            uplink_interval: row
                .uplink_interval_ms
                .map(|ms| Duration::from_millis(count(ms))),
            tenant_policy: policy(
                "tenant",
                row.tenant_id,
                row.tenant_policy.as_deref().unwrap_or("{}"),
            )?,
            device_policy: policy("device", row.id, &row.policy)?,
            state: row.state,
        })
    }
}

/// A device on the air.
#[derive(FromRow)]
pub(crate) struct DeviceKeyRow {
    pub(crate) network_server_id: Uuid,
    pub(crate) dev_eui: String,
}

impl TryFrom<DeviceKeyRow> for DeviceKey {
    type Error = StoreError;

    fn try_from(row: DeviceKeyRow) -> Result<Self, StoreError> {
        Ok(Self {
            server: NetworkServerId::from_uuid(row.network_server_id),
            dev_eui: parse_dev_eui(&row.dev_eui, "device", row.network_server_id)?,
        })
    }
}

/// What a batch leaves of each row, serialised before the transaction begins. Devices, downlinks and events are there
/// once each and in the order of their ids, so that two batches never wait for each other in a circle.
pub(crate) struct Batch<'a> {
    pub(crate) devices: Vec<DeviceRow<'a>>,
    pub(crate) downlinks: Vec<DownlinkRow<'a>>,
    pub(crate) steps: Vec<StepRow>,
    pub(crate) events: Vec<EventRow<'a>>,
    pub(crate) reports: Vec<ReportRow<'a>>,
    pub(crate) audit: Vec<&'a AuditEntry>,
}

pub(crate) struct DeviceRow<'a> {
    pub(crate) change: &'a DeviceChange,
    /// Whether the device's own row is to be written.
    pub(crate) row_changed: bool,
    /// Whether its presence is to be looked at, and whether it has work under way: indexes go by them.
    pub(crate) presence_changed: bool,
    pub(crate) unfinished_changed: bool,
    pub(crate) last_seen: Option<Timestamp>,
    pub(crate) rssi_dbm: Option<i32>,
    pub(crate) snr_db: Option<f32>,
    pub(crate) battery_percent: Option<f32>,
    pub(crate) reported: Option<(LightState, Timestamp)>,
}

impl DeviceRow<'_> {
    /// How far its initialisation is, as its column holds it.
    pub(crate) fn initialisation(&self) -> Option<String> {
        let status = self.change.initialisation.as_ref()?;
        Some(serde_json::to_string(status).expect("words and numbers under fixed names"))
    }
}

pub(crate) struct DownlinkRow<'a> {
    pub(crate) change: &'a DeviceChange,
    pub(crate) record: &'a Record,
    pub(crate) body: String,
    pub(crate) outcome: OutcomeValues,
}

pub(crate) struct StepRow {
    pub(crate) downlink_id: Uuid,
    pub(crate) tenant_id: Uuid,
    pub(crate) seq: i64,
    pub(crate) at: i64,
    pub(crate) body: String,
}

pub(crate) struct EventRow<'a> {
    pub(crate) id: Uuid,
    pub(crate) change: &'a DeviceChange,
    pub(crate) at: i64,
    pub(crate) kind: &'static str,
    pub(crate) body: &'a str,
}

impl<'a> Batch<'a> {
    pub(crate) fn of(changes: &'a [DeviceChange]) -> Result<Self, StoreError> {
        let mut devices: BTreeMap<DeviceId, DeviceRow<'a>> = BTreeMap::new();
        let mut downlinks = BTreeMap::new();
        let mut steps = Vec::new();
        let mut events = BTreeMap::new();
        let mut reports = BTreeMap::new();
        let mut audit = BTreeMap::new();
        for change in changes {
            devices
                .entry(change.device_id)
                .or_insert_with(|| DeviceRow::new(change))
                .merge(change);
            for record in &change.records {
                steps.push(StepRow::new(change, record)?);
                // The last one stands.
                downlinks.insert(record.downlink.id, (change, record));
            }
            for entry in &change.history {
                let id = event_id(change.device_id, entry.at, entry.kind, &entry.body);
                let at = millis(entry.at);
                events.insert(
                    id,
                    EventRow {
                        id,
                        change,
                        at,
                        kind: entry.kind,
                        body: &entry.body,
                    },
                );
            }
            if !change.telemetry.is_empty() {
                // Two of one instant are one: of each field the last one stands.
                reports
                    .entry((change.device_id, change.at))
                    .or_insert_with(|| {
                        ReportRow::new(change.device_id, change.tenant_id, change.at)
                    })
                    .add(&change.telemetry);
            }
            if let Some(entry) = &change.audit {
                audit.insert(entry.id, entry);
            }
        }
        let downlinks = downlinks
            .into_values()
            .map(|(change, record)| {
                Ok(DownlinkRow {
                    change,
                    record,
                    body: json(&record.downlink)?,
                    outcome: OutcomeValues::of(&record.downlink),
                })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(Self {
            devices: devices.into_values().collect(),
            downlinks,
            steps,
            events: events.into_values().collect(),
            reports: reports
                .into_values()
                .filter(|report: &ReportRow<'_>| !report.fields.is_empty())
                .collect(),
            audit: audit.into_values().collect(),
        })
    }
}

impl<'a> Batch<'a> {
    /// The devices whose own rows are to be written; the others' states alone are.
    pub(crate) fn changed_rows(&self) -> Vec<&DeviceRow<'a>> {
        self.devices.iter().filter(|row| row.row_changed).collect()
    }
}

impl<'a> DeviceRow<'a> {
    fn new(change: &'a DeviceChange) -> Self {
        Self {
            change,
            row_changed: false,
            presence_changed: false,
            unfinished_changed: false,
            last_seen: None,
            rssi_dbm: None,
            snr_db: None,
            battery_percent: None,
            reported: None,
        }
    }

    /// A later change of the same device. What it does not tell stays as it was.
    fn merge(&mut self, change: &'a DeviceChange) {
        self.change = change;
        self.row_changed |= change.row_changed;
        self.presence_changed |= change.presence_changed;
        self.unfinished_changed |= change.unfinished_changed;
        self.last_seen = change.last_seen.or(self.last_seen);
        self.rssi_dbm = change.rssi_dbm.or(self.rssi_dbm);
        self.snr_db = change.snr_db.or(self.snr_db);
        self.battery_percent = change.battery_percent.or(self.battery_percent);
        self.reported = change.reported.or(self.reported);
    }
}

impl StepRow {
    fn new(change: &DeviceChange, record: &Record) -> Result<Self, StoreError> {
        Ok(Self {
            downlink_id: record.downlink.id.as_uuid(),
            tenant_id: change.tenant_id.as_uuid(),
            seq: i64::from(record.entry.seq),
            at: millis(record.entry.at),
            body: json(&record.entry)?,
        })
    }
}

/// The domain's types always become JSON; were one not to, repeating it would change nothing.
fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Rejected(Box::new(error)))
}
