//! Group commit: the writes of many callers in one transaction, and one wait for the disk.
//!
//! There is no timer: while one transaction commits, writes gather, and the next one takes them all. Each stands behind a
//! savepoint of its own, so that one that fails, or panics, is undone alone. Nobody is answered before the commit.

#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use downbeat_actors::port::StoreError;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqlitePool;
use sqlx::{Connection as _, Sqlite as Db, SqliteConnection};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{checkpoint, is_passing};

/// Writes that wait at the most; whoever comes then waits for a place.
const WAITING_MAX: usize = 4_096;

/// Writes of one transaction at the most, so that the first of them does not wait for ever.
const TRANSACTION_MAX: usize = 256;

/// Hands writes to the task that carries them out, in the order in which they come. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct WriteQueue {
    sender: mpsc::Sender<Box<dyn Write>>,
    committed: watch::Receiver<()>,
    turn: Arc<Mutex<()>>,
    closing: CancellationToken,
    closed: CancellationToken,
}

/// Why a write came to nothing.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("the store is closed")]
    Closed,
    #[error("a write panicked and was undone")]
    Panicked,
    #[error("the transaction ended before its time")]
    TransactionLost(#[source] Arc<sqlx::Error>),
}

impl WriteQueue {
    /// Starts the task; it ends with [`WriteQueue::close`], or when nobody can write any more.
    pub(super) fn start(pool: SqlitePool) -> Self {
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        let (committing, committed) = watch::channel(());
        let queue = Self {
            sender,
            committed,
            turn: Arc::default(),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
        };
        let closed = queue.closed.clone().drop_guard();
        let turn = Arc::clone(&queue.turn);
        let task = run(
            pool,
            waiting,
            committing,
            turn,
            queue.closing.clone(),
            closed,
        );
        tokio::spawn(task);
        queue
    }

    /// Told after each transaction.
    pub(super) fn committed(&self) -> watch::Receiver<()> {
        self.committed.clone()
    }

    /// Held through each transaction: whoever else holds it keeps the next one from beginning.
    pub(super) fn turn(&self) -> Arc<Mutex<()>> {
        Arc::clone(&self.turn)
    }

    /// Carries a write out with others. When this returns it is committed, or undone.
    ///
    /// A caller that goes away before its turn has not written; later it makes no difference.
    pub(super) async fn write<T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let write = Box::new(Caller {
            work: Some(work),
            outcome: None,
            reply,
        });
        let unavailable = || StoreError::Unavailable(Box::new(WriteError::Closed)).into();
        if self.sender.send(write).await.is_err() {
            return Err(unavailable());
        }
        // Gone without an answer: the task was ended with its runtime.
        answer.await.unwrap_or_else(|_| Err(unavailable()))
    }

    /// Carries out what waits; later writes fail as unavailable.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.closed.cancelled().await;
    }
}

