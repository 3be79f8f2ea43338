//! The shell around the machines: stores, calls, crashes, takes up work again.

mod storing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use downbeat_core::id::{DevEui, DeviceId};
use downbeat_core::random::Random;
use downbeat_core::sync::{Sync, SyncEvent, SyncState, Wish};
use downbeat_core::time::Timestamp;
use downbeat_sim::model::config::NetworkConfig;
use downbeat_sim::model::{DeviceFields, DeviceRecord, Network};

use crate::calls::{Answer, Call};
use crate::others::{self, Theirs};
use crate::registry::{self, INVALID_NAME, Row};
use crate::scenario::{Happening, START, Scenario, WishChange};
use crate::tally::Tally;
use crate::trace::Trace;

/// How long the world may take to come to rest after the faults.
const REST_MAX: Duration = Duration::from_hours(2);
/// Steps of one machine at one instant.
const STEPS_MAX: u32 = 20;

/// A world with everything in it.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) scenario: Scenario,
    pub(crate) network: Network,
    pub(crate) random: Random,
    pub(crate) now: Timestamp,
    /// Milliseconds that the process's clock is ahead.
    clock_ahead: i64,
    agenda: BTreeMap<(Timestamp, u64), Planned>,
    planned: u64,
    pub(crate) slots: Vec<Slot>,
    /// Devices that nobody here ever wanted.
    pub(crate) bystanders: BTreeMap<DevEui, DeviceRecord>,
    /// Calls that were not begun, in the order asked.
    pub(crate) pool: VecDeque<Call>,
    pub(crate) call_allowed_at: Timestamp,
    /// Until when a call may be carried out of which nobody will know.
    pub(crate) lost_until: Timestamp,
    /// The process is down.
    is_down: bool,
    pub(crate) faulty: bool,
    pub(crate) tally: Tally,
    pub(crate) trace: Trace,
}

/// A `DevEUI`, and what is stored and in memory of it.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) dev_eui: DevEui,
    pub(crate) row: Option<Row>,
    /// Rows so far.
    rows: u32,
    /// Wishes of the row, by generation.
    wishes: BTreeMap<u64, Wish>,
    sync: Option<Sync>,
    /// A machine that is taken up again is another life.
    life: u32,
    steps: (Timestamp, u32),
    pub(crate) device_ids: BTreeSet<DeviceId>,
    pub(crate) theirs: Theirs,
    /// What others did here, counted.
    pub(crate) deeds: u64,
    /// Others replaced the device in the moment between a look and the Update that made it ours.
    pub(crate) is_key_unknown: bool,
}

#[derive(Debug)]
pub(crate) enum Planned {
    Happening(Happening),
    /// A wish of a row reaches its machine, or the word that there is a new one.
    Hint(usize, u32, Option<Wish>),
    Tell(Answer),
    ServerReturned,
    /// ChirpStack carries a call out, and answers then or never.
    Execute(Call, Option<Timestamp>),
    ServerStarts,
    ProcessStarts,
    ProcessIsKilled,
}

impl Shell {
    pub(crate) fn new(seed: u64, trace: Trace) -> Self {
        let scenario = Scenario::new(seed);
        let mut network = Network::new(NetworkConfig::default(), seed, START);
        let slots = (0..scenario.slots)
            .map(|slot| Slot::new(eui(slot)))
            .collect();
        for number in 100..102 {
            let fields = DeviceFields {
                name: "bystander".to_owned(),
                application_id: registry::APPLICATIONS[0],
                ..DeviceFields::default()
            };
            network
                .create_device(START, eui(number), fields)
                .expect("a fresh server");
        }
        let bystanders = network
            .devices()
            .map(|record| (record.dev_eui, record.clone()))
            .collect();
        let mut shell = Self {
            network,
            random: Random::from_seed(seed ^ 0x0ff1_ce00),
            now: START,
            clock_ahead: 0,
            agenda: BTreeMap::new(),
            planned: 0,
            slots,
            bystanders,
            pool: VecDeque::new(),
            call_allowed_at: START,
            lost_until: START,
            is_down: false,
            faulty: true,
            tally: Tally::default(),
            trace,
            scenario,
        };
        for (at, happening) in std::mem::take(&mut shell.scenario.happenings) {
            shell.plan(at, Planned::Happening(happening));
        }
        shell
    }

