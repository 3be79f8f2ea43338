//! Tenants, and what a caller may see.

use downbeat_actors::port::StoreError;
use downbeat_core::device::PolicySettings;
use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;
use uuid::Uuid;

use super::{By, Page, PageRequest, Store, on_backend};

/// The name of the tenant that exists after the first start.
pub const DEFAULT_TENANT: &str = "default";

pub use downbeat_core::id::Scope;

/// What the platform's administrators decide about a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantFields {
    /// Unique.
    pub name: String,
    /// `ChirpStack`'s tenant that it is, on the network server that it uses: webhooks of another one are refused, and
    /// only its applications are imported. Unique.
    pub chirpstack_tenant_id: Option<Uuid>,
    /// How many devices it may have; `None`: as many as it likes.
    pub devices_max: Option<u32>,
    /// How many commands it may give within a minute; `None`: as many as it likes.
    pub commands_per_minute: Option<u32>,
    /// What its devices have otherwise than the configuration.
    pub policy: PolicySettings,
}

impl TenantFields {
    /// A tenant without limits.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            chirpstack_tenant_id: None,
            devices_max: None,
            commands_per_minute: None,
            policy: PolicySettings::default(),
        }
    }
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// What was decided about it.
    pub fields: TenantFields,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Grows by one with each change, from 1.
    pub version: u32,
}

/// Why a tenant was not made, changed or deleted.
#[derive(Debug, thiserror::Error)]
pub enum WriteTenantError {
    /// There is one of that name.
    #[error("there is a tenant of that name already")]
    NameTaken,
    /// Another tenant is that tenant of `ChirpStack`.
    #[error("another tenant is that tenant of ChirpStack")]
    ChirpstackTenantTaken,
    /// There is no such tenant, or the caller may not see it.
    #[error("there is no such tenant")]
    UnknownTenant,
    /// It has devices, or deletions in `ChirpStack` are still to be confirmed.
    #[error("the tenant has devices")]
    HasDevices,
    /// Somebody changed it since the caller read it.
    #[error("the tenant was changed by another")]
    VersionMismatch {
        /// The version that it has.
        current: u32,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Makes a tenant. For the platform's administrators: there is no scope.
    pub async fn create_tenant(&self, tenant: &Tenant, by: &By) -> Result<(), WriteTenantError> {
        on_backend!(self.create_tenant(tenant, by))
    }

    /// A tenant.
    pub async fn tenant(&self, scope: Scope, id: TenantId) -> Result<Option<Tenant>, StoreError> {
        on_backend!(self.tenant(scope, id))
    }

    /// The tenant of that name, exactly.
    pub async fn tenant_by_name(
        &self,
        scope: Scope,
        name: &str,
    ) -> Result<Option<Tenant>, StoreError> {
        on_backend!(self.tenant_by_name(scope, name))
    }

    /// The tenant that is that tenant of `ChirpStack`. It is a webhook that asks, before anybody's scope is known.
    pub async fn tenant_by_chirpstack_id(&self, id: Uuid) -> Result<Option<Tenant>, StoreError> {
        on_backend!(self.tenant_by_chirpstack_id(id))
    }

    /// Tenants, oldest first.
    pub async fn list_tenants(
        &self,
        scope: Scope,
        page: PageRequest,
    ) -> Result<Page<Tenant>, StoreError> {
        on_backend!(self.list_tenants(scope, page))
    }

    /// Replaces what is decided about a tenant, if it still has the version given (when one is given).
    pub async fn update_tenant(
        &self,
        scope: Scope,
        id: TenantId,
        fields: &TenantFields,
        version: Option<u32>,
        at: Timestamp,
        by: &By,
    ) -> Result<Tenant, WriteTenantError> {
        on_backend!(self.update_tenant(scope, id, fields, version, at, by))
    }

    /// Deletes a tenant without devices, with its keys and its network server, and returns it as it was, if it still
    /// has the version given (when one is given). Its audit log and its downlinks stay.
    pub async fn delete_tenant(
        &self,
        scope: Scope,
        id: TenantId,
        version: Option<u32>,
        at: Timestamp,
        by: &By,
    ) -> Result<Tenant, WriteTenantError> {
        on_backend!(self.delete_tenant(scope, id, version, at, by))
    }
}
