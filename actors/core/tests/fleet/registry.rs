//! The registry: what is registered, what is wanted in ChirpStack, and what the store keeps of both.

use std::collections::BTreeMap;
use std::rc::Rc;

use downbeat_core::device::Device;
use downbeat_core::id::{DeviceId, JoinEui};
use downbeat_core::random::Random;
use downbeat_core::sync::{OWNER_TAG, RemoteDevice, WantedDevice, Wish};
use downbeat_sim::model::DeviceFields;
use uuid::Uuid;

use crate::scenario::Change;
use crate::world::World;

/// A registered device, as it is stored.
#[derive(Debug)]
pub(crate) struct Row {
    /// Rows of one `DevEUI` are numbered: what was written for an earlier one never reaches a later one.
    pub(crate) number: u32,
    pub(crate) device_id: DeviceId,
    /// `None` before the first step.
    pub(crate) state: Option<Rc<Device>>,
    pub(crate) unfinished: bool,
}

/// What is wanted in ChirpStack under a `DevEUI`, and how far that is, as it is stored. It outlives the device.
#[derive(Debug)]
pub(crate) struct SyncRow {
    pub(crate) number: u32,
    pub(crate) wish: Wish,
    /// The machine as JSON; `None` before its first step.
    pub(crate) machine: Option<String>,
    /// There is something to do.
    pub(crate) is_open: bool,
}

impl World {
    /// People register, change or take out a device.
    pub(crate) fn change_registry(&mut self, slot: usize, change: Change, decide: u64) {
        if self.is_down || !self.database_up {
            return;
        }
        let mut random = Random::from_seed(decide);
        match (change, &self.slots[slot].row) {
            (Change::Register, None) => self.register(slot, &mut random),
            (Change::Delete, Some(_)) => self.retire(slot),
            (Change::Rename | Change::Retag | Change::LookAgain, Some(_)) => {
                let wish = self.slots[slot].sync_row.as_ref().map(|row| &row.wish);
                let Some(mut device) = wish.and_then(|wish| wish.device.clone()) else {
                    return;
                };
                match change {
                    Change::Rename => device.name = name(&mut random),
                    Change::Retag => device.tags = tags(&mut random),
                    Change::Register | Change::LookAgain | Change::Delete => {}
                }
                self.want(slot, Some(device));
            }
            (Change::Register, Some(_)) | (_, None) => {}
        }
    }

    pub(crate) fn register(&mut self, index: usize, random: &mut Random) {
        let (application_id, device_profile_id) = {
            let config = self.network.config();
            (config.application_id, config.device_profile_id)
        };
        let slot = &mut self.slots[index];
        slot.rows += 1;
        slot.promises.begin_registration();
        slot.forget_webhooks();
        let device_id =
            DeviceId::from_uuid(Uuid::from_u64_pair(u64::from(slot.rows), random.next_u64()));
        slot.row = Some(Row {
            number: slot.rows,
            device_id,
            state: None,
            unfinished: false,
        });
        let device = WantedDevice {
            device_id,
            name: name(random),
            description: String::new(),
            application_id,
            device_profile_id,
            join_eui: None,
            tags: tags(random),
            app_key_revision: Some(1),
        };
        self.want(index, Some(device));
    }

    /// The device's last words are stored: it leaves the registry, and is to leave ChirpStack.
    pub(crate) fn remove_row(&mut self, slot: usize) {
        if let Some(actor) = &mut self.slots[slot].actor
            && !self.database_up
        {
            // It stays, and is told so.
            actor.retired = false;
            return;
        }
        self.slots[slot].row = None;
        self.slots[slot].actor = None;
        self.want(slot, None);
    }

    fn want(&mut self, index: usize, device: Option<WantedDevice>) {
        self.telling
            .of(self.now, index, "wanted", || format!("{device:?}"));
        let slot = &mut self.slots[index];
        let row = slot.sync_row.get_or_insert_with(|| {
            slot.sync_rows += 1;
            SyncRow {
                number: slot.sync_rows,
                wish: Wish {
                    generation: 0,
                    force: false,
                    device: None,
                },
                machine: None,
                is_open: true,
            }
        });
        row.wish = Wish {
            generation: row.wish.generation + 1,
            force: false,
            device,
        };
        row.is_open = true;
        self.hint_sync();
    }

