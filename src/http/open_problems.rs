//! `GET /api/v1/tenants/{tenant_id}/problems`: what is wrong, in words, and what to do about it.
//!
//! All of it is known already, from what gateways, devices and ChirpStack did; nobody is asked. What only ChirpStack can
//! tell, `downbeat doctor` asks it.

use axum::Json;
use axum::extract::{Path, State};
use downbeat_actors::Health;
use downbeat_core::codec::CodecKind;
use downbeat_core::gateway::{GatewayState, GatewayStatus};
use downbeat_core::id::{GatewayId, NetworkServerId, Scope};
use downbeat_core::pacer::{AirtimeSnapshot, BandAir};
use downbeat_core::radio::DeviceClass;
use downbeat_core::sync::SyncState;
use downbeat_core::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::{Tenant, TenantFigures};

use super::auth::Viewer;
use super::gateways::visible::TenantView;
use super::problem::{ApiError, Problem};
use super::{AppState, airtime, tenants};

/// Gateways that are named one by one, of each problem.
const NAMED_MAX: usize = 20;

/// Devices in Class A of which it is looked up what they are.
const LOOKED_UP_MAX: usize = 100;

/// From this share of its budget on, a gateway has none left to speak of.
const SPENT: f64 = 0.95;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Severity {
    /// Commands do not arrive.
    Error,
    /// Some do not, or late.
    Warning,
    /// Something is to be decided.
    Info,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct OpenProblem {
    /// What kind it is, for programs: `gateway_silent`, `rx2_slow`, `drift` and so on.
    #[schema(example = "gateway_silent")]
    kind: &'static str,
    severity: Severity,
    /// In a few words.
    #[schema(example = "Gateway Roof is silent")]
    title: String,
    /// What is known of it.
    detail: String,
    /// What to do.
    advice: &'static str,
    /// How many things have it; null where it is one.
    count: Option<u64>,
    /// Since when, RFC 3339; null if that is not known.
    since: Option<String>,
    /// The gateway that has it, 16 hex digits.
    gateway_id: Option<String>,
    /// Where the page shows more of it, a path.
    #[schema(example = "/gateways/0016c001ff10a230")]
    page: Option<String>,
}

/// What is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OpenProblems {
    /// The worst first.
    problems: Vec<OpenProblem>,
}

impl OpenProblem {
    fn new(kind: &'static str, severity: Severity, title: impl Into<String>) -> Self {
        Self {
            kind,
            severity,
            title: title.into(),
            detail: String::new(),
            advice: "",
            count: None,
            since: None,
            gateway_id: None,
            page: None,
        }
    }

    fn saying(mut self, detail: impl Into<String>, advice: &'static str) -> Self {
        (self.detail, self.advice) = (detail.into(), advice);
        self
    }

    fn of(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    fn since(mut self, at: Option<Timestamp>) -> Self {
        self.since = at.map(|at| at.to_string());
        self
    }

    fn at(mut self, page: impl Into<String>) -> Self {
        self.page = Some(page.into());
        self
    }

    fn of_gateway(mut self, id: GatewayId) -> Self {
        self.gateway_id = Some(id.to_string());
        self.at(format!("/gateways/{id}"))
    }
}

/// What is wrong, in words, and what to do about it
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/problems",
    tag = "metrics",
    params(("tenant_id" = String, Path, description = "The tenant's id or name")),
    responses(
        (status = 200, description = "As it is now", body = OpenProblems),
        (status = 404, description = "No such tenant", body = Problem),
    ),
)]
pub(super) async fn problems(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path(tenant): Path<String>,
) -> Result<Json<OpenProblems>, ApiError> {
    let tenant = tenants::of_path(&state, &caller, &tenant).await?;
    let figures = state.store().tenant_figures(tenant.id).await?;
    let server = state.store().network_server_of(tenant.id).await?;
    let health = state.system().health_with(server);
    let view = TenantView::of(&state, tenant.id).await?;
    let gateways = view.gateways(&state);
    let air = state.system().airtime(server);

    let mut problems = Vec::new();
    problems.extend(of_network_server(health));
    problems.extend(of_gateways(&gateways));
    problems.extend(of_air(&gateways, &air));
    problems.extend(of_devices(&figures, health));
    problems.extend(of_class_a(&state, &tenant, server).await?);
    problems.extend(of_queues(&state, &tenant, server));
    problems.extend(of_webhooks(state.holding().waiting()));
    problems.extend(of_registry(&figures));
    problems.sort_by_key(|problem| problem.severity);
    Ok(Json(OpenProblems { problems }))
}

