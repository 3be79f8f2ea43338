//! Tenants' own network servers.

use downbeat_actors::port::StoreError;
use downbeat_core::id::{NetworkServerId, TenantId};
use downbeat_core::time::Timestamp;
use secrecy::ExposeSecret as _;
use sqlx::{SqliteConnection, SqliteExecutor};
use uuid::Uuid;

use super::{Sqlite, audit, store_error, sync, tenant};
use crate::seal::Sealer;
use crate::store::audit::Change;
use crate::store::row::{NetworkServerRow, millis, network_server_context};
use crate::store::{By, NetworkServerFields, Scope, TenantNetworkServer, WriteNetworkServerError};

impl Sqlite {
    pub(in crate::store) async fn network_server(
        &self,
        scope: Scope,
        tenant_id: TenantId,
    ) -> Result<Option<TenantNetworkServer>, StoreError> {
        if !scope.contains(tenant_id) {
            return Ok(None);
        }
        find(&self.readers, &self.sealer, tenant_id).await
    }

    pub(in crate::store) async fn list_network_servers(
        &self,
    ) -> Result<Vec<TenantNetworkServer>, StoreError> {
        let rows: Vec<NetworkServerRow> =
            sqlx::query_as("SELECT * FROM network_server ORDER BY tenant_id")
                .fetch_all(&self.readers)
                .await
                .map_err(store_error)?;
        rows.into_iter().map(|row| row.open(&self.sealer)).collect()
    }

    pub(in crate::store) async fn network_server_of(
        &self,
        tenant_id: TenantId,
    ) -> Result<NetworkServerId, StoreError> {
        server_of(&self.readers, tenant_id).await
    }

    pub(in crate::store) async fn put_network_server(
        &self,
        scope: Scope,
        tenant_id: TenantId,
        fields: &NetworkServerFields,
        at: Timestamp,
        by: &By,
    ) -> Result<TenantNetworkServer, WriteNetworkServerError> {
        let (fields, by, sealer) = (fields.clone(), by.clone(), self.sealer.clone());
        self.write(move |connection| {
            Box::pin(async move {
                let before = to_write(connection, &sealer, scope, tenant_id).await?;
                let key = fields.api_key.or_else(|| {
                    let before = before.as_ref();
                    before.map(|before| before.api_key.clone())
                });
                let key = key.ok_or(WriteNetworkServerError::ApiKeyMissing)?;
                if before.is_none() {
                    move_devices(connection, tenant_id, NetworkServerId::Tenant(tenant_id)).await?;
                }
                let row: NetworkServerRow = sqlx::query_as(
                    "INSERT INTO network_server (tenant_id, url, api_key, created_at, updated_at)
                     VALUES (?1, ?2, ?3, ?4, ?4)
                     ON CONFLICT (tenant_id) DO UPDATE SET
                        url = excluded.url, api_key = excluded.api_key, updated_at = excluded.updated_at,
                        version = version + 1
                     RETURNING *",
                )
                .bind(tenant_id.as_uuid())
                .bind(&fields.url)
                .bind(sealer.seal(
                    &network_server_context(tenant_id),
                    key.expose_secret().as_bytes(),
                ))
                .bind(millis(at))
                .fetch_one(&mut *connection)
                .await
                .map_err(store_error)?;
                let after = row.open(&sealer)?;
                sync::wish_server_anew(connection, NetworkServerId::Tenant(tenant_id)).await?;
                forget_found(connection, tenant_id).await?;
                let change = Change {
                    by: &by,
                    at,
                    action: "network_server.set",
                };
                let entry = change.of_network_server(before.as_ref(), Some(&after));
                audit::append(connection, &entry).await?;
                Ok(after)
            })
        })
        .await
    }

