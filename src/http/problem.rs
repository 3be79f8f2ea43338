//! Every refusal of the API as `application/problem+json` (RFC 9457).
//!
//! `type` is stable and what a program may act on; `detail` is for people and may change. The causes of a failure of
//! ours go to the log, never to the caller. The body is written by [`super::request`], which knows the request's id.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use downbeat_actors::port::{NetworkServerError, StoreError};
use downbeat_actors::{AskError, JobError};
use serde::Serialize;
use utoipa::ToSchema;

/// What the `type` of every problem begins with.
const TYPE_PREFIX: &str = "urn:downbeat:problem:";

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No key, an unknown one, or one that has expired.
    #[error("the request carries no valid key")]
    Unauthenticated,
    /// The key may not do this.
    #[error("the key may not do this: {0}")]
    Forbidden(&'static str),
    /// A webhook's signature does not hold.
    #[error("the signature does not hold: {0}")]
    BadSignature(&'static str),
    /// A webhook speaks of another tenant than the one whose key delivers it.
    #[error("the event is of another tenant")]
    TenantMismatch,
    /// A change by a browser's session that another site may have caused.
    #[error("the request does not come from Downbeat's own page")]
    CrossSite,
    /// Too many sign-ins failed.
    #[error("too many sign-ins failed")]
    TooManySignIns {
        /// When to try again.
        retry_after: Duration,
    },
    /// No such thing, or not the caller's.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// No such path.
    #[error("no such path")]
    NoRoute,
    /// The path is there, for another method.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// The body is not of a type that is understood here.
    #[error("unsupported media type")]
    UnsupportedMediaType {
        /// What is.
        expected: &'static str,
    },
    /// The body is larger than any body is.
    #[error("body too large")]
    BodyTooLarge,
    /// The file is larger than any file is.
    #[error("file too large")]
    FileTooLarge,
    /// The network server did not do what it was asked.
    #[error("the network server failed")]
    NetworkServer(#[source] NetworkServerError),
    /// The body did not arrive whole.
    #[error("the body could not be read")]
    BodyUnreadable,
    /// The body is not what its type says.
    #[error("malformed body: {0}")]
    Malformed(String),
    /// Fields of body, query or path are wrong.
    #[error("{} wrong field(s)", .0.len())]
    Invalid(Vec<FieldError>),
    /// The device has no such ability.
    #[error("the device does not understand the command: {0}")]
    NotUnderstood(String),
    /// The state of things does not allow it.
    #[error("conflict: {0:?}")]
    Conflict(Conflict),
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used with another body")]
    IdempotencyKeyReused,
    /// The thing was changed since the caller read it.
    #[error("the version is {current} by now")]
    VersionMismatch {
        /// The version that it has.
        current: u32,
    },
    /// The key made as many requests as it may.
    #[error("the key made as many requests as it may")]
    RateLimited {
        /// When to try again.
        retry_after: Duration,
    },
    /// The tenant gave as many commands as it may.
    #[error("the tenant gave as many commands as it may")]
    TenantCommandsLimit {
        /// When to try again.
        retry_after: Duration,
    },
    /// As many commands of this device wait as may.
    #[error("too many commands of the device are waiting")]
    DeviceBusy,
    /// As many requests are being served as can be.
    #[error("too many requests at once")]
    Overloaded,
    /// What was asked for could not be stored; nothing was done.
    #[error("the database is unavailable")]
    StoreUnavailable,
    /// The event is held and will be stored, but is not yet.
    #[error("the event is held until it can be stored")]
    Held,
    /// The service is going down.
    #[error("the service is stopping")]
    Stopping,
    /// It took too long.
    #[error("the request took too long")]
    TimedOut,
    /// A failure of ours.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A bug: a handler panicked.
    #[error("a handler panicked")]
    Panicked,
}

/// Which state of things stands against a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// The `DevEUI` belongs to a device already.
    DevEuiTaken,
    /// The downlink is over.
    DownlinkOver,
    /// A request with the same idempotency key is being carried out.
    InProgress,
    /// Another tenant has the name.
    TenantNameTaken,
    /// Another tenant is that tenant of ChirpStack.
    ChirpstackTenantTaken,
    /// The tenant has devices, or deletions in ChirpStack are still to be confirmed.
    TenantNotEmpty,
    /// The tenant has as many devices as it may.
    TenantFull,
    /// Nobody could administer the platform without this key.
    LastAdminKey,
    /// Devices of the tenant are on the network server that it uses so far.
    NetworkServerInUse,
    /// The device is not kept in step with ChirpStack.
    NotSynchronized,
    /// There is no network server to ask.
    NoNetworkServer,
    /// A comparison of the tenant is under way.
    Comparing,
    /// The job is over.
    JobOver,
    /// The job goes on: what is to be tried again is not known yet.
    JobGoesOn,
    /// Nothing of the job is to be tried again.
    NothingToRetry,
    /// As many jobs of the tenant are not over as may.
    TooManyJobs,
}

/// A field that does not hold what it has to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field of the body, the query or the path.
    pub field: String,
    /// What it has to be.
    pub message: String,
}

