//! Devices, a pacer and the simulated network, without any fault: what remains is the air.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use downbeat_core::codec::{CodecKind, Command};
use downbeat_core::device::{
    Device, DownlinkState, Effect, Event, Policy, Priority, Request, Step,
};
use downbeat_core::gateway::{GatewayConfig, GatewayTable, ListedGateway, ListedState};
use downbeat_core::id::{DevEui, DownlinkId, TenantId};
use downbeat_core::light::{Color, LightState};
use downbeat_core::network::NetworkEvent;
use downbeat_core::pacer::{Ask, Pacer, PacerConfig};
use downbeat_core::random::Random;
use downbeat_core::time::Timestamp;
use downbeat_sim::model::config::{FIRST_DEV_EUI, NetworkConfig};
use downbeat_sim::model::{Network, NewQueueItem};

/// When the simulated world begins.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// What a commit and a call of ChirpStack take.
const CALL: Duration = Duration::from_millis(12);

/// A world with everything in it.
pub(crate) struct Shell {
    pub(crate) network: Network,
    pub(crate) pacer: Pacer,
    pub(crate) now: Timestamp,
    pub(crate) endings: BTreeMap<DownlinkId, Ending>,
    /// When which device's frame was taken by a gateway.
    pub(crate) taken: Vec<(Timestamp, DevEui)>,
    gateways: GatewayTable,
    devices: Vec<Device>,
    bulk: BTreeSet<usize>,
    agenda: BTreeMap<(Timestamp, u64), (usize, Planned)>,
    planned: u64,
    random: Random,
}

/// How a downlink ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    pub(crate) state: DownlinkState,
    pub(crate) attempts: u8,
}

enum Planned {
    Tell(Event),
    Enqueue(downbeat_core::device::Enqueue),
}

impl Shell {
    /// A fleet that has spoken, every lamp heard by every gateway.
    pub(crate) fn new(config: NetworkConfig, pacer: PacerConfig, seed: u64) -> Self {
        Self::of(Network::new(config, seed, START), pacer, seed)
    }

    /// A fleet that has spoken, in a network that has just begun.
    pub(crate) fn of(network: Network, pacer: PacerConfig, seed: u64) -> Self {
        let device = |index: usize| {
            let seed = seed.wrapping_mul(31).wrapping_add(index as u64);
            Device::new(CodecKind::KuandoBusylight, Policy::default(), seed)
        };
        let mut shell = Self {
            devices: (0..network.lights().count()).map(device).collect(),
            network,
            pacer: Pacer::new(pacer),
            now: START,
            endings: BTreeMap::new(),
            taken: Vec::new(),
            gateways: GatewayTable::new(GatewayConfig::default()),
            bulk: BTreeSet::new(),
            agenda: BTreeMap::new(),
            planned: 0,
            random: Random::from_seed(seed),
        };
        shell.live_until(START + Duration::from_mins(1));
        shell
    }

    pub(crate) fn dev_eui(lamp: usize) -> DevEui {
        DevEui::from_u64(FIRST_DEV_EUI + lamp as u64)
    }

    /// Asks for a colour that the lamp does not show.
    pub(crate) fn ask(&mut self, lamp: usize, priority: Priority) -> DownlinkId {
        let id = DownlinkId::from_uuid(self.random.uuid_v7(self.now));
        let color = Color::rgb(100, u8::try_from(lamp % 100).unwrap(), 7);
        let command = Command::SetLight(LightState::steady(color));
        let request = Request::new(id, CodecKind::KuandoBusylight, &command, false, true).unwrap();
        if priority == Priority::Bulk {
            self.bulk.insert(lamp);
        } else {
            self.bulk.remove(&lamp);
        }
        self.step(lamp, Event::Requested(request));
        id
    }

    pub(crate) fn live_until(&mut self, until: Timestamp) {
        self.live_while(until, |_| true);
    }

    /// Lives on until then at the longest.
    pub(crate) fn live_while(&mut self, until: Timestamp, goes_on: impl Fn(&Self) -> bool) {
        self.list_gateways();
        let mut listed = self.now;
        while self.now < until && goes_on(self) {
            if self.now.since(listed) >= Duration::from_secs(30) {
                self.list_gateways();
                listed = self.now;
            }
            self.live_this_instant();
            let wakes = self.devices.iter().filter_map(Device::next_wake).min();
            let next = self
                .agenda
                .first_key_value()
                .map(|((at, _), _)| *at)
                .into_iter()
                .chain(self.network.next_event_at())
                .chain(wakes)
                .chain(self.pacer.next_wake())
                .min()
                .unwrap_or(until);
            self.now = next.max(self.now + Duration::from_millis(1)).min(until);
        }
    }

