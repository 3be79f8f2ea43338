//! How a tenant fares, in numbers: what the first page shows of thousands of devices without listing them.

use std::collections::BTreeMap;

use downbeat_actors::port::StoreError;
use downbeat_core::device::DownlinkState;
use downbeat_core::id::TenantId;
use downbeat_core::sync::SyncState;

use super::{Store, on_backend};

/// How a tenant fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantFigures {
    /// Its devices.
    pub devices: DeviceFigures,
    /// Devices that `ChirpStack` is not in step with but should be, by how far that is.
    pub not_synced: BTreeMap<SyncState, u64>,
    /// Commands that have not ended, by where they are.
    pub under_way: BTreeMap<DownlinkState, u64>,
    /// Those of them that wait, by what for (the API's words).
    pub waiting_for: BTreeMap<String, u64>,
    /// Jobs that are not over.
    pub jobs: u64,
    /// Devices in which `ChirpStack` and the registry differ, those left alone not counted.
    pub drift: u64,
    /// Devices that spoke and that nobody has registered.
    pub unclaimed: u64,
}

/// How many devices there are, and in what condition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceFigures {
    /// All.
    pub total: u64,
    /// Those that speak as often as they should.
    pub online: u64,
    /// Those that have been silent for too long.
    pub offline: u64,
    /// Those that were never heard.
    pub never_seen: u64,
    /// Those that do not show what is wanted of them.
    pub differing: u64,
    /// Those whose root key is one that everybody knows.
    pub default_app_keys: u64,
}

impl Store {
    /// How a tenant fares, all of the same instant.
    pub async fn tenant_figures(&self, tenant_id: TenantId) -> Result<TenantFigures, StoreError> {
        on_backend!(self.tenant_figures(tenant_id))
    }
}
