//! `Idempotency-Key`: a request that is repeated makes one thing and gets the same answer, for a day.
//!
//! The key is reserved in the store together with the id that the new thing will have, before anything is made. After
//! a crash in between, the repeated request finds the reservation without an answer and looks whether the thing is
//! there; so it is made once in that case, too.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use downbeat_core::id::Scope;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::secret_key;
use crate::store::{IdempotencyKey, IdempotentAnswer, NewReservation, Reservation};

use super::AppState;
use super::problem::{ApiError, Conflict};

const HEADER: &str = "idempotency-key";

/// Says of an answer that it was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

const KEY_LEN_MAX: usize = 255;

/// Requests with a key that are being carried out by this process.
#[derive(Debug, Default)]
pub(super) struct InProgress(Mutex<HashSet<IdempotencyKey>>);

/// One of them; leaves the set when it is dropped, also when the caller went away.
struct Running<'a> {
    all: &'a InProgress,
    key: IdempotencyKey,
}

impl InProgress {
    fn enter(&self, key: &IdempotencyKey) -> Result<Running<'_>, ApiError> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.insert(key.clone()) {
            Ok(Running {
                all: self,
                key: key.clone(),
            })
        } else {
            Err(ApiError::Conflict(Conflict::InProgress))
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut keys = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.remove(&self.key);
    }
}

/// A request that makes something.
pub(super) struct Making<'a> {
    /// Who asks.
    pub(super) scope: Scope,
    /// Its headers.
    pub(super) headers: &'a HeaderMap,
    /// Method and path, with identifiers in their one spelling.
    pub(super) operation: String,
    /// Its body, byte for byte.
    pub(super) body: &'a [u8],
    /// Where the thing made is to be found, from the answer's body.
    pub(super) location: fn(&Value) -> Option<String>,
}

/// The id of what is made, and whether an earlier request may have made it already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) id: Uuid,
    pub(super) may_exist: bool,
}

/// The answer of a request that made something.
pub(super) struct Made {
    status: StatusCode,
    body: Value,
    /// A field of the first answer alone: it is not stored, so a repeated request does not get it.
    once: Option<(&'static str, SecretString)>,
}

impl Made {
    pub(super) fn new(status: StatusCode, body: &impl Serialize) -> Result<Self, ApiError> {
        let body =
            serde_json::to_value(body).map_err(|error| ApiError::Internal(Box::new(error)))?;
        Ok(Self {
            status,
            body,
            once: None,
        })
    }

    /// The same with a secret that is told this once.
    pub(super) fn with_secret(mut self, field: &'static str, secret: SecretString) -> Self {
        self.once = Some((field, secret));
        self
    }
}

impl Making<'_> {
    /// Carries the request out, once for each key.
    pub(super) async fn once<F>(
        self,
        state: &AppState,
        carry_out: impl FnOnce(Target) -> F,
    ) -> Result<Response, ApiError>
    where
        F: Future<Output = Result<Made, ApiError>>,
    {
        let Some(key) = self.key()? else {
            let target = Target {
                id: Uuid::now_v7(),
                may_exist: false,
            };
            return self.response(&carry_out(target).await?);
        };
        let _running = state.in_progress().enter(&key)?;
        let target = match self.reserve(state, &key).await? {
            Ok(target) => target,
            Err(answer) => return self.replay(&answer),
        };
        match carry_out(target).await {
            Ok(made) => {
                let answer = IdempotentAnswer {
                    status: made.status.as_u16(),
                    body: made.body.to_string().into_bytes(),
                };
                if let Err(error) = state.store().answer(&key, &answer).await {
                    tracing::warn!(error = %error, "idempotency.answer.not_kept");
                }
                self.response(&made)
            }
            // What is not certainly refused may have been made, and so may what an earlier request asked for: the
            // reservation stays, for the repetition to find out.
            Err(refusal) if target.may_exist || !refusal.is_certain() => Err(refusal),
            Err(refusal) => {
                if let Err(error) = state.store().release(&key).await {
                    tracing::warn!(error = %error, "idempotency.key.not_released");
                }
                Err(refusal)
            }
        }
    }

    fn key(&self) -> Result<Option<IdempotencyKey>, ApiError> {
        let Some(value) = self.headers.get(HEADER) else {
            return Ok(None);
        };
        let text = value.to_str().unwrap_or_default();
        if text.is_empty() || text.len() > KEY_LEN_MAX {
            return Err(ApiError::field(
                "Idempotency-Key",
                "must be 1 to 255 ASCII characters",
            ));
        }
        Ok(Some(IdempotencyKey {
            scope: self.scope,
            key_hash: secret_key::hash(text),
            operation: self.operation.clone(),
        }))
    }

    /// What to make, or the answer that was given before.
    async fn reserve(
        &self,
        state: &AppState,
        key: &IdempotencyKey,
    ) -> Result<Result<Target, IdempotentAnswer>, ApiError> {
        let reservation = NewReservation {
            key: key.clone(),
            request_hash: sha2_of(self.body),
            resource_id: Uuid::now_v7(),
            at: state.clock().now(),
        };
        match state.store().reserve(&reservation).await? {
            Reservation::New => Ok(Ok(Target {
                id: reservation.resource_id,
                may_exist: false,
            })),
            Reservation::Unanswered { resource_id, .. } => Ok(Ok(Target {
                id: resource_id,
                may_exist: true,
            })),
            Reservation::Answered(answer) => Ok(Err(answer)),
            Reservation::Mismatch => Err(ApiError::IdempotencyKeyReused),
        }
    }

    fn response(&self, made: &Made) -> Result<Response, ApiError> {
        let location = (self.location)(&made.body);
        let mut whole = made.body.clone();
        if let Some((field, secret)) = &made.once {
            whole[*field] = secret.expose_secret().into();
        }
        let body =
            serde_json::to_vec(&whole).map_err(|error| ApiError::Internal(Box::new(error)))?;
        Ok(answer(made.status, location.as_deref(), body))
    }

    fn replay(&self, kept: &IdempotentAnswer) -> Result<Response, ApiError> {
        let internal = |error: Box<dyn std::error::Error + Send + Sync>| ApiError::Internal(error);
        let status = StatusCode::from_u16(kept.status).map_err(|error| internal(error.into()))?;
        let body: Value =
            serde_json::from_slice(&kept.body).map_err(|error| internal(error.into()))?;
        let location = (self.location)(&body);
        let mut response = answer(status, location.as_deref(), kept.body.clone());
        response
            .headers_mut()
            .insert(REPLAYED, HeaderValue::from_static("true"));
        Ok(response)
    }
}

fn answer(status: StatusCode, location: Option<&str>, body: Vec<u8>) -> Response {
    let json = HeaderValue::from_static("application/json");
    let mut response = (status, [(CONTENT_TYPE, json)], body).into_response();
    let location = location
        .filter(|_| matches!(status, StatusCode::CREATED | StatusCode::ACCEPTED))
        .and_then(|location| HeaderValue::from_str(location).ok());
    response
        .headers_mut()
        .extend(location.map(|location| (LOCATION, location)));
    response
}

fn sha2_of(body: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(body).into()
}
