//! Changes of the registry's devices, many in one transaction with their wishes and audit entries.
//!
//! Each statement takes all its rows as arrays, one a column, as in `commit.rs`.

use std::collections::{BTreeMap, BTreeSet};

use downbeat_actors::port::StoreError;
use downbeat_core::id::{DeviceId, DeviceKey, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::audit::{column, insert_audit};
use super::commit::TRIES_MAX;
use super::error::{breaks, is_collision, store_error};
use super::session::{CONNECTIONS_MAX, widen};
use super::text::{plain_fields, tags};
use super::{Postgres, device_list, network_server, sync};
use crate::seal::Sealer;
use crate::store::device_write::{
    DeviceChangeWanted, DeviceWrite, Known, Outcome, Plan, Room, Update, device_ids, tenants,
};
use crate::store::registrar::BATCH_MAX;
use crate::store::row::{AppKeyValues, FieldValues, count as to_count, millis};
use crate::store::{AppKeyChange, AuditEntry, Device, NewDevice, Scope, WriteDeviceError};

/// Why a batch came to nothing.
enum Failure {
    Write(WriteDeviceError),
    /// Another transaction was in the way; the same again may succeed.
    Collision(sqlx::Error),
}

impl<E: Into<WriteDeviceError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Write(error.into())
    }
}

/// An error of a statement, or of the commit.
fn failed(error: sqlx::Error) -> Failure {
    if is_collision(&error) {
        Failure::Collision(error)
    } else {
        Failure::Write(write_error(error))
    }
}

impl Postgres {
    pub(in crate::store) async fn write_devices(
        &self,
        scope: Scope,
        mut writes: Vec<DeviceWrite>,
    ) -> Result<Vec<Outcome>, WriteDeviceError> {
        // What is answered is what is kept.
        for write in &mut writes {
            match &mut write.what {
                DeviceChangeWanted::Create(new) => plain_fields(&mut new.fields),
                DeviceChangeWanted::Update { fields, .. } => plain_fields(fields),
                DeviceChangeWanted::Delete { .. } => {}
            }
        }
        let mut tries_left = TRIES_MAX;
        loop {
            tries_left -= 1;
            match self.try_to_write(scope, &writes).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(Failure::Collision(_)) if tries_left > 0 => {}
                Err(Failure::Collision(error)) => return Err(store_error(error).into()),
                Err(Failure::Write(error)) => return Err(error),
            }
        }
    }

    async fn try_to_write(
        &self,
        scope: Scope,
        writes: &[DeviceWrite],
    ) -> Result<Vec<Outcome>, Failure> {
        let mut transaction = self.sessions.begin(scope).await?;
        let outcomes = write(&mut transaction, writes, &self.sealer).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(outcomes)
    }
}

async fn write(
    connection: &mut PgConnection,
    writes: &[DeviceWrite],
    sealer: &Sealer,
) -> Result<Vec<Outcome>, Failure> {
    let mut known = Known::default();
    let ids = device_ids(writes);
    if !ids.is_empty() {
        known.add_devices(device_list::lock_many(connection, &ids).await?)?;
    }
    known.tenants = rooms(connection, &tenants(writes)).await?;
    let mut plan = Plan::of(writes, known);
    if !plan.deletes.is_empty() {
        let rows: Vec<&Device> = plan.deletes.values().collect();
        delete(connection, &rows).await.map_err(failed)?;
    }
    if !plan.inserts.is_empty() {
        let rows: Vec<&(&NewDevice, Device)> = plan.inserts.values().collect();
        let ids = insert(connection, &rows, sealer).await.map_err(failed)?;
        plan.inserted(&ids);
    }
    if !plan.updates.is_empty() {
        for moved in plan.updates.values().filter(|it| it.has_other_dev_eui()) {
            forget_what_was_heard(connection, moved.after.id).await?;
        }
        let rows: Vec<&Update> = plan.updates.values().collect();
        update(connection, &rows, sealer).await.map_err(failed)?;
    }
    let claimed = plan.claimed();
    if !claimed.is_empty() {
        // Whoever saw it unclaimed forgets it, and what was wanted there before may have been another tenant's.
        widen(connection).await?;
        forget_unclaimed(connection, &claimed)
            .await
            .map_err(failed)?;
    }
    let made = sync::wish(connection, &plan.wishes())
        .await
        .map_err(failed)?;
    plan.wished(&sync::wished(made)?);
    let audit = plan.audit();
    if !audit.is_empty() {
        let rows: Vec<&AuditEntry> = audit.iter().collect();
        let done = insert_audit(&rows).execute(&mut *connection).await;
        done.map_err(failed)?;
    }
    Ok(plan.finish())
}

