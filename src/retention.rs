//! Deletes what is older than it is to be kept, in small batches, so that commands wait for milliseconds at the most.

use std::time::Duration;

use downbeat_actors::clock::Clock;
use downbeat_actors::port::{JobStore as _, StoreError};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::store::{DELETE_BATCH_MAX, DELETE_DOWNLINKS_MAX, Store};

/// From the beginning of a round to the next one's: little and often, so that nobody feels it.
const PERIOD: Duration = Duration::from_mins(1);

/// How long a round is to take, if it has that much to do.
const ROUND: Duration = Duration::from_secs(48);

/// Between two batches of a round, at the least.
const PAUSE_MIN: Duration = Duration::from_millis(2);

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
    let mut breath = Breath::SHORTEST;
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            _ = ticks.tick() => {}
        }
        let round = Round {
            began: Instant::now(),
            breath,
        };
        let done = tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            done = round.delete(&store, &clock, kept) => done,
        };
        match done {
            Ok(()) => breath = breath.next(round.began.elapsed()),
            Err(error) => {
                tracing::warn!(%error, "old rows could not be deleted; they are next time");
            }
        }
    }
}

/// How long it is paused after a batch, in times of what the batch took. The longer that was, the more others had to be
/// written meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
struct Breath(f64);

impl Breath {
    const SHORTEST: Self = Self(1.0);
    const LONGEST: Self = Self(8.0);

    /// The pause after a batch of a round that has gone on for so long.
    fn pause(self, batch: Duration, round: Duration) -> Duration {
        // One that should be over hurries: more has become too old than was thought.
        let Self(times) = if round < PERIOD { self } else { Self::SHORTEST };
        batch.mul_f64(times).max(PAUSE_MIN)
    }

    /// The next round's, going by how long this one took: it is to take most of the time that there is.
    fn next(self, round: Duration) -> Self {
        let wanted = ROUND.as_secs_f64() / round.as_secs_f64().max(0.001);
        let times = (self.0 + 1.0) * wanted - 1.0;
        Self(times.clamp(Self::SHORTEST.0, Self::LONGEST.0))
    }
}

#[derive(Debug, Clone, Copy)]
struct Round {
    began: Instant,
    breath: Breath,
}

impl Round {
    async fn delete(&self, store: &Store, clock: &Clock, kept: Kept) -> Result<(), StoreError> {
        let now = clock.now();
        let events = now - DAY * kept.history_days;
        self.in_batches(|| store.delete_device_events_before(events))
            .await?;
        let telemetry = now - DAY * kept.telemetry_days;
        self.in_batches(|| store.delete_telemetry_before(telemetry))
            .await?;
        let downlinks = now - DAY * kept.downlink_days;
        self.in_batches_of(DELETE_DOWNLINKS_MAX, || {
            store.delete_downlinks_before(downlinks)
        })
        .await?;
        self.in_batches(|| store.delete_jobs_before(now - JOBS_KEPT))
            .await?;
        // Whoever wrote them down went away half-way.
        store.discard_unprepared(now - JOBS_PREPARED_WITHIN).await?;
        self.in_batches(|| store.delete_gateways_before(now - GATEWAYS_KEPT))
            .await?;
        self.in_batches(|| store.delete_reservations_before(now - ANSWERS_KEPT))
            .await
    }

    /// Deletes batch after batch until one is not full.
    async fn in_batches<Batch>(&self, delete: impl Fn() -> Batch) -> Result<(), StoreError>
    where
        Batch: Future<Output = Result<u64, StoreError>>,
    {
        self.in_batches_of(DELETE_BATCH_MAX, delete).await
    }

    async fn in_batches_of<Batch>(
        &self,
        full: u32,
        delete: impl Fn() -> Batch,
    ) -> Result<(), StoreError>
    where
        Batch: Future<Output = Result<u64, StoreError>>,
    {
        loop {
            let began = Instant::now();
            if delete().await? < u64::from(full) {
                return Ok(());
            }
            let pause = self.breath.pause(began.elapsed(), self.began.elapsed());
            tokio::time::sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds that rounds take, one after the other, where so many seconds of work come each period.
    fn rounds(work: f64, count: usize) -> Vec<f64> {
        let mut breath = Breath::SHORTEST;
        let rounds = std::iter::repeat_with(|| {
            let round = work * (1.0 + breath.0);
            breath = breath.next(Duration::from_secs_f64(round));
            round
        });
        rounds.take(count).collect()
    }

    #[test]
    fn a_round_takes_most_of_the_time_that_there_is() {
        for (work, expected) in [
            // Hardly anything to do: nobody feels it either way.
            (0.01, 0.09),
            (5.0, 45.0),
            (10.0, 48.0),
            (20.0, 48.0),
            // More than can be deleted in time, with the shortest pauses.
            (40.0, 80.0),
        ] {
            let last = rounds(work, 10)[9];
            assert!((last - expected).abs() < 0.001, "{work}: {last}");
        }
    }

    #[test]
    fn a_round_that_should_be_over_hurries() {
        let batch = Duration::from_millis(10);
        let pause = |round| Breath(4.0).pause(batch, Duration::from_secs(round));
        assert_eq!(pause(59), 4 * batch);
        assert_eq!(pause(60), batch);
        let least = Breath::SHORTEST.pause(Duration::from_micros(1), Duration::ZERO);
        assert_eq!(least, PAUSE_MIN);
    }
}
