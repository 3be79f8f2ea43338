//! How well each device and each gateway get on with each other: a link is one device as one gateway hears it.
//!
//! The way up is judged by what arrives: averages of signal and noise that forget old values, their spread, and the
//! uplinks that the device's frame counter tells of and this gateway did not pass on. The way down cannot be heard. It is
//! judged by which downlinks the device proved of those that this gateway took. Both together tell the one fault that
//! neither ChirpStack nor a gateway sees: uplinks arrive, and nothing that is sent ever does (a broken transmit path, a
//! device that hears worse than it speaks).
//!
//! Nothing is decided here about sending; this is what people look at. [`table`] holds the links of a network server.

mod link;
pub mod table;

use serde::{Deserialize, Serialize};

use crate::codec::Proof;
use crate::device::{Reason, Record, Step};
use crate::gateway::GatewaySnapshot;
use crate::id::{DevAddr, GatewayId};
use crate::network::{Reception, Uplink};
use crate::radio::DeviceClass;
use crate::time::Timestamp;

pub use link::{Average, Diagnosis, Link};

/// Links of one device. The one that was not heard for longest gives way to a new one.
pub const LINKS_MAX: usize = 16;

/// Frame counters before the newest one of which it is known whether they came.
const WINDOW: u32 = 64;

/// A greater gap is no loss but a counter that jumped (`MAX_FCNT_GAP` of LoRaWAN 1.0.3).
const GAP_MAX: u32 = 16_384;

/// All links of one device.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DeviceLinks {
    links: Vec<Link>,
    /// The gateways of the newest uplink, best first: ChirpStack sends through no other.
    route: Vec<GatewayId>,
    heard_at: Option<Timestamp>,
    dev_addr: Option<DevAddr>,
    f_cnt: Option<u32>,
    /// Which frame counters before `f_cnt` came; bit 0 is the one just before it.
    window: u64,
    class: DeviceClass,
    /// The downlink that a gateway took last, until it is judged twice.
    last_taken: Option<Taken>,
}

/// A downlink that a gateway took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Taken {
    gateway_id: GatewayId,
    found_unproven: bool,
}

/// Where an uplink stands against the newest one known.
enum Place {
    /// The first of its session, or it cannot be compared.
    First,
    /// So many frame counters newer.
    Newer(u32),
    /// Late, and not seen before.
    Late,
    /// A relay's that counts nothing.
    Uncounted,
    Known,
}

/// What became of a downlink that a gateway took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// The gateway.
    pub gateway_id: GatewayId,
    /// Whether the device proved it.
    pub verdict: Verdict,
}

/// Whether a downlink was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was.
    Proven,
    /// It was not, in its time.
    Unproven,
    /// It was after all, and had been counted as not.
    ProvenLate,
}

impl DeviceLinks {
    /// The links, the best received first, those of the newest uplink before all others.
    pub fn links(&self) -> Vec<&Link> {
        let mut links: Vec<&Link> = self.links.iter().collect();
        let place = |link: &Link| self.route.iter().position(|id| *id == link.gateway_id);
        links.sort_by(|a, b| {
            let places = (
                place(a).unwrap_or(usize::MAX),
                place(b).unwrap_or(usize::MAX),
            );
            let means = b.rssi_dbm.mean.total_cmp(&a.rssi_dbm.mean);
            places.0.cmp(&places.1).then(means)
        });
        links
    }

    /// The link with a gateway.
    pub fn link(&self, gateway_id: GatewayId) -> Option<&Link> {
        self.links.iter().find(|link| link.gateway_id == gateway_id)
    }

    /// The gateways of the newest uplink, best first.
    pub fn route(&self) -> &[GatewayId] {
        &self.route
    }

    /// Whether no gateway that heard the newest uplink is worth sending to. Not known, and so not said, while no gateway
    /// is known at all, or none heard it.
    pub fn is_out_of_reach(&self, gateways: &GatewaySnapshot) -> bool {
        gateways.knows_any()
            && !self.route.is_empty()
            && !self.route.iter().any(|id| gateways.is_alive(*id))
    }

    /// When the newest uplink came.
    pub fn heard_at(&self) -> Option<Timestamp> {
        self.heard_at
    }

    /// The class in force, as far as ChirpStack said.
    pub fn class(&self) -> DeviceClass {
        self.class
    }

