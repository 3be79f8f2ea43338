//! The goals, measured on the model: 300 lights that answer each downlink, RX2 at SF9, half-duplex gateways.
//!
//! `cargo test -p downbeat-core --test fleet goals -- --ignored --nocapture` prints the table, ten seeds a line; the
//! tests hold each goal to fewer. What is claimed as verified is compared with the lamps as in every other life: a false
//! claim ends it. What airtime allows is told in `../pacing/optimum.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use downbeat_core::codec::Command;
use downbeat_core::device::{DownlinkState, Priority};
use downbeat_core::id::GatewayId;
use downbeat_core::light::{Color, LightState};
use downbeat_core::pacer::{Planned, estimate};
use downbeat_core::radio::{Direction, Modulation};
use downbeat_core::time::Timestamp;
use downbeat_sim::model::Cause;
use downbeat_sim::model::config::{FIRST_GATEWAY_ID, LinksConfig, NetworkConfig};

use crate::optimum::Optimum;
use crate::promises::Fate;
use crate::scenario::{Happening, Order, START, Scenario};
use crate::telling::Telling;
use crate::world::World;

const LIGHTS: u32 = 300;
const HEARTBEAT: Duration = Duration::from_mins(30);
const RED: LightState = LightState::steady(Color::rgb(255, 0, 0));
const GREEN: LightState = LightState::steady(Color::rgb(0, 255, 0));
/// By then every light has spoken, and the registry is in step.
const BEGIN: Timestamp = START.shifted(40 * 60_000);
/// A colour command's payload.
const COMMAND_LEN: usize = 5;
/// Lights of a job, and those of whom somebody wants one at once meanwhile.
const JOB: u32 = 1_000;
const URGENT: u32 = 12;
/// From the wish to ChirpStack's next run, and to the moment the gateway begins to send: commit, call, run, way.
const HANDED_OVER: Duration = Duration::from_millis(1_006 + 100 + 30);

fn network(lights: u32, gateways: u32, rx2_spreading_factor: u8) -> NetworkConfig {
    let mut network = NetworkConfig::fleet(lights, gateways).with_lamps(|lamp| {
        lamp.auto_uplink = true;
        lamp.heartbeat = HEARTBEAT;
    });
    network.server.rx2_spreading_factor = rx2_spreading_factor;
    network
}

fn world(network: NetworkConfig, seed: u64, happenings: Vec<(Timestamp, Happening)>) -> World {
    let scenario = Scenario {
        happenings,
        ..Scenario::usual(network, HEARTBEAT)
    };
    World::new(scenario, seed, Telling::Silent)
}

fn fleet(gateways: u32, seed: u64, happenings: Vec<(Timestamp, Happening)>) -> World {
    world(network(LIGHTS, gateways, 9), seed, happenings)
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
            (at, ask(device, GREEN, false))
        })
        .collect()
}

fn ask(device: usize, light: LightState, is_job: bool) -> Happening {
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
        is_job,
    })
}

/// What became of the commands since `from`, in one life or several.
#[derive(Default)]
struct Measured {
    fates: Vec<Fate>,
    /// From the beginning to the last proof, by life.
    took: Vec<Duration>,
    /// From the beginning to the last light that first showed what it was told, by life.
    shown_after: Vec<Duration>,
    /// Lights that show what is wanted, of how many.
    shown: usize,
    lights: usize,
}

impl Measured {
    fn of(world: &World, from: Timestamp) -> Self {
        let fates = world.slots.iter().flat_map(|slot| slot.promises.fates());
        let fates: Vec<Fate> = fates.filter(|fate| fate.accepted_at >= BEGIN).collect();
        let shown = world.slots.iter().filter(|slot| {
            let state = slot.row.as_ref().and_then(|row| row.state.as_ref());
            let desired = state.and_then(|state| state.desired()).map(|it| it.light);
            let light = world.network.light(slot.dev_eui);
            desired == light.map(|light| light.shown)
        });
        let changed = world.network.lights().filter_map(|light| {
            let by_downlink = |cause| matches!(cause, Cause::Downlink { .. });
            let mut changes = light.changes.iter();
            changes.find(|change| change.at >= from && by_downlink(change.cause))
        });
        let proven = fates
            .iter()
            .filter(|it| it.state == DownlinkState::Verified);
        let last = |at: Option<Timestamp>| vec![at.map_or(Duration::ZERO, |at| at.since(from))];
        Self {
            took: last(proven.map(|it| it.changed_at).max()),
            shown_after: last(changed.map(|change| change.at).max()),
            shown: shown.count(),
            lights: world.slots.len(),
            fates,
        }
    }

