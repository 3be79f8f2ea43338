//! Which gateways are there, as far as anyone knows.
//!
//! ChirpStack's word alone is not enough, in either direction: it moves `last_seen_at` only on a gateway's statistics,
//! notices a dark gateway after a minute, and calls one that was created without a statistics interval OFFLINE for
//! ever. An uplink or a tx-ack of a moment ago is better evidence. So all are merged: *online* is a gateway that gave
//! any sign of life lately; *alive* is one that is worth sending to, where ChirpStack's OFFLINE is heeded unless our
//! own evidence is fresh.
//!
//! The table belongs to one ChirpStack. Readers get a [`GatewaySnapshot`] and ask nobody.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use crate::id::{DevEui, GatewayId};
use crate::network::{Location, Reception};
use crate::time::Timestamp;

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
    /// Whether it is worth sending to: online, and not called OFFLINE without fresh evidence of ours to the contrary.
    pub likely_alive: bool,
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
    /// Different devices it heard, at most [`DEVICES_HEARD_MAX`].
    pub devices_heard: usize,
    /// The last uplink it received.
    pub last_heard: Option<LastHeard>,
    /// The last [`HISTORY_MAX`] times it came online or went offline, oldest first.
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

/// Merges what ChirpStack lists with what uplinks and tx-acks tell.
#[derive(Debug, Clone, Default)]
pub struct GatewayTable {
    config: GatewayConfig,
    gateways: BTreeMap<GatewayId, Gateway>,
    listed_at: Option<Timestamp>,
}

impl GatewayTable {
    /// An empty table.
    pub fn new(config: GatewayConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// A gateway received an uplink of a device. `now` is when we were told: gateways' clocks are not trusted.
    pub fn heard(
        &mut self,
        now: Timestamp,
        dev_eui: DevEui,
        reception: &Reception,
    ) -> Vec<GatewayChange> {
        self.own_evidence(now, reception.gateway_id, |gateway| {
            gateway.uplinks_heard += 1;
            let Reception {
                rssi_dbm, snr_db, ..
            } = *reception;
            gateway.last_heard = Some(LastHeard {
                dev_eui,
                at: now,
                rssi_dbm,
                snr_db,
            });
            if gateway.devices_heard.len() < DEVICES_HEARD_MAX {
                gateway.devices_heard.insert(dev_eui);
            }
        })
    }

    /// A gateway took a downlink into its transmit queue (tx-ack).
    pub fn transmitted(&mut self, now: Timestamp, gateway_id: GatewayId) -> Vec<GatewayChange> {
        self.own_evidence(now, gateway_id, |gateway| gateway.downlinks_taken += 1)
    }

    /// A downlink was refused, by this gateway as far as one can tell. Because ChirpStack does not name the gateway,
    /// this is counted but no sign of life.
    pub fn refused(&mut self, gateway_id: GatewayId) {
        if let Some(gateway) = self.gateways.get_mut(&gateway_id) {
            gateway.refusals += 1;
        }
    }

    /// ChirpStack's complete list, all pages of it: what is missing there is not listed any more.
    pub fn listed(&mut self, now: Timestamp, list: Vec<ListedGateway>) -> Vec<GatewayChange> {
        self.listed_at = Some(now);
        for gateway in self.gateways.values_mut() {
            gateway.listing = None;
        }
        for listing in list {
            if let Some(gateway) = self.known_or_new(listing.gateway_id) {
                gateway.listing = Some(listing);
            }
        }
        self.tick(now)
    }

    /// Time passed. To be called every few seconds: going offline is the absence of events.
    pub fn tick(&mut self, now: Timestamp) -> Vec<GatewayChange> {
        let config = self.config;
        let changes = self
            .gateways
            .iter_mut()
            .filter_map(|(gateway_id, gateway)| gateway.refresh(now, config, *gateway_id))
            .collect();
        self.gateways
            .retain(|_, gateway| gateway.is_worth_remembering(now));
        changes
    }

    /// What is known at `now`.
    pub fn snapshot(&self, now: Timestamp) -> GatewaySnapshot {
        let gateways: BTreeMap<_, _> = self
            .gateways
            .iter()
            .map(|(gateway_id, gateway)| {
                (*gateway_id, gateway.status(now, self.config, *gateway_id))
            })
            .collect();
        let count = |state| {
            gateways
                .values()
                .filter(|gateway| gateway.state == state)
                .count()
        };
        GatewaySnapshot(Arc::new(GatewayOverview {
            online_count: count(GatewayState::Online),
            offline_count: count(GatewayState::Offline),
            never_seen_count: count(GatewayState::NeverSeen),
            gateways,
            checked_at: now,
            listed_at: self.listed_at,
        }))
    }

    fn own_evidence(
        &mut self,
        now: Timestamp,
        gateway_id: GatewayId,
        note: impl FnOnce(&mut Gateway),
    ) -> Vec<GatewayChange> {
        let config = self.config;
        let Some(gateway) = self.known_or_new(gateway_id) else {
            return Vec::new();
        };
        gateway.own_seen = Some(now);
        note(gateway);
        gateway
            .refresh(now, config, gateway_id)
            .into_iter()
            .collect()
    }

    fn known_or_new(&mut self, gateway_id: GatewayId) -> Option<&mut Gateway> {
        if self.gateways.len() >= GATEWAYS_MAX && !self.gateways.contains_key(&gateway_id) {
            return None;
        }
        Some(self.gateways.entry(gateway_id).or_default())
    }
}

#[derive(Debug, Clone, Default)]
struct Gateway {
    listing: Option<ListedGateway>,
    /// The last uplink or tx-ack, by our clock.
    own_seen: Option<Timestamp>,
    uplinks_heard: u64,
    downlinks_taken: u64,
    refusals: u64,
    devices_heard: BTreeSet<DevEui>,
    last_heard: Option<LastHeard>,
    history: VecDeque<GatewayChange>,
    /// As of the last step; what differs from it is a change.
    was_online: bool,
    was_alive: bool,
}

impl Gateway {
    fn last_seen(&self) -> Option<Timestamp> {
        let listed = self
            .listing
            .as_ref()
            .and_then(|listing| listing.last_seen_at);
        self.own_seen.max(listed)
    }

