//! One light, one colour, nothing in the way.

use std::time::Duration;

use downbeat_core::light::{Color, LightState};
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::json;

use crate::support::{Database, World, on_both_stores, until};

on_both_stores! {
    a_colour_is_verified_and_the_light_really_shows_it,
    without_verification_the_answer_comes_when_chirpstack_has_it,
    what_takes_long_is_answered_with_a_place_to_look,
    the_live_feed_tells_every_step_and_resumes_where_it_was_left,
}

async fn a_colour_is_verified_and_the_light_really_shows_it(database: Database) {
    let world = World::new(database, 1, 1, |_| {}).await;
    world.until_initialised().await;
    let light = world.lights[0];
    // Green and blue differ: their order on the wire is not the one people write.
    let body = json!({"red": 255, "green": 165, "blue": 7, "wait_for_verification": true});
    let answer = world
        .client
        .post(&format!("/api/v1/downlink/{light}"), &body)
        .await
        .expect(200);
    assert_eq!(answer["status"], "success", "{answer}");
    assert_eq!(
        (answer["verified"].as_bool(), answer["attempts"].as_u64()),
        (Some(true), Some(1))
    );
    assert_eq!(
        answer["color"],
        json!({"red": 255, "blue": 7, "green": 165})
    );
    assert_eq!(answer["evidence"]["kind"], "counter_and_state");
    let steps: Vec<&str> = answer["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["step"].as_str())
        .collect();
    assert_eq!(steps, ["accepted", "enqueued", "transmitted", "verified"]);
    let shown = world
        .sim
        .network(|network, _| network.light(light).unwrap().shown);
    assert_eq!(shown, LightState::steady(Color::rgb(255, 165, 7)));
    let again = world.client.downlink(answer["id"].as_str().unwrap()).await;
    assert_eq!(again["timeline"], answer["timeline"]);
}

async fn without_verification_the_answer_comes_when_chirpstack_has_it(database: Database) {
    let world = World::new(database, 1, 1, |_| {}).await;
    world.until_heard().await;
    let light = world.lights[0];
    let body = json!({"color": "#00ff00", "wait_for_verification": false});
    let answer = world
        .client
        .post(&format!("/api/v1/downlink/{light}"), &body)
        .await
        .expect(200);
    assert_eq!(
        (&answer["status"], &answer["verified"]),
        (&json!("sent"), &json!(null))
    );
    assert!(answer["queue_id"].is_string(), "{answer}");
    until("the light is green", Duration::from_secs(10), async || {
        let shown = world
            .sim
            .network(|network, _| network.light(light).unwrap().shown);
        (shown == LightState::steady(Color::rgb(0, 255, 0))).then_some(())
    })
    .await;
}

async fn what_takes_long_is_answered_with_a_place_to_look(database: Database) {
    let world = World::new(database, 1, 1, |_| {}).await;
    world.until_heard().await;
    let gateway = world
        .sim
        .network(|network, _| network.gateways()[0].gateway_id);
    world
        .sim
        .network(|network, now| network.set_gateway_online(now, gateway, false));
    let light = world.lights[0];
    let path = format!("/api/v1/downlink/{light}?wait=0");
    let answer = world
        .client
        .post(&path, &json!({"red": 9, "green": 0, "blue": 0}))
        .await;
    let place = answer.headers["location"].to_str().unwrap().to_owned();
    let body = answer.expect(202);
    assert_eq!(
        (&body["status"], &body["verified"]),
        (&json!("pending"), &json!(null))
    );
    let cancelled = world
        .client
        .post(&format!("{place}/cancel"), &json!(null))
        .await
        .expect(200);
    assert_eq!(cancelled["state"], "cancelled", "{cancelled}");
    world
        .client
        .post(&format!("{place}/cancel"), &json!(null))
        .await
        .expect(409);
    assert_eq!(
        world.client.get(&place).await.expect(200)["state"],
        "cancelled"
    );
}

async fn the_live_feed_tells_every_step_and_resumes_where_it_was_left(database: Database) {
    let world = World::new(database, 1, 1, |_| {}).await;
    world.until_heard().await;
    let feed = "/api/v1/tenants/default/events";
    let mut stream = world
        .client
        .request(Method::GET, feed)
        .send()
        .await
        .unwrap()
        .bytes_stream();
    let light = world.lights[0];
    let body = json!({"red": 1, "green": 2, "blue": 3});
    world
        .client
        .post(&format!("/api/v1/downlink/{light}"), &body)
        .await
        .expect(200);
    let mut text = String::new();
    let all = async {
        while !text.contains("\"step\":\"verified\"") {
            text.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all)
        .await
        .expect("the feed tells it");
    let ids: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("id:"))
        .map(str::trim)
        .collect();
    assert!(ids.len() >= 4, "{text}");
    // Whoever comes back gets what came after, and nothing twice.
    let request = world
        .client
        .request(Method::GET, feed)
        .header("Last-Event-ID", ids[0]);
    let mut resumed = request.send().await.unwrap().bytes_stream();
    let mut missed = String::new();
    let rest = async {
        while !missed.contains("\"step\":\"verified\"") {
            missed.push_str(std::str::from_utf8(&resumed.next().await.unwrap().unwrap()).unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(10), rest)
        .await
        .expect("the feed resumes");
    let missed_ids: Vec<&str> = missed
        .lines()
        .filter_map(|line| line.strip_prefix("id:"))
        .map(str::trim)
        .collect();
    assert_eq!(missed_ids[..ids.len() - 1], ids[1..]);
}
