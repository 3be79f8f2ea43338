//! What is outside goes away, and comes back.

use std::time::Duration;

use downbeat_core::light::{Color, LightState};
use downbeat_sim::server::ChirpstackFaults;
use serde_json::json;

use crate::support::{Database, World, on_both_stores, until};

on_both_stores! {
    commands_given_while_chirpstack_is_down_go_out_when_it_is_back,
    an_answer_of_chirpstack_that_is_lost_makes_no_second_item,
    a_light_that_restarts_gets_its_colour_back_without_being_asked,
}

const RED: LightState = LightState::steady(Color::rgb(255, 0, 0));

async fn commands_given_while_chirpstack_is_down_go_out_when_it_is_back(database: Database) {
    let world = World::new(database, 3, 1, |_| {}).await;
    world.until_heard().await;
    world.sim.set_faults(ChirpstackFaults {
        down: true,
        ..ChirpstackFaults::default()
    });
    let mut ids = Vec::new();
    for light in &world.lights {
        let path = format!("/api/v1/downlink/{light}?wait=0");
        let answer = world
            .client
            .post(&path, &json!({"red": 255, "green": 0, "blue": 0}))
            .await
            .expect(202);
        ids.push(answer["id"].as_str().unwrap().to_owned());
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.sim.set_faults(ChirpstackFaults::default());
    for id in ids {
        until("it is verified", Duration::from_secs(30), async || {
            let downlink = world.client.downlink(&id).await;
            (downlink["state"] == "verified").then_some(())
        })
        .await;
    }
}

async fn an_answer_of_chirpstack_that_is_lost_makes_no_second_item(database: Database) {
    let world = World::new(database, 1, 1, |_| {}).await;
    world.until_heard().await;
    let gateway = world
        .sim
        .network(|network, _| network.gateways()[0].gateway_id);
    world
        .sim
        .network(|network, now| network.set_gateway_online(now, gateway, false));
    world.sim.set_faults(ChirpstackFaults {
        lose_answers: 1.0,
        ..ChirpstackFaults::default()
    });
    let light = world.lights[0];
    let path = format!("/api/v1/downlink/{light}?wait=0");
    let answer = world
        .client
        .post(&path, &json!({"red": 255, "green": 0, "blue": 0}))
        .await
        .expect(202);
    until("ChirpStack has it", Duration::from_secs(10), async || {
        let items = world
            .sim
            .network(|network, _| network.queue(light).unwrap().len());
        (items == 1).then_some(())
    })
    .await;
    world.sim.set_faults(ChirpstackFaults::default());
    let id = answer["id"].as_str().unwrap();
    until(
        "it is found in the queue",
        Duration::from_secs(20),
        async || {
            let downlink = world.client.downlink(id).await;
            downlink["queue_id"].is_string().then_some(())
        },
    )
    .await;
    let items = world
        .sim
        .network(|network, _| network.queue(light).unwrap().len());
    assert!(items <= 1, "{items} items");
}

async fn a_light_that_restarts_gets_its_colour_back_without_being_asked(database: Database) {
    let world = World::new(database, 1, 1, |_| {}).await;
    world.until_heard().await;
    let light = world.lights[0];
    let body = json!({"red": 255, "green": 0, "blue": 0});
    world
        .client
        .post(&format!("/api/v1/downlink/{light}"), &body)
        .await
        .expect(200);
    world
        .sim
        .network(|network, now| network.reboot_light(now, light));
    until(
        "it has forgotten its colour",
        Duration::from_secs(10),
        async || {
            (world
                .sim
                .network(|network, _| network.light(light).unwrap().shown)
                != RED)
                .then_some(())
        },
    )
    .await;
    until("it is red again", Duration::from_mins(1), async || {
        (world
            .sim
            .network(|network, _| network.light(light).unwrap().shown)
            == RED)
            .then_some(())
    })
    .await;
    let page = world
        .client
        .get(&format!("/api/v1/downlinks?dev_eui={light}"))
        .await
        .expect(200);
    assert_eq!(page["downlinks"][0]["origin"], "reconcile", "{page:#}");
}
