//! The value that holds a device: what is stored, and what ends with the process.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::codec::{CodecKind, Report};
use crate::id::{DevAddr, DownlinkId, GatewayId, QueueItemId};
use crate::light::LightState;
use crate::network::Reception;
use crate::radio::{DeviceClass, Modulation};
use crate::random::Random;
use crate::time::Timestamp;

use super::downlink::{Downlink, Priority, Reason};
use super::initialisation::Initialisation;
use super::policy::Policy;
use super::presence::{Presence, UplinkCounts};
use super::proof::Proving;
use super::session::follows;

/// Everything known and wanted of one device. Serialises whole: what is stored is what runs. What there is none of is not
/// written: it would be a third of what each uplink stores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    #[serde(skip)]
    pub(super) policy: Policy,
    pub(super) codec: CodecKind,
    pub(super) random: Random,
    pub(super) class: DeviceClass,
    pub(super) session: Session,
    pub(super) reported: Option<Reported>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) battery_percent: Option<f32>,
    #[serde(default)]
    pub(super) presence: Presence,
    #[serde(default)]
    pub(super) uplinks: UplinkCounts,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) desired: Option<Desired>,
    /// A light that a transient command may have put on: not a deviation from what is desired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) transient_light: Option<LightState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) active: Option<Active>,
    pub(super) waiting: VecDeque<Downlink>,
    /// The one item of ours that is, or may be, in ChirpStack's queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) item: Option<Item>,
    /// Frames of ours that may have reached the device since its last report, or still may; oldest first.
    pub(super) flights: Vec<Flight>,
    /// More frames went out unheard than are remembered: what was reported before is no measure any more.
    pub(super) uncounted: bool,
    /// The last downlink that ended unverified: a late proof still counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unproven: Option<Unproven>,
    /// tx-acks that overtook the answer of their Enqueue.
    pub(super) early_transmissions: Vec<Transmission>,
    pub(super) reconcile: Reconcile,
    #[serde(default, skip_serializing_if = "Initialisation::is_blank")]
    pub(super) initialisation: Initialisation,
    /// Number of the next Enqueue.
    pub(super) next_attempt: u32,
    /// Looks at the gateways in vain since one was last there for the active downlink.
    pub(super) gateway_looks: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gateway_look_at: Option<Timestamp>,
    /// ChirpStack does not have the device yet: whoever keeps it in step is about to make it there.
    #[serde(skip)]
    pub(super) is_awaited: bool,
    /// ChirpStack does not take the key.
    #[serde(skip)]
    pub(super) is_key_refused: bool,
    /// It does not scout before.
    #[serde(skip)]
    pub(super) scout_at: Option<Timestamp>,
    #[serde(skip)]
    pub(super) turn: Turn,
    #[serde(skip)]
    pub(super) reading: Reading,
    /// When all facts were last looked at: what was due by then is done, or waits for something else.
    #[serde(skip)]
    pub(super) looked_at: Option<Timestamp>,
    /// To be looked at without any event, because it was taken up from the store.
    #[serde(skip)]
    pub(super) look_at: Option<Timestamp>,
}

/// What is known of the device's LoRaWAN session and boot epoch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Session {
    /// Counts restarts as far as they were noticed: joins, and counters that went down.
    pub(super) epoch: u32,
    /// When this epoch was noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) began_at: Option<Timestamp>,
    pub(super) dev_addr: Option<DevAddr>,
    /// Addresses of earlier sessions, the newest last: their events come late.
    pub(super) former: VecDeque<DevAddr>,
    /// The last counter that was heard in each of them, where any was: what is told of it again is no news.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub(super) former_counters: VecDeque<(DevAddr, u32)>,
    /// A counter that was told and hardly is of the session, or of a later one: believed when the next one follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) doubtful: Option<(Option<DevAddr>, u32)>,
    /// Joined, and not spoken since: ChirpStack sends nothing yet.
    pub(super) awaiting_first_uplink: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_join: Option<uuid::Uuid>,
    pub(super) heard: Option<Heard>,
    /// The device's own counters and light in this epoch.
    pub(super) downlinks_received: Option<u32>,
    pub(super) uplinks_sent: Option<u32>,
    pub(super) light: Option<LightState>,
    /// Reports in a row without a downlink in between: its watchdog counts them, too.
    pub(super) quiet_reports: u32,
    /// In this epoch a downlink was answered with an uplink in time.
    #[serde(default)]
    pub(super) answers: bool,
}

/// The last uplink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Heard {
    pub(super) at: Timestamp,
    pub(super) f_cnt: u32,
    /// Of this session; a join clears it.
    pub(super) in_session: bool,
    pub(super) modulation: Modulation,
    pub(super) receptions: Vec<Reception>,
    /// When it was received by the network's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) received_at: Option<Timestamp>,
}

