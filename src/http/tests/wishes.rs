//! What is wanted of devices without an order, and how they are treated.

use super::*;

on_both_stores! {
    a_light_is_wanted_without_waiting_for_it,
    a_wish_that_makes_no_sense_is_refused,
    a_device_is_initialised_on_demand,
    a_device_of_another_kind_needs_no_initialisation,
    a_device_has_its_own_policy_and_else_its_tenants,
}

impl Service {
    async fn talk(&self, method: &str, path: &str, key: &str, body: Option<&Value>) -> Answer {
        self.send(request(method, path, key, body)).await
    }
}

async fn a_light_is_wanted_without_waiting_for_it(service: Service) {
    service.register(LAMP).await;
    let path = format!("/api/v1/devices/{LAMP}/desired");
    let nothing = service.talk("GET", &path, &service.viewer, None).await;
    assert_eq!(nothing.status, StatusCode::OK);
    let expected = json!({"dev_eui": LAMP, "desired": null, "reported": null, "converged": true});
    assert_eq!(nothing.json(), expected);

    let red = json!({"color": "#ff0000", "on_time": 5, "off_time": 6});
    let wanted = service
        .talk("PUT", &path, &service.operator, Some(&red))
        .await;
    assert_eq!(wanted.status, StatusCode::OK, "{}", wanted.json());
    let wanted = wanted.json();
    let light = json!({"red": 255, "green": 0, "blue": 0, "on_time": 5, "off_time": 6});
    assert_eq!(
        (&wanted["desired"], &wanted["converged"]),
        (&light, &json!(false))
    );
    let downlink = wanted["downlink_id"].as_str().unwrap();
    let again = service
        .talk("PUT", &path, &service.operator, Some(&red))
        .await;
    assert_eq!(again.json()["downlink_id"], wanted["downlink_id"]);
    let found = service
        .get(&format!("/api/v1/downlinks/{downlink}"), &service.viewer)
        .await;
    assert_eq!(found.json()["origin"], "api");

    let shown = service
        .talk("GET", &path, &service.viewer, None)
        .await
        .json();
    assert_eq!(
        (&shown["desired"], &shown["converged"]),
        (&light, &json!(false))
    );
    for (converged, count) in [("false", 1), ("true", 0)] {
        let list = format!("/api/v1/tenants/default/devices?converged={converged}");
        let list = service.get(&list, &service.viewer).await.json();
        assert_eq!(
            list["devices"].as_array().unwrap().len(),
            count,
            "{converged}"
        );
    }
    let cleared = service.talk("DELETE", &path, &service.operator, None).await;
    assert_eq!(cleared.status, StatusCode::NO_CONTENT);
    let shown = service
        .talk("GET", &path, &service.viewer, None)
        .await
        .json();
    assert_eq!(
        (&shown["desired"], &shown["converged"]),
        (&json!(null), &json!(true))
    );
    let audit = service
        .get("/api/v1/tenants/default/audit", &service.admin)
        .await
        .json();
    let actions: Vec<_> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert!(actions.contains(&"device.desire") && actions.contains(&"device.desire_nothing"));
}

async fn a_wish_that_makes_no_sense_is_refused(service: Service) {
    service.register(LAMP).await;
    let path = format!("/api/v1/devices/{LAMP}/desired");
    for (body, field) in [
        (json!({}), "color"),
        (json!({"red": 1}), "green"),
        (json!({"color": "red"}), "color"),
        (json!({"color": "#000000", "red": 1}), "color"),
    ] {
        let answer = service
            .talk("PUT", &path, &service.operator, Some(&body))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{body}");
    }
    let unknown = "/api/v1/devices/00000000000000ff/desired";
    for method in ["GET", "DELETE"] {
        let answer = service.talk(method, unknown, &service.operator, None).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method}");
    }
}

async fn a_device_is_initialised_on_demand(service: Service) {
    let id = service.register(LAMP).await;
    let path = format!("/api/v1/devices/{LAMP}/initialize");
    let begun = service.post(&path, &service.operator, &json!({})).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.json());
    let begun = begun.json();
    assert_eq!(begun["status"], "started");
    assert_eq!(begun["initialisation"]["state"], "running");
    assert_eq!(
        (
            &begun["initialisation"]["step"],
            &begun["initialisation"]["steps"]
        ),
        (&json!(1), &json!(2))
    );
    let again = service
        .post(&format!("{path}?force=true"), &service.operator, &json!({}))
        .await;
    assert_eq!(again.json()["status"], "running");
    let device = format!("/api/v1/tenants/default/devices/{id}");
    let device = service.get(&device, &service.viewer).await.json();
    assert_eq!(device["initialisation"], begun["initialisation"]);
    assert_eq!(device["initialised_at"], json!(null));
    let downlink = begun["initialisation"]["downlink_id"].as_str().unwrap();
    let downlink = service
        .get(&format!("/api/v1/downlinks/{downlink}"), &service.viewer)
        .await
        .json();
    assert_eq!(
        (&downlink["origin"], &downlink["payload"]),
        (&json!("initialisation"), &json!("0601"))
    );
    let wrong = service
        .post(
            &format!("{path}?force=maybe"),
            &service.operator,
            &json!({}),
        )
        .await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
}

async fn a_device_of_another_kind_needs_no_initialisation(service: Service) {
    let body = json!({"name": "Meter", "lorawan_dev_eui": LAMP, "codec": "generic"});
    let made = service
        .post("/api/v1/tenants/default/devices", &service.admin, &body)
        .await;
    assert_eq!(made.status, StatusCode::CREATED);
    let path = format!("/api/v1/devices/{LAMP}/initialize");
    let answer = service.post(&path, &service.operator, &json!({})).await;
    assert_eq!(
        (answer.status, &answer.json()["status"]),
        (StatusCode::OK, &json!("not_needed"))
    );
}

async fn a_device_has_its_own_policy_and_else_its_tenants(service: Service) {
    let id = service.register(LAMP).await;
    let device = format!("/api/v1/tenants/default/devices/{id}");
    let sent = async || {
        let path = format!("/api/v1/downlink/{LAMP}?wait=0");
        let body = json!({"payload": "0500", "f_port": 15});
        let answer = service.post(&path, &service.operator, &body).await.json();
        answer["attempts_max"].as_u64().unwrap()
    };
    assert_eq!(sent().await, 4);
    let tenants = json!({"policy": {"attempts": 6, "reconcile": false}});
    let changed = service
        .talk(
            "PATCH",
            "/api/v1/tenants/default",
            &service.admin,
            Some(&tenants),
        )
        .await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.json());
    assert_eq!(changed.json()["policy"], tenants["policy"]);
    let mut attempts = sent().await;
    // The device's actor is told, and nobody waits for it.
    while attempts == 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        attempts = sent().await;
    }
    assert_eq!(attempts, 6);
    let own = json!({"policy": {"attempts": 2}});
    let changed = service
        .talk("PATCH", &device, &service.admin, Some(&own))
        .await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.json());
    assert_eq!(changed.json()["policy"], own["policy"]);
    while attempts == 6 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        attempts = sent().await;
    }
    assert_eq!(attempts, 2);
    for wrong in [
        json!({"policy": {"attempts": 0}}),
        json!({"policy": {"ttl_s": -1}}),
    ] {
        let answer = service
            .talk("PATCH", &device, &service.admin, Some(&wrong))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let cleared = json!({"policy": null});
    let cleared = service
        .talk("PATCH", &device, &service.admin, Some(&cleared))
        .await;
    assert_eq!(cleared.json()["policy"], json!({}));
}
