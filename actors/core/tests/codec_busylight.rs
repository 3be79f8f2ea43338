//! The Busylight's codec against the worked examples of its protocol notes (§8), and against any bytes.

use std::num::NonZeroU8;

use base64::Engine as _;
use downbeat_core::codec::busylight::{
    F_PORT, KuandoBusylight, ResetReason, Setting, Sound, estimated_snr_db, light_from_wire,
    light_to_wire,
};
use downbeat_core::codec::{
    Codec, CodecKind, Command, DecodeReportError, EncodeError, Frame, MAX_PAYLOAD, Proof, Report,
};
use downbeat_core::id::FPort;
use downbeat_core::light::{Color, LightState};
use proptest::prelude::*;

const LAMP: KuandoBusylight = KuandoBusylight;
const GREEN: LightState = LightState::steady(Color::rgb(0, 255, 0));
const ORANGE: LightState = LightState::steady(Color::rgb(255, 165, 0));
const WHITE: LightState = LightState::steady(Color::rgb(255, 255, 255));
/// What a lamp shows that has joined and was never commanded.
const JOINED: LightState = LightState::steady(Color::rgb(0, 50, 0));

#[test]
fn what_a_lamp_says_can_be_drawn_over_time() {
    let payload = hex::decode("9effffff200000000500000007000000ffffffff00380c01").unwrap();
    let said = LAMP.decode(F_PORT, &payload).unwrap().measurements();
    let drawn = [
        ("red", 255.0),
        ("green", 255.0),
        ("blue", 255.0),
        ("on_time", 255.0),
        ("off_time", 0.0),
        ("downlinks_received", 5.0),
        ("uplinks_sent", 7.0),
        ("downlink_rssi", -98.0),
        ("downlink_snr_raw", 32.0),
    ];
    assert_eq!(said, drawn);
    assert_eq!(Report::default().measurements(), []);
}

#[test]
fn published_and_constructed_uplinks_are_read_as_documented() {
    let dark_echo = LightState {
        color: Color::rgb(0, 255, 0),
        on_time: 0,
        off_time: 0,
    };
    let sound = Sound {
        number: 3,
        volume: 50,
        duration: 10,
        control: None,
    };
    let examples = [
        (
            "00000000000000000000000025000000000032ff00380c01",
            full(0, 0, 0, 37, JOINED, [56, 12, 1]),
        ),
        (
            "0000000000000000000000000c000000000032ff00380c01",
            full(0, 0, 0, 12, JOINED, [56, 12, 1]),
        ),
        (
            "afffffff220000000300000003000000ffffffff00380c01",
            full(-81, 34, 3, 3, WHITE, [56, 12, 1]),
        ),
        (
            "9effffff200000000500000007000000ffffffff00380c01",
            full(-98, 32, 5, 7, WHITE, [56, 12, 1]),
        ),
        (
            "a9ffffff26000000050000000a0000000000ff0000380c01",
            full(-87, 38, 5, 10, dark_echo, [56, 12, 1]),
        ),
        (
            "d0ffffff1e00000008000000060000000000ffff00290c01",
            full(-48, 30, 8, 6, GREEN, [41, 12, 1]),
        ),
        (
            "b6ffffff240000002900000039000000ff00a5ff003a0c0100",
            Report {
                ambiguous: Some(0),
                ..full(-74, 36, 41, 57, ORANGE, [58, 12, 1])
            },
        ),
        (
            "99ffffff0c0000000000000001000000000032ff00350c0120",
            Report {
                ambiguous: Some(0x20),
                ..full(-103, 12, 0, 1, JOINED, [53, 12, 1])
            },
        ),
        (
            "2a00000000ff00ff0001",
            Report {
                uplinks_sent: Some(42),
                light: Some(LightState::steady(Color::rgb(0, 0, 255))),
                ambiguous: Some(1),
                ..Report::default()
            },
        ),
        ("0c0000001e000000ff00a5ff003c1403320a01", with_sound(sound)),
        (
            "0c0000001e000000ff00a5ff003c1403320a0107",
            with_sound(Sound {
                control: Some(7),
                ..sound
            }),
        ),
        (
            "b6ffffffeeffffffffffffffe093040000000000003a0c00",
            full(-74, -18, u32::MAX, 300_000, LightState::OFF, [58, 12, 0]),
        ),
    ];
    for (bytes, report) in examples {
        assert_eq!(
            LAMP.decode(F_PORT, &hex::decode(bytes).unwrap()),
            Ok(report),
            "{bytes}"
        );
    }
}

