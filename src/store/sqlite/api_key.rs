//! API keys.

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;
use sqlx::QueryBuilder;

use super::{Sqlite, push_scope, store_error};
use crate::store::row::{ApiKeyRow, millis, tenant_of};
use crate::store::{ApiKey, ApiKeyId, Cursor, KeyHash, Page, PageRequest, Scope};

impl Sqlite {
    pub(in crate::store) async fn create_api_key(
        &self,
        key: &ApiKey,
        hash: &KeyHash,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO api_key (id, tenant_id, role, name, prefix, hash, created_at, expires_at, revoked_at, last_used_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
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
        .bind(key.last_used_at.map(millis))
        .execute(&self.writer)
        .await
        .map_err(store_error)?;
        Ok(())
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
    ) -> Result<bool, StoreError> {
        let revoked = sqlx::query(
            "UPDATE api_key SET revoked_at = coalesce(revoked_at, ?3)
             WHERE id = ?1 AND (?2 IS NULL OR tenant_id = ?2)",
        )
        .bind(id.as_uuid())
        .bind(tenant_of(scope))
        .bind(millis(at))
        .execute(&self.writer)
        .await
        .map_err(store_error)?;
        Ok(revoked.rows_affected() > 0)
    }

    pub(in crate::store) async fn touch_api_keys(
        &self,
        used: &[(ApiKeyId, Timestamp)],
    ) -> Result<(), StoreError> {
        if used.is_empty() {
            return Ok(());
        }
        let mut transaction = self.begin().await?;
        for (id, at) in used {
            sqlx::query("UPDATE api_key SET last_used_at = max(coalesce(last_used_at, 0), ?2) WHERE id = ?1")
                .bind(id.as_uuid())
                .bind(millis(*at))
                .execute(&mut *transaction)
                .await
                .map_err(store_error)?;
        }
        transaction.commit().await.map_err(store_error)
    }
}
