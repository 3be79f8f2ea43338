//! Boot epochs: what a restart of the device means for what is under way.

use downbeat_core::codec::Command;
use downbeat_core::device::{Event, Policy};
use downbeat_core::network::{NetworkEvent, StatusReported, Uplink};

use crate::support::{
    BLUE, DIM, FIRST, GREEN, RED, Story, ask, enqueued, instant, joined, light, queue, report,
    report_of, request, txack, uplink,
};

/// The session after a join.
const SECOND: u32 = 0x0100_0002;
/// And after another.
const THIRD: u32 = 0x0100_0003;

#[test]
fn after_a_join_nothing_is_sent_before_the_first_uplink() {
    let mut lamp = Story::new();
    lamp.at(5.0, joined(SECOND), "");
    lamp.at(
        10.0,
        ask(light('A', RED)),
        "A accepted, A waits: before_first_uplink",
    );
    assert_eq!(lamp.next_wake(), Some(10.0 + 86_400.0));
    lamp.at(12.0, report_of(SECOND, 0, 0, DIM), "ask turn");
}

#[test]
fn a_device_that_restarts_under_an_attempt_is_told_again_and_the_attempt_does_not_count() {
    let mut lamp = Story::new();
    let mut once = light('A', RED);
    once.attempts_max = Some(1);
    lamp.transmit(10.0, 'A', once, 1);
    lamp.at(
        12.0,
        joined(SECOND),
        "A missed: device_restarted, A waits: before_first_uplink",
    );
    lamp.at(14.0, report_of(SECOND, 0, 0, DIM), "ask turn");
    lamp.at(14.0, Event::TurnGranted, "enqueue 2");
    lamp.at(14.0, enqueued(2), "A enqueued");
    lamp.at(15.0, txack(2), "A transmitted, end turn");
    lamp.at(17.0, report_of(SECOND, 1, 1, RED), "A verified 0>1");
}

#[test]
fn what_the_old_session_showed_proves_nothing_in_the_new_one() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(
        12.0,
        report_of(SECOND, 0, 9, RED),
        "A missed: device_restarted, ask turn",
    );
}

#[test]
fn a_join_that_was_never_told_of_shows_in_the_address() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(
        13.0,
        report_of(SECOND, 3, 0, DIM),
        "A missed: device_restarted, ask turn",
    );
    assert_eq!(lamp.device.reported().unwrap().f_cnt, 3);
}

#[test]
fn counters_that_went_down_are_a_restart() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(
        13.0,
        report(11, 0, DIM),
        "A missed: device_restarted, ask turn",
    );
}

#[test]
fn a_join_that_its_first_uplink_overtook_changes_nothing() {
    let mut lamp = Story::new();
    lamp.at(5.0, report_of(SECOND, 0, 0, DIM), "");
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(11.5, joined(SECOND), "");
    lamp.at(13.0, report_of(SECOND, 1, 1, RED), "A verified 0>1");
}

#[test]
fn events_of_former_sessions_come_late_and_change_nothing() {
    let mut lamp = Story::new();
    lamp.at(5.0, joined(SECOND), "");
    lamp.at(5.1, report(11, 4, GREEN), "");
    lamp.at(5.2, joined(FIRST), "");
    lamp.at(7.0, report_of(SECOND, 0, 0, DIM), "");
    lamp.at(30.0, report(12, 4, GREEN), "");
    assert_eq!(lamp.device.reported().unwrap().report.light, Some(DIM));
}

#[test]
fn a_join_that_was_told_of_too_late_does_not_make_the_device_deaf() {
    let mut lamp = Story::new();
    lamp.at(5.0, joined(THIRD), "");
    // An earlier join, overtaken by the later one.
    lamp.at(6.0, joined(SECOND), "");
    lamp.at(7.0, report_of(THIRD, 0, 0, DIM), "");
    lamp.at(100.0, report_of(THIRD, 1, 0, DIM), "");
    assert_eq!(lamp.device.reported().unwrap().f_cnt, 1);
    lamp.at(110.0, ask(light('A', RED)), "A accepted, ask turn");
}

/// Seed 2026529: the first news of a device was of its second session; then came what was left of the first one.
#[test]
fn a_session_whose_news_came_late_does_not_make_the_device_deaf() {
    let mut lamp = Story::of_unknown(Policy::default());
    lamp.at(5.0, report_of(SECOND, 0, 0, DIM), "");
    lamp.at(15.0, report_of(FIRST, 0, 0, DIM), "");
    lamp.at(16.0, report_of(SECOND, 1, 0, DIM), "");
    assert_eq!(lamp.device.last_seen(), Some(instant(15.0)));
    lamp.at(46.0, report_of(SECOND, 2, 1, BLUE), "");
    assert_eq!(lamp.device.reported().unwrap().report.light, Some(BLUE));
}

