//! What a payload means, as fields that can be drawn over time.
//!
//! The decoded object is taken if there is one; else the payload itself if it is JSON; else its text. Whatever it is, it
//! becomes a bounded list of dotted paths with a number or a short text each: devices and their codecs are many, and
//! none of them may fill the store or name a field that no query can ask for.

use std::borrow::Cow;

use downbeat_actors::port::{FieldPath, TelemetryValue};
use downbeat_core::network::{NetworkEvent, StatusReported, Uplink};
use downbeat_core::radio::Modulation;
use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::text::Text;

/// Fields of one payload that are kept, the first ones.
pub(super) const FIELDS_MAX: usize = 64;

/// Levels of a path.
const DEPTH_MAX: usize = 6;

/// Characters of a path; a longer one is left out.
const PATH_MAX: usize = 100;

/// Characters of a text; a longer one is left out, because half a text is another text.
const TEXT_MAX: usize = 512;

/// Fields that Downbeat itself reports of every uplink. A decoded field of that name goes by `object.NAME`, so that
/// what the device says of the last downlink is not mixed with what the gateway says of this uplink.
const OWN_FIELDS: [&str; 4] = ["rssi", "snr", "f_cnt", "spreading_factor"];

/// What was found in a payload.
#[derive(Debug, Default)]
pub(super) struct Content<'a> {
    /// Its fields, by path, in the order found, each path once.
    pub(super) telemetry: Vec<(FieldPath, TelemetryValue)>,
    /// The charge in percent, where a field tells it.
    pub(super) battery_percent: Option<f32>,
    /// The decoded object, for the history.
    pub(super) object: Option<Cow<'a, RawValue>>,
}

impl<'a> Content<'a> {
    /// Reads the decoded object; without one that says anything, the payload as JSON, then as text.
    pub(super) fn of(object: Option<Cow<'a, RawValue>>, payload: &[u8]) -> Self {
        let mut content = Self {
            object,
            ..Self::default()
        };
        if let Some(object) = &content.object {
            content.telemetry = fields(object);
        }
        if content.telemetry.is_empty() {
            content.read_payload(payload);
        }
        content.battery_percent = battery_percent(&content.telemetry);
        content
    }

    fn read_payload(&mut self, payload: &[u8]) {
        // A number alone is JSON as well, but one byte of binary data often looks like one: that is a text.
        let may_be_json = matches!(payload.trim_ascii_start().first(), Some(b'{' | b'['));
        if may_be_json && let Ok(object) = serde_json::from_slice::<Box<RawValue>>(payload) {
            self.telemetry = fields(&object);
            self.object.get_or_insert(Cow::Owned(object));
        } else if let Ok(text) = std::str::from_utf8(payload)
            && is_readable(text)
        {
            let value = TelemetryValue::Text(text.trim().to_owned());
            self.telemetry.push(("text".into(), value));
        }
    }
}

/// Whether bytes that are valid UTF-8 were meant as a text.
fn is_readable(text: &str) -> bool {
    let printable = |character: char| !character.is_control() || character.is_ascii_whitespace();
    !text.trim().is_empty() && text.chars().all(printable)
}

/// What Downbeat itself adds to a device's fields: the radio of an uplink, battery and margin of a status.
pub(super) fn with_own_fields(
    event: &NetworkEvent,
    mut telemetry: Vec<(FieldPath, TelemetryValue)>,
) -> Vec<(FieldPath, TelemetryValue)> {
    let add = |name: &'static str, value: f64| {
        telemetry.push((name.into(), TelemetryValue::Number(value)));
    };
    own_fields(event, add);
    telemetry
}

