//! The only one that calls ChirpStack: bounded, with a circuit breaker, and by turns. Its calls are slow, refused, lost
//! on the way there or back.

use std::collections::VecDeque;
use std::time::Duration;

use downbeat_core::circuit::{
    Admission, Circuit, CircuitConfig, Outcome, PROBE_LOST_AFTER, Transition,
};
use downbeat_core::device::{Enqueue, Event};
use downbeat_core::gateway::ListedGateway;
use downbeat_core::id::QueueItemId;
use downbeat_core::network::{EnqueueFailure, NetworkEvent, QueueItem, Reception, Transmitted};
use downbeat_core::pacer::{AirtimeSnapshot, Ask, Pacer, PacerConfig};
use downbeat_core::radio::Modulation;
use downbeat_core::region::DUTY_CYCLE_WINDOW;
use downbeat_core::sync::{SyncCall, SyncEvent, SyncFailure};
use downbeat_core::time::Timestamp;
use downbeat_sim::model::{ApiFault, NewQueueItem, QueuedItem};

use crate::scenario::CallFaults;
use crate::tally::Count;
use crate::world::{Planned, World, slot_of};

/// Calls under way at once at the most; further ones wait for a place.
const CALLS_MAX: usize = 32;
/// A call is given up after this.
const DEADLINE: Duration = Duration::from_secs(3);
/// A database that could not tell what was sent is asked again after this.
const RECALL_PAUSE: Duration = Duration::from_secs(1);
/// A slow ChirpStack carries a call out no later than this after it began.
const SLOWEST_CALL_MS: u64 = 4_500;
/// Turns in use are counted in ChirpStack's queues at one Enqueue of so many.
const COUNTED: u64 = 16;

/// What devices tell the pool.
#[derive(Debug)]
pub(crate) enum ToPool {
    AskTurn(Box<Ask>),
    HoldTurn(Box<Ask>, Option<(Timestamp, Timestamp)>),
    EndTurn,
    Enqueue(Box<Enqueue>),
    ReadQueue,
    Transmitted(Box<Transmitted>),
    Refused(String),
    Heard(Vec<Reception>, Option<Modulation>),
}

impl ToPool {
    /// What a device's event tells of the air.
    pub(crate) fn of_event(event: &NetworkEvent) -> Option<Self> {
        match event {
            NetworkEvent::Heard(uplink) => {
                Some(Self::Heard(uplink.receptions.clone(), uplink.modulation))
            }
            NetworkEvent::Transmitted(event) => Some(Self::Transmitted(Box::new(*event))),
            NetworkEvent::Refused(event) => Some(Self::Refused(event.status.clone())),
            NetworkEvent::Joined(_)
            | NetworkEvent::Acknowledged(_)
            | NetworkEvent::Dropped(_)
            | NetworkEvent::Logged(_)
            | NetworkEvent::StatusReported(_)
            | NetworkEvent::Located(_)
            | NetworkEvent::PresenceTold(_)
            | NetworkEvent::Integrated => None,
        }
    }
}

/// A call.
#[derive(Debug)]
pub(crate) struct Call {
    pool: u32,
    what: What,
}

#[derive(Debug)]
enum What {
    Enqueue(usize, Box<Enqueue>),
    ReadQueue(usize),
    ListGateways,
    Ping,
    /// The cleaner's look.
    Look(usize),
    /// What it saw, and no gateway reaches the device.
    Flush(usize, Vec<QueueItemId>),
    Sync(Box<SyncRequest>),
}

/// A call of the synchronisation.
#[derive(Debug)]
pub(crate) struct SyncRequest {
    pub(crate) slot: usize,
    pub(crate) number: u32,
    pub(crate) what: SyncCall,
    pub(crate) key: [u8; 16],
}

/// What became of a call.
#[derive(Debug)]
pub(crate) struct Answer {
    pool: u32,
    outcome: Outcome,
    news: News,
}

#[derive(Debug)]
enum News {
    Device(usize, Event),
    Gateways(Option<Vec<ListedGateway>>),
    /// What the cleaner saw.
    Seen(usize, Option<Vec<QueueItem>>),
    Flushed(usize),
    Nothing,
    Sync(usize, SyncEvent),
}

