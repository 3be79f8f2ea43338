//! `GET /api/v1/tenants/{tenant_id}/keys/{key_id}` and `GET /api/v1/keys/{key_id}`.

use axum::Json;
use axum::extract::{Path, State};

use crate::http::auth::{Admin, PlatformAdmin};
use crate::http::problem::ApiError;
use crate::http::{AppState, tenants};
use crate::store::Scope;

use super::{ApiKeyBody, of_path};

/// One of a tenant's keys
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/keys/{key_id}",
    tag = "keys",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("key_id" = String, Path, description = "The key's id"),
    ),
    responses((status = 200, description = "What is known of it, without the key", body = ApiKeyBody)),
)]
pub(in crate::http) async fn of_tenant(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Path((tenant, id)): Path<(String, String)>,
) -> Result<Json<ApiKeyBody>, ApiError> {
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    let key = of_path(&state, Scope::Tenant(tenant_id), &id).await?;
    Ok(Json(ApiKeyBody::new(&key)))
}

/// One key, whosever it is
///
/// For the platform's administrators.
#[utoipa::path(
    get,
    path = "/api/v1/keys/{key_id}",
    tag = "keys",
    params(("key_id" = String, Path, description = "The key's id")),
    responses((status = 200, description = "What is known of it, without the key", body = ApiKeyBody)),
)]
pub(in crate::http) async fn of_all(
    State(state): State<AppState>,
    PlatformAdmin(caller): PlatformAdmin,
    Path(id): Path<String>,
) -> Result<Json<ApiKeyBody>, ApiError> {
    let key = of_path(&state, caller.scope, &id).await?;
    Ok(Json(ApiKeyBody::new(&key)))
}
