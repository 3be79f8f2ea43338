//! Tenants.

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;
use sqlx::sqlite::SqlitePool;
use sqlx::{QueryBuilder, SqliteConnection, SqliteExecutor};
use uuid::Uuid;

use super::{Sqlite, audit, is_duplicate, push_scope, store_error};
use crate::store::audit::Change;
use crate::store::row::{TenantRow, millis, policy_text, tenant_of};
use crate::store::{
    By, Cursor, DEFAULT_TENANT, Page, PageRequest, Scope, Tenant, TenantFields, WriteTenantError,
};

/// Makes the default tenant in a database without any, and never again.
pub(super) async fn ensure_default(writer: &SqlitePool) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tenant (id, name, created_at, updated_at)
         SELECT ?1, ?2, ?3, ?3 WHERE NOT EXISTS (SELECT 1 FROM tenant)",
    )
    .bind(Uuid::now_v7())
    .bind(DEFAULT_TENANT)
    .bind(millis(Timestamp::from(chrono::Utc::now())))
    .execute(writer)
    .await
    .map_err(store_error)?;
    Ok(())
}

impl Sqlite {
    pub(in crate::store) async fn create_tenant(
        &self,
        tenant: &Tenant,
        by: &By,
    ) -> Result<(), WriteTenantError> {
        let (tenant, by) = (tenant.clone(), by.clone());
        self.write(move |connection| {
            Box::pin(async move {
                let fields = &tenant.fields;
                sqlx::query(
                    "INSERT INTO tenant
                        (id, name, chirpstack_tenant_id, devices_max, commands_per_minute, created_at, updated_at, version,
                         policy)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                )
                .bind(tenant.id.as_uuid())
                .bind(&fields.name)
                .bind(fields.chirpstack_tenant_id.map(|id| id.to_string()))
                .bind(fields.devices_max)
                .bind(fields.commands_per_minute)
                .bind(millis(tenant.created_at))
                .bind(millis(tenant.updated_at))
                .bind(tenant.version)
                .bind(policy_text(&fields.policy))
                .execute(&mut *connection)
                .await
                .map_err(write_error)?;
                let change = Change {
                    by: &by,
                    at: tenant.created_at,
                    action: "tenant.create",
                };
                audit::append(connection, &change.of_tenant(None, Some(&tenant))).await?;
                Ok(())
            })
        })
        .await
    }

    pub(in crate::store) async fn tenant(
        &self,
        scope: Scope,
        id: TenantId,
    ) -> Result<Option<Tenant>, StoreError> {
        if !scope.contains(id) {
            return Ok(None);
        }
        find(&self.readers, id).await
    }

    pub(in crate::store) async fn tenant_by_name(
        &self,
        scope: Scope,
        name: &str,
    ) -> Result<Option<Tenant>, StoreError> {
        let row: Option<TenantRow> =
            sqlx::query_as("SELECT * FROM tenant WHERE name = ?1 AND (?2 IS NULL OR id = ?2)")
                .bind(name)
                .bind(tenant_of(scope))
                .fetch_optional(&self.readers)
                .await
                .map_err(store_error)?;
        row.map(Tenant::try_from).transpose()
    }

    pub(in crate::store) async fn tenant_by_chirpstack_id(
        &self,
        id: Uuid,
    ) -> Result<Option<Tenant>, StoreError> {
        let row: Option<TenantRow> =
            sqlx::query_as("SELECT * FROM tenant WHERE chirpstack_tenant_id = ?1")
                .bind(id.to_string())
                .fetch_optional(&self.readers)
                .await
                .map_err(store_error)?;
        row.map(Tenant::try_from).transpose()
    }

    pub(in crate::store) async fn list_tenants(
        &self,
        scope: Scope,
        page: PageRequest,
    ) -> Result<Page<Tenant>, StoreError> {
        // Under its other name the tenant's id is scoped as any tenant's row is.
        let mut query =
            QueryBuilder::new("SELECT * FROM (SELECT *, id AS tenant_id FROM tenant) WHERE true");
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
        let tenants = rows
            .into_iter()
            .map(Tenant::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::of(tenants, page, |tenant: &Tenant| Cursor {
            at: tenant.created_at,
            id: tenant.id.as_uuid(),
        }))
    }

