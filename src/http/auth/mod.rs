//! Who asks, and whether they may.
//!
//! A program sends its key with each request. A browser sends it once and gets a session: a cookie that no script can
//! read and no other site can make it send along ([`session`]). What a handler needs stands in its signature: the role
//! is a type ([`Viewer`], [`Operator`], [`Admin`], [`Deliverer`]), so that a route without any check cannot be written
//! by forgetting a line.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use downbeat_core::id::Scope;

use crate::secret_key;
use crate::store::{ApiKey, ApiKeyId, By, KeyHash, Role};

use super::AppState;
use super::client_address::ClientAddress;
use super::problem::ApiError;
use super::request::RequestId;

pub(super) mod attempts;
pub(super) mod keys;
pub(super) mod limits;
pub(super) mod metered;
pub(super) mod session;

use metered::Meter;
use session::SessionId;

/// The cookie of a session.
pub(super) const SESSION_COOKIE: &str = "downbeat_session";

/// The header that a page of another site cannot send without being asked whether it may.
const PAGE_HEADER: &str = "x-downbeat-request";

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// What they may see.
    pub(super) scope: Scope,
    /// What they may do.
    pub(super) role: Role,
    /// How they showed who they are.
    credential: Credential,
    /// Their key, or that of their session; `None` for who signed in with a ticket.
    key: Option<Arc<ApiKey>>,
    /// Where the request came from.
    address: Option<IpAddr>,
    request_id: Option<RequestId>,
}

/// How somebody showed who they are; asked again while a stream is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Credential {
    /// A key, by its hash.
    Key(KeyHash),
    /// A session.
    Session(SessionId),
}

impl Caller {
    /// Who makes a change, for the audit log.
    pub(super) fn by(&self) -> By {
        let key = self.key.as_ref();
        By {
            key_id: key.map(|key| key.id.as_uuid()),
            name: key.map_or_else(|| "local ticket".to_owned(), |key| key.name.clone()),
            address: self.address,
            request_id: self.request_id.as_ref().map(|id| id.as_str().to_owned()),
        }
    }

    /// Their key's id; `None` for who signed in with a ticket.
    pub(super) fn key_id(&self) -> Option<ApiKeyId> {
        self.key.as_ref().map(|key| key.id)
    }

    /// Their key's name.
    pub(super) fn key_name(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.name.as_str())
    }

    /// Refuses whoever belongs to a tenant.
    pub(super) fn require_platform(&self) -> Result<(), ApiError> {
        match self.scope {
            Scope::Platform => Ok(()),
            Scope::Tenant(_) => Err(ApiError::Forbidden(
                "This needs a key of the platform with the role admin.",
            )),
        }
    }

    /// Counts the request, once, however often the caller is asked for; refuses it if there were too many.
    fn metered(self, state: &AppState, meter: Option<&Meter>) -> Result<Self, ApiError> {
        let Some(Meter(standing)) = meter else {
            return Ok(self);
        };
        let standing = standing.get_or_init(|| {
            let key = self.key.as_ref();
            let limit = key.and_then(|key| key.requests_per_minute);
            let limit = limit.unwrap_or(state.key_requests_per_minute());
            let id = key.map_or_else(uuid::Uuid::nil, |key| key.id.as_uuid());
            state.key_limits().take(id, limit)
        });
        match standing.retry_after {
            None => Ok(self),
            Some(retry_after) => Err(ApiError::RateLimited { retry_after }),
        }
    }

    /// Whether the key or the session still holds. A database that cannot be asked is no reason to end a stream.
    pub(super) async fn still_holds(&self, state: &AppState) -> bool {
        let now = match self.credential {
            Credential::Key(hash) => by_key(state, hash).await,
            Credential::Session(id) => by_session(state, id).await,
        };
        match now {
            Ok(caller) => caller.role == self.role && caller.scope == self.scope,
            Err(ApiError::Unauthenticated) => false,
            Err(_) => true,
        }
    }
}

