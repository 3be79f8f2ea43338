//! A world with everything in it, and the loop that lets it live.

mod happenings;
mod nonsense;
mod rest;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use downbeat_core::device::Event;
use downbeat_core::id::{DevAddr, DevEui};
use downbeat_core::network::{NetworkEvent, Uplink};
use downbeat_core::random::Random;
use downbeat_core::time::{ClockRecord, Steps, Timestamp};
use downbeat_sim::model::config::FIRST_DEV_EUI;
use downbeat_sim::model::{Network, Webhook};

use crate::actors::Actor;
use crate::agenda::Agenda;
use crate::cleaner::Cleaner;
use crate::jobs::{JobNews, JobRow, Jobs};
use crate::monitor::Monitor;
use crate::pool::{Answer, Call, Pool, ToPool};
use crate::promises::Promises;
use crate::registry::{Row, SyncRow};
use crate::scenario::{CallFaults, Happening, START, Scenario, StoreFaults};
use crate::syncer::Syncer;
use crate::tally::{Count, Tally};
use crate::telling::Telling;
use crate::writer::{Kept, Writer};

/// A world with everything in it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) network: Network,
    pub(crate) random: Random,
    pub(crate) now: Timestamp,
    /// What is planned, and for which process: what belongs to a dead one never happens.
    agenda: Agenda<(Option<u32>, Planned)>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) writer: Writer,
    pub(crate) pool: Pool,
    /// What was sent, as the store knows it.
    pub(crate) kept: Kept,
    /// Jobs as they are stored, and those in memory.
    pub(crate) jobs: Vec<JobRow>,
    pub(crate) runner: Jobs,
    pub(crate) monitor: Monitor,
    pub(crate) cleaner: Cleaner,
    pub(crate) syncer: Syncer,
    /// Number of the process.
    pub(crate) boot: u32,
    pub(crate) is_down: bool,
    pub(crate) database_up: bool,
    /// ChirpStack takes calls and answers none.
    pub(crate) server_hangs: bool,
    /// Since when it does not take our key.
    pub(crate) key_refused_since: Option<Timestamp>,
    /// Milliseconds that the system's clock is ahead.
    clock_ahead: i64,
    /// Milliseconds that it was ahead when the process began.
    steady_ahead: i64,
    /// What the process knows of its having been set.
    pub(crate) steps: Steps,
    /// What is kept of it, as long as the machine is up.
    clock_record: ClockRecord,
    /// Actions until the process dies.
    crash_in: Option<u64>,
    is_faulty: bool,
    pub(crate) calls: CallFaults,
    pub(crate) store: StoreFaults,
    has_looked_again: bool,
    rested_since: Option<Timestamp>,
    /// For how long there has been no rest since the faults' end while there was air.
    restless: Duration,
    /// What was to end by a clock that was set back since ends by then.
    set_back_until: Timestamp,
    is_over: bool,
    pub(crate) broken: Option<String>,
    pub(crate) tally: Tally,
    pub(crate) telling: Telling,
}

/// A lamp's `DevEUI`, and what is stored, in memory and promised of it.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) dev_eui: DevEui,
    pub(crate) row: Option<Row>,
    pub(crate) rows: u32,
    pub(crate) sync_row: Option<SyncRow>,
    pub(crate) sync_rows: u32,
    pub(crate) actor: Option<Actor>,
    pub(crate) lives: u32,
    pub(crate) promises: Promises,
    /// Others took our mark off the device in ChirpStack: what it has is theirs.
    pub(crate) is_disowned: bool,
    /// Webhooks that were told, the newest last.
    pub(crate) webhooks: VecDeque<NetworkEvent>,
    /// The last counter of each session that is stored as heard.
    counters: BTreeMap<DevAddr, u32>,
    /// Messages between the device and the pool stay in order.
    pub(crate) to_pool_until: Timestamp,
    pub(crate) from_pool_until: Timestamp,
}

