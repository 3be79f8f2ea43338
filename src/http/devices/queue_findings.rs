//! `GET /api/v1/tenants/{tenant_id}/queue-findings`: queues in ChirpStack that do not move.

use axum::Json;
use axum::extract::{Path, State};
use downbeat_core::queue_cleaner::QueueFinding;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::auth::Viewer;
use crate::http::problem::{ApiError, Problem};
use crate::http::{AppState, tenants};

/// Queues that do not move.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct QueueFindings {
    /// By DevEUI.
    findings: Vec<QueueFindingBody>,
}

/// A device's queue in ChirpStack that does not move, because no gateway that hears the device is online.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct QueueFindingBody {
    /// The device's id.
    device_id: String,
    /// 16 hex digits.
    dev_eui: String,
    /// When its first item was first seen to be the first, RFC 3339.
    since: String,
    /// When it was last looked at, RFC 3339.
    looked_at: String,
    /// ChirpStack's id of the first item.
    first_queue_id: String,
    /// Items in the queue.
    items: u32,
    /// Of these, items that this service did not put there.
    foreign_items: u32,
    /// Whether the first one was transmitted and waits for its acknowledgement.
    is_pending: bool,
}

impl QueueFindingBody {
    pub(in crate::http) fn new(finding: &QueueFinding) -> Self {
        Self {
            device_id: finding.owner.device_id.to_string(),
            dev_eui: finding.owner.dev_eui.to_string(),
            since: finding.since.to_string(),
            looked_at: finding.looked_at.to_string(),
            first_queue_id: finding.head.to_string(),
            items: finding.items,
            foreign_items: finding.foreign_items,
            is_pending: finding.is_pending,
        }
    }
}

/// Queues in ChirpStack that do not move
///
/// Of devices that no gateway reaches, whose first item has been the same for ten minutes. Queues that hold nothing but
/// expired items of this service are flushed by it. These hold something else: another application's items, or such as
/// never expire. ChirpStack can only flush a queue as a whole, so that is for people to decide: `flush-queue`.
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/queue-findings",
    tag = "devices",
    params(("tenant_id" = String, Path, description = "The tenant's id or name")),
    responses(
        (status = 200, description = "As the last round found, at most five minutes ago", body = QueueFindings),
        (status = 404, description = "No such tenant", body = Problem),
    ),
)]
pub(in crate::http) async fn queue_findings(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path(tenant): Path<String>,
) -> Result<Json<QueueFindings>, ApiError> {
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    let server = state.store().network_server_of(tenant_id).await?;
    let found = state.system().queue_findings(server);
    let own = found
        .iter()
        .filter(|finding| finding.owner.tenant_id == tenant_id);
    Ok(Json(QueueFindings {
        findings: own.map(QueueFindingBody::new).collect(),
    }))
}
