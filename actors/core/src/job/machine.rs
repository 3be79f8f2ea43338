//! The one entry of a job's machine: an event changes facts, then one look at all facts decides who is handed over.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::device::{DownlinkState, Reason};
use crate::id::{DeviceKey, DownlinkId};
use crate::time::Timestamp;

use super::progress::{Clockwork, Counts, PlannedTime, remaining};
use super::words::{ItemState, JobState};

/// Items that are read from the store at once.
const READ_ITEMS: u32 = 500;

/// Fewer items than these in memory: further ones are read.
const READ_BELOW: usize = 100;

/// Pauses before a device is asked again that did not take a command.
const BUSY_PAUSE: Duration = Duration::from_secs(2);
const BUSY_PAUSE_MAX: Duration = Duration::from_mins(1);

/// How many devices of a job have its command at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobLimits {
    /// Those whose command has not been on air yet. The pacer needs a choice to keep every gateway busy; more would
    /// gain nothing.
    pub before_air_max: usize,
    /// Those and the ones that are to answer, or are about to be tried again.
    pub in_reach_max: usize,
    /// Those that wait for a gateway, for `ChirpStack` to have them, or to speak.
    pub out_of_reach_max: usize,
}

impl JobLimits {
    /// For so many gateways: four devices for each are before the air, 32 at least.
    pub fn for_gateways(gateways: usize) -> Self {
        Self {
            before_air_max: (4 * gateways).clamp(32, 1_000),
            in_reach_max: (64 * gateways).clamp(256, 4_000),
            out_of_reach_max: 5_000,
        }
    }
}

/// One device of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// Its place in the job, from 0.
    pub seq: u32,
    /// The device.
    pub key: DeviceKey,
    /// The id that its command has from the beginning.
    pub downlink_id: DownlinkId,
}

/// What happened, as a job sees it.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The next items that wait, in their order; fewer than asked for are the last ones.
    Read(Vec<Item>),
    /// The device took the command: it is committed.
    Accepted(DownlinkId),
    /// The device did not take it now, and may later.
    Busy(DownlinkId),
    /// The device does not take it.
    Refused(DownlinkId, Refusal),
    /// A command of the job took a step.
    Moved {
        /// Which.
        downlink_id: DownlinkId,
        /// Where it is now.
        known: Known,
    },
    /// Somebody holds it up.
    PauseRequested,
    /// It is to go on.
    ResumeRequested,
    /// Somebody takes it back.
    CancelRequested,
    /// So many gateways are there.
    Gateways(usize),
    /// The time that [`Job::next_wake`] named has come.
    Elapsed,
}

/// Why a device does not take a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is not registered any more, or is another's.
    UnknownDevice,
    /// It does not speak the codec that it would have to.
    NotUnderstood,
    /// It was told something since the job was made.
    Newer,
    /// What was wanted was done not long ago.
    DoneBefore,
}

impl Refusal {
    fn ends(self) -> (ItemState, &'static str) {
        match self {
            Self::UnknownDevice => (ItemState::Skipped, "unknown_device"),
            Self::NotUnderstood => (ItemState::Skipped, "not_understood"),
            Self::Newer => (ItemState::Superseded, "newer_command"),
            Self::DoneBefore => (ItemState::Skipped, "done_before"),
        }
    }
}

/// What is known of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Where it is.
    pub state: DownlinkState,
    /// Why it waits, or ended so.
    pub reason: Option<Reason>,
    /// How often it was tried.
    pub attempts: u8,
}

/// What becomes of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Its place.
    pub seq: u32,
    /// Where it is now.
    pub state: ItemState,
    /// Why, as a word of the API.
    pub reason: Option<&'static str>,
    /// How often its command was tried.
    pub attempts: u8,
}

/// What the shell does next, in the order given, after it saved the job.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Store what became of an item; belongs to what is saved.
    Store(Change),
    /// Store that all items that wait are cancelled; belongs to what is saved.
    CancelWaiting,
    /// Hand the command to the device. [`Event::Accepted`], [`Event::Busy`] or [`Event::Refused`] answers.
    HandOver(Item),
    /// Take the command back.
    Withdraw(Item),
    /// Read the next items that wait, those behind a place; [`Event::Read`] answers.
    Read {
        /// The place; from the beginning when absent.
        after: Option<u32>,
        /// At the most.
        limit: u32,
    },
}

/// A job as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct TakenUp {
    /// Where it is.
    pub state: JobState,
    /// Its items.
    pub counts: Counts,
    /// At least so far apart are two devices handed over.
    pub stagger: Duration,
    /// How long it was planned to take.
    pub planned: PlannedTime,
    /// How long it was running.
    pub spent: Duration,
    /// How often its commands were tried, of those that are over.
    pub attempts: u64,
    /// When its last item reached its end.
    pub finished_at: Option<Timestamp>,
    /// Commands that were handed over more than this ago and are not known were lost too long ago to be of use.
    pub time_to_live: Duration,
    /// Those under way: when they were handed over, and what the store knows of their commands.
    pub under_way: Vec<(Item, Timestamp, Option<Known>)>,
    /// Those that ended without a proof, which may still come.
    pub unverified: Vec<(u32, DownlinkId)>,
}

