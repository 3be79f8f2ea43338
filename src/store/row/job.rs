//! Jobs and their devices.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use downbeat_actors::port::{JobChange, JobOrder, JobProgress, LateProof, StoreError, StoredJob};
use downbeat_core::device::{Downlink, DownlinkState, Hearing, Reason};
use downbeat_core::id::{DeviceId, DeviceKey, DownlinkId, JobId, NetworkServerId, TenantId};
use downbeat_core::job::{Change, Counts, Item, ItemState, JobKind, JobState, Known, Plan};
use downbeat_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

use super::{corrupt, count, instant, millis, of_count, parse_dev_eui, span};
use crate::store::{JobItem, NewJobItem};

/// What does not change about a job.
#[derive(Serialize, Deserialize)]
struct JobBody {
    order: JobOrder,
    stagger_ms: u64,
    plan: Plan,
}

#[derive(FromRow)]
pub(crate) struct JobRow {
    pub(crate) id: Uuid,
    pub(crate) tenant_id: Uuid,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) body: String,
    pub(crate) counts: String,
    pub(crate) spent_ms: i64,
    pub(crate) attempts: i64,
    pub(crate) created_by: String,
    pub(crate) retry_of: Option<Uuid>,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) finished_at: Option<i64>,
}

impl TryFrom<JobRow> for StoredJob {
    type Error = StoreError;

    fn try_from(row: JobRow) -> Result<Self, StoreError> {
        let wrong = |column, error: serde_json::Error| corrupt("job", column, &row.id, error);
        let body: JobBody = serde_json::from_str(&row.body).map_err(|it| wrong("body", it))?;
        let counts: BTreeMap<String, u64> =
            serde_json::from_str(&row.counts).map_err(|it| wrong("counts", it))?;
        let kind = JobKind::by_name(&row.kind);
        let state = JobState::by_name(&row.state);
        Ok(Self {
            id: JobId::from_uuid(row.id),
            tenant_id: TenantId::from_uuid(row.tenant_id),
            kind: kind.ok_or_else(|| corrupt("job", "kind", &row.id, "unknown kind"))?,
            name: row.name,
            order: body.order,
            stagger: Duration::from_millis(body.stagger_ms),
            plan: body.plan,
            created_by: row.created_by,
            created_at: instant(row.created_at),
            retry_of: row.retry_of.map(JobId::from_uuid),
            progress: JobProgress {
                state: state.ok_or_else(|| corrupt("job", "state", &row.id, "unknown state"))?,
                counts: counts_of(counts.into_iter(), row.id)?,
                spent: Duration::from_millis(count(row.spent_ms)),
                attempts: count(row.attempts),
                updated_at: instant(row.updated_at),
                finished_at: row.finished_at.map(instant),
            },
        })
    }
}

/// A job's columns.
pub(crate) struct JobValues {
    pub(crate) body: String,
    pub(crate) progress: ProgressValues,
}

/// Those of them that change.
pub(crate) struct ProgressValues {
    pub(crate) state: &'static str,
    pub(crate) counts: String,
    pub(crate) spent_ms: i64,
    pub(crate) attempts: i64,
    pub(crate) updated_at: i64,
    pub(crate) finished_at: Option<i64>,
}

impl JobValues {
    pub(crate) fn of(job: &StoredJob) -> Result<Self, StoreError> {
        let body = JobBody {
            order: job.order.clone(),
            stagger_ms: u64::try_from(span(job.stagger)).unwrap_or(0),
            plan: job.plan.clone(),
        };
        let body = serde_json::to_string(&body);
        Ok(Self {
            body: body.map_err(|error| StoreError::Rejected(Box::new(error)))?,
            progress: ProgressValues::of(&job.progress),
        })
    }
}

impl ProgressValues {
    pub(crate) fn of(progress: &JobProgress) -> Self {
        Self {
            state: progress.state.name(),
            counts: counts_json(&progress.counts),
            spent_ms: span(progress.spent),
            attempts: of_count(progress.attempts),
            updated_at: millis(progress.updated_at),
            finished_at: progress.finished_at.map(millis),
        }
    }
}

