//! Gateways in figures: how many are there, and whose tx-acks are awaited for how long.
//!
//! A gateway is a label up to a bound: an installation has some, and a list of ChirpStack's may have thousands. A device
//! never is one, nor is a tenant: the figures are those of all network servers, and one monitor sets them.

use std::collections::{BTreeMap, BTreeSet};

use downbeat_core::gateway::{GatewaySnapshot, GatewayStatus};
use downbeat_core::id::GatewayId;
use downbeat_core::time::Timestamp;

/// Gateways that have gauges of their own, the first ones that were met.
const LABELLED_MAX: usize = 100;

#[derive(Default)]
pub(super) struct Gauges {
    labelled: BTreeSet<GatewayId>,
}

impl Gauges {
    /// Sets them to what is known of all network servers.
    pub(super) fn set(&mut self, now: Timestamp, snapshots: &[GatewaySnapshot]) {
        let sum = |count: fn(&GatewaySnapshot) -> usize| {
            u32::try_from(snapshots.iter().map(count).sum::<usize>()).unwrap_or(u32::MAX)
        };
        let online = sum(|snapshot| snapshot.online_count);
        let offline = sum(|snapshot| snapshot.offline_count);
        let never_seen = sum(|snapshot| snapshot.never_seen_count);
        for (state, count) in [
            ("online", online),
            ("offline", offline),
            ("never_seen", never_seen),
        ] {
            metrics::gauge!("downbeat_gateways", "state" => state).set(count);
        }
        let all = snapshots.iter().flat_map(|it| &it.gateways);
        let known: BTreeMap<GatewayId, &GatewayStatus> = all
            .map(|(gateway_id, status)| (*gateway_id, status))
            .collect();
        for gateway_id in known.keys() {
            if self.labelled.len() >= LABELLED_MAX {
                break;
            }
            self.labelled.insert(*gateway_id);
        }
        for gateway_id in &self.labelled {
            set_one(now, *gateway_id, known.get(gateway_id).copied());
        }
    }
}

/// One that is forgotten is shown as not alive.
fn set_one(now: Timestamp, gateway_id: GatewayId, status: Option<&GatewayStatus>) {
    let id = gateway_id.to_string();
    let is_alive = status.is_some_and(|status| status.likely_alive);
    metrics::gauge!("downbeat_gateway_alive", "gateway_id" => id.clone()).set(u8::from(is_alive));
    let silence = status
        .and_then(|status| status.mute_since.or(status.awaited_since))
        .map_or(0.0, |since| now.since(since).as_secs_f64());
    metrics::gauge!("downbeat_gateway_txack_silence_seconds", "gateway_id" => id).set(silence);
}
