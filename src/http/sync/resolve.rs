//! `POST /api/v1/tenants/{tenant_id}/drift/resolve`: decide where ChirpStack and the registry differ.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use downbeat_core::id::{DevEui, DeviceId, NetworkServerId};
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::drift::{CompareError, get};
use crate::http::auth::{Admin, Caller};
use crate::http::devices::fields::WriteDevice;
use crate::http::etag::IfMatch;
use crate::http::extract::{Fields, JsonBody};
use crate::http::problem::{ApiError, Conflict, Problem};
use crate::http::{AppState, registry, tenants};
use crate::store::{Drift, DriftKind, PAGE_MAX, PageRequest, Scope, Tenant};

use super::adopt::{Adopted, Defaults, adopt, require_network_server};

/// Devices of one request, at the most.
const NAMED_MAX: usize = 1_000;

/// Results of one answer, at the most.
const RESULTS_MAX: usize = 1_000;

/// Devices that are resolved at once.
const AT_ONCE: usize = 8;

/// What to do.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"action": "adopt", "dev_euis": ["202020410a3f0012"]}))]
pub(in crate::http) struct ResolveDrift {
    action: Action,
    /// The devices, 1 to 1000 of them; or `all`.
    #[serde(default)]
    dev_euis: Option<Vec<String>>,
    /// All that were found and are not ignored; with `unignore`, all that are ignored.
    #[serde(default)]
    all: Option<bool>,
}

/// What to do about a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::http) enum Action {
    /// The registry takes ChirpStack's word: a device that it has not is registered.
    Adopt,
    /// ChirpStack takes the registry's word: a device that it has not is made there.
    Push,
    /// It stays as it is, and is marked as ignored.
    Ignore,
    /// It is not ignored any more.
    Unignore,
}

/// What became of a device.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct ResolveResult {
    dev_eui: String,
    /// Whether it was done. A push is done when it is begun.
    done: bool,
    /// The registry's device, if it has it by now.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<String>,
    /// Why it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What became of the devices.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(in crate::http) struct DriftResolved {
    done: u64,
    failed: u64,
    /// Each device, at most 1000 of them; those that failed first.
    results: Vec<ResolveResult>,
}

/// Decide where ChirpStack and the registry differ
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{tenant_id}/drift/resolve",
    tag = "devices",
    params(("tenant_id" = String, Path, description = "The tenant's id or name")),
    request_body = ResolveDrift,
    responses(
        (status = 200, description = "What became of the devices", body = DriftResolved),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such tenant", body = Problem),
        (status = 409, description = "No network server is configured", body = Problem),
        (status = 413, description = "The body is too large", body = Problem),
        (status = 415, description = "The body is not JSON", body = Problem),
        (status = 502, description = "ChirpStack refused", body = Problem),
        (status = 503, description = "ChirpStack cannot be reached; try again", body = Problem),
    ),
)]
pub(in crate::http) async fn resolve(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Path(tenant): Path<String>,
    body: JsonBody<ResolveDrift>,
) -> Result<Json<DriftResolved>, ApiError> {
    let (action, named) = checked(body.value)?;
    let tenant = tenants::of_path(&state, &caller, &tenant).await?;
    let found = match named {
        Some(named) => of_those(&state, &tenant, named).await?,
        None => of_all(&state, &tenant, action).await?,
    };
    let resolved = match action {
        Action::Ignore | Action::Unignore => ignore(&state, &tenant, action, found).await?,
        Action::Adopt | Action::Push => mend(&state, &caller, &tenant, action, found).await?,
    };
    Ok(Json(resolved))
}

fn checked(body: ResolveDrift) -> Result<(Action, Option<BTreeSet<DevEui>>), ApiError> {
    let mut fields = Fields::default();
    let is_all = body.all == Some(true);
    let named = body.dev_euis;
    fields.check(
        is_all != named.is_some(),
        "dev_euis",
        "must name the devices, unless all is true",
    );
    let mut dev_euis = BTreeSet::new();
    if let Some(named) = &named {
        let is_bounded = (1..=NAMED_MAX).contains(&named.len());
        fields.check(is_bounded, "dev_euis", "must be 1 to 1000");
        for (index, text) in named.iter().take(NAMED_MAX).enumerate() {
            let dev_eui: Option<DevEui> =
                fields.parsed(&format!("dev_euis[{index}]"), Some(text.as_str()));
            dev_euis.extend(dev_eui);
        }
    }
    fields.done((body.action, named.map(|_| dev_euis)))
}

/// What is to be resolved: what was found of a device, if anything was.
type Found = Vec<(DevEui, Option<Drift>)>;

