//! The API as clients meet it: the real router over real actors and a real database, without a network server, so that
//! commands are accepted and wait.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use downbeat_actors::clock::Clock;
use downbeat_actors::port::NetworkServer;
use downbeat_actors::{System, SystemConfig};
use downbeat_core::id::TenantId;
use metrics_exporter_prometheus::PrometheusBuilder;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::chirpstack::{ChirpStackClient, ChirpStackConfig};
use crate::config::Config;
use crate::seal::Sealer;
use crate::secret_key::{self, NewKey};
use crate::store::{By, Role, Store, Tenant, TenantFields};

use super::{AppState, Connect, ConnectError, RouterParts, router};

mod access;
mod airtime;
mod bad_input;
mod commands;
mod csv;
mod database;
mod deliveries;
mod devices;
mod drift;
mod gateways;
mod isolation;
mod jobs;
mod live;
mod operations;
mod overview;
mod registry;
mod webhooks;
mod wishes;

use database::{Database, on_both_stores};

/// A lamp of the captured webhooks.
const LAMP: &str = "202020ff50330000";

/// Connects to nothing: what was set is checked, and that is all.
struct NoNetworkServer;

impl Connect for NoNetworkServer {
    fn connect(
        &self,
        url: &str,
        api_key: &SecretString,
    ) -> Result<Arc<dyn NetworkServer>, ConnectError> {
        let config = ChirpStackConfig::new(url, api_key.clone());
        let client = ChirpStackClient::connect_lazy(config);
        let client = client.map_err(|_| ConnectError {
            field: "url",
            message: "must be one",
        })?;
        Ok(Arc::new(client))
    }
}

/// A service with a key of each role, on a database of its own.
struct Service {
    app: Router,
    state: AppState,
    store: Store,
    admin: String,
    operator: String,
    viewer: String,
    webhook: String,
    database: Database,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Service {
    async fn at(database: Database, config: &Config) -> Self {
        let store = Store::open(&database.url(), Sealer::for_tests())
            .await
            .unwrap();
        let (app, state) = Self::on(&store, config).await;
        let mut service = Self {
            app,
            state,
            store,
            admin: String::new(),
            operator: String::new(),
            viewer: String::new(),
            webhook: String::new(),
            database,
        };
        service.admin = service.key(Role::Admin, None).await;
        service.operator = service.key(Role::Operator, None).await;
        service.viewer = service.key(Role::Viewer, None).await;
        service.webhook = service.key(Role::Webhook, None).await;
        service
    }

    /// The actors and the edge on a store.
    async fn on(store: &Store, config: &Config) -> (Router, AppState) {
        let clock = Clock::system();
        let system = System::start(
            SystemConfig::default(),
            Arc::new(store.clone()),
            Vec::new(),
            clock,
            1,
        );
        let system = system.await.unwrap();
        system.run_jobs(Arc::new(store.clone())).await;
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let state = AppState::new(
            system,
            store.clone(),
            config,
            metrics,
            Arc::new(NoNetworkServer),
        );
        (router(state.clone(), RouterParts::default()), state)
    }

    /// Another service, on another database of the same kind.
    async fn sibling(&self, config: &Config) -> Self {
        Self::at(self.database.sibling().await, config).await
    }

    async fn key(&self, role: Role, tenant_id: Option<TenantId>) -> String {
        let (key, now) = (secret_key::generate(), self.state.now());
        let new = NewKey::new(role.name(), role, tenant_id);
        secret_key::keep(&self.store, &key, new, now, &By::downbeat())
            .await
            .unwrap();
        key.expose_secret().to_owned()
    }

    /// Another tenant, with a key of its own.
    async fn other_tenant(&self) -> (TenantId, String) {
        let id = TenantId::from_uuid(uuid::Uuid::now_v7());
        let now = self.state.now();
        let tenant = Tenant {
            id,
            fields: TenantFields::named("other"),
            created_at: now,
            updated_at: now,
            version: 1,
        };
        self.store
            .create_tenant(&tenant, &By::downbeat())
            .await
            .unwrap();
        (id, self.key(Role::Admin, Some(id)).await)
    }

    /// Registers a lamp and gives its id.
    async fn register(&self, dev_eui: &str) -> String {
        let body = json!({"name": "Desk 1", "lorawan_dev_eui": dev_eui});
        let answer = self
            .post("/api/v1/tenants/default/devices", &self.admin, &body)
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    async fn get(&self, path: &str, key: &str) -> Answer {
        self.send(request("GET", path, key, None)).await
    }

    async fn post(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.send(request("POST", path, key, Some(body))).await
    }
}

/// A request with a fixed id, so that problems can be compared.
fn request(method: &str, path: &str, key: &str, body: Option<&Value>) -> Request<Body> {
    let builder = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(path)
        .header("x-request-id", "test")
        .header("authorization", format!("Bearer {key}"));
    match body {
        Some(body) => builder
            .header("content-type", "application/json")
            .body(Body::from(body.to_string())),
        None => builder.body(Body::empty()),
    }
    .unwrap()
}

/// A captured webhook.
fn captured(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chirpstack-v4");
    std::fs::read(folder.join(name)).unwrap()
}

/// How long anything may take here before it counts as never.
const PATIENCE: Duration = Duration::from_secs(20);
