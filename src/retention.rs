//! Deletes what is older than it is to be kept, in small batches, so that commands wait for milliseconds at the most.

use std::time::Duration;

use downbeat_actors::clock::Clock;
use downbeat_actors::port::{JobStore as _, StoreError};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::store::{DELETE_BATCH_MAX, DELETE_DOWNLINKS_MAX, Store};

/// Between two rounds: little and often, so that nobody feels it.
const PERIOD: Duration = Duration::from_mins(1);

/// Between two batches of a round, at the least.
const BREATH_MIN: Duration = Duration::from_millis(2);

/// Answers under an `Idempotency-Key` are kept so long.
const ANSWERS_KEPT: Duration = Duration::from_hours(24);

/// Jobs that are over are kept so long.
const JOBS_KEPT: Duration = Duration::from_hours(90 * 24);

/// No job takes so long to be written down.
const JOBS_PREPARED_WITHIN: Duration = Duration::from_hours(1);
/// Counts and history of a gateway that does nothing any more are kept so long.
const GATEWAYS_KEPT: Duration = Duration::from_hours(30 * 24);

const DAY: Duration = Duration::from_hours(24);

/// How long what is kept.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// Events of devices.
    pub history_days: u32,
    /// Decoded fields of uplinks.
    pub telemetry_days: u32,
    /// Downlinks that have ended, and their timelines.
    pub downlink_days: u32,
}

/// Runs until the service stops.
pub async fn run(store: Store, clock: Clock, kept: Kept, mut stopping: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = round(&store, &clock, kept).await {
            tracing::warn!(%error, "old rows could not be deleted; they are next time");
        }
    }
}

async fn round(store: &Store, clock: &Clock, kept: Kept) -> Result<(), StoreError> {
    let now = clock.now();
    let events = now - DAY * kept.history_days;
    in_batches(|| store.delete_device_events_before(events)).await?;
    let telemetry = now - DAY * kept.telemetry_days;
    in_batches(|| store.delete_telemetry_before(telemetry)).await?;
    let downlinks = now - DAY * kept.downlink_days;
    in_batches_of(DELETE_DOWNLINKS_MAX, || {
        store.delete_downlinks_before(downlinks)
    })
    .await?;
    in_batches(|| store.delete_jobs_before(now - JOBS_KEPT)).await?;
    // Whoever wrote them down went away half-way.
    store.discard_unprepared(now - JOBS_PREPARED_WITHIN).await?;
    in_batches(|| store.delete_gateways_before(now - GATEWAYS_KEPT)).await?;
    in_batches(|| store.delete_reservations_before(now - ANSWERS_KEPT)).await
}

/// Deletes batch after batch until one is not full.
async fn in_batches<Batch>(delete: impl Fn() -> Batch) -> Result<(), StoreError>
where
    Batch: Future<Output = Result<u64, StoreError>>,
{
    in_batches_of(DELETE_BATCH_MAX, delete).await
}

async fn in_batches_of<Batch>(full: u32, delete: impl Fn() -> Batch) -> Result<(), StoreError>
where
    Batch: Future<Output = Result<u64, StoreError>>,
{
    loop {
        let began = Instant::now();
        if delete().await? < u64::from(full) {
            return Ok(());
        }
        // The longer it took, the more others had to be written meanwhile.
        tokio::time::sleep(began.elapsed().max(BREATH_MIN)).await;
    }
}
