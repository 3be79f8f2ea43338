//! Commands to many devices.

use std::collections::{BTreeSet, HashMap};

use downbeat_actors::port::{
    AuditEntry, JobChange, JobProgress, LateProof, LoadedJob, StoreError, StoredJob,
};
use downbeat_core::device::Hearing;
use downbeat_core::id::{DevEui, DeviceId, JobId, TenantId};
use downbeat_core::job::{Item, ItemState};
use downbeat_core::time::Timestamp;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres as Db, QueryBuilder};
use uuid::Uuid;

use super::audit::{self, column};
use super::error::store_error;
use super::session::Access;
use super::text::text;
use super::{Postgres, device_list, push_scope};
use crate::store::row::{
    ChangeValues, ItemRow, JobItemRow, JobRow, JobValues, NewItemValues, ProgressValues,
    UnderWayRow, count, counted, counts_json, hearings, late_proof, millis, of_count, tenant_of,
    unverified,
};
use crate::store::{
    Cursor, DELETE_BATCH_MAX, Device, JobFilter, JobItem, NewJobItem, Page, PageRequest, Scope,
};

impl Postgres {
    pub(in crate::store) async fn prepare_job(&self, job: &StoredJob) -> Result<(), StoreError> {
        let values = JobValues::of(job)?;
        let access = Access::Tenant(job.tenant_id);
        let mut transaction = self.sessions.begin(access).await?;
        sqlx::query("DELETE FROM job WHERE id = $1 AND state = 'preparing'")
            .bind(job.id.as_uuid())
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        sqlx::query(
            "INSERT INTO job
                (id, tenant_id, kind, name, state, body, counts, spent_ms, attempts, created_by, retry_of, created_at,
                 updated_at, finished_at)
             VALUES ($1, $2, $3, $4, 'preparing', $5, $6, 0, 0, $7, $8, $9, $9, NULL)",
        )
        .bind(job.id.as_uuid())
        .bind(job.tenant_id.as_uuid())
        .bind(job.kind.name())
        .bind(text(&job.name))
        .bind(values.body)
        .bind(values.progress.counts)
        .bind(text(&job.created_by))
        .bind(job.retry_of.map(JobId::as_uuid))
        .bind(millis(job.created_at))
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)
    }

    pub(in crate::store) async fn add_job_items(
        &self,
        tenant_id: TenantId,
        id: JobId,
        items: &[NewJobItem],
    ) -> Result<(), StoreError> {
        let mut transaction = self.sessions.begin(Access::Tenant(tenant_id)).await?;
        insert_items(tenant_id, id, items)
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)
    }

    pub(in crate::store) async fn start_job(
        &self,
        job: &StoredJob,
        entry: &AuditEntry,
    ) -> Result<(), StoreError> {
        let access = Access::Tenant(job.tenant_id);
        let mut transaction = self.sessions.begin(access).await?;
        update_jobs(&[(job.id, &job.progress)])
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        audit::append(&mut transaction, entry).await?;
        transaction.commit().await.map_err(store_error)
    }

    pub(in crate::store) async fn job(
        &self,
        scope: Scope,
        id: JobId,
    ) -> Result<Option<StoredJob>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        find(&mut transaction, id).await
    }

    pub(in crate::store) async fn list_jobs(
        &self,
        scope: Scope,
        filter: JobFilter,
        page: PageRequest,
    ) -> Result<Page<StoredJob>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let mut query = QueryBuilder::new("SELECT * FROM job WHERE state <> 'preparing'");
        push_scope(&mut query, scope);
        if let Some(state) = filter.state {
            query.push(" AND state = ").push_bind(state.name());
        }
        if let Some(kind) = filter.kind {
            query.push(" AND kind = ").push_bind(kind.name());
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
        let rows: Vec<JobRow> = query
            .build_query_as()
            .fetch_all(&mut *transaction)
            .await
            .map_err(store_error)?;
        let jobs = rows
            .into_iter()
            .map(StoredJob::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::of(jobs, page, |job: &StoredJob| Cursor {
            at: job.created_at,
            id: job.id.as_uuid(),
        }))
    }

    pub(in crate::store) async fn count_unfinished_jobs(
        &self,
        tenant_id: TenantId,
    ) -> Result<u64, StoreError> {
        let access = Access::Tenant(tenant_id);
        let mut transaction = self.sessions.begin_to_read(access).await?;
        let jobs = sqlx::query_scalar(
            "SELECT count(*) FROM job WHERE tenant_id = $1 AND finished_at IS NULL AND state <> 'preparing'",
        )
        .bind(tenant_id.as_uuid())
        .fetch_one(&mut *transaction)
        .await;
        jobs.map(count).map_err(store_error)
    }

    pub(in crate::store) async fn list_job_items(
        &self,
        scope: Scope,
        id: JobId,
        states: &[ItemState],
        page: PageRequest,
    ) -> Result<Page<JobItem>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(scope).await?;
        let mut query = QueryBuilder::new(
            "SELECT i.*, downlink.body AS downlink_body
             FROM job_item AS i LEFT JOIN downlink ON downlink.id = i.downlink_id
             WHERE i.job_id = ",
        );
        query.push_bind(id.as_uuid());
        if let Some(tenant) = tenant_of(scope) {
            query.push(" AND i.tenant_id = ").push_bind(tenant);
        }
        if !states.is_empty() {
            query
                .push(" AND i.state = ANY (")
                .push_bind(column(states, |state| state.name()))
                .push(")");
        }
        if let Some(Cursor { at, .. }) = page.after {
            query.push(" AND i.seq > ").push_bind(millis(at));
        }
        query.push(" ORDER BY i.seq LIMIT ").push_bind(page.rows());
        let rows: Vec<JobItemRow> = query
            .build_query_as()
            .fetch_all(&mut *transaction)
            .await
            .map_err(store_error)?;
        let items = rows
            .into_iter()
            .map(JobItem::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::of(items, page, |item: &JobItem| Cursor {
            at: Timestamp::from_millis(item.seq.into()),
            id: Uuid::nil(),
        }))
    }

    pub(in crate::store) async fn devices_named(
        &self,
        tenant_id: TenantId,
        dev_euis: &[DevEui],
        ids: &[DeviceId],
    ) -> Result<Vec<Device>, StoreError> {
        let access = Access::Tenant(tenant_id);
        let mut transaction = self.sessions.begin_to_read(access).await?;
        device_list::named(&mut transaction, tenant_id, dev_euis, ids).await
    }

    pub(in crate::store) async fn hearings(
        &self,
        tenant_id: TenantId,
        ids: &[DeviceId],
    ) -> Result<HashMap<DeviceId, Hearing>, StoreError> {
        let access = Access::Tenant(tenant_id);
        let mut transaction = self.sessions.begin_to_read(access).await?;
        let rows = sqlx::query_as(
            "SELECT device_id, state FROM device_state WHERE tenant_id = $1 AND device_id = ANY ($2::uuid[])",
        )
        .bind(tenant_id.as_uuid())
        .bind(column(ids, |id| id.as_uuid()))
        .fetch_all(&mut *transaction)
        .await;
        rows.map(hearings).map_err(store_error)
    }

    pub(in crate::store) async fn delete_jobs_before(
        &self,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.sessions.begin(Access::Platform).await?;
        let deleted = delete_before(&mut transaction, before)
            .await
            .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(deleted)
    }

    pub(in crate::store) async fn unfinished_jobs(&self) -> Result<Vec<JobId>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(Access::Platform).await?;
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "SELECT id FROM job WHERE finished_at IS NULL AND state <> 'preparing' ORDER BY created_at",
        )
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        Ok(ids.into_iter().map(JobId::from_uuid).collect())
    }

    pub(in crate::store) async fn load_job(
        &self,
        id: JobId,
    ) -> Result<Option<LoadedJob>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(Access::Platform).await?;
        let Some(mut job) = find(&mut transaction, id).await? else {
            return Ok(None);
        };
        let counts = count_items(&mut transaction, id.as_uuid()).await?;
        job.progress.counts = counted(counts, id.as_uuid())?;
        let under_way: Vec<UnderWayRow> = sqlx::query_as(
            "SELECT i.job_id, i.seq, i.network_server_id, i.dev_eui, i.downlink_id, i.handed_over_at,
                downlink.body AS downlink_body
             FROM job_item AS i LEFT JOIN downlink ON downlink.id = i.downlink_id
             WHERE i.job_id = $1 AND i.state = 'under_way' ORDER BY i.seq",
        )
        .bind(id.as_uuid())
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        let without_proof = sqlx::query_as(
            "SELECT seq, downlink_id FROM job_item WHERE job_id = $1 AND state = 'unverified'",
        )
        .bind(id.as_uuid())
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        let under_way = under_way.into_iter().map(UnderWayRow::under_way);
        Ok(Some(LoadedJob {
            job,
            under_way: under_way.collect::<Result<_, _>>()?,
            unverified: unverified(id.as_uuid(), without_proof)?,
        }))
    }

    pub(in crate::store) async fn waiting_items(
        &self,
        id: JobId,
        after: Option<u32>,
        limit: u32,
    ) -> Result<Vec<Item>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(Access::Platform).await?;
        let rows: Vec<ItemRow> = sqlx::query_as(
            "SELECT job_id, seq, network_server_id, dev_eui, downlink_id FROM job_item
             WHERE job_id = $1 AND state = 'waiting' AND seq > $2 ORDER BY seq LIMIT $3",
        )
        .bind(id.as_uuid())
        .bind(after.map_or(-1, i64::from))
        .bind(i64::from(limit))
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        rows.into_iter().map(Item::try_from).collect()
    }

    pub(in crate::store) async fn commit_jobs(
        &self,
        changes: &[JobChange],
    ) -> Result<(), StoreError> {
        let tenants: BTreeSet<TenantId> = changes.iter().map(|it| it.tenant_id).collect();
        let tenants: Vec<TenantId> = tenants.into_iter().collect();
        let mut transaction = self.sessions.begin(Access::Tenants(&tenants)).await?;
        let items = ChangeValues::of_all(changes);
        if !items.is_empty() {
            let done = update_items(&items).execute(&mut *transaction).await;
            done.map_err(store_error)?;
        }
        for change in changes.iter().filter(|change| change.cancel_waiting) {
            sqlx::query(
                "UPDATE job_item SET state = 'cancelled', finished_at = $2
                 WHERE job_id = $1 AND state = 'waiting'",
            )
            .bind(change.id.as_uuid())
            .bind(millis(change.progress.updated_at))
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        }
        let jobs = column(changes, |change| (change.id, &change.progress));
        let done = update_jobs(&jobs).execute(&mut *transaction).await;
        done.map_err(store_error)?;
        for entry in changes.iter().filter_map(|change| change.audit.as_ref()) {
            audit::append(&mut transaction, entry).await?;
        }
        transaction.commit().await.map_err(store_error)
    }

    pub(in crate::store) async fn late_proofs(
        &self,
        limit: u32,
    ) -> Result<Vec<LateProof>, StoreError> {
        let mut transaction = self.sessions.begin_to_read(Access::Platform).await?;
        let found: Vec<(Uuid, Uuid, Uuid, i64)> = sqlx::query_as(
            "SELECT job.id, job.tenant_id, job_item.downlink_id, downlink.attempts
             FROM job
             JOIN job_item ON job_item.job_id = job.id AND job_item.state = 'unverified'
             JOIN downlink ON downlink.id = job_item.downlink_id AND downlink.state = 'verified'
             WHERE job.state <> 'preparing' LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        Ok(found.into_iter().map(late_proof).collect())
    }

    pub(in crate::store) async fn prove_late(
        &self,
        proofs: &[LateProof],
    ) -> Result<(), StoreError> {
        let tenants: BTreeSet<TenantId> = proofs.iter().map(|proof| proof.tenant_id).collect();
        let tenants: Vec<TenantId> = tenants.into_iter().collect();
        let mut transaction = self.sessions.begin(Access::Tenants(&tenants)).await?;
        prove(&mut transaction, proofs).await?;
        transaction.commit().await.map_err(store_error)
    }

    pub(in crate::store) async fn discard_unprepared(
        &self,
        before: Timestamp,
    ) -> Result<(), StoreError> {
        let mut transaction = self.sessions.begin(Access::Platform).await?;
        sqlx::query("DELETE FROM job WHERE state = 'preparing' AND created_at < $1")
            .bind(millis(before))
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)
    }
}

