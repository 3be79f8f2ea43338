//! How often something was turned away of late: what an operator is told, and forgotten when it is over.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So long after the last one it is over.
const LATELY: Duration = Duration::from_mins(5);

/// Refusals of one kind.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    last: Mutex<Option<(Instant, u64)>>,
}

impl Refusals {
    /// Counts one.
    pub(super) fn count(&self) {
        self.count_at(Instant::now());
    }

    /// How many there were, each at most five minutes after the one before and the last at most five minutes ago.
    pub(super) fn lately(&self) -> u64 {
        self.lately_at(Instant::now())
    }

    fn count_at(&self, now: Instant) {
        let before = self.lately_at(now);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((now, before.saturating_add(1)));
    }

    fn lately_at(&self, now: Instant) -> u64 {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(at, _)| now.duration_since(*at) < LATELY)
            .map_or(0, |(_, count)| count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_minutes_after_the_last_one_all_are_forgotten() {
        let (refusals, mut now) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.lately_at(now), 0);
        for count in 1..=3 {
            refusals.count_at(now);
            now += LATELY / 2;
            assert_eq!(refusals.lately_at(now), count);
        }
        now += LATELY / 2;
        assert_eq!(refusals.lately_at(now), 0);
        refusals.count_at(now);
        assert_eq!(refusals.lately_at(now), 1);
    }
}