/// Turns, circuit, and calls under way.
#[derive(Debug)]
pub(crate) struct Pool {
    /// A pool that was started anew is another one.
    number: u32,
    pacing: PacerConfig,
    pacer: Pacer,
    /// What was sent in the last hour is known.
    is_recalled: bool,
    is_away: bool,
    circuit: Circuit,
    /// While the circuit is open: when to ask whether the server is back, by the steady clock.
    probe_at: Option<Timestamp>,
    /// The last call of which it was told found our key taken.
    takes_key: bool,
    calls: usize,
    held: VecDeque<Call>,
    alarm: Option<(Timestamp, u32)>,
    alarms: u32,
}

impl Pool {
    pub(crate) fn new(number: u32, pacing: PacerConfig) -> Self {
        let mut pacer = Pacer::new(pacing);
        pacer.set_closed(true);
        Self {
            number,
            pacing,
            pacer,
            is_recalled: false,
            is_away: false,
            circuit: Circuit::new(CircuitConfig::default()),
            probe_at: None,
            takes_key: true,
            calls: 0,
            held: VecDeque::new(),
            alarm: None,
            alarms: 0,
        }
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn takes_key(&self) -> bool {
        self.takes_key
    }

    /// Whether calls are held back because the server does not answer, or not to our key.
    pub(crate) fn is_away(&self) -> bool {
        self.is_away
    }

    pub(crate) fn next(&self) -> Self {
        Self {
            takes_key: self.takes_key,
            ..Self::new(self.number + 1, self.pacing)
        }
    }

    /// Nobody gets a turn while the server is away, or what was sent lately is not known.
    fn set_closed(&mut self) {
        self.pacer.set_closed(self.is_away || !self.is_recalled);
    }
}

impl World {
    /// Messages of one device stay in order; those of others may come in between.
    pub(crate) fn send_to_pool(&mut self, slot: usize, message: ToPool) {
        let at = self.mail_at(self.slots[slot].to_pool_until);
        self.slots[slot].to_pool_until = at;
        self.plan_mine(at, Planned::ToPool { slot, message });
    }

    pub(crate) fn on_to_pool(&mut self, slot: usize, message: ToPool) {
        let (clock, dev_eui) = (self.steady(), self.slots[slot].dev_eui);
        match message {
            ToPool::AskTurn(ask) => self.pool.pacer.ask(clock, *ask),
            ToPool::HoldTurn(ask, tried) => self.pool.pacer.hold(clock, *ask, tried),
            ToPool::EndTurn => self.pool.pacer.end(clock, dev_eui),
            ToPool::Transmitted(event) => self.pool.pacer.transmitted(clock, dev_eui, &event),
            ToPool::Refused(status) => self.pool.pacer.refused(clock, dev_eui, &status),
            ToPool::Heard(by, how) => self.pool.pacer.heard(clock, dev_eui, &by, how),
            ToPool::Enqueue(enqueue) => {
                if self.is_admitted() {
                    let checked = self.slots[slot].promises.check_attempt(self.now, &enqueue);
                    self.check(checked);
                    self.pool.pacer.enqueued(clock, dev_eui);
                    self.begin_call(What::Enqueue(slot, enqueue));
                } else {
                    self.pool.pacer.not_enqueued(dev_eui);
                    self.mail(slot, refused(&enqueue, EnqueueFailure::Unavailable));
                }
            }
            ToPool::ReadQueue => {
                if self.is_admitted() {
                    self.begin_call(What::ReadQueue(slot));
                } else {
                    self.mail(slot, Event::QueueReadFailed);
                }
            }
        }
        self.advance_pool();
    }

    fn is_admitted(&mut self) -> bool {
        let clock = self.steady();
        !matches!(self.pool.circuit.admit(clock), Admission::No { .. })
    }

    /// A pool that was started wants to know what was sent in the last hour.
    pub(crate) fn recall_sent(&mut self) {
        let after = Duration::from_millis(1 + self.random.below(20));
        self.plan_mine(self.now + after, Planned::Recall(self.pool.number));
    }

