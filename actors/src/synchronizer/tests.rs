//! The synchronizer with simulated ports and paused time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use downbeat_core::app_key::AppKey;
use downbeat_core::codec::Command;
use downbeat_core::gateway::ListedGateway;
use downbeat_core::id::{
    DevEui, DeviceId, DeviceKey, NetworkServerId, QueueItemId, Scope, TenantId,
};
use downbeat_core::light::{Color, LightState};
use downbeat_core::network::QueueItem;
use downbeat_core::pacer::SentLately;
use downbeat_core::sync::{OWNER_TAG, RemoteDevice, SyncState, WantedDevice, Wish};
use downbeat_core::time::Timestamp;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::clock::Clock;
use crate::port::{
    By, DeviceChange, DeviceStore, ListedApplication, ListedDevice, NetworkServer,
    NetworkServerError, NewQueueItem, StoreError, StoredDevice, StoredSync, SyncChange,
};
use crate::{Order, System, SystemConfig};

const APPLICATION: Uuid = Uuid::from_u128(1);
const PROFILE: Uuid = Uuid::from_u128(2);

fn dev_eui(number: u64) -> DevEui {
    DevEui::from_u64(0x2020_20ff_5033_0000 + number)
}

fn key(number: u64) -> DeviceKey {
    DeviceKey {
        server: NetworkServerId::Default,
        dev_eui: dev_eui(number),
    }
}

fn device_id(number: u64) -> DeviceId {
    DeviceId::from_uuid(Uuid::from_u128(u128::from(number) + 100))
}

#[derive(Debug, Clone)]
struct Row {
    wish: Wish,
    change: Option<SyncChange>,
}

impl Row {
    fn is_unfinished(&self) -> bool {
        let done = self.change.as_ref();
        done.is_none_or(|done| done.generation < self.wish.generation || done.unfinished)
    }

    fn is_synced(&self) -> bool {
        let done = self.change.as_ref();
        done.is_some_and(|done| done.synced_generation == self.wish.generation)
    }
}

/// The registry's wishes.
#[derive(Default)]
struct Registry {
    rows: Mutex<BTreeMap<DeviceKey, Row>>,
    is_away: AtomicBool,
    commits: AtomicUsize,
}

impl Registry {
    fn rows(&self) -> MutexGuard<'_, BTreeMap<DeviceKey, Row>> {
        self.rows.lock().unwrap()
    }

    fn reachable(&self) -> Result<(), StoreError> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("taken away".into()));
        }
        Ok(())
    }

    fn want(&self, number: u64, name: Option<&str>) {
        let mut rows = self.rows();
        let before = rows.get(&key(number));
        let generation = before.map_or(0, |row| row.wish.generation) + 1;
        let change = before.and_then(|row| row.change.clone());
        let device = name.map(|name| WantedDevice {
            device_id: device_id(number),
            name: name.to_owned(),
            description: String::new(),
            application_id: APPLICATION,
            device_profile_id: PROFILE,
            join_eui: None,
            tags: BTreeMap::new(),
            app_key_revision: Some(1),
        });
        let wish = Wish {
            generation,
            force: false,
            device,
        };
        rows.insert(key(number), Row { wish, change });
    }

    fn all_synced(&self) -> bool {
        self.rows().values().all(Row::is_synced)
    }
}

#[async_trait]
impl DeviceStore for Registry {
    async fn commit(&self, _changes: &[DeviceChange]) -> Result<(), StoreError> {
        self.reachable()
    }

    async fn load(&self, key: DeviceKey) -> Result<Option<StoredDevice>, StoreError> {
        self.reachable()?;
        let wish = self.rows().get(&key).map(|row| row.wish.clone());
        let device = wish.and_then(|wish| wish.device);
        Ok(device.map(|device| StoredDevice {
            device_id: device.device_id,
            tenant_id: TenantId::from_uuid(Uuid::nil()),
            codec: downbeat_core::codec::CodecKind::KuandoBusylight,
            uplink_interval: None,
            tenant_policy: downbeat_core::device::PolicySettings::default(),
            device_policy: downbeat_core::device::PolicySettings::default(),
            state: None,
        }))
    }

