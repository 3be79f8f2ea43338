//! `GET /api/v1/downlinks/{id}`: one command with its timeline.

use axum::Json;
use axum::extract::{Path, State};
use downbeat_core::id::DownlinkId;

use crate::http::AppState;
use crate::http::auth::Viewer;
use crate::http::extract::path_field;
use crate::http::problem::{ApiError, Problem};

use super::DownlinkBody;

/// One command with its timeline
#[utoipa::path(
    get,
    path = "/api/v1/downlinks/{id}",
    tag = "commands",
    params(("id" = String, Path, description = "The downlink's id")),
    responses(
        (status = 200, description = "The downlink", body = DownlinkBody),
        (status = 404, description = "No such downlink", body = Problem),
    ),
)]
pub(in crate::http) async fn get(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path(id): Path<String>,
) -> Result<Json<DownlinkBody>, ApiError> {
    let id: DownlinkId = path_field("id", &id)?;
    let found = state.store().downlink(caller.scope, id).await?;
    let found = found.ok_or(ApiError::NotFound("downlink"))?;
    Ok(Json(DownlinkBody::with_timeline(&found)))
}
