//! `POST /api/v1/tenants`: a new tenant.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use downbeat_core::id::{Scope, TenantId};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::AppState;
use crate::http::auth::PlatformAdmin;
use crate::http::extract::{Fields, JsonBody};
use crate::http::idempotency::{Made, Making, Target};
use crate::http::policy::PolicyBody;
use crate::http::problem::{ApiError, Problem};
use crate::store::{By, Tenant, TenantFields};

use super::{LIMIT_MAX, TenantBody, checked_name, refused};

/// A tenant to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Fourth floor", "devices_max": 500}))]
pub(in crate::http) struct CreateTenant {
    /// 1 to 100 characters, unique, not a UUID.
    name: String,
    /// ChirpStack's tenant that it is, a UUID; unique.
    #[serde(default)]
    chirpstack_tenant_id: Option<String>,
    /// How many devices it may have, 0 to 100000000; as many as it likes if absent.
    #[serde(default)]
    #[schema(value_type = Option<u32>, maximum = 100_000_000)]
    devices_max: Option<i64>,
    /// How many commands it may give within a minute, 1 to 100000000; as many as it likes if absent.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100_000_000)]
    commands_per_minute: Option<i64>,
    /// What its devices have otherwise than the configuration; nothing if absent.
    #[serde(default)]
    policy: Option<PolicyBody>,
}

/// Make a tenant
///
/// It begins without devices and keys. For the platform's administrators.
#[utoipa::path(
    post,
    path = "/api/v1/tenants",
    tag = "tenants",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "the same key and body give the same answer for a day"),
    ),
    request_body = CreateTenant,
    responses(
        (status = 201, description = "It is there", body = TenantBody),
        (status = 409, description = "The name or the tenant of ChirpStack is taken, or the same request is in progress", body = Problem),
    ),
)]
pub(in crate::http) async fn create(
    State(state): State<AppState>,
    PlatformAdmin(caller): PlatformAdmin,
    headers: HeaderMap,
    body: JsonBody<CreateTenant>,
) -> Result<Response, ApiError> {
    let fields = checked(&body.value)?;
    let making = Making {
        scope: caller.scope,
        headers: &headers,
        operation: "POST /api/v1/tenants".to_owned(),
        body: &body.bytes,
        location,
    };
    let by = caller.by();
    let make = |target| make(&state, fields, by, target);
    making.once(&state, make).await
}

async fn make(
    state: &AppState,
    fields: TenantFields,
    by: By,
    target: Target,
) -> Result<Made, ApiError> {
    let (id, now) = (TenantId::from_uuid(target.id), state.clock().now());
    if target.may_exist
        && let Some(earlier) = state.store().tenant(Scope::Platform, id).await?
    {
        return Made::new(
            StatusCode::CREATED,
            &TenantBody::new(state, &earlier).await?,
        );
    }
    let tenant = Tenant {
        id,
        fields,
        created_at: now,
        updated_at: now,
        version: 1,
    };
    let made = state.store().create_tenant(&tenant, &by).await;
    made.map_err(refused)?;
    Made::new(StatusCode::CREATED, &TenantBody::new(state, &tenant).await?)
}

fn location(body: &Value) -> Option<String> {
    let id = body.get("id").and_then(Value::as_str)?;
    Some(format!("/api/v1/tenants/{id}"))
}

fn checked(body: &CreateTenant) -> Result<TenantFields, ApiError> {
    let mut fields = Fields::default();
    let checked = TenantFields {
        name: checked_name(&mut fields, &body.name),
        chirpstack_tenant_id: fields
            .parsed("chirpstack_tenant_id", body.chirpstack_tenant_id.as_deref()),
        devices_max: fields.within("devices_max", body.devices_max, 0..=LIMIT_MAX),
        commands_per_minute: fields.within(
            "commands_per_minute",
            body.commands_per_minute,
            1..=LIMIT_MAX,
        ),
        policy: body.policy.unwrap_or_default().checked(&mut fields),
    };
    fields.done(checked)
}
