//! Tenants, and what a caller may see.

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;

/// The name of the tenant that exists after the first start.
pub const DEFAULT_TENANT: &str = "default";

/// Whose data a query may touch. Another tenant's rows do not exist for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everybody's.
    Platform,
    /// One tenant's.
    Tenant(TenantId),
}

impl Scope {
    /// The only tenant in it; `None` when that is everybody.
    pub const fn tenant(self) -> Option<TenantId> {
        match self {
            Self::Platform => None,
            Self::Tenant(id) => Some(id),
        }
    }

    /// Whether a tenant's data is in it.
    pub fn contains(self, tenant_id: TenantId) -> bool {
        self.tenant().is_none_or(|own| own == tenant_id)
    }
}

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
