//! The settings after a join: in order, proven, and out of everybody's way.

use downbeat_core::codec::Command;
use downbeat_core::device::{
    Effect, Event, InitialisationPlan, InitialisationState, Origin, Priority,
};
use downbeat_core::gateway::GatewaySnapshot;
use downbeat_core::network::DropReason;

use crate::support::{
    DIM, GREEN, RED, Story, alive, ask, cancel, dropped, enqueued, instant, joined, light, report,
    report_of, request, txack,
};

const SECOND: u32 = 0x0100_0002;
const THIRD: u32 = 0x0100_0003;

fn state(lamp: &Story) -> Option<InitialisationState> {
    lamp.device.initialisation().map(|status| status.state)
}

/// The lamp joined at 10 s, spoke at 12 s, and answered both settings.
fn initialised() -> Story {
    let mut lamp = Story::initialised();
    lamp.at(10.0, joined(SECOND), "");
    lamp.at(12.0, report_of(SECOND, 0, 0, DIM), "I accepted, ask turn");
    settle(&mut lamp, 12.0, 1);
    lamp.at(14.0, report_of(SECOND, 1, 1, DIM), "I verified setting 0>1");
    assert_eq!(
        lamp.wakes("I accepted, ask turn").to_bits(),
        16.0_f64.to_bits()
    );
    settle(&mut lamp, 16.0, 2);
    lamp.at(18.0, report_of(SECOND, 2, 2, DIM), "I verified setting 1>2");
    lamp
}

/// The setting under way gets its turn, and a gateway takes it half a second later.
#[track_caller]
fn settle(lamp: &mut Story, second: f64, attempt: u32) {
    lamp.at(second, Event::TurnGranted, &format!("enqueue {attempt}"));
    lamp.at(second, enqueued(attempt), "I enqueued");
    lamp.at(second + 0.5, txack(attempt), "I transmitted, end turn");
}

#[test]
fn after_a_join_and_the_first_uplink_two_settings_in_order_two_seconds_apart() {
    let lamp = initialised();
    let status = lamp.device.initialisation().unwrap();
    assert_eq!(status.state, InitialisationState::Done);
    assert_eq!(status.initialised_at, Some(instant(18.0)));
    assert_eq!((status.step, status.steps), (None, 2));
    assert!(lamp.device.is_idle());
}

#[test]
fn they_are_told_apart_from_what_somebody_ordered() {
    let mut lamp = Story::initialised();
    lamp.at(10.0, joined(SECOND), "");
    assert_eq!(state(&lamp), Some(InitialisationState::AwaitingUplink));
    assert!(lamp.device.is_idle(), "an uplink wakes it");
    let Event::Network(heard) = report_of(SECOND, 0, 0, DIM) else {
        panic!("a report is one of the network's events");
    };
    let gateways: &GatewaySnapshot = &lamp.gateways;
    let effects = lamp
        .device
        .step(instant(12.0), Event::Network(heard), gateways);
    let [Effect::Record(accepted), Effect::AskTurn(priority)] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    assert_eq!(accepted.downlink.origin, Origin::Initialisation);
    assert_eq!(accepted.downlink.frame.payload, [0x06, 0x01]);
    assert_eq!(*priority, Priority::Initialisation);
    let status = lamp.device.initialisation().unwrap();
    assert_eq!(status.state, InitialisationState::Running);
    assert_eq!(status.step, Some(1));
    assert_eq!(status.downlink_id, Some(accepted.downlink.id));
}

#[test]
fn the_wanted_light_comes_back_between_the_settings() {
    let mut lamp = Story::initialised();
    lamp.transmit(1.0, 'A', light('A', RED), 1);
    lamp.at(3.0, report(11, 5, RED), "A verified 4>5");
    lamp.at(10.0, joined(SECOND), "");
    lamp.at(12.0, report_of(SECOND, 0, 0, DIM), "I accepted, ask turn");
    settle(&mut lamp, 12.0, 2);
    lamp.at(
        14.0,
        report_of(SECOND, 1, 1, DIM),
        "I verified setting 0>1, R accepted, ask turn",
    );
    lamp.at(14.0, Event::TurnGranted, "enqueue 3");
    lamp.at(14.0, enqueued(3), "R enqueued");
    lamp.at(14.5, txack(3), "R transmitted, end turn");
    lamp.at(
        17.0,
        report_of(SECOND, 2, 2, RED),
        "R verified 1>2, I accepted, ask turn",
    );
}

