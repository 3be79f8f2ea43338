//! The store on PostgreSQL 13 or later: a pool of connections, none of which may see a row before its transaction says
//! whose rows it is about.
//!
//! `session.rs` owns the pool and begins transactions, `role.rs` is what the connections may do, `error.rs` tells what
//! may succeed later. All else is SQL, file by file as on `SQLite`.

mod api_key;
mod audit;
mod browser_session;
mod commit;
mod device;
mod device_list;
mod downlink;
mod drift;
mod error;
mod event;
mod figures;
mod gateway;
mod idempotency;
mod job;
mod network_server;
mod outcome;
mod role;
mod seal_check;
mod session;
mod sync;
mod telemetry;
mod tenant;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod unclaimed;

use std::str::FromStr as _;

use downbeat_actors::port::StoreError;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Postgres as Db, QueryBuilder};

use super::row::tenant_of;
use super::{OpenStoreError, Scope};
use crate::seal::Sealer;
use error::store_error;
pub use role::RoleError;
use session::Sessions;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// The database.
#[derive(Debug, Clone)]
pub(super) struct Postgres {
    sessions: Sessions,
    sealer: Sealer,
}

impl Postgres {
    /// Whether a URL is one of this kind.
    pub(super) fn knows(url: &str) -> bool {
        url.starts_with("postgres://") || url.starts_with("postgresql://")
    }

    /// Opens the database, brings its schema up to date where the URL's role may do so, and drops to the service's role.
    pub(super) async fn open(url: &str, sealer: Sealer) -> Result<Self, OpenStoreError> {
        // What is wrong with it is not passed on: the text could hold the password.
        let options = PgConnectOptions::from_str(url).map_err(|_| OpenStoreError::Url)?;
        let options = options
            .application_name("downbeat")
            // A batch is long, and what it holds is not for the log.
            .disable_statement_logging();
        let mut login = session::connect(&options).await.map_err(store_error)?;
        let session = role::prepare(&mut login).await;
        let awaited = session::await_earlier_writers(&mut login).await;
        login.close().await.map_err(store_error)?;
        awaited.map_err(store_error)?;
        let sessions = Sessions::open(options, session?).await?;
        let store = Self { sessions, sealer };
        store.check_seal().await?;
        store.ensure_default_tenant().await?;
        Ok(store)
    }

    /// Asks for a lock that only a writer gets: a database that may only be read shows here.
    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        let mut transaction = self.sessions.begin(Scope::Platform).await?;
        sqlx::query("SELECT id FROM api_key WHERE false FOR UPDATE")
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        transaction.rollback().await.map_err(store_error)
    }

    pub(super) async fn close(&self) {
        self.sessions.close().await;
    }
}

/// Adds the scope to a query that has a `WHERE`. Row-level security would hide the others' rows all the same; this lets
/// the planner use the tenant's index.
fn push_scope(query: &mut QueryBuilder<Db>, scope: Scope) {
    if let Some(tenant) = tenant_of(scope) {
        query.push(" AND tenant_id = ").push_bind(tenant);
    }
}
