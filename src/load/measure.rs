//! Times of requests, gathered and told.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Times are kept to three digits, up to a minute; what takes longer counts as that.
const LONGEST: Duration = Duration::from_mins(1);

/// Gathers the times of one operation.
#[derive(Debug, Clone)]
pub struct Measuring {
    micros: Histogram<u64>,
    errors: u64,
    first_error: Option<String>,
}

impl Default for Measuring {
    fn default() -> Self {
        let longest = u64::try_from(LONGEST.as_micros()).unwrap_or(u64::MAX);
        Self {
            micros: Histogram::new_with_bounds(1, longest, 3)
                .expect("three digits from a microsecond to a minute is a range that it takes"),
            errors: 0,
            first_error: None,
        }
    }
}

impl Measuring {
    /// One request that went as it should.
    pub fn note(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.saturating_record(micros);
    }

    /// One that did not.
    pub fn note_error(&mut self, error: String) {
        self.errors += 1;
        self.first_error.get_or_insert(error);
    }

    /// Takes over what another loop gathered.
    ///
    /// # Panics
    /// Never: all have the same range.
    pub fn add(&mut self, other: Self) {
        self.micros
            .add(&other.micros)
            .expect("both have the same range");
        self.errors += other.errors;
        if let Some(error) = other.first_error {
            self.first_error.get_or_insert(error);
        }
    }

    /// What came of it in that time.
    pub fn finish(self, operation: &'static str, took: Duration) -> Measurement {
        let millis = |quantile: f64| {
            let micros = Duration::from_micros(self.micros.value_at_quantile(quantile));
            micros.as_secs_f64() * 1000.0
        };
        let requests = self.micros.len();
        Measurement {
            operation,
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
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// What was done.
    pub operation: &'static str,
    /// Requests that went as they should.
    pub requests: u64,
    /// Requests that did not.
    pub errors: u64,
    /// What the first of those said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
    /// Requests a second.
    pub per_second: f64,
    /// Half of them took no longer, ms.
    pub p50_ms: f64,
    /// 95 of 100 took no longer, ms.
    pub p95_ms: f64,
    /// 99 of 100 took no longer, ms.
    pub p99_ms: f64,
    /// The slowest, ms.
    pub max_ms: f64,
}

/// How a run went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Callers at once.
    pub connections: usize,
    /// Each operation.
    pub measurements: Vec<Measurement>,
    /// What the server's own counts say against what was done; empty when they agree.
    pub discrepancies: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} callers at once; times in ms", self.connections)?;
        writeln!(
            f,
            "{:<10} {:>9} {:>7} {:>9} {:>8} {:>8} {:>8} {:>8}",
            "operation", "requests", "errors", "per s", "p50", "p95", "p99", "max"
        )?;
        for it in &self.measurements {
            writeln!(
                f,
                "{:<10} {:>9} {:>7} {:>9.0} {:>8.2} {:>8.2} {:>8.2} {:>8.2}",
                it.operation,
                it.requests,
                it.errors,
                it.per_second,
                it.p50_ms,
                it.p95_ms,
                it.p99_ms,
                it.max_ms
            )?;
            if let Some(error) = &it.first_error {
                writeln!(f, "           first error: {error}")?;
            }
        }
        if self.discrepancies.is_empty() {
            write!(f, "The server's counts agree with what was done.")
        } else {
            write!(f, "NOT as it was done: {}", self.discrepancies.join("; "))
        }
    }
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
        other.note(Duration::from_hours(1));
        other.note_error("503".to_owned());
        one.add(other);
        let measured = one.finish("get", Duration::from_secs(10));
        assert_eq!((measured.requests, measured.errors), (100, 1));
        assert_eq!(measured.first_error.as_deref(), Some("503"));
        assert!((measured.p50_ms - 50.0).abs() < 0.1, "{}", measured.p50_ms);
        assert!((measured.p95_ms - 95.0).abs() < 0.1, "{}", measured.p95_ms);
        assert!(
            (measured.max_ms - 60_000.0).abs() < 60.0,
            "{}",
            measured.max_ms
        );
        assert!((measured.per_second - 10.0).abs() < 1e-9);
    }
}
