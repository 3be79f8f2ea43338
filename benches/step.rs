//! One step of a device's machine: an uplink that proves nothing (the common case), and a colour from wish to proof.
//!
//! Expected: an uplink well under a microsecond, a colour's life of five steps a microsecond or so. Storing the state is
//! measured beside it, because every uplink costs that, too, and it is the larger part.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use downbeat_core::codec::{CodecKind, Command};
use downbeat_core::device::{Device, Event, Policy, Request};
use downbeat_core::gateway::{GatewaySnapshot, GatewayTable};
use downbeat_core::id::{DevAddr, DownlinkId, FPort, GatewayId, QueueItemId};
use downbeat_core::light::{Color, LightState};
use downbeat_core::network::{NetworkEvent, Reception, Transmitted, Uplink};
use downbeat_core::radio::{DeviceClass, Modulation};
use downbeat_core::time::Timestamp;
use uuid::Uuid;

const GATEWAY: GatewayId = GatewayId::from_u64(0x0016_c001_5033_0000);
const RED: LightState = LightState::steady(Color::rgb(255, 0, 0));

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000 + second * 1000)
}

fn heard(light: LightState, f_cnt: u32, downlinks_received: u32) -> Event {
    let mut payload = vec![0; 8];
    payload.extend(downlinks_received.to_le_bytes());
    payload.extend((f_cnt + 1).to_le_bytes());
    let Color { red, green, blue } = light.color;
    payload.extend([red, blue, green, light.on_time, light.off_time, 58, 12, 1]);
    Event::Network(NetworkEvent::Heard(Uplink {
        deduplication_id: Some(Uuid::nil()),
        dev_addr: Some(DevAddr::from_u32(1)),
        f_cnt,
        f_port: FPort::from_uplink(15),
        confirmed: false,
        payload,
        data_rate: 5,
        modulation: Some(Modulation::lora_125(7)),
        class: Some(DeviceClass::C),
        receptions: vec![Reception {
            gateway_id: GATEWAY,
            rssi_dbm: -80,
            snr_db: 8.0,
        }],
        battery_percent: None,
        received_at: None,
    }))
}

/// From the wish to its proof; gives the machine back so that nothing is thrown away unseen.
fn colour(mut device: Device, gateways: &GatewaySnapshot) -> Device {
    let id = DownlinkId::from_uuid(Uuid::nil());
    let item = QueueItemId::from_uuid(Uuid::nil());
    let command = Command::SetLight(RED);
    let Ok(request) = Request::new(id, CodecKind::KuandoBusylight, &command, false, true) else {
        return device;
    };
    let transmitted = Transmitted {
        queue_item_id: Some(item),
        f_cnt_down: 1,
        gateway_id: Some(GATEWAY),
        modulation: Some(Modulation::lora_125(9)),
        frequency_hz: None,
        timing: None,
    };
    for (second, event) in [
        (1, Event::Requested(request)),
        (1, Event::TurnGranted),
        (
            1,
            Event::Enqueued {
                attempt: 1,
                queue_item_id: item,
            },
        ),
        (2, Event::Network(NetworkEvent::Transmitted(transmitted))),
        (3, heard(RED, 2, 1)),
    ] {
        black_box(device.step(at(second), event, gateways));
    }
    device
}

fn steps(criterion: &mut Criterion) {
    let gateways = GatewayTable::default().snapshot(at(0));
    let mut fresh = Device::new(CodecKind::KuandoBusylight, Policy::default(), 1);
    black_box(fresh.step(at(0), heard(LightState::OFF, 1, 0), &gateways));
    criterion.bench_function("an uplink", |bencher| {
        let mut f_cnt = 1;
        let mut device = fresh.clone();
        bencher.iter(|| {
            f_cnt += 1;
            black_box(device.step(
                at(i64::from(f_cnt)),
                heard(LightState::OFF, f_cnt, 0),
                &gateways,
            ))
        });
    });
    let proven = colour(fresh.clone(), &gateways);
    assert!(
        proven.unfinished().next().is_none(),
        "the colour gets to its proof"
    );
    criterion.bench_function("a colour from wish to proof", |bencher| {
        bencher.iter(|| colour(fresh.clone(), &gateways));
    });
    let codec = CodecKind::KuandoBusylight.codec();
    let Event::Network(NetworkEvent::Heard(uplink)) = heard(RED, 1, 0) else {
        return;
    };
    criterion.bench_function("a report decoded", |bencher| {
        bencher.iter(|| codec.decode(uplink.f_port, black_box(&uplink.payload)));
    });
    criterion.bench_function("a colour encoded", |bencher| {
        bencher.iter(|| codec.encode(black_box(&Command::SetLight(RED))));
    });
    criterion.bench_function("the state as it is stored", |bencher| {
        bencher.iter(|| serde_json::to_string(black_box(&fresh)));
    });
}

criterion_group!(benches, steps);
criterion_main!(benches);
