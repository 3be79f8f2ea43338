//! What tenants and devices have otherwise than the configuration, and what is wanted of devices.

use downbeat_core::device::{InitialisationState, InitialisationStatus};
use downbeat_core::light::{Color, LightState};

use super::*;

pub(in crate::store) async fn policies_of_tenant_and_device_are_kept_and_loaded(store: &Store) {
    let tenants = PolicySettings {
        attempts: Some(7),
        reconcile: Some(false),
        ..PolicySettings::default()
    };
    let devices = PolicySettings {
        ttl_s: Some(90),
        until_deadline: Some(true),
        ..PolicySettings::default()
    };
    let mut tenant = tenant_named("acme");
    tenant.fields.policy = tenants;
    store.create_tenant(&tenant, &by()).await.unwrap();
    let mut new = lamp(tenant.id, 1);
    new.fields.policy = devices;
    let scope = Scope::Tenant(tenant.id);
    let device = store.create_device(scope, &new, &by()).await.unwrap();
    assert_eq!(device.fields.policy, devices);
    let key = DeviceKey {
        server: NetworkServerId::Default,
        dev_eui: eui(1),
    };
    let loaded = store.load(key).await.unwrap().unwrap();
    assert_eq!(
        (loaded.tenant_policy, loaded.device_policy),
        (tenants, devices)
    );

    let mut fields = device.fields;
    fields.policy = tenants;
    let keep = AppKeyChange::Keep;
    let changed = store
        .update_device(scope, device.id, &fields, keep, None, at(1), &by())
        .await
        .unwrap();
    assert_eq!(changed.fields.policy, tenants);
    assert_eq!(store.device(scope, device.id).await.unwrap(), Some(changed));
    let nothing = TenantFields::named("acme");
    let changed = store
        .update_tenant(scope, tenant.id, &nothing, None, at(2), &by())
        .await
        .unwrap();
    assert!(changed.fields.policy.is_empty());
    let loaded = store.load(key).await.unwrap().unwrap();
    assert!(loaded.tenant_policy.is_empty());
    assert_eq!(loaded.device_policy, tenants);
}

pub(in crate::store) async fn devices_are_listed_by_whether_they_show_what_is_wanted(
    store: &Store,
) {
    let tenant = default_tenant(store).await;
    let red = LightState::steady(Color::rgb(255, 0, 0));
    let blinking = LightState { off_time: 5, ..red };
    for (number, desired, reported) in [
        (1, None, None),
        (2, None, Some(red)),
        (3, Some(red), None),
        (4, Some(red), Some(red)),
        (5, Some(red), Some(blinking)),
        (6, Some(red), Some(LightState::OFF)),
    ] {
        let device = register(store, tenant, number).await;
        let heard = DeviceChange {
            desired,
            reported: reported.map(|light| (light, at(1))),
            ..change(&device, "heard", at(1))
        };
        store.commit(&[heard]).await.unwrap();
    }
    let listed = async |converged| {
        let filter = DeviceFilter {
            converged,
            ..DeviceFilter::default()
        };
        let page = PageRequest::default();
        let found = store.list_devices(Scope::Tenant(tenant), &filter, page);
        let found = found.await.unwrap().items;
        let count = store.count_devices(Scope::Tenant(tenant), &filter);
        assert_eq!(count.await.unwrap(), found.len() as u64);
        assert!(
            found
                .iter()
                .all(|it| converged.is_none_or(|that| it.is_converged() == that))
        );
        found.len()
    };
    assert_eq!(listed(Some(false)).await, 3);
    assert_eq!(listed(Some(true)).await, 3);
    assert_eq!(listed(None).await, 6);
}

pub(in crate::store) async fn how_far_an_initialisation_is_stays_with_the_device(store: &Store) {
    let tenant = default_tenant(store).await;
    let device = register(store, tenant, 1).await;
    let shown = async || {
        store
            .device(Scope::Platform, device.id)
            .await
            .unwrap()
            .unwrap()
    };
    assert_eq!(shown().await.initialisation, None);
    for (state, step) in [
        (InitialisationState::Running, Some(2)),
        (InitialisationState::Done, None),
    ] {
        let status = InitialisationStatus {
            state,
            step,
            steps: 2,
            downlink_id: step.map(|_| DownlinkId::from_uuid(Uuid::from_u128(7))),
            initialised_at: (state == InitialisationState::Done).then_some(at(9)),
        };
        let told = DeviceChange {
            initialisation: Some(status),
            ..change(&device, "told", at(1))
        };
        store.commit(&[told]).await.unwrap();
        assert_eq!(shown().await.initialisation, Some(status));
    }
    // Another DevEUI is another device on the air.
    let mut fields = shown().await.fields;
    fields.dev_eui = Some(eui(2));
    let keep = AppKeyChange::Keep;
    store
        .update_device(
            Scope::Platform,
            device.id,
            &fields,
            keep,
            None,
            at(2),
            &by(),
        )
        .await
        .unwrap();
    assert_eq!(shown().await.initialisation, None);
}
