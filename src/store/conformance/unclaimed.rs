//! Devices that nobody has registered.

use super::*;

pub(in crate::store) async fn sightings_add_up_to_one_device(store: &Store) {
    let tenant = default_tenant(store).await;
    let first = UnclaimedSighting {
        application_id: Some(Uuid::from_u128(1)),
        rssi_dbm: Some(-90),
        ..sighting(Some(tenant), 1, 10)
    };
    let later = UnclaimedSighting {
        name: String::new(),
        events: 4,
        ..sighting(Some(tenant), 1, 20)
    };
    store.note_unclaimed(&[first.clone(), later]).await.unwrap();
    store.note_unclaimed(&[]).await.unwrap();
    let late = UnclaimedSighting {
        name: "renamed".to_owned(),
        device_profile_id: Some(Uuid::from_u128(2)),
        rssi_dbm: Some(-70),
        ..sighting(Some(tenant), 1, 15)
    };
    store.note_unclaimed(&[late]).await.unwrap();
    let found = store.unclaimed(Scope::Tenant(tenant), eui(1)).await;
    let expected = UnclaimedDevice {
        last: UnclaimedSighting {
            name: "renamed".to_owned(),
            device_profile_id: Some(Uuid::from_u128(2)),
            at: at(20),
            events: 6,
            rssi_dbm: Some(-70),
            ..first
        },
        first_seen: at(10),
    };
    assert_eq!(found.unwrap(), Some(expected));
}

pub(in crate::store) async fn each_tenant_has_its_own(store: &Store) {
    let (tenant, acme) = (default_tenant(store).await, new_tenant(store, "acme").await);
    let nobody = TenantId::from_uuid(Uuid::now_v7());
    store
        .note_unclaimed(&[
            sighting(Some(tenant), 1, 10),
            sighting(Some(acme), 1, 11),
            sighting(None, 2, 12),
            sighting(Some(tenant), 3, 13),
            sighting(Some(nobody), 4, 14),
        ])
        .await
        .unwrap();
    let listed = async |scope| {
        let mut seen = Vec::new();
        let mut page = PageRequest::first(1);
        loop {
            let listed = store.list_unclaimed(scope, page).await.unwrap();
            seen.extend(listed.items.iter().map(|device| device.first_seen));
            let Some(next) = listed.next else { break };
            page.after = Some(next.to_string().parse().unwrap());
        }
        seen
    };
    let seconds = |seconds: &[i64]| seconds.iter().map(|second| at(*second)).collect::<Vec<_>>();
    assert_eq!(listed(Scope::Platform).await, seconds(&[13, 12, 11, 10]));
    assert_eq!(listed(Scope::Tenant(tenant)).await, seconds(&[13, 10]));
    assert_eq!(listed(Scope::Tenant(acme)).await, seconds(&[11]));
    let scope = Scope::Tenant(acme);
    assert_eq!(store.unclaimed(scope, eui(2)).await.unwrap(), None);
    let known = store.unclaimed(Scope::Platform, eui(1)).await.unwrap();
    assert_eq!(known.unwrap().last.tenant_id, Some(acme));
    let unknown = store.unclaimed(Scope::Platform, eui(2)).await.unwrap();
    assert_eq!(unknown.unwrap().last.tenant_id, None);

    assert!(!store.forget_unclaimed(scope, eui(3)).await.unwrap());
    assert!(store.forget_unclaimed(scope, eui(1)).await.unwrap());
    assert!(!store.forget_unclaimed(scope, eui(1)).await.unwrap());
    assert_eq!(listed(Scope::Tenant(tenant)).await, seconds(&[13, 10]));
}

pub(in crate::store) async fn a_registered_device_is_not_unclaimed(store: &Store) {
    let (tenant, acme) = (default_tenant(store).await, new_tenant(store, "acme").await);
    let sightings = [sighting(Some(tenant), 1, 10), sighting(Some(acme), 1, 10)];
    store.note_unclaimed(&sightings).await.unwrap();
    let device = register(store, tenant, 1).await;
    let scope = Scope::Platform;
    assert_eq!(store.unclaimed(scope, eui(1)).await.unwrap(), None);
    // A sighting of before that is noted only now.
    store.note_unclaimed(&sightings).await.unwrap();
    assert_eq!(store.unclaimed(scope, eui(1)).await.unwrap(), None);
    // Nor is one that another device becomes.
    store
        .note_unclaimed(&[sighting(Some(acme), 7, 12)])
        .await
        .unwrap();
    let fields = DeviceFields {
        dev_eui: Some(eui(7)),
        ..device.fields.clone()
    };
    let keep = AppKeyChange::Keep;
    store
        .update_device(scope, device.id, &fields, keep, None, at(13), &by())
        .await
        .unwrap();
    assert_eq!(store.unclaimed(scope, eui(7)).await.unwrap(), None);
    // On another network server it is another device.
    let elsewhere = UnclaimedSighting {
        key: DeviceKey {
            server: NetworkServerId::Tenant(acme),
            dev_eui: eui(1),
        },
        ..sighting(Some(acme), 1, 11)
    };
    store.note_unclaimed(&[elsewhere]).await.unwrap();
    assert!(store.unclaimed(scope, eui(1)).await.unwrap().is_some());
    store
        .delete_device(scope, device.id, None, at(20), &by())
        .await
        .unwrap();
    store.note_unclaimed(&sightings).await.unwrap();
    let listed = store.list_unclaimed(scope, PageRequest::default()).await;
    assert_eq!(listed.unwrap().items.len(), 3);
}

pub(in crate::store) async fn there_are_only_so_many(store: &Store) {
    let (tenant, acme) = (default_tenant(store).await, new_tenant(store, "acme").await);
    store
        .note_unclaimed(&[sighting(Some(acme), 1, 0)])
        .await
        .unwrap();
    let many: Vec<_> = (0..u64::from(UNCLAIMED_MAX) + 3)
        .map(|number| sighting(Some(tenant), number, i64::try_from(number).unwrap() + 1))
        .collect();
    for some in many.chunks(2_000) {
        store.note_unclaimed(some).await.unwrap();
    }
    let known = async |scope, number| {
        let known = store.unclaimed(scope, eui(number)).await.unwrap();
        known.is_some()
    };
    let scope = Scope::Tenant(tenant);
    for (number, is_known) in [(0, false), (2, false), (3, true), (10_002, true)] {
        assert_eq!(known(scope, number).await, is_known, "{number}");
    }
    // Another tenant's are not pushed out.
    assert!(known(Scope::Tenant(acme), 1).await);
}

fn sighting(tenant_id: Option<TenantId>, number: u64, second: i64) -> UnclaimedSighting {
    UnclaimedSighting {
        key: on_default(number),
        tenant_id,
        name: "Sensor".to_owned(),
        application_id: None,
        device_profile_id: None,
        at: at(second),
        events: 1,
        rssi_dbm: None,
    }
}
