//! ChirpStack v4, JSON (Protobuf's JSON mapping, camelCase).
//!
//! Lean on purpose: texts are borrowed from the body and what is not used is not built, which makes this four times as
//! fast as the published API's own types, and those refuse a whole event for one unknown enumeration word.

use std::collections::BTreeMap;

use downbeat_core::network::{
    Acknowledged, Joined, NetworkEvent, Reception, StatusReported, Timing, Transmitted, Uplink,
};
use downbeat_core::radio::Modulation;
use downbeat_core::time::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, de};
use serde_json::value::RawValue;

use super::content::{self, Content};
use super::history::{Extra, entry};
use super::text::Text;
use super::{EventKind, Incoming, ParseWebhookError, field};

pub(super) fn parse(
    kind: EventKind,
    body: &[u8],
    received_at: Timestamp,
) -> Result<Incoming, ParseWebhookError> {
    match kind {
        EventKind::Up => read::<Up>(body).and_then(|up| up.into_incoming(received_at)),
        EventKind::Join => read::<Join>(body).and_then(|join| join.into_incoming(received_at)),
        EventKind::Ack => read::<Ack>(body).and_then(|ack| ack.into_incoming(received_at)),
        EventKind::TxAck => read::<TxAck>(body).and_then(|ack| ack.into_incoming(received_at)),
        EventKind::Log | EventKind::Error => {
            read::<Log>(body).and_then(|log| log.into_incoming(received_at))
        }
        EventKind::Status => read::<Status>(body).and_then(|it| it.into_incoming(received_at)),
        EventKind::Location => read::<Located>(body).and_then(|it| it.into_incoming(received_at)),
        EventKind::Integration => {
            read::<Integration>(body).and_then(|it| it.into_incoming(received_at))
        }
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ParseWebhookError> {
    // An array would be read as the fields in their order, which nobody means.
    if body.trim_ascii_start().first() == Some(&b'[') {
        let error = de::Error::custom("an event is an object");
        return Err(ParseWebhookError::Json(error));
    }
    serde_json::from_slice(body).map_err(ParseWebhookError::Json)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DeviceInfo<'a> {
    #[serde(borrow)]
    tenant_id: Text<'a>,
    application_id: Text<'a>,
    device_profile_id: Text<'a>,
    device_name: Text<'a>,
    dev_eui: Text<'a>,
    device_class_enabled: Text<'a>,
}

impl DeviceInfo<'_> {
    fn incoming(
        device: Option<&Self>,
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
            chirpstack_application_id: field::uuid(
                "deviceInfo.applicationId",
                &device.application_id,
            )?,
            device_profile_id: field::uuid(
                "deviceInfo.deviceProfileId",
                &device.device_profile_id,
            )?,
            history: entry(kind, &event, &extra, received_at),
            telemetry: content::with_own_fields(&event, extra.telemetry),
            event,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Up<'a> {
    #[serde(borrow)]
    device_info: Option<DeviceInfo<'a>>,
    #[serde(default)]
    deduplication_id: Text<'a>,
    #[serde(default)]
    time: Text<'a>,
    #[serde(default)]
    dev_addr: Text<'a>,
    dr: Option<u32>,
    f_cnt: Option<u32>,
    f_port: Option<u32>,
    confirmed: Option<bool>,
    #[serde(default)]
    data: Text<'a>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    rx_info: Option<Vec<RxInfo<'a>>>,
    tx_info: Option<TxInfo>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RxInfo<'a> {
    #[serde(borrow)]
    gateway_id: Text<'a>,
    rssi: Option<i32>,
    snr: Option<f32>,
}

impl RxInfo<'_> {
    fn reception(&self) -> Result<Reception, ParseWebhookError> {
        Ok(Reception {
            gateway_id: field::gateway_id("rxInfo.gatewayId", &self.gateway_id)?,
            rssi_dbm: self.rssi.unwrap_or_default(),
            snr_db: field::snr_db(self.snr.unwrap_or_default())?,
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TxInfo {
    frequency: Option<u32>,
    modulation: Option<TxModulation>,
    timing: Option<TxTiming>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TxTiming {
    immediately: Option<IgnoredAny>,
    delay: Option<IgnoredAny>,
    gps_epoch: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TxModulation {
    lora: Option<Lora>,
    fsk: Option<Fsk>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Lora {
    bandwidth: Option<u32>,
    spreading_factor: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Fsk {
    datarate: Option<u32>,
}

impl TxInfo {
    fn timing(&self) -> Option<Timing> {
        let timing = self.timing.as_ref()?;
        field::timing(
            timing.immediately.is_some(),
            timing.delay.is_some(),
            timing.gps_epoch.is_some(),
        )
    }

    fn modulation(&self) -> Result<Option<Modulation>, ParseWebhookError> {
        let Some(modulation) = &self.modulation else {
            return Ok(None);
        };
        if let Some(lora) = &modulation.lora {
            return field::lora(
                lora.spreading_factor.unwrap_or_default(),
                lora.bandwidth.unwrap_or_default(),
            );
        }
        Ok(modulation
            .fsk
            .as_ref()
            .and_then(|fsk| field::fsk(fsk.datarate.unwrap_or_default())))
    }
}

impl Up<'_> {
    fn into_incoming(self, received_at: Timestamp) -> Result<Incoming, ParseWebhookError> {
        let class = self
            .device_info
            .as_ref()
            .map(|it| &*it.device_class_enabled);
        let copies: Result<Vec<_>, _> = self
            .rx_info
            .iter()
            .flatten()
            .map(RxInfo::reception)
            .collect();
        let payload = field::payload_base64(&self.data)?;
        let content = Content::of(content::raw(self.object), &payload);
        let event = NetworkEvent::Heard(Uplink {
            deduplication_id: field::uuid("deduplicationId", &self.deduplication_id)?,
            dev_addr: field::dev_addr(&self.dev_addr)?,
            f_cnt: self.f_cnt.unwrap_or_default(),
            f_port: field::f_port(self.f_port.unwrap_or_default())?,
            confirmed: self.confirmed.unwrap_or_default(),
            payload,
            data_rate: field::data_rate(self.dr.unwrap_or_default())?,
            modulation: self.tx_info.unwrap_or_default().modulation()?,
            class: class.and_then(field::class),
            receptions: field::receptions(copies?),
            battery_percent: content.battery_percent,
            received_at: field::time(&self.time),
        });
        DeviceInfo::incoming(
            self.device_info.as_ref(),
            EventKind::Up,
            event,
            Extra::of(content),
            received_at,
        )
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Join<'a> {
    #[serde(borrow)]
    device_info: Option<DeviceInfo<'a>>,
    #[serde(default)]
    deduplication_id: Text<'a>,
    #[serde(default)]
    dev_addr: Text<'a>,
}

impl Join<'_> {
    fn into_incoming(self, received_at: Timestamp) -> Result<Incoming, ParseWebhookError> {
        let event = NetworkEvent::Joined(Joined {
            deduplication_id: field::uuid("deduplicationId", &self.deduplication_id)?,
            dev_addr: field::dev_addr(&self.dev_addr)?,
        });
        DeviceInfo::incoming(
            self.device_info.as_ref(),
            EventKind::Join,
            event,
            Extra::default(),
            received_at,
        )
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ack<'a> {
    #[serde(borrow)]
    device_info: Option<DeviceInfo<'a>>,
    #[serde(default)]
    queue_item_id: Text<'a>,
    acknowledged: Option<bool>,
    f_cnt_down: Option<u32>,
}

impl Ack<'_> {
    fn into_incoming(self, received_at: Timestamp) -> Result<Incoming, ParseWebhookError> {
        let event = NetworkEvent::Acknowledged(Acknowledged {
            queue_item_id: field::queue_item_id(&self.queue_item_id)?,
            acknowledged: self.acknowledged.unwrap_or_default(),
            f_cnt_down: self.f_cnt_down.unwrap_or_default(),
        });
        DeviceInfo::incoming(
            self.device_info.as_ref(),
            EventKind::Ack,
            event,
            Extra::default(),
            received_at,
        )
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TxAck<'a> {
    #[serde(borrow)]
    device_info: Option<DeviceInfo<'a>>,
    #[serde(default)]
    queue_item_id: Text<'a>,
    f_cnt_down: Option<u32>,
    #[serde(default)]
    gateway_id: Text<'a>,
    tx_info: Option<TxInfo>,
}

impl TxAck<'_> {
    fn into_incoming(self, received_at: Timestamp) -> Result<Incoming, ParseWebhookError> {
        let tx_info = self.tx_info.unwrap_or_default();
        let gateway_id = match &*self.gateway_id {
            "" => None,
            text => Some(field::gateway_id("gatewayId", text)?),
        };
        let event = NetworkEvent::Transmitted(Transmitted {
            queue_item_id: field::queue_item_id(&self.queue_item_id)?,
            f_cnt_down: self.f_cnt_down.unwrap_or_default(),
            gateway_id,
            modulation: tx_info.modulation()?,
            frequency_hz: tx_info.frequency.filter(|frequency| *frequency > 0),
            timing: tx_info.timing(),
        });
        DeviceInfo::incoming(
            self.device_info.as_ref(),
            EventKind::TxAck,
            event,
            Extra::default(),
            received_at,
        )
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Log<'a> {
    #[serde(borrow)]
    device_info: Option<DeviceInfo<'a>>,
    #[serde(default)]
    level: Text<'a>,
    #[serde(default)]
    code: Text<'a>,
    #[serde(default)]
    description: Text<'a>,
    context: Option<BTreeMap<Text<'a>, Text<'a>>>,
}

impl Log<'_> {
    fn into_incoming(self, received_at: Timestamp) -> Result<Incoming, ParseWebhookError> {
        let context: BTreeMap<&str, &str> = self
            .context
            .iter()
            .flatten()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let item = context.get("queue_item_id").copied();
        let event = field::log(&self.level, &self.code, &self.description, item);
        let extra = Extra {
            context: Some(&context),
            ..Extra::default()
        };
        DeviceInfo::incoming(
            self.device_info.as_ref(),
            EventKind::Log,
            event,
            extra,
            received_at,
        )
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    #[serde(borrow)]
    device_info: Option<DeviceInfo<'a>>,
    margin: Option<i32>,
    external_power_source: Option<bool>,
    battery_level_unavailable: Option<bool>,
    battery_level: Option<f32>,
    /// Not ChirpStack's: somebody tells whether the device is there.
    #[serde(default, rename = "status")]
    word: Text<'a>,
    /// The same.
    online: Option<bool>,
}

impl Status<'_> {
    fn into_incoming(self, received_at: Timestamp) -> Result<Incoming, ParseWebhookError> {
        let event = match field::presence(self.online, &self.word)? {
            Some(online) => NetworkEvent::PresenceTold(online),
            None => self.reported()?,
        };
        DeviceInfo::incoming(
            self.device_info.as_ref(),
            EventKind::Status,
            event,
            Extra::default(),
            received_at,
        )
    }

    fn reported(&self) -> Result<NetworkEvent, ParseWebhookError> {
        let external_power = self.external_power_source.unwrap_or_default();
        Ok(NetworkEvent::StatusReported(StatusReported {
            margin_db: self.margin.unwrap_or_default(),
            external_power,
            battery_percent: field::battery_percent(
                self.battery_level.unwrap_or_default(),
                self.battery_level_unavailable.unwrap_or_default(),
                external_power,
            )?,
        }))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Located<'a> {
    #[serde(borrow)]
    device_info: Option<DeviceInfo<'a>>,
    location: Option<Position>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Position {
    latitude: Option<f64>,
    longitude: Option<f64>,
    altitude: Option<f64>,
}

impl Located<'_> {
    fn into_incoming(self, received_at: Timestamp) -> Result<Incoming, ParseWebhookError> {
        let position = self
            .location
            .ok_or(field::wrong("location", "is missing"))?;
        let event = NetworkEvent::Located(field::location(
            position.latitude.unwrap_or_default(),
            position.longitude.unwrap_or_default(),
            position.altitude.unwrap_or_default(),
        )?);
        DeviceInfo::incoming(
            self.device_info.as_ref(),
            EventKind::Location,
            event,
            Extra::default(),
            received_at,
        )
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Integration<'a> {
    #[serde(borrow)]
    device_info: Option<DeviceInfo<'a>>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
}

impl Integration<'_> {
    fn into_incoming(self, received_at: Timestamp) -> Result<Incoming, ParseWebhookError> {
        let extra = Extra::of(Content::of(content::raw(self.object), &[]));
        DeviceInfo::incoming(
            self.device_info.as_ref(),
            EventKind::Integration,
            NetworkEvent::Integrated,
            extra,
            received_at,
        )
    }
}
