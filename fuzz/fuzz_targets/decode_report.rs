//! Any bytes on any port, through every codec: nothing panics, and what was read as a light is written back the same.
//!
//! The first byte of the input is the port, the rest the payload; port 15 is tried with every payload, because the
//! Busylight reports nowhere else.
#![no_main]

use downbeat_core::codec::{CodecKind, Command, Frame};
use downbeat_core::id::FPort;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((port, payload)) = data.split_first() else {
        return;
    };
    for kind in CodecKind::ALL {
        for port in [*port, 15] {
            exercise(kind, FPort::from_uplink(port), payload);
        }
    }
});

fn exercise(kind: CodecKind, f_port: FPort, payload: &[u8]) {
    let codec = kind.codec();
    let report = codec.decode(f_port, payload);
    if let Some(light) = report.ok().and_then(|report| report.light) {
        let frame = codec
            .encode(&Command::SetLight(light))
            .expect("a device that reports a light takes one");
        assert_eq!(codec.expected_light(&frame), Some(light));
    }
    let frame = Frame {
        f_port,
        payload: payload.to_vec(),
    };
    if let Some(light) = codec.expected_light(&frame) {
        let encoded = codec
            .encode(&Command::SetLight(light))
            .expect("a device that shows a light takes one");
        assert_eq!(encoded.payload[..5], payload[..5]);
    }
    let raw = Command::Raw(frame.clone());
    let _ = (codec.proof(&raw, false), codec.proof(&raw, true));
    if let Ok(encoded) = codec.encode(&raw) {
        assert_eq!(encoded, frame);
    }
}
