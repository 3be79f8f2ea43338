//! `POST /api/v1/tenants/{tenant_id}/keys` and `POST /api/v1/keys`.

use axum::extract::{Path, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::auth::{Admin, Caller, PlatformAdmin};
use crate::http::extract::{Fields, JsonBody};
use crate::http::idempotency::{Made, Making, Target};
use crate::http::problem::ApiError;
use crate::http::{AppState, tenants};
use crate::secret_key::{self, NewKey};
use crate::store::{ApiKeyId, Role, Scope};

use super::{ApiKeyBody, location};

/// The most requests a minute that a key can be limited to.
const REQUESTS_MAX: u32 = 100_000_000;

/// A key to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"role": "webhook", "name": "ChirpStack"}))]
pub(in crate::http) struct CreateApiKey {
    /// What it may do: `admin` everything, `operator` read and send commands, `viewer` read, `webhook` deliver webhooks.
    #[schema(pattern = "^(admin|operator|viewer|webhook)$")]
    role: String,
    /// 1 to 100 characters, for people.
    name: String,
    /// When it ceases to work by itself, RFC 3339; never if absent.
    #[serde(default)]
    #[schema(example = "2030-01-31T12:00:00Z")]
    expires_at: Option<String>,
    /// How many requests it may make within a minute, 1 to 100000000; as the service is configured if absent. Above
    /// that, only the platform's administrators may go.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100_000_000)]
    requests_per_minute: Option<i64>,
}

/// A new key. This answer alone has it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct NewApiKeyBody {
    #[serde(flatten)]
    about: ApiKeyBody,
    /// The key itself, for `Authorization: Bearer`. It is not stored: the answer to a repeated request
    /// (`Idempotency-Replayed`) is without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// Make a key for a tenant
///
/// The key itself is in this answer alone. Of a request that is repeated with the same Idempotency-Key, the answer
/// names the same key but cannot tell it again: take it back and make another if it was lost.
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{tenant_id}/keys",
    tag = "keys",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key and body make one key, told once"),
    ),
    request_body = CreateApiKey,
    responses((status = 201, description = "The key; keep it", body = NewApiKeyBody)),
)]
pub(in crate::http) async fn of_tenant(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: JsonBody<CreateApiKey>,
) -> Result<Response, ApiError> {
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    create(&state, &caller, Some(tenant_id), &headers, &body).await
}

/// Make a key for the platform
///
/// It works for all tenants. For the platform's administrators. The key itself is in this answer alone, as with a
/// tenant's.
#[utoipa::path(
    post,
    path = "/api/v1/keys",
    tag = "keys",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "the same key and body make one key, told once"),
    ),
    request_body = CreateApiKey,
    responses((status = 201, description = "The key; keep it", body = NewApiKeyBody)),
)]
pub(in crate::http) async fn of_platform(
    State(state): State<AppState>,
    PlatformAdmin(caller): PlatformAdmin,
    headers: HeaderMap,
    body: JsonBody<CreateApiKey>,
) -> Result<Response, ApiError> {
    create(&state, &caller, None, &headers, &body).await
}

async fn create(
    state: &AppState,
    caller: &Caller,
    tenant_id: Option<TenantId>,
    headers: &HeaderMap,
    body: &JsonBody<CreateApiKey>,
) -> Result<Response, ApiError> {
    let now = state.clock().now();
    // Of a repeated request the moment of expiry may be over.
    let (checked, expires_in_time) = checked(&body.value, now, most(state, caller))?;
    let making = Making {
        scope: caller.scope,
        headers,
        operation: format!("POST {}", location(tenant_id, "")),
        body: &body.bytes,
        location: location_of,
    };
    let make = |target| make(state, caller, tenant_id, checked, expires_in_time, target);
    let mut response = making.once(state, make).await?;
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    Ok(response)
}

async fn make(
    state: &AppState,
    caller: &Caller,
    tenant_id: Option<TenantId>,
    key: Checked,
    expires_in_time: bool,
    target: Target,
) -> Result<Made, ApiError> {
    let id = ApiKeyId::from_uuid(target.id);
    let scope = tenant_id.map_or(Scope::Platform, Scope::Tenant);
    if target.may_exist
        && let Some(earlier) = state.store().api_key(scope, id).await?
    {
        return Made::new(StatusCode::CREATED, &ApiKeyBody::new(&earlier));
    }
    if !expires_in_time {
        return Err(ApiError::field("expires_at", "must be in the future"));
    }
    let secret = secret_key::generate();
    let new = NewKey {
        id,
        tenant_id,
        role: key.role,
        name: key.name,
        expires_at: key.expires_at,
        requests_per_minute: key.requests_per_minute,
    };
    let (now, by) = (state.clock().now(), caller.by());
    let kept = secret_key::keep(state.store(), &secret, new, now, &by).await?;
    let made = Made::new(StatusCode::CREATED, &ApiKeyBody::new(&kept))?;
    Ok(made.with_secret("key", secret))
}

/// The most requests a minute that this caller may grant.
fn most(state: &AppState, caller: &Caller) -> u32 {
    match caller.scope {
        Scope::Platform => REQUESTS_MAX,
        Scope::Tenant(_) => state.key_requests_per_minute(),
    }
}

struct Checked {
    role: Role,
    name: String,
    expires_at: Option<Timestamp>,
    requests_per_minute: Option<u32>,
}

/// The key to be, and whether it would work at all.
fn checked(body: &CreateApiKey, now: Timestamp, most: u32) -> Result<(Checked, bool), ApiError> {
    let mut fields = Fields::default();
    let role = Role::by_name(&body.role);
    fields.check(
        role.is_some(),
        "role",
        "must be admin, operator, viewer or webhook",
    );
    let expires_at = fields.time("expires_at", body.expires_at.as_deref());
    let checked = Checked {
        role: role.unwrap_or(Role::Viewer),
        name: fields.name("name", &body.name),
        expires_at,
        requests_per_minute: fields.within(
            "requests_per_minute",
            body.requests_per_minute,
            1..=most,
        ),
    };
    fields.done((checked, expires_at.is_none_or(|expiry| now < expiry)))
}

fn location_of(body: &Value) -> Option<String> {
    let text = |name| body.get(name).and_then(Value::as_str);
    let tenant_id = text("tenant_id").and_then(|id| id.parse().ok());
    Some(location(tenant_id, text("id")?))
}
