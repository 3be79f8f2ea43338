//! ChirpStack Application Server v3, JSON: both of its marshalers, and what relays and scripts made of them.
//!
//! | | `json_v3` | `json` (Protobuf's JSON mapping) | mixed |
//! |---|---|---|---|
//! | device | `devEUI` in hex | `devEUI` in base64 | `devEUI` or `dev_eui`, either |
//! | decoded object | `object` | `objectJSON`, a text | either |
//! | data rate | `txInfo.dr` | `dr` | either |
//! | modulation | – | `txInfo.loRaModulationInfo` | either |
//! | confirmed | – | `confirmedUplink` | or `confirmed` |
//!
//! Because nobody wrote the mixed shape down, fields are found whatever their case and underscores, numbers and truth
//! values may be texts, and what is absent has its zero value. What is there has to be what it is called.

use std::borrow::Cow;

use downbeat_core::id::GatewayId;
use downbeat_core::network::{
    Acknowledged, Joined, Logged, NetworkEvent, Reception, StatusReported, Timing, Transmitted,
    Uplink,
};
use downbeat_core::radio::Modulation;
use downbeat_core::time::Timestamp;
use serde_json::value::to_raw_value;
use serde_json::{Map, Value};

use super::content::{self, Content};
use super::history::{Extra, entry};
use super::{EventKind, Incoming, ParseWebhookError, field};

/// Fields of an object in which names are looked for that are not written as v3 writes them.
const FIELDS_MAX: usize = 256;

/// Reads a body; `None` when it is none of v3.
pub(super) fn parse(
    kind: EventKind,
    body: &[u8],
    received_at: Timestamp,
) -> Option<Result<Incoming, ParseWebhookError>> {
    let body: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let body = Object(Some(&body));
    let is_v3 = body.get("deviceInfo").is_none() && body.get("devEUI").is_some();
    is_v3.then(|| incoming(kind, body, received_at))
}

fn incoming(
    kind: EventKind,
    body: Object<'_>,
    received_at: Timestamp,
) -> Result<Incoming, ParseWebhookError> {
    let dev_eui = field::dev_eui("devEUI", &body.text("devEUI")?)?;
    let (event, extra) = match kind {
        EventKind::Up => heard(body)?,
        EventKind::Join => (joined(body)?, Extra::default()),
        EventKind::Ack => (acknowledged(body)?, Extra::default()),
        EventKind::TxAck => (transmitted(body)?, Extra::default()),
        EventKind::Error => (error(body)?, Extra::default()),
        EventKind::Log => (log(body)?, Extra::default()),
        EventKind::Status => (status(body)?, Extra::default()),
        EventKind::Location => (located(body)?, Extra::default()),
        EventKind::Integration => {
            let content = Content::of(object(body), &[]);
            (NetworkEvent::Integrated, Extra::of(content))
        }
    };
    Ok(Incoming {
        dev_eui,
        device_name: field::text(&body.text("deviceName")?),
        chirpstack_tenant_id: None,
        // A number in v3; a relay that took the body from v4 may have kept the UUID.
        chirpstack_application_id: body.text("applicationID")?.parse().ok(),
        device_profile_id: body.text("deviceProfileID")?.parse().ok(),
        history: entry(kind, &event, &extra, received_at),
        telemetry: content::with_own_fields(&event, extra.telemetry),
        event,
    })
}

