//! Where `ChirpStack` and the registry differ.

use downbeat_actors::port::StoreError;
use downbeat_core::id::{DevEui, TenantId};
use downbeat_core::time::Timestamp;
use sqlx::{QueryBuilder, Sqlite as Db, SqliteConnection};
use uuid::Uuid;

use super::{Sqlite, store_error, tenant};
use crate::store::row::{DriftRow, DriftValues, carried_over, instant, millis};
use crate::store::{Cursor, Drift, Page, PageRequest, Scope};

/// Rows of one statement.
const ROWS_MAX: usize = 500;

impl Sqlite {
    pub(in crate::store) async fn replace_drift(
        &self,
        tenant_id: TenantId,
        at: Timestamp,
        drifts: &[Drift],
    ) -> Result<(), StoreError> {
        let found = drifts.to_vec();
        self.write(move |connection| {
            Box::pin(async move { replace(connection, tenant_id, at, &found).await })
        })
        .await
    }

    pub(in crate::store) async fn list_drift(
        &self,
        scope: Scope,
        tenant_id: TenantId,
        page: PageRequest,
    ) -> Result<(Option<Timestamp>, Page<Drift>), StoreError> {
        if !scope.contains(tenant_id) {
            return Ok((None, Page::of(Vec::new(), page, cursor)));
        }
        // One transaction, so that the time is that of the rows.
        let mut transaction = self.readers.begin().await.map_err(store_error)?;
        let checked_at: Option<i64> =
            sqlx::query_scalar("SELECT checked_at FROM drift_check WHERE tenant_id = ?1")
                .bind(tenant_id.as_uuid())
                .fetch_optional(&mut *transaction)
                .await
                .map_err(store_error)?;
        let after = page.after.map_or_else(String::new, |Cursor { id, .. }| {
            DevEui::from_u64(id.as_u64_pair().1).to_string()
        });
        let rows: Vec<DriftRow> = sqlx::query_as(
            "SELECT * FROM drift WHERE tenant_id = ?1 AND dev_eui > ?2 ORDER BY dev_eui LIMIT ?3",
        )
        .bind(tenant_id.as_uuid())
        .bind(after)
        .bind(page.rows())
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.rollback().await.map_err(store_error)?;
        let drifts = rows
            .into_iter()
            .map(Drift::try_from)
            .collect::<Result<_, _>>()?;
        Ok((checked_at.map(instant), Page::of(drifts, page, cursor)))
    }

    pub(in crate::store) async fn drift(
        &self,
        scope: Scope,
        tenant_id: TenantId,
        dev_eui: DevEui,
    ) -> Result<Option<Drift>, StoreError> {
        if !scope.contains(tenant_id) {
            return Ok(None);
        }
        let row: Option<DriftRow> =
            sqlx::query_as("SELECT * FROM drift WHERE tenant_id = ?1 AND dev_eui = ?2")
                .bind(tenant_id.as_uuid())
                .bind(dev_eui.to_string())
                .fetch_optional(&self.readers)
                .await
                .map_err(store_error)?;
        row.map(Drift::try_from).transpose()
    }

    pub(in crate::store) async fn ignore_drift(
        &self,
        scope: Scope,
        tenant_id: TenantId,
        dev_euis: &[DevEui],
        ignored: bool,
    ) -> Result<u64, StoreError> {
        let mut query = QueryBuilder::new("UPDATE drift SET ignored = ");
        query.push_bind(ignored);
        self.change_drift(scope, tenant_id, dev_euis, query).await
    }

    pub(in crate::store) async fn remove_drift(
        &self,
        scope: Scope,
        tenant_id: TenantId,
        dev_euis: &[DevEui],
    ) -> Result<u64, StoreError> {
        let query = QueryBuilder::new("DELETE FROM drift");
        self.change_drift(scope, tenant_id, dev_euis, query).await
    }

    /// Completes a statement by which devices it is about, and counts them.
    async fn change_drift(
        &self,
        scope: Scope,
        tenant_id: TenantId,
        dev_euis: &[DevEui],
        mut query: QueryBuilder<Db>,
    ) -> Result<u64, StoreError> {
        if !scope.contains(tenant_id) {
            return Ok(0);
        }
        query
            .push(" WHERE tenant_id = ")
            .push_bind(tenant_id.as_uuid());
        query
            .push(" AND dev_eui IN (SELECT value FROM json_each(")
            .push_bind(serde_json::json!(dev_euis).to_string())
            .push("))");
        self.write(move |connection| {
            Box::pin(async move {
                let done = query.build().execute(connection).await;
                done.map(|done| done.rows_affected()).map_err(store_error)
            })
        })
        .await
    }
}

async fn replace(
    connection: &mut SqliteConnection,
    tenant_id: TenantId,
    at: Timestamp,
    found: &[Drift],
) -> Result<(), StoreError> {
    if tenant::find(&mut *connection, tenant_id).await?.is_none() {
        return Ok(());
    }
    let before: Vec<DriftRow> = sqlx::query_as("SELECT * FROM drift WHERE tenant_id = ?1")
        .bind(tenant_id.as_uuid())
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
    let before = before
        .into_iter()
        .map(Drift::try_from)
        .collect::<Result<_, _>>()?;
    sqlx::query("DELETE FROM drift WHERE tenant_id = ?1")
        .bind(tenant_id.as_uuid())
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    for drifts in carried_over(before, found).chunks(ROWS_MAX) {
        let mut query = insert(tenant_id, drifts);
        let query = query.build().persistent(false);
        query.execute(&mut *connection).await.map_err(store_error)?;
    }
    sqlx::query(
        "INSERT INTO drift_check (tenant_id, checked_at) VALUES (?1, ?2)
         ON CONFLICT (tenant_id) DO UPDATE SET checked_at = excluded.checked_at",
    )
    .bind(tenant_id.as_uuid())
    .bind(millis(at))
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(())
}

fn insert(tenant_id: TenantId, drifts: &[Drift]) -> QueryBuilder<Db> {
    let mut query = QueryBuilder::new(
        "INSERT INTO drift
            (tenant_id, dev_eui, device_id, kind, chirpstack_name, application_id, device_profile_id, differences,
             found_at, ignored) ",
    );
    query.push_values(drifts, |mut row, drift| {
        let values = DriftValues::of(drift);
        row.push_bind(tenant_id.as_uuid())
            .push_bind(values.dev_eui)
            .push_bind(values.device_id)
            .push_bind(values.kind)
            .push_bind(values.chirpstack_name)
            .push_bind(values.application_id)
            .push_bind(values.device_profile_id)
            .push_bind(values.differences)
            .push_bind(values.found_at)
            .push_bind(values.ignored);
    });
    query
}

/// A row's place: its `DevEUI` alone is the order.
fn cursor(drift: &Drift) -> Cursor {
    Cursor {
        at: Timestamp::from_millis(0),
        id: Uuid::from_u64_pair(0, drift.dev_eui.as_u64()),
    }
}
