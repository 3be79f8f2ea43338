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

/// How a clock that is set compared with the time that the machine has been up: kept, it tells a process what its
/// predecessors' clocks showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockRecord {
    /// Which start of the machine: after another one nothing of it holds.
    boot_id: String,
    /// From when on, in ms since that start, the clock was so many milliseconds ahead of it; oldest first.
    spans: VecDeque<(i64, i64)>,
}

/// A difference of a clock that was set; what is less is its drift.
pub const CLOCK_STEP_MS: i64 = 250;

impl ClockRecord {
    /// Nothing is known of a machine's start but its name.
    pub const fn of_boot(boot_id: String) -> Self {
        Self {
            boot_id,
            spans: VecDeque::new(),
        }
    }

    /// Which start of the machine it is about.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// So many milliseconds after the machine's start the clock shows this. Tells whether that is news.
    pub fn note(&mut self, up_ms: i64, shown: Timestamp) -> bool {
        let ahead = shown.0.saturating_sub(up_ms);
        let is_known =
            |(_, known): &(i64, i64)| ahead.saturating_sub(*known).saturating_abs() < CLOCK_STEP_MS;
        if self.spans.back().is_some_and(is_known) {
            return false;
        }
        if self.spans.len() == STEPS_MAX {
            self.spans.pop_front();
        }
        self.spans.push_back((up_ms, ahead));
        true
    }

    /// The same by a steady clock that agrees with the other one as it was noted last.
    pub fn steps(&self) -> Steps {
        let now_ahead = self.spans.back().map_or(0, |(_, ahead)| *ahead);
        let spans = self.spans.iter().enumerate();
        Steps {
            spans: spans
                .map(|(number, (up_ms, ahead))| {
                    // What was before is not known, and taken to have been the same.
                    let since = if number == 0 { i64::MIN } else { *up_ms };
                    let steady = Timestamp::from_millis(since.saturating_add(now_ahead));
                    (steady, ahead.saturating_sub(now_ahead))
                })
                .collect(),
        }
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

    /// Up for 1,000 s it is set forward by an hour; down for a while, it is set back by ten minutes; begun anew at 3,000 s.
    #[test]
    fn what_the_clock_showed_before_a_restart_is_found_on_the_new_steady_one() {
        let mut record = ClockRecord::of_boot("one".to_owned());
        for (up, shown, is_news) in [
            (0, 100_000, true),
            (500, 100_500, false),
            (1_000, 104_600, true),
            (3_000, 106_000, true),
        ] {
            assert_eq!(record.note(up * 1_000, at(shown)), is_news, "{up}");
        }
        let steps = record.steps();
        assert_eq!(steps.ahead_ms(), 0);
        for (shown, up) in [
            (100_400, 400),
            (100_999, 999),
            (104_600, 1_000),
            (105_300, 1_700),
            (106_000, 3_000),
            (106_010, 3_010),
        ] {
            let steady = at(up + 103_000);
            assert_eq!(steps.steady_of(at(106_010), at(shown)), steady, "{shown}");
        }
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
