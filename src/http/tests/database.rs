//! Where a test's service keeps its data.

use std::any::Any;

use downbeat_testdb::Database as PostgresDatabase;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;

/// Each of these tests on each database: it is given a service on a fresh one.
macro_rules! on_both_stores {
    ($($test:ident),+ $(,)?) => {
        $crate::http::tests::database::on_both_stores!(in sqlite: $($test),+);
        $crate::http::tests::database::on_both_stores!(in postgres: $($test),+);
    };
    (in $store:ident: $($test:ident),+) => {
        mod $store {
            use $crate::http::tests::database::Database;
            use $crate::http::tests::{Config, Service};

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let service = Service::at(Database::$store().await, &Config::default()).await;
                    super::$test(service).await;
                }
            )+
        }
    };
}
pub(super) use on_both_stores;

const FILE: &str = "test.db";

/// A database of a test's own. It goes with this value.
pub(super) enum Database {
    Sqlite(TempDir),
    Postgres(PostgresDatabase),
}

impl Database {
    #[expect(clippy::unused_async, reason = "made as the other one is")]
    pub(super) async fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(super) async fn postgres() -> Self {
        Self::Postgres(crate::store::postgres_database().await)
    }

    /// Another one, of the same kind.
    pub(super) async fn sibling(&self) -> Self {
        match self {
            Self::Sqlite(_) => Self::sqlite().await,
            Self::Postgres(_) => Self::postgres().await,
        }
    }

    pub(super) fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite://{}", folder.path().join(FILE).display()),
            Self::Postgres(database) => database.url(),
        }
    }

    /// Somebody else writes, and nobody else can until the answer is dropped.
    pub(super) async fn lock(&self) -> Box<dyn Any> {
        match self {
            Self::Sqlite(folder) => {
                let options = SqliteConnectOptions::new().filename(folder.path().join(FILE));
                let mut other = SqliteConnection::connect_with(&options).await.unwrap();
                let begin = sqlx::raw_sql("BEGIN IMMEDIATE");
                begin.execute(&mut other).await.unwrap();
                Box::new(other)
            }
            Self::Postgres(database) => {
                let mut other = PgConnection::connect(&database.url()).await.unwrap();
                let begin = sqlx::raw_sql("BEGIN; LOCK TABLE device IN EXCLUSIVE MODE");
                begin.execute(&mut other).await.unwrap();
                Box::new(other)
            }
        }
    }

    /// All that is kept, one after the other: files as they are, rows as text with bytes in hexadecimal.
    pub(super) async fn contents(&self) -> Vec<u8> {
        match self {
            Self::Sqlite(folder) => std::fs::read_dir(folder.path())
                .unwrap()
                .flat_map(|file| std::fs::read(file.unwrap().path()).unwrap())
                .collect(),
            Self::Postgres(database) => {
                let mut other = PgConnection::connect(&database.url()).await.unwrap();
                let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'";
                let tables: Vec<String> = sqlx::query_scalar(tables)
                    .fetch_all(&mut other)
                    .await
                    .unwrap();
                let mut contents = String::new();
                for table in tables {
                    let rows =
                        format!("SELECT coalesce(string_agg(t::text, ''), '') FROM {table} t");
                    let rows: String = sqlx::query_scalar(AssertSqlSafe(rows))
                        .fetch_one(&mut other)
                        .await
                        .unwrap();
                    contents.push_str(&rows);
                }
                contents.into_bytes()
            }
        }
    }
}