fn of_network_server(health: Health) -> Option<OpenProblem> {
    let problem =
        |kind, title: &str| OpenProblem::new(kind, Severity::Error, title).at("/settings");
    if !health.network_server_configured {
        let problem = problem("chirpstack_not_configured", "No ChirpStack is configured");
        return Some(problem.saying(
            "Commands are accepted and wait until there is one.",
            "Set its address and an API key: chirpstack.url and chirpstack.api_key, or the tenant's own in the settings.",
        ));
    }
    if !health.network_server_takes_key {
        let problem = problem("chirpstack_key_refused", "ChirpStack refuses the API key");
        return Some(problem.saying(
            "It answers, and does not take the key. Commands are accepted and wait.",
            "Make a new API key in ChirpStack and set it here.",
        ));
    }
    if !health.network_server_ok {
        let problem = problem("chirpstack_unavailable", "ChirpStack does not answer");
        return Some(problem.saying(
            "Commands are accepted and wait; it is asked again and again.",
            "See whether ChirpStack runs, and whether its address can be reached from here.",
        ));
    }
    None
}

fn name(gateway: &GatewayStatus) -> String {
    let name = gateway.name.clone().filter(|name| !name.is_empty());
    name.unwrap_or_else(|| gateway.gateway_id.to_string())
}

fn of_gateways(gateways: &[GatewayStatus]) -> Vec<OpenProblem> {
    let mut problems = Vec::new();
    let is_any_online = gateways.iter().any(|it| it.state == GatewayState::Online);
    let silent = || {
        gateways
            .iter()
            .filter(|it| it.state == GatewayState::Offline)
    };
    if !is_any_online && silent().next().is_some() {
        let all = OpenProblem::new(
            "all_gateways_silent",
            Severity::Error,
            "No gateway is online",
        );
        problems.push(all.at("/gateways").saying(
            "Nothing can be sent before one is back. Commands are accepted and wait.",
            "See to the gateways' power and network, and to the broker between them and ChirpStack.",
        ));
    }
    for gateway in silent().take(NAMED_MAX) {
        let title = format!("Gateway {} is silent", name(gateway));
        let heard = match gateway.devices_heard {
            0 => "No device was heard by it.".to_owned(),
            1 => "One device was heard by it.".to_owned(),
            devices => format!("{devices} devices were heard by it."),
        };
        let problem = OpenProblem::new("gateway_silent", Severity::Warning, title);
        let problem = problem
            .since(gateway.last_seen)
            .of_gateway(gateway.gateway_id);
        problems.push(problem.saying(
            format!("It has given no sign of life for five minutes. {heard}"),
            "See to its power and network. If it is gone for good, delete it in ChirpStack.",
        ));
    }
    for gateway in gateways
        .iter()
        .filter(|it| it.mute_since.is_some())
        .take(NAMED_MAX)
    {
        let title = format!("Gateway {} sends nothing", name(gateway));
        let problem = OpenProblem::new("gateway_mute", Severity::Warning, title);
        let problem = problem
            .since(gateway.mute_since)
            .of_gateway(gateway.gateway_id);
        problems.push(problem.saying(
            "It hears devices, and takes no downlinks though it should and others do. Commands go round it where they can.",
            "Restart its packet forwarder; see whether the broker lets ChirpStack's commands through to it.",
        ));
    }
    let never = gateways
        .iter()
        .filter(|it| it.state == GatewayState::NeverSeen)
        .count();
    if never > 0 {
        let title = match never {
            1 => "A gateway was never seen".to_owned(),
            _ => format!("{never} gateways were never seen"),
        };
        let problem = OpenProblem::new("gateway_never_seen", Severity::Info, title);
        problems.push(problem.of(never as u64).at("/gateways").saying(
            "ChirpStack has them, and they never gave a sign of life.",
            "Compare their ids with what stands on them, and see whether their stats_interval is set.",
        ));
    }
    problems
}

