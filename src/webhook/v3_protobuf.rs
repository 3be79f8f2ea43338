//! ChirpStack Application Server v3, Protobuf (`application/octet-stream`).
//!
//! Of the messages of `as/integration/integration.proto` and `gw/gw.proto` (chirpstack-api v3) there are the fields that
//! are used; the others are skipped. A body of v4 is never taken for one of these: where v3 has a number, v4 has a text.

use std::borrow::Cow;

use downbeat_core::id::{DevAddr, DevEui, GatewayId};
use downbeat_core::network::{
    Acknowledged, Joined, NetworkEvent, Reception, StatusReported, Timing, Transmitted, Uplink,
};
use downbeat_core::radio::Modulation;
use downbeat_core::time::Timestamp;
use pbjson_types::Timestamp as Time;
use prost::{Enumeration, Message, Oneof};

use super::content::{self, Content};
use super::history::{Extra, entry};
use super::{EventKind, Incoming, ParseWebhookError, field};

/// Reads a body; `None` when it is none of v3.
pub(super) fn parse(
    kind: EventKind,
    body: &[u8],
    received_at: Timestamp,
) -> Option<Result<Incoming, ParseWebhookError>> {
    let origin = Origin::decode(body)
        .ok()
        .filter(|it| it.application_id > 0)?;
    let dev_eui = <[u8; 8]>::try_from(&*origin.dev_eui).ok()?;
    let dev_eui = DevEui::from_u64(u64::from_be_bytes(dev_eui));
    Some(origin.incoming(dev_eui, kind, body, received_at))
}

impl Origin {
    fn incoming(
        self,
        dev_eui: DevEui,
        kind: EventKind,
        body: &[u8],
        received_at: Timestamp,
    ) -> Result<Incoming, ParseWebhookError> {
        let read = read(kind, body)?;
        Ok(Incoming {
            dev_eui,
            device_name: field::text(&self.device_name),
            chirpstack_tenant_id: None,
            // Applications of v3 have a number, which says nothing to v4.
            chirpstack_application_id: None,
            device_profile_id: read.device_profile_id,
            history: entry(kind, &read.event, &read.extra, received_at),
            telemetry: content::with_own_fields(&read.event, read.extra.telemetry),
            event: read.event,
        })
    }
}

/// What an event says beside its device.
struct Read {
    event: NetworkEvent,
    device_profile_id: Option<uuid::Uuid>,
    extra: Extra<'static>,
}

impl From<NetworkEvent> for Read {
    fn from(event: NetworkEvent) -> Self {
        Self {
            event,
            device_profile_id: None,
            extra: Extra::default(),
        }
    }
}

fn read(kind: EventKind, body: &[u8]) -> Result<Read, ParseWebhookError> {
    match kind {
        EventKind::Up => heard(decode(body)?),
        EventKind::Join => {
            let join = decode::<JoinEvent>(body)?;
            let event = NetworkEvent::Joined(Joined {
                deduplication_id: None,
                dev_addr: dev_addr(&join.dev_addr)?,
            });
            Ok(event.into())
        }
        EventKind::Ack => {
            let ack = decode::<AckEvent>(body)?;
            let event = NetworkEvent::Acknowledged(Acknowledged {
                queue_item_id: None,
                acknowledged: ack.acknowledged,
                f_cnt_down: ack.f_cnt,
            });
            Ok(event.into())
        }
        EventKind::TxAck => transmitted(&decode(body)?).map(Read::from),
        // v3 has no log of its own.
        EventKind::Error | EventKind::Log => {
            let error = decode::<ErrorEvent>(body)?;
            let code = ErrorType::try_from(error.kind);
            let code = code.map_or_else(|_| Cow::Owned(error.kind.to_string()), ErrorType::name);
            Ok(field::error(&code, &error.error).into())
        }
        EventKind::Status => {
            let status = decode::<StatusEvent>(body)?;
            let event = NetworkEvent::StatusReported(StatusReported {
                margin_db: status.margin,
                external_power: status.external_power_source,
                battery_percent: field::battery_percent(
                    status.battery_level,
                    status.battery_level_unavailable,
                    status.external_power_source,
                )?,
            });
            Ok(event.into())
        }
        EventKind::Location => {
            let it = decode::<LocationEvent>(body)?;
            let location = it.location.ok_or(field::wrong("location", "is missing"))?;
            let (latitude, longitude) = (location.latitude, location.longitude);
            let location = field::location(latitude, longitude, location.altitude)?;
            Ok(NetworkEvent::Located(location).into())
        }
        EventKind::Integration => {
            let it = decode::<IntegrationEvent>(body)?;
            let object = content::raw_of_text(&it.object_json).map(Cow::Owned);
            Ok(Read {
                extra: Extra::of(Content::of(object, &[])),
                ..NetworkEvent::Integrated.into()
            })
        }
    }
}

