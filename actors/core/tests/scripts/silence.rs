//! What was sent without a word: told as the item ends, so that budgets hold after a restart.

use downbeat_core::device::Event;
use downbeat_core::network::DropReason;

use crate::support::{
    RED, Story, alive, dropped, enqueued, instant, light, queue, refused, report, txack,
};

/// From when until when it was tried, whether a tx-ack told of the last try, and the tries that were refused.
fn told(lamp: &Story) -> Vec<(f64, f64, bool, u32)> {
    let second = |at: downbeat_core::time::Timestamp| at.since(instant(0.0)).as_secs_f64();
    let items = lamp.silences.iter();
    items
        .map(|it| (second(it.from), second(it.until), it.is_told, it.refused))
        .collect()
}

#[test]
fn a_prompt_tx_ack_says_it_all() {
    let mut lamp = Story::new();
    lamp.transmit(10.0, 'A', light('A', RED), 1);
    lamp.at(12.0, report(11, 5, RED), "A verified 4>5");
    assert_eq!(told(&lamp), []);
}

#[test]
fn an_item_without_a_word_is_told_of_up_to_its_expiry() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.wakes("read queue");
    let not_transmitted = "A not transmitted";
    lamp.at(20.1, queue(&[(1, 30.0, RED)], 0), not_transmitted);
    lamp.at(
        33.0,
        dropped(1, DropReason::Expired),
        "A missed: not_transmitted, end turn, A waits: not_transmitted",
    );
    assert_eq!(told(&lamp), [(10.0, 30.0, false, 0)]);
    let [item] = &lamp.silences[..] else {
        unreachable!()
    };
    assert_eq!(item.gateways[0].seen_at, Some(instant(0.0)));
}

#[test]
fn of_an_item_that_went_out_unseen_as_much_is_told_as_may_have_been_sent() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.at(12.0, report(11, 5, RED), "A verified 4>5");
    lamp.wakes("read queue");
    lamp.at(20.1, queue(&[], 0), "A presumed, end turn");
    assert_eq!(told(&lamp), [(10.0, 20.1, false, 0)]);
}

#[test]
fn tries_before_a_late_tx_ack_are_told_of() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.at(20.4, txack(1), "A transmitted, end turn");
    assert_eq!(told(&lamp), [(10.0, 20.4, true, 0)]);
}

#[test]
fn a_refusal_that_is_told_twice_is_one() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    for second in [10.5, 10.6, 15.6] {
        lamp.at(second, refused("TOO_LATE"), "A refused: TOO_LATE");
    }
    lamp.at(
        27.0,
        dropped(1, DropReason::Expired),
        "A missed: gateway_refused, end turn, A waits: gateway_refused",
    );
    assert_eq!(told(&lamp), [(10.0, 27.0, false, 2)]);
}

/// ChirpStack's clock is behind ours: what has expired for us is tried on.
#[test]
fn an_item_that_is_there_though_it_expired_is_followed_to_its_end() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.wakes("read queue");
    let not_transmitted = "A not transmitted";
    lamp.at(20.1, queue(&[(1, 30.0, RED)], 0), not_transmitted);
    lamp.wakes("read queue");
    let missed = "A missed: not_transmitted, A waits: behind_queue_item";
    lamp.at(36.6, queue(&[(1, 30.0, RED)], 0), missed);
    lamp.at(95.0, dropped(1, DropReason::Expired), "end turn, ask turn");
    assert_eq!(told(&lamp), [(10.0, 95.0, false, 0)]);
}

/// Where none is there, nothing was sent.
#[test]
fn nothing_is_told_of_scouts_whose_gateways_give_no_sign() {
    let mut lamp = Story::new();
    lamp.gateways = alive(&[]);
    let asked = Event::Requested(light('A', RED));
    lamp.at(
        100.0,
        asked,
        "A accepted, A waits: no_gateway until 110, ask turn",
    );
    lamp.at(100.0, Event::TurnGranted, "enqueue 1");
    lamp.at(100.1, enqueued(1), "A enqueued");
    lamp.at(
        123.0,
        dropped(1, DropReason::Expired),
        "A missed: not_transmitted, end turn, A waits: no_gateway until 143",
    );
    assert_eq!(told(&lamp), []);
}

/// After a crash the pacer hears from when until when the item was tried.
#[test]
fn an_item_from_before_a_crash_is_held_with_its_age() {
    let mut lamp = Story::new();
    lamp.enqueue(10.0, 'A', light('A', RED), 1);
    lamp.crash(17.0, "hold turn");
    let since = |second| lamp.device.silent_since(instant(second));
    assert_eq!(since(17.0), Some((instant(10.0), instant(17.0))));
    assert_eq!(since(90.0), Some((instant(10.0), instant(30.0))));
}
