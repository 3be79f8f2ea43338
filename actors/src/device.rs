//! One device: message to event, one step of its machine, save, then carry out the effects.
//!
//! Nothing is told and nothing is done before the step that caused it is committed. If a commit fails, the machine is
//! ahead of the store; then the actor ends and a new one takes up what is stored, as after a crash. There is only this
//! one way of recovery, for crashes, failed commits and restarts alike.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use downbeat_core::device::{Admission, Device, Effect, Enqueue, Event, Record, Request};
use downbeat_core::id::{DevEui, DownlinkId, QueueItemId, Scope};
use downbeat_core::network::{EnqueueFailure, NetworkEvent, QueueItem};
use downbeat_core::time::Timestamp;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{mpsc, oneshot};

use crate::chirpstack_pool::PoolMessage;
use crate::gateway_monitor::MonitorMessage;
use crate::observe::{DeviceView, FeedBody, FeedEvent};
use crate::order::{AskError, Cancellation, Order, Submission};
use crate::port::{DeviceChange, HistoryEntry, StoreError, StoredDevice};
use crate::system::Shared;
use crate::writer::{Write, WriterMessage};

/// A device with nothing to do is let go after this long.
const IDLE: Duration = Duration::from_mins(2);

/// An actor that is on its way out answers for so long those who were told its address before.
const FAREWELL: Duration = Duration::from_secs(1);

/// Messages that may wait while the device is loaded.
const BACKLOG_MAX: usize = 1024;

pub(crate) enum DeviceMessage {
    Loaded(Box<Result<Option<StoredDevice>, StoreError>>),
    Submit {
        scope: Scope,
        order: Order,
        reply: oneshot::Sender<Result<Submission, AskError>>,
    },
    Cancel {
        scope: Scope,
        id: DownlinkId,
        reply: oneshot::Sender<Result<Cancellation, AskError>>,
    },
    Network {
        scope: Scope,
        event: Box<NetworkEvent>,
        history: HistoryEntry,
        reply: oneshot::Sender<Result<(), AskError>>,
    },
    Wake {
        generation: u64,
    },
    TurnGranted,
    Enqueued {
        attempt: u32,
        queue_item_id: QueueItemId,
    },
    EnqueueFailed {
        attempt: u32,
        failure: EnqueueFailure,
    },
    QueueRead(Vec<QueueItem>),
    QueueReadFailed,
    GatewaysChanged,
    /// The pool was restarted: turns and calls under way are lost.
    ServicesRestarted,
    /// The writer was restarted: whether changes under way were stored is not known.
    WriterRestarted,
    Committed {
        seq: u64,
    },
    CommitFailed,
    /// Ends the actor in the way a bug would; for tests of the supervision.
    #[cfg(test)]
    Panic,
}

impl DeviceMessage {
    /// Whether it counts against the device's mailbox: those that come from outside do.
    pub(crate) fn is_admitted(&self) -> bool {
        matches!(
            self,
            Self::Submit { .. } | Self::Cancel { .. } | Self::Network { .. }
        )
    }
}

pub(crate) struct DeviceActor;