#[test]
fn commands_are_the_documented_bytes() {
    let steady =
        |red, green, blue| Command::SetLight(LightState::steady(Color::rgb(red, green, blue)));
    let blinking = LightState {
        color: Color::rgb(255, 255, 255),
        on_time: 10,
        off_time: 10,
    };
    let examples = [
        (steady(255, 0, 0), "ff0000ff00", "/wAA/wA="),
        (steady(0, 255, 0), "0000ffff00", "AAD//wA="),
        (steady(0, 0, 255), "00ff00ff00", "AP8A/wA="),
        (steady(255, 165, 0), "ff00a5ff00", "/wCl/wA="),
        (Command::SetLight(blinking), "ffffff0a0a", "////Cgo="),
        (Command::SetLight(LightState::OFF), "0000000000", "AAAAAAA="),
        (Command::Busylight(Setting::Adr(true)), "0100", "AQA="),
        (Command::Busylight(Setting::Adr(false)), "0200", "AgA="),
        (
            Command::Busylight(Setting::Watchdog {
                uplinks: NonZeroU8::MAX,
            }),
            "03ff",
            "A/8=",
        ),
        (Command::Busylight(keep_alive(15)), "040f", "BA8="),
        (Command::Busylight(Setting::UplinkNow), "0500", "BQA="),
        (
            Command::Busylight(Setting::AutomaticUplink(true)),
            "0601",
            "BgE=",
        ),
        (
            Command::Busylight(Setting::AutomaticUplink(false)),
            "0600",
            "BgA=",
        ),
        (Command::Busylight(Setting::FactoryReset), "aa00", "qgA="),
    ];
    for (command, bytes, base64) in examples {
        let frame = LAMP.encode(&command).unwrap();
        assert_eq!(frame.f_port, F_PORT, "{command:?}");
        assert_eq!(hex::encode(&frame.payload), bytes, "{command:?}");
        assert_eq!(
            base64::prelude::BASE64_STANDARD.encode(&frame.payload),
            base64,
            "{command:?}"
        );
    }
    let immediate = KuandoBusylight::encode_light_with_immediate_uplink(GREEN);
    assert_eq!(
        (immediate.f_port, hex::encode(immediate.payload)),
        (F_PORT, "0000ffff0001".into())
    );
}

#[test]
fn other_ports_and_lengths_are_not_guessed_at() {
    for length in (0..=300).filter(|length| ![10, 19, 20, 24, 25].contains(length)) {
        assert_eq!(
            LAMP.decode(F_PORT, &vec![0; length]),
            Err(DecodeReportError::Length(length))
        );
    }
    for port in (0..=255).filter(|port| *port != 15) {
        let report = LAMP.decode(FPort::from_uplink(port), &[0; 24]);
        assert_eq!(report, Err(DecodeReportError::Port(port)));
    }
}

#[test]
fn a_reset_reason_is_told_only_where_the_byte_can_mean_nothing_else() {
    let certain = [
        (0x02, ResetReason::BrownOut1V2),
        (0x04, ResetReason::BrownOut3V3),
        (0x10, ResetReason::External),
        (0x20, ResetReason::Watchdog),
        (0x40, ResetReason::Software),
        (0x80, ResetReason::Backup),
    ];
    for byte in 0..=u8::MAX {
        let expected = certain
            .iter()
            .find(|(value, _)| *value == byte)
            .map(|(_, reason)| *reason);
        assert_eq!(ResetReason::from_ambiguous(byte), expected, "{byte:#04x}");
    }
}

#[test]
fn signal_to_noise_is_estimated_in_quarters_of_a_decibel() {
    for (raw, decibels) in [(34, 8.5), (-18, -4.5), (0, 0.0)] {
        assert!(
            (estimated_snr_db(raw) - decibels).abs() < f64::EPSILON,
            "{raw}"
        );
    }
}

