//! Devices' actors: message to event, one step of the machine, save; the rest waits for the commit.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use downbeat_core::codec::CodecKind;
use downbeat_core::device::{Admission, Device, Effect, Event, Origin, Request};
use downbeat_core::id::{DownlinkId, JobId, TenantId};
use downbeat_core::network::NetworkEvent;
use downbeat_core::pacer::SentBefore;

use downbeat_core::time::Timestamp;

use crate::pool::ToPool;
use crate::scenario::Order;
use crate::tally::Count;
use crate::world::{Planned, World};
use crate::writer::Write;

/// A device whose actor ended for a failed commit is created again after this.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// A webhook that could not be committed is told again after this.
const TELL_AGAIN: Duration = Duration::from_secs(2);
/// Wakes of one device at one instant.
const WAKES_MAX: u32 = 20;

/// A device in memory.
#[derive(Debug)]
pub(crate) struct Actor {
    /// Counts up: messages for an earlier actor of the device are not for this one.
    pub(crate) life: u32,
    pub(crate) machine: Device,
    /// Steps that are not committed yet, oldest first.
    pub(crate) pending: VecDeque<Pending>,
    next_seq: u64,
    /// When it is woken, by the process's clock.
    timer: Option<Timestamp>,
    timer_generation: u32,
    wakes: (Timestamp, u32),
    /// It is about to leave the registry.
    pub(crate) retired: bool,
}

/// What waits for a commit.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) seq: u64,
    effects: Rc<Vec<Effect>>,
    asked: Option<Asked>,
}

/// Who waits for the step.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Somebody who waits for the acceptance.
    Submit,
    /// A webhook, which is kept until it is committed.
    Report(Box<NetworkEvent>),
    Retire,
    /// A job.
    Job(usize, DownlinkId),
}

/// Events after which the stored state must be the new one, whatever they lead to.
fn changes_state(event: &Event) -> bool {
    match event {
        Event::Requested(_)
        | Event::Wished(_)
        | Event::WishCleared
        | Event::InitialisationRequested { .. }
        | Event::CancelRequested(_)
        | Event::Retired
        | Event::Network(_)
        | Event::Enqueued { .. }
        | Event::EnqueueFailed { .. }
        | Event::QueueRead(_) => true,
        Event::TurnGranted
        | Event::QueueReadFailed
        | Event::GatewaysChanged
        | Event::ServicesRestarted
        | Event::Awaited(_)
        | Event::Silent
        | Event::KeyTold(_)
        | Event::Elapsed => false,
    }
}

/// The frame that a gateway took, as budgets are computed from it after a restart.
fn sent(at: Timestamp, event: &Event) -> Option<SentBefore> {
    let Event::Network(NetworkEvent::Transmitted(event)) = event else {
        return None;
    };
    Some(SentBefore {
        at,
        gateway_id: event.gateway_id?,
        modulation: event.modulation,
        frequency_hz: event.frequency_hz,
        timing: event.timing,
    })
}

/// Effects that promise nothing and change nothing outside need not wait for the commit.
fn waits_for_commit(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Record(_) | Effect::Enqueue(_) | Effect::Silence(_)
    )
}

/// Devices belong to three tenants.
pub(crate) fn tenant_of(slot: usize) -> TenantId {
    let number = u128::try_from(slot % 3).expect("a small number");
    TenantId::from_uuid(uuid::Uuid::from_u128(number))
}

impl World {
    /// Sees to it that the device is in memory; false if it is not registered or cannot be loaded.
    pub(crate) fn is_in_memory(&mut self, slot: usize) -> bool {
        if self.slots[slot].actor.is_none() && self.database_up {
            self.take_up(slot);
        }
        self.slots[slot].actor.is_some()
    }

