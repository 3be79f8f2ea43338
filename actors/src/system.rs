//! Starts the actors and is the door to them. Who keeps them alive: `supervisor` and `shard`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use dashmap::DashMap;
use downbeat_core::circuit::CircuitConfig;
use downbeat_core::device::Policy;
use downbeat_core::gateway::{GatewaySnapshot, GatewayTable};
use downbeat_core::id::{DevEui, DownlinkId, Scope};
use downbeat_core::network::NetworkEvent;
use downbeat_core::turn::TurnLimits;
use ractor::{Actor, ActorId, ActorRef};
use tokio::sync::{oneshot, watch};

use crate::chirpstack_pool::PoolMessage;
use crate::clock::Clock;
use crate::device::{DeviceMessage, leave_mailbox};
use crate::gateway_monitor::MonitorMessage;
use crate::observe::Feed;
use crate::order::{AskError, Cancellation, Order, Submission};
use crate::port::{DeviceStore, HistoryEntry, NetworkServer, StoreError};
use crate::shard::{self, ShardMessage};
use crate::supervisor::{Root, RootArguments, RootMessage};
use crate::timer::Timers;
use crate::writer::WriterMessage;

/// Messages from outside that may wait in one device's mailbox.
const MAILBOX_MAX: usize = 256;

/// How the actors are to work.
#[derive(Debug, Clone, Default)]
pub struct SystemConfig {
    /// The numbers of a downlink's life.
    pub policy: Policy,
    /// How many devices may have an untransmitted item at once.
    pub turns: TurnLimits,
    /// When to stop calling a network server that does not answer.
    pub circuit: CircuitConfig,
}

/// How the service fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Whether the network server answered last; true before it was asked.
    pub network_server_ok: bool,
    /// Whether one is configured.
    pub network_server_configured: bool,
    /// Devices in memory.
    pub devices_active: usize,
}

/// Why the actors could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What was unfinished could not be read.
    #[error("unfinished work could not be read")]
    Store(#[from] StoreError),
    /// An actor did not start.
    #[error("an actor did not start")]
    Spawn(#[from] ractor::SpawnErr),
}

/// The door to the actors. Clones lead to the same ones.
#[derive(Clone)]
pub struct System {
    shared: Arc<Shared>,
    root: ActorRef<RootMessage>,
}

/// What all actors reach: each other, the clock, the store.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) store: Arc<dyn DeviceStore>,
    pub(crate) policy: Policy,
    pub(crate) feed: Feed,
    pub(crate) gateways: watch::Receiver<GatewaySnapshot>,
    gateways_sender: watch::Sender<GatewaySnapshot>,
    run: u64,
    pub(crate) devices: DashMap<DevEui, Entry>,
    pub(crate) shards: OnceLock<Vec<ActorRef<ShardMessage>>>,
    timers: OnceLock<Timers>,
    services: RwLock<Option<Services>>,
    network_server_ok: AtomicBool,
    network_server_configured: bool,
    pub(crate) stopping: AtomicBool,
}

#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) writer: ActorRef<WriterMessage>,
    pub(crate) pool: ActorRef<PoolMessage>,
    pub(crate) monitor: ActorRef<MonitorMessage>,
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) actor: ActorRef<DeviceMessage>,
    /// Messages from outside in its mailbox.
    pub(crate) depth: Arc<AtomicUsize>,
    pub(crate) unfinished: Arc<AtomicBool>,
}

impl System {
    /// Starts the actors and takes up what was unfinished. `run` tells this run of the service from others.
    pub async fn start(
        config: SystemConfig,
        store: Arc<dyn DeviceStore>,
        server: Option<Arc<dyn NetworkServer>>,
        clock: Clock,
        run: u64,
    ) -> Result<Self, StartError> {
        let (gateways_sender, gateways) =
            watch::channel(GatewayTable::default().snapshot(clock.now()));
        let shared = Arc::new(Shared {
            clock,
            store: Arc::clone(&store),
            policy: config.policy.clone(),
            feed: Feed::new(run),
            gateways,
            gateways_sender,
            run,
            devices: DashMap::new(),
            shards: OnceLock::new(),
            timers: OnceLock::new(),
            services: RwLock::new(None),
            network_server_ok: AtomicBool::new(true),
            network_server_configured: server.is_some(),
            stopping: AtomicBool::new(false),
        });
        shared
            .timers
            .get_or_init(|| Timers::start(Arc::downgrade(&shared)));
        let arguments = RootArguments {
            shared: Arc::clone(&shared),
            config,
            server,
        };
        let (root, _) = Actor::spawn(None, Root, arguments).await?;
        for dev_eui in store.unfinished().await? {
            shared.restore(dev_eui, Duration::ZERO);
        }
        Ok(Self { shared, root })
    }

