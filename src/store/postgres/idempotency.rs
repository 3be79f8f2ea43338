//! Repeatable requests.

use downbeat_actors::port::StoreError;
use downbeat_core::time::Timestamp;
use sqlx::PgExecutor;

use super::Postgres;
use super::error::store_error;
use super::session::Access;
use crate::store::row::{ReservationRow, millis, scope_of};
use crate::store::{
    DELETE_BATCH_MAX, IdempotencyKey, IdempotentAnswer, NewReservation, Reservation,
};

impl Postgres {
    pub(in crate::store) async fn reserve(
        &self,
        new: &NewReservation,
    ) -> Result<Reservation, StoreError> {
        // The earlier one may be given back between the two statements; then the next round makes this one the first.
        loop {
            let mut transaction = self.sessions.begin(new.key.scope).await?;
            let inserted = sqlx::query(
                "INSERT INTO idempotency (scope, key_hash, operation, request_hash, resource_id, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (scope, key_hash, operation) DO NOTHING",
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
            if inserted.rows_affected() > 0 {
                transaction.commit().await.map_err(store_error)?;
                return Ok(Reservation::New);
            }
            if let Some(earlier) = find(&mut *transaction, &new.key).await? {
                return earlier.for_request(&new.request_hash);
            }
        }
    }

    pub(in crate::store) async fn reservation(
        &self,
        key: &IdempotencyKey,
        request_hash: &[u8; 32],
    ) -> Result<Option<Reservation>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(key.scope).await?;
        let row = find(&mut *transaction, key).await?;
        row.map(|row| row.for_request(request_hash)).transpose()
    }

    pub(in crate::store) async fn answer(
        &self,
        key: &IdempotencyKey,
        answer: &IdempotentAnswer,
    ) -> Result<(), StoreError> {
        let mut transaction = self.sessions.begin(key.scope).await?;
        sqlx::query(
            "UPDATE idempotency SET status = $4, body = $5 WHERE scope = $1 AND key_hash = $2 AND operation = $3",
        )
        .bind(scope_of(key))
        .bind(key.key_hash.as_slice())
        .bind(&key.operation)
        .bind(i64::from(answer.status))
        .bind(&answer.body)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)
    }

    pub(in crate::store) async fn release(&self, key: &IdempotencyKey) -> Result<(), StoreError> {
        let mut transaction = self.sessions.begin(key.scope).await?;
        sqlx::query(
            "DELETE FROM idempotency WHERE scope = $1 AND key_hash = $2 AND operation = $3 AND status IS NULL",
        )
        .bind(scope_of(key))
        .bind(key.key_hash.as_slice())
        .bind(&key.operation)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)
    }

    pub(in crate::store) async fn delete_reservations_before(
        &self,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.sessions.begin(Access::Platform).await?;
        let deleted = sqlx::query(
            "DELETE FROM idempotency WHERE ctid = ANY (ARRAY(
                 SELECT ctid FROM idempotency WHERE created_at < $1 LIMIT $2))",
        )
        .bind(millis(before))
        .bind(i64::from(DELETE_BATCH_MAX))
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(deleted.rows_affected())
    }
}

async fn find(
    executor: impl PgExecutor<'_>,
    key: &IdempotencyKey,
) -> Result<Option<ReservationRow>, StoreError> {
    sqlx::query_as(
        "SELECT request_hash, resource_id, created_at, status, body FROM idempotency
         WHERE scope = $1 AND key_hash = $2 AND operation = $3",
    )
    .bind(scope_of(key))
    .bind(key.key_hash.as_slice())
    .bind(&key.operation)
    .fetch_optional(executor)
    .await
    .map_err(store_error)
}
