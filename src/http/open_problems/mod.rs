//! `GET /api/v1/tenants/{tenant_id}/problems`: what is wrong, in words, and what to do about it.
//!
//! All of it is known already, from what gateways, devices and ChirpStack did; nobody is asked. What only ChirpStack can
//! tell, `downbeat doctor` asks it.

use axum::Json;
use axum::extract::{Path, State};
use downbeat_core::id::GatewayId;
use downbeat_core::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Viewer;
use super::gateways::visible::TenantView;
use super::problem::{ApiError, Problem};
use super::{AppState, tenants};

mod devices;
mod gateways;
mod service;

use service::Load;

/// Gateways that are named one by one, of each problem.
const NAMED_MAX: usize = 20;

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

    /// Of several things of a kind, named as people write it; `None` if there are none.
    fn of_several(
        kind: &'static str,
        severity: Severity,
        count: u64,
        (one, several): (&str, &str),
    ) -> Option<Self> {
        let title = match count {
            0 => return None,
            1 => one.to_owned(),
            _ => format!("{count} {several}"),
        };
        Some(Self::new(kind, severity, title).of(count))
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
    let seen = view.gateways(&state);
    let air = state.system().airtime(server);

    let mut problems = Vec::new();
    problems.extend(service::of_network_server(health));
    problems.extend(gateways::of_gateways(&seen));
    problems.extend(gateways::of_air(&seen, &air));
    problems.extend(devices::of_presence(&figures, health));
    problems.extend(devices::of_class_a(&state, &tenant, server).await?);
    problems.extend(devices::of_queues(&state, &tenant, server));
    problems.extend(service::of_load(Load::of(&state)));
    problems.extend(devices::of_registry(&figures));
    problems.sort_by_key(|problem| problem.severity);
    Ok(Json(OpenProblems { problems }))
}