fn heard(up: Object<'_>) -> Result<(NetworkEvent, Extra<'static>), ParseWebhookError> {
    let (rx_info, tx_info) = (up.list("rxInfo")?, up.object("txInfo")?);
    let copies = rx_info
        .iter()
        .map(|copy| reception(Object(copy.as_object())));
    let copies: Result<Vec<_>, _> = copies.collect();
    let times = rx_info.iter().filter_map(|copy| {
        let time = Object(copy.as_object()).text("time").ok()?;
        field::time(&time)
    });
    let payload = field::payload_base64(&up.text("data")?)?;
    let content = Content::of(object(up), &payload);
    let told = percent(up)?.filter(|percent| (0.0..=100.0).contains(percent));
    let event = NetworkEvent::Heard(Uplink {
        deduplication_id: field::uuid("deduplicationId", &up.text("deduplicationId")?)?,
        dev_addr: field::dev_addr(&up.text("devAddr")?)?,
        f_cnt: up.whole("fCnt")?.unwrap_or_default(),
        f_port: field::f_port(up.whole("fPort")?.unwrap_or_default())?,
        confirmed: up
            .truth("confirmedUplink")?
            .or(up.truth("confirmed")?)
            .unwrap_or_default(),
        payload,
        data_rate: {
            let data_rate = up.whole("dr")?.or(tx_info.whole("dr")?);
            field::data_rate(data_rate.unwrap_or_default())?
        },
        modulation: modulation(tx_info)?,
        class: None,
        receptions: field::receptions(copies?),
        battery_percent: content.battery_percent.or(told),
        received_at: { times }.next().or(field::time(&up.text("publishedAt")?)),
    });
    Ok((event, Extra::of(content)))
}

/// One gateway's copy. One that names no gateway still tells how well the device was heard.
fn reception(copy: Object<'_>) -> Result<Reception, ParseWebhookError> {
    let gateway_id = match &*copy.text("gatewayID")? {
        "" => GatewayId::from_u64(0),
        text => field::gateway_id("rxInfo.gatewayID", text)?,
    };
    let rssi = copy.number("rssi")?.unwrap_or_default().round();
    let snr = copy.number("loRaSNR")?.or(copy.number("snr")?);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the cast saturates; both are a few hundred"
    )]
    let (rssi_dbm, snr_db) = (rssi as i32, snr.unwrap_or_default() as f32);
    Ok(Reception {
        gateway_id,
        rssi_dbm,
        snr_db: field::snr_db(snr_db)?,
    })
}

/// The modulation in the form of v3 or, from a relay, of v4.
fn modulation(tx_info: Object<'_>) -> Result<Option<Modulation>, ParseWebhookError> {
    let inner = tx_info.get("modulation").and_then(Value::as_object);
    let lora = tx_info
        .object("loRaModulationInfo")?
        .or(Object(inner).object("lora")?);
    if lora.0.is_some() {
        let factor = lora.whole("spreadingFactor")?.unwrap_or_default();
        let bandwidth = lora.whole("bandwidth")?.unwrap_or_default();
        return field::lora(factor, field::bandwidth_hz(bandwidth));
    }
    let fsk = tx_info
        .object("fskModulationInfo")?
        .or(Object(inner).object("fsk")?);
    Ok(field::fsk(fsk.whole("datarate")?.unwrap_or_default()))
}

fn joined(join: Object<'_>) -> Result<NetworkEvent, ParseWebhookError> {
    Ok(NetworkEvent::Joined(Joined {
        deduplication_id: None,
        dev_addr: field::dev_addr(&join.text("devAddr")?)?,
    }))
}

fn acknowledged(ack: Object<'_>) -> Result<NetworkEvent, ParseWebhookError> {
    Ok(NetworkEvent::Acknowledged(Acknowledged {
        queue_item_id: field::queue_item_id(&ack.text("queueItemId")?)?,
        acknowledged: ack.truth("acknowledged")?.unwrap_or_default(),
        f_cnt_down: ack
            .whole("fCntDown")?
            .or(ack.whole("fCnt")?)
            .unwrap_or_default(),
    }))
}

