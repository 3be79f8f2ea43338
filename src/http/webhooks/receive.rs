//! `POST /api/v1/webhooks/chirpstack` and `/uplink`: an event of ChirpStack v4.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Query, State};
use axum::http::HeaderMap;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::http::AppState;
use crate::http::admission::Place;
use crate::http::auth::{Caller, Deliverer};
use crate::http::extract::{Body, media_type};
use crate::http::problem::{ApiError, Problem};
use crate::webhook::{self, Encoding, EventKind, Incoming, ParseWebhookError};

use super::held::{Full, Telling, Told};

/// ChirpStack gives up after five seconds.
const PATIENCE: Duration = Duration::from_millis(4_500);

/// The query, as ChirpStack writes it. A URL may carry more, which is left alone.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it only documents: unknown fields have to pass")]
pub(in crate::http) struct WebhookQuery {
    /// `up`, if absent, `join`, `ack`, `txack`, `log`, `status`, `location` or `integration`.
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
/// (`application/octet-stream`). 200 means that it is stored.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/chirpstack",
    tag = "webhooks",
    params(WebhookQuery),
    request_body(content = serde_json::Value, content_type = "application/json", description = "An event of ChirpStack v4"),
    responses(
        (status = 200, description = "Stored, or ignored", body = Received),
        (status = 400, description = "It cannot be read", body = Problem),
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
    receive(&state, caller, &place, &query.0, &headers, &body).await
}

/// Deliver an event of ChirpStack, at its older address
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/chirpstack/uplink",
    tag = "webhooks",
    params(WebhookQuery),
    request_body(content = serde_json::Value, content_type = "application/json", description = "An event of ChirpStack v4"),
    responses(
        (status = 200, description = "Stored, or ignored", body = Received),
        (status = 400, description = "It cannot be read", body = Problem),
    ),
)]
pub(in crate::http) async fn uplink(
    State(state): State<AppState>,
    Deliverer(caller): Deliverer,
    Extension(place): Extension<Place>,
    query: Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Received>, ApiError> {
    receive(&state, caller, &place, &query.0, &headers, &body).await
}

async fn receive(
    state: &AppState,
    caller: Caller,
    place: &Place,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
    Body(body): &Body,
) -> Result<Json<Received>, ApiError> {
    let encoding = encoding(headers)?;
    let kind = query.get("event").map_or("up", String::as_str);
    let Some(kind) = EventKind::by_name(kind) else {
        count("unknown_kind");
        return Ok(Json(Received::ignored("this kind of event is not known")));
    };
    let incoming = webhook::parse(kind, encoding, body, state.clock().now()).map_err(refused)?;
    let Incoming {
        dev_eui,
        event,
        history,
        ..
    } = incoming;
    let telling = Telling {
        scope: caller.scope,
        dev_eui,
        event,
        history,
    };
    let Ok(over) = state.holding().tell(telling, body.len()) else {
        let Full = Full;
        count("refused");
        return Err(ApiError::Overloaded);
    };
    // From here on the event has a place of its own.
    place.give_back().await;
    match tokio::time::timeout(PATIENCE, over).await {
        Ok(Ok(Told::Committed)) => {
            count("stored");
            Ok(Json(Received::OK))
        }
        Ok(Ok(Told::UnknownDevice)) => {
            count("unknown_device");
            tracing::info!(device.dev_eui = %dev_eui, "webhook.device.unknown");
            Ok(Json(Received::ignored(
                "no device with this DevEUI is registered",
            )))
        }
        Ok(Ok(Told::Stopping) | Err(_)) => Err(ApiError::Stopping),
        Err(_) => {
            count("held");
            Err(ApiError::Held)
        }
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

fn refused(error: ParseWebhookError) -> ApiError {
    count("unreadable");
    match error {
        ParseWebhookError::Field { field, problem } => ApiError::field(field, problem),
        error @ (ParseWebhookError::Json(_) | ParseWebhookError::Protobuf(_)) => {
            ApiError::Malformed(format!("It cannot be read: {error}."))
        }
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("downbeat_webhooks_total", "outcome" => outcome).increment(1);
}
