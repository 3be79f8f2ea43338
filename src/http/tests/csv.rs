//! Devices as files: imported, exported, imported again.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::*;

on_both_stores! {
    a_file_is_imported_once,
    a_wrong_line_is_named_and_spoils_no_other,
    results_are_streamed_in_the_files_order,
    what_is_exported_is_imported_unchanged_and_is_no_formula,
    keys_come_in_by_file_and_the_same_key_is_no_change,
    files_that_are_none_are_refused,
    a_file_without_end_is_stopped_and_what_came_before_is_told,
}

const IMPORT: &str = "/api/v1/tenants/default/import";
const EXPORT: &str = "/api/v1/tenants/default/devices.csv";
const DEVICES: &str = "/api/v1/tenants/default/devices";

impl Service {
    async fn import(&self, query: &str, file: impl Into<Vec<u8>>) -> Answer {
        let mut request = request("POST", &format!("{IMPORT}{query}"), &self.admin, None);
        let media_type = "text/csv; charset=utf-8".parse().unwrap();
        request.headers_mut().insert("content-type", media_type);
        *request.body_mut() = Body::from(file.into());
        self.send(request).await
    }

    /// Created, updated, unchanged, failed.
    async fn counts(&self, query: &str, file: impl Into<Vec<u8>>) -> [u64; 4] {
        let answer = self.import(query, file).await;
        let summary = answer.json();
        assert_eq!(answer.status, StatusCode::OK, "{summary}");
        ["created", "updated", "unchanged", "failed"].map(|it| summary[it].as_u64().unwrap())
    }

