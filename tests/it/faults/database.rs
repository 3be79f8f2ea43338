//! The database goes away and comes back: what cannot be stored is not accepted, and what was accepted stays.

use std::time::Duration;

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
    // ChirpStack says everything once: what it said meanwhile was kept.
    for light in &world.lights {
        world.until_all_is_kept(*light).await;
    }
}

impl World {
    /// Waits until each uplink of a light that some gateway heard is counted, once. What none heard, because all were
    /// sending just then, nobody can keep.
    async fn until_all_is_kept(&self, light: DevEui) {
        let truth = || {
            self.sim.network(|network, _| {
                let light = network.light(light).expect("the light is there");
                (u64::from(light.uplinks_sent), light.uplinks_unheard)
            })
        };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let devices = self.devices().await;
            let mut devices = devices.iter();
            let device = devices.find(|one| one["lorawan_dev_eui"] == light.to_string());
            let device = device.expect("it is registered");
            let (sent, unheard) = truth();
            if device["uplinks_heard"] == sent - unheard {
                return;
            }
            if tokio::time::Instant::now() > deadline {
                let id = device["id"].as_str().expect("an id");
                let path = format!("/api/v1/tenants/default/devices/{id}/events?limit=1000");
                let events = self.client.get(&path).await.expect(200);
                let events = events["events"].as_array().expect("a list").iter();
                let heard: Vec<_> = events
                    .filter(|event| event["kind"] == "up")
                    .map(|event| (&event["at"], &event["body"]["f_cnt"]))
                    .collect();
                panic!("{sent} were sent, {unheard} not heard: {device:#}, {heard:?}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
