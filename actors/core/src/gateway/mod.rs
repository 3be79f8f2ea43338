//! Which gateways are there, as far as anyone knows.
//!
//! ChirpStack's word alone is not enough, in either direction: it moves `last_seen_at` only on a gateway's statistics,
//! notices a dark gateway after a minute, and calls one that was created without a statistics interval OFFLINE for
//! ever. An uplink or a tx-ack of a moment ago is better evidence. So all are merged: *online* is a gateway that gave
//! any sign of life lately; *alive* is one that is worth sending to, where ChirpStack's OFFLINE is heeded unless our
//! own evidence is fresh.
//!
//! A gateway that hears and does not send is found by what is missing: see `silence`. It is online and *mute*, and not
//! alive as long as it is.
//!
//! The table belongs to one ChirpStack. Readers get a [`GatewaySnapshot`] and ask nobody. What it learnt over days
//! (counts, history) is taken out to be stored and put back at the start; who is there is found out anew.

mod silence;
mod table;
mod tally;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use crate::id::{DevEui, GatewayId};
use crate::network::Location;
use crate::time::Timestamp;

pub use table::{GatewayRecord, GatewayTable, StoredChanges};
pub use tally::Downlinks;

/// How many gateways a table holds. Further ones are ignored until others are forgotten.
pub const GATEWAYS_MAX: usize = 10_000;

/// How many devices are remembered by gateway; [`GatewayStatus::devices_heard`] stands still from there on.
pub const DEVICES_HEARD_MAX: usize = 10_000;

/// How many changes are remembered by gateway, newest last.
pub const HISTORY_MAX: usize = 50;

/// How long a gateway that ChirpStack does not list is remembered after its last sign of life.
pub const UNLISTED_FORGOTTEN_AFTER: Duration = Duration::from_hours(24);

/// How long evidence counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayConfig {
    /// Online is what gave a sign of life no longer ago than this.
    pub online_within: Duration,
    /// Our own evidence overrules ChirpStack's OFFLINE for this long.
    pub own_evidence_within: Duration,
}

impl Default for GatewayConfig {
    /// 5 min and 60 s.
    fn default() -> Self {
        Self {
            online_within: Duration::from_mins(5),
            own_evidence_within: Duration::from_mins(1),
        }
    }
}

/// A gateway as ChirpStack lists it (`GatewayService.List`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListedGateway {
    /// Its id.
    pub gateway_id: GatewayId,
    /// Its name in ChirpStack.
    pub name: String,
    /// ChirpStack's tenant, where the server says it.
    pub tenant_id: Option<Uuid>,
    /// ChirpStack's opinion.
    pub state: ListedState,
    /// The last statistics that ChirpStack got from it, by ChirpStack's clock.
    pub last_seen_at: Option<Timestamp>,
    /// Where it stands; ChirpStack gives 0/0/0 for a location that nobody set.
    pub location: Option<Location>,
}

/// ChirpStack's opinion of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListedState {
    /// No statistics yet.
    NeverSeen,
    /// Statistics came within twice their interval.
    Online,
    /// They did not, or the interval is not configured.
    Offline,
}

/// Our opinion of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayState {
    /// Nobody ever saw it.
    NeverSeen,
    /// A sign of life came within [`GatewayConfig::online_within`].
    Online,
    /// None did.
    Offline,
}

/// Something that changed about a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayChange {
    /// Which one.
    pub gateway_id: GatewayId,
    /// What.
    pub transition: GatewayTransition,
    /// When it was noticed.
    pub at: Timestamp,
}

/// What changed about a gateway. For each gateway the first two alternate, beginning with `CameOnline`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayTransition {
    /// It is online.
    CameOnline,
    /// It gave no sign of life for too long, or ChirpStack lists it no more and nothing else speaks for it.
    WentOffline,
    /// Online all the time, it was not taken for alive, and is again: what waits for a gateway may try. Not kept in
    /// the history, because a gateway that ChirpStack always calls OFFLINE does this whenever it hears something.
    Revived,
    /// It takes no downlinks, though it should and others do.
    FellMute,
    /// It was mute and took a downlink, or was away as a whole and is back.
    SendsAgain,
}

