//! `GET /api/v1/gateways`: all gateways.

use axum::Json;
use axum::extract::State;
use downbeat_core::id::NetworkServerId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::AppState;
use crate::http::auth::Viewer;

use super::GatewayBody;

/// All gateways.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct GatewayList {
    gateways: Vec<GatewayBody>,
}

/// All gateways, by id
#[utoipa::path(
    get,
    path = "/api/v1/gateways",
    tag = "gateways",
    responses((status = 200, description = "All that are known", body = GatewayList)),
)]
pub(in crate::http) async fn list(State(state): State<AppState>, _: Viewer) -> Json<GatewayList> {
    let snapshot = state.system().gateways(NetworkServerId::Default);
    let gateways = snapshot.gateways.values().map(GatewayBody::new).collect();
    Json(GatewayList { gateways })
}
