//! What the pacer promises for any sequence of events.

use std::collections::BTreeMap;
use std::time::Duration;

use downbeat_core::device::Priority;
use downbeat_core::id::{DevEui, GatewayId, TenantId};
use downbeat_core::network::{Timing, Transmitted};
use downbeat_core::pacer::{Ask, Hearing, Pacer, PacerConfig, SentBefore, SentLately};
use downbeat_core::radio::{Direction, Modulation};
use downbeat_core::region::Region;
use downbeat_core::time::Timestamp;
use proptest::prelude::*;

const RX2_HZ: u32 = 869_525_000;
pub(crate) const SF12: Modulation = Modulation::lora_125(12);
/// The floor of a class that nobody waits for: the frame that it may always have must fit in.
const DUTY_CYCLE: f64 = 0.01;
pub(crate) const HOUR: Duration = Duration::from_hours(1);

pub(crate) fn device(number: u64) -> DevEui {
    DevEui::from_u64(number)
}

pub(crate) fn gateway(number: u64) -> GatewayId {
    GatewayId::from_u64(0xa000 + number)
}

fn tenant(number: u128) -> TenantId {
    TenantId::from_uuid(uuid::Uuid::from_u128(number + 1))
}

pub(crate) fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + i64::try_from(ms).unwrap())
}

fn heard_by(gateways: &[u64]) -> Hearing {
    let ids: Vec<GatewayId> = gateways.iter().copied().map(gateway).collect();
    Hearing {
        candidates: ids.clone(),
        ears: ids,
    }
}

pub(crate) fn ask(number: u64, priority: Priority, gateways: &[u64]) -> Ask {
    Ask {
        device: device(number),
        tenant: tenant(0),
        priority,
        payload_len: 5,
        hearing: heard_by(gateways),
        uplink: Modulation::lora_125(7),
        is_class_a: false,
        is_scout: false,
    }
}

pub(crate) fn taken_by(number: u64) -> Transmitted {
    Transmitted {
        queue_item_id: None,
        f_cnt_down: 0,
        gateway_id: Some(gateway(number)),
        modulation: Some(SF12),
        frequency_hz: Some(RX2_HZ),
        timing: Some(Timing::Immediately),
    }
}

/// Grants until `count` were granted, or nothing goes on for hours. Each frame goes out without a word, a second after
/// its grant.
fn serve(pacer: &mut Pacer, count: usize) -> Vec<(u64, DevEui)> {
    let (mut served, mut open) = (Vec::new(), Vec::new());
    let mut now = 0;
    while served.len() < count && now < 3 * 3_600_000 {
        open.retain(|(granted_at, device)| {
            let is_out = now >= granted_at + 1_000;
            if is_out {
                pacer.end(at(now), *device);
            }
            !is_out
        });
        for device in pacer.grant(at(now)) {
            pacer.enqueued(at(now), device);
            served.push((now, device));
            open.push((now, device));
        }
        now += 200;
    }
    served
}

