//! When an attempt may begin, how long it may take, and when the next one comes.

use std::time::Duration;

use downbeat_core::device::{Admission, Effect, Event, Policy, Priority, Request};
use downbeat_core::id::GatewayId;
use downbeat_core::network::{DropReason, EnqueueFailure, NetworkEvent, Reception, Uplink};
use downbeat_core::radio::{DeviceClass, Modulation};

use crate::support::{
    BLUE, FIRST, GREEN, RED, Story, alive, ask, dropped, enqueued, failed, instant, joined, light,
    queue, report, txack, uplink,
};

#[test]
fn a_silent_lamp_is_tried_four_times_at_growing_intervals_then_given_up() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    for (attempt, least, most) in [(2, 9.0, 11.0), (3, 18.0, 22.0), (4, 36.0, 44.0)] {
        let second = lamp.next_wake().unwrap();
        let until = {
            let mut copy = lamp.device.clone();
            let _ = copy.step(instant(second), Event::Elapsed, &lamp.gateways);
            copy.next_wake().unwrap()
        };
        let pause = until.since(instant(second)).as_secs_f64();
        assert!(
            (least..=most).contains(&pause),
            "{pause} s before attempt {attempt}"
        );
        lamp.wakes("A missed: not_confirmed, A waits: not_confirmed");
        let second = lamp.wakes("ask turn");
        lamp.at(second, Event::TurnGranted, &format!("enqueue {attempt}"));
        lamp.at(second, enqueued(attempt), "A enqueued");
        lamp.at(second + 1.0, txack(attempt), "A transmitted, end turn");
    }
    lamp.wakes("A missed: not_confirmed, A unverified: not_confirmed");
    assert!(lamp.device.is_idle());
}

#[test]
fn retries_come_after_what_somebody_waits_for() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.wakes_any();
    let second = lamp.next_wake().unwrap();
    let effects = lamp
        .device
        .step(instant(second), Event::Elapsed, &lamp.gateways);
    assert_eq!(effects, [Effect::AskTurn(Priority::Retry)]);
}

#[test]
fn a_new_command_does_not_wait_at_the_place_of_a_retry() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.wakes_any();
    lamp.wakes("ask turn");
    lamp.at(
        52.5,
        ask(light('B', GREEN)),
        "A superseded: newer_command, B accepted, ask turn",
    );
}

#[test]
fn an_error_of_chirpstack_is_tried_again_after_5_10_and_15_seconds_then_failed() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    let mut second = 10.0;
    for (attempt, pause) in [(1, 5.0), (2, 10.0), (3, 15.0)] {
        lamp.at(second, Event::TurnGranted, &format!("enqueue {attempt}"));
        let error = EnqueueFailure::Refused("INTERNAL".to_owned());
        let _ = lamp
            .device
            .step(instant(second), failed(attempt, error), &lamp.gateways);
        let next = lamp.wakes("ask turn");
        let waited: f64 = next - second;
        assert!((pause * 0.9..=pause * 1.1).contains(&waited), "{waited} s");
        second = next;
    }
    lamp.at(second, Event::TurnGranted, "enqueue 4");
    lamp.at(
        second,
        failed(4, EnqueueFailure::UnknownDevice),
        "A failed: unknown_device, end turn",
    );
}

#[test]
fn a_request_that_is_wrong_is_not_repeated() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.0, Event::TurnGranted, "enqueue 1");
    lamp.at(
        10.1,
        failed(1, EnqueueFailure::Invalid("fPort".to_owned())),
        "A failed: server_error, end turn",
    );
}

#[test]
fn a_server_that_is_not_there_costs_no_attempt() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    for attempt in 1..=20 {
        let second = 10.0 + f64::from(attempt);
        lamp.at(second, Event::TurnGranted, &format!("enqueue {attempt}"));
        let _ = lamp.device.step(
            instant(second),
            failed(attempt, EnqueueFailure::Unavailable),
            &lamp.gateways,
        );
        let _ = lamp.wakes("ask turn");
    }
    assert_eq!(lamp.device.unfinished().next().unwrap().attempts, 0);
}

#[test]
fn without_a_gateway_it_waits_ten_seconds_longer_each_time_and_spends_no_attempt() {
    let mut lamp = Story::new();
    lamp.gateways = alive(&[]);
    lamp.at(
        10.0,
        ask(light('A', RED)),
        "A accepted, A waits: no_gateway until 20, ask turn",
    );
    assert_eq!(lamp.wakes(""), 11.0);
    assert_eq!(lamp.wakes(""), 20.0);
    assert_eq!(lamp.wakes(""), 40.0);
    assert_eq!(lamp.wakes(""), 70.0);
    lamp.gateways = alive(&[1]);
    lamp.at(75.0, Event::GatewaysChanged, "ask turn");
    assert_eq!(lamp.device.unfinished().next().unwrap().attempts, 0);
}