    fn live_this_instant(&mut self) {
        for webhook in self.network.advance(self.now) {
            let lamp = usize::try_from(webhook.dev_eui.as_u64() - FIRST_DEV_EUI).unwrap();
            match &webhook.event {
                NetworkEvent::Heard(uplink) => {
                    let (heard_by, how) = (&uplink.receptions, uplink.modulation);
                    self.pacer.heard(self.now, webhook.dev_eui, heard_by, how);
                    for reception in &uplink.receptions {
                        let _ = self.gateways.heard(self.now, webhook.dev_eui, reception);
                    }
                }
                NetworkEvent::Transmitted(event) => {
                    self.taken.push((self.now, webhook.dev_eui));
                    self.pacer.transmitted(self.now, webhook.dev_eui, event);
                }
                NetworkEvent::Refused(event) => {
                    self.pacer.refused(self.now, webhook.dev_eui, &event.status);
                }
                _ => {}
            }
            self.step(lamp, Event::Network(webhook.event));
        }
        while let Some(entry) = self
            .agenda
            .first_entry()
            .filter(|entry| entry.key().0 <= self.now)
        {
            match entry.remove() {
                (lamp, Planned::Tell(event)) => self.step(lamp, event),
                (lamp, Planned::Enqueue(enqueue)) => self.enqueue(lamp, enqueue),
            }
        }
        for lamp in 0..self.devices.len() {
            if self.devices[lamp]
                .next_wake()
                .is_some_and(|wake| wake <= self.now)
            {
                self.step(lamp, Event::Elapsed);
            }
        }
        for dev_eui in self.pacer.grant(self.now) {
            let lamp = usize::try_from(dev_eui.as_u64() - FIRST_DEV_EUI).unwrap();
            self.step(lamp, Event::TurnGranted);
        }
    }

    fn list_gateways(&mut self) {
        let list = self
            .network
            .gateways()
            .into_iter()
            .map(|gateway| ListedGateway {
                gateway_id: gateway.gateway_id,
                name: gateway.name,
                tenant_id: None,
                state: ListedState::Online,
                last_seen_at: gateway.last_seen_at,
                location: None,
            });
        let _ = self.gateways.listed(self.now, list.collect());
    }

    fn plan(&mut self, at: Timestamp, lamp: usize, planned: Planned) {
        self.planned += 1;
        self.agenda.insert((at, self.planned), (lamp, planned));
    }

    fn ask_of(&self, lamp: usize, priority: Priority) -> Ask {
        let tenant = TenantId::from_uuid(uuid::Uuid::from_u128(1));
        let priority = match priority {
            Priority::Interactive if self.bulk.contains(&lamp) => Priority::Bulk,
            other => other,
        };
        self.devices[lamp].ask(Self::dev_eui(lamp), tenant, priority)
    }

    fn step(&mut self, lamp: usize, event: Event) {
        let snapshot = self.gateways.snapshot(self.now);
        let dev_eui = Self::dev_eui(lamp);
        for effect in self.devices[lamp].step(self.now, event, &snapshot) {
            match effect {
                Effect::AskTurn(priority) => {
                    let ask = self.ask_of(lamp, priority);
                    self.pacer.ask(self.now, ask);
                }
                Effect::HoldTurn => unreachable!("nothing restarts"),
                Effect::EndTurn => self.pacer.end(self.now, dev_eui),
                Effect::Enqueue(enqueue) => {
                    self.pacer.enqueued(self.now, dev_eui);
                    self.plan(self.now + CALL, lamp, Planned::Enqueue(enqueue));
                }
                Effect::ReadQueue => self.read_queue(lamp),
                Effect::Silence(_) => {}
                Effect::Record(record) => {
                    if record.downlink.state.is_terminal() {
                        let ending = Ending {
                            state: record.downlink.state,
                            attempts: record.downlink.attempts,
                        };
                        self.endings.insert(record.downlink.id, ending);
                    }
                    assert!(
                        !matches!(record.entry.step, Step::Refused { .. }),
                        "{dev_eui} was refused: {:?}",
                        record.entry.step
                    );
                }
            }
        }
    }

    fn enqueue(&mut self, lamp: usize, enqueue: downbeat_core::device::Enqueue) {
        let item = NewQueueItem {
            f_port: enqueue.frame.f_port.get(),
            payload: enqueue.frame.payload,
            confirmed: enqueue.confirmed,
            expires_at_us: Some(enqueue.expires_at.as_millis() * 1000),
            flush_queue: false,
        };
        let queue_item_id = self
            .network
            .enqueue(self.now, Self::dev_eui(lamp), item)
            .expect("the server is up");
        let event = Event::Enqueued {
            attempt: enqueue.attempt,
            queue_item_id,
        };
        self.plan(self.now + CALL, lamp, Planned::Tell(event));
    }

    fn read_queue(&mut self, lamp: usize) {
        let items = self
            .network
            .queue(Self::dev_eui(lamp))
            .expect("the server is up")
            .into_iter()
            .map(|item| downbeat_core::network::QueueItem {
                id: item.id,
                f_port: item.f_port,
                payload: item.payload,
                confirmed: item.confirmed,
                is_pending: item.is_pending,
                expires_at: item
                    .expires_at_us
                    .map(|us| Timestamp::from_millis(us / 1000)),
            })
            .collect();
        self.plan(
            self.now + CALL,
            lamp,
            Planned::Tell(Event::QueueRead(items)),
        );
    }
}
