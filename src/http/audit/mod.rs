//! The audit log: `GET /api/v1/tenants/{tenant_id}/audit` and `GET /api/v1/audit`. Nothing here changes it.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::{IntoResponse as _, Response};
use downbeat_core::id::Scope;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::store::{AuditEntry, AuditFilter, PageRequest};

use super::auth::{Admin, PlatformAdmin};
use super::extract::{Fields, QueryFields};
use super::problem::ApiError;
use super::{AppState, tenants};

mod csv;
mod export;

use export::Format;

/// Characters of a filter's text at the most.
const FILTER_MAX: usize = 100;

/// An entry of the audit log.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct AuditEntryBody {
    /// UUID v7.
    id: String,
    /// RFC 3339.
    at: String,
    /// Whose data; null: the platform's.
    tenant_id: Option<String>,
    /// What was done: `tenant.create`, `device.update`, `downlink.send` and so on.
    action: String,
    /// The object's id, or its DevEUI.
    object_id: String,
    /// The key that it was done with; null for the command line and for Downbeat itself.
    key_id: Option<String>,
    /// The key's name, `command line`, `downbeat`, or `local ticket` for the browser of a local start.
    name: String,
    /// Where the request came from.
    address: Option<String>,
    /// The request's id, as in the log.
    request_id: Option<String>,
    /// The object before, without secrets; null if there was none.
    before: Option<Value>,
    /// The object after, without secrets; null if there is none any more.
    after: Option<Value>,
}

impl AuditEntryBody {
    fn new(entry: AuditEntry) -> Self {
        Self {
            id: entry.id.to_string(),
            at: entry.at.to_string(),
            tenant_id: entry.tenant_id.map(|id| id.to_string()),
            action: entry.action,
            object_id: entry.object_id,
            key_id: entry.by.key_id.map(|id| id.to_string()),
            name: entry.by.name,
            address: entry.by.address.map(|address| address.to_string()),
            request_id: entry.by.request_id,
            before: entry.before,
            after: entry.after,
        }
    }
}

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Those of that action, `device.create`, or of all of that kind, `device`.
    action: Option<String>,
    /// Those about that object.
    object_id: Option<String>,
    /// What was done with that key.
    key_id: Option<String>,
    /// From this moment on, RFC 3339.
    from: Option<String>,
    /// Before this moment, RFC 3339.
    to: Option<String>,
    /// `json`, page by page; `ndjson` and `csv` give all entries at once. The header `Accept` does the same.
    format: Option<String>,
    /// 1 to 1000; 100 if absent. Of a page.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditPage {
    entries: Vec<AuditEntryBody>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// A tenant's audit log, newest first
///
/// Who changed what, when and from where, and each command. Nobody can change it.
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/audit",
    tag = "audit",
    params(("tenant_id" = String, Path, description = "The tenant's id or name"), AuditQuery),
    responses((status = 200, description = "A page, or everything as NDJSON or CSV", content(
        (AuditPage = "application/json"),
        (String = "application/x-ndjson"),
        (String = "text/csv"),
    ))),
)]
pub(super) async fn of_tenant(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Path(tenant): Path<String>,
    QueryFields(query): QueryFields<AuditQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    answer(&state, Scope::Tenant(tenant_id), &query, &headers).await
}

/// The whole audit log, newest first
///
/// The platform's and all tenants'. For the platform's administrators.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    tag = "audit",
    params(AuditQuery),
    responses((status = 200, description = "A page, or everything as NDJSON or CSV", content(
        (AuditPage = "application/json"),
        (String = "application/x-ndjson"),
        (String = "text/csv"),
    ))),
)]
pub(super) async fn of_all(
    State(state): State<AppState>,
    PlatformAdmin(caller): PlatformAdmin,
    QueryFields(query): QueryFields<AuditQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    answer(&state, caller.scope, &query, &headers).await
}

async fn answer(
    state: &AppState,
    scope: Scope,
    query: &AuditQuery,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let (format, filter, page) = checked(query, headers)?;
    match format {
        Format::Json => {
            let page = state.store().list_audit(scope, &filter, page).await?;
            let entries = page.items.into_iter().map(AuditEntryBody::new).collect();
            let next_cursor = page.next.map(|cursor| cursor.to_string());
            Ok(Json(AuditPage {
                entries,
                next_cursor,
            })
            .into_response())
        }
        Format::Lines(lines) => export::all(state, scope, filter, page.after, lines).await,
    }
}

fn checked(
    query: &AuditQuery,
    headers: &HeaderMap,
) -> Result<(Format, AuditFilter, PageRequest), ApiError> {
    let mut fields = Fields::default();
    for (field, text) in [("action", &query.action), ("object_id", &query.object_id)] {
        let fits = text
            .as_ref()
            .is_none_or(|it| it.len() <= FILTER_MAX && !it.contains('\0'));
        fields.check(fits, field, "must have at most 100 characters");
    }
    let format = match query.format.as_deref() {
        Some(name) => Format::by_name(name),
        None => Some(Format::accepted(headers.get(ACCEPT))),
    };
    fields.check(format.is_some(), "format", "must be json, ndjson or csv");
    let filter = AuditFilter {
        action: query.action.clone(),
        object_id: query.object_id.clone(),
        key_id: fields.parsed("key_id", query.key_id.as_deref()),
        from: fields.time("from", query.from.as_deref()),
        to: fields.time("to", query.to.as_deref()),
    };
    let page = fields.page(query.limit.as_deref(), query.cursor.as_deref());
    fields.done((format.unwrap_or(Format::Json), filter, page))
}
