//! What Downbeat keeps, and the one interface to it.
//!
//! [`Store`] is the actors' [`DeviceStore`] and answers the edges' lists. Every query on tenants' data takes a
//! [`Scope`]; "not found" is `Ok(None)`, and another tenant's row is not found. Only this module and those below it
//! know SQL, each database in a folder of its own (`sqlite`); the conformance suite is written against [`Store`] alone.
//!
//! There is one writer connection: `SQLite` has one writer at a time anyway, and waiting in our queue is fairer and
//! cheaper than waiting for its lock. Reads go beside it and see the last commit.
//!
//! Deleting a device while its actor has work under way is the caller's affair: what the actor stores of a device that
//! is no longer registered under the same `DevEUI` is dropped, save its downlinks.

mod api_key;
mod audit;
#[cfg(test)]
mod conformance;
mod device;
mod downlink;
mod drift;
mod idempotency;
mod network_server;
mod page;
mod row;
mod sqlite;
mod telemetry;
mod tenant;
mod unclaimed;

use async_trait::async_trait;
use downbeat_actors::port::{DeviceChange, DeviceStore, StoreError, StoredDevice};
use downbeat_core::id::{DevEui, DeviceId, DownlinkId, TenantId};
use downbeat_core::time::Timestamp;

pub use api_key::{ApiKey, ApiKeyId, KeyHash, Role};
pub use audit::{AuditEntry, AuditFilter, By};
pub use device::{
    AppKeyChange, AppKeyState, Device, DeviceEvent, DeviceFields, DeviceFilter, DeviceSync,
    NewDevice, WriteDeviceError,
};
pub use downlink::{
    DownlinkFilter, DownlinkOutcomes, DownlinkWithTimeline, OutcomeFilter, StoredDownlink,
};
pub use drift::{Difference, Drift, DriftKind};
pub use idempotency::{IdempotencyKey, IdempotentAnswer, NewReservation, Reservation};
pub use network_server::{NetworkServerFields, TenantNetworkServer, WriteNetworkServerError};
pub use page::{Cursor, PAGE_MAX, Page, PageRequest, ParseCursorError};
pub use telemetry::{TelemetryField, TelemetryPoint, TelemetryQuery, TelemetryValue};
pub use tenant::{DEFAULT_TENANT, Scope, Tenant, TenantFields, WriteTenantError};
pub use unclaimed::{UnclaimedDevice, UnclaimedSighting};

use sqlite::Sqlite;

/// How many rows of history are deleted in one transaction at the most, so that commands wait for milliseconds only.
pub const DELETE_BATCH_MAX: u32 = 500;

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// The URL names no database that is supported.
    #[error("the database URL must start with sqlite:// and name a file")]
    Url,
    /// A newer version of Downbeat wrote it; an older one must not touch it.
    #[error(
        "the database has schema {found}, which is newer than {known}, the newest that this version of Downbeat knows: \
         use the version that wrote it, or a later one"
    )]
    SchemaNewer {
        /// The newest migration applied.
        found: i64,
        /// The newest that this binary has.
        known: i64,
    },
    /// Its schema cannot be brought up to date.
    #[error("the database's schema cannot be brought up to date")]
    Migrate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database itself.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The store: a handle, cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    backend: Backend,
}

/// A database; each has every method of [`Store`], under the same name.
#[derive(Debug, Clone)]
enum Backend {
    /// `SQLite`.
    Sqlite(Sqlite),
}

/// Calls a method of the database that a store is on.
macro_rules! on_backend {
    ($store:ident.$method:ident($($argument:expr),* $(,)?)) => {
        match &$store.backend {
            Backend::Sqlite(backend) => backend.$method($($argument),*).await,
        }
    };
}

impl Store {
    /// Opens the database at a URL, makes it if there is none, and brings its schema up to date.
    ///
    /// The first time it gets the tenant [`DEFAULT_TENANT`].
    pub async fn open(url: &str) -> Result<Self, OpenStoreError> {
        let backend = Backend::Sqlite(Sqlite::open(url).await?);
        Ok(Self { backend })
    }