    async fn device_names(&self) -> Vec<String> {
        let devices = self.get(DEVICES, &self.viewer).await.json();
        let devices = devices["devices"].as_array().unwrap().iter();
        devices
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

const FILE: &str = "\u{feff}name;lorawan_dev_eui;tag:floor;codec;uplink_interval_s\r\n\
    Desk 1;202020FF50330000;2;;\r\n\
    \"Desk; 2\";20-20-20-ff-50-33-00-01;;generic;900\r\n\
    Board;;3;generic;\r\n";

async fn a_file_is_imported_once(service: Service) {
    assert_eq!(service.counts("?dry_run=true", FILE).await, [3, 0, 0, 0]);
    assert!(
        service.device_names().await.is_empty(),
        "a dry run changes nothing"
    );
    assert_eq!(service.counts("", FILE).await, [3, 0, 0, 0]);
    assert_eq!(service.device_names().await.len(), 3);
    assert_eq!(service.counts("?dry_run=true", FILE).await, [0, 0, 3, 0]);
    assert_eq!(service.counts("", FILE).await, [0, 0, 3, 0]);
    let change = "lorawan_dev_eui,tag:wing,tag:floor\n202020ff50330000,b,\n202020ff50330001,,\n";
    assert_eq!(service.counts("?dry_run=true", change).await, [0, 1, 1, 0]);
    assert_eq!(service.counts("", change).await, [0, 1, 1, 0]);
    let found = service
        .get(
            &format!("{DEVICES}?lorawan_dev_eui={LAMP}"),
            &service.viewer,
        )
        .await
        .json();
    let device = &found["devices"][0];
    assert_eq!(
        (&device["tags"], &device["name"]),
        (&json!({"wing": "b"}), &json!("Desk 1"))
    );
}

async fn a_wrong_line_is_named_and_spoils_no_other(service: Service) {
    let (_, other) = service.other_tenant().await;
    let taken = json!({"name": "theirs", "lorawan_dev_eui": "202020ff50330009"});
    let registered = service
        .post("/api/v1/tenants/other/devices", &other, &taken)
        .await;
    assert_eq!(registered.status, StatusCode::CREATED);
    let mut file = b"name,lorawan_dev_eui,chirpstack_app_id,tags,uplink_interval_s\n\
        Good 1,202020ff50330000,,,\n\
        ,202020ff5033000x,7,x,soon\n\
        \"two\nlines\",202020ff50330002,,,\n\
        Again,202020FF50330000,,,\n\
        Few,202020ff50330003\n\
        \n"
    .to_vec();
    file.extend(b"\xff\xfe,202020ff50330004,,,\n");
    file.extend(b"Theirs,202020ff50330009,,,\nGood 2,,,\"{\"\"a\"\":\"\"b\"\"}\",\nGood 2,,,,\n");
    for query in ["?dry_run=true", ""] {
        let answer = service.import(query, file.clone()).await.json();
        assert_eq!(
            (&answer["created"], &answer["failed"]),
            (&json!(2), &json!(7)),
            "{answer}"
        );
        let mut answer = answer;
        answer["dry_run"] = json!("…");
        insta::assert_snapshot!(
            "wrong_lines",
            serde_json::to_string_pretty(&answer).unwrap()
        );
    }
    assert_eq!(service.device_names().await, ["Good 1", "Good 2"]);
}

async fn results_are_streamed_in_the_files_order(service: Service) {
    let mut file = "name,lorawan_dev_eui\n".to_owned();
    for number in 0..600 {
        let dev_eui = 0x2020_20ff_0000_0000_u64 + number;
        writeln!(file, "Desk {number},{dev_eui:016x}").unwrap();
    }
    file.push_str("Bad,x\n");
    let mut request = request("POST", IMPORT, &service.admin, None);
    request
        .headers_mut()
        .insert("content-type", "text/csv".parse().unwrap());
    let accepted = "application/x-ndjson;q=1, */*;q=0.1";
    request
        .headers_mut()
        .insert("accept", accepted.parse().unwrap());
    *request.body_mut() = Body::from(file);
    let answer = service.send(request).await;
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let text = String::from_utf8(answer.body).unwrap();
    let mut lines: Vec<Value> = text
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    let summary = lines.pop().unwrap();
    assert_eq!(
        (&summary["created"], &summary["failed"]),
        (&json!(600), &json!(1))
    );
    assert_eq!(summary["stopped"], json!(null));
    let numbers: Vec<_> = lines
        .iter()
        .map(|it| it["line"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (2..=602).collect::<Vec<_>>());
    assert_eq!(lines[600]["errors"][0]["field"], "lorawan_dev_eui");
    let path = format!("{DEVICES}/{}", lines[0]["id"].as_str().unwrap());
    assert_eq!(
        service.get(&path, &service.viewer).await.json()["name"],
        "Desk 0"
    );
}

async fn what_is_exported_is_imported_unchanged_and_is_no_formula(service: Service) {
    for (number, name) in [
        "=1+1",
        "'=1",
        "+1",
        "-1",
        "@x",
        "a,b\";",
        "'s-Hertogenbosch",
        "plain",
    ]
    .iter()
    .enumerate()
    {
        let body = json!({
            "name": name, "description": format!("{name}\n\"x\"\t"), "device_type": name, "tags": {name.to_owned(): name},
            "lorawan_dev_eui": format!("202020ff5033000{number}"), "uplink_interval_s": 60 + number,
            "chirpstack_app_id": "da9605e6-da81-49e0-b789-29bd8a051bc6", "join_eui": "0000000000000000",
            "device_profile_id": "b72b3130-32e0-4ab5-a7b5-ef1cddb9d204", "app_key": "5ec4e7b16c1f4a0f9d3b2a1c0d9e8f7a",
        });
        let answer = service.post(DEVICES, &service.admin, &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json());
    }
    let before = service.get(DEVICES, &service.viewer).await.json();
    let file = service.get(EXPORT, &service.viewer).await;
    assert_eq!(file.header("content-type"), Some("text/csv; charset=utf-8"));
    let text = String::from_utf8(file.body.clone()).unwrap();
    assert!(!text.contains("5ec4e7b1"), "keys are not exported");
    assert!(text.contains("\r\n'=1+1,202020ff50330000,'=1+1,"), "{text}");
    assert_eq!(
        service.counts("?dry_run=true", file.body.clone()).await,
        [0, 0, 8, 0]
    );
    assert_eq!(service.counts("", file.body.clone()).await, [0, 0, 8, 0]);
    assert_eq!(service.get(DEVICES, &service.viewer).await.json(), before);

    // Elsewhere it makes the same devices, but for their keys.
    let elsewhere = service.sibling(&Config::default()).await;
    assert_eq!(elsewhere.counts("", file.body.clone()).await, [8, 0, 0, 0]);
    assert_eq!(
        elsewhere.get(EXPORT, &elsewhere.viewer).await.body,
        file.body
    );
}

async fn keys_come_in_by_file_and_the_same_key_is_no_change(service: Service) {
    let file = |key: &str| {
        format!(
            "name,lorawan_dev_eui,chirpstack_app_id,device_profile_id,app_key\nDesk,{LAMP},\
             da9605e6-da81-49e0-b789-29bd8a051bc6,b72b3130-32e0-4ab5-a7b5-ef1cddb9d204,{key}\n"
        )
    };
    let (key, other) = (
        "5ec4e7b16c1f4a0f9d3b2a1c0d9e8f7a",
        "00112233445566778899aabbccddeeff",
    );
    assert_eq!(service.counts("", file(key)).await, [1, 0, 0, 0]);
    assert_eq!(service.counts("", file(key)).await, [0, 0, 1, 0]);
    assert_eq!(service.counts("", file("")).await, [0, 0, 1, 0]);
    assert_eq!(service.counts("", file(other)).await, [0, 1, 0, 0]);
    assert_eq!(service.counts("", file("x")).await, [0, 0, 0, 1]);
}

async fn files_that_are_none_are_refused(service: Service) {
    let too_wide = format!("name{}\n", ",name".repeat(2_000));
    for (file, said) in [
        (b"".as_slice(), "malformed-body"),
        (b"\n\n", "malformed-body"),
        (b"\xff\xfen\0a\0", "malformed-body"),
        (too_wide.as_bytes(), "malformed-body"),
        (b"nombre\nx\n", "invalid-fields"),
        (b"name,name\nx,y\n", "invalid-fields"),
        (b"tag:\nx\n", "invalid-fields"),
        (b"codec\ngeneric\n", "invalid-fields"),
        (b"name,tags,tag:a\nx,,\n", "invalid-fields"),
        (b"name,id\nx,y\n", "invalid-fields"),
    ] {
        let answer = service.import("", file).await;
        let shown = String::from_utf8_lossy(&file[..file.len().min(40)]).into_owned();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{shown}");
        assert_eq!(
            answer.json()["type"],
            format!("urn:downbeat:problem:{said}"),
            "{shown}"
        );
    }
    let mut large = request("POST", IMPORT, &service.admin, None);
    large
        .headers_mut()
        .insert("content-type", "text/csv".parse().unwrap());
    large
        .headers_mut()
        .insert("content-length", "67108865".parse().unwrap());
    let answer = service.send(large).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let answer = service.import("?dry_run=yes", FILE).await;
    assert_eq!(answer.json()["errors"][0]["field"], "dry_run");
    let mut text = request("POST", IMPORT, &service.admin, None);
    text.headers_mut()
        .insert("content-type", "text/plain".parse().unwrap());
    assert_eq!(
        service.send(text).await.status,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    let viewer = service
        .send(request("POST", IMPORT, &service.viewer, None))
        .await;
    assert_eq!(viewer.status, StatusCode::FORBIDDEN);
    let from_chirpstack = json!({"source": "chirpstack", "application_id": uuid::Uuid::nil()});
    let answer = service.post(IMPORT, &service.admin, &from_chirpstack).await;
    assert_eq!(
        answer.json()["type"],
        "urn:downbeat:problem:no-network-server"
    );
}

async fn a_file_without_end_is_stopped_and_what_came_before_is_told(service: Service) {
    let header = std::iter::once(Ok::<_, std::io::Error>(b"name\nDesk\n".to_vec()));
    let megabyte = vec![b'\n'; 1024 * 1024];
    let endless = header.chain(std::iter::repeat_with(move || Ok(megabyte.clone())));
    let mut request = request(
        "POST",
        &format!("{IMPORT}?dry_run=true"),
        &service.admin,
        None,
    );
    request
        .headers_mut()
        .insert("content-type", "text/csv".parse().unwrap());
    *request.body_mut() = Body::from_stream(futures_util::stream::iter(endless));
    let summary = service.send(request).await.json();
    assert_eq!(
        (&summary["created"], &summary["stopped"]),
        (&json!(1), &json!("the file has more than 64 MiB"))
    );

    let limit = json!({"devices_max": 2});
    let limited = service
        .send(super::request(
            "PATCH",
            "/api/v1/tenants/default",
            &service.admin,
            Some(&limit),
        ))
        .await;
    assert_eq!(limited.status, StatusCode::OK);
    for query in ["?dry_run=true", ""] {
        assert_eq!(
            service.counts(query, "name\na\nb\nc\n").await,
            [2, 0, 0, 1],
            "{query}"
        );
    }
}
