//! Who takes no downlinks though it should: a signal long before ChirpStack or statistics tell of it.
//!
//! ChirpStack gives no event at all when a gateway does not answer; it tries again every five seconds, for ever
//! (chirpstack-observed.md §3). What is missing is the tx-ack. So for each item in ChirpStack's queue it is noted which
//! gateway ought to take it: the one that heard the device best last. A gateway is *mute* when several such items wait,
//! it has taken nothing since the oldest of them, and other gateways have: then it is neither the network server nor the
//! way to it. Devices that never had a tx-ack are no witnesses, and one item alone is none: it may be stuck for reasons
//! of its own.
//!
//! Mute is not for ever, because what is not tried is never found to work again. A tx-ack of the gateway ends it, or an
//! uplink through it if it had heard nothing either (it was away as a whole), or a pause, twice as long each time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{DevEui, GatewayId};
use crate::time::Timestamp;

/// Items that wait before a gateway counts as mute, so many hand-overs of them.
const HAND_OVERS_MIN: u32 = 2;

/// How long the oldest of them has to have waited: two tries of ChirpStack's and the locks before the first one.
const SILENT_AFTER: Duration = Duration::from_secs(12);

/// How long a hand-over has to have waited to be counted at all: one try.
const WITNESS_AFTER: Duration = Duration::from_secs(7);

/// An item that waits for longer says nothing more.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(5);

/// The first pause; twice as long each time.
const PAUSE: Duration = Duration::from_secs(30);

/// The longest one.
const PAUSE_MAX: Duration = Duration::from_mins(5);

/// Items that are watched at once; further ones are not.
const WATCHED_MAX: usize = 10_000;

/// What is expected of all gateways of a network server.
#[derive(Debug, Clone, Default)]
pub(super) struct Silence {
    awaited: BTreeMap<DevEui, Awaited>,
}

/// An item that a gateway ought to take.
#[derive(Debug, Clone, Copy)]
struct Awaited {
    gateway_id: GatewayId,
    /// When it was handed over, or the first one of those that were never taken.
    since: Timestamp,
    last: Timestamp,
    hand_overs: u32,
}

/// A gateway's own part.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hush {
    last_taken: Option<Timestamp>,
    mute: Option<Mute>,
    /// Times in a row that it was found mute.
    round: u32,
}

#[derive(Debug, Clone, Copy)]
struct Mute {
    since: Timestamp,
    until: Timestamp,
}

impl Hush {
    /// Since when it is mute.
    pub(super) fn mute_since(&self, now: Timestamp) -> Option<Timestamp> {
        let mute = self.mute.filter(|mute| now < mute.until)?;
        Some(mute.since)
    }

    pub(super) fn last_taken(&self) -> Option<Timestamp> {
        self.last_taken
    }

    /// It took a downlink. Tells whether it was mute.
    pub(super) fn take(&mut self, now: Timestamp) -> bool {
        self.last_taken = Some(now);
        self.round = 0;
        self.mute.take().is_some_and(|mute| now < mute.until)
    }

    /// It heard something, for the first time since `before`. Tells whether it was mute and is not any more.
    pub(super) fn hear(&mut self, now: Timestamp, before: Option<Timestamp>) -> bool {
        let Some(mute) = self.mute.filter(|mute| now < mute.until) else {
            return false;
        };
        // Mute was noticed late: what it heard in the meantime is what tells it from one that is away.
        let was_away = before.is_none_or(|before| before <= mute.since);
        if was_away {
            self.mute = None;
        }
        was_away
    }

    /// Its pause is over: it may be tried. Tells whether that is now.
    pub(super) fn end_pause(&mut self, now: Timestamp) -> bool {
        self.mute.take_if(|mute| now >= mute.until).is_some()
    }

    fn fall_mute(&mut self, now: Timestamp, since: Timestamp) {
        let pause = PAUSE.saturating_mul(1 << self.round.min(4)).min(PAUSE_MAX);
        self.round = self.round.saturating_add(1);
        self.mute = Some(Mute {
            since,
            until: now + pause,
        });
    }
}

