//! Downlinks for lists.

use downbeat_actors::port::StoreError;
use downbeat_core::device::TimelineEntry;
use downbeat_core::id::{DeviceId, DownlinkId, TenantId};
use sqlx::FromRow;
use uuid::Uuid;

use super::{corrupt, parse_dev_eui};
use crate::store::StoredDownlink;

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
