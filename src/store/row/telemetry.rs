//! Decoded fields over time.

use downbeat_actors::port::{StoreError, TelemetryValue};
use downbeat_core::id::{DeviceId, TenantId};
use downbeat_core::time::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::{corrupt, count, instant, millis, span};
use crate::store::{
    TELEMETRY_FIELD_MAX, TELEMETRY_POINTS_MAX, TELEMETRY_TEXT_MAX, TelemetryField, TelemetryPoint,
    TelemetryQuery,
};

const TABLE: &str = "telemetry";

/// A value to be stored.
#[derive(Debug, PartialEq)]
pub(crate) struct TelemetryRow<'a> {
    pub(crate) device_id: Uuid,
    pub(crate) tenant_id: Uuid,
    pub(crate) field: &'a str,
    pub(crate) at: i64,
    pub(crate) number: Option<f64>,
    pub(crate) text: Option<&'a str>,
}

/// A value as it is kept: texts are cut, and what is no number is left out.
pub(crate) fn telemetry_row<'a>(
    device_id: DeviceId,
    tenant_id: TenantId,
    at: Timestamp,
    field: &'a str,
    value: &'a TelemetryValue,
) -> Option<TelemetryRow<'a>> {
    let (number, text) = match value {
        TelemetryValue::Number(number) => (Some(*number).filter(|number| number.is_finite()), None),
        TelemetryValue::Text(text) => (None, Some(cut(text))),
    };
    let is_kept = (number.is_some() || text.is_some())
        && !field.is_empty()
        && field.chars().count() <= TELEMETRY_FIELD_MAX;
    is_kept.then(|| TelemetryRow {
        device_id: device_id.as_uuid(),
        tenant_id: tenant_id.as_uuid(),
        field,
        at: millis(at),
        number,
        text,
    })
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
        let id = Uuid::nil();
        let (device, tenant) = (DeviceId::from_uuid(id), TenantId::from_uuid(id));
        let row = telemetry_row(device, tenant, Timestamp::from_millis(1), field, value)?;
        let text = row.text.map(str::to_owned);
        Some(super::value(row.at, row.number, text).unwrap())
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
