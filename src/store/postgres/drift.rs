//! Where `ChirpStack` and the registry differ.

use downbeat_actors::port::StoreError;
use downbeat_core::id::{DevEui, TenantId};
use downbeat_core::time::Timestamp;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres as Db};
use uuid::Uuid;

use super::Postgres;
use super::audit::column;
use super::error::store_error;
use super::session::Access;
use super::text::text;
use crate::store::row::{DriftRow, DriftValues, carried_over, instant, millis};
use crate::store::{Cursor, Drift, Page, PageRequest, Scope};

impl Postgres {
    pub(in crate::store) async fn replace_drift(
        &self,
        tenant_id: TenantId,
        at: Timestamp,
        drifts: &[Drift],
    ) -> Result<(), StoreError> {
        let access = Access::Tenant(tenant_id);
        let mut transaction = self.sessions.begin(access).await?;
        replace(&mut transaction, tenant_id, at, drifts).await?;
        transaction.commit().await.map_err(store_error)
    }

    pub(in crate::store) async fn list_drift(
        &self,
        scope: Scope,
        tenant_id: TenantId,
        page: PageRequest,
    ) -> Result<(Option<Timestamp>, Page<Drift>), StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let checked_at: Option<i64> =
            sqlx::query_scalar("SELECT checked_at FROM drift_check WHERE tenant_id = $1")
                .bind(tenant_id.as_uuid())
                .fetch_optional(&mut *transaction)
                .await
                .map_err(store_error)?;
        let after = page.after.map_or_else(String::new, |Cursor { id, .. }| {
            DevEui::from_u64(id.as_u64_pair().1).to_string()
        });
        let rows: Vec<DriftRow> = sqlx::query_as(
            "SELECT * FROM drift WHERE tenant_id = $1 AND dev_eui > $2 ORDER BY dev_eui LIMIT $3",
        )
        .bind(tenant_id.as_uuid())
        .bind(after)
        .bind(page.rows())
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
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
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let row: Option<DriftRow> =
            sqlx::query_as("SELECT * FROM drift WHERE tenant_id = $1 AND dev_eui = $2")
                .bind(tenant_id.as_uuid())
                .bind(dev_eui.to_string())
                .fetch_optional(&mut *transaction)
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
        let query = sqlx::query(
            "UPDATE drift SET ignored = $3 WHERE tenant_id = $1 AND dev_eui = ANY ($2::text[])",
        );
        let query = about(query, tenant_id, dev_euis).bind(ignored);
        self.change_drift(scope, query).await
    }

    pub(in crate::store) async fn remove_drift(
        &self,
        scope: Scope,
        tenant_id: TenantId,
        dev_euis: &[DevEui],
    ) -> Result<u64, StoreError> {
        let query =
            sqlx::query("DELETE FROM drift WHERE tenant_id = $1 AND dev_eui = ANY ($2::text[])");
        self.change_drift(scope, about(query, tenant_id, dev_euis))
            .await
    }

    async fn change_drift(
        &self,
        scope: Scope,
        query: Query<'_, Db, PgArguments>,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.sessions.begin(scope).await?;
        let done = query.execute(&mut *transaction).await;
        let rows = done.map_err(store_error)?.rows_affected();
        transaction.commit().await.map_err(store_error)?;
        Ok(rows)
    }
}

/// Tells a statement which devices it is about.
fn about<'q>(
    query: Query<'q, Db, PgArguments>,
    tenant_id: TenantId,
    dev_euis: &[DevEui],
) -> Query<'q, Db, PgArguments> {
    query
        .bind(tenant_id.as_uuid())
        .bind(column(dev_euis, DevEui::to_string))
}

async fn replace(
    connection: &mut PgConnection,
    tenant_id: TenantId,
    at: Timestamp,
    found: &[Drift],
) -> Result<(), StoreError> {
    let tenant: Option<Uuid> =
        sqlx::query_scalar("SELECT id FROM tenant WHERE id = $1 FOR KEY SHARE")
            .bind(tenant_id.as_uuid())
            .fetch_optional(&mut *connection)
            .await
            .map_err(store_error)?;
    if tenant.is_none() {
        return Ok(());
    }
    // Comparisons that end in the same instant take turns here.
    sqlx::query(
        "INSERT INTO drift_check (tenant_id, checked_at) VALUES ($1, $2)
         ON CONFLICT (tenant_id) DO UPDATE SET checked_at = excluded.checked_at",
    )
    .bind(tenant_id.as_uuid())
    .bind(millis(at))
    .execute(&mut *connection)
    .await
    .map_err(store_error)?;
    let before: Vec<DriftRow> =
        sqlx::query_as("DELETE FROM drift WHERE tenant_id = $1 RETURNING *")
            .bind(tenant_id.as_uuid())
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
    let before = before
        .into_iter()
        .map(Drift::try_from)
        .collect::<Result<_, _>>()?;
    let drifts = carried_over(before, found);
    let inserted = insert(tenant_id, &drifts).execute(connection).await;
    inserted.map(drop).map_err(store_error)
}

fn insert<'q>(tenant_id: TenantId, drifts: &[Drift]) -> Query<'q, Db, PgArguments> {
    let rows: Vec<DriftValues> = drifts.iter().map(DriftValues::of).collect();
    let plain = |name: &Option<String>| name.as_deref().map(|name| text(name).into_owned());
    sqlx::query(
        "INSERT INTO drift
            (tenant_id, dev_eui, device_id, kind, chirpstack_name, application_id, device_profile_id, differences,
             found_at, ignored)
         SELECT $1, * FROM unnest(
            $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::boolean[]
         )",
    )
    .bind(tenant_id.as_uuid())
    .bind(column(&rows, |row| row.dev_eui.clone()))
    .bind(column(&rows, |row| row.device_id))
    .bind(column(&rows, |row| row.kind))
    .bind(column(&rows, |row| plain(&row.chirpstack_name)))
    .bind(column(&rows, |row| row.application_id.clone()))
    .bind(column(&rows, |row| row.device_profile_id.clone()))
    .bind(column(&rows, |row| row.differences.clone()))
    .bind(column(&rows, |row| row.found_at))
    .bind(column(&rows, |row| row.ignored))
}

/// A row's place: its `DevEUI` alone is the order.
fn cursor(drift: &Drift) -> Cursor {
    Cursor {
        at: Timestamp::from_millis(0),
        id: Uuid::from_u64_pair(0, drift.dev_eui.as_u64()),
    }
}
