//! Tenants and devices.

use downbeat_core::id::JoinEui;
use downbeat_core::light::{Color, LightState};

use super::*;

pub(in crate::store) async fn a_first_start_makes_the_default_tenant(store: &Store) {
    let tenants = store
        .list_tenants(Scope::Platform, PageRequest::default())
        .await
        .unwrap();
    assert_eq!(tenants.items.len(), 1);
    assert_eq!(tenants.items[0].fields.name, "default");
    store.ping().await.unwrap();
}

pub(in crate::store) async fn tenants_have_unique_names_and_see_only_themselves(store: &Store) {
    let acme = new_tenant(store, "acme").await;
    let again = tenant_named("acme");
    assert!(matches!(
        store.create_tenant(&again, &by()).await,
        Err(WriteTenantError::NameTaken)
    ));

    let other = default_tenant(store).await;
    let scope = Scope::Tenant(acme);
    assert_eq!(
        store
            .tenant(scope, acme)
            .await
            .unwrap()
            .unwrap()
            .fields
            .name,
        "acme"
    );
    assert_eq!(store.tenant(scope, other).await.unwrap(), None);
    assert_eq!(store.tenant_by_name(scope, "default").await.unwrap(), None);
    assert_eq!(store.tenant_by_name(scope, "ACME").await.unwrap(), None);
    let seen = store
        .list_tenants(scope, PageRequest::default())
        .await
        .unwrap();
    assert_eq!(
        seen.items
            .iter()
            .map(|tenant| tenant.id)
            .collect::<Vec<_>>(),
        [acme]
    );

    let first = store
        .list_tenants(Scope::Platform, PageRequest::first(1))
        .await
        .unwrap();
    let second = PageRequest {
        limit: 1,
        after: first.next,
    };
    let second = store.list_tenants(Scope::Platform, second).await.unwrap();
    assert_ne!(first.items, second.items);
    assert_eq!(second.next, None);
}

pub(in crate::store) async fn a_device_is_kept_as_registered(store: &Store) {
    let tenant = default_tenant(store).await;
    let mut new = lamp(tenant, 1);
    new.fields.description = "by the window, \"left\" – 'ö' \u{1F4A1}".to_owned();
    new.fields.tags = BTreeMap::from([("floor".to_owned(), "3".to_owned())]);
    new.fields.codec = CodecKind::Generic;
    new.fields.chirpstack_app_id = Some(Uuid::from_u128(1));
    new.fields.device_profile_id = Some(Uuid::from_u128(2));
    new.fields.join_eui = Some(JoinEui::from_u64(u64::MAX));
    let created = store
        .create_device(Scope::Tenant(tenant), &new, &by())
        .await
        .unwrap();
    assert_eq!(created.fields, new.fields);
    assert_eq!(
        (created.id, created.tenant_id, created.version),
        (new.id, tenant, 1)
    );
    assert_eq!((created.created_at, created.updated_at), (at(1), at(1)));
    assert_eq!(
        (created.last_seen, created.desired, created.reported),
        (None, None, None)
    );
    assert_eq!(
        store.device(Scope::Platform, new.id).await.unwrap(),
        Some(created.clone())
    );
    assert_eq!(
        store
            .device_by_dev_eui(Scope::Tenant(tenant), eui(1))
            .await
            .unwrap(),
        Some(created)
    );
    assert_eq!(
        store
            .device_by_dev_eui(Scope::Platform, eui(2))
            .await
            .unwrap(),
        None
    );

    let loaded = store.load(on_default(1)).await.unwrap().unwrap();
    assert_eq!(
        (loaded.device_id, loaded.tenant_id, loaded.codec),
        (new.id, tenant, CodecKind::Generic)
    );
    assert_eq!(loaded.state, None);
    assert_eq!(store.load(on_default(2)).await.unwrap(), None);
}

