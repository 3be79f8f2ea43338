//! `POST /api/v1/downlinks/{id}/cancel`: take a command back.

use axum::Json;
use axum::extract::{Path, State};
use downbeat_actors::Cancellation;
use downbeat_core::id::DownlinkId;

use crate::http::AppState;
use crate::http::auth::Operator;
use crate::http::extract::path_field;
use crate::http::problem::{ApiError, Conflict, Problem};

use super::DownlinkBody;

/// Take a command back
///
/// No further attempt is made. A frame that is in ChirpStack's queue or in the air may still reach the device.
#[utoipa::path(
    post,
    path = "/api/v1/downlinks/{id}/cancel",
    tag = "commands",
    params(("id" = String, Path, description = "The downlink's id")),
    responses(
        (status = 200, description = "It is cancelled", body = DownlinkBody),
        (status = 404, description = "No such downlink", body = Problem),
        (status = 409, description = "It is over", body = Problem),
    ),
)]
pub(in crate::http) async fn cancel(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<String>,
) -> Result<Json<DownlinkBody>, ApiError> {
    let id: DownlinkId = path_field("id", &id)?;
    let found = state.store().downlink(caller.scope, id).await?;
    let found = found.ok_or(ApiError::NotFound("downlink"))?;
    let key = state.device_key(caller.scope, found.stored.dev_eui).await?;
    let asked = state.system().cancel(caller.scope, key, id, caller.by());
    match asked.await? {
        Cancellation::Cancelled(downlink) => {
            let whole = state.store().downlink(caller.scope, id).await;
            let body = match whole {
                Ok(Some(whole)) => DownlinkBody::with_timeline(&whole),
                Ok(None) | Err(_) => DownlinkBody::new(found.stored.dev_eui, &downlink),
            };
            Ok(Json(body))
        }
        Cancellation::NotUnderWay => Err(ApiError::Conflict(Conflict::DownlinkOver)),
    }
}
