//! Against the simulated ChirpStack.

use std::time::Duration;

use axum::extract::Query;
use axum::routing::post;
use downbeat_actors::clock::Clock;
use downbeat_actors::port::{NetworkServer as _, NewQueueItem};
use downbeat_core::app_key::AppKey;
use downbeat_core::id::DevEui;
use downbeat_sim::server::{
    ChirpstackFaults, DEFAULT_API_KEY, HttpIntegration, Identity, KeyKind, RunningSim, SimConfig,
};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::report::Outcome;
use super::*;
use crate::cli::{chirpstack as client_of, open_store};
use crate::secret_key;
use crate::store::Role;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    arguments: DoctorArgs,
}

struct World {
    sim: RunningSim,
    config: Config,
    _data: TempDir,
}

impl World {
    async fn start(key: KeyKind) -> Self {
        Self::posting(9, key, None).await
    }

    /// Posts from the first event on.
    async fn posting(spreading_factor: u8, key: KeyKind, url: Option<&str>) -> Self {
        let mut sim = SimConfig {
            keys: vec![(DEFAULT_API_KEY.to_owned(), key)],
            integration: url.map(|url| HttpIntegration {
                url: url.to_owned(),
                ..HttpIntegration::default()
            }),
            speed: 50.0,
            ..SimConfig::fleet(2, 2)
        };
        sim.network.server.rx2_spreading_factor = spreading_factor;
        // Answers would pull further commands into their own windows, before RX2.
        sim.network = sim.network.with_lamps(|lamp| lamp.auto_uplink = false);
        let sim = downbeat_sim::server::start(sim).await.unwrap();
        let data = tempfile::tempdir().unwrap();
        let mut config = Config {
            data_dir: data.path().to_owned(),
            database_url: format!("sqlite://{}/downbeat.db", data.path().display()),
            ..Config::default()
        };
        config.chirpstack.url = Some(format!("http://{}", sim.grpc_addr()));
        config.chirpstack.api_key = Some(DEFAULT_API_KEY.into());
        config.chirpstack.tenant_id = Some(Identity::default().tenant_id);
        Self {
            sim,
            config,
            _data: data,
        }
    }

    async fn examine(&self, arguments: &[&str]) -> Report {
        let arguments = [&["downbeat"], arguments].concat();
        let line = <Line as clap::Parser>::try_parse_from(arguments).unwrap();
        examine(&line.arguments, &self.config).await
    }

    /// A webhook key that is good.
    async fn webhook_key(&self) -> String {
        let store = open_store(&self.config).await.unwrap();
        let key = secret_key::generate();
        let now = Clock::system().now();
        secret_key::store(&store, &key, "chirpstack", Role::Webhook, None, now)
            .await
            .unwrap();
        store.close().await;
        key.expose_secret().to_owned()
    }

    fn posts_to(&self, url: &str, authorization: &str) {
        let headers = [("Authorization".to_owned(), authorization.to_owned())];
        self.sim.set_integration(Some(HttpIntegration {
            url: url.to_owned(),
            headers: headers.into(),
            ..HttpIntegration::default()
        }));
    }
}

fn outcome(report: &Report, check: &str) -> Option<Outcome> {
    report.find(check).map(|check| check.outcome)
}

/// Takes events, as the service does, and tells of which kind and where on the air each was.
async fn receiver() -> (String, mpsc::UnboundedReceiver<(String, DevEui, u64)>) {
    let (tell, told) = mpsc::unbounded_channel();
    let take = move |Query(query): Query<Vec<(String, String)>>,
                     axum::Json(body): axum::Json<serde_json::Value>| async move {
        let device = body["deviceInfo"]["devEui"].as_str().unwrap();
        let frequency = body["txInfo"]["frequency"].as_u64().unwrap_or(0);
        let _ = tell.send((query[0].1.clone(), device.parse().unwrap(), frequency));
    };
    let router = axum::Router::new().route("/api/v1/webhooks/chirpstack", post(take));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}/api/v1/webhooks/chirpstack"), told)
}

