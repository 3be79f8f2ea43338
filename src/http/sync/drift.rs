//! `GET /api/v1/tenants/{tenant_id}/drift`: where ChirpStack and the registry differ.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::auth::Viewer;
use crate::http::extract::{Fields, QueryFields};
use crate::http::problem::{ApiError, Problem};
use crate::http::{AppState, tenants};
use crate::store::{Drift, DriftKind, PAGE_MAX, PageRequest, Scope};

/// Rows of a page if the caller does not say.
const LIMIT_DEFAULT: u32 = 100;

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct DriftQuery {
    /// 1 to 1000; 100 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A field in which they differ.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DifferenceBody {
    /// A field of the device, or `tags.<name>`.
    field: String,
    /// What the registry says.
    registry: Option<String>,
    /// What ChirpStack says; null also for an application that is not the tenant's.
    chirpstack: Option<String>,
}

/// A device in which they differ.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DriftBody {
    dev_eui: String,
    /// The registry's device, if it has it.
    device_id: Option<String>,
    /// `missing_in_chirpstack`, `missing_in_registry` or `differs`.
    #[schema(example = "differs")]
    kind: &'static str,
    /// ChirpStack's name for it, if it has it.
    chirpstack_name: Option<String>,
    application_id: Option<String>,
    device_profile_id: Option<String>,
    /// In what, if both have it.
    differences: Vec<DifferenceBody>,
    /// When it was found first, RFC 3339.
    found_at: String,
    /// Whether it was decided to leave it.
    ignored: bool,
}

impl DriftBody {
    fn new(drift: Drift) -> Self {
        let differences = drift.differences.into_iter().map(|it| DifferenceBody {
            field: it.field,
            registry: it.registry,
            chirpstack: it.chirpstack,
        });
        Self {
            dev_eui: drift.dev_eui.to_string(),
            device_id: drift.device_id.map(|id| id.to_string()),
            kind: match drift.kind {
                DriftKind::MissingInChirpstack => "missing_in_chirpstack",
                DriftKind::MissingInRegistry => "missing_in_registry",
                DriftKind::Differs => "differs",
            },
            chirpstack_name: drift.chirpstack_name,
            application_id: drift.application_id.map(|id| id.to_string()),
            device_profile_id: drift.device_profile_id.map(|id| id.to_string()),
            differences: differences.collect(),
            found_at: drift.found_at.to_string(),
            ignored: drift.ignored,
        }
    }
}

/// A page of what the last comparison found.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DriftPage {
    /// When the comparison was made, RFC 3339; null if there was none yet.
    checked_at: Option<String>,
    /// Whether one is being made now.
    checking: bool,
    /// How often one is made, s; 0: only when somebody asks.
    interval_s: u64,
    items: Vec<DriftBody>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// Where ChirpStack and the registry differ, by DevEUI
///
/// As the last comparison found it: there is one every `registry.drift_interval_s`. Devices whose synchronisation is
/// under way are left out, and join EUIs and keys are not compared.
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/drift",
    tag = "devices",
    params(("tenant_id" = String, Path, description = "The tenant's id or name"), DriftQuery),
    responses(
        (status = 200, description = "A page", body = DriftPage),
        (status = 400, description = "A filter is wrong", body = Problem),
        (status = 404, description = "No such tenant", body = Problem),
    ),
)]
pub(in crate::http) async fn drift(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path(tenant): Path<String>,
    QueryFields(query): QueryFields<DriftQuery>,
) -> Result<Json<DriftPage>, ApiError> {
    let mut fields = Fields::default();
    let limit = fields.number("limit", query.limit.as_deref(), 1..=PAGE_MAX);
    let page = PageRequest {
        limit: limit.unwrap_or(LIMIT_DEFAULT),
        after: fields.parsed("cursor", query.cursor.as_deref()),
    };
    let page = fields.done(page)?;
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    let scope = Scope::Tenant(tenant_id);
    let (checked_at, page) = state.store().list_drift(scope, tenant_id, page).await?;
    Ok(Json(DriftPage {
        checked_at: checked_at.map(|at| at.to_string()),
        checking: state.comparer().is_comparing(tenant_id),
        interval_s: state.drift_interval_s(),
        items: page.items.into_iter().map(DriftBody::new).collect(),
        next_cursor: page.next.map(|cursor| cursor.to_string()),
    }))
}
