//! The registry's devices: registered, changed, deleted, found again.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::*;

on_both_stores! {
    a_device_is_what_was_asked_for_and_its_key_is_never_told,
    every_wrong_field_is_named,
    tricks_in_texts_are_texts,
    a_change_replaces_or_patches_and_knows_its_version,
    a_patch_that_is_wrong_is_named_and_changes_nothing,
    who_leaves_the_registry_has_no_commands_under_way,
    devices_are_found_by_what_they_are,
    another_tenants_device_does_not_exist,
    a_device_tells_what_it_said,
    a_repeated_registration_makes_one_device_and_a_full_tenant_none,
}

const DEVICES: &str = "/api/v1/tenants/default/devices";
const APPLICATION: &str = "da9605e6-da81-49e0-b789-29bd8a051bc6";
const PROFILE: &str = "b72b3130-32e0-4ab5-a7b5-ef1cddb9d204";
const APP_KEY: &str = "5ec4e7b16c1f4a0f9d3b2a1c0d9e8f7a";

impl Service {
    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let mut request = request(method, path, &self.admin, body);
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        self.send(request).await
    }

    async fn created(&self, body: &Value) -> Value {
        let answer = self.post(DEVICES, &self.admin, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json());
        answer.json()
    }
}

fn path_of(device: &Value) -> String {
    format!("{DEVICES}/{}", device["id"].as_str().unwrap())
}

/// The names of the wrong fields.
fn wrong_fields(answer: &Answer) -> Vec<String> {
    let problem = answer.json();
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{problem}");
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    let names = errors
        .iter()
        .map(|it| it["field"].as_str().unwrap().to_owned());
    names.collect()
}

async fn a_device_is_what_was_asked_for_and_its_key_is_never_told(service: Service) {
    let device = service
        .created(&json!({
            "name": " Desk 12 ", "device_type": "lamp", "description": "by the\nwindow", "tags": {"floor": "2"},
            "lorawan_dev_eui": "20-20-20-FF-50-33-00-00", "chirpstack_app_id": APPLICATION, "device_profile_id": PROFILE,
            "join_eui": "2020204100000000", "app_key": APP_KEY, "codec": "generic", "uplink_interval_s": 900,
        }))
        .await;
    let mut shown = device.clone();
    for field in ["id", "tenant_id", "created_at", "updated_at"] {
        shown[field] = json!("…");
    }
    insta::assert_snapshot!(serde_json::to_string_pretty(&shown).unwrap());
    let answer = service.get(&path_of(&device), &service.viewer).await;
    assert_eq!(answer.header("etag"), Some("\"1\""));
    assert!(!String::from_utf8_lossy(&answer.body).contains(&APP_KEY[..8]));

    let default_key = json!({"app_key": "00112233445566778899aabbccddeeff"});
    let changed = service
        .ask("PATCH", &path_of(&device), &[], Some(&default_key))
        .await;
    assert_eq!(changed.json()["app_key_is_default"], true);
    let alone = service
        .created(&json!({"name": "x", "lorawan_dev_eui": "202020ff50330001"}))
        .await;
    assert_eq!(
        (&alone["sync"], &alone["chirpstack_synced"]),
        (&json!(null), &json!(false))
    );
}

