//! ChirpStack and the registry kept in step, compared and reconciled, against the simulated ChirpStack.

use downbeat_core::id::{DevEui, JoinEui, NetworkServerId};
use downbeat_core::sync::RemoteDevice;
use downbeat_sim::server::{DEFAULT_API_KEY, Identity, RunningSim, SimConfig};
use serde_json::{Value, json};

use downbeat_actors::port::NewQueueItem;

use super::live::Events;
use super::*;

on_both_stores! {
    what_differs_is_found_shown_and_resolved_either_way,
    an_application_is_imported_once_and_only_by_whom_it_belongs_to,
    another_tenants_devices_are_never_listed,
    a_sync_is_asked_for_by_who_may,
    a_queue_is_flushed_by_who_may_and_the_log_says_so,
}

const DEVICES: &str = "/api/v1/tenants/default/devices";
const DRIFT: &str = "/api/v1/tenants/default/drift";

/// A service with a simulated ChirpStack, and somebody else who works on it.
struct World {
    service: Service,
    others: ChirpStackClient,
    _sim: RunningSim,
}

impl World {
    async fn start(service: Service) -> Self {
        let local = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let config = SimConfig {
            grpc: local,
            control: local,
            ..SimConfig::fleet(0, 1)
        };
        let sim = downbeat_sim::server::start(config).await.unwrap();
        let url = format!("http://{}", sim.grpc_addr());
        let mut config = ChirpStackConfig::new(&url, DEFAULT_API_KEY.to_owned().into());
        config.tenant_id = Some(Identity::default().tenant_id);
        let others = ChirpStackClient::connect_lazy(config).unwrap();
        let server: Arc<dyn NetworkServer> = Arc::new(others.clone());
        let system = service.state.system();
        system.connect(NetworkServerId::Default, Some(server)).await;
        Self {
            service,
            others,
            _sim: sim,
        }
    }

    /// Registers a device that is kept in step, and waits until ChirpStack has it.
    async fn synced(&self, number: u64) -> String {
        let body = json!({
            "name": format!("Desk {number}"), "lorawan_dev_eui": eui(number).to_string(), "tags": {"floor": "2"},
            "chirpstack_app_id": Identity::default().application_id,
            "device_profile_id": Identity::default().device_profile_id,
        });
        let made = self.service.post(DEVICES, &self.service.admin, &body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
        let id = made.json()["id"].as_str().unwrap().to_owned();
        self.until(&format!("{DEVICES}/{id}"), |it| {
            it["chirpstack_synced"] == true
        })
        .await;
        id
    }

    /// Asks until the answer is as wanted.
    async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.service.get(path, &self.service.viewer).await.json();
            if wanted(&answer) {
                return answer;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{path} stays {answer}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Compares, and gives what is found.
    async fn compared(&self) -> Vec<Value> {
        let before = self.service.get(DRIFT, &self.service.viewer).await.json();
        // The time of the comparison tells it from the one before.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let begun = self.service.send(request(
            "POST",
            &format!("{DRIFT}/check"),
            &self.service.operator,
            None,
        ));
        assert_eq!(begun.await.status, StatusCode::ACCEPTED);
        let found = self
            .until(DRIFT, |it| it["checked_at"] != before["checked_at"])
            .await;
        found["items"].as_array().unwrap().clone()
    }

    async fn resolve(&self, body: Value) -> Value {
        let answer = self
            .service
            .post(&format!("{DRIFT}/resolve"), &self.service.admin, &body)
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
        answer.json()
    }

    async fn remote(&self, number: u64) -> Option<RemoteDevice> {
        self.others.device(eui(number)).await.unwrap()
    }
}

fn eui(number: u64) -> DevEui {
    DevEui::from_u64(0x2020_20ff_5033_0000 + number)
}

/// A device that somebody made in ChirpStack.
fn made_there(number: u64) -> RemoteDevice {
    RemoteDevice {
        dev_eui: eui(number),
        name: format!("There {number}"),
        description: "made there".to_owned(),
        application_id: Identity::default().application_id,
        device_profile_id: Identity::default().device_profile_id,
        join_eui: JoinEui::from_u64(7),
        is_disabled: false,
        skip_fcnt_check: false,
        tags: [("wing".to_owned(), "b".to_owned())].into(),
        variables: [("secret".to_owned(), "x".to_owned())].into(),
    }
}

