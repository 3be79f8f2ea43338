//! The actors together, with simulated ports and paused time: every second in these stories is exact and takes none.

mod gateways;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use downbeat_core::app_key::AppKey;
use downbeat_core::codec::{CodecKind, Command};
use downbeat_core::device::{
    Downlink, DownlinkState, InitialisationPlan, InitialisationState, Policy, PolicySettings,
    Reason, Record,
};
use downbeat_core::gateway::{ListedGateway, ListedState};
use downbeat_core::id::{
    DevAddr, DevEui, DeviceId, DeviceKey, FPort, GatewayId, NetworkServerId, QueueItemId, Scope,
    TenantId,
};
use downbeat_core::light::{Color, LightState};
use downbeat_core::network::{NetworkEvent, QueueItem, Reception, Transmitted, Uplink};
use downbeat_core::pacer::SentLately;
use downbeat_core::radio::{DeviceClass, Modulation};
use downbeat_core::sync::RemoteDevice;
use downbeat_core::time::Timestamp;
use tokio::time::timeout;
use uuid::Uuid;

use crate::clock::Clock;
use crate::port::{
    By, DeviceChange, DeviceStore, GatewayMemory, HistoryEntry, ListedApplication, ListedDevice,
    NetworkServer, NetworkServerError, NewQueueItem, StoreError, StoredDevice, StoredGateway,
    StoredLinks, StoredSync, SyncChange,
};
use crate::system::LOADED_AT_ONCE;
use crate::{AskError, Order, Report, Submission, System, SystemConfig};

const RED: LightState = LightState::steady(Color::rgb(255, 0, 0));
const GATEWAY: GatewayId = GatewayId::from_u64(0x0016_c001_5033_0000);

fn device(number: u64) -> DevEui {
    DevEui::from_u64(0x2020_20ff_5033_0000 + number)
}

fn key(dev_eui: DevEui) -> DeviceKey {
    DeviceKey {
        server: NetworkServerId::Default,
        dev_eui,
    }
}

/// Keeps what is committed; can be taken away.
#[derive(Default)]
struct Kept {
    states: Mutex<BTreeMap<DevEui, (Option<String>, bool)>>,
    downlinks: Mutex<BTreeMap<Uuid, Downlink>>,
    gateways: Mutex<BTreeMap<GatewayId, StoredGateway>>,
    links: Mutex<BTreeMap<DevEui, StoredLinks>>,
    away: AtomicBool,
    hangs: AtomicBool,
    /// So many devices are being loaded, and were at the most.
    loading: AtomicUsize,
    loading_max: AtomicUsize,
    /// So many commits fail yet.
    failures: AtomicUsize,
    /// What the devices have otherwise than the configuration.
    policy: Mutex<PolicySettings>,
}

impl Kept {
    fn with_devices(count: u64) -> Arc<Self> {
        let kept = Self::default();
        let states = (0..count)
            .map(|number| (device(number), (None, false)))
            .collect();
        *kept.states.lock().unwrap() = states;
        Arc::new(kept)
    }

    fn downlink(&self, id: Uuid) -> Downlink {
        self.downlinks.lock().unwrap()[&id].clone()
    }
}

