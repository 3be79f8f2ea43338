//! `GET /api/v1/gateways/{id}/status`: one gateway.

use axum::Json;
use axum::extract::{Path, State};
use downbeat_core::id::GatewayId;

use crate::http::AppState;
use crate::http::auth::Viewer;
use crate::http::extract::path_field;
use crate::http::problem::{ApiError, Problem};

use super::{GatewayStatusBody, seen_by};

/// One gateway with its latest history
#[utoipa::path(
    get,
    path = "/api/v1/gateways/{id}/status",
    tag = "gateways",
    params(("id" = String, Path, description = "16 hex digits")),
    responses(
        (status = 200, description = "The gateway", body = GatewayStatusBody),
        (status = 404, description = "No such gateway", body = Problem),
    ),
)]
pub(in crate::http) async fn status(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path(id): Path<String>,
) -> Result<Json<GatewayStatusBody>, ApiError> {
    let id: GatewayId = path_field("id", &id)?;
    let snapshot = seen_by(&state, &caller).await?;
    let gateway = snapshot.gateways.get(&id);
    let gateway = gateway.ok_or(ApiError::NotFound("gateway"))?;
    Ok(Json(GatewayStatusBody::new(gateway)))
}
