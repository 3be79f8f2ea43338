//! `GET /api/v1/sessions` and `DELETE /api/v1/sessions/{session_id}`: which browsers are signed in.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::{BrowserSession, BrowserSessionId};

use super::AppState;
use super::auth::session::{ends_at, is_seen};
use super::auth::{Caller, Viewer, session_cookie};
use super::extract::path_field;
use super::problem::ApiError;

/// A browser that is signed in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BrowserSessionBody {
    /// UUID v7.
    id: String,
    /// Whether it is the one that asks.
    current: bool,
    /// The key that it was begun with; null: a local ticket.
    key_id: Option<String>,
    /// That key's name.
    key_name: Option<String>,
    /// That key's tenant; null: the platform.
    tenant_id: Option<String>,
    /// What it may do: `admin`, `operator` or `viewer`.
    role: &'static str,
    /// RFC 3339.
    began_at: String,
    /// RFC 3339.
    used_at: String,
    /// When it ends if it is not used any more, RFC 3339.
    ends_at: String,
    /// Where it was begun.
    address: Option<String>,
    /// What the browser calls itself.
    agent: Option<String>,
}

impl BrowserSessionBody {
    fn new(session: BrowserSession, current: bool) -> Self {
        let ends_at = ends_at(&session).to_string();
        let role = session.key.as_ref().map_or("admin", |key| key.role.name());
        let tenant_id = session.key.as_ref().and_then(|key| key.tenant_id);
        let key_id = session.key.as_ref().map(|key| key.id.to_string());
        Self {
            id: session.id.to_string(),
            current,
            key_id,
            key_name: session.key.map(|key| key.name),
            tenant_id: tenant_id.map(|id| id.to_string()),
            role,
            began_at: session.began_at.to_string(),
            used_at: session.used_at.to_string(),
            ends_at,
            address: session.address.map(|address| address.to_string()),
            agent: session.agent,
        }
    }
}

/// Browsers that are signed in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BrowserSessionList {
    /// The one used last first; 1000 at the most.
    sessions: Vec<BrowserSessionBody>,
}

fn seen_by(caller: &Caller) -> impl Fn(&BrowserSession) -> bool + use<> {
    let (key, role, scope) = (caller.key_id(), caller.role, caller.scope);
    move |session| is_seen(session, key, role, scope)
}

/// Which browsers are signed in
///
/// With the caller's own key; for administrators, with any key of their tenant, or any at all.
#[utoipa::path(
    get,
    path = "/api/v1/sessions",
    tag = "session",
    responses((status = 200, description = "All of them", body = BrowserSessionList)),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    headers: HeaderMap,
) -> Json<BrowserSessionList> {
    let (own, now) = (session_cookie(&headers), state.clock().now());
    let sessions = state.sessions().list(own, now, seen_by(&caller));
    let sessions = sessions
        .into_iter()
        .map(|(session, current)| BrowserSessionBody::new(session, current));
    Json(BrowserSessionList {
        sessions: sessions.collect(),
    })
}

/// Sign a browser out
///
/// Its open streams end. Of those that the caller sees.
#[utoipa::path(
    delete,
    path = "/api/v1/sessions/{session_id}",
    tag = "session",
    params(("session_id" = String, Path, description = "The session's id")),
    responses((status = 204, description = "It is signed out")),
)]
pub(super) async fn end(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id: BrowserSessionId = path_field("session_id", &id)?;
    let is_seen = seen_by(&caller);
    let ended = state
        .sessions()
        .end_those(|session| session.id == id && is_seen(session));
    if ended == 0 {
        return Err(ApiError::NotFound("session"));
    }
    state.sessions_ended().await;
    Ok(StatusCode::NO_CONTENT)
}
