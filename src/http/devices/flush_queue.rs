//! `POST /api/v1/devices/{dev_eui}/flush-queue`: what stands in a device's queue in ChirpStack is deleted, because
//! somebody who knows whose it is wants that.

use axum::Json;
use axum::extract::{Path, State};
use downbeat_core::link_quality::table::Owner;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::AppState;
use crate::http::auth::Operator;
use crate::http::problem::{ApiError, Problem};
use crate::store::AuditEntry;

use super::desired::of_dev_eui;

/// What was flushed.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct FlushedQueue {
    /// 16 hex digits.
    dev_eui: String,
    /// Items that stood in the queue right before.
    items: u32,
}

/// Flush a device's queue in ChirpStack
///
/// All of it is deleted, whoever put it there: ChirpStack cannot delete a single item. Meant for a queue that does not
/// move (`queue-findings`). A command of this service that stands in it is sent again by itself. While a frame is on
/// its way, ChirpStack uses a frame counter twice after this, so that the next command is lost on the air and repeated.
#[utoipa::path(
    post,
    path = "/api/v1/devices/{dev_eui}/flush-queue",
    tag = "commands",
    params(("dev_eui" = String, Path, description = "16 hex digits")),
    responses(
        (status = 200, description = "It is empty", body = FlushedQueue),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such device", body = Problem),
        (status = 429, description = "The key or its tenant asks too often", body = Problem),
        (status = 502, description = "ChirpStack refused", body = Problem),
        (status = 503, description = "ChirpStack cannot be reached; try again", body = Problem),
    ),
)]
pub(in crate::http) async fn flush_queue(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(dev_eui): Path<String>,
) -> Result<Json<FlushedQueue>, ApiError> {
    let (dev_eui, device) = of_dev_eui(&state, &caller, &dev_eui).await?;
    state.count_command(device.tenant_id).await?;
    let system = state.system();
    let look = system.call_server(device.server, move |server| async move {
        server.queue(dev_eui).await
    });
    let found = look.await.map_err(ApiError::NetworkServer)?;
    let items = u32::try_from(found.len()).unwrap_or(u32::MAX);
    // Before it is done: nothing is deleted of which the log does not know.
    let entry = AuditEntry {
        id: Uuid::now_v7(),
        at: state.now(),
        tenant_id: Some(device.tenant_id),
        by: caller.by(),
        action: "device.flush_queue".to_owned(),
        object_id: device.id.to_string(),
        before: Some(json!({ "name": device.fields.name, "items": items })),
        after: Some(json!({ "name": device.fields.name, "items": 0 })),
    };
    state.store().append_audit(&[entry]).await?;
    let owner = Owner {
        dev_eui,
        device_id: device.id,
        tenant_id: device.tenant_id,
    };
    let flushed = system.flush_queue(device.server, owner, items).await;
    flushed.map_err(ApiError::NetworkServer)?;
    let dev_eui = dev_eui.to_string();
    Ok(Json(FlushedQueue { dev_eui, items }))
}
