//! Carries the write-ahead log over into the file, beside the writer.
//!
//! `SQLite` would do so within the commit that fills the log, and whoever waits for that commit would wait for thousands
//! of pages. Here a connection of its own does it, a moment after the first commit since it last did.
//!
//! The log begins anew only where all of it has been carried over, and under load there is always a commit more. So the
//! writer's own checkpoint stays, for a log of [`LOG_PAGES`]: it finds next to nothing left to carry over.

use std::time::{Duration, Instant};

use sqlx::sqlite::SqlitePool;
use tokio::sync::watch;

/// The longest that the log becomes, in pages: 64 MiB.
pub(super) const LOG_PAGES: u32 = 16_000;

/// From a commit until it is carried over. Most pages are written again and again, and are carried over once. Commits
/// share the disk with it: measured with a second, what had gathered until then showed in their 99th percentile.
const PAUSE: Duration = Duration::from_millis(250);

/// Starts the task. It ends with the pool, or when nobody commits any more.
pub(super) fn start(pool: SqlitePool, committed: watch::Receiver<()>) {
    tokio::spawn(run(pool, committed));
}

async fn run(pool: SqlitePool, mut committed: watch::Receiver<()>) {
    while committed.changed().await.is_ok() {
        tokio::time::sleep(PAUSE).await;
        let began = Instant::now();
        // Passive: it waits for nobody, and nobody for it. What a reader still needs stays for the next time.
        let done = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)");
        match done.execute(&pool).await {
            Ok(_) => {
                metrics::histogram!("downbeat_store_checkpoint_seconds")
                    .record(began.elapsed().as_secs_f64());
            }
            Err(sqlx::Error::PoolClosed) => return,
            Err(error) => tracing::warn!(%error, "the write-ahead log could not be carried over"),
        }
    }
}
