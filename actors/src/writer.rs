//! The only one that writes devices' states: many actors' changes in one transaction.
//!
//! Group commit without a timer: while one transaction is on its way to the disk, changes gather for the next. So one
//! lonely change is written at once, and under load the batches grow by themselves. Before it begins, a batch lets all
//! who are about to run have their turn: what they hand over goes with it. So a command that gets its turn at once is
//! accepted and begun in one transaction.
//!
//! A device hands over one state after another without waiting, each built on the one before. When one is not stored,
//! those that the same actor handed over after it are not stored either: their callers are told that nothing was
//! done, and a new actor of the device takes up what was stored before.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::device::DeviceMessage;
use crate::mailbox::{Post as _, taken};
use crate::port::{DeviceChange, DeviceStore, StoreError};

/// Changes in one transaction at the most.
const BATCH_MAX: usize = 500;

/// How often a batch that is about to begin lets the others run: the pool that gives a turn, the device that takes it,
/// and the change that comes of it.
const TURNS: usize = 3;

/// A database that is busy for a moment is asked again this often before the changes are given up.
const TRIES: u32 = 4;

/// Pause before the second try, doubled for each further one.
const PAUSE: Duration = Duration::from_millis(50);

/// A change, and whom to tell when it is durable.
pub(crate) struct Write {
    pub(crate) change: DeviceChange,
    pub(crate) device: ActorRef<DeviceMessage>,
    pub(crate) seq: u64,
}

pub(crate) enum WriterMessage {
    Write(Box<Write>),
    /// Those that were about to run have had their turn: what is gathered is written.
    Begin,
    /// The transaction under way has ended; of these actors something was not stored.
    Idle {
        failed: BTreeSet<ActorId>,
    },
    /// An actor heard that something was not stored, and hands over nothing more.
    Left(ActorId),
    /// Tell when everything handed over so far is written, or given up.
    Flush(oneshot::Sender<()>),
}

pub(crate) struct Writer;

pub(crate) struct WriterState {
    store: Arc<dyn DeviceStore>,
    gathered: VecDeque<Write>,
    /// A transaction is under way, or is about to be.
    committing: bool,
    flushes: Vec<oneshot::Sender<()>>,
    /// Actors of which something was not stored and who may not have heard it yet.
    failed: BTreeSet<ActorId>,
}

impl WriterState {
    fn gather(&mut self, write: Write) {
        if !self.failed.contains(&write.device.get_id()) {
            self.gathered.push_back(write);
        }
    }

    /// What these built on was not stored. They are told by whoever tried to.
    fn fail(&mut self, mut failed: BTreeSet<ActorId>) {
        if !failed.is_empty() {
            self.gathered
                .retain(|write| !failed.contains(&write.device.get_id()));
            self.failed.append(&mut failed);
        }
    }

    /// Writes what is gathered.
    fn begin(&mut self, myself: &ActorRef<WriterMessage>) {
        let myself = myself.clone();
        let store = Arc::clone(&self.store);
        let size = self.gathered.len().min(BATCH_MAX);
        let batch: Vec<Write> = self.gathered.drain(..size).collect();
        tokio::spawn(async move {
            let failed = commit(store.as_ref(), batch).await;
            metrics::counter!("downbeat_writer_failures_total")
                .increment(u64::try_from(failed.len()).unwrap_or(u64::MAX));
            let ids = failed.iter().map(|device| device.get_id()).collect();
            // Fails only when the writer itself is gone. It knows before they do, so it hears of those that leave
            // after it knows.
            let _ = myself.post(WriterMessage::Idle { failed: ids });
            for device in &failed {
                // One that is gone has nothing to be told: its successor takes up what is stored.
                let _ = device.post(DeviceMessage::CommitFailed);
            }
        });
    }
}

impl Actor for Writer {
    type Msg = WriterMessage;
    type State = WriterState;
    type Arguments = Arc<dyn DeviceStore>;

