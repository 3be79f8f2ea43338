//! When requests are made.
//!
//! A closed loop waits for each answer before its next request, so a slow answer keeps requests back: its times say how
//! it is for so many patient callers. An open loop has a plan, and counts each time from the instant that the plan names:
//! a server that stalls finds all that came meanwhile in its figures (no coordinated omission).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// A plan that callers share.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    began: Instant,
    next: Arc<AtomicU64>,
    count: u64,
    /// Requests a second; `None`: as soon as somebody is free.
    rate: Option<f64>,
    /// Nothing begins after this.
    ends: Option<Instant>,
    /// What begins before this is the warm-up.
    warm_from: Instant,
}

/// One request of a plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    /// From 0.
    pub(super) number: u64,
    /// Times are counted from here.
    pub(super) at: Instant,
    /// Its time tells of the beginning of a run, and not of the run.
    pub(super) is_warm_up: bool,
}

impl Pace {
    /// So many requests, each as soon as a caller is free.
    pub(super) fn closed(count: u64) -> Self {
        let began = Instant::now();
        Self {
            began,
            next: Arc::default(),
            count,
            rate: None,
            ends: None,
            warm_from: began,
        }
    }

    /// For so long, as soon as a caller is free.
    pub(super) fn closed_for(duration: Duration) -> Self {
        Self {
            ends: Some(Instant::now() + duration),
            ..Self::closed(u64::MAX)
        }
    }

    /// So many a second for so long.
    pub(super) fn open(rate: f64, duration: Duration) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of requests; the cast saturates"
        )]
        let count = (rate * duration.as_secs_f64()).round() as u64;
        Self {
            rate: Some(rate),
            ..Self::closed(count)
        }
    }

    /// The first of it is the warm-up. Of a plan whose length is a time.
    pub(super) fn warming_up(self, warm_up: Duration) -> Self {
        Self {
            warm_from: self.began + warm_up,
            ..self
        }
    }

    /// How many there will be, where that is known beforehand.
    pub(super) fn count(&self) -> Option<u64> {
        (self.count < u64::MAX).then_some(self.count)
    }

    /// Waits until the next request is due; `None` when there are no more.
    pub(super) async fn next(&self) -> Option<Due> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.count {
            return None;
        }
        let now = Instant::now();
        let at = self
            .rate
            .map_or(now, |rate| self.began + after(number, rate));
        if self.ends.is_some_and(|ends| at >= ends) {
            return None;
        }
        tokio::time::sleep_until(at).await;
        Some(Due {
            number,
            at,
            is_warm_up: at < self.warm_from,
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "requests of a run are far below 2^52"
)]
fn after(number: u64, rate: f64) -> Duration {
    Duration::from_secs_f64(number as f64 / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_plan_stands_whenever_its_callers_come() {
        let pace = Pace::open(1_000.0, Duration::from_millis(10));
        for number in 0..10 {
            let due = pace.next().await.expect("there are ten");
            assert_eq!(due.number, number);
            assert_eq!(due.at - pace.began, Duration::from_millis(number));
        }
        assert!(pace.next().await.is_none());
    }

    #[tokio::test]
    async fn the_first_of_a_plan_is_the_warm_up() {
        let plan = Pace::open(1_000.0, Duration::from_millis(6));
        let pace = plan.warming_up(Duration::from_millis(2));
        let mut warm_up = Vec::new();
        while let Some(due) = pace.next().await {
            warm_up.push(due.is_warm_up);
        }
        assert_eq!(warm_up, [true, true, false, false, false, false]);
    }

    #[tokio::test]
    async fn a_closed_loop_ends_by_count_or_by_time() {
        let pace = Pace::closed(2);
        let numbers = [pace.next().await, pace.next().await, pace.next().await];
        let numbers = numbers.map(|due| due.map(|due| due.number));
        assert_eq!(numbers, [Some(0), Some(1), None]);
        assert!(
            Pace::closed_for(Duration::from_hours(1))
                .next()
                .await
                .is_some()
        );
        assert!(Pace::closed_for(Duration::ZERO).next().await.is_none());
    }
}
