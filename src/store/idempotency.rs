//! Requests that may be repeated: the same key and body give the same answer.
//!
//! A key is reserved, with the id that the new thing will have, before anything is done, and answered afterwards. A
//! crash in between leaves a reservation without answer; its id tells whoever repeats the request what to look for,
//! and which id to use if it is not there. So a repeated request makes one thing, not two.

use uuid::Uuid;

use super::Scope;
use downbeat_core::time::Timestamp;

/// What identifies a repeatable request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// Who asks: keys of different tenants never meet.
    pub scope: Scope,
    /// SHA-256 of the header's value.
    pub key_hash: [u8; 32],
    /// Method and path, like `POST /api/v1/downlink/202020ff50330000`.
    pub operation: String,
}

/// A reservation to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReservation {
    /// The request.
    pub key: IdempotencyKey,
    /// SHA-256 of the body: the same key with another body is a mistake.
    pub request_hash: [u8; 32],
    /// The id of what the request makes.
    pub resource_id: Uuid,
    /// Now.
    pub at: Timestamp,
}

/// What came of asking for a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reservation {
    /// This is the first such request: carry it out, then store the answer.
    New,
    /// An earlier one is under way, or was cut short by a crash.
    Unanswered {
        /// The id that the earlier one gave to what it makes.
        resource_id: Uuid,
        /// When it was made.
        at: Timestamp,
    },
    /// An earlier one was answered like this.
    Answered(IdempotentAnswer),
    /// An earlier one had the same key and another body.
    Mismatch,
}

/// An answer to be given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotentAnswer {
    /// HTTP status.
    pub status: u16,
    /// Body as it was sent.
    pub body: Vec<u8>,
}
