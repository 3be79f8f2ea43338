//! ChirpStack goes away in every way it can, and comes back.

use std::time::Duration;

use downbeat_sim::server::ChirpstackFaults;
use futures_util::future::join_all;

use crate::support::{Database, Load, World, on_both_stores, until};

on_both_stores! {
    whatever_chirpstack_does_commands_are_accepted_and_reach_their_end,
}

const HEALTHY: ChirpstackFaults = ChirpstackFaults {
    down: false,
    hung: false,
    slow_ms: 0,
    failing: false,
    lose_answers: 0.0,
};

/// How it misbehaves, and which word commands then get.
const FAULTS: [(ChirpstackFaults, &str); 4] = [
    (
        ChirpstackFaults {
            down: true,
            ..HEALTHY
        },
        "server_unavailable",
    ),
    (
        ChirpstackFaults {
            hung: true,
            ..HEALTHY
        },
        "answer_lost",
    ),
    (
        ChirpstackFaults {
            failing: true,
            ..HEALTHY
        },
        "server_error",
    ),
    (
        ChirpstackFaults {
            lose_answers: 0.5,
            ..HEALTHY
        },
        "answer_lost",
    ),
];

async fn whatever_chirpstack_does_commands_are_accepted_and_reach_their_end(database: Database) {
    let worlds = FAULTS.into_iter().map(|fault| (fault, database.sibling()));
    let worlds = worlds.map(async |((faults, reason), database)| {
        let world = World::in_a_hurry(database).await;
        let load = Load::start(&world, 1);
        load.flows(5).await;
        world.sim.set_faults(faults);
        // Commands are taken as ever, and say what they wait for.
        load.flows(5).await;
        let what = format!("{reason} because of {faults:?}");
        until(&what, Duration::from_secs(30), async || {
            let all = world.downlinks().await;
            all.iter().any(|one| one["reason"] == reason).then_some(())
        })
        .await;
        world.sim.set_faults(HEALTHY);
        load.flows(5).await;
        let accepted = load.stop().await;
        let states = world.keeps_its_promises(&accepted).await;
        println!("{faults:?}: {} commands: {states:?}", accepted.len());
    });
    join_all(worlds).await;
}