impl<S> FromRequestParts<S> for Caller
where
    AppState: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let state = AppState::from_ref(state);
        let caller = if let Some(header) = parts.headers.get(AUTHORIZATION) {
            by_header(&state, header.to_str().unwrap_or_default()).await?
        } else {
            let id = session_cookie(&parts.headers).ok_or(ApiError::Unauthenticated)?;
            let caller = by_session(&state, id).await?;
            if !is_safe(&parts.method) {
                require_own_page(&parts.headers)?;
            }
            caller
        };
        let caller = Self {
            address: parts.extensions.get().map(|ClientAddress(it)| *it),
            request_id: parts.extensions.get::<RequestId>().cloned(),
            ..caller
        };
        caller.metered(&state, parts.extensions.get::<Meter>())
    }
}

impl<S> OptionalFromRequestParts<S> for Caller
where
    AppState: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Infallible> {
        let caller = <Self as FromRequestParts<S>>::from_request_parts(parts, state).await;
        Ok(caller.ok())
    }
}

macro_rules! role {
    ($(#[$doc:meta])* $name:ident: $($role:ident)|+, $words:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub(super) struct $name(pub(super) Caller);

        impl<S> FromRequestParts<S> for $name
        where
            AppState: FromRef<S>,
            S: Send + Sync,
        {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
                let caller = <Caller as FromRequestParts<S>>::from_request_parts(parts, state).await?;
                if matches!(caller.role, $(Role::$role)|+) {
                    Ok(Self(caller))
                } else {
                    Err(ApiError::Forbidden($words))
                }
            }
        }
    };
}

role! {
    /// Somebody who may read.
    Viewer: Admin | Operator | Viewer, "A key for webhooks may only deliver webhooks."
}
role! {
    /// Somebody who may send commands.
    Operator: Admin | Operator, "Commands need a key with the role operator or admin."
}
role! {
    /// Somebody who may change the registry.
    Admin: Admin, "This needs a key with the role admin."
}
role! {
    /// Somebody who may deliver webhooks.
    Deliverer: Admin | Webhook, "Webhooks need a key with the role webhook."
}

/// Somebody who may administer the platform: tenants, and keys that are nobody's.
#[derive(Debug, Clone)]
pub(super) struct PlatformAdmin(pub(super) Caller);

impl<S> FromRequestParts<S> for PlatformAdmin
where
    AppState: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Admin(caller) =
            <Admin as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        caller.require_platform()?;
        Ok(Self(caller))
    }
}

/// The key of an `Authorization: Bearer` header. The scheme's case does not matter (RFC 9110 §11.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, key) = header.split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

/// The key of a request's `Authorization` header.
pub(super) fn bearer_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok().and_then(bearer)
}

/// The password of an `Authorization: Basic` header (RFC 7617): how a key arrives that stands in a webhook's URL.
fn basic_password(header: &str) -> Option<String> {
    let (scheme, pair) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(pair.trim()).ok()?).ok()?;
    let (_, password) = pair.split_once(':')?;
    (!password.is_empty()).then(|| password.to_owned())
}

/// The session of the cookie.
pub(super) fn session_cookie(headers: &HeaderMap) -> Option<SessionId> {
    let cookies = headers.get_all(COOKIE).into_iter();
    let mut pairs = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == SESSION_COOKIE)?;
    Some(SessionId::of(value))
}

/// By the key of an `Authorization` header.
async fn by_header(state: &AppState, header: &str) -> Result<Caller, ApiError> {
    if let Some(key) = bearer(header) {
        return by_key(state, secret_key::hash(key)).await;
    }
    let password = basic_password(header).ok_or(ApiError::Unauthenticated)?;
    let caller = by_key(state, secret_key::hash(&password)).await?;
    // A browser repeats a password by itself, also for a page of another site.
    match caller.role {
        Role::Webhook => Ok(caller),
        Role::Admin | Role::Operator | Role::Viewer => Err(ApiError::Unauthenticated),
    }
}

async fn by_key(state: &AppState, hash: KeyHash) -> Result<Caller, ApiError> {
    let now = state.clock().now();
    let key = state.keys().find(state.store(), hash, now).await?;
    let key = key.ok_or(ApiError::Unauthenticated)?;
    Ok(Caller {
        scope: key.tenant_id.map_or(Scope::Platform, Scope::Tenant),
        role: key.role,
        credential: Credential::Key(hash),
        key: Some(key),
        address: None,
        request_id: None,
    })
}

