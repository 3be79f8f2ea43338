//! What outcomes are counted by.

use std::time::Duration;

use downbeat_actors::port::StoreError;
use downbeat_core::device::{Downlink, DownlinkState};
use downbeat_core::id::{GatewayId, ParseEuiError, TenantId};
use sqlx::FromRow;
use uuid::Uuid;

use super::{corrupt, count, millis, of_count};
use crate::store::{OutcomeCount, OutcomeKey};

/// Columns of a downlink that only counts read.
pub(crate) struct OutcomeValues {
    pub(crate) gateway_id: Option<String>,
    pub(crate) spreading_factor: Option<i64>,
    pub(crate) verified_in: Option<i64>,
}

impl OutcomeValues {
    pub(crate) fn of(downlink: &Downlink) -> Self {
        let verified_at = downlink
            .finished_at
            .filter(|_| downlink.state == DownlinkState::Verified);
        let transmission = downlink.transmission;
        Self {
            gateway_id: transmission
                .and_then(|it| it.gateway_id)
                .map(|id| id.to_string()),
            spreading_factor: transmission
                .and_then(|it| it.spreading_factor)
                .map(i64::from),
            verified_in: verified_at
                .map(|at| rounded(count(millis(at) - millis(downlink.accepted_at)))),
        }
    }
}

/// Milliseconds, off by half a percent at the most, so that equal ones are many.
fn rounded(ms: u64) -> i64 {
    let mut unit = 1;
    while ms / unit >= 1_000 {
        unit *= 10;
    }
    let step = match ms / unit {
        0..200 => unit,
        200..500 => 2 * unit,
        _ => 5 * unit,
    };
    of_count(ms.saturating_add(step / 2) / step * step)
}

/// One way to end, and how many did.
#[derive(FromRow)]
pub(crate) struct OutcomeCountRow {
    state: String,
    verified_in: Option<i64>,
    downlinks: i64,
    tried: i64,
    attempts: i64,
}

impl TryFrom<OutcomeCountRow> for OutcomeCount {
    type Error = StoreError;

    fn try_from(row: OutcomeCountRow) -> Result<Self, StoreError> {
        Ok(Self {
            state: DownlinkState::by_name(&row.state)
                .ok_or_else(|| corrupt("downlink", "state", &row.state, "unknown state"))?,
            verified_in: row.verified_in.map(|ms| Duration::from_millis(count(ms))),
            downlinks: count(row.downlinks),
            tried: count(row.tried),
            attempts: count(row.attempts),
        })
    }
}

/// The same with all that outcomes are counted by.
#[derive(FromRow)]
pub(crate) struct OutcomeRow {
    tenant_id: Uuid,
    reason: Option<String>,
    gateway_id: Option<String>,
    spreading_factor: Option<i64>,
    #[sqlx(flatten)]
    count: OutcomeCountRow,
}

impl TryFrom<OutcomeRow> for (OutcomeKey, OutcomeCount) {
    type Error = StoreError;

    fn try_from(row: OutcomeRow) -> Result<Self, StoreError> {
        let gateway = |text: String| {
            text.parse::<GatewayId>()
                .map_err(|error: ParseEuiError| corrupt("downlink", "gateway_id", &text, error))
        };
        let key = OutcomeKey {
            tenant_id: TenantId::from_uuid(row.tenant_id),
            reason: row.reason,
            gateway_id: row.gateway_id.map(gateway).transpose()?,
            spreading_factor: row.spreading_factor.and_then(|sf| u8::try_from(sf).ok()),
        };
        Ok((key, row.count.try_into()?))
    }
}

/// The same of a span of time: its number, from 0.
#[derive(FromRow)]
pub(crate) struct OutcomeSpanRow {
    pub(crate) span: i64,
    #[sqlx(flatten)]
    pub(crate) count: OutcomeCountRow,
}

/// The same of a tag's value.
#[derive(FromRow)]
pub(crate) struct OutcomeTagRow {
    pub(crate) tag: Option<String>,
    #[sqlx(flatten)]
    pub(crate) count: OutcomeCountRow,
}

/// The same of a number of attempts.
#[derive(FromRow)]
pub(crate) struct OutcomeAttemptsRow {
    pub(crate) tries: i64,
    #[sqlx(flatten)]
    pub(crate) count: OutcomeCountRow,
}

/// The states in which a downlink is under way, as a list for `IN`.
pub(crate) fn states_under_way() -> String {
    let names: Vec<String> = DownlinkState::ALL
        .into_iter()
        .filter(|state| !state.is_terminal())
        .map(|state| format!("'{}'", state.name()))
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_rounded_to_the_nearest() {
        for (ms, expected) in [
            (0, 0),
            (1, 1),
            (199, 199),
            (201, 202),
            (499, 500),
            (503, 505),
            (997, 995),
            (999, 1_000),
            (1_004, 1_000),
            (1_005, 1_010),
            (10_000, 10_000),
            (12_345, 12_300),
        ] {
            assert_eq!(rounded(ms), expected, "{ms}");
        }
    }

    proptest! {
        #[test]
        fn rounding_keeps_the_order_and_half_a_percent(ms in 0..10_000_000_000_u64) {
            let there = count(rounded(ms));
            prop_assert!(there.abs_diff(ms) * 200 <= ms.max(200), "{ms} {there}");
            prop_assert!(rounded(ms) <= rounded(ms + 1));
            prop_assert_eq!(count(rounded(there)), there);
        }
    }
}
