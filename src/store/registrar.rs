//! Changes of the registry that come at the same time go into the database together.
//!
//! There is no timer: while one batch is written the next one gathers. A batch holds one scope's changes, so that its
//! transaction reaches no other tenant's rows. One that fails for what one of its changes says is carried out again,
//! each change alone.

use std::sync::Arc;

use downbeat_actors::port::StoreError;
use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};

use super::device_write::{DeviceWrite, Outcome};
use super::{Backend, Device, Scope, WriteDeviceError, on_backend};

/// Changes that wait at the most; whoever comes then waits for a place.
const WAITING_MAX: usize = 4_096;

/// Changes of one transaction at the most.
pub(super) const BATCH_MAX: usize = 128;

/// Hands changes to the task that has them written. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Registrar {
    sender: mpsc::Sender<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    scope: Scope,
    write: DeviceWrite,
    reply: oneshot::Sender<Result<Device, WriteDeviceError>>,
}

#[derive(Debug, thiserror::Error)]
#[error("the store is closed")]
struct Closed;

#[derive(Debug, thiserror::Error)]
#[error("a change that was alone was to wait for others")]
struct NotAlone;

impl Registrar {
    /// Starts the task; it ends when nobody can write any more.
    pub(super) fn start(backend: Backend) -> Self {
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(run(backend, waiting));
        Self { sender }
    }

    /// Carries a change out with others. When this returns it is committed, or undone.
    pub(super) async fn write(
        &self,
        scope: Scope,
        write: DeviceWrite,
    ) -> Result<Device, WriteDeviceError> {
        let (reply, answer) = oneshot::channel();
        let unavailable = || StoreError::Unavailable(Box::new(Closed)).into();
        let waiting = Waiting {
            scope,
            write,
            reply,
        };
        if self.sender.send(waiting).await.is_err() {
            return Err(unavailable());
        }
        // Gone without an answer: the task was ended with its runtime.
        answer.await.unwrap_or_else(|_| Err(unavailable()))
    }
}

async fn run(backend: Backend, mut waiting: mpsc::Receiver<Waiting>) {
    let database = Database { backend };
    let mut gathered = Vec::new();
    while waiting.recv_many(&mut gathered, BATCH_MAX).await > 0 {
        let mut batches: Vec<(Scope, Vec<Waiting>)> = Vec::new();
        for one in gathered.drain(..) {
            match batches.iter_mut().find(|(scope, _)| *scope == one.scope) {
                Some((_, batch)) => batch.push(one),
                None => batches.push((one.scope, vec![one])),
            }
        }
        let batches = batches.into_iter();
        join_all(batches.map(|(scope, batch)| database.carry_out(scope, batch))).await;
    }
}

struct Database {
    backend: Backend,
}

impl Database {
    async fn carry_out(&self, scope: Scope, batch: Vec<Waiting>) {
        // Who went away before their turn has not written.
        let batch = batch.into_iter().filter(|one| !one.reply.is_closed());
        let (writes, replies): (Vec<_>, Vec<_>) = batch.map(|one| (one.write, one.reply)).unzip();
        let together = match self.together(scope, &writes).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                // Each alone would find the same.
                for reply in replies {
                    let shared = Arc::clone(&error);
                    let _ = reply.send(Err(StoreError::Unavailable(Box::new(shared)).into()));
                }
                return;
            }
        };
        for ((one, outcome), reply) in writes.into_iter().zip(together).zip(replies) {
            let result = match outcome {
                Outcome::Done(device) => Ok(*device),
                Outcome::Refused(error) => Err(error),
                Outcome::Apart => self.alone(scope, one).await,
            };
            // The caller may have gone away.
            let _ = reply.send(result);
        }
    }

    /// Gives an error only if the database was away.
    async fn together(
        &self,
        scope: Scope,
        writes: &[DeviceWrite],
    ) -> Result<Vec<Outcome>, Arc<StoreError>> {
        let apart = || Ok(writes.iter().map(|_| Outcome::Apart).collect());
        if writes.len() < 2 {
            return apart();
        }
        match self.write(scope, writes.to_vec()).await {
            Ok(outcomes) => Ok(outcomes),
            Err(WriteDeviceError::Store(error @ StoreError::Unavailable(_))) => {
                Err(Arc::new(error))
            }
            Err(_) => apart(),
        }
    }

    async fn alone(&self, scope: Scope, one: DeviceWrite) -> Result<Device, WriteDeviceError> {
        match self.write(scope, vec![one]).await?.pop() {
            Some(Outcome::Done(device)) => Ok(*device),
            Some(Outcome::Refused(error)) => Err(error),
            Some(Outcome::Apart) | None => Err(StoreError::Rejected(Box::new(NotAlone)).into()),
        }
    }

    async fn write(
        &self,
        scope: Scope,
        writes: Vec<DeviceWrite>,
    ) -> Result<Vec<Outcome>, WriteDeviceError> {
        on_backend!(self.write_devices(scope, writes))
    }
}
