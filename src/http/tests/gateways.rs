//! Gateways and links: what is shown of them, and to whom.

use downbeat_actors::observe::{FeedBody, FeedEvent, GatewayView};
use downbeat_core::gateway::{GatewayTable, GatewayTransition, ListedGateway, ListedState};
use downbeat_core::id::{GatewayId, NetworkServerId};

use super::live::Events;
use super::*;
use crate::http::gateways::visible::TenantView;

on_both_stores! {
    a_gateway_tells_what_it_did_and_whom_it_hears,
    a_devices_links_tell_signal_loss_and_proofs,
    a_tenant_sees_its_own_devices_beside_a_shared_gateway,
    the_platform_sees_every_network_server_and_a_tenant_its_own,
    gateways_of_another_tenants_chirpstack_tenant_are_its_own_affair,
    nothing_is_stuck_where_nothing_was_found,
}

const ROOF: &str = "0016c001ff10a230";
const YARD: &str = "0016c001ff10a231";

impl Service {
    /// A lamp was heard by two gateways.
    async fn heard(&self, dev_eui: &str, f_cnt: u32) {
        let uplink = json!({
            "deduplicationId": uuid::Uuid::now_v7(), "time": "2026-11-22T15:32:11.448Z",
            "deviceInfo": {"devEui": dev_eui}, "devAddr": "005a28e6", "fCnt": f_cnt, "fPort": 2, "dr": 5, "data": "AQ==",
            "rxInfo": [
                {"gatewayId": ROOF, "rssi": -90, "snr": 3.5},
                {"gatewayId": YARD, "rssi": -70, "snr": 8.0},
            ],
        });
        let path = "/api/v1/webhooks/chirpstack?event=up";
        let told = self.post(path, &self.webhook, &uplink).await;
        assert_eq!(told.status, StatusCode::OK, "{}", told.json());
    }

    async fn took(&self, dev_eui: &str) {
        let txack = json!({
            "downlinkId": 7, "time": "2026-11-22T15:32:12.448Z", "deviceInfo": {"devEui": dev_eui},
            "queueItemId": uuid::Uuid::now_v7(), "fCntDown": 3, "gatewayId": YARD,
            "txInfo": {"frequency": 869_525_000, "modulation": {"lora": {"bandwidth": 125_000, "spreadingFactor": 9}}},
        });
        let path = "/api/v1/webhooks/chirpstack?event=txack";
        let told = self.post(path, &self.webhook, &txack).await;
        assert_eq!(told.status, StatusCode::OK, "{}", told.json());
    }
}

