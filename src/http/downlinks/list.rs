//! `GET /api/v1/downlinks`: commands, newest first.

use axum::Json;
use axum::extract::State;
use downbeat_core::device::DownlinkState;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::auth::Viewer;
use crate::http::extract::{Fields, QueryFields};
use crate::http::problem::{ApiError, Problem};
use crate::http::{AppState, tenants};
use crate::store::{DownlinkFilter, PAGE_MAX, Page, PageRequest, StoredDownlink};

use super::DownlinkBody;

/// Rows of a page if the caller does not say.
const LIMIT_DEFAULT: u32 = 50;

/// Which commands.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ListQuery {
    /// Those of one tenant, by its id or name.
    tenant_id: Option<String>,
    /// Those to one device.
    dev_eui: Option<String>,
    /// Those in one state.
    state: Option<String>,
    /// Those accepted at this time (RFC 3339) or later.
    from: Option<String>,
    /// 1 to 1000; 50 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which commands of a device.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct PageQuery {
    /// Those in one state.
    state: Option<String>,
    /// Those accepted at this time (RFC 3339) or later.
    from: Option<String>,
    /// 1 to 1000; 50 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl PageQuery {
    /// The same, with every wrong field named.
    pub(in crate::http) fn checked(self) -> Result<(DownlinkFilter, PageRequest), ApiError> {
        self.checked_with(Fields::default())
    }

    fn checked_with(self, mut fields: Fields) -> Result<(DownlinkFilter, PageRequest), ApiError> {
        let in_state = self.state.as_deref().map(DownlinkState::by_name);
        fields.check(
            in_state != Some(None),
            "state",
            "must be a state of a downlink",
        );
        let filter = DownlinkFilter {
            state: in_state.flatten(),
            from: fields.time("from", self.from.as_deref()),
            ..DownlinkFilter::default()
        };
        let limit = fields.number("limit", self.limit.as_deref(), 1..=PAGE_MAX);
        let page = PageRequest {
            limit: limit.unwrap_or(LIMIT_DEFAULT),
            after: fields.parsed("cursor", self.cursor.as_deref()),
        };
        fields.done((filter, page))
    }
}

/// A page of commands.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DownlinkPage {
    downlinks: Vec<DownlinkBody>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

impl DownlinkPage {
    pub(in crate::http) fn new(page: &Page<StoredDownlink>) -> Self {
        Self {
            downlinks: page.items.iter().map(DownlinkBody::of_stored).collect(),
            next_cursor: page.next.map(|cursor| cursor.to_string()),
        }
    }
}

/// Commands, newest first
#[utoipa::path(
    get,
    path = "/api/v1/downlinks",
    tag = "commands",
    params(ListQuery),
    responses(
        (status = 200, description = "A page, without timelines", body = DownlinkPage),
        (status = 400, description = "A filter is wrong", body = Problem),
        (status = 404, description = "No such tenant", body = Problem),
    ),
)]
pub(in crate::http) async fn list(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    QueryFields(query): QueryFields<ListQuery>,
) -> Result<Json<DownlinkPage>, ApiError> {
    let mut fields = Fields::default();
    let dev_eui = fields.parsed("dev_eui", query.dev_eui.as_deref());
    let page = PageQuery {
        state: query.state,
        from: query.from,
        limit: query.limit,
        cursor: query.cursor,
    };
    let (filter, page) = page.checked_with(fields)?;
    let filter = DownlinkFilter { dev_eui, ..filter };
    let scope = tenants::scope_of_query(&state, &caller, query.tenant_id.as_deref()).await?;
    let page = state.store().list_downlinks(scope, filter, page);
    Ok(Json(DownlinkPage::new(&page.await?)))
}
