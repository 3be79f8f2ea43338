//! Commands to many devices.

use std::collections::{BTreeSet, HashMap};

use downbeat_actors::port::{AuditEntry, JobChange, LateProof, LoadedJob, StoreError, StoredJob};
use downbeat_core::device::Hearing;
use downbeat_core::id::{DevEui, DeviceId, DownlinkId, JobId, TenantId};
use downbeat_core::job::{Item, ItemState};
use downbeat_core::time::Timestamp;
use sqlx::{QueryBuilder, Sqlite as Db, SqliteConnection, SqliteExecutor};
use uuid::Uuid;

use super::{Sqlite, audit, device_list, push_scope, store_error};
use crate::store::row::{
    ChangeValues, ItemRow, JobItemRow, JobRow, JobValues, NewItemValues, ProgressValues,
    UnderWayRow, count, counted, counts_json, hearings, late_proof, millis, of_count, tenant_of,
    unverified,
};
use crate::store::{
    Cursor, DELETE_BATCH_MAX, Device, JobFilter, JobItem, NewJobItem, Page, PageRequest, Scope,
};

/// Rows of one statement.
const ROWS_MAX: usize = 500;

impl Sqlite {
    pub(in crate::store) async fn prepare_job(&self, job: &StoredJob) -> Result<(), StoreError> {
        let (job, values) = (job.clone(), JobValues::of(job)?);
        self.write(move |connection| {
            Box::pin(async move { prepare(connection, &job, values).await })
        })
        .await
    }

    pub(in crate::store) async fn add_job_items(
        &self,
        _tenant_id: TenantId,
        id: JobId,
        items: &[NewJobItem],
    ) -> Result<(), StoreError> {
        let statements: Vec<QueryBuilder<Db>> = items
            .chunks(ROWS_MAX)
            .map(|items| insert_items(id, items))
            .collect();
        self.write(move |connection| {
            Box::pin(async move {
                for statement in statements {
                    execute(connection, statement).await?;
                }
                Ok(())
            })
        })
        .await
    }

    pub(in crate::store) async fn start_job(
        &self,
        job: &StoredJob,
        entry: &AuditEntry,
    ) -> Result<(), StoreError> {
        let statement = update_job(job.id, &ProgressValues::of(&job.progress));
        let entry = entry.clone();
        self.write(move |connection| {
            Box::pin(async move {
                execute(connection, statement).await?;
                audit::append(connection, &entry).await
            })
        })
        .await
    }

    pub(in crate::store) async fn job(
        &self,
        scope: Scope,
        id: JobId,
    ) -> Result<Option<StoredJob>, StoreError> {
        find(&self.readers, scope, id).await
    }

    pub(in crate::store) async fn list_jobs(
        &self,
        scope: Scope,
        filter: JobFilter,
        page: PageRequest,
    ) -> Result<Page<StoredJob>, StoreError> {
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
            .fetch_all(&self.readers)
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
        let jobs = sqlx::query_scalar(
            "SELECT count(*) FROM job WHERE tenant_id = ?1 AND finished_at IS NULL AND state <> 'preparing'",
        )
        .bind(tenant_id.as_uuid())
        .fetch_one(&self.readers)
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
        let mut query = QueryBuilder::new(
            "SELECT i.*, downlink.body AS downlink_body
             FROM job_item AS i JOIN job ON job.id = i.job_id LEFT JOIN downlink ON downlink.id = i.downlink_id
             WHERE i.job_id = ",
        );
        query.push_bind(id.as_uuid());
        if let Some(tenant) = tenant_of(scope) {
            query.push(" AND job.tenant_id = ").push_bind(tenant);
        }
        if !states.is_empty() {
            let mut names = query.push(" AND i.state IN (").separated(", ");
            for state in states {
                names.push_bind(state.name());
            }
            names.push_unseparated(")");
        }
        if let Some(Cursor { at, .. }) = page.after {
            query.push(" AND i.seq > ").push_bind(millis(at));
        }
        query.push(" ORDER BY i.seq LIMIT ").push_bind(page.rows());
        let rows: Vec<JobItemRow> = query
            .build_query_as()
            .fetch_all(&self.readers)
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
        let mut query = device_list::select();
        query
            .push("WHERE device.tenant_id = ")
            .push_bind(tenant_id.as_uuid());
        query
            .push(" AND (device.dev_eui IN (SELECT value FROM json_each(")
            .push_bind(serde_json::json!(dev_euis).to_string())
            .push(")) OR device.id IN (NULL");
        for id in ids {
            query.push(", ").push_bind(id.as_uuid());
        }
        query.push("))");
        device_list::devices(query, &self.readers).await
    }

