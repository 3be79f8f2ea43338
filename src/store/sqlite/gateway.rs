//! What is known of gateways and links.

use downbeat_actors::port::{GatewayMemory, StoreError, StoredGateway, StoredLinks};
use downbeat_core::id::{DevEui, NetworkServerId};
use downbeat_core::time::Timestamp;
use sqlx::SqliteConnection;

use super::{Sqlite, store_error};
use crate::store::DELETE_BATCH_MAX;
use crate::store::row::{GatewayRow, LinksRow, millis};

impl Sqlite {
    pub(in crate::store) async fn load_gateways(
        &self,
        server: NetworkServerId,
    ) -> Result<Vec<StoredGateway>, StoreError> {
        let rows: Vec<GatewayRow> = sqlx::query_as(
            "SELECT gateway_id, record FROM gateway WHERE tenant_id = ?1 ORDER BY gateway_id",
        )
        .bind(server.as_uuid())
        .fetch_all(&self.readers)
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
        let rows: Vec<LinksRow> = sqlx::query_as(
            "SELECT device.id AS device_id, device.tenant_id, device.dev_eui, device_link.links
             FROM device JOIN device_link ON device_link.device_id = device.id AND device_link.dev_eui = device.dev_eui
             WHERE device.network_server_id = ?1 AND device.dev_eui > ?2
             ORDER BY device.dev_eui LIMIT ?3",
        )
        .bind(server.as_uuid())
        .bind(after)
        .bind(limit)
        .fetch_all(&self.readers)
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
        let changes = changes.clone();
        self.write(move |connection| {
            Box::pin(async move { keep(connection, server, at, &changes).await })
        })
        .await
    }

    pub(in crate::store) async fn delete_gateways_before(
        &self,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let deleted = sqlx::query(
                    "DELETE FROM gateway WHERE (tenant_id, gateway_id) IN (
                        SELECT tenant_id, gateway_id FROM gateway WHERE updated_at < ?1 ORDER BY updated_at LIMIT ?2
                     )",
                )
                .bind(millis(before))
                .bind(DELETE_BATCH_MAX)
                .execute(connection)
                .await
                .map_err(store_error)?;
                Ok(deleted.rows_affected())
            })
        })
        .await
    }
}

async fn keep(
    connection: &mut SqliteConnection,
    server: NetworkServerId,
    at: Timestamp,
    changes: &GatewayMemory,
) -> Result<(), StoreError> {
    for gateway_id in &changes.gone {
        sqlx::query("DELETE FROM gateway WHERE tenant_id = ?1 AND gateway_id = ?2")
            .bind(server.as_uuid())
            .bind(gateway_id.to_string())
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    for gateway in &changes.kept {
        sqlx::query(
            "INSERT INTO gateway (tenant_id, gateway_id, record, updated_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (tenant_id, gateway_id) DO UPDATE SET record = excluded.record, updated_at = excluded.updated_at",
        )
        .bind(server.as_uuid())
        .bind(gateway.gateway_id.to_string())
        .bind(&gateway.record)
        .bind(millis(at))
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    }
    for device in &changes.links {
        sqlx::query(
            "INSERT INTO device_link (device_id, dev_eui, links, updated_at)
             SELECT id, dev_eui, ?3, ?4 FROM device WHERE id = ?1 AND dev_eui = ?2
             ON CONFLICT (device_id) DO UPDATE SET
                dev_eui = excluded.dev_eui, links = excluded.links, updated_at = excluded.updated_at",
        )
        .bind(device.owner.device_id.as_uuid())
        .bind(device.owner.dev_eui.to_string())
        .bind(&device.links)
        .bind(millis(at))
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    }
    Ok(())
}
