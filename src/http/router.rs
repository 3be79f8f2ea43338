//! Puts the routes together, and around them what every request goes through.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Extension, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::{Router, body::Body};
use tower::ServiceBuilder;
use tower_http::compression::CompressionLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::admission::{self, Gate};
use super::auth::{Caller, Operator, metered};
use super::extract::BODY_MAX;
use super::openapi::{self, ApiDoc};
use super::problem::ApiError;
use super::request::Entrance;
use super::{
    AppState, airtime, api_keys, audit, devices, downlinks, events, gateways, health, jobs,
    metrics, network_server, open_problems, overview, request, session, sessions, sync, tenants,
    unclaimed, webhooks,
};

/// The page of the API's description loads its own files only. Its styles are set by its scripts.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What stands beside the API.
#[derive(Debug, Default)]
pub struct RouterParts {
    /// The simulator's control, to stand at `/api/v1/simulator` for who may send commands.
    pub simulator: Option<Router>,
}

/// Whether there is a simulator to control.
#[derive(Debug, Clone, Copy)]
pub(super) struct HasSimulator(pub(super) bool);

/// The service: API, webhooks, live feed, health, description, and the parts beside it. The dashboard's routes may be
/// merged into it.
///
/// Serve it with `into_make_service_with_connect_info::<SocketAddr>()`, so that failed sign-ins are counted by address
/// and the audit log says whence a change came.
pub fn router(state: AppState, parts: RouterParts) -> Router {
    let Routes {
        api,
        webhooks,
        open,
        document,
    } = routes();
    let docs = SwaggerUi::new("/api/docs")
        .url("/api/openapi.json", document)
        .config(Config::default().persist_authorization(false));
    let docs: Router<AppState> = Router::from(docs);
    let docs = docs
        .layer(header(CONTENT_SECURITY_POLICY, DOCS_POLICY))
        .route_layer(from_fn_with_state(state.clone(), signed_in));
    let has_simulator = HasSimulator(parts.simulator.is_some());
    let mut admitted = api.merge(docs);
    if let Some(simulator) = parts.simulator {
        let simulator = simulator
            .route_layer(from_fn(request::limit))
            .route_layer(from_fn_with_state(state.clone(), may_command));
        admitted = admitted.nest_service("/api/v1/simulator", simulator);
    }
    let admission = state.admission();
    let admitted = admitted.layer(
        // Not of webhooks: what ChirpStack is told is too short to be worth it.
        ServiceBuilder::new()
            .layer(CompressionLayer::new())
            .layer(Extension(has_simulator)),
    );
    let callers = behind(admission.callers(), admitted);
    let webhooks = behind(admission.webhooks(state.holding().clone()), webhooks);
    let entrance = Arc::new(Entrance::new(Arc::clone(state.trusted_proxies())));
    callers
        .merge(webhooks)
        .merge(open)
        .with_state(state)
        .fallback(|| async { ApiError::NoRoute })
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
        .layer(
            ServiceBuilder::new()
                .layer(from_fn_with_state(entrance, request::trace))
                .layer(header(REFERRER_POLICY, "no-referrer"))
                .layer(header(X_CONTENT_TYPE_OPTIONS, "nosniff")),
        )
}

/// What is to pass a gate.
fn behind(gate: Gate, router: Router<AppState>) -> Router<AppState> {
    // In one: each `layer` of a router is a box that every request opens.
    router.layer(
        ServiceBuilder::new()
            .layer(from_fn_with_state(gate, admission::admit))
            .layer(from_fn(metered::meter))
            .layer(DefaultBodyLimit::max(BODY_MAX)),
    )
}

/// All routes, with their description.
pub(super) struct Routes {
    api: Router<AppState>,
    webhooks: Router<AppState>,
    /// What is answered without a key, and also when the house is full.
    open: Router<AppState>,
    pub(super) document: OpenApi,
}

