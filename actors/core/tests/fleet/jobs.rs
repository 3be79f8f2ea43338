//! Jobs: one command to many devices. What a job's machine decides is stored first, then devices are told; their own
//! actors do the rest, and what they commit is told to the job.

use std::collections::BTreeMap;
use std::time::Duration;

use downbeat_core::device::{Admission, Downlink, DownlinkState, Event as DeviceEvent, Origin};
use downbeat_core::id::{DeviceKey, DownlinkId, JobId, NetworkServerId};
use downbeat_core::job::{
    Candidate, Change, Counts, Effect, Event, Item, ItemState, Job, JobLimits, JobState, Known,
    Plan, PlannedTime, Refusal, TakenUp, Telling, spread,
};
use downbeat_core::light::LightState;
use downbeat_core::pacer::Hearing;
use downbeat_core::radio::{DeviceClass, Modulation};
use downbeat_core::time::Timestamp;
use uuid::Uuid;

use crate::actors::{Asked, tenant_of};
use crate::scenario::Order;
use crate::tally::Count;
use crate::world::{Planned, World};

/// A store that failed is asked again after this.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// Within this a device commits what it was handed before its job was held up: a message, and a commit that is tried four
/// times, each of them slow.
const HANDED_OVER: Duration = Duration::from_secs(30);

/// A job as it is stored.
#[derive(Debug)]
pub(crate) struct JobRow {
    order: Order,
    created_at: Timestamp,
    state: JobState,
    /// Since when it is so stored, by the world's time.
    since: Timestamp,
    counts: Counts,
    planned: PlannedTime,
    gateways: usize,
    spent: Duration,
    attempts: u64,
    finished_at: Option<Timestamp>,
    items: Vec<ItemRow>,
}

#[derive(Debug)]
struct ItemRow {
    slot: usize,
    downlink_id: DownlinkId,
    state: ItemState,
    handed_over_at: Timestamp,
}

/// What is wanted of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobCommand {
    Pause,
    Resume,
    Cancel,
}

/// What a job hears.
#[derive(Debug)]
pub(crate) enum JobNews {
    /// It is to be taken up as it is stored.
    TakeUp,
    /// Proofs whose news a crash overtook are looked for.
    FindLate,
    /// Its waiting items behind a place are to be read.
    Read(Option<u32>, u32),
    /// A device is to be told.
    Ask(Item),
    /// A device is to forget it.
    Withdraw(Item),
    Happened(Event),
    Wake(u32),
}

/// Jobs in memory.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    live: BTreeMap<usize, Live>,
    /// What is being stored.
    storing: Vec<(usize, Stored)>,
    alarms: u32,
}

#[derive(Debug)]
struct Live {
    machine: Job,
    changes: Vec<Change>,
    cancels_waiting: bool,
    effects: Vec<Effect>,
    /// As it was last given to be stored.
    given: (JobState, Option<Timestamp>),
}

#[derive(Debug)]
struct Stored {
    changes: Vec<Change>,
    cancels_waiting: bool,
    state: JobState,
    counts: Counts,
    spent: Duration,
    attempts: u64,
    finished_at: Option<Timestamp>,
    /// To be done afterwards.
    effects: Vec<Effect>,
}

impl Live {
    fn note(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Store(change) => self.changes.push(change),
                Effect::CancelWaiting => self.cancels_waiting = true,
                Effect::HandOver(_) | Effect::Withdraw(_) | Effect::Read { .. } => {
                    self.effects.push(effect);
                }
            }
        }
    }

    fn has_changed(&self) -> bool {
        !self.changes.is_empty()
            || self.cancels_waiting
            || self.given != (self.machine.state(), self.machine.finished_at())
    }

    fn take(&mut self, now: Timestamp) -> Stored {
        self.given = (self.machine.state(), self.machine.finished_at());
        Stored {
            changes: std::mem::take(&mut self.changes),
            cancels_waiting: std::mem::take(&mut self.cancels_waiting),
            state: self.machine.state(),
            counts: *self.machine.counts(),
            spent: self.machine.spent(now),
            attempts: self.machine.attempts(),
            finished_at: self.machine.finished_at(),
            effects: std::mem::take(&mut self.effects),
        }
    }
}

fn job_id(job: usize) -> JobId {
    JobId::from_uuid(Uuid::from_u128(
        1 + u128::try_from(job).expect("a few jobs"),
    ))
}

