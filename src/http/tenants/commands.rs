//! How many commands a tenant may give within a minute.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use downbeat_core::id::{Scope, TenantId};
use downbeat_core::time::Timestamp;

use crate::http::auth::limits::Limits;
use crate::http::problem::ApiError;
use crate::store::Store;

/// A tenant's limit is read again after this.
const FRESH: Duration = Duration::from_secs(5);

/// Tenants whose limit is remembered.
const REMEMBERED_MAX: usize = 10_000;

/// The limits of the tenants that gave commands lately.
#[derive(Debug, Default)]
pub(in crate::http) struct TenantCommands {
    remembered: Mutex<HashMap<TenantId, Remembered>>,
    limits: Limits,
}

#[derive(Debug, Clone, Copy)]
struct Remembered {
    limit: Option<u32>,
    read_at: Timestamp,
}

impl TenantCommands {
    /// Counts a command, unless the tenant gave as many as it may: to be asked right before a command is given.
    pub(in crate::http) async fn check(
        &self,
        store: &Store,
        tenant_id: TenantId,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let Some(limit) = self.limit(store, tenant_id, now).await? else {
            return Ok(());
        };
        let standing = self.limits.take(tenant_id.as_uuid(), limit);
        match standing.retry_after {
            None => Ok(()),
            Some(retry_after) => Err(ApiError::TenantCommandsLimit { retry_after }),
        }
    }

    /// The tenant was changed: its limit is read anew.
    pub(in crate::http) fn forget(&self, tenant_id: TenantId) {
        self.remembered().remove(&tenant_id);
    }

    async fn limit(
        &self,
        store: &Store,
        tenant_id: TenantId,
        now: Timestamp,
    ) -> Result<Option<u32>, ApiError> {
        let known = self.remembered().get(&tenant_id).copied();
        if let Some(known) = known
            && now.since(known.read_at) < FRESH
        {
            return Ok(known.limit);
        }
        let tenant = store.tenant(Scope::Tenant(tenant_id), tenant_id).await?;
        let limit = tenant.and_then(|tenant| tenant.fields.commands_per_minute);
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, it| now.since(it.read_at) < FRESH);
        }
        if remembered.len() < REMEMBERED_MAX {
            let read_at = now;
            remembered.insert(tenant_id, Remembered { limit, read_at });
        }
        Ok(limit)
    }

    fn remembered(&self) -> MutexGuard<'_, HashMap<TenantId, Remembered>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
