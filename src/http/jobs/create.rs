//! `POST /api/v1/tenants/{tenant_id}/jobs`: tell many devices something.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use downbeat_actors::port::{AuditEntry, JobOrder, JobProgress, StoredJob};
use downbeat_core::codec::Command;
use downbeat_core::id::{DevEui, DeviceId, JobId, TenantId};
use downbeat_core::job::{Counts, DEVICES_MAX, ItemState, JOBS_MAX, JobKind, JobState};
use downbeat_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::http::auth::{Caller, Operator};
use crate::http::devices::list::{FilterWords, checked_filter};
use crate::http::downlinks::send::{self, SendCommand};
use crate::http::extract::{Fields, JsonBody, Level, QueryFields};
use crate::http::idempotency::{Made, Making, Target};
use crate::http::problem::{ApiError, Conflict, FieldError, Problem};
use crate::http::{AppState, tenants};
use crate::store::{JOB_BATCH_MAX, Scope};

use super::choose::{Chosen, Named, Selection, choose};
use super::{JobBody, PlanBody, body, location};

/// The longest pause between two devices, in seconds.
const STAGGER_MAX_S: f64 = 3_600.0;

/// A command to many devices: what, as in `POST /downlink/{dev_eui}`, and to which devices, either `devices` or `filter`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"kind": "color", "color": "#ff0000", "filter": {"tag": "floor:2"}}))]
pub(in crate::http) struct CreateJob {
    /// `color`, `payload`, or `initialize`, which sends the settings that a device needs after a join.
    kind: Option<String>,
    /// For people; made from the rest if absent.
    #[schema(max_length = 100)]
    name: Option<String>,
    /// `DevEUI`s or ids, 100,000 at the most. One that is named twice is told once.
    devices: Option<Vec<String>>,
    filter: Option<JobFilterBody>,
    red: Option<Level>,
    blue: Option<Level>,
    green: Option<Level>,
    /// Units of 0.1 s; 255 if absent.
    on_time: Option<Level>,
    /// Units of 0.1 s; 0, a steady light, if absent.
    off_time: Option<Level>,
    /// `#rrggbb`.
    color: Option<String>,
    /// Bytes in hex, 1 to 242 of them, sent as they are.
    payload: Option<String>,
    /// 1 to 255; with `payload`.
    f_port: Option<Level>,
    /// Wait for each device's proof; otherwise only until ChirpStack has the command. True if absent.
    wait_for_verification: Option<bool>,
    /// Show a colour without making it the desired one.
    transient: Option<bool>,
    /// No attempt is made later than so many seconds after a device's turn came, 1 to 604800; a day if absent.
    ttl_s: Option<u32>,
    /// How often each is tried, 1 to 10; 4 if absent.
    attempts: Option<u8>,
    /// Ask for LoRaWAN acknowledgements.
    confirmed: Option<bool>,
    /// Also where it was done not long ago.
    force: Option<bool>,
    /// At least so many seconds between two devices, 0 to 3600; what the air allows if absent.
    stagger_s: Option<f64>,
}

/// Which devices, by the filters of the list of devices. Without any: all.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct JobFilterBody {
    /// Those whose name contains this; ASCII letters match in either case.
    #[schema(max_length = 100)]
    name: Option<String>,
    /// The one with this DevEUI.
    lorawan_dev_eui: Option<String>,
    /// `online`, `offline` or `never_seen`.
    status: Option<String>,
    /// `true`: those that ChirpStack is in step with; `false`: those that it is not but should be.
    synced: Option<bool>,
    /// `true`: those that show what is wanted; `false`: those that do not.
    converged: Option<bool>,
    /// `floor`: those with that tag; `floor:2`: those whose tag has that value.
    tag: Option<String>,
    /// Those of that kind, exactly.
    #[schema(max_length = 100)]
    device_type: Option<String>,
    /// `kuando_busylight` or `generic`.
    codec: Option<String>,
    /// Those in this application of ChirpStack, a UUID.
    chirpstack_app_id: Option<String>,
}

/// How to make it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct CreateQuery {
    /// `true`: only tell what it would cost and who would be left out.
    #[param(value_type = Option<bool>)]
    dry_run: Option<String>,
}

/// What a job would cost.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct JobEstimate {
    /// `true`: nothing was done.
    dry_run: bool,
    #[serde(flatten)]
    plan: PlanBody,
    /// When the last device would have answered, those of class A not counted. RFC 3339.
    eta: String,
}

/// A job that is to be made.
pub(super) struct NewJob {
    pub(super) kind: JobKind,
    pub(super) name: String,
    pub(super) order: JobOrder,
    pub(super) stagger: Duration,
    pub(super) retry_of: Option<JobId>,
}

