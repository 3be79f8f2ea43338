//! The goals, measured on the model: 300 lights that answer each downlink, RX2 at SF9, half-duplex gateways.
//!
//! `cargo test -p downbeat-core --test fleet goals -- --ignored --nocapture` prints the table. What is claimed as
//! verified is compared with the lamps as in every other life.

use std::time::Duration;

use downbeat_core::codec::Command;
use downbeat_core::device::DownlinkState;
use downbeat_core::light::{Color, LightState};
use downbeat_core::radio::{Direction, Modulation};
use downbeat_core::time::Timestamp;
use downbeat_sim::model::config::{LinksConfig, NetworkConfig};

use crate::promises::Fate;
use crate::scenario::{Happening, Order, START, Scenario};
use crate::telling::Telling;
use crate::world::World;

const LIGHTS: u32 = 300;
const HEARTBEAT: Duration = Duration::from_mins(30);
const RED: LightState = LightState::steady(Color::rgb(255, 0, 0));
const GREEN: LightState = LightState::steady(Color::rgb(0, 255, 0));
/// By then every light has spoken, and the registry is in step.
const SETTLED: Duration = Duration::from_mins(40);
/// A colour command's payload.
const COMMAND_LEN: usize = 5;

fn fleet(gateways: u32, seed: u64, happenings: Vec<(Timestamp, Happening)>) -> World {
    let mut network = NetworkConfig::fleet(LIGHTS, gateways).with_lamps(|lamp| {
        lamp.auto_uplink = true;
        lamp.heartbeat = HEARTBEAT;
    });
    network.server.rx2_spreading_factor = 9;
    let scenario = Scenario {
        happenings,
        ..Scenario::usual(network, HEARTBEAT)
    };
    World::new(scenario, seed, Telling::Silent)
}

fn loss(both_ways: f64) -> Happening {
    Happening::Links(LinksConfig {
        loss_up: both_ways,
        loss_down: both_ways,
        ..LinksConfig::default()
    })
}

/// Each light gets a command of its own at a time of its own, spread over a span.
fn spread(from: Timestamp, span: Duration) -> Vec<(Timestamp, Happening)> {
    (0..LIGHTS)
        .map(|number| {
            let at = from + span * number / LIGHTS;
            let device = usize::try_from(number * 7 % LIGHTS).expect("a small number");
            (at, ask(device, GREEN))
        })
        .collect()
}

fn ask(device: usize, light: LightState) -> Happening {
    Happening::Ask(Order {
        device,
        command: Command::SetLight(light),
        confirmed: false,
        verify: true,
        transient: false,
        attempts_max: None,
        ttl: None,
        until_deadline: false,
        is_wish: false,
    })
}

/// What became of the commands since `from`.
struct Measured {
    name: String,
    fates: Vec<Fate>,
    from: Timestamp,
    /// Lights that show what is wanted.
    shown: usize,
}

impl Measured {
    fn of(name: &str, world: &World, from: Timestamp) -> Self {
        let fates = world.slots.iter().flat_map(|slot| slot.promises.fates());
        let shown = world.slots.iter().filter(|slot| {
            let state = slot.row.as_ref().and_then(|row| row.state.as_ref());
            let desired = state.and_then(|state| state.desired()).map(|it| it.light);
            let light = world.network.light(slot.dev_eui);
            desired == light.map(|light| light.shown)
        });
        Self {
            name: name.to_owned(),
            fates: fates.filter(|fate| fate.accepted_at >= from).collect(),
            from,
            shown: shown.count(),
        }
    }

    fn verified(&self) -> impl Iterator<Item = &Fate> {
        let is_verified = |fate: &&Fate| fate.state == DownlinkState::Verified;
        self.fates.iter().filter(is_verified)
    }

    fn verified_share(&self) -> f64 {
        share(self.verified().count(), self.fates.len())
    }

    fn attempts(&self) -> f64 {
        let attempts: u32 = self.fates.iter().map(|fate| u32::from(fate.attempts)).sum();
        f64::from(attempts) / count(self.fates.len())
    }

    fn at_first(&self) -> f64 {
        let first = self.verified().filter(|fate| fate.attempts == 1);
        share(first.count(), self.fates.len())
    }

