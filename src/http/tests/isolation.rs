//! Who may do what, and whose things exist for whom: for every operation that is described, so that a new route is
//! tried by itself.

use super::operations::{Ids, Operation, operations, seen};
use super::*;

on_both_stores! {
    every_operation_needs_a_key_that_works,
    another_tenants_things_do_not_exist,
    whoever_may_only_read_changes_nothing,
    whoever_delivers_webhooks_does_nothing_else,
    operators_give_commands_and_administer_nothing,
    a_tenants_administrator_does_not_administer_the_platform,
}

/// What operators may change; all other changes are for administrators.
const OPERATORS_CHANGE: [&str; 15] = [
    "POST /api/v1/downlink/{dev_eui}",
    "POST /api/v1/downlinks/{id}/cancel",
    "PUT /api/v1/devices/{dev_eui}/desired",
    "DELETE /api/v1/devices/{dev_eui}/desired",
    "POST /api/v1/devices/{dev_eui}/flush-queue",
    "POST /api/v1/devices/{dev_eui}/initialize",
    "POST /api/v1/devices/initialize",
    "POST /api/v1/tenants/{tenant_id}/devices/{device_id}/sync",
    "POST /api/v1/tenants/{tenant_id}/drift/check",
    "POST /api/v1/tenants/{tenant_id}/jobs",
    "POST /api/v1/tenants/{tenant_id}/jobs/{job_id}/cancel",
    "POST /api/v1/tenants/{tenant_id}/jobs/{job_id}/pause",
    "POST /api/v1/tenants/{tenant_id}/jobs/{job_id}/resume",
    "POST /api/v1/tenants/{tenant_id}/jobs/{job_id}/retry",
    "POST /api/v1/tenants/{tenant_id}/sync",
];

/// What viewers may not read: who else has access, and who did what.
const ADMINS_READ: [&str; 9] = [
    "GET /api/v1/audit",
    "GET /api/v1/keys",
    "GET /api/v1/keys/{key_id}",
    "GET /api/v1/network-server",
    "GET /api/v1/tenants",
    "GET /api/v1/tenants/{tenant_id}/audit",
    "GET /api/v1/tenants/{tenant_id}/keys",
    "GET /api/v1/tenants/{tenant_id}/keys/{key_id}",
    "GET /api/v1/tenants/{tenant_id}/network-server",
];

/// What shows the same to all: the gateways of the network server that they share.
fn is_shared(operation: &Operation) -> bool {
    operation.path.starts_with("/api/v1/gateways") || operation.path == "/api/v1/airtime"
}

impl Service {
    /// What the first tenant has: one of each thing that a path can name.
    async fn belongings(&self) -> Ids {
        let tenant = self.get("/api/v1/tenants/default", &self.admin).await;
        let tenant = tenant.json()["id"].as_str().unwrap().to_owned();
        let device = self.register(LAMP).await;
        let job = self.job_that_is_over(LAMP).await;
        let path = format!("/api/v1/downlink/{LAMP}?wait=0");
        let color = json!({"color": "#ff0000"});
        let sent = self.post(&path, &self.operator, &color).await.json();
        let downlink = sent["id"].as_str().unwrap().to_owned();
        self.waiting(&downlink).await;
        let path = format!("/api/v1/tenants/{tenant}/keys");
        let key = json!({"role": "operator", "name": "wall"});
        let made = self.post(&path, &self.admin, &key).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
        Ids {
            tenant,
            device,
            downlink,
            key: made.json()["id"].as_str().unwrap().to_owned(),
            job,
        }
    }

    /// A job that nothing happens to any more.
    async fn job_that_is_over(&self, lamp: &str) -> String {
        self.hear(lamp).await;
        let color = json!({"kind": "color", "color": "#0000ff", "devices": [lamp]});
        let job = self.job(&color).await;
        self.told(&job, "cancel").await;
        let over = self.until(&job, |job| job["finished_at"].is_string());
        over.await["id"].as_str().unwrap().to_owned()
    }

