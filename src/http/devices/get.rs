//! `GET /api/v1/tenants/{tenant_id}/devices/{device_id}`: one device.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::IntoResponse;

use crate::http::AppState;
use crate::http::auth::Viewer;
use crate::http::etag::etag;
use crate::http::problem::{ApiError, Problem};

use super::{DeviceBody, device_of_path};

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
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such tenant or device", body = Problem),
    ),
)]
pub(in crate::http) async fn get(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path((tenant, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, ApiError> {
    let device = device_of_path(&state, &caller, &tenant, &id).await?;
    Ok((etag(device.version), Json(DeviceBody::new(device))))
}
