//! Looks for devices that have been silent for too long: who does not speak tells nobody.

use std::collections::HashSet;
use std::time::Duration;

use downbeat_actors::System;
use downbeat_actors::port::{DeviceStore as _, StoreError};
use futures_util::{StreamExt as _, stream};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::store::Store;

/// Between two rounds.
const PERIOD: Duration = Duration::from_secs(10);

/// Devices that are looked at before the store is asked for more.
const BATCH: u32 = 500;

/// Devices that are looked at at once.
const AT_ONCE: usize = 16;

/// Runs until the service stops. `interval`: how often devices speak whose users did not say.
pub async fn run(
    store: Store,
    system: System,
    interval: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            result = round(&store, &system, interval) => {
                if let Err(error) = result {
                    tracing::warn!(%error, "silent devices could not be looked for; they are next time");
                }
            }
        }
    }
}

/// Looks at all that are silent. One that was looked at and is found again waits for the next round: its actor sees it
/// otherwise, or could not be asked.
async fn round(store: &Store, system: &System, interval: Duration) -> Result<(), StoreError> {
    let mut looked_at = HashSet::new();
    loop {
        let silent = store.silent(system.clock().now(), interval, BATCH).await?;
        let is_last = silent.len() < BATCH as usize;
        let new: Vec<_> = silent
            .into_iter()
            .filter(|key| looked_at.insert(*key))
            .collect();
        let is_last = is_last || new.is_empty();
        let looks = stream::iter(new).map(|key| system.look_at_silent(key));
        let failed = looks
            .buffer_unordered(AT_ONCE)
            .filter(|result| std::future::ready(result.is_err()))
            .count()
            .await;
        if failed > 0 {
            tracing::warn!(
                failed,
                "silent devices could not be looked at; they are next time"
            );
        }
        if is_last || failed > 0 {
            return Ok(());
        }
    }
}