fn decode<T: Message + Default>(body: &[u8]) -> Result<T, ParseWebhookError> {
    T::decode(body).map_err(ParseWebhookError::Protobuf)
}

fn heard(up: UplinkEvent) -> Result<Read, ParseWebhookError> {
    let copies: Result<Vec<_>, _> = up.rx_info.iter().map(UplinkRxInfo::reception).collect();
    let time = up.rx_info.iter().find_map(|copy| copy.time.as_ref());
    let time = time.or(up.published_at.as_ref());
    let object = content::raw_of_text(&up.object_json).map(Cow::Owned);
    let content = Content::of(object, &up.data);
    let event = NetworkEvent::Heard(Uplink {
        deduplication_id: None,
        dev_addr: dev_addr(&up.dev_addr)?,
        f_cnt: up.f_cnt,
        f_port: field::f_port(up.f_port)?,
        confirmed: up.confirmed_uplink,
        data_rate: field::data_rate(up.dr)?,
        modulation: match up.tx_info.and_then(|it| it.modulation) {
            Some(UplinkModulation::Lora(lora)) => lora.modulation()?,
            Some(UplinkModulation::Fsk(fsk)) => field::fsk(fsk.datarate),
            None => None,
        },
        class: None,
        receptions: field::receptions(copies?),
        battery_percent: content.battery_percent,
        received_at: time.and_then(|time| {
            let nanos = u32::try_from(time.nanos).unwrap_or_default();
            chrono::DateTime::from_timestamp(time.seconds, nanos).map(Timestamp::from)
        }),
        payload: field::payload(up.data)?,
    });
    Ok(Read {
        event,
        device_profile_id: field::uuid("deviceProfileID", &up.device_profile_id)?,
        extra: Extra::of(content),
    })
}

fn transmitted(ack: &TxAckEvent) -> Result<NetworkEvent, ParseWebhookError> {
    let tx_info = ack.tx_info.as_ref();
    let gateway = match &*ack.gateway_id {
        [] => tx_info.map_or(&[][..], |it| &it.gateway_id),
        own => own,
    };
    Ok(NetworkEvent::Transmitted(Transmitted {
        queue_item_id: None,
        f_cnt_down: ack.f_cnt,
        gateway_id: match gateway {
            [] => None,
            bytes => Some(gateway_id(bytes)?),
        },
        modulation: match tx_info.and_then(|it| it.modulation.as_ref()) {
            Some(DownlinkModulation::Lora(lora)) => lora.modulation()?,
            Some(DownlinkModulation::Fsk(fsk)) => field::fsk(fsk.datarate),
            None => None,
        },
        frequency_hz: tx_info.map(|it| it.frequency).filter(|hz| *hz > 0),
        timing: tx_info
            .and_then(|it| it.timing.as_ref())
            .map(|it| match it {
                DownlinkTiming::Immediately(()) => Timing::Immediately,
                DownlinkTiming::Delay(()) => Timing::AfterUplink,
                DownlinkTiming::GpsEpoch(()) => Timing::AtGpsTime,
            }),
    }))
}

