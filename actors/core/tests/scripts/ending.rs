//! Superseded, cancelled, expired: in each phase of a downlink.

use downbeat_core::device::{Effect, Event, LastTransmission, Request};
use downbeat_core::id::GatewayId;

use crate::support::{
    BLUE, GREEN, NEAR, RED, Story, ask, cancel, dropped, enqueued, instant, light, queue, raw,
    report, txack,
};
use downbeat_core::network::DropReason;

#[test]
fn a_newer_state_takes_the_place_of_one_that_waits_for_its_turn() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(
        10.1,
        ask(light('B', BLUE)),
        "A superseded: newer_command, B accepted",
    );
    lamp.at(10.2, Event::TurnGranted, "enqueue 1");
    lamp.at(10.3, enqueued(1), "B enqueued");
}

#[test]
fn a_newer_state_waits_until_the_older_ones_item_has_gone_out() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.at(
        10.5,
        ask(light('B', BLUE)),
        "A superseded: newer_command, B accepted, B waits: behind_queue_item",
    );
    lamp.at(11.0, txack(1), "A transmitted, end turn, ask turn");
    lamp.at(11.1, Event::TurnGranted, "enqueue 2");
}

#[test]
fn or_has_expired_and_it_is_never_assumed_that_it_was_not_sent() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.at(
        10.5,
        ask(light('B', RED)),
        "A superseded: newer_command, B accepted, B waits: behind_queue_item",
    );
    lamp.at(
        31.0,
        dropped(1, DropReason::Expired),
        "A missed: not_transmitted, end turn, ask turn",
    );
    lamp.at(31.0, Event::TurnGranted, "enqueue 2");
    lamp.at(31.0, enqueued(2), "B enqueued");
    lamp.at(31.5, txack(2), "B transmitted, end turn");
    // The first one's tx-ack may have been lost: what it explains proves nothing.
    lamp.at(33.0, report(11, 5, RED), "");
}

#[test]
fn a_newer_state_while_the_call_is_under_way_waits_for_its_answer() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.0, Event::TurnGranted, "enqueue 1");
    lamp.at(
        10.1,
        ask(light('B', BLUE)),
        "A superseded: newer_command, B accepted, B waits: behind_queue_item",
    );
    lamp.at(10.2, enqueued(1), "A enqueued");
    lamp.at(11.0, txack(1), "A transmitted, end turn, ask turn");
}

#[test]
fn a_newer_state_follows_a_transmitted_one_at_once() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(
        12.0,
        ask(light('B', BLUE)),
        "A superseded: newer_command, B accepted, ask turn",
    );
}

#[test]
fn a_newer_state_ends_the_backoff_of_the_older() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.wakes("A missed: not_confirmed, A waits: not_confirmed");
    lamp.at(
        42.0,
        ask(light('B', BLUE)),
        "A superseded: newer_command, B accepted, ask turn",
    );
}

#[test]
fn of_many_in_quick_succession_only_the_newest_is_sent() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.at(
        10.1,
        ask(light('B', BLUE)),
        "A superseded: newer_command, B accepted, B waits: behind_queue_item",
    );
    lamp.at(
        10.2,
        ask(light('C', GREEN)),
        "B superseded: newer_command, C accepted, C waits: behind_queue_item",
    );
    lamp.at(
        10.3,
        ask(light('D', RED)),
        "C superseded: newer_command, D accepted, D waits: behind_queue_item",
    );
    lamp.at(11.0, txack(1), "A transmitted, end turn, ask turn");
    assert_eq!(lamp.device.desired().unwrap().light, RED);
}

#[test]
fn raw_payloads_are_not_superseded_and_keep_their_order() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', raw('A', RED), 1);
    lamp.at(11.1, ask(raw('B', GREEN)), "B accepted");
    lamp.at(11.2, ask(light('C', BLUE)), "C accepted");
    lamp.at(
        11.3,
        ask(light('D', RED)),
        "C superseded: newer_command, D accepted",
    );
    lamp.at(13.0, report(11, 5, RED), "A verified 4>5, ask turn");
    lamp.at(13.0, Event::TurnGranted, "enqueue 2");
    lamp.at(13.0, enqueued(2), "B enqueued");
}

