//! `DELETE /api/v1/tenants/{tenant_id}`: a tenant goes.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use downbeat_core::id::NetworkServerId;

use crate::http::AppState;
use crate::http::auth::PlatformAdmin;
use crate::http::etag::IfMatch;
use crate::http::problem::{ApiError, Problem};

use super::{of_path, refused};

/// Delete a tenant without devices
///
/// Its keys stop working at once, and its network server is forgotten. Its audit log stays. For the platform's
/// administrators.
#[utoipa::path(
    delete,
    path = "/api/v1/tenants/{tenant_id}",
    tag = "tenants",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("If-Match" = Option<String>, Header, description = "the `ETag` of what is to be deleted"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "It has devices, or their deletion in ChirpStack is not confirmed yet", body = Problem),
    ),
)]
pub(in crate::http) async fn delete(
    State(state): State<AppState>,
    PlatformAdmin(caller): PlatformAdmin,
    Path(tenant): Path<String>,
    if_match: IfMatch,
) -> Result<StatusCode, ApiError> {
    let tenant = of_path(&state, &caller, &tenant).await?;
    let version = if_match.demand(tenant.version)?;
    let (now, by) = (state.clock().now(), caller.by());
    let deleted = state
        .store()
        .delete_tenant(caller.scope, tenant.id, version, now, &by);
    deleted.await.map_err(refused)?;
    state.tenant_deleted(tenant.id);
    let server = NetworkServerId::Tenant(tenant.id);
    state.system().connect(server, None).await;
    Ok(StatusCode::NO_CONTENT)
}
