//! Repeatable requests.

use downbeat_actors::port::StoreError;
use downbeat_core::time::Timestamp;
use sqlx::SqliteExecutor;

use super::{Sqlite, store_error};
use crate::store::row::{ReservationRow, millis, scope_of};
use crate::store::{
    DELETE_BATCH_MAX, IdempotencyKey, IdempotentAnswer, NewReservation, Reservation,
};

impl Sqlite {
    pub(in crate::store) async fn reserve(
        &self,
        new: &NewReservation,
    ) -> Result<Reservation, StoreError> {
        let new = new.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let earlier = find(&mut *connection, &new.key).await?;
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
                .execute(connection)
                .await
                .map_err(store_error)?;
                Ok(Reservation::New)
            })
        })
        .await
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
        let (key, answer) = (key.clone(), answer.clone());
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE idempotency SET status = ?4, body = ?5
                     WHERE scope = ?1 AND key_hash = ?2 AND operation = ?3",
                )
                .bind(scope_of(&key))
                .bind(key.key_hash.as_slice())
                .bind(&key.operation)
                .bind(answer.status)
                .bind(&answer.body)
                .execute(connection)
                .await
                .map_err(store_error)?;
                Ok(())
            })
        })
        .await
    }

    pub(in crate::store) async fn release(&self, key: &IdempotencyKey) -> Result<(), StoreError> {
        let key = key.clone();
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "DELETE FROM idempotency
                     WHERE scope = ?1 AND key_hash = ?2 AND operation = ?3 AND status IS NULL",
                )
                .bind(scope_of(&key))
                .bind(key.key_hash.as_slice())
                .bind(&key.operation)
                .execute(connection)
                .await
                .map_err(store_error)?;
                Ok(())
            })
        })
        .await
    }

    pub(in crate::store) async fn delete_reservations_before(
        &self,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let deleted = sqlx::query(
                    "DELETE FROM idempotency WHERE rowid IN (
                        SELECT rowid FROM idempotency WHERE created_at < ?1 LIMIT ?2
                     )",
                )
                .bind(millis(before))
                .bind(DELETE_BATCH_MAX)
                .execute(connection)
                .await
                .map_err(store_error)?;
                Ok(deleted.rows_affected())
            })
        })
        .await
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
