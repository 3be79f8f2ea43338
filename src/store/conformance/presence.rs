//! Whether devices are there, and what of them is filtered by.

use std::time::Duration;

use super::*;

const MINUTE: Duration = Duration::from_mins(1);

pub(in crate::store) async fn who_is_overdue_for_longest_comes_first(store: &Store) {
    let tenant = default_tenant(store).await;
    // Heard at that second, with that interval of its own, s.
    for (number, heard, interval) in [
        (1, 100, None),
        (2, 40, None),
        (3, 10, Some(600)),
        (4, 150, Some(20)),
        (5, 160, None),
        (6, 20, Some(60)),
    ] {
        let mut new = lamp(tenant, number);
        new.fields.uplink_interval = interval.map(Duration::from_secs);
        let device = store
            .create_device(Scope::Platform, &new, &by())
            .await
            .unwrap();
        let presence = Presence::Online;
        store
            .commit(&[heard_at(&device, heard, presence)])
            .await
            .unwrap();
    }
    // Was silent already, and was never heard.
    let gone = register(store, tenant, 7).await;
    store
        .commit(&[heard_at(&gone, 1, Presence::Offline)])
        .await
        .unwrap();
    register(store, tenant, 8).await;

    let silent = async |now, limit| {
        let silent = store.silent(at(now), MINUTE, limit).await.unwrap();
        silent
            .into_iter()
            .map(|key| key.dev_eui.as_u64() - eui(0).as_u64())
            .collect::<Vec<_>>()
    };
    // Two intervals, to the second.
    assert!(silent(139, 9).await.is_empty());
    assert_eq!(silent(140, 9).await, [6]);
    assert_eq!(silent(160, 9).await, [6, 2]);
    assert_eq!(silent(219, 9).await, [6, 2, 4]);
    assert_eq!(silent(220, 9).await, [6, 2, 4, 1]);
    assert_eq!(silent(10_000, 9).await, [6, 2, 4, 1, 5, 3]);
    assert_eq!(silent(10_000, 2).await, [6, 2]);

    // Who speaks changes no index: the look finds out, and looks again when it could be silent.
    for (number, heard) in [(2, 9_990), (6, 9_995), (1, 9_000)] {
        let device = store.device_by_dev_eui(Scope::Platform, eui(number));
        let device = device.await.unwrap().unwrap();
        let spoke = DeviceChange {
            presence_changed: false,
            unfinished_changed: false,
            ..heard_at(&device, heard, Presence::Online)
        };
        store.commit(&[spoke]).await.unwrap();
    }
    assert_eq!(silent(10_000, 9).await, [4, 5, 3, 1]);
    assert_eq!(silent(10_109, 9).await, [4, 5, 3, 1]);
    assert_eq!(silent(10_115, 9).await, [4, 5, 3, 1, 2, 6]);
}

