//! Keeps a network server's devices in step with the registry: drives one machine a device that is not.
//!
//! The registry writes its wish, and a hint comes here; the store is then asked what is to be done, so a hint too few or
//! too many changes nothing. Machines of devices that are in step are not in memory. What a machine notes is stored
//! before its calls are made, many machines' notes in one transaction. Calls go out at a bounded rate, those first that
//! decide from what was just read. If the store fails, everything here is forgotten and read anew, as after a crash.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use downbeat_core::circuit::Outcome;
use downbeat_core::id::{DevEui, DeviceKey, TenantId};
use downbeat_core::pace::Pace;
use downbeat_core::sync::{Sync, SyncCall, SyncEffect, SyncEvent, SyncFailure};
use downbeat_core::time::Timestamp;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::JoinHandle;

use crate::chirpstack_pool::{Job, PoolMessage, outcome_of};
use crate::device::DeviceMessage;
use crate::link::Link;
use crate::mailbox::{Post as _, taken};
use crate::observe::{FeedBody, FeedEvent, SyncView};
use crate::port::{
    DeviceStore, NetworkServer, NetworkServerError, StoreError, StoredSync, SyncChange,
};
use crate::system::Shared;

/// Machines in memory at the most; further wishes stay in the store until there is room.
const MACHINES_MAX: usize = 5_000;

/// Wishes that are read at once beyond those that are in memory.
const READ_MAX: usize = 500;

/// Changes in one transaction at the most.
const BATCH_MAX: usize = 500;

/// Calls under way at once at the most: commands have the greater part of the pool.
const CALLS_MAX: usize = 8;

/// A call that decides from what was just read is not begun later than this after it was asked for.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// The store is not asked again before this has passed for each wish that it just told: where thousands wait for
/// `ChirpStack`, reading them all at every change of the registry would be most of the work, and hurry nothing.
const PAUSE_BY_WISH: Duration = Duration::from_micros(200);

/// A store that failed is asked again after this.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// The store is asked so often without any hint.
const PERIOD: Duration = Duration::from_secs(30);

pub(crate) enum SyncMessage {
    /// The registry may want something new.
    Wanted,
    /// What the store holds that is not fulfilled.
    Read(Result<Vec<StoredSync>, StoreError>),
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
    devices: BTreeMap<DevEui, Entry>,
    /// Asked for and not begun. Those that go stale come first.
    urgent: VecDeque<Call>,
    patient: VecDeque<Call>,
    calls: usize,
    is_away: bool,
    /// The store is being asked, and is to be asked again.
    reading: bool,
    read_again: bool,
    /// When to ask the store without a hint.
    read_at: Timestamp,
    /// A store that just failed, or just told much, is left alone until then.
    rests_until: Timestamp,
    /// Devices whose changes are being stored.
    storing: Vec<DevEui>,
    /// No call is begun before the pace allows it.
    paced_until: Option<Timestamp>,
    alarm: Option<JoinHandle<()>>,
    generation: u64,
}

struct Entry {
    tenant_id: TenantId,
    machine: Sync,
    /// The machine as it is stored.
    stored: Option<String>,
    /// The machine as it is to be stored, or is being stored.
    unstored: Option<String>,
    /// To be done when it is stored.
    effects: Vec<SyncEffect>,
    /// To be done when what is being stored now is.
    storing: Vec<SyncEffect>,
    told: Option<SyncView>,
}

struct Call {
    dev_eui: DevEui,
    number: u32,
    what: SyncCall,
    asked_at: Timestamp,
}

