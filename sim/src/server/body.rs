//! An event's body as ChirpStack writes it: built of its own message types, so that names, order, omitted defaults and
//! number formats are the real ones.

use std::collections::BTreeMap;

use chirpstack_api::common;
use chirpstack_api::gw::{
    CodeRate, CrcStatus, DelayTimingInfo, DownlinkTxInfo, ImmediatelyTimingInfo,
    LoraModulationInfo, Modulation, Timing, UplinkRxInfo, UplinkTxInfo, modulation, timing,
};
use chirpstack_api::integration::{
    AckEvent, DeviceInfo, JoinEvent, LogCode, LogEvent, LogLevel, StatusEvent, TxAckEvent,
    UplinkEvent,
};
use chirpstack_api::prost::Message;
use downbeat_core::id::{DevAddr, QueueItemId};
use downbeat_core::network::{NetworkEvent, Reception, Transmitted, Uplink};
use downbeat_core::radio::DeviceClass;
use downbeat_core::random::Random;
use pbjson_types::{Duration, Timestamp};
use serde::Serialize;

use super::clock::Clock;
use super::config::Identity;
use super::gateway::location;
use super::world::Encoding;
use crate::model::{Webhook, Wire};

/// Region of all gateways.
const REGION: &str = "eu868";
/// Power of a downlink in dBm, as EU868's RX2 allows.
const DOWNLINK_POWER_DBM: i32 = 29;

/// What an event tells of its device beyond its own contents.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) identity: &'a Identity,
    pub(super) device_name: &'a str,
    pub(super) tags: &'a BTreeMap<String, String>,
    pub(super) clock: Clock,
}

/// A body that is ready to be posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Body {
    /// `?event=`.
    pub(super) event: &'static str,
    pub(super) bytes: Vec<u8>,
}

/// Writes an event; `None` for one that ChirpStack has no event for, which the model does not make.
pub(super) fn write(webhook: &Webhook, about: About<'_>, encoding: Encoding) -> Option<Body> {
    let device_info = device_info(webhook, about);
    let time = time(webhook, about.clock);
    match (&webhook.event, &webhook.wire) {
        (
            NetworkEvent::Heard(uplink),
            Wire::Up {
                adr,
                frequency_hz,
                spreading_factor,
            },
        ) => {
            let radio = Radio {
                frequency_hz: *frequency_hz,
                spreading_factor: *spreading_factor,
            };
            encode("up", &up(uplink, *adr, radio, device_info, time), encoding)
        }
        (NetworkEvent::Joined(joined), Wire::Join) => {
            let event = JoinEvent {
                deduplication_id: text(joined.deduplication_id),
                time: Some(time),
                device_info: Some(device_info),
                dev_addr: text(joined.dev_addr),
                region_config_id: REGION.to_owned(),
                ..JoinEvent::default()
            };
            encode("join", &event, encoding)
        }
        (
            NetworkEvent::Transmitted(sent),
            Wire::TxAck {
                downlink_id,
                delay_s,
                frequency_hz,
                spreading_factor,
            },
        ) => {
            let radio = Radio {
                frequency_hz: *frequency_hz,
                spreading_factor: *spreading_factor,
            };
            let tx_info = downlink_tx_info(radio, *delay_s, time.nanos);
            encode(
                "txack",
                &tx_ack(sent, *downlink_id, tx_info, device_info, time),
                encoding,
            )
        }
        (NetworkEvent::Acknowledged(ack), Wire::Ack { deduplication_id }) => {
            let event = AckEvent {
                deduplication_id: text(*deduplication_id),
                time: Some(time),
                device_info: Some(device_info),
                queue_item_id: text(ack.queue_item_id),
                acknowledged: ack.acknowledged,
                f_cnt_down: ack.f_cnt_down,
            };
            encode("ack", &event, encoding)
        }
        (NetworkEvent::StatusReported(status), Wire::Status { deduplication_id }) => {
            let event = StatusEvent {
                deduplication_id: deduplication_id.to_string(),
                time: Some(time),
                device_info: Some(device_info),
                margin: status.margin_db,
                external_power_source: status.external_power,
                battery_level_unavailable: status.battery_percent.is_none()
                    && !status.external_power,
                battery_level: status.battery_percent.unwrap_or(0.0),
            };
            encode("status", &event, encoding)
        }
        (
            _,
            Wire::Log {
                code,
                description,
                context,
            },
        ) => {
            let context = context
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.clone()));
            let event = LogEvent {
                time: Some(time),
                device_info: Some(device_info),
                level: LogLevel::Error.into(),
                code: LogCode::from_str_name(code)
                    .unwrap_or(LogCode::Unknown)
                    .into(),
                description: description.clone(),
                context: context.collect(),
            };
            encode("log", &event, encoding)
        }
        _ => None,
    }
}

