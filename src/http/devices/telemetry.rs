//! `GET /api/v1/tenants/{tenant_id}/devices/{device_id}/telemetry`: what a device reported over time.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use downbeat_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::AppState;
use crate::http::auth::Viewer;
use crate::http::extract::{Fields, QueryFields};
use crate::http::problem::{ApiError, Problem};
use crate::store::{Scope, TelemetryField, TelemetryPoint, TelemetryQuery, TelemetryValue};

use super::device_of_path;
use super::fields::is_plain;

/// The range if the caller does not say.
const RANGE_DEFAULT: Duration = Duration::from_hours(24);

/// Points if the caller does not say, and at the most.
const LIMIT_DEFAULT: u32 = 1_000;
const LIMIT_MAX: u32 = 10_000;

/// The longest name of a field.
const FIELD_MAX: usize = 200;

/// Which values.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ReadQuery {
    /// The field, its levels joined by dots; without it, the fields that there are.
    #[param(max_length = 200)]
    field: Option<String>,
    /// From this time (RFC 3339) on; a day before `to` if absent.
    from: Option<String>,
    /// Before this time; now if absent.
    to: Option<String>,
    /// One point for each such span: `60s`, `5m`, `1h`, `1d`, or seconds. Every value if absent.
    step: Option<String>,
    /// 1 to 10000; 1000 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 10_000)]
    limit: Option<String>,
}

/// A number or a text.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(in crate::http) enum ValueBody {
    Number(f64),
    Text(String),
}

impl ValueBody {
    fn new(value: TelemetryValue) -> Self {
        match value {
            TelemetryValue::Number(number) => Self::Number(number),
            TelemetryValue::Text(text) => Self::Text(text),
        }
    }
}

/// A field that a device has reported.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct FieldBody {
    field: String,
    /// Its last value.
    value: ValueBody,
    /// When that was, RFC 3339.
    at: String,
}

/// One point of a series.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct PointBody {
    /// When the value was received, or where the span begins, RFC 3339.
    at: String,
    /// The value, or the last one of the span.
    value: ValueBody,
    /// How many values the span has.
    count: u64,
    /// Of the span's numbers; null for texts.
    min: Option<f64>,
    mean: Option<f64>,
    max: Option<f64>,
}

/// What a device reported.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct TelemetryBody {
    /// Without `field` in the query: the fields that there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Vec<FieldBody>>,
    /// The field that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// Its points, oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    points: Option<Vec<PointBody>>,
    /// Whether there are more points in the range than the limit let through: go on from the last one's time.
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<bool>,
}

/// What a device reported over time
///
/// Values are kept for `limits.telemetry_days`.
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/devices/{device_id}/telemetry",
    tag = "devices",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("device_id" = String, Path, description = "The device's id"),
        ReadQuery,
    ),
    responses(
        (status = 200, description = "A series, or the fields that there are", body = TelemetryBody),
        (status = 400, description = "A filter is wrong", body = Problem),
        (status = 404, description = "No such tenant or device", body = Problem),
    ),
)]
pub(in crate::http) async fn telemetry(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path((tenant, id)): Path<(String, String)>,
    QueryFields(query): QueryFields<ReadQuery>,
) -> Result<Json<TelemetryBody>, ApiError> {
    let query = checked(query, state.clock().now())?;
    let device = device_of_path(&state, &caller, &tenant, &id).await?;
    let scope = Scope::Tenant(device.tenant_id);
    let Some(mut query) = query else {
        let fields = state.store().telemetry_fields(scope, device.id).await?;
        return Ok(Json(TelemetryBody {
            fields: Some(fields.into_iter().map(FieldBody::new).collect()),
            field: None,
            points: None,
            truncated: None,
        }));
    };
    // One more than asked: its presence tells that there are more.
    query.limit += 1;
    let mut points = state.store().telemetry(scope, device.id, &query).await?;
    let limit = query.limit as usize - 1;
    let truncated = points.len() > limit;
    points.truncate(limit);
    Ok(Json(TelemetryBody {
        fields: None,
        field: Some(query.field),
        points: Some(points.into_iter().map(PointBody::new).collect()),
        truncated: Some(truncated),
    }))
}

/// What to read; `None` for the fields that there are.
fn checked(query: ReadQuery, now: Timestamp) -> Result<Option<TelemetryQuery>, ApiError> {
    let mut fields = Fields::default();
    if let Some(field) = &query.field {
        let holds = (1..=FIELD_MAX).contains(&field.chars().count()) && is_plain(field);
        let message = "must have 1 to 200 characters, none of them a control character";
        fields.check(holds, "field", message);
    } else {
        for (name, is_given) in [
            ("from", query.from.is_some()),
            ("to", query.to.is_some()),
            ("step", query.step.is_some()),
            ("limit", query.limit.is_some()),
        ] {
            fields.check(!is_given, name, "belongs to a field");
        }
    }
    let to = fields.time("to", query.to.as_deref()).unwrap_or(now);
    let from = fields.time("from", query.from.as_deref());
    let from = from.unwrap_or(to - RANGE_DEFAULT);
    fields.check(from <= to, "from", "must not be after to");
    let step = fields.step("step", query.step.as_deref());
    let limit = fields.number("limit", query.limit.as_deref(), 1..=LIMIT_MAX);
    fields.done(query.field.map(|field| TelemetryQuery {
        field,
        from,
        to,
        step,
        limit: limit.unwrap_or(LIMIT_DEFAULT),
    }))
}

impl FieldBody {
    fn new(field: TelemetryField) -> Self {
        Self {
            field: field.field,
            value: ValueBody::new(field.last),
            at: field.last_at.to_string(),
        }
    }
}

impl PointBody {
    fn new(point: TelemetryPoint) -> Self {
        Self {
            at: point.at.to_string(),
            value: ValueBody::new(point.last),
            count: point.count,
            min: point.min,
            mean: point.mean,
            max: point.max,
        }
    }
}
