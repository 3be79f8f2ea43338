//! Where `ChirpStack` and the registry differ.

use std::collections::BTreeMap;

use downbeat_actors::port::StoreError;
use downbeat_core::id::{DevEui, DeviceId};
use sqlx::FromRow;
use uuid::Uuid;

use super::{corrupt, instant, millis, uuid};
use crate::store::{Difference, Drift, DriftKind};

const TABLE: &str = "drift";

#[derive(FromRow)]
pub(crate) struct DriftRow {
    pub(crate) dev_eui: String,
    pub(crate) device_id: Option<Uuid>,
    pub(crate) kind: String,
    pub(crate) chirpstack_name: Option<String>,
    pub(crate) application_id: Option<String>,
    pub(crate) device_profile_id: Option<String>,
    pub(crate) differences: String,
    pub(crate) found_at: i64,
    pub(crate) ignored: bool,
}

impl TryFrom<DriftRow> for Drift {
    type Error = StoreError;

    fn try_from(row: DriftRow) -> Result<Self, StoreError> {
        let key = row.dev_eui;
        let dev_eui: DevEui = key
            .parse()
            .map_err(|error: downbeat_core::id::ParseEuiError| {
                corrupt(TABLE, "dev_eui", &key, error)
            })?;
        let kind = DriftKind::by_name(&row.kind)
            .ok_or_else(|| corrupt(TABLE, "kind", &key, "unknown kind"))?;
        let differences: Vec<Difference> = serde_json::from_str(&row.differences)
            .map_err(|error| corrupt(TABLE, "differences", &key, error))?;
        let id = Uuid::from_u64_pair(0, dev_eui.as_u64());
        Ok(Self {
            dev_eui,
            device_id: row.device_id.map(DeviceId::from_uuid),
            kind,
            chirpstack_name: row.chirpstack_name,
            application_id: uuid(TABLE, "application_id", id, row.application_id)?,
            device_profile_id: uuid(TABLE, "device_profile_id", id, row.device_profile_id)?,
            differences,
            found_at: instant(row.found_at),
            ignored: row.ignored,
        })
    }
}

/// A drift as columns.
pub(crate) struct DriftValues {
    pub(crate) dev_eui: String,
    pub(crate) device_id: Option<Uuid>,
    pub(crate) kind: &'static str,
    pub(crate) chirpstack_name: Option<String>,
    pub(crate) application_id: Option<String>,
    pub(crate) device_profile_id: Option<String>,
    pub(crate) differences: String,
    pub(crate) found_at: i64,
    pub(crate) ignored: bool,
}

impl DriftValues {
    pub(crate) fn of(drift: &Drift) -> Self {
        Self {
            dev_eui: drift.dev_eui.to_string(),
            device_id: drift.device_id.map(DeviceId::as_uuid),
            kind: drift.kind.name(),
            chirpstack_name: drift.chirpstack_name.clone(),
            application_id: drift.application_id.map(|id| id.to_string()),
            device_profile_id: drift.device_profile_id.map(|id| id.to_string()),
            differences: serde_json::json!(drift.differences).to_string(),
            found_at: millis(drift.found_at),
            ignored: drift.ignored,
        }
    }
}

/// What stands after a comparison: what it found, each `DevEUI` once, with what is remembered of those that were there
/// before in the same kind.
pub(crate) fn carried_over(before: Vec<Drift>, found: &[Drift]) -> Vec<Drift> {
    let before: BTreeMap<DevEui, Drift> = before
        .into_iter()
        .map(|drift| (drift.dev_eui, drift))
        .collect();
    let after: BTreeMap<DevEui, Drift> = found
        .iter()
        .map(|drift| {
            let earlier = before.get(&drift.dev_eui);
            let (found_at, ignored) = earlier
                .filter(|earlier| earlier.kind == drift.kind)
                .map_or((drift.found_at, drift.ignored), |earlier| {
                    (earlier.found_at, earlier.ignored)
                });
            let drift = Drift {
                found_at,
                ignored,
                ..drift.clone()
            };
            (drift.dev_eui, drift)
        })
        .collect();
    after.into_values().collect()
}
