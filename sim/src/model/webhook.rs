//! What ChirpStack's HTTP integration posts, and how badly.

use std::time::Duration;

use downbeat_core::id::{DevAddr, DevEui, GatewayId};
use downbeat_core::network::NetworkEvent;
use downbeat_core::radio::DeviceClass;
use downbeat_core::time::Timestamp;
use uuid::Uuid;

use super::Network;
use super::event::Event;

/// One post of the HTTP integration.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    /// When it reaches the receiver.
    pub at: Timestamp,
    /// When what it tells of happened (`time` of the event).
    pub time: Timestamp,
    /// The device it is about.
    pub dev_eui: DevEui,
    /// The class in force as the event tells it (`deviceClassEnabled`).
    pub class: DeviceClass,
    /// The event, as Downbeat is to understand it.
    pub event: NetworkEvent,
    /// What its real body holds beyond that.
    pub wire: Wire,
}

/// What only the body of an event holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Wire {
    /// `up`.
    Up {
        /// Whether the device lets its data rate be controlled.
        adr: bool,
        /// Carrier in Hz.
        frequency_hz: u32,
        /// Spreading factor.
        spreading_factor: u8,
    },
    /// `join`.
    Join,
    /// `txack`.
    TxAck {
        /// ChirpStack's number of the frame.
        downlink_id: u32,
        /// Seconds after an uplink for an RX window; `None` for immediately (Class C).
        delay_s: Option<u8>,
        /// Carrier in Hz.
        frequency_hz: u32,
        /// Spreading factor.
        spreading_factor: u8,
    },
    /// `ack`; the uplink's id, absent when the time for it ran out.
    Ack {
        /// See above.
        deduplication_id: Option<Uuid>,
    },
    /// `log`.
    Log {
        /// `DOWNLINK_GATEWAY`, `EXPIRED`, ...
        code: &'static str,
        /// The text.
        description: String,
        /// Details, in the order of their keys.
        context: Vec<(&'static str, String)>,
    },
    /// `status`.
    Status {
        /// The uplink's id.
        deduplication_id: Uuid,
    },
}

/// One gateway's copy of an uplink, as the server holds it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Heard {
    pub(super) gateway: usize,
    pub(super) gateway_id: GatewayId,
    pub(super) rssi_dbm: i32,
    pub(super) snr_db: f32,
}

/// An uplink on its way to the server.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct UplinkFrame {
    pub(super) dev_eui: DevEui,
    pub(super) lamp: usize,
    pub(super) content: UplinkContent,
    pub(super) spreading_factor: u8,
    pub(super) frequency_hz: u32,
    pub(super) started_at: Timestamp,
    pub(super) ended_at: Timestamp,
    pub(super) heard_by: Vec<Heard>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum UplinkContent {
    JoinRequest {
        dev_nonce: u32,
    },
    Data {
        dev_addr: DevAddr,
        f_cnt: u32,
        f_port: u8,
        payload: Vec<u8>,
        ack: bool,
        adr: bool,
    },
}

impl Network {
    /// Hands an event to the HTTP integration, which delivers it as well as it is configured to.
    pub(super) fn post(
        &mut self,
        dev_eui: DevEui,
        class: DeviceClass,
        event: NetworkEvent,
        wire: Wire,
    ) {
        let webhook = Webhook {
            at: self.now,
            time: self.now,
            dev_eui,
            class,
            event,
            wire,
        };
        self.deliver(webhook);
    }

    pub(super) fn deliver(&mut self, webhook: Webhook) {
        let config = self.config.webhooks;
        if self.random.chance(config.duplicate) {
            self.deliver_once(webhook.clone());
        }
        self.deliver_once(webhook);
    }

    fn deliver_once(&mut self, mut webhook: Webhook) {
        let config = self.config.webhooks;
        if self.random.chance(config.loss) {
            return;
        }
        let mut at = self.now + config.latency;
        if self.random.chance(config.reorder) {
            at = at + self.random_between(Duration::ZERO, config.reorder_delay);
        }
        webhook.at = at;
        self.schedule(at, Event::Post(Box::new(webhook)));
    }
}