pub(super) fn routes() -> Routes {
    let quick = administration()
        .routes(routes!(downlinks::list::list))
        .routes(routes!(downlinks::get::get))
        .routes(routes!(downlinks::cancel::cancel))
        .routes(routes!(devices::list::list, devices::create::create))
        .routes(routes!(
            devices::get::get,
            devices::replace::replace,
            devices::patch::patch,
            devices::delete::delete
        ))
        .routes(routes!(devices::events::events))
        .routes(routes!(devices::events::uplinks))
        .routes(routes!(devices::downlinks::downlinks))
        .routes(routes!(
            devices::desired::get,
            devices::desired::put,
            devices::desired::delete
        ))
        .routes(routes!(devices::initialize::initialize))
        .routes(routes!(devices::flush_queue::flush_queue))
        .routes(routes!(devices::telemetry::telemetry))
        .routes(routes!(devices::links::links))
        .routes(routes!(devices::queue_findings::queue_findings))
        .routes(routes!(sync::device::sync))
        .routes(routes!(sync::tenant::sync))
        .routes(routes!(sync::drift::drift))
        .routes(routes!(sync::check::check))
        .routes(routes!(jobs::get::get))
        .routes(routes!(jobs::devices::devices))
        .routes(routes!(jobs::steer::pause))
        .routes(routes!(jobs::steer::resume))
        .routes(routes!(jobs::steer::cancel))
        .routes(routes!(airtime::airtime))
        .routes(routes!(gateways::list::list))
        .routes(routes!(gateways::health::health))
        .routes(routes!(gateways::status::status))
        .routes(routes!(metrics::downlinks::downlinks))
        .routes(routes!(metrics::prometheus::prometheus))
        .routes(routes!(unclaimed::list::of_tenant))
        .routes(routes!(unclaimed::list::all))
        .routes(routes!(unclaimed::claim::claim))
        .routes(routes!(unclaimed::dismiss::dismiss))
        .routes(routes!(overview::overview))
        .routes(routes!(open_problems::problems))
        .route_layer(from_fn(request::limit));
    // These take as long as they take, and are bounded by their own means.
    let slow = OpenApiRouter::new()
        .routes(routes!(downlinks::send::send))
        .routes(routes!(jobs::list::list, jobs::create::create))
        .routes(routes!(jobs::retry::retry))
        .routes(routes!(jobs::initialize::initialize))
        .routes(routes!(devices::import::import))
        .routes(routes!(devices::export::export))
        .routes(routes!(sync::resolve::resolve))
        .routes(routes!(events::events));
    let api = OpenApiRouter::with_openapi(ApiDoc::openapi())
        .merge(quick)
        .merge(slow);
    let webhooks = OpenApiRouter::new()
        .routes(routes!(webhooks::receive::chirpstack))
        .routes(routes!(webhooks::receive::uplink))
        .routes(routes!(webhooks::of_tenant::any))
        .routes(routes!(webhooks::of_tenant::uplink))
        .routes(routes!(webhooks::of_tenant::status))
        .routes(routes!(webhooks::of_tenant::error))
        .route_layer(from_fn(request::limit));
    let open = OpenApiRouter::new()
        .routes(routes!(health::alive))
        .routes(routes!(health::ready));
    let (api, mut document) = api.split_for_parts();
    let (webhooks, of_webhooks) = webhooks.split_for_parts();
    let (open, of_open) = open.split_for_parts();
    document.merge(of_webhooks);
    document.merge(of_open);
    openapi::tell_common_answers(&mut document);
    Routes {
        api,
        webhooks,
        open,
        document,
    }
}

/// Who uses the service: tenants, keys, sessions, network servers, and who did what.
fn administration() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(tenants::list::list, tenants::create::create))
        .routes(routes!(
            tenants::get::get,
            tenants::update::update,
            tenants::delete::delete
        ))
        .routes(routes!(
            api_keys::list::of_tenant,
            api_keys::create::of_tenant
        ))
        .routes(routes!(
            api_keys::get::of_tenant,
            api_keys::revoke::of_tenant
        ))
        .routes(routes!(api_keys::list::all, api_keys::create::of_platform))
        .routes(routes!(api_keys::get::of_all, api_keys::revoke::of_all))
        .routes(routes!(
            network_server::get::get,
            network_server::put::put,
            network_server::delete::delete
        ))
        .routes(routes!(network_server::test::test))
        .routes(routes!(network_server::service::get))
        .routes(routes!(network_server::service::test))
        .routes(routes!(audit::of_tenant))
        .routes(routes!(audit::of_all))
        .routes(routes!(session::sign_in, session::show, session::sign_out))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::end))
}

fn header(
    name: axum::http::HeaderName,
    value: &'static str,
) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

/// For what has no handler of ours: any key or session will do.
async fn signed_in(_: State<AppState>, _: Caller, request: Request<Body>, next: Next) -> Response {
    next.run(request).await
}

/// For what has no handler of ours: only who may send commands.
async fn may_command(
    _: State<AppState>,
    _: Operator,
    request: Request<Body>,
    next: Next,
) -> Response {
    next.run(request).await
}
