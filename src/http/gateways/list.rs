//! `GET /api/v1/gateways`: all gateways.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::AppState;
use crate::http::auth::Viewer;
use crate::http::problem::ApiError;

use super::{GatewayBody, seen_by};

/// All gateways.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct GatewayList {
    gateways: Vec<GatewayBody>,
}

/// All gateways of the caller's network server, by id
#[utoipa::path(
    get,
    path = "/api/v1/gateways",
    tag = "gateways",
    responses((status = 200, description = "All that are known", body = GatewayList)),
)]
pub(in crate::http) async fn list(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
) -> Result<Json<GatewayList>, ApiError> {
    let snapshot = seen_by(&state, &caller).await?;
    let gateways = snapshot.gateways.values().map(GatewayBody::new).collect();
    Ok(Json(GatewayList { gateways }))
}
