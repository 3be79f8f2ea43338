//! What a run met, as a table, as JSON, and beside an earlier one.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use super::measure::Measurement;

/// One number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Figure {
    /// Of what.
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) unit: String,
}

impl Figure {
    pub(super) fn new(name: impl Into<String>, value: f64, unit: &str) -> Self {
        Self {
            name: name.into(),
            value,
            unit: unit.to_owned(),
        }
    }
}

/// How a run went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    /// What was done, in words.
    pub(super) what: String,
    /// Times of each operation.
    pub(super) measurements: Vec<Measurement>,
    /// What else was found.
    pub(super) figures: Vec<Figure>,
    /// What the server's own counts, or the truth, say against what was done or claimed; empty when they agree.
    pub(super) discrepancies: Vec<String>,
}

impl Report {
    /// Whether all requests went as they should and all counts agree.
    pub(super) fn is_clean(&self) -> bool {
        self.discrepancies.is_empty() && self.measurements.iter().all(|it| it.errors == 0)
    }

    /// What is different from an earlier run, line by line; what only one of them has is left out.
    pub(super) fn compared_with(&self, earlier: &Self) -> String {
        let mut text = String::from("compared with the earlier run (now, then, ratio):\n");
        let mut line = |name: &str, unit: &str, now: f64, then: f64| {
            let ratio = if then == 0.0 { f64::NAN } else { now / then };
            let _ = writeln!(
                text,
                "  {name:<44} {now:>10.2} {then:>10.2} {ratio:>7.2}  {unit}"
            );
        };
        for now in &self.measurements {
            let same = |then: &&Measurement| then.operation == now.operation;
            if let Some(then) = earlier.measurements.iter().find(same) {
                let name = &now.operation;
                line(
                    &format!("{name}, per s"),
                    "/s",
                    now.per_second,
                    then.per_second,
                );
                line(&format!("{name}, p50"), "ms", now.p50_ms, then.p50_ms);
                line(&format!("{name}, p99"), "ms", now.p99_ms, then.p99_ms);
            }
        }
        for now in &self.figures {
            if let Some(then) = earlier.figures.iter().find(|then| then.name == now.name) {
                line(&now.name, &now.unit, now.value, then.value);
            }
        }
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        writeln!(
            f,
            "{:<22} {:>9} {:>7} {:>9} {:>9} {:>9} {:>9} {:>9}   (times in ms)",
            "operation", "count", "errors", "per s", "p50", "p95", "p99", "max"
        )?;
        for it in &self.measurements {
            writeln!(
                f,
                "{:<22} {:>9} {:>7} {:>9.0} {:>9.2} {:>9.2} {:>9.2} {:>9.2}",
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
        for it in &self.figures {
            writeln!(f, "{:<46} {:>12.3} {}", it.name, it.value, it.unit)?;
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
    use std::time::Duration;

    use super::*;
    use crate::cli::loadtest::measure::Measuring;

    fn report(rate: u64, value: f64) -> Report {
        let mut measuring = Measuring::default();
        (0..rate).for_each(|_| measuring.note(Duration::from_millis(4)));
        Report {
            what: "a test".to_owned(),
            measurements: vec![measuring.finish("get", Duration::from_secs(1))],
            figures: vec![Figure::new("verified", value, "%")],
            discrepancies: Vec::new(),
        }
    }

    #[test]
    fn an_earlier_report_is_read_back_and_compared() {
        let (now, then) = (report(100, 99.0), report(50, 90.0));
        let then: Report = serde_json::from_str(&serde_json::to_string(&then).unwrap()).unwrap();
        let text = now.compared_with(&then);
        let has = |words: [&str; 4]| {
            text.lines()
                .any(|line| words.iter().all(|word| line.contains(word)))
        };
        assert!(has(["get, per s", "100.00", "50.00", "2.00"]), "{text}");
        assert!(has(["verified", "99.00", "90.00", "1.10"]), "{text}");
    }

    #[test]
    fn errors_and_discrepancies_are_not_clean() {
        assert!(report(1, 1.0).is_clean());
        let mut wrong = report(1, 1.0);
        wrong.discrepancies.push("one is missing".to_owned());
        assert!(!wrong.is_clean() && wrong.to_string().contains("NOT as it was done"));
        let mut wrong = report(1, 1.0);
        wrong.measurements[0].errors = 1;
        assert!(!wrong.is_clean());
    }
}
