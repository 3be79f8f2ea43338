//! `DELETE /api/v1/tenants/{tenant_id}/unclaimed/{dev_eui}`: take a device off the list.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use downbeat_core::id::{DevEui, Scope};

use crate::http::auth::Admin;
use crate::http::extract::path_field;
use crate::http::problem::{ApiError, Problem};
use crate::http::{AppState, tenants};

/// Take a device off the list of those that nobody has registered
///
/// It comes back when it speaks again.
#[utoipa::path(
    delete,
    path = "/api/v1/tenants/{tenant_id}/unclaimed/{dev_eui}",
    tag = "devices",
    params(
        ("tenant_id" = String, Path, description = "The tenant's id or name"),
        ("dev_eui" = String, Path, description = "16 hex digits"),
    ),
    responses(
        (status = 204, description = "It is not listed any more"),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such tenant, or no such device is listed", body = Problem),
    ),
)]
pub(in crate::http) async fn dismiss(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Path((tenant, dev_eui)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let dev_eui: DevEui = path_field("dev_eui", &dev_eui)?;
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    let scope = Scope::Tenant(tenant_id);
    if state.store().forget_unclaimed(scope, dev_eui).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::NotFound("unclaimed device"))
    }
}
