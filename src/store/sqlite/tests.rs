//! What only `SQLite` has: the file, its lock, and its error codes.

use std::io::Read as _;

use downbeat_actors::port::{DeviceStore, StoreError};
use downbeat_core::app_key::AppKey;
use downbeat_core::device::Presence;
use secrecy::SecretString;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqlitePool;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tempfile::TempDir;
use uuid::Uuid;

use super::Sqlite;
use crate::seal::Sealer;
use crate::store::conformance::{
    at, by, change, conformance, default_tenant, lamp, on_default, register, telemetry,
};
use crate::store::{
    Backend, DeviceFilter, NetworkServerFields, OpenStoreError, PageRequest, Scope, Store,
};

async fn fresh() -> (Store, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&url(&dir), Sealer::for_tests()).await.unwrap();
    (store, dir)
}

conformance!(fresh);

fn url(dir: &TempDir) -> String {
    format!("sqlite://{}", dir.path().join("downbeat.db").display())
}

fn sqlite(store: &Store) -> &Sqlite {
    match &store.backend {
        Backend::Sqlite(sqlite) => sqlite,
        Backend::Postgres(_) => panic!("these tests open files"),
    }
}

/// A connection beside the store's, as another process has one.
async fn other_process(dir: &TempDir) -> SqliteConnection {
    super::options(&dir.path().join("downbeat.db"))
        .connect()
        .await
        .unwrap()
}

#[tokio::test]
async fn what_is_committed_survives_a_process_that_never_closed() {
    let (store, dir) = fresh().await;
    let device = register(&store, default_tenant(&store).await, 1).await;
    store
        .commit(&[change(&device, "kept", at(1))])
        .await
        .unwrap();
    // As a killed process leaves them: the file and its log, copied while both are open.
    let crashed = tempfile::tempdir().unwrap();
    for file in ["downbeat.db", "downbeat.db-wal"] {
        std::fs::copy(dir.path().join(file), crashed.path().join(file)).unwrap();
    }
    let reopened = Store::open(&url(&crashed), Sealer::for_tests())
        .await
        .unwrap();
    assert_eq!(
        reopened
            .load(on_default(1))
            .await
            .unwrap()
            .unwrap()
            .state
            .as_deref(),
        Some("kept")
    );
    assert_eq!(default_tenant(&reopened).await, device.tenant_id);
}

#[tokio::test]
async fn what_was_not_committed_is_gone_after_a_crash() {
    let (store, dir) = fresh().await;
    let device = register(&store, default_tenant(&store).await, 1).await;
    let mut transaction = sqlite(&store).writer.begin().await.unwrap();
    sqlx::query("UPDATE device SET name = 'half done', revision = revision + 1")
        .execute(&mut *transaction)
        .await
        .unwrap();
    drop(transaction);
    store.close().await;
    let reopened = Store::open(&url(&dir), Sealer::for_tests()).await.unwrap();
    assert_eq!(
        reopened.device(Scope::Platform, device.id).await.unwrap(),
        Some(device)
    );
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let (store, dir) = fresh().await;
    store.close().await;
    let mut other = other_process(&dir).await;
    let newer =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (99990101000000, 'of the future', 1, x'00', 0)";
    sqlx::query(newer).execute(&mut other).await.unwrap();
    let refused = Store::open(&url(&dir), Sealer::for_tests()).await;
    let Err(OpenStoreError::SchemaNewer { found, known }) = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!(*found, 99_990_101_000_000);
    assert_eq!(*known, super::MIGRATIONS.iter().last().unwrap().version);
    let text = refused.unwrap_err().to_string();
    assert!(
        text.contains("newer") && text.contains("99990101000000"),
        "{text}"
    );
}

#[tokio::test]
async fn an_applied_migration_that_was_edited_is_refused() {
    let (store, dir) = fresh().await;
    store.close().await;
    let mut other = other_process(&dir).await;
    sqlx::query("UPDATE _sqlx_migrations SET checksum = x'00'")
        .execute(&mut other)
        .await
        .unwrap();
    assert!(matches!(
        Store::open(&url(&dir), Sealer::for_tests()).await,
        Err(OpenStoreError::Migrate(_))
    ));
}

