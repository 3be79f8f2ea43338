//! Tenants.

use downbeat_core::id::TenantId;
use sqlx::FromRow;
use uuid::Uuid;

use super::instant;
use crate::store::Tenant;

#[derive(FromRow)]
pub(crate) struct TenantRow {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) created_at: i64,
}

impl From<TenantRow> for Tenant {
    fn from(row: TenantRow) -> Self {
        Self {
            id: TenantId::from_uuid(row.id),
            name: row.name,
            created_at: instant(row.created_at),
        }
    }
}
