//! `GET /api/v1/metrics/downlinks`: what became of the commands of the last hours.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use downbeat_core::id::Scope;
use downbeat_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::auth::Viewer;
use crate::http::extract::{Fields, QueryFields};
use crate::http::problem::{ApiError, Problem};
use crate::http::{AppState, tenants};
use crate::store::{DownlinkOutcomes, OutcomeFilter};

use super::figures::{Figures, Tally, TookSoLong};

/// The longest period, in hours: a year.
const HOURS_MAX: u32 = 24 * 366;

/// Spans of a period at the most.
const SPANS_MAX: u64 = 1_000;

/// The longest name of a tag, in characters.
const TAG_MAX: usize = 100;

/// Which commands.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct MetricsQuery {
    /// Those that ended in the last so many hours, 1 to 8784; 24 if absent. They are kept for `limits.downlink_days`.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 8784)]
    hours: Option<String>,
    /// Those of one tenant, by its id or name.
    tenant_id: Option<String>,
    /// Those to one device.
    dev_eui: Option<String>,
    /// The name of a tag of devices, to count each of its values for itself as well.
    tag: Option<String>,
    /// Figures of each span of this length as well, like 5m, 1h or 60 (seconds); 1000 spans at the most. They begin at
    /// whole multiples of it in UTC; the first one lacks what ended before the period.
    step: Option<String>,
    /// `true`: figures of each number of attempts as well.
    #[param(value_type = Option<bool>)]
    by_attempts: Option<String>,
}

/// What became of commands.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DownlinkMetrics {
    #[serde(flatten)]
    all: Figures,
    period_hours: u32,
    /// Not ended yet, whenever they were accepted; they do not count in `total`.
    under_way: u64,
    /// How many ended in each state.
    by_state: BTreeMap<&'static str, u64>,
    /// How many ended for each reason.
    by_reason: BTreeMap<String, u64>,
    /// By the gateway that transmitted them last, most commands first.
    by_gateway: Vec<OfGateway>,
    /// By the spreading factor of their last transmission.
    by_spreading_factor: Vec<OfSpreadingFactor>,
    /// How many of the proven ones took how long, in order; the last one holds all that took longer.
    time_to_verify: Vec<TookSoLong>,
    /// By how often they were tried, in order; only if that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_attempts: Option<Vec<OfAttempts>>,
    /// By tenant, most commands first; only for a key of the platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_tenant: Option<Vec<OfTenant>>,
    /// By the value of the tag, most commands first; only if a tag is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_tag: Option<Vec<OfTagValue>>,
    /// One after the other, empty ones too; only if a step is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    over_time: Option<Vec<OfSpan>>,
}

/// Commands that went out by one gateway.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct OfGateway {
    /// Null: by none, or it was not told.
    gateway_id: Option<String>,
    #[serde(flatten)]
    figures: Figures,
}

/// Commands that went out at one spreading factor.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct OfSpreadingFactor {
    /// Null: not at all, not by LoRa, or it was not told.
    spreading_factor: Option<u8>,
    #[serde(flatten)]
    figures: Figures,
}

/// Commands that were tried so often.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct OfAttempts {
    /// 0: ended before they were tried at all.
    attempts: u64,
    #[serde(flatten)]
    figures: Figures,
}

/// Commands of one tenant.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct OfTenant {
    tenant_id: String,
    #[serde(flatten)]
    figures: Figures,
}

/// Commands to devices whose tag has one value.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct OfTagValue {
    /// Null: their devices do not have the tag, or a value beyond the 200 that most devices have, or are gone.
    value: Option<String>,
    #[serde(flatten)]
    figures: Figures,
}

/// Commands that ended in one span.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct OfSpan {
    /// Its beginning.
    at: String,
    #[serde(flatten)]
    figures: Figures,
}

