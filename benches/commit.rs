//! The writer's transaction on both stores, beside bare inserts of the same texts in one transaction: the ratio is what
//! counts, and is printed at the end.
//!
//! A change is what a command leaves at one of the five times that something of it is stored: accepted, begun,
//! enqueued, transmitted, verified. The bare inserts go into tables without any index but their key; downlinks and events
//! are in ten, and states are replaced. A batch of one is a wait for the disk in either case.

mod times;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use downbeat::seal::Sealer;
use downbeat::store::{By, DEFAULT_TENANT, DeviceFields, NewDevice, PageRequest, Scope, Store};
use downbeat_actors::port::{DeviceChange, DeviceStore as _, HistoryEntry};
use downbeat_core::codec::{CodecKind, Command};
use downbeat_core::device::{Device, Effect, Event, Policy, PolicySettings, Record, Request};
use downbeat_core::gateway::{GatewaySnapshot, GatewayTable};
use downbeat_core::id::{
    DevAddr, DevEui, DeviceId, DownlinkId, FPort, GatewayId, QueueItemId, TenantId,
};
use downbeat_core::light::{Color, LightState};
use downbeat_core::network::{NetworkEvent, Reception, Transmitted, Uplink};
use downbeat_core::radio::{DeviceClass, Modulation};
use downbeat_core::time::Timestamp;
use downbeat_testdb::Database;
use sqlx::{PgPool, QueryBuilder, SqlitePool};
use tokio::runtime::Runtime;
use uuid::Uuid;

use times::Times;

const GATEWAY: GatewayId = GatewayId::from_u64(0x0016_c001_5033_0000);

/// Changes of one transaction.
const SIZES: [u32; 3] = [1, 10, 100];

/// What an event of an uplink takes in the history.
const EVENT: &str = r#"{"f_cnt":17,"f_port":15,"confirmed":false,"data":"AAAAAAAAAAAAAAAAAAAAAAAAMv8AOgwB","data_rate":5,"modulation":{"lora":{"spreading_factor":7,"bandwidth_hz":125000}},"class":"C","dev_addr":"0105f037","received_at":"2026-11-23T11:20:46.821Z","receptions":[{"gateway_id":"0016c001f0000000","rssi_dbm":-85,"snr_db":9.0}]}"#;

/// A light whose machine lives through one command after the other.
struct Light {
    number: u64,
    device_id: DeviceId,
    tenant_id: TenantId,
    machine: Device,
    now: Timestamp,
    steps: u32,
}

impl Light {
    fn new(number: u64, tenant_id: TenantId) -> Self {
        let gateways = no_gateways();
        let mut light = Self {
            number,
            device_id: DeviceId::from_uuid(Uuid::now_v7()),
            tenant_id,
            machine: Device::new(CodecKind::KuandoBusylight, Policy::default(), number),
            now: Timestamp::from_millis(1_795_000_000_000),
            steps: 0,
        };
        light
            .machine
            .step(light.now, heard(LightState::OFF, 1, 0), &gateways);
        light
    }

    fn dev_eui(&self) -> DevEui {
        DevEui::from_u64(0x7b26_0b5d_0000_0000 + self.number)
    }

    /// The next step of its command, or the first one of the next command.
    fn next(&mut self) -> DeviceChange {
        let step = self.steps % 5;
        let round = self.steps / 5 + 1;
        self.steps += 1;
        self.now = self.now + Duration::from_millis(37);
        let [_, red, green, blue] = round.to_be_bytes();
        let light = LightState::steady(Color::rgb(red, green, blue));
        let item = QueueItemId::from_uuid(Uuid::from_u128(u128::from(round)));
        let command = Command::SetLight(light);
        let (event, history) = match step {
            0 => {
                let id = DownlinkId::from_uuid(Uuid::now_v7());
                let codec = CodecKind::KuandoBusylight;
                let request = Request::new(id, codec, &command, false, true);
                let request = request.expect("the codec knows colours");
                (Event::Requested(request), None)
            }
            1 => (Event::TurnGranted, None),
            2 => (
                Event::Enqueued {
                    attempt: 1,
                    queue_item_id: item,
                },
                None,
            ),
            3 => {
                let transmitted = Transmitted {
                    queue_item_id: Some(item),
                    f_cnt_down: round,
                    gateway_id: Some(GATEWAY),
                    modulation: Some(Modulation::lora_125(9)),
                    frequency_hz: None,
                    timing: None,
                };
                let event = NetworkEvent::Transmitted(transmitted);
                (Event::Network(event), Some("txack"))
            }
            _ => (heard(light, round + 1, round), Some("up")),
        };
        let effects = self.machine.step(self.now, event, &no_gateways());
        let records = effects.into_iter().filter_map(|effect| {
            if let Effect::Record(record) = effect {
                Some(*record)
            } else {
                None
            }
        });
        self.change(step, records.collect(), history)
    }

