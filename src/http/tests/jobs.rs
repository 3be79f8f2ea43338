//! Commands to many devices.

use std::collections::BTreeMap;

use downbeat_core::id::{DevEui, NetworkServerId};
use downbeat_sim::server::{DEFAULT_API_KEY, HttpIntegration, RunningSim, SimConfig};

use super::live::Events;
use super::*;
use crate::store::conformance::jobs::over_with_missed_proofs;

on_both_stores! {
    a_job_is_previewed_made_and_followed,
    a_job_is_held_up_goes_on_and_is_taken_back,
    a_newer_command_is_left_as_it_is,
    a_repeated_request_makes_one_job,
    only_so_many_jobs_go_on_at_a_time,
    what_is_wrong_with_a_job_is_named,
    a_viewer_follows_jobs_and_changes_none,
    two_hundred_lamps_show_what_one_job_told_them,
    a_restart_in_the_middle_tells_nobody_twice_and_forgets_nobody,
    what_a_job_did_not_reach_is_tried_again,
    proofs_whose_news_was_missed_are_counted_page_by_page,
    all_devices_are_initialised,
}

const JOBS: &str = "/api/v1/tenants/default/jobs";

fn eui(number: u64) -> String {
    DevEui::from_u64(0x2020_20ff_5033_0000 + number).to_string()
}

fn red(devices: &[String]) -> Value {
    json!({"kind": "color", "color": "#ff0000", "devices": devices})
}

