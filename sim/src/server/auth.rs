//! What stands before every gRPC call: ChirpStack's faults, then the API key.

use std::time::Duration;

use downbeat_core::id::DevEui;
use tonic::metadata::MetadataMap;
use tonic::{Code, Response, Status};
use uuid::Uuid;

use super::config::KeyKind;
use super::world::World;
use crate::model::ApiFault;

/// How long an answer that got lost is held back; every caller has a shorter deadline.
const LOST_ANSWER: Duration = Duration::from_mins(10);

impl World {
    /// Lets a call in, as its key's holder.
    pub(super) async fn admit(&self, metadata: &MetadataMap) -> Result<KeyKind, Status> {
        self.hangs().await;
        let faults = self.faults();
        if faults.down {
            return Err(Status::unavailable("connection refused"));
        }
        if faults.slow_ms > 0 {
            self.sleep(Duration::from_millis(faults.slow_ms)).await;
        }
        if faults.failing {
            return Err(Status::internal("connection pool timed out"));
        }
        let Some(header) = metadata.get("authorization") else {
            return Err(Status::unauthenticated("no authorization provided"));
        };
        let token = header
            .to_str()
            .ok()
            .and_then(|header| header.strip_prefix("Bearer "));
        let Some(token) = token else {
            return Err(Status::unauthenticated(
                "authorization metadata must be in format 'Bearer <TOKEN>",
            ));
        };
        self.keys
            .get(token)
            .copied()
            .ok_or_else(|| Status::unauthenticated("InvalidToken"))
    }

    /// As [`World::admit`], for calls about what belongs to the one tenant.
    pub(super) async fn admit_tenant(&self, metadata: &MetadataMap) -> Result<KeyKind, Status> {
        match self.admit(metadata).await? {
            KeyKind::OtherTenant => Err(no_right()),
            kind @ (KeyKind::Admin | KeyKind::Tenant | KeyKind::ReadOnly) => Ok(kind),
        }
    }

    /// As [`World::admit_tenant`], for calls that change something.
    pub(super) async fn admit_writer(&self, metadata: &MetadataMap) -> Result<KeyKind, Status> {
        match self.admit_tenant(metadata).await? {
            KeyKind::ReadOnly | KeyKind::OtherTenant => Err(no_right()),
            kind @ (KeyKind::Admin | KeyKind::Tenant) => Ok(kind),
        }
    }

    /// Gives the answer, unless it is one that gets lost.
    pub(super) async fn answer<T>(&self, answer: T) -> Result<Response<T>, Status> {
        if self.answer_is_lost() {
            self.sleep(LOST_ANSWER).await;
            return Err(Status::unavailable("connection closed"));
        }
        Ok(Response::new(answer))
    }
}

/// What a valid key without the right gets, and a tenant's key for anything that does not exist.
pub(super) fn no_right() -> Status {
    Status::new(Code::Unauthenticated, "")
}

/// What is answered for an object that does not exist.
pub(super) fn missing(kind: KeyKind, id: &str) -> Status {
    match kind {
        KeyKind::Admin => Status::not_found(format!("Object does not exist (id: {id})")),
        KeyKind::Tenant | KeyKind::ReadOnly | KeyKind::OtherTenant => no_right(),
    }
}

/// The model's fault as ChirpStack's status; `constraint` is the one that a duplicate violates.
pub(super) fn status_of(fault: &ApiFault, kind: KeyKind, id: &str, constraint: &str) -> Status {
    match fault {
        ApiFault::Unavailable => Status::unavailable("connection refused"),
        ApiFault::UnknownDevice => missing(kind, id),
        ApiFault::NotFound => Status::not_found(format!("Object does not exist (id: {id})")),
        ApiFault::Duplicate => duplicate(constraint),
        ApiFault::Invalid(reason) => {
            Status::invalid_argument(format!("Validation error: {reason}"))
        }
    }
}

/// `ALREADY_EXISTS` is never produced; this is.
pub(super) fn duplicate(constraint: &str) -> Status {
    Status::internal(format!(
        "duplicate key value violates unique constraint \"{constraint}\""
    ))
}

/// An `EUI` as ChirpStack reads it: an empty text is all zeroes, anything wrong is `INTERNAL`.
pub(super) fn eui(text: &str) -> Result<u64, Status> {
    let mut bytes = [0; 8];
    hex(text, &mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

/// A DevEUI, see [`eui`].
pub(super) fn dev_eui(text: &str) -> Result<DevEui, Status> {
    eui(text).map(DevEui::from_u64)
}

/// A root key, see [`eui`].
pub(super) fn aes_key(text: &str) -> Result<[u8; 16], Status> {
    let mut bytes = [0; 16];
    hex(text, &mut bytes)?;
    Ok(bytes)
}

fn hex(text: &str, into: &mut [u8]) -> Result<(), Status> {
    if text.is_empty() {
        return Ok(());
    }
    if text.len() != into.len() * 2 {
        return Err(Status::internal("Invalid string length"));
    }
    for (byte, digits) in into.iter_mut().zip(text.as_bytes().chunks(2)) {
        let value = std::str::from_utf8(digits)
            .ok()
            .filter(|digits| !digits.starts_with('+'));
        *byte = value
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .ok_or_else(|| Status::internal("Invalid character in hex string"))?;
    }
    Ok(())
}

/// A UUID; an empty text is none.
pub(super) fn uuid(text: &str) -> Result<Uuid, Status> {
    Uuid::parse_str(text).map_err(|error| Status::invalid_argument(error.to_string()))
}
