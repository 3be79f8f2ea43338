//! Webhooks of a tenant: every shape takes effect, another tenant's is refused, strangers are listed.

use downbeat_core::device::Presence;
use downbeat_core::id::{DeviceId, Scope};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::store::{
    Device, NetworkServerFields, PageRequest, TelemetryQuery, TelemetryValue, UnclaimedDevice,
};

use super::*;

on_both_stores! {
    every_shape_of_v3_takes_effect_at_a_tenants_addresses,
    somebody_who_knows_tells_whether_a_device_is_there,
    another_tenants_path_is_not_there,
    what_is_another_tenants_is_refused_and_not_stored,
    a_key_for_all_speaks_for_each_tenant_as_the_one_that_it_is_in_chirpstack,
    on_a_network_server_of_its_own_too,
    strangers_are_ignored_and_listed_for_whose_key_delivered_them,
    a_stranger_is_claimed_with_one_call,
    what_is_nobodys_is_claimed_by_the_platform,
    a_registered_device_is_no_stranger,
    a_platforms_key_finds_whose_it_is,
    of_two_on_network_servers_of_their_own_nothing_tells_which,
    a_signature_has_to_hold_and_holds_once,
    while_the_database_is_away_a_tenants_events_are_held_too,
}

/// The lamp of the bodies of v3.
const LAMP_V3: &str = "202020ff50330001";

/// ChirpStack's tenant in the captured bodies of v4.
const CHIRPSTACK_TENANT: &str = "43f59344-97b1-4c65-af58-9b9e7bf4f531";

impl Service {
    /// Delivers a body to an address.
    async fn deliver(&self, path: &str, key: &str, body: &[u8], media_type: &str) -> Answer {
        self.send(event(path, key, body, media_type)).await
    }

    async fn deliver_json(&self, path: &str, key: &str, body: &Value) -> Answer {
        let body = body.to_string();
        self.deliver(path, key, body.as_bytes(), "application/json")
            .await
    }

    async fn device(&self, id: &str) -> Device {
        let id: DeviceId = id.parse().unwrap();
        let device = self.store.device(Scope::Platform, id).await.unwrap();
        device.unwrap()
    }

    /// A tenant that is one of ChirpStack's, and its key for webhooks.
    async fn hooked_tenant(
        &self,
        name: &str,
        chirpstack_tenant_id: Option<&str>,
    ) -> (TenantId, String) {
        let (id, now) = (TenantId::from_uuid(uuid::Uuid::now_v7()), self.state.now());
        let tenant = Tenant {
            id,
            fields: TenantFields {
                chirpstack_tenant_id: chirpstack_tenant_id.map(|id| id.parse().unwrap()),
                ..TenantFields::named(name)
            },
            created_at: now,
            updated_at: now,
            version: 1,
        };
        let made = self.store.create_tenant(&tenant, &By::downbeat()).await;
        made.unwrap();
        (id, self.key(Role::Webhook, Some(id)).await)
    }

    /// Gives a tenant a network server of its own.
    async fn own_network_server(&self, tenant_id: TenantId) {
        let fields = NetworkServerFields {
            url: "http://127.0.0.1:9".to_owned(),
            api_key: Some("key".to_owned().into()),
        };
        let (now, by) = (self.state.now(), By::downbeat());
        let set = self
            .store
            .put_network_server(Scope::Platform, tenant_id, &fields, now, &by);
        set.await.unwrap();
    }

