//! Starts the actors and is the door to them. Who keeps them alive: `supervisor` and `shard`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use dashmap::DashMap;
use downbeat_core::circuit::{CircuitConfig, Outcome};
use downbeat_core::device::Policy;
use downbeat_core::gateway::GatewaySnapshot;
use downbeat_core::id::{
    DevEui, DeviceKey, DownlinkId, GatewayId, JobId, NetworkServerId, Scope, TenantId,
};
use downbeat_core::light::LightState;
use downbeat_core::link_quality::table::{HeardDevice, LinkedDevice, Owner};
use downbeat_core::pacer::{AirtimeSnapshot, PacerConfig};
use downbeat_core::queue_cleaner::QueueFinding;
use downbeat_core::radio::DeviceClass;
use ractor::{Actor, ActorId, ActorRef};
use tokio::sync::{Semaphore, oneshot};

use crate::chirpstack_pool::{Job, PoolMessage, outcome_of};
use crate::clock::Clock;
use crate::device::{DeviceMessage, leave_mailbox};
use crate::gateway_monitor::MonitorMessage;
use crate::job::{JobCommand, JobError, JobMessage};
use crate::link::Link;
use crate::mailbox::Post as _;
use crate::observe::{Feed, JobView};
use crate::order::{AskError, Cancellation, Desire, Initialising, Order, Report, Submission};
use crate::port::{
    By, DeviceStore, JobStore, NetworkServer, NetworkServerError, StoreError, StoredDevice,
};
use crate::queue_cleaner::CleanerMessage;
use crate::shard::{self, ShardMessage};
use crate::supervisor::{Root, RootArguments, RootMessage};
use crate::synchronizer::SyncMessage;
use crate::timer::Timers;
use crate::writer::WriterMessage;

/// Devices that are loaded at once. At the start there may be tens of thousands to load: were they all to ask at once, whoever
/// else needs the database would stand behind them, longer than a connection is waited for. Many, because a store reads those
/// that are asked for at the same time together.
pub(crate) const LOADED_AT_ONCE: usize = 64;

/// Messages from outside that may wait in one device's mailbox.
const MAILBOX_MAX: usize = 256;

/// How the actors are to work.
#[derive(Debug, Clone)]
pub struct SystemConfig {
    /// The numbers of a downlink's life.
    pub policy: Policy,
    /// How turns are given: budgets, and how many devices may have an untransmitted item at once.
    pub pacing: PacerConfig,
    /// When to stop calling a network server that does not answer.
    pub circuit: CircuitConfig,
    /// Calls a second at the most that keep a network server's devices in step with the registry.
    pub sync_calls_per_second: u32,
}

impl Default for SystemConfig {
    /// 20 calls a second, and the defaults of each.
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            pacing: PacerConfig::default(),
            circuit: CircuitConfig::default(),
            sync_calls_per_second: 20,
        }
    }
}

/// How the service fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Whether the network server answered last; true before it was asked.
    pub network_server_ok: bool,
    /// Whether it takes our key, as far as is known.
    pub network_server_takes_key: bool,
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
    run: u64,
    pub(crate) devices: DashMap<DeviceKey, Entry>,
    /// Devices that are being taken out of the registry without their actors, each with how many do so.
    leaving: DashMap<DeviceKey, usize>,
    links: DashMap<NetworkServerId, Arc<Link>>,
    pub(crate) shards: OnceLock<Vec<ActorRef<ShardMessage>>>,
    timers: OnceLock<Timers>,
    writer: RwLock<Option<ActorRef<WriterMessage>>>,
    jobs: RwLock<Option<ActorRef<JobMessage>>>,
    /// Jobs that are not over, as they stand.
    pub(crate) job_views: DashMap<JobId, JobView>,
    pub(crate) stopping: AtomicBool,
    loading: Semaphore,
}

/// A device is about to leave the registry; over when this is dropped.
#[must_use = "it is over when this is dropped"]
pub struct Leaving {
    shared: Arc<Shared>,
    key: DeviceKey,
}

