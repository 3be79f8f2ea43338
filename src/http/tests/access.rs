//! Signing in and out, and what is open to whom.

use super::*;

on_both_stores! {
    a_browser_signs_in_and_out_and_its_cookie_alone_changes_nothing,
    a_ticket_signs_in_once_and_guessing_is_slowed_down,
    the_description_and_its_page_are_for_who_has_a_key,
    health_is_open_to_everybody,
    a_password_is_good_for_webhooks_alone,
}

async fn a_browser_signs_in_and_out_and_its_cookie_alone_changes_nothing(service: Service) {
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
