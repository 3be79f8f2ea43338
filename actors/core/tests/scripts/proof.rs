//! What an uplink proves, and what is done when it proves nothing.

use downbeat_core::codec::Command;
use downbeat_core::codec::busylight::Setting;
use downbeat_core::device::{Event, Policy};
use downbeat_core::id::FPort;
use downbeat_core::network::{NetworkEvent, Uplink};

use crate::support::{
    BLUE, FIRST, GREEN, RED, Story, ask, enqueued, light, report, request, short_report, txack,
    uplink,
};

#[test]
fn state_and_counter_prove_it() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(13.0, report(11, 5, RED), "A verified 4>5");
    assert!(lamp.device.is_idle());
}

#[test]
fn the_counter_may_have_grown_by_more_than_one() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(13.0, report(11, 9, RED), "A verified 4>9");
}

#[test]
fn a_proof_does_not_need_the_tx_ack() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.at(13.0, report(11, 5, RED), "A verified 4>5");
    // The item is still in the way until something is known of it.
    assert_eq!(lamp.next_wake(), Some(20.0));
    lamp.at(14.0, txack(1), "A transmitted, end turn");
}

#[test]
fn a_proof_does_not_need_the_answer_of_the_enqueue() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.0, Event::TurnGranted, "enqueue 1");
    lamp.at(12.0, report(11, 5, RED), "A verified 4>5");
    lamp.at(12.5, enqueued(1), "A enqueued");
    lamp.at(12.6, txack(1), "A transmitted, end turn");
}

#[test]
fn repeating_what_is_shown_is_proven_by_the_counter() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', GREEN), 1);
    lamp.at(11.2, report(11, 4, GREEN), "");
    lamp.at(13.0, report(12, 5, GREEN), "A verified 4>5");
}

#[test]
fn an_uplink_that_crossed_the_command_proves_nothing() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(11.3, report(11, 4, GREEN), "");
    lamp.at(13.0, report(12, 5, RED), "A verified 4>5");
}

#[test]
fn an_unchanged_counter_after_the_air_time_is_a_loss_and_the_next_attempt_follows_at_once() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(
        15.0,
        report(11, 4, GREEN),
        "A missed: lost_on_air, ask turn",
    );
    lamp.at(15.0, Event::TurnGranted, "enqueue 2");
}

#[test]
fn another_light_received_is_answered_at_once() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(
        13.0,
        report(11, 5, BLUE),
        "A missed: another_received, ask turn",
    );
    lamp.at(13.0, Event::TurnGranted, "enqueue 2");
    lamp.at(13.0, enqueued(2), "A enqueued");
    lamp.at(14.0, txack(2), "A transmitted, end turn");
    // What the other one counted does not count again.
    lamp.at(14.2, report(12, 5, BLUE), "");
    lamp.at(16.0, report(13, 6, RED), "A verified 5>6");
}

#[test]
fn an_older_command_of_ours_that_lands_first_is_no_sign_of_loss() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(
        11.5,
        ask(light('B', BLUE)),
        "A superseded: newer_command, B accepted, ask turn",
    );
    lamp.at(11.5, Event::TurnGranted, "enqueue 2");
    lamp.at(11.5, enqueued(2), "B enqueued");
    lamp.at(12.0, txack(2), "B transmitted, end turn");
    lamp.at(12.5, report(11, 5, RED), "");
    lamp.at(14.0, report(12, 6, BLUE), "B verified 5>6");
}

/// Seeds 6989, 8469 and 1254: another application's frame and an earlier one of ours make the same report.
#[test]
fn a_repeated_light_is_not_proven_by_an_earlier_frame_of_the_same_light() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(
        11.5,
        ask(light('B', RED)),
        "A superseded: newer_command, B accepted, ask turn",
    );
    lamp.at(11.5, Event::TurnGranted, "enqueue 2");
    lamp.at(11.5, enqueued(2), "B enqueued");
    lamp.at(12.0, txack(2), "B transmitted, end turn");
    lamp.at(13.0, report(11, 6, RED), "");
    // From here on only a further step counts.
    lamp.at(20.0, report(12, 6, RED), "B missed: lost_on_air, ask turn");
    lamp.at(20.0, Event::TurnGranted, "enqueue 3");
    lamp.at(20.0, enqueued(3), "B enqueued");
    lamp.at(21.0, txack(3), "B transmitted, end turn");
    lamp.at(23.0, report(13, 7, RED), "B verified 6>7");
}