/// Where a command is that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is to go on air.
    BeforeAir,
    /// The device is to answer, or is left alone before the next attempt.
    AfterAir,
    /// Nothing can be done for it now.
    OutOfReach,
}

#[derive(Debug, Clone)]
struct UnderWay {
    item: Item,
    stage: Stage,
    /// The device did not take it and is asked again then.
    again_at: Option<Timestamp>,
    refusals: u32,
}

/// One job.
#[derive(Debug, Clone)]
pub struct Job {
    limits: JobLimits,
    state: JobState,
    counts: Counts,
    stagger: Duration,
    planned: PlannedTime,
    clockwork: Clockwork,
    attempts: u64,
    finished_at: Option<Timestamp>,
    queue: VecDeque<Item>,
    under_way: BTreeMap<DownlinkId, UnderWay>,
    /// How many of them are in each stage.
    stages: [usize; 3],
    unverified: BTreeMap<DownlinkId, u32>,
    /// The last place that was read.
    read_to: Option<u32>,
    is_reading: bool,
    has_read_all: bool,
    next_at: Option<Timestamp>,
}

impl Job {
    /// Takes a job up as it is stored, and gives what is to be done first.
    pub fn take_up(stored: TakenUp, limits: JobLimits, now: Timestamp) -> (Self, Vec<Effect>) {
        let mut clockwork = Clockwork::after(stored.spent);
        if stored.state == JobState::Running {
            clockwork.start(now);
        }
        let unverified = stored.unverified.into_iter().map(|(seq, id)| (id, seq));
        let mut job = Self {
            limits,
            state: stored.state,
            counts: stored.counts,
            stagger: stored.stagger,
            planned: stored.planned,
            clockwork,
            attempts: stored.attempts,
            finished_at: stored.finished_at,
            queue: VecDeque::new(),
            under_way: BTreeMap::new(),
            stages: [0; 3],
            unverified: unverified.collect(),
            read_to: None,
            is_reading: false,
            has_read_all: false,
            next_at: None,
        };
        let mut effects = Vec::new();
        for (item, handed_over_at, known) in stored.under_way {
            job.put(item);
            match known {
                Some(known) => {
                    job.on_moved(item.downlink_id, &known, &mut effects);
                    let is_open = job.under_way.contains_key(&item.downlink_id);
                    if is_open && job.state == JobState::Cancelled {
                        effects.push(Effect::Withdraw(item));
                    }
                }
                None if job.state == JobState::Cancelled => {
                    job.end(
                        item.downlink_id,
                        ItemState::Cancelled,
                        None,
                        0,
                        &mut effects,
                    );
                }
                None if handed_over_at + stored.time_to_live <= now => {
                    job.end(item.downlink_id, ItemState::Expired, None, 0, &mut effects);
                }
                None => effects.push(Effect::HandOver(item)),
            }
        }
        job.advance(now, &mut effects);
        (job, effects)
    }

