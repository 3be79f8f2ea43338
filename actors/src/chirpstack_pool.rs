//! The only place that calls the network server: bounded, with a circuit breaker, and by turns.
//!
//! Devices ask for a turn before they may enqueue ([`downbeat_core::pacer`]); while the server does not answer, nobody
//! gets one and the pool alone asks whether it is back. Nor does anybody before it is known what was sent in the last
//! hour: budgets outlive a restart. All times are those of the steady clock. Calls run in tasks and come back as messages; those that change nothing are repeated.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::Duration;

use downbeat_core::circuit::{Admission, Circuit, CircuitConfig, Outcome, Transition};
use downbeat_core::codec::Frame;
use downbeat_core::gateway::ListedGateway;
use downbeat_core::id::{DevEui, NetworkServerId};
use downbeat_core::network::{EnqueueFailure, NetworkEvent, Reception, Transmitted};
use downbeat_core::pacer::{Ask, Pacer, PacerConfig, SentLately};
use downbeat_core::radio::Modulation;
use downbeat_core::random::Random;
use downbeat_core::region::DUTY_CYCLE_WINDOW;
use downbeat_core::time::Timestamp;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::device::DeviceMessage;
use crate::link::Link;
use crate::mailbox::{Post as _, taken};
use crate::port::{NetworkServer, NetworkServerError, NewQueueItem};
use crate::synchronizer::SyncMessage;
use crate::system::Shared;

/// Calls under way at once at the most; further ones wait for a place.
const CALLS_MAX: usize = 32;

/// The budgets are published at most so often.
const PUBLISH_PAUSE: Duration = Duration::from_secs(1);

/// And at least so often: what was sent grows old without any event.
const STALE_AFTER: Duration = Duration::from_secs(30);

/// A call that changes nothing and was not answered is made again after these, ±10 %.
const REPEATED_AFTER: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(600)];

/// A database that could not tell what was sent is asked again after this.
const RECALL_PAUSE: Duration = Duration::from_secs(1);

pub(crate) enum PoolMessage {
    AskTurn(Box<Ask>),
    /// With the time from when until when its item was tried, as far as is known.
    HoldTurn(Box<Ask>, Option<(Timestamp, Timestamp)>),
    EndTurn {
        dev_eui: DevEui,
    },
    Enqueue {
        dev_eui: DevEui,
        attempt: u32,
        frame: Frame,
        confirmed: bool,
        expires_at: Timestamp,
        /// Since when it would have been with us, had the air been free, where that is measured.
        own_since: Option<Instant>,
    },
    ReadQueue {
        dev_eui: DevEui,
    },
    ListGateways {
        reply: oneshot::Sender<Vec<ListedGateway>>,
    },
    /// Any other call.
    Run(Job),
    /// A gateway took a frame of a device.
    Transmitted {
        dev_eui: DevEui,
        event: Transmitted,
    },
    /// A gateway refused one.
    Refused {
        dev_eui: DevEui,
        status: String,
    },
    /// A device spoke.
    Heard {
        dev_eui: DevEui,
        receptions: Vec<Reception>,
        modulation: Option<Modulation>,
    },
    /// An item certainly did not get into the queue.
    NotEnqueued {
        dev_eui: DevEui,
    },
    /// What was sent in the last hour, before this pool was there.
    Recalled(SentLately),
    /// A call has ended.
    Called(Outcome),
    /// Time to look again: at the turns, or whether the server is back.
    Wake {
        generation: u64,
    },
}

impl PoolMessage {
    /// Whether it may change the budgets.
    fn concerns_budgets(&self) -> bool {
        match self {
            Self::AskTurn(_)
            | Self::HoldTurn(..)
            | Self::EndTurn { .. }
            | Self::Transmitted { .. }
            | Self::Refused { .. }
            | Self::Recalled(_) => true,
            Self::Enqueue { .. }
            | Self::NotEnqueued { .. }
            | Self::ReadQueue { .. }
            | Self::ListGateways { .. }
            | Self::Run(_)
            | Self::Heard { .. }
            | Self::Called(_)
            | Self::Wake { .. } => false,
        }
    }

