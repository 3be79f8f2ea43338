//! Tenants.

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use sqlx::FromRow;
use uuid::Uuid;

use super::{corrupt, instant, policy, uuid};
use crate::store::{Tenant, TenantFields};

const TABLE: &str = "tenant";

#[derive(FromRow)]
pub(crate) struct TenantRow {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) chirpstack_tenant_id: Option<String>,
    pub(crate) devices_max: Option<i64>,
    pub(crate) commands_per_minute: Option<i64>,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) version: i64,
    pub(crate) policy: String,
}

impl TryFrom<TenantRow> for Tenant {
    type Error = StoreError;

    fn try_from(row: TenantRow) -> Result<Self, StoreError> {
        let id = row.id;
        let number = |column, value: i64| {
            u32::try_from(value).map_err(|error| corrupt(TABLE, column, &id, error))
        };
        let limit =
            |column, value: Option<i64>| value.map(|value| number(column, value)).transpose();
        Ok(Self {
            id: TenantId::from_uuid(id),
            fields: TenantFields {
                name: row.name,
                chirpstack_tenant_id: uuid(
                    TABLE,
                    "chirpstack_tenant_id",
                    id,
                    row.chirpstack_tenant_id,
                )?,
                devices_max: limit("devices_max", row.devices_max)?,
                commands_per_minute: limit("commands_per_minute", row.commands_per_minute)?,
                policy: policy(TABLE, id, &row.policy)?,
            },
            created_at: instant(row.created_at),
            updated_at: instant(row.updated_at),
            version: number("version", row.version)?,
        })
    }
}
