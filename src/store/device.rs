//! The registry's devices.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use downbeat_actors::port::StoreError;
use downbeat_core::app_key::AppKey;
use downbeat_core::codec::CodecKind;
use downbeat_core::device::{InitialisationStatus, PolicySettings, Presence};
use downbeat_core::id::{DevEui, DeviceId, JoinEui, NetworkServerId, TenantId};
use downbeat_core::light::LightState;
use downbeat_core::sync::SyncStatus;
use downbeat_core::time::Timestamp;
use uuid::Uuid;

use downbeat_core::id::DeviceKey;

use super::device_write::{DeviceChangeWanted, DeviceWrite};
use super::{By, Page, PageRequest, Scope, Store, on_backend};

/// What the registry's users decide about a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFields {
    /// Its name, for people; need not be unique.
    pub name: String,
    /// For people.
    pub description: String,
    /// What kind of thing it is, in the tenant's own words.
    pub device_type: String,
    /// The tenant's own labels.
    pub tags: BTreeMap<String, String>,
    /// How its payloads are read and written.
    pub codec: CodecKind,
    /// Unique on a network server; a device without one is only kept.
    pub dev_eui: Option<DevEui>,
    /// `ChirpStack`'s application. With the device profile: the device is kept in step with `ChirpStack`; without: it is
    /// somebody else's affair that it is there.
    pub chirpstack_app_id: Option<Uuid>,
    /// `ChirpStack`'s device profile; there if the application is.
    pub device_profile_id: Option<Uuid>,
    /// Its join server.
    pub join_eui: Option<JoinEui>,
    /// How often it speaks on its own; the configuration's interval when absent.
    pub uplink_interval: Option<Duration>,
    /// What it has otherwise than its tenant.
    pub policy: PolicySettings,
}

/// What becomes of a device's `AppKey` in an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppKeyChange {
    /// It stays.
    Keep,
    /// This one takes its place.
    Set(AppKey),
    /// It is forgotten here; `ChirpStack` keeps what it has.
    Clear,
}

/// What is told of a device's `AppKey`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppKeyState {
    /// There is none.
    None,
    /// There is one.
    Set,
    /// There is one that everybody knows.
    Default,
}

impl AppKeyState {
    fn of(key: Option<&AppKey>) -> Self {
        match key {
            None => Self::None,
            Some(key) if key.is_default() => Self::Default,
            Some(_) => Self::Set,
        }
    }
}

/// How far `ChirpStack` is in step with a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSync {
    /// The newest wish.
    pub generation: u64,
    /// The newest wish that `ChirpStack` fulfils.
    pub synced_generation: u64,
    /// As of the last attempt.
    pub status: SyncStatus,
}

impl DeviceSync {
    /// Whether `ChirpStack` holds what the registry says.
    pub const fn is_synced(&self) -> bool {
        self.synced_generation == self.generation
    }
}

/// Which of its states a device is in: another number with every change of what is known of it, of whatever kind, and
/// never one that it had before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision(pub(super) i64);

/// A device's place in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRevision {
    /// Which device.
    pub id: DeviceId,
    /// When it was registered.
    pub created_at: Timestamp,
    /// As it was when the list was read.
    pub revision: Revision,
}

/// A device as it was in one revision.
#[derive(Debug, Clone, PartialEq)]
pub struct RevisedDevice {
    /// The device.
    pub device: Device,
    /// What it was in.
    pub revision: Revision,
}

/// A device to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// Chosen by whoever registers it.
    pub id: DeviceId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// When it is registered.
    pub created_at: Timestamp,
    /// What is known of it.
    pub fields: DeviceFields,
    /// Its root key.
    pub app_key: Option<AppKey>,
}