    pub(in crate::store) async fn hearings(
        &self,
        tenant_id: TenantId,
        ids: &[DeviceId],
    ) -> Result<HashMap<DeviceId, Hearing>, StoreError> {
        let mut query = QueryBuilder::new(
            "SELECT device.id, s.state FROM device JOIN device_state AS s ON s.device_id = device.id
             WHERE device.tenant_id = ",
        );
        query.push_bind(tenant_id.as_uuid());
        query.push(" AND device.id IN (NULL");
        for id in ids {
            query.push(", ").push_bind(id.as_uuid());
        }
        query.push(")");
        let rows = query.build_query_as().fetch_all(&self.readers).await;
        rows.map(hearings).map_err(store_error)
    }

    pub(in crate::store) async fn delete_jobs_before(
        &self,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        self.write(move |connection| {
            Box::pin(async move { delete_before(connection, before).await.map_err(store_error) })
        })
        .await
    }

    pub(in crate::store) async fn unfinished_jobs(&self) -> Result<Vec<JobId>, StoreError> {
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "SELECT id FROM job WHERE finished_at IS NULL AND state <> 'preparing' ORDER BY created_at",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(store_error)?;
        Ok(ids.into_iter().map(JobId::from_uuid).collect())
    }

    pub(in crate::store) async fn load_job(
        &self,
        id: JobId,
    ) -> Result<Option<LoadedJob>, StoreError> {
        // One transaction, so that the counts are those of the items.
        let mut transaction = self.readers.begin().await.map_err(store_error)?;
        let Some(mut job) = find(&mut *transaction, Scope::Platform, id).await? else {
            return Ok(None);
        };
        job.progress.counts = counted(
            count_items(&mut transaction, id.as_uuid()).await?,
            id.as_uuid(),
        )?;
        let under_way: Vec<UnderWayRow> = sqlx::query_as(
            "SELECT i.job_id, i.seq, i.network_server_id, i.dev_eui, i.downlink_id, i.handed_over_at,
                downlink.body AS downlink_body
             FROM job_item AS i LEFT JOIN downlink ON downlink.id = i.downlink_id
             WHERE i.job_id = ?1 AND i.state = 'under_way' ORDER BY i.seq",
        )
        .bind(id.as_uuid())
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        let without_proof = sqlx::query_as(
            "SELECT seq, downlink_id FROM job_item WHERE job_id = ?1 AND state = 'unverified'",
        )
        .bind(id.as_uuid())
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.rollback().await.map_err(store_error)?;
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
        let rows: Vec<ItemRow> = sqlx::query_as(
            "SELECT job_id, seq, network_server_id, dev_eui, downlink_id FROM job_item
             WHERE job_id = ?1 AND state = 'waiting' AND seq > ?2 ORDER BY seq LIMIT ?3",
        )
        .bind(id.as_uuid())
        .bind(after.map_or(-1, i64::from))
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(store_error)?;
        rows.into_iter().map(Item::try_from).collect()
    }

    pub(in crate::store) async fn commit_jobs(
        &self,
        changes: &[JobChange],
    ) -> Result<(), StoreError> {
        let items = ChangeValues::of_all(changes);
        let items: Vec<_> = items.chunks(ROWS_MAX).map(update_items).collect();
        let cancelled = changes.iter().filter(|change| change.cancel_waiting);
        let cancelled =
            cancelled.map(|change| cancel_waiting(change.id, change.progress.updated_at));
        let jobs = changes
            .iter()
            .map(|change| update_job(change.id, &ProgressValues::of(&change.progress)));
        let statements: Vec<_> = items.into_iter().chain(cancelled).chain(jobs).collect();
        let entries = changes.iter().filter_map(|change| change.audit.clone());
        let entries: Vec<AuditEntry> = entries.collect();
        self.write(move |connection| {
            Box::pin(async move {
                for statement in statements {
                    execute(connection, statement).await?;
                }
                for entry in &entries {
                    audit::append(connection, entry).await?;
                }
                Ok(())
            })
        })
        .await
    }