    async fn pre_start(
        &self,
        _myself: ActorRef<WriterMessage>,
        store: Arc<dyn DeviceStore>,
    ) -> Result<WriterState, ActorProcessingErr> {
        Ok(WriterState {
            store,
            gathered: VecDeque::new(),
            committing: false,
            flushes: Vec::new(),
            failed: BTreeSet::new(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<WriterMessage>,
        message: WriterMessage,
        state: &mut WriterState,
    ) -> Result<(), ActorProcessingErr> {
        taken::<WriterMessage>();
        match message {
            WriterMessage::Write(write) => state.gather(*write),
            WriterMessage::Idle { failed } => {
                state.committing = false;
                state.fail(failed);
            }
            WriterMessage::Begin => state.begin(&myself),
            WriterMessage::Left(device) => {
                state.failed.remove(&device);
            }
            WriterMessage::Flush(done) => state.flushes.push(done),
        }
        if !state.committing && !state.gathered.is_empty() {
            state.committing = true;
            let myself = myself.clone();
            tokio::spawn(async move {
                for _ in 0..TURNS {
                    tokio::task::yield_now().await;
                }
                // Fails only when the writer itself is gone.
                let _ = myself.post(WriterMessage::Begin);
            });
        }
        if !state.committing {
            for done in state.flushes.drain(..) {
                let _ = done.send(());
            }
        }
        metrics::gauge!("downbeat_writer_gathered")
            .set(u32::try_from(state.gathered.len()).unwrap_or(u32::MAX));
        Ok(())
    }
}

/// Writes a batch, tells each device whose change is stored, and gives the others. One change that the database
/// refuses must not take other devices' along.
async fn commit(store: &dyn DeviceStore, batch: Vec<Write>) -> Vec<ActorRef<DeviceMessage>> {
    metrics::histogram!("downbeat_writer_batch")
        .record(u32::try_from(batch.len()).unwrap_or(u32::MAX));
    let (changes, tell): (Vec<DeviceChange>, Vec<_>) = batch
        .into_iter()
        .map(|write| (write.change, (write.device, write.seq)))
        .unzip();
    match commit_patiently(store, &changes).await {
        Ok(()) => {
            for (device, seq) in &tell {
                committed(device, *seq);
            }
            Vec::new()
        }
        Err(StoreError::Unavailable(error)) => {
            tracing::error!(%error, changes = changes.len(), "changes could not be stored: the database is unavailable");
            tell.into_iter().map(|(device, _)| device).collect()
        }
        Err(error @ (StoreError::Rejected(_) | StoreError::Corrupt { .. })) => {
            tracing::warn!(%error, changes = changes.len(), "a batch was refused; storing its changes one by one");
            let mut failed: Vec<ActorRef<DeviceMessage>> = Vec::new();
            for (change, (device, seq)) in changes.iter().zip(tell) {
                if failed.iter().any(|it| it.get_id() == device.get_id()) {
                    continue;
                }
                match commit_patiently(store, std::slice::from_ref(change)).await {
                    Ok(()) => committed(&device, seq),
                    Err(error) => {
                        tracing::error!(%error, device.dev_eui = %change.dev_eui, "a change was refused");
                        failed.push(device);
                    }
                }
            }
            failed
        }
    }
}

async fn commit_patiently(
    store: &dyn DeviceStore,
    changes: &[DeviceChange],
) -> Result<(), StoreError> {
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match commit_once(store, changes).await {
            Err(StoreError::Unavailable(_)) => {
                metrics::counter!("downbeat_writer_retries_total").increment(1);
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            result @ (Ok(()) | Err(StoreError::Rejected(_) | StoreError::Corrupt { .. })) => {
                return result;
            }
        }
    }
    commit_once(store, changes).await
}

async fn commit_once(store: &dyn DeviceStore, changes: &[DeviceChange]) -> Result<(), StoreError> {
    let began = Instant::now();
    let result = store.commit(changes).await;
    let outcome = match &result {
        Ok(()) => "committed",
        Err(StoreError::Unavailable(_)) => "unavailable",
        Err(StoreError::Rejected(_) | StoreError::Corrupt { .. }) => "refused",
    };
    metrics::counter!("downbeat_writer_commits_total", "outcome" => outcome).increment(1);
    metrics::histogram!("downbeat_writer_commit_seconds").record(began.elapsed().as_secs_f64());
    result
}

fn committed(device: &ActorRef<DeviceMessage>, seq: u64) {
    // One that is gone has nothing to be told: its successor takes up what is stored.
    let _ = device.post(DeviceMessage::Committed { seq });
}
