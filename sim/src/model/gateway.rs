//! A gateway: one transmitter, a queue of 32 frames before it, and deafness while it sends.
//!
//! A tx-ack of a gateway says that a frame came into this queue, not that it was radiated. What refuses a frame is
//! decided here; whether anybody hears it is decided where the air is ([`super::air`]).

use std::collections::VecDeque;
use std::time::Duration;

use downbeat_core::id::{DevAddr, DevEui, GatewayId, QueueItemId};
use downbeat_core::radio::{Direction, Modulation};
use downbeat_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::config::GatewayConfig;

/// Frames that wait in a gateway at most, the one on air included.
const QUEUE_MAX: usize = 32;
/// From a frame's arrival to its first symbol.
const TX_START_DELAY: Duration = Duration::from_millis(10);
/// A past transmission is remembered this long, so that an uplink that it drowned is judged when it ends.
const MEMORY: Duration = Duration::from_secs(5);
/// Over which gateways measure their duty cycle.
const DUTY_CYCLE_WINDOW: Duration = Duration::from_hours(1);

/// Why a gateway does not send a frame, as ChirpStack names it (`TxAckStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Refusal {
    /// The moment to send has passed.
    TooLate,
    /// The moment to send is too far away.
    TooEarly,
    /// Another frame is to be sent then.
    CollisionPacket,
    /// The frequency is not supported.
    TxFreq,
    /// The power is not supported.
    TxPower,
    /// No GPS time.
    GpsUnlocked,
    /// The transmit queue is full.
    QueueFull,
    /// Anything else.
    InternalError,
    /// The sub-band's share of time is used up.
    DutyCycleOverflow,
}

impl Refusal {
    /// The status as it stands in a `log` event's description.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooLate => "TOO_LATE",
            Self::TooEarly => "TOO_EARLY",
            Self::CollisionPacket => "COLLISION_PACKET",
            Self::TxFreq => "TX_FREQ",
            Self::TxPower => "TX_POWER",
            Self::GpsUnlocked => "GPS_UNLOCKED",
            Self::QueueFull => "QUEUE_FULL",
            Self::InternalError => "INTERNAL_ERROR",
            Self::DutyCycleOverflow => "DUTY_CYCLE_OVERFLOW",
        }
    }
}

/// When a frame is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timing {
    /// As soon as the transmitter is free (Class C).
    Immediately,
    /// Exactly then (RX windows).
    At(Timestamp),
}

/// One way to send a frame; a gateway takes the first that is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TxOption {
    pub(super) timing: Timing,
    pub(super) spreading_factor: u8,
    pub(super) frequency_hz: u32,
    /// Seconds after the uplink, for RX windows.
    pub(super) rx_delay_s: u8,
}

/// What a frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Data {
        dev_addr: DevAddr,
        f_cnt: u32,
        f_port: u8,
        confirmed: bool,
        payload: Vec<u8>,
        queue_item_id: QueueItemId,
    },
    /// Answers the join-request with this number.
    JoinAccept { dev_addr: DevAddr, dev_nonce: u32 },
}

/// A downlink frame on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) downlink_id: u32,
    pub(super) dev_eui: DevEui,
    pub(super) content: Content,
    /// First choice first.
    pub(super) options: [Option<TxOption>; 2],
}

impl Frame {
    fn time_on_air(&self, option: TxOption) -> Duration {
        let len = match &self.content {
            Content::Data { payload, .. } => payload.len(),
            // 33 bytes with the list of channels, of which radio counts 13 itself.
            Content::JoinAccept { .. } => 20,
        };
        Modulation::lora_125(option.spreading_factor).time_on_air(len, Direction::Down)
    }
}

/// A frame in the transmit queue, on air, or just sent.
#[derive(Debug, Clone)]
pub(super) struct Transmission {
    pub(super) id: u64,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    option: TxOption,
    /// Taken out when the transmission ends.
    pub(super) frame: Option<Frame>,
}

/// A gateway.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) config: GatewayConfig,
    /// Has power and a backhaul.
    pub(super) online: bool,
    /// Sends without radiating anything (a broken antenna).
    pub(super) mute: bool,
    /// Refuses each frame so.
    pub(super) refusal: Option<Refusal>,
    /// Probability that a tx-ack is lost on the way to the server.
    pub(super) tx_ack_loss: f64,
    /// What a tx-ack takes beyond the latency.
    pub(super) tx_ack_delay: Duration,
    /// By start; past ones for a while, see [`MEMORY`].
    transmissions: VecDeque<Transmission>,
    transmission_count: u64,
    /// Airtime used: when it ended, and how much.
    airtime: VecDeque<(Timestamp, Duration)>,
    /// The moment of its first stats; others follow at its interval.
    first_stats: Timestamp,
    online_since: Timestamp,
    /// The last stats before it went dark.
    last_seen_before: Option<Timestamp>,
    pub(super) frames_sent: u64,
    /// Frames take time on air.
    pub(super) has_airtime: bool,
}

impl Gateway {
    /// A gateway that is online and sends its first stats at `first_stats`.
    pub(super) fn new(config: GatewayConfig, first_stats: Timestamp) -> Self {
        Self {
            config,
            online: true,
            mute: false,
            refusal: None,
            tx_ack_loss: 0.0,
            tx_ack_delay: Duration::ZERO,
            transmissions: VecDeque::new(),
            transmission_count: 0,
            airtime: VecDeque::new(),
            first_stats,
            online_since: first_stats,
            last_seen_before: None,
            frames_sent: 0,
            has_airtime: true,
        }
    }

