//! Decoded fields over time.

use downbeat_actors::port::StoreError;
use downbeat_core::id::DeviceId;
use downbeat_core::time::Timestamp;
use sqlx::{QueryBuilder, Sqlite as Db};

use super::{Sqlite, store_error};
use crate::store::row::{
    TelemetryFieldRow, TelemetryPointRow, TelemetryRow, TelemetryWindow, millis, tenant_of,
};
use crate::store::{
    DELETE_BATCH_MAX, Scope, TELEMETRY_FIELDS_MAX, TelemetryField, TelemetryPoint, TelemetryQuery,
};

impl Sqlite {
    pub(in crate::store) async fn telemetry(
        &self,
        scope: Scope,
        device_id: DeviceId,
        query: &TelemetryQuery,
    ) -> Result<Vec<TelemetryPoint>, StoreError> {
        let window = TelemetryWindow::of(query);
        let statement = match window.step {
            None => sqlx::query_as(
                "SELECT at, number, text, 1 AS count, number AS min, number AS mean, number AS max FROM telemetry
                 WHERE device_id = ?1 AND field = ?2 AND at >= ?3 AND at < ?4 AND (?5 IS NULL OR tenant_id = ?5)
                 ORDER BY at LIMIT ?6",
            ),
            // The last value of a span is looked up by its time: a device's field has one at a time.
            Some(_) => sqlx::query_as(
                "SELECT ?3 + span.number_of * ?7 AS at, last.number, last.text, span.count, span.min, span.mean, span.max
                 FROM (
                    SELECT (at - ?3) / ?7 AS number_of, max(at) AS last_at, count(*) AS count, min(number) AS min,
                        avg(number) AS mean, max(number) AS max
                    FROM telemetry
                    WHERE device_id = ?1 AND field = ?2 AND at >= ?3 AND at < ?4 AND (?5 IS NULL OR tenant_id = ?5)
                    GROUP BY number_of ORDER BY number_of LIMIT ?6
                 ) AS span
                 JOIN telemetry AS last ON last.device_id = ?1 AND last.field = ?2 AND last.at = span.last_at
                 ORDER BY span.number_of",
            ),
        };
        let rows: Vec<TelemetryPointRow> = statement
            .bind(device_id.as_uuid())
            .bind(&query.field)
            .bind(window.from)
            .bind(window.to)
            .bind(tenant_of(scope))
            .bind(window.limit)
            .bind(window.step)
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        rows.into_iter().map(TelemetryPoint::try_from).collect()
    }

    pub(in crate::store) async fn telemetry_fields(
        &self,
        scope: Scope,
        device_id: DeviceId,
    ) -> Result<Vec<TelemetryField>, StoreError> {
        // From one field's name to the next, and there to its last value: the values in between are not read.
        let rows: Vec<TelemetryFieldRow> = sqlx::query_as(
            "WITH RECURSIVE fields (field) AS (
                SELECT min(field) FROM telemetry WHERE device_id = ?1
                UNION ALL
                SELECT (SELECT min(field) FROM telemetry WHERE device_id = ?1 AND field > fields.field)
                FROM fields WHERE fields.field IS NOT NULL
             )
             SELECT last.field, last.at, last.number, last.text
             FROM fields JOIN telemetry AS last ON last.device_id = ?1 AND last.field = fields.field
                AND last.at = (SELECT max(at) FROM telemetry WHERE device_id = ?1 AND field = fields.field)
             WHERE fields.field IS NOT NULL AND (?2 IS NULL OR last.tenant_id = ?2)
             ORDER BY last.field LIMIT ?3",
        )
        .bind(device_id.as_uuid())
        .bind(tenant_of(scope))
        .bind(TELEMETRY_FIELDS_MAX)
        .fetch_all(&self.readers)
        .await
        .map_err(store_error)?;
        rows.into_iter().map(TelemetryField::try_from).collect()
    }

    pub(in crate::store) async fn delete_telemetry_before(
        &self,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let deleted = sqlx::query(
                    "DELETE FROM telemetry WHERE (device_id, field, at) IN (
                        SELECT device_id, field, at FROM telemetry WHERE at < ?1 ORDER BY at LIMIT ?2
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

pub(super) fn insert_telemetry(rows: &[TelemetryRow<'_>]) -> QueryBuilder<Db> {
    let mut query =
        QueryBuilder::new("INSERT INTO telemetry (device_id, field, at, tenant_id, number, text) ");
    query.push_values(rows, |mut values, row| {
        values
            .push_bind(row.device_id)
            .push_bind(row.field)
            .push_bind(row.at)
            .push_bind(row.tenant_id)
            .push_bind(row.number)
            .push_bind(row.text);
    });
    query.push(
        " ON CONFLICT (device_id, field, at) DO UPDATE SET number = excluded.number, text = excluded.text",
    );
    query
}
