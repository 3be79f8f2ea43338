//! What is decided about tenants.

use super::*;

pub(in crate::store) async fn a_tenant_is_kept_changed_and_deleted(store: &Store) {
    let mut tenant = tenant_named("acme");
    tenant.fields.chirpstack_tenant_id = Some(Uuid::from_u128(7));
    tenant.fields.devices_max = Some(0);
    tenant.fields.commands_per_minute = Some(u32::MAX);
    store.create_tenant(&tenant, &by()).await.unwrap();
    let scope = Scope::Tenant(tenant.id);
    assert_eq!(
        store.tenant(scope, tenant.id).await.unwrap(),
        Some(tenant.clone())
    );
    let by_chirpstack = async |id| store.tenant_by_chirpstack_id(Uuid::from_u128(id)).await;
    assert_eq!(by_chirpstack(7).await.unwrap(), Some(tenant.clone()));
    assert_eq!(by_chirpstack(8).await.unwrap(), None);

    let fields = TenantFields::named("ACME, Inc.");
    let changed = store
        .update_tenant(scope, tenant.id, &fields, Some(1), at(9), &by())
        .await
        .unwrap();
    assert_eq!((&changed.fields, changed.version), (&fields, 2));
    assert_eq!(
        (changed.created_at, changed.updated_at),
        (tenant.created_at, at(9))
    );
    assert_eq!(by_chirpstack(7).await.unwrap(), None);
    let stale = store
        .update_tenant(scope, tenant.id, &fields, Some(1), at(10), &by())
        .await;
    assert!(
        matches!(stale, Err(WriteTenantError::VersionMismatch { current: 2 })),
        "{stale:?}"
    );
    let stale = store
        .delete_tenant(Scope::Platform, tenant.id, Some(1), at(10), &by())
        .await;
    assert!(
        matches!(stale, Err(WriteTenantError::VersionMismatch { current: 2 })),
        "{stale:?}"
    );
    let deleted = store
        .delete_tenant(Scope::Platform, tenant.id, Some(2), at(11), &by())
        .await
        .unwrap();
    assert_eq!(deleted, changed);
    assert_eq!(
        store.tenant(Scope::Platform, tenant.id).await.unwrap(),
        None
    );
    let again = store
        .delete_tenant(Scope::Platform, tenant.id, None, at(12), &by())
        .await;
    assert!(
        matches!(again, Err(WriteTenantError::UnknownTenant)),
        "{again:?}"
    );
    let lost = store
        .update_tenant(Scope::Platform, tenant.id, &fields, None, at(12), &by())
        .await;
    assert!(
        matches!(lost, Err(WriteTenantError::UnknownTenant)),
        "{lost:?}"
    );
}

pub(in crate::store) async fn names_and_chirpstack_tenants_are_taken_once(store: &Store) {
    let mut acme = tenant_named("acme");
    acme.fields.chirpstack_tenant_id = Some(Uuid::from_u128(7));
    store.create_tenant(&acme, &by()).await.unwrap();
    let mut other = tenant_named("other");
    store.create_tenant(&other, &by()).await.unwrap();
    other.fields.chirpstack_tenant_id = Some(Uuid::from_u128(7));
    let update = async |fields: &TenantFields| {
        store
            .update_tenant(Scope::Platform, other.id, fields, None, at(1), &by())
            .await
    };
    let taken = update(&other.fields).await;
    assert!(
        matches!(taken, Err(WriteTenantError::ChirpstackTenantTaken)),
        "{taken:?}"
    );
    let taken = update(&TenantFields::named("acme")).await;
    assert!(
        matches!(taken, Err(WriteTenantError::NameTaken)),
        "{taken:?}"
    );
    let third = Tenant {
        fields: TenantFields {
            name: "third".to_owned(),
            ..acme.fields
        },
        ..tenant_named("third")
    };
    let taken = store.create_tenant(&third, &by()).await;
    assert!(
        matches!(taken, Err(WriteTenantError::ChirpstackTenantTaken)),
        "{taken:?}"
    );
    // Any number of tenants are none of ChirpStack's.
    new_tenant(store, "fourth").await;
}

pub(in crate::store) async fn a_tenant_with_devices_or_open_deletions_stays(store: &Store) {
    let acme = new_tenant(store, "acme").await;
    let scope = Scope::Tenant(acme);
    let device = store
        .create_device(scope, &synced_lamp(acme, 1), &by())
        .await
        .unwrap();
    let key = ApiKey {
        id: ApiKeyId::from_uuid(Uuid::now_v7()),
        tenant_id: Some(acme),
        role: Role::Admin,
        name: "a key".to_owned(),
        prefix: "db_1234".to_owned(),
        created_at: at(0),
        expires_at: None,
        revoked_at: None,
        requests_per_minute: Some(7),
        last_used_at: None,
    };
    store.create_api_key(&key, &[1; 32], &by()).await.unwrap();
    let delete = async || {
        store
            .delete_tenant(Scope::Platform, acme, None, at(9), &by())
            .await
    };
    let kept = delete().await;
    assert!(
        matches!(kept, Err(WriteTenantError::HasDevices)),
        "{kept:?}"
    );
    store
        .delete_device(scope, device.id, None, at(9), &by())
        .await
        .unwrap();
    let kept = delete().await;
    assert!(
        matches!(kept, Err(WriteTenantError::HasDevices)),
        "{kept:?}"
    );
    confirm_absence(store, on_default(1)).await;
    assert_eq!(store.api_key_by_hash(&[1; 32]).await.unwrap(), Some(key));
    delete().await.unwrap();
    assert_eq!(store.api_key_by_hash(&[1; 32]).await.unwrap(), None);
}

pub(in crate::store) async fn a_full_tenant_gets_no_more_devices(store: &Store) {
    let mut acme = tenant_named("acme");
    acme.fields.devices_max = Some(2);
    store.create_tenant(&acme, &by()).await.unwrap();
    let scope = Scope::Tenant(acme.id);
    let mut devices = Vec::new();
    for number in 1..=2 {
        devices.push(register(store, acme.id, number).await);
    }
    let third = lamp(acme.id, 3);
    let refused = store.create_device(scope, &third, &by()).await;
    assert!(
        matches!(refused, Err(WriteDeviceError::TenantFull)),
        "{refused:?}"
    );
    store
        .delete_device(scope, devices[0].id, None, at(9), &by())
        .await
        .unwrap();
    store.create_device(scope, &third, &by()).await.unwrap();
    // Others' devices do not count.
    register(store, default_tenant(store).await, 4).await;
}

pub(in crate::store) async fn many_at_once_do_not_overfill_a_tenant(store: &Store) {
    let mut acme = tenant_named("acme");
    acme.fields.devices_max = Some(10);
    store.create_tenant(&acme, &by()).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 1..=50 {
        let (store, device) = (store.clone(), lamp(acme.id, number));
        tasks.spawn(async move {
            store
                .create_device(Scope::Platform, &device, &by())
                .await
                .is_ok()
        });
    }
    let registered = tasks.join_all().await.into_iter().filter(|done| *done);
    assert_eq!(registered.count(), 10);
    let scope = Scope::Tenant(acme.id);
    let counted = store.count_devices(scope, &DeviceFilter::default()).await;
    assert_eq!(counted.unwrap(), 10);
}
