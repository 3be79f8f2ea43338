//! What Downbeat keeps, and the one interface to it.
//!
//! [`Store`] is the actors' [`DeviceStore`] and answers the edges' lists. Every query on tenants' data takes a
//! [`Scope`]; "not found" is `Ok(None)`, and another tenant's row is not found. Only this module and those below it
//! know SQL, each database in a folder of its own (`sqlite`); the conformance suite is written against [`Store`] alone.
//!
//! There is one writer connection: `SQLite` has one writer at a time anyway, and waiting in our queue is fairer and
//! cheaper than waiting for its lock. Reads go beside it and see the last commit.
//!
//! Deleting a device while its actor has work under way is the caller's affair: what the actor stores of a device that
//! is no longer registered under the same `DevEUI` is dropped, save its downlinks.

mod api_key;
mod audit;
mod browser_session;
#[cfg(test)]
pub(crate) mod conformance;
mod device;
mod device_write;
mod downlink;
mod drift;
mod figures;
mod gateway;
mod idempotency;
mod job;
mod lister;
mod loader;
mod migration;
mod network_server;
mod outcome;
mod page;
mod postgres;
mod registrar;
mod row;
mod sqlite;
mod telemetry;
mod tenant;
mod unclaimed;
mod wish;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use downbeat_actors::port::{
    DeviceChange, DeviceStore, GatewayMemory, StoreError, StoredDevice, StoredGateway, StoredLinks,
    StoredSync, SyncChange,
};
use downbeat_core::app_key::AppKey;
use downbeat_core::id::{DevEui, DeviceKey, DownlinkId, NetworkServerId};
use downbeat_core::pacer::SentLately;
use downbeat_core::time::Timestamp;

use crate::seal::Sealer;

pub use api_key::{ApiKey, ApiKeyId, KeyHash, Role};
pub use audit::{AuditEntry, AuditFilter, By};
pub use browser_session::{BrowserSession, BrowserSessionId, SessionKey};
pub use device::{
    AppKeyChange, AppKeyState, Device, DeviceEvent, DeviceFields, DeviceFilter, DeviceRevision,
    DeviceSync, NewDevice, RevisedDevice, Revision, WriteDeviceError,
};
pub use downlink::{DownlinkFilter, DownlinkWithTimeline, StoredDownlink};
pub use drift::{Difference, Drift, DriftKind};
pub use figures::{DeviceFigures, TenantFigures};
pub use idempotency::{IdempotencyKey, IdempotentAnswer, NewReservation, Reservation};
pub use job::{HeardDevice, JOB_BATCH_MAX, JobFilter, JobItem, NewJobItem};
pub use network_server::{NetworkServerFields, TenantNetworkServer, WriteNetworkServerError};
pub use outcome::{DownlinkOutcomes, OutcomeCount, OutcomeFilter, OutcomeKey, TAG_VALUES_MAX};
pub use page::{Cursor, PAGE_MAX, Page, PageRequest, ParseCursorError};
pub use telemetry::{
    TELEMETRY_FIELD_MAX, TELEMETRY_FIELDS_MAX, TELEMETRY_POINTS_MAX, TELEMETRY_REPORTS_MAX,
    TELEMETRY_TEXT_MAX, TelemetryField, TelemetryPoint, TelemetryQuery, TelemetryValue,
};
pub use tenant::{DEFAULT_TENANT, Scope, Tenant, TenantFields, WriteTenantError};
pub use unclaimed::{UNCLAIMED_MAX, UnclaimedDevice, UnclaimedSighting};

use lister::Lister;
use loader::Loader;
use postgres::Postgres;
pub use postgres::RoleError;
#[cfg(test)]
pub(crate) use postgres::tests::database as postgres_database;
use registrar::Registrar;
pub use sqlite::BareStore;
use sqlite::Sqlite;

/// How many rows of history are deleted in one transaction at the most, so that commands wait for milliseconds only:
/// where there are many, each is somewhere else in the file.
pub const DELETE_BATCH_MAX: u32 = 50;

