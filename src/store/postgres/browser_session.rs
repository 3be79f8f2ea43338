//! Browsers that are signed in.

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;
use uuid::Uuid;

use super::Postgres;
use super::error::store_error;
use super::session::Access;
use super::text::text;
use crate::store::row::{BrowserSessionRow, SELECT_SESSIONS, millis};
use crate::store::{BrowserSession, BrowserSessionId};

impl Postgres {
    pub(in crate::store) async fn keep_browser_session(
        &self,
        session: &BrowserSession,
        hash: &[u8; 32],
    ) -> Result<(), StoreError> {
        let key = session.key.as_ref();
        let tenant_id = key.and_then(|key| key.tenant_id);
        let access = tenant_id.map_or(Access::Platform, Access::Tenant);
        let mut transaction = self.sessions.begin(access).await?;
        sqlx::query(
            "INSERT INTO browser_session (id, tenant_id, key_id, hash, began_at, used_at, address, agent)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(session.id.as_uuid())
        .bind(tenant_id.map(TenantId::as_uuid))
        .bind(key.map(|key| key.id.as_uuid()))
        .bind(hash.as_slice())
        .bind(millis(session.began_at))
        .bind(millis(session.used_at))
        .bind(session.address.map(|address| address.to_string()))
        .bind(session.agent.as_deref().map(text))
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)
    }

    pub(in crate::store) async fn browser_sessions(
        &self,
    ) -> Result<Vec<([u8; 32], BrowserSession)>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(Access::Platform).await?;
        let rows: Vec<BrowserSessionRow> = sqlx::query_as(SELECT_SESSIONS)
            .fetch_all(&mut *transaction)
            .await
            .map_err(store_error)?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    pub(in crate::store) async fn touch_browser_sessions(
        &self,
        used: &[(BrowserSessionId, Timestamp)],
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
            "UPDATE browser_session SET used_at = greatest(used_at, used.at)
             FROM (SELECT id, max(at) AS at FROM unnest($1::uuid[], $2::bigint[]) AS v (id, at) GROUP BY id) AS used
             WHERE browser_session.id = used.id",
        )
        .bind(ids)
        .bind(times)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)
    }

    pub(in crate::store) async fn forget_browser_sessions(
        &self,
        ids: &[BrowserSessionId],
    ) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let mut transaction = self.sessions.begin(Access::Platform).await?;
        sqlx::query("DELETE FROM browser_session WHERE id = ANY ($1)")
            .bind(ids)
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)
    }
}