#[async_trait]
impl DeviceStore for Kept {
    async fn commit(&self, changes: &[DeviceChange]) -> Result<(), StoreError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let failures = |left: usize| left.checked_sub(1);
        let fails = self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, failures);
        if self.away.load(Ordering::Relaxed) || fails.is_ok() {
            return Err(StoreError::Unavailable("taken away".into()));
        }
        for change in changes {
            let state = (Some(change.state.clone()), change.unfinished);
            self.states.lock().unwrap().insert(change.dev_eui, state);
            for Record { downlink, .. } in &change.records {
                self.downlinks
                    .lock()
                    .unwrap()
                    .insert(downlink.id.as_uuid(), downlink.clone());
            }
        }
        Ok(())
    }

    async fn load(
        &self,
        DeviceKey { dev_eui, .. }: DeviceKey,
    ) -> Result<Option<StoredDevice>, StoreError> {
        let loading = self.loading.fetch_add(1, Ordering::Relaxed) + 1;
        self.loading_max.fetch_max(loading, Ordering::Relaxed);
        while self.hangs.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.loading.fetch_sub(1, Ordering::Relaxed);
        if self.away.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("taken away".into()));
        }
        Ok(self
            .states
            .lock()
            .unwrap()
            .get(&dev_eui)
            .map(|(state, _)| StoredDevice {
                device_id: DeviceId::from_uuid(Uuid::from_u128(u128::from(dev_eui.as_u64()))),
                tenant_id: TenantId::from_uuid(Uuid::nil()),
                codec: CodecKind::KuandoBusylight,
                uplink_interval: None,
                tenant_policy: PolicySettings::default(),
                device_policy: *self.policy.lock().unwrap(),
                state: state.clone(),
            }))
    }

    async fn unfinished(&self) -> Result<Vec<DeviceKey>, StoreError> {
        let states = self.states.lock().unwrap();
        Ok(states
            .iter()
            .filter(|(_, (_, unfinished))| *unfinished)
            .map(|(dev_eui, _)| key(*dev_eui))
            .collect())
    }

    async fn silent(
        &self,
        _now: Timestamp,
        _interval: Duration,
        _limit: u32,
    ) -> Result<Vec<DeviceKey>, StoreError> {
        Ok(Vec::new())
    }

    async fn sent_since(
        &self,
        _server: NetworkServerId,
        _since: Timestamp,
    ) -> Result<SentLately, StoreError> {
        Ok(SentLately::default())
    }

    async fn unfinished_syncs(
        &self,
        _server: NetworkServerId,
        _limit: u32,
    ) -> Result<Vec<StoredSync>, StoreError> {
        Ok(Vec::new())
    }

    async fn unfinished_syncs_of(
        &self,
        _server: NetworkServerId,
        _devices: &[DevEui],
    ) -> Result<Vec<StoredSync>, StoreError> {
        Ok(Vec::new())
    }

    async fn load_sync(&self, _key: DeviceKey) -> Result<Option<StoredSync>, StoreError> {
        Ok(None)
    }

    async fn commit_syncs(&self, _changes: &[SyncChange]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn app_key(&self, _key: DeviceKey, _revision: u32) -> Result<Option<AppKey>, StoreError> {
        Ok(None)
    }

    async fn load_gateways(&self, _: NetworkServerId) -> Result<Vec<StoredGateway>, StoreError> {
        Ok(self.gateways.lock().unwrap().values().cloned().collect())
    }

    async fn load_links(
        &self,
        _server: NetworkServerId,
        after: Option<DevEui>,
        limit: u32,
    ) -> Result<Vec<StoredLinks>, StoreError> {
        let links = self.links.lock().unwrap();
        let rest = links.values().filter(|it| Some(it.owner.dev_eui) > after);
        Ok(rest
            .take(usize::try_from(limit).unwrap())
            .cloned()
            .collect())
    }

    async fn keep_gateways(
        &self,
        _server: NetworkServerId,
        _at: Timestamp,
        changes: &GatewayMemory,
    ) -> Result<(), StoreError> {
        let kept = changes.kept.iter().cloned();
        let mut gateways = self.gateways.lock().unwrap();
        gateways.extend(kept.map(|gateway| (gateway.gateway_id, gateway)));
        gateways.retain(|id, _| !changes.gone.contains(id));
        let links = changes.links.iter().cloned();
        let links = links.map(|links| (links.owner.dev_eui, links));
        self.links.lock().unwrap().extend(links);
        Ok(())
    }
}

/// Takes items and keeps them.
#[derive(Default)]
struct Server {
    clock: std::sync::OnceLock<Clock>,
    queues: Mutex<BTreeMap<DevEui, Vec<QueueItem>>>,
    enqueued: Mutex<Vec<(DevEui, QueueItemId)>>,
    away: AtomicBool,
    gateway_offline: AtomicBool,
    /// What has expired is dropped when it would be its turn, as ChirpStack does.
    drops_expired: AtomicBool,
    may_flush: AtomicBool,
    flushed: AtomicUsize,
    key_refused: AtomicBool,
}

