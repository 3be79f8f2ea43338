//! What is kept of jobs. The edges write new ones down and read them; all else about them is the runner's.

use std::time::Duration;

use async_trait::async_trait;
use downbeat_core::codec::Command;
use downbeat_core::id::{DownlinkId, JobId, TenantId};
use downbeat_core::job::{Change, Counts, Item, JobKind, JobState, Known, Plan};
use downbeat_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::audit::AuditEntry;
use super::store::StoreError;

/// What each device of a job is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOrder {
    /// The command; none where devices are initialised.
    pub command: Option<Command>,
    /// Whether a LoRaWAN acknowledgement is asked for.
    pub confirmed: bool,
    /// Whether a proof is wanted.
    pub verify: bool,
    /// A light to be shown without becoming the desired one.
    pub transient: bool,
    /// How often each is tried at the most; the policy's number when absent.
    pub attempts_max: Option<u8>,
    /// How long each may take from its turn until its last attempt begins, seconds; the policy's when absent.
    pub ttl_s: Option<u32>,
    /// Also where it was done not long ago.
    pub force: bool,
}

/// A job as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredJob {
    /// Its id.
    pub id: JobId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// What it does.
    pub kind: JobKind,
    /// For people.
    pub name: String,
    /// What each device is told.
    pub order: JobOrder,
    /// At least so far apart are two devices told.
    pub stagger: Duration,
    /// What it was expected to cost when it was made.
    pub plan: Plan,
    /// The name of the key that made it.
    pub created_by: String,
    /// When it was made; what a device was told since is newer.
    pub created_at: Timestamp,
    /// The job whose failures it tries again.
    pub retry_of: Option<JobId>,
    /// How far it is.
    pub progress: JobProgress,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobProgress {
    /// Where it is in its life.
    pub state: JobState,
    /// How many items are in each state.
    pub counts: Counts,
    /// How long it was running.
    pub spent: Duration,
    /// How often its commands were tried, of those that are over.
    pub attempts: u64,
    /// When it changed last.
    pub updated_at: Timestamp,
    /// When its last item reached its end.
    pub finished_at: Option<Timestamp>,
}

/// A job to be taken up.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedJob {
    /// The job; its counts are those of its items.
    pub job: StoredJob,
    /// Its items under way: when they were handed over, and what is known of their commands.
    pub under_way: Vec<(Item, Timestamp, Option<Known>)>,
    /// The places and commands of those that ended without a proof.
    pub unverified: Vec<(u32, DownlinkId)>,
}

/// What changed about a job. Stored whole or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct JobChange {
    /// The job.
    pub id: JobId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// Items that are something else now, each once.
    pub items: Vec<Change>,
    /// After that, all that wait are cancelled.
    pub cancel_waiting: bool,
    /// How far it is now.
    pub progress: JobProgress,
    /// Who changed it.
    pub audit: Option<AuditEntry>,
}

/// A proof that came when its item had ended without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LateProof {
    /// The job.
    pub job: JobId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The command.
    pub downlink_id: DownlinkId,
    /// How often it was tried.
    pub attempts: u8,
}

/// The runner's side of the store.
#[async_trait]
pub trait JobStore: Send + Sync + 'static {
    /// Jobs that are begun and not over.
    async fn unfinished_jobs(&self) -> Result<Vec<JobId>, StoreError>;

    /// A job with what is under way.
    async fn load_job(&self, id: JobId) -> Result<Option<LoadedJob>, StoreError>;

    /// Items of a job that wait, those behind a place, in order.
    async fn waiting_items(
        &self,
        id: JobId,
        after: Option<u32>,
        limit: u32,
    ) -> Result<Vec<Item>, StoreError>;

    /// Stores many jobs' changes in one transaction, durable when it returns.
    async fn commit_jobs(&self, changes: &[JobChange]) -> Result<(), StoreError>;

    /// Items that count as unverified though their command was verified since, at most so many: a crash overtook the news.
    async fn late_proofs(&self, limit: u32) -> Result<Vec<LateProof>, StoreError>;

    /// Items that ended without a proof, and have one now. Others are left as they are.
    async fn prove_late(&self, proofs: &[LateProof]) -> Result<(), StoreError>;

    /// Forgets jobs that were being written down when the service ended: those made before.
    async fn discard_unprepared(&self, before: Timestamp) -> Result<(), StoreError>;
}
