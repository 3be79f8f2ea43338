//! Changes of the registry's devices, many at once: what a batch has to know, and what it then writes.
//!
//! Each database reads what [`Plan::of`] asks for, carries out what the plan says, one statement for all rows of a kind,
//! and tells what came of it. All of it is one transaction, with each change's wishes and its audit entry.

use std::collections::{BTreeMap, BTreeSet};

use downbeat_actors::port::{AuditEntry, StoreError};
use downbeat_core::id::{DeviceId, DeviceKey, NetworkServerId, TenantId};
use downbeat_core::time::Timestamp;

use super::audit::Change;
use super::row::DeviceRow;
use super::wish::{NewWish, new_wishes, tell};
use super::{
    AppKeyChange, AppKeyState, By, Device, DeviceFields, DeviceSync, NewDevice, WriteDeviceError,
};

/// One change of one device, as somebody asked for it.
#[derive(Debug, Clone)]
pub(super) struct DeviceWrite {
    pub(super) by: By,
    pub(super) what: DeviceChangeWanted,
}

#[derive(Debug, Clone)]
pub(super) enum DeviceChangeWanted {
    Create(NewDevice),
    Update {
        id: DeviceId,
        fields: DeviceFields,
        app_key: AppKeyChange,
        version: Option<u32>,
        at: Timestamp,
    },
    Delete {
        id: DeviceId,
        version: Option<u32>,
        at: Timestamp,
        /// Not if anything is under way with it, which its actor would have to end before.
        only_resting: bool,
    },
}

/// What became of one change of a batch.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is done: the device as it is now, or as it was when it is deleted.
    Done(Box<Device>),
    /// It is not.
    Refused(WriteDeviceError),
    /// It goes in a transaction of its own: another change of the batch is about the same device.
    Apart,
}

/// What is known before a batch.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The devices that are to be changed or deleted, as far as the caller may see them.
    pub(super) devices: BTreeMap<DeviceId, Device>,
    /// Those of them that something is under way with.
    pub(super) unfinished: BTreeSet<DeviceId>,
    /// The tenants that get new ones, as far as there are such.
    pub(super) tenants: BTreeMap<TenantId, Room>,
}

impl Known {
    /// Notes devices as they are stored.
    pub(super) fn add_devices(&mut self, rows: Vec<DeviceRow>) -> Result<(), StoreError> {
        for row in rows {
            let is_unfinished = row.unfinished;
            let device = Device::try_from(row)?;
            self.unfinished.extend(is_unfinished.then_some(device.id));
            self.devices.insert(device.id, device);
        }
        Ok(())
    }
}

/// Where a tenant's new devices are, and how many it may still have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) server: NetworkServerId,
    /// `None`: as many as it likes.
    pub(super) left: Option<u64>,
}

/// A device that is changed.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) before: Device,
    pub(super) after: Device,
    pub(super) app_key: AppKeyChange,
}

impl Update {
    /// It is another thing on the air from now on.
    pub(super) fn has_other_dev_eui(&self) -> bool {
        self.before.fields.dev_eui != self.after.fields.dev_eui
    }
}

/// A wish as a row: newer than any before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WishRow {
    pub(super) key: DeviceKey,
    pub(super) tenant_id: TenantId,
    pub(super) device_id: DeviceId,
    /// An operator's decision holds until it is fulfilled.
    pub(super) keeps_force: bool,
    /// There is a wish of this device in that place already.
    pub(super) follows_own: bool,
}

/// What a batch writes.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    writes: &'a [DeviceWrite],
    outcomes: Vec<Option<Outcome>>,
    /// By the write's number, as all below.
    pub(super) inserts: BTreeMap<usize, (&'a NewDevice, Device)>,
    pub(super) updates: BTreeMap<usize, Update>,
    pub(super) deletes: BTreeMap<usize, Device>,
}

/// The devices that a batch has to know.
pub(super) fn device_ids(writes: &[DeviceWrite]) -> BTreeSet<DeviceId> {
    let id = |write: &DeviceWrite| match &write.what {
        DeviceChangeWanted::Create(_) => None,
        DeviceChangeWanted::Update { id, .. } | DeviceChangeWanted::Delete { id, .. } => Some(*id),
    };
    writes.iter().filter_map(id).collect()
}

