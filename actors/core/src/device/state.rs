//! The value that holds a device, and its one entry.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::codec::{CodecKind, Report};
use crate::gateway::GatewaySnapshot;
use crate::id::{DevAddr, DownlinkId, GatewayId, QueueItemId};
use crate::light::LightState;
use crate::network::{NetworkEvent, Reception};
use crate::radio::{DeviceClass, Modulation};
use crate::random::Random;
use crate::time::Timestamp;

use super::downlink::{Downlink, DownlinkState, Priority, Reason, Request, Step, TimelineEntry};
use super::event::{Effect, Event, Record};
use super::policy::Policy;
use super::proof::Proving;

/// Everything known and wanted of one device. Serialises whole: what is stored is what runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    #[serde(skip)]
    pub(super) policy: Policy,
    pub(super) codec: CodecKind,
    pub(super) random: Random,
    pub(super) class: DeviceClass,
    pub(super) session: Session,
    pub(super) reported: Option<Reported>,
    pub(super) battery_percent: Option<f32>,
    pub(super) desired: Option<Desired>,
    /// A light that a transient command may have put on: not a deviation from what is desired.
    pub(super) transient_light: Option<LightState>,
    pub(super) active: Option<Active>,
    pub(super) waiting: VecDeque<Downlink>,
    /// The one item of ours that is, or may be, in ChirpStack's queue.
    pub(super) item: Option<Item>,
    /// Frames of ours that may have reached the device since its last report, or still may; oldest first.
    pub(super) flights: Vec<Flight>,
    /// More frames went out unheard than are remembered: what was reported before is no measure any more.
    pub(super) uncounted: bool,
    /// The last downlink that ended unverified: a late proof still counts.
    pub(super) unproven: Option<Unproven>,
    /// tx-acks that overtook the answer of their Enqueue.
    pub(super) early_transmissions: Vec<Transmission>,
    pub(super) reconcile: Reconcile,
    /// Number of the next Enqueue.
    pub(super) next_attempt: u32,
    /// Looks at the gateways in vain since one was last there for the active downlink.
    pub(super) gateway_looks: u32,
    pub(super) gateway_look_at: Option<Timestamp>,
    #[serde(skip)]
    pub(super) turn: Turn,
    #[serde(skip)]
    pub(super) reading: Reading,
    /// When all facts were last looked at: what was due by then is done, or waits for something else.
    #[serde(skip)]
    pub(super) looked_at: Option<Timestamp>,
    /// To be looked at without any event, because it was taken up from the store.
    #[serde(skip)]
    pub(super) look_at: Option<Timestamp>,
}

/// What is known of the device's LoRaWAN session and boot epoch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Session {
    /// Counts restarts as far as they were noticed: joins, and counters that went down.
    pub(super) epoch: u32,
    /// When this epoch was noticed.
    pub(super) began_at: Option<Timestamp>,
    pub(super) dev_addr: Option<DevAddr>,
    /// Addresses of earlier sessions, the newest last: their events come late.
    pub(super) former: VecDeque<DevAddr>,
    /// Joined, and not spoken since: ChirpStack sends nothing yet.
    pub(super) awaiting_first_uplink: bool,
    pub(super) last_join: Option<uuid::Uuid>,
    pub(super) heard: Option<Heard>,
    /// The device's own counters and light in this epoch.
    pub(super) downlinks_received: Option<u32>,
    pub(super) uplinks_sent: Option<u32>,
    pub(super) light: Option<LightState>,
    /// Reports in a row without a downlink in between: its watchdog counts them, too.
    pub(super) quiet_reports: u32,
}

/// The last uplink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Heard {
    pub(super) at: Timestamp,
    pub(super) f_cnt: u32,
    /// Of this session; a join clears it.
    pub(super) in_session: bool,
    pub(super) modulation: Modulation,
    pub(super) receptions: Vec<Reception>,
}

/// What the device reported last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// When Downbeat received it.
    pub at: Timestamp,
    /// Frame counter of the uplink.
    pub f_cnt: u32,
    /// The device's words.
    pub report: Report,
}

