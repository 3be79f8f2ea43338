//! Other people who work on the same ChirpStack, and what they may expect to find there.

use std::collections::BTreeMap;

use downbeat_core::id::DevEui;
use downbeat_core::random::Random;
use downbeat_core::sync::{OWNER_TAG, WantedDevice};
use downbeat_core::time::Timestamp;
use downbeat_sim::model::{DeviceFields, DeviceKeys, Network};
use uuid::Uuid;

use crate::registry::{APPLICATIONS, PROFILES};
use crate::scenario::{OthersDeed, pick};

/// What others keep under a `DevEUI`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Theirs {
    /// Their own device, as a whole and with its keys; `None` where there is none, or it is the registry's.
    pub(crate) device: Option<(DeviceFields, Option<DeviceKeys>)>,
    /// What they keep on whatever device there is.
    pub(crate) tags: BTreeMap<String, String>,
    /// Tags that both wrote: nobody can say whose they are, once the registry does not want them.
    pub(crate) contested: BTreeMap<String, String>,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) is_disabled: bool,
    pub(crate) skip_fcnt_check: bool,
    pub(crate) join_eui: u64,
}

impl Theirs {
    /// All that is there is theirs.
    pub(crate) fn of_device(fields: DeviceFields, keys: Option<DeviceKeys>) -> Self {
        let mut tags = fields.tags.clone();
        tags.remove(OWNER_TAG);
        Self {
            tags,
            contested: BTreeMap::new(),
            variables: fields.variables.clone(),
            is_disabled: fields.is_disabled,
            skip_fcnt_check: fields.skip_fcnt_check,
            join_eui: fields.join_eui,
            device: Some((fields, keys)),
        }
    }
}

impl Theirs {
    /// The registry wants a tag just as others have it: it is both's from now on.
    pub(crate) fn contest(&mut self, wanted: &WantedDevice) {
        for (name, value) in &wanted.tags {
            if self.tags.get(name) == Some(value) {
                self.tags.remove(name);
                self.contested.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Does a deed, and notes what they may expect from then on. Tells whether anything was done.
pub(crate) fn act(
    network: &mut Network,
    now: Timestamp,
    dev_eui: DevEui,
    theirs: &mut Theirs,
    deed: OthersDeed,
    decide: u64,
) -> bool {
    if !network.is_server_up() {
        return false;
    }
    let mut random = Random::from_seed(decide);
    let there = network
        .device(dev_eui)
        .ok()
        .map(|record| (record.fields.clone(), record.keys));
    match (deed, there) {
        (OthersDeed::Register, None) => register(network, now, dev_eui, theirs, &mut random),
        (OthersDeed::Delete, Some(_)) => {
            network.delete_device(now, dev_eui).expect("it is there");
            *theirs = Theirs::default();
        }
        (OthersDeed::TakeOver, Some(_)) => {
            network.delete_device(now, dev_eui).expect("it is there");
            register(network, now, dev_eui, theirs, &mut random);
        }
        (OthersDeed::Mark, Some((mut fields, keys))) => {
            mark(&mut fields, theirs, &mut random);
            if theirs.device.is_some() {
                theirs.device = Some((fields.clone(), keys));
            }
            update(network, now, dev_eui, fields);
        }
        (OthersDeed::Drift, Some((mut fields, _))) if theirs.device.is_none() => {
            drift(&mut fields, theirs, &mut random);
            update(network, now, dev_eui, fields);
        }
        (OthersDeed::Register | OthersDeed::Drift, Some(_))
        | (
            OthersDeed::Mark
            | OthersDeed::Drift
            | OthersDeed::Disown
            | OthersDeed::Delete
            | OthersDeed::TakeOver,
            None,
        ) => return false,
        (OthersDeed::Disown, Some((mut fields, keys))) => {
            fields.tags.remove(OWNER_TAG);
            *theirs = Theirs::of_device(fields.clone(), keys);
            update(network, now, dev_eui, fields);
        }
    }
    true
}

fn update(network: &mut Network, now: Timestamp, dev_eui: DevEui, fields: DeviceFields) {
    network
        .update_device(now, dev_eui, fields)
        .expect("it is there");
}

fn register(
    network: &mut Network,
    now: Timestamp,
    dev_eui: DevEui,
    theirs: &mut Theirs,
    random: &mut Random,
) {
    let mut fields = DeviceFields {
        name: "theirs".to_owned(),
        application_id: APPLICATIONS[pick(random, 2)],
        device_profile_id: PROFILES[pick(random, 2)],
        join_eui: random.below(3),
        ..DeviceFields::default()
    };
    fields.tags.insert("x0".to_owned(), "theirs".to_owned());
    if random.chance(0.4) {
        let stranger = Uuid::from_u64_pair(2, random.next_u64());
        fields
            .tags
            .insert(OWNER_TAG.to_owned(), stranger.to_string());
    }
    let keys = DeviceKeys {
        nwk_key: [0xee; 16],
        ..DeviceKeys::default()
    };
    network
        .create_device(now, dev_eui, fields.clone())
        .expect("nothing is there");
    network
        .create_keys(now, dev_eui, keys)
        .expect("it has none");
    *theirs = Theirs::of_device(fields, Some(keys));
}

fn mark(fields: &mut DeviceFields, theirs: &mut Theirs, random: &mut Random) {
    let name = format!("x{}", random.below(3));
    let value = random.below(100).to_string();
    match random.below(6) {
        0 => {
            fields.tags.remove(&name);
            theirs.tags.remove(&name);
        }
        1 => {
            fields.variables.insert(name.clone(), value.clone());
            theirs.variables.insert(name, value);
        }
        2 => {
            fields.is_disabled ^= true;
            theirs.is_disabled = fields.is_disabled;
        }
        3 => {
            fields.skip_fcnt_check ^= true;
            theirs.skip_fcnt_check = fields.skip_fcnt_check;
        }
        _ => {
            fields.tags.insert(name.clone(), value.clone());
            theirs.tags.insert(name, value);
        }
    }
}

fn drift(fields: &mut DeviceFields, theirs: &mut Theirs, random: &mut Random) {
    match random.below(6) {
        0 => "drifted".clone_into(&mut fields.name),
        1 => "drifted".clone_into(&mut fields.description),
        2 => fields.application_id = APPLICATIONS[pick(random, 2)],
        3 => fields.device_profile_id = PROFILES[pick(random, 2)],
        4 => {
            if let Some(value) = fields.tags.get_mut("r0") {
                "drifted".clone_into(value);
                if let Some(theirs) = theirs.tags.get_mut("r0") {
                    theirs.clone_from(value);
                } else {
                    theirs.contested.insert("r0".to_owned(), value.clone());
                }
            }
        }
        _ => {
            for tags in [&mut fields.tags, &mut theirs.tags, &mut theirs.contested] {
                tags.remove("r1");
            }
        }
    }
}