    /// A device is what is stored of it, and what a crash may have left undone.
    pub(crate) fn take_up(&mut self, index: usize) {
        let clock = self.clock();
        let slot = &mut self.slots[index];
        let Some(row) = &slot.row else { return };
        let policy = self.scenario.policy.clone();
        let mut machine = if let Some(state) = &row.state {
            let json = serde_json::to_string(state.as_ref()).expect("it can be stored");
            serde_json::from_str(&json).expect("it can be read back")
        } else {
            let seed = self.random.next_u64();
            Device::new(CodecKind::KuandoBusylight, policy.clone(), seed)
        };
        let effects = machine.restore(policy, clock);
        slot.lives += 1;
        slot.actor = Some(Actor {
            life: slot.lives,
            machine,
            pending: VecDeque::new(),
            next_seq: 0,
            timer: None,
            timer_generation: 0,
            wakes: (self.now, 0),
            retired: false,
        });
        self.telling.of(self.now, index, "loaded", || effects.len());
        for effect in effects {
            self.perform_at_once(index, &effect);
        }
        if !self.pool.takes_key() {
            self.step(index, Event::KeyTold(false), None);
        }
        let is_awaited = self.syncer.is_awaited(index);
        self.step(index, Event::Awaited(is_awaited), None);
    }

    /// After a crash, and after a commit that failed.
    pub(crate) fn on_restore(&mut self, slot: usize) {
        if !self.is_in_memory(slot) && self.slots[slot].row.is_some() {
            let at = self.now + RESTART_PAUSE;
            self.plan_mine(at, Planned::Restore(slot));
        }
    }

    /// A command comes in by a door.
    pub(crate) fn ask(&mut self, order: &Order) {
        let slot = order.device;
        if self.is_down || !self.is_in_memory(slot) {
            self.tally.count(Count::Refused);
            return;
        }
        let id = self.random.uuid_v7(self.now);
        let Some(actor) = &self.slots[slot].actor else {
            return;
        };
        if actor.retired || actor.machine.admission() == Admission::Full {
            self.tally.count(Count::Refused);
            return;
        }
        let id = DownlinkId::from_uuid(id);
        let origin = if order.is_job {
            Origin::Job(JobId::from_uuid(uuid::Uuid::nil()))
        } else {
            Origin::Api
        };
        self.submit(order, id, origin, Some(Asked::Submit));
    }

    pub(crate) fn submit(
        &mut self,
        order: &Order,
        id: DownlinkId,
        origin: Origin,
        asked: Option<Asked>,
    ) {
        let clock = self.clock();
        let request = Request::new(
            id,
            CodecKind::KuandoBusylight,
            &order.command,
            order.confirmed,
            order.verify,
        )
        .expect("a Busylight understands it");
        let request = Request {
            origin,
            transient: order.transient,
            attempts_max: order.attempts_max,
            expires_at: order.ttl.map(|ttl| clock + ttl),
            until_deadline: Some(order.until_deadline),
            ..request
        };
        let event = if order.is_wish {
            Event::Wished(request)
        } else {
            Event::Requested(request)
        };
        self.step(order.device, event, asked);
    }

    /// Somebody wants something of a device that is no command.
    pub(crate) fn tell_device(&mut self, slot: usize, event: Event) {
        if !self.is_down && self.is_in_memory(slot) {
            self.step(slot, event, Some(Asked::Submit));
        }
    }

    /// Somebody takes the last command back.
    pub(crate) fn cancel_last(&mut self, slot: usize) {
        let last = self.slots[slot].promises.last_accepted();
        if let Some(id) = last.filter(|_| !self.is_down)
            && self.is_in_memory(slot)
        {
            self.step(slot, Event::CancelRequested(id), None);
        }
    }

    /// A webhook, or one that is told again.
    pub(crate) fn report(&mut self, slot: usize, event: Box<NetworkEvent>) {
        if self.slots[slot].row.is_none() {
            return;
        }
        if !self.is_in_memory(slot) {
            return self.tell_again(slot, event);
        }
        self.on_news_of_gateways(slot, &event);
        if let Some(message) = ToPool::of_event(&event) {
            self.send_to_pool(slot, message);
        }
        let told = Event::Network(event.as_ref().clone());
        self.step(slot, told, Some(Asked::Report(event)));
    }

