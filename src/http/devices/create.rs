//! `POST /api/v1/tenants/{tenant_id}/devices`: register a device.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use downbeat_core::codec::CodecKind;
use downbeat_core::id::{DeviceId, TenantId};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::auth::{Admin, Caller};
use crate::http::extract::{Fields, JsonBody};
use crate::http::idempotency::{Made, Making, Target};
use crate::http::problem::{ApiError, Conflict, Problem};
use crate::http::{AppState, tenants};
use crate::store::{By, DeviceFields, NewDevice, WriteDeviceError};

use super::DeviceBody;

const NAME_MAX: usize = 100;
const DESCRIPTION_MAX: usize = 2_000;
const TAGS_MAX: usize = 32;

/// A device to register.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Desk 12", "lorawan_dev_eui": "202020410a3f0012"}))]
pub(in crate::http) struct CreateDevice {
    /// 1 to 100 characters.
    name: String,
    /// At most 100 characters.
    #[serde(default)]
    device_type: Option<String>,
    /// At most 2000 characters.
    #[serde(default)]
    description: Option<String>,
    /// At most 32; names and values have at most 100 characters.
    #[serde(default)]
    tags: Option<BTreeMap<String, String>>,
    /// 16 hex digits; unique over all tenants.
    #[serde(default)]
    lorawan_dev_eui: Option<String>,
    /// A UUID.
    #[serde(default)]
    chirpstack_app_id: Option<String>,
    /// A UUID.
    #[serde(default)]
    device_profile_id: Option<String>,
    /// 16 hex digits.
    #[serde(default)]
    join_eui: Option<String>,
    /// `kuando_busylight`, if absent, or `generic`.
    #[serde(default)]
    codec: Option<String>,
}

/// Register a device
///
/// A registered device with a DevEUI can be commanded, and what ChirpStack tells of it takes effect.
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{tenant_id}/devices",
    tag = "devices",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key and body give the same answer for a day"),
    ),
    request_body = CreateDevice,
    responses(
        (status = 201, description = "It is registered", body = DeviceBody),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 403, description = "The key may not do this", body = Problem),
        (status = 404, description = "No such tenant", body = Problem),
        (status = 409, description = "The DevEUI is registered already", body = Problem),
    ),
)]
pub(in crate::http) async fn create(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: JsonBody<CreateDevice>,
) -> Result<Response, ApiError> {
    let tenant = tenants::of_path(&state, &caller, &tenant).await?;
    let fields = checked(body.value)?;
    let making = Making {
        scope: caller.scope,
        headers: &headers,
        operation: format!("POST /api/v1/tenants/{}/devices", tenant.id),
        body: &body.bytes,
        location,
    };
    let make = |target| register(&state, caller, tenant.id, fields, target);
    making.once(&state, make).await
}

async fn register(
    state: &AppState,
    caller: Caller,
    tenant_id: TenantId,
    fields: DeviceFields,
    target: Target,
) -> Result<Made, ApiError> {
    let (id, now) = (DeviceId::from_uuid(target.id), state.clock().now());
    let within = state.device_online_within();
    if target.may_exist
        && let Some(earlier) = state.store().device(caller.scope, id).await?
    {
        return Made::new(StatusCode::CREATED, &DeviceBody::new(&earlier, now, within));
    }
    let device = NewDevice {
        id,
        tenant_id,
        created_at: now,
        fields,
        app_key: None,
    };
    match state
        .store()
        .create_device(caller.scope, &device, &By::downbeat())
        .await
    {
        Ok(device) => Made::new(StatusCode::CREATED, &DeviceBody::new(&device, now, within)),
        Err(WriteDeviceError::DevEuiTaken) => Err(ApiError::Conflict(Conflict::DevEuiTaken)),
        Err(WriteDeviceError::UnknownTenant) => Err(ApiError::NotFound("tenant")),
        Err(WriteDeviceError::Store(error)) => Err(error.into()),
        Err(
            error @ (WriteDeviceError::TenantFull
            | WriteDeviceError::UnknownDevice
            | WriteDeviceError::VersionMismatch { .. }),
        ) => Err(ApiError::Internal(Box::new(error))),
    }
}

fn location(body: &Value) -> Option<String> {
    let text = |name| body.get(name).and_then(Value::as_str);
    Some(format!(
        "/api/v1/tenants/{}/devices/{}",
        text("tenant_id")?,
        text("id")?
    ))
}

