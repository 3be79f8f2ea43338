//! Events in any order, of few ids and lights, so that they often concern each other.
//!
//! A number below [`FITTING`] stands for whatever fits best at the time; [`fit`] puts that in.

use downbeat_core::codec::busylight::light_to_wire;
use downbeat_core::codec::{Frame, Proof};
use downbeat_core::device::{Event, Origin, Request};
use downbeat_core::gateway::{
    GatewayConfig, GatewaySnapshot, GatewayTable, ListedGateway, ListedState,
};
use downbeat_core::id::{DevAddr, DownlinkId, FPort, GatewayId, QueueItemId};
use downbeat_core::light::{Color, LightState};
use downbeat_core::network::{
    Acknowledged, DropReason, Dropped, EnqueueFailure, Joined, NetworkEvent, QueueItem, Reception,
    Refused, StatusReported, Transmitted, Uplink,
};
use downbeat_core::radio::{DeviceClass, Modulation};
use downbeat_core::time::Timestamp;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

/// One thing that happens to a device or its process.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// Milliseconds; the clock may be set back.
    TimePasses(i64),
    /// The device is woken when it wants to be.
    Wake,
    Gateways(bool),
    Crash,
    /// The network's event of so many before comes once more: a webhook that is delivered again, or late.
    Replay(usize),
    Event(Event),
}

/// Numbers of attempts and items below this stand for the last Enqueue.
const FITTING: u32 = 6;

/// Makes most of an event concern what is under way: the last Enqueue, and the downlinks that have not ended.
pub(crate) fn fit(event: &mut Event, last_attempt: u32, unfinished: &[DownlinkId]) {
    let fit_item = |id: &mut QueueItemId| {
        if id.as_uuid().as_u128() < u128::from(FITTING) {
            *id = QueueItemId::from_uuid(Uuid::from_u128(1000 + u128::from(last_attempt)));
        }
    };
    match event {
        Event::Enqueued {
            attempt,
            queue_item_id,
        } => {
            fit_item(queue_item_id);
            *attempt = fitting(*attempt, last_attempt);
        }
        Event::EnqueueFailed { attempt, .. } => *attempt = fitting(*attempt, last_attempt),
        Event::CancelRequested(id) => {
            let number = usize::try_from(id.as_uuid().as_u128()).unwrap_or(0);
            *id = unfinished.get(number).copied().unwrap_or(*id);
        }
        Event::QueueRead(items) => items.iter_mut().for_each(|item| fit_item(&mut item.id)),
        Event::Network(NetworkEvent::Transmitted(event)) => {
            event.queue_item_id.iter_mut().for_each(fit_item);
        }
        Event::Network(NetworkEvent::Acknowledged(event)) => {
            event.queue_item_id.iter_mut().for_each(fit_item);
        }
        Event::Network(NetworkEvent::Dropped(event)) => fit_item(&mut event.queue_item_id),
        Event::Requested(_)
        | Event::Wished(_)
        | Event::WishCleared
        | Event::InitialisationRequested { .. }
        | Event::KeyTold(_)
        | Event::Network(_)
        | Event::TurnGranted
        | Event::QueueReadFailed
        | Event::GatewaysChanged
        | Event::ServicesRestarted
        | Event::Awaited(_)
        | Event::Silent
        | Event::Retired
        | Event::Elapsed => {}
    }
}

fn fitting(attempt: u32, last_attempt: u32) -> u32 {
    if attempt < FITTING {
        last_attempt
    } else {
        attempt
    }
}

