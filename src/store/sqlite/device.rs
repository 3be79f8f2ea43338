//! Changes of the registry's devices. Each makes its wishes and its audit entry in the same transaction.

use downbeat_actors::port::StoreError;
use downbeat_core::id::{DeviceId, NetworkServerId, TenantId};
use downbeat_core::time::Timestamp;
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::{Sqlite, audit, device_list, is_duplicate, store_error, sync};
use crate::seal::Sealer;
use crate::store::audit::Change;
use crate::store::row::{AppKeyValues, FieldValues, millis};
use crate::store::wish::{new_wishes, tell};
use crate::store::{
    AppKeyChange, AppKeyState, By, Device, DeviceFields, NewDevice, Scope, WriteDeviceError,
};

impl Sqlite {
    pub(in crate::store) async fn create_device(
        &self,
        scope: Scope,
        device: &NewDevice,
        by: &By,
    ) -> Result<Device, WriteDeviceError> {
        if !scope.contains(device.tenant_id) {
            return Err(WriteDeviceError::UnknownTenant);
        }
        let (device, by, sealer) = (device.clone(), by.clone(), self.sealer.clone());
        self.write(move |connection| {
            Box::pin(async move { create(connection, &sealer, &device, &by).await })
        })
        .await
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
        let (fields, by, sealer) = (fields.clone(), by.clone(), self.sealer.clone());
        self.write(move |connection| {
            Box::pin(async move {
                let before = device_to_write(connection, scope, id, version).await?;
                if before.fields.dev_eui != fields.dev_eui {
                    forget_what_was_heard(connection, id).await?;
                }
                let key = match app_key {
                    AppKeyChange::Keep | AppKeyChange::Clear => None,
                    AppKeyChange::Set(key) => Some(AppKeyValues::of(&key, id, &sealer)),
                };
                let mut after = before.changed(&fields, app_key, at);
                update(connection, &after, app_key, key).await?;
                let app_key_changed = match app_key {
                    AppKeyChange::Keep => false,
                    AppKeyChange::Set(_) => true,
                    AppKeyChange::Clear => before.app_key != AppKeyState::None,
                };
                let wishes = new_wishes(Some(&before), Some(&after), app_key_changed);
                let made = sync::wish(connection, &after, &wishes).await?;
                tell(&mut after, made);
                let change = Change {
                    by: &by,
                    at,
                    action: "device.update",
                };
                let entry = change.of_device(Some(&before), Some(&after));
                audit::append(connection, &entry).await?;
                Ok(after)
            })
        })
        .await
    }

    pub(in crate::store) async fn delete_device(
        &self,
        scope: Scope,
        id: DeviceId,
        version: Option<u32>,
        at: Timestamp,
        by: &By,
    ) -> Result<Device, WriteDeviceError> {
        let by = by.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let before = device_to_write(connection, scope, id, version).await?;
                sqlx::query("DELETE FROM device WHERE id = ?1")
                    .bind(id.as_uuid())
                    .execute(&mut *connection)
                    .await
                    .map_err(store_error)?;
                let wishes = new_wishes(Some(&before), None, false);
                sync::wish(connection, &before, &wishes).await?;
                let change = Change {
                    by: &by,
                    at,
                    action: "device.delete",
                };
                audit::append(connection, &change.of_device(Some(&before), None)).await?;
                Ok(before)
            })
        })
        .await
    }
}

async fn create(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    new: &NewDevice,
    by: &By,
) -> Result<Device, WriteDeviceError> {
    let server = server_with_room(connection, new.tenant_id).await?;
    insert(connection, sealer, new, server).await?;
    let mut device = Device::registered(new, server);
    let wishes = new_wishes(None, Some(&device), false);
    let made = sync::wish(connection, &device, &wishes).await?;
    tell(&mut device, made);
    let change = Change {
        by,
        at: new.created_at,
        action: "device.create",
    };
    audit::append(connection, &change.of_device(None, Some(&device))).await?;
    Ok(device)
}

