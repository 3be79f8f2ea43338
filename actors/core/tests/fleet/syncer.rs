//! Keeps ChirpStack's devices in step with the registry's: one machine a device that is not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use downbeat_core::device::Event;
use downbeat_core::pace::Pace;
use downbeat_core::sync::{Sync, SyncCall, SyncEffect, SyncEvent, SyncFailure};
use downbeat_core::time::Timestamp;
use downbeat_sim::model::{ApiFault, DeviceKeys};

use crate::pool::SyncRequest;
use crate::registry::{app_key, as_read, as_written};
use crate::tally::Count;
use crate::world::{Planned, World};

/// Calls under way at once at the most.
const CALLS_MAX: usize = 8;
/// Calls a second.
const CALLS_PER_SECOND: u32 = 20;
/// A call that decides from what was just read is not begun later than this after it was asked for.
const STALE_AFTER: Duration = Duration::from_secs(5);
/// A store that failed is asked again after this.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// The store is asked so often without any hint.
const PERIOD: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Syncer {
    entries: BTreeMap<usize, Entry>,
    pace: Pace,
    /// Asked for and not begun. Those that go stale come first.
    urgent: VecDeque<(SyncRequest, Timestamp)>,
    patient: VecDeque<(SyncRequest, Timestamp)>,
    calls: usize,
    is_away: bool,
    /// Devices whose machines are being stored.
    storing: Vec<(usize, u32, String)>,
    awaited: BTreeSet<usize>,
    alarm: Option<Timestamp>,
    /// The store is about to be asked.
    is_hinted: bool,
}

#[derive(Debug)]
struct Entry {
    /// The stored row that it belongs to.
    row: u32,
    machine: Sync,
    unstored: Option<String>,
    /// To be done when the machine is stored.
    effects: Vec<SyncEffect>,
    /// To be done when what is being stored now is.
    storing: Vec<SyncEffect>,
}

impl Default for Syncer {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            pace: Pace::per_second(CALLS_PER_SECOND),
            urgent: VecDeque::new(),
            patient: VecDeque::new(),
            calls: 0,
            is_away: false,
            storing: Vec::new(),
            awaited: BTreeSet::new(),
            alarm: None,
            is_hinted: false,
        }
    }
}

impl Syncer {
    pub(crate) fn is_awaited(&self, slot: usize) -> bool {
        self.awaited.contains(&slot)
    }

    pub(crate) fn set_away(&mut self, is_away: bool) {
        self.is_away = is_away;
    }

    fn has_calls(&self) -> bool {
        !self.urgent.is_empty() || !self.patient.is_empty()
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        self.entries.is_empty()
    }
}

impl World {
    /// A period has passed without a hint.
    pub(crate) fn on_sync_period(&mut self) {
        self.plan_mine(self.now + PERIOD, Planned::SyncPeriod);
        self.on_sync_wanted();
    }

    /// There is a new wish: the store is asked soon, once for many hints.
    pub(crate) fn hint_sync(&mut self) {
        if !std::mem::replace(&mut self.syncer.is_hinted, true) {
            let delay = Duration::from_millis(self.random.below(50));
            self.plan_mine(self.now + delay, Planned::SyncWanted);
        }
    }

    /// There may be new wishes: the store is asked.
    pub(crate) fn on_sync_wanted(&mut self) {
        self.syncer.is_hinted = false;
        if !self.database_up {
            return self.plan_mine(self.now + STORE_PAUSE, Planned::SyncWanted);
        }
        for slot in 0..self.slots.len() {
            if self.is_down {
                return;
            }
            let Some(row) = self.slots[slot].sync_row.as_ref().filter(|row| row.is_open) else {
                continue;
            };
            let generation = row.wish.generation;
            match self.syncer.entries.get(&slot) {
                Some(entry) if entry.machine.generation() == generation => continue,
                Some(_) => self.call_back(slot),
                None => self.take_up_sync(slot),
            }
            let wish = self.slots[slot].sync_row.as_ref().map(|row| &row.wish);
            if let Some(wish) = wish.cloned() {
                self.step_sync(slot, SyncEvent::Wanted(wish));
            }
        }
        self.advance_syncs();
    }

    fn take_up_sync(&mut self, slot: usize) {
        let (clock, seed) = (self.clock(), self.random.next_u64());
        let entry = &self.slots[slot];
        let Some(row) = &entry.sync_row else { return };
        let mut machine = match &row.machine {
            Some(json) => serde_json::from_str(json).expect("it can be read back"),
            None => Sync::new(entry.dev_eui, seed),
        };
        let effects = machine.restore(clock);
        self.syncer.entries.insert(
            slot,
            Entry {
                row: row.number,
                machine,
                unstored: None,
                effects,
                storing: Vec::new(),
            },
        );
    }

