//! ChirpStack v4, Protobuf (`application/octet-stream`), by the types of ChirpStack's published API.
//!
//! Protobuf skips unknown fields by itself, and enumerations arrive as numbers, so that an unknown one is kept as its
//! digits.

use std::collections::BTreeMap;

use chirpstack_api::common::DeviceClass as ClassEnabled;
use chirpstack_api::gw;
use chirpstack_api::integration::{
    AckEvent, DeviceInfo, JoinEvent, LocationEvent, LogCode, LogEvent, LogLevel, StatusEvent,
    TxAckEvent, UplinkEvent,
};
use downbeat_core::network::{
    Acknowledged, Joined, NetworkEvent, Reception, StatusReported, Transmitted, Uplink,
};
use downbeat_core::radio::{DeviceClass, Modulation};
use downbeat_core::time::Timestamp;
use prost::Message;

use super::history::{Extra, entry};
use super::{EventKind, Incoming, ParseWebhookError, field};

/// The event of an integration (up to 4.13), which the published API has no more: as much of it as is used.
#[derive(Clone, PartialEq, Message)]
struct IntegrationEvent {
    #[prost(message, optional, tag = "3")]
    device_info: Option<DeviceInfo>,
    #[prost(message, optional, tag = "6")]
    object: Option<pbjson_types::Struct>,
}

pub(super) fn parse(
    kind: EventKind,
    body: &[u8],
    received_at: Timestamp,
) -> Result<Incoming, ParseWebhookError> {
    let (device, event, object, context) = match kind {
        EventKind::Up => {
            let mut up = read::<UplinkEvent>(body)?;
            let (device, object) = (up.device_info.take(), up.object.take());
            (device.clone(), heard(up, device.as_ref())?, object, None)
        }
        EventKind::Join => {
            let join = read::<JoinEvent>(body)?;
            let event = NetworkEvent::Joined(Joined {
                deduplication_id: field::uuid("deduplicationId", &join.deduplication_id)?,
                dev_addr: field::dev_addr(&join.dev_addr)?,
            });
            (join.device_info, event, None, None)
        }
        EventKind::Ack => {
            let ack = read::<AckEvent>(body)?;
            let event = NetworkEvent::Acknowledged(Acknowledged {
                queue_item_id: field::queue_item_id(&ack.queue_item_id)?,
                acknowledged: ack.acknowledged,
                f_cnt_down: ack.f_cnt_down,
            });
            (ack.device_info, event, None, None)
        }
        EventKind::TxAck => {
            let mut ack = read::<TxAckEvent>(body)?;
            (ack.device_info.take(), transmitted(&ack)?, None, None)
        }
        EventKind::Log => {
            let log = read::<LogEvent>(body)?;
            let item = log.context.get("queue_item_id").map(String::as_str);
            let event = field::log(&level(log.level), &code(log.code), &log.description, item);
            (log.device_info, event, None, Some(log.context))
        }
        EventKind::Status => {
            let status = read::<StatusEvent>(body)?;
            let event = NetworkEvent::StatusReported(StatusReported {
                margin_db: status.margin,
                external_power: status.external_power_source,
                battery_percent: field::battery_percent(
                    status.battery_level,
                    status.battery_level_unavailable,
                    status.external_power_source,
                )?,
            });
            (status.device_info, event, None, None)
        }
        EventKind::Location => {
            let it = read::<LocationEvent>(body)?;
            let location = it.location.ok_or(field::wrong("location", "is missing"))?;
            let event = NetworkEvent::Located(field::location(
                location.latitude,
                location.longitude,
                location.altitude,
            )?);
            (it.device_info, event, None, None)
        }
        EventKind::Integration => {
            let it = read::<IntegrationEvent>(body)?;
            (it.device_info, NetworkEvent::Integrated, it.object, None)
        }
    };
    let device = device.ok_or(field::wrong("deviceInfo", "is missing"))?;
    // A Struct always has a JSON form; a number in it that has none is null there.
    let object = object.and_then(|object| serde_json::value::to_raw_value(&object).ok());
    let context: Option<BTreeMap<&str, &str>> = context.as_ref().map(|context| {
        let pairs = context.iter();
        pairs.map(|(name, value)| (&**name, &**value)).collect()
    });
    let extra = Extra {
        object: object.as_deref(),
        context: context.as_ref(),
    };
    incoming(&device, kind, event, &extra, received_at)
}