#[test]
fn only_a_gateway_that_heard_the_device_counts() {
    let mut lamp = Story::new();
    lamp.gateways = alive(&[2, 3]);
    lamp.at(
        10.0,
        ask(light('A', RED)),
        "A accepted, A waits: no_gateway until 20, ask turn",
    );
    let heard_by_another = Uplink {
        receptions: vec![Reception {
            gateway_id: GatewayId::from_u64(2),
            rssi_dbm: -90,
            snr_db: 3.0,
        }],
        ..uplink(FIRST, 11, 4, GREEN)
    };
    lamp.at(
        15.0,
        Event::Network(NetworkEvent::Heard(heard_by_another)),
        "ask turn",
    );
}

#[test]
fn the_window_follows_the_data_rate() {
    for (spreading_factor, seconds) in [(7, 30.0), (9, 36.5), (12, 207.6)] {
        let mut lamp = Story::new();
        let slow = Uplink {
            modulation: Some(Modulation::lora_125(spreading_factor)),
            ..uplink(FIRST, 11, 4, GREEN)
        };
        lamp.at(5.0, Event::Network(NetworkEvent::Heard(slow)), "");
        lamp.transmit(10.0, 'A', light('A', RED), 1);
        let window = lamp.next_wake().unwrap() - 11.0;
        assert!(
            (window - seconds).abs() < 1.0,
            "SF{spreading_factor}: {window}"
        );
    }
}

#[test]
fn class_a_is_measured_in_its_uplink_interval() {
    let policy = Policy {
        uplink_interval: Duration::from_mins(10),
        ..Policy::default()
    };
    let mut lamp = Story::of_unknown(policy);
    let class_a = |f_cnt, count, light| {
        Event::Network(NetworkEvent::Heard(Uplink {
            class: Some(DeviceClass::A),
            ..uplink(FIRST, f_cnt, count, light)
        }))
    };
    lamp.at(0.0, class_a(10, 4, GREEN), "");
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.0, Event::TurnGranted, "enqueue 1");
    // An item that waits for the device's next uplink stands in nobody's way.
    lamp.at(10.1, enqueued(1), "A enqueued, end turn");
    assert_eq!(lamp.next_wake(), Some(10.0 + 30.0 * 60.0 + 6.5));
    lamp.at(600.0, class_a(11, 4, GREEN), "");
    lamp.at(600.5, txack(1), "A transmitted");
    assert_eq!(lamp.next_wake(), Some(600.5 + 20.0 * 60.0));
    lamp.at(1200.0, class_a(12, 5, RED), "A verified 4>5");
}

#[test]
fn the_next_attempt_waits_for_its_turn_and_shows_a_long_wait() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    assert_eq!(lamp.wakes("A waits: paced"), 11.0);
    assert_eq!(lamp.next_wake(), Some(instant_of_a_day_after(10.0)));
    lamp.at(60.0, Event::TurnGranted, "enqueue 1");
}

#[test]
fn a_turn_that_is_not_wanted_any_more_is_given_back() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(11.0, joined(2), "A waits: before_first_uplink, end turn");
    lamp.at(11.0, Event::TurnGranted, "end turn");
}

/// ChirpStack tells late of a gateway that is back; an item in its queue is tried every five seconds.
#[test]
fn a_scout_finds_out_whether_a_gateway_is_back_and_is_no_attempt() {
    let mut lamp = Story::new();
    lamp.gateways = alive(&[]);
    lamp.at(
        10.0,
        ask(light('A', RED)),
        "A accepted, A waits: no_gateway until 20, ask turn",
    );
    assert!(lamp.asks().is_scout);
    lamp.at(10.0, Event::TurnGranted, "enqueue 1");
    lamp.at(10.1, enqueued(1), "A enqueued");
    lamp.at(
        31.0,
        dropped(1, DropReason::Expired),
        "A missed: not_transmitted, end turn, A waits: no_gateway until 51",
    );
    assert_eq!(lamp.device.unfinished().next().unwrap().attempts, 0);
    // The next one no sooner than half a minute after the first, at a look that is due.
    assert_eq!(lamp.wakes("ask turn"), 51.0);
    lamp.at(51.0, Event::TurnGranted, "enqueue 2");
    lamp.at(51.1, enqueued(2), "A enqueued");
    lamp.at(52.0, txack(2), "A transmitted, end turn");
    assert_eq!(lamp.device.unfinished().next().unwrap().attempts, 1);
}