#[derive(Debug, Clone)]
enum Happening {
    Ask(u64, u8, Vec<u64>),
    Hold(u64, Vec<u64>),
    /// The frame goes out by one of its gateways; the tx-ack comes or is lost.
    Sent {
        which: usize,
        by: usize,
        told: bool,
    },
    Dropped(usize),
    Refused(usize, u8),
    Heard(u64),
    Passes(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let gateways = || proptest::sample::subsequence(vec![0, 1, 2_u64], 1..=3);
    prop_oneof![
        6 => (0..40_u64, 0..5_u8, gateways()).prop_map(|(who, class, by)| Happening::Ask(who, class, by)),
        1 => (0..40_u64, gateways()).prop_map(|(who, by)| Happening::Hold(who, by)),
        6 => (any::<usize>(), any::<usize>(), proptest::bool::weighted(0.9))
            .prop_map(|(which, by, told)| Happening::Sent { which, by, told }),
        1 => any::<usize>().prop_map(Happening::Dropped),
        1 => (any::<usize>(), 0..3_u8).prop_map(|(which, status)| Happening::Refused(which, status)),
        1 => (0..40_u64).prop_map(Happening::Heard),
        6 => prop_oneof![Just(100_u64), Just(1_000), Just(20_000), Just(600_000), 0..4_000_000_u64]
            .prop_map(Happening::Passes),
    ]
}

const CLASSES: [Priority; 5] = [
    Priority::Interactive,
    Priority::Retry,
    Priority::Initialisation,
    Priority::Bulk,
    Priority::Reconcile,
];

/// What really went out, by gateway.
#[derive(Default)]
struct Truth(BTreeMap<u64, Vec<(Timestamp, Priority, Duration)>>);

impl Truth {
    /// The most in any hour that ends with a frame.
    fn most_in_an_hour(&self, of: impl Fn(Priority) -> bool) -> Duration {
        let hours = self.0.values().flat_map(|sent| {
            sent.iter().map(|(end, _, _)| {
                let within = sent
                    .iter()
                    .filter(|(at, class, _)| at <= end && end.since(*at) < HOUR && of(*class));
                within.map(|(_, _, airtime)| *airtime).sum::<Duration>()
            })
        });
        hours.max().unwrap_or_default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// What is held from before a restart was granted then; everything else keeps to the budget, told or not.
    #[test]
    fn no_budget_is_ever_exceeded(happenings in proptest::collection::vec(happening(), 1..250)) {
        let config = PacerConfig {
            duty_cycle: Some(DUTY_CYCLE),
            held_max: 20,
            ..PacerConfig::default()
        };
        let mut pacer = Pacer::new(config);
        let mut truth = Truth::default();
        let mut asked: BTreeMap<DevEui, (Priority, Vec<u64>)> = BTreeMap::new();
        let mut held: Vec<(DevEui, Priority, Vec<u64>)> = Vec::new();
        let mut now = 0;
        let frame = SF12.time_on_air(5, Direction::Down);
        for happening in happenings {
            match happening {
                Happening::Ask(who, class, by) => {
                    let class = CLASSES[usize::from(class)];
                    held.retain(|(device, ..)| *device != self::device(who));
                    asked.insert(self::device(who), (class, by.clone()));
                    pacer.ask(at(now), ask(who, class, &by));
                }
                Happening::Hold(who, by) => {
                    // Its item was granted before, and never went out.
                    asked.remove(&self::device(who));
                    held.retain(|(device, ..)| *device != self::device(who));
                    let ask = ask(who, Priority::Interactive, &by);
                    pacer.hold(at(now), ask, Some((at(now), at(now))));
                }
                Happening::Sent { which, by, told } if !held.is_empty() => {
                    let (device, class, gateways) = held.remove(which % held.len());
                    let by = gateways[by % gateways.len()];
                    truth.0.entry(by).or_default().push((at(now), class, frame));
                    if told {
                        pacer.transmitted(at(now), device, &taken_by(by));
                    }
                    pacer.end(at(now), device);
                }
                Happening::Dropped(which) if !held.is_empty() => {
                    let (device, ..) = held.remove(which % held.len());
                    pacer.not_enqueued(device);
                    pacer.end(at(now), device);
                }
                Happening::Refused(which, status) if !held.is_empty() => {
                    let (device, ..) = held.remove(which % held.len());
                    let status = ["DUTY_CYCLE_OVERFLOW", "TOO_LATE", "TX_FREQ"][usize::from(status)];
                    pacer.refused(at(now), device, status);
                    pacer.end(at(now), device);
                }
                Happening::Heard(who) => pacer.heard(at(now), self::device(who), &[], None),
                Happening::Passes(ms) => now += ms,
                Happening::Sent { .. } | Happening::Dropped(_) | Happening::Refused(..) => {}
            }
            for device in pacer.grant(at(now)) {
                pacer.enqueued(at(now), device);
                let (class, by) = asked.remove(&device).expect("it asked");
                held.push((device, class, by));
            }
            prop_assert!(pacer.counts().0 <= 20);
        }
        let budget = HOUR.mul_f64(DUTY_CYCLE);
        let all = truth.most_in_an_hour(|_| true);
        prop_assert!(all <= budget, "{all:?} of {budget:?}");
        let bulk = truth.most_in_an_hour(|class| class == Priority::Bulk);
        prop_assert!(bulk <= budget.mul_f64(0.8), "{bulk:?} of {budget:?}");
    }

    /// Those that listen after their uplinks alone are not held up by the air: only the order is at work.
    #[test]
    fn tenants_get_the_same_to_within_one_frame(lens in proptest::collection::vec((0..3_u128, 1..50_usize), 2..150)) {
        let config = PacerConfig {
            region: Some(Region::Us915),
            held_max: 1,
            ..PacerConfig::default()
        };
        let mut pacer = Pacer::new(config);
        let mut left: BTreeMap<u128, usize> = BTreeMap::new();
        let mut asks = BTreeMap::new();
        for (number, (of, len)) in (0..).zip(lens) {
            let wanted = Ask {
                tenant: tenant(of),
                payload_len: len,
                is_class_a: true,
                ..ask(number, Priority::Bulk, &[0])
            };
            *left.entry(of).or_default() += 1;
            asks.insert(wanted.device, (of, Region::Us915.rx2_modulation().time_on_air(len, Direction::Down)));
            pacer.ask(at(0), wanted);
        }
        let longest = asks.values().map(|(_, airtime)| *airtime).max().unwrap();
        let mut served: BTreeMap<u128, Duration> = left.keys().map(|of| (*of, Duration::ZERO)).collect();
        for second in 0.. {
            let granted = pacer.grant(at(second * 1_000));
            let Some(device) = granted.first() else { break };
            let (of, airtime) = asks[device];
            *served.get_mut(&of).unwrap() += airtime;
            *left.get_mut(&of).unwrap() -= 1;
            pacer.end(at(second * 1_000), *device);
            if left.values().all(|left| *left > 0) {
                let (least, most) = (served.values().min().unwrap(), served.values().max().unwrap());
                prop_assert!(*most <= *least + longest, "{served:?}");
            } else {
                break;
            }
        }
    }

    #[test]
    fn never_more_than_the_limit_and_nobody_is_forgotten(steps in proptest::collection::vec((0..3_u8, 0..20_u64), 1..200)) {
        let mut pacer = Pacer::new(PacerConfig { region: Some(Region::Us915), held_max: 5, ..PacerConfig::default() });
        let (mut wanting, mut holding) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
        for (number, (kind, who)) in (0..).zip(steps) {
            holding.remove(&who);
            if kind == 0 {
                let wanted = Ask { is_class_a: true, ..ask(who, Priority::Interactive, &[0]) };
                pacer.ask(at(number), wanted);
                wanting.insert(who);
            } else {
                pacer.end(at(number), device(who));
                wanting.remove(&who);
            }
            for granted in pacer.grant(at(number)) {
                prop_assert!(wanting.remove(&granted.as_u64()));
                holding.insert(granted.as_u64());
            }
            prop_assert!(holding.len() <= 5);
            prop_assert!(holding.len() == 5 || wanting.is_empty());
            prop_assert_eq!(pacer.counts(), (holding.len(), wanting.len()));
        }
    }
}

/// A command that nobody waits for is not shut out by those that somebody waits for, however many there are.
#[test]
fn nobody_is_shut_out() {
    let config = PacerConfig {
        region: Some(Region::Us915),
        held_max: 1,
        ..PacerConfig::default()
    };
    let mut pacer = Pacer::new(config);
    let patient = [
        Priority::Initialisation,
        Priority::Bulk,
        Priority::Reconcile,
    ];
    for (number, class) in (0..).zip(patient) {
        pacer.ask(
            at(0),
            Ask {
                is_class_a: true,
                ..ask(number, class, &[0])
            },
        );
    }
    let mut served = Vec::new();
    for second in 0..200 {
        let urgent = Ask {
            is_class_a: true,
            ..ask(1_000 + second, Priority::Interactive, &[0])
        };
        pacer.ask(at(second * 1_000), urgent);
        for device in pacer.grant(at(second * 1_000)) {
            served.push(device);
            pacer.end(at(second * 1_000), device);
        }
    }
    assert!(
        (0..3).all(|number| served.contains(&device(number))),
        "{served:?}"
    );
}

#[test]
fn who_is_waited_for_passes_those_who_are_not() {
    let mut pacer = Pacer::new(PacerConfig::default());
    for number in 0..500 {
        pacer.ask(at(0), ask(number, Priority::Bulk, &[0, 1, 2]));
    }
    let first = pacer.grant(at(0));
    assert!(first.len() <= 2, "{first:?}");
    pacer.ask(at(50), ask(1_000, Priority::Interactive, &[0, 1, 2]));
    assert_eq!(pacer.grant(at(50)), [device(1_000)]);
}

/// The tx-acks of a run come one by one, and only all of them say who sends what.
#[test]
fn nothing_is_granted_before_a_run_has_told_all() {
    let mut pacer = Pacer::new(PacerConfig::default());
    for number in 0..20 {
        pacer.ask(at(0), ask(number, Priority::Interactive, &[0, 1, 2]));
    }
    let granted = pacer.grant(at(0));
    assert_eq!(granted.len(), 5);
    for (number, device) in (0..).zip(granted) {
        pacer.enqueued(at(0), device);
        pacer.transmitted(at(1_000 + number), device, &taken_by(number % 3));
        pacer.end(at(1_000 + number), device);
        assert_eq!(pacer.grant(at(1_000 + number)), [], "{number}");
    }
    assert_eq!(pacer.next_wake(), Some(at(1_100)));
}

/// Who finds out whether gateways are back is one of few, and silence costs no airtime: there was none to send it.
#[test]
fn scouts_are_few_and_cost_nothing_as_long_as_nobody_answers() {
    let mut pacer = Pacer::new(PacerConfig::default());
    let scout = |number, gateways: &[u64]| Ask {
        is_scout: true,
        ..ask(number, Priority::Interactive, gateways)
    };
    for number in 0..10 {
        pacer.ask(at(0), scout(number, &[0, 1]));
    }
    pacer.ask(at(0), scout(20, &[5]));
    let mut granted = Vec::new();
    for ms in (0..10_000).step_by(100) {
        for device in pacer.grant(at(ms)) {
            pacer.enqueued(at(ms), device);
            granted.push((ms, device));
        }
    }
    let expected = [
        (0, device(0)),
        (0, device(20)),
        (1_700, device(1)),
        (3_400, device(2)),
    ];
    assert_eq!(granted, expected);
    pacer.end(at(20_000), device(0));
    assert_eq!(pacer.grant(at(20_000)), [device(3)]);
    let air = pacer.snapshot(at(20_000)).gateway(gateway(0));
    assert_eq!(air.sending_band().unwrap().used, Duration::ZERO);
    // One is taken: the gateway is there, and what it sent counts.
    pacer.transmitted(at(21_000), device(1), &taken_by(0));
    let air = pacer.snapshot(at(21_000)).gateway(gateway(0));
    assert!(air.sending_band().unwrap().used > Duration::ZERO);
}

/// If it is there after all, one scout keeps a gateway busy at SF12 for a quarter of the time.
#[test]
fn where_frames_are_long_one_scouts_at_a_time() {
    for (spreading_factor, most) in [(7, 3), (9, 3), (10, 2), (12, 1)] {
        let mut pacer = Pacer::new(PacerConfig::default());
        let taken = Transmitted {
            modulation: Some(Modulation::lora_125(spreading_factor)),
            ..taken_by(0)
        };
        pacer.transmitted(at(0), device(99), &taken);
        for number in 0..4 {
            let scout = Ask {
                is_scout: true,
                ..ask(number, Priority::Interactive, &[0])
            };
            pacer.ask(at(5_000), scout);
        }
        let seconds = (5_000..15_000).step_by(1_000);
        let granted: usize = seconds.map(|ms| pacer.grant(at(ms)).len()).sum();
        assert_eq!(granted, most, "SF{spreading_factor}");
    }
}

#[test]
fn nobody_gets_a_turn_while_closed() {
    let mut pacer = Pacer::new(PacerConfig::default());
    pacer.ask(at(0), ask(1, Priority::Interactive, &[0]));
    pacer.set_closed(true);
    assert_eq!(pacer.grant(at(0)), []);
    assert_eq!(pacer.next_wake(), None);
    pacer.set_closed(false);
    assert_eq!(pacer.grant(at(0)), [device(1)]);
}

#[test]
fn a_turn_that_is_never_given_back_is_taken_back() {
    let config = PacerConfig {
        held_max: 1,
        lease: Duration::from_mins(1),
        ..PacerConfig::default()
    };
    let mut pacer = Pacer::new(config);
    pacer.hold(at(0), ask(1, Priority::Interactive, &[0]), None);
    pacer.ask(at(0), ask(2, Priority::Interactive, &[0]));
    assert_eq!(pacer.grant(at(59_999)), []);
    assert_eq!(pacer.next_wake(), Some(at(60_000)));
    assert_eq!(pacer.grant(at(60_000)), [device(2)]);
}

/// EU868's 10 % at SF12 are 272 colours of 1.319 s an hour; what was sent before a restart counts.
#[test]
fn what_was_sent_before_a_restart_counts() {
    let frame = SF12.time_on_air(16, Direction::Down);
    let frames = Duration::from_mins(6).as_micros() / frame.as_micros();
    let sent = SentBefore {
        at: at(0),
        gateway_id: gateway(0),
        modulation: Some(SF12),
        frequency_hz: Some(RX2_HZ),
        timing: Some(Timing::Immediately),
    };
    let mut pacer = Pacer::new(PacerConfig::default());
    let before = SentLately {
        frames: (0..frames).map(|_| sent).collect(),
        items: Vec::new(),
    };
    pacer.recall(at(1_000), before);
    pacer.ask(at(1_000), ask(1, Priority::Interactive, &[0]));
    assert_eq!(pacer.grant(at(1_000)), []);
    let wake = pacer
        .next_wake()
        .expect("it is given back when it is an hour old");
    assert!(wake >= at(3_600_000));
    assert_eq!(pacer.grant(wake), [device(1)]);
}

/// The gateway's own account is fuller than ours: somebody else sends by it, too.
#[test]
fn a_gateway_that_is_over_its_duty_cycle_is_left_alone_for_a_while() {
    let mut pacer = Pacer::new(PacerConfig::default());
    pacer.ask(at(0), ask(1, Priority::Interactive, &[0]));
    assert_eq!(pacer.grant(at(0)), [device(1)]);
    pacer.enqueued(at(0), device(1));
    pacer.refused(at(500), device(1), "DUTY_CYCLE_OVERFLOW");
    pacer.end(at(20_000), device(1));
    pacer.ask(at(20_000), ask(2, Priority::Interactive, &[0, 1]));
    pacer.ask(at(20_000), ask(3, Priority::Interactive, &[1]));
    assert_eq!(pacer.grant(at(20_000)), [device(3)]);
    assert_eq!(pacer.next_wake(), Some(at(60_500)));
    assert_eq!(pacer.grant(at(60_500)), [device(2)]);
    let air = pacer.snapshot(at(60_500)).gateway(gateway(0));
    assert_eq!(air.sending_band().unwrap().blocked_until, None);
}

#[test]
fn the_way_of_sending_and_the_region_are_learnt() {
    let mut pacer = Pacer::new(PacerConfig::default());
    let rx1 = Transmitted {
        modulation: Some(Modulation::lora_125(7)),
        frequency_hz: Some(868_100_000),
        timing: Some(Timing::AfterUplink),
        ..taken_by(0)
    };
    let rx2 = Transmitted {
        modulation: Some(Modulation::lora_125(9)),
        ..taken_by(0)
    };
    let in_india = Transmitted {
        modulation: Some(Modulation::lora_125(10)),
        frequency_hz: Some(866_550_000),
        ..taken_by(5)
    };
    pacer.transmitted(at(0), device(1), &rx2);
    pacer.transmitted(at(10), device(1), &rx1);
    let air = pacer.snapshot(at(20)).gateway(gateway(0));
    assert_eq!(air.downlink.modulation, Modulation::lora_125(9));
    assert_eq!(air.commands_per_hour(5), Some(2_183));
    let bands: Vec<&str> = air.bands.iter().map(|band| band.sub_band.name).collect();
    assert_eq!(bands, ["g3", "g1"]);
    pacer.transmitted(at(20), device(2), &in_india);
    let snapshot = pacer.snapshot(at(30));
    assert_eq!(snapshot.gateway(gateway(5)).region, Region::In865);
    assert_eq!(snapshot.gateway(gateway(5)).commands_per_hour(5), None);
}

/// A tenant with a share of a tenth gets no more, though nobody else wants it.
#[test]
fn a_tenants_share_is_its_bound() {
    let config = PacerConfig {
        tenant_share: 0.1,
        ..PacerConfig::default()
    };
    let mut pacer = Pacer::new(config);
    for number in 0..60 {
        pacer.ask(at(0), ask(number, Priority::Interactive, &[0]));
    }
    let served = serve(&mut pacer, 60);
    let in_the_first_hour = served.iter().filter(|(at, _)| *at < 3_600_000).count();
    assert_eq!(in_the_first_hour, 27, "36 s of 1.319 s each");
}

/// With gateways that hear while they send there is nothing to leave air for: all that ChirpStack takes is handed over.
#[test]
fn full_duplex_gateways_need_no_pauses() {
    let granted_at_once = |half_duplex: bool| {
        let mut pacer = Pacer::new(PacerConfig {
            half_duplex,
            ..PacerConfig::default()
        });
        for device in 0..100 {
            pacer.ask(at(0), ask(device, Priority::Interactive, &[0, 1]));
        }
        pacer.grant(at(0)).len()
    };
    assert_eq!(granted_at_once(false), PacerConfig::default().held_max);
    assert!(granted_at_once(true) < 10);
}
