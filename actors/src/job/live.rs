//! A job that is in memory: its machine, and what waits for a commit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use downbeat_core::codec::Command;
use downbeat_core::device::DownlinkState;
use downbeat_core::id::{DownlinkId, Scope};
use downbeat_core::job::{
    Change, Effect, Event, Item, Job, JobLimits, JobState, Known, Refusal, TakenUp,
};
use downbeat_core::time::Timestamp;
use ractor::ActorRef;
use tokio::sync::oneshot;

use super::{JobCommand, JobError, JobMessage, initialising};
use crate::device::DeviceMessage;
use crate::mailbox::Post as _;
use crate::observe::{FeedBody, FeedEvent, JobView};
use crate::order::{AskError, OfJob, Order};
use crate::port::{AuditEntry, By, JobChange, JobProgress, JobStore, LoadedJob, StoredJob};
use crate::system::Shared;

/// Watchers are told of a job's progress no more often than this.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Who waits for a commit.
pub(super) type Reply = oneshot::Sender<Result<(), JobError>>;

pub(super) struct Live {
    pub(super) job: Arc<StoredJob>,
    machine: Job,
    pending: Pending,
    /// What is done and answered when the commit that is under way has come.
    storing: Pending,
    /// As it was last given to be stored.
    given: JobProgress,
    /// As it is stored for certain: what watchers are told.
    stored: JobProgress,
    told: Option<JobView>,
}

/// What waits to be stored, and what waits for that.
#[derive(Default)]
struct Pending {
    items: BTreeMap<u32, Change>,
    cancel_waiting: bool,
    audit: Option<AuditEntry>,
    effects: Vec<Effect>,
    replies: Vec<Reply>,
}

impl Live {
    pub(super) fn take_up(loaded: LoadedJob, shared: &Shared, now: Timestamp) -> Self {
        let LoadedJob {
            job,
            under_way,
            unverified,
        } = loaded;
        let ttl = job.order.ttl_s.map(|ttl| Duration::from_secs(ttl.into()));
        let stored = TakenUp {
            state: job.progress.state,
            counts: job.progress.counts,
            stagger: job.stagger,
            planned: job.plan.planned(),
            spent: job.progress.spent,
            attempts: job.progress.attempts,
            finished_at: job.progress.finished_at,
            time_to_live: ttl.unwrap_or(shared.policy.command_ttl),
            under_way,
            unverified,
        };
        let limits = JobLimits::for_gateways(job.plan.gateways.len());
        let (machine, effects) = Job::take_up(stored, limits, now);
        let mut live = Self {
            given: job.progress,
            stored: job.progress,
            job: Arc::new(job),
            machine,
            pending: Pending::default(),
            storing: Pending::default(),
            told: None,
        };
        live.note(effects);
        live
    }

    pub(super) fn step(&mut self, now: Timestamp, event: Event) {
        let effects = self.machine.step(now, event);
        self.note(effects);
    }

    pub(super) fn on_message(&mut self, now: Timestamp, message: JobMessage) {
        match message {
            JobMessage::Command {
                scope,
                command,
                by,
                reply,
                ..
            } => self.on_command(now, scope, command, by, reply),
            JobMessage::Happened { event, .. } => self.step(now, event),
            JobMessage::Moved {
                downlink_id, known, ..
            } => self.step(now, Event::Moved { downlink_id, known }),
            JobMessage::Begin(_)
            | JobMessage::Listed(_)
            | JobMessage::Loaded { .. }
            | JobMessage::Read { .. }
            | JobMessage::FeedLost
            | JobMessage::Committed(_)
            | JobMessage::LateFound(_)
            | JobMessage::LateStored(_)
            | JobMessage::Wake { .. } => {}
        }
    }

