//! Time as the machines see it: an instant of UTC in milliseconds, always an argument.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// An instant of UTC, in milliseconds since the Unix epoch. Shown as RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The first instant that RFC 3339 can still show, and the last one.
    const RANGE_MS: (i64, i64) = (-62_135_596_800_000, 253_402_300_799_999);

    /// From milliseconds since the Unix epoch, held within the years 1 to 9999.
    pub const fn from_millis(millis: i64) -> Self {
        let (first, last) = Self::RANGE_MS;
        Self(if millis < first {
            first
        } else if millis > last {
            last
        } else {
            millis
        })
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// So many milliseconds later, or earlier if that is negative.
    #[must_use]
    pub const fn shifted(self, millis: i64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// The time from `earlier` to this instant; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// How a clock that people or NTP set compares with a steady one, now and before.
///
/// What lies back is measured steadily, or a step forward makes it old. But what was written down bears the time that
/// the clock showed then: [`Steps::steady_of`] finds out what that was on the steady one.
#[derive(Debug, Clone, Default)]
pub struct Steps {
    /// From when on, by the steady clock, the other one was so many milliseconds ahead; oldest first.
    spans: VecDeque<(Timestamp, i64)>,
}

/// Steps that are remembered; what was written down before them counts as later than it was.
const STEPS_MAX: usize = 64;

impl Steps {
    /// The clock was set, at `steady`: it shows so many milliseconds more than it would have.
    pub fn set(&mut self, steady: Timestamp, step_ms: i64) {
        if self.spans.len() == STEPS_MAX {
            self.spans.pop_front();
        }
        let ahead = self.ahead_ms().saturating_add(step_ms);
        self.spans.push_back((steady, ahead));
    }

    /// By how many milliseconds the clock is ahead of the steady one.
    pub fn ahead_ms(&self) -> i64 {
        self.spans.back().map_or(0, |(_, ahead)| *ahead)
    }

    /// What the clock shows, as it is set now.
    pub fn shown_at(&self, steady: Timestamp) -> Timestamp {
        steady.shifted(self.ahead_ms())
    }

    /// When, up to `now`, the clock showed that, by the steady one; the last time, if it did so more than once.
    pub fn steady_of(&self, now: Timestamp, shown: Timestamp) -> Timestamp {
        let mut ends = now;
        for (since, ahead) in self.spans.iter().rev() {
            let steady = shown.shifted(ahead.saturating_neg());
            if (*since..=ends).contains(&steady) {
                return steady;
            }
            ends = *since;
        }
        // Before the first step; or never, in the gap that a step forward left: as late as that may have been.
        shown.min(ends)
    }

    /// The least that the clock has shown since then.
    pub fn least_shown_since(&self, steady: Timestamp) -> Timestamp {
        // Each span ends where the next one begins; before the first, the clocks agree.
        let (mut from, mut ahead, mut least) = (steady, 0, None);
        for (since, next) in &self.spans {
            if *since > steady {
                least = least.into_iter().chain([from.shifted(ahead)]).min();
                from = *since;
            }
            ahead = *next;
        }
        least
            .into_iter()
            .chain([from.shifted(ahead)])
            .min()
            .unwrap_or(steady)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(millis(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self::from_millis(self.0.saturating_sub(millis(duration)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let utc: DateTime<Utc> = DateTime::from_timestamp_millis(self.0).unwrap_or_default();
        f.write_str(&utc.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(utc: DateTime<Utc>) -> Self {
        Self::from_millis(utc.timestamp_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1000)
    }

    /// Set forward by an hour at 1,000 s, and back by two at 2,000 s: it shows 0 to 1,000, 4,600 to 5,600, then -1,600.
    #[test]
    fn what_a_clock_showed_is_found_on_the_steady_one() {
        let mut steps = Steps::default();
        assert_eq!(steps.steady_of(at(900), at(700)), at(700));
        assert_eq!(
            steps.steady_of(at(900), at(950)),
            at(900),
            "another's clock"
        );
        steps.set(at(1_000), 3_600_000);
        steps.set(at(2_000), -7_200_000);
        assert_eq!(steps.ahead_ms(), -3_600_000);
        let now = at(2_100);
        assert_eq!(steps.shown_at(now), at(-1_500));
        for (shown, steady, because) in [
            (4_600, 1_000, "the moment after the first step"),
            (5_599, 1_999, "the moment before the second one"),
            (-1_600, 2_000, "the moment after it"),
            (-1_500, 2_100, "now"),
            (400, 400, "before all"),
            (3_000, 1_000, "never: it was set forward over that"),
            (-1_400, -1_400, "not yet"),
        ] {
            assert_eq!(steps.steady_of(now, at(shown)), at(steady), "{because}");
        }
        for (since, least) in [(0, -1_600), (1_500, -1_600), (2_050, -1_550)] {
            assert_eq!(steps.least_shown_since(at(since)), at(least), "{since}");
        }
        let mut forward = Steps::default();
        forward.set(at(1_000), 3_600_000);
        assert_eq!(forward.steady_of(now, at(900)), at(900));
        assert_eq!(forward.steady_of(now, at(2_000)), at(1_000), "never shown");
        assert_eq!(forward.least_shown_since(at(500)), at(500));
        assert_eq!(forward.least_shown_since(at(1_500)), at(5_100));
    }

    #[test]
    fn instants_are_shown_as_rfc_3339_and_never_overflow() {
        assert_eq!(
            Timestamp::from_millis(1_795_361_531_448).to_string(),
            "2026-11-22T15:32:11.448Z"
        );
        assert_eq!(
            (Timestamp::from_millis(i64::MAX) + Duration::MAX).to_string(),
            "9999-12-31T23:59:59.999Z"
        );
        assert_eq!(
            Timestamp::from_millis(5).since(Timestamp::from_millis(9)),
            Duration::ZERO
        );
    }
}
