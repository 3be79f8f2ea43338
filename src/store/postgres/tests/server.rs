//! A server that goes, comes back, or says no.

use std::collections::BTreeSet;

use downbeat_actors::port::{DeviceStore as _, StoreError};
use downbeat_testdb::Server;
use sqlx::{AssertSqlSafe, PgConnection};

use super::super::session::Access;
use super::{fresh, open, postgres, superuser};
use crate::store::conformance::{at, change, default_tenant, on_default, register};
use crate::store::{OpenStoreError, Scope};

const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .unwrap();
}

fn is_unavailable<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unavailable(_)))
}

#[tokio::test]
async fn a_restarted_server_is_used_again_at_once() {
    let server = Server::start_own();
    let store = open(&server.url("postgres")).await.unwrap();
    let device = register(&store, default_tenant(&store).await, 1).await;
    store
        .commit(&[change(&device, "before", at(1))])
        .await
        .unwrap();
    server.stop();
    let refused = store.commit(&[change(&device, "meanwhile", at(2))]).await;
    assert!(is_unavailable(&refused), "{refused:?}");
    server.start();
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
    store
        .commit(&[change(&device, "after", at(3))])
        .await
        .unwrap();
    assert_eq!(
        store
            .load(on_default(1))
            .await
            .unwrap()
            .unwrap()
            .state
            .as_deref(),
        Some("after")
    );
}

#[tokio::test]
async fn connections_that_were_cut_are_replaced_unnoticed() {
    let (store, database) = fresh().await;
    let device = register(&store, default_tenant(&store).await, 1).await;
    let mut root = superuser(&database).await;
    for number in 0..5 {
        // Several idle connections, all dead.
        let reads = std::iter::repeat_with(|| store.load(on_default(1))).take(8);
        for read in futures_util::future::join_all(reads).await {
            read.unwrap();
        }
        run(&mut root, CUT).await;
        store
            .commit(&[change(&device, &format!("{number}"), at(number))])
            .await
            .unwrap();
        assert!(
            store
                .device(Scope::Platform, device.id)
                .await
                .unwrap()
                .is_some()
        );
    }
}

#[tokio::test]
async fn a_database_that_may_only_be_read_is_unavailable_for_writing() {
    let (store, database) = fresh().await;
    let device = register(&store, default_tenant(&store).await, 1).await;
    let mut root = superuser(&database).await;
    let read_only = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$";
    run(&mut root, read_only).await;
    run(&mut root, CUT).await;
    assert!(is_unavailable(&store.ping().await));
    assert!(is_unavailable(
        &store.commit(&[change(&device, "x", at(1))]).await
    ));
    assert_eq!(
        store.device(Scope::Platform, device.id).await.unwrap(),
        Some(device)
    );
    run(
        &mut root,
        &format!(
            "SET default_transaction_read_only = off; {}",
            read_only.replace("= on", "= off")
        ),
    )
    .await;
    run(&mut root, CUT).await;
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_statement_that_never_succeeds_is_rejected() {
    let (store, database) = fresh().await;
    run(
        &mut superuser(&database).await,
        "ALTER TABLE device_state ADD CONSTRAINT never CHECK (state <> 'x')",
    )
    .await;
    let device = register(&store, default_tenant(&store).await, 1).await;
    let refused = store.commit(&[change(&device, "x", at(1))]).await;
    assert!(
        matches!(refused, Err(StoreError::Rejected(_))),
        "{refused:?}"
    );
    store.commit(&[change(&device, "y", at(1))]).await.unwrap();
}

#[tokio::test]
async fn a_closed_store_is_unavailable() {
    let (store, _database) = fresh().await;
    store.close().await;
    assert!(is_unavailable(&store.ping().await));
    assert!(is_unavailable(&store.load(on_default(1)).await));
}

#[tokio::test]
async fn a_row_that_breaks_our_rules_is_named() {
    let (store, database) = fresh().await;
    let device = register(&store, default_tenant(&store).await, 1).await;
    run(
        &mut superuser(&database).await,
        "UPDATE device SET codec = 'morse'",
    )
    .await;
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
async fn an_applied_migration_that_was_edited_is_refused() {
    let (store, database) = fresh().await;
    store.close().await;
    run(
        &mut superuser(&database).await,
        "UPDATE _sqlx_migrations SET checksum = 'x'",
    )
    .await;
    assert!(matches!(
        open(&database.url()).await,
        Err(OpenStoreError::Migrate(_))
    ));
}

#[tokio::test]
async fn what_is_wrong_with_a_url_is_told_without_its_password() {
    for url in [
        "postgres://me:opensesame@127.0.0.1:1/x",
        "postgres://me:opensesame@127.0.0.1:port/x",
        "postgres://me:opensesame@127.0.0.1/x?sslmode=opensesame",
        "postgres://me:open%zzsesame@127.0.0.1:1/x",
    ] {
        let error = open(url).await.unwrap_err();
        let mut text = format!("{error:?}");
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            text += &error.to_string();
            cause = error.source();
        }
        assert!(!text.contains("sesame"), "{text}");
    }
    let (store, _database) = fresh().await;
    assert!(!format!("{store:?}").contains("postgres@"), "{store:?}");
}

#[tokio::test]
async fn every_connection_is_durable() {
    let (store, database) = fresh().await;
    // The tests' server is set to be fast instead.
    let mut transaction = super::postgres(&store)
        .sessions
        .begin(Scope::Platform)
        .await
        .unwrap();
    let setting = sqlx::query_scalar("SELECT current_setting('synchronous_commit')");
    let setting: String = setting.fetch_one(&mut *transaction).await.unwrap();
    assert_eq!(setting, "on");
    drop(database);
}

/// A process that was killed leaves its last transaction to the server. Its successor must not read before that is
/// over: it would go on from a state that is about to change.
#[tokio::test]
async fn what_a_killed_process_left_under_way_is_waited_for() {
    let (store, database) = fresh().await;
    let mut left = postgres(&store)
        .sessions
        .begin(Access::Platform)
        .await
        .unwrap();
    run(&mut left, "UPDATE tenant SET name = 'renamed'").await;
    let mut watcher = superuser(&database).await;
    let mut who_waits = async || -> Option<String> {
        let waits = "SELECT max(pid || ' ' || query_start) FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'advisory'";
        let waits = sqlx::query_scalar(waits);
        waits.fetch_one(&mut watcher).await.unwrap()
    };
    let ends = async move {
        // It gives way to those who write, and waits again.
        let mut waits = BTreeSet::new();
        while waits.len() < 2 {
            waits.extend(who_waits().await);
        }
        left.commit().await.unwrap();
    };
    let url = database.url();
    let mut ends = std::pin::pin!(ends);
    let mut opens = std::pin::pin!(open(&url));
    let successor = tokio::select! {
        () = &mut ends => opens.await.unwrap(),
        _ = &mut opens => panic!("it did not wait"),
    };
    let sessions = &postgres(&successor).sessions;
    let mut read = sessions.begin_to_read(Access::Platform).await.unwrap();
    let name = sqlx::query_scalar("SELECT name FROM tenant");
    let name: String = name.fetch_one(&mut *read).await.unwrap();
    assert_eq!(name, "renamed");
}