impl Leaving {
    fn begin(shared: Arc<Shared>, key: DeviceKey) -> Self {
        *shared.leaving.entry(key).or_default() += 1;
        Self { shared, key }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let dashmap::Entry::Occupied(mut count) = self.shared.leaving.entry(self.key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) actor: ActorRef<DeviceMessage>,
    /// Messages from outside in its mailbox.
    pub(crate) depth: Arc<AtomicUsize>,
    pub(crate) unfinished: Arc<AtomicBool>,
    /// Whose it is, as soon as it is loaded. The device that is there under another tenant has another actor.
    pub(crate) owner: Arc<OnceLock<TenantId>>,
}

impl System {
    /// Starts the actors and takes up what was unfinished. `run` tells this run of the service from others.
    ///
    /// Commands for a network server that is not among `servers` wait until it is connected.
    pub async fn start(
        config: SystemConfig,
        store: Arc<dyn DeviceStore>,
        servers: Vec<(NetworkServerId, Arc<dyn NetworkServer>)>,
        clock: Clock,
        run: u64,
    ) -> Result<Self, StartError> {
        let shared = Arc::new(Shared {
            clock,
            store: Arc::clone(&store),
            policy: config.policy.clone(),
            feed: Feed::new(run),
            run,
            devices: DashMap::new(),
            leaving: DashMap::new(),
            links: DashMap::new(),
            shards: OnceLock::new(),
            timers: OnceLock::new(),
            writer: RwLock::new(None),
            jobs: RwLock::new(None),
            job_views: DashMap::new(),
            stopping: AtomicBool::new(false),
            loading: Semaphore::new(LOADED_AT_ONCE),
        });
        shared
            .timers
            .get_or_init(|| Timers::start(Arc::downgrade(&shared)));
        let arguments = RootArguments {
            shared: Arc::clone(&shared),
            config,
            servers,
        };
        let (root, _) = Actor::spawn(None, Root, arguments).await?;
        for key in store.unfinished().await? {
            shared.restore(key, Duration::ZERO);
        }
        Ok(Self { shared, root })
    }

    /// Reaches a network server like this from now on; `None`: not at all, and what concerns it waits. What was under
    /// way with it is repeated.
    pub async fn connect(&self, id: NetworkServerId, server: Option<Arc<dyn NetworkServer>>) {
        let (done, connected) = oneshot::channel();
        let message = RootMessage::Connect { id, server, done };
        if self.root.post(message).is_ok() {
            // Fails only when the service is going down.
            let _ = connected.await;
        }
    }