/// What a stored [`Device`] says of its air: read from the same text, without the rest of it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Hearing {
    class: DeviceClass,
    session: HearingSession,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct HearingSession {
    heard: Option<Heard>,
}

impl Hearing {
    /// The class that it is in.
    pub fn class(&self) -> DeviceClass {
        self.class
    }

    /// How it spoke last.
    pub fn modulation(&self) -> Option<Modulation> {
        self.session.heard.as_ref().map(|heard| heard.modulation)
    }

    /// The gateways that heard it last, best first.
    pub fn receptions(&self) -> &[Reception] {
        let heard = self.session.heard.as_ref();
        heard.map_or(&[], |heard| &heard.receptions)
    }
}

/// What the device reported last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// When Downbeat received it.
    pub at: Timestamp,
    /// Frame counter of the uplink.
    pub f_cnt: u32,
    /// The device's words.
    pub report: Report,
}

/// What is wanted of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// The light.
    pub light: LightState,
    /// Since when.
    pub since: Timestamp,
    /// The downlink that asked for it; `None` if it was shown already.
    pub downlink_id: Option<DownlinkId>,
    /// What was wanted before, to fall back on when that downlink is cancelled.
    pub(super) before: Option<LightState>,
}

/// The downlink that is being worked on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Active {
    pub(super) downlink: Downlink,
    pub(super) phase: Phase,
    /// What would prove it; from its first attempt on.
    pub(super) proving: Option<Proving>,
    /// Attempts that do not count, because the device restarted under them or their answer was lost.
    pub(super) credit: u8,
    /// The attempt under way was begun although no gateway seemed to be there, to find out.
    #[serde(default)]
    pub(super) is_scouting: bool,
    /// Attempts of that kind.
    #[serde(default)]
    pub(super) scouts: u8,
    /// Whether any attempt was taken by a gateway, as far as known.
    pub(super) transmitted: bool,
    /// The last item that a tx-ack told of.
    pub(super) transmitted_item: Option<QueueItemId>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// To be sent as soon as nothing is in the way.
    Ready {
        not_before: Option<Timestamp>,
        reason: Option<Reason>,
    },
    /// The queue item is its own.
    Sending,
    /// A gateway took it; the device has until then to prove it.
    Transmitted {
        since: Timestamp,
        window_ends: Timestamp,
        modulation: Option<Modulation>,
    },
}

/// An item of ours in ChirpStack's queue, from the call of Enqueue until it is known to have left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) attempt: u32,
    pub(super) owner: Owner,
    pub(super) f_port: u8,
    pub(super) payload: Vec<u8>,
    pub(super) confirmed: bool,
    pub(super) queue_item_id: Option<QueueItemId>,
    pub(super) call: Call,
    pub(super) started_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) epoch: u32,
    /// When to look into the queue.
    pub(super) check_at: Option<Timestamp>,
    /// Confirmed and transmitted: blocks ChirpStack's queue until the acknowledgement or its time-out.
    pub(super) awaits_ack: bool,
    pub(super) refusal: Option<String>,
    pub(super) seen_stuck: bool,
    /// It finds out whether a gateway is there.
    #[serde(default)]
    pub(super) is_scout: bool,
    /// Tries of it that a gateway refused.
    #[serde(default)]
    pub(super) refused: u32,
    /// It was found in the queue after it expired: ChirpStack may still try it.
    #[serde(default)]
    pub(super) is_overdue: bool,
    /// What was sent of it is told: by a tx-ack, or as [`Effect::Silence`](super::Effect::Silence).
    #[serde(default)]
    pub(super) is_accounted: bool,
}

/// Whose item it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Owner {
    /// The active downlink's.
    Active,
    /// A downlink's that has reached its end; its timeline still tells what becomes of the item.
    Ended(Box<Downlink>),
    /// Of no more interest than that it is in the way.
    Nobody,
}

/// What is known of the call of Enqueue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    UnderWay,
    Taken,
    /// The answer was lost; so many looks into the queue have not found it.
    Lost {
        looks: u8,
        /// The call ended, and it is not known how; until then it may not even have begun.
        #[serde(default)]
        is_over: bool,
    },
}

/// A frame that may still reach the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Flight {
    pub(super) attempt: u32,
    pub(super) downlink_id: DownlinkId,
    pub(super) light: Option<LightState>,
    pub(super) epoch: u32,
    /// The device may still acknowledge it.
    pub(super) awaits_ack: bool,
    /// From when on it cannot land any more; unknown while it may be in ChirpStack's queue.
    pub(super) over_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Unproven {
    pub(super) downlink: Downlink,
    pub(super) proving: Proving,
}

