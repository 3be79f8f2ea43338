//! The only one that writes devices' states: many actors' changes in one transaction.
//!
//! Group commit without a timer: while one transaction is on its way to the disk, changes gather for the next. So one
//! lonely change is written at once, and under load the batches grow by themselves.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use crate::device::DeviceMessage;
use crate::port::{DeviceChange, DeviceStore, StoreError};

/// Changes in one transaction at the most.
const BATCH_MAX: usize = 500;

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
    /// The transaction under way has ended.
    Idle,
    /// Tell when everything handed over so far is written, or given up.
    Flush(oneshot::Sender<()>),
}

pub(crate) struct Writer;

pub(crate) struct WriterState {
    store: Arc<dyn DeviceStore>,
    gathered: VecDeque<Write>,
    committing: bool,
    flushes: Vec<oneshot::Sender<()>>,
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
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<WriterMessage>,
        message: WriterMessage,
        state: &mut WriterState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WriterMessage::Write(write) => state.gathered.push_back(*write),
            WriterMessage::Idle => state.committing = false,
            WriterMessage::Flush(done) => state.flushes.push(done),
        }
        if !state.committing && !state.gathered.is_empty() {
            state.committing = true;
            let batch: Vec<Write> = state
                .gathered
                .drain(..state.gathered.len().min(BATCH_MAX))
                .collect();
            let store = Arc::clone(&state.store);
            tokio::spawn(async move {
                commit(store.as_ref(), batch).await;
                // Fails only when the writer itself is gone.
                let _ = myself.cast(WriterMessage::Idle);
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

/// Writes a batch and tells each device. One change that the database refuses must not take the others along.
async fn commit(store: &dyn DeviceStore, batch: Vec<Write>) {
    metrics::histogram!("downbeat_writer_batch")
        .record(u32::try_from(batch.len()).unwrap_or(u32::MAX));
    let (changes, tell): (Vec<DeviceChange>, Vec<_>) = batch
        .into_iter()
        .map(|write| (write.change, (write.device, write.seq)))
        .unzip();
    let result = commit_patiently(store, &changes).await;
    match result {
        Ok(()) => tell
            .iter()
            .for_each(|(device, seq)| committed(device, *seq)),
        Err(StoreError::Unavailable(error)) => {
            tracing::error!(%error, changes = changes.len(), "changes could not be stored: the database is unavailable");
            for (device, _) in &tell {
                failed(device);
            }
        }
        Err(error @ (StoreError::Rejected(_) | StoreError::Corrupt { .. })) => {
            tracing::warn!(%error, changes = changes.len(), "a batch was refused; storing its changes one by one");
            for (change, (device, seq)) in changes.iter().zip(&tell) {
                match commit_patiently(store, std::slice::from_ref(change)).await {
                    Ok(()) => committed(device, *seq),
                    Err(error) => {
                        tracing::error!(%error, device.dev_eui = %change.dev_eui, "a change was refused");
                        failed(device);
                    }
                }
            }
        }
    }
}

async fn commit_patiently(
    store: &dyn DeviceStore,
    changes: &[DeviceChange],
) -> Result<(), StoreError> {
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match store.commit(changes).await {
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
    store.commit(changes).await
}

// A device that is gone has nothing to be told: it takes up what is stored.

fn committed(device: &ActorRef<DeviceMessage>, seq: u64) {
    let _ = device.cast(DeviceMessage::Committed { seq });
}

fn failed(device: &ActorRef<DeviceMessage>) {
    let _ = device.cast(DeviceMessage::CommitFailed);
}