async fn run(
    pool: SqlitePool,
    mut waiting: mpsc::Receiver<Box<dyn Write>>,
    committing: watch::Sender<()>,
    turn: Arc<Mutex<()>>,
    closing: CancellationToken,
    _closed: DropGuard,
) {
    let mut gathered = Vec::new();
    let mut held = None;
    let mut failed = false;
    loop {
        if waiting.is_empty() {
            held = None;
        }
        tokio::select! {
            biased;
            taken = waiting.recv_many(&mut gathered, TRANSACTION_MAX) => if taken == 0 {
                return;
            },
            () = closing.cancelled(), if !waiting.is_closed() => {
                waiting.close();
                continue;
            }
        }
        let my_turn = turn.lock().await;
        // Whoever was just answered may have its next write ready: another turn of the others costs microseconds, a
        // transaction of its own a wait for the disk.
        tokio::task::yield_now().await;
        while gathered.len() < TRANSACTION_MAX
            && let Ok(one) = waiting.try_recv()
        {
            gathered.push(one);
        }
        let began = Instant::now();
        if failed {
            make_room(&pool).await;
        }
        let done = transact(&pool, &mut held, &mut gathered).await;
        drop(my_turn);
        failed = done.is_err();
        note(&gathered, &waiting, began.elapsed());
        committing.send_replace(());
        match done {
            Ok(()) => gathered.drain(..).for_each(Write::answer),
            Err(failure) => gathered
                .drain(..)
                .for_each(|write| write.fail(failure.for_one())),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures of some thousands")]
fn note(written: &[Box<dyn Write>], waiting: &mpsc::Receiver<Box<dyn Write>>, took: Duration) {
    metrics::histogram!("downbeat_store_batch").record(written.len() as f64);
    metrics::histogram!("downbeat_store_transaction_seconds").record(took.as_secs_f64());
    metrics::gauge!("downbeat_store_waiting").set(waiting.len() as f64);
}

/// Why none of a transaction's writes stands. Told to each of them.
struct Failure {
    source: Arc<sqlx::Error>,
    /// The database undid the whole by itself, as it does when the disk is full.
    is_lost: bool,
}

impl Failure {
    fn new(source: sqlx::Error) -> Self {
        Self {
            source: Arc::new(source),
            is_lost: false,
        }
    }

    fn lost(source: sqlx::Error) -> Self {
        Self {
            source: Arc::new(source),
            is_lost: true,
        }
    }

    fn for_one(&self) -> StoreError {
        let source = Arc::clone(&self.source);
        if self.is_lost {
            StoreError::Unavailable(Box::new(WriteError::TransactionLost(source)))
        } else if is_passing(&source) {
            StoreError::Unavailable(Box::new(source))
        } else {
            StoreError::Rejected(Box::new(source))
        }
    }
}

/// There may have been none for the last transaction: before more is written to the log, what it has is carried over,
/// so that it begins anew. Were it longer each time that there is room for a moment, it would fill the disk in the end.
async fn make_room(pool: &SqlitePool) {
    if let Err(error) = checkpoint::carry_over(pool).await {
        tracing::debug!(%error, "there is no room to carry the log over");
    }
}

/// Begins as a writer: a transaction that began as a reader may find the lock taken when it wants to write.
///
/// The connection is `held` for the next one: the pool asks each that is given back whether it is alive, and whoever
/// waits would wait for that, too.
async fn transact(
    pool: &SqlitePool,
    held: &mut Option<PoolConnection<Db>>,
    gathered: &mut [Box<dyn Write>],
) -> Result<(), Failure> {
    let mut connection = match held.take() {
        Some(connection) => connection,
        None => pool.acquire().await.map_err(Failure::new)?,
    };
    let begun = connection.begin_with("BEGIN IMMEDIATE").await;
    let mut transaction = begun.map_err(Failure::new)?;
    let done = match gathered {
        [alone] => Ok(carry_out_alone(&mut transaction, alone).await),
        gathered => carry_out_each(&mut transaction, gathered).await,
    };
    let done = match done {
        Ok(Stands::Yes) => transaction.commit().await.map_err(Failure::new),
        Ok(Stands::No) => transaction.rollback().await.map_err(Failure::lost),
        Err(failure) => {
            drop(transaction);
            Err(failure)
        }
    };
    if done.is_err() {
        // It no longer knows whether a transaction is open.
        connection.close_on_drop();
    } else {
        *held = Some(connection);
    }
    done
}

/// Whether anything of a transaction is to stand.
enum Stands {
    Yes,
    No,
}

/// Without a savepoint: the transaction is its own.
async fn carry_out_alone(connection: &mut SqliteConnection, write: &mut Box<dyn Write>) -> Stands {
    if write.is_awaited() && write.carry_out(connection).await {
        Stands::Yes
    } else {
        Stands::No
    }
}

/// Behind one savepoint after the other; the last of them goes with the transaction.
async fn carry_out_each(
    connection: &mut SqliteConnection,
    gathered: &mut [Box<dyn Write>],
) -> Result<Stands, Failure> {
    savepoint(connection, "SAVEPOINT one_write").await?;
    for write in gathered {
        if !write.is_awaited() {
            continue;
        }
        let stands = write.carry_out(connection).await;
        let next = if stands {
            "RELEASE one_write; SAVEPOINT one_write"
        } else {
            "ROLLBACK TO one_write"
        };
        savepoint(connection, next).await?;
    }
    Ok(Stands::Yes)
}

async fn savepoint(
    connection: &mut SqliteConnection,
    statement: &'static str,
) -> Result<(), Failure> {
    let done = sqlx::query(statement).execute(connection).await;
    done.map(drop).map_err(Failure::lost)
}

/// One caller's write, whatever it is.
#[async_trait]
trait Write: Send {
    /// Whether somebody waits for the answer.
    fn is_awaited(&self) -> bool;

    /// Does it, and tells whether it is to stand.
    async fn carry_out(&mut self, connection: &mut SqliteConnection) -> bool;

    /// It is committed, or its own failure undid it.
    fn answer(self: Box<Self>);

    /// None of the transaction stands.
    fn fail(self: Box<Self>, error: StoreError);
}

struct Caller<W, T, E> {
    work: Option<W>,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

#[async_trait]
impl<W, T, E> Write for Caller<W, T, E>
where
    W: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, E>> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn is_awaited(&self) -> bool {
        !self.reply.is_closed()
    }

    async fn carry_out(&mut self, connection: &mut SqliteConnection) -> bool {
        let Some(work) = self.work.take() else {
            return false;
        };
        // The call itself may panic, too, so it is made within the future.
        let done = AssertUnwindSafe(async { work(connection).await }).catch_unwind();
        let outcome = done
            .await
            .unwrap_or_else(|_| Err(StoreError::Rejected(Box::new(WriteError::Panicked)).into()));
        let stands = outcome.is_ok();
        self.outcome = Some(outcome);
        stands
    }

    fn answer(self: Box<Self>) {
        if let Some(outcome) = self.outcome {
            // The caller may have gone away.
            let _ = self.reply.send(outcome);
        }
    }

    fn fail(self: Box<Self>, error: StoreError) {
        let _ = self.reply.send(Err(error.into()));
    }
}
