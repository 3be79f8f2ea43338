//! Who may do what.

use super::*;
use crate::http::openapi_json;

/// Every operation that is described, with its path filled in.
fn operations() -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(&openapi_json()).unwrap();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path
            .replace("{tenant_id}", "default")
            .replace("{dev_eui}", LAMP)
            .replace("{device_id}", "01a2b7fa-7f26-7109-8c88-d0b5abe764e0");
        // What is left is an id of a downlink or a gateway.
        let path = if path.contains("gateways") {
            path.replace("{id}", "0016c00150330001")
        } else {
            path.replace("{id}", "01a2b7fa-7f26-7109-8c88-d0b5abe764e0")
        };
        for method in methods.as_object().unwrap().keys() {
            operations.push((method.to_uppercase(), path.clone()));
        }
    }
    operations
}

fn is_open(method: &str, path: &str) -> bool {
    matches!(
        (method, path),
        (_, "/healthz" | "/readyz") | ("POST", "/api/v1/session")
    )
}

#[tokio::test]
async fn every_operation_needs_a_key_that_works() {
    let service = Service::start().await;
    let operations = operations();
    assert!(operations.len() >= 18, "{operations:?}");
    for (method, path) in operations {
        for key in [None, Some("wrong")] {
            let mut request = request(&method, &path, "", Some(&json!({})));
            request.headers_mut().remove("authorization");
            if let Some(key) = key {
                let value = format!("Bearer {key}").parse().unwrap();
                request.headers_mut().insert("authorization", value);
            }
            let answer = service.send(request).await;
            if is_open(&method, &path) {
                assert_ne!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
                continue;
            }
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert_eq!(
                answer.header("content-type"),
                Some("application/problem+json")
            );
            assert_eq!(
                answer.header("www-authenticate"),
                Some("Bearer realm=\"downbeat\"")
            );
        }
    }
}