#[test]
fn each_command_is_proven_by_what_the_lamp_can_show_of_it() {
    let raw = |port, bytes: &[u8]| Command::Raw(frame(port, bytes));
    let examples = [
        (
            Command::SetLight(GREEN),
            Proof::AutoUplink,
            Proof::AutoUplink,
        ),
        (
            Command::Busylight(Setting::AutomaticUplink(true)),
            Proof::AutoUplink,
            Proof::LorawanAck,
        ),
        (
            Command::Busylight(keep_alive(15)),
            Proof::AutoUplink,
            Proof::LorawanAck,
        ),
        (
            Command::Busylight(Setting::FactoryReset),
            Proof::Transmitted,
            Proof::LorawanAck,
        ),
        (
            raw(15, &[0, 0, 255, 255, 0]),
            Proof::AutoUplink,
            Proof::LorawanAck,
        ),
        (
            raw(15, &[0, 0, 255, 255, 0, 1]),
            Proof::AutoUplink,
            Proof::LorawanAck,
        ),
        (
            raw(16, &[0, 0, 255, 255, 0]),
            Proof::Transmitted,
            Proof::LorawanAck,
        ),
        (raw(15, &[6, 1]), Proof::AutoUplink, Proof::LorawanAck),
        (raw(15, &[4, 15]), Proof::AutoUplink, Proof::LorawanAck),
        (raw(16, &[4, 15]), Proof::Transmitted, Proof::LorawanAck),
        (raw(15, &[4, 15, 0]), Proof::Transmitted, Proof::LorawanAck),
        (raw(15, &[0xaa, 0]), Proof::Transmitted, Proof::LorawanAck),
    ];
    for (command, unconfirmed, confirmed) in examples {
        assert_eq!(LAMP.proof(&command, false), unconfirmed, "{command:?}");
        assert_eq!(
            LAMP.proof(&command, true),
            confirmed,
            "{command:?} confirmed"
        );
    }
}

#[test]
fn on_a_lamp_that_does_not_answer_a_raw_setting_is_done_with_the_tx_ack_except_the_one_that_makes_it_answer()
 {
    let raw = |bytes: &[u8]| Command::Raw(frame(15, bytes));
    for (command, proof) in [
        (raw(&[4, 15]), Some(Proof::Transmitted)),
        (raw(&[6, 0]), Some(Proof::Transmitted)),
        (raw(&[6, 1]), None),
        (raw(&[0, 0, 255, 255, 0]), None),
        (Command::SetLight(GREEN), None),
        (Command::Busylight(keep_alive(15)), None),
    ] {
        assert_eq!(LAMP.proof_if_mute(&command), proof, "{command:?}");
    }
}

#[test]
fn initialisation_switches_the_automatic_uplink_on_and_then_sets_the_heartbeat() {
    let frames: Vec<_> = LAMP
        .initialisation()
        .iter()
        .map(|command| LAMP.encode(command).expect("it is a setting"))
        .collect();
    assert_eq!(frames, [frame(15, &[0x06, 0x01]), frame(15, &[0x04, 0x0f])]);
}

#[test]
fn the_light_to_expect_is_read_from_light_frames_only() {
    for (port, bytes, expected) in [
        (15, &[255, 0, 165, 255, 0][..], Some(ORANGE)),
        (15, &[255, 0, 165, 255, 0, 1], Some(ORANGE)),
        (14, &[255, 0, 165, 255, 0], None),
        (15, &[255, 0, 165, 255], None),
        (15, &[255, 0, 165, 255, 0, 1, 1], None),
        (15, &[6, 1], None),
    ] {
        assert_eq!(
            LAMP.expected_light(&frame(port, bytes)),
            expected,
            "{port} {bytes:?}"
        );
    }
}

#[test]
fn raw_frames_pass_if_they_can_be_sent_at_all() {
    for (port, length, expected) in [
        (1, 1, None),
        (255, MAX_PAYLOAD, None),
        (15, 0, Some(EncodeError::PayloadLength)),
        (15, MAX_PAYLOAD + 1, Some(EncodeError::PayloadLength)),
        (0, 1, Some(EncodeError::Port)),
    ] {
        let sent = frame(port, &vec![7; length]);
        for codec in CodecKind::ALL.map(CodecKind::codec) {
            let encoded = codec.encode(&Command::Raw(sent.clone()));
            assert_eq!(
                encoded,
                expected.map_or_else(|| Ok(sent.clone()), Err),
                "{port} {length}"
            );
        }
    }
}