#[test]
fn the_wanted_light_does_not_wait_for_a_setting_that_nothing_answers() {
    let mut lamp = Story::initialised();
    lamp.transmit(1.0, 'A', light('A', RED), 1);
    lamp.at(3.0, report(11, 5, RED), "A verified 4>5");
    lamp.at(10.0, joined(SECOND), "");
    lamp.at(12.0, report_of(SECOND, 0, 0, DIM), "I accepted, ask turn");
    settle(&mut lamp, 12.0, 2);
    let missed = "I missed: not_confirmed, I superseded: newer_command, R accepted, ask turn";
    assert_eq!(lamp.wakes(missed).to_bits(), 42.5_f64.to_bits());
    lamp.at(42.5, Event::TurnGranted, "enqueue 3");
    lamp.at(42.5, enqueued(3), "R enqueued");
    lamp.at(43.0, txack(3), "R transmitted, end turn");
    // The colour is answered: the setting that asks for answers had come through, and is sent again to be counted.
    lamp.at(
        45.0,
        report_of(SECOND, 1, 2, RED),
        "R verified 0>2, I accepted, ask turn",
    );
}

#[test]
fn what_somebody_orders_goes_first_and_the_setting_comes_again() {
    let mut lamp = Story::initialised();
    lamp.at(10.0, joined(SECOND), "");
    lamp.at(12.0, report_of(SECOND, 0, 0, DIM), "I accepted, ask turn");
    lamp.at(12.0, Event::TurnGranted, "enqueue 1");
    lamp.at(12.0, enqueued(1), "I enqueued");
    lamp.at(
        12.1,
        ask(light('A', RED)),
        "I superseded: newer_command, A accepted, A waits: behind_queue_item",
    );
    lamp.at(12.5, txack(1), "I transmitted, end turn, ask turn");
    lamp.at(12.6, Event::TurnGranted, "enqueue 2");
    lamp.at(12.6, enqueued(2), "A enqueued");
    lamp.at(13.0, txack(2), "A transmitted, end turn");
    lamp.at(
        15.0,
        report_of(SECOND, 1, 2, RED),
        "A verified 0>2, I accepted, ask turn",
    );
    assert_eq!(state(&lamp), Some(InitialisationState::Running));
}

#[test]
fn a_command_that_waits_for_the_first_uplink_goes_before_the_settings() {
    let mut lamp = Story::initialised();
    lamp.at(10.0, joined(SECOND), "");
    lamp.at(
        11.0,
        ask(light('A', RED)),
        "A accepted, A waits: before_first_uplink",
    );
    lamp.at(12.0, report_of(SECOND, 0, 0, DIM), "ask turn");
    lamp.at(12.0, Event::TurnGranted, "enqueue 1");
    lamp.at(12.0, enqueued(1), "A enqueued");
    lamp.at(12.5, txack(1), "A transmitted, end turn");
    lamp.at(
        15.0,
        report_of(SECOND, 1, 1, RED),
        "A verified 0>1, I accepted, ask turn",
    );
}

#[test]
fn a_lamp_that_answers_no_setting_is_told_each_one_and_proves_them_with_its_heartbeat() {
    let mut lamp = Story::initialised();
    lamp.at(10.0, joined(SECOND), "");
    lamp.at(12.0, report_of(SECOND, 0, 0, DIM), "I accepted, ask turn");
    give_up(&mut lamp, 12.0, 1);
    let second = lamp.wakes("I accepted, ask turn");
    give_up(&mut lamp, second, 5);
    assert_eq!(state(&lamp), Some(InitialisationState::Unverified));
    assert!(lamp.device.is_idle());
    // Nine were counted, and there were eight frames of ours: the first one can be told from the others only by more.
    lamp.at(
        900.0,
        report_of(SECOND, 1, 8, DIM),
        "I verified setting 0>8 late",
    );
    assert_eq!(state(&lamp), Some(InitialisationState::Unverified));
}