    pub(super) fn id(&self) -> GatewayId {
        self.config.id
    }

    /// Takes a frame into the transmit queue by the first option that works: what goes out, and which option it is.
    pub(super) fn accept(
        &mut self,
        frame: Frame,
        now: Timestamp,
    ) -> Result<(&Transmission, TxOption), Refusal> {
        self.forget(now);
        let mut refused = self.refusal;
        let mut found = None;
        if refused.is_none() {
            for option in frame.options.into_iter().flatten() {
                match self.plan(&frame, option, now) {
                    Ok(start) => {
                        found = Some((start, option));
                        break;
                    }
                    Err(refusal) => refused = Some(refusal),
                }
            }
        }
        let Some((start, option)) = found else {
            return Err(refused.unwrap_or(Refusal::InternalError));
        };
        let airtime = self.time_on_air(&frame, option);
        let end = start + airtime;
        if !airtime.is_zero() {
            self.airtime.push_back((end, airtime));
        }
        self.frames_sent += 1;
        self.transmission_count += 1;
        let transmission = Transmission {
            id: self.transmission_count,
            start,
            end,
            option,
            frame: Some(frame),
        };
        let place = self.transmissions.partition_point(|t| t.start <= start);
        self.transmissions.insert(place, transmission);
        Ok((&self.transmissions[place], option))
    }

    /// When a frame could be sent by this option.
    fn plan(&self, frame: &Frame, option: TxOption, now: Timestamp) -> Result<Timestamp, Refusal> {
        let airtime = self.time_on_air(frame, option);
        if self.transmissions.iter().filter(|t| t.end > now).count() >= QUEUE_MAX {
            return Err(Refusal::QueueFull);
        }
        if let Some(share) = self.config.duty_cycle {
            let used: Duration = self.airtime.iter().map(|(_, airtime)| *airtime).sum();
            if (used + airtime).as_secs_f64() > DUTY_CYCLE_WINDOW.as_secs_f64() * share {
                return Err(Refusal::DutyCycleOverflow);
            }
        }
        let earliest = if self.has_airtime {
            now + TX_START_DELAY
        } else {
            now
        };
        match option.timing {
            Timing::Immediately => Ok(self.first_gap(earliest, airtime)),
            Timing::At(start) if start < earliest => Err(Refusal::TooLate),
            Timing::At(start) if self.sends_between(start, start + airtime) => {
                Err(Refusal::CollisionPacket)
            }
            Timing::At(start) => Ok(start),
        }
    }

    fn time_on_air(&self, frame: &Frame, option: TxOption) -> Duration {
        if self.has_airtime {
            frame.time_on_air(option)
        } else {
            Duration::ZERO
        }
    }

    fn first_gap(&self, earliest: Timestamp, airtime: Duration) -> Timestamp {
        let mut start = earliest;
        for busy in &self.transmissions {
            if busy.end > start {
                if start + airtime <= busy.start {
                    break;
                }
                start = busy.end;
            }
        }
        start
    }

    /// Whether it sends at any instant of the interval, and so hears nothing.
    pub(super) fn sends_between(&self, from: Timestamp, to: Timestamp) -> bool {
        self.transmissions
            .iter()
            .any(|t| t.start < to && t.end > from)
    }

    /// Takes the frame of a transmission that ends now; `None` if the gateway lost power meanwhile.
    pub(super) fn finish(&mut self, id: u64) -> Option<(Timestamp, TxOption, Frame)> {
        let transmission = self.transmissions.iter_mut().find(|t| t.id == id)?;
        Some((
            transmission.start,
            transmission.option,
            transmission.frame.take()?,
        ))
    }

    /// Power and backhaul come or go; what waited to be sent goes with them.
    pub(super) fn set_online(&mut self, online: bool, now: Timestamp) {
        if online == self.online {
            return;
        }
        if online {
            self.online_since = now;
        } else {
            self.last_seen_before = self.last_seen(now);
            self.transmissions.clear();
        }
        self.online = online;
    }

    /// Its last stats: the server knows of nothing else.
    pub(super) fn last_seen(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.online || now < self.first_stats {
            return self.last_seen_before;
        }
        let interval = self.config.stats_interval.as_millis().max(1);
        let since_first = now.since(self.first_stats).as_millis();
        let into_interval = u64::try_from(since_first % interval).unwrap_or(0);
        let last = now - Duration::from_millis(into_interval);
        if last >= self.online_since {
            Some(last)
        } else {
            self.last_seen_before
        }
    }

    /// Frames that wait or are on air.
    pub(super) fn queued(&self, now: Timestamp) -> usize {
        self.transmissions.iter().filter(|t| t.end > now).count()
    }

    /// Airtime used in the last hour.
    pub(super) fn airtime_used(&self, now: Timestamp) -> Duration {
        let recent = self
            .airtime
            .iter()
            .filter(|(end, _)| now.since(*end) < DUTY_CYCLE_WINDOW);
        recent.map(|(_, airtime)| *airtime).sum()
    }

    fn forget(&mut self, now: Timestamp) {
        // What took no time drowned nothing.
        let may_have_drowned = |t: &Transmission| t.start < t.end && now.since(t.end) < MEMORY;
        self.transmissions
            .retain(|t| t.frame.is_some() || may_have_drowned(t));
        while self
            .airtime
            .front()
            .is_some_and(|(end, _)| now.since(*end) >= DUTY_CYCLE_WINDOW)
        {
            self.airtime.pop_front();
        }
    }
}