    pub(in crate::store) async fn update_tenant(
        &self,
        scope: Scope,
        id: TenantId,
        fields: &TenantFields,
        version: Option<u32>,
        at: Timestamp,
        by: &By,
    ) -> Result<Tenant, WriteTenantError> {
        let (fields, by) = (fields.clone(), by.clone());
        self.write(move |connection| {
            Box::pin(async move {
                let before = tenant_to_write(connection, scope, id, version).await?;
                let row: TenantRow = sqlx::query_as(
                    "UPDATE tenant SET
                        name = ?2, chirpstack_tenant_id = ?3, devices_max = ?4, commands_per_minute = ?5,
                        updated_at = ?6, version = version + 1, policy = ?7
                     WHERE id = ?1 RETURNING *",
                )
                .bind(id.as_uuid())
                .bind(&fields.name)
                .bind(fields.chirpstack_tenant_id.map(|id| id.to_string()))
                .bind(fields.devices_max)
                .bind(fields.commands_per_minute)
                .bind(millis(at))
                .bind(policy_text(&fields.policy))
                .fetch_one(&mut *connection)
                .await
                .map_err(write_error)?;
                let after = Tenant::try_from(row)?;
                let change = Change {
                    by: &by,
                    at,
                    action: "tenant.update",
                };
                let entry = change.of_tenant(Some(&before), Some(&after));
                audit::append(connection, &entry).await?;
                Ok(after)
            })
        })
        .await
    }

    pub(in crate::store) async fn delete_tenant(
        &self,
        scope: Scope,
        id: TenantId,
        version: Option<u32>,
        at: Timestamp,
        by: &By,
    ) -> Result<Tenant, WriteTenantError> {
        let by = by.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let before = tenant_to_write(connection, scope, id, version).await?;
                let has_devices: bool = sqlx::query_scalar(
                    "SELECT EXISTS (SELECT 1 FROM device WHERE tenant_id = ?1)
                         OR EXISTS (SELECT 1 FROM device_sync WHERE tenant_id = ?1)",
                )
                .bind(id.as_uuid())
                .fetch_one(&mut *connection)
                .await
                .map_err(store_error)?;
                if has_devices {
                    return Err(WriteTenantError::HasDevices);
                }
                // Its keys, its network server and what was compared go with it.
                for statement in [
                    "DELETE FROM unclaimed WHERE tenant_id = ?1",
                    "DELETE FROM tenant WHERE id = ?1",
                ] {
                    sqlx::query(statement)
                        .bind(id.as_uuid())
                        .execute(&mut *connection)
                        .await
                        .map_err(store_error)?;
                }
                let change = Change {
                    by: &by,
                    at,
                    action: "tenant.delete",
                };
                audit::append(connection, &change.of_tenant(Some(&before), None)).await?;
                Ok(before)
            })
        })
        .await
    }
}

/// The tenant as it is.
pub(super) async fn find(
    executor: impl SqliteExecutor<'_>,
    id: TenantId,
) -> Result<Option<Tenant>, StoreError> {
    let row: Option<TenantRow> = sqlx::query_as("SELECT * FROM tenant WHERE id = ?1")
        .bind(id.as_uuid())
        .fetch_optional(executor)
        .await
        .map_err(store_error)?;
    row.map(Tenant::try_from).transpose()
}

/// The tenant as it is, if the caller may write it and knows its version.
async fn tenant_to_write(
    connection: &mut SqliteConnection,
    scope: Scope,
    id: TenantId,
    version: Option<u32>,
) -> Result<Tenant, WriteTenantError> {
    if !scope.contains(id) {
        return Err(WriteTenantError::UnknownTenant);
    }
    let tenant = find(connection, id)
        .await?
        .ok_or(WriteTenantError::UnknownTenant)?;
    if version.is_some_and(|version| version != tenant.version) {
        return Err(WriteTenantError::VersionMismatch {
            current: tenant.version,
        });
    }
    Ok(tenant)
}

/// Tells apart what a caller can mend.
fn write_error(error: sqlx::Error) -> WriteTenantError {
    if is_duplicate(&error, "tenant.name") {
        WriteTenantError::NameTaken
    } else if is_duplicate(&error, "tenant.chirpstack_tenant_id") {
        WriteTenantError::ChirpstackTenantTaken
    } else {
        store_error(error).into()
    }
}
