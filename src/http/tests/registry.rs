//! Tenants, keys, network servers, limits and the audit log.

use super::*;
use crate::config::LimitsSection;

on_both_stores! {
    a_tenant_is_made_changed_and_deleted,
    a_name_that_a_tenant_gave_up_means_it_no_more_at_once,
    a_tenant_with_devices_stays_and_one_that_goes_takes_its_keys_along,
    a_repeated_request_makes_one_tenant,
    what_is_wrong_with_a_tenant_or_a_key_is_named,
    a_key_works_until_it_is_taken_back,
    the_last_administrator_cannot_be_locked_out,
    a_keys_secret_is_told_once_and_kept_nowhere,
    a_tenants_administrator_grants_no_more_than_the_service_does,
    a_key_that_asks_too_often_is_told_when_to_come_again,
    a_tenant_that_commands_too_often_is_told_when_to_come_again,
    a_network_server_is_set_and_its_key_never_told,
    tenants_set_their_network_server_only_where_they_may,
    the_audit_log_tells_who_did_what_from_where,
    the_whole_audit_log_is_exported,
}

impl Service {
    async fn change(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = Some(body).filter(|body| !body.is_null());
        self.send(request(method, path, &self.admin, body)).await
    }

    async fn change_if(&self, method: &str, path: &str, if_match: &str, body: &Value) -> Answer {
        let body = Some(body).filter(|body| !body.is_null());
        let mut request = request(method, path, &self.admin, body);
        request
            .headers_mut()
            .insert("if-match", if_match.parse().unwrap());
        self.send(request).await
    }

    async fn new_tenant(&self, body: Value) -> String {
        let made = self.change("POST", "/api/v1/tenants", &body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
        let id = made.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(
            made.header("location"),
            Some(format!("/api/v1/tenants/{id}").as_str())
        );
        id
    }

    /// A key made over the API: its id and itself.
    async fn api_key(&self, path: &str, body: Value) -> (String, String) {
        let made = self.change("POST", path, &body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
        assert_eq!(made.header("cache-control"), Some("no-store"));
        let made = made.json();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("id"), text("key"))
    }
}

fn kind(answer: &Answer) -> (u16, String) {
    let kind = answer.json()["type"].as_str().unwrap().to_owned();
    let kind = kind.rsplit(':').next().unwrap().to_owned();
    (answer.status.as_u16(), kind)
}

fn refused(status: u16, name: &str) -> (u16, String) {
    (status, name.to_owned())
}

async fn a_tenant_is_made_changed_and_deleted(service: Service) {
    let id = service
        .new_tenant(json!({"name": " Fourth floor ", "devices_max": 1}))
        .await;
    let path = format!("/api/v1/tenants/{id}");
    let found = service
        .get("/api/v1/tenants/Fourth%20floor", &service.admin)
        .await;
    assert_eq!(found.header("etag"), Some("\"1\""));
    let found = found.json();
    assert_eq!(
        (
            &found["id"],
            &found["name"],
            &found["device_count"],
            &found["devices_max"]
        ),
        (&json!(id), &json!("Fourth floor"), &json!(0), &json!(1))
    );
    let changed = service
        .change_if(
            "PATCH",
            &path,
            "\"1\"",
            &json!({"devices_max": null, "commands_per_minute": 5,
                "chirpstack_tenant_id": "52F14CD4-C6F1-4FBD-8F87-4025E1D49242"}),
        )
        .await;
    assert_eq!(changed.header("etag"), Some("\"2\""));
    let changed = changed.json();
    assert_eq!(
        (
            &changed["name"],
            &changed["devices_max"],
            &changed["commands_per_minute"],
            &changed["chirpstack_tenant_id"]
        ),
        (
            &json!("Fourth floor"),
            &Value::Null,
            &json!(5),
            &json!("52f14cd4-c6f1-4fbd-8f87-4025e1d49242")
        )
    );
    let late = service
        .change_if("PATCH", &path, "\"1\"", &json!({"name": "x"}))
        .await;
    assert_eq!(kind(&late), refused(412, "version-mismatch"));
    let weak = service
        .change_if("DELETE", &path, "W/\"2\"", &Value::Null)
        .await;
    assert_eq!(kind(&weak), refused(412, "version-mismatch"));
    let taken = service
        .change("PATCH", &path, &json!({"name": "default"}))
        .await;
    assert_eq!(kind(&taken), refused(409, "tenant-name-taken"));
    let list = service
        .get("/api/v1/tenants?limit=1", &service.admin)
        .await
        .json();
    assert_eq!(list["tenants"][0]["name"], "default");
    let rest = format!(
        "/api/v1/tenants?cursor={}",
        list["next_cursor"].as_str().unwrap()
    );
    let rest = service.get(&rest, &service.admin).await.json();
    assert_eq!(
        (&rest["tenants"][0]["id"], &rest["next_cursor"]),
        (&json!(id), &Value::Null)
    );
    let gone = service
        .change_if("DELETE", &path, "\"1\", \"2\"", &Value::Null)
        .await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let gone = service.get(&path, &service.admin).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
}

/// Which tenant a path means is remembered for seconds.
async fn a_name_that_a_tenant_gave_up_means_it_no_more_at_once(service: Service) {
    let first = service.new_tenant(json!({"name": "acme"})).await;
    let of_acme = async || {
        let answer = service.get("/api/v1/tenants/acme/jobs", &service.admin);
        answer.await.status
    };
    assert_eq!(of_acme().await, StatusCode::OK);
    let path = format!("/api/v1/tenants/{first}");
    let name = json!({"name": "acme old"});
    let renamed = service.change("PATCH", &path, &name).await;
    assert_eq!(renamed.status, StatusCode::OK);
    assert_eq!(of_acme().await, StatusCode::NOT_FOUND);

    let second = service.new_tenant(json!({"name": "acme"})).await;
    let order = json!({"name": "Desk", "lorawan_dev_eui": null});
    let made = service.change("POST", "/api/v1/tenants/acme/devices", &order);
    let made = made.await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    assert_eq!(made.json()["tenant_id"], json!(second));
    let device = made.json()["id"].as_str().unwrap().to_owned();
    let device = format!("/api/v1/tenants/acme/devices/{device}");
    let deleted = service.change("DELETE", &device, &Value::Null).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);

