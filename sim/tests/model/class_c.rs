//! Latency, order, locks, confirmed downlinks: chirpstack-observed §1, §2, §6.

use downbeat_core::network::{DropReason, NetworkEvent};
use downbeat_core::radio::DeviceClass;
use downbeat_sim::model::config::LampStart;
use downbeat_sim::model::{ApiFault, NewQueueItem, Wire};

use crate::support::*;

#[test]
fn a_colour_is_taken_shown_and_reported_in_the_observed_times() {
    for seed in 0..50 {
        let mut world = World::settled(lab(1, 3), seed);
        let enqueued_at = world.now;
        let item = world.enqueue(lamp(0), RED);
        assert_within(world.told_after(10.0, is_txack), 0.03, 1.1);
        world.shown_after(10.0, lamp(0), item).unwrap();
        assert_within(Some(world.now.since(enqueued_at).as_secs_f64()), 1.3, 2.45);
        world.told_after(10.0, is_up).unwrap();
        assert_within(Some(world.now.since(enqueued_at).as_secs_f64()), 1.8, 3.5);
        let NetworkEvent::Heard(uplink) = &world.webhooks.last().unwrap().event else {
            panic!("an uplink")
        };
        assert_eq!(uplink.payload[8..12], [1, 0, 0, 0]);
        assert_eq!(uplink.payload[16..21], RED);
        assert_eq!(uplink.receptions.len(), 3);
        assert!(
            uplink
                .receptions
                .is_sorted_by(|a, b| a.rssi_dbm >= b.rssi_dbm)
        );
    }
}

#[test]
fn colours_without_answers_go_out_five_seconds_apart_and_in_order() {
    let config = lab(1, 1).with_lamps(|lamp| lamp.auto_uplink = false);
    let mut world = World::settled(config, 1);
    let items = [RED, GREEN, BLUE, RED].map(|colour| world.enqueue(lamp(0), colour));
    world.wait(30.0);
    let light = world.network.light(lamp(0)).unwrap();
    let shown: Vec<_> = light
        .received
        .iter()
        .map(|frame| frame.queue_item_id)
        .collect();
    assert_eq!(shown, items);
    for (earlier, later) in light.received.iter().zip(light.received.iter().skip(1)) {
        assert_within(Some(later.at.since(earlier.at).as_secs_f64()), 4.9, 5.2);
    }
}

#[test]
fn each_answer_pulls_the_next_item_through_its_receive_window() {
    let mut world = World::settled(lab(1, 3), 2);
    let items = [RED, GREEN, BLUE, RED, GREEN].map(|colour| world.enqueue(lamp(0), colour));
    assert_within(world.shown_after(20.0, lamp(0), items[4]), 6.0, 9.5);
    let delays = world.webhooks.iter().filter_map(|webhook| {
        let Wire::TxAck { delay_s, .. } = webhook.wire else {
            return None;
        };
        Some(delay_s)
    });
    assert_eq!(
        delays.collect::<Vec<_>>(),
        [None, Some(1), Some(1), Some(1), Some(1)]
    );
}

#[test]
fn class_c_is_silent_for_five_seconds_after_an_uplink() {
    let mut world = World::new(lab(1, 1).with_lamps(|lamp| lamp.auto_uplink = false), 3);
    world.told_after(5.0, is_up).unwrap();
    world.wait(0.5);
    let item = world.enqueue(lamp(0), RED);
    assert_within(world.shown_after(20.0, lamp(0), item), 4.5 + 1.3, 5.6 + 1.4);
}

#[test]
fn txack_says_only_that_the_gateway_took_the_frame() {
    let mut world = World::settled(lab(20, 3), 4);
    let items: Vec<_> = (0..20)
        .map(|index| (lamp(index), world.enqueue(lamp(index), RED)))
        .collect();
    let from = world.now;
    world
        .wait_until(5.0, |world| world.count(is_txack) == 20)
        .unwrap();
    assert_within(Some(world.now.since(from).as_secs_f64()), 0.0, 1.1);
    assert!(
        items
            .iter()
            .all(|(dev_eui, item)| !world.has_shown(*dev_eui, *item))
    );
    world
        .wait_until(40.0, |world| {
            items.iter().all(|(dev, item)| world.has_shown(*dev, *item))
        })
        .unwrap();
    assert_within(Some(world.now.since(from).as_secs_f64()), 9.0, 24.0);
}

#[test]
fn a_confirmed_downlink_that_is_heard_is_acknowledged() {
    for auto_uplink in [true, false] {
        let config = lab(1, 1).with_lamps(|lamp| lamp.auto_uplink = auto_uplink);
        let mut world = World::settled(config, 5);
        let item = enqueue_confirmed(&mut world);
        let blocked = world.enqueue(lamp(0), GREEN);
        world.told_after(3.0, is_txack).unwrap();
        assert!(world.network.queue(lamp(0)).unwrap()[0].is_pending);
        assert_within(
            world.told_after(10.0, |event| is_ack(event, item, true)),
            1.5,
            3.2,
        );
        assert!(!world.has_shown(lamp(0), blocked));
        let has_report = world
            .webhooks
            .iter()
            .any(|w| matches!(&w.event, NetworkEvent::Heard(uplink) if uplink.f_port.get() == 15));
        assert_eq!(
            has_report, auto_uplink,
            "an acknowledgement alone is an empty uplink on port 0"
        );
    }
}

