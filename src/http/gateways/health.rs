//! `GET /api/v1/gateways/health`: how many gateways are there.

use axum::Json;
use axum::extract::State;
use downbeat_core::gateway::GatewayState;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::AppState;
use crate::http::auth::Viewer;
use crate::http::extract::QueryFields;
use crate::http::problem::{ApiError, Problem};

use super::GatewayBody;
use super::visible::{Visible, WhoseQuery};

/// How many gateways are there.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct GatewayHealth {
    total: usize,
    online_count: usize,
    offline_count: usize,
    never_seen_count: usize,
    /// Of those online: how many take no downlinks though they should and others do.
    mute_count: usize,
    gateways: Vec<GatewayBody>,
    /// When this was put together, RFC 3339.
    checked_at: String,
    /// When ChirpStack last gave its list, the oldest of several; null if one never did.
    listed_at: Option<String>,
}

/// How many gateways are there
///
/// A tenant's: those of the network server that it uses, without those that ChirpStack keeps for another tenant of this
/// service. A key of the platform sees all, each with the network server that it is on.
#[utoipa::path(
    get,
    path = "/api/v1/gateways/health",
    tag = "gateways",
    params(WhoseQuery),
    responses(
        (status = 200, description = "The counts and the gateways", body = GatewayHealth),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such tenant", body = Problem),
    ),
)]
pub(in crate::http) async fn health(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    QueryFields(query): QueryFields<WhoseQuery>,
) -> Result<Json<GatewayHealth>, ApiError> {
    let visible = Visible::to(&state, &caller, &query).await?;
    let gateways: Vec<_> = visible.gateways().collect();
    let count = |state| {
        gateways
            .iter()
            .filter(move |(_, gateway)| gateway.state == state)
    };
    let mute = gateways
        .iter()
        .filter(|(_, gateway)| gateway.mute_since.is_some());
    let now = state.system().clock().now();
    let times = visible.times();
    Ok(Json(GatewayHealth {
        total: gateways.len(),
        online_count: count(GatewayState::Online).count(),
        offline_count: count(GatewayState::Offline).count(),
        never_seen_count: count(GatewayState::NeverSeen).count(),
        mute_count: mute.count(),
        gateways: gateways
            .iter()
            .map(|(server, gateway)| GatewayBody::new(state.system(), *server, gateway))
            .collect(),
        checked_at: times.checked_at.unwrap_or(now).to_string(),
        listed_at: times.listed_at.map(|at| at.to_string()),
    }))
}
