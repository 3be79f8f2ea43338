//! `PATCH /api/v1/tenants/{tenant_id}/devices/{device_id}`: change a device in part.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::IntoResponse;

use crate::http::auth::Admin;
use crate::http::etag::{IfMatch, etag};
use crate::http::extract::PatchBody;
use crate::http::problem::{ApiError, Problem};
use crate::http::{AppState, registry};
use crate::store::Scope;

use super::fields::PatchDevice;
use super::{DeviceBody, of_path};

/// Change a device
///
/// A JSON merge patch (RFC 7396): what is absent stays, null clears. ChirpStack follows in the background. Another
/// DevEUI or another codec ends the commands that are under way.
#[utoipa::path(
    patch,
    path = "/api/v1/tenants/{tenant_id}/devices/{device_id}",
    tag = "devices",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("device_id" = String, Path, description = "The device's id"),
        ("If-Match" = Option<String>, Header, description = "the version, from `ETag`, that is to be changed"),
    ),
    request_body(
        content((PatchDevice = "application/merge-patch+json"), (PatchDevice = "application/json")),
    ),
    responses(
        (status = 200, description = "The device as it is now; `ETag` is its version", body = DeviceBody),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such tenant or device", body = Problem),
        (status = 409, description = "The DevEUI is registered already", body = Problem),
        (status = 412, description = "It was changed meanwhile", body = Problem),
        (status = 413, description = "The body is too large", body = Problem),
        (status = 415, description = "The body is not JSON", body = Problem),
    ),
)]
pub(in crate::http) async fn patch(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Path((tenant, id)): Path<(String, String)>,
    if_match: IfMatch,
    PatchBody(change): PatchBody<PatchDevice>,
) -> Result<impl IntoResponse, ApiError> {
    let (tenant_id, id) = of_path(&state, &caller, &tenant, &id).await?;
    let scope = Scope::Tenant(tenant_id);
    let by = caller.by();
    let written = registry::update(&state, scope, id, &if_match, &by, |device| {
        change.clone().over(device)?.checked()
    });
    let device = written.await?.device;
    Ok((etag(device.version), Json(DeviceBody::new(device))))
}
