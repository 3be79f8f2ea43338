//! `POST`, `GET` and `DELETE /api/v1/session`: how a browser signs in and out. Which others are signed in: `sessions`.

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::header::{ORIGIN, SET_COOKIE, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::secret_key;
use crate::store::{Role, SessionKey};

use super::auth::session::Beginning;
use super::auth::{Caller, SESSION_COOKIE, Viewer, require_own_page, session_cookie};
use super::client_address::ClientAddress;
use super::extract::{Fields, JsonBody, QueryFields};
use super::problem::{ApiError, Problem};
use super::router::HasSimulator;
use super::{AppState, tenants};

/// Characters that are kept of what a browser calls itself.
const AGENT_MAX: usize = 200;

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
    /// Whether all tenants may be looked at.
    platform: bool,
    /// The key's name; null for who signed in with a local ticket.
    key_name: Option<String>,
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
    client: Option<Extension<ClientAddress>>,
    headers: HeaderMap,
    body: JsonBody<SignIn>,
) -> Result<(StatusCode, [(HeaderName, String); 1]), ApiError> {
    require_own_page(&headers)?;
    let now = state.clock().now();
    let address = client.map(|Extension(ClientAddress(address))| address);
    let attempts = state.attempts();
    let may_try = attempts.may_try(address, now);
    may_try.map_err(|retry_after| ApiError::TooManySignIns { retry_after })?;
    let key = key(&state, body.value).await;
    if matches!(key, Err(ApiError::Unauthenticated)) {
        attempts.failed(address, now);
    }
    let beginning = Beginning {
        key: key?,
        address,
        agent: agent(&headers),
    };
    let begun = state.sessions().begin(beginning, now);
    let kept = state
        .store()
        .keep_browser_session(&begun.session, begun.id.hash());
    if let Err(error) = kept.await {
        tracing::warn!(%error, "a session could not be stored: it ends with this run of the service");
    }
    let cookie = cookie(&begun.secret, &headers, "");
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]))
}

/// The key that somebody signs in with; `None`: with a ticket.
async fn key(state: &AppState, sign_in: SignIn) -> Result<Option<SessionKey>, ApiError> {
    let now = state.clock().now();
    match (sign_in.key, sign_in.ticket) {
        (Some(key), None) => {
            let hash = secret_key::hash(key.trim());
            let found = state.keys().find(state.store(), hash, now).await?;
            let key = found.ok_or(ApiError::Unauthenticated)?;
            match key.role {
                Role::Admin | Role::Operator | Role::Viewer => Ok(Some(SessionKey {
                    id: key.id,
                    hash,
                    tenant_id: key.tenant_id,
                    role: key.role,
                    name: key.name.clone(),
                })),
                Role::Webhook => Err(ApiError::Forbidden(
                    "A key for webhooks may only deliver webhooks.",
                )),
            }
        }
        (None, Some(ticket)) if state.sessions().take_ticket(&ticket, now) => Ok(None),
        (None, Some(_)) => Err(ApiError::Unauthenticated),
        (None, None) => Err(ApiError::field("key", "is missing: give key or ticket")),
        (Some(_), Some(_)) => Err(ApiError::field("ticket", "excludes key")),
    }
}

/// What a browser calls itself, as far as it is kept.
fn agent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(USER_AGENT)?.to_str().ok()?;
    Some(text.chars().take(AGENT_MAX).collect())
}

/// `Secure` where the page came by TLS, whoever ended that: the browser itself says so in `Origin`, and who forges that
/// keeps but their own cookie from going elsewhere.
fn cookie(secret: &str, headers: &HeaderMap, more: &str) -> String {
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    let is_by_tls = origin.is_some_and(|origin| origin.starts_with("https://"));
    let secure = if is_by_tls { "; Secure" } else { "" };
    format!("{SESSION_COOKIE}={secret}; HttpOnly; SameSite=Strict; Path=/{secure}{more}")
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
        platform: caller.scope.tenant().is_none(),
        key_name: caller.key_name().map(str::to_owned),
        tenant: SessionTenant {
            id: tenant.id.to_string(),
            name: tenant.fields.name,
        },
        simulator: has_simulator && may_switch,
    }))
}

/// Which sessions end.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SignOutQuery {
    /// `true`: all sessions that were begun with the same key; `false` if absent.
    #[param(value_type = Option<bool>)]
    everywhere: Option<String>,
}

/// Sign out
///
/// The session is over in every tab, and its open streams end.
#[utoipa::path(
    delete,
    path = "/api/v1/session",
    tag = "session",
    params(SignOutQuery),
    responses((status = 204, description = "Signed out")),
)]
pub(super) async fn sign_out(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    QueryFields(query): QueryFields<SignOutQuery>,
) -> Result<(StatusCode, [(HeaderName, String); 1]), ApiError> {
    let mut fields = Fields::default();
    let everywhere = query.everywhere.as_deref().map_or(Ok(false), str::parse);
    fields.check(everywhere.is_ok(), "everywhere", "must be true or false");
    fields.done(())?;
    if let Some(id) = session_cookie(&headers) {
        state.sessions().end(id);
    }
    if everywhere == Ok(true) {
        let key = caller.key_id();
        let is_own = |its: Option<&SessionKey>| its.map(|key| key.id) == key;
        state
            .sessions()
            .end_those(|session| is_own(session.key.as_ref()));
    }
    state.sessions_ended().await;
    let expired = cookie("", &headers, "; Max-Age=0");
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, expired)]))
}