#[derive(Debug, Clone, Copy)]
struct Radio {
    frequency_hz: u32,
    spreading_factor: u8,
}

fn encode<M: Message + Serialize>(
    event: &'static str,
    message: &M,
    encoding: Encoding,
) -> Option<Body> {
    let bytes = match encoding {
        Encoding::Json => serde_json::to_vec(message).ok()?,
        Encoding::Protobuf => message.encode_to_vec(),
    };
    Some(Body { event, bytes })
}

fn up(
    uplink: &Uplink,
    adr: bool,
    radio: Radio,
    device_info: DeviceInfo,
    time: Timestamp,
) -> UplinkEvent {
    UplinkEvent {
        deduplication_id: text(uplink.deduplication_id),
        time: Some(time),
        device_info: Some(device_info),
        dev_addr: text::<DevAddr>(uplink.dev_addr),
        adr,
        dr: u32::from(uplink.data_rate),
        f_cnt: uplink.f_cnt,
        f_port: u32::from(uplink.f_port.get()),
        confirmed: uplink.confirmed,
        data: uplink.payload.clone(),
        rx_info: uplink
            .receptions
            .iter()
            .map(|reception| rx_info(uplink, reception, time))
            .collect(),
        tx_info: Some(UplinkTxInfo {
            frequency: radio.frequency_hz,
            modulation: Some(lora(radio, false)),
        }),
        region_config_id: REGION.to_owned(),
        ..UplinkEvent::default()
    }
}

fn rx_info(uplink: &Uplink, reception: &Reception, time: Timestamp) -> UplinkRxInfo {
    // What the model does not care about still has to look like something, and the same each time.
    let mut numbers = Random::from_seed(
        reception.gateway_id.as_u64() ^ u64::from(uplink.f_cnt) ^ time_seed(time),
    );
    let context = numbers.next_u64().to_be_bytes();
    UplinkRxInfo {
        gateway_id: reception.gateway_id.to_string(),
        uplink_id: u32::try_from(numbers.next_u64() >> 32).unwrap_or(0),
        gw_time: Some(time),
        ns_time: Some(later(time, 481_357)),
        rssi: reception.rssi_dbm,
        snr: reception.snr_db,
        channel: 1 + u32::try_from(numbers.below(7)).unwrap_or(0),
        location: Some(location(reception.gateway_id)),
        context: context[..4].to_vec(),
        crc_status: CrcStatus::CrcOk.into(),
        ..UplinkRxInfo::default()
    }
}

fn tx_ack(
    sent: &Transmitted,
    downlink_id: u32,
    tx_info: DownlinkTxInfo,
    device_info: DeviceInfo,
    time: Timestamp,
) -> TxAckEvent {
    TxAckEvent {
        downlink_id,
        time: Some(time),
        device_info: Some(device_info),
        queue_item_id: text::<QueueItemId>(sent.queue_item_id),
        f_cnt_down: sent.f_cnt_down,
        gateway_id: text(sent.gateway_id),
        tx_info: Some(tx_info),
    }
}

