//! `GET /api/v1/gateways/health`: how many gateways are there.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::AppState;
use crate::http::auth::Viewer;
use crate::http::problem::ApiError;

use super::{GatewayBody, seen_by};

/// How many gateways are there.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct GatewayHealth {
    total: usize,
    online_count: usize,
    offline_count: usize,
    never_seen_count: usize,
    gateways: Vec<GatewayBody>,
    /// When this was put together, RFC 3339.
    checked_at: String,
    /// When ChirpStack last gave its list; null if it never did.
    listed_at: Option<String>,
}

/// How many gateways are there
#[utoipa::path(
    get,
    path = "/api/v1/gateways/health",
    tag = "gateways",
    responses((status = 200, description = "The counts and the gateways", body = GatewayHealth)),
)]
pub(in crate::http) async fn health(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
) -> Result<Json<GatewayHealth>, ApiError> {
    let snapshot = seen_by(&state, &caller).await?;
    Ok(Json(GatewayHealth {
        total: snapshot.gateways.len(),
        online_count: snapshot.online_count,
        offline_count: snapshot.offline_count,
        never_seen_count: snapshot.never_seen_count,
        gateways: snapshot.gateways.values().map(GatewayBody::new).collect(),
        checked_at: snapshot.checked_at.to_string(),
        listed_at: snapshot.listed_at.map(|at| at.to_string()),
    }))
}