/// A registered device, with what its actor last stored of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// What its users decided.
    pub fields: DeviceFields,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When its users changed it last.
    pub updated_at: Timestamp,
    /// Grows by one with each change by its users, from 1: what an `ETag` is made of.
    pub version: u32,
    /// The network server that it is on.
    pub server: NetworkServerId,
    /// What is told of its root key.
    pub app_key: AppKeyState,
    /// How far `ChirpStack` is in step; `None` if that is not our affair.
    pub sync: Option<DeviceSync>,
    /// Whether it is there.
    pub presence: Presence,
    /// Uplinks received.
    pub uplinks_heard: u64,
    /// Uplinks that its frame counter tells of and that never came.
    pub uplinks_missed: u64,
    /// When it was last heard.
    pub last_seen: Option<Timestamp>,
    /// Best RSSI of its last uplink, dBm.
    pub rssi_dbm: Option<i32>,
    /// SNR there, dB.
    pub snr_db: Option<f32>,
    /// Percent.
    pub battery_percent: Option<f32>,
    /// The light that is wanted.
    pub desired: Option<LightState>,
    /// The light that it last reported, and when.
    pub reported: Option<(LightState, Timestamp)>,
    /// How far its initialisation is, if it was ever begun.
    pub initialisation: Option<InitialisationStatus>,
}

impl Device {
    /// Whether it last reported what is wanted of it; nothing wanted is shown, too.
    pub fn is_converged(&self) -> bool {
        let reported = self.reported.map(|(light, _)| light);
        self.desired.is_none() || self.desired == reported
    }

    /// A device as it is when it was just registered, before anything is wished of it.
    pub(super) fn registered(new: &NewDevice, server: NetworkServerId) -> Self {
        Self {
            id: new.id,
            tenant_id: new.tenant_id,
            fields: new.fields.clone(),
            created_at: new.created_at,
            updated_at: new.created_at,
            version: 1,
            server,
            app_key: AppKeyState::of(new.app_key.as_ref()),
            sync: None,
            presence: Presence::NeverSeen,
            uplinks_heard: 0,
            uplinks_missed: 0,
            last_seen: None,
            rssi_dbm: None,
            snr_db: None,
            battery_percent: None,
            desired: None,
            reported: None,
            initialisation: None,
        }
    }

    /// The device as its users change it, before anything is wished of it.
    pub(super) fn changed(
        &self,
        fields: &DeviceFields,
        app_key: AppKeyChange,
        at: Timestamp,
    ) -> Self {
        let mut after = self.clone();
        if fields.dev_eui != self.fields.dev_eui {
            // What the old one said is forgotten.
            after.sync = None;
            after.presence = Presence::NeverSeen;
            (after.uplinks_heard, after.uplinks_missed) = (0, 0);
            (after.last_seen, after.rssi_dbm, after.snr_db) = (None, None, None);
            (after.battery_percent, after.desired, after.reported) = (None, None, None);
        }
        after.fields = fields.clone();
        after.updated_at = at;
        after.version += 1;
        after.app_key = match app_key {
            AppKeyChange::Keep => self.app_key,
            AppKeyChange::Set(key) => AppKeyState::of(Some(&key)),
            AppKeyChange::Clear => AppKeyState::None,
        };
        after
    }

    /// The device on the air, if it is on it.
    pub(super) fn key(&self) -> Option<DeviceKey> {
        let server = self.server;
        self.fields
            .dev_eui
            .map(|dev_eui| DeviceKey { server, dev_eui })
    }
}

/// Which devices of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct DeviceFilter {
    /// Those whose name contains this; ASCII letters match in either case.
    pub name: Option<String>,
    /// The one with this `DevEUI`.
    pub dev_eui: Option<DevEui>,
    /// Those of that kind, exactly.
    pub device_type: Option<String>,
    /// Those with that codec.
    pub codec: Option<CodecKind>,
    /// Those in that application of `ChirpStack`.
    pub chirpstack_app_id: Option<Uuid>,
    /// Those that carry this tag, with this value if one is given.
    pub tag: Option<(String, Option<String>)>,
    /// Those that are there, or not.
    pub presence: Option<Presence>,
    /// Those that `ChirpStack` is in step with, or is not but should be.
    pub synced: Option<bool>,
    /// Those that show what is wanted, or do not.
    pub converged: Option<bool>,
}