    /// Several lives.
    fn over(seeds: std::ops::Range<u64>, life: impl Fn(u64) -> Self) -> Self {
        let mut all = Self::default();
        for it in seeds.map(life) {
            all.fates.extend(it.fates);
            all.took.extend(it.took);
            all.shown_after.extend(it.shown_after);
            all.shown += it.shown;
            all.lights += it.lights;
        }
        all
    }

    fn verified(&self) -> impl Iterator<Item = &Fate> {
        let is_verified = |fate: &&Fate| fate.state == DownlinkState::Verified;
        self.fates.iter().filter(is_verified)
    }

    /// Percent.
    fn verified_share(&self) -> f64 {
        share(self.verified().count(), self.fates.len())
    }

    fn shown_share(&self) -> f64 {
        share(self.shown, self.lights)
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

    #[expect(clippy::print_stdout, reason = "a measurement is there to be read")]
    fn print(&self, name: &str) {
        println!(
            "{name:44} {:6} {:8.3} % {:8.3} % {:8.3} {:7.1} s {:7.1} s {:7.1} s {:7.1} s {:7.2} %",
            self.fates.len(),
            self.verified_share(),
            self.at_first(),
            self.attempts(),
            self.latency(50).as_secs_f64(),
            self.latency(99).as_secs_f64(),
            longest(&self.shown_after).as_secs_f64(),
            longest(&self.took).as_secs_f64(),
            self.shown_share(),
        );
    }
}

fn longest(durations: &[Duration]) -> Duration {
    durations.iter().max().copied().unwrap_or_default()
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).expect("a small number"))
}

/// Percent.
fn share(part: usize, whole: usize) -> f64 {
    100.0 * count(part) / count(whole)
}

fn one_after_the_other(seed: u64) -> Measured {
    let mut world = fleet(4, seed, spread(BEGIN, Duration::from_mins(30)));
    world.live_until(BEGIN + Duration::from_hours(2));
    Measured::of(&world, BEGIN)
}

fn with_loss_and_a_dying_gateway(seed: u64) -> Measured {
    let mut happenings = spread(BEGIN, Duration::from_mins(30));
    happenings.push((BEGIN, loss(0.1)));
    let dies = BEGIN + Duration::from_mins(15);
    happenings.push((dies, Happening::GatewayOnline(0, false)));
    let mut world = fleet(4, seed, happenings);
    world.live_until(BEGIN + Duration::from_hours(2));
    Measured::of(&world, BEGIN)
}

fn with_much_loss(seed: u64) -> Measured {
    let mut happenings = spread(BEGIN, Duration::from_mins(30));
    happenings.push((BEGIN, loss(0.3)));
    let mut world = fleet(4, seed, happenings);
    world.live_until(BEGIN + Duration::from_mins(30) + 3 * HEARTBEAT);
    Measured::of(&world, BEGIN)
}

fn at_once(gateways: u32, seed: u64) -> Measured {
    let mut world = fleet(gateways, seed, vec![(BEGIN, Happening::AskAll(RED))]);
    world.live_until(BEGIN + Duration::from_mins(15));
    Measured::of(&world, BEGIN)
}

/// All gateways dark for two minutes, 300 commands soon after they went; measured from their return.
fn after_the_dark(seed: u64) -> Measured {
    let back = BEGIN + Duration::from_mins(2);
    let happenings = vec![
        (BEGIN, Happening::AllGatewaysOnline(false)),
        (BEGIN + Duration::from_secs(5), Happening::AskAll(RED)),
        (back, Happening::AllGatewaysOnline(true)),
    ];
    let mut world = fleet(4, seed, happenings);
    world.live_until(BEGIN + Duration::from_mins(15));
    Measured::of(&world, back)
}

/// How a job of 1,000 colours went, RX2 at SF12, where the budget of an hour does not do for it.
struct Job {
    eta: Duration,
    took: Duration,
    /// The most that all gateways together, and a single one, sent within an hour.
    used: Duration,
    used_by_one: Duration,
    /// From the wish to the first symbol on the air, of those that somebody waited for.
    urgent: Vec<Duration>,
    is_verified: bool,
}

const JOB_GATEWAYS: u32 = 4;
/// A tenth of the hour, and bulk's 70 % of it.
const BUDGET: Duration = Duration::from_mins(6);
const BULK_SHARE: Duration = Duration::from_secs(252);

fn frame_at_sf12() -> Duration {
    Modulation::lora_125(12).time_on_air(COMMAND_LEN, Direction::Down)
}

