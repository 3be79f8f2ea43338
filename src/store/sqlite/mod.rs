//! The store on `SQLite`: a file, its write-ahead log, one connection that writes, a few that read, and one that carries
//! the log over into the file.

mod api_key;
mod audit;
mod bare;
mod browser_session;
mod checkpoint;
mod commit;
mod device;
mod device_list;
mod downlink;
mod drift;
mod event;
mod figures;
mod gateway;
mod idempotency;
mod job;
mod network_server;
mod outcome;
mod queue;
mod rows;
mod seal_check;
mod sync;
mod telemetry;
mod tenant;
#[cfg(test)]
mod tests;
mod unclaimed;

pub use bare::BareStore;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use super::migration::migrate_error;
use super::row::tenant_of;
use super::{DELETE_BATCH_MAX, OpenStoreError, Scope};
use crate::seal::Sealer;
use downbeat_actors::port::StoreError;
use futures_util::future::BoxFuture;
use queue::WriteQueue;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Encode, QueryBuilder, Sqlite as Db, SqliteConnection, Type};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Readers at once. They never wait for the writer, so more only helps when lists are slow.
const READERS_MAX: u32 = 4;

/// Rows that a connection reads ahead of whoever asked: a page of a list is read in one go, without a change of threads
/// after each few rows.
const ROW_BUFFER: usize = 1_024;

/// What the writer keeps of the file in memory, KiB. With `SQLite`'s own 2 MiB, tens of thousands of devices in no order
/// are read from the file again and again.
const WRITER_CACHE: u32 = 16 * 1024;

/// What each reader does.
const READER_CACHE: u32 = 16 * 1024;

/// How long a query waits for a connection before the database counts as unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long `SQLite` waits for another process that writes (a back-up, a command-line tool).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The pools, and the queue before the first one: whoever writes goes through it.
#[derive(Debug, Clone)]
pub(super) struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
    checkpointer: SqlitePool,
    queue: WriteQueue,
    sealer: Sealer,
}

impl Sqlite {
    /// Opens or makes the file, and migrates it before anything reads it.
    pub(super) async fn open(url: &str, sealer: Sealer) -> Result<Self, OpenStoreError> {
        let path = url
            .strip_prefix("sqlite://")
            .filter(|path| !path.is_empty());
        let path = path.ok_or(OpenStoreError::Url)?;
        // A pool of in-memory databases would be several databases.
        if path.starts_with(':') {
            return Err(OpenStoreError::Url);
        }
        let options = options(Path::new(path));
        let cached = |kib: u32| options.clone().pragma("cache_size", format!("-{kib}"));
        let writer = pool(1)
            .connect_with(
                cached(WRITER_CACHE)
                    // A statement of many rows notes what it would have to undo. Beyond 64 KiB that would be a file, made,
                    // written and deleted for each.
                    .pragma("temp_store", "MEMORY")
                    .pragma("wal_autocheckpoint", checkpoint::LOG_MAX.to_string())
                    .create_if_missing(true),
            )
            .await;
        let writer = writer.map_err(store_error)?;
        MIGRATIONS
            .run(&writer)
            .await
            .map_err(|error| migrate_error(error, &MIGRATIONS, store_error))?;
        // The writer has made the file; a reader that could write by mistake is refused by the database itself.
        let readers = pool(READERS_MAX)
            .connect_with(cached(READER_CACHE).pragma("query_only", "ON"))
            .await;
        let readers = readers.map_err(store_error)?;
        let checkpointer = pool(1).connect_lazy_with(options.clone());
        seal_check::check(&writer, &sealer).await?;
        tenant::ensure_default(&writer).await?;
        let queue = WriteQueue::start(writer.clone());
        let started = checkpoint::start(
            checkpointer.clone(),
            Path::new(path),
            queue.committed(),
            queue.turn(),
        );
        started.map_err(|error| store_error(error.into()))?;
        Ok(Self {
            writer,
            readers,
            checkpointer,
            queue,
            sealer,
        })
    }

    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1")
            .execute(&self.readers)
            .await
            .map_err(store_error)?;
        // Takes the write lock and gives it back: another process that holds it, or a read-only file, shows here.
        self.write(|_| Box::pin(async { Ok(()) })).await
    }

    pub(super) async fn close(&self) {
        self.queue.close().await;
        self.checkpointer.close().await;
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Reads what a batch is about to delete of all that is older: nobody may have read those pages for weeks, and whoever
    /// writes would wait for the disk to bring them.
    async fn read_ahead<T>(&self, old: &'static str, before: T) -> Result<(), StoreError>
    where
        T: for<'q> Encode<'q, Db> + Type<Db> + Send + 'static,
    {
        let read = sqlx::query(old).bind(before).bind(DELETE_BATCH_MAX);
        let read = read.fetch_optional(&self.readers).await;
        read.map(drop).map_err(store_error)
    }

    /// Carries a write out in a transaction, with those of others; see [`WriteQueue::write`].
    async fn write<T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.queue.write(work).await
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // In WAL mode anything less may lose the last commits when the power fails, and a 2xx says "committed".
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .row_buffer_size(ROW_BUFFER)
        // A batch's text is tens of kilobytes of placeholders.
        .disable_statement_logging()
}

fn pool(connections_max: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        // They are threads of this process: asking each whether it is there before every use tells nothing.
        .test_before_acquire(false)
}

/// Primary result codes (`sqlite3.h`) of what passes by itself or by the operator's hand, with the same request.
const PASSING: [i32; 9] = [
    5,  // BUSY
    6,  // LOCKED
    7,  // NOMEM
    8,  // READONLY: a file system that was mounted so after an error
    9,  // INTERRUPT
    10, // IOERR
    13, // FULL
    14, // CANTOPEN
    15, // PROTOCOL: too much contention for the write-ahead log
];

/// Tells what may succeed later from what never will.
fn store_error(error: sqlx::Error) -> StoreError {
    if is_passing(&error) {
        StoreError::Unavailable(Box::new(error))
    } else {
        StoreError::Rejected(Box::new(error))
    }
}

fn is_passing(error: &sqlx::Error) -> bool {
    if let Some(refusal) = error.as_database_error() {
        let code = refusal.code().and_then(|code| i32::from_str(&code).ok());
        // The low byte is the primary code; the rest only refines it.
        code.is_some_and(|code| PASSING.contains(&(code & 0xff)))
    } else {
        matches!(
            error,
            sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::BeginFailed
        )
    }
}

/// Whether a statement broke the uniqueness of a column. `SQLite` names the column there, not the constraint.
fn is_duplicate(error: &sqlx::Error, column: &str) -> bool {
    error
        .as_database_error()
        .is_some_and(|refusal| refusal.is_unique_violation() && refusal.message().ends_with(column))
}

/// Adds the scope to a query that has a `WHERE`.
fn push_scope(query: &mut QueryBuilder<Db>, scope: Scope) {
    if let Some(tenant) = tenant_of(scope) {
        query.push(" AND tenant_id = ").push_bind(tenant);
    }
}
