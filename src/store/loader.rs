//! Devices that are asked for at the same time are read together.
//!
//! There is no timer: while one batch is read the next one gathers. A batch holds one scope's questions, so that it
//! reaches no other tenant's rows. What a batch fails for, other than that the database is away, each question of it
//! is asked alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use downbeat_actors::port::StoreError;
use downbeat_core::id::DeviceId;
use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};

use super::{Backend, Device, Scope, on_backend};

/// Questions that wait at the most; whoever comes then waits for a place.
const WAITING_MAX: usize = 4_096;

/// Devices of one batch at the most.
const BATCH_MAX: usize = 128;

/// Hands questions to the task that reads. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Loader {
    sender: mpsc::Sender<Question>,
}

#[derive(Debug)]
struct Question {
    scope: Scope,
    id: DeviceId,
    reply: oneshot::Sender<Result<Option<Device>, StoreError>>,
}

#[derive(Debug, thiserror::Error)]
#[error("the store is closed")]
struct Closed;

impl Loader {
    /// Starts the task; it ends when nobody can ask any more.
    pub(super) fn start(backend: Backend) -> Self {
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(run(backend, waiting));
        Self { sender }
    }

    /// A device, as it was when this was asked or later.
    pub(super) async fn device(
        &self,
        scope: Scope,
        id: DeviceId,
    ) -> Result<Option<Device>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let unavailable = || StoreError::Unavailable(Box::new(Closed));
        let question = Question { scope, id, reply };
        if self.sender.send(question).await.is_err() {
            return Err(unavailable());
        }
        // Gone without an answer: the task was ended with its runtime.
        answer.await.unwrap_or_else(|_| Err(unavailable()))
    }
}

async fn run(backend: Backend, mut waiting: mpsc::Receiver<Question>) {
    let database = Database { backend };
    let mut gathered = Vec::new();
    while waiting.recv_many(&mut gathered, BATCH_MAX).await > 0 {
        let mut batches: HashMap<Scope, Vec<Question>> = HashMap::new();
        // Who went away before their turn has not asked.
        for one in gathered.drain(..).filter(|one| !one.reply.is_closed()) {
            batches.entry(one.scope).or_default().push(one);
        }
        let batches = batches.into_iter();
        join_all(batches.map(|(scope, batch)| database.answer(scope, batch))).await;
    }
}

struct Database {
    backend: Backend,
}

impl Database {
    async fn answer(&self, scope: Scope, batch: Vec<Question>) {
        let ids = batch.iter().map(|one| one.id).collect();
        match self.read(scope, &ids).await {
            Ok(devices) => {
                for one in batch {
                    // Twice in a batch if two asked for it. The caller may have gone away.
                    let _ = one.reply.send(Ok(devices.get(&one.id).cloned()));
                }
            }
            Err(error @ StoreError::Unavailable(_)) => {
                // Each alone would find the same.
                let error = Arc::new(error);
                for one in batch {
                    let shared = Box::new(Arc::clone(&error));
                    let _ = one.reply.send(Err(StoreError::Unavailable(shared)));
                }
            }
            Err(_) => {
                for one in batch {
                    let alone = self.read(scope, &BTreeSet::from([one.id])).await;
                    let found = alone.map(|mut devices| devices.remove(&one.id));
                    let _ = one.reply.send(found);
                }
            }
        }
    }

    async fn read(
        &self,
        scope: Scope,
        ids: &BTreeSet<DeviceId>,
    ) -> Result<BTreeMap<DeviceId, Device>, StoreError> {
        let found = on_backend!(self.devices_by_id(scope, ids))?;
        let devices = found.into_iter().map(|it| (it.device.id, it.device));
        Ok(devices.collect())
    }
}