    /// Accepts a command: when this returns, it is committed.
    pub async fn submit(
        &self,
        scope: Scope,
        dev_eui: DevEui,
        mut order: Order,
    ) -> Result<Submission, AskError> {
        // Named before it is asked, so that asking a second time cannot make two of it.
        order
            .id
            .get_or_insert_with(|| DownlinkId::from_uuid(uuid::Uuid::now_v7()));
        self.ask(dev_eui, |reply| DeviceMessage::Submit {
            scope,
            order: order.clone(),
            reply,
        })
        .await
    }

    /// Takes a command back, if it is under way.
    pub async fn cancel(
        &self,
        scope: Scope,
        dev_eui: DevEui,
        id: DownlinkId,
    ) -> Result<Cancellation, AskError> {
        self.ask(dev_eui, |reply| DeviceMessage::Cancel { scope, id, reply })
            .await
    }

    /// Tells a device what the network server told: when this returns, it is committed. Telling it twice does no harm.
    pub async fn report(
        &self,
        scope: Scope,
        dev_eui: DevEui,
        event: NetworkEvent,
        history: HistoryEntry,
    ) -> Result<(), AskError> {
        self.ask(dev_eui, |reply| DeviceMessage::Network {
            scope,
            event: Box::new(event.clone()),
            history: history.clone(),
            reply,
        })
        .await
    }

    /// What is known of the gateways.
    pub fn gateways(&self) -> GatewaySnapshot {
        self.shared.gateways.borrow().clone()
    }

    /// All that happens.
    pub fn feed(&self) -> &Feed {
        &self.shared.feed
    }

    /// The clock of the actors.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// How the service fares.
    pub fn health(&self) -> Health {
        Health {
            network_server_ok: self.shared.network_server_ok.load(Ordering::Relaxed),
            network_server_configured: self.shared.network_server_configured,
            devices_active: self.shared.devices.len(),
        }
    }

    /// Ends the actors: nothing new is taken, changes under way are written first. What is unfinished is taken up at
    /// the next start.
    pub async fn stop(&self, patience: Duration) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        let (done, flushed) = oneshot::channel();
        self.shared.writer(WriterMessage::Flush(done));
        if tokio::time::timeout(patience, flushed).await.is_err() {
            tracing::warn!(
                "changes under way could not be written in time; the next start takes up what is stored"
            );
        }
        self.root.stop(Some("the service is stopping".to_owned()));
    }

    /// Asks a device's actor, which is created if need be. If it ends before it answers, a new one is asked once more:
    /// what it had not committed did not happen.
    async fn ask<T>(
        &self,
        dev_eui: DevEui,
        message: impl Fn(oneshot::Sender<Result<T, AskError>>) -> DeviceMessage,
    ) -> Result<T, AskError> {
        for _ in 0..2 {
            if self.shared.stopping.load(Ordering::Relaxed) {
                return Err(AskError::Stopping);
            }
            let entry = self.shared.entry(dev_eui).await?;
            if entry.depth.fetch_add(1, Ordering::Relaxed) >= MAILBOX_MAX {
                leave_mailbox(&entry.depth);
                return Err(AskError::Overloaded);
            }
            let (reply, answer) = oneshot::channel();
            if entry.actor.cast(message(reply)).is_err() {
                self.shared.leave(dev_eui, entry.actor.get_id());
                continue;
            }
            if let Ok(answer) = answer.await {
                return answer;
            }
            self.shared.leave(dev_eui, entry.actor.get_id());
        }
        Err(AskError::StoreUnavailable)
    }

    /// Ends a device's actor in the way a bug would.
    #[cfg(test)]
    pub(crate) fn panic_device(&self, dev_eui: DevEui) {
        self.shared.deliver(dev_eui, DeviceMessage::Panic);
    }

    /// Ends the pool and the writer without warning.
    #[cfg(test)]
    pub(crate) fn kill_services(&self) {
        let services = self.shared.services().expect("they are running");
        services.pool.kill();
        services.writer.kill();
        services.monitor.kill();
    }
}