pub(crate) struct DeviceArguments {
    pub(crate) dev_eui: DevEui,
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct DeviceState {
    dev_eui: DevEui,
    shared: Arc<Shared>,
    life: Life,
}

enum Life {
    /// What is stored is not there yet.
    Loading(VecDeque<DeviceMessage>),
    Running(Box<Running>),
    /// On the way out: everybody who asks is told so.
    Ended(Ending),
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    UnknownDevice,
    StoreUnavailable,
}

struct Running {
    stored: StoredDevice,
    machine: Device,
    /// Steps that are not committed yet, oldest first.
    pending: VecDeque<Pending>,
    next_seq: u64,
    watchers: Vec<(DownlinkId, mpsc::UnboundedSender<Record>)>,
    last_view: Option<DeviceView>,
    timer: Option<Timestamp>,
    timer_generation: u64,
    last_used: Timestamp,
}

/// What waits for a commit.
struct Pending {
    seq: u64,
    at: Timestamp,
    effects: Vec<Effect>,
    /// What watchers see of the device, if that changed.
    view: Option<DeviceView>,
    reply: Option<Reply>,
}

enum Reply {
    Submitted(
        oneshot::Sender<Result<Submission, AskError>>,
        Box<Submission>,
        mpsc::UnboundedSender<Record>,
    ),
    Cancelled(
        oneshot::Sender<Result<Cancellation, AskError>>,
        Cancellation,
    ),
    Reported(oneshot::Sender<Result<(), AskError>>),
}

impl Actor for DeviceActor {
    type Msg = DeviceMessage;
    type State = DeviceState;
    type Arguments = DeviceArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<DeviceMessage>,
        arguments: DeviceArguments,
    ) -> Result<DeviceState, ActorProcessingErr> {
        let DeviceArguments { dev_eui, shared } = arguments;
        let store = Arc::clone(&shared.store);
        // The supervisor waits for this function, so the database is asked from a task.
        tokio::spawn(async move {
            let loaded = store.load(dev_eui).await;
            let _ = myself.cast(DeviceMessage::Loaded(Box::new(loaded)));
        });
        Ok(DeviceState {
            dev_eui,
            shared,
            life: Life::Loading(VecDeque::new()),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<DeviceMessage>,
        message: DeviceMessage,
        state: &mut DeviceState,
    ) -> Result<(), ActorProcessingErr> {
        match (&mut state.life, message) {
            (_, DeviceMessage::Loaded(loaded)) => state.on_loaded(&myself, *loaded),
            (Life::Loading(backlog), message) => {
                if backlog.len() < BACKLOG_MAX {
                    backlog.push_back(message);
                }
            }
            (Life::Running(_) | Life::Ended(_), message) => state.on_message(&myself, message),
        }
        Ok(())
    }
}

impl DeviceState {
    fn on_loaded(
        &mut self,
        myself: &ActorRef<DeviceMessage>,
        loaded: Result<Option<StoredDevice>, StoreError>,
    ) {
        let Life::Loading(backlog) = &mut self.life else {
            return;
        };
        let backlog = mem::take(backlog);
        let ending = match loaded {
            Ok(Some(stored)) => match self.take_up(stored) {
                Ok(()) => None,
                Err(error) => {
                    tracing::error!(device.dev_eui = %self.dev_eui, %error, "a device's stored state cannot be read");
                    Some(Ending::StoreUnavailable)
                }
            },
            Ok(None) => Some(Ending::UnknownDevice),
            Err(error) => {
                tracing::warn!(device.dev_eui = %self.dev_eui, %error, "a device could not be loaded");
                Some(Ending::StoreUnavailable)
            }
        };
        if let Some(ending) = ending {
            self.end(myself, ending, "could not be loaded");
            if matches!(ending, Ending::StoreUnavailable) {
                // It may have unfinished work; what was asked meanwhile is refused.
                self.shared.restore_later(self.dev_eui);
            }
        }
        // What a crash may have left undone, and whatever became due since.
        self.step(myself, Event::Elapsed, None, None);
        for message in backlog {
            self.on_message(myself, message);
        }
    }

    /// Runs from what is stored, and performs what a crash may have left undone.
    fn take_up(&mut self, stored: StoredDevice) -> Result<(), serde_json::Error> {
        let shared = Arc::clone(&self.shared);
        let now = shared.clock.now();
        let mut machine = match &stored.state {
            Some(state) => serde_json::from_str(state)?,
            None => Device::new(
                stored.codec,
                shared.policy.clone(),
                shared.seed(self.dev_eui),
            ),
        };
        let effects = machine.restore(shared.policy.clone(), now);
        shared.set_unfinished(self.dev_eui, !machine.is_idle());
        self.life = Life::Running(Box::new(Running {
            stored,
            machine,
            pending: VecDeque::new(),
            next_seq: 0,
            watchers: Vec::new(),
            last_view: None,
            timer: None,
            timer_generation: 0,
            last_used: now,
        }));
        for effect in effects {
            self.perform_at_once(&effect);
        }
        Ok(())
    }

    /// Leaves: from here on a new actor takes the messages, from what is stored.
    fn end(&mut self, myself: &ActorRef<DeviceMessage>, ending: Ending, reason: &str) {
        tracing::debug!(device.dev_eui = %self.dev_eui, reason, "a device's actor ends");
        self.life = Life::Ended(ending);
        self.shared.leave(self.dev_eui, myself.get_id());
        // Those who hold its address already are still answered.
        let myself = myself.clone();
        tokio::spawn(async move {
            tokio::time::sleep(FAREWELL).await;
            myself.stop(None);
        });
    }

    fn on_message(&mut self, myself: &ActorRef<DeviceMessage>, message: DeviceMessage) {
        if message.is_admitted() {
            self.shared.left_mailbox(self.dev_eui);
        }
        if let Life::Ended(ending) = &self.life {
            refuse(message, *ending);
            return;
        }
        match message {
            DeviceMessage::Submit {
                scope,
                order,
                reply,
            } => self.on_submit(myself, scope, &order, reply),
            DeviceMessage::Cancel { scope, id, reply } => self.on_cancel(myself, scope, id, reply),
            DeviceMessage::Network {
                scope,
                event,
                history,
                reply,
            } => {
                self.on_network(myself, scope, *event, history, reply);
            }
            DeviceMessage::Wake { generation } => self.on_wake(myself, generation),
            DeviceMessage::TurnGranted => self.step(myself, Event::TurnGranted, None, None),
            DeviceMessage::Enqueued {
                attempt,
                queue_item_id,
            } => {
                self.step(
                    myself,
                    Event::Enqueued {
                        attempt,
                        queue_item_id,
                    },
                    None,
                    None,
                );
            }
            DeviceMessage::EnqueueFailed { attempt, failure } => {
                self.step(
                    myself,
                    Event::EnqueueFailed { attempt, failure },
                    None,
                    None,
                );
            }
            DeviceMessage::QueueRead(items) => {
                self.step(myself, Event::QueueRead(items), None, None);
            }
            DeviceMessage::QueueReadFailed => self.step(myself, Event::QueueReadFailed, None, None),
            DeviceMessage::GatewaysChanged => self.step(myself, Event::GatewaysChanged, None, None),
            DeviceMessage::ServicesRestarted => {
                self.step(myself, Event::ServicesRestarted, None, None);
            }
            DeviceMessage::Committed { seq } => self.on_committed(seq),
            DeviceMessage::CommitFailed => self.reset(myself, "a commit failed"),
            DeviceMessage::WriterRestarted => self.reset(myself, "the writer was restarted"),
            DeviceMessage::Loaded(_) => {}
            #[cfg(test)]
            DeviceMessage::Panic => panic!("as a test asked"),
        }
    }

    fn on_submit(
        &mut self,
        myself: &ActorRef<DeviceMessage>,
        scope: Scope,
        order: &Order,
        reply: oneshot::Sender<Result<Submission, AskError>>,
    ) {
        if let Some(known) = self.known(scope, order) {
            let _ = reply.send(Ok(known));
            return;
        }
        let now = self.shared.clock.now();
        let request = match self.request(scope, order, now) {
            Ok(request) => request,
            Err(error) => {
                let _ = reply.send(Err(error));
                return;
            }
        };
        let id = request.id;
        self.step(
            myself,
            Event::Requested(request),
            None,
            Some(Asked::Submit(id, reply)),
        );
    }

    /// A command that is under way already: accepted by an actor that ended before it could say so.
    fn known(&mut self, scope: Scope, order: &Order) -> Option<Submission> {
        self.running_for(scope).ok()?;
        let Life::Running(running) = &mut self.life else {
            return None;
        };
        let downlink = running
            .machine
            .unfinished()
            .find(|known| Some(known.id) == order.id)?
            .clone();
        let (sender, updates) = mpsc::unbounded_channel();
        running.watchers.push((downlink.id, sender));
        Some(Submission { downlink, updates })
    }

    fn request(&self, scope: Scope, order: &Order, now: Timestamp) -> Result<Request, AskError> {
        let running = self.running_for(scope)?;
        if running.machine.admission() == Admission::Full {
            return Err(AskError::DeviceBusy);
        }
        let id = order
            .id
            .unwrap_or_else(|| DownlinkId::from_uuid(uuid::Uuid::now_v7()));
        let mut request = Request::new(
            id,
            running.machine.codec(),
            &order.command,
            order.confirmed,
            order.verify,
        )
        .map_err(AskError::NotUnderstood)?;
        request.transient = order.transient;
        request.attempts_max = order.attempts_max;
        request.expires_at = order.ttl.map(|ttl| now + ttl);
        Ok(request)
    }

    fn running_for(&self, scope: Scope) -> Result<&Running, AskError> {
        match &self.life {
            Life::Running(running) if scope.contains(running.stored.tenant_id) => Ok(running),
            Life::Running(_) | Life::Loading(_) | Life::Ended(_) => Err(AskError::UnknownDevice),
        }
    }

    fn on_cancel(
        &mut self,
        myself: &ActorRef<DeviceMessage>,
        scope: Scope,
        id: DownlinkId,
        reply: oneshot::Sender<Result<Cancellation, AskError>>,
    ) {
        match self.running_for(scope).map(|running| {
            running
                .machine
                .unfinished()
                .any(|downlink| downlink.id == id)
        }) {
            Ok(true) => self.step(
                myself,
                Event::CancelRequested(id),
                None,
                Some(Asked::Cancel(id, reply)),
            ),
            Ok(false) => {
                let _ = reply.send(Ok(Cancellation::NotUnderWay));
            }
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    fn on_network(
        &mut self,
        myself: &ActorRef<DeviceMessage>,
        scope: Scope,
        event: NetworkEvent,
        history: HistoryEntry,
        reply: oneshot::Sender<Result<(), AskError>>,
    ) {
        if let Err(error) = self.running_for(scope) {
            let _ = reply.send(Err(error));
            return;
        }
        self.shared
            .monitor(MonitorMessage::of_event(self.dev_eui, &event));
        self.step(
            myself,
            Event::Network(event),
            Some(history),
            Some(Asked::Report(reply)),
        );
    }

    fn on_wake(&mut self, myself: &ActorRef<DeviceMessage>, generation: u64) {
        let now = self.shared.clock.now();
        let Life::Running(running) = &mut self.life else {
            return;
        };
        if generation != running.timer_generation {
            return;
        }
        running.timer = None;
        let rested = now.since(running.last_used) >= IDLE;
        if rested && running.machine.is_idle() && running.pending.is_empty() {
            self.shared.leave(self.dev_eui, myself.get_id());
            // Messages that came in between are still answered.
            let _ = myself.drain();
            return;
        }
        self.step(myself, Event::Elapsed, None, None);
    }

    /// One step: the machine decides, the change is handed to the writer, the rest waits for the commit.
    fn step(
        &mut self,
        myself: &ActorRef<DeviceMessage>,
        event: Event,
        history: Option<HistoryEntry>,
        asked: Option<Asked>,
    ) {
        let shared = Arc::clone(&self.shared);
        let now = shared.clock.now();
        let Life::Running(running) = &mut self.life else {
            return;
        };
        let saves = changes_state(&event);
        if asked.is_some() {
            running.last_used = now;
        }
        let effects = running.machine.step(now, event, &shared.gateways.borrow());
        let saves = saves
            || effects
                .iter()
                .any(|effect| matches!(effect, Effect::Record(_) | Effect::Enqueue(_)));
        let (at_once, after_commit): (Vec<Effect>, Vec<Effect>) = effects
            .into_iter()
            .partition(|effect| !matches!(effect, Effect::Record(_) | Effect::Enqueue(_)));
        if saves {
            running.save(
                myself,
                &shared,
                now,
                self.dev_eui,
                after_commit,
                history,
                asked,
            );
        }
        running.set_timer(&shared, self.dev_eui, now);
        for effect in at_once {
            self.perform_at_once(&effect);
        }
    }

    /// Effects that promise nothing and change nothing outside need not wait for the commit.
    fn perform_at_once(&self, effect: &Effect) {
        let dev_eui = self.dev_eui;
        let message = match effect {
            Effect::AskTurn(priority) => PoolMessage::AskTurn {
                dev_eui,
                priority: *priority,
            },
            Effect::HoldTurn => PoolMessage::HoldTurn { dev_eui },
            Effect::EndTurn => PoolMessage::EndTurn { dev_eui },
            Effect::ReadQueue => PoolMessage::ReadQueue { dev_eui },
            Effect::Enqueue(_) | Effect::Record(_) => return,
        };
        self.shared.pool(message);
    }

    fn on_committed(&mut self, seq: u64) {
        let shared = Arc::clone(&self.shared);
        let dev_eui = self.dev_eui;
        let Life::Running(running) = &mut self.life else {
            return;
        };
        while running
            .pending
            .front()
            .is_some_and(|pending| pending.seq <= seq)
        {
            let Some(pending) = running.pending.pop_front() else {
                return;
            };
            running.release(&shared, dev_eui, pending);
        }
        shared.set_unfinished(dev_eui, !running.machine.is_idle());
    }

    /// The machine is ahead of the store, or may be: start anew from what is stored.
    fn reset(&mut self, myself: &ActorRef<DeviceMessage>, reason: &str) {
        let Life::Running(running) = &mut self.life else {
            return;
        };
        if running.pending.is_empty() {
            return;
        }
        for pending in running.pending.drain(..) {
            if let Some(reply) = pending.reply {
                reply.store_unavailable();
            }
        }
        self.end(myself, Ending::StoreUnavailable, reason);
        self.shared.restore_later(self.dev_eui);
    }
}

/// Who waits for the step.
enum Asked {
    Submit(DownlinkId, oneshot::Sender<Result<Submission, AskError>>),
    Cancel(DownlinkId, oneshot::Sender<Result<Cancellation, AskError>>),
    Report(oneshot::Sender<Result<(), AskError>>),
}

/// Events after which the stored state must be the new one, whatever they lead to.
fn changes_state(event: &Event) -> bool {
    match event {
        Event::Requested(_)
        | Event::CancelRequested(_)
        | Event::Network(_)
        | Event::Enqueued { .. }
        | Event::EnqueueFailed { .. }
        | Event::QueueRead(_) => true,
        Event::TurnGranted
        | Event::QueueReadFailed
        | Event::GatewaysChanged
        | Event::ServicesRestarted
        | Event::Elapsed => false,
    }
}

impl Running {
    #[expect(
        clippy::too_many_arguments,
        reason = "straight-line continuation of `step`, called from there alone"
    )]
    fn save(
        &mut self,
        myself: &ActorRef<DeviceMessage>,
        shared: &Shared,
        now: Timestamp,
        dev_eui: DevEui,
        effects: Vec<Effect>,
        history: Option<HistoryEntry>,
        asked: Option<Asked>,
    ) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let records = effects
            .iter()
            .filter_map(|effect| {
                if let Effect::Record(record) = effect {
                    Some(record.as_ref().clone())
                } else {
                    None
                }
            })
            .collect::<Vec<Record>>();
        let reply = asked.and_then(|asked| self.reply(asked, &records));
        let view = self.view(dev_eui);
        let change = DeviceChange {
            dev_eui,
            device_id: self.stored.device_id,
            tenant_id: self.stored.tenant_id,
            state: serde_json::to_string(&self.machine)
                .expect("the machine's maps have text keys and its floats are finite"),
            unfinished: !self.machine.is_idle(),
            at: now,
            last_seen: view.last_seen,
            rssi_dbm: view.rssi_dbm,
            snr_db: view.snr_db,
            battery_percent: view.battery_percent,
            desired: view.desired,
            reported: view.reported,
            records,
            history,
        };
        shared.set_unfinished(dev_eui, change.unfinished);
        let view = (self.last_view.as_ref() != Some(&view)).then_some(view);
        if view.is_some() {
            self.last_view.clone_from(&view);
        }
        self.pending.push_back(Pending {
            seq,
            at: now,
            effects,
            view,
            reply,
        });
        shared.writer(WriterMessage::Write(Box::new(Write {
            change,
            device: myself.clone(),
            seq,
        })));
    }

    /// What is to be answered after the commit. A machine that did not take the request is full.
    fn reply(&self, asked: Asked, records: &[Record]) -> Option<Reply> {
        match asked {
            Asked::Report(reply) => Some(Reply::Reported(reply)),
            Asked::Submit(id, reply) => {
                let Some(downlink) = self.machine.unfinished().find(|downlink| downlink.id == id)
                else {
                    let _ = reply.send(Err(AskError::DeviceBusy));
                    return None;
                };
                let (sender, updates) = mpsc::unbounded_channel();
                {
                    let submission = Box::new(Submission {
                        downlink: downlink.clone(),
                        updates,
                    });
                    Some(Reply::Submitted(reply, submission, sender))
                }
            }
            Asked::Cancel(id, reply) => {
                let cancelled = records.iter().rev().find(|record| record.downlink.id == id);
                let answer = cancelled.map_or(Cancellation::NotUnderWay, |record| {
                    Cancellation::Cancelled(Box::new(record.downlink.clone()))
                });
                Some(Reply::Cancelled(reply, answer))
            }
        }
    }

    fn view(&self, dev_eui: DevEui) -> DeviceView {
        let best = self.machine.receptions().first();
        DeviceView {
            device_id: self.stored.device_id,
            dev_eui,
            last_seen: self.machine.last_seen(),
            rssi_dbm: best.map(|reception| reception.rssi_dbm),
            snr_db: best.map(|reception| reception.snr_db),
            battery_percent: self.machine.battery_percent(),
            desired: self.machine.desired().map(|desired| desired.light),
            reported: self
                .machine
                .reported()
                .and_then(|reported| reported.report.light.map(|light| (light, reported.at))),
        }
    }

    /// The commit has come: answer, tell all who watch, and do what was to be done.
    fn release(&mut self, shared: &Shared, dev_eui: DevEui, pending: Pending) {
        let Pending {
            at,
            effects,
            view,
            reply,
            ..
        } = pending;
        let tenant_id = Some(self.stored.tenant_id);
        for effect in effects {
            match effect {
                Effect::Record(record) => {
                    self.tell_watchers(&record);
                    shared.feed.publish(FeedEvent {
                        at,
                        tenant_id,
                        body: FeedBody::Downlink(record, dev_eui),
                    });
                }
                Effect::Enqueue(Enqueue {
                    attempt,
                    frame,
                    confirmed,
                    expires_at,
                    ..
                }) => {
                    shared.pool(PoolMessage::Enqueue {
                        dev_eui,
                        attempt,
                        frame,
                        confirmed,
                        expires_at,
                    });
                }
                Effect::AskTurn(_) | Effect::HoldTurn | Effect::EndTurn | Effect::ReadQueue => {}
            }
        }
        if let Some(view) = view {
            shared.feed.publish(FeedEvent {
                at,
                tenant_id,
                body: FeedBody::Device(view),
            });
        }
        match reply {
            // A caller that has gone away is no reason not to go on.
            Some(Reply::Submitted(reply, submission, sender)) => {
                self.watchers.push((submission.downlink.id, sender));
                let _ = reply.send(Ok(*submission));
            }
            Some(Reply::Cancelled(reply, answer)) => {
                let _ = reply.send(Ok(answer));
            }
            Some(Reply::Reported(reply)) => {
                let _ = reply.send(Ok(()));
            }
            None => {}
        }
    }

    fn tell_watchers(&mut self, record: &Record) {
        let id = record.downlink.id;
        self.watchers.retain(|(watched, sender)| {
            if *watched != id {
                return !sender.is_closed();
            }
            sender.send(record.clone()).is_ok() && !record.downlink.state.is_terminal()
        });
    }

    /// One timer: the machine's next look, or the end of an idle device's stay.
    fn set_timer(&mut self, shared: &Shared, dev_eui: DevEui, now: Timestamp) {
        let idle_at = self.last_used.max(now) + IDLE;
        let wake = self
            .machine
            .next_wake()
            .map_or(idle_at, |wake| wake.min(idle_at));
        if self.timer.is_some_and(|armed| armed <= wake && armed > now) {
            return;
        }
        self.timer = Some(wake);
        self.timer_generation += 1;
        shared.timers().set(
            dev_eui,
            self.timer_generation,
            Some(shared.clock.instant(wake)),
        );
    }
}

impl Reply {
    fn store_unavailable(self) {
        match self {
            Self::Submitted(reply, ..) => drop(reply.send(Err(AskError::StoreUnavailable))),
            Self::Cancelled(reply, _) => drop(reply.send(Err(AskError::StoreUnavailable))),
            Self::Reported(reply) => drop(reply.send(Err(AskError::StoreUnavailable))),
        }
    }
}

/// Answers who asks a device that is on its way out.
fn refuse(message: DeviceMessage, ending: Ending) {
    let error = || match ending {
        Ending::UnknownDevice => AskError::UnknownDevice,
        Ending::StoreUnavailable => AskError::StoreUnavailable,
    };
    match message {
        DeviceMessage::Submit { reply, .. } => drop(reply.send(Err(error()))),
        DeviceMessage::Cancel { reply, .. } => drop(reply.send(Err(error()))),
        DeviceMessage::Network { reply, .. } => drop(reply.send(Err(error()))),
        DeviceMessage::Loaded(_)
        | DeviceMessage::Wake { .. }
        | DeviceMessage::TurnGranted
        | DeviceMessage::Enqueued { .. }
        | DeviceMessage::EnqueueFailed { .. }
        | DeviceMessage::QueueRead(_)
        | DeviceMessage::QueueReadFailed
        | DeviceMessage::GatewaysChanged
        | DeviceMessage::ServicesRestarted
        | DeviceMessage::WriterRestarted
        | DeviceMessage::Committed { .. }
        | DeviceMessage::CommitFailed => {}
        #[cfg(test)]
        DeviceMessage::Panic => {}
    }
}

/// Decrements a mailbox's count; never below nothing.
pub(crate) fn leave_mailbox(depth: &std::sync::atomic::AtomicUsize) {
    let _ = depth.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |depth| {
        depth.checked_sub(1)
    });
}
