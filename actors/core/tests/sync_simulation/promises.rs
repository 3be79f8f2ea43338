//! What is promised, checked against what ChirpStack really holds.

use std::collections::{BTreeMap, BTreeSet};

use downbeat_core::id::DeviceId;
use downbeat_core::sync::{OWNER_TAG, RemoteDevice, Sync, SyncCall, SyncState, WantedDevice, Wish};
use downbeat_sim::model::DeviceRecord;

use crate::calls::Call;
use crate::others::Theirs;
use crate::registry::key;
use crate::shell::{Shell, Slot};

impl Shell {
    /// When a call is asked for: it serves the wish that its machine knows, and touches nothing that is not ours.
    pub(crate) fn check_asked(
        &self,
        slot: usize,
        what: &SyncCall,
        wish: &Wish,
        seen: Option<&RemoteDevice>,
    ) -> Result<(), String> {
        let slot = &self.slots[slot];
        let wanted = wish.device.as_ref();
        match what {
            SyncCall::Create(_) if wanted.is_none() => Err("created what is not wanted".to_owned()),
            SyncCall::Look | SyncCall::Create(_) => Ok(()),
            SyncCall::Update(device) => {
                let (Some(wanted), Some(seen)) = (wanted, seen) else {
                    return Err("updated what is not wanted, or was not just seen".to_owned());
                };
                if **device == *seen {
                    return Err("updated what does not differ".to_owned());
                }
                let may = wish.force
                    || match owner(seen) {
                        Owner::Ours(id) => slot.device_ids.contains(&id),
                        Owner::Nobody => seen.application_id == wanted.application_id,
                    };
                may.then_some(())
                    .ok_or("took over what is not ours".to_owned())
            }
            SyncCall::Delete => {
                let is_ours = seen.is_some_and(|seen| is_ours(seen, &slot.device_ids));
                let was_begun = slot.row.as_ref().is_some_and(|row| row.begun);
                if wanted.is_some() || !is_ours || !was_begun {
                    return Err("deleted what is wanted, or not ours".to_owned());
                }
                Ok(())
            }
            SyncCall::SetKey { revision } => {
                let is_wanted =
                    wanted.is_some_and(|wanted| wanted.app_key_revision == Some(*revision));
                is_wanted
                    .then_some(())
                    .ok_or("set a key that is not wanted".to_owned())
            }
        }
    }

    /// When a call was carried out: what others have there is still theirs, unless they came between a look and
    /// what it led to, which ChirpStack's API cannot exclude.
    pub(crate) fn check_executed(&mut self, call: &Call) -> Result<(), String> {
        let slot = &mut self.slots[call.slot];
        let is_raced = slot.deeds != call.deeds;
        if is_raced && call.what != SyncCall::Look {
            self.tally.raced += 1;
        }
        match &call.what {
            SyncCall::Look => {}
            SyncCall::Create(device) => {
                slot.is_key_unknown = false;
                slot.theirs = Theirs {
                    join_eui: device.join_eui.as_u64(),
                    ..Theirs::default()
                };
                self.tally.created += 1;
            }
            SyncCall::Update(device) => {
                let wanted = call.wanted.as_ref().ok_or("an Update without a wish")?;
                self.tally.updated += 1;
                self.tally.adopted += u64::from(slot.theirs.device.is_some());
                if is_raced {
                    // Perhaps the device is another one now, with a key that no look shows.
                    slot.is_key_unknown |= slot.theirs.device.is_some();
                    slot.theirs = overwritten(device);
                }
                slot.theirs.device = None;
                slot.theirs.join_eui = device.join_eui.as_u64();
                slot.theirs.contest(wanted);
                slot.theirs
                    .tags
                    .retain(|name, _| !wanted.tags.contains_key(name));
                slot.theirs
                    .contested
                    .retain(|name, value| device.tags.get(name) == Some(value));
                is_as_wanted(device, wanted, &slot.theirs)?;
            }
            SyncCall::Delete => {
                if slot.theirs.device.is_some() && !is_raced {
                    return Err("deleted others' device".to_owned());
                }
                slot.theirs = Theirs::default();
                self.tally.deleted += 1;
            }
            SyncCall::SetKey { .. } => {
                self.tally.keys_set += 1;
                slot.is_key_unknown = false;
                if slot.theirs.device.is_some() {
                    if !is_raced {
                        return Err("set the key of others' device".to_owned());
                    }
                    let keys = self
                        .network
                        .registered(slot.dev_eui)
                        .and_then(|record| record.keys);
                    if let Some((_, theirs)) = &mut slot.theirs.device {
                        *theirs = keys;
                    }
                }
            }
        }
        Ok(())
    }

    /// When a machine says that a wish came true: it did.
    pub(crate) fn check_claim(&self, slot: usize, wish: &Wish) -> Result<(), String> {
        let slot = &self.slots[slot];
        let record = self.network.registered(slot.dev_eui);
        match &wish.device {
            None => check_absence(slot, record),
            Some(wanted) => check_presence(slot, record, wanted),
        }
        .map_err(|broken| format!("said to be in step: {broken}"))
    }