fn checked(body: CreateDevice) -> Result<DeviceFields, ApiError> {
    let mut fields = Fields::default();
    let name = body.name.trim();
    let name_message = "must have 1 to 100 characters, none of them a control character";
    fields.check(
        (1..=NAME_MAX).contains(&length(name)) && is_plain(name),
        "name",
        name_message,
    );
    let device_type = body.device_type.unwrap_or_default();
    let type_message = "must have at most 100 characters, none of them a control character";
    fields.check(
        length(&device_type) <= NAME_MAX && is_plain(&device_type),
        "device_type",
        type_message,
    );
    let description = body.description.unwrap_or_default();
    let description_message = "must have at most 2000 characters";
    fields.check(
        length(&description) <= DESCRIPTION_MAX,
        "description",
        description_message,
    );
    let tags = body.tags.unwrap_or_default();
    fields.check(tags.len() <= TAGS_MAX, "tags", "must be at most 32");
    for (tag, value) in &tags {
        let tag_message = "must have a name of 1 to 100 and a value of at most 100 characters";
        let holds = (1..=NAME_MAX).contains(&length(tag)) && length(value) <= NAME_MAX;
        fields.check(
            holds && is_plain(tag) && is_plain(value),
            "tags",
            tag_message,
        );
    }
    let codec = body.codec.as_deref().map(CodecKind::by_name);
    fields.check(
        codec != Some(None),
        "codec",
        "must be kuando_busylight or generic",
    );
    let uuid_of = |fields: &mut Fields, field: &str, text: Option<&str>| -> Option<Uuid> {
        fields.parsed(field, text)
    };
    let checked = DeviceFields {
        name: name.to_owned(),
        description,
        device_type,
        tags,
        codec: codec.flatten().unwrap_or(CodecKind::KuandoBusylight),
        dev_eui: fields.parsed("lorawan_dev_eui", body.lorawan_dev_eui.as_deref()),
        chirpstack_app_id: uuid_of(
            &mut fields,
            "chirpstack_app_id",
            body.chirpstack_app_id.as_deref(),
        ),
        device_profile_id: uuid_of(
            &mut fields,
            "device_profile_id",
            body.device_profile_id.as_deref(),
        ),
        join_eui: fields.parsed("join_eui", body.join_eui.as_deref()),
        uplink_interval: None,
    };
    fields.done(checked)
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn is_plain(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: Value) -> Result<DeviceFields, ApiError> {
        checked(serde_json::from_value(body).unwrap())
    }

    #[test]
    fn a_name_is_enough_and_everything_is_taken_over() {
        let device = read(json!({"name": " Desk 12 "})).unwrap();
        assert_eq!(
            (device.name.as_str(), device.codec),
            ("Desk 12", CodecKind::KuandoBusylight)
        );
        let device = read(json!({
            "name": "Desk", "device_type": "lamp", "description": "by the\nwindow", "tags": {"floor": "2"},
            "lorawan_dev_eui": "20-20-20-41-0A-3F-00-12", "join_eui": "2020204100000000", "codec": "generic",
            "chirpstack_app_id": "DA9605E6DA8149E0B78929BD8A051BC6",
            "device_profile_id": "b72b3130-32e0-4ab5-a7b5-ef1cddb9d204",
        }))
        .unwrap();
        assert_eq!(device.dev_eui.unwrap().to_string(), "202020410a3f0012");
        assert_eq!(
            device.chirpstack_app_id.unwrap().to_string(),
            "da9605e6-da81-49e0-b789-29bd8a051bc6"
        );
        assert_eq!(device.codec, CodecKind::Generic);
    }

    #[test]
    fn every_wrong_field_is_named() {
        let body = json!({
            "name": " ", "device_type": "a\u{7}", "description": "x".repeat(2_001), "tags": {"": "x"},
            "lorawan_dev_eui": "202020410a3f001", "join_eui": "x", "codec": "morse", "chirpstack_app_id": "7",
            "device_profile_id": "",
        });
        let Err(ApiError::Invalid(errors)) = read(body) else {
            panic!("nothing was wrong")
        };
        let named: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        let expected = [
            "name",
            "device_type",
            "description",
            "tags",
            "codec",
            "lorawan_dev_eui",
            "chirpstack_app_id",
            "device_profile_id",
            "join_eui",
        ];
        assert_eq!(named, expected);
    }
}