    assert_eq!(of_acme().await, StatusCode::OK);
    let path = format!("/api/v1/tenants/{second}");
    let deleted = service.change("DELETE", &path, &Value::Null).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert_eq!(of_acme().await, StatusCode::NOT_FOUND);
}

async fn a_tenant_with_devices_stays_and_one_that_goes_takes_its_keys_along(service: Service) {
    service.register(LAMP).await;
    let kept = service
        .change("DELETE", "/api/v1/tenants/default", &Value::Null)
        .await;
    assert_eq!(kind(&kept), refused(409, "tenant-not-empty"));
    let id = service.new_tenant(json!({"name": "short"})).await;
    let path = format!("/api/v1/tenants/{id}");
    let (_, key) = service
        .api_key(
            &format!("{path}/keys"),
            json!({"role": "admin", "name": "theirs"}),
        )
        .await;
    assert_eq!(service.get(&path, &key).await.status, StatusCode::OK);
    service.change("DELETE", &path, &Value::Null).await;
    assert_eq!(
        service.get(&path, &key).await.status,
        StatusCode::UNAUTHORIZED
    );
}

async fn a_repeated_request_makes_one_tenant(service: Service) {
    let make = async |name: &str| {
        let mut request = request(
            "POST",
            "/api/v1/tenants",
            &service.admin,
            Some(&json!({"name": name})),
        );
        request
            .headers_mut()
            .insert("idempotency-key", "once".parse().unwrap());
        service.send(request).await
    };
    let (first, again, other) = (make("twin").await, make("twin").await, make("other").await);
    assert_eq!(first.body, again.body);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
}

