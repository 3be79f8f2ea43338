//! One network server: who calls it, who watches its gateways, and who keeps those alive.
//!
//! The configuration's network server has a link from the start, a tenant's own gets one when it is set. A link that is
//! connected anew (another address, another key) is the same link with other actors behind it: devices hold on to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use dashmap::DashSet;
use downbeat_core::circuit::CircuitConfig;
use downbeat_core::gateway::{GatewaySnapshot, GatewayTable};
use downbeat_core::id::{DevEui, DeviceKey, NetworkServerId};
use downbeat_core::pacer::{AirtimeSnapshot, Pacer, PacerConfig};
use downbeat_core::queue_cleaner::QueueFinding;
use downbeat_core::time::Timestamp;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::watch;

use crate::chirpstack_pool::{ChirpstackPool, PoolArguments, PoolMessage};
use crate::device::DeviceMessage;
use crate::gateway_monitor::{GatewayMonitor, MonitorMessage};
use crate::mailbox::Post as _;
use crate::port::NetworkServer;
use crate::queue_cleaner::{Cleaner, CleanerMessage};
use crate::synchronizer::{SyncArguments, SyncMessage, Synchronizer};
use crate::system::Shared;

/// What is known of one network server, and the way to those who deal with it.
pub(crate) struct Link {
    pub(crate) id: NetworkServerId,
    gateways: watch::Sender<GatewaySnapshot>,
    findings: watch::Sender<Vec<QueueFinding>>,
    airtime: watch::Sender<AirtimeSnapshot>,
    answers: AtomicBool,
    /// Whether the server takes our key; true before it was asked.
    takes_key: AtomicBool,
    is_configured: AtomicBool,
    services: RwLock<Option<Services>>,
    /// Devices that the server is still to be given.
    awaited: DashSet<DevEui>,
}

#[derive(Clone)]
struct Services {
    pool: ActorRef<PoolMessage>,
    monitor: ActorRef<MonitorMessage>,
    synchronizer: ActorRef<SyncMessage>,
    cleaner: ActorRef<CleanerMessage>,
}

impl Link {
    pub(crate) fn new(id: NetworkServerId, now: Timestamp) -> Self {
        Self {
            id,
            gateways: watch::Sender::new(GatewayTable::default().snapshot(now)),
            findings: watch::Sender::default(),
            airtime: watch::Sender::new(Pacer::new(PacerConfig::default()).snapshot(now)),
            answers: AtomicBool::new(true),
            takes_key: AtomicBool::new(true),
            is_configured: AtomicBool::new(false),
            services: RwLock::new(None),
            awaited: DashSet::new(),
        }
    }

    /// The device of that `DevEUI` here.
    pub(crate) fn key(&self, dev_eui: DevEui) -> DeviceKey {
        DeviceKey {
            server: self.id,
            dev_eui,
        }
    }

    /// What is known of its gateways.
    pub(crate) fn gateways(&self) -> watch::Ref<'_, GatewaySnapshot> {
        self.gateways.borrow()
    }

    pub(crate) fn publish_gateways(&self, snapshot: GatewaySnapshot) {
        let _ = self.gateways.send_replace(snapshot);
    }

    /// Queues of its devices that are stuck and were left alone.
    pub(crate) fn findings(&self) -> Vec<QueueFinding> {
        self.findings.borrow().clone()
    }

    pub(crate) fn publish_findings(&self, findings: Vec<QueueFinding>) {
        let _ = self.findings.send_replace(findings);
    }

    /// The budgets of its gateways.
    pub(crate) fn airtime(&self) -> AirtimeSnapshot {
        self.airtime.borrow().clone()
    }

    pub(crate) fn publish_airtime(&self, snapshot: AirtimeSnapshot) {
        let _ = self.airtime.send_replace(snapshot);
    }

    /// Whether it answered last; true before it was asked.
    pub(crate) fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    pub(crate) fn set_answers(&self, answers: bool) {
        match (self.answers.swap(answers, Ordering::Relaxed), answers) {
            (true, false) => {
                metrics::counter!("downbeat_chirpstack_outages_total").increment(1);
                metrics::gauge!("downbeat_chirpstack_circuits_open").increment(1);
            }
            (false, true) => metrics::gauge!("downbeat_chirpstack_circuits_open").decrement(1),
            (true, true) | (false, false) => {}
        }
    }

    /// Whether the server takes our key, as far as is known.
    pub(crate) fn takes_key(&self) -> bool {
        self.takes_key.load(Ordering::Relaxed)
    }

    /// Notes whether it does; tells whether that is news.
    pub(crate) fn set_key_taken(&self, is_taken: bool) -> bool {
        self.takes_key.swap(is_taken, Ordering::Relaxed) != is_taken
    }

    /// Whether there is one to call.
    pub(crate) fn is_configured(&self) -> bool {
        self.is_configured.load(Ordering::Relaxed)
    }

    /// Whether the server is still to be given a device, so that commands to it wait.
    pub(crate) fn is_awaited(&self, dev_eui: DevEui) -> bool {
        self.awaited.contains(&dev_eui)
    }

    /// Notes whether it is; tells whether that is news.
    pub(crate) fn set_awaited(&self, dev_eui: DevEui, is_awaited: bool) -> bool {
        if is_awaited {
            self.awaited.insert(dev_eui)
        } else {
            self.awaited.remove(&dev_eui).is_some()
        }
    }

    // A service that is being restarted misses messages; the devices are told when it is back and repeat them.

    pub(crate) fn pool(&self, message: PoolMessage) {
        if let Some(services) = self.services() {
            let _ = services.pool.post(message);
        }
    }

    pub(crate) fn monitor(&self, message: MonitorMessage) {
        if matches!(message, MonitorMessage::Nothing) {
            return;
        }
        if let Some(services) = self.services() {
            let _ = services.monitor.post(message);
        }
    }

    pub(crate) fn synchronizer(&self, message: SyncMessage) {
        if let Some(services) = self.services() {
            let _ = services.synchronizer.post(message);
        }
    }

    pub(crate) fn cleaner(&self, message: CleanerMessage) {
        if let Some(services) = self.services() {
            let _ = services.cleaner.post(message);
        }
    }

    /// Ends those behind it without warning.
    #[cfg(test)]
    pub(crate) fn kill_services(&self) {
        let services = self.services().expect("they are running");
        services.pool.kill();
        services.monitor.kill();
        services.synchronizer.kill();
        services.cleaner.kill();
    }

    fn services(&self) -> Option<Services> {
        self.services
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_services(&self, services: Services) {
        *self
            .services
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(services);
    }
}

