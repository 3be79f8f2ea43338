//! The whole service by seed: a fleet of devices with everything that serves it, under faults, in virtual time.
//!
//! What decides is the product's: device machines, pacer, gateway table, circuit, pace, synchronisation machines. What
//! carries it out (`actors.rs`, `writer.rs`, `pool.rs`, `monitor.rs`, `syncer.rs`, `jobs.rs`,
//! `cleaner.rs`) does what the actors do, message by
//! message: changes are committed in groups, nothing is told or sent before its commit, a failed commit ends a device's
//! actor, a crash at any step ends all of them, and then only what the model store holds is known. The world
//! (`scenario.rs`, `world.rs`) loses frames, answers, tx-acks and webhooks, repeats and reorders them, darkens gateways,
//! stops ChirpStack and the database, refuses the key, sets the clock, restarts lamps, changes the registry, tells webhooks
//! again and such as cannot be; jobs are begun, held up and taken back. What is promised is checked
//! with each commit, each call that is carried out and each light that changes, against what the lamps really do
//! (`promises.rs`), and once more when all has come to rest.
//!
//! - A failing seed: `DOWNBEAT_SEED=123 cargo test -p downbeat-core --test fleet replay -- --nocapture`; with
//!   `DOWNBEAT_DEVICE=4` only what concerns that device.
//! - More of it: `DOWNBEAT_DEVICE_HOURS=10000000 cargo nextest run -p downbeat-core --test fleet`, and other seeds than
//!   those from 0 on with `DOWNBEAT_FIRST_SEED`.

mod actors;
mod agenda;
mod cleaner;
mod goals;
mod jobs;
mod monitor;
#[path = "../pacing/optimum.rs"]
mod optimum;
mod pool;
mod promises;
mod registry;
mod scenario;
mod syncer;
mod tally;
mod telling;
mod world;
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind};

use self::scenario::Scenario;
use self::tally::Tally;
use self::telling::Telling;
use self::world::World;

/// Device-hours of one run of the whole suite, unless `DOWNBEAT_DEVICE_HOURS` says otherwise.
const DEVICE_HOURS: u64 = 1_000_000;
/// Test functions that share them, so that they run side by side.
const SHARES: u64 = 8;
/// Failing seeds that are named at the most.
const FAILURES_MAX: usize = 10;

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn live(seed: u64) -> Result<Tally, String> {
    World::new(Scenario::new(seed), seed, Telling::Silent).live()
}

/// Lives through the seeds of one share until its device-hours are full, and names every one that broke a promise.
#[expect(
    clippy::print_stdout,
    reason = "how much was lived through is shown with --nocapture"
)]
fn live_through(share: u64) {
    let hours = number_from_environment("DOWNBEAT_DEVICE_HOURS").unwrap_or(DEVICE_HOURS);
    let first = number_from_environment("DOWNBEAT_FIRST_SEED").unwrap_or(0);
    let mut failures = Vec::new();
    let mut tally = Tally::default();
    let mut seed = first + share;
    while tally.device_hours() * SHARES < hours && failures.len() < FAILURES_MAX {
        match catch_unwind(AssertUnwindSafe(|| live(seed))) {
            Ok(Ok(lived)) => tally.add(&lived),
            Ok(Err(broken)) => failures.push((seed, broken)),
            Err(_) => failures.push((seed, "panicked".to_owned())),
        }
        seed += SHARES;
    }
    println!("seeds up to {seed}: {tally}");
    let told: Vec<String> = failures
        .iter()
        .map(|(seed, broken)| {
            format!(
                "seed {seed}: {broken}\n  replay: DOWNBEAT_SEED={seed} cargo test -p downbeat-core --test fleet replay -- --nocapture"
            )
        })
        .collect();
    assert!(
        told.is_empty(),
        "{} broken:\n{}",
        told.len(),
        told.join("\n")
    );
    assert!(
        hours < DEVICE_HOURS || tally.commands() >= tally.device_hours(),
        "fewer commands than device-hours: {tally}"
    );
}

/// Tells the life of `DOWNBEAT_SEED`; without one, checks that a life can be told at all.
#[test]
fn replay() {
    let seed = number_from_environment("DOWNBEAT_SEED");
    let device = number_from_environment("DOWNBEAT_DEVICE");
    let telling = match (seed, device.map(usize::try_from)) {
        (None, _) => Telling::Silent,
        (Some(_), Some(Ok(device))) => Telling::Only(device),
        (Some(_), _) => Telling::All,
    };
    let seed = seed.unwrap_or(0);
    match World::new(Scenario::new(seed), seed, telling).live() {
        Ok(tally) => println!("seed {seed}: {tally}"),
        Err(broken) => panic!("seed {seed}: {broken}"),
    }
}

/// A life follows from its seed alone; otherwise no failure could be replayed.
#[test]
fn the_same_seed_is_the_same_life() {
    for seed in 0..12 {
        assert_eq!(live(seed), live(seed), "seed {seed}");
    }
}

/// Faults that never come about prove nothing.
#[test]
fn lives_are_eventful() {
    let mut tally = Tally::default();
    for seed in 0..150 {
        tally.add(&live(seed).expect("a good life"));
    }
    tally.assert_eventful();
}

macro_rules! shares {
    ($($name:ident $share:literal)*) => {
        $(#[test]
        fn $name() {
            live_through($share);
        })*
    };
}

shares! {
    promises_hold_in_share_0 0
    promises_hold_in_share_1 1
    promises_hold_in_share_2 2
    promises_hold_in_share_3 3
    promises_hold_in_share_4 4
    promises_hold_in_share_5 5
    promises_hold_in_share_6 6
    promises_hold_in_share_7 7
}
