//! One device: message to event, one step of its machine, save, then carry out the effects.
//!
//! Nothing is told and nothing is done before the step that caused it is committed. If a commit fails, the machine is
//! ahead of the store; then the actor ends and a new one takes up what is stored, as after a crash. There is only this
//! one way of recovery, for crashes, failed commits and restarts alike.

mod own_time;
mod running;
mod wish;

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use downbeat_core::codec::{CodecKind, Command};
use downbeat_core::device::{Admission, Device, Effect, Event, Origin, Presence, Request};
use downbeat_core::id::{DeviceKey, DownlinkId, QueueItemId, Scope, TenantId};
use downbeat_core::light::LightState;
use downbeat_core::link_quality::table::Owner;
use downbeat_core::network::{EnqueueFailure, NetworkEvent, QueueItem, Uplink};
use downbeat_core::time::Timestamp;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{mpsc, oneshot};

use self::own_time::OwnTime;
use self::running::{Asked, Kept, Running, changes_state};
use crate::chirpstack_pool::PoolMessage;
use crate::gateway_monitor::MonitorMessage;
use crate::link::Link;
use crate::mailbox::{Post as _, taken};
use crate::order::{
    AskError, Cancellation, Desire, Initialising, OfJob, Order, Report, Submission,
};
use crate::port::{
    AuditEntry, By, FieldPath, HistoryEntry, StoreError, StoredDevice, TelemetryValue,
};
use crate::system::Shared;
use crate::writer::WriterMessage;

/// A device with nothing to do is let go after this long.
const IDLE: Duration = Duration::from_mins(2);

/// The same while [`CROWD`] devices are in memory: an actor takes some 11 kB, and to load its device anew a fraction of a
/// millisecond.
const IDLE_IN_A_CROWD: Duration = Duration::from_secs(10);

/// So many devices in memory are many.
const CROWD: usize = 20_000;

/// How long a device with nothing to do stays, with so many in memory.
pub(crate) fn stay(devices: usize) -> Duration {
    if devices < CROWD {
        IDLE
    } else {
        IDLE_IN_A_CROWD
    }
}

/// An actor that is on its way out answers for so long those who were told its address before.
const FAREWELL: Duration = Duration::from_secs(1);

/// A registry that could not be read is asked again after this.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);

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
        /// Nobody, when the job that it is part of was taken back.
        by: Option<By>,
        reply: oneshot::Sender<Result<Cancellation, AskError>>,
    },
    Report {
        scope: Scope,
        report: Box<Report>,
        reply: oneshot::Sender<Result<(), AskError>>,
    },
    /// Somebody wants a light shown from now on.
    Desire {
        scope: Scope,
        id: DownlinkId,
        light: LightState,
        by: By,
        reply: oneshot::Sender<Result<Desire, AskError>>,
    },
    /// Nothing is wanted any more.
    ClearDesire {
        scope: Scope,
        by: By,
        reply: oneshot::Sender<Result<(), AskError>>,
    },
    /// Somebody wants it initialised.
    Initialise {
        scope: Scope,
        force: bool,
        by: Option<By>,
        reply: oneshot::Sender<Result<Initialising, AskError>>,
    },
    /// It is about to leave the registry, or to become another device.
    Retire {
        scope: Scope,
        reply: oneshot::Sender<Result<(), AskError>>,
    },
    /// Nothing was heard of it for long.
    Silent {
        reply: oneshot::Sender<Result<(), AskError>>,
    },
    /// The network server is still to be given the device, or has it.
    Awaited(bool),
    /// Whether the network server takes the key.
    KeyTold(bool),
    /// A tenant has other settings; it may be this device's.
    TenantChanged(TenantId),
    /// What the registry says of it may have changed.
    RegistryChanged,
    /// What it says now.
    Reloaded(Box<Result<Option<StoredDevice>, StoreError>>),
    Wake {
        generation: u64,
    },
    TurnGranted {
        /// For so long it had to wait.
        paced: Duration,
    },
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
    /// Which of these items of its queue are ours?
    Owns {
        items: Vec<QueueItem>,
        reply: oneshot::Sender<Vec<bool>>,
    },
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
            Self::Submit { .. }
                | Self::Cancel { .. }
                | Self::Desire { .. }
                | Self::ClearDesire { .. }
                | Self::Initialise { .. }
                | Self::Report { .. }
                | Self::Retire { .. }
                | Self::Silent { .. }
        )
    }
}

