//! How devices that always listen are sent to, told from tx-acks of which some are of Class A windows.

use downbeat_core::id::{DevEui, GatewayId};
use downbeat_core::network::{Timing, Transmitted};
use downbeat_core::pacer::{Downlink, Pacer, PacerConfig, SentBefore, SentLately};
use downbeat_core::radio::Modulation;
use downbeat_core::region::Region;
use downbeat_core::time::Timestamp;
use proptest::prelude::*;

const AT_ONCE: Option<Timing> = Some(Timing::Immediately);
const AFTER: Option<Timing> = Some(Timing::AfterUplink);
const AT_GPS: Option<Timing> = Some(Timing::AtGpsTime);

/// Frequency in kHz, spreading factor, when.
type Frame = (u32, u8, Option<Timing>);

fn gateway() -> GatewayId {
    GatewayId::from_u64(0xa000)
}

fn at(second: usize) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000) + std::time::Duration::from_secs(second as u64)
}

fn told((khz, spreading_factor, timing): Frame) -> Transmitted {
    Transmitted {
        queue_item_id: None,
        f_cnt_down: 0,
        gateway_id: Some(gateway()),
        modulation: Some(Modulation::lora_125(spreading_factor)),
        frequency_hz: Some(khz * 1_000),
        timing,
    }
}

/// What is learnt, from the gateway itself and for those that have not sent yet.
fn learnt_from(frames: &[Frame]) -> [Downlink; 2] {
    let mut pacer = Pacer::new(PacerConfig::default());
    for (second, frame) in frames.iter().enumerate() {
        pacer.transmitted(at(second), DevEui::from_u64(1), &told(*frame));
    }
    let snapshot = pacer.snapshot(at(frames.len()));
    [snapshot.gateway(gateway()).downlink, snapshot.downlink]
}

/// The same, told by the history after a restart.
fn recalled_from(frames: &[Frame]) -> [Downlink; 2] {
    let sent = frames.iter().map(|frame| told(*frame)).enumerate();
    let sent = sent.map(|(second, event)| SentBefore {
        at: at(second),
        gateway_id: gateway(),
        modulation: event.modulation,
        frequency_hz: event.frequency_hz,
        timing: event.timing,
    });
    let mut pacer = Pacer::new(PacerConfig::default());
    let sent = SentLately {
        frames: sent.collect(),
        items: Vec::new(),
    };
    pacer.recall(at(frames.len()), sent);
    let snapshot = pacer.snapshot(at(frames.len()));
    [snapshot.gateway(gateway()).downlink, snapshot.downlink]
}

fn downlink(khz: u32, spreading_factor: u8, is_learnt: bool) -> Downlink {
    Downlink {
        frequency_hz: khz * 1_000,
        modulation: Modulation::lora_125(spreading_factor),
        is_learnt,
    }
}

#[test]
fn only_what_was_sent_at_once_tells_how_class_c_is_sent_to() {
    let unlearnt = downlink(869_525, 12, false);
    for (story, frames, expected) in [
        ("nothing is known", &[][..], unlearnt),
        (
            "an item that was sent in RX1 after an uplink",
            &[(868_500, 7, AFTER)],
            unlearnt,
        ),
        ("many of them", &[(868_500, 7, AFTER); 40], unlearnt),
        (
            "one at once among many in RX1",
            &[
                (868_500, 7, AFTER),
                (869_525, 9, AT_ONCE),
                (868_500, 7, AFTER),
                (868_100, 7, AFTER),
                (868_500, 7, AFTER),
            ],
            downlink(869_525, 9, true),
        ),
        (
            "RX2 after an uplink is not told apart from an RX1 on its frequency",
            &[(869_525, 9, AT_ONCE), (869_525, 12, AFTER)],
            downlink(869_525, 9, true),
        ),
        (
            "RX2 was given another data rate",
            &[(869_525, 12, AT_ONCE), (869_525, 9, AT_ONCE)],
            downlink(869_525, 9, true),
        ),
        (
            "RX2 was given another frequency",
            &[
                (869_525, 9, AT_ONCE),
                (869_525, 9, AT_ONCE),
                (868_300, 9, AT_ONCE),
            ],
            downlink(868_300, 9, true),
        ),
        (
            "a ping slot is none of it",
            &[(869_525, 9, AT_GPS)],
            unlearnt,
        ),
        (
            "not told when: the usual frequency",
            &[
                (868_500, 7, None),
                (869_525, 9, None),
                (868_500, 7, None),
                (868_500, 7, None),
            ],
            downlink(869_525, 9, true),
        ),
        (
            "not told when: the frequency that comes most",
            &[(868_100, 7, None), (869_000, 9, None), (869_000, 9, None)],
            downlink(869_000, 9, true),
        ),
        (
            "one that is certain does away with guesses",
            &[
                (868_500, 7, None),
                (868_500, 7, None),
                (869_525, 9, AT_ONCE),
                (868_500, 7, None),
            ],
            downlink(869_525, 9, true),
        ),
    ] {
        assert_eq!(learnt_from(frames), [expected; 2], "{story}");
        assert_eq!(recalled_from(frames), [expected; 2], "{story}, recalled");
    }
}

/// ChirpStack answers in RX1 on 923.2 MHz, too: there RX1 and RX2 share a frequency.
#[test]
fn a_shared_frequency_is_no_proof() {
    let config = PacerConfig {
        region: Some(Region::As923),
        ..PacerConfig::default()
    };
    let mut pacer = Pacer::new(config);
    pacer.transmitted(at(0), DevEui::from_u64(1), &told((923_200, 10, AT_ONCE)));
    pacer.transmitted(at(1), DevEui::from_u64(1), &told((923_200, 7, AFTER)));
    let air = pacer.snapshot(at(2)).gateway(gateway());
    assert_eq!(air.downlink, downlink(923_200, 10, true));
}

fn frame() -> impl Strategy<Value = Frame> {
    let khz = prop_oneof![
        Just(869_525_u32),
        Just(868_100),
        Just(868_500),
        Just(867_900)
    ];
    let timing = prop_oneof![Just(AT_ONCE), Just(AFTER), Just(AT_GPS), Just(None)];
    (khz, 7..=12_u8, timing)
}

proptest! {
    /// Whatever comes: the last frame that was sent at once is the way, and what followed an uplink changes nothing.
    #[test]
    fn the_last_one_sent_at_once_is_the_way(frames in proptest::collection::vec(frame(), 0..60)) {
        let found = learnt_from(&frames);
        let last_at_once = frames.iter().rfind(|(.., timing)| *timing == AT_ONCE);
        if let Some((khz, spreading_factor, _)) = last_at_once {
            prop_assert_eq!(found, [downlink(*khz, *spreading_factor, true); 2]);
        }
        let without: Vec<Frame> = frames.into_iter().filter(|(.., timing)| *timing != AFTER).collect();
        prop_assert_eq!(found, learnt_from(&without));
    }
}
