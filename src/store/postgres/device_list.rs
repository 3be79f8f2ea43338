//! The registry's devices, one and many.

use std::collections::BTreeSet;

use downbeat_actors::port::StoreError;
use downbeat_core::id::{DevEui, DeviceId, DeviceKey, TenantId};
use sqlx::{PgConnection, Postgres as Db, QueryBuilder, Transaction};
use uuid::Uuid;

use super::Postgres;
use super::error::store_error;
use super::text::text;
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

/// A device's row and its wish's are each of the transaction that wrote them last.
macro_rules! revision {
    () => {
        "(device.xmin::text::bigint << 32) | coalesce(s.xmin::text::bigint, 0)"
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
                ",
            revision!(),
            " AS revision FROM device",
            join_sync!(),
            $rest
        )
    };
}

impl Postgres {
    pub(in crate::store) async fn devices_by_id(
        &self,
        scope: Scope,
        ids: &BTreeSet<DeviceId>,
    ) -> Result<Vec<RevisedDevice>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let rows: Vec<DeviceRow> = sqlx::query_as(select_device!("WHERE device.id = ANY ($1)"))
            .bind(ids)
            .fetch_all(&mut *transaction)
            .await
            .map_err(store_error)?;
        rows.into_iter().map(RevisedDevice::try_from).collect()
    }

    pub(in crate::store) async fn device_by_dev_eui(
        &self,
        scope: Scope,
        dev_eui: DevEui,
    ) -> Result<Option<Device>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        // The configuration's server is the least of all ids.
        let row: Option<DeviceRow> = sqlx::query_as(select_device!(
            "WHERE device.dev_eui = $1
             ORDER BY device.network_server_id LIMIT 1"
        ))
        .bind(dev_eui.to_string())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error)?;
        row.map(Device::try_from).transpose()
    }

    pub(in crate::store) async fn device_by_key(
        &self,
        scope: Scope,
        key: DeviceKey,
    ) -> Result<Option<Device>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let row: Option<DeviceRow> = sqlx::query_as(select_device!(
            "WHERE device.network_server_id = $1 AND device.dev_eui = $2"
        ))
        .bind(key.server.as_uuid())
        .bind(key.dev_eui.to_string())
        .fetch_optional(&mut *transaction)
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
        let mut transaction = self
            .sessions
            .begin_to_read(Scope::Tenant(tenant_id))
            .await?;
        let rows: Vec<DeviceRow> = sqlx::query_as(select_device!(
            "WHERE device.tenant_id = $1 AND device.dev_eui > $2 ORDER BY device.dev_eui LIMIT $3"
        ))
        .bind(tenant_id.as_uuid())
        .bind(after.map_or_else(String::new, |eui| eui.to_string()))
        .bind(i64::from(limit.clamp(1, PAGE_MAX)))
        .fetch_all(&mut *transaction)
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
        let mut transaction = self.begin_to_list(scope, filter).await?;
        let mut query = QueryBuilder::new(select_device!("WHERE true"));
        push_filter(&mut query, scope, filter);
        push_page(&mut query, page);
        let rows: Vec<DeviceRow> = query
            .build_query_as()
            .fetch_all(&mut *transaction)
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
        let mut transaction = self.begin_to_list(scope, filter).await?;
        let mut query = QueryBuilder::new(concat!(
            "SELECT device.id, device.created_at, ",
            revision!(),
            " AS revision FROM device",
            join_sync!(),
            "WHERE true"
        ));
        push_filter(&mut query, scope, filter);
        push_page(&mut query, page);
        let rows: Vec<RevisionRow> = query
            .build_query_as()
            .fetch_all(&mut *transaction)
            .await
            .map_err(store_error)?;
        let devices = rows.into_iter().map(DeviceRevision::from).collect();
        Ok(Page::of(devices, page, |device: &DeviceRevision| Cursor {
            at: device.created_at,
            id: device.id.as_uuid(),
        }))
    }

    /// Whoever lists all devices reads along the index that they are ordered by. Of a table that grew since it was analysed
    /// the planner believes that a tenant has few, and would sort them all for each page.
    async fn begin_to_list(
        &self,
        scope: Scope,
        filter: &DeviceFilter,
    ) -> Result<Transaction<'static, Db>, StoreError> {
        if *filter == DeviceFilter::default() {
            self.sessions.begin_to_read_in_order(scope).await
        } else {
            self.sessions.begin_to_read(scope).await
        }
    }

    pub(in crate::store) async fn count_devices(
        &self,
        scope: Scope,
        filter: &DeviceFilter,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let mut query = QueryBuilder::new(concat!(
            "SELECT count(*) FROM device",
            join_sync!(),
            "WHERE true"
        ));
        push_filter(&mut query, scope, filter);
        let rows = query
            .build_query_scalar::<i64>()
            .fetch_one(&mut *transaction)
            .await;
        rows.map(count).map_err(store_error)
    }
}

/// A device that the transaction may see, held against others' changes until the transaction's end.
pub(super) async fn lock(
    connection: &mut PgConnection,
    id: DeviceId,
) -> Result<Option<Device>, StoreError> {
    let row: Option<DeviceRow> = sqlx::query_as(select_device!(
        "WHERE device.id = $1 FOR NO KEY UPDATE OF device"
    ))
    .bind(id.as_uuid())
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    row.map(Device::try_from).transpose()
}

/// Those of the devices that the transaction may see, held in the order of their ids.
pub(super) async fn lock_many(
    connection: &mut PgConnection,
    ids: &BTreeSet<DeviceId>,
) -> Result<Vec<DeviceRow>, StoreError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
    sqlx::query_as(select_device!(
        "WHERE device.id = ANY ($1) ORDER BY device.id FOR NO KEY UPDATE OF device"
    ))
    .bind(ids)
    .fetch_all(connection)
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
        // In words: a statement whose limit is not known is planned anew each time, which takes longer than reading a page.
        .push(" ORDER BY device.created_at, device.id LIMIT ")
        .push(page.rows());
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
            .push(" AND strpos(lower(device.name COLLATE \"C\"), lower(")
            .push_bind(text(name).into_owned())
            .push(" COLLATE \"C\")) > 0");
    }
    if let Some(device_type) = &filter.device_type {
        query
            .push(" AND device.device_type = ")
            .push_bind(text(device_type).into_owned());
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
            .push(" AND EXISTS (SELECT 1 FROM json_each_text(device.tags::json) AS tag WHERE tag.key = ")
            .push_bind(text(tag).into_owned());
        if let Some(value) = value {
            query
                .push(" AND tag.value = ")
                .push_bind(text(value).into_owned());
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

/// Devices of a tenant by `DevEUI` or id, as far as the transaction may see them.
pub(super) async fn named(
    connection: &mut PgConnection,
    tenant_id: TenantId,
    dev_euis: &[DevEui],
    ids: &[DeviceId],
) -> Result<Vec<Device>, StoreError> {
    let rows: Vec<DeviceRow> = sqlx::query_as(select_device!(
        "WHERE device.tenant_id = $1 AND (device.dev_eui = ANY ($2::text[]) OR device.id = ANY ($3::uuid[]))"
    ))
    .bind(tenant_id.as_uuid())
    .bind(dev_euis.iter().map(ToString::to_string).collect::<Vec<_>>())
    .bind(ids.iter().map(|id| id.as_uuid()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    rows.into_iter().map(Device::try_from).collect()
}
