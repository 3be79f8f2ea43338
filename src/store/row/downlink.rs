//! Downlinks for lists and counts.

use downbeat_actors::port::StoreError;
use downbeat_core::device::{DownlinkState, TimelineEntry};
use downbeat_core::id::{DeviceId, DownlinkId, TenantId};
use sqlx::FromRow;
use uuid::Uuid;

use super::{corrupt, count, parse_dev_eui};
use crate::store::{DownlinkOutcomes, StoredDownlink};

#[derive(FromRow)]
pub(crate) struct DownlinkRow {
    pub(crate) id: Uuid,
    pub(crate) device_id: Uuid,
    pub(crate) tenant_id: Uuid,
    pub(crate) dev_eui: String,
    pub(crate) body: String,
}

impl TryFrom<DownlinkRow> for StoredDownlink {
    type Error = StoreError;

    fn try_from(row: DownlinkRow) -> Result<Self, StoreError> {
        Ok(Self {
            downlink: serde_json::from_str(&row.body)
                .map_err(|error| corrupt("downlink", "body", &row.id, error))?,
            device_id: DeviceId::from_uuid(row.device_id),
            tenant_id: TenantId::from_uuid(row.tenant_id),
            dev_eui: parse_dev_eui(&row.dev_eui, "downlink", row.id)?,
        })
    }
}

#[derive(FromRow)]
pub(crate) struct GroupRow {
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) downlinks: i64,
    pub(crate) tried: i64,
    pub(crate) attempts: i64,
}

/// The steps of a downlink's life, each its number and its body.
pub(crate) fn timeline(
    id: DownlinkId,
    steps: Vec<(i64, String)>,
) -> Result<Vec<TimelineEntry>, StoreError> {
    let entry = |(seq, body): (i64, String)| {
        serde_json::from_str(&body)
            .map_err(|error| corrupt("downlink_step", "body", &format!("{id}/{seq}"), error))
    };
    steps.into_iter().map(entry).collect()
}

pub(crate) fn tally(groups: Vec<GroupRow>) -> Result<DownlinkOutcomes, StoreError> {
    let mut outcomes = DownlinkOutcomes::default();
    let (mut tried, mut attempts) = (0, 0);
    for group in groups {
        let state = DownlinkState::by_name(&group.state)
            .ok_or_else(|| corrupt("downlink", "state", &group.state, "unknown state"))?;
        let downlinks = count(group.downlinks);
        outcomes.total += downlinks;
        tried += group.tried;
        attempts += group.attempts;
        add(&mut outcomes.by_state, state, downlinks);
        if let Some(reason) = group.reason {
            add(&mut outcomes.by_reason, reason, downlinks);
        }
    }
    outcomes
        .by_reason
        .sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    #[expect(
        clippy::cast_precision_loss,
        reason = "an average of counts far below 2^52"
    )]
    if tried > 0 {
        outcomes.attempts_avg = Some(attempts as f64 / tried as f64);
    }
    Ok(outcomes)
}

fn add<K: PartialEq>(counts: &mut Vec<(K, u64)>, key: K, more: u64) {
    match counts.iter_mut().find(|(other, _)| *other == key) {
        Some((_, count)) => *count += more,
        None => counts.push((key, more)),
    }
}

/// The place, from 0, of the smallest of `total` values that `percent` of them do not exceed; `None` of none.
pub(crate) fn nearest_rank(total: u64, percent: u64) -> Option<i64> {
    let last = total.checked_sub(1)?;
    let rank = (total * percent).div_ceil(100).saturating_sub(1).min(last);
    i64::try_from(rank).ok()
}