#[expect(clippy::too_many_lines, reason = "one story")]
async fn what_differs_is_found_shown_and_resolved_either_way(service: Service) {
    let world = World::start(service).await;
    let first = world.synced(1).await;
    let second = world.synced(2).await;
    assert!(world.compared().await.is_empty());

    let renamed = RemoteDevice {
        name: "Renamed".to_owned(),
        tags: [("others".to_owned(), "x".to_owned())].into(),
        ..world.remote(1).await.unwrap()
    };
    world.others.update_device(&renamed).await.unwrap();
    world.others.delete_device(eui(2)).await.unwrap();
    world.others.create_device(&made_there(3)).await.unwrap();
    world.others.create_device(&made_there(4)).await.unwrap();
    let found = world.compared().await;
    let kinds: Vec<_> = found
        .iter()
        .map(|it| it["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "differs",
            "missing_in_chirpstack",
            "missing_in_registry",
            "missing_in_registry"
        ]
    );
    let fields = found[0]["differences"].as_array().unwrap().iter();
    let fields: Vec<_> = fields
        .map(|it| it["field"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(fields, ["name", "tags.floor", "tags.downbeat_device_id"]);
    assert_eq!(found[0]["device_id"], json!(first));

    let euis = |numbers: &[u64]| {
        numbers
            .iter()
            .map(|it| eui(*it).to_string())
            .collect::<Vec<_>>()
    };
    let ignored = world
        .resolve(json!({"action": "ignore", "dev_euis": euis(&[4, 5])}))
        .await;
    assert_eq!(
        (&ignored["done"], &ignored["failed"]),
        (&json!(1), &json!(1))
    );
    let adopted = world.resolve(json!({"action": "adopt", "all": true})).await;
    assert_eq!(
        (&adopted["done"], &adopted["failed"]),
        (&json!(2), &json!(1)),
        "{adopted}"
    );
    assert_eq!(adopted["results"][0]["dev_eui"], json!(eui(2).to_string()));
    let pushed = world.resolve(json!({"action": "push", "all": true})).await;
    assert_eq!(
        (&pushed["done"], &pushed["failed"]),
        (&json!(1), &json!(0)),
        "{pushed}"
    );

    let device = world
        .until(&format!("{DEVICES}/{first}"), |it| {
            it["chirpstack_synced"] == true
        })
        .await;
    assert_eq!(
        (&device["name"], &device["tags"]),
        (&json!("Renamed"), &json!({}))
    );
    world
        .until(&format!("{DEVICES}/{second}"), |it| {
            it["chirpstack_synced"] == true
        })
        .await;
    assert_eq!(world.remote(2).await.unwrap().name, "Desk 2");
    let third = format!("{DEVICES}?lorawan_dev_eui={}", eui(3));
    let third = world
        .until(&third, |it| it["devices"][0]["chirpstack_synced"] == true)
        .await;
    assert_eq!(
        (&third["devices"][0]["name"], &third["devices"][0]["tags"]),
        (&json!("There 3"), &json!({"wing": "b"}))
    );
    assert_eq!(
        world.remote(3).await.unwrap().variables,
        made_there(3).variables
    );
    assert_eq!(world.remote(1).await.unwrap().tags["others"], "x");

    let left = world.compared().await;
    assert_eq!(
        (left.len(), &left[0]["ignored"], &left[0]["dev_eui"]),
        (1, &json!(true), &json!(eui(4).to_string()))
    );
    world
        .resolve(json!({"action": "unignore", "all": true}))
        .await;
    let impossible = world
        .resolve(json!({"action": "push", "dev_euis": euis(&[4])}))
        .await;
    assert!(
        impossible["results"][0]["error"]
            .as_str()
            .unwrap()
            .contains("adopt it"),
        "{impossible}"
    );
}

async fn an_application_is_imported_once_and_only_by_whom_it_belongs_to(service: Service) {
    let world = World::start(service).await;
    let service = &world.service;
    for number in 1..=3 {
        world
            .others
            .create_device(&made_there(number))
            .await
            .unwrap();
    }
    let import = "/api/v1/tenants/default/import";
    let mut body = json!({
        "source": "chirpstack", "application_id": Identity::default().application_id, "device_type": "lamp",
        "tags": {"imported": "yes"}, "dry_run": true,
    });
    let planned = service.post(import, &service.admin, &body).await.json();
    assert_eq!(
        (&planned["created"], &planned["dry_run"]),
        (&json!(3), &json!(true)),
        "{planned}"
    );
    assert_eq!(
        service.get(DEVICES, &service.viewer).await.json()["devices"],
        json!([])
    );
    body["dry_run"] = json!(false);
    let done = service.post(import, &service.admin, &body).await.json();
    assert_eq!(
        (&done["created"], &done["failed"]),
        (&json!(3), &json!(0)),
        "{done}"
    );
    let again = service.post(import, &service.admin, &body).await.json();
    assert_eq!(
        (&again["created"], &again["unchanged"]),
        (&json!(0), &json!(3)),
        "{again}"
    );
    let devices = world.until(DEVICES, |it| {
        let devices = it["devices"].as_array().unwrap();
        devices.iter().all(|it| it["chirpstack_synced"] == true)
    });
    let devices = devices.await;
    let device = &devices["devices"][0];
    assert_eq!(
        (&device["device_type"], &device["tags"]),
        (&json!("lamp"), &json!({"wing": "b", "imported": "yes"}))
    );
    assert_eq!(
        world.remote(1).await.unwrap().join_eui,
        made_there(1).join_eui
    );

    // Another tenant's administrator: whose application it is cannot be told, and then it is another's.
    let (other, key) = service.other_tenant().await;
    let theirs = format!("/api/v1/tenants/{other}/import");
    let refused = service.post(&theirs, &key, &body).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let claimed = json!({"chirpstack_tenant_id": Identity::default().tenant_id});
    let patch = request(
        "PATCH",
        &format!("/api/v1/tenants/{other}"),
        &service.admin,
        Some(&claimed),
    );
    assert_eq!(service.send(patch).await.status, StatusCode::OK);
    body["application_id"] = json!(uuid::Uuid::nil());
    assert_eq!(
        service.post(&theirs, &key, &body).await.status,
        StatusCode::NOT_FOUND
    );
    body["application_id"] = json!(Identity::default().application_id);
    let taken = service.post(&theirs, &key, &body).await.json();
    assert_eq!(
        (&taken["created"], &taken["failed"]),
        (&json!(0), &json!(3)),
        "{taken}"
    );
    for (field, value) in [
        ("source", json!("ttn")),
        ("application_id", json!("7")),
        ("codec", json!("morse")),
        ("tags", json!({"downbeat_device_id": "x"})),
        ("colour", json!("red")),
    ] {
        let mut wrong = body.clone();
        wrong[field] = value;
        let answer = service.post(import, &service.admin, &wrong).await;
        assert_eq!(answer.json()["errors"][0]["field"], field);
    }
}

async fn another_tenants_devices_are_never_listed(service: Service) {
    let world = World::start(service).await;
    world.synced(1).await;
    let (other, key) = world.service.other_tenant().await;
    let body = json!({
        "name": "Theirs", "lorawan_dev_eui": eui(2).to_string(), "chirpstack_app_id": Identity::default().application_id,
        "device_profile_id": Identity::default().device_profile_id,
    });
    let made = world
        .service
        .post(&format!("/api/v1/tenants/{other}/devices"), &key, &body)
        .await;
    assert_eq!(made.status, StatusCode::CREATED);
    world.others.create_device(&made_there(3)).await.unwrap();
    // Both name the application, so what nobody registered is neither's.
    assert!(world.compared().await.is_empty());
    let theirs = format!("/api/v1/tenants/{other}/drift");
    let none = world.service.get(&theirs, &key).await.json();
    assert_eq!(
        (&none["checked_at"], &none["items"]),
        (&json!(null), &json!([]))
    );
    let resolve = json!({"action": "adopt", "dev_euis": [eui(3).to_string()]});
    let resolved = world
        .service
        .post(&format!("{theirs}/resolve"), &key, &resolve)
        .await
        .json();
    assert_eq!(resolved["failed"], json!(1), "{resolved}");
}

async fn a_sync_is_asked_for_by_who_may(service: Service) {
    let world = World::start(service).await;
    let service = &world.service;
    let id = world.synced(1).await;
    let path = format!("{DEVICES}/{id}/sync");
    let sync = |key: &str, query: &str| {
        service.send(request("POST", &format!("{path}{query}"), key, None))
    };
    assert_eq!(
        sync(&service.operator, "").await.status,
        StatusCode::ACCEPTED
    );
    assert_eq!(
        sync(&service.viewer, "").await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        sync(&service.operator, "?force=true").await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        sync(&service.admin, "?force=yes").await.status,
        StatusCode::BAD_REQUEST
    );
    let forced = sync(&service.admin, "?force=true").await;
    assert_eq!(forced.status, StatusCode::ACCEPTED);
    world
        .until(&format!("{DEVICES}/{id}"), |it| {
            it["chirpstack_synced"] == true
        })
        .await;
    let all = service
        .send(request(
            "POST",
            "/api/v1/tenants/default/sync",
            &service.operator,
            None,
        ))
        .await;
    assert_eq!(
        (all.status, &all.json()["requested"]),
        (StatusCode::ACCEPTED, &json!(0))
    );
    let alone = service.register("202020ff50330009").await;
    let alone = request(
        "POST",
        &format!("{DEVICES}/{alone}/sync"),
        &service.admin,
        None,
    );
    assert_eq!(
        service.send(alone).await.json()["type"],
        "urn:downbeat:problem:not-synchronized"
    );
    for body in [
        json!({"action": "adopt"}),
        json!({"action": "adopt", "all": false}),
        json!({"action": "adopt", "all": true, "dev_euis": []}),
        json!({"action": "adopt", "dev_euis": []}),
        json!({"action": "adopt", "dev_euis": ["x"]}),
        json!({"action": "forget", "all": true}),
        json!({"all": true}),
        json!({"action": "adopt", "all": true, "colour": "red"}),
    ] {
        let answer = service
            .post(&format!("{DRIFT}/resolve"), &service.admin, &body)
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
    }
}

async fn a_queue_is_flushed_by_who_may_and_the_log_says_so(service: Service) {
    let world = World::start(service).await;
    let id = world.synced(1).await;
    let service = &world.service;
    let item = NewQueueItem {
        f_port: 7,
        payload: vec![1, 2, 3],
        confirmed: false,
        expires_at: service.state.now() + Duration::from_hours(1),
    };
    for _ in 0..2 {
        world.others.enqueue(eui(1), &item).await.unwrap();
    }
    let mut events = Events::open(service, None).await;
    let path = format!("/api/v1/devices/{}/flush-queue", eui(1));
    let refused = service.send(request("POST", &path, &service.viewer, None));
    assert_eq!(refused.await.status, StatusCode::FORBIDDEN);
    assert_eq!(world.others.queue(eui(1)).await.unwrap().len(), 2);
    let (_, stranger) = service.other_tenant().await;
    let unknown = service.send(request("POST", &path, &stranger, None));
    assert_eq!(unknown.await.status, StatusCode::NOT_FOUND);

    let flushed = service
        .send(request("POST", &path, &service.operator, None))
        .await;
    assert_eq!(flushed.status, StatusCode::OK, "{}", flushed.json());
    let expected = json!({"dev_eui": eui(1).to_string(), "items": 2});
    assert_eq!(flushed.json(), expected);
    assert_eq!(world.others.queue(eui(1)).await.unwrap(), []);
    let (_, told) = events.next_of("queue").await;
    assert_eq!(
        (&told["state"], &told["id"], &told["items"]),
        (&json!("flushed"), &json!(id), &json!(2))
    );
    let log = "/api/v1/tenants/default/audit?action=device.flush_queue";
    let log = service.get(log, &service.admin).await.json();
    let [entry] = log["entries"].as_array().unwrap().as_slice() else {
        panic!("{log}");
    };
    assert_eq!(
        (&entry["object_id"], &entry["before"]["items"]),
        (&json!(id), &json!(2))
    );
}