    /// Accepts a command: when this returns, it is committed.
    pub async fn submit(
        &self,
        scope: Scope,
        key: DeviceKey,
        mut order: Order,
    ) -> Result<Submission, AskError> {
        // Named before it is asked, so that asking a second time cannot make two of it.
        order
            .id
            .get_or_insert_with(|| DownlinkId::from_uuid(uuid::Uuid::now_v7()));
        self.ask(key, |reply| DeviceMessage::Submit {
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
        key: DeviceKey,
        id: DownlinkId,
        by: By,
    ) -> Result<Cancellation, AskError> {
        self.ask(key, |reply| DeviceMessage::Cancel {
            scope,
            id,
            by: Some(by.clone()),
            reply,
        })
        .await
    }

    /// Keeps jobs going from now on, those first that were unfinished.
    pub async fn run_jobs(&self, store: Arc<dyn JobStore>) {
        let (done, running) = oneshot::channel();
        let message = RootMessage::RunJobs { store, done };
        if self.root.post(message).is_ok() {
            // Fails only when the service is going down.
            let _ = running.await;
        }
    }

    /// A job was written down: its devices are told.
    pub fn job_made(&self, id: JobId) {
        self.shared.jobs(JobMessage::Begin(id));
    }

    /// Pauses, resumes or cancels a job: when this returns, it is committed.
    pub async fn command_job(
        &self,
        scope: Scope,
        id: JobId,
        command: JobCommand,
        by: By,
    ) -> Result<(), JobError> {
        let (reply, answer) = oneshot::channel();
        self.shared.jobs(JobMessage::Command {
            scope,
            id,
            command,
            by,
            reply,
        });
        // A runner that ended before it answered has committed nothing, or is being restarted.
        answer.await.unwrap_or(Err(JobError::StoreUnavailable))
    }

    /// How a job that is not over stands right now; `None` for others, and before the runner has taken it up.
    pub fn job_view(&self, id: JobId) -> Option<JobView> {
        self.shared.job_views.get(&id).map(|view| view.clone())
    }

    /// Wants a device to show a light from now on, without waiting for it: when this returns, the wish is committed. A
    /// command is given only where the device does not show it already, or is not about to.
    pub async fn desire(
        &self,
        scope: Scope,
        key: DeviceKey,
        light: LightState,
        by: By,
    ) -> Result<Desire, AskError> {
        // Named before it is asked, as a command is.
        let id = DownlinkId::from_uuid(uuid::Uuid::now_v7());
        self.ask(key, |reply| DeviceMessage::Desire {
            scope,
            id,
            light,
            by: by.clone(),
            reply,
        })
        .await
    }

    /// Wants nothing of a device any more; what somebody ordered goes on.
    pub async fn clear_desire(&self, scope: Scope, key: DeviceKey, by: By) -> Result<(), AskError> {
        self.ask(key, |reply| DeviceMessage::ClearDesire {
            scope,
            by: by.clone(),
            reply,
        })
        .await
    }

    /// Has a device told the settings that its codec wants after a join; without `force` only if that was not done
    /// within the last hour of this boot epoch. When this returns, it is committed that they will be sent.
    ///
    /// `by`: who asks, for the audit log; nobody when something greater is written down there already.
    pub async fn initialise(
        &self,
        scope: Scope,
        key: DeviceKey,
        force: bool,
        by: Option<By>,
    ) -> Result<Initialising, AskError> {
        self.ask(key, |reply| DeviceMessage::Initialise {
            scope,
            force,
            by: by.clone(),
            reply,
        })
        .await
    }

    /// Tells a device what was told of it: when this returns, it is committed. Telling it twice does no harm. `report`
    /// makes it, anew for each actor that has to be told.
    pub async fn report(
        &self,
        scope: Scope,
        key: DeviceKey,
        report: impl Fn() -> Report,
    ) -> Result<(), AskError> {
        self.ask(key, |reply| DeviceMessage::Report {
            scope,
            report: Box::new(report()),
            reply,
        })
        .await
    }

    /// Sees to it that nothing begins with a device that is about to leave the registry, if nobody is at work on it:
    /// `None` if its actor is there, which has to be asked ([`System::retire`]). What is stored may be unfinished all the
    /// same; the store tells when it deletes.
    ///
    /// Until what is given is dropped, whoever takes the device up ends what it finds and takes no new command.
    /// [`System::registry_changed`] has to follow then, whatever came of it.
    pub fn leave_resting(&self, key: DeviceKey) -> Option<Leaving> {
        let leaving = Leaving::begin(Arc::clone(&self.shared), key);
        // Looked at after it is told: an actor that is not there yet will see that.
        (!self.shared.devices.contains_key(&key)).then_some(leaving)
    }

    /// Ends what is under way with a device, because it is about to leave the registry, to change its `DevEUI` or its
    /// codec: when this returns, its downlinks are cancelled and no new one is taken. [`System::registry_changed`] has to
    /// follow, whatever came of it.
    pub async fn retire(&self, scope: Scope, key: DeviceKey) -> Result<(), AskError> {
        self.ask(key, |reply| DeviceMessage::Retire { scope, reply })
            .await
    }

    /// Whose a device is, if it is in memory: what the registry said when it was last looked at, a moment ago at the most.
    pub fn owner(&self, key: DeviceKey) -> Option<TenantId> {
        self.shared.devices.get(&key)?.owner.get().copied()
    }

    /// A device was registered, changed or taken out: its actor, if there is one, looks at the registry again.
    pub fn registry_changed(&self, key: DeviceKey) {
        self.shared.deliver(key, DeviceMessage::RegistryChanged);
        let dev_eui = key.dev_eui;
        let link = self.shared.link(key.server);
        link.monitor(MonitorMessage::RegistryChanged { dev_eui });
    }

    /// A tenant has other settings: its devices' actors look at the registry again.
    pub fn tenant_changed(&self, tenant_id: TenantId) {
        for entry in &self.shared.devices {
            let _ = entry.actor.post(DeviceMessage::TenantChanged(tenant_id));
        }
    }

    /// The registry wants something of a network server for this device that it did not want before: it is looked up and
    /// carried out.
    pub fn sync_wanted(&self, key: DeviceKey) {
        let link = self.shared.link(key.server);
        link.synchronizer(SyncMessage::Wanted(Some(key.dev_eui)));
    }

    /// The registry wants something of many devices of a network server that it did not want before.
    pub fn syncs_wanted(&self, server: NetworkServerId) {
        let link = self.shared.link(server);
        link.synchronizer(SyncMessage::Wanted(None));
    }

    /// Calls a network server for an edge: within the bounds of all calls, and not while it does not answer.
    pub async fn call_server<T, Answer>(
        &self,
        server: NetworkServerId,
        call: impl FnOnce(Arc<dyn NetworkServer>) -> Answer + Send + 'static,
    ) -> Result<T, NetworkServerError>
    where
        T: Send + 'static,
        Answer: Future<Output = Result<T, NetworkServerError>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |server| {
            Box::pin(async move {
                let Some(server) = server else {
                    return Outcome::Unreachable;
                };
                let result = call(server).await;
                let outcome = outcome_of(&result);
                // Whoever asked may have gone.
                let _ = reply.send(result);
                outcome
            })
        });
        self.shared.link(server).pool(PoolMessage::Run(job));
        let away = "it does not answer, or none is configured";
        answer
            .await
            .unwrap_or_else(|_| Err(NetworkServerError::Unavailable(away.into())))
    }

