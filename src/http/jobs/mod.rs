//! Commands to many devices, as the API shows them.

use std::time::Duration;

use downbeat_actors::observe::JobView;
use downbeat_actors::port::{JobProgress, StoredJob};
use downbeat_core::codec::Command;
use downbeat_core::id::{JobId, Scope};
use downbeat_core::job::{Bottleneck, Counts, GatewayLoad, ItemState, JobState, Plan, remaining};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::AppState;
use super::devices::ColorBody;
use super::problem::ApiError;

mod choose;
pub(super) mod create;
pub(super) mod devices;
pub(super) mod get;
pub(super) mod initialize;
pub(super) mod list;
pub(super) mod retry;
pub(super) mod steer;

/// One command to many devices.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct JobBody {
    /// UUID v7.
    id: String,
    tenant_id: String,
    /// `color`, `payload` or `initialize`.
    kind: &'static str,
    /// For people.
    name: String,
    /// `running`, `paused`, `cancelled` or `done`. A cancelled one has ended when `finished_at` says so.
    state: &'static str,
    /// What the lights are to show.
    color: Option<ColorBody>,
    /// Units of 0.1 s.
    on_time: Option<u8>,
    /// Units of 0.1 s; 0 is steady light.
    off_time: Option<u8>,
    /// The bytes, in hex.
    payload: Option<String>,
    f_port: Option<u8>,
    /// Whether a LoRaWAN acknowledgement is asked for.
    confirmed: bool,
    /// Whether a proof is waited for.
    wait_for_verification: bool,
    /// Shown without becoming the desired state.
    transient: bool,
    /// How often each device is tried; null: as always.
    attempts: Option<u8>,
    /// Seconds, from each device's turn on; null: as always.
    ttl_s: Option<u32>,
    /// Also where it was done not long ago.
    force: bool,
    /// At least so many seconds are between two devices.
    stagger_s: f64,
    /// The job whose failures it tries again.
    retry_of: Option<String>,
    /// The name of the key that made it.
    created_by: String,
    counts: CountsBody,
    /// Percent of the devices that are told.
    progress: f64,
    /// Seconds until the last device in reach has answered, as far as can be told; null when it does not run.
    remaining_s: Option<f64>,
    /// When that is. RFC 3339.
    eta: Option<String>,
    /// Seconds for which it was running.
    running_s: f64,
    /// Seconds of air that its commands took so far, further attempts included.
    airtime_used_s: f64,
    /// What it was expected to cost when it was made.
    plan: PlanBody,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    updated_at: String,
    /// RFC 3339; null while anything of it is under way.
    finished_at: Option<String>,
}

/// How many of a job's devices are where.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct CountsBody {
    /// All, those left out too.
    total: u64,
    /// Their turn has not come.
    waiting: u64,
    /// Their command is under way.
    under_way: u64,
    /// Of those under way: no gateway hears them, or they have to speak first. They hold nobody up.
    out_of_reach: u64,
    verified: u64,
    sent: u64,
    unverified: u64,
    failed: u64,
    superseded: u64,
    cancelled: u64,
    expired: u64,
    /// Left out: there was no use in trying.
    skipped: u64,
}

impl CountsBody {
    fn new(counts: &Counts, out_of_reach: u64) -> Self {
        Self {
            total: counts.total(),
            waiting: counts.get(ItemState::Waiting),
            under_way: counts.get(ItemState::UnderWay),
            out_of_reach,
            verified: counts.get(ItemState::Verified),
            sent: counts.get(ItemState::Sent),
            unverified: counts.get(ItemState::Unverified),
            failed: counts.get(ItemState::Failed),
            superseded: counts.get(ItemState::Superseded),
            cancelled: counts.get(ItemState::Cancelled),
            expired: counts.get(ItemState::Expired),
            skipped: counts.get(ItemState::Skipped),
        }
    }
}

