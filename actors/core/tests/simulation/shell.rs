//! The shell around the devices: saves, performs, crashes, takes up work again.

use std::collections::BTreeMap;
use std::time::Duration;

use downbeat_core::codec::{CodecKind, Command};
use downbeat_core::device::{Admission, Device, Effect, Enqueue, Event, Request};
use downbeat_core::gateway::{
    GatewayConfig, GatewaySnapshot, GatewayTable, ListedGateway, ListedState,
};
use downbeat_core::id::{DevEui, DownlinkId, GatewayId};
use downbeat_core::light::LightState;
use downbeat_core::network::{EnqueueFailure, NetworkEvent, QueueItem};
use downbeat_core::random::Random;
use downbeat_core::time::Timestamp;
use downbeat_core::turn::Turns;
use downbeat_sim::model::config::{FIRST_DEV_EUI, FIRST_GATEWAY_ID, LinksConfig, WebhookConfig};
use downbeat_sim::model::{GatewayState, Network, NewQueueItem, QueuedItem, Webhook};

use crate::promises::Promises;
use crate::scenario::{CallFaults, Happening, START, Scenario, Wish};
use crate::trace::Trace;

/// A call is given up after this.
const DEADLINE: Duration = Duration::from_secs(3);
/// A slow ChirpStack carries a call out no later than this after it began.
const SLOWEST_CALL: u64 = 4_500;
/// How long the world may take to come to rest after the faults.
const REST_MAX: Duration = Duration::from_hours(8);
/// How long it has to stay at rest.
const REST: Duration = Duration::from_mins(3);
/// Wakes of one device at one instant.
const WAKES_MAX: u32 = 5;

/// A world with everything in it.
#[derive(Debug)]
pub(crate) struct Shell {
    scenario: Scenario,
    network: Network,
    random: Random,
    now: Timestamp,
    agenda: BTreeMap<(Timestamp, u64), Planned>,
    planned: u64,
    lamps: Vec<Lamp>,
    turns: Turns,
    gateways: GatewayTable,
    snapshot: GatewaySnapshot,
    /// A process; answers and turns of an earlier one are lost.
    process: u32,
    /// A pool of calls within it.
    pool: u32,
    down_until: Option<Timestamp>,
    calls: CallFaults,
    faulty: bool,
    promises: Promises,
    steps: u64,
    trace: Trace,
}

/// A lamp's device, and what is stored of it.
#[derive(Debug)]
struct Lamp {
    dev_eui: DevEui,
    device: Device,
    saved: String,
    wakes: (Timestamp, u32),
    last_asked: Option<DownlinkId>,
    /// Lights that may stand although another is desired: transient ones asked for since.
    transient: Vec<LightState>,
}

#[derive(Debug)]
enum Planned {
    Happening(Happening),
    /// Something for a device, from a pool of calls.
    Tell {
        pool: u32,
        lamp: usize,
        event: Event,
    },
    EnqueueArrives(Call),
    QueueReadArrives {
        pool: u32,
        lamp: usize,
    },
    ListGateways,
    ProcessStarts,
}

#[derive(Debug)]
struct Call {
    pool: u32,
    lamp: usize,
    enqueue: Enqueue,
    /// When the answer arrives, if it does.
    answer_at: Option<Timestamp>,
}

/// A crash is not an error of the machine: the step ends here.
struct Crashed;

