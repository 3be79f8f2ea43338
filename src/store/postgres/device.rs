//! Changes of the registry's devices. Each makes its wishes and its audit entry in the same transaction.

use downbeat_actors::port::StoreError;
use downbeat_core::app_key::AppKey;
use downbeat_core::id::{DevEui, DeviceId, NetworkServerId, TenantId};
use downbeat_core::time::Timestamp;
use sqlx::PgConnection;

use super::error::{breaks, store_error};
use super::session::{Access, CONNECTIONS_MAX, widen};
use super::text::{tags, text};
use super::{Postgres, audit, device_list, network_server, sync};
use crate::seal::Sealer;
use crate::store::audit::Change;
use crate::store::row::{AppKeyValues, FieldValues, millis};
use crate::store::wish::new_wishes;
use crate::store::{
    AppKeyChange, AppKeyState, By, Device, DeviceFields, NewDevice, Scope, WriteDeviceError,
};

impl Postgres {
    pub(in crate::store) async fn create_device(
        &self,
        scope: Scope,
        device: &NewDevice,
        by: &By,
    ) -> Result<Device, WriteDeviceError> {
        if !scope.contains(device.tenant_id) {
            return Err(WriteDeviceError::UnknownTenant);
        }
        let access = Access::Tenant(device.tenant_id);
        let mut transaction = self.sessions.begin(access).await?;
        let created = create(&mut transaction, &self.sealer, device, by).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(created)
    }

    #[expect(clippy::too_many_arguments, reason = "who, what and when of a change")]
    pub(in crate::store) async fn update_device(
        &self,
        scope: Scope,
        id: DeviceId,
        fields: &DeviceFields,
        app_key: AppKeyChange,
        version: Option<u32>,
        at: Timestamp,
        by: &By,
    ) -> Result<Device, WriteDeviceError> {
        let mut transaction = self.sessions.begin(scope).await?;
        let connection = &mut *transaction;
        let before = device_to_write(connection, id, version).await?;
        if before.fields.dev_eui != fields.dev_eui {
            forget_what_was_heard(connection, id).await?;
        }
        update(connection, id, fields, at).await?;
        let app_key_changed = match app_key {
            AppKeyChange::Keep => false,
            AppKeyChange::Set(key) => {
                set_app_key(connection, &self.sealer, id, &key).await?;
                true
            }
            AppKeyChange::Clear => {
                clear_app_key(connection, id).await?;
                before.app_key != AppKeyState::None
            }
        };
        let change = Change {
            by,
            at,
            action: "device.update",
        };
        let mut after = written(connection, id).await?;
        let entry = change.of_device(Some(&before), Some(&after));
        audit::append(connection, &entry).await?;
        if let Some(dev_eui) = fields.dev_eui
            && before.fields.dev_eui != fields.dev_eui
        {
            forget_unclaimed(connection, after.server, dev_eui).await?;
        }
        let wishes = new_wishes(Some(&before), Some(&after), app_key_changed);
        if !wishes.is_empty() {
            sync::wish(connection, &after, &wishes).await?;
            after = written(connection, id).await?;
        }
        transaction.commit().await.map_err(store_error)?;
        Ok(after)
    }

    pub(in crate::store) async fn delete_device(
        &self,
        scope: Scope,
        id: DeviceId,
        version: Option<u32>,
        at: Timestamp,
        by: &By,
    ) -> Result<Device, WriteDeviceError> {
        let mut transaction = self.sessions.begin(scope).await?;
        let connection = &mut *transaction;
        let before = device_to_write(connection, id, version).await?;
        sqlx::query("DELETE FROM device WHERE id = $1")
            .bind(id.as_uuid())
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
        let change = Change {
            by,
            at,
            action: "device.delete",
        };
        audit::append(connection, &change.of_device(Some(&before), None)).await?;
        let wishes = new_wishes(Some(&before), None, false);
        sync::wish(connection, &before, &wishes).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(before)
    }
}

async fn create(
    connection: &mut PgConnection,
    sealer: &Sealer,
    new: &NewDevice,
    by: &By,
) -> Result<Device, WriteDeviceError> {
    let server = room(connection, new.tenant_id).await?;
    insert(connection, new, server).await?;
    if let Some(key) = &new.app_key {
        set_app_key(connection, sealer, new.id, key).await?;
    }
    let device = written(connection, new.id).await?;
    let change = Change {
        by,
        at: new.created_at,
        action: "device.create",
    };
    audit::append(connection, &change.of_device(None, Some(&device))).await?;
    let Some(dev_eui) = new.fields.dev_eui else {
        return Ok(device);
    };
    forget_unclaimed(connection, server, dev_eui).await?;
    let wishes = new_wishes(None, Some(&device), false);
    if wishes.is_empty() {
        return Ok(device);
    }
    sync::wish(connection, &device, &wishes).await?;
    written(connection, new.id).await
}

/// Whoever saw it unclaimed forgets it, whichever tenant that is.
async fn forget_unclaimed(
    connection: &mut PgConnection,
    server: NetworkServerId,
    dev_eui: DevEui,
) -> Result<(), StoreError> {
    widen(connection).await?;
    let query = sqlx::query("DELETE FROM unclaimed WHERE network_server_id = $1 AND dev_eui = $2");
    query
        .bind(server.as_uuid())
        .bind(dev_eui.to_string())
        .execute(connection)
        .await
        .map(drop)
        .map_err(store_error)
}

/// So many devices are left that those who make one in the same instant cannot take them all.
const AMPLE: i64 = 4 * CONNECTIONS_MAX as i64;

