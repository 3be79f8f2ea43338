//! How a tenant fares.

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use sqlx::AssertSqlSafe;

use super::Postgres;
use super::error::store_error;
use super::session::Access;
use crate::store::TenantFigures;
use crate::store::row::{FiguresRow, Named, UnderWay, states_under_way};

impl Postgres {
    pub(in crate::store) async fn tenant_figures(
        &self,
        tenant_id: TenantId,
    ) -> Result<TenantFigures, StoreError> {
        let mut transaction = self
            .sessions
            .begin_to_read(Access::Tenant(tenant_id))
            .await?;
        let row: FiguresRow = sqlx::query_as(
            "SELECT count(*) AS total,
                    count(*) FILTER (WHERE presence = 'online') AS online,
                    count(*) FILTER (WHERE presence = 'offline') AS offline,
                    count(*) FILTER (WHERE presence = 'never_seen') AS never_seen,
                    count(*) FILTER (WHERE desired_color IS NOT NULL AND (reported_color IS NULL
                        OR reported_color <> desired_color OR reported_on_time <> desired_on_time
                        OR reported_off_time <> desired_off_time)) AS differing,
                    count(*) FILTER (WHERE app_key_default) AS default_app_keys,
                    (SELECT count(*) FROM job
                     WHERE tenant_id = $1 AND finished_at IS NULL AND state <> 'preparing') AS jobs,
                    (SELECT count(*) FROM drift WHERE tenant_id = $1 AND NOT ignored) AS drift,
                    (SELECT count(*) FROM unclaimed WHERE tenant_id = $1) AS unclaimed
             FROM device WHERE tenant_id = $1",
        )
        .bind(tenant_id.as_uuid())
        .fetch_one(&mut *transaction)
        .await
        .map_err(store_error)?;
        let not_synced: Vec<Named> = sqlx::query_as(
            "SELECT sync_state, count(*) FROM device_sync
             WHERE tenant_id = $1 AND synced_generation <> generation
               AND EXISTS (SELECT 1 FROM device WHERE device.id = device_sync.device_id)
             GROUP BY sync_state",
        )
        .bind(tenant_id.as_uuid())
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        let under_way = format!(
            "SELECT state, reason, count(*) FROM downlink WHERE state IN ({}) AND tenant_id = $1 GROUP BY state, reason",
            states_under_way()
        );
        let under_way: Vec<UnderWay> = sqlx::query_as(AssertSqlSafe(under_way))
            .bind(tenant_id.as_uuid())
            .fetch_all(&mut *transaction)
            .await
            .map_err(store_error)?;
        row.with(not_synced, under_way)
    }
}