/// Keeps the actors behind a link alive.
pub(crate) struct LinkSupervisor;

pub(crate) enum LinkMessage {}

pub(crate) struct LinkArguments {
    pub(crate) shared: Weak<Shared>,
    pub(crate) link: Arc<Link>,
    /// `None` where none is configured: commands wait.
    pub(crate) server: Option<Arc<dyn NetworkServer>>,
    pub(crate) pacing: PacerConfig,
    pub(crate) circuit: CircuitConfig,
    pub(crate) sync_calls_per_second: u32,
}

impl Actor for LinkSupervisor {
    type Msg = LinkMessage;
    type State = LinkArguments;
    type Arguments = LinkArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<LinkMessage>,
        arguments: LinkArguments,
    ) -> Result<LinkArguments, ActorProcessingErr> {
        let link = &arguments.link;
        link.is_configured
            .store(arguments.server.is_some(), Ordering::Relaxed);
        link.set_answers(true);
        // Another key may have come with the connection; whoever waits for it asks again.
        let _ = link.set_key_taken(true);
        link.set_services(Services {
            pool: arguments.spawn_pool(&myself).await?,
            monitor: arguments.spawn_monitor(&myself).await?,
            synchronizer: arguments.spawn_synchronizer(&myself).await?,
            cleaner: arguments.spawn_cleaner(&myself).await?,
        });
        Ok(arguments)
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<LinkMessage>,
        event: SupervisionEvent,
        state: &mut LinkArguments,
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
        let Some(shared) = state.shared.upgrade() else {
            return Ok(());
        };
        if shared.stopping.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Some(mut services) = state.link.services() else {
            return Ok(());
        };
        let id = ended.get_id();
        if id == services.pool.get_id() {
            tracing::error!(why, "the pool ended; restarting it");
            services.pool = state.spawn_pool(&myself).await?;
            state.link.set_services(services);
            shared.tell_devices_of(state.link.id, || DeviceMessage::ServicesRestarted);
        } else if id == services.monitor.get_id() {
            tracing::error!(why, "the gateway monitor ended; restarting it");
            services.monitor = state.spawn_monitor(&myself).await?;
            state.link.set_services(services);
        } else if id == services.synchronizer.get_id() {
            tracing::error!(why, "the synchronizer ended; restarting it");
            services.synchronizer = state.spawn_synchronizer(&myself).await?;
            state.link.set_services(services);
        } else if id == services.cleaner.get_id() {
            tracing::error!(why, "the queue cleaner ended; restarting it");
            services.cleaner = state.spawn_cleaner(&myself).await?;
            state.link.set_services(services);
        }
        Ok(())
    }
}

impl LinkArguments {
    async fn spawn_pool(
        &self,
        supervisor: &ActorRef<LinkMessage>,
    ) -> Result<ActorRef<PoolMessage>, ractor::SpawnErr> {
        let pool = PoolArguments {
            shared: self.shared.clone(),
            link: Arc::clone(&self.link),
            server: self.server.clone(),
            pacing: self.pacing,
            circuit: self.circuit,
        };
        Ok(
            Actor::spawn_linked(None, ChirpstackPool, pool, supervisor.get_cell())
                .await?
                .0,
        )
    }

    async fn spawn_synchronizer(
        &self,
        supervisor: &ActorRef<LinkMessage>,
    ) -> Result<ActorRef<SyncMessage>, ractor::SpawnErr> {
        let arguments = SyncArguments {
            shared: self.shared.clone(),
            link: Arc::clone(&self.link),
            calls_per_second: self.sync_calls_per_second,
            is_configured: self.server.is_some(),
        };
        Ok(
            Actor::spawn_linked(None, Synchronizer, arguments, supervisor.get_cell())
                .await?
                .0,
        )
    }

    async fn spawn_monitor(
        &self,
        supervisor: &ActorRef<LinkMessage>,
    ) -> Result<ActorRef<MonitorMessage>, ractor::SpawnErr> {
        let monitor = (self.shared.clone(), Arc::clone(&self.link));
        Ok(
            Actor::spawn_linked(None, GatewayMonitor, monitor, supervisor.get_cell())
                .await?
                .0,
        )
    }

    async fn spawn_cleaner(
        &self,
        supervisor: &ActorRef<LinkMessage>,
    ) -> Result<ActorRef<CleanerMessage>, ractor::SpawnErr> {
        let cleaner = (self.shared.clone(), Arc::clone(&self.link));
        Ok(
            Actor::spawn_linked(None, Cleaner, cleaner, supervisor.get_cell())
                .await?
                .0,
        )
    }
}
