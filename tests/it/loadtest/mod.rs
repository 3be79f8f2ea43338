//! The load tool against the real service: small runs whose counts are known.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use sqlx::Connection as _;

use crate::support::{Database, World};

/// A network in a hurry without lights: each run makes its own.
async fn world() -> World {
    World::new(Database::Sqlite, 0, 3, |config| config.speed = 20.0).await
}

/// A server that keeps what it is posted, and does nothing else.
struct Bare {
    child: Child,
    url: String,
}

impl Bare {
    fn start(file: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_downbeat"))
            .args(["loadtest", "bare", "--listen", "127.0.0.1:0", "--keep"])
            .arg(file)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let said = BufReader::new(child.stdout.take().expect("it is piped"));
        let line = said.lines().next().expect("a line").expect("text");
        let url = line
            .strip_prefix("Answering on ")
            .expect("where it listens");
        Self {
            child,
            url: url.to_owned(),
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs it, and gives what it found; it has to be content with it.
async fn loadtest(world: &World, load: &str, options: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_downbeat"));
    command
        .args(["loadtest", load, "--json", "--url"])
        .arg(world.service.address().url())
        .args(options)
        .env("DOWNBEAT_KEY", world.service.admin_key());
    if load == "commands" {
        let simulator = format!("http://{}", world.sim.control_addr());
        command.args(["--simulator", &simulator]);
    }
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.unwrap().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    serde_json::from_str(&said).expect("JSON")
}

fn figure(report: &Value, name: &str) -> f64 {
    let figures = report["figures"].as_array().expect("a list");
    let figure = figures.iter().find(|it| it["name"] == name);
    let value = figure.and_then(|it| it["value"].as_f64());
    value.unwrap_or_else(|| panic!("there is no {name}: {report:#}"))
}

#[track_caller]
fn assert_figures(report: &Value, expected: &[(&str, f64)]) {
    for (name, value) in expected {
        let found = figure(report, name);
        assert!((found - value).abs() < 1e-6, "{name}: {found}, {report:#}");
    }
}

fn count(report: &Value, operation: &str) -> u64 {
    let measurements = report["measurements"].as_array().expect("a list");
    let measured = measurements.iter().find(|it| it["operation"] == operation);
    measured.and_then(|it| it["requests"].as_u64()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_without_faults_are_all_verified_and_all_true() {
    let world = world().await;
    let report = loadtest(&world, "commands", &["--lights", "8", "--at-once"]).await;
    let expected = [
        ("accepted", 8.0),
        ("ended verified", 8.0),
        ("verified before the deadline", 100.0),
        ("own times measured to Enqueue", 8.0),
    ];
    assert_figures(&report, &expected);
    // Every proof that ended a command came in a webhook; a late one ends it again.
    assert!(figure(&report, "own times measured to the end") >= 8.0);
    assert!(figure(&report, "attempts, mean") >= 1.0);
    for operation in [
        "answered",
        "heard of its end",
        "accepted to shown",
        "accepted to verified",
    ] {
        assert_eq!(count(&report, operation), 8, "{operation}");
    }
    assert!(world.devices().await.is_empty(), "it left lights behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_under_faults_end_once_and_nothing_is_claimed_falsely() {
    let world = world().await;
    let options = [
        "--lights",
        "6",
        "--rate",
        "4",
        "--seconds",
        "3",
        "--loss-up",
        "0.2",
        "--loss-down",
        "0.2",
        "--dark",
        "all@0..2",
        "--dark",
        "1@3..",
        "--heartbeat-s",
        "60",
        "--follow",
        "poll",
        "--deadline-s",
        "60",
        "--patience-s",
        "120",
    ];
    let report = loadtest(&world, "commands", &options).await;
    assert_figures(&report, &[("accepted", 12.0)]);
    assert!(figure(&report, "ended verified") > 0.0);
    let links = reqwest::get(format!("http://{}/", world.sim.control_addr())).await;
    let state: Value = links.unwrap().json().await.unwrap();
    assert_eq!(state["links"]["loss_up"], 0.0, "the faults are taken back");
    let gateways = state["gateways"].as_array().unwrap();
    assert!(gateways.iter().all(|gateway| gateway["online"] == true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_airtime_lights_get_one_colour_after_the_other() {
    let world = world().await;
    let options = [
        "--lights",
        "4",
        "--seconds",
        "2",
        "--no-airtime",
        "--follow",
        "answer",
        "--join",
    ];
    let report = loadtest(&world, "commands", &options).await;
    let accepted = figure(&report, "accepted");
    assert!(accepted >= 4.0, "{report:#}");
    assert_figures(&report, &[("ended verified", accepted)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_of_both_encodings_are_all_kept() {
    let world = world().await;
    let closed = ["--devices", "5", "--connections", "3", "--seconds", "1"];
    let report = loadtest(&world, "webhook", &closed).await;
    assert!(count(&report, "webhook") > 5, "{report:#}");
    let open = [
        "--devices",
        "5",
        "--seconds",
        "2",
        "--rate",
        "30",
        "--warm-up",
        "1",
        "--encoding",
        "protobuf",
    ];
    let report = loadtest(&world, "webhook", &open).await;
    assert_eq!(count(&report, "webhook"), 60, "of its times");
    assert_figures(&report, &[("stored, as the server counts", 90.0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_are_held_against_a_server_that_only_keeps_them() {
    let world = world().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bare.db");
    let bare = Bare::start(&file);
    let options = ["--devices", "5", "--connections", "3", "--seconds", "1"];
    let report = loadtest(
        &world,
        "webhook",
        &[&options[..], &["--beside", &bare.url]].concat(),
    )
    .await;
    assert!(
        figure(&report, "webhooks for each answer of a bare server") > 0.0,
        "{report:#}"
    );
    let mut kept = sqlx::SqliteConnection::connect(&format!("sqlite://{}", file.display()))
        .await
        .unwrap();
    let kept: i64 =
        sqlx::query_scalar("SELECT count(*) FROM body WHERE json_valid(CAST(body AS TEXT))")
            .fetch_one(&mut kept)
            .await
            .unwrap();
    assert_eq!(kept.unsigned_abs(), count(&report, "bare server"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_subscriber_gets_each_event_once() {
    let world = world().await;
    let options = [
        "--subscribers",
        "5",
        "--rate",
        "40",
        "--seconds",
        "1",
        "--devices",
        "40",
    ];
    let report = loadtest(&world, "live", &options).await;
    assert_eq!(
        (count(&report, "uplink"), count(&report, "event")),
        (40, 200)
    );
    assert_figures(
        &report,
        &[("missed", 0.0), ("received twice", 0.0), ("resets", 0.0)],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_registry_counts_what_was_made_and_taken_out() {
    let world = world().await;
    let report = loadtest(
        &world,
        "registry",
        &["--devices", "20", "--connections", "4"],
    )
    .await;
    for operation in ["create", "get", "list", "update", "delete"] {
        assert_eq!(count(&report, operation), 20, "{operation}");
    }
}
