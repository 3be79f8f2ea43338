//! Tenants: the one of a path, and how they are administered.

pub(super) mod commands;

use crate::store::{DEFAULT_TENANT, Tenant};

use super::AppState;
use super::auth::Caller;
use super::problem::ApiError;

/// The tenant that a path names by its id or its name. Another tenant's is not found.
pub(super) async fn of_path(
    state: &AppState,
    caller: &Caller,
    text: &str,
) -> Result<Tenant, ApiError> {
    let tenant = match text.parse() {
        Ok(id) => state.store().tenant(caller.scope, id).await?,
        Err(_) => state.store().tenant_by_name(caller.scope, text).await?,
    };
    tenant.ok_or(ApiError::NotFound("tenant"))
}

/// The tenant that a signed-in person looks at: the key's, or the default one.
pub(super) async fn of_caller(state: &AppState, caller: &Caller) -> Result<Tenant, ApiError> {
    let tenant = match caller.scope.tenant() {
        Some(id) => state.store().tenant(caller.scope, id).await?,
        None => {
            state
                .store()
                .tenant_by_name(caller.scope, DEFAULT_TENANT)
                .await?
        }
    };
    tenant.ok_or(ApiError::NotFound("tenant"))
}