    fn change(
        &self,
        step: u32,
        records: Vec<Record>,
        history: Option<&'static str>,
    ) -> DeviceChange {
        let history = history.map(|kind| HistoryEntry {
            at: self.now,
            kind,
            body: EVENT.to_owned(),
        });
        DeviceChange {
            dev_eui: self.dev_eui(),
            device_id: self.device_id,
            tenant_id: self.tenant_id,
            state: serde_json::to_string(&self.machine).expect("it is written all the time"),
            unfinished: !self.machine.is_idle(),
            // Whether there is work to take up, and what was heard last.
            row_changed: step == 0 || step == 4,
            presence_changed: false,
            unfinished_changed: step == 0 || step == 4,
            at: self.now,
            last_seen: self.machine.last_seen(),
            rssi_dbm: Some(-80),
            snr_db: Some(8.0),
            battery_percent: None,
            desired: self.machine.desired().map(|desired| desired.light),
            reported: None,
            records,
            presence: self.machine.presence(),
            initialisation: None,
            uplinks_heard: u64::from(self.steps),
            uplinks_missed: 0,
            history: history.into_iter().collect(),
            telemetry: Vec::new(),
            audit: None,
        }
    }
}

fn no_gateways() -> GatewaySnapshot {
    GatewayTable::default().snapshot(Timestamp::from_millis(0))
}

fn heard(light: LightState, f_cnt: u32, downlinks_received: u32) -> Event {
    let mut payload = vec![0; 8];
    payload.extend(downlinks_received.to_le_bytes());
    payload.extend((f_cnt + 1).to_le_bytes());
    let Color { red, green, blue } = light.color;
    payload.extend([red, blue, green, light.on_time, light.off_time, 58, 12, 1]);
    Event::Network(NetworkEvent::Heard(Uplink {
        deduplication_id: Some(Uuid::nil()),
        dev_addr: Some(DevAddr::from_u32(1)),
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
    }))
}

/// The same texts without anything of ours around them.
enum Bare {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// A key and a text.
type Row = (Vec<u8>, String);

const STATES: &str = "INSERT INTO bare_state (id, body) ";
const ADDED: &str = "INSERT INTO bare_added (id, body) ";
const REPLACED: &str = " ON CONFLICT (id) DO UPDATE SET body = excluded.body";

impl Bare {
    async fn make(&self) {
        for table in ["bare_state", "bare_added"] {
            match self {
                Self::Sqlite(pool) => {
                    let sql = format!("CREATE TABLE {table} (id BLOB PRIMARY KEY, body TEXT)");
                    let made = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(pool).await;
                    made.map(drop)
                }
                Self::Postgres(pool) => {
                    let sql = format!("CREATE TABLE {table} (id bytea PRIMARY KEY, body text)");
                    let made = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(pool).await;
                    made.map(drop)
                }
            }
            .expect("the table is new");
        }
    }

    /// One transaction, with one statement for what is replaced and one for what is added.
    async fn insert(&self, states: &[Row], added: &[Row]) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(pool) => {
                let mut transaction = pool.begin().await?;
                let mut query = QueryBuilder::new(STATES);
                query.push_values(states, |mut row, (id, body)| {
                    row.push_bind(id).push_bind(body);
                });
                query.push(REPLACED);
                query.build().execute(&mut *transaction).await?;
                if !added.is_empty() {
                    let mut query = QueryBuilder::new(ADDED);
                    query.push_values(added, |mut row, (id, body)| {
                        row.push_bind(id).push_bind(body);
                    });
                    query.build().execute(&mut *transaction).await?;
                }
                transaction.commit().await
            }
            Self::Postgres(pool) => {
                let split =
                    |rows: &[Row]| -> (Vec<Vec<u8>>, Vec<String>) { rows.iter().cloned().unzip() };
                let mut transaction = pool.begin().await?;
                for (insert, rows, end) in [(STATES, states, REPLACED), (ADDED, added, "")] {
                    if rows.is_empty() {
                        continue;
                    }
                    let (ids, bodies) = split(rows);
                    let sql =
                        format!("{insert} SELECT * FROM unnest($1::bytea[], $2::text[]){end}");
                    let query = sqlx::query(sqlx::AssertSqlSafe(sql));
                    let query = query.bind(ids).bind(bodies);
                    query.execute(&mut *transaction).await?;
                }
                transaction.commit().await
            }
        }
    }
}

/// What a batch comes to: texts that replace others, and those that are added.
fn texts(changes: &[DeviceChange]) -> (Vec<Row>, Vec<Row>) {
    let mut states = Vec::new();
    let mut added = Vec::new();
    for change in changes {
        let key = change.device_id.as_uuid().as_bytes().to_vec();
        states.push((key, change.state.clone()));
        for record in &change.records {
            let id = record.downlink.id.as_uuid().as_bytes().to_vec();
            let body = serde_json::to_string(&record.downlink).expect("it is written all the time");
            states.push((id, body));
            let body = serde_json::to_string(&record.entry).expect("it is written all the time");
            added.push((Uuid::now_v7().as_bytes().to_vec(), body));
        }
        for entry in &change.history {
            added.push((Uuid::now_v7().as_bytes().to_vec(), entry.body.clone()));
        }
    }
    // A statement may replace a row once.
    states.sort_by(|one, other| one.0.cmp(&other.0));
    states.dedup_by(|one, other| one.0 == other.0);
    (states, added)
}