#[derive(Debug)]
pub(crate) enum Planned {
    Happening(Box<Happening>),
    CallArrives(Box<Call>, Option<(Timestamp, u32)>),
    ProcessStarts,
    LookForRest,
    // What belongs to a process:
    Wake {
        slot: usize,
        life: u32,
        generation: u32,
    },
    /// A message for a device.
    Told {
        slot: usize,
        event: Box<Event>,
    },
    /// A webhook that is told again.
    Tell {
        slot: usize,
        event: Box<NetworkEvent>,
    },
    ToPool {
        slot: usize,
        message: ToPool,
    },
    PoolWakes(u32, u32),
    Recall(u32),
    Answered(Box<Answer>),
    CommitEnds,
    CommitFailed {
        slot: usize,
        life: u32,
    },
    MonitorTick,
    OfJob {
        job: usize,
        news: Box<JobNews>,
    },
    JobsStored,
    CleanerRound,
    CleanerLooks(usize),
    Restore(usize),
    SyncWanted,
    SyncPeriod,
    SyncsStored,
    SyncWakes,
}

impl World {
    pub(crate) fn new(scenario: Scenario, seed: u64, telling: Telling) -> Self {
        let network = Network::new(scenario.network.clone(), seed, START);
        let slots = network.lights().map(|light| Slot::new(light.dev_eui));
        let mut world = Self {
            slots: slots.collect(),
            network,
            random: Random::from_seed(seed ^ 0x0ff1_ce00),
            now: START,
            agenda: Agenda::default(),
            writer: Writer::default(),
            pool: Pool::new(0, scenario.pacing),
            kept: Kept::default(),
            jobs: Vec::new(),
            runner: Jobs::default(),
            monitor: Monitor::new(START),
            cleaner: Cleaner::default(),
            syncer: Syncer::default(),
            boot: 0,
            is_down: false,
            database_up: true,
            server_hangs: false,
            key_refused_since: None,
            clock_ahead: 0,
            steady_ahead: 0,
            steps: Steps::default(),
            clock_record: ClockRecord::of_boot(String::new()),
            crash_in: None,
            is_faulty: true,
            calls: scenario.calls,
            store: scenario.store,
            has_looked_again: false,
            rested_since: None,
            restless: Duration::ZERO,
            set_back_until: START,
            is_over: false,
            broken: None,
            tally: Tally::default(),
            telling,
            scenario,
        };
        for slot in 0..world.slots.len() {
            let mut random = Random::from_seed(world.random.next_u64());
            world.register(slot, &mut random);
        }
        for (at, happening) in std::mem::take(&mut world.scenario.happenings) {
            world.plan(at, Planned::Happening(Box::new(happening)));
        }
        world.on_process_starts();
        world
    }

    /// Lives until everything is at rest, or a promise is broken. Tells how much happened.
    pub(crate) fn live(mut self) -> Result<Tally, String> {
        while !self.is_over {
            self.live_on();
            if let Some(broken) = self.broken {
                let seconds = self.now.since(START).as_secs_f64();
                return Err(format!("{broken}, at {seconds:.3} s"));
            }
        }
        let millis = u64::try_from(self.now.since(START).as_millis()).expect("a short life");
        let devices = u64::try_from(self.slots.len()).expect("a few devices");
        self.tally.count_many(Count::DeviceMillis, millis * devices);
        Ok(self.tally)
    }

    /// Lives up to an instant, for who wants to look at the world then.
    pub(crate) fn live_until(&mut self, end: Timestamp) {
        while self.next_at() <= end {
            self.live_on();
            assert_eq!(self.broken, None, "at {}", self.now);
        }
        self.now = end;
    }

    fn next_at(&self) -> Timestamp {
        let next = [self.agenda.next_at(), self.network.next_event_at()];
        let next = next.into_iter().flatten().min();
        next.expect("the world goes on")
    }

    /// Lives through the next instant at which anything happens.
    fn live_on(&mut self) {
        self.now = self.now.max(self.next_at());
        for webhook in self.network.advance(self.now) {
            self.on_webhook(webhook);
        }
        while let Some((boot, planned)) = self.agenda.next_until(self.now) {
            if boot.is_none_or(|boot| boot == self.boot) {
                self.on_planned(planned);
            }
        }
    }

    pub(crate) fn plan(&mut self, at: Timestamp, planned: Planned) {
        self.agenda.plan(at, (None, planned));
    }

    /// Plans something of this process's.
    pub(crate) fn plan_mine(&mut self, at: Timestamp, planned: Planned) {
        self.agenda.plan(at, (Some(self.boot), planned));
    }

