//! What became of downlinks: counted, and deleted when it is old.

use downbeat_actors::port::StoreError;
use downbeat_core::time::Timestamp;
use sqlx::{PgConnection, Postgres as Db, QueryBuilder};

use super::error::store_error;
use super::{Postgres, push_scope};
use crate::store::row::{
    OutcomeAttemptsRow, OutcomeRow, OutcomeSpanRow, OutcomeTagRow, count, instant, millis, span,
    states_under_way,
};
use crate::store::{
    DELETE_DOWNLINKS_MAX, DownlinkOutcomes, OutcomeCount, OutcomeFilter, Scope, TAG_VALUES_MAX,
};

/// What is known of those that ended in the same way.
const COUNTS: &str = "state, verified_in, count(*) AS downlinks,
    count(*) FILTER (WHERE attempts > 0) AS tried, sum(attempts)::bigint AS attempts";

impl Postgres {
    pub(in crate::store) async fn downlink_outcomes(
        &self,
        scope: Scope,
        filter: &OutcomeFilter,
    ) -> Result<DownlinkOutcomes, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let mut outcomes = DownlinkOutcomes {
            under_way: under_way(&mut transaction, scope, filter).await?,
            ..DownlinkOutcomes::default()
        };
        let rows: Vec<OutcomeRow> = all(scope, filter)
            .build_query_as()
            .fetch_all(&mut *transaction)
            .await
            .map_err(store_error)?;
        for row in rows {
            outcomes.outcomes.push(row.try_into()?);
        }
        if let Some(step) = filter.step {
            let step = span(step).max(1);
            let rows: Vec<OutcomeSpanRow> = over_time(scope, filter, step)
                .build_query_as()
                .fetch_all(&mut *transaction)
                .await
                .map_err(store_error)?;
            for row in rows {
                let at = instant(millis(filter.spans_from()) + row.span * step);
                outcomes.over_time.push((at, row.count.try_into()?));
            }
        }
        if let Some(tag) = &filter.tag {
            let rows: Vec<OutcomeTagRow> = by_tag(scope, filter, tag)
                .build_query_as()
                .fetch_all(&mut *transaction)
                .await
                .map_err(store_error)?;
            for row in rows {
                let count: OutcomeCount = row.count.try_into()?;
                outcomes.by_tag.push((row.tag, count));
            }
        }
        if filter.attempts {
            let rows: Vec<OutcomeAttemptsRow> = by_attempts(scope, filter)
                .build_query_as()
                .fetch_all(&mut *transaction)
                .await
                .map_err(store_error)?;
            for row in rows {
                let ended: OutcomeCount = row.count.try_into()?;
                outcomes.by_attempts.push((count(row.tries), ended));
            }
        }
        Ok(outcomes)
    }

    pub(in crate::store) async fn delete_downlinks_before(
        &self,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.sessions.begin(Scope::Platform).await?;
        let deleted = sqlx::query(
            "WITH old AS MATERIALIZED (
                SELECT id FROM downlink WHERE created_at < $1 AND finished_at < $1
                ORDER BY created_at, id LIMIT $2
             ), steps AS (
                DELETE FROM downlink_step USING old WHERE downlink_id = old.id
             )
             DELETE FROM downlink USING old WHERE downlink.id = old.id",
        )
        .bind(millis(before))
        .bind(i64::from(DELETE_DOWNLINKS_MAX))
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(deleted.rows_affected())
    }
}

async fn under_way(
    connection: &mut PgConnection,
    scope: Scope,
    filter: &OutcomeFilter,
) -> Result<u64, StoreError> {
    let mut query = QueryBuilder::new("SELECT count(*) FROM downlink WHERE state IN (");
    query.push(states_under_way()).push(")");
    push_device(&mut query, scope, filter);
    let downlinks: i64 = query
        .build_query_scalar()
        .fetch_one(connection)
        .await
        .map_err(store_error)?;
    Ok(count(downlinks))
}

/// In the order of the index, so that nothing is sorted.
fn all(scope: Scope, filter: &OutcomeFilter) -> QueryBuilder<Db> {
    let mut query = QueryBuilder::new("SELECT tenant_id, gateway_id, spreading_factor, reason, ");
    query.push(COUNTS).push(" FROM downlink WHERE ");
    push_period(&mut query, scope, filter);
    query.push(" GROUP BY tenant_id, state, gateway_id, spreading_factor, reason, verified_in");
    query
}

fn over_time(scope: Scope, filter: &OutcomeFilter, step: i64) -> QueryBuilder<Db> {
    let mut query = QueryBuilder::new("SELECT (finished_at - ");
    query.push_bind(millis(filter.spans_from())).push(") / ");
    query.push_bind(step).push(" AS span, ").push(COUNTS);
    query.push(" FROM downlink WHERE ");
    push_period(&mut query, scope, filter);
    query.push(" GROUP BY 1, state, verified_in ORDER BY 1");
    query
}

fn by_attempts(scope: Scope, filter: &OutcomeFilter) -> QueryBuilder<Db> {
    let mut query = QueryBuilder::new("SELECT attempts AS tries, ");
    query.push(COUNTS).push(" FROM downlink WHERE ");
    push_period(&mut query, scope, filter);
    query.push(" GROUP BY 1, state, verified_in ORDER BY 1");
    query
}

fn by_tag(scope: Scope, filter: &OutcomeFilter, tag: &str) -> QueryBuilder<Db> {
    let mut query = QueryBuilder::new(
        "WITH tagged AS MATERIALIZED (
            SELECT id AS tagged_id, tags::jsonb ->> ",
    );
    query.push_bind(tag.to_owned());
    query.push(" AS tag FROM device WHERE true");
    push_scope(&mut query, scope);
    query.push(
        "), told_apart AS MATERIALIZED (
            SELECT tag AS value FROM tagged WHERE tag IS NOT NULL
            GROUP BY tag ORDER BY count(*) DESC, tag LIMIT ",
    );
    query
        .push_bind(i64::from(TAG_VALUES_MAX))
        .push(") SELECT value AS tag, ");
    query.push(COUNTS);
    query.push(
        " FROM downlink LEFT JOIN tagged ON tagged_id = device_id LEFT JOIN told_apart ON value = tag WHERE ",
    );
    push_period(&mut query, scope, filter);
    query.push(" GROUP BY value, state, verified_in");
    query
}

fn push_period(query: &mut QueryBuilder<Db>, scope: Scope, filter: &OutcomeFilter) {
    query.push("finished_at >= ").push_bind(millis(filter.from));
    query
        .push(" AND finished_at < ")
        .push_bind(millis(filter.to));
    push_device(query, scope, filter);
}

fn push_device(query: &mut QueryBuilder<Db>, scope: Scope, filter: &OutcomeFilter) {
    push_scope(query, scope);
    if let Some(dev_eui) = filter.dev_eui {
        query.push(" AND dev_eui = ").push_bind(dev_eui.to_string());
    }
}
