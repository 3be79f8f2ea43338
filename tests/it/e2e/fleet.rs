//! Many lights at once, with loss and a dark gateway.

use std::time::Duration;

use downbeat_core::light::{Color, LightState};
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use crate::support::{Database, World, on_both_stores, until};

on_both_stores! {
    forty_lights_under_loss_with_a_dark_gateway_end_as_wanted_and_nothing_is_claimed_falsely,
}

async fn forty_lights_under_loss_with_a_dark_gateway_end_as_wanted_and_nothing_is_claimed_falsely(
    database: Database,
) {
    let world = World::new(database, 40, 4, |config| {
        config.network.links.loss_up = 0.2;
        config.network.links.loss_down = 0.2;
        // A light that only the dark gateway heard is reached again when it speaks.
        for lamp in &mut config.network.lamps {
            lamp.heartbeat = Duration::from_mins(3);
        }
    })
    .await;
    let dark = world
        .sim
        .network(|network, _| network.gateways()[0].gateway_id);
    world
        .sim
        .network(|network, now| network.set_gateway_online(now, dark, false));
    let wanted = |number: usize| Color::rgb(u8::try_from(100 + number).unwrap(), 20, 200);
    let answers: Vec<_> = stream::iter(world.lights.iter().enumerate())
        .map(|(number, light)| {
            let (client, color) = (world.client.clone(), wanted(number));
            async move {
                let body = json!({"red": color.red, "green": color.green, "blue": color.blue});
                let path = format!("/api/v1/downlink/{light}?wait=30");
                (number, *light, client.post(&path, &body).await)
            }
        })
        .buffer_unordered(40)
        .collect()
        .await;
    let mut ids = Vec::new();
    for (number, light, answer) in answers {
        assert!(
            matches!(answer.status.as_u16(), 200 | 202),
            "{}",
            answer.body
        );
        let body: Value = serde_json::from_str(&answer.body).expect("JSON");
        ids.push((
            number,
            light,
            body["id"].as_str().expect("an id").to_owned(),
        ));
    }
    let mut verified = 0;
    for (number, light, id) in &ids {
        let downlink = until("it comes to its end", Duration::from_mins(4), async || {
            let downlink = world.client.downlink(id).await;
            downlink["finished_at"].is_string().then_some(downlink)
        })
        .await;
        if downlink["state"] == "verified" {
            verified += 1;
            let state = LightState::steady(wanted(*number));
            let really = world.sim.network(|network, _| {
                let truth = network.light(*light).expect("it exists");
                truth.changes.iter().any(|change| change.state == state)
            });
            assert!(really, "verified, but never shown: {downlink:#}");
        }
    }
    println!("{verified} of 40 verified within their attempts");
    assert!(verified >= 36, "{verified} of 40");
    // The others get there by themselves: the wish stays, and the next report that differs starts anew.
    for (number, light, _) in &ids {
        let state = LightState::steady(wanted(*number));
        until(
            "every light shows what is wanted",
            Duration::from_mins(4),
            async || {
                let shown = world
                    .sim
                    .network(|network, _| network.light(*light).expect("it exists").shown);
                (shown == state).then_some(())
            },
        )
        .await;
    }
    let metrics = world
        .client
        .get("/api/v1/metrics/downlinks?hours=1")
        .await
        .expect(200);
    let count = |field: &str| metrics[field].as_u64().expect("a number");
    assert!(count("total") + count("under_way") >= 40, "{metrics}");
}
