//! How a device and a gateway get on with each other, as the API shows it.

use downbeat_core::link_quality::Link;
use downbeat_core::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::metrics::percent;

/// How a device and a gateway get on with each other.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct LinkQualityBody {
    /// Of the last uplink that the gateway heard, dBm.
    rssi: i32,
    /// Of the last uplink that the gateway heard, dB.
    snr: f32,
    /// Moving average, dBm.
    rssi_average: f32,
    /// Standard deviation around it, dB.
    rssi_spread: f32,
    /// Moving average, dB.
    snr_average: f32,
    /// Standard deviation around it, dB.
    snr_spread: f32,
    /// When the gateway first heard the device, as far as is remembered, RFC 3339.
    first_heard_at: String,
    /// When it last did, RFC 3339.
    last_heard_at: String,
    /// Uplinks that the gateway passed on.
    uplinks_heard: u64,
    /// Uplinks that the device sent meanwhile, by its frame counter, and that the gateway did not pass on.
    uplinks_missed: u64,
    /// Percent of the uplinks that were lost lately.
    uplink_loss: f32,
    /// Downlinks to the device that the gateway took.
    downlinks_taken: u64,
    /// Which of them the device proved.
    downlinks_proven: u64,
    /// Which of them the device was to prove and did not, in time.
    downlinks_unproven: u64,
    /// Percent of those that were to be proven, which were; null before there was one.
    downlink_success_rate: Option<f64>,
    /// Downlinks without proof since the last one with.
    unproven_in_a_row: u32,
    /// `fine`; `lossy_uplink`: many uplinks do not get through; `downlink_dead`: uplinks do, and none of the last
    /// downlinks did; `silent`: not heard for a day.
    diagnosis: &'static str,
}

impl LinkQualityBody {
    pub(super) fn new(link: &Link, now: Timestamp) -> Self {
        let judged = link.downlinks_proven + link.downlinks_unproven;
        Self {
            rssi: link.last_rssi_dbm,
            snr: link.last_snr_db,
            rssi_average: tenths(link.rssi_dbm.mean),
            rssi_spread: tenths(link.rssi_dbm.spread()),
            snr_average: tenths(link.snr_db.mean),
            snr_spread: tenths(link.snr_db.spread()),
            first_heard_at: link.first_heard_at.to_string(),
            last_heard_at: link.last_heard_at.to_string(),
            uplinks_heard: link.uplinks_heard,
            uplinks_missed: link.uplinks_missed,
            uplink_loss: tenths(link.uplink_loss * 100.0),
            downlinks_taken: link.downlinks_taken,
            downlinks_proven: link.downlinks_proven,
            downlinks_unproven: link.downlinks_unproven,
            downlink_success_rate: (judged > 0).then(|| percent(link.downlinks_proven, judged)),
            unproven_in_a_row: link.unproven_in_a_row,
            diagnosis: link.diagnosis(now).name(),
        }
    }
}

/// Averages are no better than that.
fn tenths(value: f32) -> f32 {
    (value * 10.0).round() / 10.0
}
