//! The actors' side.

use downbeat_actors::port::HistoryEntry;
use downbeat_core::light::{Color, LightState};
use futures_util::future::join_all;

use super::*;

const RED: LightState = LightState::steady(Color::rgb(255, 0, 0));
const BLINKING: LightState = LightState {
    color: Color::rgb(0, 17, 255),
    on_time: 5,
    off_time: 250,
};

pub(in crate::store) async fn what_an_actor_stores_is_loaded_and_listed(store: &Store) {
    let device = register(store, default_tenant(store).await, 1).await;
    let heard = DeviceChange {
        last_seen: Some(at(5)),
        rssi_dbm: Some(-117),
        snr_db: Some(-7.2),
        battery_percent: Some(99.5),
        desired: Some(RED),
        reported: Some((BLINKING, at(5))),
        ..change(&device, "{\"a\":\"\\u0000'\"}", at(5))
    };
    store.commit(&[heard]).await.unwrap();
    let seen = store
        .device(Scope::Platform, device.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((seen.last_seen, seen.rssi_dbm), (Some(at(5)), Some(-117)));
    assert_eq!(
        (seen.snr_db, seen.battery_percent),
        (Some(-7.2), Some(99.5))
    );
    assert_eq!(
        (seen.desired, seen.reported),
        (Some(RED), Some((BLINKING, at(5))))
    );
    let loaded = store.load(on_default(1)).await.unwrap().unwrap();
    assert_eq!(loaded.state.as_deref(), Some("{\"a\":\"\\u0000'\"}"));

    // A change that does not tell of these leaves them; the desired light is always told.
    store.commit(&[change(&device, "{}", at(6))]).await.unwrap();
    let later = store
        .device(Scope::Platform, device.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((later.last_seen, later.rssi_dbm), (Some(at(5)), Some(-117)));
    assert_eq!(
        (later.desired, later.reported),
        (None, Some((BLINKING, at(5))))
    );
    store.commit(&[]).await.unwrap();
}

pub(in crate::store) async fn only_the_last_state_of_a_batch_stands(store: &Store) {
    let device = register(store, default_tenant(store).await, 1).await;
    let mut command = downlink(at(1));
    let first = DeviceChange {
        last_seen: Some(at(1)),
        records: vec![record(&mut command, DownlinkState::Accepted, at(1))],
        ..change(&device, "first", at(1))
    };
    let second = DeviceChange {
        desired: Some(RED),
        records: vec![record(&mut command, DownlinkState::Waiting, at(2))],
        ..change(&device, "second", at(2))
    };
    store.commit(&[first, second]).await.unwrap();
    assert_eq!(
        store
            .load(on_default(1))
            .await
            .unwrap()
            .unwrap()
            .state
            .as_deref(),
        Some("second")
    );
    let seen = store
        .device(Scope::Platform, device.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((seen.last_seen, seen.desired), (Some(at(1)), Some(RED)));
    let found = store
        .downlink(Scope::Platform, command.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.stored.downlink, command);
    assert_eq!(
        found
            .timeline
            .iter()
            .map(|entry| entry.seq)
            .collect::<Vec<_>>(),
        [0, 1]
    );
}

pub(in crate::store) async fn many_that_are_loaded_at_once_get_each_its_own(store: &Store) {
    let tenant = default_tenant(store).await;
    let mut expected = BTreeMap::new();
    for number in 1..=40 {
        let device = register(store, tenant, number).await;
        let state = format!("state of {number}");
        if number % 3 > 0 {
            let change = change(&device, &state, at(1));
            store.commit(&[change]).await.unwrap();
        }
        let kept = (number % 3 > 0).then_some(state);
        expected.insert(number, Some((device.id, kept)));
    }
    // Nobody's, and another server's.
    expected.insert(41, None);
    let elsewhere = DeviceKey {
        server: NetworkServerId::from_uuid(Uuid::from_u128(7)),
        ..on_default(1)
    };
    let others = store.load(elsewhere);
    let twice = expected.keys().chain(expected.keys());
    let loads = twice.map(|&number| async move {
        let loaded = store.load(on_default(number)).await.unwrap();
        (number, loaded.map(|it| (it.device_id, it.state)))
    });
    let (loaded, others) = tokio::join!(join_all(loads), others);
    assert_eq!(loaded.len(), 2 * expected.len());
    for (number, found) in loaded {
        assert_eq!(found, expected[&number], "{number}");
    }
    assert_eq!(others.unwrap(), None);
}

pub(in crate::store) async fn a_repeated_batch_changes_nothing(store: &Store) {
    let device = register(store, default_tenant(store).await, 1).await;
    let mut command = downlink(at(1));
    let batch = [DeviceChange {
        records: vec![record(&mut command, DownlinkState::Accepted, at(1))],
        history: vec![HistoryEntry {
            at: at(1),
            kind: "up",
            body: "{\"f_cnt\":1}".to_owned(),
        }],
        ..change(&device, "state", at(1))
    }];
    for _ in 0..3 {
        store.commit(&batch).await.unwrap();
    }
    let found = store
        .downlink(Scope::Platform, command.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.stored.downlink, found.timeline.len()), (command, 1));
    let events = store
        .list_device_events(
            Scope::Platform,
            device.id,
            None,
            None,
            None,
            PageRequest::default(),
        )
        .await
        .unwrap();
    assert_eq!(events.items.len(), 1);
}

pub(in crate::store) async fn an_older_batch_puts_no_newer_downlink_back(store: &Store) {
    let device = register(store, default_tenant(store).await, 1).await;
    let mut command = downlink(at(1));
    let older = DeviceChange {
        records: vec![record(&mut command, DownlinkState::Accepted, at(1))],
        ..change(&device, "older", at(1))
    };
    let newer = DeviceChange {
        records: vec![record(&mut command, DownlinkState::Verified, at(2))],
        ..change(&device, "newer", at(2))
    };
    store.commit(std::slice::from_ref(&older)).await.unwrap();
    store.commit(&[newer]).await.unwrap();
    store.commit(&[older]).await.unwrap();
    let found = store
        .downlink(Scope::Platform, command.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.stored.downlink.state, DownlinkState::Verified);
    assert_eq!(found.timeline.len(), 2);
}

pub(in crate::store) async fn a_deleted_device_does_not_spoil_the_batch_of_others(store: &Store) {
    let tenant = default_tenant(store).await;
    let deleted = register(store, tenant, 1).await;
    let kept = register(store, tenant, 2).await;
    store
        .delete_device(Scope::Platform, deleted.id, None, at(99), &by())
        .await
        .unwrap();
    let mut command = downlink(at(1));
    let last_words = DeviceChange {
        records: vec![record(&mut command, DownlinkState::Cancelled, at(1))],
        ..change(&deleted, "gone", at(1))
    };
    store
        .commit(&[last_words, change(&kept, "kept", at(1))])
        .await
        .unwrap();
    assert_eq!(
        store
            .load(on_default(2))
            .await
            .unwrap()
            .unwrap()
            .state
            .as_deref(),
        Some("kept")
    );
    let found = store
        .downlink(Scope::Tenant(tenant), command.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.stored.downlink.state, DownlinkState::Cancelled);
}

pub(in crate::store) async fn unfinished_devices_are_those_of_the_last_change(store: &Store) {
    let tenant = default_tenant(store).await;
    let mut devices = Vec::new();
    for number in 1..=3 {
        devices.push(register(store, tenant, number).await);
    }
    let working = |device| DeviceChange {
        unfinished: true,
        ..change(device, "working", at(1))
    };
    store
        .commit(&devices.iter().map(working).collect::<Vec<_>>())
        .await
        .unwrap();
    store
        .commit(&[change(&devices[1], "idle", at(2))])
        .await
        .unwrap();
    assert_eq!(
        store.unfinished().await.unwrap(),
        [on_default(1), on_default(3)]
    );
}

pub(in crate::store) async fn a_batch_of_thousands_is_stored_whole(store: &Store) {
    let tenant = default_tenant(store).await;
    let mut changes = Vec::new();
    let mut ids = Vec::new();
    for number in 1..=1_201 {
        let mut command = downlink(at(1));
        let device = lamp(tenant, number);
        // Registered or not makes no difference to downlinks; one in a hundred is.
        let device = if number % 100 == 1 {
            store
                .create_device(Scope::Platform, &device, &by())
                .await
                .unwrap()
        } else {
            register_nowhere(&device)
        };
        changes.push(DeviceChange {
            unfinished: true,
            records: vec![record(&mut command, DownlinkState::Accepted, at(1))],
            history: vec![HistoryEntry {
                at: at(1),
                kind: "up",
                body: format!("{{\"n\":{number}}}"),
            }],
            ..change(&device, "state", at(1))
        });
        ids.push(command.id);
    }
    store.commit(&changes).await.unwrap();
    assert_eq!(store.unfinished().await.unwrap().len(), 13);
    for id in [ids[0], ids[500], ids[1_200]] {
        assert!(store.downlink(Scope::Platform, id).await.unwrap().is_some());
    }
    assert_eq!(under_way(store).await, 1_201);
}

pub(in crate::store) async fn fifty_tasks_write_at_once_and_nothing_is_lost(store: &Store) {
    let tenant = default_tenant(store).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 1..=50 {
        let store = store.clone();
        tasks.spawn(async move {
            let device = register(&store, tenant, number).await;
            for written in 0..10_u8 {
                let second = i64::from(written);
                let mut command = downlink(at(second));
                let accepted = record(&mut command, DownlinkState::Accepted, at(second));
                let state = second.to_string();
                store
                    .commit(&[DeviceChange {
                        records: vec![accepted],
                        ..change(&device, &state, at(second))
                    }])
                    .await
                    .unwrap();
                let mine = DownlinkFilter {
                    dev_eui: device.fields.dev_eui,
                    ..DownlinkFilter::default()
                };
                let listed = store
                    .list_downlinks(Scope::Platform, mine, PageRequest::default())
                    .await;
                assert_eq!(listed.unwrap().items.len(), usize::from(written) + 1);
            }
        });
    }
    tasks.join_all().await;
    for number in 1..=50 {
        assert_eq!(
            store
                .load(on_default(number))
                .await
                .unwrap()
                .unwrap()
                .state
                .as_deref(),
            Some("9")
        );
    }
    assert_eq!(under_way(store).await, 500);
}

async fn under_way(store: &Store) -> u64 {
    let nothing = OutcomeFilter::period(at(0), at(0));
    let outcomes = store.downlink_outcomes(Scope::Platform, &nothing).await;
    outcomes.unwrap().under_way
}

/// A device as its actor knows it, although the registry does not.
fn register_nowhere(new: &NewDevice) -> Device {
    Device {
        id: new.id,
        tenant_id: new.tenant_id,
        fields: new.fields.clone(),
        created_at: new.created_at,
        updated_at: new.created_at,
        version: 1,
        server: NetworkServerId::Default,
        app_key: AppKeyState::None,
        sync: None,
        presence: Presence::NeverSeen,
        uplinks_heard: 0,
        uplinks_missed: 0,
        last_seen: None,
        rssi_dbm: None,
        snr_db: None,
        battery_percent: None,
        desired: None,
        reported: None,
        initialisation: None,
    }
}
