//! The registry.

use downbeat_actors::port::StoreError;
use downbeat_core::id::{DevEui, DeviceId};
use downbeat_core::time::Timestamp;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{Postgres as Db, QueryBuilder, Transaction};

use super::error::{breaks, store_error};
use super::{Postgres, push_scope};
use crate::store::row::{DeviceRow, FieldValues, count, millis};
use crate::store::{
    Cursor, Device, DeviceFields, DeviceFilter, NewDevice, Page, PageRequest, Scope,
    WriteDeviceError,
};

impl Postgres {
    pub(in crate::store) async fn create_device(
        &self,
        scope: Scope,
        device: &NewDevice,
    ) -> Result<Device, WriteDeviceError> {
        if !scope.contains(device.tenant_id) {
            return Err(WriteDeviceError::UnknownTenant);
        }
        let mut transaction = self.sessions.begin(scope).await?;
        let insert = sqlx::query_as(
            "INSERT INTO device
                (name, description, device_type, tags, codec, dev_eui, chirpstack_app_id, device_profile_id, join_eui,
                 id, tenant_id, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)
             RETURNING *",
        );
        let FieldValues {
            tags,
            dev_eui,
            join_eui,
        } = FieldValues::of(&device.fields);
        let fields = &device.fields;
        let row: Result<DeviceRow, _> = insert
            .bind(&fields.name)
            .bind(&fields.description)
            .bind(&fields.device_type)
            .bind(tags)
            .bind(fields.codec.name())
            .bind(dev_eui)
            .bind(&fields.chirpstack_app_id)
            .bind(&fields.device_profile_id)
            .bind(join_eui)
            .bind(device.id.as_uuid())
            .bind(device.tenant_id.as_uuid())
            .bind(millis(device.created_at))
            .fetch_one(&mut *transaction)
            .await;
        let device = Device::try_from(row.map_err(write_error)?)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(device)
    }

    pub(in crate::store) async fn update_device(
        &self,
        scope: Scope,
        id: DeviceId,
        fields: &DeviceFields,
        version: Option<u32>,
        at: Timestamp,
    ) -> Result<Device, WriteDeviceError> {
        let mut transaction = self.sessions.begin(scope).await?;
        let before = device_to_write(&mut transaction, id, version).await?;
        if before.fields.dev_eui != fields.dev_eui {
            forget_what_was_heard(&mut transaction, id)
                .await
                .map_err(store_error)?;
        }
        let FieldValues {
            tags,
            dev_eui,
            join_eui,
        } = FieldValues::of(fields);
        let row: Result<DeviceRow, _> = sqlx::query_as(
            "UPDATE device SET
                name = $1, description = $2, device_type = $3, tags = $4, codec = $5, dev_eui = $6,
                chirpstack_app_id = $7, device_profile_id = $8, join_eui = $9, updated_at = $11, version = version + 1
             WHERE id = $10 RETURNING *",
        )
        .bind(&fields.name)
        .bind(&fields.description)
        .bind(&fields.device_type)
        .bind(tags)
        .bind(fields.codec.name())
        .bind(dev_eui)
        .bind(&fields.chirpstack_app_id)
        .bind(&fields.device_profile_id)
        .bind(join_eui)
        .bind(id.as_uuid())
        .bind(millis(at))
        .fetch_one(&mut *transaction)
        .await;
        let after = Device::try_from(row.map_err(write_error)?)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(after)
    }

    pub(in crate::store) async fn delete_device(
        &self,
        scope: Scope,
        id: DeviceId,
        version: Option<u32>,
    ) -> Result<Device, WriteDeviceError> {
        let mut transaction = self.sessions.begin(scope).await?;
        let before = device_to_write(&mut transaction, id, version).await?;
        execute(
            &mut transaction,
            sqlx::query("DELETE FROM device WHERE id = $1").bind(id.as_uuid()),
        )
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(before)
    }

