//! What is wanted of the device beyond the commands.

use std::time::Duration;

use downbeat_core::device::{Effect, Event, Origin, Policy, Priority, WishPlan};
use downbeat_core::light::LightState;

use crate::support::{
    BLUE, DIM, GREEN, RED, Story, enqueued, instant, joined, light, report, report_of,
    short_report, txack,
};

/// Red was asked for and is shown, with a count of 5.
fn red() -> Story {
    red_with(Policy::default())
}

fn red_with(policy: Policy) -> Story {
    let mut lamp = Story::with(policy);
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(13.0, report(11, 5, RED), "A verified 4>5");
    lamp
}

#[test]
fn a_lamp_that_shows_something_else_is_told_again_without_being_asked() {
    let mut lamp = red();
    lamp.at(200.0, report(12, 6, BLUE), "R accepted, ask turn");
    lamp.at(200.0, Event::TurnGranted, "enqueue 2");
    lamp.at(200.0, enqueued(2), "R enqueued");
    lamp.at(201.0, txack(2), "R transmitted, end turn");
    lamp.at(203.0, report(13, 7, RED), "R verified 6>7");
    assert!(lamp.device.is_idle());
}

#[test]
fn a_lamp_that_restarted_gets_its_colour_back() {
    let mut lamp = red();
    lamp.at(200.0, joined(2), "");
    lamp.at(202.0, report_of(2, 0, 0, DIM), "R accepted, ask turn");
}

#[test]
fn nobody_is_told_again_more_often_than_the_pause_allows_which_doubles() {
    let mut lamp = red();
    let mut began = 1000.0;
    let (mut f_cnt, mut attempt) = (12, 2);
    lamp.at(began, report(f_cnt, 5, BLUE), "R accepted, ask turn");
    for pause in [60.0, 120.0, 240.0] {
        for number in 1..=4 {
            let second = began + f64::from(number) * 5.0;
            lamp.at(
                second - 4.5,
                Event::TurnGranted,
                &format!("enqueue {attempt}"),
            );
            lamp.at(second - 4.5, enqueued(attempt), "R enqueued");
            lamp.at(second - 4.0, txack(attempt), "R transmitted, end turn");
            (f_cnt, attempt) = (f_cnt + 1, attempt + 1);
            let next = ["ask turn", "R unverified: lost_on_air"][usize::from(number == 4)];
            let effects = format!("R missed: lost_on_air, {next}");
            lamp.at(second, report(f_cnt, 5, BLUE), &effects);
        }
        // The pause, or until the last frame cannot land any more.
        let due = lamp.wakes("R accepted, ask turn");
        let expected = if pause < 80.0 { 76.0 } else { pause };
        assert_eq!(due, began + expected);
        began = due;
    }
}

#[test]
fn a_transient_light_may_stand_until_the_lamp_restarts() {
    let mut lamp = red();
    let mut transient = light('B', BLUE);
    transient.transient = true;
    lamp.transmit(100.0, 'B', transient, 2);
    lamp.at(103.0, report(12, 6, BLUE), "B verified 5>6");
    assert_eq!(lamp.device.desired().unwrap().light, RED);
    lamp.at(900.0, report(13, 6, BLUE), "");
    lamp.at(1000.0, joined(2), "");
    lamp.at(1002.0, report_of(2, 0, 0, DIM), "R accepted, ask turn");
}

#[test]
fn a_frame_that_is_on_its_way_may_still_put_it_right() {
    let mut lamp = Story::new();
    let mut once = light('A', RED);
    once.attempts_max = Some(1);
    lamp.transmit(10.0, 'A', once, 1);
    lamp.wakes("A missed: not_confirmed, A unverified: not_confirmed");
    lamp.at(42.0, report(11, 4, GREEN), "");
    assert_eq!(lamp.wakes("R accepted, ask turn"), 71.0);
}

#[test]
fn without_reconciling_only_commands_are_sent() {
    let policy = Policy {
        reconcile: false,
        ..Policy::default()
    };
    let mut lamp = red_with(policy);
    lamp.at(200.0, report(12, 6, BLUE), "");
    assert!(lamp.device.is_idle());
}

#[test]
fn the_light_is_sent_again_before_the_watchdog_fires() {
    let policy = Policy {
        refresh_after: 3,
        reconcile_pause: Duration::from_secs(1),
        ..Policy::default()
    };
    let mut lamp = red_with(policy);
    lamp.at(1000.0, report(12, 5, RED), "");
    lamp.at(2000.0, report(13, 5, RED), "");
    lamp.at(3000.0, report(14, 5, RED), "R accepted, ask turn");
    lamp.at(3000.0, Event::TurnGranted, "enqueue 2");
    lamp.at(3000.0, enqueued(2), "R enqueued");
    lamp.at(3001.0, txack(2), "R transmitted, end turn");
    lamp.at(3003.0, report(15, 6, RED), "R verified 5>6");
}

