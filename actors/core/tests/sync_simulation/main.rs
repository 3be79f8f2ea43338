//! Whole lives of registrations under faults, by seed, against the model of ChirpStack's registry.
//!
//! A small shell (`shell.rs`) does what an actor does: it stores a machine, then makes its calls (`calls.rs`). It crashes
//! at any step, and then knows only what was stored. The world around it (`scenario.rs`) changes its wishes, lets other
//! people work on the same ChirpStack (`others.rs`), loses calls and answers, stops ChirpStack and sets the clock. What
//! is promised is checked with each call that is carried out and when all has come to rest (`promises.rs`).
//!
//! - A failing seed: `DOWNBEAT_SEED=123 cargo test -p downbeat-core --test sync_simulation replay -- --nocapture`
//! - More seeds: `DOWNBEAT_SEEDS=1000000 cargo nextest run -p downbeat-core --test sync_simulation`, and others than those
//!   from 0 on with `DOWNBEAT_FIRST_SEED`.

mod calls;
mod others;
mod promises;
mod registry;
mod scenario;
mod shell;
mod tally;
#[path = "../simulation/trace.rs"]
mod trace;

use std::panic::{AssertUnwindSafe, catch_unwind};

use self::shell::Shell;
use self::tally::Tally;
use self::trace::Trace;

/// Seeds of one run of the whole suite, unless `DOWNBEAT_SEEDS` says otherwise.
const SEEDS: u64 = 8_000;
/// Test functions that share them, so that they run side by side.
const SHARES: u64 = 4;

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
    let first = number_from_environment("DOWNBEAT_FIRST_SEED").unwrap_or(0);
    let mut failures = Vec::new();
    let mut tally = Tally::default();
    for seed in
        (first + share..first + seeds).step_by(usize::try_from(SHARES).expect("a small number"))
    {
        let life = || Shell::new(seed, Trace::Silent).live();
        let broken = match catch_unwind(AssertUnwindSafe(life)) {
            Ok(Ok(lived)) => {
                tally.add(&lived);
                continue;
            }
            Ok(Err(broken)) => broken,
            Err(_) => "panicked".to_owned(),
        };
        failures.push(format!(
            "seed {seed}: {broken}\n  replay: DOWNBEAT_SEED={seed} cargo test -p downbeat-core --test sync_simulation replay -- --nocapture"
        ));
        if failures.len() == 20 {
            break;
        }
    }
    println!("{tally:?}");
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
        Ok(tally) => println!("seed {seed}: {tally:?}"),
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

/// Faults that never come about prove nothing.
#[test]
fn lives_are_eventful() {
    let mut tally = Tally::default();
    for seed in 0..200 {
        tally.add(&Shell::new(seed, Trace::Silent).live().expect("a good life"));
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
}
