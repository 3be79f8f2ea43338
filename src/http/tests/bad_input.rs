//! Requests that are wrong: each is refused in words that help, and changes nothing.

use super::*;

on_both_stores! {
    what_is_wrong_is_said,
    bodies_that_are_none_are_refused,
}

async fn what_is_wrong_is_said(service: Service) {
    service.register(LAMP).await;
    let mut said = Vec::new();
    for (method, path, body) in wrong_requests() {
        let body = Some(&body).filter(|body| !body.is_null());
        let answer = service
            .send(request(method, path, &service.admin, body))
            .await;
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(answer.header("x-request-id"), Some("test"));
        let body = body.map(|body| format!(" {body}")).unwrap_or_default();
        let problem = serde_json::to_string_pretty(&answer.json()).unwrap();
        said.push(format!("{method} {path}{body}\n{problem}"));
    }
    insta::assert_snapshot!(said.join("\n\n"));
    let list = service
        .get("/api/v1/downlinks", &service.admin)
        .await
        .json();
    assert_eq!(list["downlinks"], json!([]));
    let devices = service
        .get("/api/v1/tenants/default/devices", &service.admin)
        .await
        .json();
    assert_eq!(devices["devices"].as_array().unwrap().len(), 1);
}

async fn bodies_that_are_none_are_refused(service: Service) {
    service.register(LAMP).await;
    let command = format!("/api/v1/downlink/{LAMP}");
    let webhook = "/api/v1/webhooks/chirpstack?event=up";
    let mut said = Vec::new();
    let large = format!("{{\"color\": \"{}\"}}", "0".repeat(1024 * 1024));
    for (path, media_type, body) in [
        (command.as_str(), "application/json", b"{".to_vec()),
        (&command, "application/json", b"".to_vec()),
        (&command, "application/json", b"\xff\xfe".to_vec()),
        (&command, "text/plain", b"{}".to_vec()),
        (&command, "application/json", large.clone().into_bytes()),
        (webhook, "application/json", b"{".to_vec()),
        (webhook, "application/json", b"{}".to_vec()),
        (
            webhook,
            "application/json",
            br#"{"deviceInfo":{"devEui":"202020ff50330000"},"data":"%"}"#.to_vec(),
        ),
        (
            webhook,
            "application/json",
            br#"{"deviceInfo":{"devEui":"202020ff50330000"},"fCnt":-1}"#.to_vec(),
        ),
        (
            webhook,
            "application/octet-stream",
            b"\xff\xff\xff".to_vec(),
        ),
        (webhook, "application/octet-stream", b"".to_vec()),
        (webhook, "text/xml", b"<up/>".to_vec()),
        (webhook, "application/json", large.into_bytes()),
    ] {
        let mut request = request("POST", path, &service.admin, None);
        request
            .headers_mut()
            .insert("content-type", media_type.parse().unwrap());
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        *request.body_mut() = Body::from(body);
        let answer = service.send(request).await;
        let problem = serde_json::to_string_pretty(&answer.json()).unwrap();
        said.push(format!("{path} {media_type} {shown:?}\n{problem}"));
    }
    insta::assert_snapshot!(said.join("\n\n"));
}

const COMMAND: &str = "/api/v1/downlink/202020ff50330000";

fn wrong_requests() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("POST", COMMAND, json!({"red": 256, "green": 0, "blue": 0})),
        ("POST", COMMAND, json!({"red": -1, "green": 0, "blue": 0})),
        (
            "POST",
            COMMAND,
            json!({"red": "255", "green": 0, "blue": 0}),
        ),
        ("POST", COMMAND, json!({"red": 255})),
        ("POST", COMMAND, json!({"colour": "#ff0000"})),
        (
            "POST",
            COMMAND,
            json!({"color": "#ff0000", "payload": "00", "f_port": 1}),
        ),
        (
            "POST",
            COMMAND,
            json!({"color": "#ff0000", "ttl_s": 0, "attempts": 99}),
        ),
        ("POST", COMMAND, json!([255, 0, 0])),
        (
            "POST",
            "/api/v1/downlink/202020ff5033000",
            json!({"color": "#ff0000"}),
        ),
        (
            "POST",
            "/api/v1/downlink/202020ff50339999",
            json!({"color": "#ff0000"}),
        ),
        (
            "POST",
            "/api/v1/downlink/202020ff50330000?wait=121",
            json!({"color": "#ff0000"}),
        ),
        (
            "POST",
            "/api/v1/downlink/202020ff50330000?wiat=1",
            json!({"color": "#ff0000"}),
        ),
        ("POST", "/api/v1/tenants/default/devices", json!({})),
        (
            "POST",
            "/api/v1/tenants/default/devices",
            json!({"name": "", "lorawan_dev_eui": "x"}),
        ),
        (
            "POST",
            "/api/v1/tenants/default/devices",
            json!({"name": "Desk 2", "lorawan_dev_eui": LAMP}),
        ),
        (
            "POST",
            "/api/v1/tenants/nobody/devices",
            json!({"name": "Desk 2"}),
        ),
        ("GET", "/api/v1/downlinks/7", json!(null)),
        (
            "GET",
            "/api/v1/downlinks?state=lost&limit=0&cursor=x&from=yesterday&dev_eui=1",
            json!(null),
        ),
        ("GET", "/api/v1/downlinks?devEui=1", json!(null)),
        ("GET", "/api/v1/metrics/downlinks?hours=0", json!(null)),
        (
            "GET",
            "/api/v1/gateways/0016c00150330001/status",
            json!(null),
        ),
        ("GET", "/api/v1/gateways/x/status", json!(null)),
        ("GET", "/api/v1/nothing", json!(null)),
        ("PUT", "/api/v1/gateways", json!({})),
    ]
}