async fn register(store: &Store, lights: &mut [Light]) {
    for light in lights {
        let new = NewDevice {
            id: light.device_id,
            tenant_id: light.tenant_id,
            created_at: light.now,
            fields: DeviceFields {
                name: format!("Light {}", light.number),
                description: String::new(),
                device_type: "light".to_owned(),
                tags: std::collections::BTreeMap::new(),
                codec: CodecKind::KuandoBusylight,
                dev_eui: Some(light.dev_eui()),
                chirpstack_app_id: None,
                device_profile_id: None,
                join_eui: None,
                uplink_interval: None,
                policy: PolicySettings::default(),
            },
            app_key: None,
        };
        let by = By::command_line();
        let made = store.create_device(Scope::Platform, &new, &by).await;
        made.expect("it is new");
    }
}

async fn default_tenant(store: &Store) -> TenantId {
    let page = PageRequest {
        limit: 10,
        after: None,
    };
    let tenants = store.list_tenants(Scope::Platform, page).await;
    let tenants = tenants.expect("the database is there").items;
    let default = tenants.iter().find(|it| it.fields.name == DEFAULT_TENANT);
    default.expect("it is made with the database").id
}

/// Measures one store beside its database, and prints the ratios.
fn beside(criterion: &mut Criterion, name: &str, runtime: &Runtime, store: &Store, bare: &Bare) {
    let tenant_id = runtime.block_on(default_tenant(store));
    let mut lights: Vec<Light> = (0..400).map(|it| Light::new(it, tenant_id)).collect();
    runtime.block_on(register(store, &mut lights));
    runtime.block_on(bare.make());
    let mut at = 0;
    let mut batch = move |size: u32| -> Vec<DeviceChange> {
        let mut changes = Vec::new();
        for _ in 0..size {
            changes.push(lights[at % 400].next());
            // A prime stride: neighbours in a batch are at different steps of their commands.
            at += 127;
        }
        changes
    };
    let mut ratios = Vec::new();
    let mut group = criterion.benchmark_group(format!("commit on {name}"));
    for size in SIZES {
        group.throughput(Throughput::Elements(u64::from(size)));
        let (mut ours, mut theirs) = (Times::default(), Times::default());
        group.bench_function(BenchmarkId::new("ours", size), |bencher| {
            ours.measure(bencher, |times| {
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    let changes = batch(size);
                    let began = Instant::now();
                    let done = runtime.block_on(store.commit(&changes));
                    took += began.elapsed();
                    done.expect("the database is there");
                }
                took
            });
        });
        group.bench_function(BenchmarkId::new("bare inserts", size), |bencher| {
            theirs.measure(bencher, |times| {
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    let (states, added) = texts(&batch(size));
                    let began = Instant::now();
                    let done = runtime.block_on(bare.insert(&states, &added));
                    took += began.elapsed();
                    done.expect("the database is there");
                }
                took
            });
        });
        ratios.push((size, ours.median(), theirs.median()));
    }
    group.finish();
    for (size, ours, theirs) in ratios {
        eprintln!(
            "{name}, {size} changes: {:.0} changes/s, {:.2} of bare inserts",
            f64::from(size) / ours,
            theirs / ours
        );
    }
}

fn sqlite(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be made");
    let folder = tempfile::tempdir().expect("there is a place for files");
    let file = |name: &str| format!("sqlite://{}", folder.path().join(name).display());
    let _context = runtime.enter();
    let store = runtime.block_on(Store::open(&file("ours.db"), sealer()));
    let store = store.expect("the file is new");
    let bare = runtime.block_on(async {
        let options: sqlx::sqlite::SqliteConnectOptions =
            file("bare.db").parse().expect("that is a URL");
        let options = options
            .create_if_missing(true)
            .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
            .synchronous(sqlx::sqlite::SqliteSynchronous::Full);
        let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
        pool.connect_with(options).await.expect("the file is new")
    });
    beside(criterion, "SQLite", &runtime, &store, &Bare::Sqlite(bare));
    runtime.block_on(store.close());
}

fn postgres(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be made");
    let (ours, bare) = (Database::empty(), Database::empty());
    let _context = runtime.enter();
    let store = runtime.block_on(Store::open(&ours.url(), sealer()));
    let store = store.expect("the database is empty");
    let pool = runtime.block_on(PgPool::connect(&bare.url()));
    let pool = pool.expect("the server is there");
    let bare = Bare::Postgres(pool.clone());
    beside(criterion, "PostgreSQL", &runtime, &store, &bare);
    runtime.block_on(store.close());
    runtime.block_on(pool.close());
}

fn sealer() -> Sealer {
    Sealer::from_key([7; 32])
}

criterion_group!(benches, sqlite, postgres);
criterion_main!(benches);
