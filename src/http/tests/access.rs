//! Signing in and out, and what is open to whom.

use super::*;

on_both_stores! {
    a_browser_signs_in_and_out_and_its_cookie_alone_changes_nothing,
    by_tls_the_cookie_goes_nowhere_else,
    a_restart_signs_nobody_out_but_who_signed_out,
    sessions_are_listed_and_ended_by_who_may,
    a_key_that_is_taken_back_takes_its_sessions_along,
    signing_out_ends_the_live_feed,
    a_ticket_signs_in_once_and_guessing_is_slowed_down,
    the_description_and_its_page_are_for_who_has_a_key,
    health_is_open_to_everybody,
    a_trusted_proxy_names_the_caller_and_nobody_else_does,
    a_password_is_good_for_webhooks_alone,
}

/// What a page asks, with a cookie and without a key.
fn page(method: &str, path: &str, cookie: Option<&str>, body: Option<&Value>) -> Request<Body> {
    let mut request = request(method, path, "", body);
    let headers = request.headers_mut();
    headers.remove("authorization");
    headers.insert("x-downbeat-request", "page".parse().unwrap());
    if let Some(cookie) = cookie {
        headers.insert("cookie", cookie.parse().unwrap());
    }
    request
}

const SESSION: &str = "/api/v1/session";

impl Service {
    /// Signs in and gives the cookie.
    async fn sign_in(&self, body: &Value) -> String {
        let signed_in = self.send(page("POST", SESSION, None, Some(body))).await;
        assert_eq!(signed_in.status, StatusCode::NO_CONTENT);
        let set = signed_in.header("set-cookie").unwrap();
        set.split(';').next().unwrap().to_owned()
    }

    async fn by_cookie(&self, method: &str, path: &str, cookie: &str) -> Answer {
        self.send(page(method, path, Some(cookie), None)).await
    }
}

