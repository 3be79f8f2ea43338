//! How a tenant fares: numbers, and what is wrong in words.

use super::*;

on_both_stores! {
    an_empty_tenant_has_one_problem,
    figures_and_problems_are_the_tenants_own,
    a_light_in_class_a_and_a_known_key_are_problems,
    what_may_be_asked_for_a_tenant_is_its_own,
}

const SECOND: &str = "202020ff50330001";

impl Service {
    async fn fares(&self, tenant: &str, key: &str) -> (Value, Vec<Value>) {
        let path = format!("/api/v1/tenants/{tenant}");
        let overview = self.get(&format!("{path}/overview"), key).await.json();
        let problems = self.get(&format!("{path}/problems"), key).await.json();
        (overview, problems["problems"].as_array().unwrap().clone())
    }
}

fn kinds(problems: &[Value]) -> Vec<&str> {
    let kinds = problems.iter().map(|it| it["kind"].as_str().unwrap());
    kinds.collect()
}

async fn an_empty_tenant_has_one_problem(service: Service) {
    let (overview, problems) = service.fares("default", &service.viewer).await;
    assert_eq!(kinds(&problems), ["chirpstack_not_configured"]);
    assert_eq!(problems[0]["severity"], "error");
    assert_eq!(problems[0]["page"], "/settings");
    assert_eq!(
        overview["devices"],
        json!({"total": 0, "online": 0, "offline": 0, "never_seen": 0, "converged": 0, "not_converged": 0,
               "not_synced": 0})
    );
    assert_eq!(
        overview["commands"],
        json!({"under_way": 0, "waiting": 0, "waiting_by_reason": {}})
    );
    let nobody = service
        .get("/api/v1/tenants/nobody/problems", &service.viewer)
        .await;
    assert_eq!(nobody.status, StatusCode::NOT_FOUND);
}

async fn figures_and_problems_are_the_tenants_own(service: Service) {
    service.register(LAMP).await;
    service.register(SECOND).await;
    service.hear(LAMP).await;
    let command = format!("/api/v1/downlink/{LAMP}?wait=0");
    let color = json!({"color": "#ff0000"});
    service.post(&command, &service.operator, &color).await;
    let (_, stranger) = service.other_tenant().await;
    let waits = async {
        loop {
            let (overview, problems) = service.fares("default", &service.viewer).await;
            if overview["commands"]["waiting"] == 1 {
                return (overview, problems);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (overview, problems) = tokio::time::timeout(PATIENCE, waits).await.unwrap();
    let devices = &overview["devices"];
    assert_eq!(
        (&devices["online"], &devices["never_seen"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(devices["not_converged"], 1, "{devices}");
    let reasons = overview["commands"]["waiting_by_reason"]
        .as_object()
        .unwrap();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert_eq!(
        kinds(&problems),
        ["chirpstack_not_configured", "device_never_seen"]
    );
    assert_eq!(problems[1]["title"], "A device was never heard");
    assert_eq!(problems[1]["page"], "/devices?status=never_seen");

    let (overview, problems) = service.fares("other", &stranger).await;
    assert_eq!(overview["devices"]["total"], 0);
    assert_eq!(overview["commands"]["under_way"], 0);
    assert_eq!(kinds(&problems), ["chirpstack_not_configured"]);
}

async fn a_light_in_class_a_and_a_known_key_are_problems(service: Service) {
    let lamp = json!({"name": "Desk 1", "lorawan_dev_eui": LAMP, "codec": "kuando_busylight",
        "app_key": "00000000000000000000000000000000",
        "chirpstack_app_id": uuid::Uuid::nil(), "device_profile_id": uuid::Uuid::nil()});
    let made = service
        .post("/api/v1/tenants/default/devices", &service.admin, &lamp)
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    let sensor = json!({"name": "Door", "lorawan_dev_eui": SECOND, "codec": "generic"});
    let made = service
        .post("/api/v1/tenants/default/devices", &service.admin, &sensor)
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    for dev_eui in [LAMP, SECOND] {
        let uplink = json!({
            "deduplicationId": uuid::Uuid::now_v7(), "time": "2026-11-22T15:32:11.448Z",
            "deviceInfo": {"devEui": dev_eui, "deviceClassEnabled": "CLASS_A"}, "devAddr": "005a28e6", "fCnt": 1,
            "fPort": 2, "dr": 5, "data": "AQ==",
            "rxInfo": [{"gatewayId": "0016c001ff10a230", "rssi": -90, "snr": 3.5}],
        });
        let path = "/api/v1/webhooks/chirpstack?event=up";
        let told = service.post(path, &service.webhook, &uplink).await;
        assert_eq!(told.status, StatusCode::OK, "{}", told.json());
    }
    let (overview, problems) = service.fares("default", &service.viewer).await;
    assert_eq!(
        kinds(&problems),
        [
            "chirpstack_not_configured",
            "not_class_c",
            "default_app_key"
        ]
    );
    assert_eq!(problems[1]["count"], 1, "a sensor may sleep");
    assert_eq!(overview["gateways"]["online"], 1);
}

async fn what_may_be_asked_for_a_tenant_is_its_own(service: Service) {
    service.register(LAMP).await;
    let command = format!("/api/v1/downlink/{LAMP}?wait=0");
    let color = json!({"color": "#ff0000"});
    service.post(&command, &service.operator, &color).await;
    let (_, stranger) = service.other_tenant().await;
    for (path, of_default, of_other) in [
        ("/api/v1/downlinks", LAMP, "\"downlinks\":[]"),
        (
            "/api/v1/metrics/downlinks",
            "\"under_way\":1",
            "\"under_way\":0",
        ),
        ("/api/v1/airtime", "\"gateways\"", "\"gateways\":[]"),
    ] {
        let told = async |tenant: &str, key: &str| {
            let answer = service
                .get(&format!("{path}?tenant_id={tenant}"), key)
                .await;
            (answer.status, String::from_utf8(answer.body).unwrap())
        };
        let (status, body) = told("default", &service.viewer).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(body.contains(of_default), "{path} {body}");
        let (_, body) = told("other", &service.viewer).await;
        assert!(body.contains(of_other), "{path} {body}");
        let (status, _) = told("default", &stranger).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
}