pub(crate) fn counts_json(counts: &Counts) -> String {
    let counts: BTreeMap<&str, u64> = ItemState::ALL
        .into_iter()
        .map(|state| (state.name(), counts.get(state)))
        .filter(|(_, items)| *items > 0)
        .collect();
    serde_json::json!(counts).to_string()
}

/// Counts by the names of states.
pub(crate) fn counts_of(
    counts: impl Iterator<Item = (String, u64)>,
    job: Uuid,
) -> Result<Counts, StoreError> {
    let mut sum = Counts::default();
    for (state, items) in counts {
        sum.add(item_state(&state, job)?, items);
    }
    Ok(sum)
}

/// Counts as the database made them.
pub(crate) fn counted(rows: Vec<(String, i64)>, job: Uuid) -> Result<Counts, StoreError> {
    counts_of(
        rows.into_iter().map(|(state, items)| (state, count(items))),
        job,
    )
}

/// Job, tenant, command, attempts.
pub(crate) fn late_proof((job, tenant, downlink, attempts): (Uuid, Uuid, Uuid, i64)) -> LateProof {
    LateProof {
        job: JobId::from_uuid(job),
        tenant_id: TenantId::from_uuid(tenant),
        downlink_id: DownlinkId::from_uuid(downlink),
        attempts: u8::try_from(attempts).unwrap_or(u8::MAX),
    }
}

fn item_state(name: &str, job: Uuid) -> Result<ItemState, StoreError> {
    ItemState::by_name(name).ok_or_else(|| corrupt("job_item", "state", &job, "unknown state"))
}

fn seq(job: Uuid, number: i64) -> Result<u32, StoreError> {
    u32::try_from(number).map_err(|error| corrupt("job_item", "seq", &job, error))
}

/// An item that is on the air.
#[derive(FromRow)]
pub(crate) struct ItemRow {
    pub(crate) job_id: Uuid,
    pub(crate) seq: i64,
    pub(crate) network_server_id: Uuid,
    pub(crate) dev_eui: String,
    pub(crate) downlink_id: Uuid,
}

impl TryFrom<ItemRow> for Item {
    type Error = StoreError;

    fn try_from(row: ItemRow) -> Result<Self, StoreError> {
        Ok(Self {
            seq: seq(row.job_id, row.seq)?,
            key: DeviceKey {
                server: NetworkServerId::from_uuid(row.network_server_id),
                dev_eui: parse_dev_eui(&row.dev_eui, "job_item", row.job_id)?,
            },
            downlink_id: DownlinkId::from_uuid(row.downlink_id),
        })
    }
}

/// An item under way, with its command as that is stored.
#[derive(FromRow)]
pub(crate) struct UnderWayRow {
    #[sqlx(flatten)]
    pub(crate) item: ItemRow,
    pub(crate) handed_over_at: Option<i64>,
    pub(crate) downlink_body: Option<String>,
}

impl UnderWayRow {
    pub(crate) fn under_way(self) -> Result<(Item, Timestamp, Option<Known>), StoreError> {
        let id = self.item.downlink_id;
        let known = self
            .downlink_body
            .map(|body| read_known(&body, id))
            .transpose()?;
        let at = instant(self.handed_over_at.unwrap_or(0));
        Ok((Item::try_from(self.item)?, at, known))
    }
}

fn read_known(body: &str, id: Uuid) -> Result<Known, StoreError> {
    let downlink: Downlink =
        serde_json::from_str(body).map_err(|error| corrupt("downlink", "body", &id, error))?;
    Ok(Known {
        state: downlink.state,
        reason: downlink.reason,
        attempts: downlink.attempts,
    })
}

/// The places and commands of items.
pub(crate) fn unverified(
    job: Uuid,
    rows: Vec<(i64, Uuid)>,
) -> Result<Vec<(u32, DownlinkId)>, StoreError> {
    let place = |(number, id)| Ok((seq(job, number)?, DownlinkId::from_uuid(id)));
    rows.into_iter().map(place).collect()
}

/// An item as lists show it.
#[derive(FromRow)]
pub(crate) struct JobItemRow {
    pub(crate) job_id: Uuid,
    pub(crate) seq: i64,
    pub(crate) device_id: Option<Uuid>,
    pub(crate) dev_eui: Option<String>,
    pub(crate) downlink_id: Uuid,
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) attempts: i64,
    pub(crate) handed_over_at: Option<i64>,
    pub(crate) finished_at: Option<i64>,
    pub(crate) downlink_body: Option<String>,
}

