//! Rows that are asked for at the same time are read together: devices of the registry, and what is stored of devices on
//! the air.
//!
//! There is no timer: while one batch is read the next one gathers. A batch holds one realm's questions: one scope's, so
//! that it reaches no other tenant's rows, or one network server's. What a batch fails for, other than that the database is
//! away, each question of it is asked alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use async_trait::async_trait;
use downbeat_actors::port::{StoreError, StoredDevice};
use downbeat_core::id::{DevEui, DeviceId, DeviceKey, NetworkServerId};
use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};

use super::{Backend, Device, Scope, on_backend};

/// Questions that wait at the most; whoever comes then waits for a place.
const WAITING_MAX: usize = 4_096;

/// Rows of one batch at the most.
const BATCH_MAX: usize = 128;

/// Hands questions to the tasks that read. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Loader {
    devices: Questions<Devices>,
    states: Questions<States>,
}

impl Loader {
    /// Starts the tasks; they end when nobody can ask any more.
    pub(super) fn start(backend: Backend) -> Self {
        let states = States {
            backend: backend.clone(),
        };
        Self {
            devices: Questions::to(Devices { backend }),
            states: Questions::to(states),
        }
    }

    /// A device, as it was when this was asked or later.
    pub(super) async fn device(
        &self,
        scope: Scope,
        id: DeviceId,
    ) -> Result<Option<Device>, StoreError> {
        self.devices.ask(scope, id).await
    }

    /// What a device's actor begins with, as it was when this was asked or later.
    pub(super) async fn stored(&self, key: DeviceKey) -> Result<Option<StoredDevice>, StoreError> {
        self.states.ask(key.server, key.dev_eui).await
    }
}

/// A kind of rows.
#[async_trait]
trait Rows: Send + Sync + 'static {
    /// Whose rows one statement may read.
    type Realm: Copy + Eq + Hash + Send + Sync;
    type Key: Copy + Ord + Send + Sync;
    type Row: Clone + Send;

    /// Those that there are.
    async fn read(
        &self,
        realm: Self::Realm,
        keys: &BTreeSet<Self::Key>,
    ) -> Result<BTreeMap<Self::Key, Self::Row>, StoreError>;
}

#[derive(Debug)]
struct Devices {
    backend: Backend,
}

#[async_trait]
impl Rows for Devices {
    type Realm = Scope;
    type Key = DeviceId;
    type Row = Device;

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

#[derive(Debug)]
struct States {
    backend: Backend,
}

#[async_trait]
impl Rows for States {
    type Realm = NetworkServerId;
    type Key = DevEui;
    type Row = StoredDevice;

    async fn read(
        &self,
        server: NetworkServerId,
        devices: &BTreeSet<DevEui>,
    ) -> Result<BTreeMap<DevEui, StoredDevice>, StoreError> {
        let found = on_backend!(self.load(server, devices))?;
        Ok(found.into_iter().collect())
    }
}

struct Question<R: Rows> {
    realm: R::Realm,
    key: R::Key,
    reply: oneshot::Sender<Result<Option<R::Row>, StoreError>>,
}

#[derive(Debug)]
struct Questions<R: Rows> {
    sender: mpsc::Sender<Question<R>>,
}

impl<R: Rows> Clone for Questions<R> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the store is closed")]
struct Closed;

impl<R: Rows> Questions<R> {
    fn to(rows: R) -> Self {
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(run(rows, waiting));
        Self { sender }
    }

    async fn ask(&self, realm: R::Realm, key: R::Key) -> Result<Option<R::Row>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let unavailable = || StoreError::Unavailable(Box::new(Closed));
        let question = Question { realm, key, reply };
        if self.sender.send(question).await.is_err() {
            return Err(unavailable());
        }
        // Gone without an answer: the task was ended with its runtime.
        answer.await.unwrap_or_else(|_| Err(unavailable()))
    }
}

async fn run<R: Rows>(rows: R, mut waiting: mpsc::Receiver<Question<R>>) {
    let mut gathered = Vec::new();
    while waiting.recv_many(&mut gathered, BATCH_MAX).await > 0 {
        let mut batches: HashMap<R::Realm, Vec<Question<R>>> = HashMap::new();
        // Who went away before their turn has not asked.
        for one in gathered.drain(..).filter(|one| !one.reply.is_closed()) {
            batches.entry(one.realm).or_default().push(one);
        }
        let batches = batches.into_iter();
        join_all(batches.map(|(realm, batch)| answer(&rows, realm, batch))).await;
    }
}

async fn answer<R: Rows>(rows: &R, realm: R::Realm, batch: Vec<Question<R>>) {
    let keys = batch.iter().map(|one| one.key).collect();
    match rows.read(realm, &keys).await {
        Ok(found) => {
            for one in batch {
                // Twice in a batch if two asked for it. The caller may have gone away.
                let _ = one.reply.send(Ok(found.get(&one.key).cloned()));
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
                let alone = rows.read(realm, &BTreeSet::from([one.key])).await;
                let found = alone.map(|mut found| found.remove(&one.key));
                let _ = one.reply.send(found);
            }
        }
    }
}