    /// Advances by one event. Never fails: a surprise changes nothing.
    pub fn step(&mut self, now: Timestamp, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Read(items) => self.on_read(items),
            Event::Accepted(id) => self.on_accepted(id, &mut effects),
            Event::Busy(id) => self.on_busy(now, id, &mut effects),
            Event::Refused(id, refusal) => {
                let (state, reason) = refusal.ends();
                self.end(id, state, Some(reason), 0, &mut effects);
            }
            Event::Moved { downlink_id, known } => {
                self.on_moved(downlink_id, &known, &mut effects);
            }
            Event::PauseRequested => self.on_pause(now),
            Event::ResumeRequested => self.on_resume(now),
            Event::CancelRequested => self.on_cancel(now, &mut effects),
            Event::Gateways(gateways) => self.limits = JobLimits::for_gateways(gateways),
            Event::Elapsed => {}
        }
        self.advance(now, &mut effects);
        effects
    }

    /// When it wants to be woken by [`Event::Elapsed`], if no event comes before.
    pub fn next_wake(&self) -> Option<Timestamp> {
        if self.state != JobState::Running {
            return None;
        }
        let has_next = !self.queue.is_empty() && self.has_room();
        let next = self.next_at.filter(|_| has_next);
        let again = self.under_way.values().filter_map(|it| it.again_at).min();
        next.into_iter().chain(again).min()
    }

    /// Where it is in its life.
    pub fn state(&self) -> JobState {
        self.state
    }

    /// How many items are in each state.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How often its commands were tried, of those that are over.
    pub fn attempts(&self) -> u64 {
        self.attempts
    }

    /// How long it was running.
    pub fn spent(&self, now: Timestamp) -> Duration {
        self.clockwork.spent(now)
    }

    /// When its last item reached its end.
    pub fn finished_at(&self) -> Option<Timestamp> {
        self.finished_at
    }

    /// Devices that have its command and are out of reach.
    pub fn out_of_reach(&self) -> u64 {
        u64::try_from(self.in_stage(Stage::OutOfReach)).unwrap_or(u64::MAX)
    }

    /// How long it will still take; `None` while nobody knows.
    pub fn remaining(&self, now: Timestamp) -> Option<Duration> {
        let spent = self.spent(now);
        let out_of_reach = self.out_of_reach();
        remaining(
            &self.counts,
            out_of_reach,
            self.planned,
            spent,
            self.stagger,
        )
    }

    /// Whether there is nothing more to be done for it.
    pub fn is_over(&self) -> bool {
        self.finished_at.is_some()
    }

    fn on_read(&mut self, items: Vec<Item>) {
        if !std::mem::take(&mut self.is_reading) {
            return;
        }
        self.has_read_all = items.len() < READ_ITEMS as usize;
        self.read_to = items.last().map(|item| item.seq).or(self.read_to);
        if self.state.is_open() {
            self.queue.extend(items);
        }
    }

    fn on_accepted(&mut self, id: DownlinkId, effects: &mut Vec<Effect>) {
        let Some(under_way) = self.under_way.get_mut(&id) else {
            return;
        };
        under_way.again_at = None;
        // It was taken back while it was being handed over.
        if self.state == JobState::Cancelled {
            effects.push(Effect::Withdraw(under_way.item));
        }
    }

    fn on_busy(&mut self, now: Timestamp, id: DownlinkId, effects: &mut Vec<Effect>) {
        let is_cancelled = self.state == JobState::Cancelled;
        let Some(under_way) = self.under_way.get_mut(&id) else {
            return;
        };
        if is_cancelled {
            self.end(id, ItemState::Cancelled, None, 0, effects);
            return;
        }
        let doublings = under_way.refusals.min(5);
        under_way.refusals += 1;
        under_way.again_at = Some(now + (BUSY_PAUSE * (1 << doublings)).min(BUSY_PAUSE_MAX));
        self.place(id, Stage::OutOfReach);
    }

    fn on_moved(&mut self, id: DownlinkId, known: &Known, effects: &mut Vec<Effect>) {
        let state = ItemState::of(known.state);
        let reason = known.reason.as_ref().map(Reason::name);
        if state.is_over() {
            let is_late = state == ItemState::Verified;
            if let Some(seq) = self.unverified.get(&id).copied().filter(|_| is_late) {
                self.unverified.remove(&id);
                self.counts.shift(ItemState::Unverified, state);
                effects.push(Effect::Store(Change {
                    seq,
                    state,
                    reason,
                    attempts: known.attempts,
                }));
            } else {
                self.end(id, state, reason, known.attempts, effects);
            }
        } else if let Some(under_way) = self.under_way.get_mut(&id) {
            under_way.again_at = None;
            self.place(id, Stage::of(known));
        }
    }

    fn on_pause(&mut self, now: Timestamp) {
        if self.state == JobState::Running {
            self.state = JobState::Paused;
            self.clockwork.stop(now);
        }
    }

    fn on_resume(&mut self, now: Timestamp) {
        if self.state == JobState::Paused {
            self.state = JobState::Running;
            self.clockwork.start(now);
        }
    }

    fn on_cancel(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if !self.state.is_open() {
            return;
        }
        self.state = JobState::Cancelled;
        self.clockwork.stop(now);
        self.queue.clear();
        let (waiting, cancelled) = (ItemState::Waiting, ItemState::Cancelled);
        if self.counts.shift_all(waiting, cancelled) > 0 {
            effects.push(Effect::CancelWaiting);
        }
        let ids: Vec<DownlinkId> = self.under_way.keys().copied().collect();
        for id in ids {
            match self.under_way.get(&id) {
                Some(under_way) if under_way.again_at.is_some() => {
                    self.end(id, ItemState::Cancelled, None, 0, effects);
                }
                Some(under_way) => effects.push(Effect::Withdraw(under_way.item)),
                None => {}
            }
        }
    }

    /// An item under way reaches its end.
    fn end(
        &mut self,
        id: DownlinkId,
        state: ItemState,
        reason: Option<&'static str>,
        attempts: u8,
        effects: &mut Vec<Effect>,
    ) {
        let Some(under_way) = self.under_way.remove(&id) else {
            return;
        };
        self.stages[under_way.stage as usize] -= 1;
        let seq = under_way.item.seq;
        self.counts.shift(ItemState::UnderWay, state);
        self.attempts += u64::from(attempts);
        if state == ItemState::Unverified {
            self.unverified.insert(id, seq);
        }
        effects.push(Effect::Store(Change {
            seq,
            state,
            reason,
            attempts,
        }));
    }

    /// One look at all facts: who is next, and whether it is over.
    fn advance(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        match self.state {
            JobState::Running => {
                self.ask_again(now, effects);
                self.hand_over(now, effects);
                self.read(effects);
                if self.counts.open() == 0 {
                    self.state = JobState::Done;
                    self.clockwork.stop(now);
                }
            }
            JobState::Paused => {
                // Nothing is left that could be resumed.
                if self.counts.open() == 0 {
                    self.state = JobState::Done;
                }
            }
            JobState::Preparing | JobState::Cancelled | JobState::Done => {}
        }
        if !self.state.is_open() && self.counts.open() == 0 {
            self.finished_at.get_or_insert(now);
        }
    }

    fn ask_again(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let due: Vec<Item> = self
            .under_way
            .values_mut()
            .filter(|under_way| under_way.again_at.is_some_and(|at| at <= now))
            .map(|under_way| {
                under_way.again_at = None;
                under_way.item
            })
            .collect();
        for item in due {
            self.place(item.downlink_id, Stage::BeforeAir);
            effects.push(Effect::HandOver(item));
        }
    }

    fn hand_over(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while self.has_room() && self.next_at.is_none_or(|at| at <= now) {
            let Some(item) = self.queue.pop_front() else {
                return;
            };
            self.put(item);
            self.counts.shift(ItemState::Waiting, ItemState::UnderWay);
            self.next_at = (!self.stagger.is_zero()).then(|| now + self.stagger);
            effects.push(Effect::Store(Change {
                seq: item.seq,
                state: ItemState::UnderWay,
                reason: None,
                attempts: 0,
            }));
            effects.push(Effect::HandOver(item));
        }
    }

    fn read(&mut self, effects: &mut Vec<Effect>) {
        if self.queue.len() < READ_BELOW && !self.is_reading && !self.has_read_all {
            self.is_reading = true;
            effects.push(Effect::Read {
                after: self.read_to,
                limit: READ_ITEMS,
            });
        }
    }

    /// Whether one more may be handed over.
    fn has_room(&self) -> bool {
        let out_of_reach = self.in_stage(Stage::OutOfReach);
        self.in_stage(Stage::BeforeAir) < self.limits.before_air_max
            && self.under_way.len() - out_of_reach < self.limits.in_reach_max
            && out_of_reach < self.limits.out_of_reach_max
    }

    fn in_stage(&self, stage: Stage) -> usize {
        self.stages[stage as usize]
    }

    fn put(&mut self, item: Item) {
        let under_way = UnderWay {
            item,
            stage: Stage::BeforeAir,
            again_at: None,
            refusals: 0,
        };
        self.stages[under_way.stage as usize] += 1;
        self.under_way.insert(item.downlink_id, under_way);
    }

    fn place(&mut self, id: DownlinkId, stage: Stage) {
        if let Some(under_way) = self.under_way.get_mut(&id) {
            self.stages[under_way.stage as usize] -= 1;
            under_way.stage = stage;
            self.stages[stage as usize] += 1;
        }
    }
}