impl Shell {
    pub(crate) fn new(seed: u64, trace: Trace) -> Self {
        let scenario = Scenario::new(seed);
        let network = Network::new(scenario.network.clone(), seed, START);
        let lamps = network
            .lights()
            .enumerate()
            .map(|(index, light)| {
                let device_seed = seed.wrapping_mul(31).wrapping_add(index as u64);
                let device = Device::new(
                    CodecKind::KuandoBusylight,
                    scenario.policy.clone(),
                    device_seed,
                );
                Lamp {
                    dev_eui: light.dev_eui,
                    saved: stored(&device),
                    device,
                    wakes: (START, 0),
                    last_asked: None,
                    transient: Vec::new(),
                }
            })
            .collect();
        let gateways = GatewayTable::new(GatewayConfig::default());
        let mut shell = Self {
            calls: scenario.calls,
            snapshot: gateways.snapshot(START),
            turns: Turns::default(),
            network,
            random: Random::from_seed(seed ^ 0x0ff1_ce00),
            now: START,
            agenda: BTreeMap::new(),
            planned: 0,
            lamps,
            gateways,
            process: 0,
            pool: 0,
            down_until: None,
            faulty: true,
            promises: Promises::default(),
            steps: 0,
            trace,
            scenario,
        };
        shell.new_turns();
        for (at, happening) in std::mem::take(&mut shell.scenario.happenings) {
            shell.plan(at, Planned::Happening(happening));
        }
        shell.plan(START, Planned::ListGateways);
        shell
    }

    /// Lives until everything is at rest, or a promise is broken. Tells how much happened.
    pub(crate) fn live(mut self) -> Result<(u64, BTreeMap<&'static str, usize>), String> {
        let mut rested_since = None;
        loop {
            self.now = self.next_at().max(self.now);
            self.live_this_instant().map_err(|broken| {
                format!("{broken}, at {:.3} s", self.now.since(START).as_secs_f64())
            })?;
            if self.now <= self.scenario.faults_end {
                continue;
            }
            if let Some(unrest) = self.unrest() {
                rested_since = None;
                if self.now > self.scenario.faults_end + REST_MAX {
                    return Err(format!("no rest: {unrest}"));
                }
            } else if self.now >= *rested_since.get_or_insert(self.now) + REST {
                return Ok((self.steps, self.promises.tally()));
            }
        }
    }

    fn next_at(&self) -> Timestamp {
        let planned = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let network = self.network.next_event_at();
        let shell = (self.down_until.is_none())
            .then(|| {
                self.lamps
                    .iter()
                    .filter_map(|lamp| lamp.device.next_wake())
                    .chain(self.turns.next_wake())
                    .min()
            })
            .flatten();
        [planned, network, shell]
            .into_iter()
            .flatten()
            .min()
            .expect("gateways are listed for ever")
    }

    fn live_this_instant(&mut self) -> Result<(), String> {
        for webhook in self.network.advance(self.now) {
            self.on_webhook(webhook)?;
        }
        while let Some(entry) = self
            .agenda
            .first_entry()
            .filter(|entry| entry.key().0 <= self.now)
        {
            let planned = entry.remove();
            self.on_planned(planned)?;
        }
        for lamp in 0..self.lamps.len() {
            while self.down_until.is_none()
                && self.lamps[lamp]
                    .device
                    .next_wake()
                    .is_some_and(|wake| wake <= self.now)
            {
                let wakes = &mut self.lamps[lamp].wakes;
                *wakes = if wakes.0 == self.now {
                    (self.now, wakes.1 + 1)
                } else {
                    (self.now, 1)
                };
                if wakes.1 > WAKES_MAX {
                    return Err("a device wakes again and again".to_owned());
                }
                self.step(lamp, Event::Elapsed)?;
            }
        }
        self.grant_turns();
        for lamp in &self.lamps {
            self.promises.check_queue(&self.network, lamp.dev_eui)?;
        }
        Ok(())
    }

    /// Why the world is not at rest, if it is not.
    fn unrest(&self) -> Option<String> {
        if self.down_until.is_some() {
            return Some("the process is down".to_owned());
        }
        if !self.promises.all_ended() {
            return Some(format!("unfinished: {:?}", self.promises.unfinished()));
        }
        self.lamps.iter().find_map(|lamp| {
            let desired = lamp.device.desired()?.light;
            let shown = self.network.light(lamp.dev_eui)?.shown;
            (shown != desired && !lamp.transient.contains(&shown))
                .then(|| format!("{} shows {shown} instead of {desired}", lamp.dev_eui))
        })
    }

    fn plan(&mut self, at: Timestamp, planned: Planned) {
        self.planned += 1;
        self.agenda.insert((at, self.planned), planned);
    }

