//! What becomes of an attempt in ChirpStack's queue: found, stuck, gone, expired, refused, lost on the way.

use downbeat_core::device::Event;
use downbeat_core::network::{DropReason, EnqueueFailure};

use crate::support::{
    BLUE, GREEN, RED, Story, ack, ask, bytes, cancel, dropped, enqueued, failed, instant, light,
    queue, refused, report, request, txack,
};
use downbeat_core::codec::Command;

#[test]
fn an_item_that_is_still_there_after_ten_seconds_is_not_transmitted() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    assert_eq!(lamp.wakes("read queue"), 20.0);
    lamp.at(
        20.1,
        queue(&[(1, 30.0, RED)], 2),
        "A not transmitted, nor 2 of others",
    );
    // It is left to expire, never flushed.
    assert_eq!(lamp.wakes("read queue"), 36.5);
    lamp.at(
        36.6,
        queue(&[], 0),
        "A missed: not_transmitted, end turn, A waits: not_transmitted",
    );
}

#[test]
fn an_item_that_is_gone_before_it_expires_is_presumed_transmitted() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.wakes("read queue");
    lamp.at(20.1, queue(&[], 0), "A presumed, end turn");
    lamp.at(22.0, report(11, 5, RED), "A verified 4>5");
}

#[test]
fn a_look_that_fails_is_repeated() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.wakes("read queue");
    lamp.at(23.0, Event::QueueReadFailed, "");
    assert_eq!(lamp.wakes("read queue"), 25.0);
}

#[test]
fn a_look_that_is_never_answered_is_repeated_after_a_minute() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.wakes("read queue");
    assert_eq!(lamp.wakes("read queue"), 80.0);
}

/// Seed 187 and what follows from it: one look is bound to one item.
#[test]
fn a_look_that_began_before_an_item_was_there_says_nothing_of_it() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.wakes("read queue");
    lamp.at(20.1, txack(1), "A transmitted, end turn");
    lamp.at(
        21.0,
        ask(light('B', GREEN)),
        "A superseded: newer_command, B accepted, ask turn",
    );
    lamp.at(21.0, Event::TurnGranted, "enqueue 2");
    lamp.at(21.1, enqueued(2), "B enqueued");
    lamp.at(21.2, queue(&[], 0), "");
}

#[test]
fn an_item_that_expired_unsent_is_tried_again_after_the_backoff() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.at(
        31.0,
        dropped(1, DropReason::Expired),
        "A missed: not_transmitted, end turn, A waits: not_transmitted",
    );
}

#[test]
fn an_expired_item_that_lingers_blocks_the_next_attempt_but_not_the_end() {
    let mut lamp = Story::new();
    let mut short = light('A', RED);
    short.expires_at = Some(instant(60.0));
    lamp.enqueue(10.0, 'A', short, 1);
    lamp.wakes("read queue");
    lamp.at(20.1, queue(&[(1, 30.0, RED)], 0), "A not transmitted");
    lamp.wakes("read queue");
    lamp.at(
        36.6,
        queue(&[(1, 30.0, RED)], 0),
        "A missed: not_transmitted, A waits: behind_queue_item",
    );
    // The backoff has passed, the item has not.
    lamp.wakes("");
    assert_eq!(lamp.wakes("read queue"), 46.6);
    lamp.at(46.7, queue(&[(1, 30.0, RED)], 0), "");
    lamp.wakes("read queue");
    lamp.at(56.8, queue(&[(1, 30.0, RED)], 0), "");
    assert_eq!(lamp.wakes("A expired: behind_queue_item"), 60.0);
    lamp.wakes("read queue");
    lamp.at(67.0, queue(&[], 0), "end turn");
    assert!(lamp.device.is_idle());
}

#[test]
fn a_refusal_belongs_to_the_one_item_and_chirpstack_tries_again() {
    let mut lamp = Story::new();
    lamp.at(9.0, refused("QUEUE_FULL"), "");
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.at(
        11.0,
        refused("DUTY_CYCLE_OVERFLOW"),
        "A refused: DUTY_CYCLE_OVERFLOW",
    );
    lamp.at(
        31.0,
        dropped(1, DropReason::Expired),
        "A missed: gateway_refused, end turn, A waits: gateway_refused",
    );
}

#[test]
fn a_payload_that_is_too_large_is_the_end() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.at(
        11.0,
        dropped(1, DropReason::PayloadTooLarge),
        "A failed: payload_too_large, end turn",
    );
}

#[test]
fn a_tx_ack_may_overtake_the_answer_of_its_enqueue() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.0, Event::TurnGranted, "enqueue 1");
    lamp.at(10.2, txack(1), "");
    lamp.at(10.3, enqueued(1), "A enqueued, A transmitted, end turn");
}

#[test]
fn a_tx_ack_after_the_item_seemed_to_have_expired_still_opens_the_window() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.at(
        31.0,
        dropped(1, DropReason::Expired),
        "A missed: not_transmitted, end turn, A waits: not_transmitted",
    );
    lamp.at(31.5, txack(1), "A transmitted");
    lamp.at(31.6, txack(1), "");
    lamp.at(34.0, report(11, 5, RED), "A verified 4>5");
}

