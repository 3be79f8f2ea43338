//! `GET /api/v1/tenants/{tenant_id}/devices`: a tenant's devices.

use axum::Json;
use axum::extract::{Path, State};
use downbeat_core::id::Scope;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::auth::Viewer;
use crate::http::extract::{Fields, QueryFields};
use crate::http::problem::{ApiError, Problem};
use crate::http::{AppState, tenants};
use crate::store::{DeviceFilter, PAGE_MAX, PageRequest};

use super::DeviceBody;

/// Rows of a page if the caller does not say.
const LIMIT_DEFAULT: u32 = 100;

/// Which devices.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ListQuery {
    /// Those whose name contains this.
    name: Option<String>,
    /// The one with this DevEUI.
    lorawan_dev_eui: Option<String>,
    /// 1 to 1000; 100 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of devices.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DevicePage {
    devices: Vec<DeviceBody>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// A tenant's devices, oldest first
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/devices",
    tag = "devices",
    params(("tenant_id" = String, Path, description = "The tenant's id or name"), ListQuery),
    responses(
        (status = 200, description = "A page", body = DevicePage),
        (status = 400, description = "A filter is wrong", body = Problem),
        (status = 404, description = "No such tenant", body = Problem),
    ),
)]
pub(in crate::http) async fn list(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path(tenant): Path<String>,
    QueryFields(query): QueryFields<ListQuery>,
) -> Result<Json<DevicePage>, ApiError> {
    let mut fields = Fields::default();
    let filter = DeviceFilter {
        dev_eui: fields.parsed("lorawan_dev_eui", query.lorawan_dev_eui.as_deref()),
        name: query.name,
        ..DeviceFilter::default()
    };
    let limit = fields.number("limit", query.limit.as_deref(), 1..=PAGE_MAX);
    let page = PageRequest {
        limit: limit.unwrap_or(LIMIT_DEFAULT),
        after: fields.parsed("cursor", query.cursor.as_deref()),
    };
    let (filter, page) = fields.done((filter, page))?;
    let tenant = tenants::of_path(&state, &caller, &tenant).await?;
    // The path's tenant, also for who may see all.
    let scope = Scope::Tenant(tenant.id);
    let page = state.store().list_devices(scope, &filter, page).await?;
    let (now, within) = (state.clock().now(), state.device_online_within());
    let devices = page.items.iter();
    Ok(Json(DevicePage {
        devices: devices
            .map(|device| DeviceBody::new(device, now, within))
            .collect(),
        next_cursor: page.next.map(|cursor| cursor.to_string()),
    }))
}
