//! The audit log.

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use super::{corrupt, instant, millis};
use crate::store::{AuditEntry, By};

const TABLE: &str = "audit";

#[derive(FromRow)]
pub(crate) struct AuditRow {
    pub(crate) id: Uuid,
    pub(crate) at: i64,
    pub(crate) tenant_id: Option<Uuid>,
    pub(crate) key_id: Option<Uuid>,
    pub(crate) by_name: String,
    pub(crate) address: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) action: String,
    pub(crate) object_id: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

impl TryFrom<AuditRow> for AuditEntry {
    type Error = StoreError;

    fn try_from(row: AuditRow) -> Result<Self, StoreError> {
        let id = row.id;
        let address = row.address.map(|text| text.parse()).transpose();
        let address = address
            .map_err(|error: std::net::AddrParseError| corrupt(TABLE, "address", &id, error))?;
        let json = |column, text: Option<String>| {
            text.map(|text| serde_json::from_str::<Value>(&text))
                .transpose()
                .map_err(|error| corrupt(TABLE, column, &id, error))
        };
        Ok(Self {
            id,
            at: instant(row.at),
            tenant_id: row.tenant_id.map(TenantId::from_uuid),
            by: By {
                key_id: row.key_id,
                name: row.by_name,
                address,
                request_id: row.request_id,
            },
            action: row.action,
            object_id: row.object_id,
            before: json("before", row.before)?,
            after: json("after", row.after)?,
        })
    }
}

/// Columns of an entry that are not stored as they are.
pub(crate) struct AuditValues {
    pub(crate) at: i64,
    pub(crate) tenant_id: Option<Uuid>,
    pub(crate) address: Option<String>,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

impl AuditValues {
    pub(crate) fn of(entry: &AuditEntry) -> Self {
        Self {
            at: millis(entry.at),
            tenant_id: entry.tenant_id.map(TenantId::as_uuid),
            address: entry.by.address.map(|address| address.to_string()),
            before: entry.before.as_ref().map(Value::to_string),
            after: entry.after.as_ref().map(Value::to_string),
        }
    }
}
