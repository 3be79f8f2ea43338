//! Devices that ChirpStack has and the registry has not.

use std::collections::BTreeMap;

use downbeat_core::id::{DevEui, DeviceKey, NetworkServerId};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::drift;
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::extract::Fields;
use crate::http::problem::{ApiError, Conflict};
use crate::http::sync::adopt::{Adopted, Defaults, adopt, check, require_network_server};
use crate::store::{DeviceFilter, Scope, Tenant};

use super::{ImportResult, ImportSummary, Outcome, of_one_device};

/// What to take over from ChirpStack.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"source": "chirpstack", "application_id": "da9605e6-da81-49e0-b789-29bd8a051bc6"}))]
pub(in crate::http) struct ImportFromChirpstack {
    /// `chirpstack`.
    source: Source,
    /// The application whose devices are registered, a UUID.
    application_id: String,
    /// What the new devices get, as when they are registered.
    #[serde(default)]
    device_type: Option<String>,
    /// What the new devices get, as when they are registered.
    #[serde(default)]
    codec: Option<String>,
    /// What the new devices get beside the tags that they have in ChirpStack.
    #[serde(default)]
    tags: Option<BTreeMap<String, String>>,
    /// Only tell what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// Where devices come from.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Source {
    /// ChirpStack.
    Chirpstack,
}

/// Registers the application's devices that the registry has not.
pub(super) async fn import(
    state: &AppState,
    caller: &Caller,
    tenant: &Tenant,
    body: ImportFromChirpstack,
    dry_run: bool,
) -> Result<ImportSummary, ApiError> {
    let Source::Chirpstack = body.source;
    let mut fields = Fields::default();
    let application_id: Option<Uuid> = fields.parsed("application_id", Some(&body.application_id));
    let application_id = fields.done(application_id)?.unwrap_or_default();
    let defaults = Defaults {
        device_type: body.device_type,
        codec: body.codec,
        tags: body.tags.unwrap_or_default(),
    };
    check(&defaults)?;
    let server = state.store().network_server_of(tenant.id).await?;
    require_network_server(state, server)?;
    require_application(state, caller, tenant, server, application_id).await?;
    let dry_run = dry_run || body.dry_run;
    let mut summary = ImportSummary {
        dry_run,
        results: Some(Vec::new()),
        ..ImportSummary::default()
    };
    let mut room = if dry_run {
        room(state, tenant).await?
    } else {
        u64::MAX
    };
    let mut devices = drift::Devices::of(application_id);
    loop {
        if state.stopping().is_cancelled() {
            summary.stopped = Some("the service is stopping".to_owned());
            return Ok(summary);
        }
        let device = match devices.next(state.system(), server).await {
            Ok(Some(device)) => device,
            Ok(None) => return Ok(summary),
            // Nothing was done yet: it may as well be said so.
            Err(error) if summary.is_empty() => return Err(ApiError::NetworkServer(error)),
            Err(error) => {
                summary.stopped = Some(error.to_string());
                return Ok(summary);
            }
        };
        let dev_eui = device.dev_eui;
        let adopted = Adopted {
            name: device.name,
            description: device.description,
            tags: device.tags,
            application_id,
            device_profile_id: device.device_profile_id,
            join_eui: None,
            dev_eui,
        };
        let done = match one(state, caller, tenant, server, &adopted, &defaults, dry_run).await {
            Ok((Outcome::Created, _)) if room == 0 => {
                Err(of_one_device(ApiError::Conflict(Conflict::TenantFull))?)
            }
            Ok(done) => {
                room -= u64::from(done.0 == Outcome::Created);
                Ok(done)
            }
            Err(error) => match of_one_device(error) {
                Ok(errors) => Err(errors),
                Err(error) => {
                    tracing::warn!(error = %error, "import.stopped");
                    summary.stopped = Some(format!("device {dev_eui}: {error}"));
                    return Ok(summary);
                }
            },
        };
        summary.count(&ImportResult::new(None, Some(dev_eui.to_string()), done));
    }
}

async fn one(
    state: &AppState,
    caller: &Caller,
    tenant: &Tenant,
    server: NetworkServerId,
    device: &Adopted,
    defaults: &Defaults,
    dry_run: bool,
) -> Result<(Outcome, Option<downbeat_core::id::DeviceId>), ApiError> {
    if is_registered(state, tenant, server, device.dev_eui).await? {
        return Ok((Outcome::Unchanged, None));
    }
    if dry_run {
        device.wanted(defaults).checked()?;
        return Ok((Outcome::Created, None));
    }
    let id = adopt(state, tenant.id, device, defaults, caller.by()).await?;
    Ok((Outcome::Created, Some(id)))
}

/// Whether the tenant has the device. Another tenant's is refused in the same words as anywhere.
async fn is_registered(
    state: &AppState,
    tenant: &Tenant,
    server: NetworkServerId,
    dev_eui: DevEui,
) -> Result<bool, ApiError> {
    let key = DeviceKey { server, dev_eui };
    match state.store().device_by_key(Scope::Platform, key).await? {
        None => Ok(false),
        Some(device) if device.tenant_id == tenant.id => Ok(true),
        Some(_) => Err(ApiError::Conflict(Conflict::DevEuiTaken)),
    }
}

/// How many devices the tenant may still register.
async fn room(state: &AppState, tenant: &Tenant) -> Result<u64, ApiError> {
    let Some(max) = tenant.fields.devices_max else {
        return Ok(u64::MAX);
    };
    let (scope, all) = (Scope::Tenant(tenant.id), DeviceFilter::default());
    let count = state.store().count_devices(scope, &all).await?;
    Ok(u64::from(max).saturating_sub(count))
}

/// Refuses an application that is not certainly the tenant's; the platform's administrators know what they do.
async fn require_application(
    state: &AppState,
    caller: &Caller,
    tenant: &Tenant,
    server: NetworkServerId,
    application_id: Uuid,
) -> Result<(), ApiError> {
    let owned = drift::owned(state.system(), tenant, server).await;
    match owned.map_err(ApiError::NetworkServer)? {
        Some(owned) if owned.iter().any(|it| it.id == application_id) => Ok(()),
        Some(_) => Err(ApiError::NotFound(
            "application of the tenant in ChirpStack",
        )),
        None if caller.scope == Scope::Platform => Ok(()),
        None => Err(ApiError::Forbidden(
            "Whose application it is cannot be told: the tenant has neither a chirpstack_tenant_id nor a network server \
             of its own. An administrator of the platform can import it.",
        )),
    }
}

impl ImportSummary {
    fn is_empty(&self) -> bool {
        self.created + self.updated + self.unchanged + self.failed == 0
    }
}
