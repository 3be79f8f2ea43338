//! How a tenant fares.

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use sqlx::AssertSqlSafe;

use super::{Sqlite, store_error};
use crate::store::TenantFigures;
use crate::store::row::{FiguresRow, Named, UnderWay, states_under_way};

impl Sqlite {
    pub(in crate::store) async fn tenant_figures(
        &self,
        tenant_id: TenantId,
    ) -> Result<TenantFigures, StoreError> {
        // One transaction, so that all are of the same instant.
        let mut transaction = self.readers.begin().await.map_err(store_error)?;
        let row: FiguresRow = sqlx::query_as(
            "SELECT count(*) AS total,
                    coalesce(sum(presence = 'online'), 0) AS online,
                    coalesce(sum(presence = 'offline'), 0) AS offline,
                    coalesce(sum(presence = 'never_seen'), 0) AS never_seen,
                    coalesce(sum(desired_color IS NOT NULL AND (reported_color IS NULL
                        OR reported_color <> desired_color OR reported_on_time <> desired_on_time
                        OR reported_off_time <> desired_off_time)), 0) AS differing,
                    coalesce(sum(app_key_default), 0) AS default_app_keys,
                    (SELECT count(*) FROM job
                     WHERE tenant_id = ?1 AND finished_at IS NULL AND state <> 'preparing') AS jobs,
                    (SELECT count(*) FROM drift WHERE tenant_id = ?1 AND ignored = 0) AS drift,
                    (SELECT count(*) FROM unclaimed WHERE tenant_id = ?1) AS unclaimed
             FROM device WHERE tenant_id = ?1",
        )
        .bind(tenant_id.as_uuid())
        .fetch_one(&mut *transaction)
        .await
        .map_err(store_error)?;
        let not_synced: Vec<Named> = sqlx::query_as(
            "SELECT sync_state, count(*) FROM device_sync
             WHERE tenant_id = ?1 AND synced_generation <> generation
               AND EXISTS (SELECT 1 FROM device WHERE device.id = device_sync.device_id)
             GROUP BY sync_state",
        )
        .bind(tenant_id.as_uuid())
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        // The `+` keeps the tenant's index out: downlinks under way are fewer.
        let under_way = format!(
            "SELECT state, reason, count(*) FROM downlink WHERE state IN ({}) AND +tenant_id = ?1 GROUP BY state, reason",
            states_under_way()
        );
        let under_way: Vec<UnderWay> = sqlx::query_as(AssertSqlSafe(under_way))
            .bind(tenant_id.as_uuid())
            .fetch_all(&mut *transaction)
            .await
            .map_err(store_error)?;
        transaction.rollback().await.map_err(store_error)?;
        row.with(not_synced, under_way)
    }
}
