//! Carries the write-ahead log over into the file, beside the writer.
//!
//! `SQLite` would do so within the commit that fills the log, and whoever waits for that commit would wait for thousands
//! of pages. Here a connection of its own does it, a moment after the first commit since it last did.
//!
//! The log begins anew with the first commit that finds all of it carried over, and under load there is always a commit
//! more. So when it is long, the writer stands still for what little is left to carry over. A reader that began before
//! that is in the way; the next pass tries again. The writer's own checkpoint stays for when readers take very long.

use std::fs::File;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::sqlite::SqlitePool;
use tokio::sync::{Mutex, watch};

/// A log that is as long as the file is long. In pages: one of 4 MiB is not yet, one of 32 MiB is in any case.
const LOG_LONG: RangeInclusive<i32> = 1_000..=8_000;

/// The longest that the log becomes, in pages, unless a reader keeps it: 256 MiB.
pub(super) const LOG_MAX: u32 = 64_000;

/// Pages of one pass, more or less. Commits share the disk with it: what has gathered for long shows in their 99th
/// percentile.
const PASS_PAGES: f64 = 300.0;

/// From a commit until it is carried over, at the least. The longer, the more pages that are written again and again are
/// carried over once.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// The same, at the most.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// Whether somebody was in the way, the pages of the log, and how many of them have been carried over.
type Progress = (i32, i32, i32);

/// Pages that were carried over and of which the disk may not have been told, at the most: 4 MiB.
const UNSYNCED_MAX: u32 = 1_000;

/// Starts the task. It ends with the pool, or when nobody commits any more. Who holds `turn` writes alone.
///
/// # Errors
/// If the file cannot be opened.
pub(super) fn start(
    pool: SqlitePool,
    path: &Path,
    committed: watch::Receiver<()>,
    turn: Arc<Mutex<()>>,
) -> Result<(), std::io::Error> {
    // Never closed: closing any descriptor of a file gives back all locks that the process has on it, `SQLite`'s as well
    // (<https://sqlite.org/howtocorrupt.html>, 2.2).
    let file = Box::leak(Box::new(File::open(path)?));
    let checkpointer = Checkpointer {
        pool,
        file,
        turn,
        carried_over: 0,
        unsynced: 0,
    };
    tokio::spawn(checkpointer.run(committed));
    Ok(())
}

struct Checkpointer {
    pool: SqlitePool,
    file: &'static File,
    turn: Arc<Mutex<()>>,
    /// Pages, since the log began anew.
    carried_over: i32,
    /// Pages, since the disk was told.
    unsynced: u32,
}

impl Checkpointer {
    async fn run(mut self, mut committed: watch::Receiver<()>) {
        let mut pause = PAUSE_MAX;
        // At once, for what a process that was killed has left.
        loop {
            match self.pass().await {
                Ok(pages) => pause = next_pause(pause, pages),
                Err(sqlx::Error::PoolClosed) => return,
                Err(error) => {
                    tracing::warn!(%error, "the write-ahead log could not be carried over");
                }
            }
            if committed.changed().await.is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Gives the pages that it carried over.
    async fn pass(&mut self) -> Result<u32, sqlx::Error> {
        let (log, pages) = self.carry_over().await?;
        let is_long = log >= *LOG_LONG.start() && log >= long(&self.pool).await?;
        if is_long || self.unsynced > UNSYNCED_MAX {
            self.sync().await?;
        }
        if !is_long {
            return Ok(pages);
        }
        let turn = Arc::clone(&self.turn);
        let _turn = turn.lock().await;
        let (_, left) = self.carry_over().await?;
        Ok(pages + left)
    }

    async fn carry_over(&mut self) -> Result<(i32, u32), sqlx::Error> {
        let done = carry_over(&self.pool).await?;
        Ok(self.note(done))
    }

    /// The log's pages, and how many of them this pass carried over.
    fn note(&mut self, (_, log, carried_over): Progress) -> (i32, u32) {
        let pages = pages_of_pass(self.carried_over, carried_over);
        self.carried_over = carried_over;
        // Where all of it was, `SQLite` has waited for the disk; not where a reader was in the way.
        let is_all = carried_over == log;
        self.unsynced = if is_all { 0 } else { self.unsynced + pages };
        (log, pages)
    }

    /// Waits for the disk while others write. `SQLite` itself waits only when all has been carried over, which is when the
    /// writer stands still: then all that had gathered would be waited for.
    async fn sync(&mut self) -> Result<(), sqlx::Error> {
        let file = self.file;
        let synced = tokio::task::spawn_blocking(|| file.sync_data());
        synced.await.map_err(|_| sqlx::Error::WorkerCrashed)??;
        self.unsynced = 0;
        Ok(())
    }
}

/// From how many pages on the log is long. It is to take no more of a small disk than the file itself, and the longer
/// it may become, the more seldom the writer stands still.
async fn long(pool: &SqlitePool) -> Result<i32, sqlx::Error> {
    let pages = sqlx::query_scalar("PRAGMA page_count");
    let pages: i32 = pages.fetch_one(pool).await?;
    Ok(pages.clamp(*LOG_LONG.start(), *LOG_LONG.end()))
}

/// What can be, of the log as it is now.
pub(super) async fn carry_over(pool: &SqlitePool) -> Result<Progress, sqlx::Error> {
    let began = Instant::now();
    // Passive: it waits for nobody, and nobody for it. What a reader still needs stays for the next time.
    let pass = sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)");
    let done = pass.fetch_one(pool).await?;
    metrics::histogram!("downbeat_store_checkpoint_seconds").record(began.elapsed().as_secs_f64());
    Ok(done)
}

/// What a pass carried over, of what all passes did since the log began anew.
fn pages_of_pass(before: i32, now: i32) -> u32 {
    let pages = if now < before { now } else { now - before };
    u32::try_from(pages).unwrap_or(0)
}

/// As long as it takes for a pass to be worth it, going by the last one.
fn next_pause(last: Duration, pages: u32) -> Duration {
    let factor = PASS_PAGES / f64::from(pages.max(1));
    last.mul_f64(factor).clamp(PAUSE_MIN, PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_is_written_the_sooner_it_is_carried_over() {
        // Pages a second, and the pause that it comes to.
        for (rate, millis) in [
            (0, 250),
            (100, 250),
            (1_500, 200),
            (3_000, 100),
            (100_000, 5),
        ] {
            let mut pause = PAUSE_MAX;
            for _ in 0..4 {
                let pages = pause.as_millis() * rate / 1_000;
                pause = next_pause(pause, u32::try_from(pages).unwrap());
            }
            assert!(
                pause.as_millis().abs_diff(millis) <= millis / 10,
                "{rate}: {pause:?}"
            );
        }
    }

    #[test]
    fn a_log_that_began_anew_counts_from_its_beginning() {
        assert_eq!(pages_of_pass(900, 1_200), 300);
        assert_eq!(pages_of_pass(7_900, 200), 200);
        assert_eq!(pages_of_pass(0, -1), 0);
    }
}
