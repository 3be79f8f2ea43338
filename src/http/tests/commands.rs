//! Commands from their acceptance to their end.

use downbeat_core::id::Scope;
use downbeat_core::time::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::*;
use crate::store::{IdempotencyKey, NewReservation, Reservation};

on_both_stores! {
    a_command_is_accepted_followed_and_taken_back,
    whoever_waits_hears_that_a_newer_command_took_the_place,
    a_repeated_request_makes_one_thing,
    the_same_request_twice_at_once_is_carried_out_once,
    what_an_earlier_request_may_have_made_is_not_made_beside_it,
    what_a_device_does_not_understand_is_refused,
    without_the_database_nothing_is_accepted,
}

fn keyed(path: &str, key: &str, idempotency_key: &str, body: &Value) -> Request<Body> {
    let mut request = request("POST", path, key, Some(body));
    let value = idempotency_key.parse().unwrap();
    request.headers_mut().insert("idempotency-key", value);
    request
}

async fn a_command_is_accepted_followed_and_taken_back(service: Service) {
    service.register(LAMP).await;
    let path = "/api/v1/downlink/20-20-20-FF-50-33-00-00?wait=0";
    let body = json!({"red": 255, "blue": 64, "green": 0, "on_time": 255, "off_time": 0, "wait_for_verification": true});
    let sent = service.post(path, &service.operator, &body).await;
    assert_eq!(sent.status, StatusCode::ACCEPTED);
    let location = sent.header("location").unwrap().to_owned();
    let sent = sent.json();
    assert_eq!(
        location,
        format!("/api/v1/downlinks/{}", sent["id"].as_str().unwrap())
    );
    assert_eq!(
        (&sent["status"], &sent["verified"], &sent["attempts"]),
        (&json!("pending"), &json!(null), &json!(0))
    );
    assert_eq!(
        (&sent["dev_eui"], &sent["queue_id"]),
        (&json!(LAMP), &json!(null))
    );
    assert_eq!(sent["color"], json!({"red": 255, "blue": 64, "green": 0}));
    assert_eq!(sent["payload"], "ff4000ff00");
    assert_eq!(sent["timeline"][0]["step"], "accepted");

    let found = service.get(&location, &service.viewer).await;
    assert_eq!(
        (found.status, &found.json()["id"]),
        (StatusCode::OK, &sent["id"])
    );
    let cancel = format!("{location}/cancel");
    let cancelled = service.post(&cancel, &service.operator, &json!({})).await;
    assert_eq!(cancelled.status, StatusCode::OK);
    let cancelled = cancelled.json();
    assert_eq!(
        (
            &cancelled["status"],
            &cancelled["reason"],
            &cancelled["verified"]
        ),
        (&json!("failed"), &json!("cancelled"), &json!(false))
    );
    let again = service.post(&cancel, &service.operator, &json!({})).await;
    assert_eq!(
        (again.status, &again.json()["type"]),
        (
            StatusCode::CONFLICT,
            &json!("urn:downbeat:problem:downlink-over")
        )
    );

    let list = service
        .get("/api/v1/downlinks?state=cancelled&limit=1", &service.viewer)
        .await
        .json();
    assert_eq!(
        (&list["downlinks"][0]["id"], &list["next_cursor"]),
        (&sent["id"], &json!(null))
    );
    let figures = service
        .get("/api/v1/metrics/downlinks", &service.viewer)
        .await
        .json();
    assert_eq!(
        (
            &figures["total"],
            &figures["by_state"]["cancelled"],
            &figures["under_way"],
            &figures["success_rate"]
        ),
        (&json!(1), &json!(1), &json!(0), &json!(0.0))
    );
    let parted = service
        .get(
            "/api/v1/metrics/downlinks?hours=1&step=30m&tag=site",
            &service.viewer,
        )
        .await
        .json();
    assert_eq!(parted["by_gateway"][0]["gateway_id"], json!(null));
    assert_eq!(parted["by_tag"][0]["total"], json!(1));
    let spans = parted["over_time"].as_array().unwrap();
    let ended: u64 = spans
        .iter()
        .map(|span| span["total"].as_u64().unwrap())
        .sum();
    assert_eq!((spans.len(), ended), (3, 1));
}

async fn whoever_waits_hears_that_a_newer_command_took_the_place(service: Service) {
    service.register(LAMP).await;
    let path = format!("/api/v1/downlink/{LAMP}?wait=20");
    let first = json!({"color": "#ff0000"});
    let waiting = service.post(&path, &service.operator, &first);
    let newer = async {
        // The first is accepted before the second is sent.
        loop {
            let list = service
                .get("/api/v1/downlinks", &service.viewer)
                .await
                .json();
            if list["downlinks"]
                .as_array()
                .is_some_and(|it| !it.is_empty())
            {
                break;
            }
            tokio::task::yield_now().await;
        }
        let path = format!("/api/v1/downlink/{LAMP}?wait=0");
        service
            .post(&path, &service.operator, &json!({"color": "#00ff00"}))
            .await
    };
    let (first, newer) = tokio::time::timeout(PATIENCE, async { tokio::join!(waiting, newer) })
        .await
        .unwrap();
    assert_eq!(first.status, StatusCode::OK);
    let first = first.json();
    assert_eq!(
        (&first["state"], &first["status"]),
        (&json!("superseded"), &json!("failed"))
    );
    assert_eq!(first["reason_detail"], newer.json()["id"]);
}

