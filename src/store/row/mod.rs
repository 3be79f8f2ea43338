//! What the databases have in common: rows, and the domain's types that they hold.

mod api_key;
mod audit;
pub(crate) mod batch;
mod browser_session;
mod device;
mod downlink;
mod drift;
mod event;
mod figures;
mod gateway;
mod idempotency;
mod job;
mod network_server;
mod outcome;
mod seal_check;
mod sync;
mod telemetry;
mod tenant;
mod unclaimed;

use std::time::Duration;

use downbeat_actors::port::StoreError;
use downbeat_core::device::PolicySettings;
use downbeat_core::id::{DevEui, TenantId};
use downbeat_core::time::Timestamp;
use uuid::Uuid;

use super::Scope;

pub(crate) use api_key::ApiKeyRow;
pub(crate) use audit::{AuditRow, AuditValues};
pub(crate) use browser_session::{BrowserSessionRow, SELECT_SESSIONS};
pub(crate) use device::{AppKeyValues, DeviceRow, FieldValues, RevisionRow, open_app_key};
pub(crate) use downlink::{DownlinkRow, timeline};
pub(crate) use drift::{DriftRow, DriftValues, carried_over};
pub(crate) use event::{EventRow, SentRow, event_id, first_id_of, sent_lately};
pub(crate) use figures::{FiguresRow, Named, UnderWay};
pub(crate) use gateway::{GatewayRow, LinksRow};
pub(crate) use idempotency::{ReservationRow, scope_of};
pub(crate) use job::{
    ChangeValues, ItemRow, JobItemRow, JobRow, JobValues, NewItemValues, ProgressValues,
    UnderWayRow, counted, counts_json, hearings, late_proof, unverified,
};
pub(crate) use network_server::{NetworkServerRow, seal_context as network_server_context};
pub(crate) use outcome::{
    OutcomeAttemptsRow, OutcomeRow, OutcomeSpanRow, OutcomeTagRow, OutcomeValues, states_under_way,
};
pub(crate) use seal_check::{SEAL_CHECK, opens_seal_check};
pub(crate) use sync::{StoredSyncRow, device_key, new_sync, of_generation, to_generation};
pub(crate) use telemetry::{
    Kept, ReportRow, TelemetryFieldRow, TelemetryPointRow, TelemetryWindow,
};
pub(crate) use tenant::TenantRow;
pub(crate) use unclaimed::UnclaimedRow;

/// A column that breaks our rules.
pub(crate) fn corrupt(
    table: &'static str,
    column: &'static str,
    key: &dyn std::fmt::Display,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::Corrupt {
        table,
        column,
        key: key.to_string(),
        source: source.into(),
    }
}

pub(crate) fn parse_dev_eui(
    text: &str,
    table: &'static str,
    key: Uuid,
) -> Result<DevEui, StoreError> {
    text.parse()
        .map_err(|error: downbeat_core::id::ParseEuiError| corrupt(table, "dev_eui", &key, error))
}

/// The scope as a value to compare a tenant's column with; `NULL` compares with none.
pub(crate) fn tenant_of(scope: Scope) -> Option<Uuid> {
    scope.tenant().map(TenantId::as_uuid)
}

pub(crate) fn millis(at: Timestamp) -> i64 {
    at.as_millis()
}

pub(crate) fn instant(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A span of time; what no 292 million years hold is as good as for ever.
pub(crate) fn span(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// An id of `ChirpStack`, kept as text.
pub(crate) fn uuid(
    table: &'static str,
    column: &'static str,
    key: Uuid,
    text: Option<String>,
) -> Result<Option<Uuid>, StoreError> {
    text.map(|text| text.parse())
        .transpose()
        .map_err(|error: uuid::Error| corrupt(table, column, &key, error))
}

/// A count as a column.
pub(crate) fn of_count(rows: u64) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// A count, which is never negative.
pub(crate) fn count(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or(0)
}

/// A policy's settings of their column.
pub(crate) fn policy(
    table: &'static str,
    id: Uuid,
    text: &str,
) -> Result<PolicySettings, StoreError> {
    serde_json::from_str(text).map_err(|error| corrupt(table, "policy", &id, error))
}

/// The column of a policy's settings.
pub(crate) fn policy_text(settings: &PolicySettings) -> String {
    serde_json::to_string(settings).expect("numbers and truth values under fixed names")
}
