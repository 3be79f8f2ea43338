//! Devices as the API shows them.

use std::collections::BTreeMap;
use std::time::Duration;

use downbeat_actors::observe::DeviceView;
use downbeat_core::light::{Color, LightState};
use downbeat_core::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::Device;

pub(super) mod create;
pub(super) mod get;
pub(super) mod list;

/// A colour.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(super) struct ColorBody {
    red: u8,
    blue: u8,
    green: u8,
}

impl ColorBody {
    pub(super) fn new(color: Color) -> Self {
        let Color { red, green, blue } = color;
        Self { red, blue, green }
    }
}

/// What a light shows.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(super) struct LightBody {
    red: u8,
    blue: u8,
    green: u8,
    /// Units of 0.1 s.
    on_time: u8,
    /// Units of 0.1 s; 0 is steady light.
    off_time: u8,
}

impl LightBody {
    pub(super) fn new(light: LightState) -> Self {
        let Color { red, green, blue } = light.color;
        let (on_time, off_time) = (light.on_time, light.off_time);
        Self {
            red,
            blue,
            green,
            on_time,
            off_time,
        }
    }
}

/// What a light said that it shows, and when.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ReportedBody {
    red: u8,
    blue: u8,
    green: u8,
    on_time: u8,
    off_time: u8,
    /// RFC 3339.
    at: String,
}

impl ReportedBody {
    fn new((light, at): (LightState, Timestamp)) -> Self {
        let LightBody {
            red,
            blue,
            green,
            on_time,
            off_time,
        } = LightBody::new(light);
        let at = at.to_string();
        Self {
            red,
            blue,
            green,
            on_time,
            off_time,
            at,
        }
    }
}

/// Whether a device is there, by when it was last heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DeviceStatus {
    NeverSeen,
    Online,
    Offline,
}

impl DeviceStatus {
    pub(super) fn new(last_seen: Option<Timestamp>, now: Timestamp, within: Duration) -> Self {
        match last_seen {
            None => Self::NeverSeen,
            Some(at) if now.since(at) < within => Self::Online,
            Some(_) => Self::Offline,
        }
    }
}

/// A registered device.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct DeviceBody {
    /// UUID v7.
    id: String,
    tenant_id: String,
    name: String,
    /// What kind of thing it is, in the tenant's own words.
    device_type: String,
    description: String,
    /// The tenant's own labels.
    tags: BTreeMap<String, String>,
    /// 16 hex digits; null for a device that is not on LoRaWAN.
    #[schema(example = "202020410a3f0012")]
    lorawan_dev_eui: Option<String>,
    chirpstack_app_id: Option<String>,
    device_profile_id: Option<String>,
    join_eui: Option<String>,
    /// How its payloads are read: `kuando_busylight` or `generic`.
    codec: &'static str,
    status: DeviceStatus,
    /// RFC 3339.
    last_seen: Option<String>,
    /// Best RSSI of its last uplink, dBm.
    signal_strength: Option<i32>,
    /// Signal to noise ratio there, dB.
    snr: Option<f32>,
    /// Percent.
    battery_level: Option<f32>,
    /// The light that is wanted.
    desired: Option<LightBody>,
    /// The light that it last reported.
    reported: Option<ReportedBody>,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    updated_at: String,
}

impl DeviceBody {
    pub(super) fn new(device: &Device, now: Timestamp, online_within: Duration) -> Self {
        let fields = device.fields.clone();
        Self {
            id: device.id.to_string(),
            tenant_id: device.tenant_id.to_string(),
            name: fields.name,
            device_type: fields.device_type,
            description: fields.description,
            tags: fields.tags,
            lorawan_dev_eui: fields.dev_eui.map(|eui| eui.to_string()),
            chirpstack_app_id: fields.chirpstack_app_id.map(|id| id.to_string()),
            device_profile_id: fields.device_profile_id.map(|id| id.to_string()),
            join_eui: fields.join_eui.map(|eui| eui.to_string()),
            codec: fields.codec.name(),
            status: DeviceStatus::new(device.last_seen, now, online_within),
            last_seen: device.last_seen.map(|at| at.to_string()),
            signal_strength: device.rssi_dbm,
            snr: device.snr_db,
            battery_level: device.battery_percent,
            desired: device.desired.map(LightBody::new),
            reported: device.reported.map(ReportedBody::new),
            created_at: device.created_at.to_string(),
            updated_at: device.updated_at.to_string(),
        }
    }
}

/// What changed about a device, in the live feed.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct DeviceChangeBody {
    id: String,
    lorawan_dev_eui: String,
    status: DeviceStatus,
    last_seen: Option<String>,
    signal_strength: Option<i32>,
    snr: Option<f32>,
    battery_level: Option<f32>,
    desired: Option<LightBody>,
    reported: Option<ReportedBody>,
}

impl DeviceChangeBody {
    pub(super) fn new(view: &DeviceView, now: Timestamp, online_within: Duration) -> Self {
        Self {
            id: view.device_id.to_string(),
            lorawan_dev_eui: view.dev_eui.to_string(),
            status: DeviceStatus::new(view.last_seen, now, online_within),
            last_seen: view.last_seen.map(|at| at.to_string()),
            signal_strength: view.rssi_dbm,
            snr: view.snr_db,
            battery_level: view.battery_percent,
            desired: view.desired.map(LightBody::new),
            reported: view.reported.map(ReportedBody::new),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_online_while_it_was_heard_lately() {
        let (now, hour) = (Timestamp::from_millis(10_000_000), Duration::from_hours(1));
        let status = |last_seen| DeviceStatus::new(last_seen, now, hour);
        assert_eq!(status(None), DeviceStatus::NeverSeen);
        assert_eq!(status(Some(now)), DeviceStatus::Online);
        assert_eq!(status(Some(now + hour)), DeviceStatus::Online);
        assert_eq!(status(Some(now - hour)), DeviceStatus::Offline);
    }
}