pub(in crate::store) async fn a_dev_eui_is_registered_once_over_all_tenants(store: &Store) {
    let tenant = default_tenant(store).await;
    let acme = new_tenant(store, "acme").await;
    register(store, tenant, 1).await;
    let twice = store
        .create_device(Scope::Tenant(acme), &lamp(acme, 1), &by())
        .await;
    assert!(
        matches!(twice, Err(WriteDeviceError::DevEuiTaken)),
        "{twice:?}"
    );
    let other = register(store, acme, 2).await;
    let fields = DeviceFields {
        dev_eui: Some(eui(1)),
        ..other.fields
    };
    let moved = store
        .update_device(
            Scope::Platform,
            other.id,
            &fields,
            AppKeyChange::Keep,
            None,
            at(9),
            &by(),
        )
        .await;
    assert!(
        matches!(moved, Err(WriteDeviceError::DevEuiTaken)),
        "{moved:?}"
    );
    // Any number of devices have none.
    for number in 3..5 {
        let mut new = lamp(tenant, number);
        new.fields.dev_eui = None;
        store
            .create_device(Scope::Platform, &new, &by())
            .await
            .unwrap();
    }
    let nowhere = TenantId::from_uuid(Uuid::now_v7());
    let lost = store
        .create_device(Scope::Platform, &lamp(nowhere, 6), &by())
        .await;
    assert!(
        matches!(lost, Err(WriteDeviceError::UnknownTenant)),
        "{lost:?}"
    );
}

pub(in crate::store) async fn another_tenants_device_does_not_exist(store: &Store) {
    let tenant = default_tenant(store).await;
    let stranger = Scope::Tenant(new_tenant(store, "acme").await);
    let device = register(store, tenant, 1).await;
    assert_eq!(store.device(stranger, device.id).await.unwrap(), None);
    assert_eq!(
        store.device_by_dev_eui(stranger, eui(1)).await.unwrap(),
        None
    );
    let created = store.create_device(stranger, &lamp(tenant, 2), &by()).await;
    assert!(
        matches!(created, Err(WriteDeviceError::UnknownTenant)),
        "{created:?}"
    );
    let updated = store
        .update_device(
            stranger,
            device.id,
            &device.fields,
            AppKeyChange::Keep,
            None,
            at(9),
            &by(),
        )
        .await;
    assert!(
        matches!(updated, Err(WriteDeviceError::UnknownDevice)),
        "{updated:?}"
    );
    let deleted = store
        .delete_device(stranger, device.id, None, at(99), &by())
        .await;
    assert!(
        matches!(deleted, Err(WriteDeviceError::UnknownDevice)),
        "{deleted:?}"
    );
    let seen = store
        .list_devices(stranger, &DeviceFilter::default(), PageRequest::default())
        .await
        .unwrap();
    assert_eq!(seen.items, []);
    assert_eq!(
        store
            .count_devices(stranger, &DeviceFilter::default())
            .await
            .unwrap(),
        0
    );
}

pub(in crate::store) async fn a_change_needs_the_current_version(store: &Store) {
    let tenant = default_tenant(store).await;
    let device = register(store, tenant, 1).await;
    let mut fields = device.fields.clone();
    "Desk 7".clone_into(&mut fields.name);
    let scope = Scope::Tenant(tenant);
    let changed = store
        .update_device(
            scope,
            device.id,
            &fields,
            AppKeyChange::Keep,
            Some(1),
            at(9),
            &by(),
        )
        .await
        .unwrap();
    assert_eq!(
        (changed.version, changed.created_at, changed.updated_at),
        (2, at(1), at(9))
    );
    assert_eq!(changed.fields, fields);
    let stale = store
        .update_device(
            scope,
            device.id,
            &device.fields,
            AppKeyChange::Keep,
            Some(1),
            at(10),
            &by(),
        )
        .await;
    assert!(
        matches!(stale, Err(WriteDeviceError::VersionMismatch { current: 2 })),
        "{stale:?}"
    );
    let stale = store
        .delete_device(scope, device.id, Some(1), at(99), &by())
        .await;
    assert!(
        matches!(stale, Err(WriteDeviceError::VersionMismatch { current: 2 })),
        "{stale:?}"
    );
    // What the actor stores is no change by a user.
    store
        .commit(&[change(&changed, "{}", at(11))])
        .await
        .unwrap();
    assert_eq!(
        store
            .device(scope, device.id)
            .await
            .unwrap()
            .unwrap()
            .version,
        2
    );
    assert_eq!(
        store
            .update_device(
                scope,
                device.id,
                &fields,
                AppKeyChange::Keep,
                None,
                at(12),
                &by()
            )
            .await
            .unwrap()
            .version,
        3
    );
}

