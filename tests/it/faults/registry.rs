//! `kill -9` while devices are registered, renamed and deleted: ChirpStack is brought in step all the same.

use std::collections::BTreeMap;
use std::time::Duration;

use downbeat_core::id::DevEui;
use downbeat_core::random::Random;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Database, World, on_both_stores, until};

on_both_stores! {
    what_was_answered_before_a_kill_reaches_chirpstack_after_it,
}

const DEVICES: &str = "/api/v1/tenants/default/devices";

async fn what_was_answered_before_a_kill_reaches_chirpstack_after_it(database: Database) {
    let mut world = World::new(database, 0, 1, |_| {}).await;
    let mut random = Random::from_seed(3);
    let mut wanted: BTreeMap<DevEui, String> = BTreeMap::new();
    for round in 0..8 {
        let mut paths = Vec::new();
        for number in 0..4 {
            let dev_eui = DevEui::from_u64(0x2020_20ff_0000_0000 + round * 4 + number);
            paths.push((dev_eui, world.registers(dev_eui).await));
            wanted.insert(dev_eui, "new".to_owned());
        }
        let (renamed, path) = &paths[0];
        let rename = world.client.request(Method::PATCH, path);
        let body = json!({"name": "renamed"});
        Answer::of(rename.json(&body)).await.expect(200);
        wanted.insert(*renamed, "renamed".to_owned());
        let (deleted, path) = &paths[1];
        let delete = world.client.request(Method::DELETE, path);
        Answer::of(delete).await.expect(204);
        wanted.remove(deleted);
        // Any moment will do.
        tokio::time::sleep(Duration::from_millis(random.below(60))).await;
        world.kill_and_restart().await;
    }
    until(
        "ChirpStack is in step",
        Duration::from_mins(1),
        async || {
            let there = world.sim.network(|network, _| {
                let devices = network.devices();
                devices
                    .map(|device| (device.dev_eui, device.fields.name.clone()))
                    .collect::<BTreeMap<_, _>>()
            });
            let devices = world.devices().await;
            let known = |device: &Value| device["chirpstack_synced"] == true;
            (there == wanted && devices.iter().all(known)).then_some(())
        },
    )
    .await;
    assert_eq!(world.devices().await.len(), wanted.len());
}

impl World {
    /// Registers a device that ChirpStack is to hold, and gives its path.
    async fn registers(&self, dev_eui: DevEui) -> String {
        let identity = self.sim.identity();
        let body = json!({
            "name": "new", "lorawan_dev_eui": dev_eui,
            "chirpstack_app_id": identity.application_id,
            "device_profile_id": identity.device_profile_id,
        });
        let made = self.client.post(DEVICES, &body).await.expect(201);
        format!("{DEVICES}/{}", made["id"].as_str().expect("an id"))
    }
}