fn own_fields(event: &NetworkEvent, mut add: impl FnMut(&'static str, f64)) {
    match event {
        NetworkEvent::Heard(uplink) => radio_fields(uplink, add),
        NetworkEvent::StatusReported(StatusReported {
            margin_db,
            battery_percent,
            ..
        }) => {
            add("margin", f64::from(*margin_db));
            if let Some(percent) = battery_percent {
                add("battery_level", decimal(*percent));
            }
        }
        NetworkEvent::Joined(_)
        | NetworkEvent::Transmitted(_)
        | NetworkEvent::Acknowledged(_)
        | NetworkEvent::Refused(_)
        | NetworkEvent::Dropped(_)
        | NetworkEvent::Logged(_)
        | NetworkEvent::PresenceTold(_)
        | NetworkEvent::Located(_)
        | NetworkEvent::Integrated => {}
    }
}

fn radio_fields(uplink: &Uplink, mut add: impl FnMut(&'static str, f64)) {
    let [rssi, snr, f_cnt, spreading_factor] = OWN_FIELDS;
    if let Some(best) = uplink.best() {
        add(rssi, f64::from(best.rssi_dbm));
        add(snr, decimal(best.snr_db));
    }
    add(f_cnt, f64::from(uplink.f_cnt));
    if let Some(Modulation::Lora {
        spreading_factor: factor,
        ..
    }) = uplink.modulation
    {
        add(spreading_factor, f64::from(factor));
    }
}

/// The number that was meant: 7.2 of the single precision, and not the 7.199999809 that it is.
fn decimal(value: f32) -> f64 {
    (f64::from(value) * 1_000.0).round() / 1_000.0
}

/// The fields of a decoded object. One that is broken in the middle gives those before that place.
fn fields(object: &RawValue) -> Vec<(FieldPath, TelemetryValue)> {
    let mut collector = Collector::default();
    let mut deserializer = serde_json::Deserializer::from_str(object.get());
    let level = Level {
        collector: &mut collector,
        depth: 0,
    };
    // What is wrong with it has no consequence: the event counts without its fields, too.
    let _ = level.deserialize(&mut deserializer);
    collector.found
}

/// The charge in percent: the field whose name says so most plainly, if its value can be one.
fn battery_percent(telemetry: &[(FieldPath, TelemetryValue)]) -> Option<f32> {
    let told = telemetry.iter().filter_map(|(path, value)| {
        let TelemetryValue::Number(number) = value else {
            return None;
        };
        let last = path.rsplit('.').next().unwrap_or(path);
        let rank = battery_rank(path).or_else(|| battery_rank(last))?;
        // `battery: 3.6` of a sensor that was never told a unit is its voltage.
        let is_voltage = rank == UNIT_UNKNOWN && number.fract() != 0.0 && *number < 5.0;
        ((0.0..=100.0).contains(number) && !is_voltage).then_some((rank, *number))
    });
    let (_, percent) = told.min_by_key(|(rank, _)| *rank)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "0 to 100, of which a battery knows no decimals"
    )]
    Some(percent as f32)
}

/// The rank of names that do not say percent.
const UNIT_UNKNOWN: u8 = 2;

/// How plainly a name says that it is the battery's charge; 0 is plainest, `None` says it is not.
fn battery_rank(name: &str) -> Option<u8> {
    if name.len() > 24 {
        return None;
    }
    let mut plain = name.to_ascii_lowercase();
    plain.retain(|character| !matches!(character, '_' | '-' | '.' | ' '));
    match &*plain {
        "batterypercent" | "batterypercentage" | "batterypct" | "batpercent" | "battpercent"
        | "batpct" | "battpct" | "battery%" => Some(0),
        "batterylevel" | "batlevel" | "battlevel" | "batterycharge" | "batterysoc" => Some(1),
        "battery" | "batt" | "bat" => Some(UNIT_UNKNOWN),
        _ => None,
    }
}

/// Gathers fields while an object is read.
#[derive(Default)]
struct Collector {
    /// Where the reading is.
    path: String,
    found: Vec<(FieldPath, TelemetryValue)>,
}