/// What a job costs, at one attempt each.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct PlanBody {
    /// Devices that are told.
    devices: u64,
    /// Those of them that listen only after they spoke (class A): they take as long as they are silent.
    class_a: u64,
    /// Those of which it is not known who hears them: in no figure of air or time.
    without_gateway: u64,
    /// Seconds of air that the commands take.
    airtime_s: f64,
    /// Seconds from the beginning until the last device has answered, those of class A not counted.
    duration_s: f64,
    /// What says so; null where `stagger_s` does.
    bottleneck: Option<BottleneckBody>,
    /// By gateway, the busiest first.
    gateways: Vec<GatewayLoadBody>,
    left_out: Vec<LeftOutBody>,
}

/// What a job asks of a gateway.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct GatewayLoadBody {
    /// 16 hex digits.
    gateway_id: String,
    /// Devices that ChirpStack may send to by it; some by others, too.
    devices: u64,
    /// Its part of the air, in seconds.
    airtime_s: f64,
}

/// What says how long a job takes.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct BottleneckBody {
    /// `answers`: air must stay free for the devices' answers; `duty_cycle`: a budget is short.
    kind: &'static str,
    /// The gateway that is done last.
    gateway_id: String,
    /// The sub-band whose budget is short.
    sub_band: Option<String>,
}

/// Devices that are left out.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct LeftOutBody {
    /// `unknown_device`, `no_dev_eui`, `not_synced`, `never_heard` or `not_understood`.
    reason: &'static str,
    devices: u64,
    /// The first of them, by DevEUI, or by name where they have none. Only before the job is made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    examples: Vec<String>,
}

impl PlanBody {
    fn new(plan: &Plan) -> Self {
        let left_out = plan.left_out.iter().map(|(reason, devices)| LeftOutBody {
            reason: reason.name(),
            devices: *devices,
            examples: Vec::new(),
        });
        Self {
            devices: plan.devices,
            class_a: plan.class_a,
            without_gateway: plan.without_gateway,
            airtime_s: of_millis(plan.airtime_ms),
            duration_s: of_millis(plan.duration_ms),
            bottleneck: plan.bottleneck.as_ref().map(BottleneckBody::new),
            gateways: plan.gateways.iter().map(GatewayLoadBody::new).collect(),
            left_out: left_out.collect(),
        }
    }
}

impl BottleneckBody {
    fn new(bottleneck: &Bottleneck) -> Self {
        Self {
            kind: if bottleneck.sub_band.is_some() {
                "duty_cycle"
            } else {
                "answers"
            },
            gateway_id: bottleneck.gateway_id.to_string(),
            sub_band: bottleneck.sub_band.clone(),
        }
    }
}

impl GatewayLoadBody {
    fn new(load: &GatewayLoad) -> Self {
        Self {
            gateway_id: load.gateway_id.to_string(),
            devices: load.devices,
            airtime_s: of_millis(load.airtime_ms),
        }
    }
}

impl JobBody {
    /// A job as it is stored, and as it stands right now if it is not over.
    fn new(job: &StoredJob, view: Option<&JobView>) -> Self {
        let progress = view.map_or(job.progress, |view| view.progress);
        let left = match view {
            Some(view) => view.remaining,
            None => runs(&progress).then(|| untouched(job)).flatten(),
        };
        let at = view.map_or(progress.updated_at, |view| view.at);
        let (light, frame) = match &job.order.command {
            Some(Command::SetLight(light)) => (Some(*light), None),
            Some(Command::Raw(frame)) => (None, Some(frame)),
            Some(Command::Busylight(_)) | None => (None, None),
        };
        Self {
            id: job.id.to_string(),
            tenant_id: job.tenant_id.to_string(),
            kind: job.kind.name(),
            name: job.name.clone(),
            state: progress.state.name(),
            color: light.map(|light| ColorBody::new(light.color)),
            on_time: light.map(|light| light.on_time),
            off_time: light.map(|light| light.off_time),
            payload: frame.map(|frame| hex::encode(&frame.payload)),
            f_port: frame.map(|frame| frame.f_port.get()),
            confirmed: job.order.confirmed,
            wait_for_verification: job.order.verify,
            transient: job.order.transient,
            attempts: job.order.attempts_max,
            ttl_s: job.order.ttl_s,
            force: job.order.force,
            stagger_s: job.stagger.as_secs_f64(),
            retry_of: job.retry_of.map(|id| id.to_string()),
            created_by: job.created_by.clone(),
            counts: CountsBody::new(&progress.counts, view.map_or(0, |view| view.out_of_reach)),
            progress: percent(&progress.counts),
            remaining_s: left.map(|left| left.as_secs_f64()),
            eta: left.map(|left| (at + left).to_string()),
            running_s: progress.spent.as_secs_f64(),
            airtime_used_s: of_millis(airtime_used(job, progress.attempts)),
            plan: PlanBody::new(&job.plan),
            created_at: job.created_at.to_string(),
            updated_at: progress.updated_at.to_string(),
            finished_at: progress.finished_at.map(|at| at.to_string()),
        }
    }
}

