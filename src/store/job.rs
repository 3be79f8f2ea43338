//! Commands to many devices, as they are kept.

use async_trait::async_trait;
use downbeat_actors::port::{
    AuditEntry, JobChange, JobStore, LateProof, LoadedJob, StoreError, StoredJob,
};
use downbeat_core::device::{DownlinkState, Hearing};
use downbeat_core::id::{DevEui, DeviceId, DeviceKey, DownlinkId, JobId, TenantId};
use downbeat_core::job::{Item, ItemState, JobKind, JobState};
use downbeat_core::time::Timestamp;

use super::{Device, Page, PageRequest, Scope, Store, on_backend};

/// Devices of a job that are written or looked up at once at the most, so that others wait for milliseconds only.
pub const JOB_BATCH_MAX: usize = 1_000;

/// A device of a job that is being written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJobItem {
    /// Its place, from 0.
    pub seq: u32,
    /// The device; none if nobody knows the one that was named.
    pub device_id: Option<DeviceId>,
    /// The device on the air; none where it is left out.
    pub key: Option<DeviceKey>,
    /// The `DevEUI` that it was named by, or has.
    pub dev_eui: Option<DevEui>,
    /// The id that its command will have.
    pub downlink_id: DownlinkId,
    /// Why it is left out, as a word of the API; it waits for its turn otherwise.
    pub left_out: Option<&'static str>,
}

/// A device of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobItem {
    /// Its place, from 0.
    pub seq: u32,
    /// The device.
    pub device_id: Option<DeviceId>,
    /// Its `DevEUI`.
    pub dev_eui: Option<DevEui>,
    /// Its command, which is there as soon as the device accepted it.
    pub downlink_id: DownlinkId,
    /// Where it is.
    pub state: ItemState,
    /// Why, as a word of the API.
    pub reason: Option<String>,
    /// How often its command was tried.
    pub attempts: u8,
    /// When its turn came.
    pub handed_over_at: Option<Timestamp>,
    /// When it reached its end.
    pub finished_at: Option<Timestamp>,
    /// Where its command is; none before the device accepted it, and when it is no longer kept.
    pub downlink: Option<DownlinkState>,
    /// Why its command waits, while it does.
    pub waits_for: Option<String>,
}

/// Which jobs of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Those in that state.
    pub state: Option<JobState>,
    /// Those that do that.
    pub kind: Option<JobKind>,
}

/// A device, and how it was heard last.
#[derive(Debug, Clone)]
pub struct HeardDevice {
    /// The device.
    pub device: Device,
    /// What its actor knows of its air; `None` before it did anything.
    pub hearing: Option<Hearing>,
}

impl Store {
    /// Begins to write a job down, in place of one of that id that was not begun. Nobody sees it before
    /// [`Store::start_job`].
    pub async fn prepare_job(&self, job: &StoredJob) -> Result<(), StoreError> {
        on_backend!(self.prepare_job(job))
    }

    /// Writes devices of a job down that is being prepared, at most [`JOB_BATCH_MAX`].
    pub async fn add_job_items(
        &self,
        tenant_id: TenantId,
        id: JobId,
        items: &[NewJobItem],
    ) -> Result<(), StoreError> {
        on_backend!(self.add_job_items(tenant_id, id, items))
    }

    /// Begins a job whose devices are all written down, with its entry in the audit log.
    pub async fn start_job(&self, job: &StoredJob, audit: &AuditEntry) -> Result<(), StoreError> {
        on_backend!(self.start_job(job, audit))
    }

    /// A job.
    pub async fn job(&self, scope: Scope, id: JobId) -> Result<Option<StoredJob>, StoreError> {
        on_backend!(self.job(scope, id))
    }

    /// Jobs, newest first.
    pub async fn list_jobs(
        &self,
        scope: Scope,
        filter: JobFilter,
        page: PageRequest,
    ) -> Result<Page<StoredJob>, StoreError> {
        on_backend!(self.list_jobs(scope, filter, page))
    }

    /// How many jobs of a tenant are not over.
    pub async fn count_unfinished_jobs(&self, tenant_id: TenantId) -> Result<u64, StoreError> {
        on_backend!(self.count_unfinished_jobs(tenant_id))
    }

    /// Devices of a job in the order of their places, those in these states only, if any are named.
    pub async fn list_job_items(
        &self,
        scope: Scope,
        id: JobId,
        states: &[ItemState],
        page: PageRequest,
    ) -> Result<Page<JobItem>, StoreError> {
        on_backend!(self.list_job_items(scope, id, states, page))
    }

    /// Devices of a tenant by `DevEUI` or id, at most [`JOB_BATCH_MAX`] of each, in no order. Those that are not there
    /// are missing.
    pub async fn devices_named(
        &self,
        tenant_id: TenantId,
        dev_euis: &[DevEui],
        ids: &[DeviceId],
    ) -> Result<Vec<Device>, StoreError> {
        on_backend!(self.devices_named(tenant_id, dev_euis, ids))
    }

    /// How devices of a tenant were heard last.
    pub async fn heard(
        &self,
        tenant_id: TenantId,
        devices: Vec<Device>,
    ) -> Result<Vec<HeardDevice>, StoreError> {
        let ids: Vec<DeviceId> = devices.iter().map(|device| device.id).collect();
        let mut hearings = on_backend!(self.hearings(tenant_id, &ids))?;
        let heard = |device: Device| HeardDevice {
            hearing: hearings.remove(&device.id),
            device,
        };
        Ok(devices.into_iter().map(heard).collect())
    }

    /// Forgets jobs that were over before, at most [`DELETE_BATCH_MAX`](super::DELETE_BATCH_MAX) of their devices at a
    /// time, and tells how many rows: call again while there are any.
    pub async fn delete_jobs_before(&self, before: Timestamp) -> Result<u64, StoreError> {
        on_backend!(self.delete_jobs_before(before))
    }
}

#[async_trait]
impl JobStore for Store {
    async fn unfinished_jobs(&self) -> Result<Vec<JobId>, StoreError> {
        on_backend!(self.unfinished_jobs())
    }

    async fn load_job(&self, id: JobId) -> Result<Option<LoadedJob>, StoreError> {
        on_backend!(self.load_job(id))
    }

    async fn waiting_items(
        &self,
        id: JobId,
        after: Option<u32>,
        limit: u32,
    ) -> Result<Vec<Item>, StoreError> {
        on_backend!(self.waiting_items(id, after, limit))
    }

    async fn commit_jobs(&self, changes: &[JobChange]) -> Result<(), StoreError> {
        on_backend!(self.commit_jobs(changes))
    }

    async fn late_proofs(&self, limit: u32) -> Result<Vec<LateProof>, StoreError> {
        on_backend!(self.late_proofs(limit))
    }

    async fn prove_late(&self, proofs: &[LateProof]) -> Result<(), StoreError> {
        on_backend!(self.prove_late(proofs))
    }

    async fn discard_unprepared(&self, before: Timestamp) -> Result<(), StoreError> {
        on_backend!(self.discard_unprepared(before))
    }
}