/// Four attempts that nothing answers.
#[track_caller]
fn give_up(lamp: &mut Story, second: f64, first: u32) {
    settle(lamp, second, first);
    for attempt in first + 1..first + 4 {
        let _ = lamp.wakes("I missed: not_confirmed, I waits: not_confirmed");
        let second = lamp.wakes("ask turn");
        settle(lamp, second, attempt);
    }
    let _ = lamp.wakes("I missed: not_confirmed, I unverified: not_confirmed");
}

#[test]
fn a_late_proof_of_the_last_setting_completes_it() {
    let mut lamp = Story::initialised();
    lamp.at(10.0, joined(SECOND), "");
    lamp.at(12.0, report_of(SECOND, 0, 0, DIM), "I accepted, ask turn");
    settle(&mut lamp, 12.0, 1);
    lamp.at(14.0, report_of(SECOND, 1, 1, DIM), "I verified setting 0>1");
    let second = lamp.wakes("I accepted, ask turn");
    give_up(&mut lamp, second, 2);
    assert_eq!(state(&lamp), Some(InitialisationState::Unverified));
    lamp.at(
        900.0,
        report_of(SECOND, 2, 2, DIM),
        "I verified setting 1>2 late",
    );
    let status = lamp.device.initialisation().unwrap();
    assert_eq!(status.state, InitialisationState::Done);
    assert_eq!(status.initialised_at, Some(instant(900.0)));
}

#[test]
fn a_restart_in_between_begins_it_anew() {
    let mut lamp = Story::initialised();
    lamp.at(10.0, joined(SECOND), "");
    lamp.at(12.0, report_of(SECOND, 0, 0, DIM), "I accepted, ask turn");
    settle(&mut lamp, 12.0, 1);
    lamp.at(14.0, report_of(SECOND, 1, 1, DIM), "I verified setting 0>1");
    assert_eq!(lamp.device.initialisation().unwrap().step, Some(2));
    lamp.at(15.0, joined(THIRD), "");
    assert_eq!(state(&lamp), Some(InitialisationState::AwaitingUplink));
    lamp.at(17.0, report_of(THIRD, 0, 0, DIM), "I accepted, ask turn");
    assert_eq!(lamp.device.initialisation().unwrap().step, Some(1));
}

#[test]
fn a_setting_under_way_when_the_device_restarts_is_not_mistaken_for_the_new_one() {
    let mut lamp = initialised();
    lamp.at(
        20.0,
        Event::InitialisationRequested { force: true },
        "I accepted, ask turn",
    );
    settle(&mut lamp, 20.0, 3);
    lamp.at(20.8, joined(THIRD), "I superseded: device_restarted");
    lamp.at(22.0, report_of(THIRD, 0, 0, DIM), "I accepted, ask turn");
}

#[test]
fn counters_that_went_down_are_a_restart_too() {
    let mut lamp = Story::initialised();
    lamp.at(10.0, report(11, 0, DIM), "I accepted, ask turn");
}

#[test]
fn a_device_that_was_there_before_is_left_as_it_is() {
    let mut lamp = Story::initialised();
    lamp.at(100.0, report(11, 4, GREEN), "");
    assert_eq!(state(&lamp), None);
    assert!(lamp.device.is_idle());
}

#[test]
fn on_demand_it_is_skipped_when_it_was_done_lately() {
    let mut lamp = initialised();
    let again = Event::InitialisationRequested { force: false };
    let fresh = InitialisationPlan::Fresh {
        initialised_at: instant(18.0),
    };
    assert_eq!(lamp.device.initialisation_plan(instant(19.0), false), fresh);
    lamp.at(19.0, again.clone(), "");
    let forced = lamp.device.initialisation_plan(instant(19.0), true);
    assert_eq!(forced, InitialisationPlan::Start);
    lamp.at(
        19.0,
        Event::InitialisationRequested { force: true },
        "I accepted, ask turn",
    );
    let running = lamp.device.initialisation_plan(instant(19.0), true);
    assert_eq!(running, InitialisationPlan::Running);
    lamp.at(19.1, Event::InitialisationRequested { force: true }, "");

    let mut lamp = initialised();
    lamp.at(18.0 + 3_600.0, again, "I accepted, ask turn");
}

