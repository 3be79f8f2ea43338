//! `POST /api/v1/devices/initialize`: the settings that devices need after a join, for all of a tenant's.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use downbeat_core::job::JobKind;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::auth::Operator;
use crate::http::extract::{Fields, QueryFields};
use crate::http::idempotency::Making;
use crate::http::problem::{ApiError, Problem};
use crate::http::{AppState, tenants};

use super::choose::{Selection, choose};
use super::create::{NewJob, initialization, make, words};
use super::{JobBody, location};

/// How.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct InitializeQuery {
    /// `true`: also those that were initialised within the last hour and did not restart since.
    #[param(value_type = Option<bool>)]
    force: Option<String>,
    /// Whose devices, by the tenant's id or name; the key's tenant if absent, and the default one for keys of the
    /// platform.
    tenant: Option<String>,
}

/// Initialise all devices
///
/// A job that tells every device of the tenant the settings that its codec wants after a join, as fast as the air allows;
/// each is verified as far as the device shows it. Those that were initialised within the last hour are left out unless
/// `force` is set. For some of the devices, make a job of kind `initialize`.
#[utoipa::path(
    post,
    path = "/api/v1/devices/initialize",
    tag = "jobs",
    params(
        InitializeQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "the same key gives the same answer for a day"),
    ),
    responses(
        (status = 202, description = "It has begun; `Location` tells where to follow it", body = JobBody),
        (status = 400, description = "A field is wrong, or there is no device that could be told", body = Problem),
        (status = 404, description = "No such tenant", body = Problem),
        (status = 409, description = "Too many jobs of the tenant are not over, or the same request is in progress", body = Problem),
    ),
)]
pub(in crate::http) async fn initialize(
    State(state): State<AppState>,
    Operator(caller): Operator,
    QueryFields(query): QueryFields<InitializeQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut fields = Fields::default();
    let force = query.force.as_deref().map(|it| it.parse().ok());
    fields.check(force != Some(None), "force", "must be true or false");
    let force = fields.done(force.flatten().unwrap_or(false))?;
    let tenant = match &query.tenant {
        Some(tenant) => tenants::of_path(&state, &caller, tenant).await?,
        None => tenants::of_caller(&state, &caller).await?,
    };
    let making = Making {
        scope: caller.scope,
        headers: &headers,
        operation: format!("POST /api/v1/devices/initialize {} {force}", tenant.id),
        body: &[],
        location,
    };
    let carry_out = async |target| {
        let order = initialization(force);
        let new = NewJob {
            kind: JobKind::Initialize,
            name: words(&order),
            order,
            stagger: Duration::ZERO,
            retry_of: None,
        };
        let selection = Selection::Filter(Box::default());
        let chosen = choose(&state, tenant.id, selection, &new.order, new.stagger).await?;
        let made = StatusCode::ACCEPTED;
        make(
            &state, &caller, tenant.id, new, chosen, "tenant", target, made,
        )
        .await
    };
    making.once(&state, carry_out).await
}