pub(crate) struct DeviceActor;

pub(crate) struct DeviceArguments {
    pub(crate) key: DeviceKey,
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct DeviceState {
    key: DeviceKey,
    shared: Arc<Shared>,
    link: Arc<Link>,
    life: Life,
    /// Commands that came while the device was about to leave the registry, until it is known whether it did.
    parked: Vec<DeviceMessage>,
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
        let DeviceArguments { key, shared } = arguments;
        let asks = Arc::clone(&shared);
        // The supervisor waits for this function, so the database is asked from a task.
        tokio::spawn(async move {
            let loaded = asks.load(key).await;
            let _ = myself.post(DeviceMessage::Loaded(Box::new(loaded)));
        });
        Ok(DeviceState {
            key,
            link: shared.link(key.server),
            shared,
            life: Life::Loading(VecDeque::new()),
            parked: Vec::new(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<DeviceMessage>,
        message: DeviceMessage,
        state: &mut DeviceState,
    ) -> Result<(), ActorProcessingErr> {
        taken::<DeviceMessage>();
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
                    tracing::error!(device.dev_eui = %self.key.dev_eui, %error, "a device's stored state cannot be read");
                    Some(Ending::StoreUnavailable)
                }
            },
            Ok(None) => Some(Ending::UnknownDevice),
            Err(error) => {
                tracing::warn!(device.dev_eui = %self.key.dev_eui, %error, "a device could not be loaded");
                Some(Ending::StoreUnavailable)
            }
        };
        if let Some(ending) = ending {
            self.end(myself, ending, "could not be loaded");
            if matches!(ending, Ending::StoreUnavailable) {
                // It may have unfinished work; what was asked meanwhile is refused.
                self.shared.restore_later(self.key);
            }
        }
        self.retire_if_leaving(myself);
        if !self.link.takes_key() {
            self.step(myself, Event::KeyTold(false), Kept::default(), None);
        }
        // What a crash may have left undone, and whatever became due since.
        let event = Event::Awaited(self.link.is_awaited(self.key.dev_eui));
        self.step(myself, event, Kept::default(), None);
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
            None => Device::new(stored.codec, shared.policy.clone(), shared.seed(self.key)),
        };
        machine.set_codec(stored.codec);
        let policy = shared.policy_of(&stored);
        let effects = machine.restore(policy, now);
        shared.set_owner(self.key, stored.tenant_id);
        shared.set_unfinished(self.key, !machine.is_idle());
        self.life = Life::Running(Box::new(Running {
            stored,
            machine,
            pending: VecDeque::new(),
            next_seq: 0,
            watchers: Vec::new(),
            initialisation_watchers: Vec::new(),
            last_view: None,
            last_row: None,
            own_time: OwnTime::default(),
            timer: None,
            timer_generation: 0,
            last_used: now,
            retired: false,
            leaving: false,
        }));
        for effect in effects {
            self.perform_at_once(&effect);
        }
        Ok(())
    }

    /// Leaves: from here on a new actor takes the messages, from what is stored.
    fn end(&mut self, myself: &ActorRef<DeviceMessage>, ending: Ending, reason: &str) {
        tracing::debug!(device.dev_eui = %self.key.dev_eui, reason, "a device's actor ends");
        self.life = Life::Ended(ending);
        self.parked.clear();
        self.shared.leave(self.key, myself.get_id());
        // Those who hold its address already are still answered.
        let myself = myself.clone();
        tokio::spawn(async move {
            tokio::time::sleep(FAREWELL).await;
            myself.stop(None);
        });
    }

    #[expect(clippy::too_many_lines, reason = "an arm for each message")]
    fn on_message(&mut self, myself: &ActorRef<DeviceMessage>, message: DeviceMessage) {
        if message.is_admitted() {
            self.shared.left_mailbox(self.key);
        }
        if let Life::Ended(ending) = &self.life {
            refuse(message, *ending);
            return;
        }
        self.retire_if_leaving(myself);
        if let (Life::Running(running), DeviceMessage::Submit { .. }) = (&self.life, &message) {
            if running.leaving {
                // Whoever asks hears from the dropped reply that another actor is to be asked.
                return;
            }
            if running.retired && self.parked.len() < BACKLOG_MAX {
                self.parked.push(message);
                return;
            }
        }
        match message {
            DeviceMessage::Submit {
                scope,
                order,
                reply,
            } => self.on_submit(myself, scope, &order, reply),
            DeviceMessage::Cancel {
                scope,
                id,
                by,
                reply,
            } => self.on_cancel(myself, scope, id, by.as_ref(), reply),
            DeviceMessage::Desire {
                scope,
                id,
                light,
                by,
                reply,
            } => self.on_desire(myself, scope, (id, light), &by, reply),
            DeviceMessage::ClearDesire { scope, by, reply } => {
                self.on_clear_desire(myself, scope, &by, reply);
            }
            DeviceMessage::Initialise {
                scope,
                force,
                by,
                reply,
            } => self.on_initialise(myself, scope, force, by.as_ref(), reply),
            DeviceMessage::Report {
                scope,
                report,
                reply,
            } => self.on_report(myself, scope, *report, reply),
            DeviceMessage::Retire { scope, reply } => self.on_retire(myself, scope, reply),
            DeviceMessage::Silent { reply } => {
                let asked = Some(Asked::Done(reply));
                self.step(myself, Event::Silent, Kept::default(), asked);
            }
            DeviceMessage::Awaited(is_awaited) => {
                let event = Event::Awaited(is_awaited);
                self.step(myself, event, Kept::default(), None);
            }
            DeviceMessage::KeyTold(is_taken) => {
                self.step(myself, Event::KeyTold(is_taken), Kept::default(), None);
            }
            DeviceMessage::TenantChanged(tenant_id) => {
                if self.is_of(tenant_id) {
                    self.reload(myself, Duration::ZERO);
                }
            }
            DeviceMessage::RegistryChanged => self.reload(myself, Duration::ZERO),
            DeviceMessage::Reloaded(reloaded) => self.on_reloaded(myself, *reloaded),
            DeviceMessage::Wake { generation } => self.on_wake(myself, generation),
            DeviceMessage::TurnGranted { paced } => {
                if let Life::Running(running) = &mut self.life {
                    running.own_time.was_paced(paced);
                }
                self.step(myself, Event::TurnGranted, Kept::default(), None);
            }
            DeviceMessage::Enqueued {
                attempt,
                queue_item_id,
            } => {
                self.link.monitor(MonitorMessage::HandedOver {
                    dev_eui: self.key.dev_eui,
                });
                self.step(
                    myself,
                    Event::Enqueued {
                        attempt,
                        queue_item_id,
                    },
                    Kept::default(),
                    None,
                );
            }
            DeviceMessage::EnqueueFailed { attempt, failure } => {
                self.step(
                    myself,
                    Event::EnqueueFailed { attempt, failure },
                    Kept::default(),
                    None,
                );
            }
            DeviceMessage::QueueRead(items) => {
                self.step(myself, Event::QueueRead(items), Kept::default(), None);
            }
            DeviceMessage::QueueReadFailed => {
                self.step(myself, Event::QueueReadFailed, Kept::default(), None);
            }
            DeviceMessage::Owns { items, reply } => {
                if let Life::Running(running) = &self.life {
                    let owns = |item| running.machine.owns(item);
                    let _ = reply.send(items.iter().map(owns).collect());
                }
            }
            DeviceMessage::GatewaysChanged => {
                self.step(myself, Event::GatewaysChanged, Kept::default(), None);
            }
            DeviceMessage::ServicesRestarted => {
                self.step(myself, Event::ServicesRestarted, Kept::default(), None);
            }
            DeviceMessage::Committed { seq } => self.on_committed(myself, seq),
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
        let kept = Kept {
            audit: if order.job.is_none() {
                self.audit(
                    &order.by,
                    "downlink.send",
                    id.to_string(),
                    Some(order.describe()),
                )
            } else {
                None
            },
            ..Kept::default()
        };
        let asked = Some(Asked::Submit(id, reply));
        self.step(myself, Event::Requested(request), kept, asked);
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
        Some(Submission {
            downlink,
            steps: Vec::new(),
            updates,
        })
    }

    fn request(&self, scope: Scope, order: &Order, now: Timestamp) -> Result<Request, AskError> {
        let running = self.running_for(scope)?;
        if running.retired || running.leaving {
            return Err(AskError::UnknownDevice);
        }
        if running.machine.admission() == Admission::Full {
            return Err(AskError::DeviceBusy);
        }
        let is_newer = |job: OfJob| {
            let desired = running.machine.desired();
            desired.is_some_and(|desired| desired.since > job.asked_at)
        };
        let is_light = matches!(order.command, Command::SetLight(_));
        if is_light && order.job.is_some_and(is_newer) {
            return Err(AskError::Newer);
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
        if let Some(job) = order.job {
            request.origin = Origin::Job(job.id);
        }
        request.transient = order.transient;
        request.attempts_max = order.attempts_max;
        request.expires_at = order.ttl.map(|ttl| now + ttl);
        request.until_deadline = order.until_deadline;
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
        by: Option<&By>,
        reply: oneshot::Sender<Result<Cancellation, AskError>>,
    ) {
        match self.running_for(scope).map(|running| {
            running
                .machine
                .unfinished()
                .any(|downlink| downlink.id == id)
        }) {
            Ok(true) => {
                let kept = Kept {
                    audit: by
                        .and_then(|by| self.audit(by, "downlink.cancel", id.to_string(), None)),
                    ..Kept::default()
                };
                let asked = Some(Asked::Cancel(id, reply));
                self.step(myself, Event::CancelRequested(id), kept, asked);
            }
            Ok(false) => {
                let _ = reply.send(Ok(Cancellation::NotUnderWay));
            }
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    fn audit(
        &self,
        by: &By,
        action: &str,
        object_id: String,
        after: Option<serde_json::Value>,
    ) -> Option<AuditEntry> {
        let Life::Running(running) = &self.life else {
            return None;
        };
        Some(AuditEntry {
            id: uuid::Uuid::now_v7(),
            at: self.shared.clock.now(),
            tenant_id: Some(running.stored.tenant_id),
            by: by.clone(),
            action: action.to_owned(),
            object_id,
            before: None,
            after: after.map(|mut after| {
                after["dev_eui"] = self.key.dev_eui.to_string().into();
                after
            }),
        })
    }

    fn on_report(
        &mut self,
        myself: &ActorRef<DeviceMessage>,
        scope: Scope,
        report: Report,
        reply: oneshot::Sender<Result<(), AskError>>,
    ) {
        if let Err(error) = self.running_for(scope) {
            let _ = reply.send(Err(error));
            return;
        }
        let Report {
            event,
            history,
            mut telemetry,
            told_at,
        } = report;
        if let (Life::Running(running), NetworkEvent::Heard(uplink)) = (&self.life, &event) {
            add_measurements(&mut telemetry, running.machine.codec(), uplink);
        }
        if let Life::Running(running) = &self.life {
            let owner = Owner {
                dev_eui: self.key.dev_eui,
                device_id: running.stored.device_id,
                tenant_id: running.stored.tenant_id,
            };
            self.link.monitor(MonitorMessage::of_event(owner, &event));
        }
        if let Some(message) = PoolMessage::of_event(self.key.dev_eui, &event) {
            self.link.pool(message);
        }
        let kept = Kept {
            history,
            telemetry,
            audit: None,
            told_at: Some(told_at),
        };
        let asked = Some(Asked::Done(reply));
        self.step(myself, Event::Network(event), kept, asked);
    }

    fn on_retire(
        &mut self,
        myself: &ActorRef<DeviceMessage>,
        scope: Scope,
        reply: oneshot::Sender<Result<(), AskError>>,
    ) {
        if let Err(error) = self.running_for(scope) {
            let _ = reply.send(Err(error));
            return;
        }
        if let Life::Running(running) = &mut self.life {
            running.retired = true;
            if running.machine.is_blank() && running.pending.is_empty() {
                // There is nothing to end, and nothing to store.
                let _ = reply.send(Ok(()));
                return;
            }
        }
        let asked = Some(Asked::Done(reply));
        self.step(myself, Event::Retired, Kept::default(), asked);
    }

    /// Somebody takes the device out of the registry who found no actor to ask.
    fn retire_if_leaving(&mut self, myself: &ActorRef<DeviceMessage>) {
        let Life::Running(running) = &mut self.life else {
            return;
        };
        if running.retired || !self.shared.is_leaving(self.key) {
            return;
        }
        running.retired = true;
        if !running.machine.is_blank() {
            self.step(myself, Event::Retired, Kept::default(), None);
        }
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
        let rested = now.since(running.last_used) >= stay(self.shared.devices.len());
        if rested && running.machine.is_idle() && running.pending.is_empty() {
            self.shared.leave(self.key, myself.get_id());
            // Messages that came in between are still answered.
            let _ = myself.drain();
            return;
        }
        self.step(myself, Event::Elapsed, Kept::default(), None);
    }

    /// One step: the machine decides, the change is handed to the writer, the rest waits for the commit.
    fn step(
        &mut self,
        myself: &ActorRef<DeviceMessage>,
        event: Event,
        mut kept: Kept,
        asked: Option<Asked>,
    ) {
        let shared = Arc::clone(&self.shared);
        let now = shared.clock.now();
        let Life::Running(running) = &mut self.life else {
            return;
        };
        let saves = changes_state(&event) || asked.is_some();
        if asked.is_some() {
            running.last_used = now;
        }
        let presence = running.machine.presence();
        let was_idle = running.machine.is_idle();
        let effects = running.machine.step(now, event, &self.link.gateways());
        running.own_time.note(was_idle, &effects);
        kept.history
            .extend(presence_changed(presence, running.machine.presence(), now));
        kept.history.extend(silences(&effects, now));
        let saves = saves || effects.iter().any(waits_for_commit);
        let (after_commit, at_once): (Vec<Effect>, Vec<Effect>) =
            effects.into_iter().partition(waits_for_commit);
        if saves {
            running.save(myself, &shared, now, self.key, after_commit, kept, asked);
        }
        running.set_timer(&shared, self.key, now);
        for effect in at_once {
            self.perform_at_once(&effect);
        }
    }

    /// Those that need not wait for the commit.
    fn perform_at_once(&self, effect: &Effect) {
        let dev_eui = self.key.dev_eui;
        let message = match effect {
            Effect::AskTurn(priority) => {
                let Life::Running(running) = &self.life else {
                    return;
                };
                let tenant = running.stored.tenant_id;
                let ask = running.machine.ask(dev_eui, tenant, *priority);
                PoolMessage::AskTurn(Box::new(ask))
            }
            Effect::HoldTurn => {
                let Life::Running(running) = &self.life else {
                    return;
                };
                let tenant = running.stored.tenant_id;
                let ask = running.machine.ask_again(dev_eui, tenant);
                let clock = &self.shared.clock;
                let (steps, steady) = (clock.steps(), clock.steady());
                let tried = running.machine.silent_since(clock.now());
                let tried = tried.map(|(from, until)| {
                    let steady_of = |at| steps.steady_of(steady, at);
                    (steady_of(from), steady_of(until))
                });
                PoolMessage::HoldTurn(Box::new(ask), tried)
            }
            Effect::EndTurn => PoolMessage::EndTurn { dev_eui },
            Effect::ReadQueue => PoolMessage::ReadQueue { dev_eui },
            Effect::Enqueue(_) | Effect::Record(_) | Effect::Silence(_) => return,
        };
        self.link.pool(message);
    }

    fn on_committed(&mut self, myself: &ActorRef<DeviceMessage>, seq: u64) {
        let (shared, link) = (Arc::clone(&self.shared), Arc::clone(&self.link));
        let key = self.key;
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
            running.release(&shared, &link, key, pending);
        }
        shared.set_unfinished(key, !running.machine.is_idle());
        self.leave_if_done(myself);
    }

    /// A device that the registry has no more leaves when its last words are stored.
    fn leave_if_done(&mut self, myself: &ActorRef<DeviceMessage>) {
        if let Life::Running(running) = &self.life
            && running.leaving
            && running.pending.is_empty()
        {
            self.end(myself, Ending::UnknownDevice, "the registry has it no more");
        }
    }

    /// Asks the registry, after a pause, what the device is now.
    fn reload(&self, myself: &ActorRef<DeviceMessage>, pause: Duration) {
        let (shared, key, myself) = (Arc::clone(&self.shared), self.key, myself.clone());
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let loaded = shared.load(key).await;
            let _ = myself.post(DeviceMessage::Reloaded(Box::new(loaded)));
        });
    }

    /// The same device goes on with what was decided about it. Another one, or none, ends what is under way: its actor
    /// begins from what is stored.
    fn on_reloaded(
        &mut self,
        myself: &ActorRef<DeviceMessage>,
        reloaded: Result<Option<StoredDevice>, StoreError>,
    ) {
        let Life::Running(running) = &mut self.life else {
            return;
        };
        match reloaded {
            Ok(Some(stored)) if stored.device_id == running.stored.device_id => {
                running.machine.set_codec(stored.codec);
                running.machine.set_policy(self.shared.policy_of(&stored));
                // The state that runs is newer than the one that was read.
                let state = running.stored.state.take();
                running.stored = StoredDevice { state, ..stored };
                running.retired = false;
                // Whoever changed the registry may have changed its row.
                running.last_row = None;
                self.step(myself, Event::Elapsed, Kept::default(), None);
                for message in mem::take(&mut self.parked) {
                    if let DeviceMessage::Submit {
                        scope,
                        order,
                        reply,
                    } = message
                    {
                        self.on_submit(myself, scope, &order, reply);
                    }
                }
            }
            Ok(_) => {
                running.leaving = true;
                let is_blank = running.machine.is_blank();
                self.parked.clear();
                if !is_blank {
                    self.step(myself, Event::Retired, Kept::default(), None);
                }
                self.leave_if_done(myself);
            }
            Err(error) => {
                tracing::warn!(device.dev_eui = %self.key.dev_eui, %error, "the registry could not be read; it is asked again");
                self.reload(myself, RELOAD_PAUSE);
            }
        }
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
        self.shared.writer(WriterMessage::Left(myself.get_id()));
        self.end(myself, Ending::StoreUnavailable, reason);
        self.shared.restore_later(self.key);
    }
}

