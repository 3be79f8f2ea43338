//! Where `ChirpStack` and the registry differ.

use super::*;

pub(in crate::store) async fn a_comparison_replaces_the_one_before(store: &Store) {
    let tenant = default_tenant(store).await;
    let scope = Scope::Tenant(tenant);
    let (never, none) = list(store, scope, tenant).await;
    assert_eq!((never, none), (None, Vec::new()));
    let found = [
        drift(3, DriftKind::MissingInChirpstack, 10),
        Drift {
            device_id: Some(DeviceId::from_uuid(Uuid::from_u128(9))),
            chirpstack_name: Some("Sensor".to_owned()),
            application_id: Some(Uuid::from_u128(1)),
            device_profile_id: Some(Uuid::from_u128(2)),
            differences: vec![Difference {
                field: "name".to_owned(),
                registry: Some("a \"b\"".to_owned()),
                chirpstack: None,
            }],
            ..drift(1, DriftKind::Differs, 10)
        },
        drift(2, DriftKind::MissingInRegistry, 10),
    ];
    store.replace_drift(tenant, at(10), &found).await.unwrap();
    let (checked_at, listed) = list(store, scope, tenant).await;
    assert_eq!(checked_at, Some(at(10)));
    assert_eq!(
        listed,
        [found[1].clone(), found[2].clone(), found[0].clone()]
    );
    assert_eq!(
        store.drift(scope, tenant, eui(1)).await.unwrap(),
        Some(found[1].clone())
    );
    assert_eq!(store.drift(scope, tenant, eui(4)).await.unwrap(), None);

    let euis = [eui(1), eui(2), eui(9)];
    let ignored = store.ignore_drift(scope, tenant, &euis, true).await;
    assert_eq!(ignored.unwrap(), 2);
    // The first is the same, the second is another kind, the third is over, and one is new. Twice told counts once.
    let next = [
        drift(1, DriftKind::Differs, 20),
        drift(2, DriftKind::MissingInChirpstack, 20),
        drift(4, DriftKind::MissingInRegistry, 20),
        drift(4, DriftKind::MissingInRegistry, 20),
    ];
    store.replace_drift(tenant, at(20), &next).await.unwrap();
    let (checked_at, listed) = list(store, scope, tenant).await;
    assert_eq!(checked_at, Some(at(20)));
    let told: Vec<_> = listed
        .iter()
        .map(|drift| (drift.dev_eui, drift.found_at, drift.ignored))
        .collect();
    assert_eq!(
        told,
        [
            (eui(1), at(10), true),
            (eui(2), at(20), false),
            (eui(4), at(20), false),
        ]
    );
    assert_eq!(listed[0].differences, []);
    let again = store.ignore_drift(scope, tenant, &[eui(1)], false).await;
    assert_eq!(again.unwrap(), 1);
    let removed = store.remove_drift(scope, tenant, &[eui(1), eui(3)]).await;
    assert_eq!(removed.unwrap(), 1);
    assert_eq!(store.remove_drift(scope, tenant, &[]).await.unwrap(), 0);
    let (checked_at, listed) = list(store, scope, tenant).await;
    assert_eq!((checked_at, listed.len()), (Some(at(20)), 2));
}

pub(in crate::store) async fn a_comparison_goes_with_its_tenant(store: &Store) {
    let (tenant, acme) = (default_tenant(store).await, new_tenant(store, "acme").await);
    for owner in [tenant, acme] {
        let found = [drift(1, DriftKind::Differs, 1)];
        store.replace_drift(owner, at(1), &found).await.unwrap();
    }
    let scope = Scope::Platform;
    store
        .delete_tenant(scope, acme, None, at(2), &by())
        .await
        .unwrap();
    // One that was under way changes nothing.
    store
        .replace_drift(acme, at(3), &[drift(1, DriftKind::Differs, 3)])
        .await
        .unwrap();
    assert_eq!(list(store, scope, acme).await, (None, Vec::new()));
    assert_eq!(list(store, scope, tenant).await.1.len(), 1);
}

async fn list(store: &Store, scope: Scope, tenant: TenantId) -> (Option<Timestamp>, Vec<Drift>) {
    let mut drifts = Vec::new();
    let mut page = PageRequest::first(2);
    loop {
        let (checked_at, listed) = store.list_drift(scope, tenant, page).await.unwrap();
        drifts.extend(listed.items);
        let Some(next) = listed.next else {
            return (checked_at, drifts);
        };
        page.after = Some(next.to_string().parse().unwrap());
    }
}

fn drift(number: u64, kind: DriftKind, second: i64) -> Drift {
    Drift {
        dev_eui: eui(number),
        device_id: None,
        kind,
        chirpstack_name: None,
        application_id: None,
        device_profile_id: None,
        differences: Vec::new(),
        found_at: at(second),
        ignored: false,
    }
}
