//! Whose device it is that `ChirpStack` holds, and how it should be.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::id::{DevEui, JoinEui};

use super::remote::{OWNER_TAG, RemoteDevice};
use super::state::Written;
use super::wish::WantedDevice;

/// Whose device it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It carries our tag.
    Ours,
    /// It carries no owner's tag.
    Unclaimed,
    /// It carries another owner's tag.
    Others,
}

/// Reads it from the owner's tag: ours is the wanted device's, or one that this machine wrote before for an earlier
/// device of the same `DevEUI`.
pub(super) fn standing(
    remote: &RemoteDevice,
    written: &Written,
    wanted: Option<&WantedDevice>,
) -> Standing {
    let Some(tag) = remote.tags.get(OWNER_TAG).filter(|tag| !tag.is_empty()) else {
        return Standing::Unclaimed;
    };
    let owner = tag.parse().ok();
    let is_ours = owner.is_some_and(|owner| {
        written.owners.contains(&owner) || wanted.is_some_and(|wanted| wanted.device_id == owner)
    });
    if is_ours {
        Standing::Ours
    } else {
        Standing::Others
    }
}

/// Why a device that is not ours may not be taken, `None` if it may: without an owner, and where ours is wanted.
pub(super) fn conflict(
    remote: &RemoteDevice,
    standing: Standing,
    application_id: Uuid,
) -> Option<String> {
    match standing {
        Standing::Ours => None,
        Standing::Unclaimed if remote.application_id == application_id => None,
        Standing::Unclaimed => Some(format!(
            "ChirpStack already has a device with this DevEUI in another application ({}), and it was not registered \
             here. Move it, delete it there, or force the synchronisation to take it over.",
            remote.application_id
        )),
        Standing::Others => Some(format!(
            "ChirpStack already has a device with this DevEUI that belongs to another registration (tag \
             {OWNER_TAG}={}). Delete it there, or force the synchronisation to take it over.",
            remote.tags.get(OWNER_TAG).map_or("", String::as_str)
        )),
    }
}

/// The device to create.
pub(super) fn created(dev_eui: DevEui, wanted: &WantedDevice) -> RemoteDevice {
    RemoteDevice {
        dev_eui,
        name: wanted.name.clone(),
        description: wanted.description.clone(),
        application_id: wanted.application_id,
        device_profile_id: wanted.device_profile_id,
        join_eui: wanted.join_eui.unwrap_or(JoinEui::from_u64(0)),
        is_disabled: false,
        skip_fcnt_check: false,
        tags: with_ours(BTreeMap::new(), wanted),
        variables: BTreeMap::new(),
    }
}

/// The device as read with what the registry says of it; what it does not speak of stays as it is.
pub(super) fn updated(
    remote: &RemoteDevice,
    written: &Written,
    wanted: &WantedDevice,
) -> RemoteDevice {
    let mut tags = remote.tags.clone();
    tags.retain(|name, _| !written.tags.contains(name));
    RemoteDevice {
        name: wanted.name.clone(),
        description: wanted.description.clone(),
        application_id: wanted.application_id,
        device_profile_id: wanted.device_profile_id,
        join_eui: wanted.join_eui.unwrap_or(remote.join_eui),
        tags: with_ours(tags, wanted),
        ..remote.clone()
    }
}

fn with_ours(
    mut tags: BTreeMap<String, String>,
    wanted: &WantedDevice,
) -> BTreeMap<String, String> {
    tags.extend(wanted.tags.clone());
    tags.insert(OWNER_TAG.to_owned(), wanted.device_id.to_string());
    tags
}
