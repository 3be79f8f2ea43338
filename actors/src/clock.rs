//! The one clock: wall time that runs with tokio's, so that a test may pause it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use downbeat_core::time::{CLOCK_STEP_MS, ClockRecord, Steps, Timestamp};
use tokio::time::Instant;

use crate::port::Machine;

/// Tells the time. It runs steadily with the monotonic clock; [`Clock::resync`] takes over steps of the wall clock.
#[derive(Debug, Clone)]
pub struct Clock {
    started: Instant,
    /// The wall clock's time at `started`, as it is set now.
    offset_ms: Arc<AtomicI64>,
    /// The same as it was set then.
    steady_offset_ms: i64,
    steps: Arc<Mutex<Steps>>,
    /// A test's clock runs by tokio's alone.
    follows_system: bool,
    /// Knows what the clocks of earlier processes showed.
    machine: Option<Arc<dyn Machine>>,
}

impl Clock {
    /// A clock set by the system's.
    pub fn system() -> Self {
        Self {
            follows_system: true,
            ..Self::starting_at(system_now())
        }
    }

    /// The same, on a machine that tells how its clock was set before this process began.
    pub fn of_machine(machine: Arc<dyn Machine>) -> Self {
        let mut clock = Self::system();
        if let Some(record) = note_clock(machine.as_ref()) {
            clock.steps = Arc::new(Mutex::new(record.steps()));
        }
        clock.machine = Some(machine);
        clock
    }

    /// A clock that starts at an instant of a test's choice.
    pub fn starting_at(start: Timestamp) -> Self {
        Self {
            started: Instant::now(),
            offset_ms: Arc::new(AtomicI64::new(start.as_millis())),
            steady_offset_ms: start.as_millis(),
            steps: Arc::default(),
            follows_system: false,
            machine: None,
        }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.elapsed_since(self.offset_ms.load(Ordering::Relaxed))
    }

    /// Now, by a clock that was set when this one was made and never since: for what is measured, and never shown.
    pub fn steady(&self) -> Timestamp {
        self.elapsed_since(self.steady_offset_ms)
    }

    fn elapsed_since(&self, offset_ms: i64) -> Timestamp {
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(offset_ms.saturating_add(elapsed))
    }

    /// The steps of the wall clock, those before this one was made as far as they are known.
    pub fn steps(&self) -> Steps {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.clone()
    }

    /// The instant of tokio's clock at which it will be `at`; now for what is past.
    pub fn instant(&self, at: Timestamp) -> Instant {
        Instant::now() + at.since(self.now())
    }

    /// The same for a time of [`Clock::steady`].
    pub fn steady_instant(&self, at: Timestamp) -> Instant {
        Instant::now() + at.since(self.steady())
    }

    /// Sets the clock by the system's again, after that was set. Gives the step in milliseconds, if there was one.
    pub fn resync(&self) -> Option<i64> {
        let step = system_now().as_millis() - self.now().as_millis();
        if !self.follows_system || step.abs() < CLOCK_STEP_MS {
            return None;
        }
        self.step_by(step);
        if let Some(machine) = &self.machine {
            let _ = note_clock(machine.as_ref());
        }
        Some(step)
    }

    fn step_by(&self, step_ms: i64) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.set(self.steady(), step_ms);
        self.offset_ms.fetch_add(step_ms, Ordering::Relaxed);
    }
}

/// Keeps what the system's clock shows now, if that is news, and gives all that is kept.
fn note_clock(machine: &dyn Machine) -> Option<ClockRecord> {
    let uptime = machine.uptime()?;
    let now = system_now();
    let known = machine.clock_record();
    let known = known.filter(|record| record.boot_id() == uptime.boot_id);
    let mut record = known.unwrap_or_else(|| ClockRecord::of_boot(uptime.boot_id));
    if record.note(uptime.up_ms, now) {
        machine.keep_clock_record(&record);
    }
    Some(record)
}

fn system_now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_step_moves_the_wall_clock_and_nothing_else() {
        let start = Timestamp::from_millis(1_800_000_000_000);
        let clock = Clock::starting_at(start);
        tokio::time::advance(Duration::from_secs(5)).await;
        clock.step_by(3_600_000);
        tokio::time::advance(Duration::from_secs(5)).await;
        let now = start + Duration::from_secs(10);
        assert_eq!(clock.steady(), now);
        assert_eq!(clock.now(), now + Duration::from_hours(1));
        assert_eq!(clock.steps().steady_of(now, clock.now()), now);
        let in_a_minute = now + Duration::from_mins(1);
        assert_eq!(
            clock.steady_instant(in_a_minute) - Instant::now(),
            Duration::from_mins(1)
        );
    }
}
