//! Keeps the services and the shards alive.
//!
//! ractor's default would stop a supervisor with its first failed child, and with it all the others; here every
//! supervision event is handled. A service that is started anew has forgotten what was under way, so all devices are
//! told and repeat it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::chirpstack_pool::{ChirpstackPool, PoolArguments, PoolMessage};
use crate::device::DeviceMessage;
use crate::gateway_monitor::{GatewayMonitor, MonitorMessage};
use crate::port::NetworkServer;
use crate::shard::Shard;
use crate::system::{Services, Shared, SystemConfig};
use crate::writer::{Writer, WriterMessage};

/// Supervisors of devices.
const SHARDS: usize = 16;

pub(crate) struct Root;

pub(crate) enum RootMessage {}

pub(crate) struct RootArguments {
    pub(crate) shared: Arc<Shared>,
    pub(crate) config: SystemConfig,
    pub(crate) server: Option<Arc<dyn NetworkServer>>,
}

pub(crate) struct RootState {
    arguments: RootArguments,
}

impl Actor for Root {
    type Msg = RootMessage;
    type State = RootState;
    type Arguments = RootArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<RootMessage>,
        arguments: RootArguments,
    ) -> Result<RootState, ActorProcessingErr> {
        let services = Services {
            writer: spawn_writer(&myself, &arguments).await?,
            pool: spawn_pool(&myself, &arguments).await?,
            monitor: spawn_monitor(&myself, &arguments).await?,
        };
        arguments.shared.set_services(services);
        let mut shards = Vec::with_capacity(SHARDS);
        for _ in 0..SHARDS {
            let (shard, _) = Actor::spawn_linked(
                None,
                Shard,
                Arc::clone(&arguments.shared),
                myself.get_cell(),
            )
            .await?;
            shards.push(shard);
        }
        let _ = arguments.shared.shards.set(shards);
        Ok(RootState { arguments })
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<RootMessage>,
        event: SupervisionEvent,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        let (ended, why) = match event {
            SupervisionEvent::ActorFailed(cell, error) => (cell, error.to_string()),
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                (cell, reason.unwrap_or_default())
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {
                return Ok(());
            }
        };
        let shared = &state.arguments.shared;
        if shared.stopping.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Some(mut services) = shared.services() else {
            return Ok(());
        };
        let id = ended.get_id();
        if id == services.writer.get_id() {
            tracing::error!(why, "the writer ended; restarting it");
            services.writer = spawn_writer(&myself, &state.arguments).await?;
            shared.set_services(services);
            tell_all(shared, || DeviceMessage::WriterRestarted);
        } else if id == services.pool.get_id() {
            tracing::error!(why, "the pool ended; restarting it");
            services.pool = spawn_pool(&myself, &state.arguments).await?;
            shared.set_services(services);
            tell_all(shared, || DeviceMessage::ServicesRestarted);
        } else if id == services.monitor.get_id() {
            tracing::error!(why, "the gateway monitor ended; restarting it");
            services.monitor = spawn_monitor(&myself, &state.arguments).await?;
            shared.set_services(services);
        } else {
            tracing::error!(why, "a supervisor ended");
        }
        Ok(())
    }
}

fn tell_all(shared: &Shared, message: impl Fn() -> DeviceMessage) {
    for entry in &shared.devices {
        let _ = entry.actor.cast(message());
    }
}

async fn spawn_writer(
    root: &ActorRef<RootMessage>,
    arguments: &RootArguments,
) -> Result<ActorRef<WriterMessage>, ractor::SpawnErr> {
    let store = Arc::clone(&arguments.shared.store);
    Ok(Actor::spawn_linked(None, Writer, store, root.get_cell())
        .await?
        .0)
}

async fn spawn_pool(
    root: &ActorRef<RootMessage>,
    arguments: &RootArguments,
) -> Result<ActorRef<PoolMessage>, ractor::SpawnErr> {
    let pool = PoolArguments {
        shared: Arc::downgrade(&arguments.shared),
        server: arguments.server.clone(),
        limits: arguments.config.turns,
        circuit: arguments.config.circuit,
    };
    Ok(
        Actor::spawn_linked(None, ChirpstackPool, pool, root.get_cell())
            .await?
            .0,
    )
}

async fn spawn_monitor(
    root: &ActorRef<RootMessage>,
    arguments: &RootArguments,
) -> Result<ActorRef<MonitorMessage>, ractor::SpawnErr> {
    let shared = Arc::downgrade(&arguments.shared);
    Ok(
        Actor::spawn_linked(None, GatewayMonitor, shared, root.get_cell())
            .await?
            .0,
    )
}
