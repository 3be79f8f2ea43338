//! Devices' events.

use downbeat_actors::port::HistoryEntry;
use downbeat_core::id::GatewayId;
use downbeat_core::network::Timing;
use downbeat_core::pacer::{SentBefore, SentLately, SilentGateway, SilentItem};
use downbeat_core::radio::Modulation;

use super::*;

pub(in crate::store) async fn events_are_listed_newest_first_and_stored_once(store: &Store) {
    let tenant = default_tenant(store).await;
    let stranger = Scope::Tenant(new_tenant(store, "acme").await);
    let device = register(store, tenant, 1).await;
    let other = register(store, tenant, 2).await;
    // Two different ones in one instant, one twice, and one of another device.
    let said = [
        (3, "up", "{\"n\":3}"),
        (1, "join", "{}"),
        (2, "up", "{\"n\":1}"),
        (2, "up", "{\"n\":2}"),
        (1, "join", "{}"),
    ];
    let batch: Vec<_> = said
        .iter()
        .map(|&(second, kind, body)| event(&device, second, kind, body))
        .collect();
    store.commit(&batch).await.unwrap();
    store
        .commit(&[event(&other, 1, "join", "{}")])
        .await
        .unwrap();

    let mut seen = Vec::new();
    let mut page = PageRequest::first(3);
    loop {
        let events = store
            .list_device_events(Scope::Tenant(tenant), device.id, None, None, None, page)
            .await
            .unwrap();
        seen.extend(
            events
                .items
                .iter()
                .map(|event| (event.at, event.kind.clone())),
        );
        let Some(next) = events.next else { break };
        page.after = Some(next);
    }
    let kinds = [(3, "up"), (2, "up"), (2, "up"), (1, "join")];
    assert_eq!(
        seen,
        kinds.map(|(second, kind)| (at(second), kind.to_owned()))
    );
    let events = store
        .list_device_events(
            stranger,
            device.id,
            None,
            None,
            None,
            PageRequest::default(),
        )
        .await
        .unwrap();
    assert!(events.items.is_empty());
    let first = store
        .list_device_events(
            Scope::Platform,
            device.id,
            None,
            None,
            None,
            PageRequest::first(1),
        )
        .await
        .unwrap();
    assert_eq!(first.items[0].body.get(), "{\"n\":3}");
    assert_eq!(first.items[0].device_id, device.id);
}

pub(in crate::store) async fn old_events_are_deleted_in_batches(store: &Store) {
    let device = register(store, default_tenant(store).await, 1).await;
    let batch: Vec<_> = (0..220)
        .map(|second| event(&device, second, "up", "{}"))
        .collect();
    store.commit(&batch).await.unwrap();
    for expected in batches(120) {
        let deleted = store.delete_device_events_before(at(120)).await.unwrap();
        assert_eq!(deleted, expected);
    }
    let page = PageRequest::first(PAGE_MAX);
    let left = store
        .list_device_events(Scope::Platform, device.id, None, None, None, page)
        .await
        .unwrap();
    assert_eq!((left.items.len(), left.items[99].at), (100, at(120)));
}

pub(in crate::store) async fn what_gateways_sent_is_told_by_network_server(store: &Store) {
    let device = register(store, default_tenant(store).await, 1).await;
    let gateway_id: GatewayId = "0016c001f0000001".parse().unwrap();
    let modulation = Modulation::lora_125(9);
    let sent = serde_json::json!({
        "queue_id": null,
        "f_cnt_down": 3,
        "gateway_id": gateway_id,
        "modulation": modulation,
        "frequency_hz": 869_525_000,
        "timing": "immediately",
    });
    let sent = sent.to_string();
    let silent = SilentItem {
        from: at(2),
        until: at(13),
        is_told: false,
        refused: 1,
        is_scout: false,
        payload_len: 5,
        gateways: vec![SilentGateway {
            gateway_id,
            seen_at: Some(at(3)),
        }],
    };
    let kept = serde_json::to_string(&silent).unwrap();
    let batch = [
        event(&device, 9, "txack", &sent),
        event(&device, 10, "txack", &sent),
        event(&device, 11, "up", "{}"),
        event(&device, 12, "txack", "{\"f_cnt_down\":4}"),
        event(&device, 13, "txack", "not what it should be"),
        event(&device, 9, "no_txack", &kept),
        event(&device, 14, "no_txack", &kept),
        event(&device, 15, "no_txack", "{}"),
    ];
    store.commit(&batch).await.unwrap();
    let found = store.sent_since(NetworkServerId::Default, at(10)).await;
    let expected = SentBefore {
        at: at(10),
        gateway_id,
        modulation: Some(modulation),
        frequency_hz: Some(869_525_000),
        timing: Some(Timing::Immediately),
    };
    let found = found.unwrap();
    assert_eq!((found.frames, found.items), (vec![expected], vec![silent]));
    let elsewhere = NetworkServerId::Tenant(new_tenant(store, "acme").await);
    let none = store.sent_since(elsewhere, at(0)).await.unwrap();
    assert_eq!(none, SentLately::default());
}

fn event(device: &Device, second: i64, kind: &'static str, body: &str) -> DeviceChange {
    DeviceChange {
        history: vec![HistoryEntry {
            at: at(second),
            kind,
            body: body.to_owned(),
        }],
        ..change(device, "{}", at(second))
    }
}