#[test]
fn a_setting_is_proven_by_the_counter_and_does_not_pass_for_a_light() {
    let mut lamp = Story::new();
    let setting = Command::Busylight(Setting::AutomaticUplink(true));
    lamp.transmit(10.0, 'A', request('A', &setting, false, true), 1);
    lamp.at(11.0, ask(light('B', GREEN)), "B accepted");
    lamp.at(
        13.0,
        report(11, 5, GREEN),
        "A verified setting 4>5, ask turn",
    );
    lamp.at(13.0, Event::TurnGranted, "enqueue 2");
    lamp.at(13.0, enqueued(2), "B enqueued");
    lamp.at(14.0, txack(2), "B transmitted, end turn");
    // The setting is counted already: it cannot be what was counted now.
    lamp.at(15.0, report(12, 6, GREEN), "B verified 5>6");
}

/// Seed 7219.
#[test]
fn a_setting_is_not_proven_when_the_light_says_that_somebody_else_sent() {
    let mut lamp = Story::new();
    let setting = Command::Busylight(Setting::UplinkNow);
    lamp.transmit(10.0, 'A', request('A', &setting, false, true), 1);
    lamp.at(13.0, report(11, 5, BLUE), "");
    lamp.at(14.0, report(12, 6, BLUE), "A verified setting 5>6");
}

#[test]
fn the_short_form_proves_weakly_and_only_a_change() {
    let mut lamp = Story::of_unknown(Policy::default());
    lamp.at(0.0, short_report(10, GREEN), "");
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(13.0, short_report(11, RED), "A verified state");
    lamp.transmit(100.0, 'B', light('B', RED), 2);
    lamp.at(103.0, short_report(12, RED), "");
    lamp.wakes("B missed: not_confirmed, B waits: not_confirmed");
}

#[test]
fn a_proof_in_the_backoff_is_late_and_ends_the_retries() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.wakes("A missed: not_confirmed, A waits: not_confirmed");
    lamp.at(45.0, report(11, 5, RED), "A verified 4>5 late");
    assert!(lamp.device.is_idle());
}

#[test]
fn a_proof_after_unverified_upgrades_it_and_once_only() {
    let mut lamp = Story::new();
    let mut once = light('A', RED);
    once.attempts_max = Some(1);
    lamp.transmit(10.0, 'A', once, 1);
    lamp.wakes("A missed: not_confirmed, A unverified: not_confirmed");
    lamp.at(300.0, report(11, 5, RED), "A verified 4>5 late");
    lamp.at(400.0, report(12, 6, RED), "");
}

#[test]
fn duplicate_and_reordered_uplinks_are_history() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(12.0, report(13, 4, GREEN), "");
    lamp.at(12.5, report(13, 5, RED), "");
    lamp.at(12.6, report(12, 5, RED), "");
    lamp.at(13.0, report(14, 5, RED), "A verified 4>5");
    assert_eq!(lamp.device.reported().unwrap().f_cnt, 14);
}

#[test]
fn an_uplink_that_is_no_report_still_hurries_the_next_attempt() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.wakes("A missed: not_confirmed, A waits: not_confirmed");
    let empty = Uplink {
        f_port: FPort::from_uplink(0),
        payload: Vec::new(),
        ..uplink(FIRST, 11, 0, RED)
    };
    lamp.at(45.0, Event::Network(NetworkEvent::Heard(empty)), "ask turn");
}

#[test]
fn a_first_count_that_shows_the_light_proves_nothing_but_the_next_attempt_follows_at_once() {
    let mut lamp = Story::of_unknown(Policy::default());
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(11.0, report(0, 1, RED), "A missed: uncounted, ask turn");
    lamp.at(11.0, Event::TurnGranted, "enqueue 2");
    lamp.at(11.1, enqueued(2), "A enqueued");
    lamp.at(16.0, txack(2), "A transmitted, end turn");
    lamp.at(17.0, report(1, 2, RED), "A verified 1>2");
}

#[test]
fn a_first_count_that_shows_another_light_is_a_loss_once_it_cannot_have_crossed() {
    let mut lamp = Story::of_unknown(Policy::default());
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(11.0, report(0, 1, GREEN), "");
    lamp.at(15.0, report(1, 1, GREEN), "A missed: lost_on_air, ask turn");
}