    /// Whether a gateway ever took a downlink for it: only then does it mean something when none does.
    pub fn has_been_sent_to(&self) -> bool {
        self.links.iter().any(|link| link.downlinks_taken > 0)
    }

    /// An uplink arrived. One that is known already changes nothing; tells whether this one was news.
    pub fn heard(&mut self, now: Timestamp, uplink: &Uplink) -> bool {
        let named: Vec<&Reception> = uplink
            .receptions
            .iter()
            .filter(|reception| reception.gateway_id.is_named())
            .take(LINKS_MAX)
            .collect();
        let is_newest = match self.place(uplink) {
            Place::Known => return false,
            Place::First => {
                self.window = u64::MAX;
                true
            }
            Place::Uncounted => true,
            Place::Newer(step) => {
                self.on_newer(step, &named);
                true
            }
            Place::Late => {
                self.on_late(uplink.f_cnt, &named);
                false
            }
        };
        // Most devices are heard by the same few gateways for good: room to grow would be empty for as long.
        let unknown = named
            .iter()
            .filter(|it| self.link(it.gateway_id).is_none())
            .count();
        self.links
            .reserve_exact(unknown.min(LINKS_MAX.saturating_sub(self.links.len())));
        for reception in &named {
            let index = self.index_or_new(now, reception.gateway_id, &named);
            if let Some(link) = index.and_then(|index| self.links.get_mut(index)) {
                link.hear(now, reception);
                if is_newest {
                    link.count(false);
                }
            }
        }
        if is_newest {
            self.dev_addr = uplink.dev_addr.or(self.dev_addr);
            self.f_cnt = Some(uplink.f_cnt);
            self.class = uplink.class.unwrap_or(self.class);
            self.heard_at = Some(now);
            self.route.clear();
            self.route.reserve_exact(named.len());
            self.route
                .extend(named.iter().map(|reception| reception.gateway_id));
        }
        true
    }

    fn place(&self, uplink: &Uplink) -> Place {
        let Some(last) = self.f_cnt else {
            return Place::First;
        };
        let f_cnt = uplink.f_cnt;
        if uplink.dev_addr.is_some() && self.dev_addr.is_some() && uplink.dev_addr != self.dev_addr
        {
            return Place::First;
        }
        if f_cnt > last {
            let step = f_cnt - last;
            return if step > GAP_MAX {
                Place::First
            } else {
                Place::Newer(step)
            };
        }
        if f_cnt == last {
            let is_uncounted =
                f_cnt == 0 && uplink.dev_addr.is_none() && uplink.deduplication_id.is_none();
            return if is_uncounted {
                Place::Uncounted
            } else {
                Place::Known
            };
        }
        match last - f_cnt {
            back @ 1..=WINDOW if self.window & (1 << (back - 1)) == 0 => Place::Late,
            1..=WINDOW => Place::Known,
            // A session that is not told by its address: the counter began anew.
            _ if uplink.dev_addr.is_none() => Place::First,
            _ => Place::Known,
        }
    }

    /// All known links missed what lies between, and those that did not hear this one missed it, too.
    fn on_newer(&mut self, step: u32, named: &[&Reception]) {
        for link in &mut self.links {
            let heard = named
                .iter()
                .any(|reception| reception.gateway_id == link.gateway_id);
            link.miss(if heard { step - 1 } else { step });
        }
        self.window = match step {
            1..WINDOW => (self.window << step) | (1 << (step - 1)),
            WINDOW => 1 << (WINDOW - 1),
            _ => 0,
        };
    }

    /// What was counted as missed came after all.
    fn on_late(&mut self, f_cnt: u32, named: &[&Reception]) {
        let back = self
            .f_cnt
            .map_or(1, |last| last.saturating_sub(f_cnt).max(1));
        self.window |= 1 << (back - 1).min(WINDOW - 1);
        for link in &mut self.links {
            let heard = named
                .iter()
                .any(|reception| reception.gateway_id == link.gateway_id);
            if heard && link.uplinks_missed > 0 {
                link.uplinks_missed -= 1;
                link.count(false);
            }
        }
    }