impl Silence {
    /// ChirpStack has an item for a device; this gateway ought to take it.
    pub(super) fn handed_over(&mut self, now: Timestamp, dev_eui: DevEui, gateway_id: GatewayId) {
        if self.awaited.len() >= WATCHED_MAX && !self.awaited.contains_key(&dev_eui) {
            return;
        }
        let new = Awaited {
            gateway_id,
            since: now,
            last: now,
            hand_overs: 0,
        };
        let awaited = self.awaited.entry(dev_eui).or_insert(new);
        if awaited.gateway_id != gateway_id {
            *awaited = new;
        }
        awaited.hand_overs = awaited.hand_overs.saturating_add(1);
        awaited.last = now;
    }

    /// Some gateway answered for a device's item, with a tx-ack or a refusal.
    pub(super) fn answered(&mut self, dev_eui: DevEui) {
        self.awaited.remove(&dev_eui);
    }

    /// A device was heard: from now on another gateway may be the one to take its item.
    pub(super) fn rerouted(&mut self, now: Timestamp, dev_eui: DevEui, best: GatewayId) {
        if let Some(awaited) = self.awaited.get_mut(&dev_eui)
            && awaited.gateway_id != best
        {
            *awaited = Awaited {
                gateway_id: best,
                since: now,
                last: now,
                hand_overs: 1,
            };
        }
    }

    /// Since when a gateway keeps the oldest item waiting.
    pub(super) fn awaited_since(&self) -> BTreeMap<GatewayId, Timestamp> {
        let mut oldest = BTreeMap::new();
        for awaited in self.awaited.values() {
            let since = oldest.entry(awaited.gateway_id).or_insert(awaited.since);
            *since = awaited.since.min(*since);
        }
        oldest
    }

    /// Finds the gateways that fall mute now. `hushes` gives each gateway's own part.
    pub(super) fn tick(
        &mut self,
        now: Timestamp,
        hushes: &mut BTreeMap<GatewayId, &mut Hush>,
    ) -> Vec<GatewayId> {
        self.forget_old(now);
        let mut mute = Vec::new();
        for (gateway_id, since) in self.awaited_since() {
            if now.since(since) < SILENT_AFTER || self.witnesses(now, gateway_id) < HAND_OVERS_MIN {
                continue;
            }
            let others_took = hushes
                .iter()
                .any(|(id, hush)| *id != gateway_id && hush.last_taken > Some(since));
            if let Some(hush) = hushes.get_mut(&gateway_id)
                && hush.mute.is_none()
                && hush.last_taken < Some(since)
                && others_took
            {
                hush.fall_mute(now, since);
                mute.push(gateway_id);
            }
        }
        // What is tried after the pause is judged by itself.
        self.awaited
            .retain(|_, awaited| !mute.contains(&awaited.gateway_id));
        mute
    }

    /// Hand-overs of a gateway that have waited for long enough.
    fn witnesses(&self, now: Timestamp, gateway_id: GatewayId) -> u32 {
        let of_gateway = self
            .awaited
            .values()
            .filter(|awaited| awaited.gateway_id == gateway_id);
        of_gateway
            .map(|awaited| {
                if now.since(awaited.last) >= WITNESS_AFTER {
                    awaited.hand_overs
                } else if now.since(awaited.since) >= WITNESS_AFTER {
                    awaited.hand_overs.saturating_sub(1).max(1)
                } else {
                    0
                }
            })
            .fold(0, u32::saturating_add)
    }

    fn forget_old(&mut self, now: Timestamp) {
        self.awaited.retain(|_, awaited| {
            // A clock that was set back begins anew.
            awaited.since = awaited.since.min(now);
            awaited.last = awaited.last.min(now);
            now.since(awaited.last) < FORGOTTEN_AFTER
        });
    }
}
