//! Downlinks for lists and counts.

use std::time::Duration;

use downbeat_actors::port::StoreError;
use downbeat_core::device::DownlinkState;
use downbeat_core::id::DownlinkId;
use sqlx::{Postgres as Db, QueryBuilder};

use super::error::store_error;
use super::{Postgres, push_scope};
use crate::store::row::{DownlinkRow, GroupRow, count, millis, nearest_rank, tally, timeline};
use crate::store::{
    Cursor, DownlinkFilter, DownlinkOutcomes, DownlinkWithTimeline, OutcomeFilter, Page,
    PageRequest, Scope, StoredDownlink,
};

impl Postgres {
    pub(in crate::store) async fn downlink(
        &self,
        scope: Scope,
        id: DownlinkId,
    ) -> Result<Option<DownlinkWithTimeline>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let row: Option<DownlinkRow> = sqlx::query_as(
            "SELECT id, device_id, tenant_id, dev_eui, body FROM downlink
             WHERE id = $1",
        )
        .bind(id.as_uuid())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error)?;
        let Some(row) = row else { return Ok(None) };
        let steps: Vec<(i64, String)> = sqlx::query_as(
            "SELECT seq, body FROM downlink_step WHERE downlink_id = $1 ORDER BY seq",
        )
        .bind(id.as_uuid())
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
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
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let mut query = QueryBuilder::new(
            "SELECT id, device_id, tenant_id, dev_eui, body FROM downlink WHERE true",
        );
        push_scope(&mut query, scope);
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
            .fetch_all(&mut *transaction)
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

    pub(in crate::store) async fn downlink_outcomes(
        &self,
        scope: Scope,
        filter: OutcomeFilter,
    ) -> Result<DownlinkOutcomes, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let mut query = QueryBuilder::new(
            "SELECT state, reason, count(*) AS downlinks, count(*) FILTER (WHERE attempts > 0) AS tried,
                    coalesce(sum(attempts), 0)::bigint AS attempts FROM downlink WHERE ",
        );
        push_period(&mut query, scope, filter);
        query.push(" GROUP BY state, reason");
        let groups: Vec<GroupRow> = query
            .build_query_as()
            .fetch_all(&mut *transaction)
            .await
            .map_err(store_error)?;
        let mut outcomes = tally(groups)?;
        let verified = outcomes.count(DownlinkState::Verified);
        for (percent, place) in [
            (50, &mut outcomes.time_to_verify_p50),
            (95, &mut outcomes.time_to_verify_p95),
        ] {
            let Some(rank) = nearest_rank(verified, percent) else {
                break;
            };
            let mut query =
                QueryBuilder::new("SELECT finished_at - created_at FROM downlink WHERE ");
            push_period(&mut query, scope, filter);
            query
                .push(" AND state = ")
                .push_bind(DownlinkState::Verified.name());
            query
                .push(" AND finished_at IS NOT NULL ORDER BY 1 LIMIT 1 OFFSET ")
                .push_bind(rank);
            let took: Option<i64> = query
                .build_query_scalar()
                .fetch_optional(&mut *transaction)
                .await
                .map_err(store_error)?;
            *place = took.map(|ms| Duration::from_millis(count(ms)));
        }
        Ok(outcomes)
    }
}

fn push_period(query: &mut QueryBuilder<Db>, scope: Scope, filter: OutcomeFilter) {
    query.push("created_at >= ").push_bind(millis(filter.from));
    query
        .push(" AND created_at < ")
        .push_bind(millis(filter.to));
    push_scope(query, scope);
    if let Some(dev_eui) = filter.dev_eui {
        query.push(" AND dev_eui = ").push_bind(dev_eui.to_string());
    }
}
