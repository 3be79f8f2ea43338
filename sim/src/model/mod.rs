//! A deterministic model of ChirpStack, its gateways, the air and the lamps, in virtual time.
//!
//! It exists so that whole days with faults can be lived through in a test, and be lived through again from their
//! seed. Everything follows from the configuration, the seed and the calls: no clock, no threads, no I/O. What it does
//! is what a real ChirpStack 4.20 was seen to do, the inconvenient parts above all: a dark gateway gives no event, a
//! `txack` proves nothing, a flush at the wrong moment burns the next frame. It shares identifiers, time and airtime
//! with `downbeat-core`, but neither its codec nor its machines, so it cannot share their mistakes.
//!
//! Not modelled: several radio channels interfering, MAC commands (ADR), roaming, multicast.
//!
//! - [`Network`]: time, and the door to everything else; ChirpStack's API ([`api`]) and the controls of the simulated
//!   world ([`control`]) are its methods.
//! - [`config`]: what the world is made of. [`truth`]: what really happened. [`webhook`]: what ChirpStack tells.
//! - `scheduler`, `uplink`: ChirpStack inside. `air`, `gateway`, `lamp`: the rest of the world.

mod air;
pub mod api;
pub mod config;
pub mod control;
mod event;
mod gateway;
mod lamp;
pub mod record;
mod scheduler;
pub mod truth;
mod uplink;
pub mod webhook;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use downbeat_core::id::{DevAddr, DevEui, GatewayId};
use downbeat_core::random::Random;
use downbeat_core::time::Timestamp;
use uuid::Uuid;

use self::config::{LampStart, Link, NetworkConfig};
use self::event::{Agenda, Event};
use self::gateway::Gateway;
use self::lamp::Lamp;
use self::scheduler::SentFrame;

pub use self::gateway::Refusal;
pub use self::record::{
    Activation, ApiFault, DeviceFields, DeviceKeys, DeviceRecord, NewQueueItem, QueuedItem,
};
pub use self::truth::{Cause, GatewayState, GatewayTruth, LightChange, LightTruth, ReceivedFrame};
pub use self::webhook::{Webhook, Wire};

/// The whole simulated world.
#[derive(Debug)]
pub struct Network {
    config: NetworkConfig,
    random: Random,
    now: Timestamp,
    agenda: Agenda,
    /// Posted and not yet given out by [`Network::advance`].
    posted: Vec<Webhook>,
    lamps: Vec<Lamp>,
    lamp_index: BTreeMap<DevEui, usize>,
    gateways: Vec<Gateway>,
    gateway_index: BTreeMap<GatewayId, usize>,
    /// By lamp, then by gateway; `None` where they do not hear each other.
    links: Vec<Vec<Option<Link>>>,
    server_up: bool,
    devices: BTreeMap<DevEui, DeviceRecord>,
    /// Devices whose queue is not empty.
    waiting: BTreeSet<DevEui>,
    /// The scheduler run that is planned; runs with nothing to do are left out.
    scheduler_run_at: Option<Timestamp>,
    /// Scheduler runs are whole periods after this.
    scheduler_phase: Timestamp,
    /// Frames that wait for their tx-ack, by number of the frame.
    sent: BTreeMap<u32, SentFrame>,
    /// Their numbers, oldest first.
    sent_order: VecDeque<(Timestamp, u32)>,
    /// How it was configured before it lost its airtime; `None` while it has it.
    with_airtime: Option<Box<NetworkConfig>>,
}

impl Network {
    /// A network that starts to live at `start`. The same configuration and seed give the same life.
    pub fn new(config: NetworkConfig, seed: u64, start: Timestamp) -> Self {
        let mut random = Random::from_seed(seed);
        let gateways: Vec<Gateway> = config
            .gateways
            .iter()
            .map(|gateway| {
                let interval =
                    u64::try_from(gateway.stats_interval.as_millis()).unwrap_or(u64::MAX);
                let first_stats = start - Duration::from_millis(random.below(interval));
                Gateway::new(gateway.clone(), first_stats)
            })
            .collect();
        let scheduler_phase = start + Duration::from_millis(random.below(1000));
        let mut network = Self {
            lamps: config
                .lamps
                .iter()
                .map(|lamp| Lamp::new(lamp.clone(), start, config.history_max))
                .collect(),
            lamp_index: config
                .lamps
                .iter()
                .enumerate()
                .map(|(index, lamp)| (lamp.dev_eui, index))
                .collect(),
            gateway_index: config
                .gateways
                .iter()
                .enumerate()
                .map(|(index, gateway)| (gateway.id, index))
                .collect(),
            gateways,
            config,
            random,
            now: start,
            agenda: Agenda::default(),
            posted: Vec::new(),
            links: Vec::new(),
            server_up: true,
            devices: BTreeMap::new(),
            waiting: BTreeSet::new(),
            scheduler_run_at: None,
            scheduler_phase,
            sent: BTreeMap::new(),
            sent_order: VecDeque::new(),
            with_airtime: None,
        };
        for lamp in 0..network.lamps.len() {
            network.settle(lamp);
        }
        network
    }

