//! How much is taken on at once. Mailboxes behind the edge have no limit of their own, so it is here.
//!
//! A request holds a place until it is answered. Waiting for a device and watching the live feed take minutes or hours
//! and next to nothing else, so they are counted apart and give the first place back. Webhooks have places of their own:
//! a caller who is refused comes again, an event that ChirpStack cannot deliver is gone.
//!
//! To refuse takes a quarter of the processor that storing takes. Whoever comes again at once would be refused so often
//! that what was taken on is not done, so refusals are told after a pause: as many callers ask less often.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::problem::ApiError;
use super::refusals::Refusals;
use super::webhooks::held::{Full, Holding};
use super::webhooks::receive::count;

/// A refusal is told after this.
const PAUSE: Duration = Duration::from_secs(1);

/// Beyond so many that wait for theirs, refusals are told at once.
const PAUSING_MAX: usize = 10_000;

/// The places there are.
#[derive(Debug, Clone)]
pub(super) struct Admission {
    requests: Arc<Semaphore>,
    webhooks: Arc<Semaphore>,
    waits: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    refusals: Arc<Refusals>,
    pausing: Arc<Semaphore>,
}

/// What a request has to pass.
#[derive(Clone)]
pub(super) struct Gate {
    places: Arc<Semaphore>,
    refusals: Arc<Refusals>,
    /// For those that will be refused.
    pausing: Arc<Semaphore>,
    /// Where events are held until they are committed: when it is full nobody needs to read what came.
    holding: Option<Holding>,
}

/// A request's place, in its extensions: whoever goes on to wait gives it back early.
#[derive(Debug, Clone)]
pub(super) struct Place(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Place {
    /// Lets another request in.
    pub(super) async fn give_back(&self) {
        self.0.lock().await.take();
    }
}

impl Admission {
    /// `requests`: of callers, and as many of webhooks.
    pub(super) fn new(requests: usize, waits: usize, streams: usize) -> Self {
        let places = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self {
            requests: places(requests),
            webhooks: places(requests),
            waits: places(waits),
            streams: places(streams),
            refusals: Arc::default(),
            pausing: places(PAUSING_MAX),
        }
    }

    /// Requests that were turned away of late.
    pub(super) fn refused_lately(&self) -> u64 {
        self.refusals.lately()
    }

    /// A place to wait for a device; `None` when all are taken.
    pub(super) fn wait(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.waits).try_acquire_owned().ok()
    }

    /// For callers.
    pub(super) fn callers(&self) -> Gate {
        Gate {
            places: Arc::clone(&self.requests),
            refusals: Arc::clone(&self.refusals),
            pausing: Arc::clone(&self.pausing),
            holding: None,
        }
    }

    /// For webhooks, whose events are held there.
    pub(super) fn webhooks(&self, holding: Holding) -> Gate {
        Gate {
            places: Arc::clone(&self.webhooks),
            refusals: Arc::clone(&self.refusals),
            pausing: Arc::clone(&self.pausing),
            holding: Some(holding),
        }
    }

    /// A place to watch the live feed.
    pub(super) fn stream(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let permit = Arc::clone(&self.streams).try_acquire_owned();
        permit.map_err(|_| ApiError::Overloaded)
    }
}

impl Gate {
    /// A place, if there is one.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Some(holding) = &self.holding
            && holding.has_room() == Err(Full)
        {
            // Its kind would have to be read.
            count(None, "refused");
            return None;
        }
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        if place.is_none() {
            self.refusals.count();
        }
        place
    }

    /// Lets whoever is refused wait for it.
    async fn pause(&self) {
        if let Ok(_pausing) = self.pausing.try_acquire() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Takes a request in, or tells it to come again.
pub(super) async fn admit(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let Some(permit) = gate.place() else {
        metrics::counter!("downbeat_http_refused_total").increment(1);
        gate.pause().await;
        return ApiError::Overloaded.into_response();
    };
    let place = Place(Arc::new(Mutex::new(Some(permit))));
    request.extensions_mut().insert(place.clone());
    let response = next.run(request).await;
    place.give_back().await;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tokio::time::Instant;
    use tower::ServiceExt as _;

    #[tokio::test(start_paused = true)]
    async fn a_full_house_says_so_and_who_only_waits_makes_room() {
        let admission = Admission::new(1, 0, 0);
        let (entered, mut inside) = tokio::sync::mpsc::channel::<Place>(2);
        let handler = move |axum::Extension(place): axum::Extension<Place>| async move {
            entered.send(place).await.unwrap();
            std::future::pending::<()>().await;
        };
        let app = Router::new()
            .route("/", get(handler))
            .layer(from_fn_with_state(admission.callers(), admit));
        let ask = || {
            let request = Request::builder().uri("/").body(Body::empty()).unwrap();
            app.clone().oneshot(request)
        };
        let first = tokio::spawn(ask());
        let place = inside.recv().await.unwrap();
        let began = Instant::now();
        let refused = ask().await.unwrap();
        assert!(began.elapsed() >= PAUSE);
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key("retry-after"));
        assert_eq!(admission.refused_lately(), 1);
        let began = Instant::now();
        let all = admission.pausing.acquire_many(10_000).await.unwrap();
        let refused = ask().await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(began.elapsed(), Duration::ZERO);
        drop(all);
        place.give_back().await;
        let second = tokio::spawn(ask());
        inside.recv().await.unwrap();
        assert!(!first.is_finished() && !second.is_finished());
        assert!(admission.wait().is_none() && admission.stream().is_err());
    }
}
