//! One event to a thousand who watch: the feed that live streams read, beside a plain broadcast channel.
//!
//! The channel neither keeps what was missed nor numbers it. Writing an event into a thousand connections is in neither.

mod times;

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use downbeat_actors::observe::{DeviceView, Feed, FeedBody, FeedEvent};
use downbeat_core::device::Presence;
use downbeat_core::id::{DevEui, DeviceId, TenantId};
use downbeat_core::time::Timestamp;
use futures_util::FutureExt as _;
use tokio::sync::broadcast;
use uuid::Uuid;

use times::Times;

const WATCHERS: usize = 1_000;

fn event() -> FeedEvent {
    FeedEvent {
        at: Timestamp::from_millis(1_795_000_000_000),
        tenant_id: Some(TenantId::from_uuid(Uuid::nil())),
        body: FeedBody::Device(DeviceView {
            device_id: DeviceId::from_uuid(Uuid::nil()),
            dev_eui: DevEui::from_u64(1),
            presence: Presence::Online,
            last_seen: None,
            rssi_dbm: Some(-80),
            snr_db: Some(8.0),
            battery_percent: None,
            desired: None,
            reported: None,
            initialisation: None,
        }),
    }
}

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("an event to a thousand");
    group.throughput(Throughput::Elements(WATCHERS as u64));
    let (mut ours, mut theirs) = (Times::default(), Times::default());
    group.bench_function("the feed", |bencher| {
        let feed = Feed::new(1);
        let mut watchers: Vec<_> = (0..WATCHERS).map(|_| feed.subscribe(None)).collect();
        ours.measure(bencher, |times| {
            let began = Instant::now();
            for _ in 0..times {
                feed.publish(event());
                for watcher in &mut watchers {
                    let item = watcher.next().now_or_never();
                    assert!(black_box(item).is_some(), "it is there");
                }
            }
            began.elapsed()
        });
    });
    group.bench_function("a channel", |bencher| {
        let (sender, _) = broadcast::channel(64);
        let mut watchers: Vec<_> = (0..WATCHERS).map(|_| sender.subscribe()).collect();
        theirs.measure(bencher, |times| {
            let began = Instant::now();
            for _ in 0..times {
                let sent = sender.send(1_u64);
                assert_eq!(sent.ok(), Some(WATCHERS), "all are there");
                for watcher in &mut watchers {
                    assert_eq!(black_box(watcher.try_recv()).ok(), Some(1));
                }
            }
            began.elapsed()
        });
    });
    group.finish();
    eprintln!(
        "the feed, {:.2} of a channel",
        theirs.median() / ours.median()
    );
}

criterion_group!(benches, fan_out);
criterion_main!(benches);
