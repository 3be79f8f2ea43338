//! `DELETE /api/v1/tenants/{tenant_id}/network-server`.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use downbeat_core::id::NetworkServerId;

use crate::http::AppState;
use crate::http::auth::Admin;
use crate::http::problem::{ApiError, Problem};
use crate::store::Scope;

use super::{refused, tenant_to_connect};

/// Have a tenant use the service's network server again
#[utoipa::path(
    delete,
    path = "/api/v1/tenants/{tenant_id}/network-server",
    tag = "network server",
    params(("tenant_id" = String, Path, description = "The tenant's id or name")),
    responses(
        (status = 204, description = "Its address and key are forgotten"),
        (status = 409, description = "Devices are on it", body = Problem),
    ),
)]
pub(in crate::http) async fn delete(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Path(tenant): Path<String>,
) -> Result<StatusCode, ApiError> {
    let tenant = tenant_to_connect(&state, &caller, &tenant).await?;
    let (scope, by) = (Scope::Tenant(tenant.id), caller.by());
    let task = tokio::spawn(async move {
        let now = state.clock().now();
        let deleted = state
            .store()
            .delete_network_server(scope, tenant.id, now, &by);
        deleted.await.map_err(refused)?;
        let server = NetworkServerId::Tenant(tenant.id);
        state.system().connect(server, None).await;
        Ok::<(), ApiError>(())
    });
    task.await.map_err(|_| ApiError::Panicked)??;
    Ok(StatusCode::NO_CONTENT)
}