    fn on_planned(&mut self, planned: Planned) -> Result<(), String> {
        match planned {
            Planned::Happening(happening) => self.on_happening(happening),
            Planned::Tell { pool, lamp, event } => {
                if pool == self.pool && self.down_until.is_none() {
                    self.step(lamp, event)?;
                }
                Ok(())
            }
            Planned::EnqueueArrives(call) => {
                self.on_enqueue_arrives(call);
                Ok(())
            }
            Planned::QueueReadArrives { pool, lamp } => {
                self.on_queue_read_arrives(pool, lamp);
                Ok(())
            }
            Planned::ListGateways => self.on_list_gateways(),
            Planned::ProcessStarts => self.on_process_starts(),
        }
    }

    fn on_webhook(&mut self, webhook: Webhook) -> Result<(), String> {
        let Some(lamp) = self
            .lamps
            .iter()
            .position(|lamp| lamp.dev_eui == webhook.dev_eui)
        else {
            return Ok(());
        };
        if self.down_until.is_some() {
            self.trace
                .line(self.now, "lost", || format!("{lamp} {:?}", webhook.event));
            return Ok(());
        }
        let mut changes = Vec::new();
        match &webhook.event {
            NetworkEvent::Heard(uplink) => {
                for reception in &uplink.receptions {
                    changes.extend(self.gateways.heard(self.now, webhook.dev_eui, reception));
                }
            }
            NetworkEvent::Transmitted(event) => {
                if let Some(gateway) = event.gateway_id {
                    changes.extend(self.gateways.transmitted(self.now, gateway));
                }
            }
            NetworkEvent::Joined(_)
            | NetworkEvent::Acknowledged(_)
            | NetworkEvent::Refused(_)
            | NetworkEvent::Dropped(_)
            | NetworkEvent::Logged(_)
            | NetworkEvent::StatusReported(_)
            | NetworkEvent::Located(_)
            | NetworkEvent::Integrated => {}
        }
        self.snapshot = self.gateways.snapshot(self.now);
        self.step(lamp, Event::Network(webhook.event))?;
        if changes.is_empty() {
            Ok(())
        } else {
            self.tell_all(&Event::GatewaysChanged)
        }
    }

    fn tell_all(&mut self, event: &Event) -> Result<(), String> {
        for lamp in 0..self.lamps.len() {
            if self.down_until.is_none() {
                self.step(lamp, event.clone())?;
            }
        }
        Ok(())
    }

    fn on_list_gateways(&mut self) -> Result<(), String> {
        self.plan(self.now + Duration::from_secs(10), Planned::ListGateways);
        if self.down_until.is_some() {
            return Ok(());
        }
        let changes = if self.network.is_server_up() {
            let list = (0..)
                .zip(self.network.gateways())
                .map(|(index, gateway)| ListedGateway {
                    gateway_id: gateway_id(index),
                    name: gateway.name,
                    tenant_id: None,
                    state: match gateway.state {
                        GatewayState::NeverSeen => ListedState::NeverSeen,
                        GatewayState::Online => ListedState::Online,
                        GatewayState::Offline => ListedState::Offline,
                    },
                    last_seen_at: gateway.last_seen_at,
                    location: None,
                });
            self.gateways.listed(self.now, list.collect())
        } else {
            self.gateways.tick(self.now)
        };
        self.snapshot = self.gateways.snapshot(self.now);
        if changes.is_empty() {
            Ok(())
        } else {
            self.tell_all(&Event::GatewaysChanged)
        }
    }

