//! Repeatable requests.

use downbeat_actors::port::StoreError;
use sqlx::FromRow;
use uuid::Uuid;

use super::{corrupt, instant, tenant_of};
use crate::store::{IdempotencyKey, IdempotentAnswer, Reservation};

#[derive(FromRow)]
pub(crate) struct ReservationRow {
    pub(crate) request_hash: Vec<u8>,
    pub(crate) resource_id: Uuid,
    pub(crate) created_at: i64,
    pub(crate) status: Option<i64>,
    pub(crate) body: Option<Vec<u8>>,
}

impl ReservationRow {
    pub(crate) fn for_request(self, request_hash: &[u8; 32]) -> Result<Reservation, StoreError> {
        if self.request_hash != request_hash {
            return Ok(Reservation::Mismatch);
        }
        let Some((status, body)) = self.status.zip(self.body) else {
            return Ok(Reservation::Unanswered {
                resource_id: self.resource_id,
                at: instant(self.created_at),
            });
        };
        let status = u16::try_from(status)
            .map_err(|error| corrupt("idempotency", "status", &self.resource_id, error))?;
        Ok(Reservation::Answered(IdempotentAnswer { status, body }))
    }
}

/// The nil UUID stands for the platform: a primary key holds no `NULL`.
pub(crate) fn scope_of(key: &IdempotencyKey) -> Uuid {
    tenant_of(key.scope).unwrap_or(Uuid::nil())
}
