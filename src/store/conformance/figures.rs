//! How a tenant fares, in numbers.

use downbeat_core::app_key::AppKey;
use downbeat_core::device::Reason;
use downbeat_core::light::{Color, LightState};

use super::downlinks::accept;
use super::*;

pub(in crate::store) async fn a_tenants_figures_are_its_own(store: &Store) {
    let tenant = default_tenant(store).await;
    let acme = new_tenant(store, "acme").await;
    assert_eq!(
        store.tenant_figures(tenant).await.unwrap(),
        TenantFigures::default()
    );

    let red = LightState::steady(Color::rgb(255, 0, 0));
    let shows = register(store, tenant, 1).await;
    let differs = register(store, tenant, 2).await;
    let silent = NewDevice {
        app_key: Some(
            "00000000000000000000000000000000"
                .parse::<AppKey>()
                .unwrap(),
        ),
        ..lamp(tenant, 3)
    };
    store
        .create_device(Scope::Platform, &silent, &by())
        .await
        .unwrap();
    let gone = register(store, tenant, 4).await;
    let foreign = register(store, acme, 5).await;
    let wanted = |device: &Device| DeviceChange {
        desired: Some(red),
        ..change(device, "state", at(5))
    };
    let changes = [
        DeviceChange {
            reported: Some((red, at(5))),
            ..wanted(&shows)
        },
        wanted(&differs),
        DeviceChange {
            presence: Presence::Offline,
            ..change(&gone, "state", at(5))
        },
        wanted(&foreign),
    ];
    accept(store, &shows, &[10, 11]).await;
    accept(store, &foreign, &[10]).await;
    store.commit(&changes).await.unwrap();
    two_wait(store, &gone).await;
    one_is_rejected(store, tenant).await;
    jobs::begun(store, tenant, at(1), &[jobs::item(0, 1)]).await;
    found_outside(store, tenant, acme).await;

    let expected = TenantFigures {
        devices: DeviceFigures {
            total: 6,
            online: 2,
            offline: 1,
            never_seen: 3,
            differing: 1,
            default_app_keys: 1,
        },
        not_synced: BTreeMap::from([(SyncState::Rejected, 1)]),
        under_way: BTreeMap::from([(DownlinkState::Accepted, 2), (DownlinkState::Waiting, 2)]),
        waiting_for: BTreeMap::from([(Reason::NoGateway.name().to_owned(), 2)]),
        jobs: 1,
        drift: 1,
        unclaimed: 1,
    };
    assert_eq!(store.tenant_figures(tenant).await.unwrap(), expected);
    let acmes = store.tenant_figures(acme).await.unwrap();
    assert_eq!((acmes.devices.total, acmes.devices.differing), (1, 1));
    assert_eq!((acmes.jobs, acmes.drift, acmes.unclaimed), (0, 0, 1));
}

/// Two commands wait for a gateway.
async fn two_wait(store: &Store, gone: &Device) {
    for reason in [Reason::NoGateway, Reason::NoGateway] {
        let mut waits = Downlink {
            reason: Some(reason),
            ..downlink(at(12))
        };
        let waits = DeviceChange {
            records: vec![record(&mut waits, DownlinkState::Waiting, at(12))],
            ..change(gone, "state", at(12))
        };
        let waits = DeviceChange {
            presence: Presence::Offline,
            ..waits
        };
        store.commit(&[waits]).await.unwrap();
    }
}

/// ChirpStack holds one device and refuses another.
async fn one_is_rejected(store: &Store, tenant: TenantId) {
    for number in [20, 21] {
        store
            .create_device(Scope::Platform, &synced_lamp(tenant, number), &by())
            .await
            .unwrap();
    }
    fulfil(store, on_default(20)).await;
    let rejected = SyncChange {
        status: SyncStatus {
            state: SyncState::Rejected,
            ..SyncStatus::default()
        },
        ..progress(
            on_default(21),
            store
                .load_sync(on_default(21))
                .await
                .unwrap()
                .unwrap()
                .wish
                .generation,
            "rejected",
        )
    };
    store.commit_syncs(&[rejected]).await.unwrap();
}

/// Devices that nobody has registered, and differences, one of which is left alone.
async fn found_outside(store: &Store, tenant: TenantId, acme: TenantId) {
    for owner in [Some(tenant), Some(acme), None] {
        let sighting = UnclaimedSighting {
            key: on_default(100),
            tenant_id: owner,
            name: String::new(),
            application_id: None,
            device_profile_id: None,
            at: at(1),
            events: 1,
            rssi_dbm: None,
        };
        store.note_unclaimed(&[sighting]).await.unwrap();
    }
    let drift = |number| Drift {
        dev_eui: eui(number),
        device_id: None,
        kind: DriftKind::MissingInRegistry,
        chirpstack_name: None,
        application_id: None,
        device_profile_id: None,
        differences: Vec::new(),
        found_at: at(1),
        ignored: false,
    };
    store
        .replace_drift(tenant, at(1), &[drift(100), drift(101)])
        .await
        .unwrap();
    store
        .ignore_drift(Scope::Tenant(tenant), tenant, &[eui(101)], true)
        .await
        .unwrap();
}
