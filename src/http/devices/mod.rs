//! Devices as the API shows them.

use std::collections::BTreeMap;

use downbeat_actors::observe::DeviceView;
use downbeat_core::device::{InitialisationStatus, Presence};
use downbeat_core::id::{DeviceId, TenantId};
use downbeat_core::light::{Color, LightState};
use downbeat_core::sync::SyncStatus;
use downbeat_core::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::{AppKeyState, Device, DeviceSync, Scope};

use super::auth::Caller;
use super::extract::path_field;
use super::policy::PolicyBody;
use super::problem::ApiError;
use super::{AppState, tenants};

pub(super) mod bodies;
pub(super) mod create;
pub(super) mod delete;
pub(super) mod desired;
pub(super) mod downlinks;
pub(super) mod events;
pub(super) mod export;
pub(super) mod fields;
pub(super) mod flush_queue;
pub(super) mod get;
pub(super) mod import;
pub(super) mod initialize;
pub(super) mod links;
pub(super) mod list;
pub(super) mod patch;
pub(super) mod queue_findings;
pub(super) mod replace;
pub(super) mod telemetry;

/// The tenant of a path, and the id of a device in it.
pub(super) async fn of_path(
    state: &AppState,
    caller: &Caller,
    tenant: &str,
    device_id: &str,
) -> Result<(TenantId, DeviceId), ApiError> {
    let id = path_field("device_id", device_id)?;
    let tenant_id = tenants::id_of_path(state, caller, tenant).await?;
    Ok((tenant_id, id))
}

/// The device of a path.
pub(super) async fn device_of_path(
    state: &AppState,
    caller: &Caller,
    tenant: &str,
    device_id: &str,
) -> Result<Device, ApiError> {
    let (tenant_id, id) = of_path(state, caller, tenant, device_id).await?;
    // The path's tenant, also for who may see all.
    let found = state.store().device(Scope::Tenant(tenant_id), id).await?;
    found.ok_or(ApiError::NotFound("device"))
}

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

/// Whether a device is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DeviceStatus {
    /// It was never heard.
    NeverSeen,
    /// It was heard when it should have been.
    Online,
    /// It was silent for twice the interval in which it speaks, or somebody who knows said that it is gone.
    Offline,
}

impl DeviceStatus {
    pub(super) const fn new(presence: Presence) -> Self {
        match presence {
            Presence::NeverSeen => Self::NeverSeen,
            Presence::Online => Self::Online,
            Presence::Offline => Self::Offline,
        }
    }
}

/// How far ChirpStack is in step with a device.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct SyncBody {
    /// `pending`, `synced`, `failing` (it is tried again), `conflict` (ChirpStack's device is somebody else's: adopt or
    /// push it), or `rejected` (ChirpStack will never accept it as it is).
    #[schema(example = "synced")]
    state: &'static str,
    /// What went wrong last.
    error: Option<String>,
    /// Attempts that failed since the last change.
    attempts: u32,
    /// RFC 3339; null when nothing is to be tried.
    next_attempt_at: Option<String>,
}

impl SyncBody {
    fn new(sync: DeviceSync) -> Self {
        let SyncStatus {
            state,
            error,
            attempts,
            next_attempt_at,
        } = sync.status;
        Self {
            state: state.name(),
            error,
            attempts,
            next_attempt_at: next_attempt_at.map(|at| at.to_string()),
        }
    }
}

/// How far a device's initialisation is: the settings that it gets after a join, or on demand.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct InitialisationBody {
    /// `awaiting_uplink` (it begins when the device speaks), `running`, `done` (every setting is proven), `unverified`
    /// (all were sent, and at least one is not proven), `failed` or `cancelled`.
    #[schema(example = "done")]
    state: &'static str,
    /// While it runs: the number of the setting under way, from 1.
    step: Option<u8>,
    /// How many settings there are.
    steps: u8,
    /// While it runs: the command of the setting under way.
    downlink_id: Option<String>,
}