/// Seed 2043376: the frame was the new session's, and the news of it came after the tx-ack.
#[test]
fn a_frame_that_left_the_queue_just_before_the_news_of_a_session_may_be_its_first() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(
        13.5,
        ask(light('B', RED)),
        "A superseded: newer_command, B accepted, ask turn",
    );
    lamp.at(14.0, report_of(SECOND, 0, 0, DIM), "");
    lamp.at(14.0, Event::TurnGranted, "enqueue 2");
    lamp.at(14.0, enqueued(2), "B enqueued");
    lamp.at(16.0, report_of(SECOND, 1, 1, RED), "");
    lamp.at(17.0, txack(2), "B transmitted, end turn");
    lamp.at(19.0, report_of(SECOND, 2, 2, RED), "B verified 1>2");
}

#[test]
fn an_item_may_survive_the_join_and_prove_itself_in_the_new_session() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.at(12.0, joined(SECOND), "");
    lamp.at(14.0, report_of(SECOND, 0, 0, DIM), "");
    lamp.at(15.2, txack(1), "A transmitted, end turn");
    lamp.at(17.0, report_of(SECOND, 1, 1, RED), "A verified 0>1");
}

#[test]
fn an_item_that_the_join_flushed_is_sent_again() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.at(12.0, joined(SECOND), "");
    lamp.at(14.0, report_of(SECOND, 0, 0, DIM), "");
    assert_eq!(lamp.wakes("read queue"), 15.5);
    lamp.at(
        15.6,
        queue(&[], 0),
        "A missed: device_restarted, end turn, ask turn",
    );
}

#[test]
fn a_factory_reset_is_not_repeated_because_the_device_restarted() {
    let mut lamp = Story::new();
    let reset = Command::Busylight(downbeat_core::codec::busylight::Setting::FactoryReset);
    lamp.enqueue(10.0, 'A', request('A', &reset, false, true), 1);
    lamp.at(11.0, txack(1), "A transmitted, A verified txack, end turn");
    lamp.at(20.0, joined(SECOND), "");
    lamp.at(22.0, report_of(SECOND, 0, 0, DIM), "");
    assert!(lamp.device.is_idle());
}

#[test]
fn the_unverified_of_an_old_session_stays_so() {
    let mut lamp = Story::new();
    let mut once = light('A', BLUE);
    once.attempts_max = Some(1);
    once.transient = true;
    lamp.transmit(10.0, 'A', once, 1);
    lamp.wakes("A missed: not_confirmed, A unverified: not_confirmed");
    lamp.at(50.0, joined(SECOND), "");
    lamp.at(52.0, report_of(SECOND, 0, 9, BLUE), "");
}

#[test]
fn what_is_no_number_stays_out_of_the_state() {
    let mut lamp = Story::new();
    let mut noise = uplink(FIRST, 11, 4, GREEN);
    noise.receptions[0].snr_db = f32::NAN;
    lamp.at(1.0, Event::Network(NetworkEvent::Heard(noise)), "");
    for percent in [Some(f32::INFINITY), Some(50.0), Some(f32::NAN), None] {
        let status = StatusReported {
            margin_db: 5,
            external_power: false,
            battery_percent: percent,
        };
        lamp.at(
            2.0,
            Event::Network(NetworkEvent::StatusReported(status)),
            "",
        );
    }
    assert_eq!(lamp.device.battery_percent(), Some(50.0));
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    let mut noise = uplink(FIRST, 12, 5, RED);
    noise.receptions[0].snr_db = f32::INFINITY;
    lamp.at(
        13.0,
        Event::Network(NetworkEvent::Heard(noise)),
        "A verified 4>5",
    );
}

#[test]
fn a_server_without_addresses_is_followed_by_the_devices_own_counters() {
    let mut lamp = Story::new();
    let old_style = |f_cnt, count, light| {
        Event::Network(NetworkEvent::Heard(Uplink {
            dev_addr: None,
            ..uplink(FIRST, f_cnt, count, light)
        }))
    };
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(
        13.0,
        old_style(0, 0, DIM),
        "A missed: device_restarted, ask turn",
    );
}

