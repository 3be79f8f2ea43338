//! Tenants.

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::Postgres;
use super::error::{breaks, store_error};
use crate::store::row::{TenantRow, millis, tenant_of};
use crate::store::{CreateTenantError, Cursor, DEFAULT_TENANT, Page, PageRequest, Scope, Tenant};

impl Postgres {
    /// Makes the default tenant in a database without any, and never again.
    pub(super) async fn ensure_default_tenant(&self) -> Result<(), StoreError> {
        let mut transaction = self.sessions.begin(Scope::Platform).await?;
        sqlx::query(
            "INSERT INTO tenant (id, name, created_at) SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT 1 FROM tenant)
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(Uuid::now_v7())
        .bind(DEFAULT_TENANT)
        .bind(millis(Timestamp::from(chrono::Utc::now())))
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)
    }

    pub(in crate::store) async fn create_tenant(
        &self,
        tenant: &Tenant,
    ) -> Result<(), CreateTenantError> {
        let mut transaction = self.sessions.begin(Scope::Platform).await?;
        let inserted = sqlx::query("INSERT INTO tenant (id, name, created_at) VALUES ($1, $2, $3)")
            .bind(tenant.id.as_uuid())
            .bind(&tenant.name)
            .bind(millis(tenant.created_at))
            .execute(&mut *transaction)
            .await;
        match inserted {
            Ok(_) => Ok(transaction.commit().await.map_err(store_error)?),
            Err(error) if breaks(&error, "tenant_name_unique") => Err(CreateTenantError::NameTaken),
            Err(error) => Err(store_error(error).into()),
        }
    }

    pub(in crate::store) async fn tenant(
        &self,
        scope: Scope,
        id: TenantId,
    ) -> Result<Option<Tenant>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let row: Option<TenantRow> =
            sqlx::query_as("SELECT id, name, created_at FROM tenant WHERE id = $1")
                .bind(id.as_uuid())
                .fetch_optional(&mut *transaction)
                .await
                .map_err(store_error)?;
        Ok(row.map(Tenant::from))
    }

    pub(in crate::store) async fn tenant_by_name(
        &self,
        scope: Scope,
        name: &str,
    ) -> Result<Option<Tenant>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let row: Option<TenantRow> =
            sqlx::query_as("SELECT id, name, created_at FROM tenant WHERE name = $1")
                .bind(name)
                .fetch_optional(&mut *transaction)
                .await
                .map_err(store_error)?;
        Ok(row.map(Tenant::from))
    }

    pub(in crate::store) async fn list_tenants(
        &self,
        scope: Scope,
        page: PageRequest,
    ) -> Result<Page<Tenant>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let mut query = QueryBuilder::new("SELECT id, name, created_at FROM tenant WHERE true");
        if let Some(tenant) = tenant_of(scope) {
            query.push(" AND id = ").push_bind(tenant);
        }
        if let Some(Cursor { at, id }) = page.after {
            query
                .push(" AND (created_at, id) > (")
                .push_bind(millis(at));
            query.push(", ").push_bind(id).push(")");
        }
        query
            .push(" ORDER BY created_at, id LIMIT ")
            .push_bind(page.rows());
        let rows: Vec<TenantRow> = query
            .build_query_as()
            .fetch_all(&mut *transaction)
            .await
            .map_err(store_error)?;
        let tenants = rows.into_iter().map(Tenant::from).collect();
        Ok(Page::of(tenants, page, |tenant| Cursor {
            at: tenant.created_at,
            id: tenant.id.as_uuid(),
        }))
    }
}