/// The body of every refusal (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// Stable name of this kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "urn:downbeat:problem:not-found")]
    pub kind: String,
    /// The kind in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// This very case in words.
    pub detail: String,
    /// The wrong fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Names the request in the log.
    pub request_id: String,
}

impl ApiError {
    /// One wrong field.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let (field, message) = (field.into(), message.into());
        Self::Invalid(vec![FieldError { field, message }])
    }

    /// The status, the kind and the kind in words.
    #[expect(clippy::too_many_lines, reason = "one table of all refusals")]
    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Unauthenticated => (
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "A valid key is needed",
            ),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden", "Not allowed"),
            Self::BadSignature(_) => (
                StatusCode::UNAUTHORIZED,
                "bad-signature",
                "The signature does not hold",
            ),
            Self::TenantMismatch => (StatusCode::FORBIDDEN, "tenant-mismatch", "Another tenant's"),
            Self::CrossSite => (StatusCode::FORBIDDEN, "cross-site", "Not allowed"),
            Self::TooManySignIns { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-sign-ins",
                "Too many failed sign-ins",
            ),
            Self::NotFound(_) | Self::NoRoute => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Method not allowed",
            ),
            Self::UnsupportedMediaType { .. } => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "Unsupported media type",
            ),
            Self::BodyTooLarge | Self::FileTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "Body too large",
            ),
            Self::NetworkServer(error) if error.is_unreachable() => (
                StatusCode::SERVICE_UNAVAILABLE,
                "network-server-unavailable",
                "ChirpStack cannot be reached",
            ),
            Self::NetworkServer(_) => (
                StatusCode::BAD_GATEWAY,
                "network-server-refused",
                "ChirpStack refused",
            ),
            Self::BodyUnreadable => (
                StatusCode::BAD_REQUEST,
                "body-unreadable",
                "Body incomplete",
            ),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed-body", "Malformed body"),
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid-fields", "Invalid fields"),
            Self::NotUnderstood(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "command-not-understood",
                "The device does not understand this command",
            ),
            Self::Conflict(conflict) => conflict.kind(),
            Self::IdempotencyKeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "Idempotency key used before",
            ),
            Self::VersionMismatch { .. } => (
                StatusCode::PRECONDITION_FAILED,
                "version-mismatch",
                "Changed meanwhile",
            ),
            Self::RateLimited { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "rate-limited",
                "Too many requests of this key",
            ),
            Self::TenantCommandsLimit { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "tenant-commands-limit",
                "Too many commands of this tenant",
            ),
            Self::DeviceBusy => (
                StatusCode::TOO_MANY_REQUESTS,
                "device-busy",
                "The device has too many commands waiting",
            ),
            Self::Overloaded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "Too many requests",
            ),
            Self::StoreUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "store-unavailable",
                "The database is unavailable",
            ),
            Self::Held => (StatusCode::SERVICE_UNAVAILABLE, "held", "Not stored yet"),
            Self::Stopping => (
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "The service is stopping",
            ),
            Self::TimedOut => (
                StatusCode::SERVICE_UNAVAILABLE,
                "timed-out",
                "It took too long",
            ),
            Self::Internal(_) | Self::Panicked => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Internal error",
            ),
        }
    }

    /// This very case in words that the caller may see.
    fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::Unauthenticated => {
                "Send an API key as \"Authorization: Bearer <key>\", or sign in.".into()
            }
            Self::Forbidden(why) | Self::BadSignature(why) => (*why).into(),
            Self::TenantMismatch => {
                "It speaks of another tenant than the one whose key delivers it; nothing was stored.".into()
            }
            Self::CrossSite => {
                "A signed-in browser has to send the header X-Downbeat-Request from Downbeat's own page.".into()
            }
            Self::TooManySignIns { .. } => "Wait before signing in again.".into(),
            Self::NotFound(what) => format!("There is no such {what}.").into(),
            Self::NoRoute => "There is nothing at this path.".into(),
            Self::MethodNotAllowed => "This path does not answer this method.".into(),
            Self::UnsupportedMediaType { expected } => {
                format!("Send the body as {expected}.").into()
            }
            Self::BodyTooLarge => "A body has at most 1 MiB.".into(),
            Self::FileTooLarge => "A file has at most 64 MiB and 200000 lines.".into(),
            Self::NetworkServer(error) => format!("{}.", capitalised(&error.to_string())).into(),
            Self::BodyUnreadable => "The body did not arrive whole, or not in time.".into(),
            Self::Malformed(what) | Self::NotUnderstood(what) => what.clone().into(),
            Self::Invalid(fields) if fields.len() == 1 => "A field is not valid.".into(),
            Self::Invalid(fields) => format!("{} fields are not valid.", fields.len()).into(),
            Self::Conflict(conflict) => conflict.detail().into(),
            Self::IdempotencyKeyReused => {
                "This Idempotency-Key was used with another body; choose a new one.".into()
            }
            Self::VersionMismatch { current } => {
                format!("It was changed meanwhile and has version {current}; read it again.").into()
            }
            Self::RateLimited { .. } => {
                "This key made as many requests as it may within a minute.".into()
            }
            Self::TenantCommandsLimit { .. } => {
                "The tenant gave as many commands as it may within a minute.".into()
            }
            Self::DeviceBusy => "Wait until some of its commands have ended, or cancel them.".into(),
            Self::Overloaded => "As many requests are being served as can be; try again.".into(),
            Self::StoreUnavailable => "Nothing was done, because it could not be stored; try again.".into(),
            Self::Held => "The event is held and will be stored when the database is back.".into(),
            Self::Stopping => "The service is stopping or restarting; try again.".into(),
            Self::TimedOut => "No answer was ready in time; try again.".into(),
            Self::Internal(_) | Self::Panicked => {
                "Something failed in Downbeat; its log tells more under this request_id.".into()
            }
        }
    }

    /// When it is worth trying again.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManySignIns { retry_after }
            | Self::RateLimited { retry_after }
            | Self::TenantCommandsLimit { retry_after } => Some(*retry_after),
            Self::Overloaded
            | Self::Stopping
            | Self::TimedOut
            | Self::Conflict(Conflict::InProgress) => Some(Duration::from_secs(1)),
            Self::NetworkServer(error) if error.is_unreachable() => Some(Duration::from_secs(5)),
            Self::StoreUnavailable | Self::Held | Self::DeviceBusy => Some(Duration::from_secs(5)),
            Self::Unauthenticated
            | Self::Forbidden(_)
            | Self::BadSignature(_)
            | Self::TenantMismatch
            | Self::CrossSite
            | Self::NotFound(_)
            | Self::NoRoute
            | Self::MethodNotAllowed
            | Self::UnsupportedMediaType { .. }
            | Self::BodyTooLarge
            | Self::FileTooLarge
            | Self::NetworkServer(_)
            | Self::BodyUnreadable
            | Self::Malformed(_)
            | Self::Invalid(_)
            | Self::NotUnderstood(_)
            | Self::Conflict(_)
            | Self::IdempotencyKeyReused
            | Self::VersionMismatch { .. }
            | Self::Internal(_)
            | Self::Panicked => None,
        }
    }

    /// Whether nothing was done for certain, and the same request would be refused again.
    pub(super) fn is_certain(&self) -> bool {
        self.kind().0.is_client_error()
    }

    /// Writes the cause of a failure of ours to the log, once.
    fn log(&self) {
        if let Self::Internal(source) = self {
            let mut causes = vec![source.to_string()];
            let mut next = source.source();
            while let Some(cause) = next {
                causes.push(cause.to_string());
                next = cause.source();
            }
            tracing::error!(error = causes.join(": "), "http.request.failed");
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

impl Conflict {
    fn kind(self) -> (StatusCode, &'static str, &'static str) {
        let (name, title) = match self {
            Self::DevEuiTaken => ("dev-eui-taken", "The DevEUI is registered already"),
            Self::DownlinkOver => ("downlink-over", "The downlink is over"),
            Self::InProgress => ("in-progress", "The same request is in progress"),
            Self::TenantNameTaken => ("tenant-name-taken", "The name is taken"),
            Self::ChirpstackTenantTaken => (
                "chirpstack-tenant-taken",
                "The tenant of ChirpStack is taken",
            ),
            Self::TenantNotEmpty => ("tenant-not-empty", "The tenant has devices"),
            Self::TenantFull => ("tenant-full", "The tenant has as many devices as it may"),
            Self::LastAdminKey => ("last-admin-key", "The last administrator's key"),
            Self::NetworkServerInUse => {
                ("network-server-in-use", "Devices are on the network server")
            }
            Self::NotSynchronized => (
                "not-synchronized",
                "The device is not kept in step with ChirpStack",
            ),
            Self::NoNetworkServer => ("no-network-server", "No network server is configured"),
            Self::Comparing => ("comparing", "A comparison is under way"),
            Self::JobOver => ("job-over", "The job is over"),
            Self::JobGoesOn => ("job-goes-on", "The job goes on"),
            Self::NothingToRetry => ("nothing-to-retry", "Nothing is to be tried again"),
            Self::TooManyJobs => ("too-many-jobs", "Too many jobs of this tenant"),
        };
        (StatusCode::CONFLICT, name, title)
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::DevEuiTaken => "A device with this DevEUI is registered already.",
            Self::DownlinkOver => "It has ended; there is nothing to cancel.",
            Self::InProgress => {
                "A request with this Idempotency-Key is being carried out; repeat it for its answer."
            }
            Self::TenantNameTaken => "Another tenant has this name.",
            Self::ChirpstackTenantTaken => "Another tenant is this tenant of ChirpStack.",
            Self::TenantNotEmpty => {
                "It has devices, or ChirpStack has not confirmed yet that they are deleted."
            }
            Self::TenantFull => "Delete devices of the tenant, or raise its devices_max.",
            Self::LastAdminKey => {
                "Nobody could administer the platform without it; make another platform admin key first."
            }
            Self::NetworkServerInUse => {
                "Devices do not move from one network server to another: delete the tenant's devices with a DevEUI \
                 first, and wait until ChirpStack has confirmed it."
            }
            Self::NotSynchronized => {
                "It has no chirpstack_app_id and device_profile_id, so ChirpStack is somebody else's affair."
            }
            Self::NoNetworkServer => "Configure chirpstack.url and chirpstack.api_key first.",
            Self::Comparing => {
                "A comparison of this tenant's devices with ChirpStack's is under way already."
            }
            Self::JobOver => "It has ended, or was cancelled; there is nothing to change about it.",
            Self::JobGoesOn => "Wait for its end, or cancel it, before trying again what failed.",
            Self::NothingToRetry => {
                "No device of it failed, stayed without proof or ran out of time."
            }
            Self::TooManyJobs => "Wait for others to end, or cancel some.",
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(source) => {
                tracing::warn!(error = %source, "store.unavailable");
                Self::StoreUnavailable
            }
            error @ (StoreError::Corrupt { .. } | StoreError::Rejected(_)) => {
                Self::Internal(Box::new(error))
            }
        }
    }
}

impl From<AskError> for ApiError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::UnknownDevice => Self::NotFound("device"),
            AskError::DeviceBusy => Self::DeviceBusy,
            AskError::Overloaded => Self::Overloaded,
            AskError::NotUnderstood(why) => {
                Self::NotUnderstood(format!("It cannot be sent: {why}."))
            }
            // Told to jobs alone; a caller's own command is the newest.
            AskError::Newer => Self::Conflict(Conflict::DownlinkOver),
            AskError::StoreUnavailable => Self::StoreUnavailable,
            AskError::Stopping => Self::Stopping,
        }
    }
}

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Unknown => Self::NotFound("job"),
            JobError::Over => Self::Conflict(Conflict::JobOver),
            JobError::StoreUnavailable => Self::StoreUnavailable,
        }
    }
}

impl IntoResponse for ApiError {
    /// The status and headers; the body is still to be written, from the [`Problem`] in the extensions.
    fn into_response(self) -> Response {
        self.log();
        let (status, name, title) = self.kind();
        let detail = self.detail().into_owned();
        let retry_after = self.retry_after();
        let is_unauthenticated = matches!(self, Self::Unauthenticated);
        let errors = if let Self::Invalid(errors) = self {
            errors
        } else {
            Vec::new()
        };
        let mut response = status.into_response();
        response.extensions_mut().insert(Problem {
            kind: format!("{TYPE_PREFIX}{name}"),
            title,
            status: status.as_u16(),
            detail,
            errors,
            request_id: String::new(),
        });
        if let Some(retry_after) = retry_after {
            let seconds = retry_after.as_secs_f64().ceil().max(1.0);
            let value = HeaderValue::from_str(&seconds.to_string());
            response
                .headers_mut()
                .extend(value.ok().map(|value| (RETRY_AFTER, value)));
        }
        if is_unauthenticated {
            let value = HeaderValue::from_static("Bearer realm=\"downbeat\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, value);
        }
        response
    }
}
