//! Decoded fields over time.

use downbeat_actors::port::StoreError;
use downbeat_core::id::DeviceId;
use downbeat_core::time::Timestamp;
use sqlx::Postgres as Db;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use super::Postgres;
use super::audit::column;
use super::error::store_error;
use super::session::Access;
use super::text::text;
use crate::store::row::{
    TelemetryFieldRow, TelemetryPointRow, TelemetryRow, TelemetryWindow, millis,
};
use crate::store::{
    DELETE_BATCH_MAX, Scope, TELEMETRY_FIELDS_MAX, TelemetryField, TelemetryPoint, TelemetryQuery,
};

impl Postgres {
    pub(in crate::store) async fn telemetry(
        &self,
        scope: Scope,
        device_id: DeviceId,
        query: &TelemetryQuery,
    ) -> Result<Vec<TelemetryPoint>, StoreError> {
        let window = TelemetryWindow::of(query);
        let statement = match window.step {
            None => sqlx::query_as(
                "SELECT at, number, text, 1::bigint AS count, number AS min, number AS mean, number AS max
                 FROM telemetry
                 WHERE device_id = $1 AND field = $2 AND at >= $3 AND at < $4
                 ORDER BY at LIMIT $5",
            ),
            // The last value of a span is looked up by its time: a device's field has one at a time.
            Some(_) => sqlx::query_as(
                "SELECT $3 + span.number_of * $6 AS at, last.number, last.text, span.count, span.min, span.mean, span.max
                 FROM (
                    SELECT (at - $3) / $6 AS number_of, max(at) AS last_at, count(*) AS count, min(number) AS min,
                        -- Not avg: it squares, and what overflows or underflows is an error here.
                        CASE WHEN max(abs(number)) <= 1e300 THEN
                            sum(CASE WHEN abs(number) >= 1e-300 AND abs(number) <= 1e300 THEN number ELSE 0 END)
                            / count(number)
                        END AS mean,
                        max(number) AS max
                    FROM telemetry
                    WHERE device_id = $1 AND field = $2 AND at >= $3 AND at < $4
                    GROUP BY number_of ORDER BY number_of LIMIT $5
                 ) AS span
                 JOIN telemetry AS last ON last.device_id = $1 AND last.field = $2 AND last.at = span.last_at
                 ORDER BY span.number_of",
            ),
        };
        let statement = statement
            .bind(device_id.as_uuid())
            .bind(text(&query.field))
            .bind(window.from)
            .bind(window.to)
            .bind(window.limit);
        let statement = match window.step {
            None => statement,
            Some(step) => statement.bind(step),
        };
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let rows: Vec<TelemetryPointRow> = statement
            .fetch_all(&mut *transaction)
            .await
            .map_err(store_error)?;
        rows.into_iter().map(TelemetryPoint::try_from).collect()
    }

    pub(in crate::store) async fn telemetry_fields(
        &self,
        scope: Scope,
        device_id: DeviceId,
    ) -> Result<Vec<TelemetryField>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        // From one field's name to the next, and there to its last value: the values in between are not read.
        let rows: Vec<TelemetryFieldRow> = sqlx::query_as(
            "WITH RECURSIVE fields (field) AS (
                (SELECT field FROM telemetry WHERE device_id = $1 ORDER BY field LIMIT 1)
                UNION ALL
                SELECT (
                    SELECT next.field FROM telemetry AS next WHERE next.device_id = $1 AND next.field > fields.field
                    ORDER BY next.field LIMIT 1
                )
                FROM fields WHERE fields.field IS NOT NULL
             )
             SELECT fields.field, last.at, last.number, last.text
             FROM fields CROSS JOIN LATERAL (
                SELECT at, number, text FROM telemetry WHERE device_id = $1 AND telemetry.field = fields.field
                ORDER BY at DESC LIMIT 1
             ) AS last
             ORDER BY fields.field LIMIT $2",
        )
        .bind(device_id.as_uuid())
        .bind(i64::from(TELEMETRY_FIELDS_MAX))
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        rows.into_iter().map(TelemetryField::try_from).collect()
    }

    pub(in crate::store) async fn delete_telemetry_before(
        &self,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.sessions.begin(Access::Platform).await?;
        let deleted = sqlx::query(
            "DELETE FROM telemetry WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM telemetry WHERE at < $1 ORDER BY at LIMIT $2
             ))",
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

pub(super) fn insert_telemetry<'q>(rows: &[TelemetryRow<'_>]) -> Query<'q, Db, PgArguments> {
    sqlx::query(
        "INSERT INTO telemetry (device_id, field, at, tenant_id, number, text)
         SELECT DISTINCT ON (v.device_id, v.field, v.at) * FROM unnest(
            $1::uuid[], $2::text[], $3::bigint[], $4::uuid[], $5::double precision[], $6::text[]
         ) AS v (device_id, field, at, tenant_id, number, text)
         ON CONFLICT (device_id, field, at) DO UPDATE SET number = excluded.number, text = excluded.text",
    )
    .bind(column(rows, |row| row.device_id))
    .bind(column(rows, |row| text(row.field).into_owned()))
    .bind(column(rows, |row| row.at))
    .bind(column(rows, |row| row.tenant_id))
    .bind(column(rows, |row| row.number))
    .bind(column(rows, |row| row.text.map(|value| text(value).into_owned())))
}