    pub(crate) fn on_recall(&mut self, pool: u32) {
        if self.pool.number != pool {
            return;
        }
        let clock = self.steady();
        if !self.database_up {
            let at = self.now + RECALL_PAUSE;
            return self.plan_mine(at, Planned::Recall(pool));
        }
        let since = self.steps.least_shown_since(clock - DUTY_CYCLE_WINDOW);
        let sent = self.kept.since(since);
        self.pool
            .pacer
            .recall(clock, sent.by_steady(&self.steps, clock));
        self.pool.is_recalled = true;
        self.pool.set_closed();
        self.advance_pool();
    }

    /// What the gateways may still send.
    pub(crate) fn airtime(&mut self) -> AirtimeSnapshot {
        let clock = self.steady();
        self.pool.pacer.snapshot(clock)
    }

    /// The monitor wants the list of gateways.
    pub(crate) fn list_gateways(&mut self) {
        if self.is_admitted() {
            self.begin_call(What::ListGateways);
        }
        self.advance_pool();
    }

    /// The cleaner wants to see a queue; false if no call is made now.
    pub(crate) fn look_into_queue_of(&mut self, slot: usize) -> bool {
        let is_admitted = self.is_admitted();
        if is_admitted {
            self.begin_call(What::Look(slot));
        }
        self.advance_pool();
        is_admitted
    }

    pub(crate) fn flush_queue_of(&mut self, slot: usize, seen: Vec<QueueItemId>) {
        if self.is_admitted() {
            self.begin_call(What::Flush(slot, seen));
        }
        self.advance_pool();
    }

    /// The synchronisation wants a call.
    pub(crate) fn call_for_sync(&mut self, request: SyncRequest) {
        if self.is_admitted() {
            self.begin_call(What::Sync(Box::new(request)));
        } else {
            let event = request
                .what
                .failed(request.number, SyncFailure::Unavailable);
            self.on_sync_answer(request.slot, event);
        }
        self.advance_pool();
    }

    /// Gives out turns, asks whether the server is back, and sets the alarm for the next look.
    pub(crate) fn advance_pool(&mut self) {
        let clock = self.steady();
        for dev_eui in self.pool.pacer.grant(clock) {
            let slot = slot_of(dev_eui);
            if self.slots[slot].actor.is_some() {
                let at = self.mail_at(self.slots[slot].from_pool_until);
                self.slots[slot].from_pool_until = at;
                let event = Box::new(Event::TurnGranted);
                self.plan_mine(at, Planned::Told { slot, event });
            } else {
                self.pool.pacer.end(clock, dev_eui);
            }
        }
        if self.pool.probe_at.is_some_and(|probe_at| probe_at <= clock) {
            self.probe(clock);
        }
        let pool = &mut self.pool;
        let Some(at) = pool
            .pacer
            .next_wake()
            .into_iter()
            .chain(pool.probe_at)
            .min()
        else {
            return;
        };
        if pool
            .alarm
            .is_none_or(|(alarm, _)| at < alarm || alarm <= clock)
        {
            pool.alarms += 1;
            pool.alarm = Some((at, pool.alarms));
            let alarm = Planned::PoolWakes(pool.number, pool.alarms);
            self.plan_mine(self.now + at.since(clock), alarm);
        }
    }

    pub(crate) fn on_pool_wakes(&mut self, pool: u32, number: u32) {
        if self.pool.number != pool {
            return;
        }
        if self.pool.alarm.is_some_and(|(_, alarm)| alarm == number) {
            self.pool.alarm = None;
        }
        self.advance_pool();
    }

    fn probe(&mut self, clock: Timestamp) {
        match self.pool.circuit.admit(clock) {
            Admission::No { retry_at } => self.pool.probe_at = Some(retry_at),
            Admission::Yes | Admission::Probe => {
                self.pool.probe_at = Some(clock + PROBE_LOST_AFTER);
                self.begin_call(What::Ping);
            }
        }
    }

    fn begin_call(&mut self, what: What) {
        if self.dies() {
            return;
        }
        let call = Call {
            pool: self.pool.number,
            what,
        };
        if self.pool.calls < CALLS_MAX {
            self.start_call(call);
        } else {
            self.pool.held.push_back(call);
        }
    }