/// Tell many devices something
///
/// The answer comes when it is stored; then a few devices at a time are told, with lower priority than commands that
/// somebody waits for, spread over the gateways, as fast as the air allows. A device that was told something newer is
/// left as it is. Devices that cannot be told are left out and listed. Look first with `dry_run`.
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{tenant_id}/jobs",
    tag = "jobs",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        CreateQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "the same key and body give the same answer for a day"),
    ),
    request_body = CreateJob,
    responses(
        (status = 200, description = "What it would cost (`dry_run`)", body = JobEstimate),
        (status = 201, description = "It has begun; `Location` tells where to follow it", body = JobBody),
        (status = 400, description = "A field is wrong, or no device is left to be told", body = Problem),
        (status = 404, description = "No such tenant", body = Problem),
        (status = 409, description = "Too many jobs of the tenant are not over, or the same request is in progress", body = Problem),
    ),
)]
pub(in crate::http) async fn create(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(tenant): Path<String>,
    QueryFields(query): QueryFields<CreateQuery>,
    headers: HeaderMap,
    body: JsonBody<CreateJob>,
) -> Result<Response, ApiError> {
    let mut fields = Fields::default();
    let dry_run = query.dry_run.as_deref().map(|it| it.parse().ok());
    fields.check(dry_run != Some(None), "dry_run", "must be true or false");
    let dry_run = fields.done(dry_run.flatten().unwrap_or(false))?;
    let (new, selection) = checked(body.value, state.now(), &caller)?;
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    if dry_run {
        let chosen = choose(&state, tenant_id, selection, &new.order, new.stagger).await?;
        return Ok(Json(estimate(&state, &chosen)).into_response());
    }
    let making = Making {
        scope: caller.scope,
        headers: &headers,
        operation: format!("POST /api/v1/tenants/{tenant_id}/jobs"),
        body: &body.bytes,
        location,
    };
    let make = async |target| {
        let field = selection.field();
        let chosen = choose(&state, tenant_id, selection, &new.order, new.stagger).await?;
        let made = StatusCode::CREATED;
        make(&state, &caller, tenant_id, new, chosen, field, target, made).await
    };
    making.once(&state, make).await
}

/// Writes a job down and begins it; the answer has that status.
#[expect(
    clippy::too_many_arguments,
    reason = "who wants what of whom, and how to answer"
)]
pub(super) async fn make(
    state: &AppState,
    caller: &Caller,
    tenant_id: TenantId,
    new: NewJob,
    chosen: Chosen,
    field: &'static str,
    target: Target,
    status: StatusCode,
) -> Result<Made, ApiError> {
    let id = JobId::from_uuid(target.id);
    let (store, scope) = (state.store(), Scope::Tenant(tenant_id));
    if target.may_exist
        && let Some(earlier) = store.job(scope, id).await?
        && earlier.progress.state != JobState::Preparing
    {
        return Made::new(status, &body(state, &earlier));
    }
    if chosen.plan.devices == 0 {
        return Err(nobody(&chosen, field));
    }
    if store.count_unfinished_jobs(tenant_id).await? >= JOBS_MAX.into() {
        return Err(ApiError::Conflict(Conflict::TooManyJobs));
    }
    state.count_command(tenant_id).await?;
    let job = stored(state, caller, tenant_id, id, new, &chosen);
    store.prepare_job(&job).await?;
    for items in chosen.items.chunks(JOB_BATCH_MAX) {
        store.add_job_items(tenant_id, id, items).await?;
    }
    store.start_job(&job, &entry(caller, &job)).await?;
    state.system().job_made(id);
    Made::new(status, &body(state, &job))
}

fn stored(
    state: &AppState,
    caller: &Caller,
    tenant_id: TenantId,
    id: JobId,
    new: NewJob,
    chosen: &Chosen,
) -> StoredJob {
    let now = state.now();
    let mut counts = Counts::default();
    counts.add(ItemState::Waiting, chosen.plan.devices);
    let left_out: u64 = chosen.plan.left_out.values().sum();
    counts.add(ItemState::Skipped, left_out);
    StoredJob {
        id,
        tenant_id,
        kind: new.kind,
        name: new.name,
        order: new.order,
        stagger: new.stagger,
        plan: chosen.plan.clone(),
        created_by: caller.by().name,
        created_at: now,
        retry_of: new.retry_of,
        progress: JobProgress {
            state: JobState::Running,
            counts,
            spent: Duration::ZERO,
            attempts: 0,
            updated_at: now,
            finished_at: None,
        },
    }
}