    /// Other people change what is ours in ChirpStack, or take it away.
    pub(crate) fn meddle(&mut self, slot: usize, decide: u64) {
        let mut random = Random::from_seed(decide);
        let dev_eui = self.slots[slot].dev_eui;
        let Some(record) = self
            .network
            .registered(dev_eui)
            .filter(|_| self.network.is_server_up())
        else {
            return;
        };
        let mut fields = record.fields.clone();
        let done = match random.below(4) {
            0 => self.network.delete_device(self.now, dev_eui),
            1 => {
                fields.tags.remove(OWNER_TAG);
                self.slots[slot].is_disowned = true;
                self.network.update_device(self.now, dev_eui, fields)
            }
            _ => {
                "somebody's".clone_into(&mut fields.name);
                self.network.update_device(self.now, dev_eui, fields)
            }
        };
        self.check(done.map_err(|fault| format!("{fault:?}")));
    }

    /// Whether ChirpStack holds what the registry says.
    pub(crate) fn is_in_step(&self, slot: usize) -> Result<(), String> {
        let slot = &self.slots[slot];
        let there = self.network.registered(slot.dev_eui);
        let wanted = slot
            .sync_row
            .as_ref()
            .and_then(|row| row.wish.device.as_ref());
        match (&slot.row, wanted, there) {
            (None, None, None) => Ok(()),
            (None, None, Some(record)) if !record.fields.tags.contains_key(OWNER_TAG) => Ok(()),
            (Some(row), Some(wanted), Some(record)) if row.device_id == wanted.device_id => {
                let mut tags = wanted.tags.clone();
                tags.insert(OWNER_TAG.to_owned(), wanted.device_id.to_string());
                let key = record.keys.map(|keys| keys.nwk_key);
                let mut there = record.fields.tags.clone();
                if slot.is_disowned {
                    there.retain(|name, _| tags.contains_key(name));
                }
                if record.fields.name != wanted.name || there != tags {
                    Err(format!("{:?} instead of {wanted:?}", record.fields))
                } else if key != Some(app_key(wanted.device_id)) {
                    Err(format!("its key is {key:?}"))
                } else {
                    Ok(())
                }
            }
            (row, wanted, there) => Err(format!(
                "{} registered, {} wanted, {} there",
                u8::from(row.is_some()),
                u8::from(wanted.is_some()),
                u8::from(there.is_some())
            )),
        }
    }
}

/// Few, so that wishes often go back to what was.
fn name(random: &mut Random) -> String {
    format!("lamp {}", random.below(3))
}

fn tags(random: &mut Random) -> BTreeMap<String, String> {
    (0..2)
        .filter_map(|number| {
            let value = random.below(2).to_string();
            random.chance(0.5).then(|| (format!("r{number}"), value))
        })
        .collect()
}

/// The key of a registered device.
pub(crate) fn app_key(device_id: DeviceId) -> [u8; 16] {
    device_id.as_uuid().into_bytes()
}

pub(crate) fn as_written(device: &RemoteDevice) -> DeviceFields {
    DeviceFields {
        name: device.name.clone(),
        description: device.description.clone(),
        application_id: device.application_id,
        device_profile_id: device.device_profile_id,
        join_eui: device.join_eui.as_u64(),
        is_disabled: device.is_disabled,
        skip_fcnt_check: device.skip_fcnt_check,
        tags: device.tags.clone(),
        variables: device.variables.clone(),
    }
}

pub(crate) fn as_read(dev_eui: downbeat_core::id::DevEui, fields: &DeviceFields) -> RemoteDevice {
    RemoteDevice {
        dev_eui,
        name: fields.name.clone(),
        description: fields.description.clone(),
        application_id: fields.application_id,
        device_profile_id: fields.device_profile_id,
        join_eui: JoinEui::from_u64(fields.join_eui),
        is_disabled: fields.is_disabled,
        skip_fcnt_check: fields.skip_fcnt_check,
        tags: fields.tags.clone(),
        variables: fields.variables.clone(),
    }
}
