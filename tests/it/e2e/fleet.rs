//! Many lights at once, with loss and a dark gateway.

use std::time::Duration;

use downbeat_core::light::{Color, LightState};
use futures_util::stream::{self, StreamExt as _};
use serde_json::json;

use crate::support::{World, until};

#[tokio::test]
async fn sixty_lights_under_loss_with_a_dark_gateway_end_as_wanted_and_nothing_is_claimed_falsely()
{
    let world = World::new(60, 4, |config| {
        config.network.links.loss_up = 0.2;
        config.network.links.loss_down = 0.2;
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
                let path = format!("/api/v1/downlink/{light}?wait=120");
                (number, *light, client.post(&path, &body).await)
            }
        })
        .buffer_unordered(60)
        .collect()
        .await;
    let mut verified = 0;
    for (number, light, answer) in answers {
        let body = answer.expect(200);
        if body["status"] == "success" {
            verified += 1;
            let state = LightState::steady(wanted(number));
            let really = world.sim.network(|network, _| {
                network
                    .light(light)
                    .unwrap()
                    .changes
                    .iter()
                    .any(|change| change.state == state)
            });
            assert!(really, "verified, but never shown: {body:#}");
        }
    }
    println!("{verified} of 60 verified within their attempts");
    assert!(verified >= 55, "{verified} of 60");
    // The others get there by themselves: the wish stays, and the next report of a light that differs starts anew.
    let metrics = world
        .client
        .get("/api/v1/metrics/downlinks?hours=1")
        .await
        .expect(200);
    assert!(metrics["total"].as_u64().unwrap() >= 60, "{metrics}");
    until("nothing is under way", Duration::from_mins(2), async || {
        let page = world
            .client
            .get("/api/v1/downlinks?limit=1000")
            .await
            .expect(200);
        page["downlinks"]
            .as_array()
            .unwrap()
            .iter()
            .all(|downlink| downlink["finished_at"].is_string())
            .then_some(())
    })
    .await;
}
