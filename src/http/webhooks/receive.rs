//! `POST /api/v1/webhooks/chirpstack` and `/uplink`: an event of ChirpStack; and what becomes of any event.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Query, State};
use axum::http::HeaderMap;
use downbeat_core::id::{DevEui, Scope};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use crate::http::AppState;
use crate::http::admission::Place;
use crate::http::auth::{Deliverer, bearer_of};
use crate::http::extract::{Body, media_type};
use crate::http::problem::{ApiError, Problem};
use crate::webhook::{self, Encoding, EventKind, ParseWebhookError};

use super::held::{Full, Telling, Told};
use super::signature::BadSignature;

/// ChirpStack gives up after five seconds.
const PATIENCE: Duration = Duration::from_millis(4_500);

/// The query, as ChirpStack writes it. A URL may carry more, which is left alone.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it only documents: unknown fields have to pass")]
pub(in crate::http) struct WebhookQuery {
    /// `up`, `join`, `ack`, `txack`, `log`, `status`, `location`, `integration` or `error`. If absent, the path tells.
    event: Option<String>,
}

/// What became of the event.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Received {
    /// `ok`: it is stored; `ignored`: it concerns nothing here.
    status: &'static str,
    /// Why it was ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Received {
    const OK: Self = Self {
        status: "ok",
        reason: None,
    };

    fn ignored(reason: impl Into<String>) -> Self {
        Self {
            status: "ignored",
            reason: Some(reason.into()),
        }
    }
}

/// Deliver an event of ChirpStack
///
/// The body is what ChirpStack's HTTP integration posts, in JSON (`application/json`) or Protobuf
/// (`application/octet-stream`). 200 means that it is stored. The key tells whose it is; with a key of the platform
/// ChirpStack's tenant tells it, or the device.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/chirpstack",
    tag = "webhooks",
    params(WebhookQuery),
    request_body(content = serde_json::Value, content_type = "application/json", description = "An event of ChirpStack v4 or v3"),
    responses(
        (status = 200, description = "Stored, or ignored", body = Received),
        (status = 400, description = "It cannot be read", body = Problem),
        (status = 403, description = "It is of another tenant than the key", body = Problem),
        (status = 413, description = "It is larger than 1 MiB", body = Problem),
        (status = 415, description = "Neither JSON nor Protobuf", body = Problem),
        (status = 503, description = "It is held, or there is no room to hold it; `type` tells which", body = Problem),
    ),
)]
pub(in crate::http) async fn chirpstack(
    State(state): State<AppState>,
    Deliverer(caller): Deliverer,
    Extension(place): Extension<Place>,
    query: Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Received>, ApiError> {
    let delivery = Delivery {
        scope: caller.scope,
        kind: EventKind::Up,
        query: &query.0,
        headers: &headers,
        body: &body.0,
    };
    delivery.receive(&state, &place).await
}

/// Deliver an event of ChirpStack, at its older address
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/chirpstack/uplink",
    tag = "webhooks",
    params(WebhookQuery),
    request_body(content = serde_json::Value, content_type = "application/json", description = "An event of ChirpStack v4 or v3"),
    responses(
        (status = 200, description = "Stored, or ignored", body = Received),
        (status = 400, description = "It cannot be read", body = Problem),
        (status = 403, description = "It is of another tenant than the key", body = Problem),
    ),
)]
pub(in crate::http) async fn uplink(
    state: State<AppState>,
    deliverer: Deliverer,
    place: Extension<Place>,
    query: Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Received>, ApiError> {
    chirpstack(state, deliverer, place, query, headers, body).await
}

/// An event as it came in.
pub(super) struct Delivery<'a> {
    /// Whose it is to be.
    pub(super) scope: Scope,
    /// Its kind, if the query does not say.
    pub(super) kind: EventKind,
    pub(super) query: &'a HashMap<String, String>,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a Bytes,
}

