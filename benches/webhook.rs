//! From the bytes of a webhook to our words, beside the same with ChirpStack's own types: the ratio is what counts.
//!
//! Expected: less than half the time of ChirpStack's own types (measured 0.44). Ours borrows and skips what nobody
//! reads, but writes the history's JSON within the same figure; that is why Protobuf is no faster (measured 0.50).

use std::hint::black_box;

use chirpstack_api::integration::UplinkEvent;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use downbeat::webhook::{Encoding, EventKind, parse};
use downbeat_core::time::Timestamp;

const JSON: &[u8] = include_bytes!("../tests/fixtures/chirpstack-v4/up-status-3gw.json");
const PROTOBUF: &[u8] = include_bytes!("../tests/fixtures/chirpstack-v4/up-status-3gw.pb");

fn uplinks(criterion: &mut Criterion) {
    let now = Timestamp::from_millis(1_795_000_000_000);
    let mut group = criterion.benchmark_group("uplink with three gateways");
    group.throughput(Throughput::Elements(1));
    group.bench_function("JSON, ours", |bencher| {
        bencher.iter(|| parse(EventKind::Up, Encoding::Json, black_box(JSON), now));
    });
    group.bench_function("JSON, ChirpStack's types", |bencher| {
        bencher.iter(|| serde_json::from_slice::<UplinkEvent>(black_box(JSON)));
    });
    group.bench_function("Protobuf, ours", |bencher| {
        bencher.iter(|| parse(EventKind::Up, Encoding::Protobuf, black_box(PROTOBUF), now));
    });
    group.finish();
}

criterion_group!(benches, uplinks);
criterion_main!(benches);