/// Why the registry did not change.
#[derive(Debug, thiserror::Error)]
pub enum WriteDeviceError {
    /// The tenant has as many devices as it may.
    #[error("the tenant has as many devices as it may have")]
    TenantFull,
    /// A device of the network server has that `DevEUI` already, maybe another tenant's.
    #[error("a device with that DevEUI is registered already")]
    DevEuiTaken,
    /// There is no such tenant, or the caller may not see it.
    #[error("there is no such tenant")]
    UnknownTenant,
    /// There is no such device, or the caller may not see it.
    #[error("there is no such device")]
    UnknownDevice,
    /// Somebody changed it since the caller read it.
    #[error("the device was changed by another")]
    VersionMismatch {
        /// The version that it has.
        current: u32,
    },
    /// Something is under way with a device that was to be deleted only if it rests.
    #[error("something is under way with the device")]
    UnderWay,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An event of a device's history.
#[derive(Debug, Clone)]
pub struct DeviceEvent {
    /// Its id, the same for the same event.
    pub id: uuid::Uuid,
    /// The device.
    pub device_id: DeviceId,
    /// When Downbeat received it.
    pub at: Timestamp,
    /// `up`, `join`, `txack`, `no_txack`, `ack`, `log`, `status`, `location`, `online`, `offline`, `error`.
    pub kind: String,
    /// What it said, a JSON object.
    pub body: Box<serde_json::value::RawValue>,
}

impl Store {
    /// Registers a device, on the network server that its tenant uses. Whoever saw it unclaimed forgets it.
    pub async fn create_device(
        &self,
        scope: Scope,
        device: &NewDevice,
        by: &By,
    ) -> Result<Device, WriteDeviceError> {
        // The one tenant's, whoever asks: its rows are all that this is about.
        let tenant = Scope::Tenant(device.tenant_id);
        if !scope.contains(device.tenant_id) {
            return Err(WriteDeviceError::UnknownTenant);
        }
        let what = DeviceChangeWanted::Create(device.clone());
        let by = by.clone();
        self.registrar.write(tenant, DeviceWrite { by, what }).await
    }

    /// Replaces what users decide about a device, if it still has the version given (when one is given).
    ///
    /// Another `DevEUI` is another thing on the air: what the old one's actor stored is forgotten, and the old one is
    /// to vanish from `ChirpStack`.
    #[expect(clippy::too_many_arguments, reason = "who, what and when of a change")]
    pub async fn update_device(
        &self,
        scope: Scope,
        id: DeviceId,
        fields: &DeviceFields,
        app_key: AppKeyChange,
        version: Option<u32>,
        at: Timestamp,
        by: &By,
    ) -> Result<Device, WriteDeviceError> {
        let what = DeviceChangeWanted::Update {
            id,
            fields: fields.clone(),
            app_key,
            version,
            at,
        };
        let by = by.clone();
        self.registrar.write(scope, DeviceWrite { by, what }).await
    }

    /// Takes a device out of the registry and returns it as it was, if it still has the version given (when one is).
    ///
    /// What `ChirpStack` has of it is to vanish. Its downlinks and its history stay until their time.
    pub async fn delete_device(
        &self,
        scope: Scope,
        id: DeviceId,
        version: Option<u32>,
        at: Timestamp,
        by: &By,
    ) -> Result<Device, WriteDeviceError> {
        self.delete(scope, (id, version), at, by, false).await
    }

    /// Takes a device out as [`Store::delete_device`] does, if what is stored of it says that nothing is under way.
    ///
    /// # Errors
    ///
    /// [`WriteDeviceError::UnderWay`] if something is: its actor has to end that before.
    pub async fn delete_resting_device(
        &self,
        scope: Scope,
        id: DeviceId,
        version: Option<u32>,
        at: Timestamp,
        by: &By,
    ) -> Result<Device, WriteDeviceError> {
        self.delete(scope, (id, version), at, by, true).await
    }

