//! API keys.

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;
use sqlx::{QueryBuilder, SqliteExecutor};

use super::{Sqlite, audit, push_scope, store_error};
use crate::store::audit::Change;
use crate::store::row::{ApiKeyRow, millis, tenant_of};
use crate::store::{ApiKey, ApiKeyId, By, Cursor, KeyHash, Page, PageRequest, Scope};

impl Sqlite {
    pub(in crate::store) async fn create_api_key(
        &self,
        key: &ApiKey,
        hash: &KeyHash,
        by: &By,
    ) -> Result<(), StoreError> {
        let (key, hash, by) = (key.clone(), *hash, by.clone());
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO api_key
                        (id, tenant_id, role, name, prefix, hash, created_at, expires_at, revoked_at,
                         requests_per_minute, last_used_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                )
                .bind(key.id.as_uuid())
                .bind(key.tenant_id.map(TenantId::as_uuid))
                .bind(key.role.name())
                .bind(&key.name)
                .bind(&key.prefix)
                .bind(hash.as_slice())
                .bind(millis(key.created_at))
                .bind(key.expires_at.map(millis))
                .bind(key.revoked_at.map(millis))
                .bind(key.requests_per_minute)
                .bind(key.last_used_at.map(millis))
                .execute(&mut *connection)
                .await
                .map_err(store_error)?;
                let change = Change {
                    by: &by,
                    at: key.created_at,
                    action: "key.create",
                };
                audit::append(connection, &change.of_api_key(None, Some(&key))).await
            })
        })
        .await
    }

    pub(in crate::store) async fn api_key(
        &self,
        scope: Scope,
        id: ApiKeyId,
    ) -> Result<Option<ApiKey>, StoreError> {
        find(&self.readers, scope, id).await
    }

    pub(in crate::store) async fn api_key_by_hash(
        &self,
        hash: &KeyHash,
    ) -> Result<Option<ApiKey>, StoreError> {
        let row: Option<ApiKeyRow> = sqlx::query_as("SELECT * FROM api_key WHERE hash = ?1")
            .bind(hash.as_slice())
            .fetch_optional(&self.readers)
            .await
            .map_err(store_error)?;
        row.map(ApiKey::try_from).transpose()
    }

    pub(in crate::store) async fn list_api_keys(
        &self,
        scope: Scope,
        page: PageRequest,
    ) -> Result<Page<ApiKey>, StoreError> {
        let mut query = QueryBuilder::new("SELECT * FROM api_key WHERE true");
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
        let rows: Vec<ApiKeyRow> = query
            .build_query_as()
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        let keys = rows
            .into_iter()
            .map(ApiKey::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::of(keys, page, |key| Cursor {
            at: key.created_at,
            id: key.id.as_uuid(),
        }))
    }

    pub(in crate::store) async fn revoke_api_key(
        &self,
        scope: Scope,
        id: ApiKeyId,
        at: Timestamp,
        by: &By,
    ) -> Result<bool, StoreError> {
        let by = by.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let Some(before) = find(&mut *connection, scope, id).await? else {
                    return Ok(false);
                };
                if before.revoked_at.is_some() {
                    return Ok(true);
                }
                sqlx::query("UPDATE api_key SET revoked_at = ?2 WHERE id = ?1")
                    .bind(id.as_uuid())
                    .bind(millis(at))
                    .execute(&mut *connection)
                    .await
                    .map_err(store_error)?;
                let after = ApiKey {
                    revoked_at: Some(at),
                    ..before.clone()
                };
                let change = Change {
                    by: &by,
                    at,
                    action: "key.revoke",
                };
                let entry = change.of_api_key(Some(&before), Some(&after));
                audit::append(connection, &entry).await?;
                Ok(true)
            })
        })
        .await
    }

    pub(in crate::store) async fn touch_api_keys(
        &self,
        used: &[(ApiKeyId, Timestamp)],
    ) -> Result<(), StoreError> {
        if used.is_empty() {
            return Ok(());
        }
        let used = used.to_vec();
        self.write(move |connection| {
            Box::pin(async move {
                for (id, at) in used {
                    sqlx::query(
                        "UPDATE api_key SET last_used_at = max(coalesce(last_used_at, 0), ?2) WHERE id = ?1",
                    )
                    .bind(id.as_uuid())
                    .bind(millis(at))
                    .execute(&mut *connection)
                    .await
                    .map_err(store_error)?;
                }
                Ok(())
            })
        })
        .await
    }
}

async fn find(
    executor: impl SqliteExecutor<'_>,
    scope: Scope,
    id: ApiKeyId,
) -> Result<Option<ApiKey>, StoreError> {
    let row: Option<ApiKeyRow> =
        sqlx::query_as("SELECT * FROM api_key WHERE id = ?1 AND (?2 IS NULL OR tenant_id = ?2)")
            .bind(id.as_uuid())
            .bind(tenant_of(scope))
            .fetch_optional(executor)
            .await
            .map_err(store_error)?;
    row.map(ApiKey::try_from).transpose()
}