fn read<T: Message + Default>(body: &[u8]) -> Result<T, ParseWebhookError> {
    T::decode(body).map_err(ParseWebhookError::Protobuf)
}

fn incoming(
    device: &DeviceInfo,
    kind: EventKind,
    event: NetworkEvent,
    extra: &Extra<'_>,
    received_at: Timestamp,
) -> Result<Incoming, ParseWebhookError> {
    Ok(Incoming {
        dev_eui: field::dev_eui(&device.dev_eui)?,
        device_name: field::text(&device.device_name),
        chirpstack_tenant_id: field::uuid("deviceInfo.tenantId", &device.tenant_id)?,
        chirpstack_application_id: field::uuid("deviceInfo.applicationId", &device.application_id)?,
        device_profile_id: field::uuid("deviceInfo.deviceProfileId", &device.device_profile_id)?,
        history: entry(kind, &event, extra, received_at),
        event,
    })
}

fn heard(up: UplinkEvent, device: Option<&DeviceInfo>) -> Result<NetworkEvent, ParseWebhookError> {
    let copies: Result<Vec<_>, _> = up.rx_info.iter().map(reception).collect();
    let modulation = up.tx_info.and_then(|tx_info| tx_info.modulation);
    Ok(NetworkEvent::Heard(Uplink {
        deduplication_id: field::uuid("deduplicationId", &up.deduplication_id)?,
        dev_addr: field::dev_addr(&up.dev_addr)?,
        f_cnt: up.f_cnt,
        f_port: field::f_port(up.f_port)?,
        confirmed: up.confirmed,
        payload: field::payload(up.data)?,
        data_rate: field::data_rate(up.dr)?,
        modulation: modulation_of(modulation.as_ref())?,
        class: device.and_then(|device| class(device.device_class_enabled)),
        receptions: field::receptions(copies?),
        battery_percent: None,
        received_at: up.time.and_then(|time| {
            let nanos = u32::try_from(time.nanos).unwrap_or_default();
            chrono::DateTime::from_timestamp(time.seconds, nanos).map(Timestamp::from)
        }),
    }))
}

fn reception(copy: &gw::UplinkRxInfo) -> Result<Reception, ParseWebhookError> {
    Ok(Reception {
        gateway_id: field::gateway_id("rxInfo.gatewayId", &copy.gateway_id)?,
        rssi_dbm: copy.rssi,
        snr_db: field::snr_db(copy.snr)?,
    })
}

fn transmitted(ack: &TxAckEvent) -> Result<NetworkEvent, ParseWebhookError> {
    let gateway_id = match &*ack.gateway_id {
        "" => None,
        text => Some(field::gateway_id("gatewayId", text)?),
    };
    let tx_info = ack.tx_info.as_ref();
    Ok(NetworkEvent::Transmitted(Transmitted {
        queue_item_id: field::queue_item_id(&ack.queue_item_id)?,
        f_cnt_down: ack.f_cnt_down,
        gateway_id,
        modulation: modulation_of(tx_info.and_then(|it| it.modulation.as_ref()))?,
        frequency_hz: tx_info.map(|it| it.frequency).filter(|hz| *hz > 0),
    }))
}

fn modulation_of(
    modulation: Option<&gw::Modulation>,
) -> Result<Option<Modulation>, ParseWebhookError> {
    use gw::modulation::Parameters;
    match modulation.and_then(|it| it.parameters.as_ref()) {
        Some(Parameters::Lora(lora)) => field::lora(lora.spreading_factor, lora.bandwidth),
        Some(Parameters::Fsk(fsk)) => Ok(field::fsk(fsk.datarate)),
        Some(Parameters::LrFhss(_)) | None => Ok(None),
    }
}

fn class(number: i32) -> Option<DeviceClass> {
    match ClassEnabled::try_from(number).ok()? {
        ClassEnabled::ClassA => Some(DeviceClass::A),
        ClassEnabled::ClassB => Some(DeviceClass::B),
        ClassEnabled::ClassC => Some(DeviceClass::C),
    }
}

fn level(number: i32) -> String {
    LogLevel::try_from(number).map_or_else(
        |_| number.to_string(),
        |level| level.as_str_name().to_owned(),
    )
}

fn code(number: i32) -> String {
    LogCode::try_from(number)
        .map_or_else(|_| number.to_string(), |code| code.as_str_name().to_owned())
}