#[test]
fn settings_without_a_known_meaning_are_not_read_from_json() {
    let read = |json: &str| serde_json::from_str::<Setting>(json);
    assert_eq!(
        read(r#"{"keep_alive":{"minutes":15}}"#).unwrap(),
        keep_alive(15)
    );
    for json in [
        r#"{"keep_alive":{"minutes":0}}"#,
        r#"{"watchdog":{"uplinks":0}}"#,
        r#"{"watchdog":{"uplinks":256}}"#,
    ] {
        assert!(read(json).is_err(), "{json}");
    }
}

proptest! {
    #[test]
    fn a_light_survives_the_wire(light in lights()) {
        prop_assert_eq!(light_from_wire(light_to_wire(light)), light);
        let sent = LAMP.encode(&Command::SetLight(light)).unwrap();
        prop_assert_eq!(LAMP.expected_light(&sent), Some(light));
    }

    #[test]
    fn every_form_of_report_echoes_the_bytes_of_the_command(
        light in lights(),
        (length, offset) in prop::sample::select(vec![(10, 4), (19, 8), (20, 8), (24, 16), (25, 16)]),
        filling in any::<u8>(),
    ) {
        let mut payload = vec![filling; length];
        payload[offset..offset + 5].copy_from_slice(&LAMP.encode(&Command::SetLight(light)).unwrap().payload);
        prop_assert_eq!(LAMP.decode(F_PORT, &payload).unwrap().light, Some(light));
    }

    #[test]
    fn counters_are_unsigned_and_little_endian(received in any::<u32>(), sent in any::<u32>()) {
        let mut payload = vec![0; 24];
        payload[8..12].copy_from_slice(&received.to_le_bytes());
        payload[12..16].copy_from_slice(&sent.to_le_bytes());
        let report = LAMP.decode(F_PORT, &payload).unwrap();
        prop_assert_eq!((report.downlinks_received, report.uplinks_sent), (Some(received), Some(sent)));
    }

    #[test]
    fn no_bytes_make_a_codec_panic(port in any::<u8>(), payload in prop::collection::vec(any::<u8>(), 0..64)) {
        for codec in CodecKind::ALL.map(CodecKind::codec) {
            for port in [port, 15] {
                let _ = codec.decode(FPort::from_uplink(port), &payload);
                let _ = codec.expected_light(&frame(port, &payload));
            }
        }
    }
}

fn lights() -> impl Strategy<Value = LightState> {
    any::<[u8; 5]>().prop_map(|[red, green, blue, on_time, off_time]| LightState {
        color: Color::rgb(red, green, blue),
        on_time,
        off_time,
    })
}

fn frame(port: u8, bytes: &[u8]) -> Frame {
    Frame {
        f_port: FPort::from_uplink(port),
        payload: bytes.to_vec(),
    }
}

fn keep_alive(minutes: u8) -> Setting {
    Setting::KeepAlive {
        minutes: NonZeroU8::new(minutes).expect("no test uses 0"),
    }
}

/// The 24-byte form; the last three are software, hardware revision and ADR.
fn full(rssi: i32, snr: i32, received: u32, sent: u32, light: LightState, tail: [u8; 3]) -> Report {
    Report {
        downlink_rssi_dbm: Some(rssi),
        downlink_snr_raw: Some(snr),
        downlinks_received: Some(received),
        uplinks_sent: Some(sent),
        light: Some(light),
        software_rev: Some(tail[0]),
        hardware_rev: Some(tail[1]),
        adr: Some(tail[2]),
        ..Report::default()
    }
}

fn with_sound(sound: Sound) -> Report {
    Report {
        downlinks_received: Some(12),
        uplinks_sent: Some(30),
        light: Some(ORANGE),
        software_rev: Some(60),
        hardware_rev: Some(20),
        high_brightness: Some(1),
        sound: Some(sound),
        ..Report::default()
    }
}
