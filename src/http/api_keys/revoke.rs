//! `DELETE /api/v1/tenants/{tenant_id}/keys/{key_id}` and `DELETE /api/v1/keys/{key_id}`.

use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::http::auth::{Admin, PlatformAdmin};
use crate::http::problem::ApiError;
use crate::http::{AppState, tenants};
use crate::store::Scope;

use super::{of_path, take_back};

/// Take one of a tenant's keys back
///
/// It stops working at once, sessions begun with it too, and open streams end. It stays in the list.
#[utoipa::path(
    delete,
    path = "/api/v1/tenants/{tenant_id}/keys/{key_id}",
    tag = "keys",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("key_id" = String, Path, description = "The key's id"),
    ),
    responses((status = 204, description = "It does not work any more")),
)]
pub(in crate::http) async fn of_tenant(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Path((tenant, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    let scope = Scope::Tenant(tenant_id);
    let key = of_path(&state, scope, &id).await?;
    take_back(&state, &caller, scope, &key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take a key back, whosever it is
///
/// For the platform's administrators. Their last key cannot be taken back.
#[utoipa::path(
    delete,
    path = "/api/v1/keys/{key_id}",
    tag = "keys",
    params(("key_id" = String, Path, description = "The key's id")),
    responses(
        (status = 204, description = "It does not work any more"),
        (status = 409, description = "It is the last key of the platform's administrators", body = crate::http::Problem),
    ),
)]
pub(in crate::http) async fn of_all(
    State(state): State<AppState>,
    PlatformAdmin(caller): PlatformAdmin,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let key = of_path(&state, caller.scope, &id).await?;
    take_back(&state, &caller, caller.scope, &key).await?;
    Ok(StatusCode::NO_CONTENT)
}