    /// What a device's event tells of the air.
    pub(crate) fn of_event(dev_eui: DevEui, event: &NetworkEvent) -> Option<Self> {
        match event {
            NetworkEvent::Heard(uplink) => Some(Self::Heard {
                dev_eui,
                receptions: uplink.receptions.clone(),
                modulation: uplink.modulation,
            }),
            NetworkEvent::Transmitted(event) => Some(Self::Transmitted {
                dev_eui,
                event: *event,
            }),
            NetworkEvent::Refused(event) => Some(Self::Refused {
                dev_eui,
                status: event.status.clone(),
            }),
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

/// A call, given the server if one may be called now. It tells whoever asked, and the pool whether the server was heard.
pub(crate) type Job =
    Box<dyn FnOnce(Option<Arc<dyn NetworkServer>>) -> BoxFuture<'static, Outcome> + Send>;

pub(crate) struct ChirpstackPool;

pub(crate) struct PoolArguments {
    pub(crate) shared: Weak<Shared>,
    pub(crate) link: Arc<Link>,
    /// `None` where none is configured: commands wait.
    pub(crate) server: Option<Arc<dyn NetworkServer>>,
    pub(crate) pacing: PacerConfig,
    pub(crate) circuit: CircuitConfig,
}

pub(crate) struct PoolState {
    shared: Weak<Shared>,
    link: Arc<Link>,
    server: Option<Arc<dyn NetworkServer>>,
    pacer: Pacer,
    /// Since when devices wait for a turn.
    asked: HashMap<DevEui, Instant>,
    /// What was sent in the last hour is known.
    recalled: bool,
    /// The server is away.
    away: bool,
    published_at: Option<Timestamp>,
    /// Something happened since that may have changed the budgets.
    is_outdated: bool,
    random: Random,
    circuit: Circuit,
    /// While the circuit is open: when to ask whether the server is back.
    probe_at: Option<Timestamp>,
    calls: Arc<Semaphore>,
    alarm: Option<Alarm>,
    generation: u64,
    turns: ToldTurns,
}

/// Wakes the pool.
struct Alarm {
    at: Timestamp,
    task: JoinHandle<()>,
}

/// What this pool has added to the gauges of turns, in which those of all network servers add up.
#[derive(Default)]
struct ToldTurns {
    held: u32,
    waiting: u32,
}

impl ToldTurns {
    fn tell(&mut self, (held, waiting): (usize, usize)) {
        let now = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let tell = |gauge: metrics::Gauge, told: &mut u32, count: u32| {
            if count != *told {
                gauge.increment(f64::from(count) - f64::from(*told));
                *told = count;
            }
        };
        tell(
            metrics::gauge!("downbeat_turns_held"),
            &mut self.held,
            now(held),
        );
        tell(
            metrics::gauge!("downbeat_turns_waiting"),
            &mut self.waiting,
            now(waiting),
        );
    }
}

impl Drop for ToldTurns {
    fn drop(&mut self) {
        self.tell((0, 0));
    }
}

impl Drop for PoolState {
    fn drop(&mut self) {
        if let Some(alarm) = self.alarm.take() {
            alarm.task.abort();
        }
    }
}

impl Actor for ChirpstackPool {
    type Msg = PoolMessage;
    type State = PoolState;
    type Arguments = PoolArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<PoolMessage>,
        arguments: PoolArguments,
    ) -> Result<PoolState, ActorProcessingErr> {
        let mut pacer = Pacer::new(arguments.pacing);
        pacer.set_closed(true);
        if let Some(shared) = arguments.shared.upgrade() {
            tokio::spawn(recall(myself, shared, arguments.link.id));
        }
        let (_, seed) = arguments.link.id.as_uuid().as_u64_pair();
        Ok(PoolState {
            pacer,
            asked: HashMap::new(),
            recalled: false,
            away: false,
            published_at: None,
            is_outdated: true,
            random: Random::from_seed(seed),
            shared: arguments.shared,
            link: arguments.link,
            server: arguments.server,
            circuit: Circuit::new(arguments.circuit),
            probe_at: None,
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
            alarm: None,
            generation: 0,
            turns: ToldTurns::default(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<PoolMessage>,
        message: PoolMessage,
        state: &mut PoolState,
    ) -> Result<(), ActorProcessingErr> {
        taken::<PoolMessage>();
        let Some(shared) = state.shared.upgrade() else {
            myself.stop(None);
            return Ok(());
        };
        state.is_outdated |= message.concerns_budgets();
        state.on_message(&myself, &shared, message);
        state.advance(&myself, &shared);
        Ok(())
    }
}

impl PoolState {
    fn on_message(
        &mut self,
        myself: &ActorRef<PoolMessage>,
        shared: &Arc<Shared>,
        message: PoolMessage,
    ) {
        let now = shared.clock.steady();
        match message {
            PoolMessage::AskTurn(ask) => {
                self.asked.entry(ask.device).or_insert_with(Instant::now);
                self.pacer.ask(now, *ask);
            }
            PoolMessage::HoldTurn(ask, tried) => {
                self.asked.remove(&ask.device);
                self.pacer.hold(now, *ask, tried);
            }
            PoolMessage::EndTurn { dev_eui } => {
                self.asked.remove(&dev_eui);
                self.pacer.end(now, dev_eui);
            }
            PoolMessage::Enqueue {
                dev_eui,
                attempt,
                frame,
                confirmed,
                expires_at,
                own_since,
            } => {
                let item = NewQueueItem {
                    f_port: frame.f_port.get(),
                    payload: frame.payload,
                    confirmed,
                    expires_at,
                };
                self.enqueue(myself, shared, dev_eui, attempt, item, own_since);
            }
            PoolMessage::ReadQueue { dev_eui } => self.read_queue(myself, shared, dev_eui),
            PoolMessage::ListGateways { reply } => self.list_gateways(myself, shared, reply),
            PoolMessage::Run(job) => self.run(myself, shared, job),
            PoolMessage::Transmitted { dev_eui, event } => {
                self.pacer.transmitted(now, dev_eui, &event);
            }
            PoolMessage::Refused { dev_eui, status } => self.pacer.refused(now, dev_eui, &status),
            PoolMessage::Heard {
                dev_eui,
                receptions,
                modulation,
            } => self.pacer.heard(now, dev_eui, &receptions, modulation),
            PoolMessage::NotEnqueued { dev_eui } => self.pacer.not_enqueued(dev_eui),
            PoolMessage::Recalled(sent) => {
                self.pacer.recall(now, sent);
                self.recalled = true;
                self.set_closed();
            }
            PoolMessage::Called(outcome) => self.on_called(shared, outcome),
            PoolMessage::Wake { generation } => {
                if generation == self.generation {
                    self.alarm = None;
                }
            }
        }
    }

    fn on_called(&mut self, shared: &Shared, outcome: Outcome) {
        let now = shared.clock.steady();
        self.note_key(shared, outcome);
        match self.circuit.on_result(now, outcome) {
            Some(Transition::Opened) => {
                tracing::warn!(
                    ?outcome,
                    "the network server does not answer, or not to this key; commands wait until it does"
                );
                self.away = true;
                self.set_closed();
                self.probe_at = Some(now);
                self.link.set_answers(false);
                self.link.synchronizer(SyncMessage::ServerAway);
            }
            Some(Transition::Closed) => {
                tracing::info!("the network server answers again");
                self.away = false;
                self.set_closed();
                self.probe_at = None;
                self.link.set_answers(true);
                self.link.synchronizer(SyncMessage::ServerReturned);
            }
            None if outcome == Outcome::Answered => self.link.set_answers(true),
            None => {}
        }
    }

    /// Nobody gets a turn while there is no server, it is away, or what was sent lately is not known.
    fn set_closed(&mut self) {
        let closed = self.server.is_none() || self.away || !self.recalled;
        self.pacer.set_closed(closed);
    }

    /// When the budgets are to be published next.
    fn publish_at(&self) -> Option<Timestamp> {
        let pause = if self.is_outdated {
            PUBLISH_PAUSE
        } else {
            STALE_AFTER
        };
        self.published_at.map(|at| at + pause)
    }

    /// Publishes the budgets, for anyone to read; so often that a reader notices nothing.
    fn publish(&mut self, now: Timestamp, clock: &Clock) {
        if self.publish_at().is_none_or(|at| at <= now) {
            self.published_at = Some(now);
            self.is_outdated = false;
            let snapshot = self.pacer.snapshot(now);
            let ahead_ms = clock.steps().ahead_ms();
            self.link
                .publish_airtime(snapshot.told_by_clock_ahead(ahead_ms));
        }
    }

    /// A call that changes nothing, made again after a short pause if no answer came.
    fn repeated<T, Answer>(
        &mut self,
        call: impl Fn() -> Answer + Send + 'static,
    ) -> impl Future<Output = Result<T, NetworkServerError>> + Send + 'static
    where
        T: Send,
        Answer: Future<Output = Result<T, NetworkServerError>> + Send,
    {
        let pauses = REPEATED_AFTER.map(|pause| self.random.jittered(pause));
        async move {
            for pause in pauses {
                match call().await {
                    Err(error) if error.is_unreachable() => tokio::time::sleep(pause).await,
                    answer => return answer,
                }
            }
            call().await
        }
    }

    /// Devices say in words that it is the key for which they wait.
    fn note_key(&self, shared: &Shared, outcome: Outcome) {
        let is_taken = match outcome {
            Outcome::Answered => true,
            Outcome::KeyRefused => false,
            Outcome::Unreachable | Outcome::NoRight => return,
        };
        if self.link.set_key_taken(is_taken) {
            shared.tell_unfinished_of(self.link.id, || DeviceMessage::KeyTold(is_taken));
        }
    }

    /// Gives out turns, asks whether the server is back, and sets the alarm for the next look.
    fn advance(&mut self, myself: &ActorRef<PoolMessage>, shared: &Arc<Shared>) {
        let now = shared.clock.steady();
        for dev_eui in self.pacer.grant(now) {
            let key = self.link.key(dev_eui);
            let asked = self.asked.remove(&dev_eui);
            let paced = asked.map_or(Duration::ZERO, |at| at.elapsed());
            if !shared.deliver(key, DeviceMessage::TurnGranted { paced }) {
                self.pacer.end(now, dev_eui);
            }
        }
        self.publish(now, &shared.clock);
        if self.probe_at.is_some_and(|probe_at| probe_at <= now) {
            self.probe(myself, shared, now);
        }
        self.turns.tell(self.pacer.counts());
        self.set_alarm(myself, shared);
    }

    fn set_alarm(&mut self, myself: &ActorRef<PoolMessage>, shared: &Shared) {
        let Some(at) = [self.pacer.next_wake(), self.probe_at, self.publish_at()]
            .into_iter()
            .flatten()
            .min()
        else {
            return;
        };
        // One that comes too soon changes nothing, and a new one for each message would cost more than that.
        if self.alarm.as_ref().is_some_and(|alarm| alarm.at <= at) {
            return;
        }
        if let Some(alarm) = self.alarm.take() {
            alarm.task.abort();
        }
        self.generation += 1;
        let (generation, instant, myself) = (
            self.generation,
            shared.clock.steady_instant(at),
            myself.clone(),
        );
        let task = tokio::spawn(async move {
            tokio::time::sleep_until(instant).await;
            let _ = myself.post(PoolMessage::Wake { generation });
        });
        self.alarm = Some(Alarm { at, task });
    }

    fn probe(&mut self, myself: &ActorRef<PoolMessage>, shared: &Arc<Shared>, now: Timestamp) {
        match self.circuit.admit(now) {
            Admission::No { retry_at } => self.probe_at = Some(retry_at),
            Admission::Yes | Admission::Probe => {
                // Asked again at the latest when this one counts as lost.
                self.probe_at = Some(now + downbeat_core::circuit::PROBE_LOST_AFTER);
                let Some(server) = self.server.clone() else {
                    return;
                };
                self.call(
                    myself,
                    shared,
                    async move { server.ping().await },
                    outcome_of_keyed,
                    |_, _| {},
                );
            }
        }
    }

    fn enqueue(
        &mut self,
        myself: &ActorRef<PoolMessage>,
        shared: &Arc<Shared>,
        dev_eui: DevEui,
        attempt: u32,
        item: NewQueueItem,
        own_since: Option<Instant>,
    ) {
        let key = self.link.key(dev_eui);
        let Some(server) = self.admitted(shared) else {
            let failure = EnqueueFailure::Unavailable;
            self.pacer.not_enqueued(dev_eui);
            shared.deliver(key, DeviceMessage::EnqueueFailed { attempt, failure });
            return;
        };
        self.pacer.enqueued(shared.clock.steady(), dev_eui);
        let call = async move {
            if let Some(since) = own_since {
                crate::measure::handed_over(since.elapsed());
            }
            server.enqueue(dev_eui, &item).await
        };
        let pool = myself.clone();
        self.call(
            myself,
            shared,
            call,
            outcome_of_keyed,
            move |shared, result| {
                let message = match result {
                    Ok(queue_item_id) => DeviceMessage::Enqueued {
                        attempt,
                        queue_item_id,
                    },
                    Err(error) => {
                        tracing::debug!(device.dev_eui = %dev_eui, %error, "an Enqueue failed");
                        let failure = error.as_enqueue_failure();
                        if failure != EnqueueFailure::Unknown {
                            let _ = pool.post(PoolMessage::NotEnqueued { dev_eui });
                        }
                        DeviceMessage::EnqueueFailed { attempt, failure }
                    }
                };
                shared.deliver(key, message);
            },
        );
    }

    fn read_queue(
        &mut self,
        myself: &ActorRef<PoolMessage>,
        shared: &Arc<Shared>,
        dev_eui: DevEui,
    ) {
        let key = self.link.key(dev_eui);
        let Some(server) = self.admitted(shared) else {
            shared.deliver(key, DeviceMessage::QueueReadFailed);
            return;
        };
        let call = self.repeated(move || {
            let server = Arc::clone(&server);
            async move { server.queue(dev_eui).await }
        });
        self.call(
            myself,
            shared,
            call,
            outcome_of_keyed,
            move |shared, result| {
                let message =
                    result.map_or(DeviceMessage::QueueReadFailed, DeviceMessage::QueueRead);
                shared.deliver(key, message);
            },
        );
    }

    fn list_gateways(
        &mut self,
        myself: &ActorRef<PoolMessage>,
        shared: &Arc<Shared>,
        reply: oneshot::Sender<Vec<ListedGateway>>,
    ) {
        // Who asked sees from the dropped reply that there is no list.
        let Some(server) = self.admitted(shared) else {
            return;
        };
        let call = self.repeated(move || {
            let server = Arc::clone(&server);
            async move { server.gateways().await }
        });
        self.call(
            myself,
            shared,
            call,
            outcome_of,
            move |_, result| match result {
                Ok(gateways) => drop(reply.send(gateways)),
                Err(error) => tracing::warn!(%error, "the gateways could not be listed"),
            },
        );
    }

    fn run(&mut self, myself: &ActorRef<PoolMessage>, shared: &Shared, job: Job) {
        let server = self.admitted(shared);
        let is_call = server.is_some();
        let (calls, myself) = (Arc::clone(&self.calls), myself.clone());
        tokio::spawn(async move {
            let outcome = {
                let _place = calls.acquire_owned().await;
                tokio::spawn(job(server)).await
            };
            if is_call {
                // A call that panics counts as one whose answer was lost.
                let outcome = outcome.unwrap_or(Outcome::Unreachable);
                let _ = myself.post(PoolMessage::Called(outcome));
            }
        });
    }

    /// The server, if there is one and its circuit lets a call through.
    fn admitted(&mut self, shared: &Shared) -> Option<Arc<dyn NetworkServer>> {
        let server = self.server.clone()?;
        match self.circuit.admit(shared.clock.steady()) {
            Admission::Yes | Admission::Probe => Some(server),
            Admission::No { .. } => None,
        }
    }

    /// Runs a call in a task of its own. A call that panics counts as one whose answer was lost.
    fn call<T: Send + 'static>(
        &self,
        myself: &ActorRef<PoolMessage>,
        shared: &Arc<Shared>,
        call: impl Future<Output = Result<T, NetworkServerError>> + Send + 'static,
        outcome_of: fn(&Result<T, NetworkServerError>) -> Outcome,
        deliver: impl FnOnce(&Shared, Result<T, NetworkServerError>) + Send + 'static,
    ) {
        let (calls, myself, shared) = (Arc::clone(&self.calls), myself.clone(), Arc::clone(shared));
        tokio::spawn(async move {
            let result = {
                let _place = calls.acquire_owned().await;
                AssertUnwindSafe(call).catch_unwind().await
            };
            let result =
                result.unwrap_or_else(|_| Err(NetworkServerError::AnswerLost(Box::new(Panicked))));
            let outcome = outcome_of(&result);
            deliver(&shared, result);
            let _ = myself.post(PoolMessage::Called(outcome));
        });
    }
}

/// A call of the network server ended in a panic.
#[derive(Debug, thiserror::Error)]
#[error("the call panicked")]
struct Panicked;

/// Learns what was sent in the last hour; as long as that is not known, nobody sends.
async fn recall(pool: ActorRef<PoolMessage>, shared: Arc<Shared>, server: NetworkServerId) {
    loop {
        // What was stored bears the wall clock's time.
        let steps = shared.clock.steps();
        let now = shared.clock.steady();
        let since = steps.least_shown_since(now - DUTY_CYCLE_WINDOW);
        match shared.store.sent_since(server, since).await {
            Ok(sent) => {
                let _ = pool.post(PoolMessage::Recalled(sent.by_steady(&steps, now)));
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "what was sent in the last hour could not be read; it is asked again");
            }
        }
        tokio::time::sleep(RECALL_PAUSE).await;
        if shared.stopping.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
    }
}

/// Whether the server was heard.
pub(crate) fn outcome_of<T>(result: &Result<T, NetworkServerError>) -> Outcome {
    match result {
        Err(error) if error.is_unreachable() => Outcome::Unreachable,
        Err(NetworkServerError::Unauthenticated) => Outcome::NoRight,
        Ok(_) | Err(_) => Outcome::Answered,
    }
}

/// The same for calls of which the implementation asks whether the key is accepted at all, before it says that it is
/// not. Others may be refused because they are about what is not the key's.
fn outcome_of_keyed<T>(result: &Result<T, NetworkServerError>) -> Outcome {
    match result {
        Err(NetworkServerError::Unauthenticated) => Outcome::KeyRefused,
        Ok(_) | Err(_) => outcome_of(result),
    }
}
