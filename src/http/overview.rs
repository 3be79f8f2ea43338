//! `GET /api/v1/tenants/{tenant_id}/overview`: how a tenant fares, in numbers.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use downbeat_core::device::DownlinkState;
use downbeat_core::gateway::GatewayState;
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::TenantFigures;

use super::auth::Viewer;
use super::gateways::visible::TenantView;
use super::problem::{ApiError, Problem};
use super::{AppState, tenants};

/// How a tenant fares.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Overview {
    devices: DeviceCounts,
    commands: CommandCounts,
    gateways: GatewayCounts,
    /// Jobs that are not over.
    jobs: u64,
    /// Devices in which ChirpStack and the registry differ, those left alone not counted.
    drift: u64,
    /// Devices that spoke and that nobody has registered.
    unclaimed: u64,
}

/// A tenant's devices.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeviceCounts {
    total: u64,
    online: u64,
    offline: u64,
    never_seen: u64,
    /// Those that show what is wanted of them, or of which nothing is wanted.
    converged: u64,
    /// Those that show something else than what is wanted of them, or nothing yet.
    not_converged: u64,
    /// Those that ChirpStack is not in step with but should be.
    not_synced: u64,
}

/// Commands that have not ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CommandCounts {
    /// All of them.
    under_way: u64,
    /// Of these, those that wait for something: their turn, a gateway, ChirpStack.
    waiting: u64,
    /// Those by what they wait for, like `no_gateway`.
    waiting_by_reason: BTreeMap<String, u64>,
}

/// The gateways that the tenant sees.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct GatewayCounts {
    total: usize,
    online: usize,
    offline: usize,
    never_seen: usize,
    /// Of those online: how many take no downlinks though they should and others do.
    mute: usize,
}

/// How a tenant fares, in numbers
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/overview",
    tag = "metrics",
    params(("tenant_id" = String, Path, description = "The tenant's id or name")),
    responses(
        (status = 200, description = "As it is now", body = Overview),
        (status = 404, description = "No such tenant", body = Problem),
    ),
)]
pub(super) async fn overview(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path(tenant): Path<String>,
) -> Result<Json<Overview>, ApiError> {
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    let figures = state.store().tenant_figures(tenant_id).await?;
    let view = TenantView::of(&state, tenant_id).await?;
    let mut gateways = GatewayCounts::default();
    for gateway in view.gateways(&state) {
        gateways.total += 1;
        match gateway.state {
            GatewayState::Online => gateways.online += 1,
            GatewayState::Offline => gateways.offline += 1,
            GatewayState::NeverSeen => gateways.never_seen += 1,
        }
        gateways.mute += usize::from(gateway.mute_since.is_some());
    }
    Ok(Json(Overview {
        devices: DeviceCounts::new(&figures),
        commands: CommandCounts::new(&figures),
        gateways,
        jobs: figures.jobs,
        drift: figures.drift,
        unclaimed: figures.unclaimed,
    }))
}

impl DeviceCounts {
    fn new(figures: &TenantFigures) -> Self {
        let devices = &figures.devices;
        Self {
            total: devices.total,
            online: devices.online,
            offline: devices.offline,
            never_seen: devices.never_seen,
            converged: devices.total - devices.differing,
            not_converged: devices.differing,
            not_synced: figures.not_synced.values().sum(),
        }
    }
}

impl CommandCounts {
    fn new(figures: &TenantFigures) -> Self {
        let waiting = figures.under_way.get(&DownlinkState::Waiting);
        Self {
            under_way: figures.under_way.values().sum(),
            waiting: waiting.copied().unwrap_or(0),
            waiting_by_reason: figures.waiting_for.clone(),
        }
    }
}