/// What is wanted of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// The light.
    pub light: LightState,
    /// Since when.
    pub since: Timestamp,
    /// The downlink that asked for it.
    pub downlink_id: DownlinkId,
    /// What was wanted before, to fall back on when that downlink is cancelled.
    pub(super) before: Option<LightState>,
}

/// The downlink that is being worked on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Active {
    pub(super) downlink: Downlink,
    pub(super) phase: Phase,
    /// What would prove it; from its first attempt on.
    pub(super) proving: Option<Proving>,
    /// Attempts that do not count, because the device restarted under them or their answer was lost.
    pub(super) credit: u8,
    /// Whether any attempt was taken by a gateway, as far as known.
    pub(super) transmitted: bool,
    /// The last item that a tx-ack told of.
    pub(super) transmitted_item: Option<QueueItemId>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// To be sent as soon as nothing is in the way.
    Ready {
        not_before: Option<Timestamp>,
        reason: Option<Reason>,
    },
    /// The queue item is its own.
    Sending,
    /// A gateway took it; the device has until then to prove it.
    Transmitted {
        since: Timestamp,
        window_ends: Timestamp,
        modulation: Option<Modulation>,
    },
}

/// An item of ours in ChirpStack's queue, from the call of Enqueue until it is known to have left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) attempt: u32,
    pub(super) owner: Owner,
    pub(super) f_port: u8,
    pub(super) payload: Vec<u8>,
    pub(super) confirmed: bool,
    pub(super) queue_item_id: Option<QueueItemId>,
    pub(super) call: Call,
    pub(super) started_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) epoch: u32,
    /// When to look into the queue.
    pub(super) check_at: Option<Timestamp>,
    /// Confirmed and transmitted: blocks ChirpStack's queue until the acknowledgement or its time-out.
    pub(super) awaits_ack: bool,
    pub(super) refusal: Option<String>,
    pub(super) seen_stuck: bool,
}

/// Whose item it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Owner {
    /// The active downlink's.
    Active,
    /// A downlink's that has reached its end; its timeline still tells what becomes of the item.
    Ended(Box<Downlink>),
    /// Of no more interest than that it is in the way.
    Nobody,
}

/// What is known of the call of Enqueue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    UnderWay,
    Taken,
    /// The answer was lost; so many looks into the queue have not found it.
    Lost {
        looks: u8,
    },
}

/// A frame that may still reach the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Flight {
    pub(super) attempt: u32,
    pub(super) downlink_id: DownlinkId,
    pub(super) light: Option<LightState>,
    pub(super) epoch: u32,
    /// The device may still acknowledge it.
    pub(super) awaits_ack: bool,
    /// From when on it cannot land any more; unknown while it may be in ChirpStack's queue.
    pub(super) over_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Unproven {
    pub(super) downlink: Downlink,
    pub(super) proving: Proving,
}

/// A tx-ack.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Transmission {
    pub(super) at: Timestamp,
    pub(super) queue_item_id: Option<QueueItemId>,
    pub(super) gateway_id: Option<GatewayId>,
    pub(super) f_cnt_down: Option<u32>,
    pub(super) modulation: Option<Modulation>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Reconcile {
    /// The device showed something else than desired and is to be told again at this time.
    pub(super) due_at: Option<Timestamp>,
    pub(super) last_at: Option<Timestamp>,
    /// It shows the right thing, and is to be told again for its watchdog's sake.
    pub(super) refresh: bool,
    /// Commands of this kind since the device last showed what is desired.
    pub(super) streak: u32,
}

/// A place in ChirpStack's queue and on the air. Not stored: it ends with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Turn {
    #[default]
    None,
    Asked {
        since: Timestamp,
        priority: Priority,
    },
    /// It has come; an attempt may begin.
    Granted,
    /// An item of ours took it, and keeps it until it has gone out. One turn is for one item.
    Used,
}

/// A look into ChirpStack's queue. Not stored: it ends with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Reading {
    #[default]
    Idle,
    UnderWay {
        since: Timestamp,
        /// It began before the item was in the queue: it says nothing of it.
        outdated: bool,
    },
}

