//! Carries the write-ahead log over into the file, beside the writer.
//!
//! `SQLite` would do so within the commit that fills the log, and whoever waits for that commit would wait for thousands
//! of pages. Here a connection of its own does it, a moment after the first commit since it last did.
//!
//! The log begins anew with the first commit that finds all of it carried over, and under load there is always a commit
//! more. So when it is long, the writer stands still for what little is left to carry over. A reader that began before
//! that is in the way; the next pass tries again. The writer's own checkpoint stays for when readers take very long.

use std::ops::RangeInclusive;
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
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Whether somebody was in the way, the pages of the log, and how many of them have been carried over.
type Progress = (i32, i32, i32);

/// Starts the task. It ends with the pool, or when nobody commits any more. Who holds `turn` writes alone.
pub(super) fn start(pool: SqlitePool, committed: watch::Receiver<()>, turn: Arc<Mutex<()>>) {
    tokio::spawn(run(pool, committed, turn));
}

async fn run(pool: SqlitePool, mut committed: watch::Receiver<()>, turn: Arc<Mutex<()>>) {
    let mut pause = PAUSE_MAX;
    let mut before = 0;
    while committed.changed().await.is_ok() {
        tokio::time::sleep(pause).await;
        match pass(&pool, &turn).await {
            Ok((_, _, carried_over)) => {
                pause = next_pause(pause, pages_of_pass(before, carried_over));
                before = carried_over;
            }
            Err(sqlx::Error::PoolClosed) => return,
            Err(error) => tracing::warn!(%error, "the write-ahead log could not be carried over"),
        }
    }
}

async fn pass(pool: &SqlitePool, turn: &Mutex<()>) -> Result<Progress, sqlx::Error> {
    let done = carry_over(pool).await?;
    let (_, log, _) = done;
    if log < *LOG_LONG.start() || log < long(pool).await? {
        return Ok(done);
    }
    let _turn = turn.lock().await;
    carry_over(pool).await
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
            (0, 1_000),
            (100, 1_000),
            (600, 500),
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
