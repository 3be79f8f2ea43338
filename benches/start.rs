//! From nothing to ready with 100,000 devices of which 10,000 have a command under way, on both stores; beside it, that
//! states of as many are read by their database alone. The ratio is printed at the end.

mod times;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use downbeat::seal::Sealer;
use downbeat::store::{By, DEFAULT_TENANT, DeviceFields, NewDevice, PageRequest, Scope, Store};
use downbeat_actors::clock::Clock;
use downbeat_actors::port::{DeviceChange, DeviceStore as _};
use downbeat_actors::{System, SystemConfig};
use downbeat_core::codec::{CodecKind, Command};
use downbeat_core::device::{Device, Effect, Event, Policy, PolicySettings, Request};
use downbeat_core::gateway::GatewayTable;
use downbeat_core::id::{DevEui, DeviceId, DeviceKey, DownlinkId, NetworkServerId, TenantId};
use downbeat_core::light::{Color, LightState};
use downbeat_core::time::Timestamp;
use downbeat_testdb::Database;
use futures_util::future::join_all;
use sqlx::{PgPool, SqlitePool};
use tokio::runtime::Runtime;
use uuid::Uuid;

use times::Times;

const DEVICES: u64 = 100_000;
const UNFINISHED: u64 = 10_000;

/// Longer than any start takes.
const PATIENCE: Duration = Duration::from_mins(2);

/// Registered at once.
const TOGETHER: u64 = 128;

fn key(number: u64) -> DeviceKey {
    DeviceKey {
        server: NetworkServerId::Default,
        dev_eui: DevEui::from_u64(0x7b26_0b5d_0000_0000 + number),
    }
}

fn registration(number: u64, tenant_id: TenantId, now: Timestamp) -> NewDevice {
    NewDevice {
        id: DeviceId::from_uuid(Uuid::now_v7()),
        tenant_id,
        created_at: now,
        fields: DeviceFields {
            name: format!("Light {number}"),
            description: String::new(),
            device_type: "light".to_owned(),
            tags: BTreeMap::new(),
            codec: CodecKind::KuandoBusylight,
            dev_eui: Some(key(number).dev_eui),
            chirpstack_app_id: None,
            device_profile_id: None,
            join_eui: None,
            uplink_interval: None,
            policy: PolicySettings::default(),
        },
        app_key: None,
    }
}

/// A colour was accepted, and waits for a gateway.
fn command_under_way(number: u64, device: &NewDevice, now: Timestamp) -> DeviceChange {
    let codec = CodecKind::KuandoBusylight;
    let mut machine = Device::new(codec, Policy::default(), number);
    let command = Command::SetLight(LightState::steady(Color::rgb(255, 0, 0)));
    let id = DownlinkId::from_uuid(Uuid::now_v7());
    let request = Request::new(id, codec, &command, false, true);
    let request = request.expect("the codec knows colours");
    let nowhere = GatewayTable::default().snapshot(now);
    let effects = machine.step(now, Event::Requested(request), &nowhere);
    let records = effects.into_iter().filter_map(|effect| {
        if let Effect::Record(record) = effect {
            Some(*record)
        } else {
            None
        }
    });
    DeviceChange {
        dev_eui: key(number).dev_eui,
        device_id: device.id,
        tenant_id: device.tenant_id,
        state: serde_json::to_string(&machine).expect("it is written all the time"),
        unfinished: true,
        row_changed: true,
        presence_changed: true,
        unfinished_changed: true,
        at: now,
        last_seen: None,
        rssi_dbm: None,
        snr_db: None,
        battery_percent: None,
        desired: None,
        reported: None,
        records: records.collect(),
        presence: machine.presence(),
        initialisation: None,
        uplinks_heard: 0,
        uplinks_missed: 0,
        history: Vec::new(),
        telemetry: Vec::new(),
        audit: None,
    }
}

