//! The actors' side: many devices' changes in one transaction.
//!
//! A statement takes all its rows as arrays, one a column; two statements do it all. A repeated batch changes nothing: states and downlinks
//! are replaced by what they are, never by something older; steps and events have their own keys.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use downbeat_actors::port::{DeviceChange, StoreError, StoredDevice};
use downbeat_core::device::{Reason, SILENT_INTERVALS};
use downbeat_core::id::{DevEui, DeviceKey, NetworkServerId, TenantId};
use downbeat_core::time::Timestamp;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection, Postgres as Db};

use super::Postgres;
use super::audit::{INSERT_AUDIT, bind_audit, column};
use super::error::{is_collision, store_error};
use super::session::Access;
use super::telemetry::{INSERT_REPORTS, bind_reports};
use crate::store::row::batch::{
    Batch, DeviceKeyRow, DeviceRow, DownlinkRow, EventRow, StepRow, StoredDeviceRow,
};
use crate::store::row::{millis, of_count, span};

/// How often a batch is tried that met another transaction. Batches come in the order of ids, so even twice is rare.
pub(super) const TRIES_MAX: u32 = 5;

/// Devices that were looked at, in one transaction: others wait for it.
const LOOK_BATCH: i64 = 200;

impl Postgres {
    pub(in crate::store) async fn commit(
        &self,
        changes: &[DeviceChange],
    ) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let batch = Batch::of(changes)?;
        let told = changes
            .iter()
            .filter_map(|change| change.audit.as_ref()?.tenant_id);
        let tenants: BTreeSet<TenantId> = changes
            .iter()
            .map(|change| change.tenant_id)
            .chain(told)
            .collect();
        let tenants: Vec<TenantId> = tenants.into_iter().collect();
        let mut tries_left = TRIES_MAX;
        loop {
            tries_left -= 1;
            let mut transaction = self.sessions.begin(Access::Tenants(&tenants)).await?;
            let written = match write(&batch, &mut transaction).await {
                Ok(()) => transaction.commit().await,
                Err(error) => Err(error),
            };
            match written {
                Err(error) if is_collision(&error) && tries_left > 0 => {}
                written => return written.map_err(store_error),
            }
        }
    }

    /// What is stored of a network server's devices.
    pub(in crate::store) async fn load(
        &self,
        server: NetworkServerId,
        devices: &BTreeSet<DevEui>,
    ) -> Result<Vec<(DevEui, StoredDevice)>, StoreError> {
        // An uplink names a DevEUI and no tenant.
        let mut transaction = self.sessions.begin_to_read(Access::Platform).await?;
        let dev_euis: Vec<String> = devices.iter().map(DevEui::to_string).collect();
        let rows: Vec<StoredDeviceRow> = sqlx::query_as(
            "SELECT device.dev_eui, device.id, device.tenant_id, device.codec, device.uplink_interval_ms, device.policy,
                (SELECT tenant.policy FROM tenant WHERE tenant.id = device.tenant_id) AS tenant_policy,
                device_state.state
             FROM device LEFT JOIN device_state ON device_state.device_id = device.id
             WHERE device.network_server_id = $1 AND device.dev_eui = ANY ($2)",
        )
        .bind(server.as_uuid())
        .bind(dev_euis)
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        rows.into_iter().map(StoredDeviceRow::of_dev_eui).collect()
    }

    pub(in crate::store) async fn unfinished(&self) -> Result<Vec<DeviceKey>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(Access::Platform).await?;
        let rows: Vec<DeviceKeyRow> = sqlx::query_as(
            "SELECT network_server_id, dev_eui FROM device WHERE unfinished AND dev_eui IS NOT NULL
             ORDER BY dev_eui, network_server_id",
        )
        .fetch_all(&mut *transaction)
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
        let mut transaction = self.sessions.begin_to_read(Access::Platform).await?;
        // Each half is one index, read up to the moment before which nobody is silent.
        let rows: Vec<DeviceKeyRow> = sqlx::query_as(
            "SELECT network_server_id, dev_eui FROM (
                (SELECT network_server_id, dev_eui, last_seen + $3 AS silent_from FROM device
                 WHERE presence = 'online' AND uplink_interval_ms IS NULL
                    AND last_seen_at_look <= $2 AND last_seen <= $2
                 ORDER BY last_seen_at_look LIMIT $4)
                UNION ALL
                (SELECT network_server_id, dev_eui, silent_from FROM device
                 WHERE presence = 'online' AND uplink_interval_ms IS NOT NULL
                    AND silent_from <= $1 AND last_seen + 2 * least(uplink_interval_ms, 1000000000000000) <= $1
                 ORDER BY silent_from LIMIT $4)
             ) AS silent
             WHERE dev_eui IS NOT NULL ORDER BY silent_from, dev_eui LIMIT $4",
        )
        .bind(millis(now))
        .bind(millis(now - allowed))
        .bind(span(allowed))
        .bind(i64::from(limit))
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        rows.into_iter().map(DeviceKey::try_from).collect()
    }
}