impl InitialisationBody {
    pub(super) fn new(status: InitialisationStatus) -> Self {
        Self {
            state: status.state.name(),
            step: status.step,
            steps: status.steps,
            downlink_id: status.downlink_id.map(|id| id.to_string()),
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
    /// ChirpStack's application; null for a device that is not kept in step with ChirpStack.
    chirpstack_app_id: Option<String>,
    device_profile_id: Option<String>,
    join_eui: Option<String>,
    /// Whether it has an `AppKey`; the key itself is never shown.
    app_key_set: bool,
    /// Whether that `AppKey` is one that everybody knows: give it another.
    app_key_is_default: bool,
    /// How its payloads are read: `kuando_busylight` or `generic`.
    codec: &'static str,
    /// How often it speaks on its own, seconds; null: the configuration's interval.
    uplink_interval_s: Option<u64>,
    /// What it has otherwise than its tenant and the configuration.
    policy: PolicyBody,
    /// Whether ChirpStack holds it as it is here; false for a device that is not kept in step.
    chirpstack_synced: bool,
    /// Null for a device that is not kept in step with ChirpStack, and not to leave it either.
    sync: Option<SyncBody>,
    status: DeviceStatus,
    /// RFC 3339.
    last_seen: Option<String>,
    /// Best RSSI of its last uplink, dBm.
    signal_strength: Option<i32>,
    /// Signal to noise ratio there, dB.
    snr: Option<f32>,
    /// Percent.
    battery_level: Option<f32>,
    /// Uplinks that were received.
    uplinks_heard: u64,
    /// Uplinks that its frame counter tells of and that never came.
    uplinks_missed: u64,
    /// The light that is wanted.
    desired: Option<LightBody>,
    /// The light that it last reported.
    reported: Option<ReportedBody>,
    /// Whether it last reported what is wanted; true if nothing is.
    converged: bool,
    /// RFC 3339; when every setting of its initialisation was last proven.
    initialised_at: Option<String>,
    /// How far its initialisation is; null if it was never begun.
    initialisation: Option<InitialisationBody>,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    updated_at: String,
}

impl DeviceBody {
    pub(super) fn new(device: Device) -> Self {
        let converged = device.is_converged();
        let fields = device.fields;
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
            app_key_set: device.app_key != AppKeyState::None,
            app_key_is_default: device.app_key == AppKeyState::Default,
            codec: fields.codec.name(),
            uplink_interval_s: fields.uplink_interval.map(|it| it.as_secs()),
            policy: PolicyBody::of(&fields.policy),
            chirpstack_synced: device.sync.as_ref().is_some_and(DeviceSync::is_synced),
            sync: device.sync.map(SyncBody::new),
            status: DeviceStatus::new(device.presence),
            last_seen: device.last_seen.map(|at| at.to_string()),
            signal_strength: device.rssi_dbm,
            snr: device.snr_db,
            battery_level: device.battery_percent,
            uplinks_heard: device.uplinks_heard,
            uplinks_missed: device.uplinks_missed,
            desired: device.desired.map(LightBody::new),
            reported: device.reported.map(ReportedBody::new),
            converged,
            initialised_at: device
                .initialisation
                .and_then(|it| it.initialised_at)
                .map(|at| at.to_string()),
            initialisation: device.initialisation.map(InitialisationBody::new),
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
    initialisation: Option<InitialisationBody>,
}

impl DeviceChangeBody {
    pub(super) fn new(view: &DeviceView) -> Self {
        Self {
            id: view.device_id.to_string(),
            lorawan_dev_eui: view.dev_eui.to_string(),
            status: DeviceStatus::new(view.presence),
            last_seen: view.last_seen.map(|at| at.to_string()),
            signal_strength: view.rssi_dbm,
            snr: view.snr_db,
            battery_level: view.battery_percent,
            desired: view.desired.map(LightBody::new),
            reported: view.reported.map(ReportedBody::new),
            initialisation: view.initialisation.map(InitialisationBody::new),
        }
    }
}
