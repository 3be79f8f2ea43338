//! Keeps a network server's devices in step with the registry: drives one machine a device that is not.
//!
//! The registry writes its wish, and a hint comes here; the store is then asked what is wanted of that device, so a hint
//! too many changes nothing, and one too few is made up for by reading all from time to time. Of thousands of wishes only
//! as many are begun with as can be called for soon: the others wait, at no cost to anybody. Machines of devices that are
//! in step are not in memory. What a machine notes is stored before its calls are made, many machines' notes in one
//! transaction. Calls go out at a bounded rate, those first that decide from what was just read. If the store fails,
//! everything here is forgotten and read anew, as after a crash.

mod calls;
mod machines;
#[cfg(test)]
mod tests;
mod wishes;

use std::sync::{Arc, Weak};
use std::time::Duration;

use downbeat_core::circuit::Outcome;
use downbeat_core::id::DevEui;
use downbeat_core::pace::Pace;
use downbeat_core::sync::{Sync, SyncEffect, SyncEvent, SyncFailure};
use downbeat_core::time::Timestamp;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::JoinHandle;

use self::calls::{Call, Calls, carry_out};
use self::machines::Machines;
use self::wishes::{Reading, Wishes};
use crate::chirpstack_pool::{Job, PoolMessage};
use crate::device::DeviceMessage;
use crate::link::Link;
use crate::mailbox::{Post as _, taken};
use crate::port::{StoreError, StoredSync};
use crate::system::Shared;

/// Machines that are being stored or whose calls wait, at the most, before further wishes are begun with: what can be
/// called for within seconds.
const READY_MAX: usize = 64;

/// Changes in one transaction at the most.
const BATCH_MAX: usize = 500;

/// Calls under way at once at the most: commands have the greater part of the pool.
const CALLS_MAX: usize = 8;

/// A store that failed is asked again after this.
const STORE_PAUSE: Duration = Duration::from_secs(1);

pub(crate) enum SyncMessage {
    /// The registry may want something new of a device; of any, if none is named.
    Wanted(Option<DevEui>),
    /// What the store holds of that which was asked for and is not fulfilled.
    Read(Reading, Result<Vec<StoredSync>, StoreError>),
    /// The changes under way are stored, or are not.
    Stored(Result<(), StoreError>),
    Answered {
        dev_eui: DevEui,
        event: SyncEvent,
    },
    ServerAway,
    ServerReturned,
    /// Time to look again.
    Wake {
        generation: u64,
    },
}

pub(crate) struct Synchronizer;

pub(crate) struct SyncArguments {
    pub(crate) shared: Weak<Shared>,
    pub(crate) link: Arc<Link>,
    pub(crate) calls_per_second: u32,
    pub(crate) is_configured: bool,
}

pub(crate) struct SynchronizerState {
    shared: Weak<Shared>,
    link: Arc<Link>,
    pace: Pace,
    wishes: Wishes,
    machines: Machines,
    /// Asked for and not begun.
    calls: Calls,
    /// Calls under way.
    under_way: usize,
    is_away: bool,
    /// Devices whose changes are being stored.
    storing: Vec<DevEui>,
    /// No call is begun before the pace allows it.
    paced_until: Option<Timestamp>,
    alarm: Option<Alarm>,
    generation: u64,
}

