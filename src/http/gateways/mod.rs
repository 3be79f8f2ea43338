//! Gateways as the API shows them, from the monitor's snapshot: nobody waits for ChirpStack.

use std::time::Duration;

use downbeat_actors::System;
use downbeat_core::gateway::{
    Downlinks, GatewayChange, GatewayState, GatewayStatus, LastHeard, ListedState,
};
use downbeat_core::id::NetworkServerId;
use downbeat_core::pacer::BandAir;
use serde::Serialize;
use utoipa::ToSchema;

use super::links;

pub(super) mod health;
pub(super) mod list;
pub(super) mod status;
pub(super) mod visible;

/// One gateway.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct GatewayBody {
    /// 16 hex digits.
    #[schema(example = "0016c001ff10a230")]
    gateway_id: String,
    /// Its name in ChirpStack, else its id.
    name: String,
    /// `online`: it gave a sign of life in the last 5 minutes; `offline`; `never_seen`.
    state: &'static str,
    /// The network server that it is on: `default`, or the id of the tenant whose own it is.
    network_server: String,
    /// Whether it is worth sending to: online, not called offline by ChirpStack without fresh evidence against it, and
    /// not mute.
    alive: bool,
    /// Since when it takes no downlinks though it should and other gateways do; null as long as that is not so. RFC 3339.
    mute_since: Option<String>,
    /// What ChirpStack calls it; null if it is not listed there.
    chirpstack_state: Option<&'static str>,
    /// RFC 3339.
    last_seen: Option<String>,
    location: Option<LocationBody>,
    /// Uplinks it received.
    uplinks_heard: u64,
    /// Downlinks it took.
    downlinks_taken: u64,
    /// Downlinks it refused, as far as a refusal can be attributed.
    refusals: u64,
    /// Percent of the downlinks that it took in the last 24 hours and that were to be proven, which were; null if there
    /// was none.
    success_rate: Option<f64>,
    /// Downlinks in the last 24 hours.
    downlinks_24h: DownlinksBody,
    /// Airtime of its downlinks within the last hour: the sub-band in which it sends first, then others in which it sent.
    airtime: Vec<AirtimeBandBody>,
    /// Different devices that it heard.
    devices_heard: usize,
    /// When it came online and went offline, fell mute and sent again, oldest first: the last 50 times.
    history: Vec<GatewayChangeBody>,
}

/// Downlinks of a gateway within a time.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(super) struct DownlinksBody {
    /// Which it took.
    taken: u64,
    /// Which the device proved.
    proven: u64,
    /// Which the device was to prove and did not, in time.
    unproven: u64,
    /// Which it refused, as far as a refusal can be attributed.
    refused: u64,
}

impl DownlinksBody {
    fn new(downlinks: Downlinks) -> Self {
        let Downlinks {
            taken,
            proven,
            unproven,
            refused,
        } = downlinks;
        Self {
            taken,
            proven,
            unproven,
            refused,
        }
    }
}

/// A gateway's airtime in a sub-band, within the last hour.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct AirtimeBandBody {
    /// The sub-band's name in its region.
    sub_band: &'static str,
    /// What was sent.
    used_ms: u64,
    /// What is granted and not yet known to have been sent.
    reserved_ms: u64,
    /// What may be sent; null: any.
    budget_ms: Option<u64>,
}

impl AirtimeBandBody {
    fn new(band: &BandAir) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            sub_band: band.sub_band.name,
            used_ms: millis(band.used),
            reserved_ms: millis(band.reserved),
            budget_ms: band.budget.map(millis),
        }
    }
}

/// A position, WGS 84.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(super) struct LocationBody {
    latitude: f64,
    longitude: f64,
    altitude: f64,
}

impl GatewayBody {
    pub(super) fn new(system: &System, server: NetworkServerId, gateway: &GatewayStatus) -> Self {
        let air = system.airtime(server).gateway(gateway.gateway_id);
        let day = gateway.day;
        let judged = day.proven + day.unproven;
        Self {
            gateway_id: gateway.gateway_id.to_string(),
            name: match &gateway.name {
                Some(name) if !name.is_empty() => name.clone(),
                Some(_) | None => gateway.gateway_id.to_string(),
            },
            state: match gateway.state {
                GatewayState::NeverSeen => "never_seen",
                GatewayState::Online => "online",
                GatewayState::Offline => "offline",
            },
            network_server: match server {
                NetworkServerId::Default => "default".to_owned(),
                NetworkServerId::Tenant(tenant_id) => tenant_id.to_string(),
            },
            alive: gateway.likely_alive,
            mute_since: gateway.mute_since.map(|at| at.to_string()),
            chirpstack_state: gateway.listed_state.map(|state| match state {
                ListedState::NeverSeen => "never_seen",
                ListedState::Online => "online",
                ListedState::Offline => "offline",
            }),
            last_seen: gateway.last_seen.map(|at| at.to_string()),
            location: gateway.location.map(|it| LocationBody {
                latitude: it.latitude,
                longitude: it.longitude,
                altitude: it.altitude,
            }),
            uplinks_heard: gateway.uplinks_heard,
            downlinks_taken: gateway.downlinks_taken,
            refusals: gateway.refusals,
            success_rate: (judged > 0).then(|| super::metrics::percent(day.proven, judged)),
            downlinks_24h: DownlinksBody::new(day),
            airtime: air.bands.iter().map(AirtimeBandBody::new).collect(),
            devices_heard: gateway.devices_heard,
            history: gateway.history.iter().map(GatewayChangeBody::new).collect(),
        }
    }
}

/// One gateway with the devices that it hears.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct GatewayStatusBody {
    #[serde(flatten)]
    gateway: GatewayBody,
    /// When it last took a downlink, since this service was started, RFC 3339.
    last_taken: Option<String>,
    /// The last uplink it received.
    last_heard: Option<LastHeardBody>,
    /// A page of the caller's devices that it heard, by DevEUI.
    devices: Vec<HeardDeviceBody>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// A device that a gateway heard, and how the two get on.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct HeardDeviceBody {
    /// The device's id.
    device_id: String,
    tenant_id: String,
    /// 16 hex digits.
    dev_eui: String,
    /// Whether this gateway heard its last uplink best: ChirpStack sends to the device through it.
    is_best: bool,
    #[serde(flatten)]
    quality: links::LinkQualityBody,
}

/// The last uplink that a gateway received.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct LastHeardBody {
    /// RFC 3339.
    at: String,
    rssi_dbm: i32,
    snr_db: f32,
}

/// A change of a gateway.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct GatewayChangeBody {
    /// RFC 3339.
    at: String,
    /// `came_online`, `went_offline`, `fell_mute` or `sends_again`.
    transition: &'static str,
}

impl LastHeardBody {
    /// Not from which device: it may be another tenant's.
    fn new(heard: LastHeard) -> Self {
        Self {
            at: heard.at.to_string(),
            rssi_dbm: heard.rssi_dbm,
            snr_db: heard.snr_db,
        }
    }
}

impl GatewayChangeBody {
    fn new(change: &GatewayChange) -> Self {
        Self {
            at: change.at.to_string(),
            transition: change.transition.name(),
        }
    }
}
