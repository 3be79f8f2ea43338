//! Tenants' own network servers.

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use secrecy::SecretString;
use sqlx::FromRow;
use uuid::Uuid;

use super::{corrupt, instant};
use crate::seal::Sealer;
use crate::store::TenantNetworkServer;

const TABLE: &str = "network_server";

#[derive(FromRow)]
pub(crate) struct NetworkServerRow {
    pub(crate) tenant_id: Uuid,
    pub(crate) url: String,
    pub(crate) api_key: Vec<u8>,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) version: i64,
}

impl NetworkServerRow {
    pub(crate) fn open(self, sealer: &Sealer) -> Result<TenantNetworkServer, StoreError> {
        let id = self.tenant_id;
        let wrong =
            |error: Box<dyn std::error::Error + Send + Sync>| corrupt(TABLE, "api_key", &id, error);
        let api_key = sealer
            .open(&seal_context(TenantId::from_uuid(id)), &self.api_key)
            .map_err(|error| wrong(error.into()))?;
        let api_key = String::from_utf8(api_key).map_err(|_| wrong("not text".into()))?;
        let version =
            u32::try_from(self.version).map_err(|error| corrupt(TABLE, "version", &id, error))?;
        Ok(TenantNetworkServer {
            tenant_id: TenantId::from_uuid(id),
            url: self.url,
            api_key: SecretString::from(api_key),
            created_at: instant(self.created_at),
            updated_at: instant(self.updated_at),
            version,
        })
    }
}

/// What its API key is sealed for.
pub(crate) fn seal_context(tenant_id: TenantId) -> String {
    format!("network_server:{tenant_id}")
}