impl Stage {
    fn of(known: &Known) -> Self {
        match known.state {
            DownlinkState::Accepted | DownlinkState::Enqueued => Self::BeforeAir,
            DownlinkState::Waiting => known.reason.as_ref().map_or(Self::BeforeAir, Self::why),
            DownlinkState::Transmitted
            | DownlinkState::Verified
            | DownlinkState::Sent
            | DownlinkState::Unverified
            | DownlinkState::Failed
            | DownlinkState::Superseded
            | DownlinkState::Cancelled
            | DownlinkState::Expired => Self::AfterAir,
        }
    }

    fn why(reason: &Reason) -> Self {
        match reason {
            Reason::NoGateway | Reason::NotSynced | Reason::BeforeFirstUplink => Self::OutOfReach,
            // While the network server is away, or the air is full, handing over more would help nobody.
            Reason::BehindAnother
            | Reason::Paced
            | Reason::ServerUnavailable
            | Reason::KeyRefused => Self::BeforeAir,
            Reason::BehindQueueItem
            | Reason::AnswerLost
            | Reason::ServerError(_)
            | Reason::UnknownDevice
            | Reason::NotTransmitted
            | Reason::GatewayRefused(_)
            | Reason::PayloadTooLarge
            | Reason::NotConfirmed
            | Reason::LostOnAir
            | Reason::AnotherReceived
            | Reason::Uncounted
            | Reason::NotAcknowledged
            | Reason::DeviceRestarted
            | Reason::DeviceRemoved
            | Reason::Newer(_) => Self::AfterAir,
        }
    }
}
