//! Tenants' own network servers.

use downbeat_actors::port::StoreError;
use downbeat_core::id::{NetworkServerId, TenantId};
use downbeat_core::time::Timestamp;
use secrecy::SecretString;

use super::{By, Scope, Store, on_backend};

/// How a tenant's own `ChirpStack` is reached.
#[derive(Debug, Clone)]
pub struct TenantNetworkServer {
    /// Whose.
    pub tenant_id: TenantId,
    /// Its gRPC address, `http://…` or `https://…`.
    pub url: String,
    /// An API key of it. Stored sealed.
    pub api_key: SecretString,
    /// When it was set first.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Grows by one with each change, from 1.
    pub version: u32,
}

/// A network server to be set.
#[derive(Debug, Clone)]
pub struct NetworkServerFields {
    /// Its gRPC address.
    pub url: String,
    /// Its API key; `None` keeps the one that is there.
    pub api_key: Option<SecretString>,
}

/// Why a tenant's network server was not set.
#[derive(Debug, thiserror::Error)]
pub enum WriteNetworkServerError {
    /// There is no such tenant, or the caller may not see it.
    #[error("there is no such tenant")]
    UnknownTenant,
    /// There is none yet, so that its API key has to be given.
    #[error("the API key is missing")]
    ApiKeyMissing,
    /// The tenant has no network server of its own.
    #[error("the tenant has no network server of its own")]
    Unknown,
    /// Devices of the tenant are on the network server that it used so far. Sessions do not move from one server to
    /// another, so the devices have to be taken out first.
    #[error("devices of the tenant are on another network server")]
    HasDevices,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// A tenant's own network server.
    pub async fn network_server(
        &self,
        scope: Scope,
        tenant_id: TenantId,
    ) -> Result<Option<TenantNetworkServer>, StoreError> {
        on_backend!(self.network_server(scope, tenant_id))
    }

    /// Every tenant's own network server.
    pub async fn list_network_servers(&self) -> Result<Vec<TenantNetworkServer>, StoreError> {
        on_backend!(self.list_network_servers())
    }

    /// The network server that a tenant's new devices are on. An unknown tenant's is the configuration's.
    pub async fn network_server_of(
        &self,
        tenant_id: TenantId,
    ) -> Result<NetworkServerId, StoreError> {
        on_backend!(self.network_server_of(tenant_id))
    }

    /// Sets a tenant's own network server. Setting it again changes its address and key, and wishes all its devices
    /// anew.
    pub async fn put_network_server(
        &self,
        scope: Scope,
        tenant_id: TenantId,
        fields: &NetworkServerFields,
        at: Timestamp,
        by: &By,
    ) -> Result<TenantNetworkServer, WriteNetworkServerError> {
        on_backend!(self.put_network_server(scope, tenant_id, fields, at, by))
    }

    /// Takes a tenant's own network server away; it uses the configuration's from then on.
    pub async fn delete_network_server(
        &self,
        scope: Scope,
        tenant_id: TenantId,
        at: Timestamp,
        by: &By,
    ) -> Result<(), WriteNetworkServerError> {
        on_backend!(self.delete_network_server(scope, tenant_id, at, by))
    }
}
