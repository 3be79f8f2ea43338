//! The one clock: wall time that runs with tokio's, so that a test may pause it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use downbeat_core::time::Timestamp;
use tokio::time::Instant;

/// A difference to the system's clock that is put right; smaller ones are left to run.
const TOLERATED_DRIFT_MS: i64 = 250;

/// Tells the time. It runs steadily with the monotonic clock; [`Clock::resync`] takes over steps of the wall clock.
#[derive(Debug, Clone)]
pub struct Clock {
    started: Instant,
    offset_ms: Arc<AtomicI64>,
    /// A test's clock runs by tokio's alone.
    follows_system: bool,
}

impl Clock {
    /// A clock set by the system's.
    pub fn system() -> Self {
        Self {
            follows_system: true,
            ..Self::starting_at(system_now())
        }
    }

    /// A clock that starts at an instant of a test's choice.
    pub fn starting_at(start: Timestamp) -> Self {
        Self {
            started: Instant::now(),
            offset_ms: Arc::new(AtomicI64::new(start.as_millis())),
            follows_system: false,
        }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(
            self.offset_ms
                .load(Ordering::Relaxed)
                .saturating_add(elapsed),
        )
    }

    /// The instant of tokio's clock at which it will be `at`; now for what is past.
    pub fn instant(&self, at: Timestamp) -> Instant {
        Instant::now() + at.since(self.now())
    }

    /// Sets the clock by the system's again, after that was set. Gives the step in milliseconds, if there was one.
    pub fn resync(&self) -> Option<i64> {
        let step = system_now().as_millis() - self.now().as_millis();
        if !self.follows_system || step.abs() < TOLERATED_DRIFT_MS {
            return None;
        }
        self.offset_ms.fetch_add(step, Ordering::Relaxed);
        Some(step)
    }
}

fn system_now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
