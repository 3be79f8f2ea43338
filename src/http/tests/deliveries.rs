//! ChirpStack's webhooks over HTTP.

use super::*;
use crate::config::LimitsSection;

/// One caller at once, and one event held.
fn narrow() -> Config {
    Config {
        limits: LimitsSection {
            requests: 1,
            held_events: 1,
            ..LimitsSection::default()
        },
        ..Config::default()
    }
}

on_both_stores! {
    every_captured_event_is_stored_and_of_unknown_devices_ignored,
    an_uplink_takes_effect_before_it_is_answered,
    kinds_that_are_not_known_are_ignored,
    while_the_database_is_away_an_event_is_held_and_said_to_be,
    a_held_event_is_stored_when_the_database_is_back,
    callers_leave_no_webhook_without_a_place,
    where_nothing_more_is_held_nothing_is_read,
}

async fn deliver(service: &Service, path: &str, name: &str) -> Answer {
    let mut event = request("POST", path, &service.webhook, None);
    let media_type = match name.rsplit_once('.') {
        Some((_, "pb")) => "application/octet-stream",
        _ => "application/json",
    };
    event
        .headers_mut()
        .insert("content-type", media_type.parse().unwrap());
    *event.body_mut() = Body::from(captured(name));
    service.send(event).await
}

fn names() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chirpstack-v4");
    let files = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| {
            Path::new(name)
                .extension()
                .is_some_and(|it| it == "json" || it == "pb")
        })
        .collect();
    names.sort();
    names
}

async fn every_captured_event_is_stored_and_of_unknown_devices_ignored(service: Service) {
    for (known, status) in [(false, "ignored"), (true, "ok")] {
        if known {
            for dev_eui in [
                "202020ff50330000",
                "202020ff50330001",
                "202020ff7b760000",
                "202020ff7b760001",
            ] {
                service.register(dev_eui).await;
            }
        }
        for name in names() {
            let kind = name.split(['-', '.']).next().unwrap();
            let path = format!("/api/v1/webhooks/chirpstack?event={kind}");
            let answer = deliver(&service, &path, &name).await;
            assert_eq!(answer.status, StatusCode::OK, "{name}");
            assert_eq!(answer.json()["status"], status, "{name}");
        }
    }
}

async fn an_uplink_takes_effect_before_it_is_answered(service: Service) {
    let id = service.register(LAMP).await;
    // The older address, and no kind: an uplink.
    let answer = deliver(
        &service,
        "/api/v1/webhooks/chirpstack/uplink",
        "up-verifies.json",
    )
    .await;
    assert_eq!(answer.json(), json!({"status": "ok"}));
    let path = format!("/api/v1/tenants/default/devices/{id}");
    let device = service.get(&path, &service.viewer).await;
    assert_eq!(device.header("etag"), Some("\"1\""));
    let device = device.json();
    assert_eq!(
        (
            &device["status"],
            &device["signal_strength"],
            &device["snr"]
        ),
        (&json!("online"), &json!(-83), &json!(7.75))
    );
    let reported = &device["reported"];
    let shown = ["red", "blue", "green", "on_time", "off_time"]
        .map(|part| reported[part].as_u64().unwrap());
    assert_eq!(shown, [255, 64, 0, 255, 0]);
    let gateways = service
        .get("/api/v1/gateways/health", &service.viewer)
        .await
        .json();
    assert_eq!(
        (&gateways["total"], &gateways["online_count"]),
        (&json!(3), &json!(3))
    );
}

async fn kinds_that_are_not_known_are_ignored(service: Service) {
    let answer = deliver(
        &service,
        "/api/v1/webhooks/chirpstack?event=brunch",
        "join.json",
    )
    .await;
    assert_eq!(
        (answer.status, &answer.json()["status"]),
        (StatusCode::OK, &json!("ignored"))
    );
}

async fn while_the_database_is_away_an_event_is_held_and_said_to_be(service: Service) {
    service.register(LAMP).await;
    let path = "/api/v1/webhooks/chirpstack?event=up";
    assert_eq!(
        deliver(&service, path, "up-confirmed.json").await.status,
        StatusCode::OK
    );
    service.store.close().await;
    let answer = deliver(&service, path, "up-verifies.json").await;
    assert_eq!(
        (answer.status, &answer.json()["type"]),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            &json!("urn:downbeat:problem:held")
        )
    );
    assert!(answer.header("retry-after").is_some());
    assert_eq!(service.state.drain_held(Duration::from_millis(10)).await, 1);
}

async fn a_held_event_is_stored_when_the_database_is_back(service: Service) {
    let id = service.register(LAMP).await;
    let path = "/api/v1/webhooks/chirpstack?event=up";
    let first = deliver(&service, path, "up-status-25.json").await;
    assert_eq!(first.status, StatusCode::OK);
    let lock = service.database.lock().await;
    let held = deliver(&service, path, "up-verifies.json").await;
    assert_eq!(held.json()["type"], "urn:downbeat:problem:held");
    drop(lock);
    assert_eq!(service.state.drain_held(PATIENCE).await, 0);
    let path = format!("/api/v1/tenants/default/devices/{id}");
    let device = service.get(&path, &service.viewer).await.json();
    assert_eq!(device["reported"]["red"], 255);
}

async fn callers_leave_no_webhook_without_a_place(first: Service) {
    let service = first.sibling(&narrow()).await;
    service.register(LAMP).await;
    let only = service.state.admission().callers().place();
    assert!(only.is_some());
    let devices = "/api/v1/tenants/default/devices";
    let refused = service.get(devices, &service.viewer).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    let path = "/api/v1/webhooks/chirpstack?event=up";
    let answer = deliver(&service, path, "up-verifies.json").await;
    assert_eq!(answer.status, StatusCode::OK);
    drop(only);
    let admitted = service.get(devices, &service.viewer).await;
    assert_eq!(admitted.status, StatusCode::OK);
}

async fn where_nothing_more_is_held_nothing_is_read(first: Service) {
    let service = first.sibling(&narrow()).await;
    service.register(LAMP).await;
    let path = "/api/v1/webhooks/chirpstack?event=up";
    deliver(&service, path, "up-confirmed.json").await;
    let lock = service.database.lock().await;
    let held = deliver(&service, path, "up-verifies.json").await;
    assert_eq!(held.json()["type"], "urn:downbeat:problem:held");
    // Who it is would come to light only later.
    let unread = request("POST", path, "no key", Some(&json!({})));
    let refused = service.send(unread).await;
    assert_eq!(
        (refused.status, &refused.json()["type"]),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            &json!("urn:downbeat:problem:overloaded")
        )
    );
    assert!(refused.header("retry-after").is_some());
    assert_eq!(service.state.holding().refused_lately(), 1);
    drop(lock);
    assert_eq!(service.state.drain_held(PATIENCE).await, 0);
    let answer = deliver(&service, path, "up-verifies.json").await;
    assert_eq!(answer.status, StatusCode::OK);
}