    /// Whether the database answers, for writing too.
    pub async fn ping(&self) -> Result<(), StoreError> {
        on_backend!(self.ping())
    }

    /// Finishes what is under way and closes; later calls fail as unavailable.
    pub async fn close(&self) {
        on_backend!(self.close());
    }

    /// Makes a tenant.
    pub async fn create_tenant(&self, tenant: &Tenant) -> Result<(), CreateTenantError> {
        on_backend!(self.create_tenant(tenant))
    }

    /// A tenant.
    pub async fn tenant(&self, scope: Scope, id: TenantId) -> Result<Option<Tenant>, StoreError> {
        on_backend!(self.tenant(scope, id))
    }

    /// The tenant of that name, exactly.
    pub async fn tenant_by_name(
        &self,
        scope: Scope,
        name: &str,
    ) -> Result<Option<Tenant>, StoreError> {
        on_backend!(self.tenant_by_name(scope, name))
    }

    /// Tenants, oldest first.
    pub async fn list_tenants(
        &self,
        scope: Scope,
        page: PageRequest,
    ) -> Result<Page<Tenant>, StoreError> {
        on_backend!(self.list_tenants(scope, page))
    }

    /// Registers a device.
    pub async fn create_device(
        &self,
        scope: Scope,
        device: &NewDevice,
    ) -> Result<Device, WriteDeviceError> {
        on_backend!(self.create_device(scope, device))
    }

    /// Replaces what users decide about a device, if it still has the version given (when one is given).
    ///
    /// Another `DevEUI` is another thing on the air: what the old one's actor stored is forgotten.
    pub async fn update_device(
        &self,
        scope: Scope,
        id: DeviceId,
        fields: &DeviceFields,
        version: Option<u32>,
        at: Timestamp,
    ) -> Result<Device, WriteDeviceError> {
        on_backend!(self.update_device(scope, id, fields, version, at))
    }

    /// Takes a device out of the registry and returns it as it was, if it still has the version given (when one is).
    ///
    /// Its downlinks and its history stay until their time.
    pub async fn delete_device(
        &self,
        scope: Scope,
        id: DeviceId,
        version: Option<u32>,
    ) -> Result<Device, WriteDeviceError> {
        on_backend!(self.delete_device(scope, id, version))
    }

    /// A device.
    pub async fn device(&self, scope: Scope, id: DeviceId) -> Result<Option<Device>, StoreError> {
        on_backend!(self.device(scope, id))
    }

    /// The device with that `DevEUI`.
    pub async fn device_by_dev_eui(
        &self,
        scope: Scope,
        dev_eui: DevEui,
    ) -> Result<Option<Device>, StoreError> {
        on_backend!(self.device_by_dev_eui(scope, dev_eui))
    }

    /// Devices, oldest first.
    pub async fn list_devices(
        &self,
        scope: Scope,
        filter: &DeviceFilter,
        page: PageRequest,
    ) -> Result<Page<Device>, StoreError> {
        on_backend!(self.list_devices(scope, filter, page))
    }

    /// How many devices there are.
    pub async fn count_devices(
        &self,
        scope: Scope,
        filter: &DeviceFilter,
    ) -> Result<u64, StoreError> {
        on_backend!(self.count_devices(scope, filter))
    }

    /// A device's history, newest first.
    pub async fn list_device_events(
        &self,
        scope: Scope,
        device_id: DeviceId,
        page: PageRequest,
    ) -> Result<Page<DeviceEvent>, StoreError> {
        on_backend!(self.list_device_events(scope, device_id, page))
    }

    /// Deletes events of the history that are older, at most [`DELETE_BATCH_MAX`] at a time, and tells how many: call
    /// again while it is that many.
    pub async fn delete_device_events_before(&self, before: Timestamp) -> Result<u64, StoreError> {
        on_backend!(self.delete_device_events_before(before))
    }