    /// What the process takes for the time.
    pub(crate) fn clock(&self) -> Timestamp {
        self.now.shifted(self.clock_ahead)
    }

    /// The same by a clock that is never set while the process runs.
    pub(crate) fn steady(&self) -> Timestamp {
        self.now.shifted(self.steady_ahead)
    }

    /// The system's clock is set.
    fn set_clock(&mut self, step_ms: i64) {
        self.clock_ahead += step_ms;
        let back = Duration::from_millis(u64::try_from(-step_ms).unwrap_or_default());
        self.set_back_until = self.set_back_until.max(self.now + back);
        if !self.is_down {
            self.steps.set(self.steady(), step_ms);
            self.note_clock();
        }
    }

    fn note_clock(&mut self) {
        self.clock_record.note(self.now.as_millis(), self.clock());
    }

    /// When a message arrives that must not overtake one that arrives at `after`.
    pub(crate) fn mail_at(&mut self, after: Timestamp) -> Timestamp {
        let delay = self.random.below(self.scenario.mail_delay_ms + 1);
        after.max(self.now + Duration::from_millis(delay))
    }

    /// A message for a device, in no order with others.
    pub(crate) fn mail(&mut self, slot: usize, event: Event) {
        let at = self.mail_at(self.now);
        let event = Box::new(event);
        self.plan_mine(at, Planned::Told { slot, event });
    }

    /// Keeps the first promise that was broken.
    pub(crate) fn check(&mut self, checked: Result<(), String>) {
        if let Err(broken) = checked {
            self.broken.get_or_insert(broken);
        }
    }

    fn on_planned(&mut self, planned: Planned) {
        match planned {
            Planned::Happening(happening) => self.on_happening(*happening),
            Planned::CallArrives(call, answer_at) => self.on_call_arrives(&call, answer_at),
            Planned::ProcessStarts => self.on_process_starts(),
            Planned::LookForRest => self.look_for_rest(),
            Planned::Wake {
                slot,
                life,
                generation,
            } => self.on_wake(slot, life, generation),
            Planned::Told { slot, event } => self.deliver(slot, *event),
            Planned::Tell { slot, event } => self.report(slot, event),
            Planned::ToPool { slot, message } => self.on_to_pool(slot, message),
            Planned::PoolWakes(pool, number) => self.on_pool_wakes(pool, number),
            Planned::Recall(pool) => self.on_recall(pool),
            Planned::Answered(answer) => self.on_answered(*answer),
            Planned::CommitEnds => self.on_commit_ends(),
            Planned::CommitFailed { slot, life } => self.on_commit_failed(slot, life),
            Planned::MonitorTick => self.on_monitor_tick(),
            Planned::OfJob { job, news } => self.on_news_of_job(job, *news),
            Planned::JobsStored => self.on_jobs_stored(),
            Planned::CleanerRound => self.on_cleaner_round(),
            Planned::CleanerLooks(slot) => self.on_cleaner_looks(slot),
            Planned::Restore(slot) => self.on_restore(slot),
            Planned::SyncWanted => self.on_sync_wanted(),
            Planned::SyncPeriod => self.on_sync_period(),
            Planned::SyncsStored => self.on_syncs_stored(),
            Planned::SyncWakes => self.on_sync_wakes(),
        }
    }

    fn on_webhook(&mut self, webhook: Webhook) {
        self.tally.count(Count::Webhooks);
        let slot = slot_of(webhook.dev_eui);
        let light = self.network.light(webhook.dev_eui).expect("a known lamp");
        let checked = self.slots[slot].promises.check_changes(light);
        self.check(checked.map_err(|broken| format!("device {slot}: {broken}")));
        if self.is_down {
            self.telling
                .of(self.now, slot, "lost", || format!("{:?}", webhook.event));
        } else {
            self.slots[slot].remember_webhook(&webhook.event);
            self.report(slot, Box::new(webhook.event));
        }
    }

    /// One more action of the process: it may be its last.
    pub(crate) fn dies(&mut self) -> bool {
        match &mut self.crash_in {
            Some(0) => self.crash(),
            Some(actions) => *actions -= 1,
            None => {}
        }
        self.is_down
    }

