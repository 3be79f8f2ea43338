//! API keys.

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::error::store_error;
use super::session::Access;
use super::text::text;
use super::{Postgres, audit, push_scope};
use crate::store::audit::Change;
use crate::store::row::{ApiKeyRow, millis};
use crate::store::{ApiKey, ApiKeyId, By, Cursor, KeyHash, Page, PageRequest, Scope};

impl Postgres {
    pub(in crate::store) async fn create_api_key(
        &self,
        key: &ApiKey,
        hash: &KeyHash,
        by: &By,
    ) -> Result<(), StoreError> {
        let access = key.tenant_id.map_or(Access::Platform, Access::Tenant);
        let mut transaction = self.sessions.begin(access).await?;
        sqlx::query(
            "INSERT INTO api_key
                (id, tenant_id, role, name, prefix, hash, created_at, expires_at, revoked_at, requests_per_minute,
                 last_used_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(key.id.as_uuid())
        .bind(key.tenant_id.map(TenantId::as_uuid))
        .bind(key.role.name())
        .bind(text(&key.name))
        .bind(&key.prefix)
        .bind(hash.as_slice())
        .bind(millis(key.created_at))
        .bind(key.expires_at.map(millis))
        .bind(key.revoked_at.map(millis))
        .bind(key.requests_per_minute.map(i64::from))
        .bind(key.last_used_at.map(millis))
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        let change = Change {
            by,
            at: key.created_at,
            action: "key.create",
        };
        audit::append(&mut transaction, &change.of_api_key(None, Some(key))).await?;
        transaction.commit().await.map_err(store_error)
    }

    pub(in crate::store) async fn api_key(
        &self,
        scope: Scope,
        id: ApiKeyId,
    ) -> Result<Option<ApiKey>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let row: Option<ApiKeyRow> = sqlx::query_as("SELECT * FROM api_key WHERE id = $1")
            .bind(id.as_uuid())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(store_error)?;
        row.map(ApiKey::try_from).transpose()
    }

    pub(in crate::store) async fn api_key_by_hash(
        &self,
        hash: &KeyHash,
    ) -> Result<Option<ApiKey>, StoreError> {
        // It is the key that tells the scope.
        let mut transaction = self.sessions.begin_to_read(Access::Platform).await?;
        let row: Option<ApiKeyRow> = sqlx::query_as("SELECT * FROM api_key WHERE hash = $1")
            .bind(hash.as_slice())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(store_error)?;
        row.map(ApiKey::try_from).transpose()
    }

    pub(in crate::store) async fn list_api_keys(
        &self,
        scope: Scope,
        page: PageRequest,
    ) -> Result<Page<ApiKey>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
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
            .fetch_all(&mut *transaction)
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
        let mut transaction = self.sessions.begin(scope).await?;
        let row: Option<ApiKeyRow> =
            sqlx::query_as("SELECT * FROM api_key WHERE id = $1 FOR UPDATE")
                .bind(id.as_uuid())
                .fetch_optional(&mut *transaction)
                .await
                .map_err(store_error)?;
        let Some(before) = row.map(ApiKey::try_from).transpose()? else {
            return Ok(false);
        };
        if before.revoked_at.is_some() {
            return Ok(true);
        }
        sqlx::query("UPDATE api_key SET revoked_at = $2 WHERE id = $1")
            .bind(id.as_uuid())
            .bind(millis(at))
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        let after = ApiKey {
            revoked_at: Some(at),
            ..before.clone()
        };
        let change = Change {
            by,
            at,
            action: "key.revoke",
        };
        let entry = change.of_api_key(Some(&before), Some(&after));
        audit::append(&mut transaction, &entry).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(true)
    }

    pub(in crate::store) async fn touch_api_keys(
        &self,
        used: &[(ApiKeyId, Timestamp)],
    ) -> Result<(), StoreError> {
        if used.is_empty() {
            return Ok(());
        }
        let (ids, times): (Vec<Uuid>, Vec<i64>) = used
            .iter()
            .map(|(id, at)| (id.as_uuid(), millis(*at)))
            .unzip();
        let mut transaction = self.sessions.begin(Access::Platform).await?;
        sqlx::query(
            "UPDATE api_key SET last_used_at = greatest(coalesce(last_used_at, 0), used.at)
             FROM (SELECT id, max(at) AS at FROM unnest($1::uuid[], $2::bigint[]) AS v (id, at) GROUP BY id) AS used
             WHERE api_key.id = used.id",
        )
        .bind(ids)
        .bind(times)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)
    }
}