    /// Lives until everything is at rest, or a promise is broken. Tells how much happened.
    pub(crate) fn live(mut self) -> Result<Tally, String> {
        let lived = self.live_and_rest();
        lived.map_err(|broken| {
            for slot in &self.slots {
                self.trace
                    .line(self.now, "stored", || format!("{:?}", slot.row));
            }
            format!("{broken}, at {:.3} s", self.now.since(START).as_secs_f64())
        })?;
        Ok(self.tally)
    }

    fn live_and_rest(&mut self) -> Result<(), String> {
        loop {
            let next_at = self.next_at();
            if self.faulty && next_at.is_none_or(|at| at > self.scenario.faults_end) {
                self.now = self.scenario.faults_end.max(self.now);
                self.end_faults();
                continue;
            }
            let Some(next_at) = next_at else {
                return self.check_end();
            };
            self.now = self.now.max(next_at);
            if self.now > self.scenario.faults_end + REST_MAX {
                return Err("no rest".to_owned());
            }
            self.live_this_instant()?;
        }
    }

    fn next_at(&self) -> Option<Timestamp> {
        let planned = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let wakes = self.slots.iter().filter_map(|slot| self.wake_of(slot));
        wakes.chain(planned).chain(self.next_call_at()).min()
    }

    /// When a machine wants to be woken, by the world's time.
    fn wake_of(&self, slot: &Slot) -> Option<Timestamp> {
        let wake = slot.sync.as_ref()?.next_wake()?;
        Some(shifted(wake, -self.clock_ahead))
    }

    /// What the process takes for the time.
    fn clock(&self) -> Timestamp {
        shifted(self.now, self.clock_ahead)
    }

    fn live_this_instant(&mut self) -> Result<(), String> {
        while let Some(entry) = self
            .agenda
            .first_entry()
            .filter(|entry| entry.key().0 <= self.now)
        {
            let planned = entry.remove();
            self.on_planned(planned)?;
        }
        for slot in 0..self.slots.len() {
            while self
                .wake_of(&self.slots[slot])
                .is_some_and(|wake| wake <= self.now)
            {
                self.step(slot, SyncEvent::Elapsed, None)?;
            }
        }
        self.begin_calls();
        Ok(())
    }

    pub(crate) fn plan(&mut self, at: Timestamp, planned: Planned) {
        self.planned += 1;
        self.agenda.insert((at, self.planned), planned);
    }

    fn on_planned(&mut self, planned: Planned) -> Result<(), String> {
        match planned {
            Planned::Happening(happening) => self.on_happening(happening),
            Planned::Hint(slot, row, wish) => self.on_hint(slot, row, wish),
            Planned::Tell(answer) => self.on_answer(answer),
            Planned::ServerReturned => self.tell_all(&SyncEvent::ServerReturned),
            Planned::Execute(call, answer_at) => self.on_execute(&call, answer_at),
            Planned::ServerStarts => {
                self.start_server();
                Ok(())
            }
            Planned::ProcessStarts => self.on_process_starts(),
            Planned::ProcessIsKilled => {
                if self.faulty && !self.is_down {
                    self.crash();
                }
                Ok(())
            }
        }
    }

    fn on_happening(&mut self, happening: Happening) -> Result<(), String> {
        self.trace
            .line(self.now, "world", || format!("{happening:?}"));
        match happening {
            Happening::Wish(slot, change, decide) => self.change_wish(slot, change, decide),
            Happening::Others(index, deed, decide) => {
                let slot = &mut self.slots[index];
                let done = others::act(
                    &mut self.network,
                    self.now,
                    slot.dev_eui,
                    &mut slot.theirs,
                    deed,
                    decide,
                );
                slot.deeds += u64::from(done);
            }
            Happening::ServerStops(outage) => {
                self.network.set_server_up(self.now, false);
                self.plan(self.now + outage, Planned::ServerStarts);
            }
            // A lost call has its time by the clock; nothing tells how much of it passed when that is set.
            Happening::ClockIsSet(step) if self.lost_until < self.now => {
                self.clock_ahead += step;
                self.tell_all(&SyncEvent::Elapsed)?;
            }
            Happening::ClockIsSet(_) => {}
            Happening::ActorRestarts(slot) => {
                if self.slots[slot].sync.take().is_some() {
                    self.pool.retain(|call| call.slot != slot);
                    self.lost_until = self.lost_until.max(self.now);
                    self.take_up(slot)?;
                }
            }
        }
        Ok(())
    }