/// What became of the commands of the last hours
///
/// A command counts in the period in which it ended; a late proof is a new end.
#[utoipa::path(
    get,
    path = "/api/v1/metrics/downlinks",
    tag = "metrics",
    params(MetricsQuery),
    responses(
        (status = 200, description = "The figures", body = DownlinkMetrics),
        (status = 400, description = "A filter is wrong", body = Problem),
        (status = 404, description = "No such tenant", body = Problem),
    ),
)]
pub(in crate::http) async fn downlinks(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    QueryFields(query): QueryFields<MetricsQuery>,
) -> Result<Json<DownlinkMetrics>, ApiError> {
    let tenant_id = query.tenant_id.clone();
    let (hours, filter) = checked(query, state.clock().now())?;
    let scope = tenants::scope_of_query(&state, &caller, tenant_id.as_deref()).await?;
    let outcomes = state.store().downlink_outcomes(scope, &filter).await?;
    Ok(Json(figures(&outcomes, hours, scope, &filter)))
}

fn checked(query: MetricsQuery, now: Timestamp) -> Result<(u32, OutcomeFilter), ApiError> {
    let mut fields = Fields::default();
    let hours = fields.number("hours", query.hours.as_deref(), 1..=HOURS_MAX);
    let hours = hours.unwrap_or(24);
    let period = Duration::from_hours(hours.into());
    let step = fields.step("step", query.step.as_deref());
    let spans = step.map_or(1, |step| period.as_secs().div_ceil(step.as_secs()));
    fields.check(
        spans <= SPANS_MAX,
        "step",
        "must not part the period into more than 1000 spans",
    );
    if let Some(tag) = &query.tag {
        let holds =
            (1..=TAG_MAX).contains(&tag.chars().count()) && !tag.chars().any(char::is_control);
        fields.check(
            holds,
            "tag",
            "must have 1 to 100 characters, none of them a control character",
        );
    }
    let by_attempts = query.by_attempts.as_deref().map_or(Ok(false), str::parse);
    fields.check(by_attempts.is_ok(), "by_attempts", "must be true or false");
    let filter = OutcomeFilter {
        from: now - period,
        // What ended in this very millisecond counts.
        to: now + Duration::from_millis(1),
        dev_eui: fields.parsed("dev_eui", query.dev_eui.as_deref()),
        step,
        tag: query.tag,
        attempts: by_attempts == Ok(true),
    };
    fields.done((hours, filter))
}

fn figures(
    outcomes: &DownlinkOutcomes,
    period_hours: u32,
    scope: Scope,
    filter: &OutcomeFilter,
) -> DownlinkMetrics {
    let mut all = Tally::default();
    let (mut by_state, mut by_reason) = (BTreeMap::new(), BTreeMap::new());
    for (key, count) in &outcomes.outcomes {
        all.add(count);
        *by_state.entry(count.state.name()).or_default() += count.downlinks;
        if let Some(reason) = &key.reason {
            *by_reason.entry(reason.clone()).or_default() += count.downlinks;
        }
    }
    let keys = || outcomes.outcomes.iter();
    let by_gateway = most_first(parted(keys().map(|(key, count)| (key.gateway_id, count))));
    let by_factor = parted(keys().map(|(key, count)| (key.spreading_factor, count)));
    let by_tenant = (scope == Scope::Platform)
        .then(|| most_first(parted(keys().map(|(key, count)| (key.tenant_id, count)))));
    let by_tag = filter.tag.is_some().then(|| {
        let values = outcomes.by_tag.iter();
        most_first(parted(values.map(|(value, count)| (value.clone(), count))))
    });
    let by_attempts = filter.attempts.then(|| {
        let counts = outcomes.by_attempts.iter();
        parted(counts.map(|(attempts, count)| (*attempts, count)))
    });
    DownlinkMetrics {
        time_to_verify: all.times(),
        by_attempts: by_attempts
            .map(|parts| of(parts, |attempts, figures| OfAttempts { attempts, figures })),
        all: all.figures(),
        period_hours,
        under_way: outcomes.under_way,
        by_state,
        by_reason,
        by_gateway: of(by_gateway, |id, figures| OfGateway {
            gateway_id: id.map(|id| id.to_string()),
            figures,
        }),
        by_spreading_factor: of(by_factor, |spreading_factor, figures| OfSpreadingFactor {
            spreading_factor,
            figures,
        }),
        by_tenant: by_tenant.map(|tenants| {
            of(tenants, |id, figures| OfTenant {
                tenant_id: id.to_string(),
                figures,
            })
        }),
        by_tag: by_tag.map(|values| of(values, |value, figures| OfTagValue { value, figures })),
        over_time: filter.step.map(|step| over_time(outcomes, filter, step)),
    }
}

