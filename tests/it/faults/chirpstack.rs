//! ChirpStack goes away in every way it can, and comes back.

use downbeat_sim::server::ChirpstackFaults;
use futures_util::future::join_all;

use crate::support::{Database, Load, World, on_both_stores};

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

const FAULTS: [ChirpstackFaults; 4] = [
    ChirpstackFaults {
        down: true,
        ..HEALTHY
    },
    ChirpstackFaults {
        hung: true,
        ..HEALTHY
    },
    ChirpstackFaults {
        failing: true,
        ..HEALTHY
    },
    ChirpstackFaults {
        lose_answers: 0.5,
        ..HEALTHY
    },
];

async fn whatever_chirpstack_does_commands_are_accepted_and_reach_their_end(database: Database) {
    let worlds = FAULTS.into_iter().map(|fault| (fault, database.sibling()));
    let worlds = worlds.map(async |(faults, database)| {
        let world = World::in_a_hurry(database).await;
        let load = Load::start(&world, 1);
        load.flows(10).await;
        world.sim.set_faults(faults);
        // They are taken as ever; by then, calls have met the fault or run out of time.
        load.flows(40).await;
        world.sim.set_faults(HEALTHY);
        load.flows(10).await;
        let accepted = load.stop().await;
        let states = world.keeps_its_promises(&accepted).await;
        println!("{faults:?}: {} commands: {states:?}", accepted.len());
    });
    join_all(worlds).await;
}
