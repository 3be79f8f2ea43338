//! Keeps jobs going: one actor drives a machine of [`downbeat_core::job`] for each job that is not over.
//!
//! What a machine decides is stored first, many jobs' changes in one transaction and the next one when that is done;
//! then devices are told. Their own actors do the rest, and the feed tells how they fare. If the store fails, or events
//! of the feed were missed, a job is forgotten and taken up as it is stored, as after a crash.

mod initialising;
mod live;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use downbeat_core::device::DownlinkState;
use downbeat_core::id::{DownlinkId, JobId, Scope, TenantId};
use downbeat_core::job::{Event, Item, JobState, Known};
use downbeat_core::time::Timestamp;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use self::live::Live;
use crate::mailbox::{Post as _, taken};
use crate::observe::{Feed, FeedBody, FeedItem};
use crate::port::{By, JobChange, JobStore, LateProof, LoadedJob, StoreError};
use crate::system::Shared;

/// A store that failed is asked again after this.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Late proofs that are kept until they are stored; further ones are found at the next start.
const LATE_MAX: usize = 10_000;
/// Late proofs that are looked for at once.
const LATE_FOUND_MAX: u32 = 1_000;

/// Messages that are kept for a job while it is read.
const BACKLOG_MAX: usize = 100_000;

/// What is wanted of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobCommand {
    /// No further devices are told.
    Pause,
    /// It goes on.
    Resume,
    /// It is taken back.
    Cancel,
}

impl JobCommand {
    /// The word in the audit log, after `job.`.
    const fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
        }
    }

    fn event(self) -> Event {
        match self {
            Self::Pause => Event::PauseRequested,
            Self::Resume => Event::ResumeRequested,
            Self::Cancel => Event::CancelRequested,
        }
    }
}

/// Why a job did not do what was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// No such job, or not the caller's.
    #[error("no such job")]
    Unknown,
    /// It is over.
    #[error("the job is over")]
    Over,
    /// It could not be stored.
    #[error("the database is unavailable")]
    StoreUnavailable,
}

pub(crate) enum JobMessage {
    /// A job was written down.
    Begin(JobId),
    Command {
        scope: Scope,
        id: JobId,
        command: JobCommand,
        by: By,
        reply: oneshot::Sender<Result<(), JobError>>,
    },
    /// The jobs that are not over, as the store has them.
    Listed(Result<Vec<JobId>, StoreError>),
    Loaded {
        id: JobId,
        loaded: Box<Result<Option<LoadedJob>, StoreError>>,
    },
    Read {
        id: JobId,
        read: Result<Vec<Item>, StoreError>,
    },
    Happened {
        id: JobId,
        event: Event,
    },
    /// A command that is part of a job took a step.
    Moved {
        id: JobId,
        tenant_id: TenantId,
        downlink_id: DownlinkId,
        known: Known,
    },
    /// Steps were missed.
    FeedLost,
    Committed(Result<(), StoreError>),
    /// Proofs whose news were missed, as the store has them.
    LateFound(Result<Vec<LateProof>, StoreError>),
    LateStored(Result<(), StoreError>),
    /// Time to look again.
    Wake {
        generation: u64,
    },
}

pub(crate) struct JobRunner;

pub(crate) struct JobArguments {
    pub(crate) shared: Weak<Shared>,
    pub(crate) store: Arc<dyn JobStore>,
}

pub(crate) struct JobRunnerState {
    shared: Weak<Shared>,
    store: Arc<dyn JobStore>,
    jobs: HashMap<JobId, Entry>,
    /// Jobs whose changes are being stored; empty when none are.
    storing: HashSet<JobId>,
    late: Vec<LateProof>,
    late_storing: Vec<LateProof>,
    /// News of late proofs may have been missed.
    looks_for_late: bool,
    /// The store failed just now.
    rests_until: Option<Timestamp>,
    alarm: Option<JoinHandle<()>>,
    generation: u64,
    feed: JoinHandle<()>,
}

