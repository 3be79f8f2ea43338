//! The API over HTTP, its live feed, and the receiver of ChirpStack's webhooks.
//!
//! Handlers parse, ask the actors or read the store, and translate; they decide nothing. One file per operation, with
//! its request, its answer and its documentation; what several share stands in the folder's `mod.rs`. The answers are
//! types of their own: what the core calls something may change, what clients read may not.
//!
//! - [`router`] puts it together; `request` is what every request goes through, `admission` how many at once.
//! - `auth`: who asks, and whether they may. `problem`: how a refusal looks. `extract`: bodies, queries and paths.
//! - `webhooks`: an event is answered once it is committed; while the database is away it is held, bounded.
//! - `idempotency`: a request that is repeated makes one thing.

use std::sync::{Arc, Weak};
use std::time::Duration;

use downbeat_actors::System;
use downbeat_actors::clock::Clock;
use downbeat_actors::port::StoreError;
use downbeat_core::id::{DevEui, DeviceKey, NetworkServerId, Scope, TenantId};
use downbeat_core::time::Timestamp;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{ChirpstackSection, Config, Networks};
use crate::drift::Comparer;
use crate::store::{ApiKeyId, SessionKey, Store};

mod admission;
mod airtime;
mod api_keys;
mod audit;
mod auth;
mod client_address;
mod devices;
mod downlinks;
mod etag;
mod events;
mod extract;
mod gateways;
mod health;
mod idempotency;
mod jobs;
mod links;
mod metrics;
mod network_server;
mod open_problems;
mod openapi;
mod overview;
mod policy;
mod problem;
mod refusals;
mod registry;
mod request;
mod router;
mod session;
mod sessions;
mod sync;
mod tenants;
#[cfg(test)]
mod tests;
mod unclaimed;
mod webhooks;

pub use network_server::{Connect, ConnectError};
pub use openapi::openapi_json;
pub use problem::{ApiError, Problem};
pub use router::{RouterParts, router};

use admission::Admission;
use auth::attempts::Attempts;
use auth::keys::Keys;
use auth::limits::Limits;
use auth::session::{Sessions, Unstored};
use devices::bodies::DeviceBodies;
use idempotency::InProgress;
use tenants::commands::TenantCommands;
use tenants::known::KnownTenants;
use webhooks::held::Holding;
use webhooks::signature::Signatures;

/// Commands whose callers wait for the device at once; further ones are answered with 202.
const WAITS_MAX: usize = 10_000;

/// Live feeds open at once.
const STREAMS_MAX: usize = 1_000;

/// Bytes of webhooks held at once.
const HELD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How often it is noted which keys were used.
const KEY_USE_NOTED_EVERY: Duration = Duration::from_mins(1);

/// What the handlers share. Clones are the same.
#[derive(Clone)]
pub struct AppState {
    shared: Arc<Shared>,
}

struct Shared {
    system: System,
    store: Store,
    comparer: Comparer,
    prometheus: PrometheusHandle,
    sessions: Sessions,
    keys: Keys,
    key_limits: Limits,
    key_requests_per_minute: u32,
    tenant_commands: TenantCommands,
    known_tenants: KnownTenants,
    device_bodies: DeviceBodies,
    /// Held while a key is taken back, so that two callers do not take the last two back at once.
    revoking: tokio::sync::Mutex<()>,
    /// Tells open streams that keys were taken back.
    revoked: watch::Sender<()>,
    connector: Arc<dyn Connect>,
    tenants_may_set_network_server: bool,
    trusted_proxies: Arc<Networks>,
    /// The configuration's network server.
    chirpstack: ChirpstackSection,
    drift_interval_s: u64,
    attempts: Attempts,
    admission: Admission,
    in_progress: InProgress,
    holding: Holding,
    signatures: Signatures,
    readiness: health::Readiness,
    stopping: CancellationToken,
}

