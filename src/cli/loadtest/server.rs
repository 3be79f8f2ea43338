//! What the server says of itself, before and after.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::report::Figure;
use super::target::Target;

/// Its figures at one instant.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    at: Instant,
    /// By name with labels, as they are shown.
    values: BTreeMap<String, f64>,
}

/// What happened in between.
#[derive(Debug)]
pub(super) struct Between {
    before: Snapshot,
    after: Snapshot,
}

impl Snapshot {
    /// The figures now; nothing where the key may not see them.
    pub(super) async fn of(target: &Target) -> Option<Self> {
        let text = target.metrics().await?;
        Some(Self {
            at: Instant::now(),
            values: parse(&text),
        })
    }

    /// What happened since, if both are there.
    pub(super) async fn until_now(self, target: &Target) -> Option<Between> {
        let after = Self::of(target).await?;
        Some(Between {
            before: self,
            after,
        })
    }
}

fn parse(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

impl Between {
    /// How much a counter grew; `name` with its labels.
    pub(super) fn grown(&self, name: &str) -> f64 {
        let of = |snapshot: &Snapshot| snapshot.values.get(name).copied().unwrap_or(0.0);
        of(&self.after) - of(&self.before)
    }

    /// How often a histogram without labels was recorded to.
    pub(super) fn recorded(&self, histogram: &str) -> f64 {
        self.grown(&format!("{histogram}_count"))
    }

    /// The value in ms that this share of what was recorded did not exceed, to within its bucket. `None`: nothing was,
    /// or it lies above all bounds.
    pub(super) fn quantile_ms(&self, histogram: &str, share: f64) -> Option<f64> {
        let prefix = format!("{histogram}_bucket{{le=\"");
        let mut buckets: Vec<(f64, f64)> = self
            .after
            .values
            .keys()
            .filter_map(|name| {
                let bound = name.strip_prefix(&prefix)?.strip_suffix("\"}")?;
                Some((bound.parse().ok()?, self.grown(name)))
            })
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let wanted = self.recorded(histogram) * share;
        let (mut bound_before, mut count_before) = (0.0, 0.0);
        for (bound, count) in buckets {
            if count >= wanted && count > count_before {
                let within = (wanted - count_before) / (count - count_before);
                let seconds = bound_before + (bound - bound_before) * within;
                return bound.is_finite().then_some(seconds * 1000.0);
            }
            (bound_before, count_before) = (bound, count);
        }
        None
    }

    /// Both ends of a histogram in ms.
    pub(super) fn quantiles(&self, histogram: &str, name: &str) -> Vec<Figure> {
        [(0.5, "p50"), (0.99, "p99")]
            .into_iter()
            .filter_map(|(share, word)| {
                let value = self.quantile_ms(histogram, share)?;
                Some(Figure::new(format!("{name}, {word}"), value, "ms"))
            })
            .collect()
    }

    /// Processor and memory, where the server tells them.
    pub(super) fn usage(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        let seconds = self.after.at.duration_since(self.before.at).as_secs_f64();
        let cpu = self.grown("process_cpu_seconds_total");
        if cpu > 0.0 {
            let share = 100.0 * cpu / seconds.max(0.001);
            figures.push(Figure::new("server's processor", share, "% of a core"));
        }
        for (snapshot, when) in [(&self.before, "before"), (&self.after, "after")] {
            if let Some(bytes) = snapshot.values.get("process_resident_memory_bytes") {
                let name = format!("server's memory {when}");
                figures.push(Figure::new(name, bytes / 1_048_576.0, "MiB"));
            }
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        Snapshot {
            at: Instant::now(),
            values: parse(text),
        }
    }

    #[test]
    fn what_happened_in_between_is_the_difference() {
        let before = "# TYPE x histogram\nx_bucket{le=\"0.01\"} 5\nx_bucket{le=\"0.1\"} 5\n\
            x_bucket{le=\"+Inf\"} 5\nx_count 5\nn{a=\"b c\"} 2\n";
        let after = "x_bucket{le=\"0.01\"} 55\nx_bucket{le=\"0.1\"} 104\nx_bucket{le=\"+Inf\"} 105\n\
            x_count 105\nn{a=\"b c\"} 9\n";
        let between = Between {
            before: snapshot(before),
            after: snapshot(after),
        };
        assert!((between.grown("n{a=\"b c\"}") - 7.0).abs() < 1e-9);
        assert!((between.recorded("x") - 100.0).abs() < 1e-9);
        let quantile = |share| between.quantile_ms("x", share);
        assert!(quantile(0.5).is_some_and(|ms| (ms - 10.0).abs() < 1e-6));
        assert!(quantile(0.99).is_some_and(|ms| (ms - 100.0).abs() < 1e-6));
        assert_eq!(quantile(1.0), None, "above all bounds");
        assert_eq!(between.quantile_ms("y", 0.5), None);
    }
}
