//! The one entry of a device's machine: an event changes facts, then one look at all facts decides.

use std::collections::VecDeque;

use crate::codec::CodecKind;
use crate::gateway::GatewaySnapshot;
use crate::network::{NetworkEvent, Reception};
use crate::radio::DeviceClass;
use crate::random::Random;
use crate::time::Timestamp;

use super::downlink::{Downlink, DownlinkState, Reason, Request, Step, TimelineEntry};
use super::event::{Effect, Event, Record};
use super::initialisation::Initialisation;
use super::policy::Policy;
use super::presence::{Presence, UplinkCounts};
use super::state::{
    Active, Call, Desired, Device, Phase, Reading, Reconcile, Reported, Session, Transmission, Turn,
};

/// Whether a device takes one more command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It does.
    Yes,
    /// As many wait as may.
    Full,
}

impl Device {
    /// A device of which nothing is known. `seed` spreads its retries and makes its ids.
    pub fn new(codec: CodecKind, policy: Policy, seed: u64) -> Self {
        Self {
            policy,
            codec,
            random: Random::from_seed(seed),
            class: DeviceClass::C,
            session: Session::default(),
            reported: None,
            battery_percent: None,
            presence: Presence::NeverSeen,
            uplinks: UplinkCounts::default(),
            desired: None,
            transient_light: None,
            active: None,
            waiting: VecDeque::new(),
            item: None,
            flights: Vec::new(),
            uncounted: false,
            unproven: None,
            early_transmissions: Vec::new(),
            reconcile: Reconcile::default(),
            initialisation: Initialisation::default(),
            next_attempt: 1,
            gateway_looks: 0,
            gateway_look_at: None,
            scout_at: None,
            is_awaited: false,
            is_key_refused: false,
            turn: Turn::None,
            reading: Reading::Idle,
            looked_at: None,
            look_at: None,
        }
    }

    /// Takes up work after a restart: the value is as it was stored, calls that were under way may or may not have
    /// happened. Gives the effects to perform before any event; [`Device::next_wake`] names `now` if there is work to do.
    pub fn restore(&mut self, policy: Policy, now: Timestamp) -> Vec<Effect> {
        self.policy = policy;
        self.looked_at = None;
        self.look_at = (!self.is_idle()).then_some(now);
        let mut effects = Vec::new();
        if let Some(item) = &mut self.item {
            item.check_at = Some(now);
            self.turn = Turn::Used;
        } else {
            self.turn = Turn::None;
        }
        self.on_services_restarted(now, &mut effects);
        effects
    }

    /// Turns and calls that were under way are lost: a turn is asked for again or held on to, and whether a call was
    /// carried out is looked up in the queue.
    fn on_services_restarted(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        match self.turn {
            Turn::None => {}
            Turn::Asked { .. } => self.turn = Turn::None,
            Turn::Granted { .. } | Turn::Used => effects.push(Effect::HoldTurn),
        }
        self.reading = Reading::Idle;
        let Some(item) = &mut self.item else { return };
        match item.call {
            Call::Taken => {}
            // Looks of before do not count: the second one has its time, when the slowest call is over.
            Call::UnderWay | Call::Lost { .. } => {
                item.call = Call::Lost {
                    looks: 0,
                    is_over: false,
                };
                item.check_at = Some(now);
            }
        }
    }

    /// Whether one more command is taken. Checked before it is accepted.
    pub fn admission(&self) -> Admission {
        if self.waiting.len() >= self.policy.waiting_max {
            Admission::Full
        } else {
            Admission::Yes
        }
    }