impl Service {
    /// Has a registered lamp speak.
    pub(super) async fn hear(&self, dev_eui: &str) {
        let mut body: Value = serde_json::from_slice(&captured("up-verifies.json")).unwrap();
        body["deviceInfo"]["devEui"] = dev_eui.into();
        body["deduplicationId"] = uuid::Uuid::now_v7().to_string().into();
        let path = "/api/v1/webhooks/chirpstack?event=up";
        let answer = self.post(path, &self.webhook, &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    }

    /// So many lamps that have spoken.
    async fn lamps(&self, count: u64) -> Vec<String> {
        let mut lamps = Vec::new();
        for number in 0..count {
            self.register(&eui(number)).await;
            self.hear(&eui(number)).await;
            lamps.push(eui(number));
        }
        lamps
    }

    /// Makes a job and gives its address.
    pub(super) async fn job(&self, body: &Value) -> String {
        let made = self.post(JOBS, &self.operator, body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
        made.header("location").unwrap().to_owned()
    }

    /// Asks until the answer is as wanted.
    pub(super) async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + 3 * PATIENCE;
        loop {
            let answer = self.get(path, &self.viewer).await.json();
            if wanted(&answer) {
                return answer;
            }
            let is_late = tokio::time::Instant::now() >= deadline;
            assert!(!is_late, "{path} stays {answer}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) async fn told(&self, job: &str, verb: &str) -> Answer {
        let path = format!("{job}/{verb}");
        self.send(request("POST", &path, &self.operator, None))
            .await
    }
}

fn kind_of(answer: &Answer) -> String {
    let kind = answer.json()["type"].as_str().unwrap().to_owned();
    kind.trim_start_matches("urn:downbeat:problem:").to_owned()
}

#[expect(clippy::too_many_lines, reason = "one story")]
async fn a_job_is_previewed_made_and_followed(service: Service) {
    let mut devices = service.lamps(3).await;
    let silent = service.register(&eui(10)).await;
    let path = "/api/v1/tenants/default/devices";
    let plain = service
        .post(path, &service.admin, &json!({"name": "Shelf"}))
        .await;
    let meter = json!({"name": "Meter", "lorawan_dev_eui": eui(11), "codec": "generic"});
    service.post(path, &service.admin, &meter).await;
    service.hear(&eui(11)).await;
    let plain = plain.json()["id"].as_str().unwrap().to_owned();
    // The first one is named twice, in another spelling.
    devices.push(eui(0).to_uppercase());
    devices.extend([silent, plain, eui(11), eui(99)]);

    let preview = format!("{JOBS}?dry_run=true");
    let preview = service
        .post(&preview, &service.operator, &red(&devices))
        .await;
    assert_eq!(preview.status, StatusCode::OK, "{}", preview.json());
    let preview = preview.json();
    assert_eq!(
        (&preview["devices"], &preview["dry_run"]),
        (&json!(3), &json!(true))
    );
    let left_out: BTreeMap<String, Value> = preview["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            (
                it["reason"].as_str().unwrap().to_owned(),
                it["examples"].clone(),
            )
        })
        .collect();
    let expected = BTreeMap::from([
        ("never_heard".to_owned(), json!([eui(10)])),
        ("no_dev_eui".to_owned(), json!(["Shelf"])),
        ("not_understood".to_owned(), json!([eui(11)])),
        ("unknown_device".to_owned(), json!([eui(99)])),
    ]);
    assert_eq!(left_out, expected);
    let gateway = &preview["gateways"][0];
    assert_eq!(gateway["devices"], 3);
    assert!(preview["airtime_s"].as_f64().unwrap() > 0.4, "{preview}");
    assert!(preview["duration_s"].as_f64().unwrap() > 1.0, "{preview}");
    let none = service.get(JOBS, &service.viewer).await.json();
    assert_eq!(none["jobs"], json!([]));

    let mut events = Events::open(&service, None).await;
    let job = service.job(&red(&devices)).await;
    let (_, begun) = events.next_of("job").await;
    assert_eq!(
        (&begun["state"], &begun["counts"]["total"]),
        (&json!("running"), &json!(7))
    );
    let shown = service
        .until(&job, |job| job["counts"]["under_way"] == 3)
        .await;
    assert_eq!(
        (&shown["name"], &shown["state"]),
        (&json!("Color #ff0000"), &json!("running"))
    );
    assert_eq!(
        (&shown["counts"]["skipped"], &shown["progress"]),
        (&json!(4), &json!(0.0))
    );
    assert_eq!(shown["color"], json!({"red": 255, "green": 0, "blue": 0}));
    assert!(shown["eta"].is_string(), "{shown}");

    let path = format!("{job}/devices?state=under_way");
    let under_way = service
        .until(&path, |page| {
            let devices = page["devices"].as_array().unwrap();
            devices.iter().all(|it| it["downlink_state"].is_string())
        })
        .await;
    let first = &under_way["devices"][0];
    let downlink = format!(
        "/api/v1/downlinks/{}",
        first["downlink_id"].as_str().unwrap()
    );
    let downlink = service.get(&downlink, &service.viewer).await.json();
    assert_eq!(
        (&downlink["origin"], &downlink["dev_eui"]),
        (&json!("job"), &first["dev_eui"])
    );
    assert_eq!(
        Some(downlink["job_id"].as_str().unwrap()),
        job.rsplit('/').next()
    );
    let skipped = service
        .get(
            &format!("{job}/devices?state=skipped&limit=3"),
            &service.viewer,
        )
        .await
        .json();
    assert_eq!(skipped["devices"].as_array().unwrap().len(), 3);
    let next = skipped["next_cursor"].as_str().unwrap();
    let path = format!("{job}/devices?state=skipped&cursor={next}");
    let rest = service.get(&path, &service.viewer).await.json();
    assert_eq!(rest["devices"].as_array().unwrap().len(), 1);

    for (query, found) in [
        ("", 1),
        ("?state=running", 1),
        ("?state=done", 0),
        ("?kind=payload", 0),
    ] {
        let list = service
            .get(&format!("{JOBS}{query}"), &service.viewer)
            .await
            .json();
        assert_eq!(list["jobs"].as_array().unwrap().len(), found, "{query}");
    }
    let audit = "/api/v1/tenants/default/audit?action=job.create";
    let audit = service.get(audit, &service.admin).await.json();
    assert_eq!(
        audit["entries"].as_array().map(Vec::len),
        Some(1),
        "{audit}"
    );
}

async fn a_job_is_held_up_goes_on_and_is_taken_back(service: Service) {
    let devices = service.lamps(40).await;
    let job = service.job(&red(&devices)).await;
    // As many as may be before the air at once; nothing goes on air here.
    let counts = |job: &Value| {
        (
            job["counts"]["under_way"].clone(),
            job["counts"]["waiting"].clone(),
        )
    };
    service
        .until(&job, |job| counts(job) == (json!(32), json!(8)))
        .await;
    let retry = service.told(&job, "retry").await;
    assert_eq!(
        (retry.status, kind_of(&retry)),
        (StatusCode::CONFLICT, "job-goes-on".to_owned())
    );
    for (verb, state) in [
        ("pause", "paused"),
        ("pause", "paused"),
        ("resume", "running"),
        ("pause", "paused"),
    ] {
        let answer = service.told(&job, verb).await;
        assert_eq!(
            (answer.status, &answer.json()["state"]),
            (StatusCode::OK, &json!(state))
        );
    }
    // Whoever is taken back makes room, which nobody takes while it is paused.
    let path = format!("{job}/devices?state=under_way&limit=1");
    let first = service
        .until(&path, |page| {
            page["devices"][0]["downlink_state"].is_string()
        })
        .await;
    let downlink = first["devices"][0]["downlink_id"].as_str().unwrap();
    let path = format!("/api/v1/downlinks/{downlink}/cancel");
    service
        .send(request("POST", &path, &service.operator, None))
        .await;
    let shown = service
        .until(&job, |job| job["counts"]["cancelled"] == 1)
        .await;
    assert_eq!(counts(&shown), (json!(31), json!(8)));
    assert_eq!(
        (&shown["eta"], &shown["remaining_s"]),
        (&json!(null), &json!(null))
    );

    let cancelled = service.told(&job, "cancel").await;
    assert_eq!(
        (cancelled.status, &cancelled.json()["state"]),
        (StatusCode::OK, &json!("cancelled"))
    );
    let over = service
        .until(&job, |job| job["finished_at"].is_string())
        .await;
    assert_eq!(over["counts"]["cancelled"], 40);
    assert_eq!(service.told(&job, "cancel").await.status, StatusCode::OK);
    let resume = service.told(&job, "resume").await;
    assert_eq!(
        (resume.status, kind_of(&resume)),
        (StatusCode::CONFLICT, "job-over".to_owned())
    );
    let retry = service.told(&job, "retry").await;
    assert_eq!(
        (retry.status, kind_of(&retry)),
        (StatusCode::CONFLICT, "nothing-to-retry".to_owned())
    );
    let audit = "/api/v1/tenants/default/audit?action=job";
    let audit = service.get(audit, &service.admin).await.json();
    let actions: Vec<&str> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        [
            "job.cancel",
            "job.pause",
            "job.resume",
            "job.pause",
            "job.create"
        ]
    );
    // What a job does is in its own entry.
    let audit = "/api/v1/tenants/default/audit?action=downlink.send";
    let audit = service.get(audit, &service.admin).await.json();
    assert_eq!(audit["entries"], json!([]));
}

