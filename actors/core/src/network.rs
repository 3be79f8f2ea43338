//! What ChirpStack tells us of a device, in our words, whatever shape it arrived in (v3, v4, JSON, Protobuf, MQTT).
//!
//! ChirpStack posts each event from a task of its own and never again: any of these may be missing, repeated, late or
//! out of order. Nothing may depend on a single one of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{DevAddr, FPort, GatewayId, QueueItemId};
use crate::radio::{DeviceClass, Modulation};
use crate::time::Timestamp;

/// One event of one device.
#[derive(Debug, Clone, PartialEq)]
pub enum NetworkEvent {
    /// The device spoke (`up`).
    Heard(Uplink),
    /// The device was let into the network (`join`); it has not spoken yet.
    Joined(Joined),
    /// A gateway took a downlink into its transmit queue (`txack`). That it was radiated is not said.
    Transmitted(Transmitted),
    /// A confirmed downlink was acknowledged, or its time for that ran out (`ack`).
    Acknowledged(Acknowledged),
    /// A gateway refused a downlink (`log` `DOWNLINK_GATEWAY`). ChirpStack does not say which one, and tries again.
    Refused(Refused),
    /// ChirpStack dropped an item of its queue unsent (`log` with `queue_item_id`).
    Dropped(Dropped),
    /// Anything else that ChirpStack logs of a device (`log`).
    Logged(Logged),
    /// Battery and link margin as the device answered `DevStatusReq` (`status`).
    StatusReported(StatusReported),
    /// Somebody who knows says whether the device is there (no event of ChirpStack's; `true`: it is).
    PresenceTold(bool),
    /// Where the device is, as ChirpStack resolved it (`location`).
    Located(Location),
    /// What an integration of ChirpStack added (`integration`, up to 4.13).
    Integrated,
}

/// A data uplink.
#[derive(Debug, Clone, PartialEq)]
pub struct Uplink {
    /// ChirpStack's id of the set of copies; `None` where a server does not send one (v3).
    pub deduplication_id: Option<uuid::Uuid>,
    /// The address of the session; a join changes it. `None` where a server does not send one (v3 `JSON_V3`).
    pub dev_addr: Option<DevAddr>,
    /// Frame counter of the session.
    pub f_cnt: u32,
    /// 0 for frames that carry no application payload.
    pub f_port: FPort,
    /// Whether the device asked for an acknowledgement.
    pub confirmed: bool,
    /// The decrypted payload.
    pub payload: Vec<u8>,
    /// Data rate index of the region (regional parameters), as ChirpStack gives it.
    pub data_rate: u8,
    /// Modulation of the uplink, where known.
    pub modulation: Option<Modulation>,
    /// Class in force according to ChirpStack.
    pub class: Option<DeviceClass>,
    /// The gateways that heard it, each at most once, best RSSI first.
    pub receptions: Vec<Reception>,
    /// Percent, where the network server's codec found it in the payload.
    pub battery_percent: Option<f32>,
    /// When a gateway (or, without a clock there, ChirpStack) received it. Their clock, not ours.
    pub received_at: Option<Timestamp>,
}

impl Uplink {
    /// The gateway that heard it best.
    pub fn best(&self) -> Option<&Reception> {
        self.receptions.first()
    }
}

/// One gateway's copy of an uplink.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reception {
    /// The gateway.
    pub gateway_id: GatewayId,
    /// Received signal strength in dBm.
    pub rssi_dbm: i32,
    /// Signal to noise ratio in dB.
    pub snr_db: f32,
}

/// A join accepted by the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// ChirpStack's id of the event.
    pub deduplication_id: Option<uuid::Uuid>,
    /// The address of the new session.
    pub dev_addr: Option<DevAddr>,
}

/// A gateway's acceptance of a downlink.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transmitted {
    /// The item of ChirpStack's queue; `None` in v3.
    pub queue_item_id: Option<QueueItemId>,
    /// Frame counter of the downlink.
    pub f_cnt_down: u32,
    /// The gateway that sends.
    pub gateway_id: Option<GatewayId>,
    /// How it is sent, where known.
    pub modulation: Option<Modulation>,
    /// Carrier frequency in Hz, where known.
    pub frequency_hz: Option<u32>,
    /// When it is sent, where known.
    pub timing: Option<Timing>,
}

