//! The shell around the devices: saves, performs, crashes, takes up work again.

mod calls;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use downbeat_core::codec::CodecKind;
use downbeat_core::device::{Device, Effect, Enqueue, Event};
use downbeat_core::gateway::{
    GatewayConfig, GatewaySnapshot, GatewayTable, ListedGateway, ListedState,
};
use downbeat_core::id::{DevEui, DownlinkId, TenantId};
use downbeat_core::light::LightState;
use downbeat_core::network::NetworkEvent;
use downbeat_core::pacer::Pacer;
use downbeat_core::random::Random;
use downbeat_core::time::Timestamp;
use downbeat_sim::model::{GatewayState, Network, Webhook};

use self::world::gateway_id;
use crate::promises::Promises;
use crate::scenario::{CallFaults, Happening, START, Scenario};
use crate::trace::Trace;

/// Whose lamps these are.
const TENANT: TenantId = TenantId::from_uuid(uuid::Uuid::nil());
/// A call is given up after this.
const DEADLINE: Duration = Duration::from_secs(3);
/// A slow ChirpStack carries a call out no later than this after it began.
const SLOWEST_CALL: u64 = 4_500;
/// How long the world may take to come to rest after the faults.
const REST_MAX: Duration = Duration::from_hours(8);
/// How long it has to stay at rest.
const REST: Duration = Duration::from_mins(3);
/// Probability that an idle device is dropped from memory.
const IDLE_DROPPED: f64 = 0.2;
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
    pacer: Pacer,
    gateways: GatewayTable,
    snapshot: GatewaySnapshot,
    /// A pool of calls; answers and turns of an earlier one are lost.
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
            pacer: Pacer::new(scenario.pacing),
            network,
            random: Random::from_seed(seed ^ 0x0ff1_ce00),
            now: START,
            agenda: BTreeMap::new(),
            planned: 0,
            lamps,
            gateways,
            pool: 0,
            down_until: None,
            faulty: true,
            promises: Promises::default(),
            steps: 0,
            trace,
            scenario,
        };
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
                    for lamp in &self.lamps {
                        self.trace.line(self.now, "stored", || &lamp.saved);
                    }
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
                    .chain(self.pacer.next_wake())
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
                let (heard_by, how) = (&uplink.receptions, uplink.modulation);
                self.pacer.heard(self.now, webhook.dev_eui, heard_by, how);
                for reception in &uplink.receptions {
                    changes.extend(self.gateways.heard(self.now, webhook.dev_eui, reception));
                }
            }
            NetworkEvent::Transmitted(event) => {
                self.pacer.transmitted(self.now, webhook.dev_eui, event);
                if let Some(gateway) = event.gateway_id {
                    changes.extend(self.gateways.transmitted(self.now, gateway));
                }
            }
            NetworkEvent::Refused(event) => {
                self.pacer.refused(self.now, webhook.dev_eui, &event.status);
            }
            NetworkEvent::Joined(_)
            | NetworkEvent::Acknowledged(_)
            | NetworkEvent::Dropped(_)
            | NetworkEvent::Logged(_)
            | NetworkEvent::StatusReported(_)
            | NetworkEvent::Located(_)
            | NetworkEvent::PresenceTold(_)
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
        } else if self.lamps[lamp].device.is_idle() && self.random.chance(IDLE_DROPPED) {
            self.take_up(lamp)?;
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
            Effect::AskTurn(priority) => {
                let device = &self.lamps[lamp].device;
                self.pacer
                    .ask(self.now, device.ask(dev_eui, TENANT, priority));
            }
            Effect::HoldTurn => {
                let device = &self.lamps[lamp].device;
                let ask = device.ask_again(dev_eui, TENANT);
                self.pacer
                    .hold(self.now, ask, device.silent_since(self.now));
            }
            Effect::EndTurn => self.pacer.end(self.now, dev_eui),
            Effect::Enqueue(enqueue) => {
                self.pacer.enqueued(self.now, dev_eui);
                self.call_enqueue(lamp, enqueue);
            }
            Effect::ReadQueue => {
                let at = self.now + self.latency();
                let pool = self.pool;
                self.plan(at, Planned::QueueReadArrives { pool, lamp });
            }
            Effect::Record(_) | Effect::Silence(_) => {}
        }
    }

    fn grant_turns(&mut self) {
        if self.down_until.is_some() {
            return;
        }
        for dev_eui in self.pacer.grant(self.now) {
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
        self.pacer = Pacer::new(self.scenario.pacing);
        self.tell_all(&Event::ServicesRestarted)
    }

    /// Everything that is not saved is gone.
    fn crash(&mut self) {
        let until = self.now + Duration::from_millis(100 + self.random.below(8_000));
        self.trace.line(self.now, "CRASH", || {
            format!("until {}", until.since(START).as_secs_f64())
        });
        self.pool += 1;
        self.down_until = Some(until);
        self.plan(until, Planned::ProcessStarts);
    }

    fn on_process_starts(&mut self) -> Result<(), String> {
        self.trace.line(self.now, "START", || "from what was saved");
        self.down_until = None;
        self.pacer = Pacer::new(self.scenario.pacing);
        self.gateways = GatewayTable::new(GatewayConfig::default());
        self.snapshot = self.gateways.snapshot(self.now);
        for lamp in 0..self.lamps.len() {
            self.take_up(lamp)?;
        }
        Ok(())
    }

    /// A device is what was saved of it.
    fn take_up(&mut self, lamp: usize) -> Result<(), String> {
        let mut device: Device =
            serde_json::from_str(&self.lamps[lamp].saved).map_err(|error| error.to_string())?;
        let effects = device.restore(self.scenario.policy.clone(), self.now);
        self.lamps[lamp].device = device;
        for effect in effects {
            self.perform(lamp, effect);
        }
        Ok(())
    }
}

fn stored(device: &Device) -> String {
    serde_json::to_string(device).expect("a device can be stored")
}