    fn start_call(&mut self, call: Call) {
        self.pool.calls += 1;
        let at = self.now + self.latency();
        if self.server_hangs {
            self.tally.count(Count::LostAnswers);
            self.give_up(self.now + DEADLINE, &call);
            // Some of them reached it.
            if self.random.chance(0.5) {
                self.plan(at, Planned::CallArrives(Box::new(call), None));
            }
        } else if self.random.chance(self.calls.unavailable) {
            self.answer_later(at, &call, Err(Lost::NeverSent));
        } else if self.key_refused_since.is_none() && self.random.chance(self.calls.refused) {
            self.answer_later(at, &call, Err(Lost::Refused));
        } else {
            let deadline = self.now + DEADLINE;
            let answer_at = at + self.latency();
            if answer_at >= deadline || self.random.chance(self.calls.answer_lost) {
                self.tally.count(Count::LostAnswers);
                let is_cut_off = self.random.chance(0.5);
                let given_up_at = if is_cut_off {
                    deadline.min(at)
                } else {
                    deadline
                };
                self.give_up(given_up_at, &call);
                self.plan(at, Planned::CallArrives(Box::new(call), None));
            } else {
                let answer_at = Some((answer_at, self.boot));
                self.plan(at, Planned::CallArrives(Box::new(call), answer_at));
            }
        }
    }

    fn latency(&mut self) -> Duration {
        Duration::from_millis(if self.random.chance(self.calls.slow) {
            self.random.below(SLOWEST_CALL_MS)
        } else {
            2 + self.random.below(40)
        })
    }

    fn give_up(&mut self, at: Timestamp, call: &Call) {
        self.answer_later(at, call, Err(Lost::Answer));
    }

    fn answer_later(&mut self, at: Timestamp, call: &Call, result: Result<(), Lost>) {
        let Err(lost) = result else { return };
        let answer = Answer {
            pool: call.pool,
            outcome: lost.outcome(&call.what),
            news: lost.news(&call.what),
        };
        self.plan_mine(at, Planned::Answered(Box::new(answer)));
    }

    /// ChirpStack carries a call out, and answers then or never.
    pub(crate) fn on_call_arrives(&mut self, call: &Call, answer_at: Option<(Timestamp, u32)>) {
        let executed = self.execute(&call.what);
        let Some((at, boot)) = answer_at else { return };
        let (outcome, news) = match executed {
            Ok(news) => (Outcome::Answered, news),
            Err(lost) => (lost.outcome(&call.what), lost.news(&call.what)),
        };
        let answer = Answer {
            pool: call.pool,
            outcome,
            news,
        };
        if boot == self.boot {
            self.plan_mine(at, Planned::Answered(Box::new(answer)));
        }
    }

    fn execute(&mut self, what: &What) -> Result<News, Lost> {
        if self.key_refused_since.is_some() && self.network.is_server_up() {
            return Err(Lost::Key);
        }
        match what {
            What::Enqueue(slot, enqueue) => self.execute_enqueue(*slot, enqueue),
            What::ReadQueue(slot) => match self.network.queue(self.slots[*slot].dev_eui) {
                Ok(items) => {
                    let items = items.iter().map(as_read).collect();
                    Ok(News::Device(*slot, Event::QueueRead(items)))
                }
                Err(ApiFault::Unavailable) => Err(Lost::NeverSent),
                Err(_) => Err(Lost::Refused),
            },
            What::Look(slot) => match self.network.queue(self.slots[*slot].dev_eui) {
                Ok(items) => Ok(News::Seen(*slot, Some(items.iter().map(as_read).collect()))),
                Err(ApiFault::Unavailable) => Err(Lost::NeverSent),
                Err(_) => Err(Lost::Refused),
            },
            What::Flush(slot, seen) => {
                if !self.network.is_server_up() {
                    return Err(Lost::NeverSent);
                }
                self.check_flush(*slot, seen);
                let flushed = self.network.flush(self.now, self.slots[*slot].dev_eui);
                flushed.map_err(|_| Lost::Refused)?;
                Ok(News::Flushed(*slot))
            }
            What::ListGateways if self.network.is_server_up() => {
                Ok(News::Gateways(Some(self.listed_gateways())))
            }
            What::Ping if self.network.is_server_up() => Ok(News::Nothing),
            What::ListGateways | What::Ping => Err(Lost::NeverSent),
            What::Sync(request) => {
                let event = self.execute_sync(request);
                if self.network.is_server_up() {
                    Ok(News::Sync(request.slot, event))
                } else {
                    Err(Lost::NeverSent)
                }
            }
        }
    }