async fn what_is_wrong_with_a_tenant_or_a_key_is_named(service: Service) {
    let mut said = Vec::new();
    let long = "x".repeat(101);
    let (tenants, keys) = ("/api/v1/tenants", "/api/v1/tenants/default/keys");
    let own = "/api/v1/tenants/default/network-server";
    for (method, path, body) in [
        ("POST", tenants, json!({})),
        ("POST", tenants, json!({"name": " "})),
        ("POST", tenants, json!({"name": long})),
        ("POST", tenants, json!({"name": "a\u{0}b"})),
        (
            "POST",
            tenants,
            json!({"name": "52f14cd4-c6f1-4fbd-8f87-4025e1d49242"}),
        ),
        ("POST", tenants, json!({"name": "default"})),
        (
            "POST",
            tenants,
            json!({"name": "x", "devices_max": -1, "commands_per_minute": 0}),
        ),
        ("POST", tenants, json!({"name": "x", "devices_max": "many"})),
        (
            "POST",
            tenants,
            json!({"name": "x", "chirpstack_tenant_id": "7"}),
        ),
        ("POST", tenants, json!({"name": "x", "quota": 1})),
        ("PATCH", "/api/v1/tenants/default", json!({"name": null})),
        ("PATCH", "/api/v1/tenants/default", json!({"id": "x"})),
        ("PATCH", "/api/v1/tenants/nobody", json!({"name": "x"})),
        ("GET", "/api/v1/tenants?limit=0&cursor=x", Value::Null),
        ("POST", keys, json!({"role": "root", "name": ""})),
        (
            "POST",
            keys,
            json!({"role": "viewer", "name": "x", "expires_at": "tomorrow"}),
        ),
        (
            "POST",
            keys,
            json!({"role": "viewer", "name": "x", "expires_at": "2020-01-01T00:00:00Z"}),
        ),
        (
            "POST",
            keys,
            json!({"role": "viewer", "name": "x", "requests_per_minute": 0}),
        ),
        ("GET", "/api/v1/keys/7", Value::Null),
        (
            "PUT",
            own,
            json!({"url": "chirpstack:8080", "api_key": "with space"}),
        ),
        ("PUT", own, json!({"url": "http://chirpstack:8080"})),
        ("DELETE", own, Value::Null),
        (
            "POST",
            "/api/v1/tenants/default/network-server/test",
            json!({}),
        ),
        (
            "POST",
            "/api/v1/tenants/default/network-server/test",
            json!({"url": "http://a:1"}),
        ),
        (
            "GET",
            "/api/v1/audit?key_id=x&from=now&format=xml",
            Value::Null,
        ),
    ] {
        let answer = service.change(method, path, &body).await;
        let problem = answer.json();
        let problem = json!({
            "type": problem["type"], "detail": problem["detail"], "errors": problem["errors"],
        });
        said.push(format!("{method} {path} {body}\n{problem}"));
    }
    insta::assert_snapshot!(said.join("\n\n"));
}

async fn a_key_works_until_it_is_taken_back(service: Service) {
    let keys = "/api/v1/tenants/default/keys";
    let (id, key) = service
        .api_key(
            keys,
            json!({"role": "operator", "name": "wall", "requests_per_minute": 100}),
        )
        .await;
    let devices = "/api/v1/tenants/default/devices";
    assert_eq!(service.get(devices, &key).await.status, StatusCode::OK);
    let path = format!("{keys}/{id}");
    let about = service.get(&path, &service.admin).await;
    let about = about.json();
    assert_eq!(about["prefix"], key[..8]);
    assert!(about.get("key").is_none() && !about.to_string().contains(&key));
    let page = |method: &str, cookie: Option<&str>, body: Option<&Value>| {
        let mut request = request(method, "/api/v1/session", "", body);
        request.headers_mut().remove("authorization");
        request
            .headers_mut()
            .insert("x-downbeat-request", "page".parse().unwrap());
        if let Some(cookie) = cookie {
            request
                .headers_mut()
                .insert("cookie", cookie.parse().unwrap());
        }
        request
    };
    let signed_in = service
        .send(page("POST", None, Some(&json!({"key": key}))))
        .await;
    let cookie = signed_in.header("set-cookie").unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let session = service.send(page("GET", Some(&cookie), None)).await;
    assert_eq!(session.status, StatusCode::OK);
    let stream = service
        .app
        .clone()
        .oneshot(request("GET", "/api/v1/tenants/default/events", &key, None))
        .await
        .unwrap();
    assert_eq!(stream.status(), StatusCode::OK);

    let gone = service.change("DELETE", &path, &Value::Null).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(
        service.get(devices, &key).await.status,
        StatusCode::UNAUTHORIZED
    );
    let session = service.send(page("GET", Some(&cookie), None)).await;
    assert_eq!(session.status, StatusCode::UNAUTHORIZED);
    let ended = to_bytes(stream.into_body(), usize::MAX);
    tokio::time::timeout(PATIENCE, ended)
        .await
        .unwrap()
        .unwrap();
    let about = service.get(&path, &service.admin).await.json();
    assert!(about["revoked_at"].is_string());
    let again = service.change("DELETE", &path, &Value::Null).await;
    assert_eq!(again.status, StatusCode::NO_CONTENT);
}

