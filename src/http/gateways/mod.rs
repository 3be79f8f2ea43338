//! Gateways as the API shows them, from the monitor's snapshot: nobody waits for ChirpStack.

use downbeat_core::gateway::{
    GatewaySnapshot, GatewayState, GatewayStatus, GatewayTransition, ListedState,
};
use downbeat_core::id::NetworkServerId;
use serde::Serialize;
use utoipa::ToSchema;

use super::AppState;
use super::auth::Caller;
use super::problem::ApiError;

pub(super) mod health;
pub(super) mod list;
pub(super) mod status;

/// The gateways that a caller sees: those of its tenant's network server, which may be the service's; the platform sees
/// the service's.
async fn seen_by(state: &AppState, caller: &Caller) -> Result<GatewaySnapshot, ApiError> {
    let server = match caller.scope.tenant() {
        Some(tenant_id) => state.store().network_server_of(tenant_id).await?,
        None => NetworkServerId::Default,
    };
    Ok(state.system().gateways(server))
}

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
    /// Whether it is worth sending to: online, and not called offline by ChirpStack without fresh evidence against it.
    alive: bool,
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
    /// Percent of the downlinks that it took; null before the first.
    success_rate: Option<f64>,
    /// Different devices that it heard.
    devices_heard: usize,
}

/// A position, WGS 84.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(super) struct LocationBody {
    latitude: f64,
    longitude: f64,
    altitude: f64,
}

impl GatewayBody {
    pub(super) fn new(gateway: &GatewayStatus) -> Self {
        let asked = gateway.downlinks_taken + gateway.refusals;
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
            alive: gateway.likely_alive,
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
            success_rate: (asked > 0)
                .then(|| super::metrics::percent(gateway.downlinks_taken, asked)),
            devices_heard: gateway.devices_heard,
        }
    }
}

/// One gateway with its latest history.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct GatewayStatusBody {
    #[serde(flatten)]
    gateway: GatewayBody,
    /// The last uplink it received.
    last_heard: Option<LastHeardBody>,
    /// When it came online and went offline, oldest first.
    history: Vec<GatewayChangeBody>,
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
    /// `came_online`, `went_offline` or `revived`.
    transition: &'static str,
}

impl GatewayStatusBody {
    pub(super) fn new(gateway: &GatewayStatus) -> Self {
        let history = gateway.history.iter().map(|change| GatewayChangeBody {
            at: change.at.to_string(),
            transition: match change.transition {
                GatewayTransition::CameOnline => "came_online",
                GatewayTransition::WentOffline => "went_offline",
                GatewayTransition::Revived => "revived",
            },
        });
        Self {
            gateway: GatewayBody::new(gateway),
            // Not from which device: it may be another tenant's.
            last_heard: gateway.last_heard.map(|it| LastHeardBody {
                at: it.at.to_string(),
                rssi_dbm: it.rssi_dbm,
                snr_db: it.snr_db,
            }),
            history: history.collect(),
        }
    }
}