    fn execute_enqueue(&mut self, slot: usize, enqueue: &Enqueue) -> Result<News, Lost> {
        let dev_eui = self.slots[slot].dev_eui;
        let item = NewQueueItem {
            f_port: enqueue.frame.f_port.get(),
            payload: enqueue.frame.payload.clone(),
            confirmed: enqueue.confirmed,
            expires_at_us: Some(enqueue.expires_at.as_millis() * 1000),
            flush_queue: false,
        };
        let attempt = enqueue.attempt;
        let event = match self.network.enqueue(self.now, dev_eui, item) {
            Ok(queue_item_id) => {
                self.telling
                    .of(self.now, slot, "server", || format!("has {queue_item_id}"));
                let queue = self.network.queue(dev_eui).unwrap_or_default();
                let checked = self.slots[slot]
                    .promises
                    .check_item(queue_item_id, enqueue, &queue);
                self.check(checked.map_err(|broken| format!("device {slot}: {broken}")));
                self.count_turns();
                Event::Enqueued {
                    attempt,
                    queue_item_id,
                }
            }
            Err(ApiFault::Unavailable) => return Err(Lost::NeverSent),
            Err(ApiFault::UnknownDevice) => refused(enqueue, EnqueueFailure::UnknownDevice),
            Err(fault) => refused(enqueue, EnqueueFailure::Invalid(format!("{fault:?}"))),
        };
        Ok(News::Device(slot, event))
    }

    /// No more devices hold an item of ours than ChirpStack's scheduler takes up at once. There are fewer turns, but a
    /// pool that was started anew hears of those that are held one by one.
    fn count_turns(&mut self) {
        if self.random.below(COUNTED) > 0 {
            return;
        }
        let holds = |index: &usize| {
            let slot = &self.slots[*index];
            self.network.queue(slot.dev_eui).is_ok_and(|queue| {
                queue
                    .iter()
                    .any(|item| !item.is_pending && slot.promises.is_ours(item.id))
            })
        };
        let held = (0..self.slots.len()).filter(holds).count();
        if held > self.network.config().server.batch_size {
            self.check(Err(format!("{held} devices hold an item of ours")));
        }
    }

    pub(crate) fn on_answered(&mut self, answer: Answer) {
        let Answer {
            pool,
            outcome,
            news,
        } = answer;
        match news {
            News::Device(slot, event) => {
                if let Event::EnqueueFailed { failure, .. } = &event
                    && *failure != EnqueueFailure::Unknown
                    && pool == self.pool.number
                {
                    let dev_eui = self.slots[slot].dev_eui;
                    self.pool.pacer.not_enqueued(dev_eui);
                }
                self.mail(slot, event);
            }
            News::Gateways(list) => self.on_listed(list),
            News::Seen(slot, Some(items)) => self.on_queue_looked_at(slot, items),
            News::Seen(_, None) => self.end_look(),
            News::Flushed(slot) => self.on_queue_flushed(slot),
            News::Sync(slot, event) => self.on_sync_answer(slot, event),
            News::Nothing => {}
        }
        if pool != self.pool.number || self.is_down {
            return;
        }
        self.pool.calls -= 1;
        if let Some(call) = self.pool.held.pop_front() {
            self.start_call(call);
        }
        self.note_key(outcome);
        let clock = self.steady();
        match self.pool.circuit.on_result(clock, outcome) {
            Some(Transition::Opened) => {
                self.telling.all(self.now, "circuit", || "opens");
                self.tally.count(Count::CircuitOpenings);
                self.pool.is_away = true;
                self.pool.set_closed();
                self.pool.probe_at = Some(clock);
                self.syncer.set_away(true);
            }
            Some(Transition::Closed) => {
                self.telling.all(self.now, "circuit", || "closes");
                self.pool.is_away = false;
                self.pool.set_closed();
                self.pool.probe_at = None;
                self.on_server_returned();
            }
            None => {}
        }
        self.advance_pool();
    }

