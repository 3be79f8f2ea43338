//! `GET /api/v1/tenants`: all tenants.

use axum::Json;
use axum::extract::State;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::AppState;
use crate::http::auth::PlatformAdmin;
use crate::http::extract::{Fields, QueryFields};
use crate::http::problem::ApiError;

use super::TenantBody;

/// Tenants whose devices are counted at once.
const COUNTED_AT_ONCE: usize = 4;

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ListQuery {
    /// 1 to 1000; 100 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of tenants.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct TenantPage {
    tenants: Vec<TenantBody>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// All tenants, oldest first
#[utoipa::path(
    get,
    path = "/api/v1/tenants",
    tag = "tenants",
    params(ListQuery),
    responses((status = 200, description = "A page", body = TenantPage)),
)]
pub(in crate::http) async fn list(
    State(state): State<AppState>,
    PlatformAdmin(caller): PlatformAdmin,
    QueryFields(query): QueryFields<ListQuery>,
) -> Result<Json<TenantPage>, ApiError> {
    let mut fields = Fields::default();
    let page = fields.page(query.limit.as_deref(), query.cursor.as_deref());
    let page = fields.done(page)?;
    let page = state.store().list_tenants(caller.scope, page).await?;
    let bodies = stream::iter(page.items).map(|tenant| {
        let state = state.clone();
        async move { TenantBody::new(&state, &tenant).await }
    });
    Ok(Json(TenantPage {
        tenants: bodies.buffered(COUNTED_AT_ONCE).try_collect().await?,
        next_cursor: page.next.map(|cursor| cursor.to_string()),
    }))
}