/// The same of downlinks: each has a timeline, and is in many indexes.
pub const DELETE_DOWNLINKS_MAX: u32 = 25;

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// The URL names no database that is supported.
    #[error(
        "the database URL must be sqlite:// with a file, or postgres:// with a server and a database"
    )]
    Url,
    /// A newer version of Downbeat wrote it; an older one must not touch it.
    #[error(
        "the database has schema {found}, which is newer than {known}, the newest that this version of Downbeat knows: \
         use the version that wrote it, or a later one"
    )]
    SchemaNewer {
        /// The newest migration applied.
        found: i64,
        /// The newest that this binary has.
        known: i64,
    },
    /// The secrets in it were sealed with another key than the configured one.
    #[error(
        "the database's secrets were encrypted with another key: set encryption_key, or put the file encryption.key back \
         into the data directory, as it was when the database was made"
    )]
    EncryptionKey,
    /// A newer version of Downbeat is to use it, and the URL's role may not bring it up to date.
    #[error(
        "the database has schema {found}, and this version of Downbeat needs {known}: run `downbeat migrate` with the \
         URL of the tables' owner"
    )]
    SchemaOlder {
        /// The newest migration applied; 0 when there is none.
        found: i64,
        /// The newest that this binary has.
        known: i64,
    },
    /// The database's roles do not do.
    #[error(transparent)]
    Role(#[from] RoleError),
    /// Its schema cannot be brought up to date.
    #[error("the database's schema cannot be brought up to date")]
    Migrate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database itself.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The store: a handle, cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    backend: Backend,
    registrar: Registrar,
    loader: Loader,
    lister: Lister,
}

/// A database; each has every method of [`Store`], under the same name.
#[derive(Debug, Clone)]
enum Backend {
    /// `SQLite`.
    Sqlite(Sqlite),
    /// PostgreSQL.
    Postgres(Postgres),
}

/// Calls a method of the database that a store is on.
macro_rules! on_backend {
    ($store:ident.$method:ident($($argument:expr),* $(,)?)) => {
        match &$store.backend {
            $crate::store::Backend::Sqlite(backend) => backend.$method($($argument),*).await,
            $crate::store::Backend::Postgres(backend) => backend.$method($($argument),*).await,
        }
    };
}
use on_backend;

impl Store {
    /// Opens the database at a URL, makes it if there is none, and brings its schema up to date.
    ///
    /// The first time it gets the tenant [`DEFAULT_TENANT`]. Secrets are kept sealed; another sealer than the first
    /// time is refused.
    pub async fn open(url: &str, sealer: Sealer) -> Result<Self, OpenStoreError> {
        let backend = if Postgres::knows(url) {
            Backend::Postgres(Postgres::open(url, sealer).await?)
        } else {
            Backend::Sqlite(Sqlite::open(url, sealer).await?)
        };
        Ok(Self {
            registrar: Registrar::start(backend.clone()),
            loader: Loader::start(backend.clone()),
            lister: Lister::new(backend.clone()),
            backend,
        })
    }

    /// Whether the database answers, for writing too.
    pub async fn ping(&self) -> Result<(), StoreError> {
        on_backend!(self.ping())
    }

    /// Finishes what is under way and closes; later calls fail as unavailable.
    pub async fn close(&self) {
        on_backend!(self.close());
    }

    /// A downlink and its timeline.
    pub async fn downlink(
        &self,
        scope: Scope,
        id: DownlinkId,
    ) -> Result<Option<DownlinkWithTimeline>, StoreError> {
        on_backend!(self.downlink(scope, id))
    }

    /// Downlinks, newest first.
    pub async fn list_downlinks(
        &self,
        scope: Scope,
        filter: DownlinkFilter,
        page: PageRequest,
    ) -> Result<Page<StoredDownlink>, StoreError> {
        on_backend!(self.list_downlinks(scope, filter, page))
    }

    /// Reserves a key for a request that may be repeated, or tells what became of an earlier one.
    pub async fn reserve(&self, reservation: &NewReservation) -> Result<Reservation, StoreError> {
        on_backend!(self.reserve(reservation))
    }