impl Delivery<'_> {
    /// Checks the signature, if there is one, and hands the event on.
    pub(super) async fn receive(
        self,
        state: &AppState,
        place: &Place,
    ) -> Result<Json<Received>, ApiError> {
        let began = Instant::now();
        let key = bearer_of(self.headers);
        let now = state.clock().now();
        let signatures = state.signatures();
        let signed = signatures.check(self.headers, key, self.body, now);
        let signed = signed.map_err(|BadSignature(why)| {
            count(self.kind(), "bad_signature");
            ApiError::BadSignature(why)
        })?;
        let kind = self.kind();
        let received = self.store(kind, state, place, began).await;
        metrics::histogram!("downbeat_webhook_seconds", "event" => name(kind))
            .record(began.elapsed().as_secs_f64());
        let received = received?;
        if let Some(signed) = signed {
            signed.accept();
        }
        Ok(Json(received))
    }

    /// As the query says, or else the path; `None` if it is not known.
    fn kind(&self) -> Option<EventKind> {
        match self.query.get("event") {
            None => Some(self.kind),
            Some(word) => EventKind::by_name(word),
        }
    }

    async fn store(
        self,
        kind: Option<EventKind>,
        state: &AppState,
        place: &Place,
        came_at: Instant,
    ) -> Result<Received, ApiError> {
        let encoding = encoding(self.headers)?;
        let Some(kind) = kind else {
            count(None, "unknown_kind");
            return Ok(Received::ignored("this kind of event is not known"));
        };
        let incoming = webhook::parse(kind, encoding, self.body, state.clock().now());
        let incoming = incoming.map_err(|error| refused(kind, error))?;
        let dev_eui = incoming.dev_eui;
        let telling = Telling {
            scope: self.scope,
            incoming,
            came_at,
        };
        let Ok(over) = state.holding().tell(telling, self.body.len()) else {
            let Full = Full;
            count(Some(kind), "refused");
            return Err(ApiError::Overloaded);
        };
        // From here on the event has a place of its own.
        place.give_back().await;
        match tokio::time::timeout(PATIENCE, over).await {
            Ok(Ok(told)) => answer(kind, told, dev_eui),
            Ok(Err(_)) => Err(ApiError::Stopping),
            Err(_) => {
                count(Some(kind), "held");
                Err(ApiError::Held)
            }
        }
    }
}

fn answer(kind: EventKind, told: Told, dev_eui: DevEui) -> Result<Received, ApiError> {
    match told {
        Told::Committed => {
            count(Some(kind), "stored");
            Ok(Received::OK)
        }
        Told::UnknownDevice => {
            count(Some(kind), "unknown_device");
            tracing::debug!(device.dev_eui = %dev_eui, "webhook.device.unknown");
            Ok(Received::ignored(
                "no device with this DevEUI is registered",
            ))
        }
        Told::AmbiguousDevice => {
            count(Some(kind), "ambiguous_device");
            Ok(Received::ignored(
                "several tenants have a device with this DevEUI, each on a network server of its own: use a tenant's key",
            ))
        }
        Told::TenantMismatch => {
            count(Some(kind), "tenant_mismatch");
            tracing::warn!(device.dev_eui = %dev_eui, "webhook.tenant.mismatch");
            Err(ApiError::TenantMismatch)
        }
        Told::Stopping => Err(ApiError::Stopping),
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, ApiError> {
    match media_type(headers).as_deref() {
        Some("application/json") => Ok(Encoding::Json),
        Some("application/octet-stream") => Ok(Encoding::Protobuf),
        Some(_) | None => Err(ApiError::UnsupportedMediaType {
            expected: "application/json or application/octet-stream",
        }),
    }
}

fn refused(kind: EventKind, error: ParseWebhookError) -> ApiError {
    count(Some(kind), "unreadable");
    match error {
        ParseWebhookError::Field { field, problem } => ApiError::field(field, problem),
        error @ (ParseWebhookError::Json(_) | ParseWebhookError::Protobuf(_)) => {
            ApiError::Malformed(format!("It cannot be read: {error}."))
        }
    }
}

/// Counts an event by what became of it; `kind` is `None` where nobody knows it.
pub(in crate::http) fn count(kind: Option<EventKind>, outcome: &'static str) {
    let labels = [("event", name(kind)), ("outcome", outcome)];
    metrics::counter!("downbeat_webhooks_total", &labels).increment(1);
}

fn name(kind: Option<EventKind>) -> &'static str {
    kind.map_or("unknown", EventKind::name)
}
