//! The registry's side: what is wanted, and what is stored. It survives every crash.

use std::collections::BTreeMap;

use downbeat_core::id::{DeviceId, JoinEui};
use downbeat_core::random::Random;
use downbeat_core::sync::{WantedDevice, Wish};
use uuid::Uuid;

use crate::scenario::{WishChange, pick};

/// ChirpStack takes a device of this name for invalid.
pub(crate) const INVALID_NAME: &str = "invalid";

pub(crate) const APPLICATIONS: [Uuid; 2] = [Uuid::from_u128(0xa1), Uuid::from_u128(0xa2)];
pub(crate) const PROFILES: [Uuid; 2] = [Uuid::from_u128(0xb1), Uuid::from_u128(0xb2)];

/// A row of the store: the newest wish, and the machine as it was stored last.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Rows of one `DevEUI` are numbered; answers for an earlier one never reach a later one.
    pub(crate) number: u32,
    pub(crate) wish: Wish,
    /// As JSON; `None` before the first step.
    pub(crate) sync: Option<String>,
    /// Something was called that may have left a device of ours.
    pub(crate) begun: bool,
}

/// Carries out what the registry's people do; tells whether anything is wanted otherwise now.
pub(crate) fn change(
    row: &mut Option<Row>,
    rows: &mut u32,
    change: WishChange,
    decide: u64,
) -> bool {
    let mut random = Random::from_seed(decide);
    let device = row.as_ref().and_then(|row| row.wish.device.clone());
    let mut force = false;
    let device = match (change, device) {
        (WishChange::Register, None) => Some(registered(&mut random)),
        (WishChange::Register, Some(_)) | (_, None) => return false,
        (WishChange::Delete, Some(_)) => None,
        (WishChange::LookAgain, device) => device,
        (WishChange::Force, device) => {
            force = true;
            device
        }
        (change, Some(device)) => Some(changed(device, change, &mut random)),
    };
    if let Some(row) = row {
        row.wish = Wish {
            generation: row.wish.generation + 1,
            force,
            device,
        };
    } else {
        *rows += 1;
        *row = Some(Row {
            number: *rows,
            wish: Wish {
                generation: 1,
                force,
                device,
            },
            sync: None,
            begun: false,
        });
    }
    true
}

fn registered(random: &mut Random) -> WantedDevice {
    WantedDevice {
        device_id: DeviceId::from_uuid(Uuid::from_u64_pair(1, random.next_u64())),
        name: name(random),
        description: String::new(),
        application_id: APPLICATIONS[pick(random, 2)],
        device_profile_id: PROFILES[pick(random, 2)],
        join_eui: join_eui(random),
        tags: tags(random),
        app_key_revision: random.chance(0.7).then_some(1),
    }
}

fn changed(mut device: WantedDevice, change: WishChange, random: &mut Random) -> WantedDevice {
    match change {
        WishChange::Rename => device.name = name(random),
        WishChange::RenameToInvalid => INVALID_NAME.clone_into(&mut device.name),
        WishChange::Describe => device.description = name(random),
        WishChange::Retag => device.tags = tags(random),
        WishChange::Move => device.application_id = APPLICATIONS[pick(random, 2)],
        WishChange::ChangeProfile => device.device_profile_id = PROFILES[pick(random, 2)],
        WishChange::ChangeJoinEui => device.join_eui = join_eui(random),
        WishChange::ChangeKey => {
            device.app_key_revision = Some(device.app_key_revision.unwrap_or(0) + 1);
        }
        WishChange::Register | WishChange::Delete | WishChange::LookAgain | WishChange::Force => {}
    }
    device
}

/// Few, so that wishes often go back to what was.
fn name(random: &mut Random) -> String {
    format!("lamp {}", random.below(3))
}

fn join_eui(random: &mut Random) -> Option<JoinEui> {
    random
        .chance(0.3)
        .then(|| JoinEui::from_u64(1 + random.below(2)))
}

/// Ours are called `r`, others' `x`.
fn tags(random: &mut Random) -> BTreeMap<String, String> {
    (0..3)
        .filter_map(|number| {
            let value = random.below(2).to_string();
            random.chance(0.5).then(|| (format!("r{number}"), value))
        })
        .collect()
}

/// The key of a registered device, in a certain revision.
pub(crate) fn key(device_id: DeviceId, revision: u32) -> [u8; 16] {
    let mut key = device_id.as_uuid().into_bytes();
    key[..4].copy_from_slice(&revision.to_be_bytes());
    key
}
