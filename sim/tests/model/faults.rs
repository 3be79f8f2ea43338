//! Dark, mute and refusing gateways, burnt frame counters, outages: chirpstack-observed §3, §4, §5, §7, §10.

use std::time::Duration;

use downbeat_core::network::NetworkEvent;
use downbeat_sim::model::config::{Link, LinksConfig};
use downbeat_sim::model::{GatewayState, NewQueueItem, Refusal};

use crate::support::*;

#[test]
fn a_dark_gateway_gives_no_event_and_the_frame_is_tried_for_ever() {
    let mut world = World::settled(lab(1, 1), 1);
    world
        .network
        .set_gateway_online(world.now, gateway(0), false);
    let item = world.enqueue(lamp(0), RED);
    world.wait(40.0);
    assert!(world.webhooks.is_empty());
    let queue = world.network.queue(lamp(0)).unwrap();
    assert_eq!(
        (queue[0].id, queue[0].is_pending, queue[0].f_cnt_down),
        (item, false, 0)
    );
    world
        .network
        .set_gateway_online(world.now, gateway(0), true);
    assert_within(world.shown_after(20.0, lamp(0), item), 1.3, 6.5);
}

#[test]
fn one_of_three_strong_gateways_dark_costs_a_third_of_the_first_tries() {
    let (mut first_tries_lost, mut slowest) = (0, 0.0_f64);
    for seed in 0..60 {
        let mut world = World::settled(lab(1, 3), seed);
        world
            .network
            .set_gateway_online(world.now, gateway(1), false);
        let item = world.enqueue(lamp(0), RED);
        let after = world.shown_after(60.0, lamp(0), item).unwrap();
        first_tries_lost += usize::from(after > 3.0);
        slowest = slowest.max(after);
    }
    assert!(
        (10..=30).contains(&first_tries_lost),
        "{first_tries_lost} of 60"
    );
    assert!(slowest > 6.0);
}

#[test]
fn a_dark_gateway_that_alone_was_strong_holds_the_lamp_until_it_speaks_again() {
    let mut world = World::settled(lab(1, 3), 2);
    for (index, snr_db) in [(0, 8.0), (1, -3.0), (2, -4.0)] {
        let link = Link {
            rssi_dbm: -100,
            snr_db,
        };
        world.network.set_link(lamp(0), gateway(index), Some(link));
    }
    let refresh = NewQueueItem {
        f_port: 15,
        payload: vec![5, 0],
        ..NewQueueItem::default()
    };
    world.network.enqueue(world.now, lamp(0), refresh).unwrap();
    world.wait(15.0);
    world
        .network
        .set_gateway_online(world.now, gateway(0), false);
    let item = world.enqueue(lamp(0), RED);
    assert_eq!(world.shown_after(25.0, lamp(0), item), None);
    // Only an uplink frees it; the lamp's next one is its heartbeat.
    world.told_after(2_000.0, is_up).unwrap();
    assert_within(world.shown_after(20.0, lamp(0), item), 0.6, 1.3);
}

#[test]
fn a_refusal_is_logged_without_saying_of_what_and_the_item_stays() {
    for refusal in [
        Refusal::TooLate,
        Refusal::DutyCycleOverflow,
        Refusal::QueueFull,
        Refusal::CollisionPacket,
    ] {
        let mut world = World::settled(lab(1, 1), 3);
        world.network.set_gateway_refusal(gateway(0), Some(refusal));
        let item = world.enqueue(lamp(0), RED);
        world.wait(30.0);
        let refused = |event: &NetworkEvent| matches!(event, NetworkEvent::Refused(refused) if refused.status == refusal.name());
        assert!((5..=6).contains(&world.count(refused)), "{refusal:?}");
        assert_eq!(world.count(is_txack), 0);
        assert!(!world.network.queue(lamp(0)).unwrap()[0].is_pending);
        world.network.set_gateway_refusal(gateway(0), None);
        assert_within(world.shown_after(20.0, lamp(0), item), 1.3, 6.5);
    }
}

#[test]
fn tries_of_a_silent_item_are_five_seconds_apart() {
    let mut world = World::settled(lab(1, 1), 4);
    world
        .network
        .set_gateway_refusal(gateway(0), Some(Refusal::TooLate));
    world.enqueue(lamp(0), RED);
    world.wait(60.0);
    for pair in world.webhooks.windows(2) {
        assert_within(Some(pair[1].at.since(pair[0].at).as_secs_f64()), 5.0, 5.1);
    }
}

#[test]
fn replacing_while_the_ack_is_on_its_way_burns_the_new_colour() {
    for seed in 0..8 {
        let mut config = lab(1, 3);
        config.links.latency = Duration::from_millis(300);
        let mut world = World::settled(config, seed);
        let old = world.enqueue(lamp(0), RED);
        world
            .wait_until(3.0, |world| {
                world.network.gateways().iter().any(|g| g.queued > 0)
            })
            .unwrap();
        let replace = NewQueueItem {
            f_port: 15,
            payload: GREEN.to_vec(),
            flush_queue: true,
            ..NewQueueItem::default()
        };
        let new = world.network.enqueue(world.now, lamp(0), replace).unwrap();
        assert_eq!(world.shown_after(60.0, lamp(0), new), None, "seed {seed}");
        assert!(world.has_shown(lamp(0), old));
        assert_eq!(
            world.count(is_txack),
            1,
            "for the new one, which nobody saw"
        );
        assert_eq!(world.queue_len(lamp(0)), 0);
        assert!(world.network.light(lamp(0)).unwrap().replays_dropped >= 1);
        let next = world.enqueue(lamp(0), BLUE);
        assert!(
            world.shown_after(20.0, lamp(0), next).is_some(),
            "the counter has moved by now"
        );
    }
}