pub(crate) fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    vec(happening(), 1..120)
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0..40_000_i64).prop_map(Happening::TimePasses),
        1 => prop_oneof![
            -100_000..0_i64,
            // Clocks that are an hour off, as after a wrong time zone.
            Just(3_600_000),
            Just(-3_600_000),
            Just(i64::MIN),
            Just(i64::MAX),
            0..1_000_000_000_i64,
        ]
            .prop_map(Happening::TimePasses),
        4 => Just(Happening::Wake),
        1 => any::<bool>().prop_map(Happening::Gateways),
        1 => Just(Happening::Crash),
        3 => (0..20_usize).prop_map(Happening::Replay),
        4 => request().prop_map(|request| Happening::Event(Event::Requested(request))),
        2 => wish().prop_map(Happening::Event),
        8 => Just(Happening::Event(Event::TurnGranted)),
        8 => answer().prop_map(Happening::Event),
        12 => network_event().prop_map(|event| Happening::Event(Event::Network(event))),
        2 => prop_oneof![
            (0..6_u128).prop_map(|id| Event::CancelRequested(downlink(id))),
            Just(Event::ServicesRestarted),
            Just(Event::GatewaysChanged),
            Just(Event::Elapsed),
            Just(Event::Silent),
            any::<bool>().prop_map(Event::Awaited),
            any::<bool>().prop_map(Event::KeyTold),
            any::<bool>().prop_map(|force| Event::InitialisationRequested { force }),
            Just(Event::WishCleared),
            Just(Event::Retired),
        ]
        .prop_map(Happening::Event),
    ]
}

fn downlink(number: u128) -> DownlinkId {
    DownlinkId::from_uuid(Uuid::from_u128(number))
}

fn item() -> impl Strategy<Value = QueueItemId> {
    (0..8_u128).prop_map(|number| QueueItemId::from_uuid(Uuid::from_u128(number)))
}

fn light() -> impl Strategy<Value = LightState> {
    (0..3_u8).prop_map(|red| LightState::steady(Color::rgb(red, 0, 0)))
}

fn counter() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0..12_u32, 1 => Just(u32::MAX), 1 => any::<u32>()]
}

/// Short, or longer than what is kept, with characters of two bytes.
fn text() -> impl Strategy<Value = String> {
    (0..300_usize).prop_map(|length| "é".repeat(length))
}

fn proof() -> impl Strategy<Value = Proof> {
    prop_oneof![
        5 => Just(Proof::AutoUplink),
        1 => Just(Proof::LorawanAck),
        1 => Just(Proof::Transmitted),
        1 => Just(Proof::None),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let what = (light(), any::<bool>(), any::<bool>(), proof());
    let how = (
        any::<bool>(),
        any::<bool>(),
        option::of(0..4_u8),
        option::weighted(0.1, any::<i64>()),
        option::of(any::<bool>()),
    );
    (0..6_u128, what, how).prop_map(|(number, what, how)| {
        let (light, is_state, has_light, proof) = what;
        let (confirmed, transient, attempts_max, expires_at, until_deadline) = how;
        Request {
            id: downlink(number),
            origin: Origin::Api,
            frame: Frame {
                f_port: FPort::from_uplink(15),
                payload: light_to_wire(light).to_vec(),
            },
            light: has_light.then_some(light),
            is_state,
            proof,
            proof_if_mute: (number == 0).then_some(Proof::Transmitted),
            confirmed,
            transient,
            attempts_max,
            expires_at: expires_at.map(Timestamp::from_millis),
            until_deadline,
        }
    })
}

/// A light that is to stay.
fn wish() -> impl Strategy<Value = Event> {
    request().prop_map(|request| {
        Event::Wished(Request {
            is_state: true,
            transient: false,
            ..request
        })
    })
}

fn answer() -> impl Strategy<Value = Event> {
    let failure = prop_oneof![
        Just(EnqueueFailure::Unavailable),
        Just(EnqueueFailure::Unknown),
        Just(EnqueueFailure::UnknownDevice),
        Just(EnqueueFailure::KeyRefused),
        text().prop_map(EnqueueFailure::Refused),
        Just(EnqueueFailure::Invalid(String::new())),
    ];
    prop_oneof![
        5 => (0..8_u32, item()).prop_map(|(attempt, queue_item_id)| Event::Enqueued {
            attempt,
            queue_item_id,
        }),
        2 => (0..8_u32, failure)
            .prop_map(|(attempt, failure)| Event::EnqueueFailed { attempt, failure }),
        2 => vec(queued(), 0..3).prop_map(Event::QueueRead),
        1 => Just(Event::QueueReadFailed),
    ]
}

fn queued() -> impl Strategy<Value = QueueItem> {
    (item(), light(), any::<bool>()).prop_map(|(id, light, is_pending)| QueueItem {
        id,
        f_port: 15,
        payload: light_to_wire(light).to_vec(),
        confirmed: is_pending,
        is_pending,
        expires_at: None,
    })
}

fn network_event() -> impl Strategy<Value = NetworkEvent> {
    let joined = (option::of(0..4_u32), option::of(0..3_u128)).prop_map(|(address, number)| {
        NetworkEvent::Joined(Joined {
            deduplication_id: number.map(Uuid::from_u128),
            dev_addr: address.map(DevAddr::from_u32),
        })
    });
    let transmitted = (option::of(item()), counter()).prop_map(|(queue_item_id, f_cnt_down)| {
        NetworkEvent::Transmitted(Transmitted {
            queue_item_id,
            f_cnt_down,
            gateway_id: None,
            modulation: None,
            frequency_hz: None,
            timing: None,
        })
    });
    let acknowledged = (option::of(item()), any::<bool>(), counter()).prop_map(
        |(queue_item_id, acknowledged, f_cnt_down)| {
            NetworkEvent::Acknowledged(Acknowledged {
                queue_item_id,
                acknowledged,
                f_cnt_down,
            })
        },
    );
    let dropped = (item(), 0..3_usize).prop_map(|(queue_item_id, reason)| {
        let reasons = [
            DropReason::Expired,
            DropReason::PayloadTooLarge,
            DropReason::FrameCounter,
        ];
        NetworkEvent::Dropped(Dropped {
            queue_item_id,
            reason: reasons[reason],
        })
    });
    let status = option::of(any::<f32>()).prop_map(|battery_percent| {
        NetworkEvent::StatusReported(StatusReported {
            margin_db: 0,
            external_power: false,
            battery_percent,
        })
    });
    prop_oneof![
        8 => uplink().prop_map(NetworkEvent::Heard),
        1 => joined,
        4 => transmitted,
        2 => acknowledged,
        1 => text().prop_map(|status| NetworkEvent::Refused(Refused { status })),
        1 => dropped,
        1 => status,
    ]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (counter(), counter(), light()).prop_map(|(received, sent, light)| {
            let mut payload = [0; 24].to_vec();
            payload[8..12].copy_from_slice(&received.to_le_bytes());
            payload[12..16].copy_from_slice(&sent.to_le_bytes());
            payload[16..21].copy_from_slice(&light_to_wire(light));
            payload
        }),
        2 => (counter(), light()).prop_map(|(sent, light)| {
            let mut payload = sent.to_le_bytes().to_vec();
            payload.extend(light_to_wire(light));
            payload.push(1);
            payload
        }),
        1 => vec(any::<u8>(), 0..30),
    ]
}