    async fn unfinished(&self) -> Result<Vec<DeviceKey>, StoreError> {
        Ok(Vec::new())
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
        server: NetworkServerId,
        limit: u32,
    ) -> Result<Vec<StoredSync>, StoreError> {
        self.reachable()?;
        let rows = self.rows();
        let rows = rows
            .iter()
            .filter(|(key, row)| key.server == server && row.is_unfinished());
        let wishes = rows.map(|(key, row)| StoredSync {
            key: *key,
            tenant_id: TenantId::from_uuid(Uuid::nil()),
            wish: row.wish.clone(),
            machine: row.change.as_ref().map(|change| change.machine.clone()),
        });
        Ok(wishes.take(limit as usize).collect())
    }

    async fn unfinished_syncs_of(
        &self,
        server: NetworkServerId,
        devices: &[DevEui],
    ) -> Result<Vec<StoredSync>, StoreError> {
        let mut wishes = self.unfinished_syncs(server, u32::MAX).await?;
        wishes.retain(|wish| devices.contains(&wish.key.dev_eui));
        Ok(wishes)
    }

    async fn load_sync(&self, _key: DeviceKey) -> Result<Option<StoredSync>, StoreError> {
        Ok(None)
    }

    async fn commit_syncs(&self, changes: &[SyncChange]) -> Result<(), StoreError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.reachable()?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        let mut rows = self.rows();
        for change in changes {
            let Some(row) = rows.get_mut(&change.key) else {
                continue;
            };
            let is_newest = row.wish.generation == change.generation;
            if is_newest && change.gone && row.wish.device.is_none() {
                rows.remove(&change.key);
            } else {
                row.change = Some(change.clone());
            }
        }
        Ok(())
    }

    async fn app_key(&self, _key: DeviceKey, revision: u32) -> Result<Option<AppKey>, StoreError> {
        self.reachable()?;
        Ok((revision == 1).then(|| AppKey::from_bytes([7; 16])))
    }
}

/// Devices, each with the key that it was given.
type Held = BTreeMap<DevEui, (RemoteDevice, Option<[u8; 16]>)>;

/// Holds devices; can be taken away, and counts what is asked of it.
#[derive(Default)]
struct Server {
    devices: Mutex<Held>,
    is_away: AtomicBool,
    /// The next answer to a change is lost, though the change is made.
    loses_answer: AtomicBool,
    calls: Mutex<Vec<Instant>>,
    enqueued: AtomicUsize,
}

impl Server {
    fn devices(&self) -> MutexGuard<'_, Held> {
        self.devices.lock().unwrap()
    }

    async fn called(&self) -> Result<(), NetworkServerError> {
        self.calls.lock().unwrap().push(Instant::now());
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.reachable()
    }

    fn reachable(&self) -> Result<(), NetworkServerError> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(NetworkServerError::Unavailable("taken away".into()));
        }
        Ok(())
    }

    fn changed(&self) -> Result<(), NetworkServerError> {
        if self.loses_answer.swap(false, Ordering::Relaxed) {
            return Err(NetworkServerError::AnswerLost("lost".into()));
        }
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        let devices = self.devices();
        devices
            .values()
            .map(|(device, _)| device.name.clone())
            .collect()
    }
}

#[async_trait]
impl NetworkServer for Server {
    async fn enqueue(
        &self,
        dev_eui: DevEui,
        _item: &NewQueueItem,
    ) -> Result<QueueItemId, NetworkServerError> {
        self.reachable()?;
        self.enqueued.fetch_add(1, Ordering::Relaxed);
        if self.devices().contains_key(&dev_eui) {
            Ok(QueueItemId::from_uuid(Uuid::now_v7()))
        } else {
            Err(NetworkServerError::UnknownDevice(dev_eui))
        }
    }

    async fn queue(&self, _dev_eui: DevEui) -> Result<Vec<QueueItem>, NetworkServerError> {
        self.reachable()?;
        Ok(Vec::new())
    }