impl Reading {
    /// The same look, when what it looks for has changed.
    pub(super) fn outdated(self) -> Self {
        match self {
            Self::Idle => Self::Idle,
            Self::UnderWay { since, .. } => Self::UnderWay {
                since,
                outdated: true,
            },
        }
    }

    /// Whether its answer says something of the item.
    pub(super) fn is_of_use(self) -> bool {
        matches!(
            self,
            Self::UnderWay {
                outdated: false,
                ..
            }
        )
    }
}

/// Whether a device takes one more command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It does.
    Yes,
    /// As many wait as may.
    Full,
}

/// Addresses of former sessions that are remembered.
const FORMER_SESSIONS: usize = 4;

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
            next_attempt: 1,
            gateway_looks: 0,
            gateway_look_at: None,
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
            Turn::Granted | Turn::Used => effects.push(Effect::HoldTurn),
        }
        self.reading = Reading::Idle;
        let Some(item) = &mut self.item else { return };
        match item.call {
            Call::Taken => {}
            // Looks of before do not count: the second one has its time, when the slowest call is over.
            Call::UnderWay | Call::Lost { .. } => {
                item.call = Call::Lost { looks: 0 };
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
            Event::GatewaysChanged | Event::Elapsed => {}
        }
        self.advance(now, gateways, &mut effects);
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
        self.reconcile_if_due(now, effects);
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
            Turn::None | Turn::Granted | Turn::Used => None,
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
            && self.turn == Turn::None
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

    fn on_requested(&mut self, now: Timestamp, request: Request, effects: &mut Vec<Effect>) {
        let known = self.unfinished().any(|known| known.id == request.id);
        if known || self.admission() == Admission::Full {
            return;
        }
        if request.is_state {
            self.supersede_states(now, request.id, effects);
        }
        self.note_wish(now, &request);
        let mut downlink = self.accept(now, request);
        record(&mut downlink, now, Step::Accepted, effects);
        self.waiting.push_back(downlink);
    }

    pub(super) fn accept(&self, now: Timestamp, request: Request) -> Downlink {
        Downlink {
            id: request.id,
            origin: request.origin,
            frame: request.frame,
            light: request.light,
            is_state: request.is_state,
            proof: request.proof,
            confirmed: request.confirmed,
            transient: request.transient,
            attempts_max: request
                .attempts_max
                .unwrap_or(self.policy.attempts_max)
                .max(1),
            expires_at: request.expires_at.unwrap_or(now + self.policy.command_ttl),
            accepted_at: now,
            updated_at: now,
            state: DownlinkState::Accepted,
            reason: None,
            attempts: 0,
            queue_item_id: None,
            evidence: None,
            late: false,
            finished_at: None,
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
            NetworkEvent::Logged(_) | NetworkEvent::Located(_) | NetworkEvent::Integrated => {}
        }
    }
}

impl Session {
    /// Begins a boot epoch: what the device counted and showed before says nothing any more.
    pub(super) fn begin_epoch(&mut self, now: Timestamp, dev_addr: Option<DevAddr>) {
        self.epoch = self.epoch.wrapping_add(1);
        self.began_at = Some(now);
        self.quiet_reports = 0;
        self.downlinks_received = None;
        self.uplinks_sent = None;
        self.light = None;
        if dev_addr.is_some() && dev_addr != self.dev_addr {
            if let Some(former) = self.dev_addr {
                if self.former.len() == FORMER_SESSIONS {
                    self.former.pop_front();
                }
                self.former.push_back(former);
            }
            self.former.retain(|former| Some(*former) != dev_addr);
            self.dev_addr = dev_addr;
        }
        if let Some(heard) = &mut self.heard {
            heard.in_session = false;
        }
    }

    /// Modulation of the last uplink; SF9 as long as none is known.
    pub(super) fn modulation(&self) -> Modulation {
        self.heard
            .as_ref()
            .map_or(Modulation::lora_125(9), |heard| heard.modulation)
    }
}

/// Writes one more step of a downlink's timeline.
pub(super) fn record(
    downlink: &mut Downlink,
    at: Timestamp,
    step: Step,
    effects: &mut Vec<Effect>,
) {
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
