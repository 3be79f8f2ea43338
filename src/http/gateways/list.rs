//! `GET /api/v1/gateways`: all gateways.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::AppState;
use crate::http::auth::Viewer;
use crate::http::extract::QueryFields;
use crate::http::problem::{ApiError, Problem};

use super::GatewayBody;
use super::visible::{Visible, WhoseQuery};

/// All gateways.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct GatewayList {
    gateways: Vec<GatewayBody>,
}

/// All gateways that the caller sees, by id
///
/// A tenant's: those of the network server that it uses, without those that ChirpStack keeps for another tenant of this
/// service. A key of the platform sees all, each with the network server that it is on.
#[utoipa::path(
    get,
    path = "/api/v1/gateways",
    tag = "gateways",
    params(WhoseQuery),
    responses(
        (status = 200, description = "All that are known", body = GatewayList),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such tenant", body = Problem),
    ),
)]
pub(in crate::http) async fn list(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    QueryFields(query): QueryFields<WhoseQuery>,
) -> Result<Json<GatewayList>, ApiError> {
    let visible = Visible::to(&state, &caller, &query).await?;
    let gateways = visible.gateways();
    let gateways =
        gateways.map(|(server, gateway)| GatewayBody::new(state.system(), server, gateway));
    Ok(Json(GatewayList {
        gateways: gateways.collect(),
    }))
}
