//! Decoded fields of uplinks over time.

use std::time::Duration;

use downbeat_actors::port::StoreError;
use downbeat_core::id::DeviceId;
use downbeat_core::time::Timestamp;

use super::{Scope, Store, on_backend};

pub use downbeat_actors::port::TelemetryValue;

/// Characters of a text that are kept.
pub const TELEMETRY_TEXT_MAX: usize = 512;

/// Characters of a field's path; values of longer ones are not kept.
pub const TELEMETRY_FIELD_MAX: usize = 255;

/// Points of one query at the most, whatever is asked.
pub const TELEMETRY_POINTS_MAX: u32 = 10_000;

/// Fields of a device that are listed at the most.
pub const TELEMETRY_FIELDS_MAX: u32 = 1_000;

/// A device's fields are those of so many of its last reports.
pub const TELEMETRY_REPORTS_MAX: u32 = 10_000;

/// Which values, and how dense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryQuery {
    /// The field's path in the decoded object, its levels joined by dots.
    pub field: String,
    /// From this moment on.
    pub from: Timestamp,
    /// Before this moment.
    pub to: Timestamp,
    /// One point for each such span; every value when absent.
    pub step: Option<Duration>,
    /// How many points at the most, the oldest ones of the range.
    pub limit: u32,
}

/// One point of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryPoint {
    /// When the value was received, or where the span begins.
    pub at: Timestamp,
    /// The value, or the last one of the span.
    pub last: TelemetryValue,
    /// How many values the span has.
    pub count: u64,
    /// Of the span's numbers; absent where there is none.
    pub min: Option<f64>,
    /// Of the span's numbers.
    pub mean: Option<f64>,
    /// Of the span's numbers.
    pub max: Option<f64>,
}

/// A field that a device has reported.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryField {
    /// Its path.
    pub field: String,
    /// Its last value.
    pub last: TelemetryValue,
    /// When that was.
    pub last_at: Timestamp,
}

impl Store {
    /// A field of a device over time, oldest first. An unknown device has none.
    pub async fn telemetry(
        &self,
        scope: Scope,
        device_id: DeviceId,
        query: &TelemetryQuery,
    ) -> Result<Vec<TelemetryPoint>, StoreError> {
        on_backend!(self.telemetry(scope, device_id, query))
    }

    /// The fields that a device has reported in its last [`TELEMETRY_REPORTS_MAX`] reports that are still kept, by name.
    pub async fn telemetry_fields(
        &self,
        scope: Scope,
        device_id: DeviceId,
    ) -> Result<Vec<TelemetryField>, StoreError> {
        on_backend!(self.telemetry_fields(scope, device_id))
    }

    /// Deletes values that are older, as [`Store::delete_device_events_before`] does events.
    pub async fn delete_telemetry_before(&self, before: Timestamp) -> Result<u64, StoreError> {
        on_backend!(self.delete_telemetry_before(before))
    }
}
