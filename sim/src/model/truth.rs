//! What really happened, as nobody in the network knows it: the measure of every claim.

use std::collections::VecDeque;
use std::time::Duration;

use downbeat_core::id::{DevEui, GatewayId, QueueItemId};
use downbeat_core::light::LightState;
use downbeat_core::time::Timestamp;
use serde::Serialize;

use super::gateway::Refusal;

/// Why a lamp shows something else than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Cause {
    /// A colour command.
    Downlink {
        /// The item of ChirpStack's queue that carried it.
        queue_item_id: QueueItemId,
    },
    /// It was let into the network and shows its join colour.
    Joined,
    /// It lost its power.
    PowerLost,
    /// It restarted because it was told to (power off and on).
    Rebooted,
    /// Its watchdog restarted it.
    Watchdog,
    /// The command `AA 00`.
    FactoryReset,
}

/// A colour command accepted, or the light lost. Also listed when the state was the same before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LightChange {
    /// When.
    #[serde(serialize_with = "rfc_3339")]
    pub at: Timestamp,
    /// What it shows from then on.
    pub state: LightState,
    /// Why.
    pub cause: Cause,
}

/// A downlink that the lamp accepted: of its session and no replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReceivedFrame {
    /// When.
    #[serde(serialize_with = "rfc_3339")]
    pub at: Timestamp,
    /// The item of ChirpStack's queue that it carried.
    pub queue_item_id: QueueItemId,
    /// Its frame counter.
    pub f_cnt_down: u32,
    /// Its port.
    pub f_port: u8,
    /// Its payload, shown in hexadecimal.
    #[serde(serialize_with = "hexadecimal")]
    pub payload: Vec<u8>,
}

/// One lamp as it really is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LightTruth {
    /// Which one.
    pub dev_eui: DevEui,
    /// What it shows.
    pub shown: LightState,
    /// Since when.
    #[serde(serialize_with = "rfc_3339")]
    pub since: Timestamp,
    /// Whether it has power.
    pub powered: bool,
    /// Whether it has a session.
    pub joined: bool,
    /// Downlinks received since the join, as its firmware counts them.
    pub downlinks_received: u32,
    /// Reports sent since the join, as its firmware counts them.
    pub uplinks_sent: u32,
    /// Uplinks that no gateway heard, in all its sessions.
    pub uplinks_unheard: u64,
    /// Frames dropped because their counter had been seen.
    pub replays_dropped: u64,
    /// Frames dropped because they belong to an older session.
    pub foreign_frames: u64,
    /// Everything it showed, oldest first.
    pub changes: VecDeque<LightChange>,
    /// Every downlink it accepted, oldest first.
    pub received: VecDeque<ReceivedFrame>,
    #[serde(skip)]
    history_max: usize,
}

impl LightTruth {
    pub(super) fn new(dev_eui: DevEui, powered: bool, now: Timestamp, history_max: usize) -> Self {
        Self {
            dev_eui,
            shown: LightState::OFF,
            since: now,
            powered,
            joined: false,
            downlinks_received: 0,
            uplinks_sent: 0,
            uplinks_unheard: 0,
            replays_dropped: 0,
            foreign_frames: 0,
            changes: VecDeque::new(),
            received: VecDeque::new(),
            history_max,
        }
    }

    /// Whether it ever obeyed the colour command of this queue item.
    pub fn has_shown(&self, item: QueueItemId) -> bool {
        self.changes.iter().any(|change| {
            change.cause
                == Cause::Downlink {
                    queue_item_id: item,
                }
        })
    }

    /// Whether it ever accepted this queue item, whatever it held.
    pub fn has_received(&self, item: QueueItemId) -> bool {
        self.received
            .iter()
            .any(|frame| frame.queue_item_id == item)
    }

    pub(super) fn show(&mut self, state: LightState, at: Timestamp, cause: Cause) {
        if state != self.shown {
            self.since = at;
        }
        self.shown = state;
        push(
            &mut self.changes,
            LightChange { at, state, cause },
            self.history_max,
        );
    }

    pub(super) fn push_received(&mut self, frame: ReceivedFrame) {
        push(&mut self.received, frame, self.history_max);
    }
}

fn push<T>(history: &mut VecDeque<T>, entry: T, max: usize) {
    if history.len() >= max {
        history.pop_front();
    }
    history.push_back(entry);
}

/// Whether ChirpStack takes a gateway for present: its last stats are no older than twice their interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayState {
    /// No stats yet.
    NeverSeen,
    /// Recent stats.
    Online,
    /// Old stats.
    Offline,
}

/// One gateway: what ChirpStack says of it, and what it really is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GatewayTruth {
    /// Which one.
    pub gateway_id: GatewayId,
    /// Its name in ChirpStack.
    pub name: String,
    /// As ChirpStack sees it.
    pub state: GatewayState,
    /// Its last stats.
    #[serde(serialize_with = "rfc_3339_option")]
    pub last_seen_at: Option<Timestamp>,
    /// Time between its stats.
    #[serde(skip)]
    pub stats_interval: Duration,
    /// Whether it really has power and a backhaul.
    pub online: bool,
    /// Whether it takes frames and radiates nothing.
    pub mute: bool,
    /// How it refuses frames, if it does.
    pub refusal: Option<Refusal>,
    /// Probability that its tx-acks are lost.
    pub tx_ack_loss: f64,
    /// What its tx-acks take beyond the latency.
    #[serde(skip)]
    pub tx_ack_delay: Duration,
    /// Frames it took so far.
    pub frames_sent: u64,
    /// Frames that wait or are on air.
    pub queued: usize,
    /// Airtime used within the last hour, in ms.
    pub airtime_ms: u64,
}

fn hexadecimal<S: serde::Serializer>(payload: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let digits: Vec<String> = payload.iter().map(|byte| format!("{byte:02x}")).collect();
    serializer.serialize_str(&digits.concat())
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
fn rfc_3339<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

#[expect(clippy::ref_option, reason = "serde passes fields by reference")]
fn rfc_3339_option<S: serde::Serializer>(
    at: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}
