//! Killed at any instant: what was stored is taken up again.

use downbeat_core::device::Event;
use downbeat_core::network::EnqueueFailure;

use crate::support::{
    GREEN, RED, Story, alive, ask, enqueued, failed, joined, light, queue, report, txack,
};

#[test]
fn before_its_turn_it_asks_again() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.crash(12.0, "");
    assert_eq!(lamp.wakes("ask turn"), 12.0);
}

#[test]
fn while_the_call_is_under_way_it_looks_whether_it_was_carried_out() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.0, Event::TurnGranted, "enqueue 1");
    lamp.crash(12.0, "hold turn");
    assert_eq!(lamp.wakes("read queue"), 12.0);
    lamp.at(12.1, queue(&[(1, 30.0, RED)], 0), "A enqueued");
    lamp.at(13.0, txack(1), "A transmitted, end turn");
}

/// Seed 66007: the second look came too soon after a crash between the two.
#[test]
fn a_crash_between_two_looks_does_not_hurry_the_second() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.0, Event::TurnGranted, "enqueue 1");
    lamp.at(
        13.0,
        failed(1, EnqueueFailure::Unknown),
        "A waits: answer_lost, read queue",
    );
    lamp.at(13.1, queue(&[], 0), "");
    lamp.crash(13.2, "hold turn");
    lamp.wakes("read queue");
    lamp.at(13.3, queue(&[], 0), "");
    assert_eq!(lamp.wakes("read queue"), 16.0);
}

#[test]
fn an_item_that_is_still_in_the_queue_is_adopted() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.crash(12.0, "hold turn");
    lamp.wakes("read queue");
    lamp.at(12.1, queue(&[(1, 30.0, RED)], 0), "");
    assert_eq!(lamp.wakes("read queue"), 20.0);
}

#[test]
fn an_item_that_went_out_meanwhile_is_presumed_transmitted() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.crash(12.0, "hold turn");
    lamp.wakes("read queue");
    lamp.at(12.1, queue(&[], 0), "A presumed, end turn");
    lamp.at(900.0, report(11, 5, RED), "A verified 4>5 late");
}

#[test]
fn the_window_is_kept() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.crash(20.0, "");
    assert_eq!(lamp.wakes(""), 20.0);
    assert_eq!(lamp.next_wake(), Some(41.0));
    lamp.at(30.0, report(11, 5, RED), "A verified 4>5");
}

#[test]
fn a_window_that_closed_meanwhile_closes_at_once() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.crash(100.0, "");
    assert_eq!(lamp.next_wake(), Some(41.0));
    lamp.at(
        100.0,
        Event::Elapsed,
        "A missed: not_confirmed, A waits: not_confirmed",
    );
}

#[test]
fn the_backoff_is_kept() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.wakes("A missed: not_confirmed, A waits: not_confirmed");
    let before = lamp.next_wake();
    lamp.crash(43.0, "");
    lamp.wakes("");
    assert_eq!(lamp.next_wake(), before);
}

#[test]
fn without_a_gateway_it_goes_on_waiting() {
    let mut lamp = Story::new();
    lamp.gateways = alive(&[]);
    lamp.at(
        10.0,
        ask(light('A', RED)),
        "A accepted, A waits: no_gateway until 20, ask turn",
    );
    lamp.crash(12.0, "");
    lamp.wakes("ask turn");
    lamp.gateways = alive(&[1]);
    lamp.at(13.0, Event::GatewaysChanged, "ask turn");
}

#[test]
fn a_join_is_remembered() {
    let mut lamp = Story::new();
    lamp.at(5.0, joined(2), "");
    lamp.at(
        10.0,
        ask(light('A', RED)),
        "A accepted, A waits: before_first_uplink",
    );
    lamp.crash(12.0, "");
    lamp.wakes("");
    lamp.at(13.0, report(11, 4, GREEN), "");
}

#[test]
fn a_late_proof_counts_after_a_restart_too() {
    let mut lamp = Story::new();
    let mut once = light('A', RED);
    once.attempts_max = Some(1);
    lamp.transmit(10.0, 'A', once, 1);
    lamp.wakes("A missed: not_confirmed, A unverified: not_confirmed");
    lamp.crash(50.0, "");
    assert_eq!(lamp.next_wake(), None);
    lamp.at(60.0, report(11, 5, RED), "A verified 4>5 late");
}

#[test]
fn an_idle_device_wants_nothing() {
    let mut lamp = Story::new();
    lamp.crash(5.0, "");
    assert_eq!(lamp.next_wake(), None);
    assert!(lamp.device.is_idle());
}

#[test]
fn a_new_pool_of_calls_is_asked_for_a_turn_again() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.5, Event::ServicesRestarted, "ask turn");
}

#[test]
fn a_new_pool_of_calls_is_told_who_holds_a_turn_and_asked_for_what_was_under_way() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.0, Event::TurnGranted, "enqueue 1");
    lamp.at(10.5, Event::ServicesRestarted, "hold turn, read queue");
    // The second look is under way when the services are lost once more.
    lamp.at(10.6, queue(&[], 0), "");
    lamp.wakes("read queue");
    lamp.at(16.1, Event::ServicesRestarted, "hold turn, read queue");
    lamp.at(16.2, enqueued(1), "A enqueued");
    lamp.at(16.3, failed(1, EnqueueFailure::Unknown), "");
}

/// The change took long to be committed, so the call began after the first look.
#[test]
fn a_call_that_ends_without_an_answer_after_the_looks_began_is_looked_up_anew() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.0, Event::TurnGranted, "enqueue 1");
    lamp.at(11.0, Event::ServicesRestarted, "hold turn, read queue");
    lamp.at(11.1, queue(&[], 0), "");
    lamp.at(
        15.5,
        failed(1, EnqueueFailure::Unknown),
        "A waits: answer_lost, read queue",
    );
    lamp.at(15.6, queue(&[], 0), "");
    assert_eq!(lamp.wakes("read queue"), 17.6);
    lamp.at(17.7, queue(&[(1, 30.0, RED)], 0), "A enqueued");
}
