//! Decoded fields over time.

use downbeat_actors::port::StoreError;
use downbeat_core::id::DeviceId;
use downbeat_core::time::Timestamp;
use sqlx::{AssertSqlSafe, QueryBuilder, Sqlite as Db};

use super::rows::push_rows;
use super::{Sqlite, store_error};
use crate::store::row::{
    ReportRow, TelemetryFieldRow, TelemetryPointRow, TelemetryWindow, millis, tenant_of,
};
use crate::store::{
    DELETE_BATCH_MAX, Scope, TELEMETRY_FIELDS_MAX, TELEMETRY_REPORTS_MAX, TelemetryField,
    TelemetryPoint, TelemetryQuery,
};

/// A device's values of a field; those of before reports had one row each among them.
const POINTS: &str = "
    SELECT at, number, text FROM telemetry
    WHERE device_id = ?1 AND field = ?2 AND at >= ?3 AND at < ?4 AND (?5 IS NULL OR tenant_id = ?5)
    UNION ALL
    SELECT report.at, iif(field.type = 'text', NULL, field.value), iif(field.type = 'text', field.value, NULL)
    FROM telemetry_report AS report, json_each(report.fields) AS field
    WHERE report.device_id = ?1 AND report.at >= ?3 AND report.at < ?4 AND (?5 IS NULL OR report.tenant_id = ?5)
        AND field.key = ?2";

impl Sqlite {
    pub(in crate::store) async fn telemetry(
        &self,
        scope: Scope,
        device_id: DeviceId,
        query: &TelemetryQuery,
    ) -> Result<Vec<TelemetryPoint>, StoreError> {
        let window = TelemetryWindow::of(query);
        let statement = match window.step {
            None => format!(
                "SELECT at, number, text, 1 AS count, number AS min, number AS mean, number AS max FROM ({POINTS})
                 ORDER BY at LIMIT ?6"
            ),
            Some(_) => format!(
                "WITH point AS MATERIALIZED ({POINTS}), span AS (
                    SELECT (at - ?3) / ?7 AS number_of, max(at) AS last_at, count(*) AS count, min(number) AS min,
                        avg(number) AS mean, max(number) AS max
                    FROM point GROUP BY number_of ORDER BY number_of LIMIT ?6
                 )
                 SELECT ?3 + span.number_of * ?7 AS at, last.number, last.text, span.count, span.min, span.mean, span.max
                 FROM span JOIN point AS last ON last.at = span.last_at
                 ORDER BY span.number_of"
            ),
        };
        let rows: Vec<TelemetryPointRow> = sqlx::query_as(AssertSqlSafe(statement))
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
        // Among the values of before reports had one row each from one field's name to the next, and there to its last
        // value. Of each field that has the greatest time `SQLite` takes the row which holds that.
        let rows: Vec<TelemetryFieldRow> = sqlx::query_as(
            "WITH RECURSIVE old (field) AS (
                SELECT min(field) FROM telemetry WHERE device_id = ?1
                UNION ALL
                SELECT (SELECT min(field) FROM telemetry WHERE device_id = ?1 AND field > old.field)
                FROM old WHERE old.field IS NOT NULL
             ), told AS (
                SELECT last.field, last.at, last.number, last.text
                FROM old JOIN telemetry AS last ON last.device_id = ?1 AND last.field = old.field
                    AND last.at = (SELECT max(at) FROM telemetry WHERE device_id = ?1 AND field = old.field)
                WHERE old.field IS NOT NULL AND (?2 IS NULL OR last.tenant_id = ?2)
                UNION ALL
                SELECT field.key, report.at, iif(field.type = 'text', NULL, field.value),
                    iif(field.type = 'text', field.value, NULL)
                FROM (
                    SELECT at, fields FROM telemetry_report
                    WHERE device_id = ?1 AND (?2 IS NULL OR tenant_id = ?2) ORDER BY at DESC LIMIT ?4
                ) AS report, json_each(report.fields) AS field
             )
             SELECT field, max(at) AS at, number, text FROM told GROUP BY field ORDER BY field LIMIT ?3",
        )
        .bind(device_id.as_uuid())
        .bind(tenant_of(scope))
        .bind(TELEMETRY_FIELDS_MAX)
        .bind(TELEMETRY_REPORTS_MAX)
        .fetch_all(&self.readers)
        .await
        .map_err(store_error)?;
        rows.into_iter().map(TelemetryField::try_from).collect()
    }

    pub(in crate::store) async fn delete_telemetry_before(
        &self,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        self.read_ahead(
            "SELECT sum(length(report.fields)) FROM (
                SELECT device_id, at FROM telemetry_report WHERE at < ?1 ORDER BY at LIMIT ?2
             ) AS old
             JOIN telemetry_report AS report ON report.device_id = old.device_id AND report.at = old.at",
            millis(before),
        )
        .await?;
        self.write(move |connection| {
            Box::pin(async move {
                let mut deleted = 0;
                for statement in [
                    "DELETE FROM telemetry_report WHERE (device_id, at) IN (
                        SELECT device_id, at FROM telemetry_report WHERE at < ?1 ORDER BY at LIMIT ?2
                     )",
                    "DELETE FROM telemetry WHERE (device_id, field, at) IN (
                        SELECT device_id, field, at FROM telemetry WHERE at < ?1 ORDER BY at LIMIT ?2
                     )",
                ] {
                    let done = sqlx::query(statement)
                        .bind(millis(before))
                        .bind(DELETE_BATCH_MAX)
                        .execute(&mut *connection)
                        .await
                        .map_err(store_error)?;
                    deleted += done.rows_affected();
                }
                Ok(deleted)
            })
        })
        .await
    }
}

pub(super) fn insert_reports(script: &mut QueryBuilder<Db>, rows: &[ReportRow<'_>]) {
    script.push("INSERT INTO telemetry_report (device_id, at, tenant_id, fields) SELECT * FROM (");
    push_rows(script, 4, rows, |values, row| {
        values
            .push_bind(row.device_id)
            .push_bind(row.at)
            .push_bind(row.tenant_id)
            .push_bind(row.json());
    });
    script.push(
        ") AS v WHERE v.column1 IS NOT NULL
         ON CONFLICT (device_id, at) DO UPDATE SET fields = json_patch(telemetry_report.fields, excluded.fields)",
    );
}
