//! `PUT /api/v1/tenants/{tenant_id}/network-server`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderName;
use downbeat_core::id::NetworkServerId;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::AppState;
use crate::http::auth::Admin;
use crate::http::etag::etag;
use crate::http::extract::{Fields, JsonBody};
use crate::http::problem::{ApiError, Problem};
use crate::store::{NetworkServerFields, Scope};

use super::{NetworkServerBody, checked_key, checked_url, refused, tenant_to_connect, unusable};

/// How a tenant's own ChirpStack is reached.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"url": "http://chirpstack:8080", "api_key": "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.e30.x"}))]
pub(in crate::http) struct SetNetworkServer {
    /// Its gRPC address, `http://host:port` or `https://host:port`, at most 200 characters.
    url: String,
    /// One of its API keys, 1 to 1000 visible ASCII characters. Stored encrypted and never told again. The one that is
    /// there stays if this is absent.
    #[serde(default)]
    #[schema(write_only)]
    api_key: Option<String>,
}

/// Set a tenant's own network server
///
/// Its devices are registered there from now on. Another ChirpStack has other sessions, so the first one can only be set
/// while no device of the tenant is on the service's. Setting it again changes address and key; everything is brought
/// in step with what is found there. The service connects to this address: unless
/// `limits.tenants_may_set_network_server` is set, only the platform's administrators may name it.
#[utoipa::path(
    put,
    path = "/api/v1/tenants/{tenant_id}/network-server",
    tag = "network server",
    params(("tenant_id" = String, Path, description = "The tenant's id or name")),
    request_body = SetNetworkServer,
    responses(
        (status = 200, description = "It is used from now on", body = NetworkServerBody),
        (status = 409, description = "Devices are on the network server that is used so far", body = Problem),
    ),
)]
pub(in crate::http) async fn put(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Path(tenant): Path<String>,
    body: JsonBody<SetNetworkServer>,
) -> Result<([(HeaderName, String); 1], Json<NetworkServerBody>), ApiError> {
    let tenant = tenant_to_connect(&state, &caller, &tenant).await?;
    let mut fields = Fields::default();
    let wanted = NetworkServerFields {
        url: checked_url(&mut fields, &body.value.url),
        api_key: checked_key(&mut fields, body.value.api_key),
    };
    let wanted = fields.done(wanted)?;
    if let Some(key) = &wanted.api_key {
        let client = state.connector().connect(&wanted.url, key);
        client.map_err(|error| unusable(&error))?;
    }
    let (scope, by) = (Scope::Tenant(tenant.id), caller.by());
    // Once it is stored it is used, also when the caller goes away meanwhile.
    let task = tokio::spawn(async move {
        let now = state.clock().now();
        let stored = state
            .store()
            .put_network_server(scope, tenant.id, &wanted, now, &by);
        let stored = stored.await.map_err(refused)?;
        let client = state.connector().connect(&stored.url, &stored.api_key);
        let client = client.map_err(|error| unusable(&error))?;
        let server = NetworkServerId::Tenant(tenant.id);
        state.system().connect(server, Some(client)).await;
        Ok::<_, ApiError>(stored)
    });
    let stored = task.await.map_err(|_| ApiError::Panicked)??;
    Ok((etag(stored.version), Json(NetworkServerBody::new(&stored))))
}