/// The network server that the tenant's new devices are on, if it may have one more.
async fn server_with_room(
    connection: &mut SqliteConnection,
    tenant_id: TenantId,
) -> Result<NetworkServerId, WriteDeviceError> {
    let row: Option<(bool, Option<Uuid>)> = sqlx::query_as(
        "SELECT devices_max IS NULL OR (SELECT count(*) FROM device WHERE tenant_id = ?1) < devices_max,
            (SELECT tenant_id FROM network_server WHERE tenant_id = ?1)
         FROM tenant WHERE id = ?1",
    )
    .bind(tenant_id.as_uuid())
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    match row {
        None => Err(WriteDeviceError::UnknownTenant),
        Some((false, _)) => Err(WriteDeviceError::TenantFull),
        Some((true, own)) => Ok(own.map_or(NetworkServerId::Default, NetworkServerId::from_uuid)),
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    new: &NewDevice,
    server: NetworkServerId,
) -> Result<(), WriteDeviceError> {
    let fields = &new.fields;
    let values = FieldValues::of(fields);
    let key = new.app_key.as_ref();
    let key = key.map(|key| AppKeyValues::of(key, new.id, sealer));
    let inserted = sqlx::query(
        "INSERT INTO device
            (id, tenant_id, network_server_id, name, description, device_type, tags, codec, dev_eui,
             chirpstack_app_id, device_profile_id, join_eui, uplink_interval_ms, created_at, updated_at,
             app_key, app_key_revision, app_key_default)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?14, ?15, ?15 IS NOT NULL, ?16)",
    )
    .bind(new.id.as_uuid())
    .bind(new.tenant_id.as_uuid())
    .bind(server.as_uuid())
    .bind(&fields.name)
    .bind(&fields.description)
    .bind(&fields.device_type)
    .bind(values.tags)
    .bind(fields.codec.name())
    .bind(values.dev_eui)
    .bind(values.chirpstack_app_id)
    .bind(values.device_profile_id)
    .bind(values.join_eui)
    .bind(values.uplink_interval_ms)
    .bind(millis(new.created_at))
    .bind(key.as_ref().map(|key| key.sealed.as_slice()))
    .bind(key.as_ref().is_some_and(|key| key.is_default))
    .execute(connection)
    .await;
    inserted.map(drop).map_err(write_error)
}

/// `key`: what is set, if one is.
async fn update(
    connection: &mut SqliteConnection,
    after: &Device,
    app_key: AppKeyChange,
    key: Option<AppKeyValues>,
) -> Result<(), WriteDeviceError> {
    let fields = &after.fields;
    let values = FieldValues::of(fields);
    let updated = sqlx::query(
        "UPDATE device SET
            name = ?2, description = ?3, device_type = ?4, tags = ?5, codec = ?6, dev_eui = ?7,
            chirpstack_app_id = ?8, device_profile_id = ?9, join_eui = ?10, uplink_interval_ms = ?11,
            updated_at = ?12, version = ?13,
            app_key = CASE WHEN ?14 THEN app_key ELSE ?15 END,
            app_key_revision = app_key_revision + (?15 IS NOT NULL),
            app_key_default = CASE WHEN ?14 THEN app_key_default ELSE ?16 END
         WHERE id = ?1",
    )
    .bind(after.id.as_uuid())
    .bind(&fields.name)
    .bind(&fields.description)
    .bind(&fields.device_type)
    .bind(values.tags)
    .bind(fields.codec.name())
    .bind(values.dev_eui)
    .bind(values.chirpstack_app_id)
    .bind(values.device_profile_id)
    .bind(values.join_eui)
    .bind(values.uplink_interval_ms)
    .bind(millis(after.updated_at))
    .bind(after.version)
    .bind(app_key == AppKeyChange::Keep)
    .bind(key.as_ref().map(|key| key.sealed.as_slice()))
    .bind(key.as_ref().is_some_and(|key| key.is_default))
    .execute(connection)
    .await;
    updated.map(drop).map_err(write_error)
}

/// The device as it is, if the caller may write it and knows its version.
async fn device_to_write(
    connection: &mut SqliteConnection,
    scope: Scope,
    id: DeviceId,
    version: Option<u32>,
) -> Result<Device, WriteDeviceError> {
    let device = device_list::find(connection, scope, id)
        .await?
        .ok_or(WriteDeviceError::UnknownDevice)?;
    if version.is_some_and(|version| version != device.version) {
        return Err(WriteDeviceError::VersionMismatch {
            current: device.version,
        });
    }
    Ok(device)
}

/// What the actor of another `DevEUI` stored.
async fn forget_what_was_heard(
    connection: &mut SqliteConnection,
    id: DeviceId,
) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM device_state WHERE device_id = ?1",
        "UPDATE device SET
            presence = 'never_seen', uplinks_heard = 0, uplinks_missed = 0,
            last_seen = NULL, rssi_dbm = NULL, snr_db = NULL, battery_percent = NULL,
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
