//! Delivery of events, and that everything follows from the seed.

use std::time::Duration;

use downbeat_sim::model::Webhook;
use downbeat_sim::model::config::WebhookConfig;

use crate::support::*;

fn life(seed: u64, config: WebhookConfig) -> Vec<Webhook> {
    let mut network = lab(3, 2).with_lamps(|lamp| lamp.heartbeat = seconds(30.0));
    network.webhooks = config;
    network.links.loss_up = 0.1;
    network.links.loss_down = 0.1;
    let mut world = World::new(network, seed);
    for round in 0..20 {
        world.enqueue(lamp(round % 3), RED);
        world.wait(20.0);
    }
    world.webhooks
}

#[test]
fn the_same_seed_is_the_same_life() {
    let badly = WebhookConfig {
        loss: 0.1,
        duplicate: 0.1,
        reorder: 0.2,
        ..WebhookConfig::default()
    };
    assert_eq!(life(1, badly), life(1, badly));
    assert_ne!(life(1, badly), life(2, badly));
}

#[test]
fn a_life_in_small_steps_is_the_same_as_in_one() {
    let mut stepped = World::new(lab(2, 2), 3);
    let mut whole = World::new(lab(2, 2), 3);
    for world in [&mut stepped, &mut whole] {
        world.enqueue(lamp(1), RED);
    }
    (0..600).for_each(|_| stepped.wait(0.1));
    whole.wait(60.0);
    assert_eq!(stepped.webhooks, whole.webhooks);
    assert_eq!(stepped.network.light(lamp(1)), whole.network.light(lamp(1)));
}

#[test]
fn posts_are_lost_repeated_and_overtaken_as_configured() {
    let faithful = life(4, WebhookConfig::default());
    assert!(faithful.is_sorted_by_key(|webhook| webhook.at));
    assert!(!faithful.is_empty());
    let none = life(
        4,
        WebhookConfig {
            loss: 1.0,
            ..WebhookConfig::default()
        },
    );
    assert!(none.is_empty());
    let twice = life(
        4,
        WebhookConfig {
            duplicate: 1.0,
            ..WebhookConfig::default()
        },
    );
    assert_eq!(twice.len() % 2, 0);
    let late = WebhookConfig {
        reorder: 0.5,
        reorder_delay: Duration::from_secs(3),
        ..WebhookConfig::default()
    };
    assert!(!life(4, late).is_sorted_by_key(|webhook| webhook.time));
}

#[test]
fn what_happens_next_is_known() {
    let mut world = World::settled(lab(1, 1), 5);
    let next = world.network.next_event_at().unwrap();
    assert!(
        next.since(world.now) > Duration::from_mins(1),
        "an idle network sleeps until a heartbeat"
    );
    world.enqueue(lamp(0), RED);
    assert!(world.network.next_event_at().unwrap().since(world.now) <= Duration::from_secs(2));
}
