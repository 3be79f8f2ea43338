//! Tenants.

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::{Sqlite, is_duplicate, push_scope, store_error};
use crate::store::row::{TenantRow, millis, tenant_of};
use crate::store::{CreateTenantError, Cursor, DEFAULT_TENANT, Page, PageRequest, Scope, Tenant};

impl Sqlite {
    /// Makes the default tenant in a database without any, and never again.
    pub(super) async fn ensure_default_tenant(&self) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO tenant (id, name, created_at) SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM tenant)",
        )
        .bind(Uuid::now_v7())
        .bind(DEFAULT_TENANT)
        .bind(millis(Timestamp::from(chrono::Utc::now())))
        .execute(&self.writer)
        .await
        .map_err(store_error)?;
        Ok(())
    }

    pub(in crate::store) async fn create_tenant(
        &self,
        tenant: &Tenant,
    ) -> Result<(), CreateTenantError> {
        let inserted = sqlx::query("INSERT INTO tenant (id, name, created_at) VALUES (?1, ?2, ?3)")
            .bind(tenant.id.as_uuid())
            .bind(&tenant.name)
            .bind(millis(tenant.created_at))
            .execute(&self.writer)
            .await;
        match inserted {
            Ok(_) => Ok(()),
            Err(error) if is_duplicate(&error, "tenant.name") => Err(CreateTenantError::NameTaken),
            Err(error) => Err(store_error(error).into()),
        }
    }

    pub(in crate::store) async fn tenant(
        &self,
        scope: Scope,
        id: TenantId,
    ) -> Result<Option<Tenant>, StoreError> {
        if !scope.contains(id) {
            return Ok(None);
        }
        let row: Option<TenantRow> =
            sqlx::query_as("SELECT id, name, created_at FROM tenant WHERE id = ?1")
                .bind(id.as_uuid())
                .fetch_optional(&self.readers)
                .await
                .map_err(store_error)?;
        Ok(row.map(Tenant::from))
    }

    pub(in crate::store) async fn tenant_by_name(
        &self,
        scope: Scope,
        name: &str,
    ) -> Result<Option<Tenant>, StoreError> {
        let row: Option<TenantRow> = sqlx::query_as(
            "SELECT id, name, created_at FROM tenant WHERE name = ?1 AND (?2 IS NULL OR id = ?2)",
        )
        .bind(name)
        .bind(tenant_of(scope))
        .fetch_optional(&self.readers)
        .await
        .map_err(store_error)?;
        Ok(row.map(Tenant::from))
    }

    pub(in crate::store) async fn list_tenants(
        &self,
        scope: Scope,
        page: PageRequest,
    ) -> Result<Page<Tenant>, StoreError> {
        // Under its other name the tenant's id is scoped as any tenant's row is.
        let mut query = QueryBuilder::new(
            "SELECT id, name, created_at FROM (SELECT *, id AS tenant_id FROM tenant) WHERE true",
        );
        push_scope(&mut query, scope);
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
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        let tenants = rows.into_iter().map(Tenant::from).collect();
        Ok(Page::of(tenants, page, |tenant| Cursor {
            at: tenant.created_at,
            id: tenant.id.as_uuid(),
        }))
    }
}
