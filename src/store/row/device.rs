//! The registry.

use std::collections::BTreeMap;
use std::time::Duration;

use downbeat_actors::port::StoreError;
use downbeat_core::app_key::AppKey;
use downbeat_core::codec::CodecKind;
use downbeat_core::device::Presence;
use downbeat_core::id::{DeviceId, JoinEui, NetworkServerId, TenantId};
use downbeat_core::light::LightState;
use sqlx::FromRow;
use uuid::Uuid;

use super::sync::DeviceSyncColumns;
use super::{corrupt, count, instant, parse_dev_eui, policy, policy_text, span, uuid};
use crate::seal::Sealer;
use crate::store::{AppKeyState, Device, DeviceFields, DeviceRevision, RevisedDevice, Revision};

const TABLE: &str = "device";

#[derive(FromRow)]
pub(crate) struct DeviceRow {
    pub(crate) id: Uuid,
    pub(crate) tenant_id: Uuid,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) device_type: String,
    pub(crate) tags: String,
    pub(crate) codec: String,
    pub(crate) dev_eui: Option<String>,
    pub(crate) chirpstack_app_id: Option<String>,
    pub(crate) device_profile_id: Option<String>,
    pub(crate) join_eui: Option<String>,
    pub(crate) uplink_interval_ms: Option<i64>,
    pub(crate) policy: String,
    pub(crate) initialisation: Option<String>,
    pub(crate) network_server_id: Uuid,
    pub(crate) has_app_key: bool,
    pub(crate) app_key_default: bool,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) version: i64,
    pub(crate) presence: String,
    pub(crate) uplinks_heard: i64,
    pub(crate) uplinks_missed: i64,
    pub(crate) last_seen: Option<i64>,
    pub(crate) rssi_dbm: Option<i32>,
    pub(crate) snr_db: Option<f32>,
    pub(crate) battery_percent: Option<f32>,
    pub(crate) desired_color: Option<String>,
    pub(crate) desired_on_time: Option<i64>,
    pub(crate) desired_off_time: Option<i64>,
    pub(crate) reported_color: Option<String>,
    pub(crate) reported_on_time: Option<i64>,
    pub(crate) reported_off_time: Option<i64>,
    pub(crate) reported_at: Option<i64>,
    pub(crate) unfinished: bool,
    #[sqlx(flatten)]
    pub(crate) sync: DeviceSyncColumns,
    pub(crate) revision: i64,
}

/// `id`, `created_at` and `revision`.
pub(crate) type RevisionRow = (Uuid, i64, i64);

impl From<RevisionRow> for DeviceRevision {
    fn from((id, created_at, revision): RevisionRow) -> Self {
        Self {
            id: DeviceId::from_uuid(id),
            created_at: instant(created_at),
            revision: Revision(revision),
        }
    }
}

impl TryFrom<DeviceRow> for RevisedDevice {
    type Error = StoreError;

    fn try_from(row: DeviceRow) -> Result<Self, StoreError> {
        let revision = Revision(row.revision);
        let device = row.try_into()?;
        Ok(Self { device, revision })
    }
}

impl TryFrom<DeviceRow> for Device {
    type Error = StoreError;