async fn a_newer_command_is_left_as_it_is(service: Service) {
    let devices = service.lamps(33).await;
    let job = service.job(&red(&devices)).await;
    service
        .until(&job, |job| job["counts"]["waiting"] == 1)
        .await;
    let path = format!("{job}/devices?state=waiting");
    let last = service.get(&path, &service.viewer).await.json();
    let last = last["devices"][0]["dev_eui"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/downlink/{last}?wait=0");
    let green = json!({"color": "#00ff00"});
    let newer = service.post(&path, &service.operator, &green).await;
    assert_eq!(newer.status, StatusCode::ACCEPTED);
    // One makes room for it.
    let path = format!("{job}/devices?state=under_way&limit=1");
    let first = service
        .until(&path, |page| {
            page["devices"][0]["downlink_state"].is_string()
        })
        .await;
    let downlink = first["devices"][0]["downlink_id"].as_str().unwrap();
    let path = format!("/api/v1/downlinks/{downlink}/cancel");
    service
        .send(request("POST", &path, &service.operator, None))
        .await;
    let path = format!("{job}/devices?state=superseded");
    let found = service
        .until(&path, |page| page["devices"].as_array().unwrap().len() == 1)
        .await;
    let found = &found["devices"][0];
    assert_eq!(
        (&found["dev_eui"], &found["reason"]),
        (&json!(last), &json!("newer_command"))
    );
    let path = format!("/api/v1/downlinks/{}", newer.json()["id"].as_str().unwrap());
    let newer = service.get(&path, &service.viewer).await.json();
    assert_eq!(newer["status"], "pending");
}

async fn a_repeated_request_makes_one_job(service: Service) {
    let devices = service.lamps(1).await;
    let send = |body: Value| {
        let mut request = request("POST", JOBS, &service.operator, Some(&body));
        let key = "k1".parse().unwrap();
        request.headers_mut().insert("idempotency-key", key);
        service.send(request)
    };
    let (first, again) = (send(red(&devices)).await, send(red(&devices)).await);
    assert_eq!(
        (first.status, &first.body),
        (StatusCode::CREATED, &again.body)
    );
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let list = service.get(JOBS, &service.viewer).await.json();
    assert_eq!(list["jobs"].as_array().unwrap().len(), 1);
}

async fn only_so_many_jobs_go_on_at_a_time(service: Service) {
    let devices = service.lamps(2).await;
    let mut slow = red(&devices);
    slow["stagger_s"] = json!(3600);
    for _ in 0..20 {
        service.job(&slow).await;
    }
    let refused = service.post(JOBS, &service.operator, &slow).await;
    assert_eq!(
        (refused.status, kind_of(&refused)),
        (StatusCode::CONFLICT, "too-many-jobs".to_owned())
    );
    let page = service
        .get(&format!("{JOBS}?limit=1"), &service.viewer)
        .await
        .json();
    let last = format!("{JOBS}/{}", page["jobs"][0]["id"].as_str().unwrap());
    service.told(&last, "cancel").await;
    service
        .until(&last, |job| job["finished_at"].is_string())
        .await;
    service.job(&slow).await;
}

async fn what_is_wrong_with_a_job_is_named(service: Service) {
    service.register(LAMP).await;
    for (body, fields) in [
        (json!({}), vec!["kind", "devices", "color"]),
        (
            json!({"kind": "blink", "color": "#ff0000", "filter": {}}),
            vec!["kind"],
        ),
        (
            json!({"kind": "payload", "color": "#ff0000", "filter": {}}),
            vec!["kind"],
        ),
        (
            json!({"kind": "initialize", "color": "#ff0000", "attempts": 2, "filter": {}}),
            vec!["color", "attempts"],
        ),
        (
            json!({"kind": "color", "payload": "0601", "f_port": 15, "filter": {}}),
            vec!["kind"],
        ),
        (
            json!({"kind": "color", "color": "red", "filter": {}}),
            vec!["color"],
        ),
        (
            json!({"kind": "color", "color": "#ff0000", "filter": {}, "devices": [LAMP]}),
            vec!["filter"],
        ),
        (
            json!({"kind": "color", "color": "#ff0000", "devices": []}),
            vec!["devices"],
        ),
        (
            json!({"kind": "color", "color": "#ff0000", "devices": [LAMP, "x", "202020ff5033"]}),
            vec!["devices[1]", "devices[2]"],
        ),
        (
            json!({"kind": "color", "color": "#ff0000", "filter": {"status": "gone", "tag": ""}}),
            vec!["filter.status", "filter.tag"],
        ),
        (
            json!({"kind": "color", "color": "#ff0000", "filter": {}, "stagger_s": -1, "attempts": 0, "ttl_s": 0, "name": ""}),
            vec!["name", "stagger_s", "ttl_s", "attempts"],
        ),
        (
            json!({"kind": "color", "color": "#ff0000", "filter": {"colour": 1}}),
            vec!["colour"],
        ),
        // It was never heard, and nothing else is there.
        (
            json!({"kind": "color", "color": "#ff0000", "filter": {}}),
            vec!["filter"],
        ),
        (
            json!({"kind": "color", "color": "#ff0000", "devices": [eui(7)]}),
            vec!["devices"],
        ),
    ] {
        let answer = service.post(JOBS, &service.operator, &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        let answer = answer.json();
        let errors = answer["errors"].as_array().unwrap().iter();
        let found: Vec<&str> = errors.map(|it| it["field"].as_str().unwrap()).collect();
        assert_eq!(found, fields, "{body}: {answer}");
    }
    for (path, status) in [
        (format!("{JOBS}?state=preparing"), StatusCode::BAD_REQUEST),
        (format!("{JOBS}?cursor=x"), StatusCode::BAD_REQUEST),
        (format!("{JOBS}/x"), StatusCode::BAD_REQUEST),
        (
            format!("{JOBS}/{}", uuid::Uuid::now_v7()),
            StatusCode::NOT_FOUND,
        ),
        (
            format!("{JOBS}/{}/devices", uuid::Uuid::now_v7()),
            StatusCode::NOT_FOUND,
        ),
    ] {
        assert_eq!(
            service.get(&path, &service.viewer).await.status,
            status,
            "{path}"
        );
    }
    for verb in ["pause", "resume", "cancel", "retry"] {
        let job = format!("{JOBS}/{}", uuid::Uuid::now_v7());
        assert_eq!(
            service.told(&job, verb).await.status,
            StatusCode::NOT_FOUND,
            "{verb}"
        );
    }
}

async fn a_viewer_follows_jobs_and_changes_none(service: Service) {
    let devices = service.lamps(1).await;
    let job = service.job(&red(&devices)).await;
    assert_eq!(
        service.get(&job, &service.viewer).await.status,
        StatusCode::OK
    );
    for path in [JOBS.to_owned(), format!("{JOBS}?dry_run=true")] {
        let made = service.post(&path, &service.viewer, &red(&devices)).await;
        assert_eq!(made.status, StatusCode::FORBIDDEN, "{path}");
    }
    for verb in ["pause", "resume", "cancel", "retry"] {
        let request = request("POST", &format!("{job}/{verb}"), &service.viewer, None);
        assert_eq!(
            service.send(request).await.status,
            StatusCode::FORBIDDEN,
            "{verb}"
        );
    }
}

/// A service that lamps hear.
struct Fleet {
    service: Service,
    sim: RunningSim,
    lamps: Vec<String>,
    server: Arc<dyn NetworkServer>,
}

impl Fleet {
    /// So many lamps and gateways, four times as fast as real ones.
    async fn start(service: Service, lamps: u32, gateways: u32) -> Self {
        let mut config = SimConfig::fleet(lamps, gateways);
        config.speed = 4.0;
        let lamps = config.network.lamps.iter();
        let lamps: Vec<String> = lamps.map(|lamp| lamp.dev_eui.to_string()).collect();
        for lamp in &lamps {
            service.register(lamp).await;
        }
        // Known and listened to before they say their first word.
        let (url, headers) = listen(&service).await;
        config.integration = Some(HttpIntegration {
            url,
            headers,
            ..HttpIntegration::default()
        });
        let sim = downbeat_sim::server::start(config).await.unwrap();
        let url = format!("http://{}", sim.grpc_addr());
        let config = ChirpStackConfig::new(&url, DEFAULT_API_KEY.to_owned().into());
        let server = Arc::new(ChirpStackClient::connect_lazy(config).unwrap());
        let fleet = Self {
            service,
            sim,
            lamps,
            server,
        };
        fleet.connect().await;
        let path = "/api/v1/tenants/default/devices?status=never_seen&limit=1";
        let all = |page: &Value| page["devices"].as_array().unwrap().is_empty();
        fleet.service.until(path, all).await;
        fleet
    }

    /// Has the service call the simulated network.
    async fn connect(&self) {
        let system = self.service.state.system();
        let server = Arc::clone(&self.server);
        system.connect(NetworkServerId::Default, Some(server)).await;
    }

    /// Ends the service and starts it anew on the same database.
    async fn restart(&mut self) {
        self.service.state.system().stop(PATIENCE).await;
        let store = self.service.store.clone();
        let (app, state) = Service::on(&store, &Config::default()).await;
        (self.service.app, self.service.state) = (app, state);
        self.connect().await;
        let (url, headers) = listen(&self.service).await;
        self.sim.set_webhook(&url, headers);
    }

    /// The colour that each lamp really shows.
    fn shown(&self) -> Vec<String> {
        self.sim.network(|network, _| {
            let lights = network.lights();
            lights.map(|light| light.shown.color.to_string()).collect()
        })
    }
}

/// Takes webhooks; tells where, and with which headers.
async fn listen(service: &Service) -> (String, BTreeMap<String, String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = service.app.clone();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let url = format!("http://{address}/api/v1/webhooks/chirpstack");
    let key = format!("Bearer {}", service.webhook);
    (url, BTreeMap::from([("Authorization".to_owned(), key)]))
}

async fn two_hundred_lamps_show_what_one_job_told_them(service: Service) {
    let fleet = Fleet::start(service, 200, 16).await;
    let service = &fleet.service;
    let job = json!({"kind": "color", "color": "#00ff00", "filter": {"codec": "kuando_busylight"}});
    let job = service.job(&job).await;
    let done = service.until(&job, |job| job["state"] == "done").await;
    assert_eq!(done["counts"]["verified"], 200, "{done}");
    assert_eq!(
        (&done["progress"], &done["remaining_s"]),
        (&json!(100.0), &json!(null))
    );
    assert!(done["airtime_used_s"].as_f64().unwrap() >= 30.0, "{done}");
    assert!(fleet.shown().iter().all(|color| color == "#00ff00"));
    let all = service
        .get("/api/v1/metrics/downlinks", &service.viewer)
        .await
        .json();
    assert_eq!(all["total"], 200);
}

async fn a_restart_in_the_middle_tells_nobody_twice_and_forgets_nobody(service: Service) {
    let mut fleet = Fleet::start(service, 60, 4).await;
    // Without a proof, so that the reports that a restart misses are not waited for.
    let mut body = red(&fleet.lamps);
    body["wait_for_verification"] = json!(false);
    let job = fleet.service.job(&body).await;
    for sent in [5, 20, 40] {
        let far = |job: &Value| job["counts"]["sent"].as_u64().unwrap() >= sent;
        fleet.service.until(&job, far).await;
        fleet.restart().await;
    }
    let service = &fleet.service;
    let done = service.until(&job, |job| job["state"] == "done").await;
    assert_eq!(done["counts"]["sent"], 60, "{done}");
    // One command a lamp, however often the job was taken up.
    let all = service
        .get("/api/v1/metrics/downlinks", &service.viewer)
        .await
        .json();
    assert_eq!(all["total"], 60);
    let list = service
        .get("/api/v1/downlinks?limit=1000", &service.viewer)
        .await
        .json();
    let commands = list["downlinks"].as_array().unwrap().iter();
    let lamps: std::collections::BTreeSet<&str> =
        commands.map(|it| it["dev_eui"].as_str().unwrap()).collect();
    assert_eq!(lamps.len(), 60);
}

async fn what_a_job_did_not_reach_is_tried_again(service: Service) {
    let fleet = Fleet::start(service, 4, 1).await;
    let service = &fleet.service;
    let dead = fleet.lamps[0].parse().unwrap();
    fleet
        .sim
        .network(|network, now| network.set_light_power(now, dead, false));
    let mut body = red(&fleet.lamps);
    (body["attempts"], body["ttl_s"]) = (json!(1), json!(1));
    let job = service.job(&body).await;
    let done = service.until(&job, |job| job["state"] == "done").await;
    let failed = done["counts"]["unverified"].as_u64().unwrap()
        + done["counts"]["expired"].as_u64().unwrap();
    assert!(failed >= 1, "{done}");
    fleet
        .sim
        .network(|network, now| network.set_light_power(now, dead, true));
    let again = service.told(&job, "retry").await;
    assert_eq!(again.status, StatusCode::CREATED, "{}", again.json());
    let again = again.json();
    assert_eq!(
        (&again["retry_of"], &again["counts"]["total"]),
        (&done["id"], &json!(failed))
    );
}

async fn proofs_whose_news_was_missed_are_counted_page_by_page(mut service: Service) {
    // More than are looked for at once.
    let job = over_with_missed_proofs(&service.store, 1_100).await;
    service.state.system().stop(PATIENCE).await;
    let store = service.store.clone();
    (service.app, service.state) = Service::on(&store, &Config::default()).await;
    let job = format!("{JOBS}/{job}");
    let all = |job: &Value| job["counts"]["verified"] == 1_100;
    let counted = service.until(&job, all).await;
    assert_eq!(
        (&counted["counts"]["unverified"], &counted["state"]),
        (&json!(0), &json!("done")),
        "{counted}"
    );
}

async fn all_devices_are_initialised(service: Service) {
    let fleet = Fleet::start(service, 8, 2).await;
    let service = &fleet.service;
    let all = async |query: &str| {
        let path = format!("/api/v1/devices/initialize{query}");
        service
            .send(request("POST", &path, &service.operator, None))
            .await
    };
    for (query, status) in [
        ("?force=maybe", StatusCode::BAD_REQUEST),
        ("?tenant=nobody", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(all(query).await.status, status, "{query}");
    }
    let begun = all("?force=true").await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.json());
    assert_eq!(begun.json()["kind"], "initialize");
    let job = begun.header("location").unwrap().to_owned();
    let done = service.until(&job, |job| job["state"] == "done").await;
    assert_eq!(done["counts"]["verified"], 8, "{done}");
    // Once an hour, unless it is insisted on.
    let again = all("?tenant=default").await;
    let job = again.header("location").unwrap().to_owned();
    let done = service.until(&job, |job| job["state"] == "done").await;
    assert_eq!(done["counts"]["skipped"], 8, "{done}");
    let page = service
        .get(&format!("{job}/devices?limit=1"), &service.viewer)
        .await
        .json();
    assert_eq!(page["devices"][0]["reason"], "done_before");
}