#[tokio::test]
async fn a_database_of_the_first_version_is_brought_up_to_date_with_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    first_version(&dir).await;
    let store = Store::open(&url(&dir), Sealer::for_tests()).await.unwrap();
    let page = PageRequest::default();
    let tenants = store.list_tenants(Scope::Platform, page).await.unwrap();
    assert_eq!(tenants.items.len(), 1);
    let tenant = &tenants.items[0];
    assert_eq!(
        (tenant.fields.name.as_str(), tenant.version),
        ("default", 1)
    );
    assert_eq!(tenant.created_at, tenant.updated_at);

    let devices = store
        .list_devices(Scope::Platform, &DeviceFilter::default(), page)
        .await
        .unwrap()
        .items;
    let told: Vec<_> = devices
        .iter()
        .map(|device| (device.fields.name.as_str(), device.presence, device.version))
        .collect();
    let expected = [
        ("spoke", Presence::Online, 3),
        ("never spoke", Presence::NeverSeen, 1),
        ("on no air", Presence::NeverSeen, 1),
    ];
    assert_eq!(told, expected);
    let app = Uuid::from_u128(0x5aab_1bd1_d2c2_4d38_8b53_e4e4_fbbc_b1f9);
    assert_eq!(devices[0].fields.chirpstack_app_id, Some(app));
    assert_eq!(devices[0].fields.device_profile_id, Some(app));
    // What was no UUID named nothing in ChirpStack.
    assert_eq!(devices[1].fields.chirpstack_app_id, None);
    assert_eq!(devices[0].last_seen, Some(at(5)));
    assert_eq!(devices[0].reported.unwrap().1, at(5));

    let loaded = store.load(on_default(1)).await.unwrap().unwrap();
    assert_eq!(loaded.state.as_deref(), Some("kept"));
    assert_eq!(store.unfinished().await.unwrap(), [on_default(1)]);
    let wish = store.load_sync(on_default(1)).await.unwrap().unwrap();
    assert_eq!(wish.wish.device.unwrap().device_id, devices[0].id);
    assert_eq!(store.load_sync(on_default(2)).await.unwrap(), None);
    // A state goes with its device, as before.
    store
        .delete_device(Scope::Platform, devices[0].id, None, at(9), &by())
        .await
        .unwrap();
    let states: i64 = sqlx::query_scalar("SELECT count(*) FROM device_state")
        .fetch_one(&sqlite(&store).readers)
        .await
        .unwrap();
    assert_eq!(states, 0);
    let broken: Vec<(String,)> = sqlx::query_as("SELECT \"table\" FROM pragma_foreign_key_check")
        .fetch_all(&sqlite(&store).readers)
        .await
        .unwrap();
    assert!(broken.is_empty(), "{broken:?}");
}

