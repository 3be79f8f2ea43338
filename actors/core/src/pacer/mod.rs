//! Who may send when: ChirpStack's queue, the gateways' budgets and the air for the devices' answers.
//!
//! Before an Enqueue a device asks for a turn. It gets one when all of this holds:
//!
//! - ChirpStack answers, and fewer than [`PacerConfig::held_max`] devices hold an item that is not transmitted yet: its
//!   scheduler takes up a hundred a run, in the order of their `DevEUI`s, and what cannot be transmitted stays.
//! - Each gateway that ChirpStack may pick for it has the airtime left ([`crate::region`]). It is reserved with all of
//!   them, because ChirpStack picks at random; the tx-ack tells which one it was and what it really cost (`silence`: what
//!   is sent while none comes).
//! - The answers that are outstanding, and its own, will be heard (`air`).
//!
//! Classes come in their order, and within one the tenant that got least; one turn in ten goes to whoever is passed
//! by for long. A class fills a budget up to its ceiling only, so that room stays for those that somebody waits for.
//!
//! Its time is that of a clock that runs steadily and is never set: an hour of air is an hour, whatever becomes of the
//! system's clock. What was sent is kept for an hour (`ledger`), and [`Pacer::recall`] takes it up after a restart. [`estimate`] says
//! beforehand what a job costs; [`AirtimeSnapshot`] is what there is.

mod air;
mod estimate;
mod granting;
mod ledger;
mod silence;
mod snapshot;
mod telling;
mod waiting;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use self::air::Window;
use self::ledger::Ledger;
use self::waiting::Waiting;
use crate::device::Priority;
use crate::id::{DevEui, GatewayId, TenantId};
use crate::network::{Reception, Timing};
use crate::radio::Modulation;
use crate::region::Region;
use crate::time::{Steps, Timestamp};

pub use self::estimate::{Estimate, LimitedBy, Planned, estimate};
pub(crate) use self::silence::REPEAT;
pub use self::silence::{SilentGateway, SilentItem};
pub use self::snapshot::{AirtimeOverview, AirtimeSnapshot, BandAir, Downlink, GatewayAir};

/// How turns are given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PacerConfig {
    /// Devices that may hold a turn at once.
    pub held_max: usize,
    /// A turn that nobody gave back is taken back after this.
    pub lease: Duration,
    /// The region of gateways; learnt from what they send when absent, EU868 until then.
    pub region: Option<Region>,
    /// A duty cycle for every sub-band in place of the region's: 0.1 is 10 %, 1 and more is none.
    pub duty_cycle: Option<f64>,
    /// Whether gateways hear nothing while they send. Where they do, no air is left for answers.
    pub half_duplex: bool,
    /// Up to which share of a budget jobs for many devices may fill it.
    pub bulk_ceiling: f64,
    /// Which share of each budget one tenant may use.
    pub tenant_share: f64,
}

impl Default for PacerConfig {
    fn default() -> Self {
        Self {
            held_max: 80,
            lease: Duration::from_mins(30),
            region: None,
            duty_cycle: None,
            half_duplex: true,
            bulk_ceiling: 0.7,
            tenant_share: 1.0,
        }
    }
}

impl PacerConfig {
    /// Up to which share of a budget a class may fill it.
    fn ceiling(&self, priority: Priority) -> f64 {
        match priority {
            Priority::Interactive | Priority::Retry => 1.0,
            Priority::Initialisation => f64::midpoint(1.0, self.bulk_ceiling),
            Priority::Bulk => self.bulk_ceiling,
            Priority::Reconcile => self.bulk_ceiling * 0.75,
        }
    }
}