    /// From acceptance to proof: the given share of those proven took no longer.
    fn latency(&self, percent: usize) -> Duration {
        let latencies = self
            .verified()
            .map(|it| it.changed_at.since(it.accepted_at));
        let mut latencies: Vec<Duration> = latencies.collect();
        latencies.sort_unstable();
        let index = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
        latencies.get(index).copied().unwrap_or_default()
    }

    /// From the beginning to the last proof.
    fn took(&self) -> Duration {
        let last = self.verified().map(|fate| fate.changed_at).max();
        last.map_or(Duration::ZERO, |last| last.since(self.from))
    }

    #[expect(clippy::print_stdout, reason = "a measurement is there to be read")]
    fn print(&self) {
        println!(
            "{:44} {:5} {:8.3} % {:8.3} % {:8.3} {:8.1} s {:8.1} s {:8.1} s {:7.2} %",
            self.name,
            self.fates.len(),
            self.verified_share(),
            self.at_first(),
            self.attempts(),
            self.latency(50).as_secs_f64(),
            self.latency(99).as_secs_f64(),
            self.took().as_secs_f64(),
            share(self.shown, usize::try_from(LIGHTS).expect("a small number")),
        );
    }
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).expect("a small number"))
}

/// Percent.
fn share(part: usize, whole: usize) -> f64 {
    100.0 * count(part) / count(whole)
}

/// As soon as all commands could be on the air: one after the other at each gateway.
fn optimum(gateways: u32) -> Duration {
    let command = Modulation::lora_125(9).time_on_air(COMMAND_LEN, Direction::Down);
    command * LIGHTS / gateways
}

#[test]
#[ignore = "a measurement, to be read"]
fn goals() {
    let begin = START + SETTLED;
    println!(
        "{:44} {:>5} {:>10} {:>10} {:>8} {:>10} {:>10} {:>10} {:>9}",
        "", "asked", "verified", "at first", "attempts", "p50", "p99", "all in", "shown"
    );

    let mut world = fleet(4, 1, spread(begin, Duration::from_mins(30)));
    world.live_until(begin + Duration::from_hours(2));
    Measured::of("no loss, one after the other", &world, begin).print();

    let mut happenings = spread(begin, Duration::from_mins(30));
    let dies = begin + Duration::from_mins(15);
    happenings.push((begin, loss(0.1)));
    happenings.push((dies, Happening::GatewayOnline(0, false)));
    let mut world = fleet(4, 2, happenings);
    world.live_until(begin + Duration::from_hours(2));
    Measured::of("10 % loss each way, a gateway dies", &world, begin).print();

    let mut happenings = spread(begin, Duration::from_mins(30));
    happenings.push((begin, loss(0.3)));
    let mut world = fleet(4, 3, happenings);
    world.live_until(begin + Duration::from_mins(30) + 3 * HEARTBEAT);
    Measured::of("30 % each way, three heartbeats later", &world, begin).print();

    for (gateways, name) in [
        (3, "300 at once, 3 gateways"),
        (4, "300 at once, 4 gateways"),
    ] {
        let mut world = fleet(gateways, 4, vec![(begin, Happening::AskAll(RED))]);
        world.live_until(begin + Duration::from_hours(2));
        let measured = Measured::of(name, &world, begin);
        measured.print();
        let optimum = optimum(gateways).as_secs_f64();
        let ratio = measured.took().as_secs_f64() / optimum;
        println!(
            "{:44} {ratio:.2} times the airtime optimum of {optimum:.1} s",
            ""
        );
    }

    let back = begin + Duration::from_mins(2);
    let happenings = vec![
        (begin, Happening::AllGatewaysOnline(false)),
        (begin + Duration::from_secs(5), Happening::AskAll(RED)),
        (back, Happening::AllGatewaysOnline(true)),
    ];
    let mut world = fleet(4, 5, happenings);
    world.live_until(begin + Duration::from_hours(2));
    let mut measured = Measured::of("all dark for 2 min, 300 waiting", &world, begin);
    measured.from = back;
    measured.print();
    let optimum = optimum(4).as_secs_f64();
    let ratio = measured.took().as_secs_f64() / optimum;
    println!(
        "{:44} {ratio:.2} times the airtime optimum of {optimum:.1} s after their return",
        ""
    );
}