/// The spans of a period, those in which nothing ended too.
fn over_time(outcomes: &DownlinkOutcomes, filter: &OutcomeFilter, step: Duration) -> Vec<OfSpan> {
    let mut spans: BTreeMap<Timestamp, Tally> =
        std::iter::successors(Some(filter.spans_from()), |at| Some(*at + step))
            .take_while(|at| *at < filter.to)
            .map(|at| (at, Tally::default()))
            .collect();
    for (at, count) in &outcomes.over_time {
        spans.entry(*at).or_default().add(count);
    }
    let of_span = |(at, tally): (Timestamp, Tally)| OfSpan {
        at: at.to_string(),
        figures: tally.figures(),
    };
    spans.into_iter().map(of_span).collect()
}

/// Counts by their keys, in the order of the keys.
fn parted<'a, K: Ord>(
    counts: impl Iterator<Item = (K, &'a crate::store::OutcomeCount)>,
) -> Vec<(K, Tally)> {
    let mut parts: BTreeMap<K, Tally> = BTreeMap::new();
    for (key, count) in counts {
        parts.entry(key).or_default().add(count);
    }
    parts.into_iter().collect()
}

fn most_first<K>(mut parts: Vec<(K, Tally)>) -> Vec<(K, Tally)> {
    parts.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.total()));
    parts
}