async fn a_browser_signs_in_and_out_and_its_cookie_alone_changes_nothing(service: Service) {
    let key = json!({"key": service.operator});
    let signed_in = service.send(page("POST", SESSION, None, Some(&key))).await;
    assert_eq!(signed_in.status, StatusCode::NO_CONTENT);
    let set = signed_in.header("set-cookie").unwrap();
    assert!(
        set.ends_with("; HttpOnly; SameSite=Strict; Path=/"),
        "{set}"
    );
    let cookie = set.split(';').next().unwrap().to_owned();
    let session = service.by_cookie("GET", SESSION, &cookie).await.json();
    assert_eq!(
        (&session["role"], &session["tenant"]["name"]),
        (&json!("operator"), &json!("default"))
    );
    assert_eq!(
        (&session["platform"], &session["key_name"]),
        (&json!(true), &json!("operator"))
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

    let signed_out = service.by_cookie("DELETE", SESSION, &cookie).await;
    assert_eq!(signed_out.status, StatusCode::NO_CONTENT);
    let over = service.by_cookie("GET", SESSION, &cookie).await;
    assert_eq!(over.status, StatusCode::UNAUTHORIZED);
}

async fn by_tls_the_cookie_goes_nowhere_else(service: Service) {
    let key = json!({"key": service.operator});
    for (origin, secure) in [
        ("https://lights.example", true),
        ("http://lights.example", false),
    ] {
        let mut request = page("POST", SESSION, None, Some(&key));
        let headers = request.headers_mut();
        headers.insert("origin", origin.parse().unwrap());
        headers.insert("host", "lights.example".parse().unwrap());
        let signed_in = service.send(request).await;
        let set = signed_in.header("set-cookie").unwrap();
        assert_eq!(set.contains("; Secure"), secure, "{set}");
    }
}

async fn a_restart_signs_nobody_out_but_who_signed_out(service: Service) {
    let stays = service.sign_in(&json!({"key": service.viewer})).await;
    let leaves = service.sign_in(&json!({"key": service.operator})).await;
    let by_ticket = json!({"ticket": service.state.mint_ticket()});
    let by_ticket = service.sign_in(&by_ticket).await;
    service.by_cookie("DELETE", SESSION, &leaves).await;

    let (app, state) = Service::on(&service.store, &Config::default()).await;
    state.restore_sessions().await.unwrap();
    let restarted = Service {
        app,
        state,
        ..service
    };
    for (cookie, status) in [
        (&stays, StatusCode::OK),
        (&by_ticket, StatusCode::OK),
        (&leaves, StatusCode::UNAUTHORIZED),
    ] {
        let answer = restarted.by_cookie("GET", SESSION, cookie).await;
        assert_eq!(answer.status, status);
    }
}

async fn sessions_are_listed_and_ended_by_who_may(service: Service) {
    let (tenant, others) = service.other_tenant().await;
    let key = service.key(Role::Viewer, Some(tenant)).await;
    let first = service.sign_in(&json!({"key": key})).await;
    let second = service.sign_in(&json!({"key": key})).await;
    let of_platform = service.sign_in(&json!({"key": service.operator})).await;
    let listed = async |key: &str| {
        let list = service.get("/api/v1/sessions", key).await.json();
        list["sessions"].as_array().unwrap().clone()
    };
    assert_eq!(listed(&service.admin).await.len(), 3);
    assert_eq!(listed(&service.operator).await.len(), 1);
    assert_eq!(listed(&service.viewer).await.len(), 0);
    assert_eq!(listed(&others).await.len(), 2);
    let own = service.by_cookie("GET", "/api/v1/sessions", &first).await;
    let own = own.json()["sessions"].as_array().unwrap().clone();
    let current: Vec<_> = own.iter().filter(|it| it["current"] == true).collect();
    assert_eq!((own.len(), current.len()), (2, 1));
    assert_eq!(
        (&current[0]["role"], &current[0]["tenant_id"]),
        (&json!("viewer"), &json!(tenant.to_string()))
    );
    assert!(current[0]["ends_at"].as_str() > current[0]["used_at"].as_str());

    // Another tenant's does not exist, whoever else's it is neither.
    let id = listed(&service.operator).await[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/api/v1/sessions/{id}");
    for key in [&others, &service.viewer] {
        let answer = service.send(request("DELETE", &path, key, None)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
    let webhook = service
        .send(request("DELETE", &path, &service.webhook, None))
        .await;
    assert_eq!(webhook.status, StatusCode::FORBIDDEN);
    let ended = service
        .send(request("DELETE", &path, &service.admin, None))
        .await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    let over = service.by_cookie("GET", SESSION, &of_platform).await;
    assert_eq!(over.status, StatusCode::UNAUTHORIZED);

    let wrong = service
        .by_cookie("DELETE", "/api/v1/session?everywhere=all", &first)
        .await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    let everywhere = service.by_cookie("DELETE", "/api/v1/session?everywhere=true", &first);
    assert_eq!(everywhere.await.status, StatusCode::NO_CONTENT);
    let over = service.by_cookie("GET", SESSION, &second).await;
    assert_eq!(over.status, StatusCode::UNAUTHORIZED);
}

async fn a_key_that_is_taken_back_takes_its_sessions_along(service: Service) {
    let made = json!({"role": "viewer", "name": "wall"});
    let made = service
        .post("/api/v1/keys", &service.admin, &made)
        .await
        .json();
    let key = json!({"key": made["key"]});
    service.sign_in(&key).await;
    assert_eq!(service.store.browser_sessions().await.unwrap().len(), 1);
    let path = format!("/api/v1/keys/{}", made["id"].as_str().unwrap());
    let taken = service
        .send(request("DELETE", &path, &service.admin, None))
        .await;
    assert_eq!(taken.status, StatusCode::NO_CONTENT);
    let list = service.get("/api/v1/sessions", &service.admin).await.json();
    assert_eq!(list["sessions"], json!([]));
}

async fn signing_out_ends_the_live_feed(service: Service) {
    let cookie = service.sign_in(&json!({"key": service.viewer})).await;
    let feed = page("GET", "/api/v1/tenants/default/events", Some(&cookie), None);
    let feed = service.app.clone().oneshot(feed).await.unwrap();
    assert_eq!(feed.status(), StatusCode::OK);
    service.by_cookie("DELETE", SESSION, &cookie).await;
    let rest = to_bytes(feed.into_body(), usize::MAX);
    let rest = tokio::time::timeout(PATIENCE, rest).await;
    assert!(rest.unwrap().is_ok(), "it ends by itself");
}

async fn a_ticket_signs_in_once_and_guessing_is_slowed_down(service: Service) {
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

async fn the_description_and_its_page_are_for_who_has_a_key(service: Service) {
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

async fn health_is_open_to_everybody(service: Service) {
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

async fn a_password_is_good_for_webhooks_alone(service: Service) {
    use base64::Engine as _;
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

async fn a_trusted_proxy_names_the_caller_and_nobody_else_does(service: Service) {
    let config = Config {
        trusted_proxies: "10.0.0.0/8".parse().unwrap(),
        ..Config::default()
    };
    let (app, _) = Service::on(&service.store, &config).await;
    let from = |peer: &str, mut request: Request<Body>| {
        let peer: std::net::SocketAddr = peer.parse().unwrap();
        request
            .extensions_mut()
            .insert(axum::extract::ConnectInfo(peer));
        let named = "203.0.113.9, 198.51.100.7".parse().unwrap();
        request.headers_mut().insert("x-forwarded-for", named);
        request
    };
    for (number, peer) in [(0, "10.1.2.3:4711"), (1, "192.0.2.1:4711")] {
        let device = json!({"name": format!("Sensor {number}")});
        let path = "/api/v1/tenants/default/devices";
        let made = request("POST", path, &service.admin, Some(&device));
        let made = app.clone().oneshot(from(peer, made)).await.unwrap();
        assert_eq!(made.status(), StatusCode::CREATED);
    }
    let log = "/api/v1/tenants/default/audit?action=device.create";
    let log = service.get(log, &service.admin).await.json();
    let entries = log["entries"].as_array().unwrap().iter();
    let addresses: Vec<_> = entries.map(|it| it["address"].as_str().unwrap()).collect();
    assert_eq!(addresses, ["192.0.2.1", "198.51.100.7"], "newest first");

    // Whoever guesses behind the proxy is slowed down alone.
    let wrong = json!({"key": "guessed"});
    let mut status = StatusCode::OK;
    for _ in 0..11 {
        let guess = from("10.1.2.3:4711", page("POST", SESSION, None, Some(&wrong)));
        status = app.clone().oneshot(guess).await.unwrap().status();
    }
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    let mut other = from("10.1.2.3:4711", page("POST", SESSION, None, Some(&wrong)));
    let named = "198.51.100.8".parse().unwrap();
    other.headers_mut().insert("x-forwarded-for", named);
    let other = app.clone().oneshot(other).await.unwrap();
    assert_eq!(other.status(), StatusCode::UNAUTHORIZED);
}
