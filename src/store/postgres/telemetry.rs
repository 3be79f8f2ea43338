//! Decoded fields over time.

use std::collections::BTreeMap;

use downbeat_actors::port::StoreError;
use downbeat_core::id::DeviceId;
use downbeat_core::time::Timestamp;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres as Db};

use super::Postgres;
use super::audit::column;
use super::error::store_error;
use super::session::Access;
use super::text::text;
use crate::store::row::{
    Kept, ReportRow, TelemetryFieldRow, TelemetryPointRow, TelemetryWindow, millis,
};
use crate::store::{
    DELETE_BATCH_MAX, Scope, TELEMETRY_FIELDS_MAX, TELEMETRY_REPORTS_MAX, TelemetryField,
    TelemetryPoint, TelemetryQuery,
};

/// A device's values of a field; those of before reports had one row each among them.
const POINTS: &str = "
    SELECT at, number, text FROM telemetry
    WHERE device_id = $1 AND field = $2 AND at >= $3 AND at < $4
    UNION ALL
    SELECT at, CASE WHEN jsonb_typeof(fields -> $2) = 'number' THEN (fields ->> $2)::double precision END,
        CASE WHEN jsonb_typeof(fields -> $2) = 'string' THEN fields ->> $2 END
    FROM telemetry_report
    WHERE device_id = $1 AND fields ? $2 AND at >= $3 AND at < $4";

impl Postgres {
    pub(in crate::store) async fn telemetry(
        &self,
        scope: Scope,
        device_id: DeviceId,
        query: &TelemetryQuery,
    ) -> Result<Vec<TelemetryPoint>, StoreError> {
        let window = TelemetryWindow::of(query);
        let statement = match window.step {
            None => format!(
                "SELECT at, number, text, 1::bigint AS count, number AS min, number AS mean, number AS max
                 FROM ({POINTS}) AS point
                 ORDER BY at LIMIT $5"
            ),
            Some(_) => format!(
                "WITH point AS MATERIALIZED ({POINTS}), span AS (
                    SELECT (at - $3) / $6 AS number_of, max(at) AS last_at, count(*) AS count, min(number) AS min,
                        -- Not avg: it squares, and what overflows or underflows is an error here.
                        CASE WHEN max(abs(number)) <= 1e300 THEN
                            sum(CASE WHEN abs(number) >= 1e-300 AND abs(number) <= 1e300 THEN number ELSE 0 END)
                            / count(number)
                        END AS mean,
                        max(number) AS max
                    FROM point GROUP BY number_of ORDER BY number_of LIMIT $5
                 )
                 SELECT $3 + span.number_of * $6 AS at, last.number, last.text, span.count, span.min, span.mean, span.max
                 FROM span JOIN point AS last ON last.at = span.last_at
                 ORDER BY span.number_of"
            ),
        };
        let statement = sqlx::query_as(AssertSqlSafe(statement));
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
        // Among the values of before reports had one row each from one field's name to the next, and there to its last
        // value.
        let rows: Vec<TelemetryFieldRow> = sqlx::query_as(
            "WITH RECURSIVE old (field) AS (
                (SELECT field FROM telemetry WHERE device_id = $1 ORDER BY field LIMIT 1)
                UNION ALL
                SELECT (
                    SELECT next.field FROM telemetry AS next WHERE next.device_id = $1 AND next.field > old.field
                    ORDER BY next.field LIMIT 1
                )
                FROM old WHERE old.field IS NOT NULL
             ), told (field, at, number, text) AS (
                SELECT old.field, last.at, last.number, last.text
                FROM old CROSS JOIN LATERAL (
                    SELECT at, number, text FROM telemetry WHERE device_id = $1 AND telemetry.field = old.field
                    ORDER BY at DESC LIMIT 1
                ) AS last
                UNION ALL
                SELECT field.key COLLATE \"C\", report.at,
                    CASE WHEN jsonb_typeof(field.value) = 'number' THEN (field.value #>> '{}')::double precision END,
                    CASE WHEN jsonb_typeof(field.value) = 'string' THEN field.value #>> '{}' END
                FROM (
                    SELECT at, fields FROM telemetry_report WHERE device_id = $1 ORDER BY at DESC LIMIT $3
                ) AS report CROSS JOIN LATERAL jsonb_each(report.fields) AS field
             )
             SELECT DISTINCT ON (field) field, at, number, text FROM told ORDER BY field, at DESC LIMIT $2",
        )
        .bind(device_id.as_uuid())
        .bind(i64::from(TELEMETRY_FIELDS_MAX))
        .bind(i64::from(TELEMETRY_REPORTS_MAX))
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
        let mut deleted = 0;
        for statement in [
            "DELETE FROM telemetry_report WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM telemetry_report WHERE at < $1 ORDER BY at LIMIT $2
             ))",
            "DELETE FROM telemetry WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM telemetry WHERE at < $1 ORDER BY at LIMIT $2
             ))",
        ] {
            let done = sqlx::query(statement)
                .bind(millis(before))
                .bind(i64::from(DELETE_BATCH_MAX))
                .execute(&mut *transaction)
                .await
                .map_err(store_error)?;
            deleted += done.rows_affected();
        }
        transaction.commit().await.map_err(store_error)?;
        Ok(deleted)
    }
}

pub(super) const INSERT_REPORTS: &str = "INSERT INTO telemetry_report (device_id, at, tenant_id, fields)
         SELECT v.device_id, v.at, v.tenant_id, v.fields::jsonb
         FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[]) AS v (device_id, at, tenant_id, fields)
         ON CONFLICT (device_id, at) DO UPDATE SET fields = telemetry_report.fields || excluded.fields";

pub(super) fn bind_reports<'q>(
    query: Query<'q, Db, PgArguments>,
    rows: &[ReportRow<'_>],
) -> Query<'q, Db, PgArguments> {
    query
        .bind(column(rows, |row| row.device_id))
        .bind(column(rows, |row| row.at))
        .bind(column(rows, |row| row.tenant_id))
        .bind(column(rows, plain_json))
}

/// A report as JSON, in which a NUL could be written but is none of jsonb's characters.
fn plain_json(row: &ReportRow<'_>) -> String {
    let json = row.json();
    if !json.contains("\\u0000") {
        return json;
    }
    let plain: BTreeMap<_, _> = row
        .fields
        .iter()
        .map(|(field, kept)| {
            let value = match kept {
                Kept::Number(number) => serde_json::Value::from(*number),
                Kept::Text(value) => serde_json::Value::from(text(value)),
            };
            (text(field), value)
        })
        .collect();
    serde_json::json!(plain).to_string()
}