fn of_air(gateways: &[GatewayStatus], air: &AirtimeSnapshot) -> Vec<OpenProblem> {
    let mut problems = Vec::new();
    let airs = || gateways.iter().map(|it| (it, air.gateway(it.gateway_id)));
    let slow = airs().find_map(|(_, of_it)| {
        let note = airtime::note(&of_it)?;
        of_it.downlink.is_learnt.then_some(note)
    });
    if let Some(note) = slow {
        let problem = OpenProblem::new("rx2_slow", Severity::Warning, "RX2 is slow");
        problems.push(problem.at("/gateways").saying(
            note,
            "Set rx2_dr to 3 (SF9) in ChirpStack's region and restart it; devices learn it when they join again.",
        ));
    }
    let is_spent = |band: &BandAir| {
        let taken = band.used.saturating_add(band.reserved);
        let budget = band.budget.filter(|budget| !budget.is_zero());
        budget.is_some_and(|budget| taken.div_duration_f64(budget) >= SPENT)
    };
    let spent = airs().filter(|(_, air)| air.bands.first().is_some_and(is_spent));
    for (gateway, _) in spent.take(NAMED_MAX) {
        let title = format!("Gateway {} has used its airtime", name(gateway));
        let problem = OpenProblem::new("airtime_spent", Severity::Warning, title);
        problems.push(problem.of_gateway(gateway.gateway_id).saying(
            "What may be sent within an hour is sent. Commands wait until some of it is over.",
            "Send less often, let devices speak at a lower spreading factor, or add a gateway.",
        ));
    }
    problems
}

/// As people write it: one thing, or several.
fn counted(count: u64, one: &str, several: &str) -> String {
    if count == 1 {
        one.to_owned()
    } else {
        format!("{count} {several}")
    }
}

fn of_devices(figures: &TenantFigures, health: Health) -> Vec<OpenProblem> {
    let mut problems = Vec::new();
    let devices = &figures.devices;
    let never_seen = devices.never_seen;
    if devices.total > 0 && never_seen == devices.total {
        if health.network_server_configured {
            let title = "No device was heard yet";
            let problem = OpenProblem::new("nothing_heard", Severity::Error, title);
            problems.push(problem.of(never_seen).at("/devices?status=never_seen").saying(
                "Nothing came from ChirpStack of any of them.",
                "Run `downbeat connect`: it sets up ChirpStack's HTTP integration. Then see whether the devices have joined.",
            ));
        }
    } else if never_seen > 0 {
        let title = counted(
            never_seen,
            "A device was never heard",
            "devices were never heard",
        );
        let problem = OpenProblem::new("device_never_seen", Severity::Info, title);
        problems.push(problem.of(never_seen).at("/devices?status=never_seen").saying(
            "They are registered, and nothing came of them.",
            "See whether they have power and joined, and whether their DevEUI and AppKey are right.",
        ));
    }
    if devices.offline > 0 {
        let title = counted(devices.offline, "A device is silent", "devices are silent");
        let problem = OpenProblem::new("device_silent", Severity::Warning, title);
        problems.push(
            problem
                .of(devices.offline)
                .at("/devices?status=offline")
                .saying(
                    "They have not spoken for twice as long as they should at the most.",
                    "See to their power, and whether a gateway near them is silent.",
                ),
        );
    }
    problems
}

/// Lights that ChirpStack takes for sleepers: what is sent to them waits until they speak.
async fn of_class_a(
    state: &AppState,
    tenant: &Tenant,
    server: NetworkServerId,
) -> Result<Option<OpenProblem>, ApiError> {
    let system = state.system();
    let in_class_a = system.devices_of_class(server, DeviceClass::A, tenant.id);
    let in_class_a = in_class_a.await;
    let scope = Scope::Tenant(tenant.id);
    let mut lights = 0;
    for owner in in_class_a.iter().take(LOOKED_UP_MAX) {
        let device = state.store().device(scope, owner.device_id).await?;
        let is_light = |codec| codec == CodecKind::KuandoBusylight;
        lights += u64::from(device.is_some_and(|device| is_light(device.fields.codec)));
    }
    if lights == 0 {
        return Ok(None);
    }
    let title = counted(
        lights,
        "A light is not in Class C",
        "lights are not in Class C",
    );
    let problem = OpenProblem::new("not_class_c", Severity::Error, title);
    Ok(Some(problem.of(lights).at("/devices").saying(
        "ChirpStack sends to them only after they have spoken: a colour takes as long as they are silent.",
        "Tick \"Device supports Class-C\" in their device profile in ChirpStack; it holds when they join again.",
    )))
}