impl Postgres {
    /// Of those that had been silent by now, had they not spoken since the last look: notes when they last spoke. Rows
    /// that somebody else is writing have their turn the next time.
    async fn look_at_quiet(&self, now: Timestamp, allowed: Duration) -> Result<(), StoreError> {
        for (of_whom, until) in [
            (
                "uplink_interval_ms IS NULL AND last_seen_at_look",
                now - allowed,
            ),
            ("uplink_interval_ms IS NOT NULL AND silent_from", now),
        ] {
            let sql = format!(
                "UPDATE device SET last_seen_at_look = last_seen WHERE id IN (
                    SELECT id FROM device
                    WHERE presence = 'online' AND {of_whom} <= $1 AND last_seen > last_seen_at_look
                    LIMIT $2 FOR UPDATE SKIP LOCKED)"
            );
            loop {
                let mut transaction = self.sessions.begin(Access::Platform).await?;
                let looked_at = sqlx::query(AssertSqlSafe(sql.clone()))
                    .bind(millis(until))
                    .bind(LOOK_BATCH)
                    .execute(&mut *transaction)
                    .await
                    .map_err(store_error)?;
                transaction.commit().await.map_err(store_error)?;
                if looked_at.rows_affected() < LOOK_BATCH.unsigned_abs() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Everything, in a transaction that others may read on in.
pub(super) async fn write(
    batch: &Batch<'_>,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let changed = batch.changed_rows();
    if !changed.is_empty() {
        execute(connection, update_devices(&changed)).await?;
    }
    execute(connection, add_all(batch)).await
}

/// What is bound to a statement's parameters.
type Bound<'q> = Query<'q, Db, PgArguments>;

/// The statements of [`add_all`], with the number of parameters of each.
const PARTS: [(&str, usize); 6] = [
    (UPSERT_STATES, 3),
    (UPSERT_DOWNLINKS, 15),
    (INSERT_STEPS, 5),
    (INSERT_EVENTS, 6),
    (INSERT_REPORTS, 4),
    (INSERT_AUDIT, 11),
];

/// All that touches no other's table, as one statement: each of its own would be a message to the server and an answer
/// more, for which the commit waits. A part without rows does nothing. The devices' own rows are not among them: their
/// states are to find those as they were left.
fn add_all<'q>(batch: &Batch<'_>) -> Bound<'q> {
    static SQL: LazyLock<String> = LazyLock::new(|| as_one(&PARTS));
    let query = sqlx::query(SQL.as_str());
    let query = bind_states(query, &batch.devices);
    let query = bind_downlinks(query, &batch.downlinks);
    let query = bind_steps(query, &batch.steps);
    let query = bind_events(query, &batch.events);
    let query = bind_reports(query, &batch.reports);
    bind_audit(query, &batch.audit)
}

/// Numbers the parameters of all parts one after the other.
fn as_one(parts: &[(&str, usize)]) -> String {
    let mut sql = String::from("WITH ");
    let mut bound = 0;
    for (index, (part, parameters)) in parts.iter().enumerate() {
        let mut part = (*part).to_owned();
        // From the last one down, so that `$1` is not found in `$11`.
        for number in (1..=*parameters).rev() {
            part = part.replace(&format!("${number}::"), &format!("${}::", number + bound));
        }
        bound += parameters;
        let comma = if index == 0 { "" } else { ", " };
        let _ = write!(sql, "{comma}part_{index} AS ({part})");
    }
    sql.push_str(" SELECT");
    sql
}

async fn execute(
    connection: &mut PgConnection,
    query: Query<'_, Db, PgArguments>,
) -> Result<(), sqlx::Error> {
    query.execute(connection).await.map(drop)
}

fn update_devices<'q>(rows: &[&DeviceRow<'_>]) -> Query<'q, Db, PgArguments> {
    let desired = column(rows, |row| row.change.desired);
    let reported = column(rows, |row| row.reported.map(|(light, _)| light));
    sqlx::query(
        "UPDATE device SET
            unfinished = v.unfinished,
            last_seen = coalesce(v.last_seen, device.last_seen),
            rssi_dbm = coalesce(v.rssi_dbm, device.rssi_dbm),
            snr_db = coalesce(v.snr_db, device.snr_db),
            battery_percent = coalesce(v.battery_percent, device.battery_percent),
            desired_color = v.desired_color,
            desired_on_time = v.desired_on_time,
            desired_off_time = v.desired_off_time,
            reported_color = coalesce(v.reported_color, device.reported_color),
            reported_on_time = coalesce(v.reported_on_time, device.reported_on_time),
            reported_off_time = coalesce(v.reported_off_time, device.reported_off_time),
            reported_at = coalesce(v.reported_at, device.reported_at),
            presence = v.presence,
            uplinks_heard = v.uplinks_heard,
            uplinks_missed = v.uplinks_missed,
            initialisation = v.initialisation,
            last_seen_at_look = CASE
                WHEN device.presence <> v.presence OR device.last_seen_at_look IS NULL
                THEN coalesce(v.last_seen, device.last_seen) ELSE device.last_seen_at_look END
         FROM unnest(
            $1::uuid[], $2::text[], $3::boolean[], $4::bigint[], $5::integer[], $6::real[], $7::real[],
            $8::text[], $9::bigint[], $10::bigint[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[],
            $15::text[], $16::bigint[], $17::bigint[], $18::text[]
         ) AS v (
            id, dev_eui, unfinished, last_seen, rssi_dbm, snr_db, battery_percent,
            desired_color, desired_on_time, desired_off_time,
            reported_color, reported_on_time, reported_off_time, reported_at,
            presence, uplinks_heard, uplinks_missed, initialisation
         )
         WHERE device.id = v.id AND device.dev_eui = v.dev_eui",
    )
    .bind(column(rows, |row| row.change.device_id.as_uuid()))
    .bind(column(rows, |row| row.change.dev_eui.to_string()))
    .bind(column(rows, |row| row.change.unfinished))
    .bind(column(rows, |row| row.last_seen.map(millis)))
    .bind(column(rows, |row| row.rssi_dbm))
    .bind(column(rows, |row| row.snr_db))
    .bind(column(rows, |row| row.battery_percent))
    .bind(column(&desired, |light| light.map(|light| light.color.to_string())))
    .bind(column(&desired, |light| light.map(|light| i64::from(light.on_time))))
    .bind(column(&desired, |light| light.map(|light| i64::from(light.off_time))))
    .bind(column(&reported, |light| light.map(|light| light.color.to_string())))
    .bind(column(&reported, |light| light.map(|light| i64::from(light.on_time))))
    .bind(column(&reported, |light| light.map(|light| i64::from(light.off_time))))
    .bind(column(rows, |row| row.reported.map(|(_, at)| millis(at))))
    .bind(column(rows, |row| row.change.presence.name()))
    .bind(column(rows, |row| of_count(row.change.uplinks_heard)))
    .bind(column(rows, |row| of_count(row.change.uplinks_missed)))
    .bind(column(rows, |row| row.initialisation()))
}