    fn tell_again(&mut self, slot: usize, event: Box<NetworkEvent>) {
        self.tally.count(Count::ToldAgain);
        let at = self.now + TELL_AGAIN;
        self.plan_mine(at, Planned::Tell { slot, event });
    }

    /// A message for a device. One that is not in memory has no use for it.
    pub(crate) fn deliver(&mut self, slot: usize, event: Event) {
        if self.slots[slot].actor.is_some() {
            if matches!(event, Event::Enqueued { .. }) {
                self.on_handed_over(slot);
            }
            self.step(slot, event, None);
        }
    }

    pub(crate) fn deliver_to_all(&mut self, event: &Event, only_unfinished: bool) {
        for slot in 0..self.slots.len() {
            let actor = self.slots[slot].actor.as_ref();
            if actor.is_some_and(|actor| !only_unfinished || !actor.machine.is_idle()) {
                self.step(slot, event.clone(), None);
            }
        }
    }

    pub(crate) fn on_wake(&mut self, slot: usize, life: u32, generation: u32) {
        let Some(actor) = &mut self.slots[slot].actor else {
            return;
        };
        if (actor.life, actor.timer_generation) != (life, generation) {
            return;
        }
        actor.timer = None;
        if actor.wakes.0 == self.now {
            actor.wakes.1 += 1;
        } else {
            actor.wakes = (self.now, 1);
        }
        let wakes = actor.wakes.1;
        if wakes > WAKES_MAX {
            self.check(Err("a device wakes again and again".to_owned()));
        }
        self.step(slot, Event::Elapsed, None);
    }

    /// One step: the machine decides, the change is handed to the writer, the rest waits for the commit.
    pub(crate) fn step(&mut self, slot: usize, event: Event, asked: Option<Asked>) {
        if self.dies() {
            return;
        }
        self.tally.count(Count::Steps);
        self.telling
            .of(self.now, slot, "event", || format!("{event:?}"));
        let clock = self.clock();
        let entry = &mut self.slots[slot];
        let (Some(actor), Some(row)) = (&mut entry.actor, &entry.row) else {
            return;
        };
        let saves = changes_state(&event) || asked.is_some();
        let sent = sent(clock, &event);
        let effects = actor.machine.step(clock, event, &self.monitor.snapshot);
        let saves = saves || effects.iter().any(waits_for_commit);
        let (after_commit, at_once): (Vec<Effect>, Vec<Effect>) =
            effects.into_iter().partition(waits_for_commit);
        if saves {
            let seq = actor.next_seq;
            actor.next_seq += 1;
            let effects = Rc::new(after_commit);
            actor.pending.push_back(Pending {
                seq,
                effects: Rc::clone(&effects),
                asked,
            });
            let write = Write {
                slot,
                row: row.number,
                life: actor.life,
                seq,
                state: Rc::new(actor.machine.clone()),
                unfinished: !actor.machine.is_idle(),
                effects,
                written_at: self.now,
                stamped_at: clock,
                sent,
            };
            self.write(write);
        }
        self.set_timer(slot);
        for effect in at_once {
            if self.dies() {
                return;
            }
            self.perform_at_once(slot, &effect);
        }
    }

    fn set_timer(&mut self, slot: usize) {
        let (clock, now) = (self.clock(), self.now);
        let Some(actor) = &mut self.slots[slot].actor else {
            return;
        };
        let Some(wake) = actor.machine.next_wake() else {
            return;
        };
        if actor
            .timer
            .is_some_and(|armed| armed <= wake && armed > clock)
        {
            return;
        }
        actor.timer = Some(wake);
        actor.timer_generation += 1;
        let (life, generation) = (actor.life, actor.timer_generation);
        let at = now + wake.since(clock);
        self.plan_mine(
            at,
            Planned::Wake {
                slot,
                life,
                generation,
            },
        );
    }

