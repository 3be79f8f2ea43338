//! `GET /api/v1/tenants/{tenant_id}/devices/{device_id}/links`: the gateways that heard a device's last uplink.

use axum::Json;
use axum::extract::{Path, State};
use downbeat_core::network::Reception;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::AppState;
use crate::http::auth::Viewer;
use crate::http::problem::{ApiError, Problem};
use crate::store::{PageRequest, Scope};

use super::device_of_path;

/// The links of a device.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct LinksBody {
    /// When its last uplink was received, RFC 3339; null if none is kept.
    heard_at: Option<String>,
    /// Best RSSI first.
    links: Vec<LinkBody>,
}

/// One gateway that heard it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct LinkBody {
    /// 16 hex digits.
    #[schema(example = "0016c001ff10a230")]
    gateway_id: String,
    /// dBm.
    rssi: i32,
    /// dB.
    snr: f32,
    /// Whether the gateway is worth sending to; null if it is not known here.
    gateway_alive: Option<bool>,
}

/// What is read of a kept uplink.
#[derive(Deserialize)]
struct Heard {
    #[serde(default)]
    receptions: Vec<Reception>,
}

/// The gateways that heard a device's last uplink
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/devices/{device_id}/links",
    tag = "devices",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("device_id" = String, Path, description = "The device's id"),
    ),
    responses(
        (status = 200, description = "Each gateway with RSSI and SNR", body = LinksBody),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such tenant or device", body = Problem),
    ),
)]
pub(in crate::http) async fn links(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path((tenant, id)): Path<(String, String)>,
) -> Result<Json<LinksBody>, ApiError> {
    let device = device_of_path(&state, &caller, &tenant, &id).await?;
    let scope = Scope::Tenant(device.tenant_id);
    let last = PageRequest::first(1);
    let store = state.store();
    let found = store.list_device_events(scope, device.id, Some("up"), None, None, last);
    let Some(last) = found.await?.items.into_iter().next() else {
        return Ok(Json(LinksBody {
            heard_at: None,
            links: Vec::new(),
        }));
    };
    let heard: Heard = serde_json::from_str(last.body.get())
        .map_err(|error| ApiError::Internal(Box::new(error)))?;
    let snapshot = state.system().gateways(device.server);
    let link = |reception: &Reception| LinkBody {
        gateway_id: reception.gateway_id.to_string(),
        rssi: reception.rssi_dbm,
        snr: reception.snr_db,
        gateway_alive: snapshot
            .gateways
            .get(&reception.gateway_id)
            .map(|gateway| gateway.likely_alive),
    };
    Ok(Json(LinksBody {
        heard_at: Some(last.at.to_string()),
        links: heard.receptions.iter().map(link).collect(),
    }))
}
