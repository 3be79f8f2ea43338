//! Wishes for `ChirpStack`, and how far they are.

use std::collections::BTreeMap;

use downbeat_actors::port::{StoreError, StoredSync};
use downbeat_core::id::{DeviceId, DeviceKey, JoinEui, NetworkServerId, TenantId};
use downbeat_core::sync::{SyncState, SyncStatus, WantedDevice, Wish};
use sqlx::FromRow;
use uuid::Uuid;

use super::{corrupt, instant, parse_dev_eui, uuid};
use crate::store::DeviceSync;

const TABLE: &str = "device_sync";

/// What a list of devices tells of the wish; all are absent together where there is none.
#[derive(FromRow)]
pub(crate) struct DeviceSyncColumns {
    pub(crate) generation: Option<i64>,
    pub(crate) synced_generation: Option<i64>,
    pub(crate) sync_state: Option<String>,
    pub(crate) sync_error: Option<String>,
    pub(crate) sync_attempts: Option<i64>,
    pub(crate) next_attempt_at: Option<i64>,
}

impl DeviceSyncColumns {
    pub(crate) fn read(self, device_id: Uuid) -> Result<Option<DeviceSync>, StoreError> {
        let (Some(generation), Some(synced_generation), Some(state)) =
            (self.generation, self.synced_generation, self.sync_state)
        else {
            return Ok(None);
        };
        let state = SyncState::by_name(&state)
            .ok_or_else(|| corrupt(TABLE, "sync_state", &device_id, "unknown state"))?;
        let attempts = u32::try_from(self.sync_attempts.unwrap_or(0))
            .map_err(|error| corrupt(TABLE, "sync_attempts", &device_id, error))?;
        Ok(Some(DeviceSync {
            generation: to_generation(generation),
            synced_generation: to_generation(synced_generation),
            status: SyncStatus {
                state,
                error: self.sync_error,
                attempts,
                next_attempt_at: self.next_attempt_at.map(instant),
            },
        }))
    }
}

/// A wish with the device that is wanted, if one is: the columns from `device_id` on are absent otherwise.
#[derive(FromRow)]
pub(crate) struct StoredSyncRow {
    pub(crate) network_server_id: Uuid,
    pub(crate) dev_eui: String,
    pub(crate) tenant_id: Uuid,
    pub(crate) generation: i64,
    pub(crate) force: bool,
    pub(crate) machine: Option<String>,
    pub(crate) device_id: Option<Uuid>,
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) tags: Option<String>,
    pub(crate) chirpstack_app_id: Option<String>,
    pub(crate) device_profile_id: Option<String>,
    pub(crate) join_eui: Option<String>,
    /// Absent if there is no key.
    pub(crate) app_key_revision: Option<i64>,
}

impl TryFrom<StoredSyncRow> for StoredSync {
    type Error = StoreError;

    fn try_from(row: StoredSyncRow) -> Result<Self, StoreError> {
        Ok(Self {
            key: device_key(row.network_server_id, &row.dev_eui)?,
            tenant_id: TenantId::from_uuid(row.tenant_id),
            wish: Wish {
                generation: to_generation(row.generation),
                force: row.force,
                device: row.wanted()?,
            },
            machine: row.machine,
        })
    }
}

impl StoredSyncRow {
    fn wanted(&self) -> Result<Option<WantedDevice>, StoreError> {
        const DEVICE: &str = "device";
        let Some(id) = self.device_id else {
            return Ok(None);
        };
        let application_id = uuid(
            DEVICE,
            "chirpstack_app_id",
            id,
            self.chirpstack_app_id.clone(),
        )?;
        let device_profile_id = uuid(
            DEVICE,
            "device_profile_id",
            id,
            self.device_profile_id.clone(),
        )?;
        let (Some(application_id), Some(device_profile_id)) = (application_id, device_profile_id)
        else {
            return Ok(None);
        };
        let tags: BTreeMap<String, String> =
            serde_json::from_str(self.tags.as_deref().unwrap_or("{}"))
                .map_err(|error| corrupt(DEVICE, "tags", &id, error))?;
        let join_eui = self.join_eui.as_deref().map(str::parse::<JoinEui>);
        let join_eui = join_eui
            .transpose()
            .map_err(|error| corrupt(DEVICE, "join_eui", &id, error))?;
        let app_key_revision = self.app_key_revision.map(u32::try_from).transpose();
        let app_key_revision =
            app_key_revision.map_err(|error| corrupt(DEVICE, "app_key_revision", &id, error))?;
        Ok(Some(WantedDevice {
            device_id: DeviceId::from_uuid(id),
            name: self.name.clone().unwrap_or_default(),
            description: self.description.clone().unwrap_or_default(),
            application_id,
            device_profile_id,
            join_eui,
            tags,
            app_key_revision,
        }))
    }
}

/// A wish that was just made.
pub(crate) fn new_sync(generation: i64, synced_generation: i64) -> DeviceSync {
    DeviceSync {
        generation: to_generation(generation),
        synced_generation: to_generation(synced_generation),
        status: SyncStatus::default(),
    }
}

/// A generation, which is never negative.
pub(crate) fn to_generation(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A generation as a column; what is larger than any that was drawn equals none.
pub(crate) fn of_generation(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Where a wish is about.
pub(crate) fn device_key(server: Uuid, dev_eui: &str) -> Result<DeviceKey, StoreError> {
    Ok(DeviceKey {
        server: NetworkServerId::from_uuid(server),
        dev_eui: parse_dev_eui(dev_eui, TABLE, server)?,
    })
}