/// A tx-ack.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Transmission {
    pub(super) at: Timestamp,
    pub(super) queue_item_id: Option<QueueItemId>,
    pub(super) gateway_id: Option<GatewayId>,
    pub(super) f_cnt_down: Option<u32>,
    pub(super) modulation: Option<Modulation>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Reconcile {
    /// The device showed something else than desired and is to be told again at this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) due_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_at: Option<Timestamp>,
    /// It shows the right thing, and is to be told again for its watchdog's sake.
    pub(super) refresh: bool,
    /// Commands of this kind since the device last showed what is desired.
    pub(super) streak: u32,
}

/// A place in ChirpStack's queue and on the air. Not stored: it ends with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Turn {
    #[default]
    None,
    Asked {
        since: Timestamp,
        priority: Priority,
        is_scout: bool,
    },
    /// It has come; an attempt may begin.
    Granted { is_scout: bool },
    /// An item of ours took it, and keeps it until it has gone out. One turn is for one item.
    Used,
}

/// A look into ChirpStack's queue. Not stored: it ends with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Reading {
    #[default]
    Idle,
    UnderWay {
        since: Timestamp,
        /// It began before the item was in the queue: it says nothing of it.
        outdated: bool,
    },
}

impl Reading {
    /// The same look, when what it looks for has changed.
    pub(super) fn outdated(self) -> Self {
        match self {
            Self::Idle => Self::Idle,
            Self::UnderWay { since, .. } => Self::UnderWay {
                since,
                outdated: true,
            },
        }
    }

    /// Whether its answer says something of the item.
    pub(super) fn is_of_use(self) -> bool {
        matches!(
            self,
            Self::UnderWay {
                outdated: false,
                ..
            }
        )
    }
}

/// Addresses of former sessions that are remembered.
const FORMER_SESSIONS: usize = 4;

impl Session {
    /// Begins a boot epoch: what the device counted and showed before says nothing any more.
    pub(super) fn begin_epoch(&mut self, now: Timestamp, dev_addr: Option<DevAddr>) {
        self.remember_counter();
        self.epoch = self.epoch.wrapping_add(1);
        self.began_at = Some(now);
        self.quiet_reports = 0;
        self.answers = false;
        self.downlinks_received = None;
        self.uplinks_sent = None;
        self.light = None;
        if dev_addr.is_some() && dev_addr != self.dev_addr {
            if let Some(former) = self.dev_addr {
                if self.former.len() == FORMER_SESSIONS {
                    self.former.pop_front();
                }
                self.former.push_back(former);
            }
            self.former.retain(|former| Some(*former) != dev_addr);
            self.dev_addr = dev_addr;
        }
        if let Some(heard) = &mut self.heard {
            heard.in_session = false;
        }
    }

    fn remember_counter(&mut self) {
        self.doubtful = None;
        let heard = self.heard.as_ref().filter(|heard| heard.in_session);
        if let (Some(dev_addr), Some(heard)) = (self.dev_addr, heard) {
            let f_cnt = heard.f_cnt;
            self.former_counters.retain(|(known, _)| *known != dev_addr);
            self.push_former_counter(dev_addr, f_cnt);
        }
    }

    fn push_former_counter(&mut self, dev_addr: DevAddr, f_cnt: u32) {
        if self.former_counters.len() > FORMER_SESSIONS {
            self.former_counters.pop_front();
        }
        self.former_counters.push_back((dev_addr, f_cnt));
    }

    /// An uplink of a session that had ended came late: told once more it must not make that session the living one.
    pub(super) fn note_former(&mut self, dev_addr: DevAddr, f_cnt: u32) {
        let mut counters = self.former_counters.iter_mut();
        match counters.find(|(known, _)| *known == dev_addr) {
            Some((_, last)) if follows(*last, f_cnt) => *last = f_cnt,
            Some(_) => {}
            None => self.push_former_counter(dev_addr, f_cnt),
        }
    }

    /// The last counter that is known of another session.
    pub(super) fn last_of(&self, dev_addr: DevAddr) -> Option<u32> {
        let mut counters = self.former_counters.iter();
        counters
            .find(|(known, _)| *known == dev_addr)
            .map(|(_, last)| *last)
    }

    /// Whether a counter follows one that could not be believed.
    pub(super) fn is_no_more_in_doubt(&self, dev_addr: Option<DevAddr>, f_cnt: u32) -> bool {
        self.doubtful
            .is_some_and(|(of, doubtful)| of == dev_addr && follows(doubtful, f_cnt))
    }

    /// Modulation of the last uplink; SF9 as long as none is known.
    pub(super) fn modulation(&self) -> Modulation {
        self.heard
            .as_ref()
            .map_or(Modulation::lora_125(9), |heard| heard.modulation)
    }
}