#[test]
fn an_answer_that_is_lost_is_looked_up_and_the_item_adopted() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.0, Event::TurnGranted, "enqueue 1");
    lamp.at(
        13.0,
        failed(1, EnqueueFailure::Unknown),
        "A waits: answer_lost, read queue",
    );
    // Another's item of the same colour does not expire when ours does.
    lamp.at(13.1, queue(&[(77, 30.5, RED)], 1), "");
    assert_eq!(lamp.wakes("read queue"), 16.0);
    lamp.at(
        16.1,
        queue(&[(77, 30.5, RED), (1, 30.0, RED)], 0),
        "A enqueued",
    );
    lamp.at(17.0, txack(1), "A transmitted, end turn");
}

#[test]
fn an_answer_that_is_lost_is_repeated_when_two_looks_find_nothing() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.0, Event::TurnGranted, "enqueue 1");
    lamp.at(
        13.0,
        failed(1, EnqueueFailure::Unknown),
        "A waits: answer_lost, read queue",
    );
    lamp.at(13.1, queue(&[], 0), "");
    lamp.wakes("read queue");
    lamp.at(
        16.1,
        queue(&[], 0),
        "end turn, A waits: server_unavailable until 17",
    );
    assert_eq!(lamp.wakes("ask turn"), 17.1);
    lamp.at(17.1, Event::TurnGranted, "enqueue 2");
}

#[test]
fn an_answer_that_comes_late_is_an_answer() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.0, Event::TurnGranted, "enqueue 1");
    lamp.at(
        13.0,
        failed(1, EnqueueFailure::Unknown),
        "A waits: answer_lost, read queue",
    );
    lamp.at(13.05, enqueued(1), "A enqueued");
    lamp.at(13.1, queue(&[], 0), "");
    assert_eq!(lamp.wakes("read queue"), 20.0);
}

#[test]
fn answers_that_are_always_lost_come_to_an_end() {
    let mut lamp = Story::new();
    lamp.at(0.0, ask(light('A', RED)), "A accepted, ask turn");
    for _ in 0..1000 {
        let second = lamp.next_wake().unwrap_or(0.0);
        let done = lamp
            .device
            .step(instant(second), Event::Elapsed, &lamp.gateways);
        let _ = done;
        let _ = lamp
            .device
            .step(instant(second), Event::TurnGranted, &lamp.gateways);
        for attempt in 1..60 {
            let lost = failed(attempt, EnqueueFailure::Unknown);
            let _ = lamp.device.step(instant(second), lost, &lamp.gateways);
        }
        let _ = lamp
            .device
            .step(instant(second), queue(&[], 0), &lamp.gateways);
        if lamp.device.unfinished().next().is_none() {
            return;
        }
    }
    panic!("it never ends: {:?}", lamp.device.unfinished().next());
}

/// Seed 187: a foreign item went out while our call was still under way, and the first look found nothing.
#[test]
fn the_tx_ack_of_another_application_is_not_taken_for_ours_at_once() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.0, Event::TurnGranted, "enqueue 1");
    lamp.at(11.0, txack(77), "");
    lamp.at(
        13.0,
        failed(1, EnqueueFailure::Unknown),
        "A waits: answer_lost, read queue",
    );
    lamp.at(13.1, queue(&[], 0), "");
    lamp.wakes("read queue");
    lamp.at(16.1, queue(&[(1, 30.0, RED)], 0), "A enqueued");
}

#[test]
fn a_call_that_is_never_answered_is_looked_up_after_a_minute() {
    let mut lamp = Story::new();
    lamp.at(10.0, ask(light('A', RED)), "A accepted, ask turn");
    lamp.at(10.0, Event::TurnGranted, "enqueue 1");
    assert_eq!(lamp.wakes("read queue"), 70.0);
}

#[test]
fn the_items_of_others_are_left_alone() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.at(11.0, txack(77), "");
    lamp.at(12.0, dropped(77, DropReason::Expired), "");
    lamp.at(13.0, ack(77, true), "");
    lamp.at(14.0, ack(77, false), "");
    lamp.at(15.0, txack(1), "A transmitted, end turn");
}

#[test]
fn a_confirmed_downlink_is_proven_by_its_acknowledgement() {
    let mut device = Story::generic();
    device.enqueue(10.0, 'A', bytes('A', true), 1);
    // Until it is acknowledged it blocks ChirpStack's queue of this device, but nobody else's turn.
    device.at(11.0, txack(1), "A transmitted, end turn");
    device.at(14.0, ack(1, true), "A verified ack");
    assert!(device.device.is_idle());
}

#[test]
fn a_confirmed_downlink_that_is_not_acknowledged_is_sent_again_by_us() {
    let mut device = Story::generic();
    device.transmit(10.0, 'A', bytes('A', true), 1);
    device.at(
        17.0,
        ack(1, false),
        "A missed: not_acknowledged, A waits: not_acknowledged",
    );
    device.wakes("ask turn");
    device.at(27.5, Event::TurnGranted, "enqueue 2");
}

