//! Devices that are registered as ChirpStack has them.

use std::collections::BTreeMap;

use downbeat_core::id::{DevEui, DeviceId, JoinEui, NetworkServerId, TenantId};
use downbeat_core::sync::{OWNER_TAG, RemoteDevice};
use uuid::Uuid;

use crate::http::devices::create::new_device;
use crate::http::devices::fields::WriteDevice;
use crate::http::extract::Patch;
use crate::http::problem::{ApiError, Conflict};
use crate::http::{AppState, registry};
use crate::store::{By, Scope};

/// What ChirpStack cannot tell of a device.
#[derive(Debug, Default)]
pub(in crate::http) struct Defaults {
    pub(in crate::http) device_type: Option<String>,
    pub(in crate::http) codec: Option<String>,
    pub(in crate::http) tags: BTreeMap<String, String>,
}

/// A device of ChirpStack that is to be registered.
#[derive(Debug)]
pub(in crate::http) struct Adopted {
    pub(in crate::http) dev_eui: DevEui,
    pub(in crate::http) name: String,
    pub(in crate::http) description: String,
    pub(in crate::http) tags: BTreeMap<String, String>,
    pub(in crate::http) application_id: Uuid,
    pub(in crate::http) device_profile_id: Uuid,
    /// `None`: what is there stays.
    pub(in crate::http) join_eui: Option<JoinEui>,
}

impl Adopted {
    /// A device as it was read.
    pub(in crate::http) fn of(device: RemoteDevice) -> Self {
        Self {
            dev_eui: device.dev_eui,
            name: device.name,
            description: device.description,
            tags: device.tags,
            application_id: device.application_id,
            device_profile_id: device.device_profile_id,
            join_eui: Some(device.join_eui).filter(|it| it.as_u64() != 0),
        }
    }

    /// The device as its users would write it.
    pub(in crate::http) fn wanted(&self, defaults: &Defaults) -> WriteDevice {
        let mut tags = self.tags.clone();
        tags.remove(OWNER_TAG);
        tags.extend(defaults.tags.clone());
        let dev_eui = self.dev_eui.to_string();
        let has_name = !self.name.trim().is_empty();
        WriteDevice {
            name: if has_name {
                self.name.clone()
            } else {
                dev_eui.clone()
            },
            device_type: defaults.device_type.clone(),
            description: Some(self.description.clone()),
            tags: Some(tags),
            lorawan_dev_eui: Some(dev_eui),
            chirpstack_app_id: Some(self.application_id.to_string()),
            device_profile_id: Some(self.device_profile_id.to_string()),
            join_eui: self.join_eui.map(|it| it.to_string()),
            app_key: Patch::Keep,
            codec: defaults.codec.clone(),
            uplink_interval_s: None,
            policy: None,
        }
    }
}

/// Checks what is not ChirpStack's.
pub(in crate::http) fn check(defaults: &Defaults) -> Result<(), ApiError> {
    let device = WriteDevice {
        name: "device".to_owned(),
        device_type: defaults.device_type.clone(),
        codec: defaults.codec.clone(),
        tags: Some(defaults.tags.clone()),
        ..WriteDevice::default()
    };
    device.checked().map(drop)
}

/// Registers a device as ChirpStack has it, and wishes it there as ours: it gets our tag, and the rest stays as it is.
pub(in crate::http) async fn adopt(
    state: &AppState,
    tenant_id: TenantId,
    device: &Adopted,
    defaults: &Defaults,
    by: By,
) -> Result<DeviceId, ApiError> {
    let wanted = device.wanted(defaults).checked()?;
    let (id, scope) = (
        DeviceId::from_uuid(Uuid::now_v7()),
        Scope::Tenant(tenant_id),
    );
    let device = new_device(id, tenant_id, wanted, state);
    registry::create(state, scope, device, by.clone()).await?;
    registry::request_sync(state, scope, id, true, by).await?;
    Ok(id)
}

/// Refuses what needs a network server where there is none.
pub(in crate::http) fn require_network_server(
    state: &AppState,
    server: NetworkServerId,
) -> Result<(), ApiError> {
    let is_there =
        server != NetworkServerId::Default || state.system().health().network_server_configured;
    if is_there {
        Ok(())
    } else {
        Err(ApiError::Conflict(Conflict::NoNetworkServer))
    }
}