#[test]
fn a_confirmed_downlink_that_is_not_heard_is_sent_once_and_given_up() {
    for seed in 0..20 {
        let mut world = World::settled(lab(1, 1), seed);
        world.network.set_gateway_mute(gateway(0), true);
        let item = enqueue_confirmed(&mut world);
        assert_within(
            world.told_after(10.0, |event| is_ack(event, item, false)),
            5.9,
            7.2,
        );
        assert_eq!((world.queue_len(lamp(0)), world.count(is_txack)), (0, 1));
        world.wait(60.0);
        assert_eq!(world.count(is_txack), 1);
    }
}

#[test]
fn an_expired_item_is_dropped_when_the_scheduler_comes_to_it() {
    let mut world = World::settled(lab(1, 1), 6);
    world
        .network
        .set_gateway_online(world.now, gateway(0), false);
    let expires_at_us = Some((world.now + seconds(8.0)).as_millis() * 1000);
    let item = NewQueueItem {
        f_port: 15,
        payload: RED.to_vec(),
        expires_at_us,
        ..NewQueueItem::default()
    };
    let id = world.network.enqueue(world.now, lamp(0), item).unwrap();
    let expired = |event: &NetworkEvent| matches!(event, NetworkEvent::Dropped(dropped) if dropped.queue_item_id == id && dropped.reason == DropReason::Expired);
    assert_within(world.told_after(30.0, expired), 10.0, 11.2);
    assert_eq!(world.queue_len(lamp(0)), 0);
}

#[test]
fn a_payload_beyond_the_data_rate_is_dropped_when_it_is_to_be_sent() {
    let mut world = World::settled(lab(1, 1), 7);
    for (len, fits) in [(51, true), (52, false)] {
        let item = NewQueueItem {
            f_port: 15,
            payload: vec![0; len],
            ..NewQueueItem::default()
        };
        world.network.enqueue(world.now, lamp(0), item).unwrap();
        world.webhooks.clear();
        world.wait(8.0);
        assert_eq!(world.count(is_txack) == 1, fits, "{len} bytes");
        let too_large = |event: &NetworkEvent| matches!(event, NetworkEvent::Dropped(dropped) if dropped.reason == DropReason::PayloadTooLarge);
        assert_eq!(world.count(too_large) == 1, !fits, "{len} bytes");
    }
}

#[test]
fn nothing_is_sent_between_a_join_and_the_first_uplink() {
    let mut world = World::new(
        lab(1, 1).with_lamps(|lamp| lamp.start = LampStart::Booting),
        8,
    );
    let early = world.enqueue(lamp(0), RED);
    let joined = |event: &NetworkEvent| matches!(event, NetworkEvent::Joined(_));
    world.told_after(10.0, joined).unwrap();
    assert_eq!(
        world.webhooks.last().unwrap().class,
        DeviceClass::A,
        "the class before its very first join"
    );
    assert_within(world.shown_after(20.0, lamp(0), early), 6.0, 7.2);
    let first = world
        .webhooks
        .iter()
        .position(|webhook| is_up(&webhook.event))
        .unwrap();
    let txack = world
        .webhooks
        .iter()
        .position(|webhook| is_txack(&webhook.event))
        .unwrap();
    assert!(first < txack);
}

#[test]
fn a_run_takes_up_a_hundred_devices() {
    let mut world = World::settled(lab(150, 3), 9);
    for index in 0..150 {
        world.enqueue(lamp(index), RED);
    }
    world
        .wait_until(5.0, |world| {
            world.network.queue(lamp(0)).unwrap().is_empty()
        })
        .unwrap();
    let untouched = (0..150)
        .filter(|&index| world.queue_len(lamp(index)) == 1)
        .count();
    assert!(untouched >= 50, "{untouched}");
}

#[test]
fn the_api_refuses_what_the_real_one_refuses() {
    let mut world = World::settled(lab(1, 1), 10);
    let item = NewQueueItem {
        f_port: 0,
        payload: vec![1],
        ..NewQueueItem::default()
    };
    assert!(matches!(
        world.network.enqueue(world.now, lamp(0), item),
        Err(ApiFault::Invalid(_))
    ));
    let item = NewQueueItem {
        f_port: 15,
        payload: vec![1],
        ..NewQueueItem::default()
    };
    assert_eq!(
        world.network.enqueue(world.now, lamp(9), item.clone()),
        Err(ApiFault::UnknownDevice)
    );
    world.network.set_server_up(world.now, false);
    assert_eq!(
        world.network.enqueue(world.now, lamp(0), item),
        Err(ApiFault::Unavailable)
    );
}

fn enqueue_confirmed(world: &mut World) -> downbeat_core::id::QueueItemId {
    let item = NewQueueItem {
        f_port: 15,
        payload: RED.to_vec(),
        confirmed: true,
        ..NewQueueItem::default()
    };
    world
        .network
        .enqueue(world.now, lamp(0), item)
        .expect("a known device")
}

fn is_ack(event: &NetworkEvent, item: downbeat_core::id::QueueItemId, acknowledged: bool) -> bool {
    matches!(event, NetworkEvent::Acknowledged(ack)
        if ack.queue_item_id == Some(item) && ack.acknowledged == acknowledged)
}