    /// When all has come to rest: ChirpStack holds what the registry and others want there, and nothing else.
    pub(crate) fn check_end(&self) -> Result<(), String> {
        for (index, slot) in self.slots.iter().enumerate() {
            self.check_slot(slot)
                .map_err(|broken| format!("in the end {index}: {broken}"))?;
        }
        let known: BTreeSet<_> = self.slots.iter().map(|slot| slot.dev_eui).collect();
        for record in self.network.devices() {
            let bystander = self.bystanders.get(&record.dev_eui);
            if !known.contains(&record.dev_eui) && bystander != Some(record) {
                return Err(format!("a bystander was changed: {record:?}"));
            }
        }
        let bystanders_are_there = self
            .bystanders
            .keys()
            .all(|dev_eui| self.network.registered(*dev_eui).is_some());
        bystanders_are_there
            .then_some(())
            .ok_or("a bystander is gone".to_owned())
    }

    fn check_slot(&self, slot: &Slot) -> Result<(), String> {
        let record = self.network.registered(slot.dev_eui);
        let Some(row) = &slot.row else {
            return check_others(slot, record);
        };
        let json = row.sync.as_ref().ok_or("nothing was stored")?;
        let sync: Sync = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let status = sync.status();
        match (&row.wish.device, status.state) {
            (Some(wanted), SyncState::Synced) => {
                if sync.is_known_present() {
                    check_presence(slot, record, wanted)
                } else {
                    Err("in step, but not known to be present".to_owned())
                }
            }
            (Some(wanted), SyncState::Conflict) => {
                check_others(slot, record)?;
                let (fields, _) = slot
                    .theirs
                    .device
                    .as_ref()
                    .ok_or("a conflict with nobody")?;
                let is_elsewhere = fields.application_id != wanted.application_id;
                let is_owned = fields.tags.contains_key(OWNER_TAG);
                (is_elsewhere || is_owned)
                    .then_some(())
                    .ok_or("a conflict without reason".to_owned())
            }
            (
                _,
                SyncState::Pending
                | SyncState::Synced
                | SyncState::Failing
                | SyncState::Conflict
                | SyncState::Rejected,
            ) => Err(format!("not at rest: {status:?}")),
        }
    }
}

enum Owner {
    Ours(DeviceId),
    Nobody,
}

/// Strangers' ids are never among ours.
fn owner(device: &RemoteDevice) -> Owner {
    match device.tags.get(OWNER_TAG) {
        None => Owner::Nobody,
        Some(tag) => Owner::Ours(tag.parse().expect("everybody writes ids")),
    }
}

fn is_ours(device: &RemoteDevice, ours: &BTreeSet<DeviceId>) -> bool {
    match owner(device) {
        Owner::Ours(id) => ours.contains(&id),
        Owner::Nobody => false,
    }
}

/// Others did something after what was written was read; it is lost.
fn overwritten(device: &RemoteDevice) -> Theirs {
    let mut tags = device.tags.clone();
    tags.remove(OWNER_TAG);
    Theirs {
        device: None,
        tags,
        contested: BTreeMap::new(),
        variables: device.variables.clone(),
        is_disabled: device.is_disabled,
        skip_fcnt_check: device.skip_fcnt_check,
        join_eui: device.join_eui.as_u64(),
    }
}

fn check_presence(
    slot: &Slot,
    record: Option<&DeviceRecord>,
    wanted: &WantedDevice,
) -> Result<(), String> {
    let record = record.ok_or("it is not there")?;
    is_as_wanted(
        &crate::calls::as_read(slot.dev_eui, &record.fields),
        wanted,
        &slot.theirs,
    )?;
    let Some(revision) = wanted.app_key_revision else {
        return Ok(());
    };
    let key = key(wanted.device_id, revision);
    if slot.is_key_unknown || record.keys.is_some_and(|keys| keys.nwk_key == key) {
        Ok(())
    } else {
        Err(format!("its key is {:?}", record.keys))
    }
}

fn check_absence(slot: &Slot, record: Option<&DeviceRecord>) -> Result<(), String> {
    let Some(record) = record else { return Ok(()) };
    let device = crate::calls::as_read(slot.dev_eui, &record.fields);
    if is_ours(&device, &slot.device_ids) {
        Err("ours is still there".to_owned())
    } else {
        Ok(())
    }
}

fn check_others(slot: &Slot, record: Option<&DeviceRecord>) -> Result<(), String> {
    let there = record.map(|record| (record.fields.clone(), record.keys));
    if there == slot.theirs.device {
        Ok(())
    } else {
        Err(format!(
            "there is {there:?}, others have {:?}",
            slot.theirs.device
        ))
    }
}

fn is_as_wanted(
    device: &RemoteDevice,
    wanted: &WantedDevice,
    theirs: &Theirs,
) -> Result<(), String> {
    let mut tags = theirs.tags.clone();
    for (name, value) in &theirs.contested {
        if device.tags.contains_key(name) {
            tags.insert(name.clone(), value.clone());
        }
    }
    tags.extend(wanted.tags.clone());
    tags.insert(OWNER_TAG.to_owned(), wanted.device_id.to_string());
    let expected = RemoteDevice {
        dev_eui: device.dev_eui,
        name: wanted.name.clone(),
        description: wanted.description.clone(),
        application_id: wanted.application_id,
        device_profile_id: wanted.device_profile_id,
        join_eui: wanted
            .join_eui
            .unwrap_or(downbeat_core::id::JoinEui::from_u64(theirs.join_eui)),
        is_disabled: theirs.is_disabled,
        skip_fcnt_check: theirs.skip_fcnt_check,
        tags,
        variables: theirs.variables.clone(),
    };
    if *device == expected {
        Ok(())
    } else {
        Err(format!("it is {device:?}\n  instead of {expected:?}"))
    }
}