fn index(number: u32) -> usize {
    usize::try_from(number).expect("a small number")
}

impl Job {
    fn lived(seed: u64) -> Self {
        let mut network = network(JOB + URGENT, JOB_GATEWAYS, 12);
        for gateway in &mut network.gateways {
            gateway.duty_cycle = Some(0.1);
        }
        // The first one tells how the gateways send.
        let first = BEGIN - Duration::from_mins(2);
        let mut happenings = vec![(first, ask(index(JOB), GREEN, false))];
        let jobs = (0..JOB).map(|light| (BEGIN, ask(index(light), RED, true)));
        happenings.extend(jobs);
        let wishes: Vec<(u32, Timestamp)> = (1..URGENT)
            .map(|number| {
                (
                    JOB + number,
                    BEGIN + Duration::from_millis(307_700) * number,
                )
            })
            .collect();
        for (light, at) in &wishes {
            happenings.push((*at, ask(index(*light), GREEN, false)));
        }
        let mut world = world(network, seed, happenings);
        world.live_until(BEGIN - Duration::from_millis(1));
        let eta = Self::eta(&mut world);
        let (mut used, mut used_by_one) = (Duration::ZERO, Duration::ZERO);
        let mut until = BEGIN;
        while until < BEGIN + Duration::from_mins(150) {
            until = until + Duration::from_secs(30);
            world.live_until(until);
            let airtimes = world.network.gateways().into_iter();
            let airtimes: Vec<u64> = airtimes.map(|gateway| gateway.airtime_ms).collect();
            let most = airtimes.iter().max().copied().unwrap_or(0);
            used = used.max(Duration::from_millis(airtimes.iter().sum()));
            used_by_one = used_by_one.max(Duration::from_millis(most));
        }
        let shown_at = |light: u32, since: Timestamp| {
            let light = world.network.light(world.slots[index(light)].dev_eui);
            let mut changes = light.expect("a known lamp").changes.iter();
            changes.find(|change| change.at >= since).map(|it| it.at)
        };
        let last = (0..JOB).filter_map(|light| shown_at(light, BEGIN)).max();
        let urgent = wishes.iter().map(|(light, at)| {
            let shown_at = shown_at(*light, *at).expect("it is shown");
            (shown_at - frame_at_sf12()).since(*at)
        });
        let verified = Measured::of(&world, BEGIN);
        Self {
            eta,
            took: last.map_or(Duration::MAX, |last| last.since(BEGIN)),
            used,
            used_by_one,
            urgent: urgent.collect(),
            is_verified: verified.verified().count() == verified.fates.len(),
        }
    }

    /// What is said before it starts.
    fn eta(world: &mut World) -> Duration {
        let gateways: BTreeSet<GatewayId> = (0..u64::from(JOB_GATEWAYS))
            .map(|number| GatewayId::from_u64(FIRST_GATEWAY_ID + number))
            .collect();
        let commands = (0..JOB).map(|_| Planned {
            gateways: gateways.iter().copied().collect(),
            payload_len: COMMAND_LEN,
            uplink: Modulation::lora_125(7),
        });
        estimate(commands, &world.airtime(), Priority::Bulk).eta
    }

    /// Percent of what bulk may use of all budgets.
    fn used_share(&self) -> f64 {
        100.0 * self.used.as_secs_f64() / (BULK_SHARE * JOB_GATEWAYS).as_secs_f64()
    }

    fn took_of_eta(&self) -> f64 {
        self.took.as_secs_f64() / self.eta.as_secs_f64()
    }
}

#[test]
fn each_is_verified_at_its_first_attempt_where_nothing_is_lost() {
    let measured = Measured::over(0..2, one_after_the_other);
    assert_eq!(measured.verified().count(), measured.fates.len());
    assert!(measured.at_first() >= 99.9, "{}", measured.at_first());
}

#[test]
fn loss_and_a_dying_gateway_keep_no_command_from_its_proof() {
    let measured = Measured::over(0..4, with_loss_and_a_dying_gateway);
    let verified = measured.verified_share();
    assert!(verified >= 99.9, "{verified} %");
    assert!(measured.attempts() > 1.05, "nothing was lost");
}

#[test]
fn with_much_loss_the_lights_still_come_to_show_what_is_wanted() {
    let measured = Measured::over(0..4, with_much_loss);
    let shown = measured.shown_share();
    assert!(shown >= 99.9, "{shown} %");
    assert!(measured.attempts() > 1.3, "little was lost");
}

