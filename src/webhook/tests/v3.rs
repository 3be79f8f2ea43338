//! ChirpStack v3 in its three forms, and what stands between v3 and v4.

use downbeat_core::id::GatewayId;
use proptest::prelude::*;

use super::*;

#[test]
fn each_body_of_v3_says_what_it_says() {
    let said = corpus(V3).into_iter().map(|it| {
        let read = it
            .parse()
            .unwrap_or_else(|error| panic!("{}: {error}", it.name));
        describe(&it.name, &read)
    });
    let said: Vec<String> = said.collect();
    assert_eq!(said.len(), 31);
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn protobuf_and_its_json_say_the_same() {
    let corpus = corpus(V3);
    let json = corpus.iter().filter(|it| it.name.ends_with("-json.json"));
    let mut compared = 0;
    for it in json {
        let protobuf = it.name.replace("-json.json", ".pb");
        let other = corpus.iter().find(|other| other.name == protobuf).unwrap();
        assert_eq!(it.parse().unwrap(), other.parse().unwrap(), "{}", it.name);
        compared += 1;
    }
    assert_eq!(compared, 8);
}

#[test]
fn one_shape_is_not_taken_for_the_other() {
    for it in corpus(V3) {
        assert!(
            it.parse().unwrap().chirpstack_tenant_id.is_none(),
            "{}",
            it.name
        );
    }
    for it in corpus(V4) {
        assert!(
            it.parse().unwrap().chirpstack_tenant_id.is_some(),
            "{}",
            it.name
        );
        let (body, kind) = (&it.body, it.kind);
        match it.encoding {
            Encoding::Json => assert!(v3_json::parse(kind, body, NOW).is_none(), "{}", it.name),
            Encoding::Protobuf => {
                assert!(v3_protobuf::parse(kind, body, NOW).is_none(), "{}", it.name);
            }
        }
    }
    // A device of v4 that is broken is not made up from what else the body says.
    let body = json!({"deviceInfo": {"devEui": "?"}, "devEUI": "202020ff50330001"});
    match up(&body) {
        Err(ParseWebhookError::Field { field, .. }) => assert_eq!(field, "deviceInfo.devEui"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_payload_is_looked_for_in_its_order() {
    use base64::Engine as _;
    let data = |payload: &str| base64::engine::general_purpose::STANDARD.encode(payload);
    let all = json!({"devEUI": "202020ff50330001", "object": {"from": "object"}, "objectJSON": "{\"from\":\"objectJSON\"}",
                     "data": data("{\"from\":\"data\"}")});
    let mut body = all;
    for (from, next) in [
        ("object", "object"),
        ("objectJSON", "objectJSON"),
        ("data", "data"),
    ] {
        let telemetry = up(&body).unwrap().telemetry;
        assert_eq!(
            telemetry[0],
            ("from".into(), TelemetryValue::Text(from.to_owned()))
        );
        body[next] = match next {
            "object" => json!(null),
            "objectJSON" => json!("not JSON"),
            _ => json!(data("plain")),
        };
    }
    let text = ("text".into(), TelemetryValue::Text("plain".to_owned()));
    assert_eq!(up(&body).unwrap().telemetry[0], text);
    body["data"] = json!("");
    let names: Vec<_> = up(&body)
        .unwrap()
        .telemetry
        .into_iter()
        .map(|it| it.0)
        .collect();
    assert_eq!(names, ["f_cnt"]);
}

#[test]
fn batteries_of_a_status_are_read_by_their_scale() {
    let battery = |body: Value| {
        let mut with_device = json!({"devEUI": "202020ff50330001"});
        with_device
            .as_object_mut()
            .unwrap()
            .extend(body.as_object().unwrap().clone());
        match parse_json(EventKind::Status, &with_device).map(|it| it.event) {
            Ok(NetworkEvent::StatusReported(status)) => {
                Ok((status.battery_percent, status.external_power))
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    };
    for (body, told) in [
        (json!({"battery": 254}), (Some(100.0), false)),
        (json!({"battery": 127}), (Some(50.0), false)),
        (json!({"battery": 0}), (None, true)),
        (json!({"battery": 255}), (None, false)),
        (
            json!({"battery": 10, "batteryLevel": 75}),
            (Some(75.0), false),
        ),
        (
            json!({"batteryLevel": 0, "batteryLevelUnavailable": true}),
            (None, false),
        ),
        (
            json!({"batteryLevel": 0, "externalPowerSource": true}),
            (None, true),
        ),
        (json!({"batteryLevel": 0}), (Some(0.0), false)),
        (json!({"margin": 3}), (None, false)),
    ] {
        assert_eq!(battery(body.clone()), Ok(told), "{body}");
    }
    for body in [
        json!({"battery": 256}),
        json!({"battery": -1}),
        json!({"batteryLevel": 101}),
        json!({"margin": 1e9}),
        json!({"externalPowerSource": "perhaps"}),
    ] {
        assert!(battery(body.clone()).is_err(), "{body}");
    }
}

#[test]
fn presence_is_told_in_both_shapes_and_in_few_words() {
    for device in [
        json!({"devEUI": "ICAg/1AzAAE="}),
        json!({"dev_eui": "202020ff50330001"}),
        json!({"deviceInfo": {"devEui": "202020ff50330001"}}),
    ] {
        let told = |field: &str, value: Value| {
            let mut body = device.clone();
            body[field] = value;
            parse_json(EventKind::Status, &body).map(|it| it.event)
        };
        for (field, value, online) in [
            ("status", json!("online"), true),
            ("status", json!("OFFLINE"), false),
            ("online", json!(true), true),
            ("online", json!(false), false),
        ] {
            assert_eq!(
                told(field, value).unwrap(),
                NetworkEvent::PresenceTold(online)
            );
        }
        assert!(told("status", json!("maybe")).is_err(), "{device}");
    }
}

#[test]
fn an_error_route_takes_v4_logs_as_logs() {
    let body = json!({"deviceInfo": {"devEui": "202020ff50330001"}, "level": "ERROR", "code": "UPLINK_MIC"});
    let read = parse_json(EventKind::Error, &body).unwrap();
    assert_eq!(read.history.kind, "log");
    let body = json!({"devEUI": "202020ff50330001", "type": "UPLINK_MIC", "error": "x"});
    let read = parse_json(EventKind::Error, &body).unwrap();
    assert_eq!(read.history.kind, "error");
    insta::assert_snapshot!(read.history.body, @r#"{"level":"ERROR","code":"UPLINK_MIC","description":"x"}"#);
}

#[test]
fn what_is_there_has_to_be_what_it_is_called() {
    for (field, value, named) in [
        ("devEUI", json!("202020ff5033000"), "devEUI"),
        ("dev_eui", json!(true), "devEUI"),
        ("fCnt", json!(-1), "fCnt"),
        ("f_cnt", json!("seven"), "fCnt"),
        ("fCnt", json!(4_294_967_296_u64), "fCnt"),
        ("fPort", json!(256), "fPort"),
        ("dr", json!(256), "dr"),
        ("data", json!("%%%"), "data"),
        ("data", json!({}), "data"),
        ("confirmed", json!(1), "confirmed"),
        ("devAddr", json!("x"), "devAddr"),
        ("rxInfo", json!({}), "rxInfo"),
        ("rxInfo", json!([1]), "rxInfo"),
        ("rxInfo", json!([{"rssi": "near"}]), "rssi"),
        ("rxInfo", json!([{"snr": 1e300}]), "rxInfo.snr"),
        ("rxInfo", json!([{"gatewayID": "x"}]), "rxInfo.gatewayID"),
        ("txInfo", json!(7), "txInfo"),
        (
            "txInfo",
            json!({"loRaModulationInfo": {"bandwidth": 125, "spreadingFactor": 13}}),
            "txInfo.modulation.lora.spreadingFactor",
        ),
    ] {
        let mut body = json!({ field: value });
        if body.get("devEUI").is_none() && body.get("dev_eui").is_none() {
            body["devEUI"] = json!("202020ff50330001");
        }
        match up(&body) {
            Err(ParseWebhookError::Field { field, .. }) => assert_eq!(field, named, "{body}"),
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn a_copy_without_a_gateway_still_tells_the_signal() {
    let body = json!({"devEUI": "202020ff50330001", "rxInfo": [{"rssi": -70}, {}]});
    let Ok(NetworkEvent::Heard(uplink)) = up(&body).map(|it| it.event) else {
        panic!("an up is an uplink");
    };
    // The second says nothing at all, and is the same gateway's copy as far as anybody knows.
    assert_eq!(uplink.best().unwrap().gateway_id, GatewayId::from_u64(0));
}

proptest! {
    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0..EventKind::ALL.len()) {
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            let _ = parse(EventKind::ALL[kind], encoding, &bytes, NOW);
        }
    }

    #[test]
    fn no_json_does_harm(body in body(), kind in 0..EventKind::ALL.len()) {
        if let Ok(read) = parse_json(EventKind::ALL[kind], &body) {
            prop_assert!(is_storable(&read.telemetry));
            prop_assert!(said(&read).is_object());
        }
    }
}

/// An event with some of its fields, right or wrong.
fn body() -> impl Strategy<Value = Value> {
    const NAMES: [&str; 32] = [
        "fCnt",
        "f_cnt",
        "fPort",
        "dr",
        "data",
        "object",
        "objectJSON",
        "rxInfo",
        "rx_info",
        "txInfo",
        "confirmed",
        "devAddr",
        "battery",
        "batteryLevel",
        "margin",
        "externalPowerSource",
        "status",
        "online",
        "error",
        "type",
        "location",
        "acknowledged",
        "gatewayID",
        "rssi",
        "loRaSNR",
        "snr",
        "loRaModulationInfo",
        "spreadingFactor",
        "bandwidth",
        "latitude",
        "time",
        "publishedAt",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..300_u32).prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        Just(json!("ICAg/1AzAAE=")),
        Just(json!("eyJhIjpbMSwyXX0=")),
        Just(json!("{\"a\":{\"b\":1}}")),
    ];
    let names = || proptest::sample::select(&NAMES[..]).prop_map(str::to_owned);
    let value = leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            proptest::collection::btree_map(names(), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    proptest::collection::btree_map(names(), value, 0..8).prop_map(|map| {
        let mut body: serde_json::Map<String, Value> = map.into_iter().collect();
        body.insert("devEUI".to_owned(), json!("202020ff50330001"));
        Value::Object(body)
    })
}