    pub(in crate::store) async fn late_proofs(
        &self,
        limit: u32,
    ) -> Result<Vec<LateProof>, StoreError> {
        let found: Vec<(Uuid, Uuid, Uuid, i64)> = sqlx::query_as(
            "SELECT job.id, job.tenant_id, job_item.downlink_id, downlink.attempts
             FROM job
             JOIN job_item ON job_item.job_id = job.id AND job_item.state = 'unverified'
             JOIN downlink ON downlink.id = job_item.downlink_id AND downlink.state = 'verified'
             WHERE job.state <> 'preparing' LIMIT ?1",
        )
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(store_error)?;
        Ok(found.into_iter().map(late_proof).collect())
    }

    pub(in crate::store) async fn prove_late(
        &self,
        proofs: &[LateProof],
    ) -> Result<(), StoreError> {
        let proofs = proofs.to_vec();
        self.write(move |connection| Box::pin(async move { prove(connection, &proofs).await }))
            .await
    }

    pub(in crate::store) async fn discard_unprepared(
        &self,
        before: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query("DELETE FROM job WHERE state = 'preparing' AND created_at < ?1")
                    .bind(millis(before))
                    .execute(connection)
                    .await
                    .map(drop)
                    .map_err(store_error)
            })
        })
        .await
    }
}

async fn execute(
    connection: &mut SqliteConnection,
    mut query: QueryBuilder<Db>,
) -> Result<(), StoreError> {
    let done = query.build().persistent(false).execute(connection).await;
    done.map(drop).map_err(store_error)
}

async fn find(
    executor: impl SqliteExecutor<'_>,
    scope: Scope,
    id: JobId,
) -> Result<Option<StoredJob>, StoreError> {
    let row: Option<JobRow> =
        sqlx::query_as("SELECT * FROM job WHERE id = ?1 AND (?2 IS NULL OR tenant_id = ?2)")
            .bind(id.as_uuid())
            .bind(tenant_of(scope))
            .fetch_optional(executor)
            .await
            .map_err(store_error)?;
    row.map(StoredJob::try_from).transpose()
}

async fn prepare(
    connection: &mut SqliteConnection,
    job: &StoredJob,
    values: JobValues,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM job WHERE id = ?1 AND state = 'preparing'")
        .bind(job.id.as_uuid())
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    sqlx::query(
        "INSERT INTO job
            (id, tenant_id, kind, name, state, body, counts, spent_ms, attempts, created_by, retry_of, created_at,
             updated_at, finished_at)
         VALUES (?1, ?2, ?3, ?4, 'preparing', ?5, ?6, 0, 0, ?7, ?8, ?9, ?9, NULL)",
    )
    .bind(job.id.as_uuid())
    .bind(job.tenant_id.as_uuid())
    .bind(job.kind.name())
    .bind(&job.name)
    .bind(values.body)
    .bind(values.progress.counts)
    .bind(&job.created_by)
    .bind(job.retry_of.map(JobId::as_uuid))
    .bind(millis(job.created_at))
    .execute(connection)
    .await
    .map(drop)
    .map_err(store_error)
}

fn insert_items(id: JobId, items: &[NewJobItem]) -> QueryBuilder<Db> {
    let mut query = QueryBuilder::new(
        "INSERT INTO job_item
            (job_id, seq, device_id, network_server_id, dev_eui, downlink_id, state, reason, attempts) ",
    );
    query.push_values(items, |mut row, item| {
        let values = NewItemValues::of(item);
        row.push_bind(id.as_uuid())
            .push_bind(values.seq)
            .push_bind(values.device_id)
            .push_bind(values.network_server_id)
            .push_bind(values.dev_eui)
            .push_bind(values.downlink_id)
            .push_bind(values.state)
            .push_bind(values.reason)
            .push_bind(0_i64);
    });
    query
}

