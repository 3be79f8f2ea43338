//! ChirpStack v4, Protobuf (`application/octet-stream`), by the types of ChirpStack's published API.
//!
//! Protobuf skips unknown fields by itself, and enumerations arrive as numbers, so that an unknown one is kept as its
//! digits.

use std::borrow::Cow;

use chirpstack_api::common::DeviceClass as ClassEnabled;
use chirpstack_api::gw;
use chirpstack_api::integration::{
    AckEvent, DeviceInfo, JoinEvent, LocationEvent, LogCode, LogEvent, LogLevel, StatusEvent,
    TxAckEvent, UplinkEvent,
};
use downbeat_core::network::{
    Acknowledged, Joined, NetworkEvent, Reception, StatusReported, Timing, Transmitted, Uplink,
};
use downbeat_core::radio::{DeviceClass, Modulation};
use downbeat_core::time::Timestamp;
use prost::Message;
use serde_json::value::RawValue;

use super::content::{self, Content};
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
    match kind {
        EventKind::Up => {
            let mut up = read::<UplinkEvent>(body)?;
            let device = up.device_info.take();
            let object = up.object.take().and_then(|object| raw(&object));
            let content = Content::of(object, &up.data);
            let event = heard(up, device.as_ref(), content.battery_percent)?;
            incoming(device, kind, event, Extra::of(content), received_at)
        }
        EventKind::Join => {
            let join = read::<JoinEvent>(body)?;
            let event = NetworkEvent::Joined(Joined {
                deduplication_id: field::uuid("deduplicationId", &join.deduplication_id)?,
                dev_addr: field::dev_addr(&join.dev_addr)?,
            });
            incoming(join.device_info, kind, event, Extra::default(), received_at)
        }
        EventKind::Ack => {
            let ack = read::<AckEvent>(body)?;
            let event = NetworkEvent::Acknowledged(Acknowledged {
                queue_item_id: field::queue_item_id(&ack.queue_item_id)?,
                acknowledged: ack.acknowledged,
                f_cnt_down: ack.f_cnt_down,
            });
            incoming(ack.device_info, kind, event, Extra::default(), received_at)
        }
        EventKind::TxAck => {
            let ack = read::<TxAckEvent>(body)?;
            let event = transmitted(&ack)?;
            incoming(ack.device_info, kind, event, Extra::default(), received_at)
        }
        EventKind::Log | EventKind::Error => {
            let log = read::<LogEvent>(body)?;
            let item = log.context.get("queue_item_id").map(String::as_str);
            let event = field::log(&level(log.level), &code(log.code), &log.description, item);
            let context = log.context.iter();
            let context = context.map(|(name, value)| (&**name, &**value)).collect();
            let extra = Extra {
                context: Some(&context),
                ..Extra::default()
            };
            incoming(log.device_info, EventKind::Log, event, extra, received_at)
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
            incoming(
                status.device_info,
                kind,
                event,
                Extra::default(),
                received_at,
            )
        }
        EventKind::Location => {
            let it = read::<LocationEvent>(body)?;
            let location = it.location.ok_or(field::wrong("location", "is missing"))?;
            let event = NetworkEvent::Located(field::location(
                location.latitude,
                location.longitude,
                location.altitude,
            )?);
            incoming(it.device_info, kind, event, Extra::default(), received_at)
        }
        EventKind::Integration => {
            let it = read::<IntegrationEvent>(body)?;
            let content = Content::of(it.object.as_ref().and_then(raw), &[]);
            let event = NetworkEvent::Integrated;
            incoming(it.device_info, kind, event, Extra::of(content), received_at)
        }
    }
}

/// A decoded object as JSON. A Struct always has that form; a number in it that has none is null there.
fn raw(object: &pbjson_types::Struct) -> Option<Cow<'static, RawValue>> {
    serde_json::value::to_raw_value(object).ok().map(Cow::Owned)
}

fn read<T: Message + Default>(body: &[u8]) -> Result<T, ParseWebhookError> {
    T::decode(body).map_err(ParseWebhookError::Protobuf)
}

fn incoming(
    device: Option<DeviceInfo>,
    kind: EventKind,
    event: NetworkEvent,
    extra: Extra<'_>,
    received_at: Timestamp,
) -> Result<Incoming, ParseWebhookError> {
    let device = device.ok_or(field::wrong("deviceInfo", "is missing"))?;
    Ok(Incoming {
        dev_eui: field::dev_eui("deviceInfo.devEui", &device.dev_eui)?,
        device_name: field::text(&device.device_name),
        chirpstack_tenant_id: field::uuid("deviceInfo.tenantId", &device.tenant_id)?,
        chirpstack_application_id: field::uuid("deviceInfo.applicationId", &device.application_id)?,
        device_profile_id: field::uuid("deviceInfo.deviceProfileId", &device.device_profile_id)?,
        history: entry(kind, &event, &extra, received_at),
        telemetry: content::with_own_fields(&event, extra.telemetry),
        event,
    })
}

fn heard(
    up: UplinkEvent,
    device: Option<&DeviceInfo>,
    battery_percent: Option<f32>,
) -> Result<NetworkEvent, ParseWebhookError> {
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
        battery_percent,
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
        timing: tx_info.and_then(|it| timing_of(it.timing.as_ref())),
    }))
}

fn timing_of(timing: Option<&gw::Timing>) -> Option<Timing> {
    use gw::timing::Parameters;
    Some(match timing?.parameters.as_ref()? {
        Parameters::Immediately(_) => Timing::Immediately,
        Parameters::Delay(_) => Timing::AfterUplink,
        Parameters::GpsEpoch(_) => Timing::AtGpsTime,
    })
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