async fn of_those(
    state: &AppState,
    tenant: &Tenant,
    named: BTreeSet<DevEui>,
) -> Result<Found, ApiError> {
    let mut found = Vec::with_capacity(named.len());
    for dev_eui in named {
        let scope = Scope::Tenant(tenant.id);
        let drift = state.store().drift(scope, tenant.id, dev_eui).await?;
        found.push((dev_eui, drift));
    }
    Ok(found)
}

async fn of_all(state: &AppState, tenant: &Tenant, action: Action) -> Result<Found, ApiError> {
    let mut found = Vec::new();
    let mut page = PageRequest::first(PAGE_MAX);
    loop {
        let scope = Scope::Tenant(tenant.id);
        let (_, drifts) = state.store().list_drift(scope, tenant.id, page).await?;
        let wanted = drifts.items.into_iter();
        let wanted = wanted.filter(|drift| drift.ignored == (action == Action::Unignore));
        found.extend(wanted.map(|drift| (drift.dev_eui, Some(drift))));
        match drifts.next {
            Some(cursor) => page.after = Some(cursor),
            None => return Ok(found),
        }
    }
}

async fn ignore(
    state: &AppState,
    tenant: &Tenant,
    action: Action,
    found: Found,
) -> Result<DriftResolved, ApiError> {
    let scope = Scope::Tenant(tenant.id);
    let there = found.iter().filter(|(_, drift)| drift.is_some());
    let there: Vec<_> = there.map(|(dev_eui, _)| *dev_eui).collect();
    let ignored = action == Action::Ignore;
    let store = state.store();
    for some in there.chunks(NAMED_MAX) {
        store.ignore_drift(scope, tenant.id, some, ignored).await?;
    }
    let done = found.into_iter().map(|(dev_eui, drift)| {
        let done = drift.map_or(Err(NOTHING_FOUND.to_owned()), |drift| Ok(drift.device_id));
        (dev_eui, done)
    });
    Ok(DriftResolved::of(done.collect()))
}

const NOTHING_FOUND: &str = "the last comparison found nothing about it";

async fn mend(
    state: &AppState,
    caller: &Caller,
    tenant: &Tenant,
    action: Action,
    found: Found,
) -> Result<DriftResolved, ApiError> {
    let server = state.store().network_server_of(tenant.id).await?;
    require_network_server(state, server)?;
    let mender = Mender {
        state,
        caller,
        tenant,
        server,
        applications: match action {
            Action::Adopt => reachable(state, tenant).await?,
            Action::Push | Action::Ignore | Action::Unignore => BTreeSet::new(),
        },
    };
    let mut results: Vec<(DevEui, Done)> = Vec::with_capacity(found.len());
    let mut mending = stream::iter(found)
        .map(|(dev_eui, drift)| mender.mend(action, dev_eui, drift))
        .buffered(AT_ONCE);
    while let Some(result) = mending.next().await {
        results.push(result?);
    }
    let resolved = results.iter().filter(|(_, done)| done.is_ok());
    let resolved: Vec<_> = resolved.map(|(dev_eui, _)| *dev_eui).collect();
    let scope = Scope::Tenant(tenant.id);
    for some in resolved.chunks(NAMED_MAX) {
        state.store().remove_drift(scope, tenant.id, some).await?;
    }
    Ok(DriftResolved::of(results))
}

/// The applications that a device may be adopted from.
async fn reachable(state: &AppState, tenant: &Tenant) -> Result<BTreeSet<uuid::Uuid>, ApiError> {
    let applications = state.comparer().applications(tenant).await;
    let applications = applications.map_err(|error| match error {
        CompareError::NetworkServer(error) => ApiError::NetworkServer(error),
        CompareError::Store(error) => error.into(),
    })?;
    Ok(applications.into_keys().collect())
}

/// What was done about a device, or why nothing was.
type Done = Result<Option<DeviceId>, String>;

struct Mender<'a> {
    state: &'a AppState,
    caller: &'a Caller,
    tenant: &'a Tenant,
    server: NetworkServerId,
    applications: BTreeSet<uuid::Uuid>,
}