/// Which job a downlink belongs to.
fn job_of(origin: Origin) -> Option<usize> {
    let number = origin.job()?.as_uuid().as_u128().checked_sub(1)?;
    usize::try_from(number).ok()
}

impl World {
    /// Somebody wants a light of all devices of a tenant.
    pub(crate) fn begin_job(&mut self, light: LightState, tenant: usize) {
        let of_tenant =
            |slot: &usize| tenant_of(*slot) == tenant_of(tenant) && self.slots[*slot].row.is_some();
        let slots: Vec<usize> = (0..self.slots.len()).filter(of_tenant).collect();
        if self.is_down || !self.database_up || slots.is_empty() {
            return self.tally.count(Count::Refused);
        }
        let candidates: Vec<Candidate> = slots.iter().map(|it| self.candidate(*it)).collect();
        let telling = Telling {
            payload_lens: vec![5],
            priority: downbeat_core::device::Priority::Bulk,
            stagger: Duration::ZERO,
        };
        let plan = Plan::of(&candidates, &telling, &self.airtime());
        let gateways: Vec<_> = candidates.iter().map(Candidate::gateway).collect();
        let items: Vec<ItemRow> = spread(&gateways)
            .into_iter()
            .map(|place| ItemRow {
                slot: slots[place],
                downlink_id: DownlinkId::from_uuid(self.random.uuid_v7(self.now)),
                state: ItemState::Waiting,
                handed_over_at: self.now,
            })
            .collect();
        let mut counts = Counts::default();
        counts.add(ItemState::Waiting, plan.devices);
        let job = self.jobs.len();
        self.tally.count(Count::Jobs);
        self.jobs.push(JobRow {
            order: Order::of_job(light),
            created_at: self.clock(),
            state: JobState::Running,
            since: self.now,
            counts,
            planned: plan.planned(),
            gateways: plan.gateways.len(),
            spent: Duration::ZERO,
            attempts: 0,
            finished_at: None,
            items,
        });
        self.tell_job(job, JobNews::TakeUp);
    }

    fn candidate(&self, slot: usize) -> Candidate {
        let row = self.slots[slot].row.as_ref();
        let state = row.and_then(|row| row.state.as_ref());
        let uplink = Modulation::lora_125(9);
        Candidate {
            hearing: state.map_or_else(Hearing::default, |it| Hearing::of(it.receptions(), uplink)),
            uplink,
            class: DeviceClass::C,
        }
    }

    /// Somebody holds the newest job up, lets it go on, or takes it back.
    pub(crate) fn command_job(&mut self, command: JobCommand) {
        let Some(job) = self.jobs.len().checked_sub(1) else {
            return;
        };
        let event = match command {
            JobCommand::Pause => Event::PauseRequested,
            JobCommand::Resume => Event::ResumeRequested,
            JobCommand::Cancel => Event::CancelRequested,
        };
        if !self.is_down {
            self.tell_job(job, JobNews::Happened(event));
        }
    }

    /// Nobody leaves a job held up for good.
    pub(crate) fn resume_jobs(&mut self) {
        for job in 0..self.jobs.len() {
            if self.jobs[job].state == JobState::Paused {
                self.tell_job(job, JobNews::Happened(Event::ResumeRequested));
            }
        }
    }

    /// After a crash those that are not over are taken up, and proofs whose news it overtook are found in the store.
    pub(crate) fn restore_jobs(&mut self) {
        for job in 0..self.jobs.len() {
            let is_over = self.jobs[job].finished_at.is_some();
            let news = if is_over {
                JobNews::FindLate
            } else {
                JobNews::TakeUp
            };
            self.tell_job(job, news);
        }
    }

    fn find_late_proofs(&mut self, job: usize) {
        if !self.database_up {
            let at = self.now + STORE_PAUSE;
            let news = Box::new(JobNews::FindLate);
            return self.plan_mine(at, Planned::OfJob { job, news });
        }
        let row = &self.jobs[job];
        let unverified = row
            .items
            .iter()
            .filter(|it| it.state == ItemState::Unverified);
        let late: Vec<_> = unverified
            .filter_map(|it| Some((it.downlink_id, self.known(it)?)))
            .filter(|(_, known)| known.state == DownlinkState::Verified)
            .collect();
        for (downlink_id, known) in late {
            if self.jobs[job].finished_at.is_some() {
                self.note_late_proof(job, downlink_id, known.state);
            } else {
                self.step_job(job, Event::Moved { downlink_id, known });
            }
        }
    }

