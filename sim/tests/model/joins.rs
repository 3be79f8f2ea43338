//! Power, joins, watchdog, commands: chirpstack-observed §8 and kuando-busylight.

use downbeat_core::light::{Color, LightState};
use downbeat_core::network::{NetworkEvent, Uplink};
use downbeat_core::radio::DeviceClass;
use downbeat_sim::model::config::{LampStart, NetworkConfig};
use downbeat_sim::model::{Cause, DeviceFields, DeviceKeys, NewQueueItem};

use crate::support::*;

fn is_join(event: &NetworkEvent) -> bool {
    matches!(event, NetworkEvent::Joined(_))
}

fn last_uplink(world: &World) -> &Uplink {
    let uplinks = world.webhooks.iter().rev().find_map(|webhook| {
        let NetworkEvent::Heard(uplink) = &webhook.event else {
            return None;
        };
        Some(uplink)
    });
    uplinks.expect("an uplink")
}

#[test]
fn a_reboot_is_a_join_then_an_uplink_with_everything_from_zero() {
    let mut world = World::settled(lab(1, 3), 1);
    let item = world.enqueue(lamp(0), RED);
    world.shown_after(10.0, lamp(0), item).unwrap();
    world.wait(5.0);
    let old_address = last_uplink(&world).dev_addr;
    assert!(world.network.reboot_light(world.now, lamp(0)));
    world.told_after(10.0, is_join).unwrap();
    assert_eq!(world.webhooks.last().unwrap().class, DeviceClass::C);
    assert!(!world.network.light(lamp(0)).unwrap().joined);
    assert_within(world.told_after(20.0, is_up), 5.0, 6.5);
    let uplink = last_uplink(&world);
    assert_ne!(uplink.dev_addr, old_address);
    assert_eq!((uplink.f_cnt, &uplink.payload[..16]), (0, &[0; 16][..]));
    let light = world.network.light(lamp(0)).unwrap();
    assert_eq!(light.shown, LightState::steady(Color::rgb(0, 50, 0)));
    let causes: Vec<_> = light.changes.iter().map(|change| change.cause).collect();
    assert_eq!(causes[causes.len() - 2..], [Cause::Rebooted, Cause::Joined]);
}

#[test]
fn a_queue_survives_a_join_unless_the_profile_says_otherwise() {
    for (flush, shown) in [(false, true), (true, false)] {
        let mut config = lab(1, 1);
        config.server.flush_queue_on_activate = flush;
        let mut world = World::settled(config, 2);
        world
            .network
            .set_gateway_online(world.now, gateway(0), false);
        let item = world.enqueue(lamp(0), RED);
        world.wait(3.0);
        world.network.set_light_power(world.now, lamp(0), false);
        world
            .network
            .set_gateway_online(world.now, gateway(0), true);
        world.network.set_light_power(world.now, lamp(0), true);
        world.told_after(40.0, is_join);
        let after = world.shown_after(20.0, lamp(0), item);
        assert_eq!(
            after.is_some() || world.has_shown(lamp(0), item),
            shown,
            "flush {flush}: {after:?}"
        );
        assert!(
            after.is_none_or(|after| (6.0..7.2).contains(&after)),
            "{after:?}"
        );
    }
}

#[test]
fn a_lamp_that_chirpstack_does_not_know_joins_once_it_is_created_with_its_key() {
    let config = NetworkConfig::fleet(1, 1).with_lamps(|lamp| {
        lamp.registered = false;
        lamp.start = LampStart::Booting;
        lamp.app_key = Some([7; 16]);
    });
    let mut world = World::new(config, 3);
    world.wait(60.0);
    assert!(world.webhooks.is_empty());
    world
        .network
        .create_device(world.now, lamp(0), DeviceFields::default())
        .unwrap();
    world
        .network
        .create_keys(world.now, lamp(0), DeviceKeys::default())
        .unwrap();
    world.wait(60.0);
    let wrong_key = |event: &NetworkEvent| matches!(event, NetworkEvent::Logged(log) if log.code == "UPLINK_MIC");
    assert!(world.count(wrong_key) > 0);
    assert_eq!(world.count(is_join), 0);
    let keys = DeviceKeys {
        nwk_key: [7; 16],
        ..DeviceKeys::default()
    };
    world.network.update_keys(world.now, lamp(0), keys).unwrap();
    assert!(world.told_after(120.0, is_up).is_some());
}

#[test]
fn a_lamp_without_downlinks_restarts_by_its_watchdog() {
    let config = lab(1, 1).with_lamps(|lamp| {
        lamp.heartbeat = seconds(60.0);
        lamp.watchdog = 10;
    });
    let mut world = World::settled(config, 4);
    let item = world.enqueue(lamp(0), RED);
    world.shown_after(10.0, lamp(0), item).unwrap();
    // Its answer and eight heartbeats are nine.
    world.wait(60.0 * 8.0);
    assert_eq!(world.count(is_join), 0);
    world.wait(60.0 * 2.0);
    assert_eq!(world.count(is_join), 1);
    let light = world.network.light(lamp(0)).unwrap();
    assert!(
        light
            .changes
            .iter()
            .any(|change| change.cause == Cause::Watchdog)
    );
    assert_eq!(light.shown, LightState::steady(Color::rgb(0, 50, 0)));
}

#[test]
fn commands_change_heartbeat_and_answers() {
    let mut world = World::settled(lab(1, 1).with_lamps(|lamp| lamp.auto_uplink = false), 5);
    let send = |world: &mut World, payload: &[u8]| {
        let item = NewQueueItem {
            f_port: 15,
            payload: payload.to_vec(),
            ..NewQueueItem::default()
        };
        world.network.enqueue(world.now, lamp(0), item).unwrap();
        world.webhooks.clear();
        world.wait(10.0);
        world.count(is_up)
    };
    assert_eq!(send(&mut world, &RED), 0);
    assert_eq!(send(&mut world, &[0x06, 1]), 1);
    assert_eq!(send(&mut world, &RED), 1);
    assert_eq!(send(&mut world, &[0x06, 0]), 0);
    assert_eq!(send(&mut world, &[0x05, 0]), 1);
    assert_eq!(send(&mut world, &[0x04, 2]), 0);
    world.webhooks.clear();
    world.wait(600.0);
    assert_eq!(world.count(is_up), 5, "one each two minutes");
}

#[test]
fn one_percent_keeps_answers_back() {
    let config = lab(1, 1).with_lamps(|lamp| {
        lamp.duty_cycle = downbeat_sim::model::config::DutyCycle::ONE_PERCENT;
        lamp.spreading_factor = 12;
    });
    let mut world = World::new(config, 6);
    world.told_after(10.0, is_up).unwrap();
    let item = world.enqueue(lamp(0), RED);
    world.shown_after(20.0, lamp(0), item).unwrap();
    assert_within(world.told_after(400.0, is_up), 180.0, 200.0);
}
