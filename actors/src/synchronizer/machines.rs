//! The machines in memory: what of them is to be stored, and when they want to be woken.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use downbeat_core::id::{DevEui, DeviceKey, TenantId};
use downbeat_core::sync::{Sync, SyncEffect, SyncEvent};
use downbeat_core::time::Timestamp;

use crate::observe::{FeedBody, FeedEvent, SyncView};
use crate::port::SyncChange;
use crate::system::Shared;

/// One device's machine and what is to be done for it.
pub(super) struct Entry {
    tenant_id: TenantId,
    machine: Sync,
    /// The machine as it is stored, or is being stored.
    stored: Option<String>,
    /// The machine as it is to be stored.
    unstored: Option<String>,
    /// To be done when it is stored.
    effects: Vec<SyncEffect>,
    /// To be done when what is being stored now is.
    storing: Vec<SyncEffect>,
    is_storing: bool,
    wake: Option<Timestamp>,
    told: Option<SyncView>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Machines {
    entries: BTreeMap<DevEui, Entry>,
    wakes: BTreeSet<(Timestamp, DevEui)>,
    /// Those to be stored, in the order in which they became so.
    unstored: VecDeque<DevEui>,
}

/// What a machine is after a step.
pub(super) struct Stepped {
    /// It is not at the network server yet, and on its way there.
    pub(super) is_awaited: bool,
    /// To be done now.
    pub(super) effects: Vec<SyncEffect>,
}

/// What came of storing a machine.
pub(super) struct Stored {
    /// To be done now.
    pub(super) effects: Vec<SyncEffect>,
    /// The wish of this generation came true or was given up, and the machine is gone.
    pub(super) over: Option<u64>,
}

impl Machines {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many are to be stored.
    pub(super) fn unstored(&self) -> usize {
        self.unstored.len()
    }

    /// The generation of the wish that a machine is about.
    pub(super) fn generation(&self, dev_eui: DevEui) -> Option<u64> {
        let entry = self.entries.get(&dev_eui)?;
        Some(entry.machine.generation())
    }

    pub(super) fn dev_euis(&self) -> Vec<DevEui> {
        self.entries.keys().copied().collect()
    }

    /// Takes up a machine as it was stored.
    pub(super) fn insert(
        &mut self,
        dev_eui: DevEui,
        tenant_id: TenantId,
        machine: Sync,
        stored: Option<String>,
        effects: Vec<SyncEffect>,
    ) {
        let entry = Entry {
            tenant_id,
            machine,
            stored,
            unstored: None,
            effects,
            storing: Vec::new(),
            is_storing: false,
            wake: None,
            told: None,
        };
        self.entries.insert(dev_eui, entry);
    }

    /// Steps a machine; `None` if there is none.
    pub(super) fn step(
        &mut self,
        now: Timestamp,
        dev_eui: DevEui,
        event: SyncEvent,
    ) -> Option<Stepped> {
        let entry = self.entries.get_mut(&dev_eui)?;
        let effects = entry.machine.step(now, event);
        entry.effects.extend(effects);
        let state = serde_json::to_string(&entry.machine)
            .expect("the machine's maps have text keys and it holds no floats");
        let was_unstored = entry.unstored.is_some();
        entry.unstored = (entry.stored.as_ref() != Some(&state)).then_some(state);
        if entry.unstored.is_some() && !was_unstored {
            self.unstored.push_back(dev_eui);
        }
        let wake = entry.machine.next_wake();
        if wake != entry.wake {
            if let Some(wake) = entry.wake {
                self.wakes.remove(&(wake, dev_eui));
            }
            self.wakes.extend(wake.map(|wake| (wake, dev_eui)));
            entry.wake = wake;
        }
        Some(Stepped {
            is_awaited: entry.machine.is_wanted()
                && !entry.machine.is_known_present()
                && !entry.machine.is_settled(),
            effects: entry.released(),
        })
    }

    /// When the first of them wants to be woken.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// One that wants to be woken; whoever asks steps it.
    pub(super) fn due(&mut self, now: Timestamp) -> Option<DevEui> {
        let (at, dev_eui) = *self.wakes.first().filter(|(at, _)| *at <= now)?;
        self.wakes.remove(&(at, dev_eui));
        if let Some(entry) = self.entries.get_mut(&dev_eui) {
            entry.wake = None;
        }
        Some(dev_eui)
    }

    /// Takes what is to be stored next, so many at the most, and whose it is.
    pub(super) fn take_unstored(
        &mut self,
        now: Timestamp,
        max: usize,
        key: impl Fn(DevEui) -> DeviceKey,
    ) -> (Vec<DevEui>, Vec<SyncChange>) {
        let (mut devices, mut changes) = (Vec::new(), Vec::new());
        while changes.len() < max
            && let Some(dev_eui) = self.unstored.pop_front()
        {
            // It may have become what is stored again.
            if let Some(entry) = self.entries.get_mut(&dev_eui)
                && let Some(machine) = entry.unstored.take()
            {
                entry.storing.append(&mut entry.effects);
                entry.stored = Some(machine.clone());
                entry.is_storing = true;
                devices.push(dev_eui);
                changes.push(entry.change(key(dev_eui), machine, now));
            }
        }
        (devices, changes)
    }

    /// A machine's change is stored; `None` if it is gone.
    pub(super) fn stored(
        &mut self,
        shared: &Shared,
        now: Timestamp,
        dev_eui: DevEui,
    ) -> Option<Stored> {
        let entry = self.entries.get_mut(&dev_eui)?;
        entry.is_storing = false;
        entry.tell(shared, dev_eui, now);
        let mut effects = std::mem::take(&mut entry.storing);
        let is_over = entry.machine.is_settled() && entry.unstored.is_none() && effects.is_empty();
        if is_over {
            let over = Some(entry.machine.generation());
            self.entries.remove(&dev_eui);
            return Some(Stored { effects, over });
        }
        effects.extend(entry.released());
        Some(Stored {
            effects,
            over: None,
        })
    }
}

impl Entry {
    /// What needs no storing, or no more, is done at once.
    fn released(&mut self) -> Vec<SyncEffect> {
        if self.unstored.is_some() || self.is_storing {
            return Vec::new();
        }
        std::mem::take(&mut self.effects)
    }

    fn change(&self, key: DeviceKey, machine: String, at: Timestamp) -> SyncChange {
        SyncChange {
            key,
            machine,
            generation: self.machine.generation(),
            synced_generation: self.machine.synced_generation(),
            status: self.machine.status(),
            unfinished: !self.machine.is_settled(),
            gone: self.machine.is_finished_tombstone(),
            at,
        }
    }

    /// Tells all who watch, if there is news.
    fn tell(&mut self, shared: &Shared, dev_eui: DevEui, at: Timestamp) {
        let Some(device_id) = self.machine.wanted_device_id() else {
            return;
        };
        let view = SyncView {
            device_id,
            dev_eui,
            is_synced: self.machine.synced_generation() == self.machine.generation(),
            status: self.machine.status(),
        };
        if self.told.as_ref() != Some(&view) {
            self.told = Some(view.clone());
            shared.feed.publish(FeedEvent {
                at,
                tenant_id: Some(self.tenant_id),
                body: FeedBody::Sync(view),
            });
        }
    }
}
