//! Tells every caller how much it may still ask: `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset`.

use std::sync::{Arc, OnceLock};

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use super::limits::Standing;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Where it is noted, once, how the caller of a request stands; in the request's extensions.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter(pub(super) Arc<OnceLock<Standing>>);

/// Has the request counted when it is known who asks, and tells how they stand.
pub(in crate::http) async fn meter(mut request: Request, next: Next) -> Response {
    let meter = Meter::default();
    request.extensions_mut().insert(meter.clone());
    let mut response = next.run(request).await;
    if let Some(standing) = meter.0.get() {
        let headers = response.headers_mut();
        headers.insert(LIMIT, HeaderValue::from(standing.limit));
        headers.insert(REMAINING, HeaderValue::from(standing.remaining));
        headers.insert(RESET, HeaderValue::from(standing.reset_s()));
    }
    response
}