    pub(in crate::store) async fn device(
        &self,
        scope: Scope,
        id: DeviceId,
    ) -> Result<Option<Device>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let row: Option<DeviceRow> = sqlx::query_as("SELECT * FROM device WHERE id = $1")
            .bind(id.as_uuid())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(store_error)?;
        row.map(Device::try_from).transpose()
    }

    pub(in crate::store) async fn device_by_dev_eui(
        &self,
        scope: Scope,
        dev_eui: DevEui,
    ) -> Result<Option<Device>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let row: Option<DeviceRow> = sqlx::query_as("SELECT * FROM device WHERE dev_eui = $1")
            .bind(dev_eui.to_string())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(store_error)?;
        row.map(Device::try_from).transpose()
    }

    pub(in crate::store) async fn list_devices(
        &self,
        scope: Scope,
        filter: &DeviceFilter,
        page: PageRequest,
    ) -> Result<Page<Device>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let mut query = QueryBuilder::new("SELECT * FROM device WHERE true");
        push_filter(&mut query, scope, filter);
        if let Some(Cursor { at, id }) = page.after {
            query
                .push(" AND (created_at, id) > (")
                .push_bind(millis(at));
            query.push(", ").push_bind(id).push(")");
        }
        query
            .push(" ORDER BY created_at, id LIMIT ")
            .push_bind(page.rows());
        let rows: Vec<DeviceRow> = query
            .build_query_as()
            .fetch_all(&mut *transaction)
            .await
            .map_err(store_error)?;
        let devices = rows
            .into_iter()
            .map(Device::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::of(devices, page, |device| Cursor {
            at: device.created_at,
            id: device.id.as_uuid(),
        }))
    }

    pub(in crate::store) async fn count_devices(
        &self,
        scope: Scope,
        filter: &DeviceFilter,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let mut query = QueryBuilder::new("SELECT count(*) FROM device WHERE true");
        push_filter(&mut query, scope, filter);
        let rows = query
            .build_query_scalar::<i64>()
            .fetch_one(&mut *transaction)
            .await;
        rows.map(count).map_err(store_error)
    }
}

fn push_filter(query: &mut QueryBuilder<Db>, scope: Scope, filter: &DeviceFilter) {
    push_scope(query, scope);
    if let Some(dev_eui) = filter.dev_eui {
        query.push(" AND dev_eui = ").push_bind(dev_eui.to_string());
    }
    if let Some(name) = &filter.name {
        // Not LIKE: `%` and `_` in a name are letters like any other.
        query
            .push(" AND strpos(lower(name COLLATE \"C\"), lower(")
            .push_bind(name)
            .push(" COLLATE \"C\")) > 0");
    }
}

/// The device as it is, if the caller may write it and knows its version. It stays so until the transaction ends.
async fn device_to_write(
    transaction: &mut Transaction<'_, Db>,
    id: DeviceId,
    version: Option<u32>,
) -> Result<Device, WriteDeviceError> {
    let row: Option<DeviceRow> = sqlx::query_as("SELECT * FROM device WHERE id = $1 FOR UPDATE")
        .bind(id.as_uuid())
        .fetch_optional(&mut **transaction)
        .await
        .map_err(store_error)?;
    let device = Device::try_from(row.ok_or(WriteDeviceError::UnknownDevice)?)?;
    if version.is_some_and(|version| version != device.version) {
        return Err(WriteDeviceError::VersionMismatch {
            current: device.version,
        });
    }
    Ok(device)
}

/// What the actor of another `DevEUI` stored.
async fn forget_what_was_heard(
    transaction: &mut Transaction<'_, Db>,
    id: DeviceId,
) -> Result<(), sqlx::Error> {
    let state = sqlx::query("DELETE FROM device_state WHERE device_id = $1");
    execute(transaction, state.bind(id.as_uuid())).await?;
    let copies = sqlx::query(
        "UPDATE device SET
            last_seen = NULL, rssi_dbm = NULL, snr_db = NULL, battery_percent = NULL,
            desired_color = NULL, desired_on_time = NULL, desired_off_time = NULL,
            reported_color = NULL, reported_on_time = NULL, reported_off_time = NULL, reported_at = NULL,
            unfinished = false
         WHERE id = $1",
    );
    execute(transaction, copies.bind(id.as_uuid())).await
}

async fn execute(
    transaction: &mut Transaction<'_, Db>,
    query: Query<'_, Db, PgArguments>,
) -> Result<(), sqlx::Error> {
    query.execute(&mut **transaction).await.map(drop)
}

/// Tells apart what a caller can mend.
fn write_error(error: sqlx::Error) -> WriteDeviceError {
    if breaks(&error, "device_dev_eui_unique") {
        return WriteDeviceError::DevEuiTaken;
    }
    if breaks(&error, "device_tenant_fkey") {
        return WriteDeviceError::UnknownTenant;
    }
    store_error(error).into()
}
