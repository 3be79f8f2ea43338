//! The budgets at one instant, for anyone to read without asking.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::device::Priority;
use crate::id::GatewayId;
use crate::radio::{Direction, Modulation};
use crate::region::{DUTY_CYCLE_WINDOW, Region, SubBand};
use crate::time::Timestamp;

/// How the network server sends to devices that always listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Downlink {
    /// Carrier frequency, Hz.
    pub frequency_hz: u32,
    /// Data rate.
    pub modulation: Modulation,
    /// Whether gateways told so; otherwise it is the region's default.
    pub is_learnt: bool,
}

impl Downlink {
    /// RX2 as a region has it by default.
    pub fn default_of(region: Region) -> Self {
        Self {
            frequency_hz: region.rx2_frequency_hz(),
            modulation: region.rx2_modulation(),
            is_learnt: false,
        }
    }

    /// What a payload of so many bytes costs.
    pub fn airtime(&self, payload_len: usize) -> Duration {
        self.modulation.time_on_air(payload_len, Direction::Down)
    }
}

/// The budgets of all gateways of a network server. A clone costs one reference count.
#[derive(Debug, Clone, PartialEq)]
pub struct AirtimeSnapshot(Arc<AirtimeOverview>);

impl AirtimeSnapshot {
    pub(super) fn new(overview: AirtimeOverview) -> Self {
        Self(Arc::new(overview))
    }

    /// The same in the time of a clock that is so many milliseconds ahead of the pacer's.
    #[must_use]
    pub fn told_by_clock_ahead(mut self, ahead_ms: i64) -> Self {
        let overview = Arc::make_mut(&mut self.0);
        let shift = |at: &mut Timestamp| *at = at.shifted(ahead_ms);
        shift(&mut overview.at);
        for gateway in overview.gateways.values_mut() {
            gateway.paused_until.iter_mut().for_each(shift);
            for band in &mut gateway.bands {
                band.blocked_until.iter_mut().for_each(shift);
                band.releases.iter_mut().for_each(|(at, _)| shift(at));
            }
        }
        self
    }
}

impl Deref for AirtimeSnapshot {
    type Target = AirtimeOverview;

    fn deref(&self) -> &AirtimeOverview {
        &self.0
    }
}

/// The content of an [`AirtimeSnapshot`].
#[derive(Debug, Clone, PartialEq)]
pub struct AirtimeOverview {
    /// As of when.
    pub at: Timestamp,
    /// The region of gateways that did not tell another one.
    pub region: Region,
    /// How gateways send that did not tell.
    pub downlink: Downlink,
    /// The duty cycle that the configuration puts in place of the region's, if any.
    pub duty_cycle: Option<f64>,
    /// Up to which share of a budget each class may fill it.
    pub ceilings: BTreeMap<Priority, f64>,
    /// The gateways that sent, were refused or were reserved within the last hour.
    pub gateways: BTreeMap<GatewayId, GatewayAir>,
    /// Commands that wait for their turn, by class.
    pub waiting: BTreeMap<Priority, usize>,
    /// Devices that hold a turn: their item is not transmitted yet.
    pub held: usize,
}

impl AirtimeOverview {
    /// A gateway's air; of one that has not sent within the hour, all of it.
    pub fn gateway(&self, gateway_id: GatewayId) -> GatewayAir {
        self.gateways
            .get(&gateway_id)
            .cloned()
            .unwrap_or_else(|| self.untouched())
    }

    /// The air of a gateway that has not sent within the hour.
    fn untouched(&self) -> GatewayAir {
        let sub_band = self.region.sub_band(self.downlink.frequency_hz);
        GatewayAir {
            region: self.region,
            downlink: self.downlink,
            paused_until: None,
            bands: vec![BandAir {
                sub_band,
                budget: budget(sub_band, self.duty_cycle),
                used: Duration::ZERO,
                used_by: BTreeMap::new(),
                reserved: Duration::ZERO,
                blocked_until: None,
                releases: Vec::new(),
            }],
        }
    }

    /// Up to which share of a budget a class may fill it.
    pub fn ceiling(&self, priority: Priority) -> f64 {
        self.ceilings.get(&priority).copied().unwrap_or(1.0)
    }
}

/// One gateway's air.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayAir {
    /// Whose rules hold.
    pub region: Region,
    /// How it sends to devices that always listen.
    pub downlink: Downlink,
    /// It came too late or had another frame in the way: nobody sends by it until then.
    pub paused_until: Option<Timestamp>,
    /// The sub-band in which it sends first, then the others in which it sent within the hour.
    pub bands: Vec<BandAir>,
}

impl GatewayAir {
    /// The sub-band in which it sends.
    pub fn sending_band(&self) -> Option<&BandAir> {
        let sub_band = self.region.sub_band(self.downlink.frequency_hz);
        self.bands
            .iter()
            .find(|band| band.sub_band.name == sub_band.name)
    }

    /// Commands of so many bytes that it may send in an hour; `None`: as many as there is time for.
    pub fn commands_per_hour(&self, payload_len: usize) -> Option<u64> {
        let budget = self.sending_band()?.budget?;
        let airtime = self.downlink.airtime(payload_len).as_micros().max(1);
        u64::try_from(budget.as_micros() / airtime).ok()
    }
}

/// One gateway's account of one sub-band.
#[derive(Debug, Clone, PartialEq)]
pub struct BandAir {
    /// Which one.
    pub sub_band: SubBand,
    /// What may be sent in an hour; `None`: any.
    pub budget: Option<Duration>,
    /// What was sent within the last hour.
    pub used: Duration,
    /// The same by class; the rest is of others: other applications, answers of the network server.
    pub used_by: BTreeMap<Priority, Duration>,
    /// What is granted and not yet known to have been sent.
    pub reserved: Duration,
    /// The gateway said that it may not send, until then.
    pub blocked_until: Option<Timestamp>,
    /// When how much of what was used is an hour old, by time.
    pub releases: Vec<(Timestamp, Duration)>,
}

/// What one sender may send in a sub-band in an hour; `None`: any.
pub(super) fn budget(sub_band: SubBand, duty_cycle: Option<f64>) -> Option<Duration> {
    let share = duty_cycle.or(sub_band.duty_cycle)?;
    (share < 1.0).then(|| DUTY_CYCLE_WINDOW.mul_f64(share.max(0.0)))
}
