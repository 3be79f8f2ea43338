//! How many requests a key may make within a minute, and how many commands a tenant may give: a bucket of tokens for
//! each, which fills evenly.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use governor::clock::{Clock, DefaultClock, Reference as _};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use uuid::Uuid;

/// A bucket that was left alone for this long is full, so it may be forgotten.
const FULL_AFTER: Duration = Duration::from_mins(1);

/// Buckets that are kept.
const BUCKETS_MAX: usize = 20_000;

/// Buckets by the id of who draws from them.
#[derive(Debug)]
pub(in crate::http) struct Limits<C: Clock = DefaultClock> {
    buckets: DashMap<Uuid, Bucket<C>>,
    clock: C,
}

type Limiter<C> = RateLimiter<NotKeyed, InMemoryState, C, StateInformationMiddleware>;

#[derive(Debug)]
struct Bucket<C: Clock> {
    limit: NonZeroU32,
    limiter: Arc<Limiter<C>>,
    used_at: C::Instant,
}

/// How a bucket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct Standing {
    /// Tokens of a minute.
    pub(in crate::http) limit: u32,
    /// Tokens that are left.
    pub(in crate::http) remaining: u32,
    /// When there is a token again; `None` if this one was granted.
    pub(in crate::http) retry_after: Option<Duration>,
}

impl Standing {
    /// Seconds until the bucket is full.
    pub(in crate::http) fn reset_s(self) -> u64 {
        let missing = u64::from(self.limit.saturating_sub(self.remaining));
        (missing * FULL_AFTER.as_secs()).div_ceil(u64::from(self.limit.max(1)))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limits<C> {
    fn new(clock: C) -> Self {
        Self {
            buckets: DashMap::new(),
            clock,
        }
    }

    /// Takes a token of a bucket that holds `limit` and gets as many a minute. Another limit than before begins a new
    /// bucket. A limit of zero is one of one.
    pub(in crate::http) fn take(&self, id: Uuid, limit: u32) -> Standing {
        let limit = NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN);
        let limiter = self.limiter(id, limit);
        match limiter.check() {
            Ok(state) => Standing {
                limit: limit.get(),
                remaining: state.remaining_burst_capacity(),
                retry_after: None,
            },
            Err(not_until) => Standing {
                limit: limit.get(),
                remaining: 0,
                retry_after: Some(not_until.wait_time_from(self.clock.now())),
            },
        }
    }

    fn limiter(&self, id: Uuid, limit: NonZeroU32) -> Arc<Limiter<C>> {
        let now = self.clock.now();
        if let Some(mut bucket) = self.buckets.get_mut(&id)
            && bucket.limit == limit
        {
            bucket.used_at = now;
            return Arc::clone(&bucket.limiter);
        }
        self.make_room(now);
        let limiter = RateLimiter::direct_with_clock(Quota::per_minute(limit), self.clock.clone())
            .with_middleware::<StateInformationMiddleware>();
        let limiter = Arc::new(limiter);
        let bucket = Bucket {
            limit,
            limiter: Arc::clone(&limiter),
            used_at: now,
        };
        self.buckets.insert(id, bucket);
        limiter
    }

    fn make_room(&self, now: C::Instant) {
        if self.buckets.len() < BUCKETS_MAX {
            return;
        }
        self.buckets
            .retain(|_, bucket| Duration::from(now.duration_since(bucket.used_at)) < FULL_AFTER);
        if self.buckets.len() >= BUCKETS_MAX {
            let oldest = self.buckets.iter().min_by_key(|it| it.used_at);
            let oldest = oldest.map(|it| *it.key());
            if let Some(oldest) = oldest {
                self.buckets.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;

    #[test]
    fn a_bucket_fills_evenly_within_a_minute() {
        let clock = FakeRelativeClock::default();
        let limits = Limits::new(clock.clone());
        let id = Uuid::now_v7();
        for remaining in (0..6).rev() {
            let standing = limits.take(id, 6);
            assert_eq!(
                (standing.remaining, standing.retry_after),
                (remaining, None)
            );
        }
        let refused = limits.take(id, 6);
        assert_eq!(refused.retry_after, Some(Duration::from_secs(10)));
        assert_eq!((refused.remaining, refused.reset_s()), (0, 60));
        clock.advance(Duration::from_secs(10));
        assert_eq!(limits.take(id, 6).retry_after, None);
        assert!(limits.take(id, 6).retry_after.is_some());
        clock.advance(Duration::from_mins(1));
        assert_eq!(limits.take(id, 6).remaining, 5);
    }

    #[test]
    fn everybody_draws_from_a_bucket_of_their_own() {
        let limits = Limits::new(FakeRelativeClock::default());
        let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
        assert_eq!(limits.take(one, 1).retry_after, None);
        assert!(limits.take(one, 1).retry_after.is_some());
        assert_eq!(limits.take(other, 1).retry_after, None);
        assert_eq!(limits.take(one, 2).remaining, 1);
    }

    #[test]
    fn full_buckets_make_room_and_then_the_oldest() {
        let clock = FakeRelativeClock::default();
        let limits = Limits::new(clock.clone());
        for _ in 0..BUCKETS_MAX {
            limits.take(Uuid::now_v7(), 1);
        }
        let last = Uuid::now_v7();
        limits.take(last, 1);
        assert_eq!(limits.buckets.len(), BUCKETS_MAX);
        assert!(limits.take(last, 1).retry_after.is_some());
        clock.advance(FULL_AFTER);
        limits.take(Uuid::now_v7(), 1);
        assert_eq!(limits.buckets.len(), 1);
    }
}
