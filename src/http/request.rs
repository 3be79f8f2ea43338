//! What every request goes through: an id, a span, a time limit for what has one, and an end even if it panics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use dashmap::DashMap;
use futures_util::FutureExt as _;
use metrics::{Counter, Histogram};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::config::Networks;

use super::client_address;
use super::problem::{ApiError, Problem};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A caller's id for its request is taken over up to this length.
const REQUEST_ID_MAX: usize = 64;

/// Everything but waiting for a device and live streams is answered within this.
const LIMIT: Duration = Duration::from_secs(30);

/// What requests go through, and what is counted of them.
pub(super) struct Entrance {
    trusted: Arc<Networks>,
    routes: DashMap<String, Arc<Figures>>,
}

/// The figures of one route: kept, so that counting a request finds none by its labels.
struct Figures {
    seconds: Histogram,
    answers: DashMap<(&'static str, StatusCode), Counter>,
}

impl Entrance {
    pub(super) fn new(trusted: Arc<Networks>) -> Self {
        Self {
            trusted,
            routes: DashMap::new(),
        }
    }

    fn figures(&self, route: &str) -> Arc<Figures> {
        if let Some(figures) = self.routes.get(route) {
            return Arc::clone(&figures);
        }
        let label = route.to_owned();
        let figures = Figures {
            seconds: metrics::histogram!("downbeat_http_request_seconds", "route" => label),
            answers: DashMap::new(),
        };
        let entry = self.routes.entry(route.to_owned());
        Arc::clone(&entry.or_insert_with(|| Arc::new(figures)))
    }

    fn note(&self, method: &'static str, route: &str, status: StatusCode, elapsed: Duration) {
        let figures = self.figures(route);
        figures.seconds.record(elapsed.as_secs_f64());
        if let Some(counter) = figures.answers.get(&(method, status)) {
            counter.increment(1);
            return;
        }
        let labels = [
            ("method", method.to_owned()),
            ("route", route.to_owned()),
            ("status", status.as_str().to_owned()),
        ];
        let counter = metrics::counter!("downbeat_http_requests_total", &labels);
        counter.increment(1);
        figures.answers.insert((method, status), counter);
    }
}

/// A method's name as a label. Anybody can send methods without end, which would be labels without end.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "CONNECT" => "CONNECT",
        "TRACE" => "TRACE",
        _ => "other",
    }
}

/// A request's id, in its extensions.
#[derive(Debug, Clone)]
pub(super) struct RequestId(Arc<str>);

impl RequestId {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Gives the request an id and a span, notes whence it comes, ends it even if it panics, and writes the body of a refusal.
pub(super) async fn trace(
    State(entrance): State<Arc<Entrance>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    client_address::note(&entrance.trusted, &mut request);
    let request_id = request_id(request.headers());
    let shared = RequestId(Arc::from(request_id.as_str()));
    request.extensions_mut().insert(shared);
    let (method, route) = (
        method_name(request.method()),
        request.extensions().get().cloned(),
    );
    let route = name_of(route.as_ref());
    let span = tracing::info_span!(
        "http.request",
        http.method = method,
        http.route = route,
        request.id = request_id,
    );
    let response = AssertUnwindSafe(next.run(request))
        .catch_unwind()
        .instrument(span.clone())
        .await;
    span.in_scope(|| {
        let response = response.unwrap_or_else(|_| {
            tracing::error!("http.request.panicked");
            ApiError::Panicked.into_response()
        });
        let response = finish(response, &request_id);
        let elapsed = started.elapsed();
        entrance.note(method, route, response.status(), elapsed);
        tracing::debug!(
            http.status = response.status().as_u16(),
            duration_ms = elapsed.as_millis(),
            "http.request.done"
        );
        response
    })
}

/// The caller's id, if it is one that may stand in a log, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    let acceptable = |id: &&str| {
        (1..=REQUEST_ID_MAX).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    given
        .filter(acceptable)
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// The route's pattern: a path itself holds identifiers and would be a label without end.
fn name_of(route: Option<&MatchedPath>) -> &str {
    route.map_or("unknown", MatchedPath::as_str)
}

fn finish(mut response: Response, request_id: &str) -> Response {
    if let Some(mut problem) = response.extensions_mut().remove::<Problem>() {
        request_id.clone_into(&mut problem.request_id);
        let mut headers = std::mem::take(response.headers_mut());
        headers.remove(axum::http::header::CONTENT_LENGTH);
        response = (response.status(), headers, Json(problem)).into_response();
        let problem_json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, problem_json);
    }
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Answers in time, whatever happens behind.
pub(super) async fn limit(request: Request, next: Next) -> Response {
    match tokio::time::timeout(LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::TimedOut.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_that_anybody_can_think_of_are_one() {
        let odd = Method::from_bytes(b"BREW").unwrap();
        assert_eq!(method_name(&odd), "other");
        assert_eq!(method_name(&Method::PATCH), Method::PATCH.as_str());
    }

    #[test]
    fn an_id_of_the_caller_is_kept_if_a_log_can_bear_it() {
        let id = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(value).unwrap());
            request_id(&headers)
        };
        assert_eq!(id("abc-1_2.3"), "abc-1_2.3");
        for value in ["", "a b", "a;b", &"a".repeat(65)] {
            assert_ne!(id(value), value);
        }
    }
}