    pub(in crate::store) async fn delete_network_server(
        &self,
        scope: Scope,
        tenant_id: TenantId,
        at: Timestamp,
        by: &By,
    ) -> Result<(), WriteNetworkServerError> {
        let (by, sealer) = (by.clone(), self.sealer.clone());
        self.write(move |connection| {
            Box::pin(async move {
                let before = to_write(connection, &sealer, scope, tenant_id)
                    .await?
                    .ok_or(WriteNetworkServerError::Unknown)?;
                move_devices(connection, tenant_id, NetworkServerId::Default).await?;
                sqlx::query("DELETE FROM network_server WHERE tenant_id = ?1")
                    .bind(tenant_id.as_uuid())
                    .execute(&mut *connection)
                    .await
                    .map_err(store_error)?;
                forget_found(connection, tenant_id).await?;
                let change = Change {
                    by: &by,
                    at,
                    action: "network_server.delete",
                };
                let entry = change.of_network_server(Some(&before), None);
                audit::append(connection, &entry).await?;
                Ok(())
            })
        })
        .await
    }
}

/// The network server that a tenant's new devices are on.
pub(super) async fn server_of(
    executor: impl SqliteExecutor<'_>,
    tenant_id: TenantId,
) -> Result<NetworkServerId, StoreError> {
    let own: Option<Uuid> =
        sqlx::query_scalar("SELECT tenant_id FROM network_server WHERE tenant_id = ?1")
            .bind(tenant_id.as_uuid())
            .fetch_optional(executor)
            .await
            .map_err(store_error)?;
    Ok(own.map_or(NetworkServerId::Default, NetworkServerId::from_uuid))
}

async fn find(
    executor: impl SqliteExecutor<'_>,
    sealer: &Sealer,
    tenant_id: TenantId,
) -> Result<Option<TenantNetworkServer>, StoreError> {
    let row: Option<NetworkServerRow> =
        sqlx::query_as("SELECT * FROM network_server WHERE tenant_id = ?1")
            .bind(tenant_id.as_uuid())
            .fetch_optional(executor)
            .await
            .map_err(store_error)?;
    row.map(|row| row.open(sealer)).transpose()
}

/// The tenant's own server as it is, if the caller may write it.
async fn to_write(
    connection: &mut SqliteConnection,
    sealer: &Sealer,
    scope: Scope,
    tenant_id: TenantId,
) -> Result<Option<TenantNetworkServer>, WriteNetworkServerError> {
    if !scope.contains(tenant_id) {
        return Err(WriteNetworkServerError::UnknownTenant);
    }
    tenant::find(&mut *connection, tenant_id)
        .await?
        .ok_or(WriteNetworkServerError::UnknownTenant)?;
    Ok(find(connection, sealer, tenant_id).await?)
}

/// Devices follow to another server if none of them is known on the one that they are on.
async fn move_devices(
    connection: &mut SqliteConnection,
    tenant_id: TenantId,
    server: NetworkServerId,
) -> Result<(), WriteNetworkServerError> {
    let stay: bool = sqlx::query_scalar(
        "SELECT EXISTS (
            SELECT 1 FROM device WHERE tenant_id = ?1 AND dev_eui IS NOT NULL AND network_server_id <> ?2
         ) OR EXISTS (SELECT 1 FROM device_sync WHERE tenant_id = ?1 AND network_server_id <> ?2)",
    )
    .bind(tenant_id.as_uuid())
    .bind(server.as_uuid())
    .fetch_one(&mut *connection)
    .await
    .map_err(store_error)?;
    if stay {
        return Err(WriteNetworkServerError::HasDevices);
    }
    sqlx::query(
        "UPDATE device SET network_server_id = ?2, revision = revision + 1 WHERE tenant_id = ?1",
    )
    .bind(tenant_id.as_uuid())
    .bind(server.as_uuid())
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// What was seen and compared on the server as it was.
async fn forget_found(
    connection: &mut SqliteConnection,
    tenant_id: TenantId,
) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM unclaimed WHERE tenant_id = ?1",
        "DELETE FROM drift WHERE tenant_id = ?1",
        "DELETE FROM drift_check WHERE tenant_id = ?1",
    ] {
        sqlx::query(statement)
            .bind(tenant_id.as_uuid())
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    Ok(())
}