async fn forget_unclaimed(
    connection: &mut PgConnection,
    keys: &[DeviceKey],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM unclaimed AS u USING unnest($1::uuid[], $2::text[]) AS v (network_server_id, dev_eui)
         WHERE u.network_server_id = v.network_server_id AND u.dev_eui = v.dev_eui",
    )
    .bind(column(keys, |key| key.server.as_uuid()))
    .bind(column(keys, |key| key.dev_eui.to_string()))
    .execute(connection)
    .await
    .map(drop)
}

/// So many devices are left that those who make some in the same instant cannot take them all.
#[expect(clippy::cast_possible_wrap, reason = "a small constant")]
const AMPLE: i64 = 4 * CONNECTIONS_MAX as i64 * BATCH_MAX as i64;

/// The network servers that tenants' new devices are on, and how many more they may have. The tenants are held, so that
/// their network servers stay; those who take a tenant's last places wait for each other.
async fn rooms(
    connection: &mut PgConnection,
    tenants: &BTreeMap<TenantId, u64>,
) -> Result<BTreeMap<TenantId, Room>, StoreError> {
    let mut rooms = BTreeMap::new();
    for tenant_id in tenants.keys() {
        // Looked at in statements of their own: the first one may wait, and would tell of the time before.
        let held: Option<Option<i64>> =
            sqlx::query_scalar("SELECT devices_max FROM tenant WHERE id = $1 FOR SHARE")
                .bind(tenant_id.as_uuid())
                .fetch_optional(&mut *connection)
                .await
                .map_err(store_error)?;
        let Some(devices_max) = held else { continue };
        let left = match devices_max {
            None => None,
            Some(devices_max) => Some(left(connection, *tenant_id, devices_max).await?),
        };
        let server = network_server::server_of(connection, *tenant_id).await?;
        rooms.insert(*tenant_id, Room { server, left });
    }
    Ok(rooms)
}

async fn left(
    connection: &mut PgConnection,
    tenant_id: TenantId,
    devices_max: i64,
) -> Result<u64, StoreError> {
    let mut left = devices_max - count(connection, tenant_id).await?;
    if (1..=AMPLE).contains(&left) {
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(tenant_id.as_uuid().as_u64_pair().1.cast_signed())
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
        left = devices_max - count(connection, tenant_id).await?;
    }
    Ok(to_count(left.max(0)))
}

async fn count(connection: &mut PgConnection, tenant_id: TenantId) -> Result<i64, StoreError> {
    sqlx::query_scalar("SELECT count(*) FROM device WHERE tenant_id = $1")
        .bind(tenant_id.as_uuid())
        .fetch_one(connection)
        .await
        .map_err(store_error)
}

async fn delete(connection: &mut PgConnection, rows: &[&Device]) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM device WHERE id = ANY ($1)")
        .bind(column(rows, |row| row.id.as_uuid()))
        .execute(connection)
        .await
        .map(drop)
}

/// Those that stand there now; a `DevEUI` that is taken stays whose it is.
async fn insert(
    connection: &mut PgConnection,
    rows: &[&(&NewDevice, Device)],
    sealer: &Sealer,
) -> Result<BTreeSet<DeviceId>, sqlx::Error> {
    let devices = column(rows, |(_, device)| device);
    let values = column(&devices, |device| FieldValues::of(&device.fields));
    let keys = column(rows, |(new, _)| {
        let key = new.app_key.as_ref();
        key.map(|key| AppKeyValues::of(key, new.id, sealer))
    });
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "INSERT INTO device
            (id, tenant_id, network_server_id, name, description, device_type, tags, codec, dev_eui,
             chirpstack_app_id, device_profile_id, join_eui, uplink_interval_ms, created_at, updated_at,
             app_key, app_key_default, policy, app_key_revision)
         SELECT *, (v.app_key IS NOT NULL)::int FROM unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::text[], $11::text[], $12::text[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bytea[],
            $17::boolean[], $18::text[]
         ) AS v (
            id, tenant_id, network_server_id, name, description, device_type, tags, codec, dev_eui, chirpstack_app_id,
            device_profile_id, join_eui, uplink_interval_ms, created_at, updated_at, app_key, app_key_default, policy
         )
         ON CONFLICT (network_server_id, dev_eui) DO NOTHING
         RETURNING id",
    )
    .bind(column(&devices, |device| device.id.as_uuid()))
    .bind(column(&devices, |device| device.tenant_id.as_uuid()))
    .bind(column(&devices, |device| device.server.as_uuid()))
    .bind(column(&devices, |device| device.fields.name.as_str()))
    .bind(column(&devices, |device| device.fields.description.as_str()))
    .bind(column(&devices, |device| device.fields.device_type.as_str()))
    .bind(column(&devices, |device| tags(&device.fields.tags)))
    .bind(column(&devices, |device| device.fields.codec.name()))
    .bind(column(&values, |values| values.dev_eui.as_deref()))
    .bind(column(&values, |values| values.chirpstack_app_id.as_deref()))
    .bind(column(&values, |values| values.device_profile_id.as_deref()))
    .bind(column(&values, |values| values.join_eui.as_deref()))
    .bind(column(&values, |values| values.uplink_interval_ms))
    .bind(column(&devices, |device| millis(device.created_at)))
    .bind(column(&devices, |device| millis(device.updated_at)))
    .bind(column(&keys, |key| key.as_ref().map(|key| key.sealed.as_slice())))
    .bind(column(&keys, |key| key.as_ref().is_some_and(|key| key.is_default)))
    .bind(column(&values, |values| values.policy.as_str()))
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(DeviceId::from_uuid).collect())
}