fn uplink() -> impl Strategy<Value = Uplink> {
    let session = (option::of(0..4_u32), counter());
    let radio = (
        0..4_usize,
        any::<u8>(),
        any::<f32>(),
        any::<i32>(),
        0..12_u64,
    );
    (session, payload(), radio).prop_map(|((address, f_cnt), payload, radio)| {
        let (class, spreading_factor, snr_db, rssi_dbm, gateways) = radio;
        Uplink {
            deduplication_id: None,
            dev_addr: address.map(DevAddr::from_u32),
            f_cnt,
            f_port: FPort::from_uplink(15),
            confirmed: false,
            payload,
            data_rate: 0,
            modulation: (spreading_factor > 100).then_some(Modulation::lora_125(spreading_factor)),
            class: [
                None,
                Some(DeviceClass::A),
                Some(DeviceClass::C),
                Some(DeviceClass::C),
            ][class],
            receptions: (0..gateways)
                .map(|gateway| Reception {
                    gateway_id: GatewayId::from_u64(gateway),
                    rssi_dbm,
                    snr_db,
                })
                .collect(),
            battery_percent: None,
            received_at: None,
        }
    })
}

/// One gateway that is known, alive or not.
pub(crate) fn gateways(alive: bool) -> GatewaySnapshot {
    let now = Timestamp::from_millis(0);
    let mut table = GatewayTable::new(GatewayConfig::default());
    let listed = ListedGateway {
        gateway_id: GatewayId::from_u64(0),
        name: String::new(),
        tenant_id: None,
        state: if alive {
            ListedState::Online
        } else {
            ListedState::Offline
        },
        last_seen_at: alive.then_some(now),
        location: None,
    };
    table.listed(now, [listed].into());
    table.snapshot(now)
}
