//! Keeps the writer, the links to network servers and the shards alive.
//!
//! ractor's default would stop a supervisor with its first failed child, and with it all the others; here every
//! supervision event is handled. A service that is started anew has forgotten what was under way, so all devices are
//! told and repeat it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use downbeat_core::id::NetworkServerId;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;

use crate::device::DeviceMessage;
use crate::job::{JobArguments, JobRunner};
use crate::link::{LinkArguments, LinkMessage, LinkSupervisor};
use crate::mailbox::{Post as _, taken};
use crate::port::{JobStore, NetworkServer};
use crate::shard::Shard;
use crate::system::{Shared, SystemConfig};
use crate::writer::{Writer, WriterMessage};

/// Supervisors of devices.
const SHARDS: usize = 16;

pub(crate) struct Root;

pub(crate) enum RootMessage {
    /// A network server is to be reached like this from now on; `None`: not at all.
    Connect {
        id: NetworkServerId,
        server: Option<Arc<dyn NetworkServer>>,
        done: oneshot::Sender<()>,
    },
    /// Jobs are to be kept going.
    RunJobs {
        store: Arc<dyn JobStore>,
        done: oneshot::Sender<()>,
    },
}

pub(crate) struct RootArguments {
    pub(crate) shared: Arc<Shared>,
    pub(crate) config: SystemConfig,
    pub(crate) servers: Vec<(NetworkServerId, Arc<dyn NetworkServer>)>,
}

pub(crate) struct RootState {
    shared: Arc<Shared>,
    config: SystemConfig,
    links: HashMap<NetworkServerId, LinkEntry>,
    /// Where jobs are kept, once they are to be kept going.
    job_store: Option<Arc<dyn JobStore>>,
}

struct LinkEntry {
    supervisor: ActorRef<LinkMessage>,
    server: Option<Arc<dyn NetworkServer>>,
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
        let RootArguments {
            shared,
            config,
            servers,
        } = arguments;
        shared.set_writer(spawn_writer(&myself, &shared).await?);
        let mut state = RootState {
            shared,
            config,
            links: HashMap::new(),
            job_store: None,
        };
        // Tenants without one of their own use it, and wait where none is configured.
        state
            .connect(&myself, NetworkServerId::Default, None)
            .await?;
        for (id, server) in servers {
            state.connect(&myself, id, Some(server)).await?;
        }
        let mut shards = Vec::with_capacity(SHARDS);
        for _ in 0..SHARDS {
            let arguments = Arc::clone(&state.shared);
            let (shard, _) = Actor::spawn_linked(None, Shard, arguments, myself.get_cell()).await?;
            shards.push(shard);
        }
        let _ = state.shared.shards.set(shards);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<RootMessage>,
        message: RootMessage,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        taken::<RootMessage>();
        let done = match message {
            RootMessage::Connect { id, server, done } => {
                state.connect(&myself, id, server).await?;
                done
            }
            RootMessage::RunJobs { store, done } => {
                state.run_jobs(&myself, store).await?;
                done
            }
        };
        let _ = done.send(());
        Ok(())
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
        let shared = Arc::clone(&state.shared);
        if shared.stopping.load(Ordering::Relaxed) {
            return Ok(());
        }
        let id = ended.get_id();
        let link = state.links.iter();
        let link = link
            .filter(|(_, entry)| entry.supervisor.get_id() == id)
            .map(|(id, entry)| (*id, entry.server.clone()))
            .next();
        if shared
            .writer_ref()
            .is_some_and(|writer| writer.get_id() == id)
        {
            tracing::error!(why, "the writer ended; restarting it");
            shared.set_writer(spawn_writer(&myself, &shared).await?);
            for entry in &shared.devices {
                let _ = entry.actor.post(DeviceMessage::WriterRestarted);
            }
        } else if shared
            .jobs_ref()
            .is_some_and(|runner| runner.get_id() == id)
        {
            tracing::error!(why, "the runner of jobs ended; restarting it");
            if let Some(store) = state.job_store.clone() {
                state.run_jobs(&myself, store).await?;
            }
        } else if let Some((id, server)) = link {
            tracing::error!(why, "the link to a network server ended; restarting it");
            state.connect(&myself, id, server).await?;
        }
        Ok(())
    }
}

impl RootState {
    async fn run_jobs(
        &mut self,
        myself: &ActorRef<RootMessage>,
        store: Arc<dyn JobStore>,
    ) -> Result<(), ActorProcessingErr> {
        self.job_store = Some(Arc::clone(&store));
        let arguments = JobArguments {
            shared: Arc::downgrade(&self.shared),
            store,
        };
        let (runner, _) =
            Actor::spawn_linked(None, JobRunner, arguments, myself.get_cell()).await?;
        self.shared.set_jobs(runner);
        Ok(())
    }

    /// Puts new actors behind a link, in place of those that may be there. Its devices repeat what was under way.
    async fn connect(
        &mut self,
        myself: &ActorRef<RootMessage>,
        id: NetworkServerId,
        server: Option<Arc<dyn NetworkServer>>,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(before) = self.links.remove(&id) {
            before.supervisor.stop(Some("connected anew".to_owned()));
        }
        let arguments = LinkArguments {
            shared: Arc::downgrade(&self.shared),
            link: self.shared.link(id),
            server: server.clone(),
            pacing: self.config.pacing,
            circuit: self.config.circuit,
            sync_calls_per_second: self.config.sync_calls_per_second,
        };
        let (supervisor, _) =
            Actor::spawn_linked(None, LinkSupervisor, arguments, myself.get_cell()).await?;
        self.links.insert(id, LinkEntry { supervisor, server });
        self.shared
            .tell_devices_of(id, || DeviceMessage::ServicesRestarted);
        Ok(())
    }
}

async fn spawn_writer(
    root: &ActorRef<RootMessage>,
    shared: &Shared,
) -> Result<ActorRef<WriterMessage>, ractor::SpawnErr> {
    let store = Arc::clone(&shared.store);
    Ok(Actor::spawn_linked(None, Writer, store, root.get_cell())
        .await?
        .0)
}