async fn update(
    connection: &mut PgConnection,
    rows: &[&Update],
    sealer: &Sealer,
) -> Result<(), sqlx::Error> {
    let devices = column(rows, |row| &row.after);
    let values = column(&devices, |device| FieldValues::of(&device.fields));
    let keys = column(rows, |row| match &row.app_key {
        AppKeyChange::Keep | AppKeyChange::Clear => None,
        AppKeyChange::Set(key) => Some(AppKeyValues::of(key, row.after.id, sealer)),
    });
    sqlx::query(
        "UPDATE device AS d SET
            name = v.name, description = v.description, device_type = v.device_type, tags = v.tags, codec = v.codec,
            dev_eui = v.dev_eui, chirpstack_app_id = v.chirpstack_app_id, device_profile_id = v.device_profile_id,
            join_eui = v.join_eui, uplink_interval_ms = v.uplink_interval_ms, updated_at = v.updated_at,
            version = v.version,
            app_key = CASE WHEN v.keeps_key THEN d.app_key ELSE v.app_key END,
            app_key_revision = d.app_key_revision + (v.app_key IS NOT NULL)::int,
            app_key_default = CASE WHEN v.keeps_key THEN d.app_key_default ELSE v.app_key_default END,
            policy = v.policy
         FROM unnest(
            $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::text[], $11::bigint[], $12::bigint[], $13::bigint[], $14::boolean[], $15::bytea[], $16::boolean[],
            $17::text[]
         ) AS v (
            id, name, description, device_type, tags, codec, dev_eui, chirpstack_app_id, device_profile_id, join_eui,
            uplink_interval_ms, updated_at, version, keeps_key, app_key, app_key_default, policy
         )
         WHERE d.id = v.id",
    )
    .bind(column(&devices, |device| device.id.as_uuid()))
    .bind(column(&devices, |device| device.fields.name.as_str()))
    .bind(column(&devices, |device| device.fields.description.as_str()))
    .bind(column(&devices, |device| device.fields.device_type.as_str()))
    .bind(column(&devices, |device| tags(&device.fields.tags)))
    .bind(column(&devices, |device| device.fields.codec.name()))
    .bind(column(&values, |values| values.dev_eui.as_deref()))
    .bind(column(&values, |values| values.chirpstack_app_id.as_deref()))
    .bind(column(&values, |values| values.device_profile_id.as_deref()))
    .bind(column(&values, |values| values.join_eui.as_deref()))
    .bind(column(&values, |values| values.uplink_interval_ms))
    .bind(column(&devices, |device| millis(device.updated_at)))
    .bind(column(&devices, |device| i64::from(device.version)))
    .bind(column(rows, |row| row.app_key == AppKeyChange::Keep))
    .bind(column(&keys, |key| key.as_ref().map(|key| key.sealed.as_slice())))
    .bind(column(&keys, |key| key.as_ref().is_some_and(|key| key.is_default)))
    .bind(column(&values, |values| values.policy.as_str()))
    .execute(connection)
    .await
    .map(drop)
}

/// What the actor of another `DevEUI` stored.
async fn forget_what_was_heard(
    connection: &mut PgConnection,
    id: DeviceId,
) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM device_state WHERE device_id = $1",
        "UPDATE device SET
            presence = 'never_seen', uplinks_heard = 0, uplinks_missed = 0,
            last_seen = NULL, last_seen_at_look = NULL, rssi_dbm = NULL, snr_db = NULL, battery_percent = NULL,
            initialisation = NULL,
            desired_color = NULL, desired_on_time = NULL, desired_off_time = NULL,
            reported_color = NULL, reported_on_time = NULL, reported_off_time = NULL, reported_at = NULL,
            unfinished = false
         WHERE id = $1",
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
    if breaks(&error, "device_dev_eui_unique") {
        WriteDeviceError::DevEuiTaken
    } else if breaks(&error, "device_tenant_fkey") {
        WriteDeviceError::UnknownTenant
    } else {
        store_error(error).into()
    }
}
