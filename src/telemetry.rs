//! Logging and metrics: one subscriber, one recorder, one panic hook for the process.

use std::io::IsTerminal as _;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
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

/// Records metrics; the handle renders them for Prometheus. One recorder a process: the first stays.
pub fn start_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Full("downbeat_writer_batch".to_owned()), BATCHES)?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    let _ = metrics::set_global_recorder(recorder);
    Ok(handle)
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
