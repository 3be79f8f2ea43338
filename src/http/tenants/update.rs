//! `PATCH /api/v1/tenants/{tenant_id}`: a tenant's name and limits.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderName;
use downbeat_core::device::PolicySettings;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::AppState;
use crate::http::auth::PlatformAdmin;
use crate::http::etag::{IfMatch, etag};
use crate::http::extract::{Fields, Patch, PatchBody};
use crate::http::policy::PolicyBody;
use crate::http::problem::{ApiError, Problem};
use crate::store::{Tenant, TenantFields, WriteTenantError};

use super::{LIMIT_MAX, TenantBody, checked_name, of_path, refused};

/// How often a change is tried that others overtake, if the caller named no version.
const TRIES: usize = 5;

/// What is to be different, as a JSON merge patch: null clears a field.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"devices_max": 1000, "commands_per_minute": null}))]
pub(in crate::http) struct UpdateTenant {
    /// 1 to 100 characters, unique, not a UUID.
    #[serde(default)]
    #[schema(value_type = String, required = false)]
    name: Patch<String>,
    /// ChirpStack's tenant that it is, a UUID; unique.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    chirpstack_tenant_id: Patch<String>,
    /// How many devices it may have, 0 to 100000000; null: as many as it likes. Those that are there stay.
    #[serde(default)]
    #[schema(value_type = Option<u32>, maximum = 100_000_000)]
    devices_max: Patch<i64>,
    /// How many commands it may give within a minute, 1 to 100000000; null: as many as it likes.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100_000_000)]
    commands_per_minute: Patch<i64>,
    /// What its devices have otherwise than the configuration: the whole of it takes the place of what is there.
    #[serde(default)]
    #[schema(value_type = Option<PolicyBody>)]
    policy: Patch<PolicyBody>,
}

/// Change a tenant
///
/// For the platform's administrators.
#[utoipa::path(
    patch,
    path = "/api/v1/tenants/{tenant_id}",
    tag = "tenants",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("If-Match" = Option<String>, Header, description = "the `ETag` of what is to be changed"),
    ),
    request_body(content(
        (UpdateTenant = "application/merge-patch+json"),
        (UpdateTenant = "application/json"),
    )),
    responses(
        (status = 200, description = "The tenant as it is now; `ETag` is its version", body = TenantBody),
        (status = 409, description = "The name or the tenant of ChirpStack is taken", body = Problem),
    ),
)]
pub(in crate::http) async fn update(
    State(state): State<AppState>,
    PlatformAdmin(caller): PlatformAdmin,
    Path(tenant): Path<String>,
    if_match: IfMatch,
    PatchBody(patch): PatchBody<UpdateTenant>,
) -> Result<([(HeaderName, String); 1], Json<TenantBody>), ApiError> {
    let by = caller.by();
    let mut tries = 0;
    let changed = loop {
        let before = of_path(&state, &caller, &tenant).await?;
        let version = if_match.demand(before.version)?;
        let fields = patched(&before, patch.clone())?;
        // What the caller left alone is taken from what was read, so that must still be there.
        let version = version.or(Some(before.version));
        let now = state.clock().now();
        let changed =
            state
                .store()
                .update_tenant(caller.scope, before.id, &fields, version, now, &by);
        tries += 1;
        match changed.await {
            Err(WriteTenantError::VersionMismatch { .. })
                if if_match == IfMatch::Any && tries < TRIES => {}
            changed => break changed.map_err(refused)?,
        }
    };
    state.tenant_commands().forget(changed.id);
    state.known_tenants().forget_all();
    state.system().tenant_changed(changed.id);
    let body = TenantBody::new(&state, &changed).await?;
    Ok((etag(changed.version), Json(body)))
}

fn patched(before: &Tenant, patch: UpdateTenant) -> Result<TenantFields, ApiError> {
    let current = &before.fields;
    let mut fields = Fields::default();
    let name = match patch.name {
        Patch::Keep => current.name.clone(),
        Patch::Set(name) => checked_name(&mut fields, &name),
        Patch::Clear => {
            fields.wrong("name", "must not be null");
            String::new()
        }
    };
    let chirpstack_tenant_id = match patch.chirpstack_tenant_id {
        Patch::Keep => current.chirpstack_tenant_id,
        Patch::Clear => None,
        Patch::Set(id) => fields.parsed::<Uuid>("chirpstack_tenant_id", Some(&id)),
    };
    let mut limit = |field: &str, patch: Patch<i64>, current, least| match patch {
        Patch::Keep => current,
        Patch::Clear => None,
        Patch::Set(number) => fields.within(field, Some(number), least..=LIMIT_MAX),
    };
    let devices_max = limit("devices_max", patch.devices_max, current.devices_max, 0);
    let commands_per_minute = limit(
        "commands_per_minute",
        patch.commands_per_minute,
        current.commands_per_minute,
        1,
    );
    let policy = match patch.policy {
        Patch::Keep => current.policy,
        Patch::Clear => PolicySettings::default(),
        Patch::Set(policy) => policy.checked(&mut fields),
    };
    fields.done(TenantFields {
        name,
        chirpstack_tenant_id,
        devices_max,
        commands_per_minute,
        policy,
    })
}
