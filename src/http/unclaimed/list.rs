//! `GET /api/v1/tenants/{tenant_id}/unclaimed` and `GET /api/v1/unclaimed`: devices that nobody has registered.

use axum::Json;
use axum::extract::{Path, State};
use downbeat_core::id::Scope;

use crate::http::auth::Viewer;
use crate::http::extract::QueryFields;
use crate::http::problem::{ApiError, Problem};
use crate::http::{AppState, tenants};

use super::{PageQuery, UnclaimedPage};

/// A tenant's devices that speak and that nobody has registered
///
/// Those first that were first seen last. What was seen is listed within seconds.
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/unclaimed",
    tag = "devices",
    params(("tenant_id" = String, Path, description = "The tenant's id or name"), PageQuery),
    responses(
        (status = 200, description = "A page", body = UnclaimedPage),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such tenant", body = Problem),
    ),
)]
pub(in crate::http) async fn of_tenant(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path(tenant): Path<String>,
    QueryFields(query): QueryFields<PageQuery>,
) -> Result<Json<UnclaimedPage>, ApiError> {
    let page = query.checked()?;
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    let scope = Scope::Tenant(tenant_id);
    let page = state.store().list_unclaimed(scope, page).await?;
    Ok(Json(UnclaimedPage::new(&page)))
}

/// All devices that speak and that nobody has registered
///
/// Also those of which nothing tells whose they are. For keys of the platform.
#[utoipa::path(
    get,
    path = "/api/v1/unclaimed",
    tag = "devices",
    params(PageQuery),
    responses(
        (status = 200, description = "A page", body = UnclaimedPage),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 403, description = "It needs a key of the platform", body = Problem),
    ),
)]
pub(in crate::http) async fn all(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    QueryFields(query): QueryFields<PageQuery>,
) -> Result<Json<UnclaimedPage>, ApiError> {
    let page = query.checked()?;
    if caller.scope != Scope::Platform {
        return Err(ApiError::Forbidden("This needs a key of the platform."));
    }
    let page = state.store().list_unclaimed(Scope::Platform, page).await?;
    Ok(Json(UnclaimedPage::new(&page)))
}
