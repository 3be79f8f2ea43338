//! `GET /api/v1/tenants/{tenant_id}`: one tenant.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderName;

use crate::http::AppState;
use crate::http::auth::Viewer;
use crate::http::etag::etag;
use crate::http::problem::ApiError;

use super::{TenantBody, of_path};

/// One tenant
///
/// A tenant's own keys see it, too.
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}",
    tag = "tenants",
    params(("tenant_id" = String, Path, description = "The tenant's id or name")),
    responses((status = 200, description = "The tenant; `ETag` is its version", body = TenantBody)),
)]
pub(in crate::http) async fn get(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path(tenant): Path<String>,
) -> Result<([(HeaderName, String); 1], Json<TenantBody>), ApiError> {
    let tenant = of_path(&state, &caller, &tenant).await?;
    let body = TenantBody::new(&state, &tenant).await?;
    Ok((etag(tenant.version), Json(body)))
}