/// Brings a command onto the air in RX2.
async fn command(world: &World, events: &mut mpsc::UnboundedReceiver<(String, DevEui, u64)>) {
    let client = client_of(&world.config).unwrap().unwrap();
    let life = async {
        let mut sent = None;
        while let Some((kind, device, frequency)) = events.recv().await {
            if kind == "txack" && frequency == 869_525_000 {
                return;
            }
            // The first one may still go out in a window of the uplink.
            if (kind == "up" && sent.is_none()) || (kind == "txack" && sent == Some(device)) {
                let item = NewQueueItem {
                    f_port: 15,
                    payload: vec![255, 0, 0, 255, 0],
                    confirmed: false,
                    expires_at: Clock::system().now() + Duration::from_mins(10),
                };
                client.enqueue(device, &item).await.unwrap();
                sent = Some(device);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), life)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_network_that_works_is_said_to_work_and_how_fast() {
    for (factor, expected) in [(9, Outcome::Ok), (12, Outcome::Warn)] {
        for kind in [KeyKind::Tenant, KeyKind::Admin] {
            let (url, mut events) = receiver().await;
            let world = World::posting(factor, kind, Some(&url)).await;
            let key = world.webhook_key().await;
            world.posts_to(&url, &format!("Bearer {key}"));
            command(&world, &mut events).await;
            let report = world.examine(&["--webhook-url", &url]).await;
            assert_eq!(report.failed(), 0, "{}", report.lines());
            for check in [
                "database",
                "history",
                "chirpstack",
                "api key",
                "tenant",
                "applications",
                "integration",
                "version",
                "rights",
                "profile",
                "gateways",
            ] {
                assert_eq!(
                    outcome(&report, check),
                    Some(Outcome::Ok),
                    "{check}: {}",
                    report.lines()
                );
            }
            assert_eq!(
                outcome(&report, "rx2"),
                Some(expected),
                "{}",
                report.lines()
            );
            assert!(report.lines().contains(&format!("SF{factor}")));
            assert!(!report.lines().contains(&key));
            assert_eq!(report.json()["ok"], true);
            world.sim.shutdown().await;
        }
    }
}

#[tokio::test]
async fn without_anything_it_says_what_is_missing() {
    let mut world = World::start(KeyKind::Tenant).await;
    world.config.chirpstack.url = None;
    world.config.limits.history_days = 2;
    let report = world.examine(&[]).await;
    assert_eq!(report.failed(), 0, "{}", report.lines());
    for check in ["database", "history", "chirpstack"] {
        assert_eq!(outcome(&report, check), Some(Outcome::Warn), "{check}");
    }
    world.config.database_url = "sqlite:///dev/null/downbeat.db".to_owned();
    std::fs::create_dir_all(&world.config.data_dir).unwrap();
    let taken = world.config.data_dir.join("taken.db");
    std::fs::write(
        &taken,
        "no database, but a text that is long enough to be one",
    )
    .unwrap();
    world.config.database_url = format!("sqlite://{}", taken.display());
    let report = world.examine(&[]).await;
    assert_eq!(
        outcome(&report, "database"),
        Some(Outcome::Fail),
        "{}",
        report.lines()
    );
    world.sim.shutdown().await;
}

#[tokio::test]
async fn a_chirpstack_that_cannot_be_used_is_named() {
    let mut world = World::start(KeyKind::Tenant).await;
    world.sim.set_faults(ChirpstackFaults {
        failing: true,
        ..ChirpstackFaults::default()
    });
    let report = world.examine(&[]).await;
    assert!(
        report.lines().contains("connection pool timed out"),
        "{}",
        report.lines()
    );
    world.sim.set_faults(ChirpstackFaults {
        slow_ms: 60_000,
        ..ChirpstackFaults::default()
    });
    world.config.chirpstack.deadline_ms = 200;
    let report = world.examine(&[]).await;
    assert_eq!(
        outcome(&report, "chirpstack"),
        Some(Outcome::Fail),
        "{}",
        report.lines()
    );
    assert!(
        report.lines().contains("does not answer"),
        "{}",
        report.lines()
    );
    world.sim.set_faults(ChirpstackFaults::default());
    // The control API speaks HTTP, and not gRPC.
    for url in [
        "http://127.0.0.1:1".to_owned(),
        format!("http://{}", world.sim.control_addr()),
    ] {
        world.config.chirpstack.url = Some(url);
        let report = world.examine(&[]).await;
        assert_eq!(
            outcome(&report, "chirpstack"),
            Some(Outcome::Fail),
            "{}",
            report.lines()
        );
        assert_eq!(report.failed(), 1);
    }
    world.sim.shutdown().await;
}

#[tokio::test]
async fn keys_are_told_apart() {
    let mut world = World::start(KeyKind::OtherTenant).await;
    let report = world.examine(&[]).await;
    assert_eq!(
        outcome(&report, "tenant"),
        Some(Outcome::Fail),
        "{}",
        report.lines()
    );
    world.config.chirpstack.api_key = Some("garbage".into());
    let report = world.examine(&[]).await;
    assert_eq!(
        outcome(&report, "api key"),
        Some(Outcome::Fail),
        "{}",
        report.lines()
    );
    assert!(!report.lines().contains("garbage"));
    world.sim.shutdown().await;

    let mut world = World::start(KeyKind::Tenant).await;
    world.config.chirpstack.tenant_id = None;
    let report = world.examine(&[]).await;
    assert_eq!(
        outcome(&report, "tenant"),
        Some(Outcome::Warn),
        "{}",
        report.lines()
    );
    assert_eq!(outcome(&report, "applications"), Some(Outcome::Unknown));
    assert_eq!(outcome(&report, "gateways"), Some(Outcome::Unknown));
    let id = Identity::default().application_id.to_string();
    let report = world.examine(&["--application", &id]).await;
    assert_eq!(
        outcome(&report, "applications"),
        Some(Outcome::Ok),
        "{}",
        report.lines()
    );
    // The tenant is learnt from it.
    assert_ne!(
        outcome(&report, "gateways"),
        Some(Outcome::Unknown),
        "{}",
        report.lines()
    );
    let report = world
        .examine(&["--application", "01a2b7fa-7f26-7109-8c88-d0b5abe764e0"])
        .await;
    assert_ne!(
        outcome(&report, "applications"),
        Some(Outcome::Ok),
        "{}",
        report.lines()
    );
    world.sim.shutdown().await;
}

#[tokio::test]
async fn events_that_do_not_come_here_are_noticed() {
    let world = World::start(KeyKind::Tenant).await;
    let ours = "http://127.0.0.1:9/api/v1/webhooks/chirpstack";
    let good = world.webhook_key().await;
    let revoked = {
        let store = open_store(&world.config).await.unwrap();
        let key = secret_key::generate();
        let now = Clock::system().now();
        let record = secret_key::store(&store, &key, "old", Role::Webhook, None, now)
            .await
            .unwrap();
        store
            .revoke_api_key(crate::store::Scope::Platform, record.id, now)
            .await
            .unwrap();
        store.close().await;
        key.expose_secret().to_owned()
    };
    let report = world.examine(&[]).await;
    assert_eq!(
        outcome(&report, "integration"),
        Some(Outcome::Warn),
        "{}",
        report.lines()
    );
    assert_eq!(
        outcome(&report, "events"),
        Some(Outcome::Fail),
        "{}",
        report.lines()
    );
    for (url, authorization, expected, words) in [
        (
            "http://others/hook",
            String::new(),
            Outcome::Warn,
            "elsewhere",
        ),
        (ours, format!("Bearer {good}"), Outcome::Ok, "good"),
        (
            ours,
            format!("Bearer {revoked}"),
            Outcome::Fail,
            "taken back",
        ),
        (
            ours,
            "Bearer unknown".to_owned(),
            Outcome::Fail,
            "not known",
        ),
        (ours, "Digest x".to_owned(), Outcome::Fail, "without a key"),
        (
            ours,
            "Bearer line\nbreak".to_owned(),
            Outcome::Fail,
            "invalid",
        ),
    ] {
        world.posts_to(url, &authorization);
        let report = world.examine(&[]).await;
        let check = report.find("integration").unwrap();
        assert_eq!(check.outcome, expected, "{}", report.lines());
        assert!(check.says.contains(words), "{}", check.says);
        let happens = expected != Outcome::Warn;
        assert_eq!(
            report.find("events").is_none(),
            happens,
            "{}",
            report.lines()
        );
    }
    let elsewhere = world
        .examine(&["--webhook-url", "http://lights:8000"])
        .await;
    assert_eq!(outcome(&elsewhere, "integration"), Some(Outcome::Warn));
    world.sim.shutdown().await;
}

#[tokio::test]
async fn default_keys_are_counted_and_not_shown() {
    let world = World::start(KeyKind::Tenant).await;
    let lights = world.sim.network(|network, _| {
        let lights = network.devices().map(|device| device.dev_eui);
        lights.collect::<Vec<_>>()
    });
    let client = client_of(&world.config).unwrap().unwrap();
    let secret = AppKey::from_bytes(*b"nobody knows it!");
    client.set_app_key(lights[0], &secret).await.unwrap();
    let known = AppKey::from_bytes([0x77; 16]);
    client.set_app_key(lights[1], &known).await.unwrap();
    let report = world.examine(&[]).await;
    let check = report.find("app keys").unwrap();
    assert_eq!(check.outcome, Outcome::Warn, "{}", report.lines());
    assert!(check.says.contains("1 of the 2"), "{}", check.says);
    assert!(
        check.says.contains(&lights[1].to_string()),
        "{}",
        check.says
    );
    assert!(!report.lines().contains("7777"));
    client.set_app_key(lights[1], &secret).await.unwrap();
    let report = world.examine(&[]).await;
    assert_eq!(
        outcome(&report, "app keys"),
        Some(Outcome::Ok),
        "{}",
        report.lines()
    );
    world.sim.shutdown().await;
}
