//! What each captured body says, and that no other bytes do harm.

use std::fs;
use std::path::{Path, PathBuf};

use chirpstack_api::integration;
use downbeat_core::network::{NetworkEvent, Timing};
use downbeat_core::random::Random;
use prost::Message;
use serde_json::{Value, json};

use super::*;

mod v3;

const NOW: Timestamp = Timestamp::from_millis(1_795_361_531_448);

/// Folders of bodies.
const V4: &str = "chirpstack-v4";
const V3: &str = "chirpstack-v3";

#[test]
fn each_captured_body_says_what_it_says() {
    let said = corpus(V4).into_iter().map(|it| {
        let read = it.parse().unwrap();
        describe(&it.name, &read)
    });
    let said: Vec<String> = said.collect();
    assert_eq!(said.len(), 16);
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn json_and_protobuf_say_the_same() {
    for it in corpus(V4) {
        if it.encoding == Encoding::Protobuf {
            continue;
        }
        let protobuf = as_protobuf(it.kind, &it.body);
        let (one, other) = (
            it.parse().unwrap(),
            parse(it.kind, Encoding::Protobuf, &protobuf, NOW).unwrap(),
        );
        assert_eq!(one.event, other.event, "{}", it.name);
        assert_eq!(said(&one), said(&other), "{}", it.name);
        let sorted = |incoming: &Incoming| {
            let mut telemetry = incoming.telemetry.clone();
            telemetry.sort_by(|one, other| one.0.cmp(&other.0));
            telemetry
        };
        assert_eq!(sorted(&one), sorted(&other), "{}", it.name);
        assert_eq!(
            (one.dev_eui, one.device_name, one.chirpstack_tenant_id),
            (other.dev_eui, other.device_name, other.chirpstack_tenant_id)
        );
    }
}

/// In RX1 a frame has the channel and data rate of the uplink before it: whether it was sent there has to be known.
#[test]
fn when_a_gateway_sends_is_told() {
    let captured = corpus(V4).into_iter();
    let mut acks = captured.filter(|it| it.name == "txack.json");
    let ack: Value = serde_json::from_slice(&acks.next().unwrap().body).unwrap();
    for (timing, expected) in [
        (json!({"immediately": {}}), Some(Timing::Immediately)),
        (json!({"delay": {"delay": "1s"}}), Some(Timing::AfterUplink)),
        (
            json!({"gpsEpoch": {"timeSinceGpsEpoch": "1s"}}),
            Some(Timing::AtGpsTime),
        ),
        (json!({}), None),
        (Value::Null, None),
    ] {
        let mut ack = ack.clone();
        ack["txInfo"]["timing"] = timing;
        let body = ack.to_string().into_bytes();
        let protobuf = as_protobuf(EventKind::TxAck, &body);
        for (encoding, body) in [(Encoding::Json, body), (Encoding::Protobuf, protobuf)] {
            let event = parse(EventKind::TxAck, encoding, &body, NOW).unwrap().event;
            let NetworkEvent::Transmitted(sent) = event else {
                panic!("a txack is a transmission");
            };
            assert_eq!(sent.timing, expected, "{encoding:?}");
        }
    }
}

#[test]
fn absent_and_null_fields_have_their_zero_value_and_unknown_ones_are_skipped() {
    let bodies = [
        json!({"deviceInfo": {"devEui": "202020FF50330000"}}),
        json!({"deviceInfo": {"devEui": "202020ff50330000", "deviceClassEnabled": "CLASS_Z", "deviceName": null},
               "fCnt": null, "data": null, "rxInfo": null, "txInfo": {"modulation": {"lrFhss": {}}}, "object": null,
               "deduplicationId": "", "time": "yesterday", "somethingNew": {"deep": [1, 2, {}]}}),
    ];
    for body in bodies {
        let NetworkEvent::Heard(uplink) = up(&body).unwrap().event else {
            panic!("an up is an uplink");
        };
        assert_eq!(
            (uplink.f_cnt, uplink.f_port.get(), uplink.payload.len()),
            (0, 0, 0)
        );
        assert_eq!((uplink.class, uplink.modulation), (None, None));
        assert_eq!((uplink.deduplication_id, uplink.received_at), (None, None));
    }
    let silent = json!({"deviceInfo": {"devEui": "202020ff50330000"},
                        "rxInfo": [{"gatewayId": "0016c00150330002"}]});
    let NetworkEvent::Heard(uplink) = up(&silent).unwrap().event else {
        panic!("an up is an uplink");
    };
    assert_eq!(
        (uplink.receptions[0].rssi_dbm, uplink.receptions[0].snr_db),
        (0, 0.0)
    );
}

#[test]
fn a_field_that_does_not_hold_what_it_has_to_is_named() {
    for (field, body) in [
        ("deviceInfo", json!({})),
        ("deviceInfo.devEui", json!({"deviceInfo": {}})),
        (
            "deviceInfo.devEui",
            json!({"deviceInfo": {"devEui": "202020ff5033000"}}),
        ),
        (
            "deviceInfo.tenantId",
            with(
                "deviceInfo",
                json!({"devEui": "202020ff50330000", "tenantId": "x"}),
            ),
        ),
        ("data", with("data", json!("%%%"))),
        ("data", with("data", json!("A".repeat(400)))),
        ("fPort", with("fPort", json!(256))),
        ("dr", with("dr", json!(999))),
        ("devAddr", with("devAddr", json!("0"))),
        ("deduplicationId", with("deduplicationId", json!("0"))),
        (
            "rxInfo.gatewayId",
            with("rxInfo", json!([{"gatewayId": ""}])),
        ),
        (
            "rxInfo.snr",
            with(
                "rxInfo",
                json!([{"gatewayId": "0016c00150330002", "snr": 1e300}]),
            ),
        ),
        (
            "txInfo.modulation.lora.spreadingFactor",
            with(
                "txInfo",
                json!({"modulation": {"lora": {"bandwidth": 125_000, "spreadingFactor": 300}}}),
            ),
        ),
    ] {
        match up(&body) {
            Err(ParseWebhookError::Field { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{body}: {other:?}"),
        }
    }
    for body in [
        with("fCnt", json!(-1)),
        with("fCnt", json!(4_294_967_296_u64)),
        with("fCnt", json!("7")),
        with(
            "rxInfo",
            json!([{"gatewayId": "0016c00150330002", "rssi": 1e30}]),
        ),
        with("rxInfo", json!({})),
        json!([]),
        json!([{"devEui": "202020ff50330000"}]),
        json!(null),
        json!("up"),
    ] {
        assert!(
            matches!(up(&body), Err(ParseWebhookError::Json(_))),
            "{body}"
        );
    }
}

#[test]
fn a_log_code_of_a_newer_server_is_kept() {
    let body = json!({"deviceInfo": {"devEui": "202020ff50330000"}, "level": "NOTICE", "code": "QUANTUM_FLUX",
                      "description": "x", "context": {"a": "b"}});
    let incoming = parse_json(EventKind::Log, &body).unwrap();
    insta::assert_snapshot!(incoming.history.body, @r#"{"level":"NOTICE","code":"QUANTUM_FLUX","description":"x","context":{"a":"b"}}"#);
    let log = integration::LogEvent {
        device_info: Some(integration::DeviceInfo {
            dev_eui: "202020ff50330000".into(),
            ..Default::default()
        }),
        level: 9,
        code: 99,
        ..Default::default()
    };
    let incoming = parse(
        EventKind::Log,
        Encoding::Protobuf,
        &log.encode_to_vec(),
        NOW,
    )
    .unwrap();
    insta::assert_snapshot!(incoming.history.body, @r#"{"level":"9","code":"99","description":""}"#);
}

#[test]
fn locations_integrations_and_batteries_are_read() {
    let device = json!({"devEui": "202020ff50330000"});
    let located = json!({"deviceInfo": device, "location": {"latitude": 52.37, "source": "GPS"}});
    let located = parse_json(EventKind::Location, &located).unwrap();
    insta::assert_snapshot!(located.history.body, @r#"{"latitude":52.37,"longitude":0.0,"altitude":0.0}"#);
    let integrated = json!({"deviceInfo": device, "integrationName": "x", "object": {"a": [1]}});
    let integrated = parse_json(EventKind::Integration, &integrated).unwrap();
    insta::assert_snapshot!(integrated.history.body, @r#"{"object":{"a":[1]}}"#);
    let status = |level: f64| {
        let body = json!({"deviceInfo": device, "margin": -3, "batteryLevel": level});
        parse_json(EventKind::Status, &body)
    };
    insta::assert_snapshot!(status(74.8).unwrap().history.body, @r#"{"margin_db":-3,"external_power":false,"battery_percent":74.8}"#);
    assert!(status(100.1).is_err());
    let nowhere = json!({"deviceInfo": device, "location": {"latitude": 91}});
    assert!(parse_json(EventKind::Location, &nowhere).is_err());
}

/// Every body cut anywhere is refused or read, and read as another kind of event, too.
#[test]
fn no_cut_body_does_harm() {
    for it in corpus(V4).into_iter().chain(corpus(V3)) {
        for end in 0..it.body.len() {
            for kind in [it.kind, EventKind::Up, EventKind::TxAck] {
                let read = parse(kind, it.encoding, &it.body[..end], NOW);
                assert!(
                    read.is_err() || it.encoding == Encoding::Protobuf,
                    "{} {end}",
                    it.name
                );
            }
        }
    }
}

/// Bytes flipped, inserted, removed and spliced at random, by seed.
#[test]
fn no_damaged_body_does_harm() {
    let corpus: Vec<Captured> = corpus(V4).into_iter().chain(corpus(V3)).collect();
    for seed in 0..20_000 {
        let mut random = Random::from_seed(seed);
        let mut below = |bound: usize| {
            usize::try_from(random.below(u64::try_from(bound.max(1)).unwrap())).unwrap()
        };
        let it = &corpus[below(corpus.len())];
        let mut body = it.body.clone();
        for _ in 0..=below(8) {
            let place = below(body.len());
            match below(5) {
                0 => body[place] ^= 1 << below(8),
                1 => body[place] = u8::try_from(below(256)).unwrap(),
                2 => body.insert(place, b"0\"{}[],:-e9\\u\xff"[below(14)]),
                3 => drop(body.drain(place..(place + below(40)).min(body.len()))),
                _ => {
                    let other = &corpus[below(corpus.len())].body;
                    let from = below(other.len());
                    let until = (from + below(200)).min(other.len());
                    body.splice(place..place, other[from..until].iter().copied());
                }
            }
        }
        let kind = EventKind::ALL[below(EventKind::ALL.len())];
        for kind in [kind, it.kind] {
            if let Ok(incoming) = parse(kind, it.encoding, &body, NOW) {
                let is_log = kind == EventKind::Error && incoming.history.kind == "log";
                assert!(
                    is_log || incoming.history.kind == kind.name(),
                    "seed {seed}"
                );
                assert!(said(&incoming).is_object(), "seed {seed}");
                assert!(is_storable(&incoming.telemetry), "seed {seed}");
            }
        }
    }
}

struct Captured {
    name: String,
    kind: EventKind,
    encoding: Encoding,
    body: Vec<u8>,
}

impl Captured {
    fn parse(&self) -> Result<Incoming, ParseWebhookError> {
        parse(self.kind, self.encoding, &self.body, NOW)
    }
}

/// An event, for a snapshot.
fn describe(name: &str, read: &Incoming) -> String {
    let telemetry = read.telemetry.iter().map(|(path, value)| match value {
        TelemetryValue::Number(number) => format!("{path}={number}"),
        TelemetryValue::Text(text) => format!("{path}={text:?}"),
    });
    let said = format!(
        "{name}: {} {}\n  {:?}\n  {} {}\n  {}",
        read.dev_eui,
        read.device_name,
        read.event,
        read.history.kind,
        read.history.body,
        telemetry.collect::<Vec<_>>().join(" ")
    );
    said.trim_end().to_owned()
}

/// Whether fields keep to what is promised of them.
fn is_storable(telemetry: &[(FieldPath, TelemetryValue)]) -> bool {
    let paths: std::collections::BTreeSet<&str> =
        telemetry.iter().map(|(path, _)| &**path).collect();
    paths.len() == telemetry.len()
        && telemetry.len() <= 68
        && telemetry.iter().all(|(path, value)| {
            let is_value_fit = match value {
                TelemetryValue::Number(number) => number.is_finite(),
                TelemetryValue::Text(text) => text.chars().count() <= 512 && !text.contains('\0'),
            };
            !path.is_empty() && path.chars().count() <= 100 && !path.contains('\0') && is_value_fit
        })
}

/// The captured bodies of a folder, by name.
fn corpus(folder: &str) -> Vec<Captured> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let folder = fixtures.join(folder);
    let files = fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let captured = paths.into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?.to_owned();
        let encoding = match path.extension()?.to_str()? {
            "json" => Encoding::Json,
            "pb" => Encoding::Protobuf,
            _ => return None,
        };
        let kind = EventKind::by_name(name.split(['-', '.']).next()?)?;
        let body = fs::read(path).ok()?;
        Some(Captured {
            name,
            kind,
            encoding,
            body,
        })
    });
    captured.collect()
}

/// The same event in the other encoding, by the published API's own types.
fn as_protobuf(kind: EventKind, body: &[u8]) -> Vec<u8> {
    fn convert<T: serde::de::DeserializeOwned + Message>(body: &[u8]) -> Vec<u8> {
        serde_json::from_slice::<T>(body).unwrap().encode_to_vec()
    }
    match kind {
        EventKind::Up => convert::<integration::UplinkEvent>(body),
        EventKind::Join => convert::<integration::JoinEvent>(body),
        EventKind::Ack => convert::<integration::AckEvent>(body),
        EventKind::TxAck => convert::<integration::TxAckEvent>(body),
        EventKind::Log => convert::<integration::LogEvent>(body),
        EventKind::Status => convert::<integration::StatusEvent>(body),
        EventKind::Location => convert::<integration::LocationEvent>(body),
        EventKind::Integration | EventKind::Error => panic!("the published API has it no more"),
    }
}

fn said(incoming: &Incoming) -> Value {
    serde_json::from_str(&incoming.history.body).unwrap()
}

fn parse_json(kind: EventKind, body: &Value) -> Result<Incoming, ParseWebhookError> {
    parse(kind, Encoding::Json, body.to_string().as_bytes(), NOW)
}

fn up(body: &Value) -> Result<Incoming, ParseWebhookError> {
    parse_json(EventKind::Up, body)
}

/// An uplink with one more field.
fn with(field: &str, value: Value) -> Value {
    let mut body = json!({"deviceInfo": {"devEui": "202020ff50330000"}});
    body[field] = value;
    body
}