fn downlink_tx_info(radio: Radio, delay_s: Option<u8>, context: i32) -> DownlinkTxInfo {
    let parameters = match delay_s {
        None => timing::Parameters::Immediately(ImmediatelyTimingInfo {}),
        Some(seconds) => {
            let delay = Duration {
                seconds: i64::from(seconds),
                nanos: 0,
            };
            timing::Parameters::Delay(DelayTimingInfo { delay: Some(delay) })
        }
    };
    DownlinkTxInfo {
        frequency: radio.frequency_hz,
        power: DOWNLINK_POWER_DBM,
        modulation: Some(lora(radio, true)),
        timing: Some(Timing {
            parameters: Some(parameters),
        }),
        context: context.to_be_bytes().to_vec(),
        ..DownlinkTxInfo::default()
    }
}

fn lora(radio: Radio, polarization_inversion: bool) -> Modulation {
    let lora = LoraModulationInfo {
        bandwidth: 125_000,
        spreading_factor: u32::from(radio.spreading_factor),
        code_rate: CodeRate::Cr45.into(),
        polarization_inversion,
        ..LoraModulationInfo::default()
    };
    Modulation {
        parameters: Some(modulation::Parameters::Lora(lora)),
    }
}

fn device_info(webhook: &Webhook, about: About<'_>) -> DeviceInfo {
    let class = match webhook.class {
        DeviceClass::A => common::DeviceClass::ClassA,
        DeviceClass::B => common::DeviceClass::ClassB,
        DeviceClass::C => common::DeviceClass::ClassC,
    };
    DeviceInfo {
        tenant_id: about.identity.tenant_id.to_string(),
        tenant_name: about.identity.tenant_name.clone(),
        application_id: about.identity.application_id.to_string(),
        application_name: about.identity.application_name.clone(),
        device_profile_id: about.identity.device_profile_id.to_string(),
        device_profile_name: about.identity.device_profile_name.clone(),
        device_name: about.device_name.to_owned(),
        dev_eui: webhook.dev_eui.to_string(),
        device_class_enabled: class.into(),
        tags: about.tags.clone().into_iter().collect(),
    }
}

/// The event's time with the decimals that real clocks give: six from a gateway's, nine from the server's.
fn time(webhook: &Webhook, clock: Clock) -> Timestamp {
    let us = clock.to_real_us(webhook.time.as_millis() * 1000);
    let into_second = i32::try_from(us.rem_euclid(1_000_000)).unwrap_or(0);
    // Microseconds 1 to 997 of the millisecond.
    let fraction_us = 1 + (into_second / 1000 * 7 + 13) % 997;
    let time = Timestamp {
        seconds: us.div_euclid(1_000_000),
        nanos: into_second / 1000 * 1_000_000 + fraction_us * 1000,
    };
    let by_gateway = matches!(
        webhook.event,
        NetworkEvent::Heard(_) | NetworkEvent::Joined(_)
    );
    if by_gateway {
        time
    } else {
        Timestamp {
            nanos: time.nanos + 141,
            ..time
        }
    }
}

fn later(time: Timestamp, nanos: i32) -> Timestamp {
    let nanos = time.nanos + nanos;
    Timestamp {
        seconds: time.seconds + i64::from(nanos / 1_000_000_000),
        nanos: nanos % 1_000_000_000,
    }
}

