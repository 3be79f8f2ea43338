//! Webhooks over the loopback, each committed to SQLite before it is answered, beside a bare server that answers the same
//! bodies.
//!
//! Service and callers share the processors here, so what counts is the ratio. With a core for each of them,
//! `downbeat loadtest webhook --beside` measures the same.

mod times;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::{Router, routing::post};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use downbeat::config::Config;
use downbeat::http::RouterParts;
use downbeat::server::{self, Server};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use times::Times;

const BODY: &str = include_str!("../tests/fixtures/chirpstack-v4/up-status-3gw.json");
const ANSWER: &str = r#"{"status":"ok"}"#;
const KEY: &str = "the key of the benches";
const CALLERS: u64 = 50;
/// Devices that speak in turn.
const SPEAKERS: u64 = 200;

fn config(data: &Path) -> Config {
    let mut config = Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        data_dir: data.to_owned(),
        database_url: format!("sqlite://{}", data.join("downbeat.db").display()),
        admin_key: Some(SecretString::from(KEY)),
        ..Config::default()
    };
    config.limits.key_requests_per_minute = u32::MAX;
    config
}

async fn start(data: &Path) -> Server {
    let started = server::start(config(data), RouterParts::default()).await;
    started.expect("a service on an empty directory starts")
}

/// `DevEUI`s of devices, as their files name them.
fn dev_eui(number: u64) -> String {
    format!("{number:016x}")
}

async fn register(server: &Server) {
    let mut file = "name,lorawan_dev_eui,codec\n".to_owned();
    for number in 0..SPEAKERS {
        let line = format!("L{number},{},kuando_busylight\n", dev_eui(number));
        file.push_str(&line);
    }
    let url = format!("http://{}/api/v1/tenants/default/import", server.address);
    let request = reqwest::Client::new().post(url).bearer_auth(KEY);
    let answer = request.header("content-type", "text/csv").body(file).send();
    let answer = answer.await.expect("it is imported");
    assert!(answer.status().is_success(), "{:?}", answer.text().await);
}

async fn bare() -> SocketAddr {
    let answer = |body: Bytes| async move {
        std::hint::black_box(&body);
        ([("content-type", "application/json")], ANSWER)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("there is a free port");
    let address = listener.local_addr().expect("it listens");
    let router = Router::new().route("/{*path}", post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// One caller's posts, the next as soon as the last one is answered.
async fn call(address: SocketAddr, caller: u64, count: u64) {
    let stream = TcpStream::connect(address).await;
    let mut stream = stream.expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    let mut event: Value = serde_json::from_str(BODY).expect("a body of ChirpStack's");
    let mut answer = Vec::new();
    for number in 0..count {
        event["deviceInfo"]["devEui"] = json!(dev_eui((caller + number * CALLERS) % SPEAKERS));
        event["deduplicationId"] = json!(uuid::Uuid::now_v7());
        let body = event.to_string();
        let request = format!(
            "POST /api/v1/webhooks/chirpstack?event=up HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let sent = stream.write_all(request.as_bytes()).await;
        sent.expect("the connection is kept");
        answer.clear();
        while !answer.ends_with(ANSWER.as_bytes()) {
            let read = stream.read_buf(&mut answer).await;
            assert!(
                read.is_ok_and(|read| read > 0),
                "{}",
                String::from_utf8_lossy(&answer)
            );
        }
    }
}

async fn post_all(address: SocketAddr, count: u64) -> Duration {
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let share = count / CALLERS + u64::from(caller < count % CALLERS);
        callers.spawn(call(address, caller, share));
    }
    callers.join_all().await;
    began.elapsed()
}

fn webhooks(criterion: &mut Criterion) {
    // The one that the service has installed already, if so.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = Runtime::new().expect("a runtime");
    let data = tempfile::tempdir().expect("a temporary directory");
    let server = runtime.block_on(async {
        let server = start(data.path()).await;
        register(&server).await;
        server
    });
    let bare = runtime.block_on(bare());
    let (mut ours, mut theirs) = (Times::default(), Times::default());
    let mut group = criterion.benchmark_group("webhook");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    for (name, address, times) in [
        ("bare", bare, &mut theirs),
        ("committed", server.address, &mut ours),
    ] {
        group.bench_function(name, |bencher| {
            times.measure(bencher, |count| runtime.block_on(post_all(address, count)));
        });
    }
    group.finish();
    runtime.block_on(server.stop());
    eprintln!(
        "webhooks, {:.2} of a bare server",
        theirs.median() / ours.median()
    );
}

criterion_group!(benches, webhooks);
criterion_main!(benches);
