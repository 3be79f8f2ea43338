//! `POST /api/v1/devices/{dev_eui}/initialize`: the settings that a device needs after a join, on demand.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use downbeat_core::device::InitialisationPlan;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::AppState;
use crate::http::auth::Operator;
use crate::http::extract::{Fields, QueryFields};
use crate::http::problem::{ApiError, Problem};

use super::InitialisationBody;
use super::desired::{key, of_dev_eui};

/// How.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct InitializeQuery {
    /// `true`: also if that was done within the last hour and the device did not restart since.
    #[param(value_type = Option<bool>)]
    force: Option<String>,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct InitializeOutcome {
    /// 16 hex digits.
    dev_eui: String,
    /// `started`, `running` (it was under way already), `skipped` (it was done lately) or `not_needed` (a device of this
    /// kind has no such settings).
    status: &'static str,
    /// Why it was skipped, in words.
    reason: Option<String>,
    /// How far it is.
    initialisation: Option<InitialisationBody>,
}

/// Initialise a device
///
/// It is told the settings that its codec wants after a join, one after the other; `initialisation` of the device tells
/// how far that is. Whatever is ordered meanwhile goes first.
#[utoipa::path(
    post,
    path = "/api/v1/devices/{dev_eui}/initialize",
    tag = "commands",
    params(
        ("dev_eui" = String, Path, description = "16 hex digits"),
        InitializeQuery,
    ),
    responses(
        (status = 200, description = "There is nothing to do", body = InitializeOutcome),
        (status = 202, description = "It is being done", body = InitializeOutcome),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such device", body = Problem),
        (status = 429, description = "The key or its tenant asks too often", body = Problem),
        (status = 503, description = "Nothing was stored; try again", body = Problem),
    ),
)]
pub(in crate::http) async fn initialize(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(dev_eui): Path<String>,
    QueryFields(query): QueryFields<InitializeQuery>,
) -> Result<(StatusCode, Json<InitializeOutcome>), ApiError> {
    let mut fields = Fields::default();
    let force = query.force.as_deref().map(|it| it.parse().ok());
    fields.check(force != Some(None), "force", "must be true or false");
    let force = fields.done(force.flatten().unwrap_or(false))?;
    let (dev_eui, device) = of_dev_eui(&state, &caller, &dev_eui).await?;
    state.count_command(device.tenant_id).await?;
    let (by, key) = (Some(caller.by()), key(&device, dev_eui));
    let came = state
        .system()
        .initialise(caller.scope, key, force, by)
        .await?;
    let (code, status, reason) = match came.plan {
        InitialisationPlan::Start => (StatusCode::ACCEPTED, "started", None),
        InitialisationPlan::Running => (StatusCode::ACCEPTED, "running", None),
        InitialisationPlan::Fresh { initialised_at } => {
            let reason =
                format!("It was done at {initialised_at}, and the device did not restart since.");
            (StatusCode::OK, "skipped", Some(reason))
        }
        InitialisationPlan::NotNeeded => (StatusCode::OK, "not_needed", None),
    };
    let outcome = InitializeOutcome {
        dev_eui: dev_eui.to_string(),
        status,
        reason,
        initialisation: came.status.map(InitialisationBody::new),
    };
    Ok((code, Json(outcome)))
}