/// When a gateway is to send a downlink (`timing` in ChirpStack's `DownlinkTxInfo`). It tells which way of sending
/// frequency and data rate belong to: RX1's are those of the uplink before, and change with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// As soon as it can: to a device that always listens (Class C, in its RX2).
    Immediately,
    /// A fixed time after an uplink: in RX1, or in RX2 a second later.
    AfterUplink,
    /// At an instant of GPS time: in a ping slot (Class B).
    AtGpsTime,
}

/// The answer of a device to a confirmed downlink, or its absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// The item of ChirpStack's queue; `None` in v3.
    pub queue_item_id: Option<QueueItemId>,
    /// False when the time for it ran out; ChirpStack does not retransmit then.
    pub acknowledged: bool,
    /// Frame counter of the downlink.
    pub f_cnt_down: u32,
}

/// A gateway's refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The gateway's status as ChirpStack names it: `TOO_LATE`, `DUTY_CYCLE_OVERFLOW`, ...
    pub status: String,
}

/// An item that ChirpStack removed unsent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// The item.
    pub queue_item_id: QueueItemId,
    /// Why.
    pub reason: DropReason,
}

/// Why ChirpStack removed an item unsent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// Its `expires_at` had passed when the scheduler came to it.
    Expired,
    /// It is larger than the data rate allows.
    PayloadTooLarge,
    /// Its frame counter was used up (end-to-end encrypted payloads only).
    FrameCounter,
}

/// A line of ChirpStack's log about a device that concerns no queue item of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// `INFO`, `WARNING`, `ERROR`, or whatever a newer server says.
    pub level: String,
    /// `UPLINK_F_CNT_RESET`, `OTAA`, ..., or whatever a newer server says.
    pub code: String,
    /// The text.
    pub description: String,
}

/// The device's answer to `DevStatusReq` (LoRaWAN 1.0.3 §5.5).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StatusReported {
    /// Demodulation margin in dB of the last `DevStatusReq`, -32 to 31.
    pub margin_db: i32,
    /// Mains powered: there is no battery.
    pub external_power: bool,
    /// Percent, where the device can tell.
    pub battery_percent: Option<f32>,
}

/// A position.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// Degrees, WGS 84.
    pub latitude: f64,
    /// Degrees, WGS 84.
    pub longitude: f64,
    /// Metres.
    pub altitude: f64,
}

/// An item of ChirpStack's queue of a device, oldest first as `GetQueue` lists them.
///
/// `GetQueue` cannot tell "never sent" from "sent, no tx-ack yet", and gives no time of creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueItem {
    /// ChirpStack's id.
    pub id: QueueItemId,
    /// Port.
    pub f_port: u8,
    /// Payload.
    pub payload: Vec<u8>,
    /// Whether an acknowledgement is asked for.
    pub confirmed: bool,
    /// Confirmed, sent and not yet acknowledged.
    pub is_pending: bool,
    /// When ChirpStack drops it unsent, if it ever does. Chosen by whoever enqueued it, so it also recognises an item
    /// of ours whose id we were never told.
    pub expires_at: Option<Timestamp>,
}

/// Why an Enqueue did not give a queue item id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnqueueFailure {
    /// It certainly did not happen: no connection, circuit open. Worth the same call when the server is back.
    Unavailable,
    /// It may have happened: a deadline, a connection lost in between. Look into the queue before repeating it.
    Unknown,
    /// The server answered with an error that may pass (`INTERNAL`).
    Refused(String),
    /// The server knows no such device, or the key may not see it (the two look alike).
    UnknownDevice,
    /// The key is not accepted, by any call: nothing happened, and nothing will until it is or another one is set.
    KeyRefused,
    /// The request itself is wrong; repeating it changes nothing (`INVALID_ARGUMENT`).
    Invalid(String),
}

/// How long the network server keeps a frame for a gateway's late tx-ack (`ChirpStack` 4: 30 s in Redis).
pub const TX_ACK_MEMORY: Duration = Duration::from_secs(30);