/// The tenants that a batch has to know, with how many devices each is to get.
pub(super) fn tenants(writes: &[DeviceWrite]) -> BTreeMap<TenantId, u64> {
    let mut tenants = BTreeMap::new();
    for write in writes {
        if let DeviceChangeWanted::Create(new) = &write.what {
            *tenants.entry(new.tenant_id).or_default() += 1;
        }
    }
    tenants
}

impl<'a> Plan<'a> {
    pub(super) fn of(writes: &'a [DeviceWrite], mut known: Known) -> Self {
        let mut plan = Self {
            writes,
            outcomes: Vec::new(),
            inserts: BTreeMap::new(),
            updates: BTreeMap::new(),
            deletes: BTreeMap::new(),
        };
        let is_alone = writes.len() == 1;
        let (mut ids, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for (index, write) in writes.iter().enumerate() {
            let outcome = match plan.step(index, write, &mut known, is_alone) {
                Err(outcome) => Some(outcome),
                Ok(touched) if touched.is_free(&ids, &keys) => {
                    ids.insert(touched.id);
                    keys.extend(touched.key);
                    None
                }
                Ok(_) => {
                    plan.forget(index);
                    Some(Outcome::Apart)
                }
            };
            plan.outcomes.push(outcome);
        }
        plan
    }

    fn step(
        &mut self,
        index: usize,
        write: &'a DeviceWrite,
        known: &mut Known,
        is_alone: bool,
    ) -> Result<Touched, Outcome> {
        let refused = |error| Err(Outcome::Refused(error));
        match &write.what {
            DeviceChangeWanted::Create(new) => {
                let Some(room) = known.tenants.get_mut(&new.tenant_id) else {
                    return refused(WriteDeviceError::UnknownTenant);
                };
                match &mut room.left {
                    Some(0) => return refused(WriteDeviceError::TenantFull),
                    Some(left) => *left -= 1,
                    None => {}
                }
                let device = Device::registered(new, room.server);
                let touched = Touched::of(&device);
                self.inserts.insert(index, (new, device));
                Ok(touched)
            }
            DeviceChangeWanted::Update {
                id,
                fields,
                app_key,
                version,
                at,
            } => {
                let before = to_write(known, *id, *version)?;
                let after = before.changed(fields, *app_key, *at);
                let app_key = *app_key;
                let touched = Touched::of(&before);
                let update = Update {
                    before,
                    after,
                    app_key,
                };
                if update.has_other_dev_eui() && !is_alone {
                    return Err(Outcome::Apart);
                }
                self.updates.insert(index, update);
                Ok(touched)
            }
            DeviceChangeWanted::Delete {
                id,
                version,
                only_resting,
                ..
            } => {
                let before = to_write(known, *id, *version)?;
                if *only_resting && known.unfinished.contains(id) {
                    return refused(WriteDeviceError::UnderWay);
                }
                let touched = Touched::of(&before);
                self.deletes.insert(index, before);
                Ok(touched)
            }
        }
    }

    fn forget(&mut self, index: usize) {
        self.inserts.remove(&index);
        self.updates.remove(&index);
        self.deletes.remove(&index);
    }

    /// Those that were inserted; the `DevEUI`s of the others were taken.
    pub(super) fn inserted(&mut self, ids: &BTreeSet<DeviceId>) {
        let outcomes = &mut self.outcomes;
        self.inserts.retain(|index, (new, _)| {
            let is_there = ids.contains(&new.id);
            if !is_there && let Some(outcome) = outcomes.get_mut(*index) {
                *outcome = Some(Outcome::Refused(WriteDeviceError::DevEuiTaken));
            }
            is_there
        });
    }

    /// The wishes that the changes make, none twice about the same place but one after the other.
    pub(super) fn wishes(&self) -> Vec<WishRow> {
        let inserts = self
            .inserts
            .values()
            .map(|(_, device)| (None, device, new_wishes(None, Some(device), false)));
        let updates = self.updates.values().map(|update| {
            let app_key_changed = match update.app_key {
                AppKeyChange::Keep => false,
                AppKeyChange::Set(_) => true,
                AppKeyChange::Clear => update.before.app_key != AppKeyState::None,
            };
            let wishes = new_wishes(Some(&update.before), Some(&update.after), app_key_changed);
            (Some(&update.before), &update.after, wishes)
        });
        let deletes = self
            .deletes
            .values()
            .map(|device| (Some(device), device, new_wishes(Some(device), None, false)));
        inserts
            .chain(updates)
            .chain(deletes)
            .flat_map(|(before, device, wishes)| {
                wishes.into_iter().map(move |wish| {
                    let (key, keeps_force) = match wish {
                        NewWish::Present(key) | NewWish::Absent(key) => (key, false),
                        NewWish::Changed(key) => (key, true),
                    };
                    let own = before.filter(|before| before.sync.is_some());
                    WishRow {
                        key,
                        tenant_id: device.tenant_id,
                        device_id: device.id,
                        keeps_force,
                        follows_own: own.and_then(Device::key) == Some(key),
                    }
                })
            })
            .collect()
    }

    /// Where devices are on the air from now on that were not before: nobody is to claim them any more.
    pub(super) fn claimed(&self) -> Vec<DeviceKey> {
        let updates = self.updates.values();
        let moved = updates
            .filter(|update| update.has_other_dev_eui())
            .map(|update| &update.after);
        self.inserts
            .values()
            .map(|(_, device)| device)
            .chain(moved)
            .filter_map(Device::key)
            .collect()
    }

    /// The wishes as they were made.
    pub(super) fn wished(&mut self, made: &BTreeMap<DeviceKey, DeviceSync>) {
        let inserts = self.inserts.values_mut().map(|(_, device)| device);
        let updates = self.updates.values_mut().map(|update| &mut update.after);
        for device in inserts.chain(updates) {
            tell(device, made);
        }
    }

    /// What the audit log is to say.
    pub(super) fn audit(&self) -> Vec<AuditEntry> {
        let entry = |index: &usize, action, before: Option<&Device>, after: Option<&Device>| {
            let write = self.writes.get(*index)?;
            let at = write.at();
            let change = Change {
                by: &write.by,
                at,
                action,
            };
            Some(change.of_device(before, after))
        };
        let inserts = self
            .inserts
            .iter()
            .map(|(index, (_, device))| entry(index, "device.create", None, Some(device)));
        let updates = self.updates.iter().map(|(index, update)| {
            entry(
                index,
                "device.update",
                Some(&update.before),
                Some(&update.after),
            )
        });
        let deletes = self
            .deletes
            .iter()
            .map(|(index, device)| entry(index, "device.delete", Some(device), None));
        inserts.chain(updates).chain(deletes).flatten().collect()
    }

    /// What became of each change, in their order.
    pub(super) fn finish(mut self) -> Vec<Outcome> {
        for (index, (_, device)) in self.inserts {
            self.outcomes[index] = Some(Outcome::Done(Box::new(device)));
        }
        for (index, update) in self.updates {
            self.outcomes[index] = Some(Outcome::Done(Box::new(update.after)));
        }
        for (index, device) in self.deletes {
            self.outcomes[index] = Some(Outcome::Done(Box::new(device)));
        }
        // Each has an outcome or is in one of the three.
        let outcomes = self.outcomes.into_iter();
        outcomes
            .map(|outcome| outcome.unwrap_or(Outcome::Apart))
            .collect()
    }
}

impl DeviceWrite {
    fn at(&self) -> Timestamp {
        match &self.what {
            DeviceChangeWanted::Create(new) => new.created_at,
            DeviceChangeWanted::Update { at, .. } | DeviceChangeWanted::Delete { at, .. } => *at,
        }
    }
}

/// What a change is about: no two of a batch are about the same.
struct Touched {
    id: DeviceId,
    key: Option<DeviceKey>,
}

impl Touched {
    fn of(device: &Device) -> Self {
        Self {
            id: device.id,
            key: device.key(),
        }
    }

    fn is_free(&self, ids: &BTreeSet<DeviceId>, keys: &BTreeSet<DeviceKey>) -> bool {
        !ids.contains(&self.id) && self.key.is_none_or(|key| !keys.contains(&key))
    }
}

/// The device as it is, if the caller may write it and knows its version.
fn to_write(known: &Known, id: DeviceId, version: Option<u32>) -> Result<Device, Outcome> {
    let refused = Outcome::Refused;
    let device = known.devices.get(&id);
    let device = device.ok_or_else(|| refused(WriteDeviceError::UnknownDevice))?;
    if version.is_some_and(|version| version != device.version) {
        return Err(refused(WriteDeviceError::VersionMismatch {
            current: device.version,
        }));
    }
    Ok(device.clone())
}