fn gateway_id(bytes: &[u8]) -> Result<GatewayId, ParseWebhookError> {
    let bytes = bytes.try_into();
    let bytes = bytes.map_err(|_| field::wrong("gatewayID", "must have 8 bytes"))?;
    Ok(GatewayId::from_u64(u64::from_be_bytes(bytes)))
}

fn dev_addr(bytes: &[u8]) -> Result<Option<DevAddr>, ParseWebhookError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let bytes = bytes.try_into();
    let bytes = bytes.map_err(|_| field::wrong("devAddr", "must have 4 bytes"))?;
    Ok(Some(DevAddr::from_u32(u32::from_be_bytes(bytes))))
}

/// What all events have in common. The number, from 1 on, tells a body of v3 from one of v4, which has a text there or
/// else (`txack`) no text of 8 bytes in the place of the `DevEUI`.
#[derive(Clone, PartialEq, Message)]
struct Origin {
    #[prost(uint64, tag = "1")]
    application_id: u64,
    #[prost(string, tag = "3")]
    device_name: String,
    #[prost(bytes = "vec", tag = "4")]
    dev_eui: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct UplinkEvent {
    #[prost(message, repeated, tag = "5")]
    rx_info: Vec<UplinkRxInfo>,
    #[prost(message, optional, tag = "6")]
    tx_info: Option<UplinkTxInfo>,
    #[prost(uint32, tag = "8")]
    dr: u32,
    #[prost(uint32, tag = "9")]
    f_cnt: u32,
    #[prost(uint32, tag = "10")]
    f_port: u32,
    #[prost(bytes = "vec", tag = "11")]
    data: Vec<u8>,
    #[prost(string, tag = "12")]
    object_json: String,
    #[prost(bool, tag = "14")]
    confirmed_uplink: bool,
    #[prost(bytes = "vec", tag = "15")]
    dev_addr: Vec<u8>,
    #[prost(message, optional, tag = "16")]
    published_at: Option<Time>,
    #[prost(string, tag = "17")]
    device_profile_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct JoinEvent {
    #[prost(bytes = "vec", tag = "5")]
    dev_addr: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct AckEvent {
    #[prost(bool, tag = "5")]
    acknowledged: bool,
    #[prost(uint32, tag = "6")]
    f_cnt: u32,
}

#[derive(Clone, PartialEq, Message)]
struct TxAckEvent {
    #[prost(uint32, tag = "5")]
    f_cnt: u32,
    #[prost(bytes = "vec", tag = "7")]
    gateway_id: Vec<u8>,
    #[prost(message, optional, tag = "8")]
    tx_info: Option<DownlinkTxInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct ErrorEvent {
    #[prost(int32, tag = "5")]
    kind: i32,
    #[prost(string, tag = "6")]
    error: String,
}

#[derive(Clone, PartialEq, Message)]
struct StatusEvent {
    #[prost(int32, tag = "5")]
    margin: i32,
    #[prost(bool, tag = "6")]
    external_power_source: bool,
    #[prost(bool, tag = "7")]
    battery_level_unavailable: bool,
    #[prost(float, tag = "8")]
    battery_level: f32,
}

#[derive(Clone, PartialEq, Message)]
struct LocationEvent {
    #[prost(message, optional, tag = "5")]
    location: Option<Location>,
}

#[derive(Clone, PartialEq, Message)]
struct IntegrationEvent {
    #[prost(string, tag = "8")]
    object_json: String,
}

/// Kinds of errors (`ErrorType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
enum ErrorType {
    Unknown = 0,
    DownlinkPayloadSize = 1,
    DownlinkFcnt = 2,
    UplinkCodec = 3,
    DownlinkCodec = 4,
    Otaa = 5,
    UplinkFcntReset = 6,
    UplinkMic = 7,
    UplinkFcntRetransmission = 8,
    DownlinkGateway = 9,
}

impl ErrorType {
    /// The word, as JSON has it.
    fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Unknown => "UNKNOWN",
            Self::DownlinkPayloadSize => "DOWNLINK_PAYLOAD_SIZE",
            Self::DownlinkFcnt => "DOWNLINK_FCNT",
            Self::UplinkCodec => "UPLINK_CODEC",
            Self::DownlinkCodec => "DOWNLINK_CODEC",
            Self::Otaa => "OTAA",
            Self::UplinkFcntReset => "UPLINK_FCNT_RESET",
            Self::UplinkMic => "UPLINK_MIC",
            Self::UplinkFcntRetransmission => "UPLINK_FCNT_RETRANSMISSION",
            Self::DownlinkGateway => "DOWNLINK_GATEWAY",
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct UplinkRxInfo {
    #[prost(bytes = "vec", tag = "1")]
    gateway_id: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    time: Option<Time>,
    #[prost(int32, tag = "5")]
    rssi: i32,
    #[prost(double, tag = "6")]
    lora_snr: f64,
}

impl UplinkRxInfo {
    fn reception(&self) -> Result<Reception, ParseWebhookError> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "gateways report quarters of a dB"
        )]
        let snr_db = self.lora_snr as f32;
        Ok(Reception {
            gateway_id: gateway_id(&self.gateway_id)?,
            rssi_dbm: self.rssi,
            snr_db: field::snr_db(snr_db)?,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct UplinkTxInfo {
    #[prost(oneof = "UplinkModulation", tags = "3, 4")]
    modulation: Option<UplinkModulation>,
}

#[derive(Clone, PartialEq, Oneof)]
enum UplinkModulation {
    #[prost(message, tag = "3")]
    Lora(LoraModulationInfo),
    #[prost(message, tag = "4")]
    Fsk(FskModulationInfo),
}

#[derive(Clone, PartialEq, Message)]
struct DownlinkTxInfo {
    #[prost(bytes = "vec", tag = "1")]
    gateway_id: Vec<u8>,
    #[prost(uint32, tag = "5")]
    frequency: u32,
    #[prost(oneof = "DownlinkModulation", tags = "8, 9")]
    modulation: Option<DownlinkModulation>,
    /// The number beside it (12) is 0 where nothing is told, too.
    #[prost(oneof = "DownlinkTiming", tags = "13, 14, 15")]
    timing: Option<DownlinkTiming>,
}

#[derive(Clone, PartialEq, Oneof)]
enum DownlinkTiming {
    #[prost(message, tag = "13")]
    Immediately(()),
    #[prost(message, tag = "14")]
    Delay(()),
    #[prost(message, tag = "15")]
    GpsEpoch(()),
}

#[derive(Clone, PartialEq, Oneof)]
enum DownlinkModulation {
    #[prost(message, tag = "8")]
    Lora(LoraModulationInfo),
    #[prost(message, tag = "9")]
    Fsk(FskModulationInfo),
}

#[derive(Clone, PartialEq, Message)]
struct LoraModulationInfo {
    /// In kHz.
    #[prost(uint32, tag = "1")]
    bandwidth: u32,
    #[prost(uint32, tag = "2")]
    spreading_factor: u32,
}

impl LoraModulationInfo {
    fn modulation(&self) -> Result<Option<Modulation>, ParseWebhookError> {
        field::lora(self.spreading_factor, field::bandwidth_hz(self.bandwidth))
    }
}

#[derive(Clone, PartialEq, Message)]
struct FskModulationInfo {
    #[prost(uint32, tag = "2")]
    datarate: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(double, tag = "1")]
    latitude: f64,
    #[prost(double, tag = "2")]
    longitude: f64,
    #[prost(double, tag = "3")]
    altitude: f64,
}
