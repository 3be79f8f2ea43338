//! `GET /api/v1/network-server` and `POST /api/v1/network-server/test`: the service's own network server, which all tenants
//! use that have none of their own.

use axum::Json;
use axum::extract::State;
use downbeat_core::id::NetworkServerId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::AppState;
use crate::http::auth::PlatformAdmin;
use crate::http::problem::{ApiError, Problem};

use super::test::{TestedNetworkServer, try_service};

/// The service's network server, without its API key.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct ServiceNetworkServerBody {
    /// Its gRPC address; null: none is configured.
    url: Option<String>,
    /// Whether there is an API key; the key itself is never told.
    key_set: bool,
    /// ChirpStack's tenant whose gateways are listed; null with a global key.
    chirpstack_tenant_id: Option<String>,
    /// `ok`, `unavailable`, `key_refused` or `not_configured`.
    state: &'static str,
}

/// The service's own network server
///
/// It is set by the configuration. For the platform's administrators.
#[utoipa::path(
    get,
    path = "/api/v1/network-server",
    tag = "network server",
    responses((status = 200, description = "How it is reached", body = ServiceNetworkServerBody)),
)]
pub(in crate::http) async fn get(
    State(state): State<AppState>,
    _: PlatformAdmin,
) -> Json<ServiceNetworkServerBody> {
    let section = state.chirpstack();
    let health = state.system().health_with(NetworkServerId::Default);
    Json(ServiceNetworkServerBody {
        url: section.url.clone(),
        key_set: section.api_key.is_some(),
        chirpstack_tenant_id: section.tenant_id.map(|id| id.to_string()),
        state: super::super::health::word(health),
    })
}

/// Try the service's own network server
///
/// Nothing is set or changed by it. For the platform's administrators.
#[utoipa::path(
    post,
    path = "/api/v1/network-server/test",
    tag = "network server",
    responses(
        (status = 200, description = "What came of it, good or bad", body = TestedNetworkServer),
        (status = 400, description = "None is configured", body = Problem),
    ),
)]
pub(in crate::http) async fn test(
    State(state): State<AppState>,
    _: PlatformAdmin,
) -> Result<Json<TestedNetworkServer>, ApiError> {
    try_service(&state).await.map(Json)
}