async fn find(connection: &mut PgConnection, id: JobId) -> Result<Option<StoredJob>, StoreError> {
    let row: Option<JobRow> = sqlx::query_as("SELECT * FROM job WHERE id = $1")
        .bind(id.as_uuid())
        .fetch_optional(connection)
        .await
        .map_err(store_error)?;
    row.map(StoredJob::try_from).transpose()
}

fn insert_items<'q>(
    tenant_id: TenantId,
    id: JobId,
    items: &[NewJobItem],
) -> Query<'q, Db, PgArguments> {
    let values: Vec<NewItemValues> = items.iter().map(NewItemValues::of).collect();
    sqlx::query(
        "INSERT INTO job_item
            (job_id, tenant_id, seq, device_id, network_server_id, dev_eui, downlink_id, state, reason, attempts)
         SELECT $1, $2, v.*, 0 FROM unnest(
            $3::bigint[], $4::uuid[], $5::uuid[], $6::text[], $7::uuid[], $8::text[], $9::text[]
         ) AS v",
    )
    .bind(id.as_uuid())
    .bind(tenant_id.as_uuid())
    .bind(column(&values, |it| it.seq))
    .bind(column(&values, |it| it.device_id))
    .bind(column(&values, |it| it.network_server_id))
    .bind(column(&values, |it| it.dev_eui.clone()))
    .bind(column(&values, |it| it.downlink_id))
    .bind(column(&values, |it| it.state))
    .bind(column(&values, |it| it.reason))
}