async fn the_last_administrator_cannot_be_locked_out(service: Service) {
    let listed = service.get("/api/v1/keys", &service.admin).await.json();
    let admins: Vec<_> = listed["keys"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|key| key["role"] == "admin")
        .map(|key| format!("/api/v1/keys/{}", key["id"].as_str().unwrap()))
        .collect();
    let [last] = &admins[..] else {
        panic!("{admins:?}")
    };
    let kept = service.change("DELETE", last, &Value::Null).await;
    assert_eq!(kind(&kept), refused(409, "last-admin-key"));
    // A tenant's administrator is none of the platform's.
    let tenants_keys = "/api/v1/tenants/default/keys";
    service
        .api_key(tenants_keys, json!({"role": "admin", "name": "theirs"}))
        .await;
    let kept = service.change("DELETE", last, &Value::Null).await;
    assert_eq!(kept.status, StatusCode::CONFLICT);
    let (_, second) = service
        .api_key("/api/v1/keys", json!({"role": "admin", "name": "second"}))
        .await;
    let gone = service.change("DELETE", last, &Value::Null).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(
        service.get("/api/v1/keys", &second).await.status,
        StatusCode::OK
    );
}

async fn a_keys_secret_is_told_once_and_kept_nowhere(service: Service) {
    let make = async || {
        let body = json!({"role": "viewer", "name": "once"});
        let path = "/api/v1/tenants/default/keys";
        let mut request = request("POST", path, &service.admin, Some(&body));
        request
            .headers_mut()
            .insert("idempotency-key", "once".parse().unwrap());
        service.send(request).await
    };
    let (first, again) = (make().await, make().await);
    let (told, replayed) = (first.json(), again.json());
    let key = told["key"].as_str().unwrap().to_owned();
    assert_eq!(replayed["id"], told["id"]);
    assert_eq!(
        (replayed.get("key"), again.header("cache-control")),
        (None, Some("no-store"))
    );
    service.store.close().await;
    let kept = service.database.contents().await;
    let holds = |bytes: &[u8]| kept.windows(bytes.len()).any(|window| window == bytes);
    assert!(holds(b"once"));
    assert!(!holds(key.as_bytes()));
    assert!(!holds(hex::encode(&key).as_bytes()));
}

async fn a_tenants_administrator_grants_no_more_than_the_service_does(service: Service) {
    let (id, admin) = service.other_tenant().await;
    let path = format!("/api/v1/tenants/{id}/keys");
    let body = |limit: u32| json!({"role": "admin", "name": "x", "requests_per_minute": limit});
    let refused = service.post(&path, &admin, &body(600_001)).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let made = service.post(&path, &admin, &body(600_000)).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let made = service.post(&path, &service.admin, &body(600_001)).await;
    assert_eq!(made.status, StatusCode::CREATED);
}