impl Collector {
    fn add(&mut self, value: TelemetryValue) {
        let path = match &*self.path {
            // A codec that gives no object but a single value.
            "" => "value".to_owned(),
            own if OWN_FIELDS.contains(&own) => format!("object.{own}"),
            path => path.to_owned(),
        };
        if path.chars().count() > PATH_MAX || path.contains('\0') {
            return;
        }
        // JSON may name a field twice: the last one counts, as everywhere.
        let is_full = self.found.len() >= FIELDS_MAX;
        match self.found.iter_mut().find(|(found, _)| *found == path) {
            Some((_, found)) => *found = value,
            None if is_full => {}
            None => self.found.push((path.into(), value)),
        }
    }

    fn add_number(&mut self, number: f64) {
        if number.is_finite() {
            self.add(TelemetryValue::Number(number));
        }
    }

    fn add_text(&mut self, text: &str) {
        if text.chars().count() <= TEXT_MAX && !text.contains('\0') {
            self.add(TelemetryValue::Text(text.to_owned()));
        }
    }
}

/// One level of an object: adds what it finds, and goes down.
struct Level<'a> {
    collector: &'a mut Collector,
    depth: usize,
}

impl Level<'_> {
    /// Whether to read what is below, or to skip it.
    fn goes_on(&self) -> bool {
        self.depth < DEPTH_MAX && self.collector.path.len() <= PATH_MAX * 4
    }

    /// The level below, at a name.
    fn below<T>(&mut self, name: &str, read: impl FnOnce(Level<'_>) -> T) -> T {
        let end = self.collector.path.len();
        if end > 0 {
            self.collector.path.push('.');
        }
        self.collector.path.push_str(name);
        let read = read(Level {
            collector: self.collector,
            depth: self.depth + 1,
        });
        self.collector.path.truncate(end);
        read
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.collector.add_number(f64::from(u8::from(value)));
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "a measurement, drawn as a line")]
    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.collector.add_number(value as f64);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "a measurement, drawn as a line")]
    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.collector.add_number(value as f64);
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.collector.add_number(value);
        Ok(())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.collector.add_text(value);
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        if self.goes_on() {
            for index in 0..FIELDS_MAX {
                let index = index.to_string();
                if self
                    .below(&index, |level| seq.next_element_seed(level))?
                    .is_none()
                {
                    return Ok(());
                }
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Text<'de>>()? {
            // A field without a name, or with one that no path could hold.
            if name.is_empty() || name.len() > PATH_MAX * 4 || !self.goes_on() {
                map.next_value::<IgnoredAny>()?;
            } else {
                self.below(&name, |level| map.next_value_seed(level))?;
            }
        }
        Ok(())
    }
}

/// The raw form of an object that is there: null and an empty text say that there is none.
pub(super) fn raw(object: Option<&RawValue>) -> Option<Cow<'_, RawValue>> {
    let object = object?;
    let is_absent = matches!(object.get(), "null" | "\"\"");
    (!is_absent).then_some(Cow::Borrowed(object))
}