    /// The latest instant that was advanced to or given with a call.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// When [`Network::advance`] would next do something; `None` is never, unless somebody calls.
    pub fn next_event_at(&self) -> Option<Timestamp> {
        if self.posted.is_empty() {
            self.agenda.next_at()
        } else {
            Some(self.now)
        }
    }

    /// Lives up to and including `to`, and gives the posts that reached the receiver since the last call, in the order
    /// in which they did. Going back in time changes nothing.
    pub fn advance(&mut self, to: Timestamp) -> Vec<Webhook> {
        self.catch_up(to);
        std::mem::take(&mut self.posted)
    }

    /// Lives up to `to`; what is posted meanwhile is given out by the next [`Network::advance`].
    pub fn catch_up(&mut self, to: Timestamp) {
        while let Some((at, event)) = self.agenda.next_until(to) {
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = self.now.max(to);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::SchedulerRun => self.on_scheduler_run(),
            Event::JoinRequest { lamp, boot } => self.on_join_request(lamp, boot),
            Event::Heartbeat { lamp, boot, plan } => self.on_heartbeat(lamp, boot, plan),
            Event::UplinkStarts { lamp, plan } => self.on_uplink_starts(lamp, plan),
            Event::UplinkEnds(frame) => self.on_uplink_ends(frame),
            Event::UplinkMerged(frame) => self.on_uplink_merged(frame),
            Event::RxWindow(frame) => self.on_rx_window(&frame),
            Event::FrameArrives { gateway, frame } => self.on_frame_arrives(gateway, *frame),
            Event::TransmissionEnds {
                gateway,
                transmission,
            } => self.on_transmission_ends(gateway, transmission),
            Event::TxAck {
                gateway,
                downlink_id,
                result,
            } => self.on_tx_ack(gateway, downlink_id, result),
            Event::Restart { lamp, boot, reason } => self.on_restart(lamp, boot, reason),
            Event::DeviceStatus { dev_eui, margin_db } => self.on_device_status(dev_eui, margin_db),
            Event::Post(webhook) => self.posted.push(*webhook),
        }
    }

    fn schedule(&mut self, at: Timestamp, event: Event) {
        self.agenda.plan(at, event);
    }

    /// Puts a lamp where it is at the start: its links, its registration, its session.
    fn settle(&mut self, lamp: usize) {
        let links = self
            .gateways
            .iter()
            .map(|_| Some(default_link(&mut self.random)))
            .collect();
        self.links.push(links);
        let config = self.lamps[lamp].config.clone();
        if config.registered {
            let fields = DeviceFields {
                name: config.name,
                application_id: self.config.application_id,
                device_profile_id: self.config.device_profile_id,
                tags: config.tags,
                ..DeviceFields::default()
            };
            let keys = DeviceKeys {
                nwk_key: config.app_key.unwrap_or_default(),
                ..DeviceKeys::default()
            };
            let mut record = DeviceRecord::new(config.dev_eui, fields, self.now);
            record.keys = Some(keys);
            self.devices.insert(config.dev_eui, record);
        }
        let soon = self.now
            + self.config.quiet
            + self.random_between(Duration::from_millis(100), Duration::from_secs(2));
        match config.start {
            LampStart::Joined => {
                let dev_addr = self.random_dev_addr();
                if let Some(record) = self.devices.get_mut(&config.dev_eui) {
                    record.activate(dev_addr, config.spreading_factor, Vec::new());
                }
                self.begin_session(lamp, dev_addr, soon);
            }
            LampStart::Booting => {
                let boot = self.lamps[lamp].boot;
                self.schedule(soon, Event::JoinRequest { lamp, boot });
            }
            LampStart::Unpowered => {}
        }
    }

    fn random_between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from(most.saturating_sub(least).as_millis()).unwrap_or(u64::MAX);
        least + Duration::from_millis(self.random.below(span.saturating_add(1)))
    }

    fn random_u32(&mut self) -> u32 {
        u32::try_from(self.random.next_u64() >> 32).unwrap_or(0)
    }

    fn random_dev_addr(&mut self) -> DevAddr {
        // The prefix of a network identifier 0, as in a private network.
        DevAddr::from_u32(self.random_u32() & 0x01ff_ffff)
    }

    /// ChirpStack's ids are random UUIDs.
    fn random_uuid(&mut self) -> Uuid {
        let value = (u128::from(self.random.next_u64()) << 64) | u128::from(self.random.next_u64());
        uuid::Builder::from_random_bytes(value.to_be_bytes()).into_uuid()
    }
}

/// A strong link, as in an office: far above what SF7 needs.
fn default_link(random: &mut Random) -> Link {
    let rssi_dbm = -83 - i32::try_from(random.below(12)).unwrap_or(0);
    let snr_db = [7.0, 7.5, 8.0, 8.5][usize::try_from(random.below(4)).unwrap_or(0) % 4];
    Link { rssi_dbm, snr_db }
}