    /// The registry's change is committed; the machine hears of it by and by.
    fn change_wish(&mut self, index: usize, change: WishChange, decide: u64) {
        let slot = &mut self.slots[index];
        let is_new_row = slot.row.is_none();
        if !registry::change(&mut slot.row, &mut slot.rows, change, decide) {
            return;
        }
        let row = slot.row.as_ref().expect("it was changed");
        if is_new_row {
            slot.wishes.clear();
        }
        let (number, wish) = (row.number, row.wish.clone());
        slot.wishes.insert(wish.generation, wish.clone());
        if let Some(wanted) = &wish.device {
            slot.device_ids.insert(wanted.device_id);
            slot.theirs.contest(wanted);
        }
        let told = self.random.chance(0.3).then_some(wish);
        let delay = if self.random.chance(0.2) { 3_000 } else { 20 };
        let at = self.now + Duration::from_millis(self.random.below(delay));
        self.plan(at, Planned::Hint(index, number, told));
    }

    fn on_hint(&mut self, index: usize, number: u32, told: Option<Wish>) -> Result<(), String> {
        let slot = &self.slots[index];
        let Some(row) = slot.row.as_ref().filter(|row| row.number == number) else {
            return Ok(());
        };
        if self.is_down {
            return Ok(());
        }
        let wish = told.unwrap_or_else(|| row.wish.clone());
        if slot.sync.is_none() {
            return self.take_up(index);
        }
        self.step(index, SyncEvent::Wanted(wish), None)?;
        if self.scenario.takes_back_calls
            && let Some(position) = self.pool.iter().position(|call| call.slot == index)
        {
            let call = self.pool.remove(position).expect("it was found");
            let event = crate::calls::taken_back(&call);
            let answer = Answer {
                slot: index,
                row: call.row,
                life: call.life,
                event,
                deeds: call.deeds,
            };
            self.plan(self.now, Planned::Tell(answer));
        }
        Ok(())
    }

    fn on_answer(&mut self, answer: Answer) -> Result<(), String> {
        let slot = &self.slots[answer.slot];
        let is_for_row = slot
            .row
            .as_ref()
            .is_some_and(|row| row.number == answer.row);
        let is_for_life = !self.scenario.early_looks || slot.life == answer.life;
        if slot.sync.is_none() || !is_for_row || !is_for_life {
            return Ok(());
        }
        self.step(answer.slot, answer.event, Some(answer.deeds))
    }

    fn tell_all(&mut self, event: &SyncEvent) -> Result<(), String> {
        for slot in 0..self.slots.len() {
            if self.slots[slot].sync.is_some() {
                self.step(slot, event.clone(), None)?;
            }
        }
        Ok(())
    }

    fn start_server(&mut self) {
        self.trace.line(self.now, "world", || "server starts");
        self.network.set_server_up(self.now, true);
        let at = self.now + Duration::from_millis(self.random.below(1_000));
        self.plan(at, Planned::ServerReturned);
    }