pub(in crate::store) async fn another_dev_eui_forgets_what_the_old_one_said(store: &Store) {
    let device = register(store, default_tenant(store).await, 1).await;
    let red = LightState::steady(Color::rgb(255, 0, 0));
    let spoke = DeviceChange {
        last_seen: Some(at(5)),
        desired: Some(red),
        reported: Some((red, at(5))),
        unfinished: true,
        ..change(&device, "{\"old\":1}", at(5))
    };
    store.commit(std::slice::from_ref(&spoke)).await.unwrap();
    let fields = DeviceFields {
        dev_eui: Some(eui(2)),
        ..device.fields.clone()
    };
    let moved = store
        .update_device(
            Scope::Platform,
            device.id,
            &fields,
            AppKeyChange::Keep,
            None,
            at(9),
            &by(),
        )
        .await
        .unwrap();
    assert_eq!(
        (moved.last_seen, moved.desired, moved.reported),
        (None, None, None)
    );
    // The old one's actor writes once more.
    store.commit(&[spoke]).await.unwrap();
    let loaded = store.load(on_default(2)).await.unwrap().unwrap();
    assert_eq!((loaded.device_id, loaded.state), (device.id, None));
    assert_eq!(store.load(on_default(1)).await.unwrap(), None);
    assert_eq!(store.unfinished().await.unwrap(), []);
}

pub(in crate::store) async fn a_deleted_device_is_gone_and_its_dev_eui_free(store: &Store) {
    let tenant = default_tenant(store).await;
    let device = register(store, tenant, 1).await;
    store
        .commit(&[change(&device, "{\"old\":1}", at(5))])
        .await
        .unwrap();
    let deleted = store
        .delete_device(Scope::Tenant(tenant), device.id, Some(1), at(99), &by())
        .await
        .unwrap();
    assert_eq!(deleted.id, device.id);
    assert_eq!(
        store.device(Scope::Platform, device.id).await.unwrap(),
        None
    );
    assert_eq!(store.load(on_default(1)).await.unwrap(), None);
    let again = store
        .delete_device(Scope::Platform, device.id, None, at(99), &by())
        .await;
    assert!(
        matches!(again, Err(WriteDeviceError::UnknownDevice)),
        "{again:?}"
    );

    let next = register(store, tenant, 1).await;
    // The deleted one's actor writes once more.
    store
        .commit(&[change(&device, "{\"old\":2}", at(6))])
        .await
        .unwrap();
    let loaded = store.load(on_default(1)).await.unwrap().unwrap();
    assert_eq!((loaded.device_id, loaded.state), (next.id, None));
}

