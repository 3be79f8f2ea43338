//! Deletes what is older than it is to be kept, in small batches, so that commands wait for milliseconds at the most.

use std::time::Duration;

use downbeat_actors::clock::Clock;
use downbeat_actors::port::StoreError;
use tokio::sync::watch;

use crate::store::{DELETE_BATCH_MAX, Store};

/// Between two rounds.
const PERIOD: Duration = Duration::from_mins(10);

/// Between two batches of a round: the writer takes its turns in between.
const BREATH: Duration = Duration::from_millis(50);

/// Answers under an `Idempotency-Key` are kept so long.
const ANSWERS_KEPT: Duration = Duration::from_hours(24);

const DAY: Duration = Duration::from_hours(24);

/// Runs until the service stops.
pub async fn run(
    store: Store,
    clock: Clock,
    history_days: u32,
    mut stopping: watch::Receiver<bool>,
) {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = round(&store, &clock, history_days).await {
            tracing::warn!(%error, "old rows could not be deleted; they are next time");
        }
    }
}

async fn round(store: &Store, clock: &Clock, history_days: u32) -> Result<(), StoreError> {
    let now = clock.now();
    let mut deleted = u64::from(DELETE_BATCH_MAX);
    while deleted >= u64::from(DELETE_BATCH_MAX) {
        deleted = store
            .delete_device_events_before(now - DAY * history_days)
            .await?;
        tokio::time::sleep(BREATH).await;
    }
    deleted = u64::from(DELETE_BATCH_MAX);
    while deleted >= u64::from(DELETE_BATCH_MAX) {
        deleted = store.delete_reservations_before(now - ANSWERS_KEPT).await?;
        tokio::time::sleep(BREATH).await;
    }
    Ok(())
}
