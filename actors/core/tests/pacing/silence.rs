//! What is sent without a word: ChirpStack hands an item over every five seconds until a tx-ack comes.

use std::time::Duration;

use downbeat_core::device::Priority;
use downbeat_core::network::Reception;
use downbeat_core::pacer::{Ask, Pacer, PacerConfig, SentLately, SilentGateway, SilentItem};
use downbeat_core::radio::Direction;
use downbeat_core::random::Random;
use proptest::prelude::*;

use crate::promises::{HOUR, SF12, ask, at, device, gateway, taken_by};

/// Between two tries of ChirpStack's, in ms (chirpstack-observed.md §3).
const TRIES_MS: u64 = 5_030;

fn received_by(number: u64) -> Reception {
    Reception {
        gateway_id: gateway(number),
        rssi_dbm: -60,
        snr_db: 9.0,
    }
}

/// Any device is heard by the gateway.
fn hear(pacer: &mut Pacer, ms: u64, number: u64) {
    pacer.heard(at(ms), device(999), &[received_by(number)], None);
}

/// How many frames of this size count as sent by a gateway.
fn frames_charged(pacer: &mut Pacer, ms: u64, number: u64) -> u128 {
    let air = pacer.snapshot(at(ms)).gateway(gateway(number));
    let used = air.sending_band().map(|band| band.used).unwrap_or_default();
    used.as_micros() / SF12.time_on_air(5, Direction::Down).as_micros()
}

fn begin(asked: Ask) -> Pacer {
    let mut pacer = Pacer::new(PacerConfig::default());
    let id = asked.device;
    pacer.ask(at(0), asked);
    assert_eq!(pacer.grant(at(0)), [id]);
    pacer.enqueued(at(0), id);
    pacer
}

/// Each with the second in which the item ends, those in which the first gateway hears somebody, and the frames that count as
/// sent by it and by the second, which is never heard.
#[test]
fn tries_count_for_gateways_that_give_signs() {
    let scout = Ask {
        is_scout: true,
        ..ask(1, Priority::Interactive, &[0, 1])
    };
    let usual = || ask(1, Priority::Interactive, &[0, 1]);
    for (name, asked, end, heard, first, second) in [
        ("nobody is heard", usual(), 21, vec![], 1, 1),
        ("one is heard", usual(), 21, vec![3, 12], 5, 1),
        ("one is heard before alone", usual(), 41, vec![3], 5, 1),
        (
            "no scout's gateway is heard",
            scout.clone(),
            21,
            vec![],
            0,
            0,
        ),
        ("a scout's gateway is heard", scout, 21, vec![3, 12], 5, 0),
    ] {
        let mut pacer = begin(asked);
        for second in 0..=end {
            if heard.contains(&second) {
                hear(&mut pacer, second * 1_000, 0);
            }
            assert_eq!(pacer.grant(at(second * 1_000)), []);
        }
        pacer.end(at(end * 1_000), device(1));
        let charged = [0, 1].map(|number| frames_charged(&mut pacer, end * 1_000, number));
        assert_eq!(charged, [first, second], "{name}");
    }
}

/// The third try is told: two went before.
#[test]
fn a_late_tx_ack_tells_of_tries_before_it() {
    let mut pacer = begin(ask(1, Priority::Interactive, &[0, 1]));
    hear(&mut pacer, 4_000, 0);
    pacer.transmitted(at(10_400), device(1), &taken_by(0));
    pacer.end(at(10_500), device(1));
    let charged = [0, 1].map(|number| frames_charged(&mut pacer, 30_000, number));
    assert_eq!(charged, [3, 0]);
}

/// What a gateway refused it did not send; what came after it did, if nothing is told.
#[test]
fn a_try_that_was_refused_costs_nothing() {
    for (end, frames) in [(4_000, 0), (9_000, 1), (14_000, 2)] {
        let mut pacer = begin(ask(1, Priority::Interactive, &[0]));
        hear(&mut pacer, 100, 0);
        for _ in 0..2 {
            pacer.refused(at(500), device(1), "TX_FREQ");
        }
        pacer.end(at(end), device(1));
        assert_eq!(frames_charged(&mut pacer, end, 0), frames, "{end} ms");
    }
}

/// Gateways that went dark before anything was sent: five seconds after the first try few go on to find out, and what they
/// try costs nothing. The first sign of any of the gateways ends that.
#[test]
fn a_try_without_a_word_leaves_few_to_find_out() {
    let mut pacer = Pacer::new(PacerConfig::default());
    hear(&mut pacer, 0, 0);
    for number in 0..100 {
        pacer.ask(at(0), ask(number, Priority::Interactive, &[0, 1]));
    }
    let (mut open, mut granted) = (Vec::new(), Vec::new());
    for ms in (0..120_000).step_by(200) {
        open.retain(|(device, ends)| {
            if ms >= *ends {
                pacer.end(at(ms), *device);
            }
            ms < *ends
        });
        for device in pacer.grant(at(ms)) {
            pacer.enqueued(at(ms), device);
            open.push((device, ms + 20_000));
            granted.push(ms);
        }
    }
    // What was tried in the instant of the last sign leaves no doubt; what was tried after it does.
    let first = granted.iter().find(|ms| **ms > 0).unwrap();
    let before = granted.iter().filter(|ms| **ms < first + 5_000).count();
    // Three at a time, twenty seconds each.
    assert!(granted.len() - before <= 3 * 6, "{granted:?}");
    let charged = frames_charged(&mut pacer, 120_000, 1);
    assert!(charged <= before as u128, "{charged} of {before}");
    let since = |pacer: &mut Pacer, ms: u64| {
        let times = (ms..ms + 6_000).step_by(100);
        let granted = times.map(|ms| {
            let granted = pacer.grant(at(ms));
            for device in &granted {
                pacer.enqueued(at(ms), *device);
                pacer.transmitted(at(ms), *device, &taken_by(1));
                pacer.end(at(ms), *device);
            }
            granted.len()
        });
        granted.sum::<usize>()
    };
    let in_the_dark = granted.iter().filter(|ms| **ms >= 114_000).count();
    hear(&mut pacer, 120_000, 1);
    assert!(since(&mut pacer, 120_000) > in_the_dark);
}

