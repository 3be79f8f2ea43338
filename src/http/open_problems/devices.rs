//! What is wrong with devices, their queues, and what the registry says of them.

use downbeat_actors::Health;
use downbeat_core::codec::CodecKind;
use downbeat_core::id::{NetworkServerId, Scope};
use downbeat_core::radio::DeviceClass;
use downbeat_core::sync::SyncState;

use crate::http::AppState;
use crate::http::problem::ApiError;
use crate::store::{Tenant, TenantFigures};

use super::{OpenProblem, Severity};

/// Devices in Class A of which it is looked up what they are.
const LOOKED_UP_MAX: usize = 100;

/// Devices that were never heard, or not for long.
pub(super) fn of_presence(figures: &TenantFigures, health: Health) -> Vec<OpenProblem> {
    let devices = &figures.devices;
    let is_none_heard = devices.total > 0 && devices.never_seen == devices.total;
    let never_seen = if !is_none_heard {
        let problem = OpenProblem::of_several(
            "device_never_seen",
            Severity::Info,
            devices.never_seen,
            ("A device was never heard", "devices were never heard"),
        );
        problem.map(|problem| {
            problem.at("/devices?status=never_seen").saying(
                "Registered here, and nothing was ever heard.",
                "See to power and to the join, and whether DevEUI and AppKey are right.",
            )
        })
    } else if health.network_server_configured {
        let title = "No device was heard yet";
        let problem = OpenProblem::new("nothing_heard", Severity::Error, title);
        Some(problem.of(devices.never_seen).at("/devices?status=never_seen").saying(
            "Nothing came from ChirpStack of any of them.",
            "Run `downbeat connect`: it sets up ChirpStack's HTTP integration. Then see whether the devices have joined.",
        ))
    } else {
        None
    };
    let silent = OpenProblem::of_several(
        "device_silent",
        Severity::Warning,
        devices.offline,
        ("A device is silent", "devices are silent"),
    );
    let silent = silent.map(|problem| {
        problem.at("/devices?status=offline").saying(
            "Nothing was heard for twice as long as it should take at the most.",
            "See to power, and whether a gateway near by is silent.",
        )
    });
    never_seen.into_iter().chain(silent).collect()
}

/// Lights that ChirpStack takes for sleepers: what is sent to them waits until they speak.
pub(super) async fn of_class_a(
    state: &AppState,
    tenant: &Tenant,
    server: NetworkServerId,
) -> Result<Option<OpenProblem>, ApiError> {
    let system = state.system();
    let in_class_a = system.devices_of_class(server, DeviceClass::A, tenant.id);
    let in_class_a = in_class_a.await;
    let in_class_a = in_class_a.iter().take(LOOKED_UP_MAX);
    let ids = in_class_a.map(|owner| owner.device_id).collect();
    let scope = Scope::Tenant(tenant.id);
    let devices = state.store().devices_by_id(scope, &ids).await?;
    let is_light = |codec| codec == CodecKind::KuandoBusylight;
    let lights = devices
        .iter()
        .filter(|found| is_light(found.device.fields.codec))
        .count() as u64;
    let problem = OpenProblem::of_several(
        "not_class_c",
        Severity::Error,
        lights,
        ("A light is not in Class C", "lights are not in Class C"),
    );
    Ok(problem.map(|problem| {
        problem.at("/devices").saying(
            "ChirpStack sends to them only after they have spoken: a colour takes as long as they are silent.",
            "Tick \"Device supports Class-C\" in their device profile in ChirpStack; it holds when they join again.",
        )
    }))
}

/// Queues that do not move and are not ours to flush.
pub(super) fn of_queues(
    state: &AppState,
    tenant: &Tenant,
    server: NetworkServerId,
) -> Option<OpenProblem> {
    let found = state.system().queue_findings(server);
    let own = || found.iter().filter(|it| it.owner.tenant_id == tenant.id);
    let problem = OpenProblem::of_several(
        "queue_stuck",
        Severity::Warning,
        own().count() as u64,
        (
            "A queue in ChirpStack is stuck",
            "queues in ChirpStack are stuck",
        ),
    )?;
    let since = own().map(|finding| finding.since).min();
    Some(problem.since(since).at("/drift").saying(
        "No gateway reaches these devices, and what stands in their queues is not only from here.",
        "Bring a gateway near them back, or flush their queues if nobody wants any more what stands there.",
    ))
}

/// Where the registry, ChirpStack and the devices do not agree.
pub(super) fn of_registry(figures: &TenantFigures) -> Vec<OpenProblem> {
    let of_state = |state: SyncState| figures.not_synced.get(&state).copied().unwrap_or(0);
    let stopped = of_state(SyncState::Conflict) + of_state(SyncState::Rejected);
    let problems = [
        OpenProblem::of_several(
            "sync_refused",
            Severity::Warning,
            stopped,
            ("A device is refused by ChirpStack", "devices are refused by ChirpStack"),
        )
        .map(|problem| problem.at("/devices?synced=false").saying(
            "What the registry says of them cannot be put into ChirpStack as it is.",
            "Open a device: it says what is in the way. Correct it there or in ChirpStack, then synchronise again.",
        )),
        OpenProblem::of_several(
            "sync_failing",
            Severity::Warning,
            of_state(SyncState::Failing),
            ("A device is not in step yet", "devices are not in step yet"),
        )
        .map(|problem| problem.at("/devices?synced=false").saying(
            "ChirpStack did not take the change; it is tried again by itself.",
            "If it stays so, see whether the API key in use may write devices in ChirpStack.",
        )),
        OpenProblem::of_several(
            "drift",
            Severity::Info,
            figures.drift,
            ("A device differs in ChirpStack", "devices differ in ChirpStack"),
        )
        .map(|problem| problem.at("/drift").saying(
            "The registry and ChirpStack do not say the same of them.",
            "Decide which of the two is right, device by device or for all.",
        )),
        OpenProblem::of_several(
            "default_app_key",
            Severity::Warning,
            figures.devices.default_app_keys,
            ("A device has a default AppKey", "devices have a default AppKey"),
        )
        .map(|problem| problem.at("/devices").saying(
            "Everybody knows it, and whoever does can read and command these devices.",
            "Give each an AppKey of its own, in the device and here.",
        )),
        OpenProblem::of_several(
            "unclaimed",
            Severity::Info,
            figures.unclaimed,
            ("A device is not registered", "devices are not registered"),
        )
        .map(|problem| problem.at("/unclaimed").saying(
            "They speak through this ChirpStack, and nobody has registered them here.",
            "Register those that are yours; dismiss the others.",
        )),
    ];
    problems.into_iter().flatten().collect()
}