    /// Until nothing happens to a downlink by itself any more.
    async fn waiting(&self, downlink: &str) {
        let path = format!("/api/v1/downlinks/{downlink}");
        let waits = async {
            while self.get(&path, &self.admin).await.json()["state"] != "waiting" {
                // Others want the thread, too: the actors that are waited for among them.
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waits).await.unwrap();
    }
}

async fn every_operation_needs_a_key_that_works(service: Service) {
    let ids = service.belongings().await;
    for operation in operations() {
        for key in [None, Some("wrong")] {
            let mut request = operation.request(&ids, key.unwrap_or_default());
            if key.is_none() {
                request.headers_mut().remove("authorization");
            }
            let (name, answer) = (operation.name(), service.send(request).await);
            if operation.is_open() {
                assert_ne!(answer.status, StatusCode::UNAUTHORIZED, "{name}");
                continue;
            }
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name}");
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

async fn another_tenants_things_do_not_exist(service: Service) {
    let ids = service.belongings().await;
    let by_name = Ids {
        tenant: "default".to_owned(),
        ..ids.clone()
    };
    let (_, stranger) = service.other_tenant().await;
    let before = seen(&service, &ids, &service.admin).await;
    assert!(
        before.values().any(|shown| shown.contains("wall")),
        "{before:?}"
    );
    let theirs = [&ids.tenant, &ids.device, &ids.downlink, &ids.key, &ids.job];
    for ids in [&ids, &by_name] {
        for operation in operations() {
            let name = operation.name();
            if operation.is_open() || operation.is_session() {
                continue;
            }
            let answer = service.send(operation.request(ids, &stranger)).await;
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            let shown: Vec<_> = theirs.iter().filter(|id| body.contains(**id)).collect();
            assert!(shown.is_empty(), "{name} shows {shown:?}: {body}");
            if operation.names_something() && !is_shared(&operation) {
                let hidden = [StatusCode::NOT_FOUND, StatusCode::FORBIDDEN];
                assert!(
                    hidden.contains(&answer.status),
                    "{name} {} {body}",
                    answer.status
                );
            } else if operation.is_webhook() {
                let ignored =
                    answer.status == StatusCode::FORBIDDEN || answer.json()["status"] == "ignored";
                assert!(ignored, "{name} {} {body}", answer.status);
            } else {
                assert!(
                    answer.status.as_u16() < 500,
                    "{name} {} {body}",
                    answer.status
                );
                assert!(
                    !body.contains(LAMP),
                    "{name} shows the first tenant's lamp: {body}"
                );
            }
        }
    }
    let after = seen(&service, &ids, &service.admin).await;
    for (name, shown) in &before {
        assert_eq!(after.get(name), Some(shown), "{name}");
    }
}

async fn whoever_may_only_read_changes_nothing(service: Service) {
    let ids = service.belongings().await;
    let before = seen(&service, &ids, &service.admin).await;
    for operation in operations() {
        if operation.is_open() || operation.is_session() || operation.is_stream() {
            continue;
        }
        let name = operation.name();
        let answer = service.send(operation.request(&ids, &service.viewer)).await;
        let is_forbidden = answer.status == StatusCode::FORBIDDEN;
        let may = operation.is_read() && !ADMINS_READ.contains(&name.as_str());
        assert_eq!(is_forbidden, !may, "{name} {}", answer.status);
    }
    assert_eq!(seen(&service, &ids, &service.admin).await, before);
}

async fn whoever_delivers_webhooks_does_nothing_else(service: Service) {
    let ids = service.belongings().await;
    for operation in operations() {
        if operation.is_open() || operation.is_session() {
            continue;
        }
        let (name, request) = (operation.name(), operation.request(&ids, &service.webhook));
        let answer = service.send(request).await;
        let is_forbidden = answer.status == StatusCode::FORBIDDEN;
        assert_eq!(
            is_forbidden,
            !operation.is_webhook(),
            "{name} {}",
            answer.status
        );
    }
}

async fn operators_give_commands_and_administer_nothing(service: Service) {
    let ids = service.belongings().await;
    for operation in operations() {
        let name = operation.name();
        let skipped = operation.is_open() || operation.is_session() || operation.is_stream();
        if skipped {
            continue;
        }
        let answer = service
            .send(operation.request(&ids, &service.operator))
            .await;
        let may = if operation.is_read() {
            !ADMINS_READ.contains(&name.as_str())
        } else {
            OPERATORS_CHANGE.contains(&name.as_str())
        };
        assert_eq!(
            answer.status == StatusCode::FORBIDDEN,
            !may,
            "{name} {}: is it for operators? Then name it in OPERATORS_CHANGE",
            answer.status
        );
    }
}

async fn a_tenants_administrator_does_not_administer_the_platform(service: Service) {
    let (id, admin) = service.other_tenant().await;
    for (method, path, body) in [
        ("GET", "/api/v1/tenants".to_owned(), Value::Null),
        ("POST", "/api/v1/tenants".to_owned(), json!({"name": "x"})),
        (
            "PATCH",
            format!("/api/v1/tenants/{id}"),
            json!({"devices_max": null}),
        ),
        ("DELETE", format!("/api/v1/tenants/{id}"), Value::Null),
        ("GET", "/api/v1/keys".to_owned(), Value::Null),
        (
            "POST",
            "/api/v1/keys".to_owned(),
            json!({"role": "viewer", "name": "x"}),
        ),
        ("GET", "/api/v1/audit".to_owned(), Value::Null),
    ] {
        let body = Some(&body).filter(|body| !body.is_null());
        let answer = service.send(request(method, &path, &admin, body)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}");
    }
    let own = service.get(&format!("/api/v1/tenants/{id}"), &admin).await;
    assert_eq!(
        (own.status, &own.json()["name"]),
        (StatusCode::OK, &json!("other"))
    );
}