    /// Advances by one event. Never fails: a surprise changes nothing.
    pub fn step(
        &mut self,
        now: Timestamp,
        event: Event,
        gateways: &GatewaySnapshot,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Requested(request) => self.on_requested(now, request, &mut effects),
            Event::CancelRequested(id) => self.on_cancel_requested(now, id, &mut effects),
            Event::Wished(request) => self.on_wished(now, request, &mut effects),
            Event::WishCleared => self.on_wish_cleared(now, &mut effects),
            Event::InitialisationRequested { force } => {
                self.on_initialisation_requested(now, force);
            }
            Event::Network(event) => self.on_network_event(now, event, &mut effects),
            Event::TurnGranted => self.on_turn_granted(&mut effects),
            Event::Enqueued {
                attempt,
                queue_item_id,
            } => {
                self.on_enqueued(now, attempt, queue_item_id, &mut effects);
            }
            Event::EnqueueFailed { attempt, failure } => {
                self.on_enqueue_failed(now, attempt, failure, &mut effects);
            }
            Event::QueueRead(items) => self.on_queue_read(now, &items, &mut effects),
            Event::QueueReadFailed => self.on_queue_read_failed(now),
            Event::ServicesRestarted => self.on_services_restarted(now, &mut effects),
            Event::Awaited(is_awaited) => self.is_awaited = is_awaited,
            Event::KeyTold(is_taken) => self.on_key_told(is_taken),
            Event::Silent => self.on_silent(now),
            Event::Retired => self.on_retired(now, &mut effects),
            Event::GatewaysChanged | Event::Elapsed => {}
        }
        self.advance(now, gateways, &mut effects);
        note_signs(&mut effects, gateways);
        effects
    }

    /// One look at all facts: what is due, and what to do next.
    fn advance(&mut self, now: Timestamp, gateways: &GatewaySnapshot, effects: &mut Vec<Effect>) {
        self.looked_at = Some(now);
        self.look_at = None;
        self.expire(now, effects);
        self.close_window(now, effects);
        self.look_into_queue(now, effects);
        self.promote();
        self.follow_initialisation(now, effects);
        self.initialise_if_due(now, effects);
        self.reconcile_if_due(now, effects);
        self.follow_initialisation(now, effects);
        self.end_used_turn(effects);
        let only_turn_missing = self.send(now, gateways, effects);
        self.end_unwanted_turn(only_turn_missing, effects);
    }

    /// When the machine wants to be woken by [`Event::Elapsed`], if no event comes before.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let active = self.active.as_ref();
        let phase = active.and_then(|active| match &active.phase {
            Phase::Ready { not_before, .. } => *not_before,
            Phase::Sending => None,
            Phase::Transmitted { window_ends, .. } => Some(*window_ends),
        });
        let turn = match self.turn {
            Turn::Asked { since, .. } => Some(since + super::sending::TURN_PATIENCE),
            Turn::None | Turn::Granted { .. } | Turn::Used => None,
        };
        let expiry = active
            .filter(|_| self.is_ready())
            .map(|active| active.downlink.expires_at);
        let waiting = self.waiting.iter().map(|downlink| downlink.expires_at);
        let due = [
            phase,
            self.queue_read_due_at(),
            turn,
            expiry,
            waiting.min(),
            self.gateway_look_at,
            self.reconcile.due_at,
            self.initialisation.due_at(),
        ];
        // What was due at the last look and is not done waits for something else.
        due.into_iter()
            .flatten()
            .filter(|at| self.looked_at.is_none_or(|looked_at| *at > looked_at))
            .chain(self.look_at)
            .min()
    }

    /// Whether anything is under way that needs this device in memory.
    pub fn is_idle(&self) -> bool {
        self.active.is_none()
            && self.waiting.is_empty()
            && self.item.is_none()
            && self.reconcile.due_at.is_none()
            && !self.initialisation.is_running()
            && self.turn == Turn::None
    }

    /// Other numbers hold from now on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// It speaks another codec from now on: what it said in the old one is forgotten. Retire it before.
    pub fn set_codec(&mut self, codec: CodecKind) {
        if codec != self.codec {
            self.codec = codec;
            self.reported = None;
            self.session.light = None;
            self.session.downlinks_received = None;
            self.session.uplinks_sent = None;
            self.initialisation = Initialisation::default();
        }
    }

    /// The codec it speaks.
    pub fn codec(&self) -> CodecKind {
        self.codec
    }

    /// What is wanted of it.
    pub fn desired(&self) -> Option<&Desired> {
        self.desired.as_ref()
    }

    /// What it reported last.
    pub fn reported(&self) -> Option<&Reported> {
        self.reported.as_ref()
    }

    /// When it was last heard.
    pub fn last_seen(&self) -> Option<Timestamp> {
        self.session.heard.as_ref().map(|heard| heard.at)
    }

    /// The gateways that heard its last uplink, best first.
    pub fn receptions(&self) -> &[Reception] {
        self.session
            .heard
            .as_ref()
            .map_or(&[], |heard| &heard.receptions)
    }

    /// Percent, as it last said.
    pub fn battery_percent(&self) -> Option<f32> {
        self.battery_percent
    }

    /// The downlink being worked on, and those that wait for it.
    pub fn unfinished(&self) -> impl Iterator<Item = &Downlink> {
        self.active
            .iter()
            .map(|active| &active.downlink)
            .chain(&self.waiting)
    }

    pub(super) fn on_requested(
        &mut self,
        now: Timestamp,
        request: Request,
        effects: &mut Vec<Effect>,
    ) {
        let known = self.unfinished().any(|known| known.id == request.id);
        if known || self.admission() == Admission::Full {
            return;
        }
        if request.is_state {
            self.supersede_states(now, request.id, effects);
        }
        self.note_wish(now, &request);
        self.interrupt_initialisation(now, Reason::Newer(request.id), effects);
        let mut downlink = self.accept(now, request);
        record(&mut downlink, now, Step::Accepted, effects);
        self.waiting.push_back(downlink);
    }

    pub(super) fn accept(&self, now: Timestamp, request: Request) -> Downlink {
        let proof = match request.proof_if_mute {
            Some(proof) if !self.session.answers => proof,
            Some(_) | None => request.proof,
        };
        Downlink {
            id: request.id,
            origin: request.origin,
            frame: request.frame,
            light: request.light,
            is_state: request.is_state,
            proof,
            confirmed: request.confirmed,
            transient: request.transient,
            attempts_max: request
                .attempts_max
                .unwrap_or(self.policy.attempts_max)
                .max(1),
            expires_at: request.expires_at.unwrap_or(now + self.policy.command_ttl),
            until_deadline: request.until_deadline.unwrap_or(self.policy.until_deadline),
            accepted_at: now,
            updated_at: now,
            state: DownlinkState::Accepted,
            reason: None,
            attempts: 0,
            queue_item_id: None,
            evidence: None,
            late: false,
            finished_at: None,
            enqueued_at: None,
            transmission: None,
            steps: 0,
        }
    }

    /// The oldest waiting downlink becomes the active one.
    pub(super) fn promote(&mut self) {
        if self.active.is_some() {
            return;
        }
        let Some(downlink) = self.waiting.pop_front() else {
            return;
        };
        self.gateway_looks = 0;
        self.gateway_look_at = None;
        self.active = Some(Active {
            downlink,
            phase: Phase::Ready {
                not_before: None,
                reason: None,
            },
            proving: None,
            credit: 0,
            is_scouting: false,
            scouts: 0,
            transmitted: false,
            transmitted_item: None,
        });
    }

    fn on_network_event(&mut self, now: Timestamp, event: NetworkEvent, effects: &mut Vec<Effect>) {
        match event {
            NetworkEvent::Heard(uplink) => self.on_heard(now, &uplink, effects),
            NetworkEvent::Joined(joined) => self.on_joined(now, joined, effects),
            NetworkEvent::Transmitted(event) => {
                let transmission = Transmission {
                    at: now,
                    queue_item_id: event.queue_item_id,
                    gateway_id: event.gateway_id,
                    f_cnt_down: Some(event.f_cnt_down),
                    modulation: event.modulation,
                };
                self.on_transmitted(now, transmission, effects);
            }
            NetworkEvent::Acknowledged(event) => self.on_acknowledged(now, event, effects),
            NetworkEvent::Refused(event) => self.on_refused(now, event.status, effects),
            NetworkEvent::Dropped(event) => self.on_dropped(now, event, effects),
            NetworkEvent::StatusReported(event) => {
                let battery = event.battery_percent.filter(|percent| percent.is_finite());
                self.battery_percent = battery.or(self.battery_percent);
            }
            NetworkEvent::PresenceTold(is_online) => {
                self.presence = if is_online {
                    Presence::Online
                } else {
                    Presence::Offline
                };
            }
            NetworkEvent::Logged(_) | NetworkEvent::Located(_) | NetworkEvent::Integrated => {}
        }
    }
}

/// What is told of items that were sent without a word holds what is known of gateways, or is not worth telling.
fn note_signs(effects: &mut Vec<Effect>, gateways: &GatewaySnapshot) {
    effects.retain_mut(|effect| {
        let Effect::Silence(item) = effect else {
            return true;
        };
        item.note_signs(gateways);
        item.is_of_account()
    });
}

/// Writes one more step of a downlink's timeline.
pub(super) fn record(
    downlink: &mut Downlink,
    at: Timestamp,
    step: Step,
    effects: &mut Vec<Effect>,
) {
    downlink.note(at, &step);
    let entry = TimelineEntry {
        seq: downlink.steps,
        at,
        attempt: downlink.attempts,
        step,
    };
    downlink.steps += 1;
    downlink.updated_at = at;
    effects.push(Effect::Record(Box::new(Record {
        downlink: downlink.clone(),
        entry,
    })));
}
