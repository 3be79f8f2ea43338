//! `POST /api/v1/lorawan/webhooks/{tenant_id}` and `/uplink`, `/status`, `/error`: an event of a tenant's devices.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use axum::http::HeaderMap;
use downbeat_core::id::Scope;

use crate::http::AppState;
use crate::http::admission::Place;
use crate::http::auth::{Caller, Deliverer};
use crate::http::extract::Body;
use crate::http::problem::{ApiError, Problem};
use crate::webhook::EventKind;

use super::receive::{Delivery, Received, WebhookQuery};

macro_rules! route {
    ($(#[$doc:meta])* $name:ident, $path:literal, $kind:expr, $body:literal) => {
        $(#[$doc])*
        #[utoipa::path(
            post,
            path = $path,
            tag = "webhooks",
            params(
                ("tenant_id" = String, Path, description = "The tenant's id or name"),
                (
                    "X-Downbeat-Signature" = Option<String>,
                    Header,
                    description = "`t=<seconds since 1970>,v1=<hex of HMAC-SHA256(API key, \"<t>.<body>\")>`"
                ),
                WebhookQuery,
            ),
            request_body(content = serde_json::Value, content_type = "application/json", description = $body),
            responses(
                (status = 200, description = "Stored, or ignored", body = Received),
                (status = 400, description = "It cannot be read", body = Problem),
                (status = 401, description = "No key that works, or a signature that does not hold", body = Problem),
                (status = 403, description = "It is of another tenant than the path", body = Problem),
                (status = 404, description = "No such tenant", body = Problem),
                (status = 415, description = "Neither JSON nor Protobuf", body = Problem),
                (status = 503, description = "It is held, or there is no room to hold it; `type` tells which", body = Problem),
            ),
        )]
        pub(in crate::http) async fn $name(
            State(state): State<AppState>,
            Deliverer(caller): Deliverer,
            Extension(place): Extension<Place>,
            Path(tenant): Path<String>,
            query: Query<HashMap<String, String>>,
            headers: HeaderMap,
            body: Body,
        ) -> Result<Json<Received>, ApiError> {
            let delivery = Delivery {
                scope: scope_of(&state, &caller, &tenant).await?,
                kind: $kind,
                query: &query.0,
                headers: &headers,
                body: &body.0,
            };
            delivery.receive(&state, &place).await
        }
    };
}

route! {
    /// Deliver an event of a tenant's devices
    ///
    /// In the shapes of ChirpStack v4 and v3, in JSON or Protobuf. 200 means that it is stored.
    any, "/api/v1/lorawan/webhooks/{tenant_id}", EventKind::Up, "An event of ChirpStack v4 or v3"
}

route! {
    /// Deliver an uplink of a tenant's devices
    ///
    /// In the shapes of ChirpStack v4 and v3, and what stands between: DevEUI in hex or base64, `object`, `objectJSON` or
    /// `data`.
    uplink, "/api/v1/lorawan/webhooks/{tenant_id}/uplink", EventKind::Up, "An uplink of ChirpStack v4 or v3"
}

route! {
    /// Deliver a status of a tenant's devices
    ///
    /// Battery and margin as ChirpStack reports them, or whether the device is there: `status` (`online` or `offline`) or
    /// `online` (true or false).
    status, "/api/v1/lorawan/webhooks/{tenant_id}/status", EventKind::Status, "A status"
}

route! {
    /// Deliver an error of a tenant's devices
    ///
    /// An error of ChirpStack v3, or a log of v4. It is kept in the device's history.
    error, "/api/v1/lorawan/webhooks/{tenant_id}/error", EventKind::Error, "An error of ChirpStack v3, or a log of v4"
}

/// The path's tenant, also for who may deliver for all.
async fn scope_of(state: &AppState, caller: &Caller, tenant: &str) -> Result<Scope, ApiError> {
    let tenant = state.holding().tenant_of_path(caller.scope, tenant).await?;
    tenant
        .map(Scope::Tenant)
        .ok_or(ApiError::NotFound("tenant"))
}
