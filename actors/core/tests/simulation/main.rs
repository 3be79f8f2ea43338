//! Whole lives of devices under faults, by seed, against the model of ChirpStack, radio and lamps.
//!
//! A small shell (`shell.rs`) does what an actor does: it saves a device's state, then performs its effects. It
//! crashes at any step, and then knows only what was saved. The world around it (`scenario.rs`) loses frames, answers
//! and webhooks, darkens gateways, restarts lamps and ChirpStack. What is promised is checked after each step
//! (`promises.rs`), against what the lamps really did.
//!
//! - A failing seed: `DOWNBEAT_SEED=123 cargo test -p downbeat-core --test simulation replay -- --nocapture`
//! - More seeds: `DOWNBEAT_SEEDS=1000000 cargo nextest run -p downbeat-core --test simulation`, and others than those
//!   from 0 on with `DOWNBEAT_FIRST_SEED`.

mod promises;
mod scenario;
mod shell;
mod trace;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use self::shell::Shell;
use self::trace::Trace;

/// Seeds of one run of the whole suite, unless `DOWNBEAT_SEEDS` says otherwise.
const SEEDS: u64 = 10_000;
/// Test functions that share them, so that they run side by side.
const SHARES: u64 = 8;

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Lives through the seeds of one share and names every one that broke a promise.
#[expect(
    clippy::print_stdout,
    reason = "how much was lived through is shown with --nocapture"
)]
fn live_through(share: u64) {
    let seeds = number_from_environment("DOWNBEAT_SEEDS").unwrap_or(SEEDS);
    let mut failures = Vec::new();
    let (mut steps_in_all, mut tally_in_all) = (0, BTreeMap::<_, usize>::new());
    let first = number_from_environment("DOWNBEAT_FIRST_SEED").unwrap_or(0);
    for seed in
        (first + share..first + seeds).step_by(usize::try_from(SHARES).expect("a small number"))
    {
        let life = || Shell::new(seed, Trace::Silent).live();
        let broken = match catch_unwind(AssertUnwindSafe(life)) {
            Ok(Ok((steps, tally))) => {
                steps_in_all += steps;
                for (state, count) in tally {
                    *tally_in_all.entry(state).or_default() += count;
                }
                continue;
            }
            Ok(Err(broken)) => broken,
            Err(_) => "panicked".to_owned(),
        };
        failures.push(format!(
            "seed {seed}: {broken}\n  replay: DOWNBEAT_SEED={seed} cargo test -p downbeat-core --test simulation replay -- --nocapture"
        ));
        if failures.len() == 20 {
            break;
        }
    }
    println!("{steps_in_all} steps; downlinks: {tally_in_all:?}");
    assert!(
        failures.is_empty(),
        "{} broken:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Prints the life of `DOWNBEAT_SEED`; without one, checks that a life can be told at all.
#[test]
fn replay() {
    let seed = number_from_environment("DOWNBEAT_SEED").unwrap_or(0);
    let trace = if std::env::var_os("DOWNBEAT_SEED").is_some() {
        Trace::Printed
    } else {
        Trace::Silent
    };
    match Shell::new(seed, trace).live() {
        Ok((steps, tally)) => println!("seed {seed}: {steps} steps, {tally:?}"),
        Err(broken) => panic!("seed {seed}: {broken}"),
    }
}

/// A life follows from its seed alone; otherwise no failure could be replayed.
#[test]
fn the_same_seed_is_the_same_life() {
    for seed in 0..20 {
        let [first, second] = [(); 2].map(|()| Shell::new(seed, Trace::Silent).live());
        assert_eq!(first, second, "seed {seed}");
    }
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