impl Shared {
    pub(crate) fn timers(&self) -> &Timers {
        self.timers
            .get()
            .expect("the timers are started before any device")
    }

    /// A device's own randomness: no two march in step, and no two runs.
    pub(crate) fn seed(&self, dev_eui: DevEui) -> u64 {
        self.run ^ dev_eui.as_u64().rotate_left(32)
    }

    pub(crate) fn set_services(&self, services: Services) {
        *self
            .services
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(services);
    }

    pub(crate) fn services(&self) -> Option<Services> {
        self.services
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    // A service that is being restarted misses messages; the devices are told when it is back and repeat them.

    pub(crate) fn pool(&self, message: PoolMessage) {
        if let Some(services) = self.services() {
            let _ = services.pool.cast(message);
        }
    }

    pub(crate) fn writer(&self, message: WriterMessage) {
        if let Some(services) = self.services() {
            let _ = services.writer.cast(message);
        }
    }

    pub(crate) fn monitor(&self, message: MonitorMessage) {
        if matches!(message, MonitorMessage::Nothing) {
            return;
        }
        if let Some(services) = self.services() {
            let _ = services.monitor.cast(message);
        }
    }

    pub(crate) fn publish_gateways(&self, snapshot: GatewaySnapshot) {
        let _ = self.gateways_sender.send_replace(snapshot);
    }

    pub(crate) fn set_network_server_ok(&self, ok: bool) {
        self.network_server_ok.store(ok, Ordering::Relaxed);
    }

    pub(crate) fn set_unfinished(&self, dev_eui: DevEui, unfinished: bool) {
        if let Some(entry) = self.devices.get(&dev_eui) {
            entry.unfinished.store(unfinished, Ordering::Relaxed);
        }
    }

    /// A message from outside was taken out of a device's mailbox.
    pub(crate) fn left_mailbox(&self, dev_eui: DevEui) {
        if let Some(entry) = self.devices.get(&dev_eui) {
            leave_mailbox(&entry.depth);
        }
    }

    /// Hands a message to a device that is in memory. One that is not has no use for it: it takes up what is stored.
    pub(crate) fn deliver(&self, dev_eui: DevEui, message: DeviceMessage) -> bool {
        let actor = self.devices.get(&dev_eui).map(|entry| entry.actor.clone());
        actor.is_some_and(|actor| actor.cast(message).is_ok())
    }

    /// Tells all devices that have something to do.
    pub(crate) fn tell_unfinished(&self, message: impl Fn() -> DeviceMessage) {
        for entry in &self.devices {
            if entry.unfinished.load(Ordering::Relaxed) {
                let _ = entry.actor.cast(message());
            }
        }
    }

    /// Takes a device off the list, if it is still this actor's.
    pub(crate) fn leave(&self, dev_eui: DevEui, actor: ActorId) {
        self.devices
            .remove_if(&dev_eui, |_, entry| entry.actor.get_id() == actor);
    }

    /// Creates a device that has unfinished work again, after a pause.
    pub(crate) fn restore_later(&self, dev_eui: DevEui) {
        self.restore(dev_eui, shard::RESTART_PAUSE);
    }

    fn restore(&self, dev_eui: DevEui, pause: Duration) {
        if let Some(shard) = self.shard(dev_eui) {
            let _ = shard.cast(ShardMessage::Restore { dev_eui, pause });
        }
    }

    fn shard(&self, dev_eui: DevEui) -> Option<&ActorRef<ShardMessage>> {
        let shards = self.shards.get()?;
        // Fibonacci hashing: DevEUIs of one batch differ in their last digits alone.
        let hash = dev_eui.as_u64().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        shards.get(usize::try_from(hash).ok()? % shards.len().max(1))
    }

    /// The device's actor, created if need be.
    async fn entry(&self, dev_eui: DevEui) -> Result<Entry, AskError> {
        if let Some(entry) = self.devices.get(&dev_eui) {
            return Ok(entry.clone());
        }
        let shard = self.shard(dev_eui).ok_or(AskError::Stopping)?;
        let (reply, entry) = oneshot::channel();
        shard
            .cast(ShardMessage::Create {
                dev_eui,
                reply: Some(reply),
            })
            .map_err(|_| AskError::Stopping)?;
        entry.await.map_err(|_| AskError::Stopping)
    }
}