fn entry(caller: &Caller, job: &StoredJob) -> AuditEntry {
    let after = serde_json::json!({
        "kind": job.kind.name(),
        "name": job.name,
        "devices": job.plan.devices,
        "left_out": job.progress.counts.get(ItemState::Skipped),
        "order": job.order,
        "stagger_s": job.stagger.as_secs_f64(),
        "retry_of": job.retry_of,
    });
    AuditEntry {
        id: Uuid::now_v7(),
        at: job.created_at,
        tenant_id: Some(job.tenant_id),
        by: caller.by(),
        action: "job.create".to_owned(),
        object_id: job.id.to_string(),
        before: None,
        after: Some(after),
    }
}

/// Why a job would tell nobody.
fn nobody(chosen: &Chosen, field: &'static str) -> ApiError {
    let left_out = chosen.plan.left_out.iter();
    let reasons: Vec<String> = left_out
        .map(|(reason, devices)| format!("{devices} {}", reason.name()))
        .collect();
    let message = if reasons.is_empty() {
        "chooses no device".to_owned()
    } else {
        format!("chooses no device that can be told: {}", reasons.join(", "))
    };
    ApiError::field(field, message)
}

fn estimate(state: &AppState, chosen: &Chosen) -> JobEstimate {
    let mut plan = PlanBody::new(&chosen.plan);
    for (left_out, examples) in plan.left_out.iter_mut().zip(chosen.examples.values()) {
        left_out.examples.clone_from(examples);
    }
    JobEstimate {
        dry_run: true,
        plan,
        eta: (state.now() + chosen.plan.duration()).to_string(),
    }
}

impl Selection {
    /// The field that made it.
    fn field(&self) -> &'static str {
        match self {
            Self::Named(_) => "devices",
            Self::Filter(_) => "filter",
        }
    }
}

fn checked(
    body: CreateJob,
    now: Timestamp,
    caller: &Caller,
) -> Result<(NewJob, Selection), ApiError> {
    let mut fields = Fields::default();
    let kind = kind(&body, &mut fields);
    let name = body.name.as_deref().map(|name| fields.name("name", name));
    let stagger = stagger(body.stagger_s, &mut fields);
    let force = body.force.unwrap_or(false);
    let selection = selection(body.devices, body.filter, &mut fields);
    let command = SendCommand {
        red: body.red,
        blue: body.blue,
        green: body.green,
        on_time: body.on_time,
        off_time: body.off_time,
        color: body.color,
        payload: body.payload,
        f_port: body.f_port,
        wait_for_verification: body.wait_for_verification,
        transient: body.transient,
        ttl_s: body.ttl_s,
        attempts: body.attempts,
        deadline_s: None,
        deadline: None,
        confirmed: body.confirmed,
    };
    let order = match kind {
        Some(JobKind::Initialize) => {
            without_command(&command, &mut fields);
            Some(initialization(force))
        }
        Some(JobKind::Color | JobKind::Payload) | None => {
            ordered(kind, &command, force, now, caller, &mut fields)?
        }
    };
    let (Some(kind), Some(selection), Some(order)) = (kind, selection, order) else {
        fields.done(())?;
        return Err(ApiError::field("kind", "is missing"));
    };
    let (kind, selection, order) = fields.done((kind, selection, order))?;
    let name = name.unwrap_or_else(|| words(&order));
    let new = NewJob {
        kind,
        name,
        order,
        stagger,
        retry_of: None,
    };
    Ok((new, selection))
}