#[test]
fn an_acknowledgement_in_the_backoff_or_after_the_end_is_a_late_proof() {
    let mut device = Story::generic();
    device.transmit(10.0, 'A', bytes('A', true), 1);
    device.wakes("read queue");
    device.at(
        31.1,
        Event::QueueRead(Vec::new()),
        "A missed: not_acknowledged, A waits: not_acknowledged",
    );
    device.at(33.0, ack(1, true), "A verified ack late");

    let mut device = Story::generic();
    let mut once = bytes('A', true);
    once.attempts_max = Some(1);
    device.transmit(10.0, 'A', once, 1);
    device.at(
        17.0,
        ack(1, false),
        "A missed: not_acknowledged, A unverified: not_acknowledged",
    );
    device.at(18.0, ack(1, true), "A verified ack late");
    device.at(19.0, ack(1, true), "");
}

/// Seed 4508: the device's duty cycle holds an acknowledgement back, and it does not say of what it is.
#[test]
fn an_acknowledgement_that_may_be_an_earlier_ones_proves_nothing() {
    let mut device = Story::generic();
    let mut once = bytes('A', true);
    once.attempts_max = Some(1);
    device.transmit(10.0, 'A', once, 1);
    device.at(
        17.0,
        ack(1, false),
        "A missed: not_acknowledged, A unverified: not_acknowledged",
    );
    device.transmit(18.0, 'B', bytes('B', true), 2);
    device.at(
        19.1,
        ack(2, true),
        "B missed: not_acknowledged, B waits: not_acknowledged",
    );
    // Long after, and after the device spoke, there is no doubt any more.
    device.at(110.0, report(12, 0, GREEN), "ask turn");
    device.at(110.0, Event::TurnGranted, "enqueue 3");
    device.at(110.0, enqueued(3), "B enqueued");
    device.at(111.0, txack(3), "B transmitted, end turn");
    device.at(113.0, ack(3, true), "B verified ack");
}

/// Observed on a real ChirpStack: two confirmed commands within 90 s, each acknowledged at once.
#[test]
fn what_was_acknowledged_casts_no_doubt_on_the_next_acknowledgement() {
    let mut device = Story::generic();
    device.transmit(10.0, 'A', bytes('A', true), 1);
    device.at(13.0, ack(1, true), "A verified ack");
    device.transmit(20.0, 'B', bytes('B', true), 2);
    device.at(23.0, ack(2, true), "B verified ack");
}

#[test]
fn an_acknowledgement_whose_tx_ack_was_lost_says_that_it_was_on_the_air() {
    let mut lamp = Story::new();
    lamp.enqueue(
        10.0,
        'A',
        request('A', &Command::SetLight(RED), true, true),
        1,
    );
    lamp.at(13.0, ack(1, true), "A presumed, end turn");
    // A light is proven by what the lamp shows all the same.
    lamp.at(13.1, report(11, 5, RED), "A verified 4>5");
}

#[test]
fn where_the_tx_ack_is_the_proof_it_is_only_that() {
    let mut device = Story::generic();
    device.enqueue(10.0, 'A', bytes('A', false), 1);
    device.at(11.0, txack(1), "A transmitted, A verified txack, end turn");
    device.enqueue(20.0, 'B', bytes('B', false), 2);
    device.wakes("read queue");
    device.at(30.1, Event::QueueRead(Vec::new()), "B presumed, end turn");
    device.at(31.0, txack(2), "B transmitted, B verified txack");
}

#[test]
fn fire_and_forget_ends_when_chirpstack_has_it_and_tells_of_its_tx_ack() {
    let mut lamp = Story::new();
    lamp.at(
        10.0,
        ask(request('A', &Command::SetLight(RED), false, false)),
        "A accepted, ask turn",
    );
    lamp.at(10.0, Event::TurnGranted, "enqueue 1");
    lamp.at(10.1, enqueued(1), "A enqueued, A sent");
    lamp.at(11.0, txack(1), "A transmitted, end turn");
    assert!(lamp.device.is_idle());
}

#[test]
fn fire_and_forget_that_expires_is_told_and_not_repeated() {
    let mut lamp = Story::new();
    lamp.at(
        10.0,
        ask(request('A', &Command::SetLight(RED), false, false)),
        "A accepted, ask turn",
    );
    lamp.at(10.0, Event::TurnGranted, "enqueue 1");
    lamp.at(10.1, enqueued(1), "A enqueued, A sent");
    lamp.at(
        31.0,
        dropped(1, DropReason::Expired),
        "A missed: not_transmitted, end turn",
    );
}

#[test]
fn the_next_command_waits_behind_the_item_of_an_ended_one() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.at(10.5, cancel('A'), "A cancelled");
    lamp.at(
        10.6,
        ask(light('B', BLUE)),
        "B accepted, B waits: behind_queue_item",
    );
    lamp.at(11.0, txack(1), "A transmitted, end turn, ask turn");
}
