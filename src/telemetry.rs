//! Logging and metrics: one subscriber, one recorder, one panic hook for the process.

use std::io::IsTerminal as _;
use std::time::Duration;

use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use tracing_subscriber::EnvFilter;

/// Why logging or metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter is not one.
    #[error("log: {0:?} is not a filter such as info,downbeat=debug")]
    Filter(String, #[source] tracing_subscriber::filter::ParseError),
    /// The metrics' recorder.
    #[error("metrics cannot be recorded")]
    Metrics(#[from] BuildError),
}

/// Upper bounds in seconds for how long downlinks take.
const SECONDS: &[f64] = &[
    0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 3600.0,
];

/// Upper bounds in seconds for what is over within a moment.
const MOMENTS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// What is over within a moment unless something is wrong.
const MOMENTARY: [&str; 9] = [
    "downbeat_chirpstack_call_seconds",
    "downbeat_downlink_enqueue_seconds",
    "downbeat_downlink_handover_seconds",
    "downbeat_downlink_settle_seconds",
    "downbeat_http_request_seconds",
    "downbeat_store_begin_seconds",
    "downbeat_store_transaction_seconds",
    "downbeat_webhook_seconds",
    "downbeat_writer_commit_seconds",
];

/// Upper bounds for attempts of a downlink.
const ATTEMPTS: &[f64] = &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0];

/// Upper bounds for numbers of changes in a transaction.
const BATCHES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0];

/// Logs to standard error. A subscriber that is there already (of a test) is left in place.
pub fn start_logging(filter: &str, json: bool) -> Result<(), TelemetryError> {
    let parsed = EnvFilter::try_new(filter)
        .map_err(|error| TelemetryError::Filter(filter.to_owned(), error))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let _ = if json {
        builder.json().try_init()
    } else {
        builder.compact().try_init()
    };
    log_panics();
    Ok(())
}

/// How often what histograms were told is counted into their buckets.
const COUNTED_EVERY: Duration = Duration::from_secs(5);

/// Records metrics; the handle renders them for Prometheus. One recorder a process: the first stays. To be called in a
/// runtime, as long as which it goes on.
pub fn start_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let recorder = recorder()?;
    let handle = recorder.handle();
    let _ = metrics::set_global_recorder(recorder);
    tokio::spawn(count_samples(handle.clone()));
    Ok(handle)
}

/// Histograms keep each value that they are told until somebody counts it. Rendering does; but where nobody asks for the
/// metrics, they would take more memory with every event: 70 bytes a webhook, for ever.
async fn count_samples(handle: PrometheusHandle) {
    let mut ticks = tokio::time::interval(COUNTED_EVERY);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}

fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let full = |name: &str| Matcher::Full(name.to_owned());
    let mut builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(full("downbeat_downlink_attempts"), ATTEMPTS)?
        .set_buckets_for_metric(full("downbeat_store_batch"), BATCHES)?
        .set_buckets_for_metric(full("downbeat_writer_batch"), BATCHES)?;
    for name in MOMENTARY {
        builder = builder.set_buckets_for_metric(full(name), MOMENTS)?;
    }
    Ok(builder.build_recorder())
}

/// A panic is a bug that the supervision survives: one line in the log, no back trace on the terminal.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("no text");
        tracing::error!(place, "panic: {text}");
    }));
}

pub(crate) mod process;
#[cfg(test)]
mod tests;