    fn on_happening(&mut self, happening: Happening) -> Result<(), String> {
        self.trace
            .line(self.now, "world", || format!("{happening:?}"));
        let now = self.now;
        match happening {
            Happening::Ask(wish) => return self.ask(&wish),
            Happening::CancelLast { lamp } => {
                if let Some(id) = self.lamps[lamp]
                    .last_asked
                    .filter(|_| self.down_until.is_none())
                {
                    return self.step(lamp, Event::CancelRequested(id));
                }
            }
            Happening::ForeignItem { lamp, light } => {
                let item = NewQueueItem {
                    f_port: 15,
                    payload: downbeat_core::codec::busylight::light_to_wire(light).to_vec(),
                    ..NewQueueItem::default()
                };
                // A server that is down takes nothing from others, either.
                let _ = self.network.enqueue(now, dev_eui(lamp), item);
            }
            Happening::Links(links) => self.network.set_links(links),
            Happening::Webhooks(webhooks) => self.network.set_webhooks(webhooks),
            Happening::GatewayOnline { gateway, online } => {
                self.network
                    .set_gateway_online(now, gateway_id(gateway), online);
            }
            Happening::GatewayMute { gateway, mute } => {
                self.network.set_gateway_mute(gateway_id(gateway), mute);
            }
            Happening::GatewayRefusal { gateway, refusal } => {
                self.network
                    .set_gateway_refusal(gateway_id(gateway), refusal);
            }
            Happening::GatewayTxAck {
                gateway,
                loss,
                delay,
            } => {
                self.network
                    .set_gateway_tx_ack(gateway_id(gateway), loss, delay);
            }
            Happening::Reboot { lamp } => {
                self.network.reboot_light(now, dev_eui(lamp));
            }
            Happening::Power { lamp, powered } => {
                self.network.set_light_power(now, dev_eui(lamp), powered);
            }
            Happening::Server { up } => self.network.set_server_up(now, up),
            Happening::ServicesRestart => return self.restart_services(),
            Happening::FaultsEnd => self.end_faults(),
        }
        Ok(())
    }

    fn end_faults(&mut self) {
        self.faulty = false;
        self.calls = CallFaults::default();
        self.network.set_links(LinksConfig::default());
        self.network.set_webhooks(WebhookConfig::default());
        self.network.set_server_up(self.now, true);
        for gateway in (0..self.network.gateways().len()).map(gateway_id) {
            self.network.set_gateway_online(self.now, gateway, true);
            self.network.set_gateway_mute(gateway, false);
            self.network.set_gateway_refusal(gateway, None);
            self.network
                .set_gateway_tx_ack(gateway, 0.0, Duration::ZERO);
        }
        for lamp in &self.lamps {
            self.network.set_light_power(self.now, lamp.dev_eui, true);
        }
        // Ends of single faults that were planned for later change nothing any more.
        self.agenda
            .retain(|_, planned| !matches!(planned, Planned::Happening(happening) if !matches!(happening, Happening::Ask(_) | Happening::CancelLast { .. })));
    }

    fn ask(&mut self, wish: &Wish) -> Result<(), String> {
        let lamp = wish.lamp;
        if self.down_until.is_some() || self.lamps[lamp].device.admission() == Admission::Full {
            return Ok(());
        }
        let id = DownlinkId::from_uuid(self.random.uuid_v7(self.now));
        let request = Request::new(
            id,
            CodecKind::KuandoBusylight,
            &wish.command,
            wish.confirmed,
            wish.verify,
        )
        .expect("a Busylight understands it");
        let request = Request {
            transient: wish.transient,
            attempts_max: wish.attempts_max,
            expires_at: wish.ttl.map(|ttl| self.now + ttl),
            ..request
        };
        let light = request.light;
        self.step(lamp, Event::Requested(request))?;
        if !self.promises.was_accepted(id) {
            return Ok(());
        }
        let lamp = &mut self.lamps[lamp];
        lamp.last_asked = Some(id);
        match light {
            Some(light) if wish.transient || matches!(wish.command, Command::Raw(_)) => {
                lamp.transient.push(light);
            }
            Some(_) => lamp.transient.clear(),
            None => {}
        }
        Ok(())
    }

    /// What an actor does with a message: step, save what changed, then perform the effects. Any moment may be the
    /// process's last.
    fn step(&mut self, lamp: usize, event: Event) -> Result<(), String> {
        self.steps += 1;
        self.trace
            .line(self.now, "event", || format!("{lamp} {event:?}"));
        let crash_after = self.crash_after();
        let effects = self.lamps[lamp]
            .device
            .step(self.now, event, &self.snapshot);
        if let Err(Crashed) = self.save_and_perform(lamp, effects, crash_after)? {
            self.crash();
        }
        Ok(())
    }

