//! One device: message to event, one step of its machine, save, then carry out the effects.
//!
//! Nothing is told and nothing is done before the step that caused it is committed. If a commit fails, the machine is
//! ahead of the store; then the actor ends and a new one takes up what is stored, as after a crash. There is only this
//! one way of recovery, for crashes, failed commits and restarts alike.

mod running;

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use downbeat_core::device::{Admission, Device, Effect, Event, Request};
use downbeat_core::id::{DevEui, DownlinkId, QueueItemId, Scope};
use downbeat_core::network::{EnqueueFailure, NetworkEvent, QueueItem};
use downbeat_core::time::Timestamp;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{mpsc, oneshot};

use self::running::{Asked, Running, changes_state};
use crate::chirpstack_pool::PoolMessage;
use crate::gateway_monitor::MonitorMessage;
use crate::order::{AskError, Cancellation, Order, Submission};
use crate::port::{HistoryEntry, StoreError, StoredDevice};
use crate::system::Shared;

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
