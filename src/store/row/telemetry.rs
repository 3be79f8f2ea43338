//! Decoded fields over time.

use std::collections::BTreeMap;

use downbeat_actors::port::{FieldPath, StoreError, TelemetryValue};
use downbeat_core::id::{DeviceId, TenantId};
use downbeat_core::time::Timestamp;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use super::{corrupt, count, instant, millis, span};
use crate::store::{
    TELEMETRY_FIELD_MAX, TELEMETRY_POINTS_MAX, TELEMETRY_TEXT_MAX, TelemetryField, TelemetryPoint,
    TelemetryQuery,
};

const TABLE: &str = "telemetry";

/// What a device told at one instant, to be stored.
#[derive(Debug, PartialEq)]
pub(crate) struct ReportRow<'a> {
    pub(crate) device_id: Uuid,
    pub(crate) tenant_id: Uuid,
    pub(crate) at: i64,
    pub(crate) fields: BTreeMap<&'a str, Kept<'a>>,
}

/// A value as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Kept<'a> {
    Number(f64),
    Text(&'a str),
}

impl<'a> Kept<'a> {
    /// Texts are cut; what is no number, or has no name, is not kept.
    pub(crate) fn of(field: &str, value: &'a TelemetryValue) -> Option<Self> {
        if field.is_empty() || field.chars().count() > TELEMETRY_FIELD_MAX {
            return None;
        }
        match value {
            TelemetryValue::Number(number) => number.is_finite().then_some(Self::Number(*number)),
            TelemetryValue::Text(text) => Some(Self::Text(cut(text))),
        }
    }
}

impl<'a> ReportRow<'a> {
    pub(crate) fn new(device_id: DeviceId, tenant_id: TenantId, at: Timestamp) -> Self {
        Self {
            device_id: device_id.as_uuid(),
            tenant_id: tenant_id.as_uuid(),
            at: millis(at),
            fields: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, telemetry: &'a [(FieldPath, TelemetryValue)]) {
        let kept = telemetry.iter();
        let kept = kept.filter_map(|(field, value)| Some((&**field, Kept::of(field, value)?)));
        self.fields.extend(kept);
    }

    /// As a JSON object.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(&self.fields).expect("names, texts and finite numbers")
    }
}

fn cut(text: &str) -> &str {
    match text.char_indices().nth(TELEMETRY_TEXT_MAX) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// A query's bounds as numbers that SQL takes.
pub(crate) struct TelemetryWindow {
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// At least 1 ms.
    pub(crate) step: Option<i64>,
    pub(crate) limit: i64,
}

impl TelemetryWindow {
    pub(crate) fn of(query: &TelemetryQuery) -> Self {
        Self {
            from: millis(query.from),
            to: millis(query.to),
            step: query.step.map(|step| span(step).max(1)),
            limit: i64::from(query.limit.clamp(1, TELEMETRY_POINTS_MAX)),
        }
    }
}

/// A value, or a span of them, which begins at `at`.
#[derive(FromRow)]
pub(crate) struct TelemetryPointRow {
    pub(crate) at: i64,
    pub(crate) number: Option<f64>,
    pub(crate) text: Option<String>,
    pub(crate) count: i64,
    pub(crate) min: Option<f64>,
    pub(crate) mean: Option<f64>,
    pub(crate) max: Option<f64>,
}

impl TryFrom<TelemetryPointRow> for TelemetryPoint {
    type Error = StoreError;

    fn try_from(row: TelemetryPointRow) -> Result<Self, StoreError> {
        Ok(Self {
            at: instant(row.at),
            last: value(row.at, row.number, row.text)?,
            count: count(row.count),
            min: row.min,
            // The sum of the largest numbers is none.
            mean: row.mean.filter(|mean| mean.is_finite()),
            max: row.max,
        })
    }
}

#[derive(FromRow)]
pub(crate) struct TelemetryFieldRow {
    pub(crate) field: String,
    pub(crate) at: i64,
    pub(crate) number: Option<f64>,
    pub(crate) text: Option<String>,
}

impl TryFrom<TelemetryFieldRow> for TelemetryField {
    type Error = StoreError;

    fn try_from(row: TelemetryFieldRow) -> Result<Self, StoreError> {
        Ok(Self {
            last: value(row.at, row.number, row.text)?,
            last_at: instant(row.at),
            field: row.field,
        })
    }
}

fn value(at: i64, number: Option<f64>, text: Option<String>) -> Result<TelemetryValue, StoreError> {
    let number = number.map(TelemetryValue::Number);
    number
        .or_else(|| text.map(TelemetryValue::Text))
        .ok_or_else(|| corrupt(TABLE, "number", &at, "neither a number nor a text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(field: &str, value: &TelemetryValue) -> Option<TelemetryValue> {
        Kept::of(field, value).map(|kept| match kept {
            Kept::Number(number) => TelemetryValue::Number(number),
            Kept::Text(text) => TelemetryValue::Text(text.to_owned()),
        })
    }

    #[test]
    fn texts_are_cut_and_what_is_no_number_is_left_out() {
        let text = |text: &str| TelemetryValue::Text(text.to_owned());
        assert_eq!(kept("a", &text("ö")), Some(text("ö")));
        assert_eq!(
            kept("a", &text(&"ö".repeat(513))),
            Some(text(&"ö".repeat(512)))
        );
        assert_eq!(kept("", &text("x")), None);
        assert_eq!(kept(&"x".repeat(256), &text("x")), None);
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(kept("a", &TelemetryValue::Number(number)), None);
        }
        let number = TelemetryValue::Number(-0.5);
        assert_eq!(kept("a", &number), Some(number));
    }
}