/// Refuses if the tenant has no room, and tells its network server. The tenant is held, so that its network server stays;
/// those who take its last places wait for each other.
async fn room(
    connection: &mut PgConnection,
    tenant_id: TenantId,
) -> Result<NetworkServerId, WriteDeviceError> {
    // Looked at in statements of their own: the first one may wait, and would tell of the time before.
    let held: Option<Option<i64>> =
        sqlx::query_scalar("SELECT devices_max FROM tenant WHERE id = $1 FOR SHARE")
            .bind(tenant_id.as_uuid())
            .fetch_optional(&mut *connection)
            .await
            .map_err(store_error)?;
    if let Some(devices_max) = held.ok_or(WriteDeviceError::UnknownTenant)? {
        let mut left = devices_max - count(connection, tenant_id).await?;
        if (1..=AMPLE).contains(&left) {
            sqlx::query("SELECT pg_advisory_xact_lock($1)")
                .bind(tenant_id.as_uuid().as_u64_pair().1.cast_signed())
                .execute(&mut *connection)
                .await
                .map_err(store_error)?;
            left = devices_max - count(connection, tenant_id).await?;
        }
        if left <= 0 {
            return Err(WriteDeviceError::TenantFull);
        }
    }
    Ok(network_server::server_of(connection, tenant_id).await?)
}

async fn count(connection: &mut PgConnection, tenant_id: TenantId) -> Result<i64, StoreError> {
    sqlx::query_scalar("SELECT count(*) FROM device WHERE tenant_id = $1")
        .bind(tenant_id.as_uuid())
        .fetch_one(connection)
        .await
        .map_err(store_error)
}

async fn insert(
    connection: &mut PgConnection,
    new: &NewDevice,
    server: NetworkServerId,
) -> Result<(), WriteDeviceError> {
    let fields = &new.fields;
    let values = FieldValues::of(fields);
    let inserted = sqlx::query(
        "INSERT INTO device
            (id, tenant_id, network_server_id, name, description, device_type, tags, codec, dev_eui,
             chirpstack_app_id, device_profile_id, join_eui, uplink_interval_ms, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14)",
    )
    .bind(new.id.as_uuid())
    .bind(new.tenant_id.as_uuid())
    .bind(server.as_uuid())
    .bind(text(&fields.name))
    .bind(text(&fields.description))
    .bind(text(&fields.device_type))
    .bind(tags(&fields.tags))
    .bind(fields.codec.name())
    .bind(values.dev_eui)
    .bind(values.chirpstack_app_id)
    .bind(values.device_profile_id)
    .bind(values.join_eui)
    .bind(values.uplink_interval_ms)
    .bind(millis(new.created_at))
    .execute(connection)
    .await;
    inserted.map(drop).map_err(write_error)
}

async fn update(
    connection: &mut PgConnection,
    id: DeviceId,
    fields: &DeviceFields,
    at: Timestamp,
) -> Result<(), WriteDeviceError> {
    let values = FieldValues::of(fields);
    let updated = sqlx::query(
        "UPDATE device SET
            name = $2, description = $3, device_type = $4, tags = $5, codec = $6, dev_eui = $7,
            chirpstack_app_id = $8, device_profile_id = $9, join_eui = $10, uplink_interval_ms = $11,
            updated_at = $12, version = version + 1
         WHERE id = $1",
    )
    .bind(id.as_uuid())
    .bind(text(&fields.name))
    .bind(text(&fields.description))
    .bind(text(&fields.device_type))
    .bind(tags(&fields.tags))
    .bind(fields.codec.name())
    .bind(values.dev_eui)
    .bind(values.chirpstack_app_id)
    .bind(values.device_profile_id)
    .bind(values.join_eui)
    .bind(values.uplink_interval_ms)
    .bind(millis(at))
    .execute(connection)
    .await;
    updated.map(drop).map_err(write_error)
}

async fn set_app_key(
    connection: &mut PgConnection,
    sealer: &Sealer,
    id: DeviceId,
    key: &AppKey,
) -> Result<(), StoreError> {
    let values = AppKeyValues::of(key, id, sealer);
    sqlx::query(
        "UPDATE device SET app_key = $2, app_key_default = $3, app_key_revision = app_key_revision + 1
         WHERE id = $1",
    )
    .bind(id.as_uuid())
    .bind(values.sealed)
    .bind(values.is_default)
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(())
}

async fn clear_app_key(connection: &mut PgConnection, id: DeviceId) -> Result<(), StoreError> {
    sqlx::query("UPDATE device SET app_key = NULL, app_key_default = false WHERE id = $1")
        .bind(id.as_uuid())
        .execute(connection)
        .await
        .map_err(store_error)?;
    Ok(())
}

/// The device as it is, if the caller may write it and knows its version. It stays so until the transaction's end.
async fn device_to_write(
    connection: &mut PgConnection,
    id: DeviceId,
    version: Option<u32>,
) -> Result<Device, WriteDeviceError> {
    let device = device_list::lock(connection, id)
        .await?
        .ok_or(WriteDeviceError::UnknownDevice)?;
    if version.is_some_and(|version| version != device.version) {
        return Err(WriteDeviceError::VersionMismatch {
            current: device.version,
        });
    }
    Ok(device)
}

/// A device that this transaction wrote.
async fn written(connection: &mut PgConnection, id: DeviceId) -> Result<Device, WriteDeviceError> {
    device_list::find(connection, id)
        .await?
        .ok_or(WriteDeviceError::UnknownDevice)
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
            last_seen = NULL, rssi_dbm = NULL, snr_db = NULL, battery_percent = NULL,
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
