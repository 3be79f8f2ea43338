//! `GET /api/v1/tenants/{tenant_id}/devices/{device_id}/downlinks`: the commands to one device.

use axum::Json;
use axum::extract::{Path, State};

use crate::http::AppState;
use crate::http::auth::Viewer;
use crate::http::downlinks::list::{DownlinkPage, PageQuery};
use crate::http::extract::QueryFields;
use crate::http::problem::{ApiError, Problem};
use crate::store::{DownlinkFilter, Scope};

use super::device_of_path;

/// Commands to a device, newest first
///
/// Those to a DevEUI that it had before, too.
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/devices/{device_id}/downlinks",
    tag = "devices",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("device_id" = String, Path, description = "The device's id"),
        PageQuery,
    ),
    responses(
        (status = 200, description = "A page, without timelines", body = DownlinkPage),
        (status = 400, description = "A filter is wrong", body = Problem),
        (status = 404, description = "No such tenant or device", body = Problem),
    ),
)]
pub(in crate::http) async fn downlinks(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path((tenant, id)): Path<(String, String)>,
    QueryFields(query): QueryFields<PageQuery>,
) -> Result<Json<DownlinkPage>, ApiError> {
    let (filter, page) = query.checked()?;
    let device = device_of_path(&state, &caller, &tenant, &id).await?;
    let filter = DownlinkFilter {
        device_id: Some(device.id),
        ..filter
    };
    let scope = Scope::Tenant(device.tenant_id);
    let page = state.store().list_downlinks(scope, filter, page).await?;
    Ok(Json(DownlinkPage::new(&page)))
}