    async fn flush_queue(&self, _dev_eui: DevEui) -> Result<(), NetworkServerError> {
        panic!("nobody flushes");
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

    async fn device(&self, dev_eui: DevEui) -> Result<Option<RemoteDevice>, NetworkServerError> {
        self.called().await?;
        let devices = self.devices();
        Ok(devices.get(&dev_eui).map(|(device, _)| device.clone()))
    }

    async fn create_device(&self, device: &RemoteDevice) -> Result<(), NetworkServerError> {
        self.called().await?;
        if self.devices().contains_key(&device.dev_eui) {
            return Err(NetworkServerError::Refused("duplicate key".to_owned()));
        }
        self.devices()
            .insert(device.dev_eui, (device.clone(), None));
        self.changed()
    }

    async fn update_device(&self, device: &RemoteDevice) -> Result<(), NetworkServerError> {
        self.called().await?;
        match self.devices().get_mut(&device.dev_eui) {
            Some((there, _)) => there.clone_from(device),
            None => return Err(NetworkServerError::UnknownDevice(device.dev_eui)),
        }
        self.changed()
    }

    async fn delete_device(&self, dev_eui: DevEui) -> Result<(), NetworkServerError> {
        self.called().await?;
        if self.devices().remove(&dev_eui).is_none() {
            return Err(NetworkServerError::UnknownDevice(dev_eui));
        }
        self.changed()
    }

    async fn set_app_key(&self, dev_eui: DevEui, key: &AppKey) -> Result<(), NetworkServerError> {
        self.called().await?;
        match self.devices().get_mut(&dev_eui) {
            Some((_, there)) => *there = Some(*key.expose_bytes()),
            None => return Err(NetworkServerError::UnknownDevice(dev_eui)),
        }
        self.changed()
    }

    async fn gateways(&self) -> Result<Vec<ListedGateway>, NetworkServerError> {
        self.reachable()?;
        Ok(Vec::new())
    }

    async fn ping(&self) -> Result<(), NetworkServerError> {
        self.reachable()
    }
}

struct World {
    system: System,
    registry: Arc<Registry>,
    server: Arc<Server>,
}

impl World {
    async fn over(registry: Arc<Registry>, server: Arc<Server>) -> Self {
        let clock = Clock::starting_at(Timestamp::from_millis(1_000_000_000));
        let servers: Vec<(_, Arc<dyn NetworkServer>)> =
            vec![(NetworkServerId::Default, Arc::clone(&server) as _)];
        let store = Arc::clone(&registry);
        let system = System::start(SystemConfig::default(), store, servers, clock, 1)
            .await
            .unwrap();
        Self {
            system,
            registry,
            server,
        }
    }

    async fn new() -> Self {
        Self::over(Arc::default(), Arc::default()).await
    }