    fn perform_at_once(&mut self, slot: usize, effect: &Effect) {
        self.telling
            .of(self.now, slot, "effect", || format!("{effect:?}"));
        let entry = &self.slots[slot];
        let Some(actor) = &entry.actor else { return };
        let (machine, tenant) = (&actor.machine, tenant_of(slot));
        let message = match effect {
            Effect::AskTurn(priority) => {
                let ask = machine.ask(entry.dev_eui, tenant, *priority);
                ToPool::AskTurn(Box::new(ask))
            }
            Effect::HoldTurn => {
                let ask = machine.ask_again(entry.dev_eui, tenant);
                let (clock, steady) = (self.clock(), self.steady());
                let tried = machine.silent_since(clock);
                let tried = tried.map(|(from, until)| {
                    let steady_of = |at| self.steps.steady_of(steady, at);
                    (steady_of(from), steady_of(until))
                });
                ToPool::HoldTurn(Box::new(ask), tried)
            }
            Effect::EndTurn => ToPool::EndTurn,
            Effect::ReadQueue => ToPool::ReadQueue,
            Effect::Enqueue(_) | Effect::Record(_) | Effect::Silence(_) => return,
        };
        self.send_to_pool(slot, message);
    }

    /// Everything up to a step is stored: do what waited for that.
    pub(crate) fn on_committed(&mut self, slot: usize, life: u32, seq: u64) {
        loop {
            let Some(actor) = self.slots[slot]
                .actor
                .as_mut()
                .filter(|actor| actor.life == life)
            else {
                return;
            };
            let Some(pending) = actor.pending.pop_front_if(|pending| pending.seq <= seq) else {
                break;
            };
            if self.dies() {
                return;
            }
            self.release(slot, &pending);
        }
        let is_dropped = self.slots[slot].actor.as_ref().is_some_and(|actor| {
            actor.pending.is_empty() && !actor.retired && actor.machine.is_idle()
        });
        if is_dropped && self.random.chance(self.scenario.idle_dropped) {
            self.slots[slot].actor = None;
        }
    }

    fn release(&mut self, slot: usize, pending: &Pending) {
        for effect in pending.effects.iter() {
            if let Effect::Record(record) = effect {
                self.on_record_of_gateways(slot, record);
                self.on_downlink_moved(&record.downlink);
            }
            if let Effect::Enqueue(enqueue) = effect {
                self.telling
                    .of(self.now, slot, "effect", || format!("{enqueue:?}"));
                self.send_to_pool(slot, ToPool::Enqueue(Box::new(enqueue.clone())));
            }
        }
        if let Some(Asked::Report(event)) = &pending.asked {
            self.slots[slot].note_committed(event);
        }
        match &pending.asked {
            Some(Asked::Retire) => self.remove_row(slot),
            Some(Asked::Job(job, id)) => self.on_job_asked(*job, *id, true),
            Some(Asked::Submit | Asked::Report(_)) | None => {}
        }
    }

    /// The machine is ahead of the store, or may be: start anew from what is stored.
    pub(crate) fn on_commit_failed(&mut self, slot: usize, life: u32) {
        self.forget_failed(slot, life);
        let entry = &mut self.slots[slot];
        let Some(actor) = entry
            .actor
            .take_if(|actor| actor.life == life && !actor.pending.is_empty())
        else {
            return;
        };
        self.tally.count(Count::RestartedActors);
        self.telling
            .of(self.now, slot, "ends", || "a commit failed");
        for pending in actor.pending {
            match pending.asked {
                Some(Asked::Report(event)) => self.tell_again(slot, event),
                // Whoever asked is told that the store is away, and may ask again.
                Some(Asked::Submit) => self.tally.count(Count::Refused),
                Some(Asked::Job(job, id)) => self.on_job_asked(job, id, false),
                Some(Asked::Retire) | None => {}
            }
        }
        let at = self.now + RESTART_PAUSE;
        self.plan_mine(at, Planned::Restore(slot));
    }

    /// The device is to leave the registry: what is under way ends first.
    pub(crate) fn retire(&mut self, slot: usize) {
        if self.is_down || !self.is_in_memory(slot) {
            return;
        }
        if let Some(actor) = &mut self.slots[slot].actor {
            actor.retired = true;
        }
        self.step(slot, Event::Retired, Some(Asked::Retire));
    }
}