/// The object that a text holds (`objectJSON`); `None` where it holds none.
pub(super) fn raw_of_text(text: &str) -> Option<Box<RawValue>> {
    let object =
        Box::<RawValue>::deserialize(&mut serde_json::Deserializer::from_str(text)).ok()?;
    (raw(Some(&object)).is_some()).then_some(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn content(object: &serde_json::Value) -> Vec<(FieldPath, TelemetryValue)> {
        let raw = serde_json::value::to_raw_value(object).unwrap();
        Content::of(Some(Cow::Owned(raw)), b"").telemetry
    }

    fn battery(object: &serde_json::Value) -> Option<f32> {
        let raw = serde_json::value::to_raw_value(object).unwrap();
        Content::of(Some(Cow::Owned(raw)), b"").battery_percent
    }

    fn said(telemetry: &[(FieldPath, TelemetryValue)]) -> String {
        let fields = telemetry.iter().map(|(path, value)| match value {
            TelemetryValue::Number(number) => format!("{path}={number}"),
            TelemetryValue::Text(text) => format!("{path}={text:?}"),
        });
        fields.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_object_becomes_paths() {
        let object = json!({"a": {"b": [1, {"c": "x"}, null]}, "t": 21.5, "on": true, "rssi": -85, "": 1, "e": {}});
        insta::assert_snapshot!(said(&content(&object)), @r#"a.b.0=1 a.b.1.c="x" on=1 object.rssi=-85 t=21.5"#);
        assert_eq!(said(&content(&json!(5))), "value=5");
    }

    #[test]
    fn what_is_too_much_is_left_out() {
        let many: serde_json::Map<_, _> =
            (0..200).map(|n| (format!("f{n:03}"), json!(n))).collect();
        let many = content(&many.into());
        assert_eq!((many.len(), &*many[63].0), (FIELDS_MAX, "f063"));
        assert_eq!(content(&json!({"many": vec![0; 1000]})).len(), FIELDS_MAX);
        let deep = json!({"a": {"a": {"a": {"a": {"a": {"a": 6, "b": {"a": 7}}}}}}});
        assert_eq!(said(&content(&deep)), "a.a.a.a.a.a=6");
        for object in [
            json!({"n".repeat(101): 1}),
            json!({"n".repeat(60): {"n".repeat(40): 1}}),
            json!({"n\0": 1}),
            json!({"n": "\0"}),
            json!({"n": "x".repeat(513)}),
        ] {
            assert_eq!(content(&object), [], "{object}");
        }
        let widest = json!({"ü".repeat(100): "ü".repeat(512)});
        assert_eq!(content(&widest).len(), 1);
    }

    #[test]
    fn a_number_that_is_none_ends_the_reading_and_a_repeated_field_counts_once() {
        let of = |text: &str| said(&Content::of(raw_of_text(text).map(Cow::Owned), b"").telemetry);
        assert_eq!(of(r#"{"a":1,"b":1e400,"c":3}"#), "a=1");
        assert_eq!(of(r#"{"a":1,"a":2}"#), "a=2");
        let nested = format!("{}1{}", "[".repeat(500), "]".repeat(500));
        assert_eq!(of(&nested), "");
    }

    #[test]
    fn a_payload_is_read_as_json_then_as_text() {
        let of = |payload: &[u8]| {
            let content = Content::of(None, payload);
            (said(&content.telemetry), content.object.is_some())
        };
        assert_eq!(of(br#" {"t": 1}"#), ("t=1".to_owned(), true));
        assert_eq!(of(b"[4,5]"), ("0=4 1=5".to_owned(), true));
        assert_eq!(of(b"22.5\r\n"), ("text=\"22.5\"".to_owned(), false));
        assert_eq!(of(b"{oops"), ("text=\"{oops\"".to_owned(), false));
        for payload in [&b""[..], b" ", b"\xff", b"a\0b", b"\x01"] {
            assert_eq!(of(payload), (String::new(), false), "{payload:?}");
        }
        let empty = raw_of_text("{}").map(Cow::Owned);
        assert_eq!(said(&Content::of(empty, b"hi").telemetry), "text=\"hi\"");
    }

    #[test]
    fn a_battery_is_told_by_its_plainest_field() {
        for (object, percent) in [
            (json!({"battery": 80}), Some(80.0)),
            (json!({"battery_level": 80.5}), Some(80.5)),
            (json!({"batteryLevel": 0}), Some(0.0)),
            (json!({"data": {"Battery-Percent": 7}}), Some(7.0)),
            (json!({"battery": {"level": 9}}), Some(9.0)),
            (
                json!({"bat": 3, "battery_percentage": 90, "batteryLevel": 80}),
                Some(90.0),
            ),
            (json!({"battery": 3.6}), None),
            (json!({"battery": 3600, "batteryLevel": -1}), None),
            (json!({"battery": "full"}), None),
            (json!({"battery_voltage": 3}), None),
            (json!({}), None),
        ] {
            assert_eq!(battery(&object), percent, "{object}");
        }
    }
}
