//! A whole fleet at once, on gateways that hear nothing while they send.

use std::time::Duration;

use downbeat_core::device::{DownlinkState, Priority};
use downbeat_core::id::{DevEui, GatewayId};
use downbeat_core::pacer::PacerConfig;
use downbeat_core::time::Timestamp;
use downbeat_sim::model::config::{FIRST_DEV_EUI, FIRST_GATEWAY_ID, NetworkConfig, ServerConfig};
use downbeat_sim::model::{Cause, LightTruth, Network};

use crate::optimum::Optimum;
use crate::shell::{START, Shell};

pub(crate) fn fleet(lamps: u32, gateways: u32, rx2_spreading_factor: u8) -> NetworkConfig {
    let config = NetworkConfig::fleet(lamps, gateways).with_lamps(|lamp| lamp.auto_uplink = true);
    NetworkConfig {
        server: ServerConfig {
            rx2_spreading_factor,
            ..ServerConfig::default()
        },
        ..config
    }
}

/// When the last of the lamps first showed what it was told, since then.
pub(crate) fn shown_after(shell: &Shell, since: Timestamp) -> Duration {
    let first = |light: &LightTruth| {
        let by_downlink = |cause| matches!(cause, Cause::Downlink { .. });
        light
            .changes
            .iter()
            .find(|change| by_downlink(change.cause))
            .map(|change| change.at)
    };
    let last = shell.network.lights().filter_map(first).max();
    last.map_or(Duration::ZERO, |at| at.since(since))
}

#[test]
fn three_hundred_colours_at_once_are_verified_at_the_first_attempt() {
    let optimum = Optimum::among(3);
    let best = optimum.time(300, 0.01);
    let (mut first, mut all) = (0, 0);
    for seed in 0..10 {
        let mut shell = Shell::new(fleet(300, 3, 9), PacerConfig::default(), seed);
        let asked_at = shell.now;
        let ids: Vec<_> = (0..300)
            .map(|lamp| shell.ask(lamp, Priority::Interactive))
            .collect();
        shell.live_while(asked_at + Duration::from_mins(10), |shell| {
            shell.endings.len() < ids.len()
        });
        let took = shown_after(&shell, asked_at);
        let endings = &shell.endings;
        assert!(
            ids.iter()
                .all(|id| endings[id].state == DownlinkState::Verified)
        );
        let at_first = ids.iter().filter(|id| endings[id].attempts == 1).count();
        println!(
            "seed {seed}: {at_first} of 300 at the first attempt, {took:?}; at best {best:?}, the frames' air alone {:?}",
            optimum.airtime_alone(300)
        );
        first += at_first;
        all += ids.len();
        assert!(
            took <= best.mul_f64(1.3),
            "seed {seed}: {took:?} of {best:?}"
        );
    }
    assert!(first * 1_000 >= all * 998, "{first} of {all}");
}

/// All gateways dark for two minutes before anything was ever sent: nobody knows yet that a colour takes no more than 164 ms, and
/// no list tells that they are away.
#[test]
fn after_the_dark_a_fleet_that_was_never_sent_to_is_as_fast_as_airtime_allows() {
    let best = Optimum::among(4).time(300, 0.0);
    for seed in 0..5 {
        let mut shell = Shell::new(fleet(300, 4, 9), PacerConfig::default(), seed);
        let gateways = (0..4).map(|it| GatewayId::from_u64(FIRST_GATEWAY_ID + it));
        for gateway in gateways.clone() {
            assert!(shell.network.set_gateway_online(shell.now, gateway, false));
        }
        let ids: Vec<_> = (0..300)
            .map(|lamp| shell.ask(lamp, Priority::Interactive))
            .collect();
        let back = shell.now + Duration::from_mins(2);
        shell.live_until(back);
        for gateway in gateways {
            assert!(shell.network.set_gateway_online(back, gateway, true));
        }
        shell.live_while(back + Duration::from_mins(10), |shell| {
            shell.endings.len() < ids.len()
        });
        let took = shell.now.since(back);
        let tried_before = ids.iter().filter(|id| shell.endings[id].attempts > 1);
        println!(
            "seed {seed}: {took:?} after the return, at best {best:?}; {} tried before",
            tried_before.count()
        );
        assert!(
            ids.iter()
                .all(|id| shell.endings[id].state == DownlinkState::Verified)
        );
        assert!(
            took <= best.mul_f64(1.1),
            "seed {seed}: {took:?} of {best:?}"
        );
    }
}

/// Lamps that are heard by other gateways are in nobody's way.
#[test]
fn fleets_that_others_hear_go_side_by_side() {
    let took = |lamps: u32, groups: u32| {
        let mut network = Network::new(fleet(lamps, 3 * groups, 9), 1, START);
        for (lamp, gateway) in (0..lamps).flat_map(|lamp| (0..3 * groups).map(move |it| (lamp, it)))
        {
            if lamp % groups != gateway % groups {
                let gateway = GatewayId::from_u64(FIRST_GATEWAY_ID + u64::from(gateway));
                let lamp = DevEui::from_u64(FIRST_DEV_EUI + u64::from(lamp));
                assert!(network.set_link(lamp, gateway, None));
            }
        }
        let mut shell = Shell::of(network, PacerConfig::default(), 1);
        let asked_at = shell.now;
        let all = usize::try_from(lamps).unwrap();
        for lamp in 0..all {
            shell.ask(lamp, Priority::Interactive);
        }
        shell.live_while(asked_at + Duration::from_mins(10), |shell| {
            shell.endings.len() < all
        });
        shown_after(&shell, asked_at)
    };
    let (alone, beside) = (took(100, 1), took(200, 2));
    assert!(beside <= alone.mul_f64(1.1), "{beside:?}, alone {alone:?}");
}