    /// Actions of a step after which the process is no more: 0 is before the state is saved.
    fn crash_after(&mut self) -> Option<u64> {
        (self.faulty && self.random.chance(self.scenario.crash)).then(|| self.random.below(4))
    }

    fn save_and_perform(
        &mut self,
        lamp: usize,
        effects: Vec<Effect>,
        crash_after: Option<u64>,
    ) -> Result<Result<(), Crashed>, String> {
        if crash_after == Some(0) {
            return Ok(Err(Crashed));
        }
        self.lamps[lamp].saved = stored(&self.lamps[lamp].device);
        let light = self
            .network
            .light(self.lamps[lamp].dev_eui)
            .expect("a known lamp");
        for effect in &effects {
            if let Effect::Record(record) = effect {
                self.trace.line(self.now, "record", || {
                    format!(
                        "{lamp} {} #{} {:?}",
                        record.downlink.id, record.entry.seq, record.entry.step
                    )
                });
                self.promises.check_record(record, light)?;
            }
        }
        let actions = effects
            .into_iter()
            .filter(|effect| !matches!(effect, Effect::Record(_)));
        for (number, effect) in (1..).zip(actions) {
            if crash_after == Some(number) {
                return Ok(Err(Crashed));
            }
            self.perform(lamp, effect);
        }
        Ok(if crash_after.is_some() {
            Err(Crashed)
        } else {
            Ok(())
        })
    }

    fn perform(&mut self, lamp: usize, effect: Effect) {
        self.trace
            .line(self.now, "effect", || format!("{lamp} {effect:?}"));
        let dev_eui = self.lamps[lamp].dev_eui;
        match effect {
            Effect::AskTurn(priority) => self.turns.ask(dev_eui, priority),
            Effect::HoldTurn => self.turns.hold(self.now, dev_eui),
            Effect::EndTurn => self.turns.end(dev_eui),
            Effect::Enqueue(enqueue) => self.call_enqueue(lamp, enqueue),
            Effect::ReadQueue => {
                let at = self.now + self.latency();
                let pool = self.pool;
                self.plan(at, Planned::QueueReadArrives { pool, lamp });
            }
            Effect::Record(_) => {}
        }
    }

    fn latency(&mut self) -> Duration {
        Duration::from_millis(if self.random.chance(self.calls.slow) {
            self.random.below(SLOWEST_CALL)
        } else {
            2 + self.random.below(40)
        })
    }

    fn tell(&mut self, at: Timestamp, lamp: usize, event: Event) {
        let pool = self.pool;
        self.plan(at, Planned::Tell { pool, lamp, event });
    }

    fn call_enqueue(&mut self, lamp: usize, enqueue: Enqueue) {
        self.promises.note_attempt(self.now, enqueue.downlink_id);
        let attempt = enqueue.attempt;
        let fail = |failure| Event::EnqueueFailed { attempt, failure };
        let at = self.now + self.latency();
        if self.random.chance(self.calls.unavailable) {
            self.tell(at, lamp, fail(EnqueueFailure::Unavailable));
        } else if self.random.chance(self.calls.refused) {
            self.tell(
                at,
                lamp,
                fail(EnqueueFailure::Refused("INTERNAL".to_owned())),
            );
        } else {
            let deadline = self.now + DEADLINE;
            let answer_at = at + self.latency();
            let lost = self.random.chance(self.calls.answer_lost) || answer_at >= deadline;
            if lost {
                let given_up_at = if self.random.chance(0.5) {
                    deadline
                } else {
                    deadline.min(at)
                };
                self.tell(given_up_at, lamp, fail(EnqueueFailure::Unknown));
            }
            let call = Call {
                pool: self.pool,
                lamp,
                enqueue,
                answer_at: (!lost).then_some(answer_at),
            };
            self.plan(at, Planned::EnqueueArrives(call));
        }
    }

