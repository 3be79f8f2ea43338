//! `GET /api/v1/tenants/{tenant_id}/devices/{device_id}/links`: how a device gets on with the gateways that hear it.

use axum::Json;
use axum::extract::{Path, State};
use downbeat_core::id::DeviceKey;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::AppState;
use crate::http::auth::Viewer;
use crate::http::links::LinkQualityBody;
use crate::http::problem::{ApiError, Problem};

use super::device_of_path;

/// The links of a device.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct LinksBody {
    /// When its last uplink was received, RFC 3339; null if none is remembered.
    heard_at: Option<String>,
    /// Those that heard the last uplink first, best RSSI first; at most 16.
    links: Vec<LinkBody>,
}

/// One gateway that heard it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct LinkBody {
    /// 16 hex digits.
    #[schema(example = "0016c001ff10a230")]
    gateway_id: String,
    /// Whether it heard the device's last uplink: ChirpStack sends to the device through such a gateway only.
    in_last_uplink: bool,
    /// Whether the gateway is worth sending to; null if it is not known here.
    gateway_alive: Option<bool>,
    #[serde(flatten)]
    quality: LinkQualityBody,
}

/// How a device gets on with the gateways that hear it
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/devices/{device_id}/links",
    tag = "devices",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("device_id" = String, Path, description = "The device's id"),
    ),
    responses(
        (status = 200, description = "Each gateway with what is known of the link", body = LinksBody),
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
    let nothing = Json(LinksBody {
        heard_at: None,
        links: Vec::new(),
    });
    let Some(dev_eui) = device.fields.dev_eui else {
        return Ok(nothing);
    };
    let (server, system) = (device.server, state.system());
    let known = system.links_of(DeviceKey { server, dev_eui }).await;
    // One that had the DevEUI before is another device.
    let Some(known) = known.filter(|known| known.owner.device_id == device.id) else {
        return Ok(nothing);
    };
    let (links, snapshot, now) = (known.links, system.gateways(server), system.clock().now());
    let link = |link: &downbeat_core::link_quality::Link| LinkBody {
        gateway_id: link.gateway_id.to_string(),
        in_last_uplink: links.route().contains(&link.gateway_id),
        gateway_alive: snapshot
            .gateways
            .get(&link.gateway_id)
            .map(|gateway| gateway.likely_alive),
        quality: LinkQualityBody::new(link, now),
    };
    Ok(Json(LinksBody {
        heard_at: links.heard_at().map(|at| at.to_string()),
        links: links.links().into_iter().map(link).collect(),
    }))
}