    async fn delete(
        &self,
        scope: Scope,
        (id, version): (DeviceId, Option<u32>),
        at: Timestamp,
        by: &By,
        only_resting: bool,
    ) -> Result<Device, WriteDeviceError> {
        let what = DeviceChangeWanted::Delete {
            id,
            version,
            at,
            only_resting,
        };
        let by = by.clone();
        self.registrar.write(scope, DeviceWrite { by, what }).await
    }

    /// A device.
    pub async fn device(&self, scope: Scope, id: DeviceId) -> Result<Option<Device>, StoreError> {
        self.loader.device(scope, id).await
    }

    /// Devices with their revisions, those that there are.
    pub async fn devices_by_id(
        &self,
        scope: Scope,
        ids: &BTreeSet<DeviceId>,
    ) -> Result<Vec<RevisedDevice>, StoreError> {
        on_backend!(self.devices_by_id(scope, ids))
    }

    /// The device with that `DevEUI`. The platform may have several, on different network servers: it gets the one on
    /// the configuration's server, else any.
    pub async fn device_by_dev_eui(
        &self,
        scope: Scope,
        dev_eui: DevEui,
    ) -> Result<Option<Device>, StoreError> {
        on_backend!(self.device_by_dev_eui(scope, dev_eui))
    }

    /// The device with that `DevEUI` on that network server.
    pub async fn device_by_key(
        &self,
        scope: Scope,
        key: DeviceKey,
    ) -> Result<Option<Device>, StoreError> {
        on_backend!(self.device_by_key(scope, key))
    }

    /// A tenant's devices that have a `DevEUI`, in its order, those after `after` only; at most `limit`, and at most
    /// [`PAGE_MAX`](super::PAGE_MAX).
    pub async fn devices_by_dev_eui(
        &self,
        tenant_id: TenantId,
        after: Option<DevEui>,
        limit: u32,
    ) -> Result<Vec<Device>, StoreError> {
        on_backend!(self.devices_by_dev_eui(tenant_id, after, limit))
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

    /// Which devices there are, oldest first, and in which revision each is.
    pub async fn list_device_revisions(
        &self,
        scope: Scope,
        filter: &DeviceFilter,
        page: PageRequest,
    ) -> Result<Page<DeviceRevision>, StoreError> {
        self.lister.page((scope, filter.clone(), page)).await
    }

    /// How many devices there are.
    pub async fn count_devices(
        &self,
        scope: Scope,
        filter: &DeviceFilter,
    ) -> Result<u64, StoreError> {
        on_backend!(self.count_devices(scope, filter))
    }

    /// Wishes a device anew, whatever is known of `ChirpStack`, and returns the wish's generation. `None`: there is no
    /// such device, or it is not kept in step.
    pub async fn request_sync(
        &self,
        scope: Scope,
        id: DeviceId,
        force: bool,
        at: Timestamp,
        by: &By,
    ) -> Result<Option<u64>, StoreError> {
        on_backend!(self.request_sync(scope, id, force, at, by))
    }

    /// Wishes all devices anew that `ChirpStack` is not in step with, deletions too, and tells how many those are.
    pub async fn request_sync_all(
        &self,
        scope: Scope,
        at: Timestamp,
        by: &By,
    ) -> Result<u64, StoreError> {
        on_backend!(self.request_sync_all(scope, at, by))
    }

    /// A device's history, newest first: events of that kind, received from a moment on and before another.
    pub async fn list_device_events(
        &self,
        scope: Scope,
        device_id: DeviceId,
        kind: Option<&str>,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        page: PageRequest,
    ) -> Result<Page<DeviceEvent>, StoreError> {
        on_backend!(self.list_device_events(scope, device_id, kind, from, to, page))
    }

    /// Deletes events of the history that are older, at most [`DELETE_BATCH_MAX`](super::DELETE_BATCH_MAX) at a time,
    /// and tells how many: call again while it is that many.
    pub async fn delete_device_events_before(&self, before: Timestamp) -> Result<u64, StoreError> {
        on_backend!(self.delete_device_events_before(before))
    }
}