#[expect(clippy::too_many_lines, reason = "a table")]
async fn every_wrong_field_is_named(service: Service) {
    let long = |length: usize| "x".repeat(length);
    let many: serde_json::Map<String, Value> = (0..33)
        .map(|tag| (format!("tag{tag}"), json!("x")))
        .collect();
    for (field, values) in [
        (
            "name",
            vec![
                json!(null),
                json!(7),
                json!(""),
                json!("  "),
                json!(long(101)),
                json!("a\u{0}b"),
                json!([]),
            ],
        ),
        (
            "device_type",
            vec![json!(7), json!(long(101)), json!("a\nb")],
        ),
        (
            "description",
            vec![
                json!(true),
                json!(long(2_001)),
                json!("a\u{0}b"),
                json!("\u{1b}[0m"),
            ],
        ),
        (
            "tags",
            vec![
                json!("x"),
                json!([]),
                json!(many),
                json!({"": "x"}),
                json!({"a": long(101)}),
                json!({long(101): "x"}),
                json!({"a\u{0}": "x"}),
                json!({"downbeat_device_id": "x"}),
            ],
        ),
        (
            "lorawan_dev_eui",
            vec![
                json!(7),
                json!(""),
                json!("202020ff5033000"),
                json!("202020ff503300001"),
                json!("0000000000000000"),
                json!("202020ff5033000g"),
            ],
        ),
        ("codec", vec![json!("morse"), json!(""), json!(1)]),
        (
            "uplink_interval_s",
            vec![
                json!(9),
                json!(2_592_001),
                json!(-1),
                json!(1.5),
                json!("60"),
                json!(18_446_744_073_709_551_615_u64),
            ],
        ),
        ("join_eui", vec![json!("x"), json!(7)]),
        (
            "app_key",
            vec![
                json!("x"),
                json!(long(32)),
                json!(7),
                json!(format!("{APP_KEY}0")),
            ],
        ),
        ("chirpstack_app_id", vec![json!("7"), json!(""), json!(7)]),
        ("device_profile_id", vec![json!("7"), json!(""), json!(7)]),
        ("colour", vec![json!("red")]),
        ("id", vec![json!(PROFILE)]),
        ("chirpstack_synced", vec![json!(true)]),
    ] {
        for value in values {
            let mut body = json!({
                "name": "Desk", "lorawan_dev_eui": LAMP, "chirpstack_app_id": APPLICATION, "device_profile_id": PROFILE,
            });
            body[field] = value.clone();
            let named = wrong_fields(&service.post(DEVICES, &service.admin, &body).await);
            let path = |name: &String| name == field || name.starts_with(&format!("{field}."));
            assert!(named.iter().any(path), "{field}: {value} -> {named:?}");
        }
    }
    for (body, fields) in [
        (
            json!({"name": "x", "chirpstack_app_id": APPLICATION}),
            vec!["device_profile_id", "lorawan_dev_eui"],
        ),
        (
            json!({"name": "x", "lorawan_dev_eui": LAMP, "device_profile_id": PROFILE}),
            vec!["chirpstack_app_id"],
        ),
        (
            json!({"name": "x", "lorawan_dev_eui": LAMP, "join_eui": LAMP, "app_key": APP_KEY}),
            vec!["join_eui", "app_key"],
        ),
        (json!({}), vec!["name"]),
    ] {
        assert_eq!(
            wrong_fields(&service.post(DEVICES, &service.admin, &body).await),
            fields,
            "{body}"
        );
    }
    let devices = service.get(DEVICES, &service.admin).await.json();
    assert_eq!(devices["devices"], json!([]));
}

async fn tricks_in_texts_are_texts(service: Service) {
    for name in [
        "'; DROP TABLE device; --",
        "\" OR 1=1 --",
        "${jndi:ldap://x}",
        "{\"name\":\"x\"}",
        "%_\\",
        "=1+1",
        "<script>alert(1)</script>",
        "\u{202e}desk",
        "𝕯𝖊𝖘𝖐 🚦",
    ] {
        let device = service
            .created(&json!({"name": name, "tags": {name: name}}))
            .await;
        let read = service.get(&path_of(&device), &service.admin).await.json();
        assert_eq!(
            (&read["name"], &read["tags"][name]),
            (&json!(name), &json!(name))
        );
        let query = name.bytes().fold(String::new(), |mut query, byte| {
            write!(query, "%{byte:02x}").unwrap();
            query
        });
        let found = service
            .get(&format!("{DEVICES}?name={query}"), &service.admin)
            .await
            .json();
        assert_eq!(found["devices"].as_array().unwrap().len(), 1, "{name}");
    }
}

async fn a_change_replaces_or_patches_and_knows_its_version(service: Service) {
    let device = service
        .created(&json!({
            "name": "Desk", "tags": {"floor": "2", "wing": "b"}, "lorawan_dev_eui": LAMP, "chirpstack_app_id": APPLICATION,
            "device_profile_id": PROFILE, "app_key": APP_KEY, "description": "x",
        }))
        .await;
    let path = path_of(&device);
    let change = json!({"tags": {"floor": "3", "wing": null, "desk": "7"}, "description": null});
    let changed = service
        .ask("PATCH", &path, &[("if-match", "\"1\"")], Some(&change))
        .await;
    assert_eq!(changed.header("etag"), Some("\"2\""));
    let body = changed.json();
    assert_eq!(body["tags"], json!({"floor": "3", "desk": "7"}));
    assert_eq!(
        (&body["description"], &body["app_key_set"]),
        (&json!(""), &json!(true))
    );

    let same = service
        .ask(
            "PATCH",
            &path,
            &[],
            Some(&json!({"app_key": APP_KEY, "name": "Desk"})),
        )
        .await;
    assert_eq!(same.header("etag"), Some("\"2\""), "nothing changed");
    let stale = service
        .ask("PATCH", &path, &[("if-match", "\"1\"")], Some(&change))
        .await;
    assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(
        stale.json()["type"],
        "urn:downbeat:problem:version-mismatch"
    );

    let replaced = service
        .ask(
            "PUT",
            &path,
            &[],
            Some(&json!({"name": "Desk 2", "lorawan_dev_eui": LAMP})),
        )
        .await;
    let body = replaced.json();
    assert_eq!(
        (&body["tags"], &body["app_key_set"]),
        (&json!({}), &json!(false)),
        "{body}"
    );
    assert_eq!(replaced.header("etag"), Some("\"3\""));
    assert_eq!(
        body["sync"]["state"], "pending",
        "it is to leave ChirpStack"
    );

    for (headers, status) in [
        (
            [("if-match", "\"2\"")].as_slice(),
            StatusCode::PRECONDITION_FAILED,
        ),
        (&[("if-match", "3")], StatusCode::BAD_REQUEST),
        (&[("if-match", "\"3\"")], StatusCode::NO_CONTENT),
        (&[], StatusCode::NOT_FOUND),
    ] {
        let answer = service.ask("DELETE", &path, headers, None).await;
        assert_eq!(answer.status, status, "{headers:?}");
    }
    assert_eq!(
        service.get(&path, &service.admin).await.status,
        StatusCode::NOT_FOUND
    );
    let wrong = service
        .ask("PATCH", &path, &[], Some(&json!({"name": null})))
        .await;
    assert_eq!(wrong.status, StatusCode::NOT_FOUND);
}