    fn listed_state(&self) -> Option<ListedState> {
        self.listing.as_ref().map(|listing| listing.state)
    }

    fn is_online(&self, now: Timestamp, config: GatewayConfig) -> bool {
        is_within(self.last_seen(), now, config.online_within)
    }

    fn is_alive(&self, now: Timestamp, config: GatewayConfig) -> bool {
        let doubted = self.listed_state() == Some(ListedState::Offline)
            && !is_within(self.own_seen, now, config.own_evidence_within);
        self.is_online(now, config) && !doubted
    }

    fn is_worth_remembering(&self, now: Timestamp) -> bool {
        self.was_online
            || self.listing.is_some()
            || is_within(self.own_seen, now, UNLISTED_FORGOTTEN_AFTER)
    }

    /// Finds out what changed since the last step.
    fn refresh(
        &mut self,
        now: Timestamp,
        config: GatewayConfig,
        gateway_id: GatewayId,
    ) -> Option<GatewayChange> {
        self.forget_the_future(now);
        let (online, alive) = (self.is_online(now, config), self.is_alive(now, config));
        let (was_online, was_alive) = (self.was_online, self.was_alive);
        (self.was_online, self.was_alive) = (online, alive);
        let transition = match (was_online, online) {
            (false, true) => GatewayTransition::CameOnline,
            (true, false) => GatewayTransition::WentOffline,
            (true, true) if alive && !was_alive => GatewayTransition::Revived,
            (true, true) | (false, false) => return None,
        };
        let change = GatewayChange {
            gateway_id,
            transition,
            at: now,
        };
        if transition != GatewayTransition::Revived {
            if self.history.len() == HISTORY_MAX {
                self.history.pop_front();
            }
            self.history.push_back(change);
        }
        Some(change)
    }

    /// Neither ChirpStack's clock being ahead nor ours being set back may keep a dark gateway online for longer.
    fn forget_the_future(&mut self, now: Timestamp) {
        self.own_seen = self.own_seen.map(|seen| seen.min(now));
        if let Some(listing) = &mut self.listing {
            listing.last_seen_at = listing.last_seen_at.map(|seen| seen.min(now));
        }
    }

    fn status(
        &self,
        now: Timestamp,
        config: GatewayConfig,
        gateway_id: GatewayId,
    ) -> GatewayStatus {
        let listing = self.listing.as_ref();
        let last_seen = self.last_seen();
        let state = match last_seen {
            None => GatewayState::NeverSeen,
            Some(_) if self.is_online(now, config) => GatewayState::Online,
            Some(_) => GatewayState::Offline,
        };
        GatewayStatus {
            gateway_id,
            name: listing.map(|listing| listing.name.clone()),
            tenant_id: listing.and_then(|listing| listing.tenant_id),
            location: listing.and_then(|listing| listing.location),
            state,
            likely_alive: self.is_alive(now, config),
            listed_state: self.listed_state(),
            last_seen,
            uplinks_heard: self.uplinks_heard,
            downlinks_taken: self.downlinks_taken,
            refusals: self.refusals,
            devices_heard: self.devices_heard.len(),
            last_heard: self.last_heard,
            history: self.history.clone(),
        }
    }
}

fn is_within(seen: Option<Timestamp>, now: Timestamp, limit: Duration) -> bool {
    seen.is_some_and(|seen| now.since(seen) <= limit)
}