fn time_seed(time: Timestamp) -> u64 {
    u64::from(time.nanos.unsigned_abs()).rotate_left(32) ^ time.seconds.unsigned_abs()
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use downbeat_core::id::{DevEui, FPort, GatewayId};
    use downbeat_core::network::{
        Acknowledged, DropReason, Dropped, Joined, Refused, StatusReported,
    };
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;

    /// What stands where, without the values: paths of all fields with the kinds of their values.
    fn shape(value: &Value, path: &str, into: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                into.push(format!("{path} object"));
                for (key, value) in fields {
                    shape(value, &format!("{path}.{key}"), into);
                }
            }
            Value::Array(items) => {
                into.push(format!("{path} array of {}", items.len()));
                for item in items {
                    shape(item, &format!("{path}[]"), into);
                }
            }
            Value::Number(number) => {
                into.push(format!(
                    "{path} {}",
                    if number.is_f64() { "float" } else { "integer" }
                ));
            }
            Value::String(_) => into.push(format!("{path} string")),
            Value::Bool(_) => into.push(format!("{path} bool")),
            Value::Null => into.push(format!("{path} null")),
        }
    }

    fn shape_of(body: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        shape(&serde_json::from_slice(body).unwrap(), "", &mut lines);
        lines.sort();
        lines
    }

    fn write_as(event: NetworkEvent, wire: Wire, encoding: Encoding) -> Body {
        let clock = Clock::start(1.0);
        let webhook = Webhook {
            at: clock.epoch(),
            time: clock.epoch(),
            dev_eui: DevEui::from_u64(0x2020_20ff_5033_0000),
            class: DeviceClass::C,
            event,
            wire,
        };
        let tags = BTreeMap::from([("desk".to_owned(), "0".to_owned())]);
        let about = About {
            identity: &Identity::default(),
            device_name: "desk-5033-000",
            tags: &tags,
            clock,
        };
        write(&webhook, about, encoding).unwrap()
    }

    fn heard_by(gateways: u64, payload_len: usize) -> (NetworkEvent, Wire) {
        let reception = |number| Reception {
            gateway_id: GatewayId::from_u64(0x0016_c001_5033_0000 + number),
            rssi_dbm: -85,
            snr_db: 9.0,
        };
        let uplink = Uplink {
            deduplication_id: Some(Uuid::from_u128(1)),
            dev_addr: Some(DevAddr::from_u32(0x005a_28e6)),
            f_cnt: 7,
            f_port: FPort::from_uplink(15),
            confirmed: false,
            payload: vec![0; payload_len],
            data_rate: 5,
            modulation: None,
            class: Some(DeviceClass::C),
            receptions: (0..gateways).map(reception).collect(),
            battery_percent: None,
            received_at: None,
        };
        let wire = Wire::Up {
            adr: true,
            frequency_hz: 868_100_000,
            spreading_factor: 7,
        };
        (NetworkEvent::Heard(uplink), wire)
    }

    fn item() -> QueueItemId {
        QueueItemId::from_uuid(Uuid::from_u128(2))
    }

    fn transmitted() -> (NetworkEvent, Wire) {
        let event = Transmitted {
            queue_item_id: Some(item()),
            f_cnt_down: 5,
            gateway_id: Some(GatewayId::from_u64(0x0016_c001_5033_0001)),
            modulation: None,
            frequency_hz: None,
            timing: None,
        };
        let wire = Wire::TxAck {
            downlink_id: 145_571_541,
            delay_s: None,
            frequency_hz: 869_525_000,
            spreading_factor: 12,
        };
        (NetworkEvent::Transmitted(event), wire)
    }

    fn acknowledged(acknowledged: bool, deduplication_id: Option<Uuid>) -> (NetworkEvent, Wire) {
        let event = Acknowledged {
            queue_item_id: Some(item()),
            acknowledged,
            f_cnt_down: 6,
        };
        (
            NetworkEvent::Acknowledged(event),
            Wire::Ack { deduplication_id },
        )
    }

    fn expired() -> (NetworkEvent, Wire) {
        let event = Dropped {
            queue_item_id: item(),
            reason: DropReason::Expired,
        };
        let wire = Wire::Log {
            code: "EXPIRED",
            description: "Device queue-item discarded because it has expired".to_owned(),
            context: vec![("queue_item_id", item().to_string())],
        };
        (NetworkEvent::Dropped(event), wire)
    }

    fn refused() -> (NetworkEvent, Wire) {
        let wire = Wire::Log {
            code: "DOWNLINK_GATEWAY",
            description: "TOO_LATE".to_owned(),
            context: Vec::new(),
        };
        (
            NetworkEvent::Refused(Refused {
                status: "TOO_LATE".to_owned(),
            }),
            wire,
        )
    }

    fn joined() -> (NetworkEvent, Wire) {
        let event = Joined {
            deduplication_id: Some(Uuid::from_u128(3)),
            dev_addr: Some(DevAddr::from_u32(0x005a_28e6)),
        };
        (NetworkEvent::Joined(event), Wire::Join)
    }

    fn status() -> (NetworkEvent, Wire) {
        let event = StatusReported {
            margin_db: 8,
            external_power: true,
            battery_percent: None,
        };
        (
            NetworkEvent::StatusReported(event),
            Wire::Status {
                deduplication_id: Uuid::from_u128(4),
            },
        )
    }

    #[test]
    fn json_bodies_have_every_field_of_the_real_ones_and_no_other() {
        let cases = [
            (
                "up",
                heard_by(3, 24),
                include_str!("../../tests/fixtures/up-status-3gw.json"),
            ),
            (
                "up",
                heard_by(1, 24),
                include_str!("../../tests/fixtures/up-status-1gw.json"),
            ),
            (
                "up",
                heard_by(3, 25),
                include_str!("../../tests/fixtures/up-verifies.json"),
            ),
            (
                "txack",
                transmitted(),
                include_str!("../../tests/fixtures/txack.json"),
            ),
            (
                "ack",
                acknowledged(false, None),
                include_str!("../../tests/fixtures/ack-false.json"),
            ),
            (
                "ack",
                acknowledged(true, Some(Uuid::nil())),
                include_str!("../../tests/fixtures/ack-true.json"),
            ),
            (
                "log",
                expired(),
                include_str!("../../tests/fixtures/log-expired.json"),
            ),
            (
                "log",
                refused(),
                include_str!("../../tests/fixtures/log-tx-too-late.json"),
            ),
            (
                "join",
                joined(),
                include_str!("../../tests/fixtures/join.json"),
            ),
            (
                "status",
                status(),
                include_str!("../../tests/fixtures/status.json"),
            ),
        ];
        for (event, (network_event, wire), real) in cases {
            let body = write_as(network_event, wire, Encoding::Json);
            assert_eq!(body.event, event);
            assert_eq!(shape_of(&body.bytes), shape_of(real.as_bytes()), "{event}");
        }
    }

    #[test]
    fn constant_values_are_those_of_the_real_bodies() {
        for ((event, wire), real) in [
            (
                transmitted(),
                include_str!("../../tests/fixtures/txack.json"),
            ),
            (
                expired(),
                include_str!("../../tests/fixtures/log-expired.json"),
            ),
            (
                refused(),
                include_str!("../../tests/fixtures/log-tx-too-late.json"),
            ),
            (status(), include_str!("../../tests/fixtures/status.json")),
        ] {
            let ours: Value =
                serde_json::from_slice(&write_as(event, wire, Encoding::Json).bytes).unwrap();
            let real: Value = serde_json::from_str(real).unwrap();
            for key in [
                "level",
                "code",
                "description",
                "margin",
                "externalPowerSource",
                "batteryLevel",
                "fCntDown",
            ] {
                assert_eq!(ours[key], real[key], "{key}");
            }
            assert_eq!(ours["txInfo"]["modulation"], real["txInfo"]["modulation"]);
            assert_eq!(ours["txInfo"]["timing"], real["txInfo"]["timing"]);
            assert_eq!(
                ours["deviceInfo"]["deviceClassEnabled"],
                real["deviceInfo"]["deviceClassEnabled"]
            );
            assert_eq!(ours["deviceInfo"]["tags"], real["deviceInfo"]["tags"]);
        }
    }

    #[test]
    fn times_have_six_or_nine_decimals() {
        let decimals = |(event, wire): (NetworkEvent, Wire)| {
            let body: Value =
                serde_json::from_slice(&write_as(event, wire, Encoding::Json).bytes).unwrap();
            let time = body["time"].as_str().unwrap().to_owned();
            assert!(time.ends_with("+00:00"), "{time}");
            time.split('.').nth(1).unwrap().len() - "+00:00".len()
        };
        assert_eq!((decimals(heard_by(1, 24)), decimals(transmitted())), (6, 9));
    }

    #[test]
    fn protobuf_bodies_say_the_same() {
        let (event, wire) = heard_by(3, 24);
        let body = write_as(event, wire, Encoding::Protobuf);
        let event = UplinkEvent::decode(body.bytes.as_slice()).unwrap();
        assert_eq!(
            (event.f_cnt, event.rx_info.len(), event.data.len()),
            (7, 3, 24)
        );
    }
}