fn of_queues(state: &AppState, tenant: &Tenant, server: NetworkServerId) -> Option<OpenProblem> {
    let found = state.system().queue_findings(server);
    let own = || found.iter().filter(|it| it.owner.tenant_id == tenant.id);
    let stuck = own().count() as u64;
    if stuck == 0 {
        return None;
    }
    let title = counted(
        stuck,
        "A queue in ChirpStack is stuck",
        "queues in ChirpStack are stuck",
    );
    let since = own().map(|finding| finding.since).min();
    let problem = OpenProblem::new("queue_stuck", Severity::Warning, title);
    Some(problem.of(stuck).since(since).at("/devices").saying(
        "No gateway reaches these devices, and what stands in their queues is not only from here.",
        "Bring a gateway near them back, or flush their queues in ChirpStack.",
    ))
}

fn of_webhooks(waiting: usize) -> Option<OpenProblem> {
    if waiting == 0 {
        return None;
    }
    let waiting = waiting as u64;
    let title = counted(waiting, "An event is held", "events are held");
    let problem = OpenProblem::new("events_held", Severity::Warning, title);
    Some(problem.of(waiting).saying(
        "The database, or a device's mailbox, did not take them. They are tried again, and proofs come late.",
        "See whether the database is slow or full; /metrics tells more.",
    ))
}

fn of_registry(figures: &TenantFigures) -> Vec<OpenProblem> {
    let mut problems = Vec::new();
    let of_state = |state: SyncState| figures.not_synced.get(&state).copied().unwrap_or(0);
    let stopped = of_state(SyncState::Conflict) + of_state(SyncState::Rejected);
    if stopped > 0 {
        let title = counted(
            stopped,
            "A device is refused by ChirpStack",
            "devices are refused by ChirpStack",
        );
        let problem = OpenProblem::new("sync_refused", Severity::Warning, title);
        problems.push(problem.of(stopped).at("/devices?synced=false").saying(
            "What the registry says of them cannot be put into ChirpStack as it is.",
            "Open a device: it says what is in the way. Correct it there or in ChirpStack, then synchronise again.",
        ));
    }
    let failing = of_state(SyncState::Failing);
    if failing > 0 {
        let title = counted(
            failing,
            "A device is not in step yet",
            "devices are not in step yet",
        );
        let problem = OpenProblem::new("sync_failing", Severity::Warning, title);
        problems.push(problem.of(failing).at("/devices?synced=false").saying(
            "ChirpStack did not take the change; it is tried again by itself.",
            "If it stays so, see whether the API key in use may write devices in ChirpStack.",
        ));
    }
    if figures.drift > 0 {
        let title = counted(
            figures.drift,
            "A device differs in ChirpStack",
            "devices differ in ChirpStack",
        );
        let problem = OpenProblem::new("drift", Severity::Info, title);
        problems.push(problem.of(figures.drift).at("/drift").saying(
            "The registry and ChirpStack do not say the same of them.",
            "Decide which of the two is right, device by device or for all.",
        ));
    }
    if figures.devices.default_app_keys > 0 {
        let count = figures.devices.default_app_keys;
        let title = counted(
            count,
            "A device has a default AppKey",
            "devices have a default AppKey",
        );
        let problem = OpenProblem::new("default_app_key", Severity::Warning, title);
        problems.push(problem.of(count).at("/devices").saying(
            "Everybody knows it, and whoever does can read and command these devices.",
            "Give each an AppKey of its own, in the device and here.",
        ));
    }
    if figures.unclaimed > 0 {
        let title = counted(
            figures.unclaimed,
            "A device is not registered",
            "devices are not registered",
        );
        let problem = OpenProblem::new("unclaimed", Severity::Info, title);
        problems.push(problem.of(figures.unclaimed).at("/unclaimed").saying(
            "They speak through this ChirpStack, and nobody has registered them here.",
            "Register those that are yours; dismiss the others.",
        ));
    }
    problems
}