/// Only of devices that are still registered so: the state of a deleted one would come back with the next of its
/// `DevEUI`. They are held until the end, so that none is deleted between this look and the insert.
const UPSERT_STATES: &str = "INSERT INTO device_state (device_id, tenant_id, state)
         SELECT device.id, device.tenant_id, v.state
         FROM unnest($1::uuid[], $2::text[], $3::text[]) AS v (id, dev_eui, state)
         JOIN device ON device.id = v.id AND device.dev_eui = v.dev_eui
         FOR KEY SHARE OF device
         ON CONFLICT (device_id) DO UPDATE SET state = excluded.state";

fn bind_states<'q>(query: Bound<'q>, rows: &[DeviceRow<'_>]) -> Bound<'q> {
    query
        .bind(column(rows, |row| row.change.device_id.as_uuid()))
        .bind(column(rows, |row| row.change.dev_eui.to_string()))
        .bind(column(rows, |row| row.change.state.clone()))
}

const UPSERT_DOWNLINKS: &str = "INSERT INTO downlink
            (id, device_id, tenant_id, dev_eui, state, reason, attempts, created_at, updated_at, finished_at, steps, body,
             gateway_id, spreading_factor, verified_in)
         SELECT * FROM unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[],
            $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[],
            $13::text[], $14::bigint[], $15::bigint[]
         )
         ON CONFLICT (id) DO UPDATE SET
            state = excluded.state, reason = excluded.reason, attempts = excluded.attempts,
            updated_at = excluded.updated_at, finished_at = excluded.finished_at,
            steps = excluded.steps, body = excluded.body, gateway_id = excluded.gateway_id,
            spreading_factor = excluded.spreading_factor, verified_in = excluded.verified_in
         WHERE excluded.steps >= downlink.steps";

