//! What only `SQLite` has: the file, its lock, and its error codes.

use downbeat_actors::port::{DeviceStore, StoreError};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tempfile::TempDir;

use super::Sqlite;
use crate::seal::Sealer;
use crate::store::conformance::{at, change, conformance, default_tenant, on_default, register};
use crate::store::{Backend, OpenStoreError, Scope, Store};

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
    sqlx::query("UPDATE device SET name = 'half done'")
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
    sqlx::query("UPDATE device SET codec = 'morse'")
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

#[tokio::test]
async fn lists_and_batches_use_their_indexes() {
    let (store, _dir) = fresh().await;
    let plans = [
        (
            "SELECT * FROM device WHERE tenant_id = x'00' ORDER BY created_at, id LIMIT 1",
            "device_tenant_idx",
        ),
        (
            "SELECT dev_eui FROM device WHERE unfinished = 1 AND dev_eui IS NOT NULL ORDER BY dev_eui",
            "device_unfinished_idx",
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
    ];
    for (sql, index) in plans {
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
