//! What a bench measured, kept beside criterion's own figures, so that it can print the ratio of two.

use std::time::Duration;

use criterion::Bencher;

/// Seconds of one time, a sample each.
#[derive(Default)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    /// Measures. `run` does it so many times, and tells how long that took.
    pub(crate) fn measure(
        &mut self,
        bencher: &mut Bencher<'_>,
        mut run: impl FnMut(u64) -> Duration,
    ) {
        bencher.iter_custom(|times| {
            let took = run(times);
            let times = u32::try_from(times).unwrap_or(u32::MAX);
            self.0.push((took / times).as_secs_f64());
            took
        });
    }

    /// Seconds. 0 where nothing was measured, as when benches are only listed.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}