fn bind_downlinks<'q>(query: Bound<'q>, rows: &[DownlinkRow<'_>]) -> Bound<'q> {
    query
        .bind(column(rows, |row| row.record.downlink.id.as_uuid()))
        .bind(column(rows, |row| row.change.device_id.as_uuid()))
        .bind(column(rows, |row| row.change.tenant_id.as_uuid()))
        .bind(column(rows, |row| row.change.dev_eui.to_string()))
        .bind(column(rows, |row| row.record.downlink.state.name()))
        .bind(column(rows, |row| {
            row.record.downlink.reason.as_ref().map(Reason::name)
        }))
        .bind(column(rows, |row| i64::from(row.record.downlink.attempts)))
        .bind(column(rows, |row| millis(row.record.downlink.accepted_at)))
        .bind(column(rows, |row| millis(row.record.downlink.updated_at)))
        .bind(column(rows, |row| {
            row.record.downlink.finished_at.map(millis)
        }))
        .bind(column(rows, |row| i64::from(row.record.downlink.steps)))
        .bind(column(rows, |row| row.body.clone()))
        .bind(column(rows, |row| row.outcome.gateway_id.clone()))
        .bind(column(rows, |row| row.outcome.spreading_factor))
        .bind(column(rows, |row| row.outcome.verified_in))
}

const INSERT_STEPS: &str = "INSERT INTO downlink_step (downlink_id, tenant_id, seq, at, body)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::text[])
         ON CONFLICT (downlink_id, seq) DO NOTHING";

fn bind_steps<'q>(query: Bound<'q>, rows: &[StepRow]) -> Bound<'q> {
    query
        .bind(column(rows, |row| row.downlink_id))
        .bind(column(rows, |row| row.tenant_id))
        .bind(column(rows, |row| row.seq))
        .bind(column(rows, |row| row.at))
        .bind(column(rows, |row| row.body.clone()))
}

const INSERT_EVENTS: &str = "INSERT INTO device_event (id, device_id, tenant_id, at, kind, body)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $6::text[])
         ON CONFLICT (id) DO NOTHING";

fn bind_events<'q>(query: Bound<'q>, rows: &[EventRow<'_>]) -> Bound<'q> {
    query
        .bind(column(rows, |row| row.id))
        .bind(column(rows, |row| row.change.device_id.as_uuid()))
        .bind(column(rows, |row| row.change.tenant_id.as_uuid()))
        .bind(column(rows, |row| row.at))
        .bind(column(rows, |row| row.kind))
        .bind(column(rows, |row| row.body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_parameters_are_numbered_through() {
        let parts = [
            ("a $1::text[] $2::text[]", 2),
            ("b $2::text[] $1::text[]", 2),
        ];
        let expected =
            "WITH part_0 AS (a $1::text[] $2::text[]), part_1 AS (b $4::text[] $3::text[]) SELECT";
        assert_eq!(as_one(&parts), expected);
        let all: usize = PARTS.iter().map(|(_, parameters)| parameters).sum();
        assert!(as_one(&PARTS).contains(&format!("${all}::")));
        assert!(!as_one(&PARTS).contains(&format!("${}::", all + 1)));
    }
}
