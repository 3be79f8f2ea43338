//! `POST /api/v1/tenants/{tenant_id}/drift/check`: compare now.

use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::http::auth::Operator;
use crate::http::problem::{ApiError, Conflict, Problem};
use crate::http::{AppState, tenants};

use super::adopt::require_network_server;

/// Compare ChirpStack and the registry now
///
/// In the background: `checked_at` of `GET …/drift` tells when it is done.
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{tenant_id}/drift/check",
    tag = "devices",
    params(("tenant_id" = String, Path, description = "The tenant's id or name")),
    responses(
        (status = 202, description = "It is being done"),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such tenant", body = Problem),
        (status = 409, description = "A comparison is under way, or no network server is configured", body = Problem),
    ),
)]
pub(in crate::http) async fn check(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(tenant): Path<String>,
) -> Result<StatusCode, ApiError> {
    let tenant = tenants::of_path(&state, &caller, &tenant).await?;
    let server = state.store().network_server_of(tenant.id).await?;
    require_network_server(&state, server)?;
    let turn = state.comparer().turn(tenant.id);
    let turn = turn.ok_or(ApiError::Conflict(Conflict::Comparing))?;
    tokio::spawn(async move {
        if let Err(error) = turn.compare(&tenant).await {
            tracing::warn!(tenant.id = %tenant.id, error = %error, "drift.not_compared");
        }
    });
    Ok(StatusCode::ACCEPTED)
}