    /// A device was silent for long: it decides whether it counts as gone.
    pub async fn look_at_silent(&self, key: DeviceKey) -> Result<(), AskError> {
        self.ask(key, |reply| DeviceMessage::Silent { reply }).await
    }

    /// What is known of a network server's gateways.
    pub fn gateways(&self, server: NetworkServerId) -> GatewaySnapshot {
        self.shared.link(server).gateways().clone()
    }

    /// What is known of the gateways of every network server that is configured, or of whose gateways something is known.
    pub fn all_gateways(&self) -> Vec<(NetworkServerId, GatewaySnapshot)> {
        let links = self.shared.links.iter();
        let mut gateways: Vec<_> = links
            .filter(|link| link.is_configured() || link.gateways().knows_any())
            .map(|link| (link.id, link.gateways().clone()))
            .collect();
        // The configuration's first, then by tenant.
        gateways.sort_by_key(|(server, _)| server.as_uuid());
        gateways
    }

    /// How a device gets on with the gateways that heard it; `None` if it was not heard.
    pub async fn links_of(&self, key: DeviceKey) -> Option<LinkedDevice> {
        let (reply, device) = oneshot::channel();
        let dev_eui = key.dev_eui;
        let link = self.shared.link(key.server);
        link.monitor(MonitorMessage::LinksOf { dev_eui, reply });
        device.await.ok().flatten()
    }

    /// The devices that a gateway heard, of one tenant if that is asked, by `DevEUI`: at most `limit` after one.
    pub async fn devices_of_gateway(
        &self,
        server: NetworkServerId,
        gateway_id: GatewayId,
        tenant_id: Option<TenantId>,
        after: Option<DevEui>,
        limit: usize,
    ) -> Vec<HeardDevice> {
        let (reply, devices) = oneshot::channel();
        self.shared.link(server).monitor(MonitorMessage::HeardBy {
            gateway_id,
            tenant_id,
            after,
            limit,
            reply,
        });
        devices.await.unwrap_or_default()
    }