    /// The link with a gateway, made if need be in place of the one that was not heard for longest.
    fn index_or_new(
        &mut self,
        now: Timestamp,
        gateway_id: GatewayId,
        kept: &[&Reception],
    ) -> Option<usize> {
        let known = self
            .links
            .iter()
            .position(|link| link.gateway_id == gateway_id);
        if known.is_some() {
            return known;
        }
        let link = Link::new(now, gateway_id);
        if self.links.len() < LINKS_MAX {
            self.links.push(link);
            return Some(self.links.len() - 1);
        }
        let is_kept = |link: &Link| kept.iter().any(|it| it.gateway_id == link.gateway_id);
        let oldest = self
            .links
            .iter()
            .enumerate()
            .filter(|(_, link)| !is_kept(link))
            .min_by_key(|(_, link)| link.last_heard_at);
        let index = oldest.map(|(index, _)| index)?;
        self.links[index] = link;
        Some(index)
    }

    /// A gateway took a downlink for the device (tx-ack).
    pub fn taken(&mut self, gateway_id: GatewayId) {
        self.last_taken = Some(Taken {
            gateway_id,
            found_unproven: false,
        });
        if let Some(link) = self.link_mut(gateway_id) {
            link.downlinks_taken += 1;
        }
    }

    /// The downlink that a gateway took last was proven, or its time ran out. Told twice, the first word stands, save
    /// that a late proof takes a missing one back.
    pub fn judged(&mut self, proven: bool) -> Option<Judgement> {
        let taken = self.last_taken.as_mut()?;
        let gateway_id = taken.gateway_id;
        let verdict = match (proven, taken.found_unproven) {
            (true, false) => Verdict::Proven,
            (true, true) => Verdict::ProvenLate,
            (false, false) => Verdict::Unproven,
            (false, true) => return None,
        };
        if proven {
            self.last_taken = None;
        } else {
            taken.found_unproven = true;
        }
        if let Some(link) = self.link_mut(gateway_id) {
            match verdict {
                Verdict::Proven => link.downlinks_proven += 1,
                Verdict::Unproven => link.downlinks_unproven += 1,
                Verdict::ProvenLate => {
                    link.downlinks_proven += 1;
                    link.downlinks_unproven = link.downlinks_unproven.saturating_sub(1);
                }
            }
            link.unproven_in_a_row = match verdict {
                Verdict::Proven | Verdict::ProvenLate => 0,
                Verdict::Unproven => link.unproven_in_a_row.saturating_add(1),
            };
        }
        Some(Judgement {
            gateway_id,
            verdict,
        })
    }

    fn link_mut(&mut self, gateway_id: GatewayId) -> Option<&mut Link> {
        self.links
            .iter_mut()
            .find(|link| link.gateway_id == gateway_id)
    }

    /// Makes what was stored fit what is promised here: a table written by hand may say anything.
    fn tidy(&mut self) {
        self.links.truncate(LINKS_MAX);
        self.links.shrink_to_fit();
        self.route.truncate(LINKS_MAX);
        self.route.shrink_to_fit();
    }
}

/// Whether a step of a downlink tells that its item has left ChirpStack's queue, or was answered for, by another word than
/// a gateway's: no tx-ack is to be expected for it any more.
pub fn no_answer_is_due_after(record: &Record) -> bool {
    match &record.entry.step {
        Step::Transmitted { .. } | Step::Verified { .. } => true,
        Step::AttemptFailed { reason } => *reason != Reason::NotTransmitted,
        Step::Accepted
        | Step::Waiting { .. }
        | Step::Enqueued { .. }
        | Step::NotTransmitted { .. }
        | Step::Refused { .. }
        | Step::Ended { .. } => false,
    }
}

/// What a step of a downlink says of the way down: `None` if nothing.
///
/// Only downlinks that the device itself proves tell of it; a tx-ack says nothing of the air.
pub fn proof_told_by(record: &Record) -> Option<bool> {
    match record.downlink.proof {
        Proof::AutoUplink | Proof::LorawanAck => {}
        Proof::Transmitted | Proof::None => return None,
    }
    if matches!(record.entry.step, Step::Verified { .. }) {
        return Some(true);
    }
    let is_lost = matches!(
        record.entry.step,
        Step::AttemptFailed {
            reason: Reason::NotConfirmed | Reason::LostOnAir | Reason::NotAcknowledged
        }
    );
    is_lost.then_some(false)
}