/// A file as the first version left it.
async fn first_version(dir: &TempDir) {
    let pool = SqlitePool::connect_with(
        super::options(&dir.path().join("downbeat.db")).create_if_missing(true),
    );
    let pool = pool.await.unwrap();
    let first: Vec<_> = super::MIGRATIONS.iter().take(5).cloned().collect();
    Migrator::with_migrations(first).run(&pool).await.unwrap();
    for statement in [
        "INSERT INTO tenant (id, name, created_at) VALUES (x'00000000000000000000000000000001', 'default', 7)",
        "INSERT INTO device
            (id, tenant_id, name, description, device_type, tags, codec, dev_eui, chirpstack_app_id, device_profile_id,
             created_at, updated_at, version, last_seen, reported_color, reported_on_time, reported_off_time,
             reported_at, unfinished)
         VALUES
            (x'00000000000000000000000000000001', x'00000000000000000000000000000001', 'spoke', '', '', '{}', 'kuando_busylight',
             '202020ff00000001', '5AAB1BD1D2C24D388B53E4E4FBBCB1F9', '5aab1bd1-d2c2-4d38-8b53-e4e4fbbcb1f9', 1, 2, 3,
             1795000005000, '#ff0000', 255, 0, 1795000005000, 1),
            (x'00000000000000000000000000000002', x'00000000000000000000000000000001', 'never spoke', '', '', '{}', 'generic',
             '202020ff00000002', 'abc-123', NULL, 2, 2, 1, NULL, NULL, NULL, NULL, NULL, 0),
            (x'00000000000000000000000000000003', x'00000000000000000000000000000001', 'on no air', '', '', '{}', 'generic',
             NULL, NULL, NULL, 3, 3, 1, NULL, NULL, NULL, NULL, NULL, 0)",
        "INSERT INTO device_state (device_id, state) VALUES (x'00000000000000000000000000000001', 'kept')",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    pool.close().await;
}

#[tokio::test]
async fn values_of_an_older_version_are_read_along() {
    let (store, _dir) = fresh().await;
    let device = register(&store, default_tenant(&store).await, 1).await;
    let old = [(1, 1.0), (2, 2.0)];
    for (second, number) in old {
        sqlx::query("INSERT INTO telemetry (device_id, field, at, tenant_id, number) VALUES (?1, 'x', ?2, ?3, ?4)")
            .bind(device.id.as_uuid())
            .bind(at(second).as_millis())
            .bind(device.tenant_id.as_uuid())
            .bind(number)
            .execute(&sqlite(&store).writer)
            .await
            .unwrap();
    }
    telemetry::older_values_are_read_along(&store, &device, &old).await;
}

#[tokio::test]
async fn secrets_of_another_key_are_refused() {
    let (store, dir) = fresh().await;
    store.close().await;
    let refused = Store::open(&url(&dir), Sealer::from_key([8; 32])).await;
    assert!(
        matches!(refused, Err(OpenStoreError::EncryptionKey)),
        "{refused:?}"
    );
    let store = Store::open(&url(&dir), Sealer::for_tests()).await.unwrap();
    store.ping().await.unwrap();
}

#[tokio::test]
async fn secrets_are_never_stored_as_they_are() {
    let (store, dir) = fresh().await;
    let tenant = default_tenant(&store).await;
    let server = NetworkServerFields {
        url: "http://a".to_owned(),
        api_key: Some(SecretString::from("ns-secret-0123456789")),
    };
    store
        .put_network_server(Scope::Platform, tenant, &server, at(1), &by())
        .await
        .unwrap();
    let mut device = lamp(tenant, 1);
    device.app_key = Some(AppKey::from_bytes(*b"app-key-01234567"));
    store
        .create_device(Scope::Platform, &device, &by())
        .await
        .unwrap();
    let mut files = Vec::new();
    for file in ["downbeat.db", "downbeat.db-wal"] {
        files.extend(std::fs::read(dir.path().join(file)).unwrap());
    }
    for (text, is_there) in [
        (&b"ns-secret-01234567"[..], false),
        (b"app-key-01234567", false),
        (b"6170702d6b65792d", false),
        (b"http://a", true),
    ] {
        let found = files.windows(text.len()).any(|window| window == text);
        assert_eq!(found, is_there, "{}", String::from_utf8_lossy(text));
    }
}

#[tokio::test]
async fn the_audit_log_is_only_ever_added_to() {
    let (store, _dir) = fresh().await;
    register(&store, default_tenant(&store).await, 1).await;
    for statement in ["UPDATE audit SET action = ''", "DELETE FROM audit"] {
        let refused = sqlx::query(statement).execute(&sqlite(&store).writer).await;
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("only ever added to"), "{error}");
    }
}

#[tokio::test]
async fn urls_that_name_no_file_are_refused() {
    for url in [
        "",
        "downbeat.db",
        "sqlite://",
        "sqlite://:memory:",
        "sqlite::memory:",
    ] {
        assert!(
            matches!(
                Store::open(url, Sealer::for_tests()).await,
                Err(OpenStoreError::Url)
            ),
            "{url}"
        );
    }
    let missing = Store::open("sqlite:///nowhere/at/all/downbeat.db", Sealer::for_tests()).await;
    assert!(
        matches!(
            missing,
            Err(OpenStoreError::Store(StoreError::Unavailable(_)))
        ),
        "{missing:?}"
    );
}