    /// A newer wish has come: a call for the older one that was not begun is not made.
    fn call_back(&mut self, slot: usize) {
        let take = |queue: &mut VecDeque<(SyncRequest, Timestamp)>| {
            let place = queue.iter().position(|(request, _)| request.slot == slot)?;
            queue.remove(place)
        };
        let syncer = &mut self.syncer;
        if let Some((request, _)) = take(&mut syncer.urgent).or_else(|| take(&mut syncer.patient)) {
            let event = request
                .what
                .failed(request.number, SyncFailure::Unavailable);
            self.step_sync(slot, event);
        }
    }

    fn step_sync(&mut self, slot: usize, event: SyncEvent) {
        if self.dies() {
            return;
        }
        let clock = self.clock();
        let Some(entry) = self.syncer.entries.get_mut(&slot) else {
            return;
        };
        self.telling
            .of(self.now, slot, "sync", || format!("{event:?}"));
        let was_settled = entry.machine.is_settled();
        let effects = entry.machine.step(clock, event);
        entry.effects.extend(effects);
        let machine = &entry.machine;
        if machine.is_settled() && !was_settled {
            self.tally.count(Count::Synchronised);
        }
        entry.unstored = Some(serde_json::to_string(machine).expect("it can be stored"));
        let is_awaited =
            machine.is_wanted() && !machine.is_known_present() && !machine.is_settled();
        let awaited = &mut self.syncer.awaited;
        let has_changed = if is_awaited {
            awaited.insert(slot)
        } else {
            awaited.remove(&slot)
        };
        if has_changed {
            self.deliver(slot, Event::Awaited(is_awaited));
        }
    }

    /// Stores what changed, begins calls, and sets the alarm.
    fn advance_syncs(&mut self) {
        if self.is_down {
            return;
        }
        self.wake_syncs();
        self.store_syncs();
        self.begin_sync_calls();
        let (clock, now) = (self.clock(), self.now);
        let wakes = self.syncer.entries.values();
        let wake = wakes.filter_map(|entry| entry.machine.next_wake()).min();
        let paced = self
            .syncer
            .has_calls()
            .then(|| clock + Duration::from_millis(50));
        let Some(at) = wake.into_iter().chain(paced).min() else {
            return;
        };
        let at = now + at.since(clock).max(Duration::from_millis(1));
        if self
            .syncer
            .alarm
            .is_none_or(|alarm| at < alarm || alarm <= now)
        {
            self.syncer.alarm = Some(at);
            self.plan_mine(at, Planned::SyncWakes);
        }
    }

    pub(crate) fn on_sync_wakes(&mut self) {
        if self.syncer.alarm.is_some_and(|alarm| alarm <= self.now) {
            self.syncer.alarm = None;
        }
        self.advance_syncs();
    }

    fn wake_syncs(&mut self) {
        let clock = self.clock();
        let due: Vec<usize> = self
            .syncer
            .entries
            .iter()
            .filter(|(_, entry)| entry.machine.next_wake().is_some_and(|wake| wake <= clock))
            .map(|(slot, _)| *slot)
            .collect();
        for slot in due {
            self.step_sync(slot, SyncEvent::Elapsed);
        }
    }

    fn store_syncs(&mut self) {
        if !self.syncer.storing.is_empty() {
            return;
        }
        for (slot, entry) in &mut self.syncer.entries {
            let Some(machine) = entry.unstored.take() else {
                continue;
            };
            entry.storing.append(&mut entry.effects);
            self.syncer.storing.push((*slot, entry.row, machine));
        }
        if !self.syncer.storing.is_empty() {
            let delay = Duration::from_millis(1 + self.random.below(8));
            self.plan_mine(self.now + delay, Planned::SyncsStored);
        }
    }

    pub(crate) fn on_syncs_stored(&mut self) {
        if self.dies() {
            return;
        }
        let is_stored = self.database_up && !self.random.chance(self.store.fails);
        let storing = std::mem::take(&mut self.syncer.storing);
        if !is_stored {
            return self.forget_syncs();
        }
        for (slot, row, machine) in &storing {
            self.store_sync(*slot, *row, machine.clone());
        }
        for (slot, ..) in storing {
            let Some(entry) = self.syncer.entries.get_mut(&slot) else {
                continue;
            };
            let effects = std::mem::take(&mut entry.storing);
            let is_over =
                entry.machine.is_settled() && entry.unstored.is_none() && effects.is_empty();
            for SyncEffect::Call { call, what } in effects {
                self.ask_for_call(slot, call, what);
            }
            if is_over {
                self.syncer.entries.remove(&slot);
            }
        }
        self.advance_syncs();
    }

