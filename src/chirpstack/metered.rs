//! Counts the calls of ChirpStack: by method and outcome, how long they took, how many are under way.
//!
//! Between the generated clients and the connection, so that every call is counted, whoever makes it.

use std::task::{Context, Poll};
use std::time::Instant;

use axum::http::{Request, Response};
use futures_util::future::BoxFuture;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::{Channel, Error};
use tonic::{Code, Status};

/// A connection whose calls are counted.
#[derive(Debug, Clone)]
pub(super) struct Metered(Channel);

impl Metered {
    pub(super) fn new(channel: Channel) -> Self {
        Self(channel)
    }
}

impl Service<Request<Body>> for Metered {
    type Response = Response<Body>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Response<Body>, Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = Call::begin(request.uri().path());
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await;
            call.end(outcome(&answer));
            answer
        })
    }
}

/// The answer's code; a refusal carries it in its headers, and what carries none there has a message.
fn outcome(answer: &Result<Response<Body>, Error>) -> String {
    match answer {
        Ok(answer) if !answer.status().is_success() => "no_grpc".to_owned(),
        Ok(answer) => match Status::from_header_map(answer.headers()) {
            Some(status) => format!("{:?}", status.code()),
            None => format!("{:?}", Code::Ok),
        },
        Err(_) => "unreachable".to_owned(),
    }
}

/// A call under way. One that is dropped was given up: its deadline passed.
struct Call {
    method: String,
    began: Instant,
    outcome: Option<String>,
}

impl Call {
    fn begin(path: &str) -> Self {
        metrics::gauge!("downbeat_chirpstack_calls_in_flight").increment(1);
        Self {
            method: path.trim_start_matches("/api.").to_owned(),
            began: Instant::now(),
            outcome: None,
        }
    }

    fn end(mut self, outcome: String) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let method = std::mem::take(&mut self.method);
        let outcome = self.outcome.take();
        let outcome = outcome.unwrap_or_else(|| "given_up".to_owned());
        metrics::gauge!("downbeat_chirpstack_calls_in_flight").decrement(1);
        metrics::histogram!("downbeat_chirpstack_call_seconds", "method" => method.clone())
            .record(self.began.elapsed().as_secs_f64());
        let labels = [("method", method), ("outcome", outcome)];
        metrics::counter!("downbeat_chirpstack_calls_total", &labels).increment(1);
    }
}