    /// A tenant's devices that are in a class, as their last uplink told; in none in particular counts as C.
    pub async fn devices_of_class(
        &self,
        server: NetworkServerId,
        class: DeviceClass,
        tenant_id: TenantId,
    ) -> Vec<Owner> {
        let (reply, devices) = oneshot::channel();
        self.shared.link(server).monitor(MonitorMessage::OfClass {
            class,
            tenant_id,
            reply,
        });
        devices.await.unwrap_or_default()
    }

    /// Queues of a network server that are stuck, and that were left alone because not all in them is ours.
    pub fn queue_findings(&self, server: NetworkServerId) -> Vec<QueueFinding> {
        self.shared.link(server).findings()
    }

    /// Deletes all items of a device's queue in its network server, others' and those of commands under way too: only
    /// because a person wants it. A command of ours that was among them counts as lost on the air and is sent again.
    /// `items` is how many a look found there, for who watches.
    pub async fn flush_queue(
        &self,
        server: NetworkServerId,
        owner: Owner,
        items: u32,
    ) -> Result<(), NetworkServerError> {
        let dev_eui = owner.dev_eui;
        let flush = self.call_server(server, move |server| async move {
            server.flush_queue(dev_eui).await
        });
        flush.await?;
        let flushed = CleanerMessage::Flushed { owner, items };
        self.shared.link(server).cleaner(flushed);
        Ok(())
    }

    /// Messages that wait in the actors' mailboxes, by kind of actor, all of the process.
    pub fn backlogs(&self) -> Vec<(&'static str, u64)> {
        crate::mailbox::backlogs()
    }

    /// The budgets of a network server's gateways, as of a second ago at the most.
    pub fn airtime(&self, server: NetworkServerId) -> AirtimeSnapshot {
        self.shared.link(server).airtime()
    }

    /// All that happens.
    pub fn feed(&self) -> &Feed {
        &self.shared.feed
    }

    /// The clock of the actors.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// How the service fares, with the configuration's network server.
    pub fn health(&self) -> Health {
        self.health_with(NetworkServerId::Default)
    }

    /// How the service fares, with one of its network servers.
    pub fn health_with(&self, server: NetworkServerId) -> Health {
        let link = self.shared.link(server);
        Health {
            network_server_ok: link.answers(),
            network_server_takes_key: link.takes_key(),
            network_server_configured: link.is_configured(),
            devices_active: self.shared.devices.len(),
        }
    }

    /// Brings the metrics of what is in memory up to date; called before they are shown.
    pub fn measure(&self) {
        let devices = u32::try_from(self.shared.devices.len()).unwrap_or(u32::MAX);
        metrics::gauge!("downbeat_devices_active").set(devices);
    }

    /// Ends the actors: nothing new is taken, changes under way are written first. What is unfinished is taken up at
    /// the next start.
    pub async fn stop(&self, patience: Duration) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        let (done, flushed) = oneshot::channel();
        self.shared.writer(WriterMessage::Flush(done));
        let both = futures_util::future::join(flushed, self.keep_gateways());
        if tokio::time::timeout(patience, both).await.is_err() {
            tracing::warn!(
                "changes under way could not be written in time; the next start takes up what is stored"
            );
        }
        self.root.stop(Some("the service is stopping".to_owned()));
    }

    /// Stores what is known of gateways and links.
    async fn keep_gateways(&self) {
        let links = self.shared.links.iter();
        let keeping: Vec<_> = links
            .map(|link| {
                let (done, kept) = oneshot::channel();
                link.monitor(MonitorMessage::Keep { done });
                kept
            })
            .collect();
        futures_util::future::join_all(keeping).await;
    }

    async fn ask<T>(
        &self,
        key: DeviceKey,
        message: impl Fn(oneshot::Sender<Result<T, AskError>>) -> DeviceMessage,
    ) -> Result<T, AskError> {
        self.shared.ask(key, message).await
    }

