//! Tenants, and what a caller may see.

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;

/// The name of the tenant that exists after the first start.
pub const DEFAULT_TENANT: &str = "default";

pub use downbeat_core::id::Scope;

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Unique.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Why a tenant was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateTenantError {
    /// There is one of that name.
    #[error("there is a tenant of that name already")]
    NameTaken,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}
