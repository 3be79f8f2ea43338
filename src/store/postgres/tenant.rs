//! Tenants.

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;
use sqlx::{PgConnection, QueryBuilder};
use uuid::Uuid;

use super::error::{breaks, store_error};
use super::session::Access;
use super::text::text;
use super::{Postgres, audit};
use crate::store::audit::Change;
use crate::store::row::{TenantRow, millis, policy_text, tenant_of};
use crate::store::{
    By, Cursor, DEFAULT_TENANT, Page, PageRequest, Scope, Tenant, TenantFields, WriteTenantError,
};

impl Postgres {
    /// Makes the default tenant in a database without any, and never again.
    pub(super) async fn ensure_default_tenant(&self) -> Result<(), StoreError> {
        let mut transaction = self.sessions.begin(Access::Platform).await?;
        sqlx::query(
            "INSERT INTO tenant (id, name, created_at, updated_at)
             SELECT $1, $2, $3, $3 WHERE NOT EXISTS (SELECT 1 FROM tenant)
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
        by: &By,
    ) -> Result<(), WriteTenantError> {
        let mut transaction = self.sessions.begin(Access::Platform).await?;
        let fields = &tenant.fields;
        sqlx::query(
            "INSERT INTO tenant
                (id, name, chirpstack_tenant_id, devices_max, commands_per_minute, created_at, updated_at, version,
                 policy)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(tenant.id.as_uuid())
        .bind(text(&fields.name))
        .bind(fields.chirpstack_tenant_id.map(|id| id.to_string()))
        .bind(fields.devices_max.map(i64::from))
        .bind(fields.commands_per_minute.map(i64::from))
        .bind(millis(tenant.created_at))
        .bind(millis(tenant.updated_at))
        .bind(i64::from(tenant.version))
        .bind(policy_text(&fields.policy))
        .execute(&mut *transaction)
        .await
        .map_err(write_error)?;
        let change = Change {
            by,
            at: tenant.created_at,
            action: "tenant.create",
        };
        audit::append(&mut transaction, &change.of_tenant(None, Some(tenant))).await?;
        Ok(transaction.commit().await.map_err(store_error)?)
    }

    pub(in crate::store) async fn tenant(
        &self,
        scope: Scope,
        id: TenantId,
    ) -> Result<Option<Tenant>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        find(&mut transaction, id).await
    }

    pub(in crate::store) async fn tenant_by_name(
        &self,
        scope: Scope,
        name: &str,
    ) -> Result<Option<Tenant>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let row: Option<TenantRow> = sqlx::query_as("SELECT * FROM tenant WHERE name = $1")
            .bind(text(name))
            .fetch_optional(&mut *transaction)
            .await
            .map_err(store_error)?;
        row.map(Tenant::try_from).transpose()
    }

    pub(in crate::store) async fn tenant_by_chirpstack_id(
        &self,
        id: Uuid,
    ) -> Result<Option<Tenant>, StoreError> {
        // A webhook tells ChirpStack's tenant; ours is what is asked for.
        let mut transaction = self.sessions.begin_to_read(Access::Platform).await?;
        let row: Option<TenantRow> =
            sqlx::query_as("SELECT * FROM tenant WHERE chirpstack_tenant_id = $1")
                .bind(id.to_string())
                .fetch_optional(&mut *transaction)
                .await
                .map_err(store_error)?;
        row.map(Tenant::try_from).transpose()
    }

    pub(in crate::store) async fn list_tenants(
        &self,
        scope: Scope,
        page: PageRequest,
    ) -> Result<Page<Tenant>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let mut query = QueryBuilder::new("SELECT * FROM tenant WHERE true");
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
        let mut transaction = self.sessions.begin(scope).await?;
        let before = tenant_to_write(&mut transaction, id, version).await?;
        let row: TenantRow = sqlx::query_as(
            "UPDATE tenant SET
                name = $2, chirpstack_tenant_id = $3, devices_max = $4, commands_per_minute = $5, updated_at = $6,
                version = version + 1, policy = $7
             WHERE id = $1 RETURNING *",
        )
        .bind(id.as_uuid())
        .bind(text(&fields.name))
        .bind(fields.chirpstack_tenant_id.map(|id| id.to_string()))
        .bind(fields.devices_max.map(i64::from))
        .bind(fields.commands_per_minute.map(i64::from))
        .bind(millis(at))
        .bind(policy_text(&fields.policy))
        .fetch_one(&mut *transaction)
        .await
        .map_err(write_error)?;
        let after = Tenant::try_from(row)?;
        let change = Change {
            by,
            at,
            action: "tenant.update",
        };
        let entry = change.of_tenant(Some(&before), Some(&after));
        audit::append(&mut transaction, &entry).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(after)
    }

    pub(in crate::store) async fn delete_tenant(
        &self,
        scope: Scope,
        id: TenantId,
        version: Option<u32>,
        at: Timestamp,
        by: &By,
    ) -> Result<Tenant, WriteTenantError> {
        let mut transaction = self.sessions.begin(scope).await?;
        let before = tenant_to_write(&mut transaction, id, version).await?;
        // Its keys, its network server and what was compared go with it.
        for statement in [
            "DELETE FROM unclaimed WHERE tenant_id = $1",
            "DELETE FROM tenant WHERE id = $1",
        ] {
            sqlx::query(statement)
                .bind(id.as_uuid())
                .execute(&mut *transaction)
                .await
                .map_err(write_error)?;
        }
        let change = Change {
            by,
            at,
            action: "tenant.delete",
        };
        audit::append(&mut transaction, &change.of_tenant(Some(&before), None)).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(before)
    }
}

/// The tenant as it is.
async fn find(connection: &mut PgConnection, id: TenantId) -> Result<Option<Tenant>, StoreError> {
    let row: Option<TenantRow> = sqlx::query_as("SELECT * FROM tenant WHERE id = $1")
        .bind(id.as_uuid())
        .fetch_optional(connection)
        .await
        .map_err(store_error)?;
    row.map(Tenant::try_from).transpose()
}

/// The tenant as it is, held against others' changes until the transaction's end. References to it can still be made.
pub(super) async fn lock(
    connection: &mut PgConnection,
    id: TenantId,
) -> Result<Option<Tenant>, StoreError> {
    let row: Option<TenantRow> =
        sqlx::query_as("SELECT * FROM tenant WHERE id = $1 FOR NO KEY UPDATE")
            .bind(id.as_uuid())
            .fetch_optional(connection)
            .await
            .map_err(store_error)?;
    row.map(Tenant::try_from).transpose()
}

/// The tenant as it is, if the caller may write it and knows its version.
async fn tenant_to_write(
    connection: &mut PgConnection,
    id: TenantId,
    version: Option<u32>,
) -> Result<Tenant, WriteTenantError> {
    let tenant = lock(connection, id)
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
    if breaks(&error, "tenant_name_unique") {
        WriteTenantError::NameTaken
    } else if breaks(&error, "tenant_chirpstack_tenant_id_unique") {
        WriteTenantError::ChirpstackTenantTaken
    } else if breaks(&error, "device_tenant_fkey") || breaks(&error, "device_sync_tenant_fkey") {
        WriteTenantError::HasDevices
    } else {
        store_error(error).into()
    }
}
