//! Any bytes as the body of any event, in both encodings, of ChirpStack v4, v3 or what lies between: nothing panics, and
//! what was read can be stored.
//!
//! The first byte of the input is the kind of event, the rest the body. `tests/fixtures/chirpstack-v3` and `-v4` are a good
//! corpus to start from.
#![no_main]

use std::collections::BTreeSet;

use downbeat::store::TelemetryValue;
use downbeat::webhook::{Encoding, EventKind, Incoming, parse};
use downbeat_core::time::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((kind, body)) = data.split_first() else {
        return;
    };
    let kind = EventKind::ALL[usize::from(*kind) % EventKind::ALL.len()];
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        if let Ok(incoming) = parse(kind, encoding, body, Timestamp::from_millis(0)) {
            check(&incoming);
        }
    }
});

fn check(incoming: &Incoming) {
    assert!(incoming.history.body.starts_with('{'));
    let paths: BTreeSet<&str> = incoming
        .telemetry
        .iter()
        .map(|(path, _)| &**path)
        .collect();
    assert_eq!(paths.len(), incoming.telemetry.len());
    for (path, value) in &incoming.telemetry {
        assert!((1..=100).contains(&path.chars().count()));
        match value {
            TelemetryValue::Number(number) => assert!(number.is_finite()),
            TelemetryValue::Text(text) => assert!(text.chars().count() <= 512),
        }
    }
}
