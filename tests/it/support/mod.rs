//! The service as a process of its own, the simulated network beside it, and a client of its API.

mod client;
mod database;
mod disk;
mod load;
mod promises;
mod service;

pub(crate) use client::{Answer, Client};
pub(crate) use database::{Database, on_both_stores};
pub(crate) use disk::SmallDisk;
pub(crate) use load::{Accepted, Load};
pub(crate) use service::Service;

use std::collections::BTreeMap;
use std::time::Duration;

use downbeat_core::id::DevEui;
use downbeat_sim::model::config::{DutyCycle, LampStart};
use downbeat_sim::server::{RunningSim, SimConfig};
use serde_json::{Value, json};

/// How much faster than real time the simulated network lives.
pub(crate) const SPEED: f64 = 4.0;

/// A simulated network and the service in front of it, with all its lights registered.
pub(crate) struct World {
    pub(crate) sim: RunningSim,
    pub(crate) service: Service,
    pub(crate) client: Client,
    pub(crate) lights: Vec<DevEui>,
}

impl World {
    /// `change` what the fleet is before it starts.
    pub(crate) async fn new(
        database: Database,
        lights: u32,
        gateways: u32,
        change: impl FnOnce(&mut SimConfig),
    ) -> Self {
        let mut config = SimConfig::fleet(lights, gateways);
        config.speed = SPEED;
        change(&mut config);
        // They get power when everybody listens, so that nothing they say goes astray.
        for lamp in &mut config.network.lamps {
            lamp.start = LampStart::Unpowered;
        }
        let sim = downbeat_sim::server::start(config)
            .await
            .expect("the simulation starts");
        let service = Service::start(&sim, database).await;
        let client = Client::new(service.address(), service.admin_key());
        let lights: Vec<DevEui> =
            sim.network(|network, _| network.lights().map(|light| light.dev_eui).collect());
        let world = Self {
            sim,
            service,
            client,
            lights,
        };
        world.connect_webhooks();
        for light in &world.lights {
            let body = json!({"name": format!("light {light}"), "lorawan_dev_eui": light, "codec": "kuando_busylight"});
            world
                .client
                .post("/api/v1/tenants/default/devices", &body)
                .await
                .expect(201);
        }
        for light in &world.lights {
            world
                .sim
                .network(|network, now| network.set_light_power(now, *light, true));
        }
        world
    }

    /// A small fleet in a hurry: nothing but the fault at hand is to keep commands from their end.
    pub(crate) async fn in_a_hurry(database: Database) -> Self {
        let world = Self::new(database, 3, 2, |config| {
            config.speed = 20.0;
            for lamp in &mut config.network.lamps {
                lamp.duty_cycle = DutyCycle::UNLIMITED;
                // What was missed is noticed with the next one.
                lamp.heartbeat = Duration::from_mins(1);
            }
        })
        .await;
        world.until_heard().await;
        world
    }

    /// Has the simulated ChirpStack post its events to where the service listens now.
    pub(crate) fn connect_webhooks(&self) {
        let url = format!(
            "{}/api/v1/webhooks/chirpstack",
            self.service.address().url()
        );
        let authorization = format!("Bearer {}", self.service.admin_key());
        let headers = BTreeMap::from([("Authorization".to_owned(), authorization)]);
        self.sim.set_webhook(&url, headers);
    }

    /// Kills the service as `kill -9` does, and starts it anew on the same data.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.service.kill();
        self.restart().await;
    }

    /// Starts the service anew on the same data; it has ended.
    pub(crate) async fn restart(&mut self) {
        self.service.restart(&self.sim).await;
        self.connect_webhooks();
    }

    /// Waits until every light was heard: the network can reach them.
    pub(crate) async fn until_heard(&self) {
        let patience = Duration::from_secs(30);
        until("every light is heard", patience, async || {
            let devices = self.devices().await;
            let heard = devices.iter().all(|device| !device["last_seen"].is_null());
            heard.then_some(())
        })
        .await;
    }

    /// Waits until every light has its settings: nothing of ours is in its queue that a command would have to wait for.
    pub(crate) async fn until_initialised(&self) {
        let patience = Duration::from_mins(1);
        until("every light has its settings", patience, async || {
            let devices = self.devices().await;
            let is_done = |device: &Value| device["initialisation"]["state"] == "done";
            devices.iter().all(is_done).then_some(())
        })
        .await;
    }

    /// All devices as the API shows them.
    pub(crate) async fn devices(&self) -> Vec<Value> {
        let path = "/api/v1/tenants/default/devices?limit=1000";
        let page = self.client.get(path).await.expect(200);
        page["devices"].as_array().expect("a list").clone()
    }
}

/// Waits for a condition with a deadline.
pub(crate) async fn until<T>(
    what: &str,
    patience: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "not within {patience:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