#[tokio::test]
async fn a_closed_store_is_unavailable() {
    let (store, _dir) = fresh().await;
    store.close().await;
    assert!(matches!(
        store.ping().await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(matches!(
        store.load(on_default(1)).await,
        Err(StoreError::Unavailable(_))
    ));
}

#[tokio::test]
async fn a_full_database_is_unavailable_and_takes_nothing_by_halves() {
    let (store, _dir) = fresh().await;
    let device = register(&store, default_tenant(&store).await, 1).await;
    store
        .commit(&[change(&device, "before", at(1))])
        .await
        .unwrap();
    limit_pages(&store, 1).await;
    let large = change(&device, &"x".repeat(1 << 20), at(2));
    let refused = store.commit(std::slice::from_ref(&large)).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
    assert_eq!(
        store
            .load(on_default(1))
            .await
            .unwrap()
            .unwrap()
            .state
            .as_deref(),
        Some("before")
    );
    limit_pages(&store, 1 << 20).await;
    store.commit(&[large]).await.unwrap();
}

#[tokio::test]
async fn a_lock_held_by_another_process_is_unavailable() {
    let (store, dir) = fresh().await;
    // Only for this test: nobody waits the whole time.
    sqlx::query("PRAGMA busy_timeout = 10")
        .execute(&sqlite(&store).writer)
        .await
        .unwrap();
    let mut other = other_process(&dir).await;
    let held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let refused = store.ping().await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
    held.rollback().await.unwrap();
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_row_that_breaks_our_rules_is_named() {
    let (store, _dir) = fresh().await;
    let device = register(&store, default_tenant(&store).await, 1).await;
    sqlx::query("UPDATE device SET codec = 'morse', revision = revision + 1")
        .execute(&sqlite(&store).writer)
        .await
        .unwrap();
    let error = store.device(Scope::Platform, device.id).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("device {} holds a codec that is not one", device.id)
    );
    assert!(matches!(
        store.load(on_default(1)).await,
        Err(StoreError::Corrupt { .. })
    ));
}

#[tokio::test]
async fn every_connection_is_durable_and_keeps_references() {
    let (store, _dir) = fresh().await;
    for pool in [&sqlite(&store).writer, &sqlite(&store).readers] {
        let pragma = async |sql| {
            sqlx::query_scalar::<_, i64>(sql)
                .fetch_one(pool)
                .await
                .unwrap()
        };
        assert_eq!(pragma("PRAGMA synchronous").await, 2);
        assert_eq!(pragma("PRAGMA foreign_keys").await, 1);
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
            .fetch_one(pool)
            .await
            .unwrap();
        assert_eq!(mode, "wal");
    }
    let written = sqlx::query("DELETE FROM tenant")
        .execute(&sqlite(&store).readers)
        .await;
    assert!(written.is_err());
}

/// What lists and batches ask, and the index that has to answer.
const PLANS: &[(&str, &str)] = &[
    (
        "SELECT * FROM device WHERE tenant_id = x'00' ORDER BY created_at, id LIMIT 1",
        "device_tenant_idx",
    ),
    (
        "SELECT network_server_id, dev_eui FROM device WHERE unfinished = 1 AND dev_eui IS NOT NULL ORDER BY dev_eui, network_server_id",
        "device_unfinished_idx",
    ),
    (
        "SELECT * FROM device WHERE dev_eui = '' ORDER BY network_server_id LIMIT 1",
        "device_dev_eui_idx",
    ),
    (
        "SELECT * FROM device WHERE tenant_id = x'00' AND dev_eui > '' ORDER BY dev_eui LIMIT 1",
        "device_tenant_dev_eui_idx",
    ),
    (
        "SELECT * FROM device LEFT JOIN device_sync AS s ON s.network_server_id = device.network_server_id AND s.dev_eui = device.dev_eui AND s.device_id = device.id WHERE true AND device.tenant_id = x'00' ORDER BY device.created_at, device.id LIMIT 1",
        "device_tenant_idx",
    ),
    (
        "SELECT dev_eui FROM device WHERE presence = 'online' AND uplink_interval_ms IS NULL AND last_seen_at_look <= 1 ORDER BY last_seen_at_look LIMIT 1",
        "device_silent_idx",
    ),
    (
        "SELECT dev_eui FROM device WHERE presence = 'online' AND uplink_interval_ms IS NOT NULL AND last_seen_at_look + 2 * uplink_interval_ms <= 1 ORDER BY last_seen_at_look + 2 * uplink_interval_ms LIMIT 1",
        "device_silent_own_idx",
    ),
    (
        "SELECT * FROM device_sync AS s LEFT JOIN device AS d ON d.network_server_id = s.network_server_id AND d.dev_eui = s.dev_eui WHERE s.network_server_id = x'00' AND s.unfinished = 1 ORDER BY s.next_attempt_at, s.dev_eui LIMIT 1",
        "device_sync_unfinished_idx",
    ),
    (
        "SELECT * FROM audit WHERE true AND tenant_id = x'00' ORDER BY at DESC, id DESC LIMIT 1",
        "audit_tenant_idx",
    ),
    (
        "SELECT * FROM audit WHERE true ORDER BY at DESC, id DESC LIMIT 1",
        "audit_at_idx",
    ),
    (
        "SELECT at FROM telemetry_report, json_each(fields) WHERE device_id = x'00' AND at >= 1 AND at < 2 ORDER BY at LIMIT 1",
        "USING PRIMARY KEY",
    ),
    (
        "SELECT at FROM telemetry WHERE device_id = x'00' AND field = '' AND at >= 1 AND at < 2 ORDER BY at LIMIT 1",
        "USING PRIMARY KEY",
    ),
    (
        "SELECT * FROM unclaimed WHERE true AND tenant_id = x'00' ORDER BY first_seen DESC, id DESC LIMIT 1",
        "unclaimed_tenant_idx",
    ),
    (
        "SELECT * FROM drift WHERE tenant_id = x'00' AND dev_eui > '' ORDER BY dev_eui LIMIT 1",
        "USING PRIMARY KEY",
    ),
    (
        "SELECT * FROM job WHERE state <> 'preparing' AND tenant_id = x'00' ORDER BY created_at DESC, id DESC LIMIT 1",
        "job_tenant_idx",
    ),
    (
        "SELECT id FROM job WHERE finished_at IS NULL AND state <> 'preparing' ORDER BY created_at",
        "job_unfinished_idx",
    ),
    (
        "SELECT seq FROM job_item WHERE job_id = x'00' AND state = 'waiting' AND seq > 1 ORDER BY seq LIMIT 1",
        "job_item_state_idx",
    ),
    (
        "UPDATE job_item SET state = '' FROM (VALUES (x'00', 1), (x'01', 2)) AS v WHERE job_item.job_id = v.column1 AND job_item.seq = v.column2",
        "SEARCH job_item USING",
    ),
    (
        "SELECT * FROM downlink WHERE true AND tenant_id = x'00' ORDER BY created_at DESC, id DESC LIMIT 1",
        "downlink_tenant_idx",
    ),
    (
        "SELECT * FROM downlink WHERE true AND dev_eui = '' ORDER BY created_at DESC, id DESC LIMIT 1",
        "downlink_dev_eui_idx",
    ),
    (
        "SELECT * FROM downlink WHERE true ORDER BY created_at DESC, id DESC LIMIT 1",
        "downlink_created_idx",
    ),
    (
        "SELECT * FROM downlink WHERE true AND device_id = x'00' ORDER BY created_at DESC, id DESC LIMIT 1",
        "downlink_device_idx",
    ),
    (
        "SELECT tenant_id, gateway_id, spreading_factor, reason, state, verified_in, count(*), sum(attempts) FROM downlink WHERE finished_at >= 1 AND finished_at < 2 GROUP BY tenant_id, state, gateway_id, spreading_factor, reason, verified_in",
        "COVERING INDEX downlink_outcome_idx",
    ),
    (
        "SELECT tenant_id, gateway_id, spreading_factor, reason, state, verified_in, count(*), sum(attempts) FROM downlink WHERE finished_at >= 1 AND finished_at < 2 AND tenant_id = x'00' GROUP BY tenant_id, state, gateway_id, spreading_factor, reason, verified_in",
        "COVERING INDEX downlink_outcome_idx (tenant_id=?)",
    ),
    (
        "SELECT count(*) FROM downlink WHERE finished_at >= 1 AND finished_at < 2 AND +tenant_id = x'00' AND dev_eui = ''",
        "downlink_dev_eui_idx",
    ),
    (
        "SELECT count(*) FROM downlink WHERE state IN ('accepted', 'waiting', 'enqueued', 'transmitted') AND +tenant_id = x'00'",
        "downlink_state_idx",
    ),
    (
        "SELECT id FROM downlink WHERE created_at < 1 AND finished_at < 1 ORDER BY created_at, id LIMIT 1",
        "downlink_created_idx",
    ),
    (
        "SELECT * FROM device_event WHERE device_id = x'00' AND id < x'00' ORDER BY id DESC LIMIT 1",
        "device_event_device_idx",
    ),
    (
        "UPDATE device SET version = 1 FROM (VALUES (x'00', ''), (x'01', '')) AS v WHERE device.id = v.column1 AND device.dev_eui = v.column2",
        "SEARCH device USING INDEX",
    ),
    (
        "INSERT INTO device_state (device_id, state) SELECT v.column1, '' FROM (VALUES (x'00', ''), (x'01', '')) AS v JOIN device ON device.id = v.column1 AND device.dev_eui = v.column2",
        "SEARCH device USING INDEX",
    ),
    (
        "UPDATE device_sync SET next_attempt_at = NULL, unfinished = 1 FROM (VALUES (x'00', ''), (x'01', '')) AS v WHERE network_server_id = v.column1 AND dev_eui = v.column2 AND (unfinished = 0 OR next_attempt_at IS NOT NULL)",
        "SEARCH device_sync USING PRIMARY KEY (network_server_id=? AND dev_eui=?)",
    ),
];

#[tokio::test]
async fn lists_and_batches_use_their_indexes() {
    let (store, _dir) = fresh().await;
    for (sql, index) in PLANS {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let rows: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain)
            .fetch_all(&sqlite(&store).writer)
            .await
            .unwrap();
        let plan: Vec<String> = rows.into_iter().map(|(_, _, _, detail)| detail).collect();
        assert!(
            plan.iter().any(|line| line.contains(index)),
            "{sql}\n{plan:#?}"
        );
        assert!(
            !plan.iter().any(|line| line.contains("TEMP B-TREE")),
            "{sql}\n{plan:#?}"
        );
    }
}

async fn limit_pages(store: &Store, pages: u32) {
    let pragma = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
    sqlx::query(pragma)
        .execute(&sqlite(store).writer)
        .await
        .unwrap();
}

/// The log begins anew while writes go on, before the writer itself would have it carried over.
#[tokio::test]
async fn the_log_begins_anew_while_writes_go_on() {
    let (store, dir) = fresh().await;
    let tenant = default_tenant(&store).await;
    let log = || {
        let files = std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap);
        let mut logs = files.filter(|file| file.file_name().to_string_lossy().ends_with("-wal"));
        let mut log = std::fs::File::open(logs.next().unwrap().path()).unwrap();
        // In its last four bytes, how often it began anew (<https://sqlite.org/fileformat2.html#walformat>).
        let mut header = [0; 16];
        log.read_exact(&mut header).unwrap();
        (header, log.metadata().unwrap().len())
    };
    let (before, _) = log();
    loop {
        let mut new = lamp(tenant, 1);
        new.fields.dev_eui = None;
        new.fields.description = "x".repeat(100_000);
        store
            .create_device(Scope::Tenant(tenant), &new, &by())
            .await
            .unwrap();
        let (now, bytes) = log();
        if now != before {
            return;
        }
        let most = u64::from(super::checkpoint::LOG_MAX) * 4_096;
        assert!(bytes < most, "{bytes} bytes");
    }
}
