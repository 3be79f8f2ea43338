//! The model behind ChirpStack's own doors: its gRPC API, its webhooks, and a control API for faults and truth.
//!
//! One task ([`start`] spawns it) lives the model at real time × speed: it sleeps until the model's next event, is
//! woken by every call that changes something, and gives each webhook to a task of its own, as ChirpStack does. Nobody
//! else advances the model. Handlers lock it for the moment of one call.
//!
//! - `config`: what to start. `run`: the arguments and body of `downbeat sim`.
//! - `device`, `gateway`, `application`, `profile`, `internal`, `fuota`: the gRPC services; `auth`: keys and faults before each call.
//! - `poster`, `body`: webhooks. `control`: the control API.

mod application;
mod auth;
mod body;
mod clock;
pub mod config;
mod control;
mod device;
mod fuota;
mod gateway;
mod internal;
mod poster;
mod profile;
mod rpc;
pub mod run;
mod world;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chirpstack_api::api::application_service_server::ApplicationServiceServer;
use chirpstack_api::api::device_profile_service_server::DeviceProfileServiceServer;
use chirpstack_api::api::device_service_server::DeviceServiceServer;
use chirpstack_api::api::fuota_service_server::FuotaServiceServer;
use chirpstack_api::api::gateway_service_server::GatewayServiceServer;
use chirpstack_api::api::internal_service_server::InternalServiceServer;
use chirpstack_api::api::tenant_service_server::TenantServiceServer;
use downbeat_core::time::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::server::TcpIncoming;

use self::poster::Poster;
use self::rpc::Rpc;
use self::world::World;
use crate::model::Network;

pub use self::config::{DEFAULT_API_KEY, Identity, KeyKind, SimConfig};
pub use self::run::{SimArgs, run};
pub use self::world::{ChirpstackFaults, Encoding, HttpIntegration};

/// How long [`RunningSim::shutdown`] lets calls under way end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Why the simulation does not start.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The speed makes no sense.
    #[error("the speed must be above 0 and at most 10000, not {0}")]
    Speed(f64),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The webhooks' HTTP client cannot be made.
    #[error("cannot make an HTTP client for webhooks")]
    Client(#[source] reqwest::Error),
}

/// A simulation that runs until [`RunningSim::shutdown`], or until this is dropped.
#[derive(Debug)]
pub struct RunningSim {
    world: Arc<World>,
    grpc: SocketAddr,
    control: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts the simulation; it listens when this returns.
pub async fn start(config: SimConfig) -> Result<RunningSim, SimError> {
    if !(config.speed > 0.0 && config.speed <= 10_000.0) {
        return Err(SimError::Speed(config.speed));
    }
    // Somebody else may have installed it already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let grpc_listener = listen(config.grpc).await?;
    let control_listener = listen(config.control).await?;
    let grpc = local_addr(&grpc_listener, config.grpc)?;
    let control = local_addr(&control_listener, config.control)?;
    let world = World::new(&config);
    let poster = Poster::new(Arc::clone(&world)).map_err(SimError::Client)?;
    let tasks = vec![
        tokio::spawn(drive(Arc::clone(&world), poster)),
        tokio::spawn(serve_grpc(Arc::clone(&world), grpc_listener)),
        tokio::spawn(serve_control(Arc::clone(&world), control_listener)),
    ];
    Ok(RunningSim {
        world,
        grpc,
        control,
        tasks,
    })
}

impl RunningSim {
    /// Where ChirpStack's gRPC API listens.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc
    }

    /// Where the control API listens.
    pub fn control_addr(&self) -> SocketAddr {
        self.control
    }

    /// Replaces the HTTP integration by JSON posts to `url` with these headers.
    pub fn set_webhook(&self, url: &str, headers: BTreeMap<String, String>) {
        self.set_integration(Some(HttpIntegration {
            url: url.to_owned(),
            headers,
            encoding: Encoding::Json,
        }));
    }

    /// The HTTP integration as it is now.
    pub fn integration(&self) -> Option<HttpIntegration> {
        self.world.integration()
    }

    /// Replaces the HTTP integration, or removes it.
    pub fn set_integration(&self, integration: Option<HttpIntegration>) {
        self.world.set_integration(integration);
    }

    /// Looks at the model or changes it; the model's time is given with it. Its lock is held meanwhile.
    pub fn network<R>(&self, act: impl FnOnce(&mut Network, Timestamp) -> R) -> R {
        self.world.with(act)
    }

    /// An instant of the model (as in the lights' changes) as real time.
    pub fn to_real_time(&self, at: Timestamp) -> Timestamp {
        self.world.clock.to_real(at)
    }

    /// How ChirpStack misbehaves from now on.
    pub fn set_faults(&self, faults: ChirpstackFaults) {
        self.world.set_faults(faults);
    }

    /// Ids and names of ChirpStack's tenant, application and device profile.
    pub fn identity(&self) -> &Identity {
        &self.world.identity
    }

    /// The control API, to be served in a place of the caller's choice, too.
    pub fn control_router(&self) -> axum::Router {
        control::router(Arc::clone(&self.world))
    }

    /// Ends everything; calls under way get a moment.
    pub async fn shutdown(mut self) {
        self.world.stopping.send_replace(true);
        let deadline = tokio::time::Instant::now() + SHUTDOWN_GRACE;
        for task in &mut self.tasks {
            if tokio::time::timeout_at(deadline, &mut *task).await.is_err() {
                task.abort();
            }
        }
    }
}

impl Drop for RunningSim {
    fn drop(&mut self) {
        self.world.stopping.send_replace(true);
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, SimError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| SimError::Listen { address, source })
}

fn local_addr(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, SimError> {
    listener
        .local_addr()
        .map_err(|source| SimError::Listen { address, source })
}

/// Lives the model until everything ends.
async fn drive(world: Arc<World>, poster: Poster) {
    loop {
        let (webhooks, next) =
            world.drive(|network, now| (network.advance(now), network.next_event_at()));
        for webhook in webhooks {
            poster.post(&webhook);
        }
        let next = next.map(|at| world.clock.instant_of(at));
        let next_event = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = next_event => {}
            () = world.changed.notified() => {}
            () = world.stopped() => return,
        }
    }
}

async fn serve_grpc(world: Arc<World>, listener: TcpListener) {
    let rpc = Rpc::new(Arc::clone(&world));
    let served = tonic::transport::Server::builder()
        .add_service(DeviceServiceServer::new(rpc.clone()))
        .add_service(GatewayServiceServer::new(rpc.clone()))
        .add_service(ApplicationServiceServer::new(rpc.clone()))
        .add_service(DeviceProfileServiceServer::new(rpc.clone()))
        .add_service(FuotaServiceServer::new(rpc.clone()))
        .add_service(InternalServiceServer::new(rpc.clone()))
        .add_service(TenantServiceServer::new(rpc))
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            world.stopped(),
        )
        .await;
    if let Err(error) = served {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the simulated gRPC API ended"
        );
    }
}

async fn serve_control(world: Arc<World>, listener: TcpListener) {
    let router = control::router(Arc::clone(&world));
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(async move { world.stopped().await })
        .await;
    if let Err(error) = served {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the control API ended"
        );
    }
}