struct Alarm {
    at: Timestamp,
    task: JoinHandle<()>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Actor for Synchronizer {
    type Msg = SyncMessage;
    type State = SynchronizerState;
    type Arguments = SyncArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<SyncMessage>,
        arguments: SyncArguments,
    ) -> Result<SynchronizerState, ActorProcessingErr> {
        // What was not fulfilled when the service ended.
        let _ = myself.post(SyncMessage::Wanted(None));
        Ok(SynchronizerState {
            shared: arguments.shared,
            link: arguments.link,
            pace: Pace::per_second(arguments.calls_per_second),
            wishes: Wishes::new(),
            machines: Machines::default(),
            calls: Calls::default(),
            under_way: 0,
            is_away: !arguments.is_configured,
            storing: Vec::new(),
            paced_until: None,
            alarm: None,
            generation: 0,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<SyncMessage>,
        message: SyncMessage,
        state: &mut SynchronizerState,
    ) -> Result<(), ActorProcessingErr> {
        taken::<SyncMessage>();
        let Some(shared) = state.shared.upgrade() else {
            myself.stop(None);
            return Ok(());
        };
        let now = shared.clock.now();
        state.on_message(&shared, now, message);
        state.wake_due(&shared, now);
        state.read_if_due(&myself, &shared, now);
        state.take_up_next(&shared, now);
        state.store(&myself, &shared, now);
        state.begin_calls(&myself, &shared, now);
        state.set_alarm(&myself, &shared, now);
        let known = state.wishes.len() + state.machines.len();
        metrics::gauge!("downbeat_sync_devices").set(u32::try_from(known).unwrap_or(u32::MAX));
        Ok(())
    }
}

impl SynchronizerState {
    fn on_message(&mut self, shared: &Shared, now: Timestamp, message: SyncMessage) {
        match message {
            SyncMessage::Wanted(dev_eui) => self.wishes.hint(dev_eui),
            SyncMessage::Read(reading, Ok(wishes)) => {
                self.on_read(shared, now, &reading, wishes);
            }
            SyncMessage::Read(_, Err(error)) => {
                tracing::warn!(%error, "what is to be synchronised could not be read; the store is asked again");
                self.wishes.was_not_read(now + STORE_PAUSE);
            }
            SyncMessage::Stored(Ok(())) => self.on_stored(shared, now),
            SyncMessage::Stored(Err(error)) => {
                tracing::warn!(%error, "what was synchronised could not be stored; it is taken up anew");
                self.forget_all(now);
            }
            SyncMessage::Answered { dev_eui, event } => {
                self.under_way = self.under_way.saturating_sub(1);
                self.step(shared, now, dev_eui, event);
            }
            SyncMessage::ServerAway => self.is_away = true,
            SyncMessage::ServerReturned => {
                self.is_away = false;
                for dev_eui in self.machines.dev_euis() {
                    self.step(shared, now, dev_eui, SyncEvent::ServerReturned);
                }
            }
            SyncMessage::Wake { generation } => {
                if generation == self.generation {
                    self.alarm = None;
                }
            }
        }
    }

    /// The store is ahead of what is here, or behind: take up what is stored. Answers that still come find nobody.
    fn forget_all(&mut self, now: Timestamp) {
        self.machines = Machines::default();
        self.calls = Calls::default();
        self.storing.clear();
        self.wishes.forget(now + STORE_PAUSE);
    }

    fn on_read(
        &mut self,
        shared: &Shared,
        now: Timestamp,
        reading: &Reading,
        wishes: Vec<StoredSync>,
    ) {
        self.wishes.was_read(now, reading, wishes.len());
        for stored in wishes {
            let dev_eui = stored.key.dev_eui;
            if let Some(generation) = self.machines.generation(dev_eui) {
                if generation < stored.wish.generation {
                    self.call_back(shared, now, dev_eui);
                }
                self.step(shared, now, dev_eui, SyncEvent::Wanted(stored.wish));
                continue;
            }
            let machine = stored.machine.as_deref();
            let machine = machine.and_then(|machine| serde_json::from_str::<Sync>(machine).ok());
            let is_awaited = stored.wish.device.is_some()
                && machine.is_none_or(|machine| !machine.is_known_present());
            if self.wishes.wait(stored, self.machines.len()) {
                self.set_awaited(shared, dev_eui, is_awaited);
            }
        }
    }

    /// Begins with wishes that wait, as many as can be called for soon.
    fn take_up_next(&mut self, shared: &Shared, now: Timestamp) {
        while !self.is_away
            && self.machines.unstored() + self.storing.len() + self.calls.len() < READY_MAX
            && let Some(stored) = self.wishes.next()
        {
            self.take_up(shared, now, stored);
        }
    }

    fn take_up(&mut self, shared: &Shared, now: Timestamp, stored: StoredSync) {
        let dev_eui = stored.key.dev_eui;
        let read = stored.machine.as_deref().map(serde_json::from_str::<Sync>);
        let mut machine = match read {
            Some(Ok(machine)) => machine,
            Some(Err(error)) => {
                tracing::error!(device.dev_eui = %dev_eui, %error, "what is known of a device's synchronisation cannot be read; it is looked up anew");
                Sync::new(dev_eui, shared.seed(stored.key))
            }
            None => Sync::new(dev_eui, shared.seed(stored.key)),
        };
        let effects = machine.restore(now);
        let (tenant_id, wish) = (stored.tenant_id, stored.wish);
        self.machines
            .insert(dev_eui, tenant_id, machine, stored.machine, effects);
        self.step(shared, now, dev_eui, SyncEvent::Wanted(wish));
    }

    fn step(&mut self, shared: &Shared, now: Timestamp, dev_eui: DevEui, event: SyncEvent) {
        let Some(stepped) = self.machines.step(now, dev_eui, event) else {
            return;
        };
        self.set_awaited(shared, dev_eui, stepped.is_awaited);
        self.ask(now, dev_eui, stepped.effects);
    }

    fn set_awaited(&self, shared: &Shared, dev_eui: DevEui, is_awaited: bool) {
        if self.link.set_awaited(dev_eui, is_awaited) {
            let key = self.link.key(dev_eui);
            shared.deliver(key, DeviceMessage::Awaited(is_awaited));
        }
    }

    fn ask(&mut self, now: Timestamp, dev_eui: DevEui, effects: Vec<SyncEffect>) {
        for effect in effects {
            self.calls.ask(now, dev_eui, effect);
        }
    }

    /// A newer wish has come: a call for the older one that was not begun is not made.
    fn call_back(&mut self, shared: &Shared, now: Timestamp, dev_eui: DevEui) {
        if let Some(call) = self.calls.call_back(dev_eui) {
            self.step(shared, now, dev_eui, call.not_made());
        }
    }

    fn wake_due(&mut self, shared: &Shared, now: Timestamp) {
        // A machine that wants to be woken at once, again, is: but not before everybody else had their turn.
        for _ in 0..self.machines.len() {
            let Some(dev_eui) = self.machines.due(now) else {
                return;
            };
            self.step(shared, now, dev_eui, SyncEvent::Elapsed);
        }
    }

    fn read_if_due(&mut self, myself: &ActorRef<SyncMessage>, shared: &Shared, now: Timestamp) {
        let Some(reading) = self.wishes.read(now, self.machines.len()) else {
            return;
        };
        let (store, server, myself) = (Arc::clone(&shared.store), self.link.id, myself.clone());
        tokio::spawn(async move {
            let wishes = match &reading {
                Reading::Named(devices) => store.unfinished_syncs_of(server, devices).await,
                Reading::All(limit) => store.unfinished_syncs(server, *limit).await,
            };
            let _ = myself.post(SyncMessage::Read(reading, wishes));
        });
    }

    /// Stores what changed; while that is under way, further changes gather.
    fn store(&mut self, myself: &ActorRef<SyncMessage>, shared: &Shared, now: Timestamp) {
        if !self.storing.is_empty() {
            return;
        }
        let key = |dev_eui| self.link.key(dev_eui);
        let (devices, changes) = self.machines.take_unstored(now, BATCH_MAX, key);
        if changes.is_empty() {
            return;
        }
        self.storing = devices;
        let (store, myself) = (Arc::clone(&shared.store), myself.clone());
        tokio::spawn(async move {
            let stored = store.commit_syncs(&changes).await;
            let _ = myself.post(SyncMessage::Stored(stored));
        });
    }

    fn on_stored(&mut self, shared: &Shared, now: Timestamp) {
        for dev_eui in std::mem::take(&mut self.storing) {
            let Some(stored) = self.machines.stored(shared, now, dev_eui) else {
                continue;
            };
            if let Some(generation) = stored.over {
                self.wishes.is_over(dev_eui, generation);
            }
            self.ask(now, dev_eui, stored.effects);
        }
    }

    /// Begins calls as far as the pace, their number and the server allow.
    fn begin_calls(
        &mut self,
        myself: &ActorRef<SyncMessage>,
        shared: &Arc<Shared>,
        now: Timestamp,
    ) {
        self.paced_until = None;
        while self.under_way < CALLS_MAX && !self.is_away && self.calls.len() > 0 {
            if let Some(call) = self.calls.stale(now) {
                self.step(shared, now, call.dev_eui, call.not_made());
                continue;
            }
            if let Err(at) = self.pace.take(now) {
                self.paced_until = Some(at);
                return;
            }
            let Some(call) = self.calls.next() else {
                return;
            };
            self.under_way += 1;
            self.begin(myself, shared, call);
        }
    }

    fn begin(&self, myself: &ActorRef<SyncMessage>, shared: &Arc<Shared>, call: Call) {
        let Call {
            dev_eui,
            number: call,
            what,
            ..
        } = call;
        let (myself, key) = (myself.clone(), self.link.key(dev_eui));
        let store = Arc::clone(&shared.store);
        let job: Job = Box::new(move |server| {
            Box::pin(async move {
                let (event, outcome) = match server {
                    Some(server) => {
                        carry_out(server.as_ref(), store.as_ref(), key, call, what).await
                    }
                    None => (
                        what.failed(call, SyncFailure::Unavailable),
                        Outcome::Unreachable,
                    ),
                };
                let _ = myself.post(SyncMessage::Answered { dev_eui, event });
                outcome
            })
        });
        self.link.pool(PoolMessage::Run(job));
    }

    fn set_alarm(&mut self, myself: &ActorRef<SyncMessage>, shared: &Shared, now: Timestamp) {
        let read_at = self.wishes.read_due_at(now, self.machines.len());
        let wakes = [self.machines.next_wake(), self.paced_until, read_at];
        let at = wakes.into_iter().flatten().min();
        if self.alarm.as_ref().map(|alarm| alarm.at) == at {
            return;
        }
        self.generation += 1;
        let (generation, myself) = (self.generation, myself.clone());
        self.alarm = at.map(|at| {
            let instant = shared.clock.instant(at);
            let task = tokio::spawn(async move {
                tokio::time::sleep_until(instant).await;
                let _ = myself.post(SyncMessage::Wake { generation });
            });
            Alarm { at, task }
        });
    }
}
