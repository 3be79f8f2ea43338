//! Merges what ChirpStack lists with what uplinks and tx-acks tell.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::silence::{Hush, Silence};
use super::tally::Day;
use super::{
    DEVICES_HEARD_MAX, GATEWAYS_MAX, GatewayChange, GatewayConfig, GatewayOverview,
    GatewaySnapshot, GatewayState, GatewayStatus, GatewayTransition, HISTORY_MAX, LastHeard,
    ListedGateway, ListedState, UNLISTED_FORGOTTEN_AFTER,
};
use crate::id::{DevEui, GatewayId};
use crate::link_quality::Judgement;
use crate::network::Reception;
use crate::time::Timestamp;

/// After a start, so long is waited for ChirpStack's list before a gateway that was online counts as gone.
const FIRST_LIST_WITHIN: Duration = Duration::from_mins(1);

/// The gateways of one ChirpStack.
#[derive(Debug, Clone, Default)]
pub struct GatewayTable {
    config: GatewayConfig,
    gateways: BTreeMap<GatewayId, Gateway>,
    silence: Silence,
    listed_at: Option<Timestamp>,
    /// Forgotten since what changed was last taken out to be stored.
    gone: BTreeSet<GatewayId>,
}

/// What is stored of a gateway: what it did, and what happened to it. Who is there is found out anew.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GatewayRecord {
    last_seen: Option<Timestamp>,
    uplinks_heard: u64,
    downlinks_taken: u64,
    refusals: u64,
    #[serde(default)]
    day: Day,
    last_heard: Option<LastHeard>,
    history: VecDeque<GatewayChange>,
}

/// What has to be stored.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StoredChanges {
    /// Gateways as they are now.
    pub kept: Vec<(GatewayId, GatewayRecord)>,
    /// Gateways that are forgotten.
    pub gone: Vec<GatewayId>,
}