pub(in crate::store) async fn a_device_that_is_to_rest_is_not_deleted_while_something_is_under_way(
    store: &Store,
) {
    let tenant = default_tenant(store).await;
    let scope = Scope::Tenant(tenant);
    let (busy, resting) = (
        register(store, tenant, 1).await,
        register(store, tenant, 2).await,
    );
    let unfinished = DeviceChange {
        unfinished: true,
        ..change(&busy, "{}", at(5))
    };
    store.commit(&[unfinished]).await.unwrap();
    // Together: one that is refused leaves the other its way.
    let delete = |device: &Device| {
        let (store, id) = (store.clone(), device.id);
        async move {
            store
                .delete_resting_device(scope, id, Some(1), at(9), &by())
                .await
        }
    };
    let (refused, deleted) = tokio::join!(delete(&busy), delete(&resting));
    assert!(
        matches!(refused, Err(WriteDeviceError::UnderWay)),
        "{refused:?}"
    );
    assert_eq!(deleted.unwrap().id, resting.id);
    assert_eq!(store.unfinished().await.unwrap(), [on_default(1)]);
    let stale = store
        .delete_resting_device(scope, busy.id, Some(2), at(9), &by())
        .await;
    assert!(
        matches!(stale, Err(WriteDeviceError::VersionMismatch { current: 1 })),
        "{stale:?}"
    );
    let left = store.device(scope, busy.id).await.unwrap();
    assert!(left.is_some_and(|left| left.sync == busy.sync));

    store.commit(&[change(&busy, "{}", at(6))]).await.unwrap();
    assert_eq!(delete(&busy).await.unwrap().id, busy.id);
    assert_eq!(store.device(scope, busy.id).await.unwrap(), None);
}

pub(in crate::store) async fn changes_of_one_batch_wish_one_after_the_other(store: &Store) {
    let tenant = default_tenant(store).await;
    let scope = Scope::Tenant(tenant);
    let mut before = Vec::new();
    for number in 0..8 {
        let new = synced_lamp(tenant, number);
        before.push(store.create_device(scope, &new, &by()).await.unwrap());
    }
    let generation = |device: &Device| device.sync.as_ref().unwrap().generation;
    let newest = before.iter().map(generation).max().unwrap();
    // Whoever comes while the first is written is written with the others.
    let mut tasks = tokio::task::JoinSet::new();
    for (number, device) in before.into_iter().enumerate() {
        let store = store.clone();
        tasks.spawn(async move {
            if number % 2 == 0 {
                let mut fields = device.fields.clone();
                fields.name.push('!');
                let (keep, by) = (AppKeyChange::Keep, by());
                let changed =
                    store.update_device(scope, device.id, &fields, keep, Some(1), at(9), &by);
                changed.await.unwrap();
            } else {
                let by = by();
                let deleted = store.delete_device(scope, device.id, Some(1), at(9), &by);
                deleted.await.unwrap();
            }
        });
    }
    for number in 8..12 {
        let (store, new) = (store.clone(), synced_lamp(tenant, number));
        tasks.spawn(async move { drop(store.create_device(scope, &new, &by()).await.unwrap()) });
    }
    tasks.join_all().await;
    let wishes = store
        .unfinished_syncs(NetworkServerId::Default, 100)
        .await
        .unwrap();
    let generations: std::collections::BTreeSet<u64> =
        wishes.iter().map(|it| it.wish.generation).collect();
    assert_eq!((wishes.len(), generations.len()), (12, 12));
    assert!(generations.first().is_some_and(|first| *first > newest));
    let wanted = wishes.iter().filter(|it| it.wish.device.is_some());
    assert_eq!(wanted.count(), 8);
}