/// Effects that promise nothing and change nothing outside need not wait for the commit.
fn waits_for_commit(effect: &Effect) -> bool {
    match effect {
        Effect::Record(_) | Effect::Enqueue(_) | Effect::Silence(_) => true,
        Effect::AskTurn(_) | Effect::HoldTurn | Effect::EndTurn | Effect::ReadQueue => false,
    }
}

/// What the history says of items that were sent, or may have been, without a tx-ack.
fn silences(effects: &[Effect], at: Timestamp) -> impl Iterator<Item = HistoryEntry> {
    effects.iter().filter_map(move |effect| {
        let Effect::Silence(item) = effect else {
            return None;
        };
        Some(HistoryEntry {
            at,
            kind: "no_txack",
            body: serde_json::to_string(item).expect("it holds numbers and ids alone"),
        })
    })
}

/// What the device's own codec reads in an uplink, beside what the network server's did.
fn add_measurements(
    telemetry: &mut Vec<(FieldPath, TelemetryValue)>,
    codec: CodecKind,
    uplink: &Uplink,
) {
    let Ok(report) = codec.codec().decode(uplink.f_port, &uplink.payload) else {
        return;
    };
    for (field, value) in report.measurements() {
        if telemetry.iter().all(|(known, _)| known != field) {
            telemetry.push((field.into(), TelemetryValue::Number(value)));
        }
    }
}