impl Drop for SynchronizerState {
    fn drop(&mut self) {
        if let Some(alarm) = self.alarm.take() {
            alarm.abort();
        }
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
        let _ = myself.post(SyncMessage::Wanted);
        Ok(SynchronizerState {
            shared: arguments.shared,
            link: arguments.link,
            pace: Pace::per_second(arguments.calls_per_second),
            devices: BTreeMap::new(),
            urgent: VecDeque::new(),
            patient: VecDeque::new(),
            calls: 0,
            is_away: !arguments.is_configured,
            reading: false,
            read_again: false,
            read_at: Timestamp::from_millis(0),
            rests_until: Timestamp::from_millis(0),
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
        state.store(&myself, &shared, now);
        state.begin_calls(&myself, &shared, now);
        state.set_alarm(&myself, &shared, now);
        metrics::gauge!("downbeat_sync_devices")
            .set(u32::try_from(state.devices.len()).unwrap_or(u32::MAX));
        Ok(())
    }
}

impl SynchronizerState {
    fn on_message(&mut self, shared: &Shared, now: Timestamp, message: SyncMessage) {
        match message {
            SyncMessage::Wanted => self.read_again = true,
            SyncMessage::Read(Ok(wishes)) => self.on_read(shared, now, wishes),
            SyncMessage::Read(Err(error)) => {
                tracing::warn!(%error, "what is to be synchronised could not be read; the store is asked again");
                self.reading = false;
                self.read_again = true;
                self.rests_until = now + STORE_PAUSE;
            }
            SyncMessage::Stored(Ok(())) => self.on_stored(shared, now),
            SyncMessage::Stored(Err(error)) => {
                tracing::warn!(%error, "what was synchronised could not be stored; it is taken up anew");
                self.forget_all(now);
            }
            SyncMessage::Answered { dev_eui, event } => {
                self.calls = self.calls.saturating_sub(1);
                self.step(shared, now, dev_eui, event);
            }
            SyncMessage::ServerAway => self.is_away = true,
            SyncMessage::ServerReturned => {
                self.is_away = false;
                let devices: Vec<DevEui> = self.devices.keys().copied().collect();
                for dev_eui in devices {
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
        self.devices.clear();
        self.urgent.clear();
        self.patient.clear();
        self.storing.clear();
        self.read_again = true;
        self.rests_until = now + STORE_PAUSE;
    }

    fn on_read(&mut self, shared: &Shared, now: Timestamp, wishes: Vec<StoredSync>) {
        self.reading = false;
        self.read_at = now + PERIOD;
        let told = u32::try_from(wishes.len()).unwrap_or(u32::MAX);
        self.rests_until = now + PAUSE_BY_WISH.saturating_mul(told);
        if wishes.len() >= self.read_limit() {
            // There may be more.
            self.read_again = true;
        }
        for stored in wishes {
            let dev_eui = stored.key.dev_eui;
            if let Some(entry) = self.devices.get(&dev_eui) {
                if entry.machine.generation() < stored.wish.generation {
                    self.call_back(shared, now, dev_eui);
                }
                self.step(shared, now, dev_eui, SyncEvent::Wanted(stored.wish));
            } else if self.devices.len() < MACHINES_MAX {
                self.take_up(shared, now, stored);
            }
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
        self.devices.insert(
            dev_eui,
            Entry {
                tenant_id: stored.tenant_id,
                machine,
                stored: stored.machine,
                unstored: None,
                effects,
                storing: Vec::new(),
                told: None,
            },
        );
        self.step(shared, now, dev_eui, SyncEvent::Wanted(stored.wish));
    }

    fn step(&mut self, shared: &Shared, now: Timestamp, dev_eui: DevEui, event: SyncEvent) {
        let Some(entry) = self.devices.get_mut(&dev_eui) else {
            return;
        };
        let effects = entry.machine.step(now, event);
        entry.effects.extend(effects);
        let state = serde_json::to_string(&entry.machine)
            .expect("the machine's maps have text keys and it holds no floats");
        entry.unstored = (entry.stored.as_ref() != Some(&state)).then_some(state);
        let is_awaited = entry.machine.is_wanted()
            && !entry.machine.is_known_present()
            && !entry.machine.is_settled();
        if self.link.set_awaited(dev_eui, is_awaited) {
            let key = self.link.key(dev_eui);
            shared.deliver(key, DeviceMessage::Awaited(is_awaited));
        }
        self.release(now, dev_eui);
    }

    /// What needs no storing is done at once.
    fn release(&mut self, now: Timestamp, dev_eui: DevEui) {
        let Some(entry) = self.devices.get_mut(&dev_eui) else {
            return;
        };
        if entry.unstored.is_none() && !self.storing.contains(&dev_eui) {
            for effect in std::mem::take(&mut entry.effects) {
                self.ask(now, dev_eui, effect);
            }
        }
    }

    fn ask(&mut self, now: Timestamp, dev_eui: DevEui, effect: SyncEffect) {
        let SyncEffect::Call { call, what } = effect;
        let goes_stale = what.goes_stale();
        let call = Call {
            dev_eui,
            number: call,
            what,
            asked_at: now,
        };
        if goes_stale {
            self.urgent.push_back(call);
        } else {
            self.patient.push_back(call);
        }
    }

    /// A newer wish has come: a call for the older one that was not begun is not made.
    fn call_back(&mut self, shared: &Shared, now: Timestamp, dev_eui: DevEui) {
        let take = |queue: &mut VecDeque<Call>| {
            let at = queue.iter().position(|call| call.dev_eui == dev_eui)?;
            queue.remove(at)
        };
        let held = take(&mut self.urgent).or_else(|| take(&mut self.patient));
        if let Some(call) = held {
            let event = call.what.failed(call.number, SyncFailure::Unavailable);
            self.step(shared, now, dev_eui, event);
        }
    }

    fn wake_due(&mut self, shared: &Shared, now: Timestamp) {
        let due: Vec<DevEui> = self
            .devices
            .iter()
            .filter(|(_, entry)| entry.machine.next_wake().is_some_and(|wake| wake <= now))
            .map(|(dev_eui, _)| *dev_eui)
            .collect();
        for dev_eui in due {
            self.step(shared, now, dev_eui, SyncEvent::Elapsed);
        }
    }

    fn read_limit(&self) -> usize {
        (self.devices.len() + READ_MAX).min(MACHINES_MAX + READ_MAX)
    }

    /// When the store is to be asked next; `None` while it is being asked, or there is no room.
    fn read_due_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.reading || self.devices.len() >= MACHINES_MAX {
            return None;
        }
        let wanted_at = if self.read_again { now } else { self.read_at };
        Some(wanted_at.max(self.rests_until))
    }

    fn read_if_due(&mut self, myself: &ActorRef<SyncMessage>, shared: &Shared, now: Timestamp) {
        if self.read_due_at(now).is_none_or(|at| now < at) {
            return;
        }
        (self.reading, self.read_again) = (true, false);
        let (store, server, myself) = (Arc::clone(&shared.store), self.link.id, myself.clone());
        let limit = u32::try_from(self.read_limit()).unwrap_or(u32::MAX);
        tokio::spawn(async move {
            let wishes = store.unfinished_syncs(server, limit).await;
            let _ = myself.post(SyncMessage::Read(wishes));
        });
    }

    /// Stores what changed; while that is under way, further changes gather.
    fn store(&mut self, myself: &ActorRef<SyncMessage>, shared: &Shared, now: Timestamp) {
        if !self.storing.is_empty() {
            return;
        }
        let mut changes = Vec::new();
        let unstored = self.devices.iter_mut();
        let unstored = unstored.filter(|(_, entry)| entry.unstored.is_some());
        for (dev_eui, entry) in unstored.take(BATCH_MAX) {
            let Some(machine) = entry.unstored.take() else {
                continue;
            };
            entry.storing.append(&mut entry.effects);
            entry.stored = Some(machine.clone());
            self.storing.push(*dev_eui);
            changes.push(entry.change(self.link.key(*dev_eui), machine, now));
        }
        if changes.is_empty() {
            return;
        }
        let (store, myself) = (Arc::clone(&shared.store), myself.clone());
        tokio::spawn(async move {
            let stored = store.commit_syncs(&changes).await;
            let _ = myself.post(SyncMessage::Stored(stored));
        });
    }

    fn on_stored(&mut self, shared: &Shared, now: Timestamp) {
        for dev_eui in std::mem::take(&mut self.storing) {
            let Some(entry) = self.devices.get_mut(&dev_eui) else {
                continue;
            };
            entry.tell(shared, dev_eui, now);
            let effects = std::mem::take(&mut entry.storing);
            let is_over =
                entry.machine.is_settled() && entry.unstored.is_none() && effects.is_empty();
            for effect in effects {
                self.ask(now, dev_eui, effect);
            }
            if is_over {
                self.devices.remove(&dev_eui);
            } else {
                self.release(now, dev_eui);
            }
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
        while self.calls < CALLS_MAX && !self.is_away {
            if self.urgent.is_empty() && self.patient.is_empty() {
                return;
            }
            if let Some(call) = self.urgent.front()
                && now.since(call.asked_at) > STALE_AFTER
            {
                if let Some(call) = self.urgent.pop_front() {
                    let event = call.what.failed(call.number, SyncFailure::Unavailable);
                    self.step(shared, now, call.dev_eui, event);
                }
                continue;
            }
            if let Err(at) = self.pace.take(now) {
                self.paced_until = Some(at);
                return;
            }
            let Some(call) = self.urgent.pop_front().or_else(|| self.patient.pop_front()) else {
                return;
            };
            self.calls += 1;
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
        if let Some(alarm) = self.alarm.take() {
            alarm.abort();
        }
        let wakes = self
            .devices
            .values()
            .filter_map(|entry| entry.machine.next_wake());
        let at = wakes
            .chain(self.paced_until)
            .chain(self.read_due_at(now))
            .min();
        let Some(at) = at else { return };
        self.generation += 1;
        let (generation, instant, myself) =
            (self.generation, shared.clock.instant(at), myself.clone());
        self.alarm = Some(tokio::spawn(async move {
            tokio::time::sleep_until(instant).await;
            let _ = myself.post(SyncMessage::Wake { generation });
        }));
    }
}

impl Entry {
    fn change(&self, key: DeviceKey, machine: String, at: Timestamp) -> SyncChange {
        SyncChange {
            key,
            machine,
            generation: self.machine.generation(),
            synced_generation: self.machine.synced_generation(),
            status: self.machine.status(),
            unfinished: !self.machine.is_settled(),
            gone: self.machine.is_finished_tombstone(),
            at,
        }
    }

    /// Tells all who watch, if there is news.
    fn tell(&mut self, shared: &Shared, dev_eui: DevEui, at: Timestamp) {
        let Some(device_id) = self.machine.wanted_device_id() else {
            return;
        };
        let view = SyncView {
            device_id,
            dev_eui,
            is_synced: self.machine.synced_generation() == self.machine.generation(),
            status: self.machine.status(),
        };
        if self.told.as_ref() != Some(&view) {
            self.told = Some(view.clone());
            shared.feed.publish(FeedEvent {
                at,
                tenant_id: Some(self.tenant_id),
                body: FeedBody::Sync(view),
            });
        }
    }
}

/// Makes one call and puts its answer into words for the machine.
async fn carry_out(
    server: &dyn NetworkServer,
    store: &dyn DeviceStore,
    key: DeviceKey,
    call: u32,
    what: SyncCall,
) -> (SyncEvent, Outcome) {
    let dev_eui = key.dev_eui;
    let changed = match &what {
        SyncCall::Look => {
            let result = server.device(dev_eui).await;
            let outcome = outcome_of(&result);
            let result = result.map_err(failure);
            return (SyncEvent::Looked { call, result }, outcome);
        }
        SyncCall::Create(device) => server.create_device(device).await,
        SyncCall::Update(device) => server.update_device(device).await,
        SyncCall::Delete => server.delete_device(dev_eui).await,
        SyncCall::SetKey { revision } => {
            let Ok(Some(app_key)) = store.app_key(key, *revision).await else {
                // Another revision is there, so a newer wish is on its way; or the store is away for a moment.
                let event = what.failed(call, SyncFailure::Unavailable);
                return (event, Outcome::Answered);
            };
            server.set_app_key(dev_eui, &app_key).await
        }
    };
    let outcome = outcome_of(&changed);
    (what.answered(call, changed.map_err(failure)), outcome)
}

fn failure(error: NetworkServerError) -> SyncFailure {
    match error {
        NetworkServerError::Unavailable(_) => SyncFailure::Unavailable,
        NetworkServerError::AnswerLost(_) => SyncFailure::AnswerLost,
        NetworkServerError::Refused(text) => SyncFailure::Refused(text),
        NetworkServerError::UnknownDevice(_) => SyncFailure::UnknownDevice,
        NetworkServerError::Unauthenticated => SyncFailure::Unauthenticated,
        NetworkServerError::Invalid(text) => SyncFailure::Invalid(text),
    }
}
