//! The codec of devices without one: bytes pass, nothing is interpreted.

use downbeat_core::codec::busylight::Setting;
use downbeat_core::codec::generic::Generic;
use downbeat_core::codec::{Codec, CodecKind, Command, EncodeError, Frame, Proof, Report};
use downbeat_core::id::FPort;
use downbeat_core::light::LightState;

#[test]
fn only_raw_frames_are_understood() {
    let refused = Err(EncodeError::NotUnderstood { codec: "generic" });
    assert_eq!(Generic.encode(&Command::SetLight(LightState::OFF)), refused);
    assert_eq!(
        Generic.encode(&Command::Busylight(Setting::UplinkNow)),
        refused
    );
    let frame = Frame {
        f_port: FPort::from_uplink(2),
        payload: vec![1, 2, 3, 4, 5],
    };
    assert_eq!(
        Generic.encode(&Command::Raw(frame.clone())),
        Ok(frame.clone())
    );
    assert_eq!(Generic.expected_light(&frame), None);
}

#[test]
fn the_proof_is_the_acknowledgement_if_one_is_asked_for() {
    let frame = Frame {
        f_port: FPort::from_uplink(15),
        payload: vec![0, 0, 255, 255, 0],
    };
    assert_eq!(
        Generic.proof(&Command::Raw(frame.clone()), true),
        Proof::LorawanAck
    );
    assert_eq!(
        Generic.proof(&Command::Raw(frame), false),
        Proof::Transmitted
    );
}

#[test]
fn uplinks_are_not_interpreted() {
    for port in 0..=u8::MAX {
        let report = Generic.decode(FPort::from_uplink(port), &[0; 24]);
        assert_eq!(report, Ok(Report::default()));
    }
}

#[test]
fn codecs_are_found_by_their_names() {
    for kind in CodecKind::ALL {
        assert_eq!(CodecKind::by_name(kind.name()), Some(kind));
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
    }
    assert_eq!(CodecKind::by_name("busylight"), None);
}