    fn on_enqueue_arrives(&mut self, call: Call) {
        let Call {
            pool,
            lamp,
            enqueue,
            answer_at,
        } = call;
        let Enqueue {
            attempt,
            frame,
            confirmed,
            expires_at,
            ..
        } = enqueue;
        let item = NewQueueItem {
            f_port: frame.f_port.get(),
            payload: frame.payload.clone(),
            confirmed,
            expires_at_us: Some(expires_at.as_millis() * 1000),
            flush_queue: false,
        };
        let answer = match self
            .network
            .enqueue(self.now, self.lamps[lamp].dev_eui, item)
        {
            Ok(queue_item_id) => {
                self.trace
                    .line(self.now, "server", || format!("{lamp} has {queue_item_id}"));
                self.promises.note_item(queue_item_id, frame.payload);
                Event::Enqueued {
                    attempt,
                    queue_item_id,
                }
            }
            Err(_) => Event::EnqueueFailed {
                attempt,
                failure: EnqueueFailure::Unavailable,
            },
        };
        if let Some(at) = answer_at {
            self.plan(
                at,
                Planned::Tell {
                    pool,
                    lamp,
                    event: answer,
                },
            );
        }
    }

    fn on_queue_read_arrives(&mut self, pool: u32, lamp: usize) {
        let failed = self.random.chance(self.calls.unavailable);
        let event = match self.network.queue(self.lamps[lamp].dev_eui) {
            Ok(items) if !failed => Event::QueueRead(items.iter().map(as_read).collect()),
            Ok(_) | Err(_) => Event::QueueReadFailed,
        };
        let at = self.now + self.latency();
        self.plan(at, Planned::Tell { pool, lamp, event });
    }

    fn new_turns(&mut self) {
        self.turns = Turns::new(self.scenario.turns);
        self.turns.set_spacing(self.scenario.spacing);
    }

    fn grant_turns(&mut self) {
        if self.down_until.is_some() {
            return;
        }
        for dev_eui in self.turns.grant(self.now) {
            let lamp = self
                .lamps
                .iter()
                .position(|lamp| lamp.dev_eui == dev_eui)
                .expect("a known lamp");
            let at = self.now + Duration::from_millis(self.random.below(20));
            self.tell(at, lamp, Event::TurnGranted);
        }
    }

    fn restart_services(&mut self) -> Result<(), String> {
        if self.down_until.is_some() {
            return Ok(());
        }
        self.pool += 1;
        self.new_turns();
        self.tell_all(&Event::ServicesRestarted)
    }

    /// Everything that is not saved is gone.
    fn crash(&mut self) {
        let until = self.now + Duration::from_millis(100 + self.random.below(8_000));
        self.trace.line(self.now, "CRASH", || {
            format!("until {}", until.since(START).as_secs_f64())
        });
        self.process += 1;
        self.pool += 1;
        self.down_until = Some(until);
        self.plan(until, Planned::ProcessStarts);
    }

    fn on_process_starts(&mut self) -> Result<(), String> {
        self.trace.line(self.now, "START", || "from what was saved");
        self.down_until = None;
        self.new_turns();
        self.gateways = GatewayTable::new(GatewayConfig::default());
        self.snapshot = self.gateways.snapshot(self.now);
        for lamp in 0..self.lamps.len() {
            let mut device: Device =
                serde_json::from_str(&self.lamps[lamp].saved).map_err(|error| error.to_string())?;
            let effects = device.restore(self.scenario.policy.clone(), self.now);
            self.lamps[lamp].device = device;
            for effect in effects {
                self.perform(lamp, effect);
            }
        }
        Ok(())
    }
}

fn gateway_id(index: usize) -> GatewayId {
    GatewayId::from_u64(FIRST_GATEWAY_ID + index as u64)
}

fn dev_eui(index: usize) -> DevEui {
    DevEui::from_u64(FIRST_DEV_EUI + index as u64)
}

fn stored(device: &Device) -> String {
    serde_json::to_string(device).expect("a device can be stored")
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
