//! The actors' side: many devices' changes in one transaction.
//!
//! Rows go in statements of many rows each: measured, that is three times as fast as one prepared statement by row, and
//! a fifth faster than handing the rows over as JSON. Statements stay prepared: they are padded to a few numbers of rows, and
//! go as one script where all kinds have as many, else one by one, or there would be too many texts to keep.
//! A repeated batch changes nothing: states and downlinks are replaced by what they are, never by something older; steps and
//! events have their own keys.

use std::collections::BTreeSet;
use std::time::Duration;

use downbeat_actors::port::{DeviceChange, StoreError, StoredDevice};
use downbeat_core::device::SILENT_INTERVALS;
use downbeat_core::id::{DevEui, DeviceKey, NetworkServerId};
use downbeat_core::time::Timestamp;
use sqlx::{AssertSqlSafe, QueryBuilder, Sqlite as Db};

use super::audit::push_audit;
use super::rows::{ROWS_MAX, padded, push_rows};
use super::telemetry::insert_reports;
use super::{Sqlite, store_error};
use crate::store::row::batch::{
    Batch, DeviceKeyRow, DeviceRow, DownlinkRow, EventRow, StepRow, StoredDeviceRow,
};
use crate::store::row::{millis, of_count, span};

/// Devices that were looked at, in one transaction: others wait for it.
const LOOK_BATCH: u32 = 200;

impl Sqlite {
    pub(in crate::store) async fn commit(
        &self,
        changes: &[DeviceChange],
    ) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let scripts = scripts(&Batch::of(changes)?);
        self.write(move |connection| {
            Box::pin(async move {
                for mut script in scripts {
                    let query = script.build();
                    query.execute(&mut *connection).await.map_err(store_error)?;
                }
                Ok(())
            })
        })
        .await
    }

    /// What is stored of a network server's devices. One statement for any number of them, so that it is kept prepared.
    pub(in crate::store) async fn load(
        &self,
        server: NetworkServerId,
        devices: &BTreeSet<DevEui>,
    ) -> Result<Vec<(DevEui, StoredDevice)>, StoreError> {
        let rows: Vec<StoredDeviceRow> = sqlx::query_as(
            "SELECT device.dev_eui, device.id, device.tenant_id, device.codec, device.uplink_interval_ms, device.policy,
                (SELECT tenant.policy FROM tenant WHERE tenant.id = device.tenant_id) AS tenant_policy,
                device_state.state
             FROM device LEFT JOIN device_state ON device_state.device_id = device.id
             WHERE device.network_server_id = ?1 AND device.dev_eui IN (SELECT value FROM json_each(?2))",
        )
        .bind(server.as_uuid())
        .bind(serde_json::json!(devices).to_string())
        .fetch_all(&self.readers)
        .await
        .map_err(store_error)?;
        rows.into_iter().map(StoredDeviceRow::of_dev_eui).collect()
    }

    pub(in crate::store) async fn unfinished(&self) -> Result<Vec<DeviceKey>, StoreError> {
        let rows: Vec<DeviceKeyRow> = sqlx::query_as(
            "SELECT network_server_id, dev_eui FROM device WHERE unfinished = 1 AND dev_eui IS NOT NULL
             ORDER BY dev_eui, network_server_id",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(store_error)?;
        rows.into_iter().map(DeviceKey::try_from).collect()
    }

    pub(in crate::store) async fn silent(
        &self,
        now: Timestamp,
        interval: Duration,
        limit: u32,
    ) -> Result<Vec<DeviceKey>, StoreError> {
        let allowed = interval * SILENT_INTERVALS;
        self.look_at_quiet(now, allowed).await?;
        // Each half is one index, read up to the moment before which nobody is silent.
        let rows: Vec<DeviceKeyRow> = sqlx::query_as(
            "SELECT network_server_id, dev_eui FROM (
                SELECT * FROM (
                    SELECT network_server_id, dev_eui, last_seen + ?3 AS silent_from FROM device
                    WHERE presence = 'online' AND uplink_interval_ms IS NULL
                        AND last_seen_at_look <= ?2 AND last_seen <= ?2
                    ORDER BY last_seen_at_look LIMIT ?4
                )
                UNION ALL
                SELECT * FROM (
                    SELECT network_server_id, dev_eui, last_seen + 2 * uplink_interval_ms AS silent_from FROM device
                    WHERE presence = 'online' AND uplink_interval_ms IS NOT NULL
                        AND last_seen_at_look + 2 * uplink_interval_ms <= ?1
                        AND last_seen + 2 * uplink_interval_ms <= ?1
                    ORDER BY last_seen_at_look + 2 * uplink_interval_ms LIMIT ?4
                )
             ) WHERE dev_eui IS NOT NULL ORDER BY silent_from, dev_eui LIMIT ?4",
        )
        .bind(millis(now))
        .bind(millis(now - allowed))
        .bind(span(allowed))
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(store_error)?;
        rows.into_iter().map(DeviceKey::try_from).collect()
    }
}