    fn store_sync(&mut self, slot: usize, number: u32, machine: String) {
        let Some(entry) = self.syncer.entries.get(&slot) else {
            return;
        };
        let slot = &mut self.slots[slot];
        let Some(row) = slot.sync_row.as_mut().filter(|row| row.number == number) else {
            return;
        };
        let is_newest = entry.machine.generation() == row.wish.generation;
        if entry.machine.is_finished_tombstone() && entry.unstored.is_none() && is_newest {
            slot.sync_row = None;
            return;
        }
        row.machine = Some(machine);
        row.is_open = !is_newest || !entry.machine.is_settled() || entry.unstored.is_some();
    }

    fn ask_for_call(&mut self, slot: usize, number: u32, what: SyncCall) {
        let wish = self.slots[slot].sync_row.as_ref().map(|row| &row.wish);
        let device = wish.and_then(|wish| wish.device.as_ref());
        let key = device.map_or([0; 16], |device| app_key(device.device_id));
        let request = SyncRequest {
            slot,
            number,
            what,
            key,
        };
        let queue = if request.what.goes_stale() {
            &mut self.syncer.urgent
        } else {
            &mut self.syncer.patient
        };
        queue.push_back((request, self.now));
    }

    fn begin_sync_calls(&mut self) {
        while self.syncer.calls < CALLS_MAX && !self.syncer.is_away && !self.is_down {
            let urgent = self.syncer.urgent.front();
            if urgent.is_some_and(|(_, asked_at)| self.now.since(*asked_at) > STALE_AFTER) {
                if let Some((request, _)) = self.syncer.urgent.pop_front() {
                    let failure = SyncFailure::Unavailable;
                    let event = request.what.failed(request.number, failure);
                    self.step_sync(request.slot, event);
                }
                continue;
            }
            let clock = self.clock();
            if !self.syncer.has_calls() || self.syncer.pace.take(clock).is_err() {
                return;
            }
            let syncer = &mut self.syncer;
            let next = syncer.urgent.pop_front();
            let Some((request, _)) = next.or_else(|| syncer.patient.pop_front()) else {
                return;
            };
            self.syncer.calls += 1;
            self.call_for_sync(request);
        }
    }

    /// The store is ahead of what is here, or behind: take up what is stored. Answers that still come find nobody.
    pub(crate) fn forget_syncs(&mut self) {
        let Syncer {
            pace,
            is_away,
            awaited,
            ..
        } = std::mem::take(&mut self.syncer);
        self.syncer = Syncer {
            pace,
            is_away,
            awaited,
            is_hinted: true,
            ..Syncer::default()
        };
        self.plan_mine(self.now + STORE_PAUSE, Planned::SyncWanted);
    }

    pub(crate) fn on_sync_answer(&mut self, slot: usize, event: SyncEvent) {
        self.syncer.calls = self.syncer.calls.saturating_sub(1);
        self.step_sync(slot, event);
        self.advance_syncs();
    }

    pub(crate) fn on_server_returned(&mut self) {
        self.syncer.is_away = false;
        let slots: Vec<usize> = self.syncer.entries.keys().copied().collect();
        for slot in slots {
            self.step_sync(slot, SyncEvent::ServerReturned);
        }
        self.advance_syncs();
    }

    /// ChirpStack carries a call of the synchronisation out.
    pub(crate) fn execute_sync(&mut self, request: &SyncRequest) -> SyncEvent {
        let (now, dev_eui) = (self.now, self.slots[request.slot].dev_eui);
        let network = &mut self.network;
        let call = request.number;
        let done = match &request.what {
            SyncCall::Look => {
                let result = match network.device(dev_eui) {
                    Ok(record) => Ok(Some(as_read(dev_eui, &record.fields))),
                    Err(ApiFault::UnknownDevice) => Ok(None),
                    Err(fault) => Err(failure(&fault)),
                };
                return SyncEvent::Looked { call, result };
            }
            SyncCall::Create(device) => network.create_device(now, dev_eui, as_written(device)),
            SyncCall::Update(device) => network.update_device(now, dev_eui, as_written(device)),
            SyncCall::Delete => network.delete_device(now, dev_eui),
            SyncCall::SetKey { .. } => {
                let keys = DeviceKeys {
                    nwk_key: request.key,
                    ..DeviceKeys::default()
                };
                match network.update_keys(now, dev_eui, keys) {
                    Err(ApiFault::NotFound) => network.create_keys(now, dev_eui, keys),
                    result => result,
                }
            }
        };
        request
            .what
            .answered(call, done.map_err(|fault| failure(&fault)))
    }
}

fn failure(fault: &ApiFault) -> SyncFailure {
    match fault {
        ApiFault::Unavailable => SyncFailure::Unavailable,
        ApiFault::UnknownDevice => SyncFailure::UnknownDevice,
        ApiFault::Duplicate => SyncFailure::Refused(
            "duplicate key value violates unique constraint \"device_pkey\"".to_owned(),
        ),
        ApiFault::NotFound => SyncFailure::Refused("Object does not exist".to_owned()),
        ApiFault::Invalid(what) => SyncFailure::Invalid((*what).to_owned()),
    }
}
