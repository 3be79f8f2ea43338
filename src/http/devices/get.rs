//! `GET /api/v1/tenants/{tenant_id}/devices/{device_id}`: one device.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderName;
use axum::http::header::ETAG;
use downbeat_core::id::DeviceId;

use crate::http::auth::Viewer;
use crate::http::extract::path_field;
use crate::http::problem::{ApiError, Problem};
use crate::http::{AppState, tenants};

use super::DeviceBody;

/// One device
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/devices/{device_id}",
    tag = "devices",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("device_id" = String, Path, description = "The device's id"),
    ),
    responses(
        (status = 200, description = "The device; `ETag` is its version", body = DeviceBody),
        (status = 404, description = "No such tenant or device", body = Problem),
    ),
)]
pub(in crate::http) async fn get(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path((tenant, id)): Path<(String, String)>,
) -> Result<([(HeaderName, String); 1], Json<DeviceBody>), ApiError> {
    let id: DeviceId = path_field("device_id", &id)?;
    let tenant = tenants::of_path(&state, &caller, &tenant).await?;
    let found = state.store().device(caller.scope, id).await?;
    let found = found.filter(|device| device.tenant_id == tenant.id);
    let device = found.ok_or(ApiError::NotFound("device"))?;
    let within = state.device_online_within();
    let body = DeviceBody::new(&device, state.clock().now(), within);
    Ok(([(ETAG, format!("\"{}\"", device.version))], Json(body)))
}