    fn want(&self, number: u64, name: Option<&str>) {
        self.registry.want(number, name);
        self.system.sync_wanted(key(number));
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waited = timeout(Duration::from_mins(10), async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(waited.await.is_ok(), "{what}: {:?}", self.registry.rows());
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_is_made_renamed_and_taken_out() {
    let world = World::new().await;
    world.want(0, Some("Desk"));
    world
        .until("made", |world| world.registry.all_synced())
        .await;
    let (device, app_key) = world.server.devices()[&dev_eui(0)].clone();
    assert_eq!((device.name.as_str(), app_key), ("Desk", Some([7; 16])));
    assert_eq!(device.tags[OWNER_TAG], device_id(0).to_string());

    world.want(0, Some("Door"));
    world
        .until("renamed", |world| world.registry.all_synced())
        .await;
    assert_eq!(world.server.names(), ["Door"]);

    world.want(0, None);
    world
        .until("taken out", |world| world.registry.rows().is_empty())
        .await;
    assert!(world.server.devices().is_empty());
}

#[tokio::test(start_paused = true)]
async fn while_the_server_is_away_the_newest_wish_wins_and_nothing_is_made_for_one_that_is_gone() {
    let world = World::new().await;
    world.server.is_away.store(true, Ordering::Relaxed);
    world.want(0, Some("Desk"));
    world.want(1, Some("Shelf"));
    tokio::time::sleep(Duration::from_mins(1)).await;
    let failing = world.registry.rows()[&key(0)].change.clone().unwrap();
    assert!(
        failing.unfinished && failing.status.error.is_some(),
        "{failing:?}"
    );
    world.want(0, Some("Door"));
    world.want(1, None);
    tokio::time::sleep(Duration::from_mins(10)).await;
    world.server.calls.lock().unwrap().clear();

    world.server.is_away.store(false, Ordering::Relaxed);
    let returned = Instant::now();
    world
        .until("in step", |world| world.registry.all_synced())
        .await;
    assert!(
        returned.elapsed() < Duration::from_secs(5),
        "{:?}",
        returned.elapsed()
    );
    assert_eq!(world.server.names(), ["Door"]);
    let calls = world.server.calls.lock().unwrap().len();
    assert!(calls <= 3, "the shelf was nothing to do: {calls} calls");
}

#[tokio::test(start_paused = true)]
async fn calls_keep_to_the_pace() {
    let world = World::new().await;
    for number in 0..200 {
        world.registry.want(number, Some("Desk"));
    }
    world.system.syncs_wanted(NetworkServerId::Default);
    world
        .until("in step", |world| world.registry.all_synced())
        .await;
    assert_eq!(world.server.devices().len(), 200);
    let calls = world.server.calls.lock().unwrap().clone();
    // Each device was made and given its key.
    assert_eq!(calls.len(), 400);
    for (call, later) in calls.iter().zip(&calls[41..]) {
        assert!(later.duration_since(*call) >= Duration::from_secs(1));
    }
    let commits = world.registry.commits.load(Ordering::Relaxed);
    assert!(commits < 800, "many devices share a transaction: {commits}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_looked_up_and_a_store_that_went_loses_nothing() {
    let world = World::new().await;
    world.server.loses_answer.store(true, Ordering::Relaxed);
    world.want(0, Some("Desk"));
    tokio::time::sleep(Duration::from_millis(20)).await;
    world.registry.is_away.store(true, Ordering::Relaxed);
    world.want(1, Some("Shelf"));
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert!(!world.registry.all_synced());
    world.registry.is_away.store(false, Ordering::Relaxed);
    world
        .until("in step", |world| world.registry.all_synced())
        .await;
    assert_eq!(world.server.names(), ["Desk", "Shelf"]);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_starts_takes_up_what_was_not_finished() {
    let (registry, server) = (Arc::<Registry>::default(), Arc::<Server>::default());
    registry.want(0, Some("Desk"));
    let world = World::over(registry, server).await;
    world
        .until("in step", |world| world.registry.all_synced())
        .await;
    world.system.kill_services();
    world.want(1, Some("Shelf"));
    world
        .until("after a crash", |world| world.registry.all_synced())
        .await;
    assert_eq!(world.server.names(), ["Desk", "Shelf"]);
}

#[tokio::test(start_paused = true)]
async fn a_command_waits_until_the_server_has_the_device() {
    let world = World::new().await;
    world.server.is_away.store(true, Ordering::Relaxed);
    world.want(0, Some("Desk"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let order = Order {
        id: None,
        command: Command::SetLight(LightState::steady(Color::rgb(255, 0, 0))),
        confirmed: false,
        verify: true,
        transient: false,
        attempts_max: None,
        by: By::downbeat(),
        ttl: None,
        job: None,
        until_deadline: None,
    };
    let submitted = world.system.submit(Scope::Platform, key(0), order).await;
    assert!(submitted.is_ok());
    world.server.is_away.store(false, Ordering::Relaxed);
    world
        .until("enqueued", |world| {
            world.server.enqueued.load(Ordering::Relaxed) > 0
        })
        .await;
    assert_eq!(
        world.server.enqueued.load(Ordering::Relaxed),
        1,
        "not before it was there"
    );
    assert_eq!(world.server.names(), ["Desk"]);
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_device_is_left_alone_and_shown() {
    let world = World::new().await;
    let theirs = RemoteDevice {
        dev_eui: dev_eui(0),
        name: "Theirs".to_owned(),
        description: String::new(),
        application_id: Uuid::from_u128(9),
        device_profile_id: PROFILE,
        join_eui: downbeat_core::id::JoinEui::from_u64(0),
        is_disabled: false,
        skip_fcnt_check: false,
        tags: BTreeMap::new(),
        variables: BTreeMap::new(),
    };
    world.server.devices().insert(dev_eui(0), (theirs, None));
    world.want(0, Some("Desk"));
    let state = |world: &World| {
        let rows = world.registry.rows();
        let change = rows[&key(0)].change.as_ref();
        change.map(|change| (change.status.state, change.unfinished))
    };
    world
        .until("given up", |world| {
            state(world) == Some((SyncState::Conflict, false))
        })
        .await;
    assert_eq!(world.server.names(), ["Theirs"]);
}
