//! The live feed.

use axum::body::BodyDataStream;
use futures_util::StreamExt as _;

use super::*;

on_both_stores! {
    what_happens_is_told_and_resumed_where_it_broke,
    devices_and_gateways_are_told,
    changes_of_the_registry_are_told_to_their_tenant_alone,
    a_stop_ends_the_feed_and_answers_who_waits,
}

/// Reads events as a browser does.
pub(super) struct Events {
    stream: BodyDataStream,
    text: String,
}

impl Events {
    pub(super) async fn open(service: &Service, last_event_id: Option<&str>) -> Self {
        Self::of("default", service, last_event_id).await
    }

    async fn of(tenant: &str, service: &Service, last_event_id: Option<&str>) -> Self {
        let path = format!("/api/v1/tenants/{tenant}/events");
        let mut request = request("GET", &path, &service.viewer, None);
        if let Some(id) = last_event_id {
            let value = id.parse().unwrap();
            request.headers_mut().insert("last-event-id", value);
        }
        let response = service.app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let stream = response.into_body().into_data_stream();
        let mut events = Self {
            stream,
            text: String::new(),
        };
        let open = events.block().await;
        assert!(open.contains("retry: 2000"), "{open}");
        events
    }

    /// The next block of lines.
    async fn block(&mut self) -> String {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return block;
            }
            let more = tokio::time::timeout(PATIENCE, self.stream.next()).await;
            let more = more.unwrap().unwrap().unwrap();
            self.text.push_str(std::str::from_utf8(&more).unwrap());
        }
    }

    /// The next event: its kind, id and data.
    async fn next(&mut self) -> (String, String, Value) {
        let block = self.block().await;
        let field = |name: &str| {
            let mut lines = block.lines().filter_map(|line| line.split_once(": "));
            lines
                .find(|(field, _)| *field == name)
                .map(|(_, value)| value.to_owned())
        };
        let data = serde_json::from_str(&field("data").unwrap()).unwrap();
        (field("event").unwrap(), field("id").unwrap(), data)
    }

    /// The next event of a kind.
    pub(super) async fn next_of(&mut self, kind: &str) -> (String, Value) {
        loop {
            let (event, id, data) = self.next().await;
            if event == kind {
                return (id, data);
            }
        }
    }
}

async fn what_happens_is_told_and_resumed_where_it_broke(service: Service) {
    service.register(LAMP).await;
    let mut events = Events::open(&service, None).await;
    let path = format!("/api/v1/downlink/{LAMP}?wait=0");
    let sent = service
        .post(&path, &service.operator, &json!({"color": "#ff4000"}))
        .await
        .json();
    let (first, told) = events.next_of("downlink").await;
    assert_eq!(
        (&told["id"], &told["step"]["step"]),
        (&sent["id"], &json!("accepted"))
    );
    assert_eq!(
        (&told["status"], &told.get("timeline")),
        (&json!("pending"), &None)
    );
    let (_, waits) = events.next_of("downlink").await;
    assert_eq!(waits["state"], "waiting");
    drop(events);

    let mut resumed = Events::open(&service, Some(&first)).await;
    let (_, again) = resumed.next_of("downlink").await;
    assert_eq!(again["step"]["seq"], waits["step"]["seq"]);
    let mut lost = Events::open(&service, Some("7-1")).await;
    assert_eq!(lost.next().await.0, "reset");
}

async fn devices_and_gateways_are_told(service: Service) {
    let id = service.register(LAMP).await;
    let mut events = Events::open(&service, None).await;
    let mut event = request(
        "POST",
        "/api/v1/webhooks/chirpstack?event=up",
        &service.webhook,
        None,
    );
    event
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    *event.body_mut() = Body::from(captured("up-verifies.json"));
    service.send(event).await;
    let (mut device, mut gateways) = (None, 0);
    while device.is_none() || gateways < 3 {
        let (kind, _, data) = events.next().await;
        match kind.as_str() {
            "device" => device = Some(data),
            "gateway" => {
                assert_eq!(data["state"], "online");
                gateways += 1;
            }
            other => panic!("{other}"),
        }
    }
    let device = device.unwrap();
    assert_eq!(
        (&device["id"], &device["lorawan_dev_eui"], &device["status"]),
        (&json!(id), &json!(LAMP), &json!("online"))
    );
    assert_eq!(device["reported"]["red"], 255);
}

async fn changes_of_the_registry_are_told_to_their_tenant_alone(service: Service) {
    let (other, stranger) = service.other_tenant().await;
    let (mut own, mut theirs) = (
        Events::open(&service, None).await,
        Events::of("other", &service, None).await,
    );
    let id = service.register(LAMP).await;
    let path = format!("/api/v1/tenants/default/devices/{id}");
    let admin = service.admin.clone();
    let refused = json!({"lorawan_dev_eui": "none"});
    let same = json!({"name": "Desk 1"});
    let other_name = json!({"name": "Desk 2"});
    for (body, status) in [
        (&refused, StatusCode::BAD_REQUEST),
        (&same, StatusCode::OK),
        (&other_name, StatusCode::OK),
    ] {
        let answer = service.send(request("PATCH", &path, &admin, Some(body)));
        assert_eq!(answer.await.status, status, "{body}");
    }
    let gone = service.send(request("DELETE", &path, &admin, None)).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    for change in ["created", "changed", "deleted"] {
        let (_, told) = own.next_of("registry").await;
        let expected = json!({"change": change, "id": id, "lorawan_dev_eui": LAMP});
        assert_eq!(told, expected);
    }
    let device = json!({"name": "Sensor without radio"});
    let path = format!("/api/v1/tenants/{other}/devices");
    let made = service.post(&path, &stranger, &device).await.json();
    let (_, told) = theirs.next_of("registry").await;
    let expected = json!({"change": "created", "id": made["id"], "lorawan_dev_eui": null});
    assert_eq!(told, expected, "the first that this tenant hears of");
}

async fn a_stop_ends_the_feed_and_answers_who_waits(service: Service) {
    service.register(LAMP).await;
    let mut events = Events::open(&service, None).await;
    let path = format!("/api/v1/downlink/{LAMP}?wait=120");
    let color = json!({"color": "#ff4000"});
    let waiting = service.post(&path, &service.operator, &color);
    let stop = async {
        events.next_of("downlink").await;
        service.state.begin_stop();
        while let Some(rest) = events.stream.next().await {
            rest.unwrap();
        }
    };
    let both = async { tokio::join!(waiting, stop) };
    let (answer, ()) = tokio::time::timeout(PATIENCE, both).await.unwrap();
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}