async fn a_key_that_asks_too_often_is_told_when_to_come_again(service: Service) {
    let keys = "/api/v1/tenants/default/keys";
    let body = json!({"role": "viewer", "name": "slow", "requests_per_minute": 2});
    let (_, key) = service.api_key(keys, body).await;
    let path = "/api/v1/tenants/default/devices";
    for remaining in ["1", "0"] {
        let answer = service.get(path, &key).await;
        let told = ["ratelimit-limit", "ratelimit-remaining"].map(|name| answer.header(name));
        assert_eq!(
            (answer.status, told),
            (StatusCode::OK, [Some("2"), Some(remaining)])
        );
    }
    let answer = service.get(path, &key).await;
    assert_eq!(kind(&answer), refused(429, "rate-limited"));
    assert_eq!(answer.header("ratelimit-remaining"), Some("0"));
    assert_eq!(answer.header("ratelimit-reset"), Some("60"));
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&seconds), "{seconds}");
    let others = service.get(path, &service.viewer).await;
    assert_eq!(others.header("ratelimit-limit"), Some("600000"));
    let stranger = service.get(path, "wrong").await;
    assert_eq!(stranger.header("ratelimit-limit"), None);
}

async fn a_tenant_that_commands_too_often_is_told_when_to_come_again(service: Service) {
    service.register(LAMP).await;
    let limit = json!({"commands_per_minute": 1});
    service
        .change("PATCH", "/api/v1/tenants/default", &limit)
        .await;
    let path = format!("/api/v1/downlink/{LAMP}?wait=0");
    let color = json!({"color": "#ff0000"});
    let send = || service.post(&path, &service.operator, &color);
    assert_eq!(send().await.status, StatusCode::ACCEPTED);
    let answer = send().await;
    assert_eq!(kind(&answer), refused(429, "tenant-commands-limit"));
    assert!(answer.header("retry-after").is_some());
    let none = json!({"commands_per_minute": null});
    service
        .change("PATCH", "/api/v1/tenants/default", &none)
        .await;
    assert_eq!(send().await.status, StatusCode::ACCEPTED);
}

async fn a_network_server_is_set_and_its_key_never_told(service: Service) {
    let path = "/api/v1/tenants/default/network-server";
    let used = async || {
        let tenant = service.get("/api/v1/tenants/default", &service.admin).await;
        tenant.json()["network_server"].clone()
    };
    assert_eq!(used().await, "default");
    let secret = "eyJ0eXAi.secret.x";
    let body = json!({"url": "http://127.0.0.1:9", "api_key": secret});
    let set = service.change("PUT", path, &body).await;
    assert_eq!(set.status, StatusCode::OK, "{}", set.json());
    assert_eq!(used().await, "own");
    let again = service
        .change("PUT", path, &json!({"url": "http://127.0.0.1:10"}))
        .await;
    assert_eq!(again.header("etag"), Some("\"2\""));
    let shown = service.get(path, &service.admin).await;
    assert_eq!(
        (&shown.json()["url"], &shown.json()["key_set"]),
        (&json!("http://127.0.0.1:10"), &json!(true))
    );
    let tested = service
        .change("POST", &format!("{path}/test"), &json!({}))
        .await;
    assert_eq!(tested.json()["reachable"], false, "{}", tested.json());
    let log = service
        .get("/api/v1/audit?action=network_server", &service.admin)
        .await;
    assert_eq!(log.json()["entries"].as_array().unwrap().len(), 2);
    for answer in [&set, &again, &shown, &tested, &log] {
        assert!(!String::from_utf8_lossy(&answer.body).contains(secret));
    }
    let elsewhere = json!({"url": "http://127.0.0.1:11"});
    let refused = service
        .change("POST", &format!("{path}/test"), &elsewhere)
        .await;
    assert_eq!(refused.json()["errors"][0]["field"], "api_key");
    let gone = service.change("DELETE", path, &Value::Null).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(
        service.get(path, &service.admin).await.status,
        StatusCode::NOT_FOUND
    );
}

async fn tenants_set_their_network_server_only_where_they_may(first: Service) {
    let trusting = Config {
        limits: LimitsSection {
            tenants_may_set_network_server: true,
            ..LimitsSection::default()
        },
        ..Config::default()
    };
    for (config, status) in [
        (Config::default(), StatusCode::FORBIDDEN),
        (trusting, StatusCode::OK),
    ] {
        let service = first.sibling(&config).await;
        let (id, admin) = service.other_tenant().await;
        let path = format!("/api/v1/tenants/{id}/network-server");
        let body = json!({"url": "http://127.0.0.1:9", "api_key": "key"});
        let set = service
            .send(request("PUT", &path, &admin, Some(&body)))
            .await;
        let tested = service.post(&format!("{path}/test"), &admin, &body).await;
        assert_eq!((set.status, tested.status), (status, status));
    }
}

