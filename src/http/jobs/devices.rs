//! `GET /api/v1/tenants/{tenant_id}/jobs/{job_id}/devices`: what became of each device of a job.

use axum::Json;
use axum::extract::{Path, State};
use downbeat_core::device::DownlinkState;
use downbeat_core::id::JobId;
use downbeat_core::job::ItemState;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::auth::Viewer;
use crate::http::extract::{Fields, QueryFields, path_field};
use crate::http::problem::{ApiError, Problem};
use crate::http::{AppState, tenants};
use crate::store::{JobItem, Scope};

use super::shown;

/// Which devices.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct DevicesQuery {
    /// `waiting`, `under_way`, `verified`, `sent`, `unverified`, `failed`, `superseded`, `cancelled`, `expired` or
    /// `skipped`; several with commas.
    state: Option<String>,
    /// 1 to 1000; 100 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What became of a device.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct JobDeviceBody {
    /// Null if nobody knows the one that was named.
    device_id: Option<String>,
    dev_eui: Option<String>,
    /// `waiting`, `under_way`, or the end: `verified`, `sent`, `unverified`, `failed`, `superseded`, `cancelled`,
    /// `expired`, `skipped`.
    state: &'static str,
    /// Why it waits, or ended so.
    reason: Option<String>,
    /// How often its command was tried.
    attempts: u8,
    /// Its command; null before its turn, and where it is left out.
    downlink_id: Option<String>,
    /// Where its command is; null before the device accepted it, and when it is no longer kept.
    downlink_state: Option<&'static str>,
    /// When its turn came. RFC 3339.
    started_at: Option<String>,
    /// RFC 3339.
    finished_at: Option<String>,
}

impl JobDeviceBody {
    fn new(item: &JobItem) -> Self {
        let has_command = item.handed_over_at.is_some();
        Self {
            device_id: item.device_id.map(|id| id.to_string()),
            dev_eui: item.dev_eui.map(|dev_eui| dev_eui.to_string()),
            state: item.state.name(),
            reason: item.reason.clone().or_else(|| item.waits_for.clone()),
            attempts: item.attempts,
            downlink_id: has_command.then(|| item.downlink_id.to_string()),
            downlink_state: item.downlink.map(DownlinkState::name),
            started_at: item.handed_over_at.map(|at| at.to_string()),
            finished_at: item.finished_at.map(|at| at.to_string()),
        }
    }
}

/// A page of a job's devices.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct JobDevicePage {
    devices: Vec<JobDeviceBody>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// A job's devices, in the order in which they are told
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/jobs/{job_id}/devices",
    tag = "jobs",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("job_id" = String, Path, description = "The job's id"),
        DevicesQuery,
    ),
    responses(
        (status = 200, description = "A page", body = JobDevicePage),
        (status = 400, description = "A filter is wrong", body = Problem),
        (status = 404, description = "No such job", body = Problem),
    ),
)]
pub(in crate::http) async fn devices(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path((tenant, id)): Path<(String, String)>,
    QueryFields(query): QueryFields<DevicesQuery>,
) -> Result<Json<JobDevicePage>, ApiError> {
    let id: JobId = path_field("job_id", &id)?;
    let mut fields = Fields::default();
    let names = query.state.as_deref().into_iter();
    let states: Vec<_> = names
        .flat_map(|names| names.split(','))
        .map(|name| ItemState::by_name(name.trim()))
        .collect();
    let message = "must be states of a job's device, with commas between several";
    fields.check(!states.contains(&None), "state", message);
    let page = fields.page(query.limit.as_deref(), query.cursor.as_deref());
    let states: Vec<ItemState> = states.into_iter().flatten().collect();
    let (states, page) = fields.done((states, page))?;
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    let scope = Scope::Tenant(tenant_id);
    // A job that is not there has no devices, but that is another answer.
    shown(&state, scope, id).await?;
    let page = state
        .store()
        .list_job_items(scope, id, &states, page)
        .await?;
    Ok(Json(JobDevicePage {
        devices: page.items.iter().map(JobDeviceBody::new).collect(),
        next_cursor: page.next.map(|cursor| cursor.to_string()),
    }))
}
