//! What the server is started with.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use uuid::Uuid;

use super::world::HttpIntegration;
use crate::model::config::{DutyCycle, LampConfig, NetworkConfig};

/// The tenant key that is accepted unless others are configured.
pub const DEFAULT_API_KEY: &str = "downbeat-sim";

/// What an API key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// A global admin key: sees `NOT_FOUND` where others see nothing.
    Admin,
    /// A key of the one tenant.
    Tenant,
    /// A key of the one tenant that may look and change nothing.
    ReadOnly,
    /// A key of another tenant: valid, and of no use here.
    OtherTenant,
}

/// Ids and names of ChirpStack's one tenant, application and device profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Tenant.
    pub tenant_id: Uuid,
    /// Its name.
    pub tenant_name: String,
    /// Application of all lamps; the same as in the network's configuration.
    pub application_id: Uuid,
    /// Its name.
    pub application_name: String,
    /// Device profile of all lamps; the same as in the network's configuration.
    pub device_profile_id: Uuid,
    /// Its name.
    pub device_profile_name: String,
}

impl Default for Identity {
    fn default() -> Self {
        let network = NetworkConfig::default();
        Self {
            tenant_id: Uuid::from_u128(0x43f5_9344_97b1_4c65_af58_9b9e_7bf4_f531),
            tenant_name: "simulation".to_owned(),
            application_id: network.application_id,
            application_name: "lights".to_owned(),
            device_profile_id: network.device_profile_id,
            device_profile_name: "Kuando Busylight IoT Omega".to_owned(),
        }
    }
}

/// The simulated ChirpStack and what is behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct SimConfig {
    /// Lamps, gateways, air, and ChirpStack's settings.
    pub network: NetworkConfig,
    /// What chance does, together with the calls.
    pub seed: u64,
    /// How much faster than real time the model lives, above 0 and at most 10 000.
    pub speed: f64,
    /// Where ChirpStack's gRPC API listens; port 0 takes a free one.
    pub grpc: SocketAddr,
    /// Where the control API listens; port 0 takes a free one.
    pub control: SocketAddr,
    /// API keys that are accepted.
    pub keys: Vec<(String, KeyKind)>,
    /// Ids and names.
    pub identity: Identity,
    /// The HTTP integration at the start.
    pub integration: Option<HttpIntegration>,
}

impl SimConfig {
    /// So many lamps that answer each downlink, and gateways; RX2 at SF9, as a network of lamps should have it.
    pub fn fleet(lamps: u32, gateways: u32) -> Self {
        let mut network = NetworkConfig::fleet(lamps, gateways).with_lamps(as_in_fleets);
        network.server.rx2_spreading_factor = 9;
        network.server.device_status = true;
        Self {
            network,
            ..Self::default()
        }
    }
}

/// A lamp that answers each downlink.
pub(super) fn as_in_fleets(lamp: &mut LampConfig) {
    lamp.auto_uplink = true;
    // A second of airtime saved up lets a person try a dozen colours in a row.
    lamp.duty_cycle = DutyCycle {
        share: 0.01,
        burst: Duration::from_secs(1),
    };
}

impl Default for SimConfig {
    fn default() -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            network: NetworkConfig::default(),
            seed: 1,
            speed: 1.0,
            grpc: any_port,
            control: any_port,
            keys: vec![(DEFAULT_API_KEY.to_owned(), KeyKind::Tenant)],
            identity: Identity::default(),
            integration: None,
        }
    }
}
