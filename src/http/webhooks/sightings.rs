//! Devices that speak and that nobody has registered, gathered in memory and noted in the store every few seconds: a
//! stranger that speaks often must not make the database write often.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use downbeat_core::id::{DeviceKey, TenantId};
use downbeat_core::network::NetworkEvent;
use downbeat_core::time::Timestamp;

use crate::store::{Store, UnclaimedSighting};
use crate::webhook::Incoming;

/// How often they are noted.
pub(super) const NOTED_EVERY: Duration = Duration::from_secs(5);

/// How many different ones are gathered; further ones count when they speak again.
const GATHERED_MAX: usize = 10_000;

type Place = (DeviceKey, Option<TenantId>);

/// Those that were not noted yet.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    gathered: Mutex<HashMap<Place, UnclaimedSighting>>,
}

impl Sightings {
    /// Gathers one event of such a device.
    pub(super) fn add(
        &self,
        key: DeviceKey,
        tenant_id: Option<TenantId>,
        incoming: &Incoming,
        now: Timestamp,
    ) {
        let mut rssi_dbm = None;
        if let NetworkEvent::Heard(uplink) = &incoming.event {
            rssi_dbm = uplink.best().map(|best| best.rssi_dbm);
        }
        self.merge(UnclaimedSighting {
            key,
            tenant_id,
            name: incoming.device_name.clone(),
            application_id: incoming.chirpstack_application_id,
            device_profile_id: incoming.device_profile_id,
            at: now,
            events: 1,
            rssi_dbm,
        });
    }

    fn merge(&self, sighting: UnclaimedSighting) {
        let mut gathered = self.gathered();
        let is_full = gathered.len() >= GATHERED_MAX;
        match gathered.entry((sighting.key, sighting.tenant_id)) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                let events = known.events.saturating_add(sighting.events);
                let rssi_dbm = sighting.rssi_dbm.or(known.rssi_dbm);
                if sighting.at >= known.at {
                    *known = sighting;
                    known.rssi_dbm = rssi_dbm;
                }
                known.events = events;
            }
            Entry::Vacant(_) if is_full => {
                metrics::counter!("downbeat_unclaimed_dropped_total").increment(1);
            }
            Entry::Vacant(place) => {
                place.insert(sighting);
            }
        }
    }

    /// Notes what was gathered. What could not be noted is kept for the next time.
    pub(super) async fn note(&self, store: &Store) {
        let gathered: Vec<_> = std::mem::take(&mut *self.gathered())
            .into_values()
            .collect();
        if gathered.is_empty() {
            return;
        }
        if let Err(error) = store.note_unclaimed(&gathered).await {
            tracing::debug!(%error, "devices that nobody registered could not be noted");
            for sighting in gathered {
                self.merge(sighting);
            }
        }
    }

    fn gathered(&self) -> MutexGuard<'_, HashMap<Place, UnclaimedSighting>> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use downbeat_core::id::{DevEui, NetworkServerId};

    use super::*;

    fn sighting(dev_eui: u64, at: i64, rssi_dbm: Option<i32>) -> UnclaimedSighting {
        UnclaimedSighting {
            key: DeviceKey {
                server: NetworkServerId::Default,
                dev_eui: DevEui::from_u64(dev_eui),
            },
            tenant_id: None,
            name: at.to_string(),
            application_id: None,
            device_profile_id: None,
            at: Timestamp::from_millis(at),
            events: 1,
            rssi_dbm,
        }
    }

    #[test]
    fn events_of_a_device_become_one_sighting() {
        let sightings = Sightings::default();
        for (at, rssi_dbm) in [(1, Some(-80)), (3, None), (2, Some(-90))] {
            sightings.merge(sighting(7, at, rssi_dbm));
        }
        let gathered = sightings.gathered().values().next().cloned().unwrap();
        assert_eq!((gathered.events, &*gathered.name), (3, "3"));
        assert_eq!(gathered.rssi_dbm, Some(-80));
    }

    #[test]
    fn only_so_many_are_gathered() {
        let sightings = Sightings::default();
        for dev_eui in 0..20_000 {
            sightings.merge(sighting(dev_eui, 1, None));
        }
        sightings.merge(sighting(0, 2, None));
        assert_eq!(sightings.gathered().len(), GATHERED_MAX);
        assert!(sightings.gathered().values().any(|it| it.events == 2));
    }
}