    /// Everything that is not stored is gone.
    fn crash(&mut self) {
        self.crash_in = None;
        if self.is_down {
            return;
        }
        self.tally.count(Count::Crashes);
        if self.database_up && self.random.chance(0.5) {
            // What was on its way to the database arrives there.
            self.store_batch();
        }
        let longest = [1_000, 10_000, 120_000][usize::try_from(self.random.below(3)).unwrap_or(0)];
        let until = self.now + Duration::from_millis(50 + self.random.below(longest));
        self.telling.all(self.now, "CRASH", || {
            format!("until {}", until.since(START).as_secs_f64())
        });
        self.boot += 1;
        self.is_down = true;
        self.slots.iter_mut().for_each(|slot| slot.actor = None);
        self.writer = Writer::default();
        self.pool = Pool::new(self.pool.number() + 1, self.scenario.pacing);
        self.syncer = Syncer::default();
        self.runner = Jobs::default();
        self.cleaner = Cleaner::default();
        self.plan(until, Planned::ProcessStarts);
    }

    /// Takes up what is stored.
    fn on_process_starts(&mut self) {
        if !self.database_up {
            let at = self.now + Duration::from_secs(1);
            return self.plan(at, Planned::ProcessStarts);
        }
        self.telling
            .all(self.now, "START", || "from what is stored");
        self.is_down = false;
        self.note_clock();
        (self.steady_ahead, self.steps) = (self.clock_ahead, self.clock_record.steps());
        self.monitor = Monitor::new(self.clock());
        self.recall_sent();
        for slot in 0..self.slots.len() {
            if self.slots[slot]
                .row
                .as_ref()
                .is_some_and(|row| row.unfinished)
            {
                let at = self.mail_at(self.now);
                self.plan_mine(at, Planned::Restore(slot));
            }
        }
        self.restore_jobs();
        self.plan_mine(self.now, Planned::MonitorTick);
        self.plan_mine(self.now, Planned::CleanerRound);
        self.plan_mine(self.now, Planned::SyncPeriod);
    }
}

/// The index of a lamp.
pub(crate) fn slot_of(dev_eui: DevEui) -> usize {
    usize::try_from(dev_eui.as_u64() - FIRST_DEV_EUI).expect("a known lamp")
}

/// Of the lamp at an index.
pub(crate) fn dev_eui_of(slot: usize) -> DevEui {
    DevEui::from_u64(FIRST_DEV_EUI + u64::try_from(slot).expect("a known lamp"))
}

/// Webhooks of a device that may be told once more.
const WEBHOOKS_MAX: usize = 24;

impl Slot {
    fn remember_webhook(&mut self, event: &NetworkEvent) {
        if self.webhooks.len() == WEBHOOKS_MAX {
            self.webhooks.pop_front();
        }
        self.webhooks.push_back(event.clone());
    }

    /// What an event told is stored.
    pub(crate) fn note_committed(&mut self, event: &NetworkEvent) {
        if let NetworkEvent::Heard(Uplink {
            dev_addr: Some(dev_addr),
            f_cnt,
            ..
        }) = event
            && *f_cnt < u32::MAX
        {
            let last = self.counters.entry(*dev_addr).or_default();
            *last = (*last).max(*f_cnt);
        }
    }

    /// Whether an event tells what is stored already.
    fn has_committed(&self, event: &NetworkEvent) -> bool {
        let NetworkEvent::Heard(uplink) = event else {
            return true;
        };
        let last = uplink.dev_addr.and_then(|it| self.counters.get(&it));
        uplink.f_cnt == u32::MAX || last.is_some_and(|last| uplink.f_cnt <= *last)
    }

    /// The device begins anew: nothing of it is stored.
    pub(crate) fn forget_webhooks(&mut self) {
        self.webhooks.clear();
        self.counters.clear();
    }

    fn new(dev_eui: DevEui) -> Self {
        Self {
            dev_eui,
            row: None,
            rows: 0,
            sync_row: None,
            sync_rows: 0,
            actor: None,
            lives: 0,
            promises: Promises::default(),
            is_disowned: false,
            webhooks: VecDeque::new(),
            counters: BTreeMap::new(),
            to_pool_until: START,
            from_pool_until: START,
        }
    }
}