impl Server {
    fn reachable(&self) -> Result<(), NetworkServerError> {
        if self.away.load(Ordering::Relaxed) {
            return Err(NetworkServerError::Unavailable("taken away".into()));
        }
        if self.key_refused.load(Ordering::Relaxed) {
            return Err(NetworkServerError::Unauthenticated);
        }
        Ok(())
    }

    fn enqueued(&self) -> Vec<(DevEui, QueueItemId)> {
        self.enqueued.lock().unwrap().clone()
    }

    /// A gateway takes the item.
    fn transmit(&self, dev_eui: DevEui, id: QueueItemId) -> NetworkEvent {
        self.queues
            .lock()
            .unwrap()
            .entry(dev_eui)
            .or_default()
            .retain(|item| item.id != id);
        NetworkEvent::Transmitted(Transmitted {
            queue_item_id: Some(id),
            f_cnt_down: 1,
            gateway_id: Some(GATEWAY),
            modulation: Some(Modulation::lora_125(9)),
            frequency_hz: Some(869_525_000),
            timing: None,
        })
    }
}

#[async_trait]
impl NetworkServer for Server {
    async fn enqueue(
        &self,
        dev_eui: DevEui,
        item: &NewQueueItem,
    ) -> Result<QueueItemId, NetworkServerError> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.reachable()?;
        let id = QueueItemId::from_uuid(Uuid::now_v7());
        let item = QueueItem {
            id,
            f_port: item.f_port,
            payload: item.payload.clone(),
            confirmed: item.confirmed,
            is_pending: false,
            expires_at: Some(item.expires_at),
        };
        self.queues
            .lock()
            .unwrap()
            .entry(dev_eui)
            .or_default()
            .push(item);
        self.enqueued.lock().unwrap().push((dev_eui, id));
        Ok(id)
    }

    async fn queue(&self, dev_eui: DevEui) -> Result<Vec<QueueItem>, NetworkServerError> {
        self.reachable()?;
        let mut queues = self.queues.lock().unwrap();
        let queue = queues.entry(dev_eui).or_default();
        if let Some(clock) = self.clock.get()
            && self.drops_expired.load(Ordering::Relaxed)
        {
            let now = clock.now();
            queue.retain(|item| item.expires_at.is_none_or(|at| now < at));
        }
        Ok(queue.clone())
    }

    async fn flush_queue(&self, dev_eui: DevEui) -> Result<(), NetworkServerError> {
        let may_flush = self.may_flush.load(Ordering::Relaxed);
        assert!(may_flush, "the life of a downlink never flushes");
        self.flushed.fetch_add(1, Ordering::Relaxed);
        self.queues.lock().unwrap().remove(&dev_eui);
        Ok(())
    }

    async fn applications(
        &self,
        _tenant_id: Option<Uuid>,
    ) -> Result<Vec<ListedApplication>, NetworkServerError> {
        Ok(Vec::new())
    }

    async fn devices(
        &self,
        _application_id: Uuid,
        _offset: u32,
        _limit: u32,
    ) -> Result<Vec<ListedDevice>, NetworkServerError> {
        Ok(Vec::new())
    }

    async fn device(&self, _dev_eui: DevEui) -> Result<Option<RemoteDevice>, NetworkServerError> {
        Ok(None)
    }

    async fn create_device(&self, device: &RemoteDevice) -> Result<(), NetworkServerError> {
        panic!("nobody asked for {}", device.dev_eui);
    }

    async fn update_device(&self, device: &RemoteDevice) -> Result<(), NetworkServerError> {
        panic!("nobody asked for {}", device.dev_eui);
    }

    async fn delete_device(&self, dev_eui: DevEui) -> Result<(), NetworkServerError> {
        panic!("nobody asked for {dev_eui}");
    }

    async fn set_app_key(&self, dev_eui: DevEui, _key: &AppKey) -> Result<(), NetworkServerError> {
        panic!("nobody asked for {dev_eui}");
    }

    async fn gateways(&self) -> Result<Vec<ListedGateway>, NetworkServerError> {
        self.reachable()?;
        let offline = self.gateway_offline.load(Ordering::Relaxed);
        Ok(vec![ListedGateway {
            gateway_id: GATEWAY,
            name: "roof".to_owned(),
            tenant_id: None,
            state: if offline {
                ListedState::Offline
            } else {
                ListedState::Online
            },
            last_seen_at: if offline {
                None
            } else {
                self.clock.get().map(Clock::now)
            },
            location: None,
        }])
    }

    async fn ping(&self) -> Result<(), NetworkServerError> {
        self.reachable()
    }
}