async fn the_audit_log_tells_who_did_what_from_where(service: Service) {
    let id = service
        .new_tenant(json!({"name": "=cmd|' /C calc'!A0"}))
        .await;
    let path = format!("/api/v1/tenants/{id}");
    service
        .change("PATCH", &path, &json!({"devices_max": 5}))
        .await;
    let log = service
        .get(&format!("/api/v1/audit?object_id={id}"), &service.admin)
        .await
        .json();
    let [changed, made] = &log["entries"].as_array().unwrap()[..] else {
        panic!("{log}")
    };
    assert_eq!(
        (&changed["action"], &changed["name"], &changed["request_id"]),
        (&json!("tenant.update"), &json!("admin"), &json!("test"))
    );
    assert_eq!(
        (
            &changed["before"]["devices_max"],
            &changed["after"]["devices_max"]
        ),
        (&Value::Null, &json!(5))
    );
    assert_eq!(
        (&made["action"], &made["before"]),
        (&json!("tenant.create"), &Value::Null)
    );
    let key = changed["key_id"].as_str().unwrap();
    let by_key = format!("/api/v1/tenants/{id}/audit?key_id={key}&action=tenant.create&limit=1");
    let by_key = service.get(&by_key, &service.admin).await.json();
    assert_eq!(by_key["entries"].as_array().unwrap().len(), 1);
    let none = format!("/api/v1/audit?object_id={id}&from=2100-01-01T00:00:00Z");
    let none = service.get(&none, &service.admin).await.json();
    assert_eq!(none, json!({"entries": [], "next_cursor": null}));
    for (method, path) in [("POST", "/api/v1/audit"), ("DELETE", "/api/v1/audit")] {
        let answer = service.change(method, path, &Value::Null).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    }
}

async fn the_whole_audit_log_is_exported(service: Service) {
    let path = "/api/v1/tenants/default";
    // More than are read at once.
    for number in 0..520 {
        let changed = service
            .change("PATCH", path, &json!({"devices_max": number}))
            .await;
        assert_eq!(changed.status, StatusCode::OK);
    }
    service.new_tenant(json!({"name": "=1+1"})).await;
    let export_as = async |accept: &str, encoding: &str| {
        let mut request = request("GET", "/api/v1/audit?action=tenant", &service.admin, None);
        for (name, value) in [("accept", accept), ("accept-encoding", encoding)] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        service.send(request).await
    };
    let export = async |accept: &str| export_as(accept, "identity").await;
    let lines = export("application/x-ndjson").await;
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    let text = String::from_utf8(lines.body).unwrap();
    let numbers: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .map(|entry: Value| entry["after"]["devices_max"].clone())
        .collect();
    let expected: Vec<Value> = (0..520).rev().map(|number| json!(number)).collect();
    assert_eq!(
        numbers
            .iter()
            .filter(|it| it.is_u64())
            .cloned()
            .collect::<Vec<_>>(),
        expected
    );

    let file = export("text/csv").await;
    assert_eq!(file.header("content-type"), Some("text/csv; charset=utf-8"));
    let mut reader = ::csv::Reader::from_reader(&file.body[..]);
    assert_eq!(&reader.headers().unwrap()[3], "action");
    let rows: Vec<_> = reader.records().map(|row| row.unwrap()).collect();
    assert_eq!(rows.len(), numbers.len());
    let formulas = rows
        .iter()
        .flatten()
        .filter(|cell| cell.starts_with(['=', '+', '@']));
    assert_eq!(formulas.count(), 0);
    // As browsers ask for it.
    let packed = export_as("text/csv", "gzip").await;
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    let size = &packed.body[packed.body.len() - 4..];
    let size = u32::from_le_bytes(size.try_into().unwrap());
    assert_eq!(usize::try_from(size).unwrap(), file.body.len());
}
