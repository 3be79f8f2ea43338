//! API keys.

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use sqlx::FromRow;
use uuid::Uuid;

use super::{corrupt, instant};
use crate::store::{ApiKey, ApiKeyId, Role};

#[derive(FromRow)]
pub(crate) struct ApiKeyRow {
    pub(crate) id: Uuid,
    pub(crate) tenant_id: Option<Uuid>,
    pub(crate) role: String,
    pub(crate) name: String,
    pub(crate) prefix: String,
    pub(crate) created_at: i64,
    pub(crate) expires_at: Option<i64>,
    pub(crate) revoked_at: Option<i64>,
    pub(crate) requests_per_minute: Option<i64>,
    pub(crate) last_used_at: Option<i64>,
}

impl TryFrom<ApiKeyRow> for ApiKey {
    type Error = StoreError;

    fn try_from(row: ApiKeyRow) -> Result<Self, StoreError> {
        let role = Role::by_name(&row.role)
            .ok_or_else(|| corrupt("api_key", "role", &row.id, "unknown role"))?;
        let requests_per_minute = row.requests_per_minute.map(u32::try_from).transpose();
        let requests_per_minute = requests_per_minute
            .map_err(|error| corrupt("api_key", "requests_per_minute", &row.id, error))?;
        Ok(Self {
            id: ApiKeyId::from_uuid(row.id),
            tenant_id: row.tenant_id.map(TenantId::from_uuid),
            role,
            name: row.name,
            prefix: row.prefix,
            created_at: instant(row.created_at),
            expires_at: row.expires_at.map(instant),
            revoked_at: row.revoked_at.map(instant),
            requests_per_minute,
            last_used_at: row.last_used_at.map(instant),
        })
    }
}