impl AppState {
    /// The edge of these actors and this store. `prometheus` renders what `GET /metrics` answers, `connector` makes
    /// clients of tenants' own network servers.
    ///
    /// # Panics
    /// Outside a tokio runtime: it starts the tasks that tell held webhooks again and note which keys were used.
    pub fn new(
        system: System,
        store: Store,
        config: &Config,
        prometheus: PrometheusHandle,
        connector: Arc<dyn Connect>,
    ) -> Self {
        let limits = &config.limits;
        let shared = Arc::new(Shared {
            holding: Holding::new(
                system.clone(),
                store.clone(),
                limits.held_events,
                HELD_BYTES_MAX,
            ),
            signatures: Signatures::default(),
            comparer: Comparer::new(store.clone(), system.clone()),
            system,
            store,
            prometheus,
            sessions: Sessions::default(),
            keys: Keys::default(),
            key_limits: Limits::default(),
            key_requests_per_minute: limits.key_requests_per_minute,
            tenant_commands: TenantCommands::default(),
            known_tenants: KnownTenants::default(),
            device_bodies: DeviceBodies::default(),
            revoking: tokio::sync::Mutex::new(()),
            revoked: watch::Sender::new(()),
            connector,
            tenants_may_set_network_server: limits.tenants_may_set_network_server,
            trusted_proxies: Arc::new(config.trusted_proxies.clone()),
            chirpstack: config.chirpstack.clone(),
            drift_interval_s: config.registry.drift_interval_s,
            attempts: Attempts::default(),
            admission: Admission::new(limits.requests, WAITS_MAX, STREAMS_MAX),
            in_progress: InProgress::default(),
            readiness: health::Readiness::default(),
            stopping: CancellationToken::new(),
        });
        tokio::spawn(note_used_keys(Arc::downgrade(&shared)));
        Self { shared }
    }

    /// Now, by the actors' clock.
    pub fn now(&self) -> Timestamp {
        self.clock().now()
    }

    /// A ticket that signs a browser in once, as platform admin, within a quarter of an hour: for the address that a
    /// local start opens.
    pub fn mint_ticket(&self) -> String {
        self.sessions().mint_ticket(self.now())
    }

    /// Takes up the browser sessions of before: to be called before anybody is served.
    ///
    /// # Errors
    /// If the database does not tell.
    pub async fn restore_sessions(&self) -> Result<(), StoreError> {
        let stored = self.store().browser_sessions().await?;
        self.sessions().restore(stored, self.now());
        Ok(())
    }

    /// Ends the live feeds, and answers who waits for a device with what is known, so that a stop is not held up by
    /// them: readers come back, and commands are taken up at the next start.
    pub fn begin_stop(&self) {
        self.shared.stopping.cancel();
    }

    /// Waits until every webhook that is held is stored, `patience` at the most, and tells how many are not. Notes what
    /// was seen of devices that nobody has registered. To be called when no more are taken and the actors still run.
    pub async fn drain_held(&self, patience: Duration) -> usize {
        self.shared.holding.drain(patience).await
    }

    /// Who compares ChirpStack with the registry.
    pub fn comparer(&self) -> &Comparer {
        &self.shared.comparer
    }

    fn system(&self) -> &System {
        &self.shared.system
    }

    fn store(&self) -> &Store {
        &self.shared.store
    }

    fn clock(&self) -> &Clock {
        self.shared.system.clock()
    }

    /// A device on the air by what callers name it: the one they may see; else the configuration's network server is
    /// asked, which knows it no better.
    async fn device_key(&self, scope: Scope, dev_eui: DevEui) -> Result<DeviceKey, ApiError> {
        let device = self.store().device_by_dev_eui(scope, dev_eui).await?;
        let server = device.map_or(NetworkServerId::Default, |device| device.server);
        Ok(DeviceKey { server, dev_eui })
    }

    fn sessions(&self) -> &Sessions {
        &self.shared.sessions
    }

    fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    fn key_limits(&self) -> &Limits {
        &self.shared.key_limits
    }

    /// What a key may ask within a minute that has no limit of its own.
    fn key_requests_per_minute(&self) -> u32 {
        self.shared.key_requests_per_minute
    }

    fn tenant_commands(&self) -> &TenantCommands {
        &self.shared.tenant_commands
    }

    /// Which tenants paths named lately.
    fn known_tenants(&self) -> &KnownTenants {
        &self.shared.known_tenants
    }

    /// Devices as they were shown lately.
    fn device_bodies(&self) -> &DeviceBodies {
        &self.shared.device_bodies
    }

