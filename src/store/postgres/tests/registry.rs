//! What PostgreSQL does otherwise than `SQLite`: many change the registry at once, and its texts hold no NUL.

use downbeat_actors::port::{DeviceChange, DeviceStore as _, SyncChange};
use downbeat_core::device::Presence;
use downbeat_core::sync::{SyncState, SyncStatus};
use downbeat_core::time::Timestamp;

use super::super::commit::write;
use super::super::session::Access;
use super::tables::wanted_device;
use super::{fresh, postgres, superuser};
use crate::store::conformance::{
    at, by, change, default_tenant, lamp, new_tenant, on_default, register, telemetry,
};
use crate::store::row::batch::Batch;
use crate::store::{
    AppKeyChange, DeviceFilter, NetworkServerFields, PageRequest, Scope, Store, TelemetryQuery,
    TelemetryValue, TenantFields, UnclaimedSighting, WriteDeviceError, WriteNetworkServerError,
    WriteTenantError,
};

async fn allow_devices(store: &Store, devices_max: u32) -> downbeat_core::id::TenantId {
    let id = default_tenant(store).await;
    let fields = TenantFields {
        devices_max: Some(devices_max),
        ..TenantFields::named("default")
    };
    store
        .update_tenant(Scope::Platform, id, &fields, None, at(0), &by())
        .await
        .unwrap();
    id
}

#[tokio::test]
async fn of_many_at_once_one_gets_the_last_place() {
    let (store, _database) = fresh().await;
    let tenant = allow_devices(&store, 5).await;
    let devices: Vec<_> = (0..20).map(|number| lamp(tenant, number)).collect();
    let by = by();
    let creating = devices
        .iter()
        .map(|device| store.create_device(Scope::Platform, device, &by));
    let made = futures_util::future::join_all(creating).await;
    let full = made
        .iter()
        .filter(|made| matches!(made, Err(WriteDeviceError::TenantFull)))
        .count();
    assert_eq!(
        (made.iter().filter(|made| made.is_ok()).count(), full),
        (5, 15)
    );
}

#[tokio::test]
async fn of_many_at_once_one_gets_the_dev_eui() {
    let (store, _database) = fresh().await;
    let tenant = default_tenant(&store).await;
    let devices: Vec<_> = (0..20).map(|_| wanted_device(tenant, 1)).collect();
    let by = by();
    let creating = devices
        .iter()
        .map(|device| store.create_device(Scope::Platform, device, &by));
    let made = futures_util::future::join_all(creating).await;
    let taken = made
        .iter()
        .filter(|made| matches!(made, Err(WriteDeviceError::DevEuiTaken)))
        .count();
    assert_eq!(
        (made.iter().filter(|made| made.is_ok()).count(), taken),
        (1, 19)
    );
}

