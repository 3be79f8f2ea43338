//! Downlinks as they are kept.

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
    /// Those of one device of the registry, under whatever `DevEUI` they went out.
    pub device_id: Option<DeviceId>,
    /// Those to one `DevEUI`.
    pub dev_eui: Option<DevEui>,
    /// Those in one state.
    pub state: Option<DownlinkState>,
    /// Those accepted at this time or later.
    pub from: Option<Timestamp>,
}
