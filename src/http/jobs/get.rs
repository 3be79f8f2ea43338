//! `GET /api/v1/tenants/{tenant_id}/jobs/{job_id}`: how far a job is.

use axum::Json;
use axum::extract::{Path, State};
use downbeat_core::id::JobId;

use crate::http::auth::Viewer;
use crate::http::extract::path_field;
use crate::http::problem::{ApiError, Problem};
use crate::http::{AppState, tenants};
use crate::store::Scope;

use super::{JobBody, shown};

/// A job, as it stands
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/jobs/{job_id}",
    tag = "jobs",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("job_id" = String, Path, description = "The job's id"),
    ),
    responses(
        (status = 200, description = "The job", body = JobBody),
        (status = 404, description = "No such job", body = Problem),
    ),
)]
pub(in crate::http) async fn get(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path((tenant, id)): Path<(String, String)>,
) -> Result<Json<JobBody>, ApiError> {
    let id: JobId = path_field("job_id", &id)?;
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    Ok(Json(shown(&state, Scope::Tenant(tenant_id), id).await?))
}
