//! `POST`, `GET` and `DELETE /api/v1/session`: how a browser signs in and out.

use std::net::{IpAddr, SocketAddr};

use axum::Json;
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::secret_key;
use crate::store::Role;

use super::auth::session::Grant;
use super::auth::{Caller, SESSION_COOKIE, Viewer, require_own_page, session_cookie};
use super::extract::JsonBody;
use super::problem::{ApiError, Problem};
use super::router::HasSimulator;
use super::{AppState, tenants};

/// Who signs in: by a key, or by the one-time ticket of a local start.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignIn {
    /// An API key.
    #[serde(default)]
    key: Option<String>,
    /// A ticket.
    #[serde(default)]
    ticket: Option<String>,
}

/// Who is signed in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionBody {
    /// `admin`, `operator` or `viewer`.
    role: &'static str,
    tenant: SessionTenant,
    /// Whether lights and gateways are simulated, and may be switched by this session.
    simulator: bool,
}

/// The tenant that is looked at.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionTenant {
    id: String,
    name: String,
}

/// Sign in
///
/// Gives a cookie that no script can read. Every change by cookie needs the header `X-Downbeat-Request`.
#[utoipa::path(
    post,
    path = "/api/v1/session",
    tag = "session",
    security(()),
    params(("X-Downbeat-Request" = String, Header, description = "any value")),
    request_body = SignIn,
    responses(
        (status = 204, description = "Signed in"),
        (status = 401, description = "No such key or ticket", body = Problem),
        (status = 403, description = "Not from Downbeat's own page, or a key for webhooks", body = Problem),
        (status = 429, description = "Too many sign-ins failed", body = Problem),
    ),
)]
pub(super) async fn sign_in(
    State(state): State<AppState>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    body: JsonBody<SignIn>,
) -> Result<(StatusCode, [(HeaderName, String); 1]), ApiError> {
    require_own_page(&headers)?;
    let now = state.clock().now();
    let address: Option<IpAddr> = peer.map(|Extension(ConnectInfo(peer))| peer.ip());
    let attempts = state.attempts();
    let may_try = attempts.may_try(address, now);
    may_try.map_err(|retry_after| ApiError::TooManySignIns { retry_after })?;
    let granted = grant(&state, body.value).await;
    if matches!(granted, Err(ApiError::Unauthenticated)) {
        attempts.failed(address, now);
    }
    let secret = state.sessions().begin(granted?, now);
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, cookie(&secret, ""))]))
}

async fn grant(state: &AppState, sign_in: SignIn) -> Result<Grant, ApiError> {
    let now = state.clock().now();
    match (sign_in.key, sign_in.ticket) {
        (Some(key), None) => {
            let hash = secret_key::hash(key.trim());
            let found = state.keys().find(state.store(), hash, now).await?;
            match found.ok_or(ApiError::Unauthenticated)?.role {
                Role::Admin | Role::Operator | Role::Viewer => Ok(Grant::Key(hash)),
                Role::Webhook => Err(ApiError::Forbidden(
                    "A key for webhooks may only deliver webhooks.",
                )),
            }
        }
        (None, Some(ticket)) if state.sessions().take_ticket(&ticket, now) => {
            Ok(Grant::PlatformAdmin)
        }
        (None, Some(_)) => Err(ApiError::Unauthenticated),
        (None, None) => Err(ApiError::field("key", "is missing: give key or ticket")),
        (Some(_), Some(_)) => Err(ApiError::field("ticket", "excludes key")),
    }
}

fn cookie(secret: &str, more: &str) -> String {
    format!("{SESSION_COOKIE}={secret}; HttpOnly; SameSite=Strict; Path=/{more}")
}

/// Who is signed in
#[utoipa::path(
    get,
    path = "/api/v1/session",
    tag = "session",
    responses(
        (status = 200, description = "Who is", body = SessionBody),
        (status = 404, description = "There is no tenant at all", body = Problem),
    ),
)]
pub(super) async fn show(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Extension(HasSimulator(has_simulator)): Extension<HasSimulator>,
) -> Result<Json<SessionBody>, ApiError> {
    let tenant = tenants::of_caller(&state, &caller).await?;
    let may_switch = matches!(caller.role, Role::Admin | Role::Operator);
    Ok(Json(SessionBody {
        role: caller.role.name(),
        tenant: SessionTenant {
            id: tenant.id.to_string(),
            name: tenant.fields.name,
        },
        simulator: has_simulator && may_switch,
    }))
}

/// Sign out
#[utoipa::path(
    delete,
    path = "/api/v1/session",
    tag = "session",
    responses((status = 204, description = "Signed out")),
)]
pub(super) async fn sign_out(
    State(state): State<AppState>,
    _: Caller,
    headers: HeaderMap,
) -> (StatusCode, [(HeaderName, String); 1]) {
    if let Some(id) = session_cookie(&headers) {
        state.sessions().end(id);
    }
    let expired = cookie("", "; Max-Age=0");
    (StatusCode::NO_CONTENT, [(SET_COOKIE, expired)])
}
