//! Repeatable requests.

use downbeat_actors::port::StoreError;
use downbeat_core::time::Timestamp;
use sqlx::{FromRow, SqliteExecutor};
use uuid::Uuid;

use super::{Sqlite, corrupt, instant, millis, store_error, tenant_of};
use crate::store::{
    DELETE_BATCH_MAX, IdempotencyKey, IdempotentAnswer, NewReservation, Reservation,
};

#[derive(FromRow)]
struct ReservationRow {
    request_hash: Vec<u8>,
    resource_id: Uuid,
    created_at: i64,
    status: Option<i64>,
    body: Option<Vec<u8>>,
}

impl ReservationRow {
    fn for_request(self, request_hash: &[u8; 32]) -> Result<Reservation, StoreError> {
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

impl Sqlite {
    pub(in crate::store) async fn reserve(
        &self,
        new: &NewReservation,
    ) -> Result<Reservation, StoreError> {
        let mut transaction = self.begin().await?;
        let earlier = find(&mut *transaction, &new.key).await?;
        if let Some(earlier) = earlier {
            return earlier.for_request(&new.request_hash);
        }
        sqlx::query(
            "INSERT INTO idempotency (scope, key_hash, operation, request_hash, resource_id, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(scope_of(&new.key))
        .bind(new.key.key_hash.as_slice())
        .bind(&new.key.operation)
        .bind(new.request_hash.as_slice())
        .bind(new.resource_id)
        .bind(millis(new.at))
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(Reservation::New)
    }

    pub(in crate::store) async fn reservation(
        &self,
        key: &IdempotencyKey,
        request_hash: &[u8; 32],
    ) -> Result<Option<Reservation>, StoreError> {
        let row = find(&self.readers, key).await?;
        row.map(|row| row.for_request(request_hash)).transpose()
    }

    pub(in crate::store) async fn answer(
        &self,
        key: &IdempotencyKey,
        answer: &IdempotentAnswer,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE idempotency SET status = ?4, body = ?5 WHERE scope = ?1 AND key_hash = ?2 AND operation = ?3",
        )
        .bind(scope_of(key))
        .bind(key.key_hash.as_slice())
        .bind(&key.operation)
        .bind(i64::from(answer.status))
        .bind(&answer.body)
        .execute(&self.writer)
        .await
        .map_err(store_error)?;
        Ok(())
    }

    pub(in crate::store) async fn release(&self, key: &IdempotencyKey) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM idempotency WHERE scope = ?1 AND key_hash = ?2 AND operation = ?3 AND status IS NULL",
        )
        .bind(scope_of(key))
        .bind(key.key_hash.as_slice())
        .bind(&key.operation)
        .execute(&self.writer)
        .await
        .map_err(store_error)?;
        Ok(())
    }

    pub(in crate::store) async fn delete_reservations_before(
        &self,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        let deleted = sqlx::query(
            "DELETE FROM idempotency WHERE rowid IN (SELECT rowid FROM idempotency WHERE created_at < ?1 LIMIT ?2)",
        )
        .bind(millis(before))
        .bind(i64::from(DELETE_BATCH_MAX))
        .execute(&self.writer)
        .await
        .map_err(store_error)?;
        Ok(deleted.rows_affected())
    }
}

async fn find(
    executor: impl SqliteExecutor<'_>,
    key: &IdempotencyKey,
) -> Result<Option<ReservationRow>, StoreError> {
    sqlx::query_as(
        "SELECT request_hash, resource_id, created_at, status, body FROM idempotency
         WHERE scope = ?1 AND key_hash = ?2 AND operation = ?3",
    )
    .bind(scope_of(key))
    .bind(key.key_hash.as_slice())
    .bind(&key.operation)
    .fetch_optional(executor)
    .await
    .map_err(store_error)
}

/// The nil UUID stands for the platform: a primary key holds no `NULL`.
fn scope_of(key: &IdempotencyKey) -> Uuid {
    tenant_of(key.scope).unwrap_or(Uuid::nil())
}
