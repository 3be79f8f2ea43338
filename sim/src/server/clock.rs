//! Real time and the model's, which may run faster.
//!
//! Outside, only real time exists: what callers give (`expires_at`) is turned into the model's time, what they are told
//! is turned back. At speed 1 both are the same.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use downbeat_core::time::Timestamp;
use tokio::time::Instant;

/// When the simulation began, on both clocks, and how fast it runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    started: Instant,
    epoch_us: i64,
    speed: f64,
}

impl Clock {
    /// Starts now.
    pub(super) fn start(speed: f64) -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let epoch_ms = i64::try_from(since_epoch.as_millis()).unwrap_or(0);
        Self {
            started: Instant::now(),
            epoch_us: epoch_ms * 1000,
            speed,
        }
    }

    /// The model's time at the start.
    pub(super) fn epoch(&self) -> Timestamp {
        Timestamp::from_millis(self.epoch_us / 1000)
    }

    /// The model's time now.
    pub(super) fn now(&self) -> Timestamp {
        self.epoch() + self.started.elapsed().mul_f64(self.speed)
    }

    /// When it will be `at` in the model.
    pub(super) fn instant_of(&self, at: Timestamp) -> Instant {
        // A moment later, so that rounding does not wake the driver a hair too early.
        self.started + at.since(self.epoch()).div_f64(self.speed) + Duration::from_micros(100)
    }

    /// Microseconds of real time as the model's.
    pub(super) fn to_model_us(self, real_us: i64) -> i64 {
        self.epoch_us
            .saturating_add(scale(real_us.saturating_sub(self.epoch_us), self.speed))
    }

    /// Microseconds of the model's time as real ones.
    pub(super) fn to_real_us(self, model_us: i64) -> i64 {
        self.epoch_us.saturating_add(scale(
            model_us.saturating_sub(self.epoch_us),
            1.0 / self.speed,
        ))
    }

    /// An instant of the model as a real one.
    pub(super) fn to_real(self, at: Timestamp) -> Timestamp {
        Timestamp::from_millis(
            self.to_real_us(at.as_millis().saturating_mul(1000))
                .div_euclid(1000),
        )
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a double holds the microseconds of 285 years exactly, and the cast back saturates"
)]
fn scale(us: i64, factor: f64) -> i64 {
    (us as f64 * factor).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_again() {
        for speed in [1.0, 7.0, 100.0] {
            let clock = Clock {
                started: Instant::now(),
                epoch_us: 1_795_000_000_000_000,
                speed,
            };
            for real_us in [
                0,
                clock.epoch_us - 1,
                clock.epoch_us,
                clock.epoch_us + 20_000_001,
            ] {
                assert_eq!(
                    clock.to_real_us(clock.to_model_us(real_us)),
                    real_us,
                    "speed {speed}"
                );
            }
        }
    }
}