impl Mender<'_> {
    /// What became of a device; an error ends the whole.
    async fn mend(
        &self,
        action: Action,
        dev_eui: DevEui,
        drift: Option<Drift>,
    ) -> Result<(DevEui, Done), ApiError> {
        let Some(drift) = drift else {
            return Ok((dev_eui, Err(NOTHING_FOUND.to_owned())));
        };
        let done = match (action, drift.kind, drift.device_id) {
            (Action::Adopt, DriftKind::MissingInRegistry, _) => self.register(dev_eui).await,
            (Action::Adopt, DriftKind::Differs, Some(id)) => self.take_over(dev_eui, id).await,
            (Action::Adopt, _, _) => Err(Failure::words(
                "ChirpStack has no such device to adopt: push it, or delete it here",
            )),
            (_, DriftKind::MissingInRegistry, _) | (_, _, None) => Err(Failure::words(
                "the registry has no such device to push: adopt it, or delete it in ChirpStack",
            )),
            (_, _, Some(id)) => self.push(id).await,
        };
        match done {
            Ok(id) => Ok((dev_eui, Ok(Some(id)))),
            Err(Failure::Words(words)) => Ok((dev_eui, Err(words))),
            Err(Failure::Error(error)) => Err(error),
        }
    }

    async fn register(&self, dev_eui: DevEui) -> Result<DeviceId, Failure> {
        let device = self.remote(dev_eui).await?;
        let (tenant_id, by) = (self.tenant.id, self.caller.by());
        Ok(adopt(self.state, tenant_id, &device, &Defaults::default(), by).await?)
    }

    /// The registry's device becomes what ChirpStack's is. Tags that the registry did not speak of stay others'.
    async fn take_over(&self, dev_eui: DevEui, id: DeviceId) -> Result<DeviceId, Failure> {
        let theirs = self.remote(dev_eui).await?;
        let (scope, by) = (Scope::Tenant(self.tenant.id), self.caller.by());
        let written = registry::update(self.state, scope, id, &IfMatch::Any, &by, |device| {
            let ours = WriteDevice::of(device);
            let mut tags = device.fields.tags.clone();
            tags.retain(|tag, value| match theirs.tags.get(tag) {
                Some(theirs) => {
                    theirs.clone_into(value);
                    true
                }
                None => false,
            });
            let adopted = theirs.wanted(&Defaults::default());
            let wanted = WriteDevice {
                tags: Some(tags),
                device_type: ours.device_type,
                codec: ours.codec,
                uplink_interval_s: ours.uplink_interval_s,
                policy: ours.policy,
                join_eui: adopted.join_eui.clone().or(ours.join_eui),
                ..adopted
            };
            wanted.checked()
        });
        written.await?;
        registry::request_sync(self.state, scope, id, true, by).await?;
        Ok(id)
    }

    async fn push(&self, id: DeviceId) -> Result<DeviceId, Failure> {
        let (scope, by) = (Scope::Tenant(self.tenant.id), self.caller.by());
        if registry::request_sync(self.state, scope, id, true, by).await? {
            Ok(id)
        } else {
            Err(Failure::words(
                "the device is gone, or not kept in step with ChirpStack any more",
            ))
        }
    }

    /// ChirpStack's device as it is now, if the tenant may have it.
    async fn remote(&self, dev_eui: DevEui) -> Result<Adopted, Failure> {
        let device = get(self.state.system(), self.server, dev_eui).await;
        match device.map_err(ApiError::NetworkServer)? {
            None => Err(Failure::words("ChirpStack has no such device any more")),
            Some(device) if !self.applications.contains(&device.application_id) => Err(
                Failure::words("it is in an application of ChirpStack that is not the tenant's"),
            ),
            Some(device) => Ok(Adopted::of(device)),
        }
    }
}

/// Why a device was not resolved.
enum Failure {
    /// For a reason of its own.
    Words(String),
    /// For one that concerns all.
    Error(ApiError),
}

impl Failure {
    fn words(words: &str) -> Self {
        Self::Words(words.to_owned())
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        if let ApiError::Invalid(errors) = &error {
            let words = errors
                .iter()
                .map(|it| format!("{} {}", it.field, it.message));
            Self::Words(words.collect::<Vec<_>>().join("; "))
        } else if let ApiError::Conflict(Conflict::DevEuiTaken) = error {
            Self::words("a device with this DevEUI is registered already")
        } else if let ApiError::Conflict(Conflict::TenantFull) = error {
            Self::words("the tenant has as many devices as it may")
        } else if let ApiError::NotFound(_) = error {
            Self::words("the device is gone")
        } else if let ApiError::VersionMismatch { .. } = error {
            Self::words("the device was changed by another at the same time")
        } else {
            Self::Error(error)
        }
    }
}

impl DriftResolved {
    fn of(mut results: Vec<(DevEui, Done)>) -> Self {
        results.sort_by_key(|(_, done)| done.is_ok());
        let failed = results.iter().filter(|(_, done)| done.is_err()).count();
        let done = results.len() - failed;
        let results = results.into_iter().take(RESULTS_MAX);
        let results = results.map(|(dev_eui, done)| {
            let (device_id, error) = match done {
                Ok(id) => (id, None),
                Err(words) => (None, Some(words)),
            };
            ResolveResult {
                dev_eui: dev_eui.to_string(),
                done: error.is_none(),
                device_id: device_id.map(|id| id.to_string()),
                error,
            }
        });
        Self {
            done: done as u64,
            failed: failed as u64,
            results: results.collect(),
        }
    }
}