    /// A downlink and its timeline.
    pub async fn downlink(
        &self,
        scope: Scope,
        id: DownlinkId,
    ) -> Result<Option<DownlinkWithTimeline>, StoreError> {
        on_backend!(self.downlink(scope, id))
    }

    /// Downlinks, newest first.
    pub async fn list_downlinks(
        &self,
        scope: Scope,
        filter: DownlinkFilter,
        page: PageRequest,
    ) -> Result<Page<StoredDownlink>, StoreError> {
        on_backend!(self.list_downlinks(scope, filter, page))
    }

    /// What became of the downlinks of a period.
    pub async fn downlink_outcomes(
        &self,
        scope: Scope,
        filter: OutcomeFilter,
    ) -> Result<DownlinkOutcomes, StoreError> {
        on_backend!(self.downlink_outcomes(scope, filter))
    }

    /// Keeps a new key. Its tenant must exist.
    pub async fn create_api_key(&self, key: &ApiKey, hash: &KeyHash) -> Result<(), StoreError> {
        on_backend!(self.create_api_key(key, hash))
    }

    /// The key with that hash, also when it has expired or is revoked. It is the key that tells the scope.
    pub async fn api_key_by_hash(&self, hash: &KeyHash) -> Result<Option<ApiKey>, StoreError> {
        on_backend!(self.api_key_by_hash(hash))
    }

    /// Keys, oldest first. A tenant sees its own; the platform sees all.
    pub async fn list_api_keys(
        &self,
        scope: Scope,
        page: PageRequest,
    ) -> Result<Page<ApiKey>, StoreError> {
        on_backend!(self.list_api_keys(scope, page))
    }

    /// Takes a key back. False when there is no such key; a key that was taken back before stays as it was.
    pub async fn revoke_api_key(
        &self,
        scope: Scope,
        id: ApiKeyId,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        on_backend!(self.revoke_api_key(scope, id, at))
    }

    /// Notes when keys were used last, many at a time: call it every minute or so, not by request.
    pub async fn touch_api_keys(&self, used: &[(ApiKeyId, Timestamp)]) -> Result<(), StoreError> {
        on_backend!(self.touch_api_keys(used))
    }

    /// Reserves a key for a request that may be repeated, or tells what became of an earlier one.
    pub async fn reserve(&self, reservation: &NewReservation) -> Result<Reservation, StoreError> {
        on_backend!(self.reserve(reservation))
    }

    /// What is known of an earlier request with that key; `None` when there was none.
    pub async fn reservation(
        &self,
        key: &IdempotencyKey,
        request_hash: &[u8; 32],
    ) -> Result<Option<Reservation>, StoreError> {
        on_backend!(self.reservation(key, request_hash))
    }

    /// Keeps the answer to a reserved request.
    pub async fn answer(
        &self,
        key: &IdempotencyKey,
        answer: &IdempotentAnswer,
    ) -> Result<(), StoreError> {
        on_backend!(self.answer(key, answer))
    }

    /// Gives a reservation back that came to nothing (a refused request), so that it may be made again.
    pub async fn release(&self, key: &IdempotencyKey) -> Result<(), StoreError> {
        on_backend!(self.release(key))
    }

    /// Forgets reservations that are older, as [`Store::delete_device_events_before`] does events.
    pub async fn delete_reservations_before(&self, before: Timestamp) -> Result<u64, StoreError> {
        on_backend!(self.delete_reservations_before(before))
    }
}

#[async_trait]
impl DeviceStore for Store {
    async fn commit(&self, changes: &[DeviceChange]) -> Result<(), StoreError> {
        on_backend!(self.commit(changes))
    }

    async fn load(&self, dev_eui: DevEui) -> Result<Option<StoredDevice>, StoreError> {
        on_backend!(self.load(dev_eui))
    }

    async fn unfinished(&self) -> Result<Vec<DevEui>, StoreError> {
        on_backend!(self.unfinished())
    }
}