    /// Ends a device's actor in the way a bug would.
    #[cfg(test)]
    pub(crate) fn panic_device(&self, key: DeviceKey) {
        self.shared.deliver(key, DeviceMessage::Panic);
    }

    /// Ends the pool and the writer without warning.
    #[cfg(test)]
    pub(crate) fn kill_services(&self) {
        self.shared.link(NetworkServerId::Default).kill_services();
        self.shared.writer_ref().expect("it is running").kill();
    }
}

impl Shared {
    /// Asks a device's actor, which is created if need be. If it ends before it answers, a new one is asked once more:
    /// what it had not committed did not happen.
    pub(crate) async fn ask<T>(
        &self,
        key: DeviceKey,
        message: impl Fn(oneshot::Sender<Result<T, AskError>>) -> DeviceMessage,
    ) -> Result<T, AskError> {
        for _ in 0..2 {
            if self.stopping.load(Ordering::Relaxed) {
                return Err(AskError::Stopping);
            }
            let entry = self.entry(key).await?;
            if entry.depth.fetch_add(1, Ordering::Relaxed) >= MAILBOX_MAX {
                leave_mailbox(&entry.depth);
                return Err(AskError::Overloaded);
            }
            let (reply, answer) = oneshot::channel();
            if entry.actor.post(message(reply)).is_err() {
                self.leave(key, entry.actor.get_id());
                continue;
            }
            if let Ok(answer) = answer.await {
                return answer;
            }
            self.leave(key, entry.actor.get_id());
        }
        Err(AskError::StoreUnavailable)
    }

    /// What is stored of a device, when it is its turn.
    pub(crate) async fn load(&self, key: DeviceKey) -> Result<Option<StoredDevice>, StoreError> {
        // It is never closed; were it, loading without a turn would be no harm.
        let _turn = self.loading.acquire().await;
        self.store.load(key).await
    }

    pub(crate) fn timers(&self) -> &Timers {
        self.timers
            .get()
            .expect("the timers are started before any device")
    }

    /// The numbers of a device: its own beat its tenant's, and those the configuration's.
    pub(crate) fn policy_of(&self, stored: &StoredDevice) -> Policy {
        let tenants = stored.tenant_policy.applied_to(&self.policy);
        let mut policy = stored.device_policy.applied_to(&tenants);
        policy.uplink_interval = stored.uplink_interval.unwrap_or(policy.uplink_interval);
        policy
    }

    /// A device's own randomness: no two march in step, and no two runs.
    pub(crate) fn seed(&self, key: DeviceKey) -> u64 {
        self.run ^ key.dev_eui.as_u64().rotate_left(32)
    }

    /// The link to a network server, made if need be.
    pub(crate) fn link(&self, id: NetworkServerId) -> Arc<Link> {
        if let Some(link) = self.links.get(&id) {
            return Arc::clone(&link);
        }
        let link = self.links.entry(id);
        Arc::clone(&link.or_insert_with(|| Arc::new(Link::new(id, self.clock.now()))))
    }

    /// What is known of the gateways of all network servers.
    pub(crate) fn all_gateways(&self) -> Vec<GatewaySnapshot> {
        let links = self.links.iter();
        links.map(|link| link.gateways().clone()).collect()
    }

    pub(crate) fn set_writer(&self, writer: ActorRef<WriterMessage>) {
        *self.writer.write().unwrap_or_else(PoisonError::into_inner) = Some(writer);
    }