async fn a_repeated_request_makes_one_thing(service: Service) {
    service.register(LAMP).await;
    let path = format!("/api/v1/downlink/{LAMP}?wait=0");
    let (red, green) = (json!({"color": "#ff0000"}), json!({"color": "#00ff00"}));
    let first = service
        .send(keyed(&path, &service.operator, "k1", &red))
        .await;
    let again = service
        .send(keyed(&path, &service.operator, "k1", &red))
        .await;
    assert_eq!(
        (first.status, again.status),
        (StatusCode::ACCEPTED, StatusCode::ACCEPTED)
    );
    assert_eq!(first.body, again.body);
    assert_eq!(first.header("location"), again.header("location"));
    assert_eq!(
        (
            first.header("idempotency-replayed"),
            again.header("idempotency-replayed")
        ),
        (None, Some("true"))
    );
    let other = service
        .send(keyed(&path, &service.operator, "k1", &green))
        .await;
    assert_eq!(
        (other.status, &other.json()["type"]),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            &json!("urn:downbeat:problem:idempotency-key-reused")
        )
    );
    let list = service
        .get("/api/v1/downlinks", &service.viewer)
        .await
        .json();
    assert_eq!(list["downlinks"].as_array().unwrap().len(), 1);

    let devices = "/api/v1/tenants/default/devices";
    let desk = json!({"name": "Desk 2", "lorawan_dev_eui": "202020ff50330001"});
    let made = service
        .send(keyed(devices, &service.admin, "k1", &desk))
        .await;
    let again = service
        .send(keyed(devices, &service.admin, "k1", &desk))
        .await;
    assert_eq!(
        (made.status, &made.body),
        (StatusCode::CREATED, &again.body)
    );
    assert!(
        again
            .header("location")
            .unwrap()
            .starts_with("/api/v1/tenants/")
    );
    // What was refused made nothing, so the key is free.
    let taken = service
        .send(keyed(devices, &service.admin, "k2", &desk))
        .await;
    let name = json!({"name": "Desk 3"});
    let free = service
        .send(keyed(devices, &service.admin, "k2", &name))
        .await;
    assert_eq!(
        (taken.status, free.status),
        (StatusCode::CONFLICT, StatusCode::CREATED)
    );
}

async fn the_same_request_twice_at_once_is_carried_out_once(service: Service) {
    service.register(LAMP).await;
    let path = format!("/api/v1/downlink/{LAMP}?wait=1");
    let red = json!({"color": "#ff0000"});
    let send = || service.send(keyed(&path, &service.operator, "k", &red));
    let (one, other) = tokio::join!(send(), send());
    let mut statuses = [one.status, other.status];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::ACCEPTED, StatusCode::CONFLICT]);
}

/// A process was killed, and what it had asked the database for may still come about: a refusal now says nothing of it.
async fn what_an_earlier_request_may_have_made_is_not_made_beside_it(service: Service) {
    let path = format!("/api/v1/downlink/{LAMP}?wait=0");
    let red = json!({"color": "#ff0000"});
    let left = NewReservation {
        key: IdempotencyKey {
            scope: Scope::Platform,
            key_hash: secret_key::hash("k"),
            operation: format!("POST /api/v1/downlink/{LAMP}"),
        },
        request_hash: Sha256::digest(red.to_string()).into(),
        resource_id: Uuid::now_v7(),
        at: Timestamp::from_millis(1),
    };
    let reserved = service.store.reserve(&left).await.unwrap();
    assert_eq!(reserved, Reservation::New);
    let ask = || service.send(keyed(&path, &service.operator, "k", &red));
    assert_eq!(ask().await.status, StatusCode::NOT_FOUND);
    service.register(LAMP).await;
    let answer = ask().await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.json()["id"], left.resource_id.to_string());
}

async fn what_a_device_does_not_understand_is_refused(service: Service) {
    let body = json!({"name": "Meter", "lorawan_dev_eui": LAMP, "codec": "generic"});
    service
        .post("/api/v1/tenants/default/devices", &service.admin, &body)
        .await;
    let path = format!("/api/v1/downlink/{LAMP}?wait=0");
    let colour = service
        .post(&path, &service.operator, &json!({"color": "#ff0000"}))
        .await;
    assert_eq!(
        (colour.status, &colour.json()["type"]),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            &json!("urn:downbeat:problem:command-not-understood")
        )
    );
    let bytes = json!({"payload": "0601", "f_port": 15, "wait_for_verification": false});
    let sent = service.post(&path, &service.operator, &bytes).await;
    assert_eq!(
        (sent.status, &sent.json()["color"]),
        (StatusCode::ACCEPTED, &json!(null))
    );
}

async fn without_the_database_nothing_is_accepted(service: Service) {
    service.register(LAMP).await;
    let path = format!("/api/v1/downlink/{LAMP}?wait=0");
    let red = json!({"color": "#ff0000"});
    // The key is remembered from here.
    service.post(&path, &service.operator, &red).await;
    service.store.close().await;
    let refused = service.post(&path, &service.operator, &red).await;
    assert_eq!(
        (refused.status, &refused.json()["type"]),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            &json!("urn:downbeat:problem:store-unavailable")
        )
    );
    assert!(refused.header("retry-after").is_some());
}