impl Sqlite {
    /// Of those that had been silent by now, had they not spoken since the last look: notes when they last spoke.
    async fn look_at_quiet(&self, now: Timestamp, allowed: Duration) -> Result<(), StoreError> {
        let (now, until) = (millis(now), millis(now - allowed));
        for of_whom in [
            "uplink_interval_ms IS NULL AND last_seen_at_look <= ?2",
            "uplink_interval_ms IS NOT NULL AND last_seen_at_look + 2 * uplink_interval_ms <= ?1",
        ] {
            let sql = format!(
                "UPDATE device SET revision = revision + 1, last_seen_at_look = last_seen WHERE id IN (
                    SELECT id FROM device
                    WHERE presence = 'online' AND {of_whom} AND last_seen > last_seen_at_look LIMIT ?3)"
            );
            loop {
                let query = sqlx::query(AssertSqlSafe(sql.clone()))
                    .bind(now)
                    .bind(until)
                    .bind(LOOK_BATCH);
                let looked_at = self
                    .write(move |connection| {
                        Box::pin(
                            async move { query.execute(connection).await.map_err(store_error) },
                        )
                    })
                    .await?;
                if looked_at.rows_affected() < LOOK_BATCH.into() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// The statements of a batch, in scripts. Each crosses over to the database's thread and back once, and the commit waits for
/// each of these crossings, so few are better; but each is kept prepared by its text, so those that are hardly ever met again
/// would be parsed each time, and take the others' place.
fn scripts(batch: &Batch<'_>) -> Vec<QueryBuilder<Db>> {
    let changed = batch.changed_rows();
    let part = |wanted: fn(&DeviceRow<'_>) -> bool| -> Vec<&DeviceRow<'_>> {
        changed.iter().copied().filter(|row| wanted(row)).collect()
    };
    let (with, without) = (
        part(|row| row.unfinished_changed),
        part(|row| !row.unfinished_changed),
    );
    let presences = part(|row| row.presence_changed);
    let mut scripts = Scripts {
        done: Vec::new(),
        is_one: are_even([
            without.len(),
            with.len(),
            presences.len(),
            batch.devices.len(),
            batch.downlinks.len(),
            batch.steps.len(),
            batch.events.len(),
            batch.reports.len(),
            batch.audit.len(),
        ]),
    };
    scripts.push(&without, |script, rows| update_devices(script, rows, ""));
    scripts.push(&with, |script, rows| {
        update_devices(script, rows, "unfinished = v.column17,");
    });
    scripts.push(&presences, update_presences);
    scripts.push(&batch.devices, upsert_states);
    scripts.push(&batch.downlinks, upsert_downlinks);
    scripts.push(&batch.steps, insert_steps);
    scripts.push(&batch.events, insert_events);
    scripts.push(&batch.reports, insert_reports);
    scripts.push(&batch.audit, push_audit);
    scripts.done
}

/// Whether there are as many of each kind, or none, and one statement is enough for each: so it is with a lonely change, and
/// with many uplinks.
fn are_even<const N: usize>(rows: [usize; N]) -> bool {
    let mut sizes = rows.into_iter().filter(|&rows| rows > 0).map(padded);
    let first = sizes.next();
    first.is_none_or(|first| first <= ROWS_MAX && sizes.all(|size| size == first))
}

struct Scripts {
    done: Vec<QueryBuilder<Db>>,
    /// All statements in one; else each by itself.
    is_one: bool,
}

impl Scripts {
    /// Rows of one kind, in statements of their own.
    fn push<T>(&mut self, rows: &[T], push: impl Fn(&mut QueryBuilder<Db>, &[T])) {
        for rows in rows.chunks(ROWS_MAX) {
            if self.done.is_empty() || !self.is_one {
                self.done.push(QueryBuilder::default());
            }
            if let Some(script) = self.done.last_mut() {
                push(script, rows);
                script.push(";");
            }
        }
    }
}

/// Without what indexes go by, unless it is to change: `SQLite` enters a row anew in each index that a statement names a
/// column of, whether or not it has another value now.
fn update_devices(script: &mut QueryBuilder<Db>, rows: &[&DeviceRow<'_>], unfinished: &str) {
    script.push("UPDATE device SET ");
    script.push(unfinished);
    script.push(
        "revision = revision + 1,
            last_seen = coalesce(v.column3, last_seen),
            rssi_dbm = coalesce(v.column4, rssi_dbm),
            snr_db = coalesce(v.column5, snr_db),
            battery_percent = coalesce(v.column6, battery_percent),
            desired_color = v.column7,
            desired_on_time = v.column8,
            desired_off_time = v.column9,
            reported_color = coalesce(v.column10, reported_color),
            reported_on_time = coalesce(v.column11, reported_on_time),
            reported_off_time = coalesce(v.column12, reported_off_time),
            reported_at = coalesce(v.column13, reported_at),
            uplinks_heard = v.column14,
            uplinks_missed = v.column15,
            initialisation = v.column16
         FROM (",
    );
    push_rows(script, 17, rows, |values, row| {
        let desired = row.change.desired;
        let reported = row.reported.map(|(light, _)| light);
        values
            .push_bind(row.change.device_id.as_uuid())
            .push_bind(row.change.dev_eui.to_string())
            .push_bind(row.last_seen.map(millis))
            .push_bind(row.rssi_dbm)
            .push_bind(row.snr_db)
            .push_bind(row.battery_percent)
            .push_bind(desired.map(|light| light.color.to_string()))
            .push_bind(desired.map(|light| i64::from(light.on_time)))
            .push_bind(desired.map(|light| i64::from(light.off_time)))
            .push_bind(reported.map(|light| light.color.to_string()))
            .push_bind(reported.map(|light| i64::from(light.on_time)))
            .push_bind(reported.map(|light| i64::from(light.off_time)))
            .push_bind(row.reported.map(|(_, at)| millis(at)))
            .push_bind(of_count(row.change.uplinks_heard))
            .push_bind(of_count(row.change.uplinks_missed))
            .push_bind(row.initialisation())
            .push_bind(row.change.unfinished);
    });
    script.push(") AS v WHERE device.id = v.column1 AND device.dev_eui = v.column2");
}

/// After the devices' rows: whoever is there now is looked at when it was silent for long since it was last heard.
fn update_presences(script: &mut QueryBuilder<Db>, rows: &[&DeviceRow<'_>]) {
    script.push(
        "UPDATE device SET revision = revision + 1, presence = v.column3, last_seen_at_look = last_seen FROM (",
    );
    push_rows(script, 3, rows, |values, row| {
        values
            .push_bind(row.change.device_id.as_uuid())
            .push_bind(row.change.dev_eui.to_string())
            .push_bind(row.change.presence.name());
    });
    script.push(
        ") AS v WHERE device.id = v.column1 AND device.dev_eui = v.column2
            AND (presence <> v.column3 OR (last_seen_at_look IS NULL AND last_seen IS NOT NULL))",
    );
}

/// Only of devices that are still registered so: the state of a deleted one would come back with the next of its
/// `DevEUI`.
fn upsert_states(script: &mut QueryBuilder<Db>, rows: &[DeviceRow<'_>]) {
    script.push("INSERT INTO device_state (device_id, state) SELECT v.column1, v.column3 FROM (");
    push_rows(script, 3, rows, |values, row| {
        values
            .push_bind(row.change.device_id.as_uuid())
            .push_bind(row.change.dev_eui.to_string())
            .push_bind(&row.change.state);
    });
    script.push(
        ") AS v JOIN device ON device.id = v.column1 AND device.dev_eui = v.column2
         WHERE true ON CONFLICT (device_id) DO UPDATE SET state = excluded.state",
    );
}

fn upsert_downlinks(script: &mut QueryBuilder<Db>, rows: &[DownlinkRow<'_>]) {
    script.push(
        "INSERT INTO downlink
            (id, device_id, tenant_id, dev_eui, state, reason, attempts, created_at, updated_at, finished_at, steps, body,
             gateway_id, spreading_factor, verified_in)
         SELECT * FROM (",
    );
    push_rows(script, 15, rows, |values, row| {
        let downlink = &row.record.downlink;
        values
            .push_bind(downlink.id.as_uuid())
            .push_bind(row.change.device_id.as_uuid())
            .push_bind(row.change.tenant_id.as_uuid())
            .push_bind(row.change.dev_eui.to_string())
            .push_bind(downlink.state.name())
            .push_bind(
                downlink
                    .reason
                    .as_ref()
                    .map(downbeat_core::device::Reason::name),
            )
            .push_bind(i64::from(downlink.attempts))
            .push_bind(millis(downlink.accepted_at))
            .push_bind(millis(downlink.updated_at))
            .push_bind(downlink.finished_at.map(millis))
            .push_bind(i64::from(downlink.steps))
            .push_bind(&row.body)
            .push_bind(&row.outcome.gateway_id)
            .push_bind(row.outcome.spreading_factor)
            .push_bind(row.outcome.verified_in);
    });
    script.push(
        ") AS v WHERE v.column1 IS NOT NULL ON CONFLICT (id) DO UPDATE SET
            state = excluded.state, reason = excluded.reason, attempts = excluded.attempts,
            updated_at = excluded.updated_at, finished_at = excluded.finished_at,
            steps = excluded.steps, body = excluded.body, gateway_id = excluded.gateway_id,
            spreading_factor = excluded.spreading_factor, verified_in = excluded.verified_in
         WHERE excluded.steps >= downlink.steps",
    );
}

fn insert_steps(script: &mut QueryBuilder<Db>, rows: &[StepRow]) {
    script.push("INSERT INTO downlink_step (downlink_id, seq, at, body) SELECT * FROM (");
    push_rows(script, 4, rows, |values, row| {
        values
            .push_bind(row.downlink_id)
            .push_bind(row.seq)
            .push_bind(row.at)
            .push_bind(&row.body);
    });
    script.push(") AS v WHERE v.column1 IS NOT NULL ON CONFLICT (downlink_id, seq) DO NOTHING");
}

fn insert_events(script: &mut QueryBuilder<Db>, rows: &[EventRow<'_>]) {
    script.push(
        "INSERT INTO device_event (id, device_id, tenant_id, at, kind, body) SELECT * FROM (",
    );
    push_rows(script, 6, rows, |values, row| {
        values
            .push_bind(row.id)
            .push_bind(row.change.device_id.as_uuid())
            .push_bind(row.change.tenant_id.as_uuid())
            .push_bind(row.at)
            .push_bind(row.kind)
            .push_bind(row.body);
    });
    script.push(") AS v WHERE v.column1 IS NOT NULL ON CONFLICT (id) DO NOTHING");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_script_where_it_will_be_met_again() {
        for (rows, expected) in [
            ([0, 0, 0], true),
            ([1, 0, 1], true),
            ([33, 64, 40], true),
            ([65, 70, 66], false),
            ([1, 2, 0], false),
            ([31, 33, 0], false),
        ] {
            assert_eq!(are_even(rows), expected, "{rows:?}");
        }
    }
}
