//! In what a device of ChirpStack differs from the registry's.

use std::collections::BTreeMap;

use downbeat_actors::port::ListedDevice;
use downbeat_core::id::DevEui;
use downbeat_core::sync::{OWNER_TAG, RemoteDevice};
use uuid::Uuid;

use crate::store::{Device, Difference};

/// A device as ChirpStack holds it, as far as a list shows it. Its join server is not part of that.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// The device.
    pub dev_eui: DevEui,
    /// Its name there.
    pub name: &'a str,
    /// Its description there.
    pub description: &'a str,
    /// Its tags there.
    pub tags: &'a BTreeMap<String, String>,
    /// Its application; `None` for one that is not the tenant's.
    pub application_id: Option<Uuid>,
    /// Its device profile.
    pub device_profile_id: Uuid,
}

impl<'a> Held<'a> {
    /// A device as it was listed; its application is to be added.
    pub fn listed(device: &'a ListedDevice) -> Self {
        Self {
            dev_eui: device.dev_eui,
            name: &device.name,
            description: &device.description,
            tags: &device.tags,
            application_id: None,
            device_profile_id: device.device_profile_id,
        }
    }

    /// A device as it was read.
    pub fn read(device: &'a RemoteDevice) -> Self {
        Self {
            dev_eui: device.dev_eui,
            name: &device.name,
            description: &device.description,
            tags: &device.tags,
            application_id: Some(device.application_id),
            device_profile_id: device.device_profile_id,
        }
    }
}

/// In what ChirpStack's device is not what the registry says. Tags that the registry does not speak of are others'
/// affair.
pub fn differences(device: &Device, held: &Held<'_>) -> Vec<Difference> {
    let fields = &device.fields;
    let mut found = Vec::new();
    let mut compare = |field: &str, ours: Option<String>, theirs: Option<String>| {
        if ours != theirs {
            found.push(Difference {
                field: field.to_owned(),
                registry: ours,
                chirpstack: theirs,
            });
        }
    };
    compare(
        "chirpstack_app_id",
        fields.chirpstack_app_id.map(|id| id.to_string()),
        held.application_id.map(|id| id.to_string()),
    );
    if held.application_id.is_none() {
        // What stands in an application of others is not told.
        return found;
    }
    compare(
        "name",
        Some(fields.name.clone()),
        Some(held.name.to_owned()),
    );
    compare(
        "description",
        Some(fields.description.clone()),
        Some(held.description.to_owned()),
    );
    compare(
        "device_profile_id",
        fields.device_profile_id.map(|id| id.to_string()),
        Some(held.device_profile_id.to_string()),
    );
    for (tag, value) in &fields.tags {
        let theirs = held.tags.get(tag).cloned();
        compare(&format!("tags.{tag}"), Some(value.clone()), theirs);
    }
    compare(
        &format!("tags.{OWNER_TAG}"),
        Some(device.id.to_string()),
        held.tags.get(OWNER_TAG).cloned(),
    );
    found
}