#[test]
fn colours_at_once_are_verified_at_the_first_attempt_nearly_as_fast_as_airtime_allows() {
    let best = Optimum::among(3).time(LIGHTS, 0.01);
    for seed in 0..5 {
        let measured = at_once(3, seed);
        let (at_first, took) = (measured.at_first(), longest(&measured.shown_after));
        assert!(at_first >= 99.0, "seed {seed}: {at_first} %");
        assert!(
            took <= best.mul_f64(1.3),
            "seed {seed}: {took:?} of {best:?}"
        );
        assert_eq!(
            measured.verified().count(),
            measured.fates.len(),
            "seed {seed}"
        );
    }
}

#[test]
fn after_the_dark_all_are_verified_as_fast_as_airtime_allows() {
    let best = Optimum::among(4).time(LIGHTS, 0.0);
    for seed in 0..5 {
        let measured = after_the_dark(seed);
        let took = longest(&measured.took);
        assert_eq!(
            measured.verified().count(),
            measured.fates.len(),
            "seed {seed}"
        );
        assert!(
            took <= best.mul_f64(1.1),
            "seed {seed}: {took:?} of {best:?}"
        );
    }
}

#[test]
fn a_job_keeps_to_its_share_and_its_time_and_lets_the_urgent_pass() {
    let job = Job::lived(1);
    assert!(job.is_verified);
    assert!(job.used_by_one <= BUDGET, "{:?}", job.used_by_one);
    assert!(job.used_share() >= 90.0, "{} %", job.used_share());
    let of_urgent = frame_at_sf12() * URGENT;
    assert!(
        job.used <= BULK_SHARE * JOB_GATEWAYS + of_urgent,
        "{:?}",
        job.used
    );
    let ratio = job.took_of_eta();
    assert!(
        (0.85..=1.15).contains(&ratio),
        "{:?} of {:?}",
        job.took,
        job.eta
    );
    let urgent = longest(&job.urgent);
    assert!(urgent <= HANDED_OVER + 2 * frame_at_sf12(), "{urgent:?}");
}

#[expect(clippy::print_stdout, reason = "a measurement is there to be read")]
fn print_ratios(took: Duration, optimum: &Optimum, lost_share: f64) {
    let ratio = |of: Duration| took.as_secs_f64() / of.as_secs_f64();
    let (best, air) = (
        optimum.time(LIGHTS, lost_share),
        optimum.airtime_alone(LIGHTS),
    );
    println!(
        "{:44} {:.2} times what lots and answers allow, {:.1} s; {:.2} times the mere airtime, {:.1} s",
        "",
        ratio(best),
        best.as_secs_f64(),
        ratio(air),
        air.as_secs_f64(),
    );
}

#[test]
#[ignore = "a measurement, to be read"]
fn goals() {
    println!(
        "{:44} {:>6} {:>10} {:>10} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "",
        "asked",
        "verified",
        "at first",
        "attempts",
        "p50",
        "p99",
        "shown in",
        "all in",
        "shown"
    );
    let seeds = 0..10;
    Measured::over(seeds.clone(), one_after_the_other).print("no loss, one after the other");
    Measured::over(seeds.clone(), with_loss_and_a_dying_gateway)
        .print("10 % loss each way, a gateway dies");
    Measured::over(seeds.clone(), with_much_loss).print("30 % each way, three heartbeats later");
    for (gateways, name) in [
        (3, "300 at once, 3 gateways"),
        (4, "300 at once, 4 gateways"),
    ] {
        let measured = Measured::over(seeds.clone(), |seed| at_once(gateways, seed));
        measured.print(name);
        let optimum = Optimum::among(index(gateways));
        print_ratios(longest(&measured.shown_after), &optimum, 0.01);
    }
    let measured = Measured::over(seeds, after_the_dark);
    measured.print("all dark for 2 min, 300 waiting, from then");
    print_ratios(longest(&measured.took), &Optimum::among(4), 0.0);
    for seed in 1..4 {
        let job = Job::lived(seed);
        println!(
            "{:44} {:.1} % of its share used, {:.1} % of a budget at most, in {:.0} s, {:.2} times its ETA; urgent ones on air after {:.2} s at most, {:.2} frames after the hand-over",
            "a job of 1,000 at SF12, 4 gateways",
            job.used_share(),
            100.0 * job.used_by_one.as_secs_f64() / BUDGET.as_secs_f64(),
            job.took.as_secs_f64(),
            job.took_of_eta(),
            longest(&job.urgent).as_secs_f64(),
            longest(&job.urgent)
                .saturating_sub(HANDED_OVER)
                .as_secs_f64()
                / frame_at_sf12().as_secs_f64(),
        );
    }
}
