//! Faults and truth over HTTP.

use serde_json::{Value, json};
use tonic::Code;

use crate::support::*;

async fn get(world: &World, path: &str) -> Value {
    let answer = reqwest::get(world.control(path)).await.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.expect("JSON")
}

async fn patch(world: &World, path: &str, body: &str) -> (u16, String, Value) {
    let client = reqwest::Client::new();
    let answer = client
        .patch(world.control(path))
        .body(body.to_owned())
        .send()
        .await
        .expect("an answer");
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let content_type = headers["content-type"].to_str().expect("text").to_owned();
    (status, content_type, answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn the_truth_is_what_a_lamp_shows_and_why() {
    let mut world = World::start(fast(2)).await;
    let id = world
        .enqueue(FIRST_LAMP, &RED)
        .await
        .unwrap()
        .into_inner()
        .id;
    world
        .post("up", |post| {
            post.json()["data"]
                .as_str()
                .is_some_and(|data| data.ends_with("AP8AAP8AOgwB"))
        })
        .await;
    let lights = get(&world, "/lights").await;
    assert_eq!(lights["lights"].as_array().map(Vec::len), Some(2));
    let light = &lights["lights"][0];
    assert_eq!(
        light["shown"]["color"],
        json!({"red": 255, "green": 0, "blue": 0})
    );
    let last = light["changes"]
        .as_array()
        .and_then(|changes| changes.last())
        .unwrap();
    assert_eq!(
        last["cause"],
        json!({"type": "downlink", "queue_item_id": id})
    );
    assert!(last["at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(light["received"][0]["payload"], "ff0000ff00");
    assert_eq!(
        get(&world, "/lights/70-b3-d5-e7-5e-00-00-00").await["dev_eui"],
        FIRST_LAMP
    );
}

#[tokio::test]
async fn a_rebooted_lamp_joins_again() {
    let mut world = World::start(fast(1)).await;
    world.post("up", |_| true).await;
    let path = world.control(&format!("/lights/{FIRST_LAMP}/reboot"));
    let answer = reqwest::Client::new().post(path).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    world.post("join", |_| true).await;
    assert_eq!(world.post("up", |_| true).await.json()["fCnt"], 0);
}

#[tokio::test]
async fn gateways_go_dark_and_refuse() {
    let mut world = World::start(fast(1)).await;
    world.post("up", |_| true).await;
    for number in 0..3 {
        let path = format!("/gateways/0016c001f000000{number}");
        let (status, _, gateway) = patch(&world, &path, r#"{"refusal": "TOO_LATE"}"#).await;
        assert_eq!((status, &gateway["refusal"]), (200, &json!("TOO_LATE")));
    }
    world.enqueue(FIRST_LAMP, &RED).await.unwrap();
    let log = world.post("log", |_| true).await.json();
    assert_eq!(
        (&log["code"], &log["description"]),
        (&json!("DOWNLINK_GATEWAY"), &json!("TOO_LATE"))
    );
    let path = format!("/gateways/{FIRST_GATEWAY}");
    let (_, _, gateway) = patch(&world, &path, r#"{"online": false, "refusal": null}"#).await;
    assert_eq!(
        (&gateway["online"], &gateway["refusal"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(
        get(&world, "/gateways").await["gateways"][0]["online"],
        false
    );
}

#[tokio::test]
async fn links_and_webhooks_get_worse() {
    let world = World::start(fast(1)).await;
    let (status, _, links) = patch(
        &world,
        "/links",
        r#"{"loss_up": 0.5, "latency_ms": 300, "webhook_loss": 1}"#,
    )
    .await;
    assert_eq!(status, 200);
    assert_eq!(
        (&links["loss_up"], &links["loss_down"]),
        (&json!(0.5), &json!(0.0))
    );
    assert_eq!(
        (&links["latency_ms"], &links["webhook_loss"]),
        (&json!(300), &json!(1.0))
    );
    assert_eq!(get(&world, "/links").await, links);
}

#[tokio::test]
async fn chirpstack_goes_down_and_comes_back() {
    let mut world = World::start(fast(1)).await;
    world.post("up", |_| true).await;
    patch(&world, "/chirpstack", r#"{"down": true}"#).await;
    assert_eq!(
        world.enqueue(FIRST_LAMP, &RED).await.unwrap_err().code(),
        Code::Unavailable
    );
    patch(&world, "/chirpstack", r#"{"down": false, "failing": true}"#).await;
    assert_eq!(
        world.enqueue(FIRST_LAMP, &RED).await.unwrap_err().code(),
        Code::Internal
    );
    let (_, _, faults) = patch(
        &world,
        "/chirpstack",
        r#"{"failing": false, "slow_ms": 50}"#,
    )
    .await;
    assert_eq!(
        faults,
        json!({"down": false, "hung": false, "slow_ms": 50, "failing": false, "lose_answers": 0.0})
    );
    assert!(world.enqueue(FIRST_LAMP, &RED).await.is_ok());
    world.post("txack", |_| true).await;
}

#[tokio::test]
async fn while_chirpstack_hangs_nothing_is_answered_and_afterwards_everything() {
    let mut world = World::start(fast(1)).await;
    world.post("up", |_| true).await;
    patch(&world, "/chirpstack", r#"{"hung": true}"#).await;
    let enqueue = world.enqueue(FIRST_LAMP, &RED);
    let mut enqueue = Box::pin(enqueue);
    // Were it not for the fault, the answer would be here long before the control API's.
    for _ in 0..20 {
        tokio::select! {
            biased;
            answer = &mut enqueue => panic!("{answer:?}"),
            faults = get(&world, "/chirpstack") => assert_eq!(faults["hung"], true),
        }
    }
    patch(&world, "/chirpstack", r#"{"hung": false}"#).await;
    assert!(enqueue.as_mut().await.is_ok());
    drop(enqueue);
    world.post("txack", |_| true).await;
}

#[tokio::test]
async fn bad_input_is_answered_with_a_problem() {
    let world = World::start(fast(1)).await;
    let cases = [
        ("/links", r#"{"loss_up": 2}"#, 400),
        ("/links", r#"{"loss_up": -0.1}"#, 400),
        ("/links", r#"{"latency_ms": -1}"#, 400),
        ("/links", r#"{"latency_ms": 99999999999}"#, 400),
        ("/links", r#"{"los_up": 0.1}"#, 400),
        ("/links", "not JSON", 400),
        ("/links", "", 400),
        ("/chirpstack", r#"{"down": "yes"}"#, 400),
        ("/chirpstack", r#"{"lose_answers": 1.5}"#, 400),
        ("/gateways/xyz", r#"{"online": false}"#, 400),
        ("/gateways/0016c001f00000ff", r#"{"online": false}"#, 404),
        (
            "/gateways/0016c001f0000000",
            r#"{"refusal": "NO_IDEA"}"#,
            400,
        ),
        ("/lights/70b3d5e75e0000ff", r#"{"powered": false}"#, 404),
        ("/nothing", "{}", 404),
    ];
    for (path, body, expected) in cases {
        let (status, content_type, problem) = patch(&world, path, body).await;
        assert_eq!(
            (status, content_type.as_str()),
            (expected, "application/problem+json"),
            "{path} {body}"
        );
        assert_eq!(problem["status"], expected);
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty())
        );
    }
}

async fn post(world: &World, path: &str, body: &str) -> (u16, Value) {
    let client = reqwest::Client::new();
    let request = client.post(world.control(path)).body(body.to_owned());
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn lights_are_added_and_live_like_the_others() {
    let mut world = World::start(fast(1)).await;
    let more = r#"{"first": "70b3d5e75e010000", "count": 2}"#;
    let (status, body) = post(&world, "/lights", more).await;
    let added = json!(["70b3d5e75e010000", "70b3d5e75e010001"]);
    assert_eq!((status, &body["dev_euis"]), (201, &added));
    let is_new = |post: &Post| post.json()["deviceInfo"]["devEui"] == "70b3d5e75e010001";
    world.post("up", is_new).await;
    let overlapping = r#"{"first": "70b3d5e75e010001", "count": 2}"#;
    assert_eq!(post(&world, "/lights", overlapping).await.0, 409);
    assert_eq!(
        get(&world, "/lights").await["lights"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );

    // One that ChirpStack is still to be told of has no power.
    let unknown = r#"{"first": "1", "count": 1, "joined": false}"#;
    assert_eq!(post(&world, "/lights", unknown).await.0, 400);
    let unknown = r#"{"first": "0000000000000001", "count": 1, "joined": false}"#;
    assert_eq!(post(&world, "/lights", unknown).await.0, 201);
    let light = get(&world, "/lights/0000000000000001").await;
    assert_eq!(
        (&light["powered"], &light["joined"]),
        (&json!(false), &json!(false))
    );
}

#[tokio::test]
async fn without_airtime_an_answer_comes_as_soon_as_it_is_credible() {
    let mut config = fast(1);
    config.speed = 1.0;
    let mut world = World::start(config).await;
    world.post("up", |_| true).await;
    let (status, _, links) = patch(&world, "/links", r#"{"airtime": false}"#).await;
    assert_eq!(
        (status, &links["airtime"], &links["latency_ms"]),
        (200, &json!(false), &json!(0))
    );
    world.enqueue(FIRST_LAMP, &RED).await.unwrap();
    let sent = world.post("txack", |_| true).await.json();
    let answered = world.post("up", |_| true).await.json();
    let millis = |event: &Value| {
        let text = event["time"].as_str().expect("a text");
        let seconds: f64 = text[17..23].parse().expect("seconds");
        seconds * 1000.0
    };
    let took = (millis(&answered) - millis(&sent)).rem_euclid(60_000.0);
    assert!((took - 150.0).abs() < 0.5, "{took} ms");
    let (_, _, links) = patch(&world, "/links", r#"{"airtime": true}"#).await;
    assert_eq!(
        (&links["airtime"], &links["latency_ms"]),
        (&json!(true), &json!(20))
    );
}
