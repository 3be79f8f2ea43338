//! `GET /api/v1/tenants/{tenant_id}/keys` and `GET /api/v1/keys`.

use axum::Json;
use axum::extract::{Path, State};

use crate::http::auth::{Admin, PlatformAdmin};
use crate::http::extract::QueryFields;
use crate::http::problem::ApiError;
use crate::http::{AppState, tenants};
use crate::store::Scope;

use super::{ApiKeyPage, ListQuery, page};

/// A tenant's keys, oldest first
///
/// Those that were taken back or have expired are among them.
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/keys",
    tag = "keys",
    params(("tenant_id" = String, Path, description = "The tenant's id or name"), ListQuery),
    responses((status = 200, description = "A page", body = ApiKeyPage)),
)]
pub(in crate::http) async fn of_tenant(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Path(tenant): Path<String>,
    QueryFields(query): QueryFields<ListQuery>,
) -> Result<Json<ApiKeyPage>, ApiError> {
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    let scope = Scope::Tenant(tenant_id);
    Ok(Json(page(&state, scope, &query).await?))
}

/// Every key there is, oldest first
///
/// The platform's and all tenants'. For the platform's administrators.
#[utoipa::path(
    get,
    path = "/api/v1/keys",
    tag = "keys",
    params(ListQuery),
    responses((status = 200, description = "A page", body = ApiKeyPage)),
)]
pub(in crate::http) async fn all(
    State(state): State<AppState>,
    PlatformAdmin(caller): PlatformAdmin,
    QueryFields(query): QueryFields<ListQuery>,
) -> Result<Json<ApiKeyPage>, ApiError> {
    Ok(Json(page(&state, caller.scope, &query).await?))
}
