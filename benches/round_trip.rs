//! A command from its order until it is recorded: the actors' own part, on a store that takes no time.
//!
//! What is left are changes of tasks between device, writer and caller. The store's part is measured by the bench `commit`.

use std::sync::Arc;

use async_trait::async_trait;
use criterion::{Criterion, criterion_group, criterion_main};
use downbeat_actors::clock::Clock;
use downbeat_actors::port::{
    By, DeviceChange, DeviceStore, StoreError, StoredDevice, StoredSync, SyncChange,
};
use downbeat_actors::{Order, System, SystemConfig};
use downbeat_core::app_key::AppKey;
use downbeat_core::codec::{CodecKind, Command};
use downbeat_core::device::PolicySettings;
use downbeat_core::id::{DevEui, DeviceId, DeviceKey, NetworkServerId, Scope, TenantId};
use downbeat_core::light::{Color, LightState};
use downbeat_core::pacer::SentLately;
use downbeat_core::time::Timestamp;
use tokio::runtime::Runtime;
use uuid::Uuid;

/// Knows every device, and forgets what it is told.
struct Forgetful;

#[async_trait]
impl DeviceStore for Forgetful {
    async fn commit(&self, _: &[DeviceChange]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn load(&self, key: DeviceKey) -> Result<Option<StoredDevice>, StoreError> {
        Ok(Some(StoredDevice {
            device_id: DeviceId::from_uuid(Uuid::from_u128(u128::from(key.dev_eui.as_u64()))),
            tenant_id: TenantId::from_uuid(Uuid::nil()),
            codec: CodecKind::KuandoBusylight,
            uplink_interval: None,
            tenant_policy: PolicySettings::default(),
            device_policy: PolicySettings::default(),
            state: None,
        }))
    }

    async fn unfinished(&self) -> Result<Vec<DeviceKey>, StoreError> {
        Ok(Vec::new())
    }

    async fn silent(
        &self,
        _: Timestamp,
        _: std::time::Duration,
        _: u32,
    ) -> Result<Vec<DeviceKey>, StoreError> {
        Ok(Vec::new())
    }

    async fn sent_since(&self, _: NetworkServerId, _: Timestamp) -> Result<SentLately, StoreError> {
        Ok(SentLately::default())
    }

    async fn unfinished_syncs(
        &self,
        _: NetworkServerId,
        _: u32,
    ) -> Result<Vec<StoredSync>, StoreError> {
        Ok(Vec::new())
    }

    async fn unfinished_syncs_of(
        &self,
        _: NetworkServerId,
        _: &[DevEui],
    ) -> Result<Vec<StoredSync>, StoreError> {
        Ok(Vec::new())
    }

    async fn load_sync(&self, _: DeviceKey) -> Result<Option<StoredSync>, StoreError> {
        Ok(None)
    }

    async fn commit_syncs(&self, _: &[SyncChange]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn app_key(&self, _: DeviceKey, _: u32) -> Result<Option<AppKey>, StoreError> {
        Ok(None)
    }
}

fn order(number: u32) -> Order {
    let [_, red, green, blue] = number.to_be_bytes();
    Order {
        id: None,
        command: Command::SetLight(LightState::steady(Color::rgb(red, green, blue))),
        confirmed: false,
        verify: true,
        transient: false,
        attempts_max: None,
        by: By::command_line(),
        ttl: None,
        until_deadline: None,
        job: None,
    }
}

fn round_trips(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be made");
    let clock = Clock::system();
    let start = System::start(
        SystemConfig::default(),
        Arc::new(Forgetful),
        Vec::new(),
        clock,
        1,
    );
    let system = runtime
        .block_on(start)
        .expect("a store that takes no time is always there");
    let mut number = 0;
    let mut commands = |count: u32| {
        runtime.block_on(async {
            let orders = (0..count).map(|light| {
                number += 1;
                let key = DeviceKey {
                    server: NetworkServerId::Default,
                    dev_eui: DevEui::from_u64(u64::from(light)),
                };
                system.submit(Scope::Platform, key, order(number))
            });
            futures_util::future::join_all(orders).await
        })
    };
    let mut group = criterion.benchmark_group("commands accepted");
    for count in [1, 100] {
        assert!(
            commands(count).iter().all(Result::is_ok),
            "each is accepted"
        );
        group.throughput(criterion::Throughput::Elements(u64::from(count)));
        group.bench_function(format!("{count} at once"), |bencher| {
            bencher.iter(|| commands(count));
        });
    }
    group.finish();
}

criterion_group!(benches, round_trips);
criterion_main!(benches);
