//! `POST /api/v1/tenants/{tenant_id}/unclaimed/{dev_eui}/claim`: register a device that speaks.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use downbeat_core::id::{DevEui, DeviceId, Scope};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::auth::Admin;
use crate::http::devices::DeviceBody;
use crate::http::devices::create::{location, new_device};
use crate::http::devices::fields::{SecretText, WriteDevice};
use crate::http::extract::{JsonBody, NAME_MAX, Patch, path_field};
use crate::http::idempotency::{Made, Making, Target};
use crate::http::problem::{ApiError, Problem};
use crate::http::{AppState, registry, tenants};
use crate::store::UnclaimedDevice;

/// What is to be different from what was seen.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Desk 12", "tags": {"floor": "2"}}))]
pub(in crate::http) struct ClaimDevice {
    /// As when it is registered; ChirpStack's name of it if absent, or else its DevEUI.
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// As when it is registered.
    #[schema(max_length = 100)]
    device_type: Option<String>,
    /// As when it is registered.
    #[schema(max_length = 2000)]
    description: Option<String>,
    /// As when it is registered.
    tags: Option<BTreeMap<String, String>>,
    /// The application that was seen, if absent. Null, together with a `device_profile_id` that is null: somebody else
    /// keeps the device in ChirpStack.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    chirpstack_app_id: Patch<String>,
    /// The device profile that was seen, if absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    device_profile_id: Patch<String>,
    /// As when it is registered.
    join_eui: Option<String>,
    /// As when it is registered.
    #[serde(default)]
    #[schema(value_type = Option<String>, write_only)]
    app_key: Patch<SecretText>,
    /// As when it is registered.
    codec: Option<String>,
    /// As when it is registered.
    #[schema(value_type = Option<u32>, minimum = 10, maximum = 2_592_000)]
    uplink_interval_s: Option<i64>,
}

impl ClaimDevice {
    /// The device to register: what was seen, and what is to be different.
    fn over(self, seen: &UnclaimedDevice) -> WriteDevice {
        let seen = &seen.last;
        // Where only one of the two is known, as with ChirpStack v3, neither is of use.
        let known = seen.application_id.zip(seen.device_profile_id);
        let (application, profile) = known.unzip();
        WriteDevice {
            name: self
                .name
                .unwrap_or_else(|| name_of(&seen.name, seen.key.dev_eui)),
            device_type: self.device_type,
            description: self.description,
            tags: self.tags,
            lorawan_dev_eui: Some(seen.key.dev_eui.to_string()),
            chirpstack_app_id: self
                .chirpstack_app_id
                .over(application.map(|id| id.to_string())),
            device_profile_id: self
                .device_profile_id
                .over(profile.map(|id| id.to_string())),
            join_eui: self.join_eui,
            app_key: self.app_key,
            codec: self.codec,
            uplink_interval_s: self.uplink_interval_s,
            policy: None,
        }
    }
}

/// ChirpStack's name as one of ours, or the DevEUI.
fn name_of(chirpstack: &str, dev_eui: DevEui) -> String {
    let plain = chirpstack
        .chars()
        .filter(|character| !character.is_control());
    let plain: String = plain.take(NAME_MAX).collect();
    match plain.trim() {
        "" => dev_eui.to_string(),
        name => name.to_owned(),
    }
}

/// Register a device that speaks and that nobody has registered
///
/// With ChirpStack's application and device profile, as far as they were seen, and with what the body says.
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{tenant_id}/unclaimed/{dev_eui}/claim",
    tag = "devices",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("dev_eui" = String, Path, description = "16 hex digits"),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key and body give the same answer for a day"),
    ),
    request_body = ClaimDevice,
    responses(
        (status = 201, description = "It is registered", body = DeviceBody),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such tenant, or no such device is listed", body = Problem),
        (status = 409, description = "It was registered meanwhile, or the tenant has as many devices as it may", body = Problem),
    ),
)]
pub(in crate::http) async fn claim(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Path((tenant, dev_eui)): Path<(String, String)>,
    headers: HeaderMap,
    body: JsonBody<ClaimDevice>,
) -> Result<Response, ApiError> {
    let dev_eui: DevEui = path_field("dev_eui", &dev_eui)?;
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    let making = Making {
        scope: caller.scope,
        headers: &headers,
        operation: format!("POST /api/v1/tenants/{tenant_id}/unclaimed/{dev_eui}/claim"),
        body: &body.bytes,
        location,
    };
    let (state, scope, claim) = (&state, Scope::Tenant(tenant_id), body.value);
    let make = async |target: Target| {
        let id = DeviceId::from_uuid(target.id);
        if target.may_exist
            && let Some(earlier) = state.store().device(scope, id).await?
        {
            return Made::new(StatusCode::CREATED, &DeviceBody::new(earlier));
        }
        let seen = super::find(state, &caller, tenant_id, dev_eui).await?;
        let wanted = claim.over(&seen).checked()?;
        let device = new_device(id, tenant_id, wanted, state);
        let device = registry::create(state, scope, device, caller.by()).await?;
        Made::new(StatusCode::CREATED, &DeviceBody::new(device))
    };
    making.once(state, make).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_chirpstack_becomes_one_of_ours() {
        let dev_eui = DevEui::from_u64(0x2020_20ff_5033_0001);
        assert_eq!(name_of(" desk\u{7} 1 ", dev_eui), "desk 1");
        assert_eq!(name_of(" \n", dev_eui), "202020ff50330001");
        assert_eq!(name_of(&"ü".repeat(200), dev_eui).chars().count(), 100);
    }
}
