//! `GET /api/v1/tenants/{tenant_id}/jobs`: a tenant's jobs.

use axum::Json;
use axum::extract::{Path, State};
use downbeat_core::job::{JobKind, JobState};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::auth::Viewer;
use crate::http::extract::{Fields, QueryFields};
use crate::http::problem::{ApiError, Problem};
use crate::http::{AppState, tenants};
use crate::store::{JobFilter, Scope};

use super::{JobBody, body};

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ListQuery {
    /// `running`, `paused`, `cancelled` or `done`.
    state: Option<String>,
    /// `color`, `payload` or `initialize`.
    kind: Option<String>,
    /// 1 to 1000; 100 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of jobs.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct JobPage {
    jobs: Vec<JobBody>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// A tenant's jobs, newest first
///
/// Those that are over are kept for 90 days.
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/jobs",
    tag = "jobs",
    params(("tenant_id" = String, Path, description = "The tenant's id or name"), ListQuery),
    responses(
        (status = 200, description = "A page", body = JobPage),
        (status = 400, description = "A filter is wrong", body = Problem),
        (status = 404, description = "No such tenant", body = Problem),
    ),
)]
pub(in crate::http) async fn list(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path(tenant): Path<String>,
    QueryFields(query): QueryFields<ListQuery>,
) -> Result<Json<JobPage>, ApiError> {
    let mut fields = Fields::default();
    let filter = JobFilter {
        state: state_of(query.state.as_deref(), &mut fields),
        kind: kind_of(query.kind.as_deref(), &mut fields),
    };
    let page = fields.page(query.limit.as_deref(), query.cursor.as_deref());
    let (filter, page) = fields.done((filter, page))?;
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    let scope = Scope::Tenant(tenant_id);
    let page = state.store().list_jobs(scope, filter, page).await?;
    Ok(Json(JobPage {
        jobs: page.items.iter().map(|job| body(&state, job)).collect(),
        next_cursor: page.next.map(|cursor| cursor.to_string()),
    }))
}

fn state_of(name: Option<&str>, fields: &mut Fields) -> Option<JobState> {
    let state = JobState::by_name(name?).filter(|state| *state != JobState::Preparing);
    let message = "must be running, paused, cancelled or done";
    fields.check(state.is_some(), "state", message);
    state
}

fn kind_of(name: Option<&str>, fields: &mut Fields) -> Option<JobKind> {
    let kind = JobKind::by_name(name?);
    fields.check(
        kind.is_some(),
        "kind",
        "must be color, payload or initialize",
    );
    kind
}