/// What each device is told; nothing when something is wrong, which is noted.
fn ordered(
    kind: Option<JobKind>,
    command: &SendCommand,
    force: bool,
    now: Timestamp,
    caller: &Caller,
    fields: &mut Fields,
) -> Result<Option<JobOrder>, ApiError> {
    let order = match send::order(command, now, caller.by()) {
        Ok(order) => order,
        Err(ApiError::Invalid(errors)) => {
            for FieldError { field, message } in errors {
                fields.wrong(field, message);
            }
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let is_light = matches!(order.command, Command::SetLight(_));
    let fits = kind.is_none_or(|kind| is_light == (kind == JobKind::Color));
    let message = "must be color with a colour, and payload with a payload";
    fields.check(fits, "kind", message);
    Ok(Some(JobOrder {
        command: Some(order.command),
        confirmed: order.confirmed,
        verify: order.verify,
        transient: order.transient,
        attempts_max: order.attempts_max,
        ttl_s: command.ttl_s,
        force,
    }))
}

/// What belongs to a colour or a payload has no place where devices are initialised.
fn without_command(command: &SendCommand, fields: &mut Fields) {
    for (name, is_given) in [
        ("red", command.red.is_some()),
        ("green", command.green.is_some()),
        ("blue", command.blue.is_some()),
        ("on_time", command.on_time.is_some()),
        ("off_time", command.off_time.is_some()),
        ("color", command.color.is_some()),
        ("payload", command.payload.is_some()),
        ("f_port", command.f_port.is_some()),
        (
            "wait_for_verification",
            command.wait_for_verification.is_some(),
        ),
        ("transient", command.transient.is_some()),
        ("ttl_s", command.ttl_s.is_some()),
        ("attempts", command.attempts.is_some()),
        ("confirmed", command.confirmed.is_some()),
    ] {
        fields.check(!is_given, name, "belongs to a colour or a payload");
    }
}

/// What devices are told that are initialised: their codec says it.
pub(super) fn initialization(force: bool) -> JobOrder {
    JobOrder {
        command: None,
        confirmed: false,
        verify: true,
        transient: false,
        attempts_max: None,
        ttl_s: None,
        force,
    }
}

fn kind(body: &CreateJob, fields: &mut Fields) -> Option<JobKind> {
    let kind = match body.kind.as_deref() {
        Some("color") => Some(JobKind::Color),
        Some("payload") => Some(JobKind::Payload),
        Some("initialize") => Some(JobKind::Initialize),
        Some(_) | None => None,
    };
    let message = "must be color, payload or initialize";
    fields.check(kind.is_some(), "kind", message);
    kind
}

fn stagger(seconds: Option<f64>, fields: &mut Fields) -> Duration {
    let seconds = seconds.unwrap_or(0.0);
    let holds = (0.0..=STAGGER_MAX_S).contains(&seconds);
    fields.check(holds, "stagger_s", "must be 0 to 3600");
    if holds {
        Duration::from_secs_f64(seconds)
    } else {
        Duration::ZERO
    }
}

fn selection(
    devices: Option<Vec<String>>,
    filter: Option<JobFilterBody>,
    fields: &mut Fields,
) -> Option<Selection> {
    match (devices, filter) {
        (Some(devices), None) => {
            let holds = (1..=DEVICES_MAX).contains(&devices.len());
            let message = format!("must name 1 to {DEVICES_MAX} devices");
            fields.check(holds, "devices", &message);
            let names = devices.iter().enumerate();
            let names = names.filter_map(|(place, text)| named(place, text, fields));
            Some(Selection::Named(names.collect()))
        }
        (None, Some(filter)) => {
            let words = FilterWords {
                name: filter.name,
                lorawan_dev_eui: filter.lorawan_dev_eui,
                status: filter.status,
                synced: filter.synced.map(|synced| synced.to_string()),
                converged: filter.converged.map(|converged| converged.to_string()),
                tag: filter.tag,
                device_type: filter.device_type,
                codec: filter.codec,
                chirpstack_app_id: filter.chirpstack_app_id,
            };
            let mut inner = Fields::default();
            let filter = checked_filter(&mut inner, words);
            if let Err(ApiError::Invalid(errors)) = inner.done(()) {
                for FieldError { field, message } in errors {
                    fields.wrong(format!("filter.{field}"), message);
                }
            }
            Some(Selection::Filter(Box::new(filter)))
        }
        (None, None) => {
            fields.wrong(
                "devices",
                "is missing: give devices or a filter, {} for all",
            );
            None
        }
        (Some(_), Some(_)) => {
            fields.wrong("filter", "excludes devices");
            None
        }
    }
}

/// Wrong names that are told of.
const WRONG_NAMES_MAX: usize = 20;

fn named(place: usize, text: &str, fields: &mut Fields) -> Option<Named> {
    if let Ok(dev_eui) = text.parse::<DevEui>() {
        return Some(Named::DevEui(dev_eui));
    }
    if let Ok(id) = text.parse::<DeviceId>() {
        return Some(Named::Id(id));
    }
    if fields.len() < WRONG_NAMES_MAX {
        fields.wrong(
            format!("devices[{place}]"),
            "must be a DevEUI or a device's id",
        );
    }
    None
}

/// A job's name if nobody gave it one.
pub(super) fn words(order: &JobOrder) -> String {
    match &order.command {
        Some(Command::SetLight(light)) => format!("Color {}", light.color),
        Some(Command::Raw(frame)) => format!("Payload on port {}", frame.f_port.get()),
        Some(Command::Busylight(_)) => "Setting".to_owned(),
        None => "Initialization".to_owned(),
    }
}
