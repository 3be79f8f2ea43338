//! One device as one gateway hears it: averages, counts, and what is wrong, if anything.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::GatewayId;
use crate::network::Reception;
use crate::time::Timestamp;

/// A value counts for one part in so many of a signal's average, once there were as many.
const SIGNAL_WEIGHT: u16 = 8;

/// The same for the share of uplinks that are lost: single losses are no news.
const LOSS_WEIGHT: u16 = 32;

/// So many downlinks in a row without proof, while uplinks arrive, are no coincidence.
const DEAD_AFTER: u32 = 3;

/// A link that was not heard for so long says nothing about now.
const SILENT_AFTER: Duration = Duration::from_hours(24);

/// Uplinks before their loss is worth a word, and the share of them that is.
const LOSSY_FROM: (u64, f32) = (10, 0.3);

/// An average that forgets, and how far values are spread around it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Average {
    /// The average.
    pub mean: f32,
    /// The average square of the distance from it.
    variance: f32,
    /// Values so far, up to where their number makes no difference.
    count: u16,
}

impl Average {
    /// The standard deviation, in the unit of the values.
    pub fn spread(&self) -> f32 {
        self.variance.max(0.0).sqrt()
    }

    fn add(&mut self, value: f32) {
        self.count = self.count.saturating_add(1).min(SIGNAL_WEIGHT);
        let weight = 1.0 / f32::from(self.count);
        let distance = value - self.mean;
        self.mean += weight * distance;
        self.variance = (1.0 - weight) * (self.variance + weight * distance * distance);
    }
}

/// One device as one gateway hears it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// The gateway.
    pub gateway_id: GatewayId,
    /// When it first heard the device, as far as is remembered.
    pub first_heard_at: Timestamp,
    /// When it last did.
    pub last_heard_at: Timestamp,
    /// Received signal strength of the last uplink, dBm.
    pub last_rssi_dbm: i32,
    /// Signal to noise ratio of the last uplink, dB.
    pub last_snr_db: f32,
    /// Received signal strength, dBm.
    pub rssi_dbm: Average,
    /// Signal to noise ratio, dB.
    pub snr_db: Average,
    /// Uplinks it passed on.
    pub uplinks_heard: u64,
    /// Uplinks that the device sent since, and that it did not pass on.
    pub uplinks_missed: u64,
    /// The share of uplinks lost lately, 0 to 1.
    pub uplink_loss: f32,
    /// Downlinks to the device that it took.
    pub downlinks_taken: u64,
    /// Of those that asked for proof: which the device proved.
    pub downlinks_proven: u64,
    /// Of those that asked for proof: which it did not.
    pub downlinks_unproven: u64,
    /// Downlinks without proof since the last one with.
    pub unproven_in_a_row: u32,
}

/// What is wrong with a link, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Diagnosis {
    /// Nothing that one could see.
    Fine,
    /// Many of the device's uplinks do not get through here.
    LossyUplink,
    /// Uplinks get through, and none of the last downlinks did.
    DownlinkDead,
    /// Not heard for a day.
    Silent,
}

impl Diagnosis {
    /// The word in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::LossyUplink => "lossy_uplink",
            Self::DownlinkDead => "downlink_dead",
            Self::Silent => "silent",
        }
    }
}

impl Link {
    pub(super) fn new(now: Timestamp, gateway_id: GatewayId) -> Self {
        Self {
            gateway_id,
            first_heard_at: now,
            last_heard_at: now,
            last_rssi_dbm: 0,
            last_snr_db: 0.0,
            rssi_dbm: Average::default(),
            snr_db: Average::default(),
            uplinks_heard: 0,
            uplinks_missed: 0,
            uplink_loss: 0.0,
            downlinks_taken: 0,
            downlinks_proven: 0,
            downlinks_unproven: 0,
            unproven_in_a_row: 0,
        }
    }

    /// The share of downlinks that were proven, 0 to 1; `None` before one was judged.
    pub fn downlink_success(&self) -> Option<f64> {
        let judged = self.downlinks_proven + self.downlinks_unproven;
        #[expect(clippy::cast_precision_loss, reason = "a share for people to read")]
        (judged > 0).then(|| self.downlinks_proven as f64 / judged as f64)
    }

    /// What is wrong with it.
    pub fn diagnosis(&self, now: Timestamp) -> Diagnosis {
        let counted = self.uplinks_heard + self.uplinks_missed;
        let (from, share) = LOSSY_FROM;
        if now.since(self.last_heard_at) > SILENT_AFTER {
            Diagnosis::Silent
        } else if counted >= from && self.uplink_loss >= share {
            Diagnosis::LossyUplink
        } else if self.unproven_in_a_row >= DEAD_AFTER {
            Diagnosis::DownlinkDead
        } else {
            Diagnosis::Fine
        }
    }

    pub(super) fn hear(&mut self, now: Timestamp, reception: &Reception) {
        self.last_heard_at = self.last_heard_at.max(now);
        // Beyond what radios can measure it is a gateway's fault, and would spoil the average for long.
        let rssi_dbm = i16::try_from(reception.rssi_dbm.clamp(-200, 50)).unwrap_or(0);
        self.last_rssi_dbm = i32::from(rssi_dbm);
        self.rssi_dbm.add(f32::from(rssi_dbm));
        if reception.snr_db.is_finite() {
            self.last_snr_db = reception.snr_db.clamp(-60.0, 60.0);
            self.snr_db.add(self.last_snr_db);
        }
    }

    pub(super) fn count(&mut self, is_lost: bool) {
        let counted = self.uplinks_heard + self.uplinks_missed + 1;
        let count = u16::try_from(counted).map_or(LOSS_WEIGHT, |count| count.min(LOSS_WEIGHT));
        let weight = 1.0 / f32::from(count);
        let value = if is_lost { 1.0 } else { 0.0 };
        self.uplink_loss += weight * (value - self.uplink_loss);
        if is_lost {
            self.uplinks_missed += 1;
        } else {
            self.uplinks_heard += 1;
        }
    }

    pub(super) fn miss(&mut self, lost: u32) {
        // From some hundred on the share is 1 whatever comes.
        let singly = lost.min(10 * u32::from(LOSS_WEIGHT));
        for _ in 0..singly {
            self.count(true);
        }
        self.uplinks_missed += u64::from(lost - singly);
    }
}
