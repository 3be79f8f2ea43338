//! `POST /api/v1/tenants/{tenant_id}/import`: many devices at once, from ChirpStack or from a CSV file.

use axum::Json;
use axum::extract::{FromRequest as _, Path, Request, State};
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::{IntoResponse as _, Response};
use downbeat_core::id::DeviceId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::auth::Admin;
use crate::http::extract::{Fields, JsonBody, QueryFields, media_type};
use crate::http::problem::{ApiError, Conflict, FieldError, Problem};
use crate::http::{AppState, tenants};

mod chirpstack;
mod column;
mod file;
mod lines;

pub(in crate::http) use chirpstack::ImportFromChirpstack;

/// How many of the results are answered when they are not streamed.
const RESULTS_MAX: usize = 1_000;

/// The media type of results that are streamed, one JSON object a line.
const NDJSON: &str = "application/x-ndjson";

/// How to import.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ImportQuery {
    /// `true`: only tell what would happen.
    #[param(value_type = Option<bool>)]
    dry_run: Option<String>,
}

/// What became of one line, or of one device of ChirpStack.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::http) struct ImportResult {
    /// The line of the file on which the record begins, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    /// The device, in an import from ChirpStack.
    #[serde(skip_serializing_if = "Option::is_none")]
    dev_eui: Option<String>,
    /// `created`, `updated`, `unchanged` or `failed`; in a dry run, what it would be.
    result: Outcome,
    /// The device's id; absent where it failed, and where a dry run would create one.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

/// What became of a device, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::http) enum Outcome {
    /// It is registered now.
    Created,
    /// It was changed.
    Updated,
    /// It was as wanted already.
    Unchanged,
    /// Nothing was done.
    Failed,
}

/// What became of all; also the last line of streamed results.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(in crate::http) struct ImportSummary {
    /// Whether nothing was really done.
    dry_run: bool,
    created: u64,
    updated: u64,
    unchanged: u64,
    failed: u64,
    /// Why the import ended early; null if it came to its end. What was told of up to there is done.
    stopped: Option<String>,
    /// Those that failed, at most 1000 of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Vec<ImportResult>>,
}

impl ImportSummary {
    fn count(&mut self, result: &ImportResult) {
        match result.result {
            Outcome::Created => self.created += 1,
            Outcome::Updated => self.updated += 1,
            Outcome::Unchanged => self.unchanged += 1,
            Outcome::Failed => self.failed += 1,
        }
        if let Some(results) = &mut self.results
            && result.result == Outcome::Failed
            && results.len() < RESULTS_MAX
        {
            results.push(result.clone());
        }
    }
}

/// What was done about one device, or why nothing was.
type Done = Result<(Outcome, Option<DeviceId>), Vec<FieldError>>;

impl ImportResult {
    fn new(line: Option<u64>, dev_eui: Option<String>, done: Done) -> Self {
        let (result, id, errors) = match done {
            Ok((outcome, id)) => (outcome, id, Vec::new()),
            Err(errors) => (Outcome::Failed, None, errors),
        };
        Self {
            line,
            dev_eui,
            result,
            id: id.map(|id| id.to_string()),
            errors,
        }
    }
}

/// The refusals that concern one device only; others end the import.
fn of_one_device(error: ApiError) -> Result<Vec<FieldError>, ApiError> {
    let (field, message) = if let ApiError::Invalid(errors) = error {
        return Ok(errors);
    } else if let ApiError::Conflict(Conflict::DevEuiTaken) = error {
        (
            "lorawan_dev_eui",
            "is the DevEUI of a device that is registered already",
        )
    } else if let ApiError::Conflict(Conflict::TenantFull) = error {
        ("device", "the tenant has as many devices as it may")
    } else if let ApiError::VersionMismatch { .. } | ApiError::NotFound("device") = error {
        ("device", "was changed by another at the same time")
    } else {
        return Err(error);
    };
    let (field, message) = (field.to_owned(), message.to_owned());
    Ok(vec![FieldError { field, message }])
}

/// Import devices
///
/// From ChirpStack (JSON): devices of an application that the registry does not have are registered as they are there.
///
/// From a CSV file (at most 64 MiB, 200000 lines, 64 KiB a record; comma or semicolon): the columns are named after the
/// fields of a device, `tags` is a JSON object, and `tag:<name>` is a column of one tag. A line's device is the one with
/// its DevEUI; without a DevEUI, the one without a DevEUI that has exactly its name. It is registered if there is none,
/// and otherwise changed if something differs, in what the file has columns for. An empty cell is a field's default; an
/// empty `app_key` leaves the key as it is. A line that fails does not concern the others, and a second run changes
/// nothing. With `Accept: application/x-ndjson` the result of every line is streamed, the summary last.
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{tenant_id}/import",
    tag = "devices",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("Accept" = Option<String>, Header, description = "`application/x-ndjson` streams the results"),
        ImportQuery,
    ),
    request_body(
        content((ImportFromChirpstack = "application/json"), (String = "text/csv")),
    ),
    responses(
        (status = 200, description = "What became of the devices", content(
            (ImportSummary = "application/json"), (ImportResult = "application/x-ndjson"),
        )),
        (status = 400, description = "A field or the file's header is wrong", body = Problem),
        (status = 403, description = "The application is not the tenant's", body = Problem),
        (status = 404, description = "No such tenant or application", body = Problem),
        (status = 409, description = "No network server is configured", body = Problem),
        (status = 413, description = "The body is too large", body = Problem),
        (status = 415, description = "The body is neither JSON nor CSV", body = Problem),
        (status = 502, description = "ChirpStack refused", body = Problem),
        (status = 503, description = "ChirpStack cannot be reached; try again", body = Problem),
    ),
)]
pub(in crate::http) async fn import(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Path(tenant): Path<String>,
    QueryFields(query): QueryFields<ImportQuery>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut fields = Fields::default();
    let dry_run = query.dry_run.as_deref().map(|it| it.parse().ok());
    fields.check(dry_run != Some(None), "dry_run", "must be true or false");
    let dry_run = fields.done(dry_run.flatten().unwrap_or(false))?;
    let tenant = tenants::of_path(&state, &caller, &tenant).await?;
    match media_type(request.headers()).as_deref() {
        Some("application/json") => {
            let body: JsonBody<ImportFromChirpstack> =
                JsonBody::from_request(request, &state).await?;
            let summary = chirpstack::import(&state, &caller, &tenant, body.value, dry_run);
            Ok(Json(summary.await?).into_response())
        }
        Some("text/csv") => {
            let streamed = accepts_ndjson(request.headers());
            lines::import(&state, &caller, &tenant, request, dry_run, streamed).await
        }
        Some(_) | None => Err(ApiError::UnsupportedMediaType {
            expected: "text/csv or application/json",
        }),
    }
}

fn accepts_ndjson(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next())
        .any(|range| range.trim().eq_ignore_ascii_case(NDJSON))
}
