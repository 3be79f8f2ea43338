//! What a change of the registry means to `ChirpStack`: which wishes it makes.

use std::collections::BTreeMap;

use downbeat_core::id::DeviceKey;

use super::{Device, DeviceSync};

/// A wish that a change makes. Each is newer than any before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NewWish {
    /// A device is wanted where none of it was: whatever was wanted there before, somebody else's absence too, is over.
    Present(DeviceKey),
    /// It is wanted otherwise than before. An operator's decision that its wish stands against what is there holds until
    /// it is fulfilled.
    Changed(DeviceKey),
    /// It is no longer wanted, if ever it was.
    Absent(DeviceKey),
}

/// The wishes that a change of a device makes; `None` stands for a device that is not registered (yet, or any more).
pub(super) fn new_wishes(
    before: Option<&Device>,
    after: Option<&Device>,
    app_key_changed: bool,
) -> Vec<NewWish> {
    let (old, new) = (before.and_then(wanted), after.and_then(wanted));
    match (old, new) {
        (None, None) => Vec::new(),
        (Some(old), None) => vec![NewWish::Absent(old)],
        (None, Some(new)) => vec![NewWish::Present(new)],
        (Some(old), Some(new)) if old != new => vec![NewWish::Absent(old), NewWish::Present(new)],
        (Some(_), Some(new)) => {
            let is_other = app_key_changed || before.map(held) != after.map(held);
            let changed = is_other.then_some(NewWish::Changed(new));
            changed.into_iter().collect()
        }
    }
}

/// Where `ChirpStack` is to hold it, if it is.
fn wanted(device: &Device) -> Option<DeviceKey> {
    let fields = &device.fields;
    fields.chirpstack_app_id?;
    fields.device_profile_id?;
    device.key()
}

/// Tells a device how far its newest wish is, if one of those that were just made is about it.
pub(super) fn tell(device: &mut Device, made: &BTreeMap<DeviceKey, DeviceSync>) {
    let sync = device.key().and_then(|key| made.get(&key));
    if let Some(sync) = sync {
        device.sync = Some(sync.clone());
    }
}

/// What `ChirpStack` holds of it, beside its key.
fn held(device: &Device) -> impl PartialEq {
    let fields = &device.fields;
    (
        fields.name.clone(),
        fields.description.clone(),
        fields.tags.clone(),
        fields.chirpstack_app_id,
        fields.device_profile_id,
        fields.join_eui,
    )
}