impl GatewayTransition {
    /// The word in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CameOnline => "came_online",
            Self::WentOffline => "went_offline",
            Self::Revived => "revived",
            Self::FellMute => "fell_mute",
            Self::SendsAgain => "sends_again",
        }
    }

    /// Whether what waits for a gateway may try now.
    pub const fn opens_a_way(self) -> bool {
        match self {
            Self::CameOnline | Self::Revived | Self::SendsAgain => true,
            Self::WentOffline | Self::FellMute => false,
        }
    }
}

/// All that is known of a gateway.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GatewayStatus {
    /// Its id.
    pub gateway_id: GatewayId,
    /// Its name in ChirpStack; `None` if it is not listed there.
    pub name: Option<String>,
    /// ChirpStack's tenant, where known.
    pub tenant_id: Option<Uuid>,
    /// Where it stands, where known.
    pub location: Option<Location>,
    /// Our opinion.
    pub state: GatewayState,
    /// Whether it is worth sending to: online, not called OFFLINE without fresh evidence of ours to the contrary, and
    /// not mute.
    pub likely_alive: bool,
    /// Since when it has taken no downlinks though it should and others do; `None` as long as that is not so.
    pub mute_since: Option<Timestamp>,
    /// Since when an item waits in ChirpStack's queue that it ought to take.
    pub awaited_since: Option<Timestamp>,
    /// When it last took a downlink.
    pub last_taken: Option<Timestamp>,
    /// ChirpStack's opinion; `None` if it is not listed there.
    pub listed_state: Option<ListedState>,
    /// The newest sign of life of any kind.
    pub last_seen: Option<Timestamp>,
    /// Uplinks it received, copies that others received too included.
    pub uplinks_heard: u64,
    /// Downlinks it took (tx-ack).
    pub downlinks_taken: u64,
    /// Downlinks it refused, as far as a refusal could be attributed: ChirpStack does not name the gateway.
    pub refusals: u64,
    /// Downlinks in the last 24 hours.
    pub day: Downlinks,
    /// Different devices it heard, at most [`DEVICES_HEARD_MAX`].
    pub devices_heard: usize,
    /// The last uplink it received.
    pub last_heard: Option<LastHeard>,
    /// The last [`HISTORY_MAX`] times it came online, went offline, fell mute or sent again, oldest first.
    pub history: VecDeque<GatewayChange>,
}

/// The last uplink that a gateway received.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LastHeard {
    /// From which device.
    pub dev_eui: DevEui,
    /// When we were told.
    pub at: Timestamp,
    /// Received signal strength in dBm.
    pub rssi_dbm: i32,
    /// Signal to noise ratio in dB.
    pub snr_db: f32,
}

/// What is known of all gateways at one instant. A clone costs one reference count.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewaySnapshot(Arc<GatewayOverview>);

/// The content of a [`GatewaySnapshot`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GatewayOverview {
    /// The gateways in the order of their ids.
    pub gateways: BTreeMap<GatewayId, GatewayStatus>,
    /// How many are online.
    pub online_count: usize,
    /// How many are offline.
    pub offline_count: usize,
    /// How many nobody ever saw.
    pub never_seen_count: usize,
    /// When this was put together.
    pub checked_at: Timestamp,
    /// When ChirpStack was last asked with success.
    pub listed_at: Option<Timestamp>,
}

impl GatewaySnapshot {
    /// Whether a gateway is worth sending to. False for one that is not known.
    pub fn is_alive(&self, gateway_id: GatewayId) -> bool {
        self.gateways
            .get(&gateway_id)
            .is_some_and(|gateway| gateway.likely_alive)
    }

    /// Whether any gateway is worth sending to.
    pub fn any_alive(&self) -> bool {
        self.gateways.values().any(|gateway| gateway.likely_alive)
    }

    /// Whether any gateway is known. If none is, nothing may be concluded from none being alive.
    pub fn knows_any(&self) -> bool {
        !self.gateways.is_empty()
    }
}

impl Deref for GatewaySnapshot {
    type Target = GatewayOverview;

    fn deref(&self) -> &GatewayOverview {
        &self.0
    }
}

impl Serialize for GatewaySnapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