/// So far above the ceiling of a class a single gateway may be filled, as long as those that may be drawn with it are not
/// above it together.
const UNEVEN: f64 = 0.1;
/// What each class may always use of a budget, however full it is: nobody is shut out for good.
const FLOOR: f64 = 0.05;
/// The share of what may be handed over without word for this long that it goes out in the next moment: from the grant
/// over a commit and the Enqueue to ChirpStack's next run and the tx-ack.
const FRESH: Duration = Duration::from_millis(2_500);
/// So long before and after tx-acks are due it is not known whether a grant still reaches the run of ChirpStack's scheduler
/// that they are of: a commit and two calls lie in between.
const TOO_CLOSE: (Duration, Duration) = (Duration::from_millis(150), Duration::from_millis(40));
/// So long after the first tx-ack of a run those of its other frames come in: until then it is not known who sends what.
const TELLING: Duration = Duration::from_millis(100);
/// A run that was seen tells when the next ones are for so long.
const BEAT_MEMORY: Duration = Duration::from_secs(10);
/// What the air holds up is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Scouts of whom one gateway may send several, at once, and the least time between two of them: ChirpStack tries each
/// every five seconds, and draws a gateway each time.
const SCOUTS: (usize, Duration) = (3, Duration::from_millis(1_700));
/// No more of them than keep each gateway busy for so much of five seconds, if it is there and only its tx-acks are lost.
const SCOUTED: Duration = Duration::from_millis(750);
/// Of so many turns one may be held by a scout, however many gateways are away.
const SCOUTS_HELD: usize = 8;
/// Turns in a row that may pass by somebody who waits for longer than [`PASSED_BY`].
const PASSES_MAX: u32 = 9;
/// See [`PASSES_MAX`].
const PASSED_BY: Duration = Duration::from_secs(30);
/// The share of the turns that may be held by those that nobody waits for: stuck ones must not shut out the others.
const UNHURRIED_HELD: (usize, usize) = (3, 4);
/// Payload of a frame of which nothing is known, in bytes.
const UNKNOWN_LEN: usize = 16;
/// How long a gateway that is over its duty cycle is left alone at first, and at the most.
const BLOCKED: (Duration, Duration) = (Duration::from_mins(1), Duration::from_mins(10));
/// How long a gateway that came too late is left alone at first, and at the most.
const PAUSED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// ChirpStack prefers gateways whose link has this margin (`gateway_prefer_min_margin`), dB.
const PREFERRED_MARGIN_DB: f32 = 10.0;
/// Frames by which a gateway's way of sending is told.
const HEARD_DOWNLINKS: usize = 16;

/// Which gateways hear a device, and which of them ChirpStack may send by; each in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Hearing {
    /// One of these sends.
    pub candidates: Vec<GatewayId>,
    /// All of these listen.
    pub ears: Vec<GatewayId>,
}

impl Hearing {
    /// What the last uplink tells: ChirpStack picks at random among those with a margin of 10 dB, or takes the best
    /// (chirpstack-observed.md §3).
    pub fn of(receptions: &[Reception], uplink: Modulation) -> Self {
        let named = || receptions.iter().filter(|it| it.gateway_id.is_named());
        let least = required_snr_db(uplink) + PREFERRED_MARGIN_DB;
        let good = named().filter(|it| it.snr_db >= least);
        let mut candidates: Vec<GatewayId> = good.map(|it| it.gateway_id).collect();
        if candidates.is_empty() {
            let by_signal = |a: &&Reception, b: &&Reception| {
                let by_snr = a.snr_db.total_cmp(&b.snr_db);
                by_snr.then(a.rssi_dbm.cmp(&b.rssi_dbm))
            };
            candidates.extend(named().max_by(by_signal).map(|it| it.gateway_id));
        }
        let mut ears: Vec<GatewayId> = named().map(|it| it.gateway_id).collect();
        for ids in [&mut candidates, &mut ears] {
            ids.sort_unstable();
            ids.dedup();
        }
        Self { candidates, ears }
    }

    fn may_send_by(&self, ears: &[GatewayId]) -> bool {
        self.candidates.iter().any(|id| ears.contains(id))
    }
}

/// The signal to noise ratio below which a spreading factor is not demodulated (Semtech SX1276, table 13).
fn required_snr_db(uplink: Modulation) -> f32 {
    match uplink {
        Modulation::Lora {
            spreading_factor, ..
        } => -7.5 - 2.5 * (f32::from(spreading_factor) - 7.0),
        Modulation::Fsk { .. } => f32::NEG_INFINITY,
    }
}

/// What a device that wants a turn is about to send.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// Who.
    pub device: DevEui,
    /// Whose.
    pub tenant: TenantId,
    /// Its class.
    pub priority: Priority,
    /// Application payload in bytes.
    pub payload_len: usize,
    /// Who hears it.
    pub hearing: Hearing,
    /// How it answers.
    pub uplink: Modulation,
    /// It listens only after its own uplinks: when it is sent is its own choice.
    pub is_class_a: bool,
    /// No gateway that hears it seems to be there: it is sent to find out.
    pub is_scout: bool,
}

/// A frame that was sent before a restart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SentBefore {
    /// When it was told, by the pacer's clock.
    pub at: Timestamp,
    /// By which gateway.
    pub gateway_id: GatewayId,
    /// How, where known.
    pub modulation: Option<Modulation>,
    /// On which frequency in Hz, where known.
    pub frequency_hz: Option<u32>,
    /// Whether at once or after an uplink, where known.
    pub timing: Option<Timing>,
}

/// What was sent in the last hour before a restart.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SentLately {
    /// Of what tx-acks told.
    pub frames: Vec<SentBefore>,
    /// Of what they did not.
    pub items: Vec<SilentItem>,
}

impl SentLately {
    /// The same by the steady clock, which shows `now`.
    #[must_use]
    pub fn by_steady(mut self, steps: &Steps, now: Timestamp) -> Self {
        for frame in &mut self.frames {
            frame.at = steps.steady_of(now, frame.at);
        }
        let items = self.items.into_iter();
        self.items = items.map(|item| item.by_steady(steps, now)).collect();
        self
    }
}