/// A `job` event: how far a job is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JobEventBody {
    id: String,
    /// `color`, `payload` or `initialize`.
    kind: &'static str,
    name: String,
    /// `running`, `paused`, `cancelled` or `done`.
    state: &'static str,
    counts: CountsBody,
    /// Percent of the devices that are told.
    progress: f64,
    /// Seconds until the last device in reach has answered; null when it does not run.
    remaining_s: Option<f64>,
    /// When that is. RFC 3339.
    eta: Option<String>,
    /// RFC 3339.
    updated_at: String,
    /// RFC 3339; null while anything of it is under way.
    finished_at: Option<String>,
}

impl JobEventBody {
    pub(super) fn new(view: &JobView) -> Self {
        let progress = &view.progress;
        Self {
            id: view.id.to_string(),
            kind: view.kind.name(),
            name: view.name.clone(),
            state: progress.state.name(),
            counts: CountsBody::new(&progress.counts, view.out_of_reach),
            progress: percent(&progress.counts),
            remaining_s: view.remaining.map(|left| left.as_secs_f64()),
            eta: view.remaining.map(|left| (view.at + left).to_string()),
            updated_at: progress.updated_at.to_string(),
            finished_at: progress.finished_at.map(|at| at.to_string()),
        }
    }
}

/// A job as it is now.
async fn shown(state: &AppState, scope: Scope, id: JobId) -> Result<JobBody, ApiError> {
    let found = state.store().job(scope, id).await?;
    let found = found.filter(|job| job.progress.state != JobState::Preparing);
    let job = found.ok_or(ApiError::NotFound("job"))?;
    Ok(body(state, &job))
}

fn body(state: &AppState, job: &StoredJob) -> JobBody {
    let view = state.system().job_view(job.id);
    JobBody::new(job, view.as_ref())
}

/// Where a job is to be found, from its body.
fn location(body: &Value) -> Option<String> {
    let (tenant, id) = (body.get("tenant_id")?.as_str()?, body.get("id")?.as_str()?);
    Some(format!("/api/v1/tenants/{tenant}/jobs/{id}"))
}

fn runs(progress: &JobProgress) -> bool {
    progress.state == JobState::Running
}

/// How long a job will take that nobody has taken up yet.
fn untouched(job: &StoredJob) -> Option<Duration> {
    let progress = &job.progress;
    let planned = job.plan.planned();
    remaining(&progress.counts, 0, planned, progress.spent, job.stagger)
}

fn airtime_used(job: &StoredJob, attempts: u64) -> u64 {
    job.plan.airtime_ms * attempts / job.plan.devices.max(1)
}

#[expect(clippy::cast_precision_loss, reason = "a share of some thousands")]
fn percent(counts: &Counts) -> f64 {
    let told = counts.finished() + counts.open();
    if told == 0 {
        return 100.0;
    }
    let tenths = counts.finished() * 1_000 / told;
    tenths as f64 / 10.0
}

#[expect(clippy::cast_precision_loss, reason = "seconds, for people")]
fn of_millis(millis: u64) -> f64 {
    millis as f64 / 1_000.0
}