    fn tell_job(&mut self, job: usize, news: JobNews) {
        let at = self.mail_at(self.now);
        let news = Box::new(news);
        self.plan_mine(at, Planned::OfJob { job, news });
    }

    pub(crate) fn on_news_of_job(&mut self, job: usize, news: JobNews) {
        if self.dies() {
            return;
        }
        match news {
            JobNews::TakeUp => self.take_up_job(job),
            JobNews::FindLate => self.find_late_proofs(job),
            JobNews::Read(after, limit) => self.read_items(job, after, limit),
            JobNews::Ask(item) => self.hand_over(job, item),
            JobNews::Withdraw(item) => self.withdraw(item),
            JobNews::Happened(event) => self.step_job(job, event),
            JobNews::Wake(alarm) => {
                if alarm == self.runner.alarms {
                    let live: Vec<usize> = self.runner.live.keys().copied().collect();
                    for job in live {
                        self.step_job(job, Event::Elapsed);
                    }
                }
            }
        }
    }

    fn take_up_job(&mut self, job: usize) {
        if self.runner.live.contains_key(&job) {
            return;
        }
        if !self.database_up {
            return self.take_up_later(job);
        }
        let row = &self.jobs[job];
        let items = || {
            row.items
                .iter()
                .zip(0..)
                .map(|(it, seq)| (it, item_of(it, seq)))
        };
        let under_way = items().filter(|(it, _)| it.state == ItemState::UnderWay);
        let unverified = items().filter(|(it, _)| it.state == ItemState::Unverified);
        let stored = TakenUp {
            state: row.state,
            counts: row.counts,
            stagger: Duration::ZERO,
            planned: row.planned,
            spent: row.spent,
            attempts: row.attempts,
            finished_at: row.finished_at,
            time_to_live: self.scenario.policy.command_ttl,
            under_way: under_way
                .map(|(it, item)| (item, it.handed_over_at, self.known(it)))
                .collect(),
            unverified: unverified
                .map(|(it, item)| (item.seq, it.downlink_id))
                .collect(),
        };
        let limits = JobLimits::for_gateways(row.gateways);
        let given = (row.state, row.finished_at);
        let (machine, effects) = Job::take_up(stored, limits, self.clock());
        let mut live = Live {
            machine,
            changes: Vec::new(),
            cancels_waiting: false,
            effects: Vec::new(),
            given,
        };
        live.note(effects);
        self.runner.live.insert(job, live);
        self.follow_job(job);
        self.find_late_proofs(job);
    }

    fn take_up_later(&mut self, job: usize) {
        let news = Box::new(JobNews::TakeUp);
        self.plan_mine(self.now + STORE_PAUSE, Planned::OfJob { job, news });
    }

    /// What the store knows of an item's command.
    fn known(&self, item: &ItemRow) -> Option<Known> {
        let fate = self.slots[item.slot].promises.fate(item.downlink_id)?;
        Some(Known {
            state: fate.state,
            reason: None,
            attempts: fate.attempts,
        })
    }

    fn step_job(&mut self, job: usize, event: Event) {
        let clock = self.clock();
        let Some(live) = self.runner.live.get_mut(&job) else {
            // The job ended while the news was on its way.
            if let Event::Moved { downlink_id, known } = event
                && self.jobs[job].finished_at.is_some()
            {
                self.note_late_proof(job, downlink_id, known.state);
            }
            return;
        };
        self.telling
            .all(self.now, "job", || format!("{job} {event:?}"));
        let effects = live.machine.step(clock, event);
        live.note(effects);
        self.follow_job(job);
    }

    /// Does what rests on nothing that is not stored, stores what is to be, and sets the alarm.
    fn follow_job(&mut self, job: usize) {
        let is_storing = self.runner.storing.iter().any(|(it, _)| *it == job);
        if let Some(live) = self.runner.live.get_mut(&job)
            && !live.has_changed()
            && !is_storing
        {
            let effects = std::mem::take(&mut live.effects);
            self.perform_for_job(job, effects);
        }
        self.begin_to_store_jobs();
        let wakes = self.runner.live.values();
        if let Some(wake) = wakes.filter_map(|live| live.machine.next_wake()).min() {
            self.runner.alarms += 1;
            let news = Box::new(JobNews::Wake(self.runner.alarms));
            let at = self.now + wake.since(self.clock());
            self.plan_mine(at, Planned::OfJob { job, news });
        }
    }