#[test]
fn on_demand_a_lamp_that_answers_already_proves_each_by_its_counter() {
    let mut lamp = Story::initialised();
    lamp.at(
        5.0,
        Event::InitialisationRequested { force: false },
        "I accepted, ask turn",
    );
    settle(&mut lamp, 5.0, 1);
    lamp.at(7.0, report(11, 5, GREEN), "I verified setting 4>5");
    let second = lamp.wakes("I accepted, ask turn");
    settle(&mut lamp, second, 2);
    lamp.at(12.0, report(12, 6, GREEN), "I verified setting 5>6");
    assert_eq!(state(&lamp), Some(InitialisationState::Done));
}

#[test]
fn on_demand_it_waits_for_a_gateway_as_any_command_does() {
    let mut lamp = Story::initialised();
    lamp.gateways = alive(&[]);
    lamp.at(
        5.0,
        Event::InitialisationRequested { force: false },
        "I accepted, I waits: no_gateway until 15, ask turn",
    );
    lamp.gateways = alive(&[1]);
    lamp.at(6.0, Event::GatewaysChanged, "ask turn");
}

#[test]
fn whoever_takes_a_setting_back_ends_the_initialisation() {
    let mut lamp = Story::initialised();
    lamp.at(
        5.0,
        Event::InitialisationRequested { force: false },
        "I accepted, ask turn",
    );
    let status = lamp.device.initialisation().unwrap();
    let id = status.downlink_id.unwrap();
    lamp.at(6.0, Event::CancelRequested(id), "I cancelled, end turn");
    assert_eq!(state(&lamp), Some(InitialisationState::Cancelled));
    assert!(lamp.device.is_idle());
    lamp.at(7.0, cancel('A'), "");
}

#[test]
fn a_setting_that_cannot_be_sent_ends_it() {
    let mut lamp = Story::initialised();
    lamp.at(
        5.0,
        Event::InitialisationRequested { force: false },
        "I accepted, ask turn",
    );
    lamp.at(5.0, Event::TurnGranted, "enqueue 1");
    lamp.at(5.0, enqueued(1), "I enqueued");
    lamp.at(
        5.5,
        dropped(1, DropReason::PayloadTooLarge),
        "I failed: payload_too_large, end turn",
    );
    assert_eq!(state(&lamp), Some(InitialisationState::Failed));
}

#[test]
fn a_crash_in_between_goes_on_where_it_was() {
    let mut lamp = Story::initialised();
    lamp.policy.initialise = true;
    lamp.at(10.0, joined(SECOND), "");
    lamp.at(12.0, report_of(SECOND, 0, 0, DIM), "I accepted, ask turn");
    settle(&mut lamp, 12.0, 1);
    lamp.at(14.0, report_of(SECOND, 1, 1, DIM), "I verified setting 0>1");
    lamp.crash(14.5, "");
    lamp.at(14.5, Event::Elapsed, "");
    assert_eq!(
        lamp.wakes("I accepted, ask turn").to_bits(),
        16.0_f64.to_bits()
    );
}

#[test]
fn a_device_without_settings_needs_none() {
    let mut device = Story::generic();
    device.policy.initialise = true;
    let plan = device.device.initialisation_plan(instant(1.0), true);
    assert_eq!(plan, InitialisationPlan::NotNeeded);
    device.at(1.0, Event::InitialisationRequested { force: true }, "");
    assert_eq!(state(&device), None);
}

#[test]
fn a_raw_setting_needs_a_device_that_answers() {
    let mute = || {
        Command::Raw(downbeat_core::codec::Frame {
            f_port: downbeat_core::codec::busylight::F_PORT,
            payload: vec![0x03, 0xff],
        })
    };
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', request('A', &mute(), false, true), 1);
    lamp.at(11.0, txack(1), "A transmitted, A verified txack, end turn");

    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(13.0, report(11, 5, RED), "A verified 4>5");
    lamp.transmit(20.0, 'B', request('B', &mute(), false, true), 2);
    lamp.at(23.0, report(12, 6, RED), "B verified setting 5>6");
}
