//! Downlinks for lists.

use downbeat_actors::port::StoreError;
use downbeat_core::id::DownlinkId;
use sqlx::QueryBuilder;

use super::{Sqlite, push_scope, store_error};
use crate::store::row::{DownlinkRow, millis, tenant_of, timeline};
use crate::store::{
    Cursor, DownlinkFilter, DownlinkWithTimeline, Page, PageRequest, Scope, StoredDownlink,
};

impl Sqlite {
    pub(in crate::store) async fn downlink(
        &self,
        scope: Scope,
        id: DownlinkId,
    ) -> Result<Option<DownlinkWithTimeline>, StoreError> {
        // One transaction, so that the timeline is that of the downlink.
        let mut transaction = self.readers.begin().await.map_err(store_error)?;
        let row: Option<DownlinkRow> = sqlx::query_as(
            "SELECT id, device_id, tenant_id, dev_eui, body FROM downlink
             WHERE id = ?1 AND (?2 IS NULL OR tenant_id = ?2)",
        )
        .bind(id.as_uuid())
        .bind(tenant_of(scope))
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error)?;
        let Some(row) = row else { return Ok(None) };
        let steps: Vec<(i64, String)> = sqlx::query_as(
            "SELECT seq, body FROM downlink_step WHERE downlink_id = ?1 ORDER BY seq",
        )
        .bind(id.as_uuid())
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.rollback().await.map_err(store_error)?;
        Ok(Some(DownlinkWithTimeline {
            stored: row.try_into()?,
            timeline: timeline(id, steps)?,
        }))
    }

    pub(in crate::store) async fn list_downlinks(
        &self,
        scope: Scope,
        filter: DownlinkFilter,
        page: PageRequest,
    ) -> Result<Page<StoredDownlink>, StoreError> {
        let mut query = QueryBuilder::new(
            "SELECT id, device_id, tenant_id, dev_eui, body FROM downlink WHERE true",
        );
        push_scope(&mut query, scope);
        if let Some(device_id) = filter.device_id {
            query
                .push(" AND device_id = ")
                .push_bind(device_id.as_uuid());
        }
        if let Some(dev_eui) = filter.dev_eui {
            query.push(" AND dev_eui = ").push_bind(dev_eui.to_string());
        }
        if let Some(state) = filter.state {
            query.push(" AND state = ").push_bind(state.name());
        }
        if let Some(from) = filter.from {
            query.push(" AND created_at >= ").push_bind(millis(from));
        }
        if let Some(Cursor { at, id }) = page.after {
            query
                .push(" AND (created_at, id) < (")
                .push_bind(millis(at));
            query.push(", ").push_bind(id).push(")");
        }
        query
            .push(" ORDER BY created_at DESC, id DESC LIMIT ")
            .push_bind(page.rows());
        let rows: Vec<DownlinkRow> = query
            .build_query_as()
            .fetch_all(&self.readers)
            .await
            .map_err(store_error)?;
        let downlinks = rows
            .into_iter()
            .map(StoredDownlink::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::of(downlinks, page, |stored: &StoredDownlink| {
            Cursor {
                at: stored.downlink.accepted_at,
                id: stored.downlink.id.as_uuid(),
            }
        }))
    }
}