    fn try_from(row: DeviceRow) -> Result<Self, StoreError> {
        let id = row.id;
        let tags: BTreeMap<String, String> =
            serde_json::from_str(&row.tags).map_err(|error| corrupt(TABLE, "tags", &id, error))?;
        let codec = CodecKind::by_name(&row.codec)
            .ok_or_else(|| corrupt(TABLE, "codec", &id, "unknown codec"))?;
        let dev_eui = row
            .dev_eui
            .map(|text| parse_dev_eui(&text, TABLE, id))
            .transpose()?;
        let join_eui = row.join_eui.map(|text| text.parse::<JoinEui>()).transpose();
        let join_eui = join_eui.map_err(|error| corrupt(TABLE, "join_eui", &id, error))?;
        let version =
            u32::try_from(row.version).map_err(|error| corrupt(TABLE, "version", &id, error))?;
        let presence = Presence::by_name(&row.presence)
            .ok_or_else(|| corrupt(TABLE, "presence", &id, "unknown presence"))?;
        let app_key = match (row.has_app_key, row.app_key_default) {
            (false, _) => AppKeyState::None,
            (true, false) => AppKeyState::Set,
            (true, true) => AppKeyState::Default,
        };
        let sync = row.sync.read(id)?;
        let desired = light(
            id,
            "desired_color",
            row.desired_color,
            row.desired_on_time,
            row.desired_off_time,
        )?;
        let reported = light(
            id,
            "reported_color",
            row.reported_color,
            row.reported_on_time,
            row.reported_off_time,
        )?;
        let initialisation = row
            .initialisation
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|error| corrupt(TABLE, "initialisation", &id, error))?;
        Ok(Self {
            id: DeviceId::from_uuid(id),
            tenant_id: TenantId::from_uuid(row.tenant_id),
            fields: DeviceFields {
                name: row.name,
                description: row.description,
                device_type: row.device_type,
                tags,
                codec,
                dev_eui,
                chirpstack_app_id: uuid(TABLE, "chirpstack_app_id", id, row.chirpstack_app_id)?,
                device_profile_id: uuid(TABLE, "device_profile_id", id, row.device_profile_id)?,
                join_eui,
                uplink_interval: row
                    .uplink_interval_ms
                    .map(|ms| Duration::from_millis(count(ms))),
                policy: policy(TABLE, id, &row.policy)?,
            },
            created_at: instant(row.created_at),
            updated_at: instant(row.updated_at),
            version,
            server: NetworkServerId::from_uuid(row.network_server_id),
            app_key,
            sync,
            presence,
            uplinks_heard: count(row.uplinks_heard),
            uplinks_missed: count(row.uplinks_missed),
            last_seen: row.last_seen.map(instant),
            rssi_dbm: row.rssi_dbm,
            snr_db: row.snr_db,
            battery_percent: row.battery_percent,
            desired,
            reported: reported.zip(row.reported_at.map(instant)),
            initialisation,
        })
    }
}

/// A light of its three columns, which are there together or not at all.
fn light(
    id: Uuid,
    column: &'static str,
    color: Option<String>,
    on_time: Option<i64>,
    off_time: Option<i64>,
) -> Result<Option<LightState>, StoreError> {
    let (Some(color), Some(on_time), Some(off_time)) = (color, on_time, off_time) else {
        return Ok(None);
    };
    let color = color
        .parse()
        .map_err(|error: downbeat_core::light::ParseColorError| {
            corrupt(TABLE, column, &id, error)
        })?;
    let time = |value: i64| u8::try_from(value).map_err(|error| corrupt(TABLE, column, &id, error));
    Ok(Some(LightState {
        color,
        on_time: time(on_time)?,
        off_time: time(off_time)?,
    }))
}

/// Columns that are not stored as they are.
pub(crate) struct FieldValues {
    pub(crate) tags: String,
    pub(crate) dev_eui: Option<String>,
    pub(crate) chirpstack_app_id: Option<String>,
    pub(crate) device_profile_id: Option<String>,
    pub(crate) join_eui: Option<String>,
    pub(crate) uplink_interval_ms: Option<i64>,
    pub(crate) policy: String,
}

impl FieldValues {
    pub(crate) fn of(fields: &DeviceFields) -> Self {
        Self {
            tags: serde_json::json!(fields.tags).to_string(),
            dev_eui: fields.dev_eui.map(|eui| eui.to_string()),
            chirpstack_app_id: fields.chirpstack_app_id.map(|id| id.to_string()),
            device_profile_id: fields.device_profile_id.map(|id| id.to_string()),
            join_eui: fields.join_eui.map(|eui| eui.to_string()),
            uplink_interval_ms: fields.uplink_interval.map(span),
            policy: policy_text(&fields.policy),
        }
    }
}

/// A root key as columns.
pub(crate) struct AppKeyValues {
    pub(crate) sealed: Vec<u8>,
    pub(crate) is_default: bool,
}

impl AppKeyValues {
    pub(crate) fn of(key: &AppKey, id: DeviceId, sealer: &Sealer) -> Self {
        Self {
            sealed: sealer.seal(&app_key_context(id), key.expose_bytes()),
            is_default: key.is_default(),
        }
    }
}

/// A device's root key.
pub(crate) fn open_app_key(
    id: DeviceId,
    bytes: &[u8],
    sealer: &Sealer,
) -> Result<AppKey, StoreError> {
    let wrong =
        |error: Box<dyn std::error::Error + Send + Sync>| corrupt(TABLE, "app_key", &id, error);
    let bytes = sealer
        .open(&app_key_context(id), bytes)
        .map_err(|error| wrong(error.into()))?;
    let bytes = bytes.try_into().map_err(|_| wrong("not 16 bytes".into()))?;
    Ok(AppKey::from_bytes(bytes))
}

/// What a root key is sealed for.
fn app_key_context(id: DeviceId) -> String {
    format!("app_key:{id}")
}
