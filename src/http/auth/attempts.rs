//! Failed sign-ins are counted by address, so that nobody keeps the database busy by guessing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use downbeat_core::time::Timestamp;

/// Failures that are free.
const FREE: u32 = 10;

/// One failure is forgiven in this time.
const FORGIVEN_IN: Duration = Duration::from_secs(6);

/// Addresses that are told apart; all others share one count.
const ADDRESSES_MAX: usize = 10_000;

/// The failures of late.
#[derive(Debug, Default)]
pub(in crate::http) struct Attempts {
    failures: Mutex<HashMap<Option<IpAddr>, Failures>>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    counted_at: Timestamp,
}

impl Failures {
    /// What is left of them.
    fn at(self, now: Timestamp) -> Self {
        let forgiven = now.since(self.counted_at).as_millis() / FORGIVEN_IN.as_millis();
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        Self {
            count: self.count.saturating_sub(forgiven),
            counted_at: self.counted_at + FORGIVEN_IN.saturating_mul(forgiven),
        }
    }
}

impl Attempts {
    /// Whether an address may try; else when it may.
    pub(in crate::http) fn may_try(
        &self,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let address = address.filter(|_| address_is_told_apart(&failures, address));
        match failures.get(&address).map(|failures| failures.at(now)) {
            Some(left) if left.count >= FREE => Err((left.counted_at + FORGIVEN_IN)
                .since(now)
                .max(Duration::from_secs(1))),
            _ => Ok(()),
        }
    }

    /// Counts a failure.
    pub(in crate::http) fn failed(&self, address: Option<IpAddr>, now: Timestamp) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= ADDRESSES_MAX {
            failures.retain(|_, it| it.at(now).count > 0);
        }
        let address = address.filter(|_| address_is_told_apart(&failures, address));
        let none = Failures {
            count: 0,
            counted_at: now,
        };
        let entry = failures.entry(address).or_insert(none);
        let left = entry.at(now);
        let counted_at = if left.count == 0 {
            now
        } else {
            left.counted_at
        };
        *entry = Failures {
            count: left.count + 1,
            counted_at,
        };
    }
}

fn address_is_told_apart(
    failures: &HashMap<Option<IpAddr>, Failures>,
    address: Option<IpAddr>,
) -> bool {
    failures.len() < ADDRESSES_MAX || failures.contains_key(&address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_ten_failures_one_more_is_allowed_every_six_seconds() {
        let attempts = Attempts::default();
        let at = |millis| Timestamp::from_millis(millis);
        let (here, there) = (
            Some("192.0.2.1".parse().unwrap()),
            Some("192.0.2.2".parse().unwrap()),
        );
        for _ in 0..FREE {
            assert_eq!(attempts.may_try(here, at(0)), Ok(()));
            attempts.failed(here, at(0));
        }
        assert_eq!(
            attempts.may_try(here, at(2_000)),
            Err(Duration::from_secs(4))
        );
        assert_eq!(attempts.may_try(there, at(2_000)), Ok(()));
        assert_eq!(attempts.may_try(here, at(6_000)), Ok(()));
        attempts.failed(here, at(6_000));
        assert_eq!(
            attempts.may_try(here, at(6_000)),
            Err(Duration::from_secs(6))
        );
        assert_eq!(attempts.may_try(here, at(600_000)), Ok(()));
    }
}
