//! `GET /api/v1/gateways/{id}/status`: one gateway.

use axum::Json;
use axum::extract::{Path, State};
use downbeat_core::id::{DevEui, GatewayId};
use downbeat_core::link_quality::table::HeardDevice;
use downbeat_core::time::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::AppState;
use crate::http::auth::Viewer;
use crate::http::extract::{Fields, QueryFields, path_field};
use crate::http::links::LinkQualityBody;
use crate::http::problem::{ApiError, Problem};

use super::visible::{Visible, WhoseQuery};
use super::{GatewayBody, GatewayStatusBody, HeardDeviceBody, LastHeardBody};

/// Whose gateway, and which page of its devices.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct StatusQuery {
    /// The id or name of a tenant: what it sees. Without it, a key of the platform sees all.
    tenant_id: Option<String>,
    /// Devices at the most, 1 to 1000.
    #[param(example = "100")]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl StatusQuery {
    fn checked(self) -> Result<(WhoseQuery, usize, Option<DevEui>), ApiError> {
        let mut fields = Fields::default();
        let limit = fields.number("limit", self.limit.as_deref(), 1..=1_000);
        let after = fields.parsed("cursor", self.cursor.as_deref());
        let limit = limit.map_or(100, |limit| usize::try_from(limit).unwrap_or(1));
        let tenant_id = self.tenant_id;
        fields.done((WhoseQuery { tenant_id }, limit, after))
    }
}

/// One gateway, and the devices that it hears
///
/// Of several network servers that have a gateway of that id, the configuration's comes first; `tenant_id` names another.
#[utoipa::path(
    get,
    path = "/api/v1/gateways/{id}/status",
    tag = "gateways",
    params(("id" = String, Path, description = "16 hex digits"), StatusQuery),
    responses(
        (status = 200, description = "The gateway", body = GatewayStatusBody),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such gateway or tenant", body = Problem),
    ),
)]
pub(in crate::http) async fn status(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path(id): Path<String>,
    QueryFields(query): QueryFields<StatusQuery>,
) -> Result<Json<GatewayStatusBody>, ApiError> {
    let id: GatewayId = path_field("id", &id)?;
    let (whose, limit, after) = query.checked()?;
    let visible = Visible::to(&state, &caller, &whose).await?;
    let found = visible
        .gateways()
        .find(|(_, gateway)| gateway.gateway_id == id);
    let (server, gateway) = found.ok_or(ApiError::NotFound("gateway"))?;
    let system = state.system();
    let heard = system
        .devices_of_gateway(server, id, visible.tenant_id, after, limit + 1)
        .await;
    let now = system.clock().now();
    let is_full = heard.len() > limit;
    let page = &heard[..limit.min(heard.len())];
    let next = page.last().filter(|_| is_full);
    Ok(Json(GatewayStatusBody {
        gateway: GatewayBody::new(system, server, gateway),
        last_taken: gateway.last_taken.map(|at| at.to_string()),
        last_heard: gateway.last_heard.map(LastHeardBody::new),
        devices: page.iter().map(|device| body(device, now)).collect(),
        next_cursor: next.map(|device| device.owner.dev_eui.to_string()),
    }))
}

fn body(device: &HeardDevice, now: Timestamp) -> HeardDeviceBody {
    HeardDeviceBody {
        device_id: device.owner.device_id.to_string(),
        tenant_id: device.owner.tenant_id.to_string(),
        dev_eui: device.owner.dev_eui.to_string(),
        is_best: device.is_best,
        quality: LinkQualityBody::new(&device.link, now),
    }
}
