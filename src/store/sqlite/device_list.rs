//! The registry's devices, one and many.

use std::collections::BTreeSet;

use downbeat_actors::port::StoreError;
use downbeat_core::id::{DevEui, DeviceId, DeviceKey, TenantId};
use sqlx::{QueryBuilder, Sqlite as Db, SqliteExecutor};

use super::{Sqlite, store_error};
use crate::store::row::{DeviceRow, RevisionRow, count, millis, tenant_of};
use crate::store::{
    Cursor, Device, DeviceFilter, DeviceRevision, PAGE_MAX, Page, PageRequest, RevisedDevice, Scope,
};

/// A device's newest wish, if it has one of its own.
macro_rules! join_sync {
    () => {
        " LEFT JOIN device_sync AS s
             ON s.network_server_id = device.network_server_id AND s.dev_eui = device.dev_eui
             AND s.device_id = device.id "
    };
}

/// A device with its newest wish.
macro_rules! select_device {
    ($rest:literal) => {
        concat!(
            "SELECT device.id, device.tenant_id, device.name, device.description, device.device_type, device.tags,
                device.codec, device.network_server_id, device.dev_eui, device.chirpstack_app_id,
                device.device_profile_id, device.join_eui, device.uplink_interval_ms,
                device.policy, device.initialisation,
                device.app_key IS NOT NULL AS has_app_key, device.app_key_default, device.created_at,
                device.updated_at, device.version, device.presence, device.uplinks_heard, device.uplinks_missed,
                device.last_seen, device.rssi_dbm, device.snr_db, device.battery_percent, device.desired_color,
                device.desired_on_time, device.desired_off_time, device.reported_color, device.reported_on_time,
                device.reported_off_time, device.reported_at, device.unfinished,
                s.generation, s.synced_generation, s.sync_state, s.sync_error, s.sync_attempts, s.next_attempt_at,
                device.revision
             FROM device",
            join_sync!(),
            $rest
        )
    };
}

impl Sqlite {
    pub(in crate::store) async fn devices_by_id(
        &self,
        scope: Scope,
        ids: &BTreeSet<DeviceId>,
    ) -> Result<Vec<RevisedDevice>, StoreError> {
        let rows = rows_by_id(&self.readers, scope, ids).await?;
        rows.into_iter().map(RevisedDevice::try_from).collect()
    }

    pub(in crate::store) async fn device_by_dev_eui(
        &self,
        scope: Scope,
        dev_eui: DevEui,
    ) -> Result<Option<Device>, StoreError> {
        // The configuration's server is the least of all ids.
        let row: Option<DeviceRow> = sqlx::query_as(select_device!(
            "WHERE device.dev_eui = ?1 AND (?2 IS NULL OR device.tenant_id = ?2)
             ORDER BY device.network_server_id LIMIT 1"
        ))
        .bind(dev_eui.to_string())
        .bind(tenant_of(scope))
        .fetch_optional(&self.readers)
        .await
        .map_err(store_error)?;
        row.map(Device::try_from).transpose()
    }

    pub(in crate::store) async fn device_by_key(
        &self,
        scope: Scope,
        key: DeviceKey,
    ) -> Result<Option<Device>, StoreError> {
        let row: Option<DeviceRow> = sqlx::query_as(select_device!(
            "WHERE device.network_server_id = ?1 AND device.dev_eui = ?2 AND (?3 IS NULL OR device.tenant_id = ?3)"
        ))
        .bind(key.server.as_uuid())
        .bind(key.dev_eui.to_string())
        .bind(tenant_of(scope))
        .fetch_optional(&self.readers)
        .await
        .map_err(store_error)?;
        row.map(Device::try_from).transpose()
    }

    pub(in crate::store) async fn devices_by_dev_eui(
        &self,
        tenant_id: TenantId,
        after: Option<DevEui>,
        limit: u32,
    ) -> Result<Vec<Device>, StoreError> {
        let rows: Vec<DeviceRow> = sqlx::query_as(select_device!(
            "WHERE device.tenant_id = ?1 AND device.dev_eui > ?2 ORDER BY device.dev_eui LIMIT ?3"
        ))
        .bind(tenant_id.as_uuid())
        .bind(after.map_or_else(String::new, |eui| eui.to_string()))
        .bind(limit.clamp(1, PAGE_MAX))
        .fetch_all(&self.readers)
        .await
        .map_err(store_error)?;
        rows.into_iter().map(Device::try_from).collect()
    }

    pub(in crate::store) async fn list_devices(
        &self,
        scope: Scope,
        filter: &DeviceFilter,
        page: PageRequest,
    ) -> Result<Page<Device>, StoreError> {
        let mut query = QueryBuilder::new(select_device!("WHERE true"));
        push_filter(&mut query, scope, filter);
        push_page(&mut query, page);
        let rows: Vec<DeviceRow> = query
            .build_query_as()
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        let devices = rows
            .into_iter()
            .map(Device::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::of(devices, page, |device: &Device| Cursor {
            at: device.created_at,
            id: device.id.as_uuid(),
        }))
    }

    pub(in crate::store) async fn list_device_revisions(
        &self,
        scope: Scope,
        filter: &DeviceFilter,
        page: PageRequest,
    ) -> Result<Page<DeviceRevision>, StoreError> {
        let mut query =
            QueryBuilder::new("SELECT device.id, device.created_at, device.revision FROM device");
        if filter.synced.is_some() {
            query.push(join_sync!());
        }
        query.push(" WHERE true");
        push_filter(&mut query, scope, filter);
        push_page(&mut query, page);
        let rows: Vec<RevisionRow> = query
            .build_query_as()
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        let devices = rows.into_iter().map(DeviceRevision::from).collect();
        Ok(Page::of(devices, page, |device: &DeviceRevision| Cursor {
            at: device.created_at,
            id: device.id.as_uuid(),
        }))
    }