#[test]
fn cancelled_while_it_waits_or_is_under_way() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.1, cancel('A'), "A cancelled, end turn");
    lamp.at(10.2, cancel('A'), "");

    lamp.at(11.0, ask(raw('B', RED)), "B accepted, ask turn");
    lamp.at(11.1, ask(raw('C', RED)), "C accepted");
    lamp.at(11.2, cancel('C'), "C cancelled");
    lamp.at(11.3, Event::TurnGranted, "enqueue 1");
    lamp.at(11.4, cancel('B'), "B cancelled");
    // What is in the queue cannot be called back, and is told of.
    lamp.at(11.5, enqueued(1), "B enqueued");
    lamp.at(12.0, txack(1), "B transmitted, end turn");
    lamp.at(14.0, report(11, 5, RED), "");
    assert!(lamp.device.is_idle());
}

#[test]
fn cancelled_after_the_transmission_and_in_the_backoff() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', raw('A', RED), 1);
    lamp.at(12.0, cancel('A'), "A cancelled");
    lamp.transmit(20.0, 'B', raw('B', BLUE), 2);
    lamp.wakes("B missed: not_confirmed, B waits: not_confirmed");
    lamp.at(52.0, cancel('B'), "B cancelled");
    assert!(lamp.device.is_idle());
}

#[test]
fn a_cancelled_wish_gives_way_to_the_one_before() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', GREEN), 1);
    lamp.at(13.0, report(11, 5, GREEN), "A verified 4>5");
    lamp.transmit(20.0, 'B', light('B', RED), 2);
    lamp.at(21.5, cancel('B'), "B cancelled");
    assert_eq!(lamp.device.desired().unwrap().light, GREEN);
    // It had landed: the lamp is told again what is wanted.
    lamp.at(23.0, report(12, 6, RED), "R accepted, ask turn");
    lamp.at(23.0, Event::TurnGranted, "enqueue 3");
}

#[test]
fn a_first_wish_that_is_cancelled_leaves_none() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.1, cancel('A'), "A cancelled, end turn");
    assert_eq!(lamp.device.desired(), None);
}

fn until(second: f64, request: Request) -> Request {
    Request {
        expires_at: Some(instant(second)),
        ..request
    }
}

#[test]
fn its_time_may_run_out_before_its_turn_comes() {
    let mut lamp = Story::new();
    lamp.at(
        10.0,
        ask(until(15.0, raw('A', RED))),
        "A accepted, ask turn",
    );
    lamp.wakes("A waits: paced");
    lamp.at(12.0, ask(until(14.0, raw('B', RED))), "B accepted");
    assert_eq!(lamp.wakes("B expired"), 14.0);
    assert_eq!(lamp.wakes("A expired: paced, end turn"), 15.0);
}

#[test]
fn its_time_may_run_out_in_the_queue_which_its_item_does_not_outlive() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', until(15.0, light('A', RED)), 1);
    assert_eq!(lamp.wakes("read queue"), 20.0);
    lamp.at(20.1, queue(&[(1, 15.0, RED)], 0), "");
    lamp.at(
        21.0,
        dropped(1, DropReason::Expired),
        "A missed: not_transmitted, A expired: not_transmitted, end turn",
    );
}

#[test]
fn what_is_on_the_air_when_its_time_runs_out_has_its_window() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', until(15.0, light('A', RED)), 1);
    assert_eq!(lamp.next_wake(), Some(41.0));
    lamp.at(39.0, report(11, 5, RED), "A verified 4>5");

    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', until(15.0, light('A', RED)), 1);
    lamp.wakes("A missed: not_confirmed, A unverified: not_confirmed");
}

#[test]
fn its_time_may_run_out_in_the_backoff() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', until(45.0, light('A', RED)), 1);
    lamp.wakes("A missed: not_confirmed, A waits: not_confirmed");
    assert_eq!(lamp.wakes("A unverified: not_confirmed"), 45.0);
}

#[test]
fn how_it_went_out_is_kept_with_the_downlink() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(
        15.0,
        report(11, 4, GREEN),
        "A missed: lost_on_air, ask turn",
    );
    lamp.at(15.0, Event::TurnGranted, "enqueue 2");
    lamp.at(15.5, enqueued(2), "A enqueued");
    lamp.at(16.0, txack(2), "A transmitted, end turn");
    let effects = lamp
        .device
        .step(instant(18.0), report(12, 5, RED), &lamp.gateways);
    let [Effect::Record(record)] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(record.downlink.enqueued_at, Some(instant(10.0)));
    assert_eq!(
        record.downlink.transmission,
        Some(LastTransmission {
            at: instant(16.0),
            gateway_id: Some(GatewayId::from_u64(NEAR)),
            spreading_factor: Some(9),
        })
    );
}