fn transmitted(ack: Object<'_>) -> Result<NetworkEvent, ParseWebhookError> {
    let tx_info = ack.object("txInfo")?;
    let gateway_id = match ack.text("gatewayID")? {
        own if own.is_empty() => tx_info.text("gatewayID")?,
        own => own,
    };
    Ok(NetworkEvent::Transmitted(Transmitted {
        queue_item_id: field::queue_item_id(&ack.text("queueItemId")?)?,
        f_cnt_down: ack
            .whole("fCntDown")?
            .or(ack.whole("fCnt")?)
            .unwrap_or_default(),
        gateway_id: match &*gateway_id {
            "" => None,
            text => Some(field::gateway_id("gatewayID", text)?),
        },
        modulation: modulation(tx_info)?,
        frequency_hz: tx_info.whole("frequency")?.filter(|hz| *hz > 0),
        timing: timing(tx_info),
    }))
}

/// The timing in the form of v3 or, from a relay, of v4. The word `timing` of v3 is left out where it is
/// `IMMEDIATELY`, the object beside it is not.
fn timing(tx_info: Object<'_>) -> Option<Timing> {
    let inner = tx_info.get("timing").and_then(Value::as_object);
    let inner = Object(inner);
    let has = |of_v3: &str, of_v4: &str| {
        let is_object = |value: &Value| value.is_object();
        tx_info.get(of_v3).is_some_and(is_object) || inner.get(of_v4).is_some_and(is_object)
    };
    field::timing(
        has("immediatelyTimingInfo", "immediately"),
        has("delayTimingInfo", "delay"),
        has("gpsEpochTimingInfo", "gpsEpoch"),
    )
}

/// An error in the words of v3, or of a relay that took it from a log of v4.
fn error(error: Object<'_>) -> Result<NetworkEvent, ParseWebhookError> {
    let first = |names: [&'static str; 3]| -> Result<Cow<'_, str>, ParseWebhookError> {
        for name in names {
            let text = error.text(name)?;
            if !text.is_empty() {
                return Ok(text);
            }
        }
        Ok(Cow::Borrowed(""))
    };
    let code = first(["type", "code", "errorType"])?;
    Ok(field::error(
        &code,
        &first(["error", "description", "message"])?,
    ))
}

fn log(log: Object<'_>) -> Result<NetworkEvent, ParseWebhookError> {
    Ok(NetworkEvent::Logged(Logged {
        level: field::text(&log.text("level")?),
        code: field::text(&log.text("code")?),
        description: field::text(&log.text("description")?),
    }))
}

/// Battery and margin, or somebody's word that the device is there.
fn status(status: Object<'_>) -> Result<NetworkEvent, ParseWebhookError> {
    if let Some(online) = field::presence(status.truth("online")?, &status.text("status")?)? {
        return Ok(NetworkEvent::PresenceTold(online));
    }
    let margin = status.number("margin")?.unwrap_or_default();
    let mut external_power = status.truth("externalPowerSource")?.unwrap_or_default();
    let battery_percent = match (percent(status)?, status.whole("battery")?) {
        // Versions before 3.0 sent the device's own byte.
        (None, Some(battery)) => {
            let battery = u8::try_from(battery);
            let battery = battery.map_err(|_| field::wrong("battery", "must be 0 to 255"))?;
            external_power |= battery == 0;
            field::battery_of_status(battery)
        }
        (None, None) => None,
        (Some(level), _) => {
            let unavailable = status.truth("batteryLevelUnavailable")?.unwrap_or_default();
            field::battery_percent(level, unavailable, external_power)?
        }
    };
    if !(-128.0..=127.0).contains(&margin) {
        return Err(field::wrong("margin", "must be -128 to 127"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "its range was just checked"
    )]
    let margin_db = margin.round() as i32;
    Ok(NetworkEvent::StatusReported(StatusReported {
        margin_db,
        external_power,
        battery_percent,
    }))
}

/// The battery's level as a field of the body.
fn percent(body: Object<'_>) -> Result<Option<f32>, ParseWebhookError> {
    let level = body.number("batteryLevel")?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a percentage; what is too large stays so"
    )]
    Ok(level.map(|level| level as f32))
}

