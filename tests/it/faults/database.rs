//! The database goes away and comes back: what cannot be stored is not accepted, and what was accepted stays.

use std::str::FromStr as _;

use downbeat_core::id::DevEui;

use crate::support::{Database, Load, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_is_stopped_and_started() {
    goes_and_comes(Database::server()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_else_keeps_the_file_locked() {
    goes_and_comes(Database::Sqlite).await;
}

async fn goes_and_comes(database: Database) {
    let world = World::in_a_hurry(database).await;
    let load = Load::start(&world, 1);
    for _ in 0..3 {
        load.flows(10).await;
        let outage = world.service.interrupt_database().await;
        load.is_refused(3).await;
        outage.end().await;
    }
    load.flows(10).await;
    let accepted = load.stop().await;
    let states = world.keeps_its_promises(&accepted).await;
    println!("{} commands: {states:?}", accepted.len());
    // ChirpStack says everything once: what it said meanwhile was kept. What no gateway heard, because all were sending just
    // then, it could not say.
    for device in world.devices().await {
        let dev_eui = DevEui::from_str(device["lorawan_dev_eui"].as_str().unwrap()).unwrap();
        let unheard = world.sim.network(|network, _| {
            let light = network.light(dev_eui);
            light.expect("the light is there").uplinks_unheard
        });
        let missed = device["uplinks_missed"].as_u64().unwrap();
        assert!(missed <= unheard, "{unheard} were not heard: {device:#}");
    }
}
