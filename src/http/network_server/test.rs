//! `POST /api/v1/tenants/{tenant_id}/network-server/test`: try an address and a key before, or after, they are set.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use downbeat_actors::port::{NetworkServer, NetworkServerError};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::AppState;
use crate::http::auth::Admin;
use crate::http::extract::{Fields, JsonBody};
use crate::http::problem::ApiError;
use crate::store::Scope;

use super::{checked_key, checked_url, tenant_to_connect, unusable};

/// The whole trial takes no longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Applications that are named at the most.
const APPLICATIONS_MAX: usize = 100;

/// What to try. What is absent is taken from what is set; where nothing is set and nothing is given, the service's own.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct TestNetworkServer {
    /// A gRPC address.
    #[serde(default)]
    url: Option<String>,
    /// An API key. With another address than the one that is set, it has to be given.
    #[serde(default)]
    #[schema(write_only)]
    api_key: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::http) struct TestedNetworkServer {
    /// Whether everything needed is there.
    ok: bool,
    /// Whether anything answered that speaks as ChirpStack does.
    reachable: bool,
    /// Whether it takes the key; null if that is not known.
    key_accepted: Option<bool>,
    /// The applications that the key sees, 100 at the most; null if that is not known.
    applications: Option<Vec<ApplicationBody>>,
    /// The same in a sentence.
    message: String,
}

/// An application of ChirpStack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::http) struct ApplicationBody {
    id: String,
    name: String,
}

/// Try a network server
///
/// Nothing is set or changed by it. For who may set a network server.
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{tenant_id}/network-server/test",
    tag = "network server",
    params(("tenant_id" = String, Path, description = "The tenant's id or name")),
    request_body = TestNetworkServer,
    responses((status = 200, description = "What came of it, good or bad", body = TestedNetworkServer)),
)]
pub(in crate::http) async fn test(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Path(tenant): Path<String>,
    body: JsonBody<TestNetworkServer>,
) -> Result<Json<TestedNetworkServer>, ApiError> {
    let tenant = tenant_to_connect(&state, &caller, &tenant).await?;
    let mut fields = Fields::default();
    let given_url = body.value.url.map(|url| checked_url(&mut fields, &url));
    let given_key = checked_key(&mut fields, body.value.api_key);
    let (given_url, given_key) = fields.done((given_url, given_key))?;
    let stored = state
        .store()
        .network_server(Scope::Tenant(tenant.id), tenant.id)
        .await?;
    let (url, key): (String, SecretString) = match (given_url, given_key, stored) {
        (Some(url), Some(key), _) => (url, key),
        (None, Some(key), Some(stored)) => (stored.url, key),
        (None, None, Some(stored)) => (stored.url, stored.api_key),
        // A key goes nowhere but where it was given for.
        (Some(url), None, Some(stored)) if url == stored.url => (url, stored.api_key),
        (Some(_), None, _) => {
            return Err(ApiError::field(
                "api_key",
                "is missing: the one that is set goes to no other address",
            ));
        }
        (None, None, None) => return try_service(&state).await.map(Json),
        (None, Some(_), None) => {
            return Err(ApiError::field("url", "is missing: none is set"));
        }
    };
    let client = state.connector().connect(&url, &key);
    let client = client.map_err(|error| unusable(&error))?;
    let tested = tokio::time::timeout(PATIENCE, tried(&*client, None)).await;
    Ok(Json(tested.unwrap_or_else(|_| TestedNetworkServer::late())))
}

/// Tries what the configuration says.
pub(super) async fn try_service(state: &AppState) -> Result<TestedNetworkServer, ApiError> {
    let section = state.chirpstack();
    let (Some(url), Some(key)) = (&section.url, &section.api_key) else {
        return Err(ApiError::field("url", "is missing: none is configured"));
    };
    let client = state.connector().connect(url, key);
    let client = client.map_err(|error| unusable(&error))?;
    let tested = tokio::time::timeout(PATIENCE, tried(&*client, section.tenant_id)).await;
    Ok(tested.unwrap_or_else(|_| TestedNetworkServer::late()))
}

async fn tried(client: &dyn NetworkServer, tenant_id: Option<Uuid>) -> TestedNetworkServer {
    match client.ping().await {
        Ok(()) => TestedNetworkServer::of_applications(client.applications(tenant_id).await.map(
            |applications| {
                let named = applications.into_iter().take(APPLICATIONS_MAX);
                let named = named.map(|it| ApplicationBody {
                    id: it.id.to_string(),
                    name: it.name,
                });
                named.collect()
            },
        )),
        Err(error) => TestedNetworkServer::failed(&error),
    }
}

impl TestedNetworkServer {
    fn of_applications(seen: Result<Vec<ApplicationBody>, NetworkServerError>) -> Self {
        let message = match &seen {
            Ok(seen) if seen.is_empty() => {
                "ChirpStack answers and takes the key, which sees no application: make one there first.".to_owned()
            }
            Ok(seen) => format!(
                "ChirpStack answers and takes the key, which sees {} application(s).",
                seen.len()
            ),
            Err(NetworkServerError::Unauthenticated) => {
                "ChirpStack answers and takes the key, which may not list applications.".to_owned()
            }
            Err(_) => {
                "ChirpStack answers and takes the key, but could not list its applications.".to_owned()
            }
        };
        Self {
            ok: seen.as_ref().is_ok_and(|seen| !seen.is_empty()),
            reachable: true,
            key_accepted: Some(true),
            applications: seen.ok(),
            message,
        }
    }

    /// In our words: what a stranger's server says is not passed on.
    fn failed(error: &NetworkServerError) -> Self {
        let (reachable, key_accepted, message) = match error {
            NetworkServerError::Unavailable(_) => (
                false,
                None,
                "Nothing answers at this address, or it does not speak ChirpStack's gRPC.",
            ),
            NetworkServerError::AnswerLost(_) => {
                (false, None, "No answer came in time from this address.")
            }
            NetworkServerError::Unauthenticated => (
                true,
                Some(false),
                "ChirpStack answers, but does not take the key.",
            ),
            NetworkServerError::Refused(_)
            | NetworkServerError::UnknownDevice(_)
            | NetworkServerError::Invalid(_) => (
                true,
                None,
                "Something answers at this address, but not as ChirpStack does.",
            ),
        };
        Self {
            ok: false,
            reachable,
            key_accepted,
            applications: None,
            message: message.to_owned(),
        }
    }

    fn late() -> Self {
        Self {
            ok: false,
            reachable: false,
            key_accepted: None,
            applications: None,
            message: "No answer came in time from this address.".to_owned(),
        }
    }
}