    pub(crate) fn writer_ref(&self) -> Option<ActorRef<WriterMessage>> {
        self.writer
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A writer that is being restarted misses messages; the devices are told when it is back.
    pub(crate) fn writer(&self, message: WriterMessage) {
        if let Some(writer) = self.writer_ref() {
            let _ = writer.post(message);
        }
    }

    pub(crate) fn set_jobs(&self, runner: ActorRef<JobMessage>) {
        *self.jobs.write().unwrap_or_else(PoisonError::into_inner) = Some(runner);
    }

    pub(crate) fn jobs_ref(&self) -> Option<ActorRef<JobMessage>> {
        self.jobs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A runner that is being restarted misses messages; it takes up what is stored.
    pub(crate) fn jobs(&self, message: JobMessage) {
        if let Some(runner) = self.jobs_ref() {
            let _ = runner.post(message);
        }
    }

    pub(crate) fn set_unfinished(&self, key: DeviceKey, unfinished: bool) {
        if let Some(entry) = self.devices.get(&key) {
            entry.unfinished.store(unfinished, Ordering::Relaxed);
        }
    }

    pub(crate) fn set_owner(&self, key: DeviceKey, tenant_id: TenantId) {
        if let Some(entry) = self.devices.get(&key) {
            // The same at a second time: an actor is one device's for all its life.
            let _ = entry.owner.set(tenant_id);
        }
    }

    /// A message from outside was taken out of a device's mailbox.
    pub(crate) fn left_mailbox(&self, key: DeviceKey) {
        if let Some(entry) = self.devices.get(&key) {
            leave_mailbox(&entry.depth);
        }
    }

    /// Hands a message to a device that is in memory. One that is not has no use for it: it takes up what is stored.
    pub(crate) fn deliver(&self, key: DeviceKey, message: DeviceMessage) -> bool {
        let actor = self.devices.get(&key).map(|entry| entry.actor.clone());
        actor.is_some_and(|actor| actor.post(message).is_ok())
    }

    /// Tells all devices of a network server that are in memory.
    pub(crate) fn tell_devices_of(
        &self,
        server: NetworkServerId,
        message: impl Fn() -> DeviceMessage,
    ) {
        for entry in &self.devices {
            if entry.key().server == server {
                let _ = entry.actor.post(message());
            }
        }
    }

    /// Tells those of a network server that have something to do.
    pub(crate) fn tell_unfinished_of(
        &self,
        server: NetworkServerId,
        message: impl Fn() -> DeviceMessage,
    ) {
        for entry in &self.devices {
            if entry.key().server == server && entry.unfinished.load(Ordering::Relaxed) {
                let _ = entry.actor.post(message());
            }
        }
    }

    /// Whether somebody takes a device out of the registry who found no actor of it.
    pub(crate) fn is_leaving(&self, key: DeviceKey) -> bool {
        self.leaving.contains_key(&key)
    }

    /// Takes a device off the list, if it is still this actor's.
    pub(crate) fn leave(&self, key: DeviceKey, actor: ActorId) {
        self.devices
            .remove_if(&key, |_, entry| entry.actor.get_id() == actor);
    }

    /// Creates a device that has unfinished work again, after a pause.
    pub(crate) fn restore_later(&self, key: DeviceKey) {
        self.restore(key, shard::RESTART_PAUSE);
    }

    fn restore(&self, key: DeviceKey, pause: Duration) {
        if let Some(shard) = self.shard(key) {
            let _ = shard.post(ShardMessage::Restore { key, pause });
        }
    }

    fn shard(&self, key: DeviceKey) -> Option<&ActorRef<ShardMessage>> {
        let shards = self.shards.get()?;
        // Fibonacci hashing: DevEUIs of one batch differ in their last digits alone.
        let hash = key.dev_eui.as_u64().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        shards.get(usize::try_from(hash).ok()? % shards.len().max(1))
    }

    /// The device's actor, created if need be.
    async fn entry(&self, key: DeviceKey) -> Result<Entry, AskError> {
        if let Some(entry) = self.devices.get(&key) {
            return Ok(entry.clone());
        }
        let shard = self.shard(key).ok_or(AskError::Stopping)?;
        let (reply, entry) = oneshot::channel();
        shard
            .post(ShardMessage::Create {
                key,
                reply: Some(reply),
            })
            .map_err(|_| AskError::Stopping)?;
        entry.await.map_err(|_| AskError::Stopping)
    }
}