fn update_items<'q>(changes: &[ChangeValues]) -> Query<'q, Db, PgArguments> {
    sqlx::query(
        "UPDATE job_item SET
            state = v.state, reason = v.reason, attempts = v.attempts,
            handed_over_at = coalesce(v.handed_over_at, job_item.handed_over_at), finished_at = v.finished_at
         FROM unnest(
            $1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[]
         ) AS v (job_id, seq, state, reason, attempts, handed_over_at, finished_at)
         WHERE job_item.job_id = v.job_id AND job_item.seq = v.seq",
    )
    .bind(column(changes, |it| it.job_id))
    .bind(column(changes, |it| it.seq))
    .bind(column(changes, |it| it.state))
    .bind(column(changes, |it| it.reason))
    .bind(column(changes, |it| it.attempts))
    .bind(column(changes, |it| it.handed_over_at))
    .bind(column(changes, |it| it.finished_at))
}

fn update_jobs<'q>(jobs: &[(JobId, &JobProgress)]) -> Query<'q, Db, PgArguments> {
    let values = column(jobs, |(_, progress)| ProgressValues::of(progress));
    sqlx::query(
        "UPDATE job SET
            state = v.state, counts = v.counts, spent_ms = v.spent_ms, attempts = v.attempts,
            updated_at = v.updated_at, finished_at = v.finished_at
         FROM unnest(
            $1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[]
         ) AS v (id, state, counts, spent_ms, attempts, updated_at, finished_at)
         WHERE job.id = v.id",
    )
    .bind(column(jobs, |(id, _)| id.as_uuid()))
    .bind(column(&values, |it| it.state))
    .bind(column(&values, |it| it.counts.clone()))
    .bind(column(&values, |it| it.spent_ms))
    .bind(column(&values, |it| it.attempts))
    .bind(column(&values, |it| it.updated_at))
    .bind(column(&values, |it| it.finished_at))
}