    fn begin_to_store_jobs(&mut self) {
        let clock = self.clock();
        if !self.runner.storing.is_empty() {
            return;
        }
        let changed = self.runner.live.iter_mut();
        let changed = changed.filter(|(_, live)| live.has_changed());
        self.runner.storing = changed
            .map(|(job, live)| (*job, live.take(clock)))
            .collect();
        if !self.runner.storing.is_empty() {
            let at = self.now + self.commit_time();
            self.plan_mine(at, Planned::JobsStored);
        }
    }

    pub(crate) fn on_jobs_stored(&mut self) {
        if self.dies() {
            return;
        }
        let storing = std::mem::take(&mut self.runner.storing);
        let fails = !self.database_up || self.random.chance(self.store.fails);
        let is_doubtful = !fails && self.random.chance(self.store.answer_lost);
        if !fails {
            for (job, stored) in &storing {
                self.store_job(*job, stored);
            }
        }
        for (job, stored) in storing {
            if fails || is_doubtful {
                // What was decided here is forgotten: it is taken up as it is stored.
                self.runner.live.remove(&job);
                self.take_up_later(job);
            } else {
                self.perform_for_job(job, stored.effects);
                let live = self.runner.live.get(&job);
                if stored.finished_at.is_some() && live.is_some_and(|live| !live.has_changed()) {
                    self.runner.live.remove(&job);
                }
            }
        }
        self.begin_to_store_jobs();
    }

    fn store_job(&mut self, job: usize, stored: &Stored) {
        let (now, clock) = (self.now, self.clock());
        let row = &mut self.jobs[job];
        if row.state != stored.state {
            (row.state, row.since) = (stored.state, now);
        }
        (row.counts, row.spent, row.attempts) = (stored.counts, stored.spent, stored.attempts);
        row.finished_at = stored.finished_at;
        for change in &stored.changes {
            let item = &mut row.items[usize::try_from(change.seq).expect("a few devices")];
            item.state = change.state;
            item.handed_over_at = clock;
        }
        if stored.cancels_waiting {
            let waiting = row.items.iter_mut();
            for item in waiting.filter(|it| it.state == ItemState::Waiting) {
                item.state = ItemState::Cancelled;
            }
        }
    }

