//! A tenant's own network server.
//!
//! Downbeat connects to the address that is set, from its own place in the network. So the platform's administrators
//! alone may set and try one, unless the configuration lets tenants' administrators.

use std::sync::Arc;

use axum::http::Uri;
use downbeat_actors::port::NetworkServer;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::{Scope, Tenant, TenantNetworkServer, WriteNetworkServerError};

use super::auth::Caller;
use super::extract::Fields;
use super::problem::{ApiError, Conflict};
use super::{AppState, tenants};

pub(super) mod delete;
pub(super) mod get;
pub(super) mod put;
pub(super) mod service;
pub(super) mod test;

/// Characters of an address at the most.
const URL_MAX: usize = 200;

/// Characters of an API key at the most.
const KEY_MAX: usize = 1_000;

/// Makes clients of network servers, for the edge, which knows no network server itself.
pub trait Connect: Send + Sync + 'static {
    /// A client that connects when it is used first.
    fn connect(
        &self,
        url: &str,
        api_key: &SecretString,
    ) -> Result<Arc<dyn NetworkServer>, ConnectError>;
}

/// Why there can be no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {message}")]
pub struct ConnectError {
    /// What is wrong: `url` or `api_key`.
    pub field: &'static str,
    /// What it has to be. The key is not repeated here.
    pub message: &'static str,
}

/// A tenant's own network server, without its API key.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct NetworkServerBody {
    /// Its gRPC address.
    url: String,
    /// Whether there is an API key; the key itself is never told.
    key_set: bool,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    updated_at: String,
}

impl NetworkServerBody {
    fn new(server: &TenantNetworkServer) -> Self {
        Self {
            url: server.url.clone(),
            key_set: true,
            created_at: server.created_at.to_string(),
            updated_at: server.updated_at.to_string(),
        }
    }
}

/// The tenant of a path, for who may decide what Downbeat connects to.
async fn tenant_to_connect(
    state: &AppState,
    caller: &Caller,
    tenant: &str,
) -> Result<Tenant, ApiError> {
    let tenant = tenants::of_path(state, caller, tenant).await?;
    match caller.scope {
        Scope::Tenant(_) if !state.tenants_may_set_network_server() => Err(ApiError::Forbidden(
            "Only the platform's administrators may set a network server here: Downbeat connects to it.",
        )),
        Scope::Tenant(_) | Scope::Platform => Ok(tenant),
    }
}

/// A gRPC address as it may be: its form alone, whether anything is there is another question.
fn checked_url(fields: &mut Fields, url: &str) -> String {
    let url = url.trim();
    let authority = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
        .map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    let parsed = url.parse::<Uri>().ok();
    let is_one = authority.is_some_and(|it| !it.is_empty() && !it.contains(['/', '?', '#', '@']))
        && parsed.is_some_and(|uri| {
            let host = uri.host().unwrap_or_default();
            // What stands behind the host is a port that there can be.
            let port = uri.authority().map(|it| &it.as_str()[host.len()..]);
            !host.is_empty() && (port == Some("") || uri.port_u16().is_some())
        });
    fields.check(
        is_one && url.len() <= URL_MAX,
        "url",
        "must be http://host:port or https://host:port, of at most 200 characters",
    );
    url.to_owned()
}

/// An API key as it may be. It is not repeated, whatever is wrong with it.
fn checked_key(fields: &mut Fields, key: Option<String>) -> Option<SecretString> {
    let key = SecretString::from(key?);
    let text = key.expose_secret();
    let is_one =
        (1..=KEY_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    fields.check(
        is_one,
        "api_key",
        "must be 1 to 1000 visible ASCII characters",
    );
    Some(key)
}

fn refused(error: WriteNetworkServerError) -> ApiError {
    match error {
        WriteNetworkServerError::UnknownTenant => ApiError::NotFound("tenant"),
        WriteNetworkServerError::ApiKeyMissing => {
            ApiError::field("api_key", "is missing: there is none yet")
        }
        WriteNetworkServerError::Unknown => ApiError::NotFound("network server of its own"),
        WriteNetworkServerError::HasDevices => ApiError::Conflict(Conflict::NetworkServerInUse),
        WriteNetworkServerError::Store(error) => error.into(),
    }
}

fn unusable(error: &ConnectError) -> ApiError {
    ApiError::field(error.field, error.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_and_a_host() {
        let is_one = |url: &str| {
            let mut fields = Fields::default();
            checked_url(&mut fields, url);
            fields.done(()).is_ok()
        };
        for url in [
            "http://chirpstack:8080",
            "https://lns.example/",
            "http://[::1]:8080",
        ] {
            assert!(is_one(url), "{url}");
        }
        for url in [
            "",
            "chirpstack:8080",
            "ftp://chirpstack",
            "http://",
            "http:///path",
            "http://a/b",
            "http://a?b",
            "http://user:password@a",
            "http://a b",
            "http://a:99999",
        ] {
            assert!(!is_one(url), "{url}");
        }
        assert!(!is_one(&format!("http://{}", "a".repeat(URL_MAX))));
    }

    #[test]
    fn a_key_is_visible_and_never_repeated() {
        let said = |key: &str| {
            let mut fields = Fields::default();
            checked_key(&mut fields, Some(key.to_owned()));
            fields.done(())
        };
        assert!(said("eyJ0eXAi.e30.x").is_ok());
        for key in ["", "a secret", "geheim\u{e4}", &"k".repeat(KEY_MAX + 1)] {
            let error = format!("{:?}", said(key).unwrap_err());
            assert!(key.is_empty() || !error.contains(key), "{error}");
        }
    }
}
