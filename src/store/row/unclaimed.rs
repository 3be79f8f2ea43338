//! Devices that nobody has registered.

use downbeat_actors::port::StoreError;
use downbeat_core::id::{DeviceKey, NetworkServerId, TenantId};
use sqlx::FromRow;
use uuid::Uuid;

use super::{corrupt, instant, parse_dev_eui, uuid};
use crate::store::{UnclaimedDevice, UnclaimedSighting};

const TABLE: &str = "unclaimed";

#[derive(FromRow)]
pub(crate) struct UnclaimedRow {
    /// Its place in lists.
    pub(crate) id: Uuid,
    pub(crate) network_server_id: Uuid,
    pub(crate) dev_eui: String,
    /// Nil if it is not known.
    pub(crate) tenant_id: Uuid,
    pub(crate) name: String,
    pub(crate) application_id: Option<String>,
    pub(crate) device_profile_id: Option<String>,
    pub(crate) first_seen: i64,
    pub(crate) last_seen: i64,
    pub(crate) events: i64,
    pub(crate) rssi_dbm: Option<i32>,
}

impl TryFrom<UnclaimedRow> for UnclaimedDevice {
    type Error = StoreError;

    fn try_from(row: UnclaimedRow) -> Result<Self, StoreError> {
        let id = row.id;
        let events =
            u32::try_from(row.events).map_err(|error| corrupt(TABLE, "events", &id, error))?;
        Ok(Self {
            last: UnclaimedSighting {
                key: DeviceKey {
                    server: NetworkServerId::from_uuid(row.network_server_id),
                    dev_eui: parse_dev_eui(&row.dev_eui, TABLE, id)?,
                },
                tenant_id: Some(row.tenant_id)
                    .filter(|id| !id.is_nil())
                    .map(TenantId::from_uuid),
                name: row.name,
                application_id: uuid(TABLE, "application_id", id, row.application_id)?,
                device_profile_id: uuid(TABLE, "device_profile_id", id, row.device_profile_id)?,
                at: instant(row.last_seen),
                events,
                rssi_dbm: row.rssi_dbm,
            },
            first_seen: instant(row.first_seen),
        })
    }
}