/// What the history says when a device comes back, or counts as gone. Its first word ever is no return.
fn presence_changed(before: Presence, after: Presence, at: Timestamp) -> Option<HistoryEntry> {
    let kind = match (before, after) {
        (Presence::Offline, Presence::Online) => "online",
        (Presence::NeverSeen | Presence::Online, Presence::Offline) => "offline",
        _ => return None,
    };
    Some(HistoryEntry {
        at,
        kind,
        body: "{}".to_owned(),
    })
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
        DeviceMessage::Desire { reply, .. } => drop(reply.send(Err(error()))),
        DeviceMessage::Initialise { reply, .. } => drop(reply.send(Err(error()))),
        DeviceMessage::Report { reply, .. }
        | DeviceMessage::ClearDesire { reply, .. }
        | DeviceMessage::Retire { reply, .. }
        | DeviceMessage::Silent { reply } => drop(reply.send(Err(error()))),
        DeviceMessage::Loaded(_)
        | DeviceMessage::Awaited(_)
        | DeviceMessage::KeyTold(_)
        | DeviceMessage::TenantChanged(_)
        | DeviceMessage::RegistryChanged
        | DeviceMessage::Reloaded(_)
        | DeviceMessage::Wake { .. }
        | DeviceMessage::TurnGranted { .. }
        | DeviceMessage::Enqueued { .. }
        | DeviceMessage::EnqueueFailed { .. }
        | DeviceMessage::QueueRead(_)
        | DeviceMessage::QueueReadFailed
        | DeviceMessage::Owns { .. }
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