fn update_items(changes: &[ChangeValues]) -> QueryBuilder<Db> {
    let mut query = QueryBuilder::new(
        "UPDATE job_item SET
            state = v.column3, reason = v.column4, attempts = v.column5,
            handed_over_at = coalesce(v.column6, handed_over_at), finished_at = v.column7
         FROM (",
    );
    query.push_values(changes, |mut row, change| {
        row.push_bind(change.job_id)
            .push_bind(change.seq)
            .push_bind(change.state)
            .push_bind(change.reason)
            .push_bind(change.attempts)
            .push_bind(change.handed_over_at)
            .push_bind(change.finished_at);
    });
    query.push(") AS v WHERE job_item.job_id = v.column1 AND job_item.seq = v.column2");
    query
}

fn cancel_waiting(id: JobId, at: Timestamp) -> QueryBuilder<Db> {
    let mut query = QueryBuilder::new("UPDATE job_item SET state = 'cancelled', finished_at = ");
    query.push_bind(millis(at));
    query
        .push(" WHERE state = 'waiting' AND job_id = ")
        .push_bind(id.as_uuid());
    query
}

fn update_job(id: JobId, values: &ProgressValues) -> QueryBuilder<Db> {
    let mut query = QueryBuilder::new("UPDATE job SET state = ");
    query.push_bind(values.state);
    query.push(", counts = ").push_bind(values.counts.clone());
    query.push(", spent_ms = ").push_bind(values.spent_ms);
    query.push(", attempts = ").push_bind(values.attempts);
    query.push(", updated_at = ").push_bind(values.updated_at);
    query.push(", finished_at = ").push_bind(values.finished_at);
    query.push(" WHERE id = ").push_bind(id.as_uuid());
    query
}

async fn count_items(
    connection: &mut SqliteConnection,
    job: Uuid,
) -> Result<Vec<(String, i64)>, StoreError> {
    sqlx::query_as("SELECT state, count(*) FROM job_item WHERE job_id = ?1 GROUP BY state")
        .bind(job)
        .fetch_all(connection)
        .await
        .map_err(store_error)
}

async fn prove(connection: &mut SqliteConnection, proofs: &[LateProof]) -> Result<(), StoreError> {
    let mut changed: BTreeSet<JobId> = BTreeSet::new();
    for LateProof {
        job,
        downlink_id,
        attempts,
        ..
    } in proofs
    {
        let done = sqlx::query(
            "UPDATE job_item SET state = 'verified', reason = NULL, attempts = ?3
             WHERE job_id = ?1 AND state = 'unverified' AND downlink_id = ?2",
        )
        .bind(job.as_uuid())
        .bind(DownlinkId::as_uuid(*downlink_id))
        .bind(i64::from(*attempts))
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
        if done.rows_affected() > 0 {
            changed.insert(*job);
        }
    }
    for job in changed {
        let counts = count_items(connection, job.as_uuid()).await?;
        let counts = counts_json(&counted(counts, job.as_uuid())?);
        sqlx::query("UPDATE job SET counts = ?2 WHERE id = ?1")
            .bind(job.as_uuid())
            .bind(counts)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    Ok(())
}

async fn delete_before(
    connection: &mut SqliteConnection,
    before: Timestamp,
) -> Result<u64, sqlx::Error> {
    let most = u64::from(DELETE_BATCH_MAX);
    let mut deleted = 0;
    while deleted < most {
        let job: Option<Uuid> = sqlx::query_scalar(
            "SELECT id FROM job WHERE finished_at < ?1 ORDER BY finished_at LIMIT 1",
        )
        .bind(millis(before))
        .fetch_optional(&mut *connection)
        .await?;
        let Some(job) = job else { break };
        let items = sqlx::query(
            "DELETE FROM job_item WHERE job_id = ?1
                AND seq IN (SELECT seq FROM job_item WHERE job_id = ?1 ORDER BY seq LIMIT ?2)",
        )
        .bind(job)
        .bind(of_count(most - deleted))
        .execute(&mut *connection)
        .await?
        .rows_affected();
        deleted += items;
        if deleted < most {
            deleted += 1;
            sqlx::query("DELETE FROM job WHERE id = ?1")
                .bind(job)
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(deleted)
}