    /// What an actor does with a message: step, store, then make the calls. Any moment may be the process's last.
    fn step(&mut self, slot: usize, event: SyncEvent, deeds: Option<u64>) -> Result<(), String> {
        self.tally.steps += 1;
        self.count_steps(slot)?;
        self.trace
            .line(self.now, "event", || format!("{slot} {}", told(&event)));
        let clock = self.clock();
        let seen = match &event {
            SyncEvent::Looked {
                result: Ok(Some(device)),
                ..
            } => Some(device.clone()),
            SyncEvent::Looked { .. }
            | SyncEvent::Wanted(_)
            | SyncEvent::Created { .. }
            | SyncEvent::Updated { .. }
            | SyncEvent::Deleted { .. }
            | SyncEvent::KeySet { .. }
            | SyncEvent::ServerReturned
            | SyncEvent::Elapsed => None,
        };
        let sync = self.slots[slot].sync.as_mut().expect("it is in memory");
        let was_settled = sync.is_settled();
        let effects = sync.step(clock, event);
        if !was_settled && sync.is_settled() {
            self.on_settled(slot, deeds)?;
        }
        self.store_and_call(slot, effects, seen.as_ref(), deeds)
    }

    fn count_steps(&mut self, slot: usize) -> Result<(), String> {
        let steps = &mut self.slots[slot].steps;
        *steps = if steps.0 == self.now {
            (self.now, steps.1 + 1)
        } else {
            (self.now, 1)
        };
        (steps.1 <= STEPS_MAX)
            .then_some(())
            .ok_or("a machine steps again and again".to_owned())
    }

    fn on_settled(&mut self, index: usize, deeds: Option<u64>) -> Result<(), String> {
        let slot = &self.slots[index];
        let sync = slot.sync.as_ref().expect("it is in memory");
        let status = sync.status();
        self.trace.line(self.now, "settled", || {
            format!("{index} {:?} {:?}", status.state, status.error)
        });
        match status.state {
            SyncState::Conflict => self.tally.conflicts += 1,
            SyncState::Rejected => self.tally.rejections += 1,
            SyncState::Synced if deeds.is_none_or(|deeds| deeds == slot.deeds) => {
                self.check_claim(index, &slot.wishes[&sync.generation()])?;
                self.tally.claims_checked += 1;
            }
            SyncState::Synced | SyncState::Pending | SyncState::Failing => {}
        }
        Ok(())
    }

    /// From now on all is well, and everything is looked at once more.
    fn end_faults(&mut self) {
        self.trace.line(self.now, "world", || "faults end");
        self.faulty = false;
        if !self.network.is_server_up() {
            self.start_server();
        }
        for slot in 0..self.slots.len() {
            let device = self.slots[slot]
                .row
                .as_ref()
                .and_then(|row| row.wish.device.as_ref());
            let is_invalid = device.is_some_and(|device| device.name == INVALID_NAME);
            let change = if is_invalid {
                WishChange::Rename
            } else {
                WishChange::LookAgain
            };
            let decide = self.random.next_u64();
            self.change_wish(slot, change, decide);
        }
    }
}

impl Slot {
    fn new(dev_eui: DevEui) -> Self {
        Self {
            dev_eui,
            row: None,
            rows: 0,
            wishes: BTreeMap::new(),
            sync: None,
            life: 0,
            steps: (START, 0),
            device_ids: BTreeSet::new(),
            theirs: Theirs::default(),
            deeds: 0,
            is_key_unknown: false,
        }
    }
}

fn eui(number: usize) -> DevEui {
    DevEui::from_u64(0x70b3_d57e_d000_0000 + u64::try_from(number).expect("a small number"))
}

fn shifted(at: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(at.as_millis() + millis)
}

fn told(event: &SyncEvent) -> String {
    match event {
        SyncEvent::Looked {
            call,
            result: Ok(Some(device)),
        } => {
            format!("looked #{call} {}", crate::calls::in_words(device))
        }
        SyncEvent::Wanted(wish) => match &wish.device {
            None => format!("wanted {}: nothing", wish.generation),
            Some(device) => format!(
                "wanted {}: {:?} in {} {:?} key {:?} force {}",
                wish.generation,
                device.name,
                device.application_id.as_u128() & 0xff,
                device.tags,
                device.app_key_revision,
                wish.force
            ),
        },
        SyncEvent::Looked { .. }
        | SyncEvent::Created { .. }
        | SyncEvent::Updated { .. }
        | SyncEvent::Deleted { .. }
        | SyncEvent::KeySet { .. }
        | SyncEvent::ServerReturned
        | SyncEvent::Elapsed => format!("{event:?}"),
    }
}
