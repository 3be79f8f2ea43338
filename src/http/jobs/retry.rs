//! `POST /api/v1/tenants/{tenant_id}/jobs/{job_id}/retry`: try again what failed, as a new job.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use downbeat_core::id::JobId;
use downbeat_core::job::{ItemState, JobState};

use crate::http::auth::Operator;
use crate::http::extract::path_field;
use crate::http::idempotency::Making;
use crate::http::problem::{ApiError, Conflict, Problem};
use crate::http::{AppState, tenants};
use crate::store::{PAGE_MAX, PageRequest, Scope};

use super::choose::{Named, Selection, choose};
use super::create::{NewJob, make};
use super::{JobBody, location};

/// Try again what failed
///
/// A new job for the devices that failed, stayed without proof or ran out of time, with what the job told them.
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{tenant_id}/jobs/{job_id}/retry",
    tag = "jobs",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("job_id" = String, Path, description = "The job's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key gives the same answer for a day"),
    ),
    responses(
        (status = 201, description = "The new job; `Location` tells where to follow it", body = JobBody),
        (status = 404, description = "No such job", body = Problem),
        (status = 409, description = "The job goes on, or nothing of it is to be tried again", body = Problem),
    ),
)]
pub(in crate::http) async fn retry(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path((tenant, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id: JobId = path_field("job_id", &id)?;
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    let scope = Scope::Tenant(tenant_id);
    let found = state.store().job(scope, id).await?;
    let found = found.filter(|job| job.progress.state != JobState::Preparing);
    let job = found.ok_or(ApiError::NotFound("job"))?;
    if job.progress.finished_at.is_none() {
        return Err(ApiError::Conflict(Conflict::JobGoesOn));
    }
    let making = Making {
        scope: caller.scope,
        headers: &headers,
        operation: format!("POST /api/v1/tenants/{tenant_id}/jobs/{id}/retry"),
        body: &[],
        location,
    };
    let make = async |target| {
        let failed = failed(&state, scope, id).await?;
        if failed.is_empty() {
            return Err(ApiError::Conflict(Conflict::NothingToRetry));
        }
        let new = NewJob {
            kind: job.kind,
            name: job.name,
            order: job.order,
            stagger: job.stagger,
            retry_of: Some(id),
        };
        let selection = Selection::Named(failed);
        let chosen = choose(&state, tenant_id, selection, &new.order, new.stagger).await?;
        let made = StatusCode::CREATED;
        make(
            &state, &caller, tenant_id, new, chosen, "job_id", target, made,
        )
        .await
    };
    making.once(&state, make).await
}

async fn failed(state: &AppState, scope: Scope, id: JobId) -> Result<Vec<Named>, ApiError> {
    let states = ItemState::ALL.into_iter();
    let states: Vec<ItemState> = states.filter(|it| it.is_worth_a_retry()).collect();
    let mut failed = Vec::new();
    let mut page = PageRequest::first(PAGE_MAX);
    loop {
        let items = state
            .store()
            .list_job_items(scope, id, &states, page)
            .await?;
        let ids = items.items.iter().filter_map(|item| item.device_id);
        failed.extend(ids.map(Named::Id));
        page.after = items.next;
        if page.after.is_none() {
            return Ok(failed);
        }
    }
}
