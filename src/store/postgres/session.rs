//! Connections, and transactions that say whose rows they are about.
//!
//! The pool is private to this file, so that no statement runs outside a transaction that [`Sessions::begin`] or one of
//! its siblings began. They always set both settings that the policies ask for, for the transaction alone: what an
//! earlier one left behind can be of no effect.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, Postgres as Db, Transaction};

use super::error::{is_late_lock, is_lost_connection, store_error};
use crate::store::Scope;

/// Connections at once; PostgreSQL itself allows 100 by default, for all its clients.
pub(super) const CONNECTIONS_MAX: u32 = 16;

/// How long a query waits for a connection before the database counts as unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// What every connection is set to. A lock that is not had in 5 s, or a statement that takes half a minute, is given up
/// rather than waited for by everybody; an answer must not say "committed" of what a power cut would undo.
const SETTINGS: &str = "
    SET client_min_messages = warning;
    SET lock_timeout = '5s';
    SET statement_timeout = '30s';
    SET idle_in_transaction_session_timeout = '60s';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';";

/// Whose rows a transaction may touch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Access<'a> {
    /// Everybody's.
    Platform,
    /// One tenant's.
    Tenant(TenantId),
    /// These tenants', as a batch of the actors needs them.
    Tenants(&'a [TenantId]),
}

impl From<Scope> for Access<'_> {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Platform => Self::Platform,
            Scope::Tenant(tenant) => Self::Tenant(tenant),
        }
    }
}

impl Access<'_> {
    /// Sets what the policies ask for, until the transaction's end. UUIDs need no quoting.
    fn push_to(self, sql: &mut String) {
        let (scope, tenants): (_, &[TenantId]) = match &self {
            Self::Platform => ("platform", &[]),
            Self::Tenant(tenant) => ("", std::slice::from_ref(tenant)),
            Self::Tenants(tenants) => ("", tenants),
        };
        let _ = write!(
            sql,
            "SET LOCAL downbeat.scope = '{scope}'; SET LOCAL downbeat.tenants = '"
        );
        for (index, tenant) in tenants.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(sql, "{comma}{}", tenant.as_uuid());
        }
        sql.push('\'');
    }
}

/// As whom a connection works, and in which schema.
#[derive(Debug, Clone)]
pub(super) struct Session {
    /// The role to change to; none when the URL's role is one that may do no more than the service has to.
    pub(super) role: Option<&'static str>,
    /// Where the tables are, quoted.
    pub(super) schema: String,
}

/// The pool. A handle, cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Sessions {
    pool: PgPool,
}

/// A connection of its own, as the URL's role.
pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let connecting = tokio::time::timeout(ACQUIRE_TIMEOUT, options.connect()).await;
    let mut connection = connecting.map_err(|_| sqlx::Error::PoolTimedOut)??;
    connection
        .execute("SET client_min_messages = warning")
        .await?;
    Ok(connection)
}

/// The lock that every transaction that may write shares, in the key space of two numbers ("down", "beat").
macro_rules! writers {
    () => {
        "1685024622, 1650811252"
    };
}

/// How often a second is waited for earlier writers: for longer than any statement may take.
const EARLIER_WRITERS_TRIES: u32 = 35;

/// Waits until what an earlier process left under way is committed, or undone. A server goes on with what a client that
/// was killed had asked for; whoever reads before that would go on from what is about to change.
///
/// Whoever writes meanwhile queues behind this wait: a service that runs while a command-line tool opens its database.
/// So it is given up after a second, and begun again.
pub(super) async fn await_earlier_writers(
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let alone = concat!(
        "BEGIN; SET LOCAL lock_timeout = '1s'; SELECT pg_advisory_xact_lock(",
        writers!(),
        "); COMMIT"
    );
    let mut tries_left = EARLIER_WRITERS_TRIES;
    loop {
        tries_left -= 1;
        match connection.execute(alone).await {
            Err(error) if is_late_lock(&error) && tries_left > 0 => {
                connection.execute("ROLLBACK").await?;
            }
            result => return result.map(drop),
        }
    }
}

/// Lets the rest of a transaction reach every tenant's rows: a `DevEUI` that one registers may have been another's.
pub(super) async fn widen(connection: &mut PgConnection) -> Result<(), StoreError> {
    let widened = connection
        .execute("SET LOCAL downbeat.scope = 'platform'")
        .await;
    widened.map(drop).map_err(store_error)
}

impl Sessions {
    /// Makes the pool and its first connection.
    pub(super) async fn open(
        options: PgConnectOptions,
        session: Session,
    ) -> Result<Self, StoreError> {
        let mut settings = format!("{SETTINGS} SET search_path = {};", session.schema);
        if let Some(role) = session.role {
            let _ = write!(settings, " SET ROLE {role};");
        }
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            // It was tested when it was given back, and `begin` takes another one if it has died since.
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                let settings = settings.clone();
                Box::pin(async move {
                    sqlx::raw_sql(AssertSqlSafe(settings))
                        .execute(connection)
                        .await
                        .map(drop)
                })
            })
            .connect_with(options)
            .await
            .map_err(store_error)?;
        Ok(Self { pool })
    }

    /// Begins a transaction that may write.
    pub(super) async fn begin(
        &self,
        access: impl Into<Access<'_>>,
    ) -> Result<Transaction<'static, Db>, StoreError> {
        let begin = concat!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock_shared(",
            writers!(),
            "); "
        );
        self.begin_with(begin, access.into()).await
    }

    /// Begins a transaction that only reads; all its statements see the same instant.
    pub(super) async fn begin_to_read(
        &self,
        access: impl Into<Access<'_>>,
    ) -> Result<Transaction<'static, Db>, StoreError> {
        self.begin_with(
            "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; ",
            access.into(),
        )
        .await
    }

    /// As [`Sessions::begin_to_read`], for statements whose order an index has: nothing is sorted that need not be.
    pub(super) async fn begin_to_read_in_order(
        &self,
        access: impl Into<Access<'_>>,
    ) -> Result<Transaction<'static, Db>, StoreError> {
        self.begin_with(
            "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL enable_sort = off; ",
            access.into(),
        )
        .await
    }

    async fn begin_with(
        &self,
        begin: &str,
        access: Access<'_>,
    ) -> Result<Transaction<'static, Db>, StoreError> {
        let asked_at = Instant::now();
        let transaction = self.begin_patiently(begin, access).await;
        metrics::histogram!("downbeat_store_begin_seconds")
            .record(asked_at.elapsed().as_secs_f64());
        if transaction.is_err() {
            metrics::counter!("downbeat_store_begin_failures_total").increment(1);
        }
        transaction
    }

    async fn begin_patiently(
        &self,
        begin: &str,
        access: Access<'_>,
    ) -> Result<Transaction<'static, Db>, StoreError> {
        let mut sql = begin.to_owned();
        access.push_to(&mut sql);
        // Nothing has been done yet, so another connection will do. When the server was restarted, all may have died.
        for _ in 0..CONNECTIONS_MAX {
            match self.try_begin(sql.clone()).await {
                Err(error) if is_lost_connection(&error) => {}
                result => return result.map_err(store_error),
            }
        }
        self.try_begin(sql).await.map_err(store_error)
    }

    /// One message and one answer. In a task of its own: given up half-way, the server would have begun a transaction
    /// that nobody here knows of, on a connection that goes back into the pool.
    async fn try_begin(&self, sql: String) -> Result<Transaction<'static, Db>, sqlx::Error> {
        let pool = self.pool.clone();
        let begun = tokio::spawn(async move { pool.begin_with(AssertSqlSafe(sql)).await });
        begun.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}
