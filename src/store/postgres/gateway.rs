//! What is known of gateways and links.

use downbeat_actors::port::{GatewayMemory, StoreError, StoredGateway, StoredLinks};
use downbeat_core::id::{DevEui, GatewayId, NetworkServerId};
use downbeat_core::time::Timestamp;
use sqlx::PgConnection;

use super::Postgres;
use super::audit::column;
use super::error::store_error;
use super::session::Access;
use crate::store::DELETE_BATCH_MAX;
use crate::store::row::{GatewayRow, LinksRow, millis};

impl Postgres {
    pub(in crate::store) async fn load_gateways(
        &self,
        server: NetworkServerId,
    ) -> Result<Vec<StoredGateway>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(Access::Platform).await?;
        let rows: Vec<GatewayRow> = sqlx::query_as(
            "SELECT gateway_id, record FROM gateway WHERE tenant_id = $1 ORDER BY gateway_id",
        )
        .bind(server.as_uuid())
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        rows.into_iter().map(StoredGateway::try_from).collect()
    }

    pub(in crate::store) async fn load_links(
        &self,
        server: NetworkServerId,
        after: Option<DevEui>,
        limit: u32,
    ) -> Result<Vec<StoredLinks>, StoreError> {
        let after = after.map_or_else(String::new, |dev_eui| dev_eui.to_string());
        let mut transaction = self.sessions.begin_to_read(Access::Platform).await?;
        let rows: Vec<LinksRow> = sqlx::query_as(
            "SELECT device.id AS device_id, device.tenant_id, device.dev_eui, device_link.links
             FROM device JOIN device_link ON device_link.device_id = device.id AND device_link.dev_eui = device.dev_eui
             WHERE device.network_server_id = $1 AND device.dev_eui > $2
             ORDER BY device.dev_eui LIMIT $3",
        )
        .bind(server.as_uuid())
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        rows.into_iter().map(StoredLinks::try_from).collect()
    }

    pub(in crate::store) async fn keep_gateways(
        &self,
        server: NetworkServerId,
        at: Timestamp,
        changes: &GatewayMemory,
    ) -> Result<(), StoreError> {
        let mut transaction = self.sessions.begin(Access::Platform).await?;
        keep(&mut transaction, server, at, changes)
            .await
            .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)
    }

    pub(in crate::store) async fn delete_gateways_before(
        &self,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.sessions.begin(Access::Platform).await?;
        let deleted = sqlx::query(
            "DELETE FROM gateway WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM gateway WHERE updated_at < $1 ORDER BY updated_at LIMIT $2
             ))",
        )
        .bind(millis(before))
        .bind(i64::from(DELETE_BATCH_MAX))
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(deleted.rows_affected())
    }
}

async fn keep(
    connection: &mut PgConnection,
    server: NetworkServerId,
    at: Timestamp,
    changes: &GatewayMemory,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM gateway WHERE tenant_id = $1 AND gateway_id = ANY ($2::text[])")
        .bind(server.as_uuid())
        .bind(column(&changes.gone, GatewayId::to_string))
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO gateway (tenant_id, gateway_id, record, updated_at)
         SELECT $1, v.gateway_id, v.record, $4 FROM unnest($2::text[], $3::text[]) AS v (gateway_id, record)
         ON CONFLICT (tenant_id, gateway_id) DO UPDATE SET record = excluded.record, updated_at = excluded.updated_at",
    )
    .bind(server.as_uuid())
    .bind(column(&changes.kept, |kept| kept.gateway_id.to_string()))
    .bind(column(&changes.kept, |kept| kept.record.as_str()))
    .bind(millis(at))
    .execute(&mut *connection)
    .await?;
    // Devices in the order of their ids, as whoever changes many of them locks them. The lock keeps one that is being
    // deleted or moved from refusing all.
    sqlx::query(
        "INSERT INTO device_link (device_id, tenant_id, dev_eui, links, updated_at)
         SELECT device.id, device.tenant_id, device.dev_eui, device.links, $4
         FROM (
            SELECT device.id, device.tenant_id, device.dev_eui, v.links
            FROM unnest($1::uuid[], $2::text[], $3::text[]) AS v (device_id, dev_eui, links)
            JOIN device ON device.id = v.device_id AND device.dev_eui = v.dev_eui
            ORDER BY device.id FOR KEY SHARE OF device
         ) AS device
         ON CONFLICT (device_id) DO UPDATE SET tenant_id = excluded.tenant_id, dev_eui = excluded.dev_eui,
            links = excluded.links, updated_at = excluded.updated_at",
    )
    .bind(column(&changes.links, |device| device.owner.device_id.as_uuid()))
    .bind(column(&changes.links, |device| device.owner.dev_eui.to_string()))
    .bind(column(&changes.links, |device| device.links.as_str()))
    .bind(millis(at))
    .execute(connection)
    .await
    .map(drop)
}
