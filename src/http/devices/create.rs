//! `POST /api/v1/tenants/{tenant_id}/devices`: register a device.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use downbeat_core::id::{DeviceId, TenantId};
use serde_json::Value;

use crate::http::auth::{Admin, Caller};
use crate::http::extract::{JsonBody, Patch};
use crate::http::idempotency::{Made, Making, Target};
use crate::http::problem::{ApiError, Problem};
use crate::http::{AppState, registry, tenants};
use crate::store::{NewDevice, Scope};

use super::DeviceBody;
use super::fields::{WantedDevice, WriteDevice};

/// Register a device
///
/// It is answered at once. A device with a DevEUI can be commanded, and what ChirpStack tells of it takes effect. One
/// with an application and a device profile is made and kept in ChirpStack, in the background: `sync` tells how far that
/// is. One with a DevEUI alone is in ChirpStack by somebody else's doing.
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{tenant_id}/devices",
    tag = "devices",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key and body give the same answer for a day"),
    ),
    request_body = WriteDevice,
    responses(
        (status = 201, description = "It is registered", body = DeviceBody),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such tenant", body = Problem),
        (status = 409, description = "The DevEUI is registered already, or the tenant has as many devices as it may", body = Problem),
        (status = 413, description = "The body is too large", body = Problem),
        (status = 415, description = "The body is not JSON", body = Problem),
        (status = 422, description = "The idempotency key was used with another body", body = Problem),
    ),
)]
pub(in crate::http) async fn create(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: JsonBody<WriteDevice>,
) -> Result<Response, ApiError> {
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    let wanted = body.value.checked()?;
    let making = Making {
        scope: caller.scope,
        headers: &headers,
        operation: format!("POST /api/v1/tenants/{tenant_id}/devices"),
        body: &body.bytes,
        location,
    };
    let make = |target| register(&state, &caller, tenant_id, wanted, target);
    making.once(&state, make).await
}

async fn register(
    state: &AppState,
    caller: &Caller,
    tenant_id: TenantId,
    wanted: WantedDevice,
    target: Target,
) -> Result<Made, ApiError> {
    let (id, scope) = (DeviceId::from_uuid(target.id), Scope::Tenant(tenant_id));
    if target.may_exist
        && let Some(earlier) = state.store().device(scope, id).await?
    {
        return Made::new(StatusCode::CREATED, &DeviceBody::new(earlier));
    }
    let device = new_device(id, tenant_id, wanted, state);
    let device = registry::create(state, scope, device, caller.by()).await?;
    Made::new(StatusCode::CREATED, &DeviceBody::new(device))
}

/// A device to be registered now.
pub(in crate::http) fn new_device(
    id: DeviceId,
    tenant_id: TenantId,
    wanted: WantedDevice,
    state: &AppState,
) -> NewDevice {
    NewDevice {
        id,
        tenant_id,
        created_at: state.clock().now(),
        fields: wanted.fields,
        app_key: match wanted.app_key {
            Patch::Set(key) => Some(key),
            Patch::Keep | Patch::Clear => None,
        },
    }
}

pub(in crate::http) fn location(body: &Value) -> Option<String> {
    let text = |name| body.get(name).and_then(Value::as_str);
    Some(format!(
        "/api/v1/tenants/{}/devices/{}",
        text("tenant_id")?,
        text("id")?
    ))
}