    /// Devices that wait are told whether it is the key for which they do.
    fn note_key(&mut self, outcome: Outcome) {
        let is_taken = match outcome {
            Outcome::Answered => true,
            Outcome::KeyRefused => false,
            Outcome::Unreachable | Outcome::NoRight => return,
        };
        if std::mem::replace(&mut self.pool.takes_key, is_taken) != is_taken {
            self.deliver_to_all(&Event::KeyTold(is_taken), true);
        }
    }

    /// The pool of calls is started anew: turns are gone, and answers come or not.
    pub(crate) fn restart_services(&mut self) {
        if self.is_down {
            return;
        }
        self.tally.count(Count::ServiceRestarts);
        self.pool = self.pool.next();
        self.recall_sent();
        self.deliver_to_all(&Event::ServicesRestarted, false);
        self.syncer.set_away(false);
        self.forget_syncs();
    }
}

/// Why there is no answer that says what became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    /// It was certainly not carried out.
    NeverSent,
    /// The server says that it failed.
    Refused,
    /// It says that it does not take the key.
    Key,
    /// Nobody knows.
    Answer,
}

impl Lost {
    fn outcome(self, what: &What) -> Outcome {
        match (self, what) {
            (Self::NeverSent | Self::Answer, _) => Outcome::Unreachable,
            (Self::Refused, _) => Outcome::Answered,
            // Others may be refused because they are about what is not the key's.
            (Self::Key, What::ListGateways | What::Look(_) | What::Flush(..) | What::Sync(_)) => {
                Outcome::NoRight
            }
            (Self::Key, What::Enqueue(..) | What::ReadQueue(_) | What::Ping) => Outcome::KeyRefused,
        }
    }

    fn news(self, what: &What) -> News {
        match what {
            What::Enqueue(slot, enqueue) => {
                let failure = match self {
                    Self::NeverSent => EnqueueFailure::Unavailable,
                    Self::Refused => EnqueueFailure::Refused("INTERNAL".to_owned()),
                    Self::Key => EnqueueFailure::KeyRefused,
                    Self::Answer => EnqueueFailure::Unknown,
                };
                News::Device(*slot, refused(enqueue, failure))
            }
            What::ReadQueue(slot) => News::Device(*slot, Event::QueueReadFailed),
            What::ListGateways => News::Gateways(None),
            What::Look(slot) => News::Seen(*slot, None),
            What::Ping | What::Flush(..) => News::Nothing,
            What::Sync(request) => {
                let failure = match self {
                    Self::NeverSent => SyncFailure::Unavailable,
                    Self::Refused => SyncFailure::Refused("INTERNAL: connection reset".to_owned()),
                    Self::Key => SyncFailure::Unauthenticated,
                    Self::Answer => SyncFailure::AnswerLost,
                };
                News::Sync(request.slot, request.what.failed(request.number, failure))
            }
        }
    }
}

fn refused(enqueue: &Enqueue, failure: EnqueueFailure) -> Event {
    Event::EnqueueFailed {
        attempt: enqueue.attempt,
        failure,
    }
}

/// As GetQueue shows it.
fn as_read(item: &QueuedItem) -> QueueItem {
    QueueItem {
        id: item.id,
        f_port: item.f_port,
        payload: item.payload.clone(),
        confirmed: item.confirmed,
        is_pending: item.is_pending,
        expires_at: item
            .expires_at_us
            .map(|us| Timestamp::from_millis(us / 1000)),
    }
}

/// Nothing goes wrong with calls.
pub(crate) const NO_CALL_FAULTS: CallFaults = CallFaults {
    unavailable: 0.0,
    refused: 0.0,
    slow: 0.0,
    answer_lost: 0.0,
};