/// A turn that is given for an attempt is not one for finding out: of those there are few.
#[test]
fn gateways_that_go_with_the_turn_make_no_scout_of_everybody() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.gateways = alive(&[]);
    lamp.at(
        11.0,
        Event::TurnGranted,
        "A waits: no_gateway until 21, end turn",
    );
    lamp.at(12.0, Event::GatewaysChanged, "ask turn");
    assert!(lamp.asks().is_scout);
}

#[test]
fn an_uplink_in_the_backoff_is_the_best_moment_for_the_next_attempt() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.wakes_any();
    lamp.at(42.0, report(11, 4, GREEN), "ask turn");
}

#[test]
fn while_the_server_is_away_an_uplink_hurries_nothing() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.0, Event::TurnGranted, "enqueue 1");
    lamp.at(
        10.5,
        failed(1, EnqueueFailure::Unavailable),
        "end turn, A waits: server_unavailable until 11",
    );
    lamp.at(11.0, report(11, 4, GREEN), "");
}

#[test]
fn one_command_at_a_time_and_raw_ones_in_their_order() {
    let mut lamp = Story::new();
    let raw = crate::support::raw;
    lamp.transmit(10.0, 'A', raw('A', RED), 1);
    lamp.at(11.0, ask(raw('B', GREEN)), "B accepted");
    lamp.at(11.0, ask(raw('C', BLUE)), "C accepted");
    lamp.at(13.0, report(11, 5, RED), "A verified 4>5, ask turn");
    lamp.at(13.0, Event::TurnGranted, "enqueue 2");
    lamp.at(13.0, enqueued(2), "B enqueued");
    lamp.at(14.0, txack(2), "B transmitted, end turn");
    lamp.at(16.0, report(12, 6, GREEN), "B verified 5>6, ask turn");
}

#[test]
fn as_many_wait_as_may_and_no_more() {
    let policy = Policy {
        waiting_max: 2,
        ..Policy::default()
    };
    let mut lamp = Story::with(policy);
    let raw = crate::support::raw;
    lamp.transmit(10.0, 'A', raw('A', RED), 1);
    lamp.at(11.0, ask(raw('B', RED)), "B accepted");
    assert_eq!(lamp.device.admission(), Admission::Yes);
    lamp.at(11.0, ask(raw('C', RED)), "C accepted");
    assert_eq!(lamp.device.admission(), Admission::Full);
    lamp.at(11.0, ask(raw('D', RED)), "");
    assert_eq!(lamp.device.unfinished().count(), 3);
}

#[test]
fn the_same_request_twice_is_one_downlink() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.1, ask(light('A', RED)), "");
}

#[test]
fn a_caller_may_want_fewer_attempts() {
    let mut lamp = Story::new();
    let once = Request {
        attempts_max: Some(1),
        ..light('A', RED)
    };
    lamp.transmit(10.0, 'A', once, 1);
    assert_eq!(
        lamp.wakes("A missed: not_confirmed, A unverified: not_confirmed"),
        41.0
    );
}

#[test]
fn an_item_expires_before_the_window_does() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    let effects = lamp
        .device
        .step(instant(10.0), Event::TurnGranted, &lamp.gateways);
    let [Effect::Enqueue(enqueue)] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(enqueue.expires_at, instant(30.0));
    assert!(!enqueue.confirmed);
}

#[test]
fn no_wake_is_asked_for_that_was_looked_at_already() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.wakes_any();
    let second = lamp.wakes("ask turn");
    // Only the turn is missing: the backoff has passed and is not named again.
    assert_eq!(lamp.next_wake(), Some(second + 1.0));
    lamp.wakes("A waits: paced");
    assert_eq!(lamp.next_wake(), Some(instant_of_a_day_after(10.0)));
    lamp.at(second + 5.0, queue(&[], 0), "");
}

fn instant_of_a_day_after(second: f64) -> f64 {
    second + 86_400.0
}

impl Story {
    /// Woken, whatever comes of it.
    fn wakes_any(&mut self) {
        let second = self.next_wake().expect("it wants to be woken");
        let _ = self
            .device
            .step(instant(second), Event::Elapsed, &self.gateways);
    }
}