impl TryFrom<JobItemRow> for JobItem {
    type Error = StoreError;

    fn try_from(row: JobItemRow) -> Result<Self, StoreError> {
        let dev_eui = row.dev_eui.as_deref();
        let dev_eui = dev_eui.map(|text| parse_dev_eui(text, "job_item", row.job_id));
        let known = row.downlink_body.as_deref();
        let known = known
            .map(|body| read_known(body, row.downlink_id))
            .transpose()?;
        let state = item_state(&row.state, row.job_id)?;
        let attempts = known.as_ref().map_or(row.attempts, |it| it.attempts.into());
        let waits = known.as_ref().filter(|_| !state.is_over());
        Ok(Self {
            seq: seq(row.job_id, row.seq)?,
            device_id: row.device_id.map(DeviceId::from_uuid),
            dev_eui: dev_eui.transpose()?,
            downlink_id: DownlinkId::from_uuid(row.downlink_id),
            state,
            reason: row.reason,
            attempts: u8::try_from(attempts).unwrap_or(u8::MAX),
            handed_over_at: row.handed_over_at.map(instant),
            finished_at: row.finished_at.map(instant),
            downlink: known.as_ref().map(|known| known.state),
            waits_for: waits
                .filter(|known| known.state == DownlinkState::Waiting)
                .and_then(|known| known.reason.as_ref())
                .map(|reason: &Reason| reason.name().to_owned()),
        })
    }
}

/// A new item's columns.
pub(crate) struct NewItemValues {
    pub(crate) seq: i64,
    pub(crate) device_id: Option<Uuid>,
    pub(crate) network_server_id: Option<Uuid>,
    pub(crate) dev_eui: Option<String>,
    pub(crate) downlink_id: Uuid,
    pub(crate) state: &'static str,
    pub(crate) reason: Option<&'static str>,
}

impl NewItemValues {
    pub(crate) fn of(item: &NewJobItem) -> Self {
        let state = match item.left_out {
            None => ItemState::Waiting,
            Some(_) => ItemState::Skipped,
        };
        Self {
            seq: item.seq.into(),
            device_id: item.device_id.map(DeviceId::as_uuid),
            network_server_id: item.key.map(|key| key.server.as_uuid()),
            dev_eui: item.dev_eui.map(|dev_eui| dev_eui.to_string()),
            downlink_id: item.downlink_id.as_uuid(),
            state: state.name(),
            reason: item.left_out,
        }
    }
}

/// What becomes of an item, as columns.
pub(crate) struct ChangeValues {
    pub(crate) job_id: Uuid,
    pub(crate) seq: i64,
    pub(crate) state: &'static str,
    pub(crate) reason: Option<&'static str>,
    pub(crate) attempts: i64,
    /// When its turn came, if that is what happened.
    pub(crate) handed_over_at: Option<i64>,
    pub(crate) finished_at: Option<i64>,
}

impl ChangeValues {
    /// Those of all items that changed.
    pub(crate) fn of_all(changes: &[JobChange]) -> Vec<Self> {
        let of_job = |job: &JobChange| -> Vec<Self> {
            let (id, at) = (job.id.as_uuid(), millis(job.progress.updated_at));
            job.items.iter().map(|it| Self::of(id, *it, at)).collect()
        };
        changes.iter().flat_map(of_job).collect()
    }

    fn of(job_id: Uuid, change: Change, at: i64) -> Self {
        Self {
            job_id,
            seq: change.seq.into(),
            state: change.state.name(),
            reason: change.reason,
            attempts: change.attempts.into(),
            handed_over_at: (change.state == ItemState::UnderWay).then_some(at),
            finished_at: change.state.is_over().then_some(at),
        }
    }
}

/// What devices' stored states say of their air. One that cannot be read is its actor's affair.
pub(crate) fn hearings(rows: Vec<(Uuid, String)>) -> HashMap<DeviceId, Hearing> {
    rows.into_iter()
        .filter_map(|(id, state)| {
            let hearing = serde_json::from_str(&state).ok()?;
            Some((DeviceId::from_uuid(id), hearing))
        })
        .collect()
}