#[tokio::test]
async fn devices_are_on_the_server_that_the_tenant_has_when_they_are_made() {
    let (store, _database) = fresh().await;
    for round in 0..10 {
        let tenant = new_tenant(&store, &format!("tenant {round}")).await;
        let device = lamp(tenant, round);
        let fields = NetworkServerFields {
            url: "http://chirpstack:8080".to_owned(),
            api_key: Some("key".to_owned().into()),
        };
        let by = by();
        let (made, set) = futures_util::join!(
            store.create_device(Scope::Platform, &device, &by),
            store.put_network_server(Scope::Platform, tenant, &fields, at(1), &by),
        );
        let server = store.network_server_of(tenant).await.unwrap();
        match set {
            Ok(_) | Err(WriteNetworkServerError::HasDevices) => {
                assert_eq!(made.unwrap().server, server);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_tenant_that_gets_a_device_is_not_deleted() {
    let (store, _database) = fresh().await;
    for round in 0..10 {
        let tenant = new_tenant(&store, &format!("tenant {round}")).await;
        let device = lamp(tenant, round);
        let by = by();
        let (made, deleted) = futures_util::join!(
            store.create_device(Scope::Platform, &device, &by),
            store.delete_tenant(Scope::Platform, tenant, None, at(1), &by),
        );
        match (made, deleted) {
            (Ok(_), Err(WriteTenantError::HasDevices))
            | (Err(WriteDeviceError::UnknownTenant), Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_dev_eui_that_was_another_tenants_is_wanted_anew() {
    let (store, _database) = fresh().await;
    let first = default_tenant(&store).await;
    let second = new_tenant(&store, "second").await;
    let device = store
        .create_device(Scope::Tenant(first), &wanted_device(first, 1), &by())
        .await
        .unwrap();
    let old = store.load_sync(on_default(1)).await.unwrap().unwrap();
    store
        .delete_device(Scope::Tenant(first), device.id, None, at(1), &by())
        .await
        .unwrap();
    let gone = store.load_sync(on_default(1)).await.unwrap().unwrap();
    assert!(gone.wish.device.is_none() && gone.wish.generation > old.wish.generation);
    let seen = UnclaimedSighting {
        key: on_default(1),
        tenant_id: Some(first),
        name: String::new(),
        application_id: None,
        device_profile_id: None,
        at: at(1),
        events: 1,
        rssi_dbm: None,
    };
    store.note_unclaimed(&[seen]).await.unwrap();
    let device = store
        .create_device(Scope::Tenant(second), &wanted_device(second, 1), &by())
        .await
        .unwrap();
    let new = store.load_sync(on_default(1)).await.unwrap().unwrap();
    assert_eq!(
        (new.tenant_id, new.wish.device.unwrap().device_id),
        (second, device.id)
    );
    assert!(new.wish.generation > gone.wish.generation);
    let left = store
        .list_unclaimed(Scope::Platform, PageRequest::default())
        .await
        .unwrap();
    assert!(left.items.is_empty(), "{left:?}");
}

#[tokio::test]
async fn changes_of_one_wish_in_one_batch_are_stored_in_order() {
    let (store, _database) = fresh().await;
    let tenant = default_tenant(&store).await;
    for number in [1, 2] {
        store
            .create_device(Scope::Platform, &wanted_device(tenant, number), &by())
            .await
            .unwrap();
    }
    let generation = store
        .load_sync(on_default(1))
        .await
        .unwrap()
        .unwrap()
        .wish
        .generation;
    let step = |number, machine: &str, synced_generation| SyncChange {
        key: on_default(number),
        machine: machine.to_owned(),
        generation,
        synced_generation,
        status: SyncStatus {
            state: SyncState::Pending,
            error: Some("no\0w".to_owned()),
            attempts: 1,
            next_attempt_at: None,
        },
        unfinished: true,
        gone: false,
        at: at(1),
    };
    let changes = [
        step(1, "first", generation),
        step(2, "other", 0),
        step(1, "second", 0),
        step(1, "third", 0),
    ];
    store.commit_syncs(&changes).await.unwrap();
    assert_eq!(
        store
            .load_sync(on_default(1))
            .await
            .unwrap()
            .unwrap()
            .machine
            .as_deref(),
        Some("third")
    );
    let device = store
        .device_by_key(Scope::Platform, on_default(1))
        .await
        .unwrap()
        .unwrap();
    let sync = device.sync.unwrap();
    assert_eq!(
        (sync.synced_generation, sync.status.error.as_deref()),
        (generation, Some("no\u{fffd}w"))
    );
}

#[tokio::test]
async fn nul_refuses_nothing_and_finds_nothing() {
    let (store, _database) = fresh().await;
    let tenant = default_tenant(&store).await;
    let mut device = lamp(tenant, 1);
    device.fields.name = "a\0b".to_owned();
    device
        .fields
        .tags
        .insert("k\0".to_owned(), "v\0".to_owned());
    let device = store
        .create_device(Scope::Platform, &device, &by())
        .await
        .unwrap();
    assert_eq!(device.fields.name, "a\u{fffd}b");
    let (fields, by) = (&device.fields, by());
    let again = store
        .update_device(
            Scope::Platform,
            device.id,
            fields,
            AppKeyChange::Keep,
            None,
            at(1),
            &by,
        )
        .await
        .unwrap();
    assert_eq!(again.fields, device.fields);
    let mut heard = change(&device, "state", at(1));
    heard.telemetry = vec![("f\0".into(), TelemetryValue::Text("t\0".to_owned()))];
    store.commit(&[heard]).await.unwrap();
    let fields = store
        .telemetry_fields(Scope::Platform, device.id)
        .await
        .unwrap();
    assert_eq!(fields[0].field, "f\u{fffd}");
    for filter in [
        DeviceFilter {
            name: Some("\0".to_owned()),
            ..DeviceFilter::default()
        },
        DeviceFilter {
            device_type: Some("\0".to_owned()),
            ..DeviceFilter::default()
        },
        DeviceFilter {
            tag: Some(("\0".to_owned(), Some("\0".to_owned()))),
            ..DeviceFilter::default()
        },
    ] {
        store
            .list_devices(Scope::Platform, &filter, PageRequest::default())
            .await
            .unwrap();
        store.count_devices(Scope::Platform, &filter).await.unwrap();
    }
    assert_eq!(
        store.tenant_by_name(Scope::Platform, "\0").await.unwrap(),
        None
    );
    let events = store.list_device_events(
        Scope::Platform,
        device.id,
        Some("\0"),
        None,
        None,
        PageRequest::default(),
    );
    assert!(events.await.unwrap().items.is_empty());
}

#[tokio::test]
async fn the_largest_and_smallest_numbers_have_a_mean_or_none() {
    let (store, _database) = fresh().await;
    let device = register(&store, default_tenant(&store).await, 1).await;
    let groups: [(&[f64], Option<f64>); 5] = [
        (&[1.0, 2.0], Some(1.5)),
        (&[1e200, 3e200], Some(2e200)),
        (&[f64::MAX, f64::MAX], None),
        (&[5e-324, 5e-324], Some(0.0)),
        (&[f64::MIN, f64::MAX], None),
    ];
    for (span, (numbers, _)) in (0..).zip(groups) {
        for (index, number) in (0..).zip(numbers) {
            let mut heard = change(
                &device,
                "state",
                Timestamp::from_millis(span * 1_000 + index),
            );
            heard.telemetry = vec![("n".into(), TelemetryValue::Number(*number))];
            store.commit(&[heard]).await.unwrap();
        }
    }
    let query = TelemetryQuery {
        field: "n".to_owned(),
        from: Timestamp::from_millis(0),
        to: Timestamp::from_millis(10_000),
        step: Some(std::time::Duration::from_secs(1)),
        limit: 100,
    };
    let points = store
        .telemetry(Scope::Platform, device.id, &query)
        .await
        .unwrap();
    let means: Vec<_> = points.iter().map(|point| point.mean).collect();
    assert_eq!(means, groups.map(|(_, mean)| mean));
}

#[tokio::test]
async fn values_of_an_older_version_are_read_along() {
    let (store, database) = fresh().await;
    let device = register(&store, default_tenant(&store).await, 1).await;
    let old = [(1, 1.0), (2, 2.0)];
    let mut root = superuser(&database).await;
    for (second, number) in old {
        sqlx::query("INSERT INTO telemetry (device_id, field, at, tenant_id, number) VALUES ($1, 'x', $2, $3, $4)")
            .bind(device.id.as_uuid())
            .bind(at(second).as_millis())
            .bind(device.tenant_id.as_uuid())
            .bind(number)
            .execute(&mut root)
            .await
            .unwrap();
    }
    telemetry::older_values_are_read_along(&store, &device, &old).await;
}

/// How often this connection updated devices' rows of late, and how often without an entry in any index.
async fn updates(connection: &mut sqlx::PgConnection) -> (i64, i64) {
    let counted = sqlx::query_as(
        "SELECT pg_stat_get_xact_tuples_updated('device'::regclass),
                pg_stat_get_xact_tuples_hot_updated('device'::regclass)",
    );
    counted.fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn an_uplink_enters_its_device_in_no_index() {
    let (store, _database) = fresh().await;
    let device = register(&store, default_tenant(&store).await, 1).await;
    let heard = |second, presence| DeviceChange {
        last_seen: Some(at(second)),
        presence,
        ..change(&device, "{}", at(second))
    };
    store.commit(&[heard(1, Presence::Online)]).await.unwrap();
    for (second, presence, expected) in [
        (2, Presence::Online, (1, 1)),
        (3, Presence::Offline, (1, 0)),
    ] {
        let changes = [heard(second, presence)];
        let batch = Batch::of(&changes).unwrap();
        let sessions = &postgres(&store).sessions;
        let mut transaction = sessions.begin(Access::Platform).await.unwrap();
        let before = updates(&mut transaction).await;
        write(&batch, &mut transaction).await.unwrap();
        let after = updates(&mut transaction).await;
        let done = (after.0 - before.0, after.1 - before.1);
        assert_eq!(done, expected, "{presence:?}");
        transaction.commit().await.unwrap();
    }
}
