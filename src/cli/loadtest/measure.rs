//! Times of requests, gathered and told.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Times are kept to three digits, up to an hour; what takes longer counts as that.
const LONGEST: Duration = Duration::from_hours(1);

/// Gathers the times of one operation.
#[derive(Debug, Clone)]
pub(super) struct Measuring {
    micros: Histogram<u64>,
    errors: u64,
    first_error: Option<String>,
}

impl Default for Measuring {
    fn default() -> Self {
        let longest = u64::try_from(LONGEST.as_micros()).unwrap_or(u64::MAX);
        Self {
            micros: Histogram::new_with_bounds(1, longest, 3)
                .expect("three digits from a microsecond to an hour is a range that it takes"),
            errors: 0,
            first_error: None,
        }
    }
}

impl Measuring {
    /// One request that went as it should.
    pub(super) fn note(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.saturating_record(micros);
    }

    /// One that did not.
    pub(super) fn note_error(&mut self, error: String) {
        self.errors += 1;
        self.first_error.get_or_insert(error);
    }

    /// So many that did not.
    pub(super) fn note_errors(&mut self, count: u64, error: String) {
        self.errors += count;
        self.first_error.get_or_insert(error);
    }

    /// Requests that went as they should, so far.
    pub(super) fn count(&self) -> u64 {
        self.micros.len()
    }

    /// Takes over what another loop gathered.
    pub(super) fn add(&mut self, other: Self) {
        self.micros
            .add(&other.micros)
            .expect("both have the same range");
        self.errors += other.errors;
        if let Some(error) = other.first_error {
            self.first_error.get_or_insert(error);
        }
    }

    /// What came of it in that time.
    pub(super) fn finish(self, operation: &str, took: Duration) -> Measurement {
        let millis = |quantile: f64| {
            let micros = Duration::from_micros(self.micros.value_at_quantile(quantile));
            micros.as_secs_f64() * 1000.0
        };
        let requests = self.micros.len();
        Measurement {
            operation: operation.to_owned(),
            requests,
            errors: self.errors,
            first_error: self.first_error.clone(),
            per_second: per_second(requests, took),
            p50_ms: millis(0.5),
            p95_ms: millis(0.95),
            p99_ms: millis(0.99),
            max_ms: millis(1.0),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate is no exact number")]
fn per_second(requests: u64, took: Duration) -> f64 {
    requests as f64 / took.as_secs_f64().max(1e-9)
}

/// How one operation went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Measurement {
    /// What was done.
    pub(super) operation: String,
    /// Requests that went as they should.
    pub(super) requests: u64,
    /// Requests that did not.
    pub(super) errors: u64,
    /// What the first of those said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_error: Option<String>,
    /// Requests a second.
    pub(super) per_second: f64,
    /// Half of them took no longer, ms.
    pub(super) p50_ms: f64,
    /// 95 of 100 took no longer, ms.
    pub(super) p95_ms: f64,
    /// 99 of 100 took no longer, ms.
    pub(super) p99_ms: f64,
    /// The slowest, ms.
    pub(super) max_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_several_loops_are_told_together() {
        let (mut one, mut other) = (Measuring::default(), Measuring::default());
        for millis in 1..=99 {
            one.note(Duration::from_millis(millis));
        }
        other.note(Duration::from_hours(2));
        other.note_error("503".to_owned());
        one.add(other);
        let measured = one.finish("get", Duration::from_secs(10));
        assert_eq!((measured.requests, measured.errors), (100, 1));
        assert_eq!(measured.first_error.as_deref(), Some("503"));
        assert!((measured.p50_ms - 50.0).abs() < 0.1, "{}", measured.p50_ms);
        assert!((measured.p95_ms - 95.0).abs() < 0.1, "{}", measured.p95_ms);
        assert!(
            (measured.max_ms - 3_600_000.0).abs() < 3_600.0,
            "{}",
            measured.max_ms
        );
        assert!((measured.per_second - 10.0).abs() < 1e-9);
    }
}