    fn on_command(
        &mut self,
        now: Timestamp,
        scope: Scope,
        command: JobCommand,
        by: By,
        reply: Reply,
    ) {
        if !scope.contains(self.job.tenant_id) {
            let _ = reply.send(Err(JobError::Unknown));
            return;
        }
        let before = self.machine.state();
        let is_so = match command {
            JobCommand::Pause => before == JobState::Paused,
            JobCommand::Resume => before == JobState::Running,
            JobCommand::Cancel => before == JobState::Cancelled,
        };
        if !is_so && !before.is_open() {
            let _ = reply.send(Err(JobError::Over));
            return;
        }
        if !is_so {
            self.step(now, command.event());
            self.pending.audit = Some(AuditEntry {
                id: uuid::Uuid::now_v7(),
                at: now,
                tenant_id: Some(self.job.tenant_id),
                by,
                action: format!("job.{}", command.name()),
                object_id: self.job.id.to_string(),
                before: Some(serde_json::json!({"state": before.name()})),
                after: Some(serde_json::json!({"state": self.machine.state().name()})),
            });
        }
        // What it rests on may still be on its way to the store.
        self.pending.replies.push(reply);
    }

    /// Parts what is to be stored from what is to be done afterwards.
    fn note(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Store(change) => {
                    self.pending.items.insert(change.seq, change);
                }
                Effect::CancelWaiting => self.pending.cancel_waiting = true,
                Effect::HandOver(_) | Effect::Withdraw(_) | Effect::Read { .. } => {
                    self.pending.effects.push(effect);
                }
            }
        }
    }

    /// Whether anything is to be stored, or being stored, before the next thing is done.
    pub(super) fn has_changed(&self) -> bool {
        let pending = &self.pending;
        !pending.items.is_empty()
            || pending.cancel_waiting
            || pending.audit.is_some()
            || !pending.replies.is_empty()
            || self.given.state != self.machine.state()
            || self.given.finished_at != self.machine.finished_at()
            || !self.storing.is_empty()
    }

    /// What is to be done and rests on nothing that is not stored.
    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.pending.effects)
    }

    /// What is to be stored, if anything is.
    pub(super) fn begin_commit(&mut self, now: Timestamp) -> Option<JobChange> {
        if !self.has_changed() {
            return None;
        }
        let pending = std::mem::take(&mut self.pending);
        self.given = self.progress(now);
        let change = JobChange {
            id: self.job.id,
            tenant_id: self.job.tenant_id,
            items: pending.items.values().copied().collect(),
            cancel_waiting: pending.cancel_waiting,
            progress: self.given,
            audit: pending.audit.clone(),
        };
        self.storing = pending;
        Some(change)
    }

    /// It is stored: answers who waited, and gives what is to be done now.
    pub(super) fn end_commit(&mut self, shared: &Shared, now: Timestamp) -> Vec<Effect> {
        let stored = std::mem::take(&mut self.storing);
        self.stored = self.given;
        // Who is answered and looks again sees what was done.
        self.tell(shared, now);
        for reply in stored.replies {
            let _ = reply.send(Ok(()));
        }
        stored.effects
    }

    /// It is not, and what was decided here is forgotten.
    pub(super) fn refuse(self) {
        for reply in self.storing.replies.into_iter().chain(self.pending.replies) {
            let _ = reply.send(Err(JobError::StoreUnavailable));
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.machine.is_over()
    }

    /// Tells watchers how far it is: at once when its state changed, else now and then.
    pub(super) fn tell(&mut self, shared: &Shared, now: Timestamp) {
        let view = self.view(now);
        let is_due = self.told.as_ref().is_none_or(|told| {
            told.progress.state != view.progress.state
                || told.progress.finished_at != view.progress.finished_at
                || (told.progress.counts != view.progress.counts
                    && now.since(told.at) >= TOLD_EVERY)
        });
        if self.stored.finished_at.is_none() {
            shared.job_views.insert(self.job.id, view.clone());
        }
        if is_due {
            shared.feed.publish(FeedEvent {
                at: now,
                tenant_id: Some(self.job.tenant_id),
                body: FeedBody::Job(Box::new(view.clone())),
            });
            self.told = Some(view);
        }
    }

    pub(super) fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        let untold = self.told.as_ref();
        let untold = untold.filter(|told| told.progress.counts != self.stored.counts);
        let tell_at = untold.map(|told| (told.at + TOLD_EVERY).max(now));
        self.machine.next_wake().into_iter().chain(tell_at).min()
    }

    fn progress(&self, now: Timestamp) -> JobProgress {
        JobProgress {
            state: self.machine.state(),
            counts: *self.machine.counts(),
            spent: self.machine.spent(now),
            attempts: self.machine.attempts(),
            updated_at: now,
            finished_at: self.machine.finished_at(),
        }
    }

    fn view(&self, now: Timestamp) -> JobView {
        let runs = self.stored.state == JobState::Running;
        JobView {
            id: self.job.id,
            tenant_id: self.job.tenant_id,
            kind: self.job.kind,
            name: self.job.name.clone(),
            at: now,
            progress: self.stored,
            out_of_reach: self.machine.out_of_reach(),
            remaining: self.machine.remaining(now).filter(|_| runs),
        }
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.items.is_empty()
            && !self.cancel_waiting
            && self.audit.is_none()
            && self.effects.is_empty()
            && self.replies.is_empty()
    }
}

