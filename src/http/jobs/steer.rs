//! `POST /api/v1/tenants/{tenant_id}/jobs/{job_id}/pause`, `…/resume` and `…/cancel`: hold a job up, let it go on, take it
//! back.

use axum::Json;
use axum::extract::{Path, State};
use downbeat_actors::JobCommand;
use downbeat_core::id::JobId;

use crate::http::auth::{Caller, Operator};
use crate::http::extract::path_field;
use crate::http::problem::{ApiError, Problem};
use crate::http::{AppState, tenants};
use crate::store::Scope;

use super::{JobBody, shown};

/// Hold a job up
///
/// No further devices are told; what is under way goes on. One that is paused already stays so.
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{tenant_id}/jobs/{job_id}/pause",
    tag = "jobs",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("job_id" = String, Path, description = "The job's id"),
    ),
    responses(
        (status = 200, description = "It is paused", body = JobBody),
        (status = 404, description = "No such job", body = Problem),
        (status = 409, description = "It is over", body = Problem),
    ),
)]
pub(in crate::http) async fn pause(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(path): Path<(String, String)>,
) -> Result<Json<JobBody>, ApiError> {
    steer(&state, &caller, &path, JobCommand::Pause).await
}

/// Let a job go on
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{tenant_id}/jobs/{job_id}/resume",
    tag = "jobs",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("job_id" = String, Path, description = "The job's id"),
    ),
    responses(
        (status = 200, description = "It goes on", body = JobBody),
        (status = 404, description = "No such job", body = Problem),
        (status = 409, description = "It is over", body = Problem),
    ),
)]
pub(in crate::http) async fn resume(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(path): Path<(String, String)>,
) -> Result<Json<JobBody>, ApiError> {
    steer(&state, &caller, &path, JobCommand::Resume).await
}

/// Take a job back
///
/// No further devices are told, and the commands that are under way are taken back. A frame that is in ChirpStack's queue
/// or in the air may still reach its device.
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{tenant_id}/jobs/{job_id}/cancel",
    tag = "jobs",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("job_id" = String, Path, description = "The job's id"),
    ),
    responses(
        (status = 200, description = "It is cancelled", body = JobBody),
        (status = 404, description = "No such job", body = Problem),
        (status = 409, description = "It is done", body = Problem),
    ),
)]
pub(in crate::http) async fn cancel(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(path): Path<(String, String)>,
) -> Result<Json<JobBody>, ApiError> {
    steer(&state, &caller, &path, JobCommand::Cancel).await
}

async fn steer(
    state: &AppState,
    caller: &Caller,
    (tenant, id): &(String, String),
    command: JobCommand,
) -> Result<Json<JobBody>, ApiError> {
    let id: JobId = path_field("job_id", id)?;
    let tenant_id = tenants::id_of_path(state, caller, tenant).await?;
    let scope = Scope::Tenant(tenant_id);
    let steered = state.system().command_job(scope, id, command, caller.by());
    steered.await?;
    Ok(Json(shown(state, scope, id).await?))
}