async fn a_gateway_tells_what_it_did_and_whom_it_hears(service: Service) {
    let device = service.register(LAMP).await;
    let second = "202020ff50330001";
    service.register(second).await;
    for f_cnt in [1, 2, 4] {
        service.heard(LAMP, f_cnt).await;
    }
    service.heard(second, 1).await;
    service.took(LAMP).await;

    let health = service
        .get("/api/v1/gateways/health", &service.viewer)
        .await
        .json();
    let counts = [
        "total",
        "online_count",
        "offline_count",
        "never_seen_count",
        "mute_count",
    ];
    let counts = counts.map(|count| health[count].as_u64().unwrap());
    assert_eq!(counts, [2, 2, 0, 0, 0]);
    assert_eq!(health["gateways"][1]["gateway_id"], YARD);
    assert!(health["checked_at"].is_string() && health["listed_at"].is_null());

    let path = format!("/api/v1/gateways/{YARD}/status");
    let took = |status: &Value| status["downlinks_24h"]["taken"] == 1;
    let status = service.until(&path, took).await;
    assert_eq!(
        (
            &status["state"],
            &status["network_server"],
            &status["mute_since"]
        ),
        (&json!("online"), &json!("default"), &json!(null))
    );
    assert_eq!(
        status["downlinks_24h"],
        json!({"taken": 1, "proven": 0, "unproven": 0, "refused": 0})
    );
    assert_eq!(
        (
            &status["success_rate"],
            &status["uplinks_heard"],
            &status["devices_heard"]
        ),
        (&json!(null), &json!(4), &json!(2))
    );
    let air = &status["airtime"][0];
    assert!(
        air["sub_band"].is_string() && air["used_ms"].is_u64(),
        "{air}"
    );
    assert_eq!(status["history"][0]["transition"], "came_online");
    assert!(status["last_taken"].is_string());
    let first = &status["devices"][0];
    assert_eq!(
        (&first["dev_eui"], &first["device_id"], &first["is_best"]),
        (&json!(LAMP), &json!(device), &json!(true))
    );
    assert_eq!(
        (
            &first["uplinks_heard"],
            &first["uplinks_missed"],
            &first["downlinks_taken"]
        ),
        (&json!(3), &json!(1), &json!(1))
    );

    let page = service
        .get(&format!("{path}?limit=1"), &service.viewer)
        .await
        .json();
    assert_eq!(page["devices"].as_array().unwrap().len(), 1);
    let cursor = page["next_cursor"].as_str().unwrap();
    let page = format!("{path}?limit=1&cursor={cursor}");
    let page = service.get(&page, &service.viewer).await.json();
    assert_eq!(page["devices"][0]["dev_eui"], second);
    assert_eq!(page["next_cursor"], json!(null));
    for wrong in ["limit=0", "limit=1001", "cursor=x", "gateway=1"] {
        let answer = service
            .get(&format!("{path}?{wrong}"), &service.viewer)
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

async fn a_devices_links_tell_signal_loss_and_proofs(service: Service) {
    let id = service.register(LAMP).await;
    for f_cnt in [1, 2, 4] {
        service.heard(LAMP, f_cnt).await;
    }
    let path = format!("/api/v1/tenants/default/devices/{id}/links");
    let links = service.get(&path, &service.viewer).await.json();
    let best = &links["links"][0];
    assert_eq!(
        (
            &best["gateway_id"],
            &best["rssi"],
            &best["rssi_average"],
            &best["rssi_spread"]
        ),
        (&json!(YARD), &json!(-70), &json!(-70.0), &json!(0.0))
    );
    assert_eq!(
        (
            &best["uplinks_heard"],
            &best["uplinks_missed"],
            &best["diagnosis"]
        ),
        (&json!(3), &json!(1), &json!("fine"))
    );
    assert_eq!(
        (
            &best["in_last_uplink"],
            &best["gateway_alive"],
            &best["downlink_success_rate"]
        ),
        (&json!(true), &json!(true), &json!(null))
    );
    assert!(links["heard_at"].is_string());
}

async fn a_tenant_sees_its_own_devices_beside_a_shared_gateway(service: Service) {
    service.register(LAMP).await;
    service.heard(LAMP, 1).await;
    let (_, stranger) = service.other_tenant().await;
    let path = format!("/api/v1/gateways/{ROOF}/status");
    let heard = |status: &Value| status["uplinks_heard"] == 1;
    service.until(&path, heard).await;
    let seen = service.get(&path, &stranger).await.json();
    assert_eq!(
        (&seen["uplinks_heard"], &seen["devices"]),
        (&json!(1), &json!([]))
    );
    let other = service
        .get(&format!("{path}?tenant_id=default"), &stranger)
        .await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
    let of_tenant = format!("{path}?tenant_id=other");
    let seen = service.get(&of_tenant, &service.viewer).await.json();
    assert_eq!(seen["devices"], json!([]));
}

async fn the_platform_sees_every_network_server_and_a_tenant_its_own(service: Service) {
    service.register(LAMP).await;
    service.heard(LAMP, 1).await;
    let (tenant, stranger) = service.other_tenant().await;
    let own = json!({"url": "http://127.0.0.1:9", "api_key": "k"});
    let path = "/api/v1/tenants/other/network-server";
    let set = request("PUT", path, &service.admin, Some(&own));
    let set = service.send(set).await;
    assert_eq!(set.status, StatusCode::OK, "{}", set.json());
    let device = json!({"name": "Desk", "lorawan_dev_eui": "202020ff50330009"});
    let made = service
        .post("/api/v1/tenants/other/devices", &stranger, &device)
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    let uplink = json!({
        "deduplicationId": uuid::Uuid::now_v7(), "deviceInfo": {"devEui": "202020ff50330009"}, "devAddr": "005a28e6",
        "fCnt": 1, "fPort": 2, "dr": 5, "data": "AQ==",
        "rxInfo": [{"gatewayId": "0016c001ff10aaaa", "rssi": -90, "snr": 3.5}],
    });
    let path = "/api/v1/webhooks/chirpstack?event=up";
    let told = service.post(path, &stranger, &uplink).await;
    assert_eq!(told.status, StatusCode::OK, "{}", told.json());

    let listed = async |path: &str, key: &str| -> Vec<(String, String)> {
        let list = service.get(path, key).await.json();
        let gateways = list["gateways"].as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let shown = gateways
            .iter()
            .map(|it| (text(&it["gateway_id"]), text(&it["network_server"])));
        shown.collect()
    };
    let of = |id: &str, server: &str| (id.to_owned(), server.to_owned());
    let theirs = of("0016c001ff10aaaa", &tenant.to_string());
    let path = "/api/v1/gateways";
    assert_eq!(
        listed(path, &service.viewer).await,
        [of(ROOF, "default"), of(YARD, "default"), theirs.clone()]
    );
    assert_eq!(listed(path, &stranger).await, std::slice::from_ref(&theirs));
    let of_other = "/api/v1/gateways?tenant_id=other";
    assert_eq!(listed(of_other, &service.viewer).await, [theirs]);
    let of_default = "/api/v1/gateways?tenant_id=default";
    assert_eq!(listed(of_default, &service.viewer).await.len(), 2);
    let not_theirs = format!("/api/v1/gateways/{ROOF}/status");
    let not_theirs = service.get(&not_theirs, &stranger).await;
    assert_eq!(not_theirs.status, StatusCode::NOT_FOUND);

    // The same holds for the live feed.
    let view = TenantView::of(&service.state, tenant).await.unwrap();
    let all = service.state.system().all_gateways();
    let shown: Vec<String> = all
        .iter()
        .flat_map(|(server, snapshot)| snapshot.gateways.values().map(|it| (*server, it)))
        .filter(|(server, gateway)| view.shows(*server, gateway))
        .map(|(_, gateway)| gateway.gateway_id.to_string())
        .collect();
    assert_eq!(shown, ["0016c001ff10aaaa"]);
}

async fn gateways_of_another_tenants_chirpstack_tenant_are_its_own_affair(service: Service) {
    let owner = uuid::Uuid::now_v7();
    let (tenant, _) = service.other_tenant().await;
    let change = json!({"chirpstack_tenant_id": owner});
    let patch = request(
        "PATCH",
        "/api/v1/tenants/other",
        &service.admin,
        Some(&change),
    );
    let patched = service.send(patch).await;
    assert_eq!(patched.status, StatusCode::OK, "{}", patched.json());
    let default = service
        .store
        .tenant_by_name(crate::store::Scope::Platform, "default")
        .await
        .unwrap()
        .unwrap();
    let mut reader = Events::open(&service, None).await;

    let now = service.state.now();
    for (number, tenant_id) in [(1, Some(owner)), (2, Some(uuid::Uuid::now_v7())), (3, None)] {
        let gateway_id = GatewayId::from_u64(number);
        let mut table = GatewayTable::default();
        let listed = ListedGateway {
            gateway_id,
            name: String::new(),
            tenant_id,
            state: ListedState::Online,
            last_seen_at: Some(now),
            location: None,
        };
        table.listed(now, vec![listed]);
        let status = table.snapshot(now).gateways[&gateway_id].clone();
        let view = GatewayView {
            server: NetworkServerId::Default,
            transition: GatewayTransition::CameOnline,
            status,
        };
        service.state.system().feed().publish(FeedEvent {
            at: now,
            tenant_id: None,
            body: FeedBody::Gateway(Box::new(view)),
        });
    }
    let view = TenantView::of(&service.state, default.id).await.unwrap();
    assert!(view.shows(NetworkServerId::Default, &nobodys(now)));
    assert!(!view.shows(NetworkServerId::Tenant(tenant), &nobodys(now)));
    // The first is the other tenant's, and is not told.
    for number in [2, 3] {
        let (_, told) = reader.next_of("gateway").await;
        assert_eq!(
            (&told["gateway_id"], &told["change"]),
            (&json!(format!("{number:016x}")), &json!("came_online"))
        );
    }
}

async fn nothing_is_stuck_where_nothing_was_found(service: Service) {
    let path = "/api/v1/tenants/default/queue-findings";
    let found = service.get(path, &service.viewer).await;
    assert_eq!(
        (found.status, found.json()),
        (StatusCode::OK, json!({"findings": []}))
    );
}

fn nobodys(now: downbeat_core::time::Timestamp) -> downbeat_core::gateway::GatewayStatus {
    let gateway_id = GatewayId::from_u64(9);
    let mut table = GatewayTable::default();
    table.transmitted(now, gateway_id);
    table.snapshot(now).gateways[&gateway_id].clone()
}