fn of<K, T>(parts: Vec<(K, Tally)>, body: impl Fn(K, Figures) -> T) -> Vec<T> {
    parts
        .into_iter()
        .map(|(key, tally)| body(key, tally.figures()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{OutcomeCount, OutcomeKey};
    use downbeat_core::device::DownlinkState;
    use downbeat_core::id::{GatewayId, TenantId};
    use uuid::Uuid;

    fn count(state: DownlinkState, downlinks: u64) -> OutcomeCount {
        OutcomeCount {
            state,
            verified_in: None,
            downlinks,
            tried: downlinks,
            attempts: downlinks,
        }
    }

    fn query(hours: Option<&str>, step: Option<&str>, tag: Option<&str>) -> MetricsQuery {
        MetricsQuery {
            hours: hours.map(str::to_owned),
            tenant_id: None,
            dev_eui: None,
            tag: tag.map(str::to_owned),
            step: step.map(str::to_owned),
            by_attempts: None,
        }
    }

    #[test]
    fn counts_are_parted_by_each_key_and_the_most_come_first() {
        let key = |tenant: u128, gateway: Option<u64>, spreading_factor: Option<u8>| OutcomeKey {
            tenant_id: TenantId::from_uuid(Uuid::from_u128(tenant)),
            reason: gateway.is_none().then(|| "no_gateway".to_owned()),
            gateway_id: gateway.map(GatewayId::from_u64),
            spreading_factor,
        };
        let outcomes = DownlinkOutcomes {
            under_way: 4,
            outcomes: vec![
                (key(1, Some(1), Some(9)), count(DownlinkState::Verified, 2)),
                (key(2, Some(2), Some(9)), count(DownlinkState::Verified, 5)),
                (
                    key(2, Some(2), Some(12)),
                    count(DownlinkState::Unverified, 1),
                ),
                (key(1, None, None), count(DownlinkState::Expired, 3)),
            ],
            ..DownlinkOutcomes::default()
        };
        let (hours, filter) = checked(query(None, None, None), Timestamp::from_millis(0)).unwrap();
        let of_tenant = Scope::Tenant(TenantId::from_uuid(Uuid::from_u128(1)));
        let told = |scope| serde_json::to_value(figures(&outcomes, hours, scope, &filter)).unwrap();
        let all = told(Scope::Platform);
        assert_eq!((&all["total"], &all["under_way"]), (&11.into(), &4.into()));
        assert_eq!(all["by_state"]["expired"], 3);
        assert_eq!(all["by_reason"]["no_gateway"], 3);
        let gateways: Vec<_> = all["by_gateway"].as_array().unwrap().iter().collect();
        assert_eq!(gateways[0]["gateway_id"], "0000000000000002");
        assert_eq!(gateways[0]["success_rate"], 83.33);
        assert_eq!(gateways[1]["gateway_id"], serde_json::Value::Null);
        assert_eq!(gateways[2]["total"], 2);
        assert_eq!(all["by_spreading_factor"][1]["spreading_factor"], 9);
        assert_eq!(all["by_spreading_factor"][1]["success"], 7);
        assert_eq!(all["by_tenant"][0]["total"], 6);
        for absent in ["by_tag", "over_time", "by_attempts"] {
            assert_eq!(all.get(absent), None);
        }
        assert_eq!(told(of_tenant).get("by_tenant"), None);
    }

    #[test]
    fn attempts_are_told_if_that_is_asked() {
        let asked = MetricsQuery {
            by_attempts: Some("true".to_owned()),
            ..query(None, None, None)
        };
        let (hours, filter) = checked(asked, Timestamp::from_millis(0)).unwrap();
        let outcomes = DownlinkOutcomes {
            by_attempts: vec![
                (1, count(DownlinkState::Verified, 7)),
                (2, count(DownlinkState::Unverified, 1)),
                (2, count(DownlinkState::Verified, 2)),
            ],
            ..DownlinkOutcomes::default()
        };
        let told = figures(&outcomes, hours, Scope::Platform, &filter);
        let told = serde_json::to_value(told.by_attempts).unwrap();
        let pairs: Vec<_> = told.as_array().unwrap().iter().collect();
        assert_eq!(pairs.len(), 2);
        assert_eq!(
            (&pairs[0]["attempts"], &pairs[0]["success"]),
            (&1.into(), &7.into())
        );
        assert_eq!(
            (&pairs[1]["total"], &pairs[1]["unverified"]),
            (&3.into(), &1.into())
        );
        let wrong = MetricsQuery {
            by_attempts: Some("yes".to_owned()),
            ..query(None, None, None)
        };
        assert!(checked(wrong, Timestamp::from_millis(0)).is_err());
    }

    #[test]
    fn spans_without_any_are_there_too() {
        let now = Timestamp::from_millis(7_200_000);
        let (hours, filter) = checked(query(Some("2"), Some("30m"), None), now).unwrap();
        let outcomes = DownlinkOutcomes {
            over_time: vec![(
                Timestamp::from_millis(3_600_000),
                count(DownlinkState::Verified, 2),
            )],
            ..DownlinkOutcomes::default()
        };
        let told = figures(&outcomes, hours, Scope::Platform, &filter);
        let totals: Vec<(String, u64)> = told
            .over_time
            .unwrap()
            .into_iter()
            .map(|span| (span.at, span.figures.total))
            .collect();
        assert_eq!(totals.len(), 5);
        assert_eq!(totals[2], ("1970-01-01T01:00:00.000Z".to_owned(), 2));
        assert_eq!(totals.iter().map(|(_, total)| total).sum::<u64>(), 2);
    }

    #[test]
    fn a_period_has_only_so_many_spans() {
        let now = Timestamp::from_millis(0);
        let is_taken = |hours, step| checked(query(Some(hours), Some(step), None), now).is_ok();
        assert!(is_taken("1", "4s") && is_taken("168", "15m"));
        assert!(!is_taken("1", "3s") && !is_taken("8784", "1h") && !is_taken("1", "x"));
        for tag in ["", "a\u{7}", &"a".repeat(101)] {
            assert!(checked(query(None, None, Some(tag)), now).is_err());
        }
    }
}