pub(in crate::store) async fn devices_are_listed_in_pages_and_filtered(store: &Store) {
    let tenant = default_tenant(store).await;
    let acme = new_tenant(store, "acme").await;
    // Registered in an order that is not that of time.
    for number in [4, 2, 5, 1, 3] {
        register(store, tenant, number).await;
    }
    register(store, acme, 40).await;
    let scope = Scope::Tenant(tenant);
    let mut names = Vec::new();
    let mut page = PageRequest::first(2);
    loop {
        let devices = store
            .list_devices(scope, &DeviceFilter::default(), page)
            .await
            .unwrap();
        assert!(devices.items.len() <= 2);
        names.extend(devices.items.into_iter().map(|device| device.fields.name));
        let Some(next) = devices.next else { break };
        page.after = Some(next.to_string().parse().unwrap());
    }
    assert_eq!(names, ["Lamp 1", "Lamp 2", "Lamp 3", "Lamp 4", "Lamp 5"]);

    let count = async |scope, name: Option<&str>, dev_eui| {
        let filter = DeviceFilter {
            name: name.map(str::to_owned),
            dev_eui,
            ..DeviceFilter::default()
        };
        let listed = store
            .list_devices(scope, &filter, PageRequest::default())
            .await
            .unwrap()
            .items
            .len();
        assert_eq!(
            store.count_devices(scope, &filter).await.unwrap(),
            listed as u64
        );
        listed
    };
    assert_eq!(count(Scope::Platform, None, None).await, 6);
    assert_eq!(count(scope, Some("LAMP 4"), None).await, 1);
    assert_eq!(count(Scope::Platform, Some("amp 4"), None).await, 2);
    assert_eq!(count(scope, Some("%"), None).await, 0);
    assert_eq!(count(scope, None, Some(eui(3))).await, 1);
    assert_eq!(count(scope, None, Some(eui(40))).await, 0);
    // A limit of none, or of too many, is brought into range.
    for limit in [0, u32::MAX] {
        let devices = store
            .list_devices(scope, &DeviceFilter::default(), PageRequest::first(limit))
            .await;
        assert!(!devices.unwrap().items.is_empty());
    }
}

pub(in crate::store) async fn fifty_tasks_register_change_and_delete_at_once(store: &Store) {
    let tenant = default_tenant(store).await;
    let scope = Scope::Tenant(tenant);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..50 {
        let store = store.clone();
        tasks.spawn(async move {
            for round in 0..6 {
                let new = synced_lamp(tenant, task * 10 + round);
                let device = store.create_device(scope, &new, &by()).await.unwrap();
                let fields = DeviceFields {
                    name: "renamed".to_owned(),
                    ..device.fields
                };
                let keep = AppKeyChange::Keep;
                let changed = store
                    .update_device(scope, new.id, &fields, keep, Some(1), at(1), &by())
                    .await
                    .unwrap();
                assert_eq!(changed.version, 2);
                // Everybody wants the same one, too: one gets it.
                let contested = lamp(tenant, 999_999);
                match store.create_device(scope, &contested, &by()).await {
                    Ok(_) | Err(WriteDeviceError::DevEuiTaken) => {}
                    Err(error) => panic!("{error}"),
                }
                if round % 2 == 0 {
                    store
                        .delete_device(scope, new.id, Some(2), at(2), &by())
                        .await
                        .unwrap();
                }
            }
        });
    }
    tasks.join_all().await;
    let count = async |filter: DeviceFilter| store.count_devices(scope, &filter).await.unwrap();
    assert_eq!(count(DeviceFilter::default()).await, 50 * 3 + 1);
    let renamed = DeviceFilter {
        name: Some("renamed".to_owned()),
        synced: Some(false),
        ..DeviceFilter::default()
    };
    assert_eq!(count(renamed).await, 50 * 3);
    let wishes = store
        .unfinished_syncs(NetworkServerId::Default, 1_000)
        .await
        .unwrap();
    assert_eq!(wishes.len(), 50 * 6);
    let (wanted, unwanted): (Vec<_>, Vec<_>) = wishes
        .into_iter()
        .partition(|sync| sync.wish.device.is_some());
    assert_eq!((wanted.len(), unwanted.len()), (150, 150));
    let mut entries = 0;
    let mut page = PageRequest::first(PAGE_MAX);
    loop {
        let filter = AuditFilter::default();
        let listed = store.list_audit(scope, &filter, page).await.unwrap();
        entries += listed.items.len();
        let Some(next) = listed.next else { break };
        page.after = Some(next);
    }
    assert_eq!(entries, 50 * (6 + 6 + 3) + 1);
}
