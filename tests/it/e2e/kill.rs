//! `kill -9` between any two steps of a downlink's life.
//!
//! The process is really killed. Webhooks that come while it is away are lost, as ChirpStack never repeats one. What
//! is compared in the end is what each light really shows.

use std::collections::BTreeMap;
use std::time::Duration;

use downbeat_core::id::DevEui;
use downbeat_core::light::{Color, LightState};
use downbeat_core::random::Random;
use downbeat_sim::model::truth::Cause;
use serde_json::{Value, json};

use crate::support::{Database, World, on_both_stores, until};

on_both_stores! {
    a_killed_service_resumes_every_command_and_claims_nothing_false,
}

/// When to kill.
#[derive(Debug, Clone, Copy)]
enum Point {
    /// As soon as the downlink is in this state, or past it.
    At(&'static str),
    /// So many milliseconds after it was accepted.
    After(u64),
}

const STATES: [&str; 4] = ["accepted", "enqueued", "transmitted", "verified"];

async fn a_killed_service_resumes_every_command_and_claims_nothing_false(database: Database) {
    let mut world = World::new(database, 4, 2, |_| {}).await;
    world.until_heard().await;
    let mut random = Random::from_seed(7);
    let mut points: Vec<Point> = STATES.map(Point::At).to_vec();
    points.extend((0..12).map(|_| Point::After(random.below(1_200))));
    let mut wanted: BTreeMap<DevEui, LightState> = BTreeMap::new();
    let mut accepted: Vec<String> = Vec::new();
    for (round, point) in points.into_iter().enumerate() {
        let mut ids = Vec::new();
        for (number, light) in world.lights.clone().into_iter().enumerate() {
            let shade = u8::try_from(10 + round * 4 + number).unwrap();
            let path = format!("/api/v1/downlink/{light}?wait=0");
            let body = json!({"red": shade, "green": 255 - shade, "blue": 1});
            let answer = world.client.post(&path, &body).await;
            assert!(
                matches!(answer.status.as_u16(), 200 | 202),
                "{}",
                answer.body
            );
            let id = serde_json::from_str::<Value>(&answer.body).unwrap()["id"]
                .as_str()
                .unwrap()
                .to_owned();
            ids.push(id);
            wanted.insert(light, LightState::steady(Color::rgb(shade, 255 - shade, 1)));
        }
        wait_for(&world, &ids[round % ids.len()], point).await;
        world.kill_and_restart().await;
        // Every other round is let come to its end; the others are overtaken by newer commands.
        if round % 2 == 0 {
            for id in &ids {
                until_ended(&world, id).await;
            }
        }
        accepted.extend(ids);
    }
    let mut states: BTreeMap<String, usize> = BTreeMap::new();
    for id in &accepted {
        let ended = until_ended(&world, id).await;
        check_one_end(&ended);
        check_claim(&world, &ended);
        *states
            .entry(ended["state"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    println!("{} commands under 16 kills: {states:?}", accepted.len());
    for (light, state) in wanted {
        until(
            "the light shows what was wanted last",
            Duration::from_mins(3),
            async || {
                let shown = world
                    .sim
                    .network(|network, _| network.light(light).unwrap().shown);
                (shown == state).then_some(())
            },
        )
        .await;
    }
}

async fn until_ended(world: &World, id: &str) -> Value {
    until(
        "every accepted command ends",
        Duration::from_mins(3),
        async || {
            let downlink = world.client.downlink(id).await;
            downlink["finished_at"].is_string().then_some(downlink)
        },
    )
    .await
}

async fn wait_for(world: &World, id: &str, point: Point) {
    match point {
        Point::After(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        Point::At(state) => {
            let wanted = STATES.iter().position(|known| *known == state);
            until(
                "the downlink gets there",
                Duration::from_mins(1),
                async || {
                    let now = world.client.downlink(id).await["state"]
                        .as_str()
                        .unwrap()
                        .to_owned();
                    let place = STATES
                        .iter()
                        .position(|known| *known == now)
                        .unwrap_or(STATES.len());
                    (Some(place) >= wanted).then_some(())
                },
            )
            .await;
        }
    }
}

/// Exactly one terminal state; after it, only word of what became of its queue item, or a late proof.
fn check_one_end(downlink: &Value) {
    let ends = downlink["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| {
            matches!(
                entry["step"].as_str(),
                Some("verified" | "ended" | "superseded" | "unverified" | "failed" | "expired")
            )
        })
        .count();
    let late = downlink["late"] == true;
    assert!(ends == 1 || (late && ends == 2), "{downlink:#}");
}

/// Verified is said only of what the light really did, because of a downlink of ours.
fn check_claim(world: &World, downlink: &Value) {
    if downlink["state"] != "verified" {
        return;
    }
    let light: DevEui = downlink["dev_eui"].as_str().unwrap().parse().unwrap();
    let part = |name: &str| u8::try_from(downlink["color"][name].as_u64().unwrap()).unwrap();
    let claimed = LightState::steady(Color::rgb(part("red"), part("green"), part("blue")));
    let really = world.sim.network(|network, _| {
        let truth = network.light(light).unwrap();
        truth
            .changes
            .iter()
            .any(|change| change.state == claimed && matches!(change.cause, Cause::Downlink { .. }))
    });
    assert!(really, "verified, but never shown: {downlink:#}");
}