async fn count_items(
    connection: &mut PgConnection,
    job: Uuid,
) -> Result<Vec<(String, i64)>, StoreError> {
    sqlx::query_as("SELECT state, count(*) FROM job_item WHERE job_id = $1 GROUP BY state")
        .bind(job)
        .fetch_all(connection)
        .await
        .map_err(store_error)
}

async fn prove(connection: &mut PgConnection, proofs: &[LateProof]) -> Result<(), StoreError> {
    let changed: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE job_item SET state = 'verified', reason = NULL, attempts = v.attempts
         FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS v (job_id, downlink_id, attempts)
         WHERE job_item.job_id = v.job_id AND job_item.state = 'unverified'
            AND job_item.downlink_id = v.downlink_id
         RETURNING job_item.job_id",
    )
    .bind(column(proofs, |proof| proof.job.as_uuid()))
    .bind(column(proofs, |proof| proof.downlink_id.as_uuid()))
    .bind(column(proofs, |proof| i64::from(proof.attempts)))
    .fetch_all(&mut *connection)
    .await
    .map_err(store_error)?;
    for job in BTreeSet::from_iter(changed) {
        let counts = counts_json(&counted(count_items(connection, job).await?, job)?);
        sqlx::query("UPDATE job SET counts = $2 WHERE id = $1")
            .bind(job)
            .bind(counts)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    Ok(())
}

async fn delete_before(
    connection: &mut PgConnection,
    before: Timestamp,
) -> Result<u64, sqlx::Error> {
    let most = u64::from(DELETE_BATCH_MAX);
    let mut deleted = 0;
    while deleted < most {
        let job: Option<Uuid> = sqlx::query_scalar(
            "SELECT id FROM job WHERE finished_at < $1 ORDER BY finished_at LIMIT 1",
        )
        .bind(millis(before))
        .fetch_optional(&mut *connection)
        .await?;
        let Some(job) = job else { break };
        let items = sqlx::query(
            "DELETE FROM job_item WHERE job_id = $1
                AND seq IN (SELECT seq FROM job_item WHERE job_id = $1 ORDER BY seq LIMIT $2)",
        )
        .bind(job)
        .bind(of_count(most - deleted))
        .execute(&mut *connection)
        .await?
        .rows_affected();
        deleted += items;
        if deleted < most {
            deleted += 1;
            sqlx::query("DELETE FROM job WHERE id = $1")
                .bind(job)
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(deleted)
}
