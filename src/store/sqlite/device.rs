//! Changes of the registry's devices, many in one transaction with their wishes and audit entries.
//!
//! Rows go in statements of many rows each, as in `commit.rs`.

use std::collections::{BTreeMap, BTreeSet};

use downbeat_actors::port::StoreError;
use downbeat_core::id::{DeviceId, NetworkServerId, TenantId};
use sqlx::{QueryBuilder, Sqlite as Db, SqliteConnection};
use uuid::Uuid;

use super::{Sqlite, audit, device_list, is_duplicate, store_error, sync};
use crate::seal::Sealer;
use crate::store::device_write::{
    DeviceWrite, Known, Outcome, Plan, Room, Update, device_ids, tenants,
};
use crate::store::row::{AppKeyValues, FieldValues, count, millis};
use crate::store::{AppKeyChange, Device, NewDevice, Scope, WriteDeviceError};

impl Sqlite {
    pub(in crate::store) async fn write_devices(
        &self,
        scope: Scope,
        writes: Vec<DeviceWrite>,
    ) -> Result<Vec<Outcome>, WriteDeviceError> {
        let sealer = self.sealer.clone();
        self.write(move |connection| {
            Box::pin(async move { write(connection, scope, &writes, &sealer).await })
        })
        .await
    }
}

async fn write(
    connection: &mut SqliteConnection,
    scope: Scope,
    writes: &[DeviceWrite],
    sealer: &Sealer,
) -> Result<Vec<Outcome>, WriteDeviceError> {
    let mut known = Known::default();
    let ids = device_ids(writes);
    if !ids.is_empty() {
        known.add_devices(device_list::rows_by_id(&mut *connection, scope, &ids).await?)?;
    }
    known.tenants = rooms(connection, &tenants(writes)).await?;
    let mut plan = Plan::of(writes, known);
    if !plan.inserts.is_empty() {
        let ids = insert(connection, &plan.inserts, sealer).await?;
        plan.inserted(&ids);
    }
    let audit = plan.audit();
    if audit.is_empty() {
        return Ok(plan.finish());
    }
    for update in plan.updates.values() {
        if update.has_other_dev_eui() {
            forget_what_was_heard(connection, update.after.id).await?;
        }
        update_indexed(connection, update).await?;
    }
    // In one go: each turn to SQLite's thread and back takes longer than most statements.
    let mut query = QueryBuilder::new("");
    push_deletes(&mut query, plan.deletes.values());
    push_updates(&mut query, plan.updates.values(), sealer);
    sync::push_wishes(&mut query, &plan.wishes());
    audit::push_audit(&mut query, &audit);
    // Not kept prepared: each number of rows is a text of its own.
    let made: Vec<sync::Made> = query
        .build_query_as()
        .persistent(false)
        .fetch_all(connection)
        .await
        .map_err(store_error)?;
    plan.wished(&sync::wished(made)?);
    Ok(plan.finish())
}

/// The network servers that tenants' new devices are on, and how many more they may have.
async fn rooms(
    connection: &mut SqliteConnection,
    tenants: &BTreeMap<TenantId, u64>,
) -> Result<BTreeMap<TenantId, Room>, StoreError> {
    let mut rooms = BTreeMap::new();
    for id in tenants.keys() {
        let row: Option<(Option<i64>, Option<Uuid>)> = sqlx::query_as(
            "SELECT
                CASE WHEN devices_max IS NOT NULL
                    THEN max(devices_max - (SELECT count(*) FROM device WHERE tenant_id = ?1), 0) END,
                (SELECT tenant_id FROM network_server WHERE tenant_id = ?1)
             FROM tenant WHERE id = ?1",
        )
        .bind(id.as_uuid())
        .fetch_optional(&mut *connection)
        .await
        .map_err(store_error)?;
        rooms.extend(row.map(|(left, own)| {
            let room = Room {
                server: own.map_or(NetworkServerId::Default, NetworkServerId::from_uuid),
                left: left.map(count),
            };
            (*id, room)
        }));
    }
    Ok(rooms)
}

fn push_deletes<'a>(
    query: &mut QueryBuilder<Db>,
    devices: impl ExactSizeIterator<Item = &'a Device>,
) {
    if devices.len() == 0 {
        return;
    }
    query.push("DELETE FROM device WHERE id IN (");
    let mut list = query.separated(", ");
    for device in devices {
        list.push_bind(device.id.as_uuid());
    }
    query.push("); ");
}

