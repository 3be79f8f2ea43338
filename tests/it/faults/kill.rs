//! `kill -9` between any two steps of a downlink's life.
//!
//! The process is really killed. Webhooks that come while it is away are lost, as ChirpStack never repeats one. What
//! is compared in the end is what each light really shows.

use std::time::Duration;

use downbeat_core::light::{Color, LightState};
use downbeat_core::random::Random;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Accepted, Database, Load, World, on_both_stores, until};

on_both_stores! {
    killed_at_any_moment_it_keeps_every_promise,
    killed_in_each_state_it_resumes_every_command,
}

/// How often the service is killed, on each store; the environment's variable has another number for longer runs.
const KILLS: u64 = 100;
const KILLS_VARIABLE: &str = "DOWNBEAT_TEST_KILLS";

/// So many services are killed at once.
const SERVICES: u64 = 4;

async fn killed_at_any_moment_it_keeps_every_promise(database: Database) {
    let kills = std::env::var(KILLS_VARIABLE).map_or(KILLS, |text| text.parse().unwrap());
    let databases = std::iter::repeat_with(|| database.sibling());
    let worlds = databases.zip(0..SERVICES).map(async |(database, seed)| {
        let mut world = World::in_a_hurry(database).await;
        let mut random = Random::from_seed(seed);
        let load = Load::start(&world, seed);
        for _ in 0..kills.div_ceil(SERVICES) {
            load.flows(1).await;
            // Any moment will do, and each is to be found.
            tokio::time::sleep(Duration::from_millis(random.below(250))).await;
            world.kill_and_restart().await;
        }
        let accepted = load.stop().await;
        let states = world.keeps_its_promises(&accepted).await;
        println!("service {seed}: {} commands: {states:?}", accepted.len());
    });
    join_all(worlds).await;
}

const STATES: [&str; 4] = ["accepted", "enqueued", "transmitted", "verified"];

async fn killed_in_each_state_it_resumes_every_command(database: Database) {
    let mut world = World::in_a_hurry(database).await;
    let mut accepted = Vec::new();
    for (number, state) in (1..).zip(STATES) {
        let color = Color::rgb(10 * number, 255 - number, 1);
        for light in world.lights.clone() {
            let path = format!("/api/v1/downlink/{light}?wait=0");
            let answer = world
                .client
                .post(&path, &json!({"color": color.to_string()}))
                .await;
            assert!(
                matches!(answer.status.as_u16(), 200 | 202),
                "{}",
                answer.body
            );
            let answer: Value = serde_json::from_str(&answer.body).unwrap();
            let id = answer["id"].as_str().unwrap().to_owned();
            accepted.push(Accepted { id, light, color });
        }
        until_in(&world, &accepted.last().unwrap().id, state).await;
        world.kill_and_restart().await;
        for light in world.lights.clone() {
            world.until_shown(light, LightState::steady(color)).await;
        }
    }
    world.keeps_its_promises(&accepted).await;
}

/// Waits until a downlink is in that state, or past it.
async fn until_in(world: &World, id: &str, state: &str) {
    let place = |state: &str| STATES.iter().position(|known| *known == state);
    let wanted = place(state).unwrap();
    until(
        "the downlink gets there",
        Duration::from_mins(1),
        async || {
            let now = world.client.downlink(id).await;
            let now = place(now["state"].as_str().unwrap()).unwrap_or(STATES.len());
            (now >= wanted).then_some(())
        },
    )
    .await;
}
