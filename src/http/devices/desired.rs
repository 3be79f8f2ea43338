//! `GET`, `PUT` and `DELETE /api/v1/devices/{dev_eui}/desired`: the light that stays, without waiting for it.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use downbeat_core::id::{DevEui, DeviceKey};
use downbeat_core::light::{Color, LightState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::AppState;
use crate::http::auth::{Caller, Operator, Viewer};
use crate::http::extract::{Fields, JsonBody, Level, path_field};
use crate::http::problem::{ApiError, Problem};
use crate::store::Device;

use super::{LightBody, ReportedBody};

/// A light: its colour as `red`, `green` and `blue`, or as `color`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({"color": "#ff0000"}))]
pub(in crate::http) struct DesireLight {
    red: Option<Level>,
    blue: Option<Level>,
    green: Option<Level>,
    /// `#rrggbb`.
    color: Option<String>,
    /// Units of 0.1 s; 255 if absent.
    on_time: Option<Level>,
    /// Units of 0.1 s; 0, a steady light, if absent.
    off_time: Option<Level>,
}

/// What is wanted of a device, and what it shows.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DesiredBody {
    /// 16 hex digits.
    dev_eui: String,
    /// The light that is wanted; null if none is.
    desired: Option<LightBody>,
    /// The light that the device last reported.
    reported: Option<ReportedBody>,
    /// Whether the two are the same; true if nothing is wanted.
    converged: bool,
}

/// What came of the wish.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DesireOutcome {
    /// 16 hex digits.
    dev_eui: String,
    desired: LightBody,
    /// The command that pursues it; null if it takes none.
    downlink_id: Option<String>,
    /// Whether the device shows it already.
    converged: bool,
}

/// What is wanted of a device
#[utoipa::path(
    get,
    path = "/api/v1/devices/{dev_eui}/desired",
    tag = "commands",
    params(("dev_eui" = String, Path, description = "16 hex digits")),
    responses(
        (status = 200, description = "What is wanted, and what it shows", body = DesiredBody),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such device", body = Problem),
    ),
)]
pub(in crate::http) async fn get(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path(dev_eui): Path<String>,
) -> Result<Json<DesiredBody>, ApiError> {
    let (dev_eui, device) = of_dev_eui(&state, &caller, &dev_eui).await?;
    Ok(Json(DesiredBody {
        dev_eui: dev_eui.to_string(),
        desired: device.desired.map(LightBody::new),
        reported: device.reported.map(ReportedBody::new),
        converged: device.is_converged(),
    }))
}

/// Want a light of a device
///
/// It is stored, and the device is told as often as it takes, also after a restart of its own. A command is given where
/// it does not show the light already; nobody waits for it.
#[utoipa::path(
    put,
    path = "/api/v1/devices/{dev_eui}/desired",
    tag = "commands",
    params(("dev_eui" = String, Path, description = "16 hex digits")),
    request_body = DesireLight,
    responses(
        (status = 200, description = "It is wanted", body = DesireOutcome),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such device", body = Problem),
        (status = 422, description = "The device shows no light", body = Problem),
        (status = 429, description = "Too many commands of this device are waiting, or the key or its tenant asks too often", body = Problem),
        (status = 503, description = "Nothing was stored; try again", body = Problem),
    ),
)]
pub(in crate::http) async fn put(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(dev_eui): Path<String>,
    body: JsonBody<DesireLight>,
) -> Result<Json<DesireOutcome>, ApiError> {
    let light = checked(&body.value)?;
    let (dev_eui, device) = of_dev_eui(&state, &caller, &dev_eui).await?;
    state.count_command(device.tenant_id).await?;
    let by = caller.by();
    let key = key(&device, dev_eui);
    let came = state.system().desire(caller.scope, key, light, by).await?;
    Ok(Json(DesireOutcome {
        dev_eui: dev_eui.to_string(),
        desired: LightBody::new(light),
        downlink_id: came.downlink_id.map(|id| id.to_string()),
        converged: came.is_converged,
    }))
}

/// Want nothing of a device
///
/// It keeps what it shows, and is not told again. A command that is under way goes on.
#[utoipa::path(
    delete,
    path = "/api/v1/devices/{dev_eui}/desired",
    tag = "commands",
    params(("dev_eui" = String, Path, description = "16 hex digits")),
    responses(
        (status = 204, description = "Nothing is wanted"),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such device", body = Problem),
        (status = 503, description = "Nothing was stored; try again", body = Problem),
    ),
)]
pub(in crate::http) async fn delete(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(dev_eui): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (dev_eui, device) = of_dev_eui(&state, &caller, &dev_eui).await?;
    let (by, key) = (caller.by(), key(&device, dev_eui));
    state.system().clear_desire(caller.scope, key, by).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The device of a path that names it by its DevEUI alone.
pub(super) async fn of_dev_eui(
    state: &AppState,
    caller: &Caller,
    dev_eui: &str,
) -> Result<(DevEui, Device), ApiError> {
    let dev_eui: DevEui = path_field("dev_eui", dev_eui)?;
    let found = state
        .store()
        .device_by_dev_eui(caller.scope, dev_eui)
        .await?;
    Ok((dev_eui, found.ok_or(ApiError::NotFound("device"))?))
}

/// Its key with its actor.
pub(super) fn key(device: &Device, dev_eui: DevEui) -> DeviceKey {
    DeviceKey {
        server: device.server,
        dev_eui,
    }
}

fn checked(body: &DesireLight) -> Result<LightState, ApiError> {
    let mut fields = Fields::default();
    let parts = [
        ("red", body.red),
        ("green", body.green),
        ("blue", body.blue),
    ];
    let has_parts = parts.iter().any(|(_, part)| part.is_some());
    let color = match (&body.color, has_parts) {
        (Some(color), false) => fields.parsed("color", Some(color)),
        (Some(_), true) => {
            fields.wrong("color", "excludes red, green and blue");
            None
        }
        (None, true) => {
            for (name, part) in parts {
                let message = "is missing: a colour has red, green and blue";
                fields.check(part.is_some(), name, message);
            }
            let [red, green, blue] = parts.map(|(_, part)| part.map_or(0, |level| level.0));
            Some(Color::rgb(red, green, blue))
        }
        (None, false) => {
            fields.wrong("color", "is missing: give red, green and blue, or color");
            None
        }
    };
    let light = color.map(|color| LightState {
        color,
        on_time: body.on_time.map_or(255, |level| level.0),
        off_time: body.off_time.map_or(0, |level| level.0),
    });
    fields.done(())?;
    light.ok_or_else(|| ApiError::field("color", "is missing"))
}
