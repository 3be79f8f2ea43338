//! The life of downlinks in figures. `docs/metrics.md` says what each name means.
//!
//! Counted after the commit, one step after the other. What a restart takes up again is not counted again: its steps
//! were committed before.

use std::time::Duration;

use downbeat_core::device::{Downlink, Reason, Record, Step};
use downbeat_core::time::Timestamp;

use crate::observe::step_name;

/// One more step of a downlink's life.
pub(crate) fn downlink(Record { downlink, entry }: &Record) {
    let step = step_name(&entry.step);
    metrics::counter!("downbeat_downlink_steps_total", "step" => step).increment(1);
    match &entry.step {
        Step::Waiting { reason, .. } => {
            metrics::counter!("downbeat_downlink_waits_total", "reason" => reason.name())
                .increment(1);
        }
        Step::AttemptFailed { reason } => {
            metrics::counter!("downbeat_downlink_misses_total", "reason" => reason.name())
                .increment(1);
        }
        Step::Enqueued { .. } if downlink.enqueued_at == Some(entry.at) => {
            // The step after the acceptance: nothing was in its way.
            let waited = if entry.seq <= 1 { "no" } else { "yes" };
            metrics::histogram!("downbeat_downlink_enqueue_seconds", "waited" => waited)
                .record(seconds(downlink.accepted_at, entry.at));
        }
        Step::Verified { late, .. } => {
            if let Some(transmission) = downlink.transmission.filter(|_| !late) {
                metrics::histogram!("downbeat_downlink_answer_seconds")
                    .record(seconds(transmission.at, entry.at));
            }
            let reason = if *late { "late" } else { "none" };
            ended(downlink, reason, entry.at);
        }
        Step::Ended { reason, .. } => {
            ended(
                downlink,
                reason.as_ref().map_or("none", Reason::name),
                entry.at,
            );
        }
        Step::Accepted
        | Step::Enqueued { .. }
        | Step::Transmitted { .. }
        | Step::NotTransmitted { .. }
        | Step::Refused { .. } => {}
    }
}

/// A command's first Enqueue begins; Downbeat itself took so long from its acceptance on.
pub(crate) fn handed_over(own: Duration) {
    metrics::histogram!("downbeat_downlink_handover_seconds").record(own.as_secs_f64());
}

/// A step is committed, so long after word of what led to it came in from outside.
pub(crate) fn settled(Record { downlink, .. }: &Record, since: Duration) {
    if downlink.state.is_terminal() {
        metrics::histogram!("downbeat_downlink_settle_seconds").record(since.as_secs_f64());
    }
}

fn ended(downlink: &Downlink, reason: &'static str, at: Timestamp) {
    let state = downlink.state.name();
    let labels = [("state", state), ("reason", reason)];
    metrics::counter!("downbeat_downlinks_finished_total", &labels).increment(1);
    metrics::histogram!("downbeat_downlink_attempts", "state" => state)
        .record(f64::from(downlink.attempts));
    metrics::histogram!("downbeat_downlink_seconds", "state" => state)
        .record(seconds(downlink.accepted_at, at));
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.since(from).as_secs_f64()
}
