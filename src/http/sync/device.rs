//! `POST /api/v1/tenants/{tenant_id}/devices/{device_id}/sync`: look at ChirpStack's device again.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::auth::Operator;
use crate::http::devices::{DeviceBody, of_path};
use crate::http::etag::etag;
use crate::http::extract::{Fields, QueryFields};
use crate::http::problem::{ApiError, Conflict, Problem};
use crate::http::{AppState, registry};
use crate::store::{Role, Scope};

/// How.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct SyncQuery {
    /// `true`: also if ChirpStack's device belongs to somebody else, and with the `AppKey` once more; needs the role admin.
    #[param(value_type = Option<bool>)]
    force: Option<String>,
}

/// Bring ChirpStack in step with a device
///
/// In the background: `sync` of the device tells how far it is.
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{tenant_id}/devices/{device_id}/sync",
    tag = "devices",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("device_id" = String, Path, description = "The device's id"),
        SyncQuery,
    ),
    responses(
        (status = 202, description = "It is being done", body = DeviceBody),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such tenant or device", body = Problem),
        (status = 409, description = "The device is not kept in step with ChirpStack", body = Problem),
    ),
)]
pub(in crate::http) async fn sync(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path((tenant, id)): Path<(String, String)>,
    QueryFields(query): QueryFields<SyncQuery>,
) -> Result<impl IntoResponse, ApiError> {
    let mut fields = Fields::default();
    let force = query.force.as_deref().map(|it| it.parse().ok());
    fields.check(force != Some(None), "force", "must be true or false");
    let force = fields.done(force.flatten().unwrap_or(false))?;
    if force && caller.role != Role::Admin {
        return Err(ApiError::Forbidden(
            "Force needs a key with the role admin.",
        ));
    }
    let (tenant_id, id) = of_path(&state, &caller, &tenant, &id).await?;
    let scope = Scope::Tenant(tenant_id);
    let requested = registry::request_sync(&state, scope, id, force, caller.by()).await?;
    let device = state.store().device(scope, id).await?;
    let device = device.ok_or(ApiError::NotFound("device"))?;
    if !requested {
        return Err(ApiError::Conflict(Conflict::NotSynchronized));
    }
    let etag = etag(device.version);
    Ok((StatusCode::ACCEPTED, etag, Json(DeviceBody::new(device))))
}