async fn fill(url: &str) {
    let store = open(url).await;
    let tenants = store.list_tenants(Scope::Platform, PageRequest::first(10));
    let tenants = tenants.await.expect("the database is there").items;
    let default = tenants.iter().find(|it| it.fields.name == DEFAULT_TENANT);
    let tenant_id = default.expect("it is made with the database").id;
    let by = By::command_line();
    // Commands of long ago would be over at once.
    let now = Clock::system().now();
    let numbers: Vec<u64> = (0..DEVICES).collect();
    for some in numbers.chunks(usize::try_from(TOGETHER).expect("it is small")) {
        let new: Vec<NewDevice> = some
            .iter()
            .map(|number| registration(*number, tenant_id, now))
            .collect();
        let made = new
            .iter()
            .map(|new| store.create_device(Scope::Platform, new, &by));
        for made in join_all(made).await {
            made.expect("it is new");
        }
        let busy = some.iter().zip(&new).filter(|(it, _)| **it < UNFINISHED);
        let changes: Vec<_> = busy
            .map(|(number, new)| command_under_way(*number, new, now))
            .collect();
        let done = store.commit(&changes).await;
        done.expect("the database is there");
    }
    store.close().await;
}

async fn open(url: &str) -> Store {
    let store = Store::open(url, Sealer::from_key([7; 32])).await;
    store.expect("the database is there")
}

/// Until every device that has something under way is in memory.
async fn start(url: &str) -> Duration {
    let began = Instant::now();
    let store = open(url).await;
    let config = SystemConfig::default();
    let system = System::start(
        config,
        Arc::new(store.clone()),
        Vec::new(),
        Clock::system(),
        1,
    );
    let system = system.await.expect("the database is there");
    let all_there = async {
        for number in 0..UNFINISHED {
            while system.owner(key(number)).is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    let there = tokio::time::timeout(PATIENCE, all_there).await;
    there.expect("each is taken up");
    let took = began.elapsed();
    system.stop(Duration::from_secs(5)).await;
    store.close().await;
    took
}

const STATES: &str = "SELECT state FROM device_state JOIN device ON device.id = device_state.device_id WHERE unfinished";

/// The same states, read by nobody in particular.
async fn read(url: &str) -> Duration {
    let began = Instant::now();
    let read = if url.starts_with("sqlite") {
        let pool = SqlitePool::connect(url).await.expect("the file is there");
        let states = sqlx::query_scalar(STATES).fetch_all(&pool).await;
        pool.close().await;
        states
    } else {
        let pool = PgPool::connect(url).await.expect("the server is there");
        let states = sqlx::query_scalar(STATES).fetch_all(&pool).await;
        pool.close().await;
        states
    };
    let states: Vec<String> = read.expect("the table is there");
    assert_eq!(u64::try_from(states.len()), Ok(UNFINISHED));
    began.elapsed()
}

fn beside(criterion: &mut Criterion, name: &str, runtime: &Runtime, url: &str) {
    runtime.block_on(fill(url));
    let mut group = criterion.benchmark_group(format!("start on {name}"));
    group
        .sample_size(10)
        .sampling_mode(criterion::SamplingMode::Flat);
    let (mut ours, mut theirs) = (Times::default(), Times::default());
    group.bench_function("ready", |bencher| {
        ours.measure(bencher, |times| {
            (0..times).map(|_| runtime.block_on(start(url))).sum()
        });
    });
    group.bench_function("states read", |bencher| {
        theirs.measure(bencher, |times| {
            (0..times).map(|_| runtime.block_on(read(url))).sum()
        });
    });
    group.finish();
    let (ours, theirs) = (ours.median(), theirs.median());
    eprintln!(
        "{name}: ready after {:.2} s, {:.1} times as long as reading the states takes",
        ours,
        ours / theirs
    );
}

fn sqlite(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be made");
    let folder = tempfile::tempdir().expect("there is a place for files");
    let url = format!("sqlite://{}", folder.path().join("start.db").display());
    beside(criterion, "SQLite", &runtime, &url);
}

fn postgres(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be made");
    let database = Database::empty();
    beside(criterion, "PostgreSQL", &runtime, &database.url());
}

criterion_group!(benches, sqlite, postgres);
criterion_main!(benches);