    fn perform_for_job(&mut self, job: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::HandOver(item) => self.tell_job(job, JobNews::Ask(item)),
                Effect::Withdraw(item) => self.tell_job(job, JobNews::Withdraw(item)),
                Effect::Read { after, limit } => self.tell_job(job, JobNews::Read(after, limit)),
                Effect::Store(_) | Effect::CancelWaiting => {}
            }
        }
    }

    fn read_items(&mut self, job: usize, after: Option<u32>, limit: u32) {
        if !self.database_up {
            self.runner.live.remove(&job);
            return self.take_up_later(job);
        }
        let items = self.jobs[job].items.iter().zip(0..);
        let waiting = items.filter(|(it, seq)| {
            it.state == ItemState::Waiting && after.is_none_or(|after| *seq > after)
        });
        let limit = usize::try_from(limit).expect("a few");
        let read = waiting.take(limit).map(|(it, seq)| item_of(it, seq));
        let read = Event::Read(read.collect());
        self.step_job(job, read);
    }

    /// A device is handed its command.
    fn hand_over(&mut self, job: usize, item: Item) {
        let row = &self.jobs[job];
        let slot = row.items[usize::try_from(item.seq).expect("a few devices")].slot;
        let (order, asked_at) = (row.order.clone(), row.created_at);
        let id = item.downlink_id;
        let refused = |refusal| JobNews::Happened(Event::Refused(id, refusal));
        if self.slots[slot].row.is_none() {
            return self.tell_job(job, refused(Refusal::UnknownDevice));
        }
        if !self.is_in_memory(slot) {
            return self.tell_job(job, JobNews::Happened(Event::Busy(id)));
        }
        let Some(actor) = &self.slots[slot].actor else {
            return;
        };
        let machine = &actor.machine;
        let news = if machine.unfinished().any(|known| known.id == id) {
            JobNews::Happened(Event::Accepted(id))
        } else if actor.retired {
            refused(Refusal::UnknownDevice)
        } else if machine.admission() == Admission::Full {
            JobNews::Happened(Event::Busy(id))
        } else if machine.desired().is_some_and(|it| it.since > asked_at) {
            refused(Refusal::Newer)
        } else {
            let asked = Some(Asked::Job(job, id));
            return self.submit(
                &Order {
                    device: slot,
                    ..order
                },
                id,
                Origin::Job(job_id(job)),
                asked,
            );
        };
        self.tell_job(job, news);
    }

    fn withdraw(&mut self, item: Item) {
        let slot = crate::world::slot_of(item.key.dev_eui);
        if self.is_in_memory(slot) {
            let event = DeviceEvent::CancelRequested(item.downlink_id);
            self.step(slot, event, None);
        }
    }

    /// A device's commit of a job's command came, or did not.
    pub(crate) fn on_job_asked(&mut self, job: usize, id: DownlinkId, is_committed: bool) {
        let event = if is_committed {
            Event::Accepted(id)
        } else {
            Event::Busy(id)
        };
        self.tell_job(job, JobNews::Happened(event));
    }

    /// A command took a step, and that is stored.
    pub(crate) fn on_downlink_moved(&mut self, downlink: &Downlink) {
        let Some(job) = job_of(downlink.origin).filter(|job| *job < self.jobs.len()) else {
            return;
        };
        let downlink_id = downlink.id;
        if self.jobs[job].finished_at.is_some() {
            return self.note_late_proof(job, downlink_id, downlink.state);
        }
        let known = Known {
            state: downlink.state,
            reason: downlink.reason.clone(),
            attempts: downlink.attempts,
        };
        self.tell_job(job, JobNews::Happened(Event::Moved { downlink_id, known }));
    }

    /// It is stored beside the job, which is over.
    fn note_late_proof(&mut self, job: usize, id: DownlinkId, state: DownlinkState) {
        let row = &mut self.jobs[job];
        let unverified = row
            .items
            .iter_mut()
            .find(|it| it.downlink_id == id && it.state == ItemState::Unverified);
        if let Some(item) = unverified.filter(|_| state == DownlinkState::Verified) {
            item.state = ItemState::Verified;
            row.counts.shift(ItemState::Unverified, ItemState::Verified);
        }
    }

    /// A device took a command of a job: not after that was held up or taken back.
    pub(crate) fn check_job_runs(
        jobs: &[JobRow],
        now: Timestamp,
        downlink: &Downlink,
    ) -> Result<(), String> {
        let Some(row) = job_of(downlink.origin).and_then(|job| jobs.get(job)) else {
            return Ok(());
        };
        let is_held_up = matches!(row.state, JobState::Paused | JobState::Cancelled);
        if is_held_up && now >= row.since + HANDED_OVER {
            let id = downlink.id;
            return Err(format!(
                "{id} is accepted though its job is {:?}",
                row.state
            ));
        }
        Ok(())
    }

    /// Why a job is not over as its devices say, if it is not.
    pub(crate) fn unrest_of_jobs(&self) -> Option<String> {
        self.jobs.iter().enumerate().find_map(|(job, row)| {
            self.check_job(row)
                .err()
                .map(|it| format!("job {job}: {it}"))
        })
    }

    fn check_job(&self, row: &JobRow) -> Result<(), String> {
        if row.finished_at.is_none() {
            return Err(format!("is {:?} with {:?}", row.state, row.counts));
        }
        let mut counts = Counts::default();
        for item in &row.items {
            counts.add(item.state, 1);
            let fate = self.slots[item.slot].promises.fate(item.downlink_id);
            let is_so = match fate.map(|fate| ItemState::of(fate.state)) {
                Some(state) => state == item.state,
                None => matches!(
                    item.state,
                    ItemState::Skipped
                        | ItemState::Superseded
                        | ItemState::Cancelled
                        | ItemState::Expired
                ),
            };
            if !is_so {
                let (state, id) = (item.state, item.downlink_id);
                return Err(format!("{id} counts as {state:?}, and is {fate:?}"));
            }
        }
        if counts == row.counts {
            Ok(())
        } else {
            Err(format!("{:?} instead of {counts:?}", row.counts))
        }
    }
}

fn item_of(item: &ItemRow, seq: u32) -> Item {
    Item {
        seq,
        key: DeviceKey {
            server: NetworkServerId::Default,
            dev_eui: crate::world::dev_eui_of(item.slot),
        },
        downlink_id: item.downlink_id,
    }
}
