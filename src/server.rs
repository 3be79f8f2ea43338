//! The service: connect, start, wait for a signal, stop in order.
//!
//! This module alone joins the ports to what implements them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use downbeat_actors::clock::Clock;
use downbeat_actors::port::{NetworkServer, StoreError};
use downbeat_actors::{StartError, System, SystemConfig};
use downbeat_core::id::NetworkServerId;
use downbeat_core::pacer::PacerConfig;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::chirpstack::{ChirpStackClient, ChirpStackConfig};
use crate::config::Config;
use crate::http::{AppState, Connect, ConnectError, RouterParts};
use crate::machine::ThisMachine;
use crate::seal::EncryptionKeyError;
use crate::secret_key::{self, NewKey};
use crate::store::{By, OpenStoreError, PageRequest, Role, Scope, Store};
use crate::telemetry::{TelemetryError, start_metrics};
use crate::{drift, presence, retention};

/// The whole stop takes no longer than this in all (a supervisor's patience is 10 s).
const STOP_PATIENCE: Duration = Duration::from_secs(4);

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartServerError {
    /// The data directory.
    #[error("the data directory {path} cannot be made")]
    DataDir {
        /// The directory.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The key that secrets in the database are sealed with.
    #[error(transparent)]
    EncryptionKey(#[from] EncryptionKeyError),
    /// The database.
    #[error(transparent)]
    Open(#[from] OpenStoreError),
    /// The database, after it was opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The network server's address or key.
    #[error("chirpstack.url or chirpstack.api_key cannot be used")]
    ChirpStack(#[source] crate::chirpstack::ConfigError),
    /// Metrics.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The actors.
    #[error(transparent)]
    Actors(#[from] StartError),
}

/// The running service.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// The administrator's key, if it was made just now.
    pub new_admin_key: Option<SecretString>,
    /// The store, for who runs in the same process.
    pub store: Store,
    /// What handlers share.
    pub state: AppState,
    system: System,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts the service: when this returns, it listens and has taken up what was unfinished.
pub async fn start(config: Config, parts: RouterParts) -> Result<Server, StartServerError> {
    std::fs::create_dir_all(&config.data_dir).map_err(|source| StartServerError::DataDir {
        path: config.data_dir.clone(),
        source,
    })?;
    let listen_error = |source| StartServerError::Listen {
        address: config.listen,
        source,
    };
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    let metrics = start_metrics()?;
    let store = Store::open(&config.database_url, config.sealer()?).await?;
    let machine = ThisMachine::keeping_in(&config.data_dir);
    let clock = Clock::of_machine(Arc::new(machine));
    let new_admin_key = ensure_admin_key(&store, config.admin_key.as_ref(), &clock).await?;
    let system_config = SystemConfig {
        policy: config.downlink.policy(),
        pacing: PacerConfig {
            held_max: config.limits.untransmitted,
            ..config.pacing.pacing()
        },
        sync_calls_per_second: config.registry.sync_calls_per_second,
        ..SystemConfig::default()
    };
    let connector = Connector {
        deadline: Duration::from_millis(config.chirpstack.deadline_ms),
        channels: config.chirpstack.channels,
    };
    let servers = network_servers(&config, &connector, &store).await?;
    let run = u64::try_from(clock.now().as_millis()).unwrap_or(0);
    let system = System::start(
        system_config,
        Arc::new(store.clone()),
        servers,
        clock.clone(),
        run,
    )
    .await?;
    system.run_jobs(Arc::new(store.clone())).await;
    let state = AppState::new(
        system.clone(),
        store.clone(),
        &config,
        metrics,
        Arc::new(connector),
    );
    state.restore_sessions().await?;
    let (stop, stopping) = watch::channel(false);
    let router = crate::http::router(state.clone(), parts).merge(crate::dashboard::router());
    let tasks = vec![
        tokio::spawn(serve(listener, router, stopping.clone())),
        tokio::spawn(retention::run(
            store.clone(),
            clock,
            retention::Kept {
                history_days: config.limits.history_days,
                telemetry_days: config.limits.telemetry_days,
                downlink_days: config.limits.downlink_days,
            },
            stopping.clone(),
        )),
        tokio::spawn(presence::run(
            store.clone(),
            system.clone(),
            Duration::from_secs(config.downlink.uplink_interval_s),
            stopping.clone(),
        )),
        tokio::spawn(drift::run(
            state.comparer().clone(),
            Duration::from_secs(config.registry.drift_interval_s),
            stopping,
        )),
    ];
    Ok(Server {
        address,
        new_admin_key,
        store,
        state,
        system,
        stop,
        tasks,
    })
}

impl Server {
    /// Stops in order: nothing new is taken, answers under way are given, held events are stored, changes under way
    /// are written. What is unfinished is taken up at the next start.
    pub async fn stop(self) {
        tracing::info!("stopping");
        self.stop.send_replace(true);
        self.state.begin_stop();
        let deadline = tokio::time::Instant::now() + STOP_PATIENCE;
        for mut task in self.tasks {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
            }
        }
        let lost = self.state.drain_held(Duration::from_secs(2)).await;
        if lost > 0 {
            tracing::warn!(lost, "webhooks that were held could not be stored");
        }
        self.system.stop(Duration::from_secs(2)).await;
        self.store.close().await;
        tracing::info!("stopped");
    }
}

/// Waits for SIGTERM or SIGINT.
pub async fn stop_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

async fn serve(listener: TcpListener, router: axum::Router, mut stopping: watch::Receiver<bool>) {
    let stopped = async move {
        // Fails only when the server is gone, which is a reason to stop, too.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    // A live event is a small write after another: Nagle's algorithm would hold it until the browser has acknowledged the
    // one before, which it delays for 40 ms.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps TCP's delay");
        }
    });
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    if let Err(error) = axum::serve(listener, service)
        .with_graceful_shutdown(stopped)
        .await
    {
        tracing::error!(%error, "HTTP ended");
    }
}

/// Connects to ChirpStack, as the configuration says how.
struct Connector {
    deadline: Duration,
    channels: usize,
}

impl Connector {
    fn client(
        &self,
        url: &str,
        api_key: &SecretString,
        tenant_id: Option<uuid::Uuid>,
    ) -> Result<Arc<dyn NetworkServer>, crate::chirpstack::ConfigError> {
        let client = ChirpStackClient::connect_lazy(ChirpStackConfig {
            url: url.to_owned(),
            api_key: api_key.clone(),
            tenant_id,
            channels: self.channels,
            deadline: self.deadline,
        })?;
        Ok(Arc::new(client))
    }
}

impl Connect for Connector {
    fn connect(
        &self,
        url: &str,
        api_key: &SecretString,
    ) -> Result<Arc<dyn NetworkServer>, ConnectError> {
        use crate::chirpstack::ConfigError;
        let client = self.client(url, api_key, None);
        client.map_err(|error| match error {
            ConfigError::Url => ConnectError {
                field: "url",
                message: "must be http://host:port or https://host:port",
            },
            ConfigError::Tls(_) => ConnectError {
                field: "url",
                message: "cannot be reached by TLS",
            },
            ConfigError::ApiKey => ConnectError {
                field: "api_key",
                message: "must be visible ASCII characters",
            },
        })
    }
}

/// The configuration's network server and every tenant's own. One of a tenant that cannot be used keeps nobody else
/// waiting.
async fn network_servers(
    config: &Config,
    connector: &Connector,
    store: &Store,
) -> Result<Vec<(NetworkServerId, Arc<dyn NetworkServer>)>, StartServerError> {
    let mut servers = Vec::new();
    let section = &config.chirpstack;
    if let (Some(url), Some(api_key)) = (&section.url, &section.api_key) {
        let client = connector.client(url, api_key, section.tenant_id);
        let client = client.map_err(StartServerError::ChirpStack)?;
        servers.push((NetworkServerId::Default, client));
    } else {
        tracing::warn!("no network server is configured: commands are accepted and wait");
    }
    for own in store.list_network_servers().await? {
        match connector.connect(&own.url, &own.api_key) {
            Ok(client) => servers.push((NetworkServerId::Tenant(own.tenant_id), client)),
            Err(error) => tracing::error!(
                tenant.id = %own.tenant_id,
                %error,
                "a tenant's network server cannot be used: its commands wait"
            ),
        }
    }
    Ok(servers)
}

/// Sees to it that there is an administrator's key: the configured one, else one that exists, else a new one.
async fn ensure_admin_key(
    store: &Store,
    configured: Option<&SecretString>,
    clock: &Clock,
) -> Result<Option<SecretString>, StoreError> {
    let (key, is_new) = if let Some(key) = configured {
        if store
            .api_key_by_hash(&secret_key::hash(key.expose_secret()))
            .await?
            .is_some()
        {
            return Ok(None);
        }
        (key.clone(), false)
    } else {
        let keys = store
            .list_api_keys(Scope::Platform, PageRequest::first(1))
            .await?;
        if !keys.items.is_empty() {
            return Ok(None);
        }
        (secret_key::generate(), true)
    };
    let (name, now) = ("administrator", clock.now());
    let new = NewKey::new(name, Role::Admin, None);
    secret_key::keep(store, &key, new, now, &By::downbeat()).await?;
    Ok(is_new.then_some(key))
}