#[test]
fn a_lost_tx_ack_repeats_the_frame_and_a_flush_then_burns_the_next_one() {
    let mut world = World::settled(lab(1, 1), 5);
    world
        .network
        .set_gateway_tx_ack(gateway(0), 1.0, Duration::ZERO);
    let first = world.enqueue(lamp(0), RED);
    assert!(world.shown_after(5.0, lamp(0), first).is_some());
    world.wait(20.0);
    assert!(world.network.light(lamp(0)).unwrap().replays_dropped >= 2);
    assert_eq!(world.queue_len(lamp(0)), 1);
    world
        .network
        .set_gateway_tx_ack(gateway(0), 0.0, Duration::ZERO);
    world.network.flush(world.now, lamp(0)).unwrap();
    world.webhooks.clear();
    let lost = world.enqueue(lamp(0), GREEN);
    assert_eq!(world.shown_after(30.0, lamp(0), lost), None);
    assert_eq!((world.count(is_txack), world.queue_len(lamp(0))), (1, 0));
}

#[test]
fn what_radiates_nothing_or_reaches_nobody_still_gives_a_txack() {
    for unpowered in [true, false] {
        let mut world = World::settled(lab(1, 1), 6);
        if unpowered {
            world.network.set_light_power(world.now, lamp(0), false);
        } else {
            world.network.set_gateway_mute(gateway(0), true);
        }
        let item = world.enqueue(lamp(0), RED);
        world.wait(30.0);
        assert_eq!((world.webhooks.len(), world.count(is_txack)), (1, 1));
        assert_eq!(world.queue_len(lamp(0)), 0);
        assert!(!world.has_shown(lamp(0), item));
    }
}

#[test]
fn chirpstack_calls_a_gateway_offline_by_its_stats_alone() {
    for seed in 0..20 {
        let mut config = lab(1, 1);
        config.gateways[0].stats_interval = seconds(10.0);
        let mut world = World::settled(config, seed);
        let state = |world: &World| world.network.gateway(gateway(0)).unwrap().state;
        assert_eq!(state(&world), GatewayState::Online);
        world
            .network
            .set_gateway_online(world.now, gateway(0), false);
        world.wait(9.9);
        assert_eq!(state(&world), GatewayState::Online);
        world.wait(10.2);
        assert_eq!(state(&world), GatewayState::Offline);
        world
            .network
            .set_gateway_online(world.now, gateway(0), true);
        assert_eq!(state(&world), GatewayState::Offline);
        world.wait(10.0);
        assert_eq!(state(&world), GatewayState::Online);
    }
}

#[test]
fn a_stopped_chirpstack_loses_uplinks_and_keeps_its_queue() {
    let mut config = lab(1, 1).with_lamps(|lamp| lamp.heartbeat = seconds(20.0));
    config.links.latency = Duration::from_millis(10);
    let mut world = World::settled(config, 7);
    let item = world.enqueue(lamp(0), RED);
    world.network.set_server_up(world.now, false);
    world.wait(45.0);
    assert!(world.webhooks.is_empty());
    world.network.set_server_up(world.now, true);
    assert_within(world.shown_after(20.0, lamp(0), item), 1.3, 2.6);
}

#[test]
fn a_gateway_that_sends_hears_nothing() {
    let (mut answered, mut sent) = (0, 0);
    let unheard = |world: &World| -> u64 {
        let lights = world.network.lights();
        lights.map(|light| light.uplinks_unheard).sum()
    };
    for seed in 0..4 {
        let mut world = World::settled(lab(60, 1), seed);
        let before = unheard(&world);
        for index in 0..60 {
            world.enqueue(lamp(index), RED);
        }
        world
            .wait_until(400.0, |world| {
                (0..60).all(|index| world.queue_len(lamp(index)) == 0)
            })
            .unwrap();
        world.wait(60.0);
        answered += world.count(is_up);
        sent += world.count(is_up) + usize::try_from(unheard(&world) - before).unwrap();
        let full = |event: &NetworkEvent| matches!(event, NetworkEvent::Refused(refused) if refused.status == "QUEUE_FULL");
        assert!(world.count(full) > 20);
    }
    assert!(answered < 4 * 20, "{answered} answers came through");
    assert_eq!(sent, 240, "each was heard or is counted as unheard");
}

#[test]
fn a_gateway_with_a_duty_cycle_refuses_beyond_it() {
    let mut config = lab(1, 1).with_lamps(|lamp| lamp.auto_uplink = false);
    config.gateways[0].duty_cycle = Some(0.001);
    let mut world = World::settled(config, 8);
    for _ in 0..5 {
        world.enqueue(lamp(0), RED);
    }
    world.wait(60.0);
    assert_eq!(
        world.count(is_txack),
        2,
        "3.6 s of an hour carry two frames of 1.3 s"
    );
    assert_eq!(world.queue_len(lamp(0)), 3);
}

#[test]
fn losses_are_as_frequent_as_configured() {
    let mut config = lab(1, 1).with_lamps(|lamp| lamp.heartbeat = seconds(60.0));
    config.links = LinksConfig {
        loss_up: 0.25,
        ..LinksConfig::default()
    };
    let mut world = World::new(config, 9);
    world.wait(60.0 * 1000.0);
    let heard = world.count(is_up);
    assert!((690..=810).contains(&heard), "{heard} of 1000");
}