enum Entry {
    /// To be read; what comes meanwhile waits.
    Loading {
        begun: bool,
        backlog: Vec<JobMessage>,
    },
    Live(Box<Live>),
}

impl Drop for JobRunnerState {
    fn drop(&mut self) {
        self.feed.abort();
        if let Some(alarm) = self.alarm.take() {
            alarm.abort();
        }
    }
}

impl Actor for JobRunner {
    type Msg = JobMessage;
    type State = JobRunnerState;
    type Arguments = JobArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<JobMessage>,
        arguments: JobArguments,
    ) -> Result<JobRunnerState, ActorProcessingErr> {
        let shared = arguments
            .shared
            .upgrade()
            .ok_or("the service is going down")?;
        // Before anything is read, so that no step falls in between.
        let feed = tokio::spawn(follow(shared.feed.clone(), myself.clone()));
        let (store, before) = (Arc::clone(&arguments.store), shared.clock.now());
        let runner = myself.clone();
        tokio::spawn(async move {
            if let Err(error) = store.discard_unprepared(before).await {
                tracing::warn!(%error, "jobs that were never begun could not be forgotten; the next start does");
            }
            let listed = store.unfinished_jobs().await;
            let _ = runner.post(JobMessage::Listed(listed));
            find_late(&*store, &runner).await;
        });
        Ok(JobRunnerState {
            shared: arguments.shared,
            store: arguments.store,
            jobs: HashMap::new(),
            storing: HashSet::new(),
            late: Vec::new(),
            late_storing: Vec::new(),
            looks_for_late: false,
            rests_until: None,
            alarm: None,
            generation: 0,
            feed,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<JobMessage>,
        message: JobMessage,
        state: &mut JobRunnerState,
    ) -> Result<(), ActorProcessingErr> {
        taken::<JobMessage>();
        let Some(shared) = state.shared.upgrade() else {
            myself.stop(None);
            return Ok(());
        };
        let now = shared.clock.now();
        state.on_message(&myself, &shared, now, message);
        state.read_those_that_wait(&myself, now);
        state.look_for_late(&myself, now);
        // The last word of a job that is over comes before it leaves.
        state.tell(&shared, now);
        state.commit(&myself, &shared, now);
        state.store_late(&myself, now);
        state.set_alarm(&myself, &shared, now);
        Ok(())
    }
}

/// Passes on what becomes of jobs' commands.
async fn follow(feed: Feed, runner: ActorRef<JobMessage>) {
    let mut feed = feed.subscribe(None);
    loop {
        let message = match feed.next().await {
            FeedItem::Reset(_) => JobMessage::FeedLost,
            FeedItem::Event(_, event) => {
                let FeedBody::Downlink(record, _) = &event.body else {
                    continue;
                };
                let downlink = &record.downlink;
                let (Some(id), Some(tenant_id)) = (downlink.origin.job(), event.tenant_id) else {
                    continue;
                };
                JobMessage::Moved {
                    id,
                    tenant_id,
                    downlink_id: downlink.id,
                    known: Known {
                        state: downlink.state,
                        reason: downlink.reason.clone(),
                        attempts: downlink.attempts,
                    },
                }
            }
        };
        if runner.post(message).is_err() {
            return;
        }
    }
}

/// Looks for proofs whose news was missed. Unfinished jobs have to be known before: what concerns them is theirs to count.
async fn find_late(store: &dyn JobStore, runner: &ActorRef<JobMessage>) {
    let found = store.late_proofs(LATE_FOUND_MAX).await;
    let _ = runner.post(JobMessage::LateFound(found));
}

fn moved(proof: &LateProof) -> JobMessage {
    JobMessage::Moved {
        id: proof.job,
        tenant_id: proof.tenant_id,
        downlink_id: proof.downlink_id,
        known: Known {
            state: DownlinkState::Verified,
            reason: None,
            attempts: proof.attempts,
        },
    }
}

impl JobRunnerState {
    fn on_message(
        &mut self,
        myself: &ActorRef<JobMessage>,
        shared: &Arc<Shared>,
        now: Timestamp,
        message: JobMessage,
    ) {
        match message {
            JobMessage::Begin(id) => self.take_up(id),
            JobMessage::Listed(Ok(jobs)) => {
                for id in jobs {
                    self.take_up(id);
                }
            }
            JobMessage::Listed(Err(error)) => {
                tracing::warn!(%error, "unfinished jobs could not be read; the store is asked again");
                self.list_later(myself);
            }
            JobMessage::Loaded { id, loaded } => self.on_loaded(myself, shared, now, id, *loaded),
            JobMessage::Read { id, read } => match read {
                Ok(items) => self.on_read(shared, now, id, items),
                Err(error) => {
                    tracing::warn!(job.id = %id, %error, "a job's devices could not be read; it is taken up anew");
                    self.forget(shared, now, id);
                }
            },
            JobMessage::FeedLost => {
                let live = self.jobs.iter();
                let live = live.filter(|(_, entry)| matches!(entry, Entry::Live(_)));
                let live: Vec<JobId> = live.map(|(id, _)| *id).collect();
                for id in live {
                    self.forget(shared, now, id);
                }
                self.rests_until = None;
                self.looks_for_late = true;
            }
            JobMessage::Committed(result) => self.on_committed(myself, shared, now, &result),
            JobMessage::LateFound(Ok(proofs)) => {
                self.looks_for_late |= proofs.len() >= LATE_FOUND_MAX as usize;
                for proof in proofs {
                    self.on_concerns(now, proof.job, moved(&proof));
                }
            }
            JobMessage::LateFound(Err(error)) => {
                tracing::warn!(%error, "late proofs of jobs could not be read; the store is asked again");
                self.looks_for_late = true;
                self.rests_until = Some(now + STORE_PAUSE);
            }
            JobMessage::LateStored(result) => self.on_late_stored(now, result),
            JobMessage::Wake { generation } => {
                if generation == self.generation {
                    self.alarm = None;
                    for entry in self.jobs.values_mut() {
                        if let Entry::Live(live) = entry {
                            live.step(now, Event::Elapsed);
                        }
                    }
                }
            }
            JobMessage::Command { id, .. }
            | JobMessage::Happened { id, .. }
            | JobMessage::Moved { id, .. } => self.on_concerns(now, id, message),
        }
    }

    /// What concerns one job: now, or when it was read.
    fn on_concerns(&mut self, now: Timestamp, id: JobId, message: JobMessage) {
        match (self.jobs.get_mut(&id), message) {
            (Some(Entry::Loading { backlog, .. }), message) => {
                if backlog.len() < BACKLOG_MAX {
                    backlog.push(message);
                }
            }
            (Some(Entry::Live(live)), message) => live.on_message(now, message),
            (
                None,
                JobMessage::Moved {
                    tenant_id,
                    downlink_id,
                    known,
                    ..
                },
            ) => {
                let is_proof = known.state == DownlinkState::Verified;
                if is_proof && self.late.len() < LATE_MAX {
                    self.late.push(LateProof {
                        job: id,
                        tenant_id,
                        downlink_id,
                        attempts: known.attempts,
                    });
                }
            }
            (None, message @ JobMessage::Command { .. }) => {
                self.take_up(id);
                self.on_concerns(now, id, message);
            }
            (None, _) => {}
        }
    }

    fn take_up(&mut self, id: JobId) {
        self.jobs.entry(id).or_insert_with(|| Entry::Loading {
            begun: false,
            backlog: Vec::new(),
        });
    }

    /// The store is ahead of what is here, or behind: the job is taken up as it is stored.
    fn forget(&mut self, shared: &Shared, now: Timestamp, id: JobId) {
        self.rests_until = Some(now + STORE_PAUSE);
        // What it counted and could not store is told once only.
        self.looks_for_late = true;
        if let Some(Entry::Live(live)) = self.jobs.remove(&id) {
            live.refuse();
        }
        shared.job_views.remove(&id);
        self.take_up(id);
    }

    fn list_later(&self, myself: &ActorRef<JobMessage>) {
        let (store, myself) = (Arc::clone(&self.store), myself.clone());
        tokio::spawn(async move {
            tokio::time::sleep(STORE_PAUSE).await;
            let listed = store.unfinished_jobs().await;
            let _ = myself.post(JobMessage::Listed(listed));
        });
    }

    fn look_for_late(&mut self, myself: &ActorRef<JobMessage>, now: Timestamp) {
        // What is not stored yet would be found once more.
        let is_storing = !self.late.is_empty() || !self.late_storing.is_empty();
        if !self.looks_for_late || is_storing || self.rests(now) {
            return;
        }
        self.looks_for_late = false;
        let (store, myself) = (Arc::clone(&self.store), myself.clone());
        tokio::spawn(async move { find_late(&*store, &myself).await });
    }

    fn rests(&self, now: Timestamp) -> bool {
        self.rests_until.is_some_and(|until| until > now)
    }

    fn read_those_that_wait(&mut self, myself: &ActorRef<JobMessage>, now: Timestamp) {
        if self.rests(now) {
            return;
        }
        for (id, entry) in &mut self.jobs {
            let Entry::Loading { begun, .. } = entry else {
                continue;
            };
            // What is being stored of it may still come.
            if *begun || self.storing.contains(id) {
                continue;
            }
            *begun = true;
            let (id, store, myself) = (*id, Arc::clone(&self.store), myself.clone());
            tokio::spawn(async move {
                let loaded = Box::new(store.load_job(id).await);
                let _ = myself.post(JobMessage::Loaded { id, loaded });
            });
        }
    }

    fn on_loaded(
        &mut self,
        myself: &ActorRef<JobMessage>,
        shared: &Arc<Shared>,
        now: Timestamp,
        id: JobId,
        loaded: Result<Option<LoadedJob>, StoreError>,
    ) {
        let Some(Entry::Loading { begun, backlog }) = self.jobs.get_mut(&id) else {
            return;
        };
        match loaded {
            Ok(Some(loaded)) if loaded.job.progress.state != JobState::Preparing => {
                let backlog = std::mem::take(backlog);
                let live = Live::take_up(loaded, shared, now);
                self.jobs.insert(id, Entry::Live(Box::new(live)));
                for message in backlog {
                    self.on_message(myself, shared, now, message);
                }
            }
            Ok(_) => {
                let backlog = std::mem::take(backlog);
                self.jobs.remove(&id);
                for message in backlog {
                    if let JobMessage::Command { reply, .. } = message {
                        let _ = reply.send(Err(JobError::Unknown));
                    }
                }
            }
            Err(error) => {
                tracing::warn!(job.id = %id, %error, "a job could not be read; the store is asked again");
                *begun = false;
                let (asking, rest): (Vec<_>, Vec<_>) = std::mem::take(backlog)
                    .into_iter()
                    .partition(|message| matches!(message, JobMessage::Command { .. }));
                *backlog = rest;
                for message in asking {
                    if let JobMessage::Command { reply, .. } = message {
                        let _ = reply.send(Err(JobError::StoreUnavailable));
                    }
                }
                self.rests_until = Some(now + STORE_PAUSE);
            }
        }
    }

    fn on_read(&mut self, shared: &Shared, now: Timestamp, id: JobId, items: Vec<Item>) {
        let Some(Entry::Live(live)) = self.jobs.get_mut(&id) else {
            return;
        };
        if let Some(item) = items.first() {
            let gateways = shared.link(item.key.server).gateways().clone();
            let alive = gateways.gateways.values().filter(|it| it.likely_alive);
            live.step(now, Event::Gateways(alive.count()));
        }
        live.step(now, Event::Read(items));
    }

    /// Stores what changed about all jobs in one transaction; the next one when this is done.
    fn commit(&mut self, myself: &ActorRef<JobMessage>, shared: &Arc<Shared>, now: Timestamp) {
        let mut over = Vec::new();
        for (id, entry) in &mut self.jobs {
            let Entry::Live(live) = entry else { continue };
            if !live.has_changed() {
                for effect in live.take_effects() {
                    self::live::perform(effect, &live.job, &self.store, shared, myself);
                }
                if live.is_over() && !self.storing.contains(id) {
                    over.push(*id);
                }
            }
        }
        for id in over {
            self.jobs.remove(&id);
            shared.job_views.remove(&id);
        }
        if !self.storing.is_empty() || self.rests(now) {
            return;
        }
        let mut changes: Vec<JobChange> = Vec::new();
        for (id, entry) in &mut self.jobs {
            if let Entry::Live(live) = entry
                && let Some(change) = live.begin_commit(now)
            {
                self.storing.insert(*id);
                changes.push(change);
            }
        }
        if changes.is_empty() {
            return;
        }
        let (store, myself) = (Arc::clone(&self.store), myself.clone());
        tokio::spawn(async move {
            let result = store.commit_jobs(&changes).await;
            let _ = myself.post(JobMessage::Committed(result));
        });
    }

    fn on_committed(
        &mut self,
        myself: &ActorRef<JobMessage>,
        shared: &Arc<Shared>,
        now: Timestamp,
        result: &Result<(), StoreError>,
    ) {
        let stored = std::mem::take(&mut self.storing);
        if let Err(error) = result {
            tracing::warn!(%error, "what became of jobs could not be stored; they are taken up anew");
        }
        for id in stored {
            match (result, self.jobs.get_mut(&id)) {
                (Ok(()), Some(Entry::Live(live))) => {
                    for effect in live.end_commit(shared, now) {
                        self::live::perform(effect, &live.job, &self.store, shared, myself);
                    }
                }
                (Err(_), Some(Entry::Live(_))) => self.forget(shared, now, id),
                (_, Some(Entry::Loading { .. }) | None) => {}
            }
        }
    }

    fn store_late(&mut self, myself: &ActorRef<JobMessage>, now: Timestamp) {
        if self.late.is_empty() || !self.late_storing.is_empty() || self.rests(now) {
            return;
        }
        self.late_storing = std::mem::take(&mut self.late);
        let (proofs, store, myself) = (
            self.late_storing.clone(),
            Arc::clone(&self.store),
            myself.clone(),
        );
        tokio::spawn(async move {
            let result = store.prove_late(&proofs).await;
            let _ = myself.post(JobMessage::LateStored(result));
        });
    }

    fn on_late_stored(&mut self, now: Timestamp, result: Result<(), StoreError>) {
        let proofs = std::mem::take(&mut self.late_storing);
        if let Err(error) = result {
            tracing::warn!(%error, "late proofs of jobs could not be stored; they are stored again");
            self.late.extend(proofs);
            self.rests_until = Some(now + STORE_PAUSE);
        }
    }

    fn tell(&mut self, shared: &Shared, now: Timestamp) {
        for entry in self.jobs.values_mut() {
            if let Entry::Live(live) = entry {
                live.tell(shared, now);
            }
        }
    }

    fn set_alarm(&mut self, myself: &ActorRef<JobMessage>, shared: &Shared, now: Timestamp) {
        if let Some(alarm) = self.alarm.take() {
            alarm.abort();
        }
        let wakes = self.jobs.values().filter_map(|entry| match entry {
            Entry::Live(live) => live.next_wake(now),
            Entry::Loading { .. } => None,
        });
        let resting = self.rests_until.filter(|until| *until > now);
        let Some(at) = wakes.chain(resting).min() else {
            return;
        };
        self.generation += 1;
        let (generation, instant, myself) =
            (self.generation, shared.clock.instant(at), myself.clone());
        self.alarm = Some(tokio::spawn(async move {
            tokio::time::sleep_until(instant).await;
            let _ = myself.post(JobMessage::Wake { generation });
        }));
    }
}
