//! `GET /api/v1/metrics/downlinks`: what became of the commands of the last hours.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use downbeat_core::device::DownlinkState;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::AppState;
use crate::http::auth::Viewer;
use crate::http::extract::{Fields, QueryFields};
use crate::http::problem::{ApiError, Problem};
use crate::store::{DownlinkOutcomes, OutcomeFilter};

/// The longest period, in hours: a year.
const HOURS_MAX: u32 = 24 * 366;

/// Which commands.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct MetricsQuery {
    /// Those accepted in the last so many hours, 1 to 8784; 24 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 8784)]
    hours: Option<String>,
    /// Those to one device.
    dev_eui: Option<String>,
}

/// What became of commands.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DownlinkMetrics {
    /// All of them.
    total: u64,
    /// Proven by the device.
    success: u64,
    /// Refused, or expired before they could be sent.
    failed: u64,
    /// All attempts made without a proof.
    unverified: u64,
    /// Percent of success among success, failed and unverified; what was superseded, cancelled, sent without asking
    /// for proof, or is under way, does not count. 0 when there is none.
    success_rate: f64,
    /// Attempts by command; null when none was tried.
    avg_attempts: Option<f64>,
    period_hours: u32,
    /// Half of the proven ones took no longer, in seconds.
    time_to_verify_p50_s: Option<f64>,
    /// 95 % of the proven ones took no longer, in seconds.
    time_to_verify_p95_s: Option<f64>,
    /// How many are in each state.
    by_state: BTreeMap<&'static str, u64>,
    /// How many have each reason.
    by_reason: BTreeMap<String, u64>,
}

/// What became of the commands of the last hours
#[utoipa::path(
    get,
    path = "/api/v1/metrics/downlinks",
    tag = "metrics",
    params(MetricsQuery),
    responses(
        (status = 200, description = "The figures", body = DownlinkMetrics),
        (status = 400, description = "A filter is wrong", body = Problem),
    ),
)]
pub(in crate::http) async fn downlinks(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    QueryFields(query): QueryFields<MetricsQuery>,
) -> Result<Json<DownlinkMetrics>, ApiError> {
    let mut fields = Fields::default();
    let hours = fields.number("hours", query.hours.as_deref(), 1..=HOURS_MAX);
    let dev_eui = fields.parsed("dev_eui", query.dev_eui.as_deref());
    let (hours, dev_eui) = fields.done((hours.unwrap_or(24), dev_eui))?;
    let now = state.clock().now();
    let filter = OutcomeFilter {
        from: now - Duration::from_hours(hours.into()),
        // What was accepted in this very millisecond counts.
        to: now + Duration::from_millis(1),
        dev_eui,
    };
    let outcomes = state
        .store()
        .downlink_outcomes(caller.scope, filter)
        .await?;
    Ok(Json(figures(outcomes, hours)))
}

fn figures(outcomes: DownlinkOutcomes, period_hours: u32) -> DownlinkMetrics {
    let success = outcomes.count(DownlinkState::Verified);
    let failed = outcomes.count(DownlinkState::Failed) + outcomes.count(DownlinkState::Expired);
    let unverified = outcomes.count(DownlinkState::Unverified);
    DownlinkMetrics {
        total: outcomes.total,
        success,
        failed,
        unverified,
        success_rate: super::percent(success, success + failed + unverified),
        avg_attempts: outcomes
            .attempts_avg
            .map(|attempts| (attempts * 100.0).round() / 100.0),
        period_hours,
        time_to_verify_p50_s: outcomes.time_to_verify_p50.map(|it| it.as_secs_f64()),
        time_to_verify_p95_s: outcomes.time_to_verify_p95.map(|it| it.as_secs_f64()),
        by_state: outcomes
            .by_state
            .iter()
            .map(|(state, count)| (state.name(), *count))
            .collect(),
        by_reason: outcomes.by_reason.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_tried_to_the_end_counts_for_the_rate() {
        let outcomes = DownlinkOutcomes {
            total: 20,
            by_state: vec![
                (DownlinkState::Verified, 6),
                (DownlinkState::Unverified, 1),
                (DownlinkState::Expired, 1),
                (DownlinkState::Superseded, 12),
            ],
            attempts_avg: Some(1.2345),
            ..DownlinkOutcomes::default()
        };
        let figures = figures(outcomes, 24);
        assert_eq!(
            (figures.success, figures.failed, figures.unverified),
            (6, 1, 1)
        );
        assert_eq!(figures.success_rate.to_string(), "75");
        assert_eq!(figures.avg_attempts.unwrap().to_string(), "1.23");
    }
}
