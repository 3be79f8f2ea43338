//! Where the service keeps its data.

use std::path::Path;

use downbeat_testdb::Server;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;

use super::SmallDisk;

/// Each of these tests on each database.
macro_rules! on_both_stores {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test($crate::support::Database::Sqlite).await;
                }
            )+
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test($crate::support::Database::postgres()).await;
                }
            )+
        }
    };
}
pub(crate) use on_both_stores;

/// A database of the test's own.
pub(crate) enum Database {
    /// The file in the data directory that is used when nothing is configured.
    Sqlite,
    /// A file on a disk of its own.
    SqliteOn(SmallDisk),
    /// One of many on the tests' server.
    Postgres(downbeat_testdb::Database),
    /// On a server of its own, which the test may stop.
    Server(Server),
    /// The same, with all its files on a disk of its own.
    ServerOn(Server, SmallDisk),
}

/// While this lives, nobody reaches the database.
pub(crate) enum Outage<'a> {
    Locked(SqliteConnection),
    Stopped(&'a Server),
}

impl Database {
    pub(crate) fn postgres() -> Self {
        Self::Postgres(downbeat_testdb::Database::empty())
    }

    pub(crate) fn server() -> Self {
        Self::Server(Server::start_own())
    }

    /// Another one, of the same kind.
    pub(crate) fn sibling(&self) -> Self {
        match self {
            Self::Sqlite | Self::SqliteOn(_) => Self::Sqlite,
            Self::Postgres(_) | Self::Server(_) | Self::ServerOn(..) => Self::postgres(),
        }
    }

    /// Its URL, for a service with this data directory.
    pub(crate) fn url(&self, data: &Path) -> String {
        let file = |folder: &Path| format!("sqlite://{}", folder.join("downbeat.db").display());
        match self {
            Self::Sqlite => file(data),
            Self::SqliteOn(disk) => file(disk.path()),
            Self::Postgres(database) => database.url(),
            Self::Server(server) | Self::ServerOn(server, _) => server.url("postgres"),
        }
    }

    /// The disk that is its own.
    pub(crate) fn disk(&self) -> &SmallDisk {
        match self {
            Self::SqliteOn(disk) | Self::ServerOn(_, disk) => disk,
            Self::Sqlite | Self::Postgres(_) | Self::Server(_) => panic!("it has none"),
        }
    }

    /// Stops the server, or locks the file as another process does; `url` is its URL.
    pub(crate) async fn interrupt(&self, url: &str) -> Outage<'_> {
        match self {
            Self::Sqlite | Self::SqliteOn(_) => {
                let mut other = SqliteConnection::connect(url).await.unwrap();
                let begin = sqlx::raw_sql("BEGIN IMMEDIATE");
                begin.execute(&mut other).await.unwrap();
                Outage::Locked(other)
            }
            Self::Server(server) | Self::ServerOn(server, _) => {
                tokio::task::block_in_place(|| server.stop());
                Outage::Stopped(server)
            }
            Self::Postgres(_) => panic!("this server is everybody's"),
        }
    }
}

impl Outage<'_> {
    pub(crate) async fn end(self) {
        match self {
            Self::Locked(connection) => connection.close().await.unwrap(),
            Self::Stopped(server) => tokio::task::block_in_place(|| server.start()),
        }
    }
}
