//! `GET /api/v1/tenants/{tenant_id}/network-server`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderName;

use crate::http::auth::Admin;
use crate::http::etag::etag;
use crate::http::problem::ApiError;
use crate::http::{AppState, tenants};
use crate::store::Scope;

use super::NetworkServerBody;

/// A tenant's own network server
///
/// 404 where it uses the service's.
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/network-server",
    tag = "network server",
    params(("tenant_id" = String, Path, description = "The tenant's id or name")),
    responses((status = 200, description = "How it is reached; `ETag` is its version", body = NetworkServerBody)),
)]
pub(in crate::http) async fn get(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Path(tenant): Path<String>,
) -> Result<([(HeaderName, String); 1], Json<NetworkServerBody>), ApiError> {
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    let scope = Scope::Tenant(tenant_id);
    let server = state.store().network_server(scope, tenant_id).await?;
    let server = server.ok_or(ApiError::NotFound("network server of its own"))?;
    Ok((etag(server.version), Json(NetworkServerBody::new(&server))))
}
