//! How often something was turned away of late: what an operator is told, and forgotten when it is over.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

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
        let before = self.lately();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((Instant::now(), before.saturating_add(1)));
    }

    /// How many there were, each at most five minutes after the one before and the last at most five minutes ago.
    pub(super) fn lately(&self) -> u64 {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(at, _)| at.elapsed() < LATELY)
            .map_or(0, |(_, count)| count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn five_minutes_after_the_last_one_all_are_forgotten() {
        let refusals = Refusals::default();
        assert_eq!(refusals.lately(), 0);
        for count in 1..=3 {
            refusals.count();
            tokio::time::advance(LATELY / 2).await;
            assert_eq!(refusals.lately(), count);
        }
        tokio::time::advance(LATELY / 2).await;
        assert_eq!(refusals.lately(), 0);
        refusals.count();
        assert_eq!(refusals.lately(), 1);
    }
}