struct World {
    system: System,
    store: Arc<Kept>,
    server: Arc<Server>,
}

impl World {
    async fn with_devices(count: u64) -> Self {
        Self::over(Kept::with_devices(count), Arc::default()).await
    }

    async fn over(store: Arc<Kept>, server: Arc<Server>) -> Self {
        let config = SystemConfig {
            policy: Policy::default(),
            ..SystemConfig::default()
        };
        let clock = Clock::starting_at(Timestamp::from_millis(1_000_000_000));
        let _ = server.clock.set(clock.clone());
        let (kept, at): (_, Arc<dyn NetworkServer>) =
            (Arc::clone(&store), Arc::clone(&server) as _);
        let system = System::start(config, kept, vec![(NetworkServerId::Default, at)], clock, 1)
            .await
            .unwrap();
        Self {
            system,
            store,
            server,
        }
    }

    async fn order(&self, number: u64) -> Result<Submission, AskError> {
        let order = Order {
            id: None,
            command: Command::SetLight(RED),
            confirmed: false,
            verify: true,
            transient: false,
            attempts_max: None,
            by: By::downbeat(),
            ttl: None,
            job: None,
            until_deadline: None,
        };
        self.system
            .submit(Scope::Platform, key(device(number)), order)
            .await
    }

    async fn report(&self, number: u64, event: NetworkEvent) {
        let history = HistoryEntry {
            at: Timestamp::from_millis(0),
            kind: "up",
            body: "{}".to_owned(),
        };
        let report = Report {
            event,
            history: vec![history],
            telemetry: Vec::new(),
            told_at: tokio::time::Instant::now(),
        };
        self.system
            .report(Scope::Platform, key(device(number)), || report.clone())
            .await
            .unwrap();
    }

