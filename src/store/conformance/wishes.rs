//! Wishes for `ChirpStack`, as the registry makes them and the actors fulfil them.

use downbeat_core::app_key::AppKey;
use downbeat_core::id::JoinEui;
use downbeat_core::sync::{SyncState, SyncStatus, WantedDevice};

use super::*;

const KEY: AppKey = AppKey::from_bytes([0xa5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

pub(in crate::store) async fn a_device_of_an_application_is_wanted(store: &Store) {
    let tenant = default_tenant(store).await;
    let mut new = synced_lamp(tenant, 1);
    new.fields.tags = BTreeMap::from([("floor".to_owned(), "3".to_owned())]);
    new.fields.join_eui = Some(JoinEui::from_u64(9));
    new.app_key = Some(KEY);
    let device = store
        .create_device(Scope::Platform, &new, &by())
        .await
        .unwrap();
    let stored = store.device(Scope::Platform, new.id).await.unwrap();
    assert_eq!(stored.as_ref(), Some(&device));
    let sync = device.sync.clone().unwrap();
    assert!(!sync.is_synced());
    assert_eq!(sync.status, SyncStatus::default());
    assert_eq!(device.app_key, AppKeyState::Set);

    let wish = store.load_sync(on_default(1)).await.unwrap().unwrap();
    assert_eq!((wish.key, wish.tenant_id), (on_default(1), tenant));
    assert_eq!(wish.machine, None);
    assert_eq!(
        (wish.wish.generation, wish.wish.force),
        (sync.generation, false)
    );
    let wanted = WantedDevice {
        device_id: new.id,
        name: new.fields.name.clone(),
        description: String::new(),
        application_id: new.fields.chirpstack_app_id.unwrap(),
        device_profile_id: new.fields.device_profile_id.unwrap(),
        join_eui: new.fields.join_eui,
        tags: new.fields.tags.clone(),
        app_key_revision: Some(1),
    };
    assert_eq!(wish.wish.device, Some(wanted));
    let unfinished = store.unfinished_syncs(NetworkServerId::Default, 9).await;
    assert_eq!(unfinished.unwrap(), [wish]);
    let elsewhere = NetworkServerId::Tenant(tenant);
    assert_eq!(store.unfinished_syncs(elsewhere, 9).await.unwrap(), []);

    // One without is nobody's wish, nor is one without a DevEUI.
    assert_eq!(register(store, tenant, 2).await.sync, None);
    let mut unheard = synced_lamp(tenant, 3);
    unheard.fields.dev_eui = None;
    let unheard = store.create_device(Scope::Platform, &unheard, &by()).await;
    assert_eq!(unheard.unwrap().sync, None);
    assert_eq!(store.load_sync(on_default(2)).await.unwrap(), None);
}

pub(in crate::store) async fn only_what_chirpstack_holds_is_wished_anew(store: &Store) {
    let tenant = default_tenant(store).await;
    let new = synced_lamp(tenant, 1);
    store
        .create_device(Scope::Platform, &new, &by())
        .await
        .unwrap();
    let mut fields = new.fields.clone();
    let mut generation = fulfil(store, on_default(1)).await;
    let kept: [fn(&mut DeviceFields); 3] = [
        |fields| fields.device_type = "other".to_owned(),
        |fields| fields.codec = CodecKind::Generic,
        |fields| fields.uplink_interval = Some(std::time::Duration::from_secs(7)),
    ];
    for change in kept {
        change(&mut fields);
        let device = update(store, new.id, &fields, AppKeyChange::Keep).await;
        let sync = device.sync.unwrap();
        assert_eq!(sync.generation, generation);
        assert!(sync.is_synced());
        assert_eq!(device.fields, fields);
    }
    let changed: [fn(&mut DeviceFields); 6] = [
        |fields| fields.name = "Desk 7".to_owned(),
        |fields| fields.description = "by the window".to_owned(),
        |fields| fields.tags = BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        |fields| fields.chirpstack_app_id = Some(Uuid::from_u128(70)),
        |fields| fields.device_profile_id = Some(Uuid::from_u128(71)),
        |fields| fields.join_eui = Some(JoinEui::from_u64(1)),
    ];
    for change in changed {
        change(&mut fields);
        let sync = update(store, new.id, &fields, AppKeyChange::Keep)
            .await
            .sync
            .unwrap();
        assert!(sync.generation > generation && !sync.is_synced());
        assert_eq!(sync.status, SyncStatus::default());
        generation = fulfil(store, on_default(1)).await;
    }
}

pub(in crate::store) async fn a_root_key_is_given_out_by_its_revision_alone(store: &Store) {
    let tenant = default_tenant(store).await;
    let new = synced_lamp(tenant, 1);
    let device = store
        .create_device(Scope::Platform, &new, &by())
        .await
        .unwrap();
    assert_eq!(device.app_key, AppKeyState::None);
    assert_eq!(revision(store).await, None);
    let well_known = AppKey::from_bytes([1; 16]);
    for (change, state, revision_then, key) in [
        (AppKeyChange::Keep, AppKeyState::None, None, None),
        (AppKeyChange::Set(KEY), AppKeyState::Set, Some(1), Some(KEY)),
        (AppKeyChange::Keep, AppKeyState::Set, Some(1), Some(KEY)),
        (
            AppKeyChange::Set(well_known),
            AppKeyState::Default,
            Some(2),
            Some(well_known),
        ),
        (AppKeyChange::Clear, AppKeyState::None, None, None),
        (AppKeyChange::Set(KEY), AppKeyState::Set, Some(3), Some(KEY)),
    ] {
        let before = fulfil(store, on_default(1)).await;
        let device = update(store, new.id, &new.fields, change).await;
        assert_eq!(device.app_key, state, "{change:?}");
        assert_eq!(revision(store).await, revision_then, "{change:?}");
        let is_new = device.sync.unwrap().generation > before;
        assert_eq!(is_new, change != AppKeyChange::Keep, "{change:?}");
        for asked in 0..=4 {
            let found = store.app_key(on_default(1), asked).await.unwrap();
            let expected = key.filter(|_| Some(asked) == revision_then);
            assert_eq!(found, expected, "{change:?} {asked}");
        }
    }
    assert_eq!(store.app_key(on_default(2), 1).await.unwrap(), None);
}

pub(in crate::store) async fn a_deleted_device_is_unwanted_until_its_absence_is_confirmed(
    store: &Store,
) {
    let tenant = default_tenant(store).await;
    let device = store
        .create_device(Scope::Platform, &synced_lamp(tenant, 1), &by())
        .await
        .unwrap();
    let present = fulfil(store, on_default(1)).await;
    store
        .delete_device(Scope::Platform, device.id, None, at(5), &by())
        .await
        .unwrap();
    let absent = store.load_sync(on_default(1)).await.unwrap().unwrap();
    assert_eq!(
        (absent.wish.device.clone(), absent.tenant_id),
        (None, tenant)
    );
    assert!(absent.wish.generation > present);
    assert_eq!(absent.machine.as_deref(), Some("fulfilled"));
    let unfinished = store.unfinished_syncs(NetworkServerId::Default, 9).await;
    assert_eq!(unfinished.unwrap(), std::slice::from_ref(&absent));

    // What was under way for the old wish confirms nothing.
    store
        .commit_syncs(&[gone(on_default(1), present)])
        .await
        .unwrap();
    let kept = store.load_sync(on_default(1)).await.unwrap().unwrap();
    assert_eq!(kept.machine.as_deref(), Some("gone"));
    confirm_absence(store, on_default(1)).await;

    // Its like is wished anew, with a generation beyond all that it had.
    let again = store
        .create_device(Scope::Platform, &synced_lamp(tenant, 1), &by())
        .await
        .unwrap();
    assert!(again.sync.unwrap().generation > absent.wish.generation);
}

pub(in crate::store) async fn who_takes_a_dev_eui_over_takes_its_wish_over(store: &Store) {
    let (tenant, acme) = (default_tenant(store).await, new_tenant(store, "acme").await);
    let first = store
        .create_device(Scope::Platform, &synced_lamp(tenant, 1), &by())
        .await
        .unwrap();
    fulfil(store, on_default(1)).await;
    store
        .request_sync(Scope::Platform, first.id, true, at(2), &by())
        .await
        .unwrap()
        .unwrap();
    store
        .delete_device(Scope::Platform, first.id, None, at(3), &by())
        .await
        .unwrap();
    let absent = store.load_sync(on_default(1)).await.unwrap().unwrap();
    let second = store
        .create_device(Scope::Platform, &synced_lamp(acme, 1), &by())
        .await
        .unwrap();
    let wish = store.load_sync(on_default(1)).await.unwrap().unwrap();
    assert_eq!(wish.tenant_id, acme);
    assert!(wish.wish.generation > absent.wish.generation && !wish.wish.force);
    assert_eq!(wish.wish.device.unwrap().device_id, second.id);
    assert_eq!(wish.machine.as_deref(), Some("fulfilled"));
    // The absence that was wanted is not any more.
    let generation = second.sync.unwrap().generation;
    store
        .commit_syncs(&[gone(on_default(1), generation)])
        .await
        .unwrap();
    assert!(store.load_sync(on_default(1)).await.unwrap().is_some());
    // The first one's tenant is free of it.
    let scope = Scope::Platform;
    store
        .delete_tenant(scope, tenant, None, at(9), &by())
        .await
        .unwrap();
}

pub(in crate::store) async fn another_dev_eui_is_another_wish(store: &Store) {
    let tenant = default_tenant(store).await;
    let new = synced_lamp(tenant, 1);
    store
        .create_device(Scope::Platform, &new, &by())
        .await
        .unwrap();
    let before = fulfil(store, on_default(1)).await;
    let fields = DeviceFields {
        dev_eui: Some(eui(2)),
        ..new.fields.clone()
    };
    let moved = update(store, new.id, &fields, AppKeyChange::Keep).await;
    let old = store.load_sync(on_default(1)).await.unwrap().unwrap();
    assert!(old.wish.device.is_none() && old.wish.generation > before);
    let now = store.load_sync(on_default(2)).await.unwrap().unwrap();
    assert_eq!(now.wish.device.unwrap().device_id, new.id);
    assert_eq!(now.wish.generation, moved.sync.unwrap().generation);
    assert_eq!(now.machine, None);

    // Back again before anything was done.
    let back = update(store, new.id, &new.fields, AppKeyChange::Keep).await;
    let again = store.load_sync(on_default(1)).await.unwrap().unwrap();
    assert!(again.wish.device.is_some() && again.wish.generation > old.wish.generation);
    assert_eq!(back.sync.unwrap().generation, again.wish.generation);
    let left = store.load_sync(on_default(2)).await.unwrap().unwrap();
    assert_eq!(left.wish.device, None);

    // To none at all.
    let fields = DeviceFields {
        dev_eui: None,
        ..new.fields
    };
    let quiet = update(store, new.id, &fields, AppKeyChange::Keep).await;
    assert_eq!(quiet.sync, None);
    let left = store.load_sync(on_default(1)).await.unwrap().unwrap();
    assert_eq!(left.wish.device, None);
}

pub(in crate::store) async fn a_device_taken_out_of_its_application_is_unwanted(store: &Store) {
    let tenant = default_tenant(store).await;
    let new = synced_lamp(tenant, 1);
    store
        .create_device(Scope::Platform, &new, &by())
        .await
        .unwrap();
    let before = fulfil(store, on_default(1)).await;
    let fields = DeviceFields {
        chirpstack_app_id: None,
        device_profile_id: None,
        ..new.fields.clone()
    };
    let kept = update(store, new.id, &fields, AppKeyChange::Keep).await;
    // Shown until it is done.
    assert!(!kept.sync.unwrap().is_synced());
    let wish = store.load_sync(on_default(1)).await.unwrap().unwrap();
    assert!(wish.wish.device.is_none() && wish.wish.generation > before);
    // Wished anew it is still unwanted.
    let scope = Scope::Tenant(tenant);
    let again = store.request_sync(scope, new.id, true, at(3), &by()).await;
    assert!(again.unwrap().unwrap() > wish.wish.generation);
    confirm_absence(store, on_default(1)).await;
    let device = store.device(scope, new.id).await.unwrap().unwrap();
    assert_eq!(device.sync, None);
    let none = store.request_sync(scope, new.id, false, at(4), &by()).await;
    assert_eq!(none.unwrap(), None);
    // And wanted once more.
    let device = update(store, new.id, &new.fields, AppKeyChange::Keep).await;
    assert!(!device.sync.unwrap().is_synced());
}

pub(in crate::store) async fn what_is_known_is_stored_and_newer_wishes_stand(store: &Store) {
    let tenant = default_tenant(store).await;
    let new = synced_lamp(tenant, 1);
    let device = store
        .create_device(Scope::Platform, &new, &by())
        .await
        .unwrap();
    let first = device.sync.unwrap().generation;
    let failing = SyncStatus {
        state: SyncState::Failing,
        error: Some("ChirpStack: \"no\"".to_owned()),
        attempts: 3,
        next_attempt_at: Some(at(30)),
    };
    let failed = SyncChange {
        status: failing.clone(),
        ..progress(on_default(1), first, "failed once")
    };
    store
        .commit_syncs(std::slice::from_ref(&failed))
        .await
        .unwrap();
    let sync = sync_of(store, new.id).await;
    assert_eq!((sync.status, sync.synced_generation), (failing, 0));

    // Renamed meanwhile: the answer of the old attempt tells of ChirpStack, and not of the new wish.
    let fields = DeviceFields {
        name: "Desk 7".to_owned(),
        ..new.fields.clone()
    };
    let second = update(store, new.id, &fields, AppKeyChange::Keep).await;
    let second = second.sync.unwrap().generation;
    let late = SyncChange {
        synced_generation: first,
        status: SyncStatus {
            state: SyncState::Synced,
            ..SyncStatus::default()
        },
        unfinished: false,
        ..progress(on_default(1), first, "done late")
    };
    store.commit_syncs(&[late]).await.unwrap();
    let sync = sync_of(store, new.id).await;
    assert_eq!((sync.generation, sync.synced_generation), (second, first));
    assert_eq!(sync.status, SyncStatus::default());
    let unfinished = store.unfinished_syncs(NetworkServerId::Default, 9).await;
    assert_eq!(unfinished.unwrap()[0].machine.as_deref(), Some("done late"));

    // What is fulfilled stays so, whatever comes later.
    assert_eq!(fulfil(store, on_default(1)).await, second);
    store.commit_syncs(&[failed]).await.unwrap();
    let sync = sync_of(store, new.id).await;
    assert!(sync.is_synced());
    assert_eq!(sync.status.state, SyncState::Synced);
    let idle = store.unfinished_syncs(NetworkServerId::Default, 9).await;
    assert_eq!(idle.unwrap(), []);
    // Of what nobody wants there is nothing to store.
    store
        .commit_syncs(&[
            progress(on_default(2), 1, "nobody's"),
            gone(on_default(3), 1),
        ])
        .await
        .unwrap();
    assert_eq!(store.load_sync(on_default(2)).await.unwrap(), None);
    store.commit_syncs(&[]).await.unwrap();
}

pub(in crate::store) async fn those_due_first_come_first(store: &Store) {
    let tenant = default_tenant(store).await;
    for (number, due) in [(1, Some(30)), (2, None), (3, Some(10)), (4, None)] {
        let device = store
            .create_device(Scope::Platform, &synced_lamp(tenant, number), &by())
            .await
            .unwrap();
        let waiting = SyncChange {
            status: SyncStatus {
                state: SyncState::Failing,
                next_attempt_at: due.map(at),
                ..SyncStatus::default()
            },
            ..progress(on_default(number), device.sync.unwrap().generation, "m")
        };
        store.commit_syncs(&[waiting]).await.unwrap();
    }
    let due = store
        .unfinished_syncs(NetworkServerId::Default, 3)
        .await
        .unwrap();
    let keys: Vec<_> = due.into_iter().map(|sync| sync.key).collect();
    assert_eq!(keys, [on_default(2), on_default(4), on_default(3)]);
}

pub(in crate::store) async fn wishes_are_read_by_name(store: &Store) {
    let tenant = default_tenant(store).await;
    for number in 1..=3 {
        let lamp = synced_lamp(tenant, number);
        let created = store.create_device(Scope::Platform, &lamp, &by()).await;
        created.unwrap();
    }
    fulfil(store, on_default(3)).await;
    let named = async |numbers: &[u64]| {
        let devices: Vec<_> = numbers.iter().map(|n| on_default(*n).dev_eui).collect();
        let server = NetworkServerId::Default;
        let wishes = store.unfinished_syncs_of(server, &devices).await.unwrap();
        wishes.into_iter().map(|wish| wish.key).collect::<Vec<_>>()
    };
    // One that is fulfilled is none, nor is one that nobody made.
    assert_eq!(named(&[2, 3, 4]).await, [on_default(2)]);
    assert_eq!(named(&[]).await, []);
    let elsewhere = NetworkServerId::from_uuid(uuid::Uuid::from_u128(9));
    let device = on_default(2).dev_eui;
    let there = store.unfinished_syncs_of(elsewhere, &[device]).await;
    assert_eq!(there.unwrap(), []);
}

pub(in crate::store) async fn an_operator_wishes_anew_and_with_force(store: &Store) {
    let tenant = default_tenant(store).await;
    let scope = Scope::Tenant(tenant);
    let new = synced_lamp(tenant, 1);
    store.create_device(scope, &new, &by()).await.unwrap();
    let before = fulfil(store, on_default(1)).await;
    let forced = store.request_sync(scope, new.id, true, at(2), &by()).await;
    let forced = forced.unwrap().unwrap();
    assert!(forced > before);
    let force = async || {
        let wish = store.load_sync(on_default(1)).await.unwrap().unwrap();
        wish.wish.force
    };
    assert!(force().await);
    // A change before it is done is forced, too; one after it is not.
    let mut fields = new.fields.clone();
    "Desk 7".clone_into(&mut fields.name);
    update(store, new.id, &fields, AppKeyChange::Keep).await;
    assert!(force().await);
    fulfil(store, on_default(1)).await;
    "Desk 8".clone_into(&mut fields.name);
    update(store, new.id, &fields, AppKeyChange::Keep).await;
    assert!(!force().await);
    let unknown = DeviceId::from_uuid(Uuid::now_v7());
    let none = store
        .request_sync(scope, unknown, false, at(3), &by())
        .await;
    assert_eq!(none.unwrap(), None);
    let unsynced = register(store, tenant, 2).await;
    let none = store
        .request_sync(scope, unsynced.id, false, at(3), &by())
        .await;
    assert_eq!(none.unwrap(), None);
}

pub(in crate::store) async fn all_that_are_not_in_step_are_wished_anew(store: &Store) {
    let (tenant, acme) = (default_tenant(store).await, new_tenant(store, "acme").await);
    let mut devices = Vec::new();
    for (owner, number) in [(tenant, 1), (tenant, 2), (tenant, 3), (acme, 4)] {
        let device = synced_lamp(owner, number);
        devices.push(
            store
                .create_device(Scope::Platform, &device, &by())
                .await
                .unwrap(),
        );
    }
    let in_step = fulfil(store, on_default(1)).await;
    // Given up, and to be deleted: both are out of step.
    let given_up = SyncChange {
        unfinished: false,
        status: SyncStatus {
            state: SyncState::Conflict,
            ..SyncStatus::default()
        },
        ..progress(
            on_default(2),
            devices[1].sync.clone().unwrap().generation,
            "m",
        )
    };
    store.commit_syncs(&[given_up]).await.unwrap();
    store
        .delete_device(Scope::Platform, devices[2].id, None, at(5), &by())
        .await
        .unwrap();
    let filter = |synced| DeviceFilter {
        synced: Some(synced),
        ..DeviceFilter::default()
    };
    let scope = Scope::Tenant(tenant);
    assert_eq!(store.count_devices(scope, &filter(true)).await.unwrap(), 1);
    assert_eq!(store.count_devices(scope, &filter(false)).await.unwrap(), 1);
    let wished = store.request_sync_all(scope, at(6), &by()).await;
    assert_eq!(wished.unwrap(), 2);
    assert_eq!(sync_of(store, devices[0].id).await.generation, in_step);
    let again = sync_of(store, devices[1].id).await;
    assert!(again.generation > devices[1].sync.as_ref().unwrap().generation);
    assert_eq!(again.status, SyncStatus::default());
    assert_eq!(
        sync_of(store, devices[3].id).await,
        devices[3].sync.clone().unwrap()
    );
    let wished = store.request_sync_all(Scope::Platform, at(7), &by()).await;
    assert_eq!(wished.unwrap(), 3);
}

async fn update(
    store: &Store,
    id: DeviceId,
    fields: &DeviceFields,
    app_key: AppKeyChange,
) -> Device {
    let scope = Scope::Platform;
    let changed = store
        .update_device(scope, id, fields, app_key, None, at(50), &by())
        .await
        .unwrap();
    // What is answered is what is stored.
    let stored = store.device(scope, id).await.unwrap();
    assert_eq!(stored.as_ref(), Some(&changed));
    changed
}

async fn sync_of(store: &Store, id: DeviceId) -> DeviceSync {
    let device = store.device(Scope::Platform, id).await.unwrap().unwrap();
    device.sync.unwrap()
}

async fn revision(store: &Store) -> Option<u32> {
    let wish = store.load_sync(on_default(1)).await.unwrap().unwrap();
    wish.wish.device.unwrap().app_key_revision
}
