//! `GET /metrics`: the service's figures for Prometheus.

use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use downbeat_core::id::Scope;

use crate::http::AppState;
use crate::http::auth::Viewer;
use crate::http::problem::{ApiError, Problem};

/// The service's figures, for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "metrics",
    responses(
        (status = 200, description = "Prometheus' text format", body = String, content_type = "text/plain"),
        (status = 403, description = "They are of all tenants, so the key has to be the platform's", body = Problem),
    ),
)]
pub(in crate::http) async fn prometheus(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
) -> Result<([(HeaderName, &'static str); 1], String), ApiError> {
    if caller.scope != Scope::Platform {
        return Err(ApiError::Forbidden(
            "The figures are of all tenants: they need a key of the platform.",
        ));
    }
    downbeat_actors::mailbox::measure();
    state.system().measure();
    crate::telemetry::process::measure();
    let text = state.prometheus().render();
    Ok((
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    ))
}
