//! A whole fleet at once, on gateways that hear nothing while they send.

use std::time::Duration;

use downbeat_core::device::{DownlinkState, Priority};
use downbeat_core::pacer::PacerConfig;
use downbeat_core::radio::{Direction, Modulation};
use downbeat_core::time::Timestamp;
use downbeat_sim::model::config::{NetworkConfig, ServerConfig};
use downbeat_sim::model::{Cause, LightTruth};

use crate::shell::Shell;

/// Mean reaction of the simulated lamp, from the end of a downlink to the beginning of its answer.
const REACTION: Duration = Duration::from_millis(300);

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

/// A gateway's air that a command takes: itself, the lamp's reaction and its answer, because a gateway that sends in
/// between would not hear it. Gateways work side by side. The mere airtime of commands and answers is less than half
/// of that, and out of reach: ChirpStack hands over once a second to gateways drawn by lot, so that all would send
/// while the first lamps answer.
fn optimum(commands: u32, gateways: u32) -> Duration {
    let command = Modulation::lora_125(9).time_on_air(5, Direction::Down);
    let answer = Modulation::lora_125(7).time_on_air(24, Direction::Up);
    (command + REACTION + answer) * commands / gateways
}

#[test]
fn three_hundred_colours_at_once_are_verified_at_the_first_attempt() {
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
        let optimum = optimum(300, 3);
        let endings = &shell.endings;
        assert!(
            ids.iter()
                .all(|id| endings[id].state == DownlinkState::Verified)
        );
        let at_first = ids.iter().filter(|id| endings[id].attempts == 1).count();
        println!("seed {seed}: {at_first} of 300 at the first attempt, {took:?} of {optimum:?}");
        first += at_first;
        all += ids.len();
        assert!(
            took <= optimum.mul_f64(1.3),
            "seed {seed}: {took:?} of {optimum:?}"
        );
    }
    assert!(first * 100 >= all * 99, "{first} of {all}");
}