    async fn register_for(&self, tenant: &str, dev_eui: &str) -> String {
        let body = json!({"name": "Desk", "lorawan_dev_eui": dev_eui});
        let path = format!("/api/v1/tenants/{tenant}/devices");
        let answer = self.post(&path, &self.admin, &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Devices that nobody has registered, once all that was seen is noted.
    async fn strangers(&self, scope: Scope) -> Vec<UnclaimedDevice> {
        assert_eq!(self.state.drain_held(PATIENCE).await, 0);
        let page = self.store.list_unclaimed(scope, PageRequest::default());
        page.await.unwrap().items
    }
}

fn event(path: &str, key: &str, body: &[u8], media_type: &str) -> Request<Body> {
    let mut event = request("POST", path, key, None);
    let media_type = media_type.parse().unwrap();
    event.headers_mut().insert("content-type", media_type);
    *event.body_mut() = Body::from(body.to_vec());
    event
}

/// The bodies of v3: name, media type, bytes.
fn bodies_of_v3() -> Vec<(String, &'static str, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chirpstack-v3");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut bodies: Vec<_> = files
        .filter_map(|path| {
            let media_type = match path.extension()?.to_str()? {
                "json" => "application/json",
                "pb" => "application/octet-stream",
                _ => return None,
            };
            let name = path.file_name()?.to_str()?.to_owned();
            Some((name, media_type, std::fs::read(path).unwrap()))
        })
        .collect();
    bodies.sort();
    bodies
}

fn problem(answer: &Answer) -> (u16, String) {
    let kind = answer.json()["type"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (answer.status.as_u16(), kind)
}

async fn every_shape_of_v3_takes_effect_at_a_tenants_addresses(service: Service) {
    let id = service.register(LAMP_V3).await;
    for (name, media_type, body) in bodies_of_v3() {
        let kind = name.split(['-', '.']).next().unwrap();
        let path = match kind {
            "up" => "/api/v1/lorawan/webhooks/default/uplink".to_owned(),
            "status" | "error" => format!("/api/v1/lorawan/webhooks/default/{kind}"),
            _ => format!("/api/v1/lorawan/webhooks/default?event={kind}"),
        };
        let answer = service
            .deliver(&path, &service.webhook, &body, media_type)
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{name}: {}", answer.json());
        assert_eq!(answer.json(), json!({"status": "ok"}), "{name}");
    }
    let device = service.device(&id).await;
    assert_eq!(device.rssi_dbm, Some(-83));
    assert_eq!(device.battery_percent.map(f32::round), Some(88.0));
    let kinds = {
        let (page, id) = (PageRequest::default(), id.parse().unwrap());
        let scope = Scope::Platform;
        let events = service
            .store
            .list_device_events(scope, id, Some("error"), None, None, page);
        events.await.unwrap().items
    };
    assert_eq!(kinds.len(), 4, "{kinds:?}");
    let query = TelemetryQuery {
        field: "messages_received".to_owned(),
        from: downbeat_core::time::Timestamp::from_millis(0),
        to: service.state.now() + Duration::from_secs(1),
        step: None,
        limit: 10,
    };
    let points = service
        .store
        .telemetry(Scope::Platform, id.parse().unwrap(), &query);
    let points = points.await.unwrap();
    assert!(!points.is_empty());
    assert_eq!(points[0].last, TelemetryValue::Number(5.0));
}

async fn somebody_who_knows_tells_whether_a_device_is_there(service: Service) {
    let id = service.register(LAMP_V3).await;
    let path = "/api/v1/lorawan/webhooks/default/status";
    for (body, presence) in [
        (
            json!({"devEUI": LAMP_V3, "status": "online"}),
            Presence::Online,
        ),
        (
            json!({"dev_eui": LAMP_V3, "online": false}),
            Presence::Offline,
        ),
    ] {
        let answer = service.deliver_json(path, &service.webhook, &body).await;
        assert_eq!(answer.json(), json!({"status": "ok"}), "{body}");
        assert_eq!(service.device(&id).await.presence, presence, "{body}");
    }
    let body = json!({"devEUI": LAMP_V3, "status": "perhaps"});
    let answer = service.deliver_json(path, &service.webhook, &body).await;
    assert_eq!(problem(&answer).0, 400);
}

async fn another_tenants_path_is_not_there(service: Service) {
    let (id, key) = service.hooked_tenant("other", None).await;
    let body = json!({"devEUI": LAMP_V3});
    for path in ["", "/uplink", "/status", "/error"] {
        for tenant in ["default", "nobody", "0198c1a4-0000-7000-8000-000000000000"] {
            let path = format!("/api/v1/lorawan/webhooks/{tenant}{path}");
            let answer = service.deliver_json(&path, &key, &body).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        }
        for tenant in ["other", &id.to_string()] {
            let path = format!("/api/v1/lorawan/webhooks/{tenant}{path}");
            for key in [&key, &service.webhook] {
                let answer = service.deliver_json(&path, key, &body).await;
                assert_eq!(answer.json()["status"], "ignored", "{path}");
            }
            let answer = service.deliver_json(&path, &service.viewer, &body).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        }
    }
}

async fn what_is_another_tenants_is_refused_and_not_stored(service: Service) {
    let id = service.register(LAMP).await;
    let (chirpstacks, _) = service
        .hooked_tenant("chirpstacks", Some(CHIRPSTACK_TENANT))
        .await;
    let (_, other) = service.hooked_tenant("other", None).await;
    let elsewhere = Some("7f1d2c3e-0000-4000-8000-000000000000");
    let (_, elsewhere) = service.hooked_tenant("elsewhere", elsewhere).await;
    let v4 = captured("up-status-25.json");
    // The DevEUI is the default tenant's; ChirpStack's tenant is another's; it is not the one that the tenant is.
    let by_dev_eui = json!({"devEUI": LAMP, "fCnt": 1}).to_string().into_bytes();
    for (key, body) in [(&other, &by_dev_eui), (&other, &v4), (&elsewhere, &v4)] {
        for path in ["/api/v1/lorawan/webhooks", "/api/v1/webhooks/chirpstack"] {
            let path = match path.ends_with("webhooks") {
                true if key == &other => format!("{path}/other/uplink"),
                true => format!("{path}/elsewhere/uplink"),
                false => path.to_owned(),
            };
            let answer = service.deliver(&path, key, body, "application/json").await;
            let mismatch = "urn:downbeat:problem:tenant-mismatch".to_owned();
            assert_eq!(problem(&answer), (403, mismatch), "{path}");
        }
    }
    assert_eq!(service.device(&id).await.last_seen, None);
    assert_eq!(service.strangers(Scope::Platform).await, []);
    // For who may deliver for all, ChirpStack's tenant tells whose it is.
    let answer = service
        .deliver(
            "/api/v1/webhooks/chirpstack",
            &service.webhook,
            &v4,
            "application/json",
        )
        .await;
    assert_eq!(problem(&answer).0, 403);
    assert_eq!(service.strangers(Scope::Tenant(chirpstacks)).await, []);
}

async fn a_key_for_all_speaks_for_each_tenant_as_the_one_that_it_is_in_chirpstack(
    service: Service,
) {
    deliver_for_another_tenant_of_chirpstack(service, false).await;
}

async fn on_a_network_server_of_its_own_too(service: Service) {
    deliver_for_another_tenant_of_chirpstack(service, true).await;
}

async fn deliver_for_another_tenant_of_chirpstack(service: Service, on_own_server: bool) {
    let elsewhere = Some("7f1d2c3e-0000-4000-8000-000000000000");
    let (tenant, _) = service.hooked_tenant("elsewhere", elsewhere).await;
    if on_own_server {
        service.own_network_server(tenant).await;
    }
    let made = service
        .post(
            "/api/v1/tenants/elsewhere/devices",
            &service.admin,
            &json!({"name": "Desk 1", "lorawan_dev_eui": LAMP}),
        )
        .await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let path = "/api/v1/webhooks/chirpstack";
    let v4 = captured("up-status-25.json");
    let answer = service
        .deliver(path, &service.webhook, &v4, "application/json")
        .await;
    let mismatch = "urn:downbeat:problem:tenant-mismatch".to_owned();
    assert_eq!(problem(&answer), (403, mismatch));
    assert_eq!(service.device(&id).await.last_seen, None);
    // What tells no tenant of ChirpStack contradicts none.
    let body = json!({"devEUI": LAMP, "fCnt": 1});
    let answer = service.deliver_json(path, &service.webhook, &body).await;
    assert_eq!(answer.json()["status"], "ok");
    assert!(service.device(&id).await.last_seen.is_some());
}

async fn strangers_are_ignored_and_listed_for_whose_key_delivered_them(service: Service) {
    let (tenant, key) = service.hooked_tenant("other", None).await;
    let path = "/api/v1/lorawan/webhooks/other/uplink";
    for _ in 0..3 {
        let body = captured("up-status-3gw.json");
        let answer = service.deliver(path, &key, &body, "application/json").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json()["status"], "ignored");
        assert!(
            answer.json()["reason"]
                .as_str()
                .unwrap()
                .contains("registered")
        );
    }
    let nobodys = json!({"devEUI": LAMP});
    let path = "/api/v1/webhooks/chirpstack";
    let answer = service.deliver_json(path, &service.webhook, &nobodys).await;
    assert_eq!(answer.json()["status"], "ignored");
    let strangers = service.strangers(Scope::Tenant(tenant)).await;
    let stranger = &strangers[0];
    assert_eq!(strangers.len(), 1);
    assert_eq!(stranger.last.key.dev_eui.to_string(), LAMP_V3);
    assert_eq!(
        (stranger.last.events, stranger.last.rssi_dbm),
        (3, Some(-83))
    );

    let admin = service.key(Role::Admin, Some(tenant)).await;
    let list = "/api/v1/tenants/other/unclaimed";
    let listed = service.get(list, &admin).await.json();
    let listed = &listed["unclaimed"];
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(
        (
            &listed[0]["lorawan_dev_eui"],
            &listed[0]["name"],
            &listed[0]["events"]
        ),
        (&json!(LAMP_V3), &json!("desk-5033-001"), &json!(3))
    );
    assert_eq!(
        listed[0]["chirpstack_app_id"],
        "1a2b7fa4-7f26-4109-bc88-d0b5abe764e0"
    );
    let all = service
        .get("/api/v1/unclaimed?limit=1", &service.viewer)
        .await
        .json();
    assert_eq!(all["unclaimed"][0]["tenant_id"], Value::Null);
    let next = all["next_cursor"].as_str().unwrap();
    let second = format!("/api/v1/unclaimed?cursor={next}");
    let all = service.get(&second, &service.viewer).await.json();
    assert_eq!(all["unclaimed"][0]["tenant_id"], json!(tenant.to_string()));
    for (path, status) in [
        ("/api/v1/unclaimed", StatusCode::FORBIDDEN),
        ("/api/v1/tenants/default/unclaimed", StatusCode::NOT_FOUND),
        (
            "/api/v1/tenants/other/unclaimed?limit=0",
            StatusCode::BAD_REQUEST,
        ),
    ] {
        assert_eq!(service.get(path, &admin).await.status, status, "{path}");
    }

    let one = format!("{list}/{LAMP_V3}");
    let dismiss = |path: String, key: String| service.send(request("DELETE", &path, &key, None));
    let answer = dismiss(one.clone(), service.viewer.clone()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let default = format!("/api/v1/tenants/default/unclaimed/{LAMP_V3}");
    for key in [&admin, &service.admin] {
        let answer = dismiss(default.clone(), key.clone()).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(
        dismiss(one.clone(), admin.clone()).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(dismiss(one, admin).await.status, StatusCode::NOT_FOUND);
}

async fn a_stranger_is_claimed_with_one_call(service: Service) {
    let (tenant, key) = service.hooked_tenant("other", None).await;
    let hook = "/api/v1/lorawan/webhooks/other/uplink";
    let body = captured("up-status-3gw.json");
    service.deliver(hook, &key, &body, "application/json").await;
    let v3 = json!({"devEUI": LAMP, "deviceName": "a\u{7}b"});
    service.deliver_json(hook, &key, &v3).await;
    assert_eq!(service.strangers(Scope::Tenant(tenant)).await.len(), 2);

    let admin = service.key(Role::Admin, Some(tenant)).await;
    let claim = |dev_eui: &str| format!("/api/v1/tenants/other/unclaimed/{dev_eui}/claim");
    let answer = service
        .post(&claim(LAMP_V3), &admin, &json!({"codec": "morse"}))
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let answer = service
        .post(&claim("202020ff5033ffff"), &admin, &json!({}))
        .await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let tags = json!({"tags": {"floor": "2"}});
    let answer = service.post(&claim(LAMP_V3), &admin, &tags).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json());
    let device = answer.json();
    assert_eq!(
        (
            &device["name"],
            &device["tags"]["floor"],
            &device["lorawan_dev_eui"]
        ),
        (&json!("desk-5033-001"), &json!("2"), &json!(LAMP_V3))
    );
    assert_eq!(
        device["chirpstack_app_id"],
        "1a2b7fa4-7f26-4109-bc88-d0b5abe764e0"
    );
    assert_eq!(
        device["device_profile_id"],
        "0c253e79-1ee4-44a5-9786-475c86eca57f"
    );
    let id = device["id"].as_str().unwrap();
    let location = format!("/api/v1/tenants/{tenant}/devices/{id}");
    assert_eq!(answer.header("location"), Some(&*location));
    // Of v3 only the DevEUI and the name are known.
    let device = service.post(&claim(LAMP), &admin, &json!({})).await.json();
    assert_eq!(
        (&device["name"], &device["chirpstack_app_id"]),
        (&json!("ab"), &Value::Null)
    );
    let answer = service.post(&claim(LAMP), &admin, &json!({})).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(service.strangers(Scope::Tenant(tenant)).await, []);
    let answer = service.deliver(hook, &key, &body, "application/json").await;
    assert_eq!(answer.json(), json!({"status": "ok"}));
}

async fn what_is_nobodys_is_claimed_by_the_platform(service: Service) {
    let (own, _) = service.hooked_tenant("own", None).await;
    service.own_network_server(own).await;
    let (tenant, _) = service.hooked_tenant("other", None).await;
    let body = json!({"devEUI": LAMP_V3});
    let path = "/api/v1/webhooks/chirpstack";
    service.deliver_json(path, &service.webhook, &body).await;
    assert_eq!(service.strangers(Scope::Platform).await.len(), 1);
    let claim = |tenant: &str| format!("/api/v1/tenants/{tenant}/unclaimed/{LAMP_V3}/claim");
    let admin = service.key(Role::Admin, Some(tenant)).await;
    // It speaks on the configuration's network server, where the tenant with its own has no devices.
    for (tenant, key, status) in [
        ("other", &admin, StatusCode::NOT_FOUND),
        ("own", &service.admin, StatusCode::NOT_FOUND),
        ("other", &service.viewer, StatusCode::FORBIDDEN),
        ("other", &service.admin, StatusCode::CREATED),
    ] {
        let answer = service
            .post(&claim(tenant), key, &json!({"name": "Desk"}))
            .await;
        assert_eq!(answer.status, status, "{tenant}");
    }
    assert_eq!(service.strangers(Scope::Platform).await, []);
}

async fn a_registered_device_is_no_stranger(service: Service) {
    let body = json!({"devEUI": LAMP_V3});
    let path = "/api/v1/lorawan/webhooks/default/uplink";
    let answer = service.deliver_json(path, &service.webhook, &body).await;
    assert_eq!(answer.json()["status"], "ignored");
    service.register(LAMP_V3).await;
    let answer = service.deliver_json(path, &service.webhook, &body).await;
    assert_eq!(answer.json()["status"], "ok");
    assert_eq!(service.strangers(Scope::Platform).await, []);
}

async fn a_platforms_key_finds_whose_it_is(service: Service) {
    let (own, own_key) = service.hooked_tenant("own", None).await;
    service.own_network_server(own).await;
    let id = service.register_for("own", LAMP_V3).await;
    let up = |f_cnt: u32| json!({"devEUI": LAMP_V3, "fCnt": f_cnt, "rxInfo": [{"gatewayID": "0016c00150330002", "rssi": -70}]});
    let path = "/api/v1/webhooks/chirpstack";
    // The only one of that DevEUI is on a tenant's own network server.
    let answer = service.deliver_json(path, &service.webhook, &up(1)).await;
    assert_eq!(answer.json(), json!({"status": "ok"}));
    assert_eq!(service.device(&id).await.rssi_dbm, Some(-70));
    // The one on the configuration's goes first.
    let (_, second_key) = service
        .hooked_tenant("second", Some(CHIRPSTACK_TENANT))
        .await;
    let second = service.register_for("second", LAMP_V3).await;
    let answer = service.deliver_json(path, &service.webhook, &up(2)).await;
    assert_eq!(answer.json(), json!({"status": "ok"}));
    assert_eq!(service.device(&second).await.rssi_dbm, Some(-70));
    // Each tenant's key reaches its own, by either address.
    for (key, id) in [(&own_key, &id), (&second_key, &second)] {
        let before = service.device(id).await.last_seen;
        for path in [path, "/api/v1/webhooks/chirpstack/uplink"] {
            let answer = service.deliver_json(path, key, &up(3)).await;
            assert_eq!(answer.json(), json!({"status": "ok"}));
        }
        assert!(service.device(id).await.last_seen > before);
    }
}

async fn of_two_on_network_servers_of_their_own_nothing_tells_which(service: Service) {
    for name in ["one", "two"] {
        let (tenant, _) = service.hooked_tenant(name, None).await;
        service.own_network_server(tenant).await;
        service.register_for(name, LAMP_V3).await;
    }
    let body = json!({"devEUI": LAMP_V3});
    let path = "/api/v1/webhooks/chirpstack";
    let answer = service.deliver_json(path, &service.webhook, &body).await;
    assert_eq!(answer.json()["status"], "ignored");
    assert!(
        answer.json()["reason"]
            .as_str()
            .unwrap()
            .contains("several")
    );
    assert_eq!(service.strangers(Scope::Platform).await, []);
}

async fn a_signature_has_to_hold_and_holds_once(service: Service) {
    service.register(LAMP_V3).await;
    let (path, key) = ("/api/v1/lorawan/webhooks/default/uplink", &service.webhook);
    let sign = |key: &str, body: &str| {
        let seconds = service.state.now().as_millis() / 1_000;
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(format!("{seconds}.{body}").as_bytes());
        format!(
            "t={seconds},v1={}",
            hex::encode(mac.finalize().into_bytes())
        )
    };
    let deliver = async |signature: &str, body: &str| {
        let mut event = event(path, key, body.as_bytes(), "application/json");
        let signature = signature.parse().unwrap();
        event
            .headers_mut()
            .insert("x-downbeat-signature", signature);
        service.send(event).await
    };
    let body = json!({"devEUI": LAMP_V3, "fCnt": 1}).to_string();
    let signature = sign(key, &body);
    let refused = |answer: Answer| {
        let kind = "urn:downbeat:problem:bad-signature".to_owned();
        assert_eq!(problem(&answer), (401, kind));
    };
    refused(deliver(&signature, &body.replace('1', "2")).await);
    refused(deliver(&sign("other", &body), &body).await);
    refused(deliver("t=1,v1=00", &body).await);
    assert_eq!(
        deliver(&signature, &body).await.json(),
        json!({"status": "ok"})
    );
    refused(deliver(&signature, &body).await);
    // What could not be read is not used up: it may be sent again.
    let broken = sign(key, "{");
    for _ in 0..2 {
        assert_eq!(deliver(&broken, "{").await.status, StatusCode::BAD_REQUEST);
    }
}

async fn while_the_database_is_away_a_tenants_events_are_held_too(service: Service) {
    let (tenant, key) = service
        .hooked_tenant("other", Some(CHIRPSTACK_TENANT))
        .await;
    service.register_for("other", LAMP_V3).await;
    let deliver = |path: String, body: Vec<u8>| {
        let event = event(&path, &key, &body, "application/json");
        service.send(event)
    };
    let by_name = "/api/v1/lorawan/webhooks/other/uplink".to_owned();
    let by_id = format!("/api/v1/lorawan/webhooks/{tenant}/uplink");
    let first = deliver(by_name.clone(), captured("up-status-3gw.json")).await;
    assert_eq!(first.json(), json!({"status": "ok"}));
    service.store.close().await;
    for path in [by_name, by_id] {
        let answer = deliver(path, captured("up-object.json")).await;
        assert_eq!(
            problem(&answer),
            (503, "urn:downbeat:problem:held".to_owned())
        );
    }
    assert_eq!(service.state.drain_held(Duration::from_millis(10)).await, 2);
}
