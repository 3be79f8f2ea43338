//! What a failed call means.
//!
//! | what happened | meaning |
//! |---|---|
//! | no connection (refused, unresolved, TLS, connect timeout) | `Unavailable`: nothing was sent |
//! | deadline, ours or the server's; connection broken; keep-alive expired; stream reset | `AnswerLost` |
//! | UNAVAILABLE, CANCELLED, UNKNOWN, `DATA_LOSS` as an answer: a proxy's, or a server that is going down | `AnswerLost` |
//! | an answer that breaks off or cannot be read | `AnswerLost` |
//! | UNAUTHENTICATED without text | an unknown object, or the key: to be found out |
//! | UNAUTHENTICATED otherwise, `PERMISSION_DENIED` | `Unauthenticated` |
//! | `NOT_FOUND` of a call that names a device (admin key) | `UnknownDevice` |
//! | INTERNAL with a foreign key violation (admin key), of a call about what belongs to a device | `UnknownDevice` |
//! | the same, or "Record not found", of a call that writes a device: its application or profile | `Invalid` |
//! | `INVALID_ARGUMENT`, UNIMPLEMENTED, `NOT_FOUND` of anything else | `Invalid` |
//! | any other INTERNAL, and the rest | `Refused` |
//!
//! Only what certainly was not sent is `Unavailable`: taking a command for not done and sending it again is how a device
//! gets it twice.

use std::error::Error;

use downbeat_actors::port::NetworkServerError;
use downbeat_core::id::DevEui;
use tonic::{Code, ConnectError, Status};

/// How a call failed.
#[derive(Debug)]
pub(super) enum CallFailure {
    /// Our own deadline passed.
    Deadline(tokio::time::error::Elapsed),
    /// tonic's word, be it an answer or its own.
    Status(Box<Status>),
}

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// Nothing of a single device.
    Server,
    /// What belongs to a device.
    Device(DevEui),
    /// The device itself, written with the application and the profile that it belongs to.
    DeviceRecord(DevEui),
}

/// What a failure means.
#[derive(Debug)]
pub(super) enum Meaning {
    /// Settled.
    Error(NetworkServerError),
    /// The key was deleted, or may not do this, or what was asked for does not exist: ChirpStack says the same of all.
    NoRight,
}

/// Texts of errors that tonic itself puts in place of an answer that broke off or cannot be read. They have no source, so
/// nothing else tells them from a server's words.
const NOT_AN_ANSWER: [&str; 3] = [
    "Missing response message",
    "protocol error",
    "failed to decode",
];

/// Texts of a foreign key violation: PostgreSQL's and `SQLite`'s, in lower case.
const FOREIGN_KEY: &str = "foreign key";

/// What Create says of an application that does not exist (admin key).
const NO_RECORD: &str = "Record not found";

impl CallFailure {
    /// The code of an answer; `None` where nothing was answered.
    pub(super) fn code(&self) -> Option<Code> {
        match self {
            Self::Status(status) if status.source().is_none() => Some(status.code()),
            Self::Status(_) | Self::Deadline(_) => None,
        }
    }

    pub(super) fn is_not_found(&self) -> bool {
        self.code() == Some(Code::NotFound)
    }

    pub(super) fn meaning(self, subject: Subject) -> Meaning {
        let status = match self {
            Self::Deadline(elapsed) => {
                return Meaning::Error(NetworkServerError::AnswerLost(Box::new(elapsed)));
            }
            Self::Status(status) => status,
        };
        if was_never_sent(&status) {
            return Meaning::Error(NetworkServerError::Unavailable(status));
        }
        // tonic's own verdicts on a broken connection have a source; an answer has none.
        if status.source().is_some() {
            return Meaning::Error(NetworkServerError::AnswerLost(status));
        }
        if status.code() == Code::Unauthenticated && status.message().is_empty() {
            return Meaning::NoRight;
        }
        Meaning::Error(answered(status, subject))
    }
}

/// What the server's own refusal means.
fn answered(status: Box<Status>, subject: Subject) -> NetworkServerError {
    let text = || status.message().to_owned();
    match (status.code(), subject) {
        (
            Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unavailable
            | Code::Unknown
            | Code::DataLoss
            | Code::Ok,
            _,
        ) => NetworkServerError::AnswerLost(status),
        (Code::Unauthenticated | Code::PermissionDenied, _) => NetworkServerError::Unauthenticated,
        (Code::NotFound, Subject::Device(device) | Subject::DeviceRecord(device)) => {
            NetworkServerError::UnknownDevice(device)
        }
        (Code::InvalidArgument | Code::Unimplemented, _) | (Code::NotFound, Subject::Server) => {
            NetworkServerError::Invalid(text())
        }
        (Code::Internal, _)
            if NOT_AN_ANSWER
                .iter()
                .any(|start| status.message().starts_with(start)) =>
        {
            NetworkServerError::AnswerLost(status)
        }
        (Code::Internal, Subject::Device(device)) if is_foreign_key(&status) => {
            NetworkServerError::UnknownDevice(device)
        }
        (Code::Internal, Subject::DeviceRecord(_)) if status.message() == NO_RECORD => {
            NetworkServerError::Invalid("the device's application does not exist".to_owned())
        }
        (Code::Internal, Subject::DeviceRecord(_)) if is_foreign_key(&status) => {
            NetworkServerError::Invalid(
                "the device's application or device profile does not exist".to_owned(),
            )
        }
        (
            Code::Internal
            | Code::AlreadyExists
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange,
            _,
        ) => NetworkServerError::Refused(text()),
    }
}

fn is_foreign_key(status: &Status) -> bool {
    status.message().to_lowercase().contains(FOREIGN_KEY)
}

/// Whether the cause is that there was no connection. tonic gives UNAVAILABLE for a connection that broke, too.
fn was_never_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