pub(in crate::store) async fn presence_and_counts_are_stored_and_forgotten(store: &Store) {
    let device = register(store, default_tenant(store).await, 1).await;
    assert_eq!(device.presence, Presence::NeverSeen);
    let light = downbeat_core::light::LightState::steady(downbeat_core::light::Color::rgb(1, 2, 3));
    let heard = DeviceChange {
        rssi_dbm: Some(-7),
        snr_db: Some(1.0),
        battery_percent: Some(2.0),
        desired: Some(light),
        reported: Some((light, at(5))),
        uplinks_heard: 7,
        uplinks_missed: 2,
        ..heard_at(&device, 5, Presence::Online)
    };
    store.commit(&[heard]).await.unwrap();
    let seen = store.device(Scope::Platform, device.id).await.unwrap();
    let seen = seen.unwrap();
    assert_eq!(seen.presence, Presence::Online);
    assert_eq!((seen.uplinks_heard, seen.uplinks_missed), (7, 2));
    let fields = DeviceFields {
        dev_eui: Some(eui(2)),
        ..device.fields
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
    let stored = store.device(Scope::Platform, device.id).await.unwrap();
    assert_eq!(stored.as_ref(), Some(&moved));
    assert_eq!(moved.presence, Presence::NeverSeen);
    assert_eq!((moved.uplinks_heard, moved.uplinks_missed), (0, 0));
}

pub(in crate::store) async fn devices_are_filtered_by_every_field(store: &Store) {
    let tenant = default_tenant(store).await;
    let mut tagged = synced_lamp(tenant, 1);
    tagged.fields.device_type = "50% \"off\"".to_owned();
    tagged.fields.tags = BTreeMap::from([
        ("floor".to_owned(), "3".to_owned()),
        ("a.b'$[0]\"".to_owned(), "'; --".to_owned()),
    ]);
    let tagged = store
        .create_device(Scope::Platform, &tagged, &by())
        .await
        .unwrap();
    let mut other = lamp(tenant, 2);
    other.fields.codec = CodecKind::Generic;
    other.fields.tags = BTreeMap::from([("floor".to_owned(), "4".to_owned())]);
    store
        .create_device(Scope::Platform, &other, &by())
        .await
        .unwrap();
    register(store, new_tenant(store, "acme").await, 3).await;
    let offline = heard_at(&tagged, 3, Presence::Offline);
    store.commit(&[offline]).await.unwrap();

    let all = DeviceFilter::default();
    let tag = |name: &str, value: Option<&str>| DeviceFilter {
        tag: Some((name.to_owned(), value.map(str::to_owned))),
        ..DeviceFilter::default()
    };
    let app = |id| DeviceFilter {
        chirpstack_app_id: Some(Uuid::from_u128(id)),
        ..DeviceFilter::default()
    };
    let presence = |presence| DeviceFilter {
        presence: Some(presence),
        ..DeviceFilter::default()
    };
    let codec = |codec| DeviceFilter {
        codec: Some(codec),
        ..DeviceFilter::default()
    };
    let device_type = |device_type: &str| DeviceFilter {
        device_type: Some(device_type.to_owned()),
        ..DeviceFilter::default()
    };
    let synced = |synced| DeviceFilter {
        synced: Some(synced),
        ..DeviceFilter::default()
    };
    for (filter, numbers) in [
        (all, &[1, 2][..]),
        (tag("floor", None), &[1, 2]),
        (tag("floor", Some("3")), &[1]),
        (tag("floor", Some("")), &[]),
        (tag("a.b'$[0]\"", None), &[1]),
        (tag("a.b'$[0]\"", Some("'; --")), &[1]),
        (tag("b", None), &[]),
        (tag("3", None), &[]),
        (tag("' OR '1'='1", None), &[]),
        (app(1), &[1]),
        (app(2), &[]),
        (presence(Presence::Offline), &[1]),
        (presence(Presence::NeverSeen), &[2]),
        (presence(Presence::Online), &[]),
        (codec(CodecKind::Generic), &[2]),
        (device_type("50% \"off\""), &[1]),
        (device_type("50%"), &[]),
        (device_type("light"), &[2]),
        (synced(false), &[1]),
        (synced(true), &[]),
    ] {
        let scope = Scope::Tenant(tenant);
        let page = PageRequest::default();
        let listed = store.list_devices(scope, &filter, page).await.unwrap();
        let euis: Vec<_> = listed
            .items
            .iter()
            .map(|device| device.fields.dev_eui)
            .collect();
        let expected: Vec<_> = numbers.iter().map(|number| Some(eui(*number))).collect();
        assert_eq!(euis, expected, "{filter:?}");
        let counted = store.count_devices(scope, &filter).await.unwrap();
        assert_eq!(counted, numbers.len() as u64, "{filter:?}");
    }
}

pub(in crate::store) async fn a_tenants_devices_are_gone_through_by_dev_eui(store: &Store) {
    let (tenant, acme) = (default_tenant(store).await, new_tenant(store, "acme").await);
    for number in [5, 1, 4, 2] {
        register(store, tenant, number).await;
    }
    register(store, acme, 3).await;
    let mut quiet = lamp(tenant, 6);
    quiet.fields.dev_eui = None;
    store
        .create_device(Scope::Platform, &quiet, &by())
        .await
        .unwrap();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let devices = store.devices_by_dev_eui(tenant, after, 3).await.unwrap();
        let Some(last) = devices.last() else { break };
        after = last.fields.dev_eui;
        seen.extend(devices.iter().filter_map(|device| device.fields.dev_eui));
    }
    assert_eq!(seen, [eui(1), eui(2), eui(4), eui(5)]);
}

fn heard_at(device: &Device, second: i64, presence: Presence) -> DeviceChange {
    DeviceChange {
        last_seen: Some(at(second)),
        presence,
        ..change(device, "{}", at(second))
    }
}