/// Gives turns. See the module.
#[derive(Debug, Clone, Default)]
pub struct Pacer {
    config: PacerConfig,
    region: Region,
    downlinks: HeardDownlinks,
    gateways: BTreeMap<GatewayId, Gateway>,
    /// When gateways last gave a sign of being there.
    seen: BTreeMap<GatewayId, Timestamp>,
    /// Since when they have given none though something was tried that they might have told of.
    untold: BTreeMap<GatewayId, Timestamp>,
    /// When it took up what was sent before a restart.
    recalled_at: Option<Timestamp>,
    grants: BTreeMap<DevEui, Grant>,
    answers: Vec<Answer>,
    waiting: Waiting,
    closed: bool,
    /// When ChirpStack's scheduler was last seen to have handed over.
    beat: Option<Timestamp>,
    /// Turns in a row that passed by somebody.
    passes: u32,
    /// Airtime of grants of which no gateway is known.
    unplaced: Duration,
    wake: Option<Timestamp>,
    tidied_at: Option<Timestamp>,
}

/// A turn that is held.
#[derive(Debug, Clone)]
struct Grant {
    ask: Ask,
    at: Timestamp,
    /// When ChirpStack handed it over for the last time, or will, at the earliest; all tries before are charged or were refused.
    /// `None`: ChirpStack does not have its item.
    tried_at: Option<Timestamp>,
    /// A gateway said that it did not send it.
    is_refused: bool,
    /// A gateway has it.
    is_taken: bool,
    /// With each gateway that may send it.
    reserved: Vec<Reservation>,
    /// Not with any, because none is known.
    unplaced: Duration,
    /// Frames handed over with it, itself included, that may keep its listeners from hearing its answer.
    company: usize,
    /// So many do not.
    company_max: usize,
}

#[derive(Debug, Clone, Copy)]
struct Reservation {
    gateway_id: GatewayId,
    band: &'static str,
    airtime: Duration,
}

/// An answer that is outstanding.
#[derive(Debug, Clone)]
struct Answer {
    device: DevEui,
    ears: Vec<GatewayId>,
    window: Window,
    is_hurried: bool,
}

#[derive(Debug, Clone, Default)]
struct Gateway {
    region: Option<Region>,
    downlinks: HeardDownlinks,
    ledgers: BTreeMap<&'static str, Ledger>,
    /// It sends until then, as far as is known.
    free_at: Option<Timestamp>,
    paused_until: Option<Timestamp>,
    pause: Duration,
    block: Duration,
}

/// How devices that always listen are sent to, as frames tell it.
///
/// A frame that was sent at once says it. One that followed an uplink says nothing: in RX1 it has that uplink's channel
/// and data rate, and RX1 may lie on RX2's frequency (US915's 923.3 MHz, AS923's 923.2 MHz). Where it is not told which
/// it was, as by v3 without its details, RX2's has to be guessed from among those in RX1.
#[derive(Debug, Clone, Default)]
struct HeardDownlinks {
    /// The last frames of which it was not told, as long as no frame said it for certain.
    last: VecDeque<(u32, Modulation)>,
    in_force: Option<Downlink>,
    is_certain: bool,
}

/// On which frequency, at which data rate, and when a frame was sent.
#[derive(Debug, Clone, Copy)]
struct HeardDownlink {
    frequency_hz: u32,
    modulation: Modulation,
    timing: Option<Timing>,
}

impl HeardDownlinks {
    fn note(&mut self, region: Region, heard: HeardDownlink) {
        let HeardDownlink {
            frequency_hz,
            modulation,
            timing,
        } = heard;
        match timing {
            Some(Timing::Immediately) => {
                self.is_certain = true;
                self.last.clear();
                self.in_force = Some(Downlink {
                    frequency_hz,
                    modulation,
                    is_learnt: true,
                });
            }
            Some(Timing::AfterUplink | Timing::AtGpsTime) => {}
            None if self.is_certain => {}
            None => self.guess(region, frequency_hz, modulation),
        }
    }

    /// RX2's is the last one on its usual frequency; where none is, the last one on the frequency that is heard most.
    fn guess(&mut self, region: Region, frequency_hz: u32, modulation: Modulation) {
        if self.last.len() == HEARD_DOWNLINKS {
            self.last.pop_front();
        }
        self.last.push_back((frequency_hz, modulation));
        let last_on = |frequency_hz: u32| self.last.iter().rfind(|it| it.0 == frequency_hz);
        let count = |frequency_hz: u32| self.last.iter().filter(|it| it.0 == frequency_hz).count();
        let most = self.last.iter().max_by_key(|it| count(it.0));
        let found = last_on(region.rx2_frequency_hz()).or_else(|| last_on(most?.0));
        self.in_force = found.map(|(frequency_hz, modulation)| Downlink {
            frequency_hz: *frequency_hz,
            modulation: *modulation,
            is_learnt: true,
        });
    }
}