async fn a_patch_that_is_wrong_is_named_and_changes_nothing(service: Service) {
    let device = service
        .created(&json!({"name": "Desk", "lorawan_dev_eui": LAMP}))
        .await;
    service.register("202020ff50330001").await;
    let path = path_of(&device);
    for (change, fields) in [
        (json!({"name": null}), vec!["name"]),
        (json!({"name": ""}), vec!["name"]),
        (json!({"tags": {"a": 1}}), vec!["tags.a"]),
        (json!({"app_key": APP_KEY}), vec!["app_key"]),
        (
            json!({"chirpstack_app_id": APPLICATION}),
            vec!["device_profile_id"],
        ),
        (json!({"colour": null}), vec!["colour"]),
        (json!({"id": device["id"]}), vec!["id"]),
    ] {
        assert_eq!(
            wrong_fields(&service.ask("PATCH", &path, &[], Some(&change)).await),
            fields,
            "{change}"
        );
    }
    let taken = service
        .ask(
            "PATCH",
            &path,
            &[],
            Some(&json!({"lorawan_dev_eui": "202020ff50330001"})),
        )
        .await;
    assert_eq!(taken.json()["type"], "urn:downbeat:problem:dev-eui-taken");
    let plain = service
        .ask(
            "PATCH",
            &path,
            &[("content-type", "text/plain")],
            Some(&json!({})),
        )
        .await;
    assert_eq!(plain.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(
        service.get(&path, &service.admin).await.header("etag"),
        Some("\"1\"")
    );
}

async fn who_leaves_the_registry_has_no_commands_under_way(service: Service) {
    let device = service
        .created(&json!({"name": "Desk", "lorawan_dev_eui": LAMP}))
        .await;
    let path = path_of(&device);
    let command = format!("/api/v1/downlink/{LAMP}?wait=0");
    for (method, body) in [
        ("PATCH", Some(json!({"codec": "generic"}))),
        (
            "PATCH",
            Some(json!({"codec": "kuando_busylight", "lorawan_dev_eui": "202020ff50330009"})),
        ),
        ("PATCH", Some(json!({"lorawan_dev_eui": LAMP}))),
        ("DELETE", None),
    ] {
        let raw = json!({"payload": "00", "f_port": 1});
        let sent = service.post(&command, &service.admin, &raw).await;
        let id = sent.json()["id"].as_str().map(str::to_owned);
        let changed = service.ask(method, &path, &[], body.as_ref()).await;
        assert!(changed.status.is_success(), "{method} {body:?}");
        if let Some(id) = id {
            let ended = service
                .get(&format!("/api/v1/downlinks/{id}"), &service.admin)
                .await;
            assert_eq!(ended.json()["state"], "cancelled", "{method} {body:?}");
        }
    }
    let sent = service
        .post(&command, &service.admin, &json!({"color": "#ff0000"}))
        .await;
    assert_eq!(sent.status, StatusCode::NOT_FOUND);
    let again = service
        .created(&json!({"name": "Desk", "lorawan_dev_eui": LAMP}))
        .await;
    assert_ne!(again["id"], device["id"]);
    let sent = service
        .post(&command, &service.admin, &json!({"color": "#ff0000"}))
        .await;
    assert_eq!(sent.status, StatusCode::ACCEPTED);
    let listed = service
        .get(
            &format!("{}/downlinks?limit=1", path_of(&again)),
            &service.viewer,
        )
        .await;
    assert_eq!(listed.json()["downlinks"].as_array().unwrap().len(), 1);
}

async fn devices_are_found_by_what_they_are(service: Service) {
    service
        .created(&json!({
            "name": "Desk 1", "device_type": "lamp", "tags": {"floor": "2"}, "lorawan_dev_eui": LAMP,
            "chirpstack_app_id": APPLICATION, "device_profile_id": PROFILE,
        }))
        .await;
    service
        .created(&json!({"name": "Sensor", "tags": {"floor": "3", "a": "b:c"}, "codec": "generic"}))
        .await;
    for (query, names) in [
        ("name=desk", vec!["Desk 1"]),
        ("lorawan_dev_eui=202020FF50330000", vec!["Desk 1"]),
        ("status=never_seen", vec!["Desk 1", "Sensor"]),
        ("status=online", vec![]),
        ("synced=false", vec!["Desk 1"]),
        ("synced=true", vec![]),
        ("tag=floor", vec!["Desk 1", "Sensor"]),
        ("tag=floor:3", vec!["Sensor"]),
        ("tag=a:b:c", vec!["Sensor"]),
        ("tag=floor:4", vec![]),
        ("device_type=lamp", vec!["Desk 1"]),
        ("codec=generic", vec!["Sensor"]),
        (&format!("chirpstack_app_id={APPLICATION}"), vec!["Desk 1"]),
        ("codec=generic&device_type=lamp", vec![]),
    ] {
        let found = service
            .get(&format!("{DEVICES}?{query}"), &service.viewer)
            .await
            .json();
        let found = found["devices"].as_array().unwrap().iter();
        let found: Vec<_> = found
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(found, names, "{query}");
    }
    for query in [
        "status=there",
        "synced=1",
        "tag=",
        "tag=:x",
        "codec=morse",
        "chirpstack_app_id=7",
        "lorawan_dev_eui=7",
        "name=%00",
        "limit=0",
        "cursor=x",
        "colour=red",
        "name=a&name=b",
    ] {
        let answer = service
            .get(&format!("{DEVICES}?{query}"), &service.viewer)
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
    }
    let first = service
        .get(&format!("{DEVICES}?limit=1"), &service.viewer)
        .await
        .json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = service
        .get(
            &format!("{DEVICES}?limit=1&cursor={cursor}"),
            &service.viewer,
        )
        .await
        .json();
    assert_eq!(
        (&second["devices"][0]["name"], &second["next_cursor"]),
        (&json!("Sensor"), &json!(null))
    );
}

async fn another_tenants_device_does_not_exist(service: Service) {
    let device = service
        .created(&json!({"name": "Desk", "lorawan_dev_eui": LAMP}))
        .await;
    let (other, key) = service.other_tenant().await;
    let id = device["id"].as_str().unwrap();
    let own = format!("/api/v1/tenants/{other}/devices/{id}");
    for path in [path_of(&device), own] {
        for (method, rest, body) in [
            ("GET", "", None),
            ("PUT", "", Some(json!({"name": "x"}))),
            ("PATCH", "", Some(json!({"name": "x"}))),
            ("DELETE", "", None),
            ("POST", "/sync", None),
            ("GET", "/events", None),
            ("GET", "/uplinks", None),
            ("GET", "/downlinks", None),
            ("GET", "/telemetry", None),
            ("GET", "/links", None),
        ] {
            let answer = service
                .send(request(
                    method,
                    &format!("{path}{rest}"),
                    &key,
                    body.as_ref(),
                ))
                .await;
            assert_eq!(
                answer.status,
                StatusCode::NOT_FOUND,
                "{method} {path}{rest}"
            );
        }
    }
    let taken = json!({"name": "x", "lorawan_dev_eui": LAMP});
    let answer = service
        .post(&format!("/api/v1/tenants/{other}/devices"), &key, &taken)
        .await;
    assert_eq!(answer.json()["type"], "urn:downbeat:problem:dev-eui-taken");
}

#[expect(clippy::too_many_lines, reason = "one story")]
async fn a_device_tells_what_it_said(service: Service) {
    let device = service
        .created(&json!({"name": "Desk", "lorawan_dev_eui": LAMP, "codec": "generic"}))
        .await;
    let path = path_of(&device);
    let nothing = service
        .get(&format!("{path}/links"), &service.viewer)
        .await
        .json();
    assert_eq!(nothing, json!({"heard_at": null, "links": []}));
    for (f_cnt, temperature) in [(1, 20.5), (2, 21.5)] {
        let uplink = json!({
            "deduplicationId": uuid::Uuid::now_v7(), "time": "2026-11-22T15:32:11.448Z",
            "deviceInfo": {"devEui": LAMP}, "devAddr": "005a28e6", "fCnt": f_cnt, "fPort": 2, "dr": 5, "data": "AQ==",
            "object": {"temperature": temperature, "state": "ok"},
            "rxInfo": [
                {"gatewayId": "0016c001ff10a230", "rssi": -90, "snr": 3.5},
                {"gatewayId": "0016c001ff10a231", "rssi": -70, "snr": 8.0},
            ],
        });
        let told = service
            .post(
                "/api/v1/webhooks/chirpstack?event=up",
                &service.webhook,
                &uplink,
            )
            .await;
        assert_eq!(told.status, StatusCode::OK, "{}", told.json());
    }
    let links = service
        .get(&format!("{path}/links"), &service.viewer)
        .await
        .json();
    assert_eq!(links["links"][0]["gateway_id"], "0016c001ff10a231");
    assert_eq!(
        (&links["links"][1]["rssi"], &links["links"][1]["snr"]),
        (&json!(-90), &json!(3.5))
    );

    let uplinks = service
        .get(&format!("{path}/uplinks?limit=1"), &service.viewer)
        .await
        .json();
    assert_eq!(uplinks["uplinks"][0]["body"]["f_cnt"], 2);
    let cursor = uplinks["next_cursor"].as_str().unwrap();
    let uplinks = service
        .get(&format!("{path}/uplinks?cursor={cursor}"), &service.viewer)
        .await
        .json();
    assert_eq!(uplinks["uplinks"][0]["body"]["object"]["temperature"], 20.5);
    let events = service
        .get(&format!("{path}/events?kind=join"), &service.viewer)
        .await
        .json();
    assert_eq!(events["events"], json!([]));

    let fields = service
        .get(&format!("{path}/telemetry"), &service.viewer)
        .await
        .json();
    let field = |name: &str| {
        let fields = fields["fields"].as_array().unwrap().iter();
        fields
            .clone()
            .find(|it| it["field"] == name)
            .map(|it| it["value"].clone())
    };
    assert_eq!(
        (field("temperature"), field("state")),
        (Some(json!(21.5)), Some(json!("ok"))),
        "{fields}"
    );
    let series = service
        .get(
            &format!("{path}/telemetry?field=temperature"),
            &service.viewer,
        )
        .await
        .json();
    let values = series["points"].as_array().unwrap().iter();
    assert_eq!(
        values.map(|it| it["value"].clone()).collect::<Vec<_>>(),
        [json!(20.5), json!(21.5)]
    );
    let first = service
        .get(
            &format!("{path}/telemetry?field=temperature&limit=1"),
            &service.viewer,
        )
        .await
        .json();
    assert_eq!(
        (&first["truncated"], &first["points"][0]["value"]),
        (&json!(true), &json!(20.5))
    );
    let coarse = service
        .get(
            &format!("{path}/telemetry?field=temperature&step=31d"),
            &service.viewer,
        )
        .await
        .json();
    let count: u64 = coarse["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["count"].as_u64().unwrap())
        .sum();
    assert_eq!(count, 2, "{coarse}");

    for wrong in [
        "events?kind=lunch",
        "events?from=yesterday",
        "uplinks?kind=up",
        "uplinks?limit=1001",
        "downlinks?state=lost",
        "telemetry?field=",
        "telemetry?field=x&step=0",
        "telemetry?step=60s",
        "telemetry?field=x&limit=10001",
        "telemetry?field=x&from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
        "telemetry?field=%00",
    ] {
        let answer = service
            .get(&format!("{path}/{wrong}"), &service.viewer)
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

async fn a_repeated_registration_makes_one_device_and_a_full_tenant_none(service: Service) {
    let body = json!({"name": "Desk", "lorawan_dev_eui": LAMP});
    let first = service
        .ask("POST", DEVICES, &[("idempotency-key", "a")], Some(&body))
        .await;
    let again = service
        .ask("POST", DEVICES, &[("idempotency-key", "a")], Some(&body))
        .await;
    assert_eq!(first.json()["id"], again.json()["id"]);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let limit = json!({"devices_max": 1});
    let limited = service
        .ask("PATCH", "/api/v1/tenants/default", &[], Some(&limit))
        .await;
    assert_eq!(limited.status, StatusCode::OK);
    let full = service
        .post(DEVICES, &service.admin, &json!({"name": "Desk 2"}))
        .await;
    assert_eq!(full.json()["type"], "urn:downbeat:problem:tenant-full");
}
