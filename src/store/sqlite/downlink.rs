//! Downlinks for lists and counts.

use std::time::Duration;

use downbeat_actors::port::StoreError;
use downbeat_core::device::{DownlinkState, TimelineEntry};
use downbeat_core::id::{DeviceId, DownlinkId, TenantId};
use sqlx::{FromRow, QueryBuilder, Sqlite as Db};
use uuid::Uuid;

use super::{Sqlite, corrupt, count, millis, parse_dev_eui, push_scope, store_error, tenant_of};
use crate::store::{
    Cursor, DownlinkFilter, DownlinkOutcomes, DownlinkWithTimeline, OutcomeFilter, Page,
    PageRequest, Scope, StoredDownlink,
};

#[derive(FromRow)]
struct DownlinkRow {
    id: Uuid,
    device_id: Uuid,
    tenant_id: Uuid,
    dev_eui: String,
    body: String,
}

impl TryFrom<DownlinkRow> for StoredDownlink {
    type Error = StoreError;

    fn try_from(row: DownlinkRow) -> Result<Self, StoreError> {
        Ok(Self {
            downlink: serde_json::from_str(&row.body)
                .map_err(|error| corrupt("downlink", "body", &row.id, error))?,
            device_id: DeviceId::from_uuid(row.device_id),
            tenant_id: TenantId::from_uuid(row.tenant_id),
            dev_eui: parse_dev_eui(&row.dev_eui, "downlink", row.id)?,
        })
    }
}

#[derive(FromRow)]
struct GroupRow {
    state: String,
    reason: Option<String>,
    downlinks: i64,
    tried: i64,
    attempts: i64,
}

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
        let timeline = steps
            .into_iter()
            .map(|(seq, body)| {
                serde_json::from_str::<TimelineEntry>(&body).map_err(|error| {
                    corrupt("downlink_step", "body", &format!("{id}/{seq}"), error)
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Some(DownlinkWithTimeline {
            stored: row.try_into()?,
            timeline,
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

    pub(in crate::store) async fn downlink_outcomes(
        &self,
        scope: Scope,
        filter: OutcomeFilter,
    ) -> Result<DownlinkOutcomes, StoreError> {
        let mut transaction = self.readers.begin().await.map_err(store_error)?;
        let mut query = QueryBuilder::new(
            "SELECT state, reason, count(*) AS downlinks, coalesce(sum(attempts > 0), 0) AS tried,
                    coalesce(sum(attempts), 0) AS attempts FROM downlink WHERE ",
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
        transaction.rollback().await.map_err(store_error)?;
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

fn tally(groups: Vec<GroupRow>) -> Result<DownlinkOutcomes, StoreError> {
    let mut outcomes = DownlinkOutcomes::default();
    let (mut tried, mut attempts) = (0, 0);
    for group in groups {
        let state = DownlinkState::by_name(&group.state)
            .ok_or_else(|| corrupt("downlink", "state", &group.state, "unknown state"))?;
        let downlinks = count(group.downlinks);
        outcomes.total += downlinks;
        tried += group.tried;
        attempts += group.attempts;
        add(&mut outcomes.by_state, state, downlinks);
        if let Some(reason) = group.reason {
            add(&mut outcomes.by_reason, reason, downlinks);
        }
    }
    outcomes
        .by_reason
        .sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    #[expect(
        clippy::cast_precision_loss,
        reason = "an average of counts far below 2^52"
    )]
    if tried > 0 {
        outcomes.attempts_avg = Some(attempts as f64 / tried as f64);
    }
    Ok(outcomes)
}

fn add<K: PartialEq>(counts: &mut Vec<(K, u64)>, key: K, more: u64) {
    match counts.iter_mut().find(|(other, _)| *other == key) {
        Some((_, count)) => *count += more,
        None => counts.push((key, more)),
    }
}

/// The place, from 0, of the smallest of `total` values that `percent` of them do not exceed; `None` of none.
fn nearest_rank(total: u64, percent: u64) -> Option<i64> {
    let last = total.checked_sub(1)?;
    let rank = (total * percent).div_ceil(100).saturating_sub(1).min(last);
    i64::try_from(rank).ok()
}