/// Sixteen frames of SF12 would be spent to prove what cannot be proven.
#[test]
fn a_lamp_that_does_not_count_is_told_once_for_its_watchdogs_sake() {
    let policy = Policy {
        refresh_after: 4,
        reconcile_pause: Duration::from_secs(1),
        ..Policy::default()
    };
    let mut lamp = Story::of_unknown(policy);
    lamp.at(0.0, short_report(10, GREEN), "");
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(12.0, short_report(11, RED), "A verified state");
    lamp.at(1200.0, short_report(12, RED), "");
    let refreshed = [(13, 2), (15, 3)];
    for (f_cnt, attempt) in refreshed {
        let second = f64::from(f_cnt) * 100.0;
        lamp.at(second, short_report(f_cnt, RED), "R accepted, ask turn");
        lamp.at(second, Event::TurnGranted, &format!("enqueue {attempt}"));
        lamp.at(second, enqueued(attempt), "R enqueued, R sent");
        lamp.at(second + 1.0, txack(attempt), "R transmitted, end turn");
        lamp.at(second + 50.0, short_report(f_cnt + 1, RED), "");
    }
}

#[test]
fn a_new_wish_forgets_how_often_the_old_one_failed() {
    let mut lamp = red();
    lamp.at(200.0, report(12, 6, BLUE), "R accepted, ask turn");
    lamp.at(
        200.5,
        crate::support::ask(light('B', GREEN)),
        "R superseded: newer_command, B accepted, ask turn",
    );
}

#[test]
fn a_lamp_whose_counters_went_down_gets_its_colour_back() {
    let mut lamp = red();
    lamp.at(200.0, report(12, 0, DIM), "R accepted, ask turn");
}

#[test]
fn a_command_that_was_given_up_is_still_wanted() {
    let mut lamp = Story::new();
    let mut once = light('A', RED);
    once.attempts_max = Some(1);
    lamp.transmit(10.0, 'A', once, 1);
    lamp.wakes("A missed: not_confirmed, A unverified: not_confirmed");
    assert!(!lamp.device.is_converged());
    lamp.at(900.0, report(11, 4, GREEN), "R accepted, ask turn");
}

#[test]
fn reconciling_has_the_lowest_priority_and_says_what_it_is() {
    let mut lamp = red();
    let effects = lamp
        .device
        .step(instant(200.0), report(12, 6, BLUE), &lamp.gateways);
    let [Effect::Record(accepted), Effect::AskTurn(priority)] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    assert_eq!(accepted.downlink.origin, Origin::Reconcile);
    assert_eq!(*priority, Priority::Reconcile);
    let lowest = [
        Priority::Interactive,
        Priority::Retry,
        Priority::Initialisation,
        Priority::Bulk,
    ];
    assert!(lowest.iter().all(|other| other < priority));
}

fn wish(name: char, wanted: LightState) -> Event {
    Event::Wished(light(name, wanted))
}

#[test]
fn a_wish_that_is_fulfilled_needs_no_command() {
    let mut lamp = Story::new();
    assert_eq!(lamp.device.wish_plan(instant(10.0), GREEN), WishPlan::Shown);
    lamp.at(10.0, wish('A', GREEN), "");
    assert_eq!(lamp.device.desired().unwrap().light, GREEN);
    assert!(lamp.device.is_converged());
    // From now on it is kept up.
    lamp.at(200.0, report(11, 5, BLUE), "R accepted, ask turn");
}

#[test]
fn a_wish_that_is_not_is_a_command() {
    let mut lamp = Story::new();
    lamp.at(10.0, wish('A', RED), "A accepted, ask turn");
    assert!(!lamp.device.is_converged());
    assert_eq!(
        lamp.device.wish_plan(instant(10.5), RED),
        WishPlan::UnderWay(lamp.device.unfinished().next().unwrap().id)
    );
    lamp.at(10.5, wish('B', RED), "");
    lamp.at(
        10.6,
        wish('C', BLUE),
        "A superseded: newer_command, C accepted",
    );
}

#[test]
fn a_wish_for_what_is_shown_is_a_command_while_another_light_may_still_land() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(
        12.0,
        wish('B', GREEN),
        "A superseded: newer_command, B accepted, ask turn",
    );
}

#[test]
fn a_transient_light_that_is_wished_for_stays() {
    let mut lamp = red();
    let mut transient = light('B', BLUE);
    transient.transient = true;
    lamp.transmit(100.0, 'B', transient, 2);
    lamp.at(101.5, wish('C', BLUE), "");
    lamp.at(103.0, report(12, 6, BLUE), "B verified 5>6");
    assert_eq!(lamp.device.desired().unwrap().light, BLUE);
    assert!(lamp.device.is_converged());
}

#[test]
fn without_a_wish_nothing_is_reconciled_any_more() {
    let mut lamp = red();
    lamp.at(200.0, report(12, 6, BLUE), "R accepted, ask turn");
    lamp.at(200.5, Event::WishCleared, "R cancelled, end turn");
    assert_eq!(lamp.device.desired(), None);
    assert!(lamp.device.is_converged());
    lamp.at(900.0, report(13, 6, GREEN), "");
    assert!(lamp.device.is_idle());
}

#[test]
fn what_was_ordered_goes_on_without_its_wish() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(11.5, Event::WishCleared, "");
    lamp.at(13.0, report(11, 5, RED), "A verified 4>5");
    lamp.at(900.0, report(12, 6, BLUE), "");
}
