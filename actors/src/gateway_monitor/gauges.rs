//! Gateways in figures: how many are there, and whose tx-acks are awaited for how long.
//!
//! A gateway is a label up to a bound: an installation has some, and a list of ChirpStack's may have thousands. A device
//! never is one.

use std::collections::BTreeSet;

use downbeat_core::gateway::{GatewaySnapshot, GatewayStatus};
use downbeat_core::id::{GatewayId, NetworkServerId};
use downbeat_core::time::Timestamp;

/// Gateways of a network server that have gauges of their own, the first ones that were met.
const LABELLED_MAX: usize = 100;

pub(super) struct Gauges {
    server: String,
    labelled: BTreeSet<GatewayId>,
    set_at: Option<Timestamp>,
}

impl Gauges {
    pub(super) fn new(server: NetworkServerId) -> Self {
        let server = match server {
            NetworkServerId::Default => "default".to_owned(),
            NetworkServerId::Tenant(tenant_id) => tenant_id.to_string(),
        };
        Self {
            server,
            labelled: BTreeSet::new(),
            set_at: None,
        }
    }

    /// Sets them, when something was published since.
    pub(super) fn set(&mut self, now: Timestamp, gateways: &GatewaySnapshot) {
        let awaits = gateways
            .gateways
            .values()
            .any(|gateway| gateway.awaited_since.is_some());
        if self.set_at == Some(gateways.checked_at) && !awaits {
            return;
        }
        self.set_at = Some(gateways.checked_at);
        for (state, count) in [
            ("online", gateways.online_count),
            ("offline", gateways.offline_count),
            ("never_seen", gateways.never_seen_count),
        ] {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            metrics::gauge!("downbeat_gateways", "server" => self.server.clone(), "state" => state)
                .set(count);
        }
        for gateway_id in gateways.gateways.keys() {
            if self.labelled.len() < LABELLED_MAX {
                self.labelled.insert(*gateway_id);
            }
        }
        for gateway_id in &self.labelled {
            self.set_one(now, *gateway_id, gateways.gateways.get(gateway_id));
        }
    }

    /// One that is forgotten is shown as not alive.
    fn set_one(&self, now: Timestamp, gateway_id: GatewayId, status: Option<&GatewayStatus>) {
        let labels = [
            ("server", self.server.clone()),
            ("gateway_id", gateway_id.to_string()),
        ];
        let is_alive = status.is_some_and(|status| status.likely_alive);
        metrics::gauge!("downbeat_gateway_alive", &labels).set(u8::from(is_alive));
        let silence = status
            .and_then(|status| status.awaited_since.max(status.mute_since))
            .map_or(0.0, |since| now.since(since).as_secs_f64());
        metrics::gauge!("downbeat_gateway_txack_silence_seconds", &labels).set(silence);
    }
}
