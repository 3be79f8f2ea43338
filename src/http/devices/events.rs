//! `GET /api/v1/tenants/{tenant_id}/devices/{device_id}/events` and `…/uplinks`: a device's history.

use axum::Json;
use axum::extract::{Path, State};
use downbeat_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::http::AppState;
use crate::http::auth::{Caller, Viewer};
use crate::http::extract::{Fields, QueryFields};
use crate::http::problem::{ApiError, Problem};
use crate::store::{DeviceEvent, PAGE_MAX, PageRequest, Scope};

use super::device_of_path;

/// Rows of a page if the caller does not say.
const LIMIT_DEFAULT: u32 = 100;

/// What the history keeps.
const KINDS: [&str; 11] = [
    "up", "join", "txack", "no_txack", "ack", "log", "status", "location", "online", "offline",
    "error",
];

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct EventsQuery {
    /// `up`, `join`, `txack`, `no_txack`, `ack`, `log`, `status`, `location`, `online`, `offline` or `error`.
    kind: Option<String>,
    /// Those received at this time (RFC 3339) or later.
    from: Option<String>,
    /// Those received before this time.
    to: Option<String>,
    /// 1 to 1000; 100 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which uplinks.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct UplinksQuery {
    /// Those received at this time (RFC 3339) or later.
    from: Option<String>,
    /// Those received before this time.
    to: Option<String>,
    /// 1 to 1000; 100 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// An event of a device's history.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct EventBody {
    id: String,
    /// When Downbeat received it, RFC 3339.
    at: String,
    kind: String,
    /// What it said, by its kind. An uplink: `f_cnt`, `f_port`, `data` (base64), `object`, `receptions`.
    #[schema(value_type = Object)]
    body: Box<RawValue>,
}

impl EventBody {
    fn new(event: DeviceEvent) -> Self {
        Self {
            id: event.id.to_string(),
            at: event.at.to_string(),
            kind: event.kind,
            body: event.body,
        }
    }
}

/// A page of a device's history.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct EventPage {
    events: Vec<EventBody>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// A page of a device's uplinks.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct UplinkPage {
    uplinks: Vec<EventBody>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// A device's history, newest first
///
/// Events are kept for `limits.history_days`.
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/devices/{device_id}/events",
    tag = "devices",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("device_id" = String, Path, description = "The device's id"),
        EventsQuery,
    ),
    responses(
        (status = 200, description = "A page", body = EventPage),
        (status = 400, description = "A filter is wrong", body = Problem),
        (status = 404, description = "No such tenant or device", body = Problem),
    ),
)]
pub(in crate::http) async fn events(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path((tenant, id)): Path<(String, String)>,
    QueryFields(query): QueryFields<EventsQuery>,
) -> Result<Json<EventPage>, ApiError> {
    let mut fields = Fields::default();
    let kind = query.kind.as_deref();
    fields.check(
        kind.is_none_or(|kind| KINDS.contains(&kind)),
        "kind",
        "must be up, join, txack, ack, log, status, location, online, offline or error",
    );
    let range = Range {
        kind,
        from: query.from.as_deref(),
        to: query.to.as_deref(),
        limit: query.limit.as_deref(),
        cursor: query.cursor.as_deref(),
    };
    let (events, next_cursor) = range.read(&state, &caller, (&tenant, &id), fields).await?;
    Ok(Json(EventPage {
        events,
        next_cursor,
    }))
}

/// A device's uplinks, newest first
///
/// The same as its events of kind `up`.
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/devices/{device_id}/uplinks",
    tag = "devices",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("device_id" = String, Path, description = "The device's id"),
        UplinksQuery,
    ),
    responses(
        (status = 200, description = "A page", body = UplinkPage),
        (status = 400, description = "A filter is wrong", body = Problem),
        (status = 404, description = "No such tenant or device", body = Problem),
    ),
)]
pub(in crate::http) async fn uplinks(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path((tenant, id)): Path<(String, String)>,
    QueryFields(query): QueryFields<UplinksQuery>,
) -> Result<Json<UplinkPage>, ApiError> {
    let range = Range {
        kind: Some("up"),
        from: query.from.as_deref(),
        to: query.to.as_deref(),
        limit: query.limit.as_deref(),
        cursor: query.cursor.as_deref(),
    };
    let fields = Fields::default();
    let (uplinks, next_cursor) = range.read(&state, &caller, (&tenant, &id), fields).await?;
    Ok(Json(UplinkPage {
        uplinks,
        next_cursor,
    }))
}

/// What is asked of a history, as texts.
struct Range<'a> {
    kind: Option<&'a str>,
    from: Option<&'a str>,
    to: Option<&'a str>,
    limit: Option<&'a str>,
    cursor: Option<&'a str>,
}

impl Range<'_> {
    async fn read(
        self,
        state: &AppState,
        caller: &Caller,
        (tenant, id): (&str, &str),
        mut fields: Fields,
    ) -> Result<(Vec<EventBody>, Option<String>), ApiError> {
        let from: Option<Timestamp> = fields.time("from", self.from);
        let to: Option<Timestamp> = fields.time("to", self.to);
        let limit = fields.number("limit", self.limit, 1..=PAGE_MAX);
        let page = PageRequest {
            limit: limit.unwrap_or(LIMIT_DEFAULT),
            after: fields.parsed("cursor", self.cursor),
        };
        let page = fields.done(page)?;
        let device = device_of_path(state, caller, tenant, id).await?;
        let scope = Scope::Tenant(device.tenant_id);
        let store = state.store();
        let found = store.list_device_events(scope, device.id, self.kind, from, to, page);
        let found = found.await?;
        let events = found.items.into_iter().map(EventBody::new).collect();
        Ok((events, found.next.map(|cursor| cursor.to_string())))
    }
}
