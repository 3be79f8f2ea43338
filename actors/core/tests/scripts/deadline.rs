//! Attempts that go on until a deadline instead of being counted out; and a key that is not taken.

use downbeat_core::device::{Event, Policy, Request};
use downbeat_core::network::EnqueueFailure;

use crate::support::{GREEN, RED, Story, ask, enqueued, failed, instant, light, report, txack};

/// A light that is tried until `second`.
fn until(second: f64) -> Request {
    Request {
        expires_at: Some(instant(second)),
        until_deadline: Some(true),
        ..light('A', RED)
    }
}

/// The retry under way is taken by a gateway at once; tells when its window ends.
#[track_caller]
fn retry(lamp: &mut Story, second: f64, attempt: u32) -> f64 {
    lamp.at(second, Event::TurnGranted, &format!("enqueue {attempt}"));
    lamp.at(second, enqueued(attempt), "A enqueued");
    lamp.at(second, txack(attempt), "A transmitted, end turn");
    second + 30.0
}

#[test]
fn attempts_go_on_until_the_deadline_and_the_last_window_ends_before_it() {
    let mut lamp = Story::new();
    let deadline = 1_000.0;
    lamp.enqueue(10.0, 'A', until(deadline), 1);
    lamp.at(10.0, txack(1), "A transmitted, end turn");
    let (mut attempts, mut began, mut ends) = (1, 10.0, 40.0);
    loop {
        if ends >= deadline {
            break;
        }
        let at = lamp.wakes("A missed: not_confirmed, A waits: not_confirmed");
        assert!((at - ends).abs() < 0.001, "a window of 30 s");
        let next = lamp.next_wake().unwrap();
        assert!(
            next - at <= 331.0,
            "no pause is longer than 5 minutes and a tenth"
        );
        began = lamp.wakes("ask turn");
        attempts += 1;
        ends = retry(&mut lamp, began, attempts);
        assert!(ends <= deadline, "proof may come in time");
    }
    assert!(attempts > 4, "more than the policy's number: {attempts}");
    assert!(
        (began - 970.0).abs() < 0.001,
        "the last one is brought forward to {began}"
    );
    let _ = lamp.wakes("A missed: not_confirmed, A unverified: not_confirmed");
    assert!(lamp.device.is_idle());
}

#[test]
fn an_uplink_near_the_deadline_brings_no_retry_that_could_not_be_proven() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', until(60.0), 1);
    lamp.at(10.0, txack(1), "A transmitted, end turn");
    lamp.at(
        40.0,
        Event::Elapsed,
        "A missed: not_confirmed, A waits: not_confirmed",
    );
    lamp.at(45.0, report(11, 4, GREEN), "");
    lamp.at(60.0, Event::Elapsed, "A unverified: not_confirmed");
}

#[test]
fn a_short_deadline_still_has_its_first_attempt() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', until(20.0), 1);
    lamp.at(11.0, txack(1), "A transmitted, end turn");
    lamp.at(13.0, report(11, 5, RED), "A verified 4>5");
}

#[test]
fn a_late_proof_still_counts_after_the_deadline() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', until(45.0), 1);
    lamp.at(11.0, txack(1), "A transmitted, end turn");
    lamp.at(
        41.0,
        Event::Elapsed,
        "A missed: not_confirmed, A waits: not_confirmed",
    );
    lamp.at(45.0, Event::Elapsed, "A unverified: not_confirmed");
    lamp.at(46.0, report(11, 5, RED), "A verified 4>5 late");
}

#[test]
fn it_may_be_the_policy_of_a_device() {
    let mut lamp = Story::with(Policy {
        until_deadline: true,
        ..Policy::default()
    });
    lamp.at(1.0, ask(light('A', RED)), "A accepted, ask turn");
    assert!(
        lamp.device
            .unfinished()
            .all(|downlink| downlink.until_deadline)
    );
}

#[test]
fn a_key_that_is_refused_costs_no_attempt_and_says_so() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.0, Event::TurnGranted, "enqueue 1");
    lamp.at(
        10.1,
        failed(1, EnqueueFailure::KeyRefused),
        "end turn, A waits: key_refused until 70",
    );
    assert!(
        lamp.device
            .unfinished()
            .all(|downlink| downlink.attempts == 0)
    );
    lamp.at(20.0, report(11, 4, GREEN), "");
    lamp.at(30.0, Event::KeyTold(true), "ask turn");
    lamp.at(30.1, Event::TurnGranted, "enqueue 2");
}

#[test]
fn who_waits_for_a_turn_meanwhile_hears_of_the_key() {
    let mut lamp = Story::new();
    lamp.at(5.0, Event::KeyTold(false), "");
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    assert_eq!(
        lamp.wakes("A waits: key_refused").to_bits(),
        11.0_f64.to_bits()
    );
    lamp.at(20.0, Event::KeyTold(true), "A waits: paced");
}
