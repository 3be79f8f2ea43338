//! `GET /healthz` and `GET /readyz`: for whoever starts, watches and routes. Open to everybody, so they tell nothing
//! but whether.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use downbeat_actors::Health;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::AppState;

/// The database is asked no more often than this, however often we are.
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// The database answers within this, or is taken for gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the database last said.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    last: Mutex<Option<(Instant, bool)>>,
}

impl Readiness {
    /// Whether the database answers. Who comes while it is being asked waits for that answer.
    async fn store_ok(&self, state: &AppState) -> bool {
        let mut last = self.last.lock().await;
        if let Some((at, ok)) = *last
            && at.elapsed() < ASKED_EVERY
        {
            return ok;
        }
        let ok = tokio::time::timeout(PATIENCE, state.store().ping()).await;
        let ok = matches!(ok, Ok(Ok(())));
        *last = Some((Instant::now(), ok));
        ok
    }
}

/// That the process lives.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Alive {
    /// `ok`.
    status: &'static str,
}

/// Whether the process lives
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "health",
    security(()),
    responses((status = 200, description = "It does", body = Alive)),
)]
pub(super) async fn alive() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// Whether requests can be served.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ready {
    /// `ready` or `not_ready`.
    status: &'static str,
    /// `ok` or `unavailable`. Without it nothing is accepted.
    store: &'static str,
    /// `ok`, `unavailable`, `key_refused` (it does not take the API key: set another) or `not_configured`. Without it
    /// commands are accepted and wait.
    network_server: &'static str,
}

/// How a network server fares, in a word.
pub(super) fn word(health: Health) -> &'static str {
    if !health.network_server_configured {
        "not_configured"
    } else if !health.network_server_takes_key {
        "key_refused"
    } else if health.network_server_ok {
        "ok"
    } else {
        "unavailable"
    }
}

/// Whether requests can be served
///
/// A network server that is away is told, and no reason not to be ready: commands are accepted and wait for it.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    security(()),
    responses(
        (status = 200, description = "They can", body = Ready),
        (status = 503, description = "The database is away", body = Ready),
    ),
)]
pub(super) async fn ready(State(state): State<AppState>) -> (StatusCode, Json<Ready>) {
    let store_ok = state.readiness().store_ok(&state).await;
    let health = state.system().health();
    let ready = Ready {
        status: if store_ok { "ready" } else { "not_ready" },
        store: if store_ok { "ok" } else { "unavailable" },
        network_server: word(health),
    };
    let status = if store_ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(ready))
}
