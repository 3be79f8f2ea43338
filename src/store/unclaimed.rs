//! Devices that spoke and that nobody has registered.

use downbeat_actors::port::StoreError;
use downbeat_core::id::{DevEui, DeviceKey, TenantId};
use downbeat_core::time::Timestamp;
use uuid::Uuid;

use super::{Page, PageRequest, Scope, Store, on_backend};

/// How many a tenant has at the most, and as many again whose tenant is not known.
pub const UNCLAIMED_MAX: u32 = 10_000;

/// What was seen of a device that nobody has registered.
#[derive(Debug, Clone, PartialEq)]
pub struct UnclaimedSighting {
    /// The device.
    pub key: DeviceKey,
    /// The tenant whose key delivered it, or that `ChirpStack`'s tenant is; `None`: only the platform sees it.
    pub tenant_id: Option<TenantId>,
    /// `ChirpStack`'s name of it; may be empty.
    pub name: String,
    /// Its application there.
    pub application_id: Option<Uuid>,
    /// Its device profile there.
    pub device_profile_id: Option<Uuid>,
    /// The last time.
    pub at: Timestamp,
    /// How often since the last sighting was noted.
    pub events: u32,
    /// Best RSSI of the last uplink, dBm.
    pub rssi_dbm: Option<i32>,
}

/// A device that nobody has registered.
#[derive(Debug, Clone, PartialEq)]
pub struct UnclaimedDevice {
    /// What was seen last; `events` counts all.
    pub last: UnclaimedSighting,
    /// The first time.
    pub first_seen: Timestamp,
}

impl Store {
    /// Notes what was seen, many at a time. Each tenant's are kept apart, and only so many: those not seen for longest
    /// give way.
    pub async fn note_unclaimed(&self, sightings: &[UnclaimedSighting]) -> Result<(), StoreError> {
        on_backend!(self.note_unclaimed(sightings))
    }

    /// Devices that nobody has registered, those first that were first seen last.
    pub async fn list_unclaimed(
        &self,
        scope: Scope,
        page: PageRequest,
    ) -> Result<Page<UnclaimedDevice>, StoreError> {
        on_backend!(self.list_unclaimed(scope, page))
    }

    /// The one with that `DevEUI`; of several, that seen last.
    pub async fn unclaimed(
        &self,
        scope: Scope,
        dev_eui: DevEui,
    ) -> Result<Option<UnclaimedDevice>, StoreError> {
        on_backend!(self.unclaimed(scope, dev_eui))
    }

    /// Forgets it until it is seen again; false if there was none.
    pub async fn forget_unclaimed(
        &self,
        scope: Scope,
        dev_eui: DevEui,
    ) -> Result<bool, StoreError> {
        on_backend!(self.forget_unclaimed(scope, dev_eui))
    }
}
