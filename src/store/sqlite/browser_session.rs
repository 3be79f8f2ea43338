//! Browsers that are signed in.

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;

use super::{Sqlite, store_error};
use crate::store::row::{BrowserSessionRow, SELECT_SESSIONS, millis};
use crate::store::{BrowserSession, BrowserSessionId};

impl Sqlite {
    pub(in crate::store) async fn keep_browser_session(
        &self,
        session: &BrowserSession,
        hash: &[u8; 32],
    ) -> Result<(), StoreError> {
        let (session, hash) = (session.clone(), *hash);
        self.write(move |connection| {
            Box::pin(async move {
                let key = session.key.as_ref();
                sqlx::query(
                    "INSERT INTO browser_session (id, tenant_id, key_id, hash, began_at, used_at, address, agent)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                )
                .bind(session.id.as_uuid())
                .bind(key.and_then(|key| key.tenant_id).map(TenantId::as_uuid))
                .bind(key.map(|key| key.id.as_uuid()))
                .bind(hash.as_slice())
                .bind(millis(session.began_at))
                .bind(millis(session.used_at))
                .bind(session.address.map(|address| address.to_string()))
                .bind(&session.agent)
                .execute(&mut *connection)
                .await
                .map_err(store_error)?;
                Ok(())
            })
        })
        .await
    }

    pub(in crate::store) async fn browser_sessions(
        &self,
    ) -> Result<Vec<([u8; 32], BrowserSession)>, StoreError> {
        let rows: Vec<BrowserSessionRow> = sqlx::query_as(SELECT_SESSIONS)
            .fetch_all(&self.readers)
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
        let used = used.to_vec();
        self.write(move |connection| {
            Box::pin(async move {
                for (id, at) in used {
                    sqlx::query(
                        "UPDATE browser_session SET used_at = max(used_at, ?2) WHERE id = ?1",
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

    pub(in crate::store) async fn forget_browser_sessions(
        &self,
        ids: &[BrowserSessionId],
    ) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let ids = ids.to_vec();
        self.write(move |connection| {
            Box::pin(async move {
                for id in ids {
                    sqlx::query("DELETE FROM browser_session WHERE id = ?1")
                        .bind(id.as_uuid())
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