/// A counter that no frame can have leaves the session as it is; two that follow each other are believed.
#[test]
fn a_counter_that_cannot_follow_is_history() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.at(11.0, txack(1), "A transmitted, end turn");
    lamp.at(12.0, report(u32::MAX, 5, RED), "");
    lamp.at(13.0, report(11, 5, RED), "A verified 4>5");
    lamp.at(20.0, report(900_000, 5, GREEN), "");
    assert!(lamp.device.is_converged());
    lamp.at(30.0, report(900_001, 5, GREEN), "R accepted, ask turn");
}

/// Hours after the join a former session's uplink comes once more.
#[test]
fn an_uplink_of_a_former_session_that_was_heard_is_no_news_later_either() {
    let mut lamp = Story::new();
    lamp.at(100.0, joined(2), "");
    lamp.at(102.0, report_of(2, 0, 0, DIM), "");
    lamp.at(9000.0, report(10, 4, GREEN), "");
    assert_eq!(lamp.device.reported().unwrap().report.light, Some(DIM));
    // What was not heard may be: the join may have been the one that came late.
    lamp.at(9100.0, report(11, 4, BLUE), "");
    assert_eq!(lamp.device.reported().unwrap().report.light, Some(BLUE));
}

/// Fleet seed 6001344: the news of a session that had ended was late, and told once more hours later.
#[test]
fn an_uplink_that_came_too_late_is_no_news_when_it_is_told_again_either() {
    let mut lamp = Story::new();
    lamp.at(100.0, joined(SECOND), "");
    lamp.at(101.0, report_of(SECOND, 0, 0, DIM), "");
    lamp.at(102.0, report(11, 4, GREEN), "");
    lamp.at(9000.0, report(11, 4, GREEN), "");
    assert_eq!(lamp.device.reported().unwrap().report.light, Some(DIM));
    lamp.at(9100.0, report(12, 4, BLUE), "");
    assert_eq!(lamp.device.reported().unwrap().report.light, Some(BLUE));
}

/// Fleet seed 6004726: an impossible counter came where nothing spoke against it, and all that was true was late news
/// for ever.
#[test]
fn an_impossible_counter_that_was_believed_does_not_make_the_device_deaf() {
    let mut lamp = Story::new();
    lamp.at(100.0, report_of(SECOND, u32::MAX, 0, DIM), "");
    lamp.at(200.0, report_of(SECOND, 1, 0, BLUE), "");
    assert_eq!(lamp.device.reported().unwrap().report.light, Some(DIM));
    // Told once more it proves nothing.
    lamp.at(201.0, report_of(SECOND, 1, 0, BLUE), "");
    assert_eq!(lamp.device.reported().unwrap().report.light, Some(DIM));
    lamp.at(300.0, report_of(SECOND, 2, 0, BLUE), "");
    assert_eq!(lamp.device.reported().unwrap().report.light, Some(BLUE));
}

#[test]
fn an_impossible_counter_of_a_former_session_does_not_bring_it_back() {
    let mut lamp = Story::new();
    lamp.at(100.0, joined(SECOND), "");
    lamp.at(102.0, report_of(SECOND, 0, 0, DIM), "");
    lamp.at(9000.0, report(u32::MAX, 4, GREEN), "");
    assert_eq!(lamp.device.reported().unwrap().report.light, Some(DIM));
    lamp.at(9100.0, report_of(SECOND, 1, 0, BLUE), "");
    assert_eq!(lamp.device.reported().unwrap().report.light, Some(BLUE));
}

/// Fleet seed 30004659: an uplink from before the device was registered anew came once more.
#[test]
fn an_unknown_session_that_spoke_before_the_known_one_is_believed_when_it_goes_on() {
    let heard = |dev_addr, f_cnt, light, received_at| {
        Event::Network(NetworkEvent::Heard(Uplink {
            received_at: Some(instant(received_at)),
            ..uplink(dev_addr, f_cnt, 0, light)
        }))
    };
    let mut lamp = Story::new();
    let shown = |lamp: &Story| lamp.device.reported().unwrap().report.light;
    lamp.at(100.0, heard(FIRST, 20, DIM, 100.0), "");
    lamp.at(200.0, heard(SECOND, 5, GREEN, 50.0), "");
    assert_eq!(shown(&lamp), Some(DIM));
    lamp.at(300.0, heard(FIRST, 21, BLUE, 300.0), "");
    assert_eq!(shown(&lamp), Some(BLUE));
    // Or the gateway's clock is wrong.
    lamp.at(400.0, heard(SECOND, 6, GREEN, 60.0), "");
    assert_eq!(shown(&lamp), Some(BLUE));
    lamp.at(500.0, heard(SECOND, 7, GREEN, 70.0), "");
    assert_eq!(shown(&lamp), Some(GREEN));
}