    /// What is known of an earlier request with that key; `None` when there was none.
    pub async fn reservation(
        &self,
        key: &IdempotencyKey,
        request_hash: &[u8; 32],
    ) -> Result<Option<Reservation>, StoreError> {
        on_backend!(self.reservation(key, request_hash))
    }

    /// Keeps the answer to a reserved request.
    pub async fn answer(
        &self,
        key: &IdempotencyKey,
        answer: &IdempotentAnswer,
    ) -> Result<(), StoreError> {
        on_backend!(self.answer(key, answer))
    }

    /// Gives a reservation back that came to nothing (a refused request), so that it may be made again.
    pub async fn release(&self, key: &IdempotencyKey) -> Result<(), StoreError> {
        on_backend!(self.release(key))
    }

    /// Forgets reservations that are older, as [`Store::delete_device_events_before`] does events.
    pub async fn delete_reservations_before(&self, before: Timestamp) -> Result<u64, StoreError> {
        on_backend!(self.delete_reservations_before(before))
    }
}

#[async_trait]
impl DeviceStore for Store {
    async fn commit(&self, changes: &[DeviceChange]) -> Result<(), StoreError> {
        on_backend!(self.commit(changes))
    }

    async fn load(&self, key: DeviceKey) -> Result<Option<StoredDevice>, StoreError> {
        self.loader.stored(key).await
    }

    async fn unfinished(&self) -> Result<Vec<DeviceKey>, StoreError> {
        on_backend!(self.unfinished())
    }

    async fn silent(
        &self,
        now: Timestamp,
        interval: Duration,
        limit: u32,
    ) -> Result<Vec<DeviceKey>, StoreError> {
        on_backend!(self.silent(now, interval, limit))
    }

    async fn sent_since(
        &self,
        server: NetworkServerId,
        since: Timestamp,
    ) -> Result<SentLately, StoreError> {
        on_backend!(self.sent_since(server, since))
    }

    async fn unfinished_syncs(
        &self,
        server: NetworkServerId,
        limit: u32,
    ) -> Result<Vec<StoredSync>, StoreError> {
        on_backend!(self.unfinished_syncs(server, limit))
    }

    async fn unfinished_syncs_of(
        &self,
        server: NetworkServerId,
        devices: &[DevEui],
    ) -> Result<Vec<StoredSync>, StoreError> {
        on_backend!(self.unfinished_syncs_of(server, devices))
    }

    async fn load_sync(&self, key: DeviceKey) -> Result<Option<StoredSync>, StoreError> {
        on_backend!(self.load_sync(key))
    }

    async fn commit_syncs(&self, changes: &[SyncChange]) -> Result<(), StoreError> {
        on_backend!(self.commit_syncs(changes))
    }

    async fn app_key(&self, key: DeviceKey, revision: u32) -> Result<Option<AppKey>, StoreError> {
        on_backend!(self.app_key(key, revision))
    }

    async fn load_gateways(
        &self,
        server: NetworkServerId,
    ) -> Result<Vec<StoredGateway>, StoreError> {
        on_backend!(self.load_gateways(server))
    }

    async fn load_links(
        &self,
        server: NetworkServerId,
        after: Option<DevEui>,
        limit: u32,
    ) -> Result<Vec<StoredLinks>, StoreError> {
        on_backend!(self.load_links(server, after, limit))
    }

    async fn keep_gateways(
        &self,
        server: NetworkServerId,
        at: Timestamp,
        changes: &GatewayMemory,
    ) -> Result<(), StoreError> {
        on_backend!(self.keep_gateways(server, at, changes))
    }
}

/// Parts what comes in order so that no part holds a key twice: a statement changes each row once.
fn rounds<T, K: Ord>(items: &[T], key: impl Fn(&T) -> K) -> Vec<Vec<&T>> {
    let mut seen: BTreeMap<K, usize> = BTreeMap::new();
    let mut rounds: Vec<Vec<&T>> = Vec::new();
    for item in items {
        let round = seen.entry(key(item)).or_default();
        match rounds.get_mut(*round) {
            Some(items) => items.push(item),
            None => rounds.push(vec![item]),
        }
        *round += 1;
    }
    rounds
}