    /// Waits until the network server has that many items in all.
    async fn until_enqueued(&self, count: usize) -> Vec<(DevEui, QueueItemId)> {
        timeout(Duration::from_mins(10), async {
            while self.server.enqueued().len() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("it is enqueued");
        self.server.enqueued()
    }

    /// Red is sent, taken by a gateway, and reported by the light.
    async fn until_verified(&self, number: u64, submission: &mut Submission, items_before: usize) {
        let (dev_eui, item) = self.until_enqueued(items_before + 1).await[items_before];
        let transmitted = self.server.transmit(dev_eui, item);
        self.report(number, transmitted).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.report(number, reports(RED, 2, 1)).await;
        let states = states(submission).await;
        assert_eq!(states.last(), Some(&DownlinkState::Verified), "{states:?}");
    }
}

/// An uplink of a Busylight.
fn reports(light: LightState, f_cnt: u32, downlinks_received: u32) -> NetworkEvent {
    let mut payload = vec![0; 8];
    payload.extend(downlinks_received.to_le_bytes());
    payload.extend((f_cnt + 1).to_le_bytes());
    payload.extend([
        light.color.red,
        light.color.blue,
        light.color.green,
        light.on_time,
        light.off_time,
        58,
        12,
        1,
    ]);
    NetworkEvent::Heard(Uplink {
        deduplication_id: Some(Uuid::now_v7()),
        dev_addr: Some(DevAddr::from_u32(7)),
        f_cnt,
        f_port: FPort::from_uplink(15),
        confirmed: false,
        payload,
        data_rate: 5,
        modulation: Some(Modulation::lora_125(7)),
        class: Some(DeviceClass::C),
        receptions: vec![Reception {
            gateway_id: GATEWAY,
            rssi_dbm: -80,
            snr_db: 8.0,
        }],
        battery_percent: None,
        received_at: None,
    })
}

/// All states that a submission goes through, to its end.
async fn states(submission: &mut Submission) -> Vec<DownlinkState> {
    let mut states = vec![submission.downlink.state];
    while let Some(record) = submission.updates.recv().await {
        states.push(record.downlink.state);
    }
    states.dedup();
    states
}

#[tokio::test(start_paused = true)]
async fn a_colour_is_accepted_enqueued_transmitted_and_verified() {
    let world = World::with_devices(1).await;
    world.report(0, reports(LightState::OFF, 1, 0)).await;
    let mut submission = world.order(0).await.unwrap();
    let id = submission.downlink.id.as_uuid();
    assert_eq!(
        world.store.downlink(id).state,
        DownlinkState::Accepted,
        "it is committed before it is answered"
    );
    let (dev_eui, item) = world.until_enqueued(1).await[0];
    let transmitted = world.server.transmit(dev_eui, item);
    world.report(0, transmitted).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.report(0, reports(RED, 2, 1)).await;
    assert_eq!(
        states(&mut submission).await,
        [
            DownlinkState::Accepted,
            DownlinkState::Enqueued,
            DownlinkState::Transmitted,
            DownlinkState::Verified
        ]
    );
    assert_eq!(world.store.downlink(id).attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_panics_takes_nobody_along_and_starts_anew_from_the_store() {
    let world = World::with_devices(40).await;
    let mut submissions = Vec::new();
    for number in 0..40 {
        world.report(number, reports(LightState::OFF, 1, 0)).await;
        submissions.push(world.order(number).await.unwrap());
    }
    let mut taken = 0;
    while taken < 40 {
        let items = world.until_enqueued(taken + 1).await;
        for (dev_eui, item) in items.into_iter().skip(taken) {
            if dev_eui == device(7) {
                world.system.panic_device(key(dev_eui));
            }
            let number = dev_eui.as_u64() - device(0).as_u64();
            let transmitted = world.server.transmit(dev_eui, item);
            world.report(number, transmitted).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.report(number, reports(RED, 2, 1)).await;
            taken += 1;
        }
    }
    for (number, mut submission) in submissions.into_iter().enumerate() {
        let id = submission.downlink.id.as_uuid();
        states(&mut submission).await;
        assert_eq!(
            world.store.downlink(id).state,
            DownlinkState::Verified,
            "device {number}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_accepted_or_done_while_the_store_is_away() {
    let world = World::with_devices(2).await;
    world.report(0, reports(LightState::OFF, 1, 0)).await;
    world.store.away.store(true, Ordering::Relaxed);
    for number in [0, 1] {
        assert!(
            matches!(world.order(number).await, Err(AskError::StoreUnavailable)),
            "device {number}"
        );
    }
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(world.server.enqueued(), []);
    world.store.away.store(false, Ordering::Relaxed);
    let mut submission = world.order(0).await.unwrap();
    world.until_verified(0, &mut submission, 0).await;
}

#[tokio::test(start_paused = true)]
async fn what_builds_on_a_step_that_was_not_stored_is_not_stored_either() {
    let world = World::with_devices(1).await;
    world.report(0, reports(LightState::OFF, 1, 0)).await;
    // Every try of the first transaction, and no other: what comes meanwhile would be stored with the next.
    world.store.failures.store(4, Ordering::Relaxed);
    let later = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        world.order(0).await
    };
    let (first, second) = tokio::join!(world.order(0), later);
    for refused in [first, second] {
        assert!(
            matches!(refused, Err(AskError::StoreUnavailable)),
            "{refused:?}"
        );
    }
    assert_eq!(world.store.failures.load(Ordering::Relaxed), 0);
    let mut submission = world.order(0).await.unwrap();
    world.until_verified(0, &mut submission, 0).await;
    let stored = world.store.downlinks.lock().unwrap().len();
    assert_eq!(stored, 1, "nothing of what was refused");
}

#[tokio::test(start_paused = true)]
async fn work_that_was_under_way_when_the_store_went_goes_on_when_it_is_back() {
    let world = World::with_devices(1).await;
    world.report(0, reports(LightState::OFF, 1, 0)).await;
    let submission = world.order(0).await.unwrap();
    let id = submission.downlink.id.as_uuid();
    world.store.away.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert!(!world.store.downlink(id).state.is_terminal());
    world.store.away.store(false, Ordering::Relaxed);
    let (_, item) = *world.until_enqueued(1).await.last().unwrap();
    let transmitted = world.server.transmit(device(0), item);
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.report(0, transmitted).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.report(0, reports(RED, 2, 1)).await;
    assert_eq!(world.store.downlink(id).state, DownlinkState::Verified);
}

#[tokio::test(start_paused = true)]
async fn services_that_end_are_started_anew_and_the_commands_go_on() {
    let world = World::with_devices(3).await;
    let mut submissions = Vec::new();
    for number in 0..3 {
        world.report(number, reports(LightState::OFF, 1, 0)).await;
        submissions.push(world.order(number).await.unwrap());
        world.system.kill_services();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let ids: Vec<Uuid> = submissions
        .iter()
        .map(|submission| submission.downlink.id.as_uuid())
        .collect();
    let mut taken = BTreeSet::new();
    for _ in 0..120 {
        for (dev_eui, item) in world.server.enqueued() {
            if taken.insert(item) {
                let number = dev_eui.as_u64() - device(0).as_u64();
                let transmitted = world.server.transmit(dev_eui, item);
                world.report(number, transmitted).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
                let count = u32::try_from(taken.len()).unwrap();
                world.report(number, reports(RED, 1 + count, count)).await;
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    for id in ids {
        assert_eq!(world.store.downlink(id).state, DownlinkState::Verified);
    }
}

#[tokio::test(start_paused = true)]
async fn commands_wait_for_a_server_that_is_away_and_go_out_within_seconds_of_its_return() {
    let world = World::with_devices(20).await;
    world.server.away.store(true, Ordering::Relaxed);
    let mut submissions = Vec::new();
    for number in 0..20 {
        submissions.push(world.order(number).await.unwrap());
    }
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert!(!world.system.health().network_server_ok);
    assert_eq!(world.server.enqueued(), []);
    world.server.away.store(false, Ordering::Relaxed);
    timeout(Duration::from_secs(5), world.until_enqueued(1))
        .await
        .expect("within 5 s of its return");
    world.until_enqueued(20).await;
    for submission in &submissions {
        let downlink = world.store.downlink(submission.downlink.id.as_uuid());
        assert!(
            downlink.attempts <= 1,
            "waiting spends no attempt: {}",
            downlink.attempts
        );
    }
}

#[tokio::test(start_paused = true)]
async fn eighty_items_at_the_most_wait_for_transmission() {
    let world = World::with_devices(200).await;
    for number in 0..200 {
        world.order(number).await.unwrap();
    }
    let items = world.until_enqueued(80).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.server.enqueued().len(), 80);
    for (dev_eui, item) in items.into_iter().take(10) {
        let transmitted = world.server.transmit(dev_eui, item);
        world
            .report(dev_eui.as_u64() - device(0).as_u64(), transmitted)
            .await;
    }
    world.until_enqueued(90).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.server.enqueued().len(), 90);
}

#[tokio::test(start_paused = true)]
async fn a_command_waits_while_no_gateway_hears_the_device_and_goes_when_one_returns() {
    let world = World::with_devices(1).await;
    world.report(0, reports(LightState::OFF, 1, 0)).await;
    world.server.drops_expired.store(true, Ordering::Relaxed);
    world.server.gateway_offline.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(400)).await;
    let submission = world.order(0).await.unwrap();
    let id = submission.downlink.id.as_uuid();
    // Sent now and then to find out whether a gateway is back, which is no attempt.
    tokio::time::sleep(Duration::from_secs(280)).await;
    let waiting = timeout(Duration::from_mins(1), async {
        loop {
            let downlink = world.store.downlink(id);
            if downlink.state == DownlinkState::Waiting {
                return downlink;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let waiting = waiting.await.expect("it waits again");
    assert_eq!(waiting.reason, Some(Reason::NoGateway));
    assert_eq!(waiting.attempts, 0);
    let tried = world.server.enqueued().len();
    assert!((1..=8).contains(&tried), "{tried}");
    world.server.gateway_offline.store(false, Ordering::Relaxed);
    timeout(Duration::from_secs(6), world.until_enqueued(tried + 1))
        .await
        .expect("with the next list of gateways");
}

#[tokio::test(start_paused = true)]
async fn a_restart_takes_up_what_was_unfinished() {
    let (store, server) = (Kept::with_devices(1), Arc::<Server>::default());
    let world = World::over(Arc::clone(&store), Arc::clone(&server)).await;
    world.report(0, reports(LightState::OFF, 1, 0)).await;
    let id = world.order(0).await.unwrap().downlink.id.as_uuid();
    world.until_enqueued(1).await;
    world.system.stop(Duration::from_secs(1)).await;
    drop(world);
    let world = World::over(store, server).await;
    let (dev_eui, item) = world.server.enqueued()[0];
    let transmitted = world.server.transmit(dev_eui, item);
    world.report(0, transmitted).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.report(0, reports(RED, 2, 1)).await;
    assert_eq!(world.store.downlink(id).state, DownlinkState::Verified);
    assert_eq!(
        world.server.enqueued().len(),
        1,
        "the item was adopted, not sent again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_start_with_much_to_do_leaves_the_database_to_others() {
    let store = Kept::with_devices(100);
    for (_, unfinished) in store.states.lock().unwrap().values_mut() {
        *unfinished = true;
    }
    store.hangs.store(true, Ordering::Relaxed);
    let world = World::over(Arc::clone(&store), Arc::default()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.system.health().devices_active, 100);
    let loading = || store.loading.load(Ordering::Relaxed);
    assert_eq!(loading(), LOADED_AT_ONCE);
    store.hangs.store(false, Ordering::Relaxed);
    for number in 0..100 {
        world.report(number, reports(LightState::OFF, 1, 0)).await;
    }
    assert_eq!(loading(), 0);
    assert_eq!(store.loading_max.load(Ordering::Relaxed), LOADED_AT_ONCE);
}

#[test]
fn idle_devices_leave_sooner_when_many_are_in_memory() {
    let few = crate::device::stay(1_000);
    for many in [100_000, 1_000_000] {
        assert!(crate::device::stay(many) * 10 < few, "{many}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_mailbox_refuses() {
    let world = World::with_devices(1).await;
    world.store.hangs.store(true, Ordering::Relaxed);
    let world = Arc::new(world);
    let asked: Vec<_> = (0..300)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.order(0).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.store.hangs.store(false, Ordering::Relaxed);
    let mut refused = 0;
    for answer in asked {
        if let Err(error) = answer.await.unwrap() {
            assert!(matches!(error, AskError::Overloaded), "{error}");
            refused += 1;
        }
    }
    assert_eq!(refused, 300 - 256);
}

#[tokio::test(start_paused = true)]
async fn idle_devices_are_let_go_and_unknown_ones_are_unknown() {
    let world = World::with_devices(5).await;
    for number in 0..5 {
        world.report(number, reports(LightState::OFF, 1, 0)).await;
    }
    assert_eq!(world.system.health().devices_active, 5);
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(world.system.health().devices_active, 0);
    assert!(matches!(world.order(5).await, Err(AskError::UnknownDevice)));
    let foreign = Scope::Tenant(TenantId::from_uuid(Uuid::max()));
    let cancel = world.system.cancel(
        foreign,
        key(device(0)),
        downbeat_core::id::DownlinkId::from_uuid(Uuid::nil()),
        By::downbeat(),
    );
    assert!(matches!(cancel.await, Err(AskError::UnknownDevice)));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_leaves_without_its_actor_takes_no_command_meanwhile() {
    let world = Arc::new(World::with_devices(2).await);
    let ordered = |number| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.order(number).await })
    };
    let leaving = [0, 1].map(|number| world.system.leave_resting(key(device(number))).unwrap());
    let (staying, gone) = (ordered(0), ordered(1));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!staying.is_finished() && !gone.is_finished());
    assert!(world.store.downlinks.lock().unwrap().is_empty());
    // An actor is there now, and is to be asked.
    assert!(world.system.leave_resting(key(device(0))).is_none());

    world.store.states.lock().unwrap().remove(&device(1));
    drop(leaving);
    for number in [0, 1] {
        world.system.registry_changed(key(device(number)));
    }
    let refused = gone.await.unwrap();
    assert!(matches!(refused, Err(AskError::UnknownDevice)));
    let accepted = staying.await.unwrap().unwrap().downlink.id.as_uuid();
    let downlinks = world.store.downlinks.lock().unwrap();
    assert_eq!(downlinks.keys().collect::<Vec<_>>(), [&accepted]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_holds_commands_without_spending_attempts_until_it_is_taken() {
    let world = World::with_devices(1).await;
    world.report(0, reports(LightState::OFF, 1, 0)).await;
    world.server.key_refused.store(true, Ordering::Relaxed);
    let mut submission = world.order(0).await.unwrap();
    tokio::time::sleep(Duration::from_mins(3)).await;
    let kept = world.store.downlink(submission.downlink.id.as_uuid());
    assert_eq!(kept.state, DownlinkState::Waiting);
    assert_eq!(kept.reason, Some(Reason::KeyRefused));
    assert_eq!(kept.attempts, 0);
    assert!(!world.system.health().network_server_takes_key);
    world.server.key_refused.store(false, Ordering::Relaxed);
    let asked = tokio::time::Instant::now();
    world.until_verified(0, &mut submission, 0).await;
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(world.system.health().network_server_takes_key);
}

#[tokio::test(start_paused = true)]
async fn a_light_is_wished_for_without_waiting_and_what_is_shown_needs_no_command() {
    let world = World::with_devices(1).await;
    let desire = |light| {
        world
            .system
            .desire(Scope::Platform, key(device(0)), light, By::downbeat())
    };
    world.report(0, reports(LightState::OFF, 1, 0)).await;
    let begun = desire(RED).await.unwrap();
    let id = begun.downlink_id.unwrap();
    assert!(!begun.is_converged);
    assert_eq!(desire(RED).await.unwrap().downlink_id, Some(id));
    let (dev_eui, item) = world.until_enqueued(1).await[0];
    world.report(0, world.server.transmit(dev_eui, item)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.report(0, reports(RED, 2, 1)).await;
    assert_eq!(
        world.store.downlink(id.as_uuid()).state,
        DownlinkState::Verified
    );
    // What another wish might still undo is over after a while.
    tokio::time::sleep(Duration::from_mins(2)).await;
    let shown = desire(RED).await.unwrap();
    assert_eq!((shown.downlink_id, shown.is_converged), (None, true));
    assert_eq!(world.server.enqueued().len(), 1);
    world
        .system
        .clear_desire(Scope::Platform, key(device(0)), By::downbeat())
        .await
        .unwrap();
    world.report(0, reports(LightState::OFF, 3, 1)).await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(world.server.enqueued().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_device_is_initialised_on_demand_and_whoever_asked_is_told() {
    let world = World::with_devices(1).await;
    world.report(0, reports(LightState::OFF, 1, 0)).await;
    let initialise = |force| {
        let by = Some(By::downbeat());
        world
            .system
            .initialise(Scope::Platform, key(device(0)), force, by)
    };
    let mut begun = initialise(false).await.unwrap();
    assert_eq!(begun.plan, InitialisationPlan::Start);
    assert_eq!(begun.status.unwrap().step, Some(1));
    assert_eq!(
        initialise(true).await.unwrap().plan,
        InitialisationPlan::Running
    );
    for count in 1..=2_u32 {
        let sent = usize::try_from(count).unwrap();
        let (dev_eui, item) = world.until_enqueued(sent).await[sent - 1];
        world.report(0, world.server.transmit(dev_eui, item)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        world
            .report(0, reports(LightState::OFF, 1 + count, count))
            .await;
    }
    let mut last = None;
    while let Some(status) = begun.updates.recv().await {
        last = Some(status);
    }
    let done = last.unwrap();
    assert_eq!(done.state, InitialisationState::Done);
    let skipped = initialise(false).await.unwrap().plan;
    let initialised_at = done.initialised_at.unwrap();
    assert_eq!(skipped, InitialisationPlan::Fresh { initialised_at });
}

#[tokio::test(start_paused = true)]
async fn other_settings_hold_from_the_moment_they_are_told_of() {
    let world = World::with_devices(1).await;
    world.report(0, reports(LightState::OFF, 1, 0)).await;
    *world.store.policy.lock().unwrap() = PolicySettings {
        attempts: Some(9),
        ..PolicySettings::default()
    };
    world
        .system
        .tenant_changed(TenantId::from_uuid(Uuid::nil()));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let submission = world.order(0).await.unwrap();
    assert_eq!(submission.downlink.attempts_max, 9);
}