    /// Counts a command of a tenant, and refuses it if there were too many: to be asked right before one is given.
    async fn count_command(&self, tenant_id: TenantId) -> Result<(), ApiError> {
        let now = self.clock().now();
        self.tenant_commands()
            .check(self.store(), tenant_id, now)
            .await
    }

    /// Held while a key is taken back: one at a time.
    async fn revoking(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.shared.revoking.lock().await
    }

    /// Told whenever keys were taken back.
    fn revocations(&self) -> watch::Receiver<()> {
        self.shared.revoked.subscribe()
    }

    /// A key was taken back: it stops working now, its sessions with it, and open streams end.
    fn key_revoked(&self, key: ApiKeyId) {
        self.keys().forget(key);
        let is_of_key = |its: &SessionKey| its.id == key;
        self.sessions()
            .end_those(|session| session.key.as_ref().is_some_and(is_of_key));
        self.shared.revoked.send_replace(());
    }

    /// Sessions were ended: their open streams end, and they are not taken up at the next start.
    async fn sessions_ended(&self) {
        self.shared.revoked.send_replace(());
        self.shared.store_sessions().await;
    }

    /// A tenant is gone, and its keys with it.
    fn tenant_deleted(&self, tenant_id: TenantId) {
        self.keys().forget_tenant(tenant_id);
        let is_of_tenant = |its: &SessionKey| its.tenant_id == Some(tenant_id);
        self.sessions()
            .end_those(|session| session.key.as_ref().is_some_and(is_of_tenant));
        self.tenant_commands().forget(tenant_id);
        self.known_tenants().forget_all();
        self.shared.revoked.send_replace(());
    }

    fn connector(&self) -> &dyn Connect {
        &*self.shared.connector
    }

    /// Whether a tenant's own administrators may set its network server.
    fn tenants_may_set_network_server(&self) -> bool {
        self.shared.tenants_may_set_network_server
    }

    /// Proxies whose word is taken for who called them.
    fn trusted_proxies(&self) -> &Arc<Networks> {
        &self.shared.trusted_proxies
    }

    /// The configuration's network server.
    fn chirpstack(&self) -> &ChirpstackSection {
        &self.shared.chirpstack
    }

    /// How often ChirpStack's devices are compared with the registry's, s; 0: never by itself.
    fn drift_interval_s(&self) -> u64 {
        self.shared.drift_interval_s
    }

    fn attempts(&self) -> &Attempts {
        &self.shared.attempts
    }

    fn admission(&self) -> &Admission {
        &self.shared.admission
    }

    fn in_progress(&self) -> &InProgress {
        &self.shared.in_progress
    }

    fn holding(&self) -> &Holding {
        &self.shared.holding
    }

    /// The signatures of webhooks that were used lately.
    fn signatures(&self) -> &Signatures {
        &self.shared.signatures
    }

    fn readiness(&self) -> &health::Readiness {
        &self.shared.readiness
    }

    /// Cancelled when the service stops.
    fn stopping(&self) -> &CancellationToken {
        &self.shared.stopping
    }

    fn prometheus(&self) -> &PrometheusHandle {
        &self.shared.prometheus
    }
}

impl Shared {
    /// Stores what changed of sessions; what cannot be stored is, later.
    async fn store_sessions(&self) {
        let Unstored { used, over } = self.sessions.take_unstored();
        if let Err(error) = self.store.forget_browser_sessions(&over).await {
            tracing::debug!(%error, "sessions that are over could not be forgotten yet");
            self.sessions.not_forgotten(over);
        }
        if let Err(error) = self.store.touch_browser_sessions(&used).await {
            tracing::debug!(%error, "which sessions were used could not be noted");
        }
    }
}

/// Notes which keys and sessions were used, until the service is gone. A minute's use may be lost with it.
async fn note_used_keys(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(KEY_USE_NOTED_EVERY).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.store_sessions().await;
        let used = shared.keys.take_used();
        if !used.is_empty()
            && let Err(error) = shared.store.touch_api_keys(&used).await
        {
            tracing::debug!(%error, "which keys were used could not be noted");
        }
    }
}