    pub(in crate::store) async fn count_devices(
        &self,
        scope: Scope,
        filter: &DeviceFilter,
    ) -> Result<u64, StoreError> {
        let mut query = QueryBuilder::new(concat!(
            "SELECT count(*) FROM device",
            join_sync!(),
            "WHERE true"
        ));
        push_filter(&mut query, scope, filter);
        let rows = query
            .build_query_scalar::<i64>()
            .fetch_one(&self.readers)
            .await;
        rows.map(count).map_err(store_error)
    }
}

pub(super) async fn find(
    executor: impl SqliteExecutor<'_>,
    scope: Scope,
    id: DeviceId,
) -> Result<Option<Device>, StoreError> {
    let row: Option<DeviceRow> = sqlx::query_as(select_device!(
        "WHERE device.id = ?1 AND (?2 IS NULL OR device.tenant_id = ?2)"
    ))
    .bind(id.as_uuid())
    .bind(tenant_of(scope))
    .fetch_optional(executor)
    .await
    .map_err(store_error)?;
    row.map(Device::try_from).transpose()
}

/// Those of the devices that are in the scope. One statement for any number of ids, so that it is kept prepared.
pub(super) async fn rows_by_id(
    executor: impl SqliteExecutor<'_>,
    scope: Scope,
    ids: &BTreeSet<DeviceId>,
) -> Result<Vec<DeviceRow>, StoreError> {
    let ids: Vec<_> = ids
        .iter()
        .map(|id| id.as_uuid().simple().to_string())
        .collect();
    sqlx::query_as(select_device!(
        "WHERE device.id IN (SELECT unhex(value) FROM json_each(?1)) AND (?2 IS NULL OR device.tenant_id = ?2)"
    ))
    .bind(serde_json::json!(ids).to_string())
    .bind(tenant_of(scope))
    .fetch_all(executor)
    .await
    .map_err(store_error)
}

fn push_page(query: &mut QueryBuilder<Db>, page: PageRequest) {
    if let Some(Cursor { at, id }) = page.after {
        query
            .push(" AND (device.created_at, device.id) > (")
            .push_bind(millis(at));
        query.push(", ").push_bind(id).push(")");
    }
    query
        .push(" ORDER BY device.created_at, device.id LIMIT ")
        .push_bind(page.rows());
}

fn push_filter(query: &mut QueryBuilder<Db>, scope: Scope, filter: &DeviceFilter) {
    if let Some(tenant) = tenant_of(scope) {
        query.push(" AND device.tenant_id = ").push_bind(tenant);
    }
    if let Some(dev_eui) = filter.dev_eui {
        query
            .push(" AND device.dev_eui = ")
            .push_bind(dev_eui.to_string());
    }
    if let Some(name) = &filter.name {
        // Not LIKE: `%` and `_` in a name are letters like any other.
        query
            .push(" AND instr(lower(device.name), lower(")
            .push_bind(name)
            .push(")) > 0");
    }
    if let Some(device_type) = &filter.device_type {
        query
            .push(" AND device.device_type = ")
            .push_bind(device_type);
    }
    if let Some(codec) = filter.codec {
        query.push(" AND device.codec = ").push_bind(codec.name());
    }
    if let Some(id) = filter.chirpstack_app_id {
        query
            .push(" AND device.chirpstack_app_id = ")
            .push_bind(id.to_string());
    }
    if let Some((tag, value)) = &filter.tag {
        query
            .push(" AND EXISTS (SELECT 1 FROM json_each(device.tags) AS tag WHERE tag.key = ")
            .push_bind(tag);
        if let Some(value) = value {
            query.push(" AND tag.value = ").push_bind(value);
        }
        query.push(")");
    }
    if let Some(presence) = filter.presence {
        query
            .push(" AND device.presence = ")
            .push_bind(presence.name());
    }
    // A device of which nothing is wanted shows what is wanted.
    match filter.converged {
        None => {}
        Some(true) => {
            query.push(
                " AND (device.desired_color IS NULL OR device.reported_color = device.desired_color
                    AND device.reported_on_time = device.desired_on_time
                    AND device.reported_off_time = device.desired_off_time)",
            );
        }
        Some(false) => {
            query.push(
                " AND device.desired_color IS NOT NULL AND (device.reported_color IS NULL
                    OR device.reported_color <> device.desired_color
                    OR device.reported_on_time <> device.desired_on_time
                    OR device.reported_off_time <> device.desired_off_time)",
            );
        }
    }
    match filter.synced {
        None => {}
        Some(true) => {
            query.push(" AND s.synced_generation = s.generation");
        }
        Some(false) => {
            query.push(" AND s.synced_generation <> s.generation");
        }
    }
}

/// The beginning of a query for devices.
pub(super) fn select() -> QueryBuilder<Db> {
    QueryBuilder::new(select_device!(""))
}

/// The devices of a query that [`select`] began.
pub(super) async fn devices(
    mut query: QueryBuilder<Db>,
    executor: impl SqliteExecutor<'_>,
) -> Result<Vec<Device>, StoreError> {
    let rows: Vec<DeviceRow> = query
        .build_query_as()
        .persistent(false)
        .fetch_all(executor)
        .await
        .map_err(store_error)?;
    rows.into_iter().map(Device::try_from).collect()
}