/// What its device told of an item counts after a restart as it did before: each with the seconds from when until when it was
/// tried, what is known of it, when the first gateway gave its last sign, and the frames of both.
#[test]
fn what_was_sent_without_a_word_counts_after_a_restart() {
    for (name, until, is_told, refused, is_scout, seen, expected) in [
        ("nobody was heard", 21, false, 0, false, None, [1, 1]),
        ("one was heard", 21, false, 0, false, Some(12), [5, 1]),
        (
            "one was heard before alone",
            41,
            false,
            0,
            false,
            Some(3),
            [5, 1],
        ),
        (
            "no scout's gateway was heard",
            21,
            false,
            0,
            true,
            None,
            [0, 0],
        ),
        (
            "a scout's gateway was heard",
            21,
            false,
            0,
            true,
            Some(12),
            [5, 0],
        ),
        (
            "a tx-ack told of the third try",
            10,
            true,
            0,
            false,
            Some(4),
            [2, 0],
        ),
        ("two were refused", 14, false, 2, false, Some(14), [1, 1]),
    ] {
        let mut pacer = Pacer::new(PacerConfig::default());
        let gateways = [seen, None].into_iter().zip(0..);
        let item = SilentItem {
            from: at(0),
            until: at(until * 1_000),
            is_told,
            refused,
            is_scout,
            payload_len: 5,
            gateways: gateways
                .map(|(seen, number)| SilentGateway {
                    gateway_id: gateway(number),
                    seen_at: seen.map(|second| at(second * 1_000)),
                })
                .collect(),
        };
        let sent = SentLately {
            items: vec![item],
            ..SentLately::default()
        };
        pacer.recall(at(100_000), sent);
        let charged = [0, 1].map(|number| frames_charged(&mut pacer, 100_000, number));
        assert_eq!(charged, expected, "{name}");
        // An hour after its last try none of it counts any more.
        let over = (until + 3_620) * 1_000;
        assert_eq!(frames_charged(&mut pacer, over, 0), 0, "{name}");
    }
}

/// It was tried at 0, 5 and 10 s before the restart; what signs there were then is not known.
#[test]
fn the_tries_of_an_item_from_before_a_restart_count() {
    let mut pacer = Pacer::new(PacerConfig::default());
    pacer.recall(at(12_000), SentLately::default());
    let ask = ask(1, Priority::Interactive, &[0]);
    pacer.hold(at(12_000), ask, Some((at(0), at(12_000))));
    assert_eq!(frames_charged(&mut pacer, 12_000, 0), 2);
    pacer.end(at(12_500), device(1));
    assert_eq!(frames_charged(&mut pacer, 12_500, 0), 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// One gateway whose tx-acks are lost, and which hears something now and then.
    #[test]
    fn a_gateway_that_is_heard_keeps_its_budget_whatever_tx_acks_are_lost(
        loss in 0.0..=1.0_f64,
        quiet_ms in 1_000..14_000_u64,
        seed in any::<u64>(),
    ) {
        let mut pacer = Pacer::new(PacerConfig::default());
        let mut random = Random::from_seed(seed);
        let airtime = SF12.time_on_air(5, Direction::Down);
        let (mut sent, mut open) = (Duration::ZERO, Vec::new());
        let mut heard_at = 0;
        for number in 0..400 {
            let asked = Ask {
                is_scout: number % 3 == 0,
                ..ask(number, Priority::Interactive, &[0])
            };
            pacer.ask(at(0), asked);
        }
        let hour_ms = u64::try_from(HOUR.as_millis()).expect("an hour");
        for ms in (0..hour_ms).step_by(250) {
            if ms >= heard_at {
                hear(&mut pacer, ms, 0);
                heard_at = ms + 500 + random.below(quiet_ms);
            }
            let mut still_open = Vec::new();
            for (device, next_try, expires_at) in open {
                if ms < next_try {
                    still_open.push((device, next_try, expires_at));
                } else if ms >= expires_at {
                    pacer.end(at(ms), device);
                } else {
                    sent += airtime;
                    if random.chance(loss) {
                        still_open.push((device, next_try + TRIES_MS, expires_at));
                    } else {
                        pacer.transmitted(at(ms), device, &taken_by(0));
                        pacer.end(at(ms), device);
                    }
                }
            }
            open = still_open;
            for device in pacer.grant(at(ms)) {
                pacer.enqueued(at(ms), device);
                open.push((device, ms + random.below(1_000), ms + 20_000));
            }
        }
        // What is under way when the budget is full may be handed over a few times more.
        let most = HOUR.mul_f64(0.1) + 40 * airtime;
        prop_assert!(sent <= most, "{sent:?}");
    }
}
