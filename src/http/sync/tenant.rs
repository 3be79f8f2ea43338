//! `POST /api/v1/tenants/{tenant_id}/sync`: look again at all devices that ChirpStack is not in step with.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::auth::Operator;
use crate::http::problem::{ApiError, Problem};
use crate::http::{AppState, tenants};
use crate::store::Scope;

/// What was begun.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct SyncRequested {
    /// How many devices, deleted ones among them, are looked at again.
    requested: u64,
}

/// Bring ChirpStack in step with all devices
///
/// Those that it is not in step with, also those that were given up, and deletions. In the background.
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{tenant_id}/sync",
    tag = "devices",
    params(("tenant_id" = String, Path, description = "The tenant's id or name")),
    responses(
        (status = 202, description = "It is being done", body = SyncRequested),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such tenant", body = Problem),
    ),
)]
pub(in crate::http) async fn sync(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(tenant): Path<String>,
) -> Result<(StatusCode, Json<SyncRequested>), ApiError> {
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    let (scope, now, by) = (Scope::Tenant(tenant_id), state.clock().now(), caller.by());
    let requested = state.store().request_sync_all(scope, now, &by).await?;
    let server = state.store().network_server_of(tenant_id).await?;
    state.system().syncs_wanted(server);
    Ok((StatusCode::ACCEPTED, Json(SyncRequested { requested })))
}
