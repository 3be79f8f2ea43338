//! API keys: a tenant's under its path, and every key there is for the platform's administrators.
//!
//! The key itself is in the answer that made it and nowhere else, not even in what is kept for a repeated request.

use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::secret_key;
use crate::store::{ApiKey, ApiKeyId, Scope};

use super::AppState;
use super::auth::Caller;
use super::extract::{Fields, path_field};
use super::problem::{ApiError, Conflict};

pub(super) mod create;
pub(super) mod get;
pub(super) mod list;
pub(super) mod revoke;

/// An API key, without the key.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct ApiKeyBody {
    /// UUID v7.
    id: String,
    /// Null: the platform's.
    tenant_id: Option<String>,
    /// `admin`, `operator`, `viewer` or `webhook`.
    role: &'static str,
    /// For people.
    name: String,
    /// The key's first characters, to recognise it by.
    prefix: String,
    /// How many requests it may make within a minute; null: as the service is configured.
    requests_per_minute: Option<u32>,
    /// RFC 3339.
    created_at: String,
    /// When it ceases to work by itself, RFC 3339.
    expires_at: Option<String>,
    /// When it was taken back, RFC 3339.
    revoked_at: Option<String>,
    /// When it was used last, to the minute or so, RFC 3339.
    last_used_at: Option<String>,
}

impl ApiKeyBody {
    fn new(key: &ApiKey) -> Self {
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        Self {
            id: key.id.to_string(),
            tenant_id: key.tenant_id.map(|id| id.to_string()),
            role: key.role.name(),
            name: key.name.clone(),
            prefix: key.prefix.clone(),
            requests_per_minute: key.requests_per_minute,
            created_at: key.created_at.to_string(),
            expires_at: text(key.expires_at),
            revoked_at: text(key.revoked_at),
            last_used_at: text(key.last_used_at),
        }
    }
}

/// A page of API keys.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ApiKeyPage {
    keys: Vec<ApiKeyBody>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// 1 to 1000; 100 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

async fn page(state: &AppState, scope: Scope, query: &ListQuery) -> Result<ApiKeyPage, ApiError> {
    let mut fields = Fields::default();
    let page = fields.page(query.limit.as_deref(), query.cursor.as_deref());
    let page = state
        .store()
        .list_api_keys(scope, fields.done(page)?)
        .await?;
    Ok(ApiKeyPage {
        keys: page.items.iter().map(ApiKeyBody::new).collect(),
        next_cursor: page.next.map(|cursor| cursor.to_string()),
    })
}

/// The key of a path, if it is one of the scope's.
async fn of_path(state: &AppState, scope: Scope, text: &str) -> Result<ApiKey, ApiError> {
    let id: ApiKeyId = path_field("key_id", text)?;
    let key = state.store().api_key(scope, id).await?;
    key.ok_or(ApiError::NotFound("key"))
}

/// Takes a key back.
async fn take_back(
    state: &AppState,
    caller: &Caller,
    scope: Scope,
    key: &ApiKey,
) -> Result<(), ApiError> {
    let _one_at_a_time = state.revoking().await;
    let now = state.clock().now();
    if secret_key::is_last_admin(state.store(), key, now).await? {
        return Err(ApiError::Conflict(Conflict::LastAdminKey));
    }
    let by = caller.by();
    let is_there = state.store().revoke_api_key(scope, key.id, now, &by);
    let is_there = is_there.await?;
    state.key_revoked(key.id);
    if is_there {
        Ok(())
    } else {
        Err(ApiError::NotFound("key"))
    }
}

/// Where a key is found.
fn location(tenant_id: Option<TenantId>, id: &str) -> String {
    match tenant_id {
        Some(tenant_id) => format!("/api/v1/tenants/{tenant_id}/keys/{id}"),
        None => format!("/api/v1/keys/{id}"),
    }
}