/// Does what was decided, in a task of its own; what comes of it is a message.
pub(super) fn perform(
    effect: Effect,
    job: &Arc<StoredJob>,
    store: &Arc<dyn JobStore>,
    shared: &Arc<Shared>,
    runner: &ActorRef<JobMessage>,
) {
    let (id, runner) = (job.id, runner.clone());
    match effect {
        Effect::HandOver(item) => {
            let (job, shared) = (Arc::clone(job), Arc::clone(shared));
            let tell = move |event| {
                let _ = runner.post(JobMessage::Happened { id, event });
            };
            tokio::spawn(async move {
                match &job.order.command {
                    Some(command) => hand_over(&shared, &job, command.clone(), item)
                        .await
                        .into_iter()
                        .for_each(tell),
                    None => initialising::follow(&shared, &job, item, tell).await,
                }
            });
        }
        // What was begun goes on: a device is better initialised whole than by half.
        Effect::Withdraw(item) if job.order.command.is_none() => {
            let event = Event::Moved {
                downlink_id: item.downlink_id,
                known: Known {
                    state: DownlinkState::Cancelled,
                    reason: None,
                    attempts: 0,
                },
            };
            let _ = runner.post(JobMessage::Happened { id, event });
        }
        Effect::Withdraw(item) => {
            let (scope, shared) = (Scope::Tenant(job.tenant_id), Arc::clone(shared));
            tokio::spawn(async move {
                let withdrawn = shared.ask(item.key, |reply| DeviceMessage::Cancel {
                    scope,
                    id: item.downlink_id,
                    by: None,
                    reply,
                });
                // What ended it is told by the feed; a device that is gone has told already.
                if let Err(error) = withdrawn.await {
                    tracing::debug!(job.id = %id, downlink.id = %item.downlink_id, %error, "a job's command could not be taken back");
                }
            });
        }
        Effect::Read { after, limit } => {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let read = store.waiting_items(id, after, limit).await;
                let _ = runner.post(JobMessage::Read { id, read });
            });
        }
        Effect::Store(_) | Effect::CancelWaiting => {}
    }
}

/// Hands a device its command; nothing to be told when the service stops.
async fn hand_over(
    shared: &Shared,
    job: &StoredJob,
    command: Command,
    item: Item,
) -> Option<Event> {
    let order = Order {
        id: Some(item.downlink_id),
        command,
        confirmed: job.order.confirmed,
        verify: job.order.verify,
        transient: job.order.transient,
        attempts_max: job.order.attempts_max,
        by: By::downbeat(),
        ttl: job.order.ttl_s.map(|ttl| Duration::from_secs(ttl.into())),
        until_deadline: None,
        job: Some(OfJob {
            id: job.id,
            asked_at: job.created_at,
        }),
    };
    let scope = Scope::Tenant(job.tenant_id);
    let submitted = shared.ask(item.key, |reply| DeviceMessage::Submit {
        scope,
        order: order.clone(),
        reply,
    });
    let id = item.downlink_id;
    match submitted.await {
        Ok(_) => Some(Event::Accepted(id)),
        Err(error) => refused(id, &error),
    }
}

/// What a device's refusal is to its job; nothing to be told when the service stops.
pub(super) fn refused(id: DownlinkId, error: &AskError) -> Option<Event> {
    match error {
        AskError::UnknownDevice => Some(Event::Refused(id, Refusal::UnknownDevice)),
        AskError::NotUnderstood(_) => Some(Event::Refused(id, Refusal::NotUnderstood)),
        AskError::Newer => Some(Event::Refused(id, Refusal::Newer)),
        AskError::DeviceBusy | AskError::Overloaded | AskError::StoreUnavailable => {
            Some(Event::Busy(id))
        }
        AskError::Stopping => None,
    }
}