impl GatewayTable {
    /// An empty table.
    pub fn new(config: GatewayConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// Puts back what was stored. What was learnt since the start is added to it.
    pub fn restore(
        &mut self,
        now: Timestamp,
        stored: impl IntoIterator<Item = (GatewayId, GatewayRecord)>,
    ) {
        for (gateway_id, record) in stored {
            if let Some(gateway) = self.known_or_new(gateway_id) {
                gateway.restore(now, record);
            }
        }
    }

    /// What changed since this was last asked.
    pub fn take_changed(&mut self) -> StoredChanges {
        let changed = self.gateways.iter_mut();
        let kept = changed
            .filter_map(|(gateway_id, gateway)| {
                std::mem::take(&mut gateway.is_changed).then(|| (*gateway_id, gateway.record()))
            })
            .collect();
        StoredChanges {
            kept,
            gone: std::mem::take(&mut self.gone).into_iter().collect(),
        }
    }

    /// They could not be stored: they are to be taken out again.
    pub fn not_stored(&mut self, changes: &StoredChanges) {
        for (gateway_id, _) in &changes.kept {
            if let Some(gateway) = self.gateways.get_mut(gateway_id) {
                gateway.is_changed = true;
            }
        }
        let gone = changes.gone.iter();
        self.gone
            .extend(gone.filter(|id| !self.gateways.contains_key(id)));
    }

    /// A gateway received an uplink of a device. `now` is when we were told: gateways' clocks are not trusted.
    pub fn heard(
        &mut self,
        now: Timestamp,
        dev_eui: DevEui,
        reception: &Reception,
    ) -> Vec<GatewayChange> {
        let config = self.config;
        let gateway_id = reception.gateway_id;
        let Some(gateway) = self.known_or_new(gateway_id) else {
            return Vec::new();
        };
        gateway.uplinks_heard += 1;
        let Reception {
            rssi_dbm, snr_db, ..
        } = *reception;
        gateway.last_heard = Some(LastHeard {
            dev_eui,
            at: now,
            rssi_dbm,
            // What is no number could not be stored.
            snr_db: if snr_db.is_finite() { snr_db } else { 0.0 },
        });
        gateway.devices_heard(dev_eui);
        let sends_again = gateway.hush.hear(now, gateway.own_seen);
        gateway.own_evidence(now, config, gateway_id, sends_again)
    }

    /// A gateway took a downlink into its transmit queue (tx-ack).
    pub fn transmitted(&mut self, now: Timestamp, gateway_id: GatewayId) -> Vec<GatewayChange> {
        let config = self.config;
        let Some(gateway) = self.known_or_new(gateway_id) else {
            return Vec::new();
        };
        gateway.downlinks_taken += 1;
        gateway.day.taken(now);
        let sends_again = gateway.hush.take(now);
        gateway.own_evidence(now, config, gateway_id, sends_again)
    }

    /// A downlink was refused, by this gateway as far as one can tell. Because ChirpStack does not name the gateway,
    /// this is counted but no sign of life.
    pub fn refused(&mut self, now: Timestamp, gateway_id: GatewayId) {
        if let Some(gateway) = self.gateways.get_mut(&gateway_id) {
            gateway.refusals += 1;
            gateway.day.refused(now);
            gateway.is_changed = true;
        }
    }

    /// A downlink that a gateway took was proven, or not.
    pub fn judged(&mut self, now: Timestamp, judgement: Judgement) {
        if let Some(gateway) = self.gateways.get_mut(&judgement.gateway_id) {
            gateway.day.judged(now, judgement.verdict);
            gateway.is_changed = true;
        }
    }

    /// ChirpStack has an item for a device that had a tx-ack before, and this gateway, which heard the device best,
    /// ought to take it.
    pub fn handed_over(&mut self, now: Timestamp, dev_eui: DevEui, best: GatewayId) {
        self.silence.handed_over(now, dev_eui, best);
    }

    /// Some gateway answered for a device's item, with a tx-ack or a refusal.
    pub fn answered(&mut self, dev_eui: DevEui) {
        self.silence.answered(dev_eui);
    }

    /// A device was heard, by this gateway best.
    pub fn rerouted(&mut self, now: Timestamp, dev_eui: DevEui, best: GatewayId) {
        self.silence.rerouted(now, dev_eui, best);
    }

    /// ChirpStack's complete list, all pages of it: what is missing there is not listed any more.
    pub fn listed(&mut self, now: Timestamp, list: Vec<ListedGateway>) -> Vec<GatewayChange> {
        self.listed_at = Some(now);
        for gateway in self.gateways.values_mut() {
            gateway.listing = None;
            gateway.restored_at = None;
        }
        for listing in list {
            if let Some(gateway) = self.known_or_new(listing.gateway_id) {
                gateway.listing = Some(listing);
            }
        }
        self.tick(now)
    }

    /// Time passed. To be called every second or two: going offline is the absence of events, and so is being mute.
    pub fn tick(&mut self, now: Timestamp) -> Vec<GatewayChange> {
        let config = self.config;
        let mut changes = Vec::new();
        let mut hushes = self
            .gateways
            .iter_mut()
            .map(|(id, gateway)| (*id, &mut gateway.hush))
            .collect();
        let mute = self.silence.tick(now, &mut hushes);
        for (gateway_id, gateway) in &mut self.gateways {
            gateway.hush.end_pause(now);
            if mute.contains(gateway_id) {
                let change = (GatewayTransition::FellMute, *gateway_id, now);
                changes.push(gateway.remember(change));
            }
            changes.extend(gateway.refresh(now, config, *gateway_id));
        }
        let gone = &mut self.gone;
        self.gateways.retain(|gateway_id, gateway| {
            let stays = gateway.is_worth_remembering(now);
            if !stays {
                gone.insert(*gateway_id);
            }
            stays
        });
        changes
    }

    /// What is known at `now`.
    pub fn snapshot(&self, now: Timestamp) -> GatewaySnapshot {
        let awaited = self.silence.awaited_since();
        let gateways: BTreeMap<_, _> = self
            .gateways
            .iter()
            .map(|(gateway_id, gateway)| {
                let mut status = gateway.status(now, self.config, *gateway_id);
                status.awaited_since = awaited.get(gateway_id).copied();
                (*gateway_id, status)
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

    fn known_or_new(&mut self, gateway_id: GatewayId) -> Option<&mut Gateway> {
        if self.gateways.len() >= GATEWAYS_MAX && !self.gateways.contains_key(&gateway_id) {
            return None;
        }
        self.gone.remove(&gateway_id);
        Some(self.gateways.entry(gateway_id).or_default())
    }
}

#[derive(Debug, Clone, Default)]
struct Gateway {
    listing: Option<ListedGateway>,
    /// The last uplink or tx-ack, by our clock.
    own_seen: Option<Timestamp>,
    /// Put back from what was stored, and no list has come since.
    restored_at: Option<Timestamp>,
    /// The newest sign of life of any kind, as it was stored.
    stored_seen: Option<Timestamp>,
    uplinks_heard: u64,
    downlinks_taken: u64,
    refusals: u64,
    day: Day,
    devices_heard: BTreeSet<DevEui>,
    last_heard: Option<LastHeard>,
    history: VecDeque<GatewayChange>,
    hush: Hush,
    /// As of the last step; what differs from it is a change.
    was_online: bool,
    was_alive: bool,
    /// Something that is stored changed.
    is_changed: bool,
}

impl Gateway {
    fn last_seen(&self) -> Option<Timestamp> {
        let listed = self
            .listing
            .as_ref()
            .and_then(|listing| listing.last_seen_at);
        self.own_seen.max(listed).max(self.stored_seen)
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
        self.is_online(now, config) && !doubted && self.hush.mute_since(now).is_none()
    }

    fn is_worth_remembering(&self, now: Timestamp) -> bool {
        self.was_online
            || self.listing.is_some()
            || is_within(
                self.own_seen.max(self.stored_seen).max(self.restored_at),
                now,
                UNLISTED_FORGOTTEN_AFTER,
            )
    }

    fn devices_heard(&mut self, dev_eui: DevEui) {
        if self.devices_heard.len() < DEVICES_HEARD_MAX {
            self.devices_heard.insert(dev_eui);
        }
    }

    fn own_evidence(
        &mut self,
        now: Timestamp,
        config: GatewayConfig,
        gateway_id: GatewayId,
        sends_again: bool,
    ) -> Vec<GatewayChange> {
        self.own_seen = Some(now);
        self.is_changed = true;
        let mut changes = Vec::new();
        if sends_again {
            self.was_alive = true;
            let change = (GatewayTransition::SendsAgain, gateway_id, now);
            changes.push(self.remember(change));
        }
        changes.extend(self.refresh(now, config, gateway_id));
        changes
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
        if was_online && !online && is_within(self.restored_at, now, FIRST_LIST_WITHIN) {
            return None;
        }
        (self.was_online, self.was_alive) = (online, alive);
        let transition = match (was_online, online) {
            (false, true) => GatewayTransition::CameOnline,
            (true, false) => GatewayTransition::WentOffline,
            (true, true) if alive && !was_alive => GatewayTransition::Revived,
            (true, true) | (false, false) => return None,
        };
        Some(self.remember((transition, gateway_id, now)))
    }

    fn remember(
        &mut self,
        (transition, gateway_id, at): (GatewayTransition, GatewayId, Timestamp),
    ) -> GatewayChange {
        let change = GatewayChange {
            gateway_id,
            transition,
            at,
        };
        if transition != GatewayTransition::Revived {
            if self.history.len() >= HISTORY_MAX {
                self.history.pop_front();
            }
            self.history.push_back(change);
            self.is_changed = true;
        }
        change
    }

    /// Neither ChirpStack's clock being ahead nor ours being set back may keep a dark gateway online for longer.
    fn forget_the_future(&mut self, now: Timestamp) {
        self.own_seen = self.own_seen.map(|seen| seen.min(now));
        self.stored_seen = self.stored_seen.map(|seen| seen.min(now));
        if let Some(listing) = &mut self.listing {
            listing.last_seen_at = listing.last_seen_at.map(|seen| seen.min(now));
        }
    }

    fn record(&self) -> GatewayRecord {
        GatewayRecord {
            last_seen: self.last_seen(),
            uplinks_heard: self.uplinks_heard,
            downlinks_taken: self.downlinks_taken,
            refusals: self.refusals,
            day: self.day.clone(),
            last_heard: self.last_heard,
            history: self.history.clone(),
        }
    }

    fn restore(&mut self, now: Timestamp, record: GatewayRecord) {
        self.restored_at = Some(now);
        // Its last change of that kind says whether it was there; that it is not any more will be noticed.
        let last = record.history.iter().rev().find_map(|change| {
            use GatewayTransition::{CameOnline, FellMute, Revived, SendsAgain, WentOffline};
            match change.transition {
                CameOnline => Some(true),
                WentOffline => Some(false),
                Revived | FellMute | SendsAgain => None,
            }
        });
        if self.own_seen.is_none() && self.listing.is_none() {
            self.was_online = last.unwrap_or(false);
        }
        self.stored_seen = record.last_seen.map(|seen| seen.min(now));
        self.uplinks_heard += record.uplinks_heard;
        self.downlinks_taken += record.downlinks_taken;
        self.refusals += record.refusals;
        self.last_heard = self.last_heard.or(record.last_heard);
        let learnt = std::mem::replace(&mut self.day, record.day);
        self.day.add(&learnt);
        let news = std::mem::take(&mut self.history);
        self.history = record.history.into_iter().chain(news).collect();
        while self.history.len() > HISTORY_MAX {
            self.history.pop_front();
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
            mute_since: self.hush.mute_since(now),
            awaited_since: None,
            last_taken: self.hush.last_taken(),
            listed_state: self.listed_state(),
            last_seen,
            uplinks_heard: self.uplinks_heard,
            downlinks_taken: self.downlinks_taken,
            refusals: self.refusals,
            day: self.day.sum(now),
            devices_heard: self.devices_heard.len(),
            last_heard: self.last_heard,
            history: self.history.clone(),
        }
    }
}

fn is_within(seen: Option<Timestamp>, now: Timestamp, limit: Duration) -> bool {
    seen.is_some_and(|seen| now.since(seen) <= limit)
}