fn located(it: Object<'_>) -> Result<NetworkEvent, ParseWebhookError> {
    let location = it.object("location")?;
    if location.0.is_none() {
        return Err(field::wrong("location", "is missing"));
    }
    let degrees = |name| Ok(location.number(name)?.unwrap_or_default());
    let (latitude, longitude) = (degrees("latitude")?, degrees("longitude")?);
    let location = field::location(latitude, longitude, degrees("altitude")?)?;
    Ok(NetworkEvent::Located(location))
}

/// What the codec made of the payload: an object, or a text that holds one.
fn object(body: Object<'_>) -> Option<Cow<'static, serde_json::value::RawValue>> {
    let of = |value: &Value| match value.as_str() {
        Some(text) => content::raw_of_text(text),
        None => to_raw_value(value).ok(),
    };
    let names = ["object", "objectJSON"];
    { names }
        .iter()
        .find_map(|name| body.get(name).and_then(of))
        .map(Cow::Owned)
}

/// An object whose fields are found whatever their case and underscores; one that is absent has none.
#[derive(Clone, Copy)]
struct Object<'a>(Option<&'a Map<String, Value>>);

impl<'a> Object<'a> {
    /// A field that is there and not null. The name exactly as v3 has it goes first.
    fn get(self, name: &str) -> Option<&'a Value> {
        let map = self.0?;
        let found = map.get(name).or_else(|| {
            // No event has that many fields, and looking through them takes time.
            if map.len() > FIELDS_MAX {
                return None;
            }
            let found = map.iter().find(|(found, _)| is_same(found, name));
            found.map(|(_, value)| value)
        });
        found.filter(|value| !value.is_null())
    }

    fn or(self, other: Self) -> Self {
        Self(self.0.or(other.0))
    }

    fn object(self, name: &'static str) -> Result<Self, ParseWebhookError> {
        match self.get(name) {
            None => Ok(Self(None)),
            Some(Value::Object(map)) => Ok(Self(Some(map))),
            Some(_) => Err(field::wrong(name, "must be an object")),
        }
    }

    fn list(self, name: &'static str) -> Result<&'a [Value], ParseWebhookError> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) if items.iter().all(Value::is_object) => Ok(items),
            Some(_) => Err(field::wrong(name, "must be a list of objects")),
        }
    }

    /// A text; a number is kept as its digits.
    fn text(self, name: &'static str) -> Result<Cow<'a, str>, ParseWebhookError> {
        match self.get(name) {
            None => Ok(Cow::Borrowed("")),
            Some(Value::String(text)) => Ok(Cow::Borrowed(text)),
            Some(Value::Number(number)) => Ok(Cow::Owned(number.to_string())),
            Some(_) => Err(field::wrong(name, "must be a text")),
        }
    }

    fn number(self, name: &'static str) -> Result<Option<f64>, ParseWebhookError> {
        let number = match self.get(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        let number = number.filter(|number| number.is_finite());
        number
            .map(Some)
            .ok_or(field::wrong(name, "must be a number"))
    }

    fn whole(self, name: &'static str) -> Result<Option<u32>, ParseWebhookError> {
        let Some(number) = self.number(name)? else {
            return Ok(None);
        };
        if number.fract() != 0.0 || !(0.0..=f64::from(u32::MAX)).contains(&number) {
            return Err(field::wrong(
                name,
                "must be a whole number, 0 to 4294967295",
            ));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "its range was just checked"
        )]
        Ok(Some(number as u32))
    }

    fn truth(self, name: &'static str) -> Result<Option<bool>, ParseWebhookError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(*truth)),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(_) => Err(field::wrong(name, "must be true or false")),
        }
    }
}

/// Whether two names differ in case and underscores only.
fn is_same(one: &str, other: &str) -> bool {
    fn plain(name: &str) -> impl Iterator<Item = u8> {
        let bytes = name.bytes().filter(|byte| !matches!(byte, b'_' | b'-'));
        bytes.map(|byte| byte.to_ascii_lowercase())
    }
    plain(one).eq(plain(other))
}
