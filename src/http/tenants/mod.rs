//! Tenants: the one of a path, and how they are administered.

use downbeat_core::id::{NetworkServerId, Scope, TenantId};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::store::{DEFAULT_TENANT, DeviceFilter, PageRequest, Tenant, WriteTenantError};

use super::AppState;
use super::auth::Caller;
use super::extract::Fields;
use super::policy::PolicyBody;
use super::problem::{ApiError, Conflict};

pub(super) mod commands;
pub(super) mod create;
pub(super) mod delete;
pub(super) mod get;
pub(super) mod known;
pub(super) mod list;
pub(super) mod update;

/// The most devices, and commands a minute, that a tenant can be limited to.
const LIMIT_MAX: u32 = 100_000_000;

/// A tenant.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct TenantBody {
    /// UUID v7.
    id: String,
    /// Unique.
    name: String,
    /// ChirpStack's tenant that it is, on the network server that it uses: webhooks of another one are refused.
    chirpstack_tenant_id: Option<String>,
    /// How many devices it may have; null: as many as it likes.
    devices_max: Option<u32>,
    /// How many commands it may give within a minute; null: as many as it likes.
    commands_per_minute: Option<u32>,
    /// What its devices have otherwise than the configuration.
    policy: PolicyBody,
    /// How many devices it has.
    device_count: u64,
    /// The network server that it uses: `default`, the service's, or `own`.
    network_server: &'static str,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    updated_at: String,
}

impl TenantBody {
    async fn new(state: &AppState, tenant: &Tenant) -> Result<Self, ApiError> {
        let (scope, all) = (Scope::Tenant(tenant.id), DeviceFilter::default());
        let device_count = state.store().count_devices(scope, &all).await?;
        let server = state.store().network_server_of(tenant.id).await?;
        let fields = tenant.fields.clone();
        Ok(Self {
            id: tenant.id.to_string(),
            name: fields.name,
            chirpstack_tenant_id: fields.chirpstack_tenant_id.map(|id| id.to_string()),
            devices_max: fields.devices_max,
            commands_per_minute: fields.commands_per_minute,
            policy: PolicyBody::of(&fields.policy),
            device_count,
            network_server: match server {
                NetworkServerId::Default => "default",
                NetworkServerId::Tenant(_) => "own",
            },
            created_at: tenant.created_at.to_string(),
            updated_at: tenant.updated_at.to_string(),
        })
    }
}

/// A tenant's name as it may be: one that reads as an id would be taken for one in a path.
fn checked_name(fields: &mut Fields, name: &str) -> String {
    let name = fields.name("name", name);
    fields.check(
        name.parse::<Uuid>().is_err(),
        "name",
        "must not be a UUID: paths name tenants by id or name",
    );
    name
}

fn refused(error: WriteTenantError) -> ApiError {
    match error {
        WriteTenantError::NameTaken => ApiError::Conflict(Conflict::TenantNameTaken),
        WriteTenantError::ChirpstackTenantTaken => {
            ApiError::Conflict(Conflict::ChirpstackTenantTaken)
        }
        WriteTenantError::UnknownTenant => ApiError::NotFound("tenant"),
        WriteTenantError::HasDevices => ApiError::Conflict(Conflict::TenantNotEmpty),
        WriteTenantError::VersionMismatch { current } => ApiError::VersionMismatch { current },
        WriteTenantError::Store(error) => error.into(),
    }
}

/// The id of the tenant that a path names by its id or its name. Another tenant's is not found.
pub(super) async fn id_of_path(
    state: &AppState,
    caller: &Caller,
    text: &str,
) -> Result<TenantId, ApiError> {
    let known = state.known_tenants();
    let id = match known.find(text, state.now()) {
        Ok(id) => id,
        Err(asked) => {
            let id = of_path(state, caller, text).await?.id;
            known.remember(text, id, asked);
            id
        }
    };
    if !caller.scope.contains(id) {
        return Err(ApiError::NotFound("tenant"));
    }
    Ok(id)
}

/// The tenant that a path names by its id or its name. Another tenant's is not found.
pub(super) async fn of_path(
    state: &AppState,
    caller: &Caller,
    text: &str,
) -> Result<Tenant, ApiError> {
    let tenant = match text.parse() {
        Ok(id) => state.store().tenant(caller.scope, id).await?,
        Err(_) => state.store().tenant_by_name(caller.scope, text).await?,
    };
    tenant.ok_or(ApiError::NotFound("tenant"))
}

/// What a query's `tenant_id` leaves of what a caller may see: that tenant's things; without one, all of the caller's.
pub(super) async fn scope_of_query(
    state: &AppState,
    caller: &Caller,
    tenant_id: Option<&str>,
) -> Result<Scope, ApiError> {
    match tenant_id {
        Some(text) => Ok(Scope::Tenant(of_path(state, caller, text).await?.id)),
        None => Ok(caller.scope),
    }
}

/// The tenant that a signed-in person looks at: the key's; of the platform's, the default one, or the oldest.
pub(super) async fn of_caller(state: &AppState, caller: &Caller) -> Result<Tenant, ApiError> {
    let (store, scope) = (state.store(), caller.scope);
    let tenant = if let Some(id) = scope.tenant() {
        store.tenant(scope, id).await?
    } else {
        let mut found = store.tenant_by_name(scope, DEFAULT_TENANT).await?;
        if found.is_none() {
            let oldest = store.list_tenants(scope, PageRequest::first(1)).await?;
            found = oldest.items.into_iter().next();
        }
        found
    };
    tenant.ok_or(ApiError::NotFound("tenant"))
}
