//! Downlinks as they are kept, and what became of them.

use std::time::Duration;

use downbeat_core::device::{Downlink, DownlinkState, TimelineEntry};
use downbeat_core::id::{DevEui, DeviceId, TenantId};
use downbeat_core::time::Timestamp;

/// A downlink and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredDownlink {
    /// The downlink as its device's machine last described it.
    pub downlink: Downlink,
    /// The device in the registry.
    pub device_id: DeviceId,
    /// Its tenant.
    pub tenant_id: TenantId,
    /// The `DevEUI` it was for.
    pub dev_eui: DevEui,
}

/// A downlink with its whole life.
#[derive(Debug, Clone, PartialEq)]
pub struct DownlinkWithTimeline {
    /// As it is now.
    pub stored: StoredDownlink,
    /// What happened, in order.
    pub timeline: Vec<TimelineEntry>,
}

/// Which downlinks of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DownlinkFilter {
    /// Those of one device.
    pub dev_eui: Option<DevEui>,
    /// Those in one state.
    pub state: Option<DownlinkState>,
    /// Those accepted at this time or later.
    pub from: Option<Timestamp>,
}

/// Which downlinks to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutcomeFilter {
    /// Accepted at this time or later.
    pub from: Timestamp,
    /// And before this time.
    pub to: Timestamp,
    /// Those of one device.
    pub dev_eui: Option<DevEui>,
}

/// What became of the downlinks of a period.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DownlinkOutcomes {
    /// How many there were.
    pub total: u64,
    /// How many are in each state; states without any are left out.
    pub by_state: Vec<(DownlinkState, u64)>,
    /// How many have each reason (the API's word for it), most frequent first; those without are left out.
    pub by_reason: Vec<(String, u64)>,
    /// Attempts by downlink, on average over those with at least one; `None` when there is none.
    pub attempts_avg: Option<f64>,
    /// Half of the verified ones took no longer than this from acceptance to the end.
    pub time_to_verify_p50: Option<Duration>,
    /// 95 % of the verified ones took no longer than this.
    pub time_to_verify_p95: Option<Duration>,
}

impl DownlinkOutcomes {
    /// How many are in a state.
    pub fn count(&self, state: DownlinkState) -> u64 {
        self.by_state
            .iter()
            .find(|(s, _)| *s == state)
            .map_or(0, |(_, count)| *count)
    }
}