/// Those that stand there now; a `DevEUI` that is taken stays whose it is.
async fn insert(
    connection: &mut SqliteConnection,
    devices: &BTreeMap<usize, (&NewDevice, Device)>,
    sealer: &Sealer,
) -> Result<BTreeSet<DeviceId>, StoreError> {
    let mut query = QueryBuilder::new(
        "INSERT INTO device
            (id, tenant_id, network_server_id, name, description, device_type, tags, codec, dev_eui,
             chirpstack_app_id, device_profile_id, join_eui, uplink_interval_ms, created_at, updated_at,
             app_key, app_key_revision, app_key_default, policy) ",
    );
    query.push_values(devices.values(), |mut row, (new, device)| {
        let fields = &device.fields;
        let values = FieldValues::of(fields);
        let key = new.app_key.as_ref();
        let key = key.map(|key| AppKeyValues::of(key, new.id, sealer));
        row.push_bind(device.id.as_uuid())
            .push_bind(device.tenant_id.as_uuid())
            .push_bind(device.server.as_uuid())
            .push_bind(&fields.name)
            .push_bind(&fields.description)
            .push_bind(&fields.device_type)
            .push_bind(values.tags)
            .push_bind(fields.codec.name())
            .push_bind(values.dev_eui)
            .push_bind(values.chirpstack_app_id)
            .push_bind(values.device_profile_id)
            .push_bind(values.join_eui)
            .push_bind(values.uplink_interval_ms)
            .push_bind(millis(device.created_at))
            .push_bind(millis(device.updated_at))
            .push_bind(key.as_ref().map(|key| key.sealed.clone()))
            .push_bind(key.is_some())
            .push_bind(key.as_ref().is_some_and(|key| key.is_default))
            .push_bind(values.policy);
    });
    query.push(" ON CONFLICT (network_server_id, dev_eui) DO NOTHING RETURNING id");
    let ids: Vec<Uuid> = query
        .build_query_scalar()
        .persistent(false)
        .fetch_all(connection)
        .await
        .map_err(store_error)?;
    Ok(ids.into_iter().map(DeviceId::from_uuid).collect())
}

fn push_updates<'a>(
    query: &mut QueryBuilder<Db>,
    updates: impl ExactSizeIterator<Item = &'a Update>,
    sealer: &Sealer,
) {
    if updates.len() == 0 {
        return;
    }
    query.push(
        "UPDATE device SET
            revision = revision + 1,
            name = v.column2, description = v.column3, device_type = v.column4, tags = v.column5, codec = v.column6,
            chirpstack_app_id = v.column7, device_profile_id = v.column8, join_eui = v.column9,
            updated_at = v.column10, version = v.column11,
            app_key = CASE WHEN v.column12 THEN app_key ELSE v.column13 END,
            app_key_revision = app_key_revision + (v.column13 IS NOT NULL),
            app_key_default = CASE WHEN v.column12 THEN app_key_default ELSE v.column14 END,
            policy = v.column15
         FROM (",
    );
    query.push_values(updates, |mut row, update| {
        let device = &update.after;
        let fields = &device.fields;
        let values = FieldValues::of(fields);
        let key = match &update.app_key {
            AppKeyChange::Keep | AppKeyChange::Clear => None,
            AppKeyChange::Set(key) => Some(AppKeyValues::of(key, device.id, sealer)),
        };
        row.push_bind(device.id.as_uuid())
            .push_bind(&fields.name)
            .push_bind(&fields.description)
            .push_bind(&fields.device_type)
            .push_bind(values.tags)
            .push_bind(fields.codec.name())
            .push_bind(values.chirpstack_app_id)
            .push_bind(values.device_profile_id)
            .push_bind(values.join_eui)
            .push_bind(millis(device.updated_at))
            .push_bind(device.version)
            .push_bind(update.app_key == AppKeyChange::Keep)
            .push_bind(key.as_ref().map(|key| key.sealed.clone()))
            .push_bind(key.is_some_and(|key| key.is_default))
            .push_bind(values.policy);
    });
    query.push(") AS v WHERE device.id = v.column1; ");
}

/// What indexes hold, where it is other than before. `SQLite` writes the entries of every column that a statement
/// names anew, also of those that stay as they are, and most changes are of none of these.
async fn update_indexed(
    connection: &mut SqliteConnection,
    Update { before, after, .. }: &Update,
) -> Result<(), WriteDeviceError> {
    if before.fields.dev_eui == after.fields.dev_eui
        && before.fields.uplink_interval == after.fields.uplink_interval
    {
        return Ok(());
    }
    let values = FieldValues::of(&after.fields);
    sqlx::query(
        "UPDATE device SET dev_eui = ?2, uplink_interval_ms = ?3, revision = revision + 1 WHERE id = ?1",
    )
    .bind(after.id.as_uuid())
    .bind(values.dev_eui)
    .bind(values.uplink_interval_ms)
    .execute(connection)
    .await
    .map_err(write_error)?;
    Ok(())
}

/// What the actor of another `DevEUI` stored.
async fn forget_what_was_heard(
    connection: &mut SqliteConnection,
    id: DeviceId,
) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM device_state WHERE device_id = ?1",
        "UPDATE device SET
            revision = revision + 1, presence = 'never_seen', uplinks_heard = 0, uplinks_missed = 0,
            last_seen = NULL, last_seen_at_look = NULL, rssi_dbm = NULL, snr_db = NULL, battery_percent = NULL,
            initialisation = NULL,
            desired_color = NULL, desired_on_time = NULL, desired_off_time = NULL,
            reported_color = NULL, reported_on_time = NULL, reported_off_time = NULL, reported_at = NULL,
            unfinished = 0
         WHERE id = ?1",
    ] {
        sqlx::query(statement)
            .bind(id.as_uuid())
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    Ok(())
}

/// Tells apart what a caller can mend.
fn write_error(error: sqlx::Error) -> WriteDeviceError {
    if is_duplicate(&error, "device.dev_eui") {
        return WriteDeviceError::DevEuiTaken;
    }
    store_error(error).into()
}