#[tokio::test]
async fn each_role_does_what_it_may_and_no_more() {
    let service = Service::start().await;
    let (admin, operator) = (&service.admin, &service.operator);
    let (viewer, webhook) = (&service.viewer, &service.webhook);
    for (method, path) in operations() {
        if path.ends_with("/events") || is_open(&method, &path) || (method == "DELETE") {
            continue;
        }
        let allowed: &[&String] = match (method.as_str(), path.as_str()) {
            (_, path) if path.contains("/webhooks/") => &[admin, webhook],
            ("GET", _) => &[admin, operator, viewer],
            (_, path) if path.ends_with("/devices") => &[admin],
            (_, _) => &[admin, operator],
        };
        for key in [admin, operator, viewer, webhook] {
            let body = (method != "GET").then(|| json!({}));
            let answer = service
                .send(request(&method, &path, key, body.as_ref()))
                .await;
            let is_forbidden = answer.status == StatusCode::FORBIDDEN;
            assert_eq!(
                is_forbidden,
                !allowed.contains(&key),
                "{method} {path} {:?}",
                answer.status
            );
            assert!(answer.status.as_u16() < 500, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn another_tenants_things_do_not_exist() {
    let service = Service::start().await;
    let device = service.register(LAMP).await;
    let color = json!({"color": "#ff0000"});
    let command = format!("/api/v1/downlink/{LAMP}?wait=0");
    let sent = service.post(&command, &service.operator, &color).await;
    let downlink = sent.json()["id"].as_str().unwrap().to_owned();
    let (_, stranger) = service.other_tenant().await;
    for (method, path) in [
        ("POST", command),
        ("GET", format!("/api/v1/downlinks/{downlink}")),
        ("POST", format!("/api/v1/downlinks/{downlink}/cancel")),
        ("GET", format!("/api/v1/tenants/default/devices/{device}")),
        ("GET", format!("/api/v1/tenants/other/devices/{device}")),
        ("GET", "/api/v1/tenants/default/devices".to_owned()),
        ("GET", "/api/v1/tenants/default/events".to_owned()),
    ] {
        let body = (method == "POST").then_some(&color);
        let answer = service.send(request(method, &path, &stranger, body)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
    }
    let list = service.get("/api/v1/downlinks", &stranger).await.json();
    assert_eq!(list["downlinks"], json!([]));
    let metrics = service.get("/metrics", &stranger).await;
    assert_eq!(metrics.status, StatusCode::FORBIDDEN);
    let mut event = request("POST", "/api/v1/webhooks/chirpstack", &stranger, None);
    *event.body_mut() = Body::from(captured("up-verifies.json"));
    let json = "application/json".parse().unwrap();
    event.headers_mut().insert("content-type", json);
    assert_eq!(service.send(event).await.json()["status"], "ignored");
}

#[tokio::test]
async fn a_browser_signs_in_and_out_and_its_cookie_alone_changes_nothing() {
    let service = Service::start().await;
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
    let key = json!({"key": service.operator});
    let signed_in = service.send(page("POST", None, Some(&key))).await;
    assert_eq!(signed_in.status, StatusCode::NO_CONTENT);
    let set = signed_in.header("set-cookie").unwrap();
    assert!(
        set.ends_with("; HttpOnly; SameSite=Strict; Path=/"),
        "{set}"
    );
    let cookie = set.split(';').next().unwrap().to_owned();
    let session = service.send(page("GET", Some(&cookie), None)).await.json();
    assert_eq!(
        (&session["role"], &session["tenant"]["name"]),
        (&json!("operator"), &json!("default"))
    );
    assert_eq!(session["simulator"], false);

    let command = format!("/api/v1/downlink/{LAMP}");
    let mut forged = request("POST", &command, "", Some(&json!({"color": "#ff0000"})));
    forged.headers_mut().remove("authorization");
    forged
        .headers_mut()
        .insert("cookie", cookie.parse().unwrap());
    let answer = service.send(forged).await;
    assert_eq!(
        (answer.status, &answer.json()["type"]),
        (
            StatusCode::FORBIDDEN,
            &json!("urn:downbeat:problem:cross-site")
        )
    );

    let signed_out = service.send(page("DELETE", Some(&cookie), None)).await;
    assert_eq!(signed_out.status, StatusCode::NO_CONTENT);
    let over = service.send(page("GET", Some(&cookie), None)).await;
    assert_eq!(over.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_ticket_signs_in_once_and_guessing_is_slowed_down() {
    let service = Service::start().await;
    let sign_in = async |body: Value| {
        let mut request = request("POST", "/api/v1/session", "", Some(&body));
        request
            .headers_mut()
            .insert("x-downbeat-request", "page".parse().unwrap());
        service.send(request).await.status
    };
    let ticket = json!({"ticket": service.state.mint_ticket()});
    assert_eq!(sign_in(ticket.clone()).await, StatusCode::NO_CONTENT);
    assert_eq!(sign_in(ticket).await, StatusCode::UNAUTHORIZED);
    assert_eq!(
        sign_in(json!({"key": service.webhook})).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(sign_in(json!({})).await, StatusCode::BAD_REQUEST);
    for _ in 0..9 {
        assert_eq!(
            sign_in(json!({"key": "guess"})).await,
            StatusCode::UNAUTHORIZED
        );
    }
    assert_eq!(
        sign_in(json!({"key": service.admin})).await,
        StatusCode::TOO_MANY_REQUESTS
    );
}

#[tokio::test]
async fn the_description_and_its_page_are_for_who_has_a_key() {
    let service = Service::start().await;
    for path in [
        "/api/openapi.json",
        "/api/docs",
        "/api/docs/",
        "/api/docs/swagger-initializer.js",
    ] {
        let answer = service.get(path, "wrong").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let document = service.get("/api/openapi.json", &service.viewer).await;
    assert_eq!(document.json()["openapi"], "3.1.0");
    let page = service.get("/api/docs/", &service.viewer).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .contains("script-src 'self'")
    );
    assert!(!String::from_utf8(page.body).unwrap().contains("<script>"));
}

#[tokio::test]
async fn health_is_open_to_everybody() {
    let service = Service::start().await;
    assert_eq!(
        service.get("/healthz", "").await.json(),
        json!({"status": "ok"})
    );
    let ready = json!({"status": "ready", "store": "ok", "network_server": "not_configured"});
    assert_eq!(service.get("/readyz", "").await.json(), ready);
    service.store.close().await;
    let gone = async {
        loop {
            let answer = service.get("/readyz", "").await;
            if answer.status != StatusCode::OK {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let gone = tokio::time::timeout(PATIENCE, gone).await.unwrap();
    assert_eq!(
        (gone.status, &gone.json()["store"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("unavailable"))
    );
}

#[tokio::test]
async fn a_password_is_good_for_webhooks_alone() {
    use base64::Engine as _;
    let service = Service::start().await;
    for (role, allowed) in [
        (Role::Webhook, true),
        (Role::Viewer, false),
        (Role::Operator, false),
        (Role::Admin, false),
    ] {
        let key = service.key(role, None).await;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("downbeat:{key}"));
        let path = "/api/v1/webhooks/chirpstack?event=nothing";
        let mut request = request("POST", path, "", Some(&json!({})));
        let value = format!("Basic {pair}").parse().unwrap();
        request.headers_mut().insert("authorization", value);
        let answer = service.send(request).await;
        let expected = if allowed {
            StatusCode::OK
        } else {
            StatusCode::UNAUTHORIZED
        };
        assert_eq!(answer.status, expected, "{role:?}");
    }
}