/// A session is worth what its key is worth now.
async fn by_session(state: &AppState, id: SessionId) -> Result<Caller, ApiError> {
    let session = state.sessions().find(id, state.clock().now());
    let credential = Credential::Session(id);
    match session.ok_or(ApiError::Unauthenticated)? {
        session::Grant::Key(hash) => {
            let caller = by_key(state, hash).await?;
            Ok(Caller {
                credential,
                ..caller
            })
        }
        session::Grant::PlatformAdmin => Ok(Caller {
            scope: Scope::Platform,
            role: Role::Admin,
            credential,
            key: None,
            address: None,
            request_id: None,
        }),
    }
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Refuses a change that a page of another site may have caused.
///
/// The cookie's `SameSite` already keeps it at home; this holds as well where a browser does not heed that, or where
/// another service on the same site is not to be trusted.
pub(super) fn require_own_page(headers: &HeaderMap) -> Result<(), ApiError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let same_origin = match (headers.get("sec-fetch-site"), headers.get(ORIGIN)) {
        (Some(site), _) => site == "same-origin",
        (None, Some(_)) => {
            let host = text(HOST.as_str());
            let origin = text(ORIGIN.as_str()).and_then(|origin| origin.split_once("://"));
            origin.is_some_and(|(_, authority)| {
                host.is_some_and(|host| host.eq_ignore_ascii_case(authority))
            })
        }
        (None, None) => true,
    };
    if same_origin && headers.contains_key(PAGE_HEADER) {
        Ok(())
    } else {
        Err(ApiError::CrossSite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn only_the_own_page_may_change_things() {
        const PAGE: (&str, &str) = ("x-downbeat-request", "page");
        for (pairs, allowed) in [
            (vec![PAGE], true),
            (vec![PAGE, ("sec-fetch-site", "same-origin")], true),
            (
                vec![
                    PAGE,
                    ("origin", "http://lights:8000"),
                    ("host", "Lights:8000"),
                ],
                true,
            ),
            (vec![], false),
            (vec![("sec-fetch-site", "same-origin")], false),
            (vec![PAGE, ("sec-fetch-site", "same-site")], false),
            (vec![PAGE, ("sec-fetch-site", "cross-site")], false),
            (vec![PAGE, ("sec-fetch-site", "none")], false),
            (
                vec![PAGE, ("origin", "http://evil"), ("host", "lights:8000")],
                false,
            ),
            (
                vec![PAGE, ("origin", "null"), ("host", "lights:8000")],
                false,
            ),
            (vec![PAGE, ("origin", "http://lights:8000")], false),
        ] {
            let verdict = require_own_page(&headers(&pairs)).is_ok();
            assert_eq!(verdict, allowed, "{pairs:?}");
        }
    }

    #[test]
    fn keys_are_read_from_a_bearer_header_only() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        for header in ["", "Bearer", "Bearer ", "Basic abc", "abc"] {
            assert_eq!(bearer(header), None, "{header:?}");
        }
    }

    #[test]
    fn a_password_is_read_from_a_basic_header_only() {
        let password = |pair: &str| basic_password(&format!("Basic {}", STANDARD.encode(pair)));
        assert_eq!(password("downbeat:db_1"), Some("db_1".to_owned()));
        assert_eq!(password(":a:b"), Some("a:b".to_owned()));
        assert_eq!(basic_password("basic OmE="), Some("a".to_owned()));
        for pair in ["", "db_1", "downbeat:"] {
            assert_eq!(password(pair), None, "{pair:?}");
        }
        for header in ["", "Basic", "Basic !", "Basic //8=", "Bearer OmE="] {
            assert_eq!(basic_password(header), None, "{header:?}");
        }
    }

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let wanted = Some(SessionId::of("x1"));
        for cookie in [
            "downbeat_session=x1",
            "a=b; downbeat_session=x1",
            "downbeat_session=x1;c",
        ] {
            assert_eq!(session_cookie(&headers(&[("cookie", cookie)])), wanted);
        }
        for cookie in ["", "xdownbeat_session=x1", "downbeat_session"] {
            assert_eq!(
                session_cookie(&headers(&[("cookie", cookie)])),
                None,
                "{cookie}"
            );
        }
    }
}
