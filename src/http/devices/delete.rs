//! `DELETE /api/v1/tenants/{tenant_id}/devices/{device_id}`: take a device out of the registry.

use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::http::auth::Admin;
use crate::http::etag::IfMatch;
use crate::http::problem::{ApiError, Problem};
use crate::http::{AppState, registry};
use crate::store::Scope;

use super::of_path;

/// Delete a device
///
/// Its commands that are under way end as cancelled. A device that was kept in step with ChirpStack is deleted there in
/// the background, however long that takes. Its history and its downlinks stay until their time.
#[utoipa::path(
    delete,
    path = "/api/v1/tenants/{tenant_id}/devices/{device_id}",
    tag = "devices",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("device_id" = String, Path, description = "The device's id"),
        ("If-Match" = Option<String>, Header, description = "the version, from `ETag`, that is to be deleted"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such tenant or device", body = Problem),
        (status = 412, description = "It was changed meanwhile", body = Problem),
    ),
)]
pub(in crate::http) async fn delete(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Path((tenant, id)): Path<(String, String)>,
    if_match: IfMatch,
) -> Result<StatusCode, ApiError> {
    let (tenant_id, id) = of_path(&state, &caller, &tenant, &id).await?;
    let scope = Scope::Tenant(tenant_id);
    registry::delete(&state, scope, id, &if_match, &caller.by()).await?;
    Ok(StatusCode::NO_CONTENT)
}
