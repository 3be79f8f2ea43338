//! Where the service keeps its data.

use std::path::Path;

use downbeat_testdb::Server;

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
    /// One of many on the tests' server.
    Postgres(downbeat_testdb::Database),
    /// On a server of its own, which the test may stop.
    Server(Server),
}

impl Database {
    pub(crate) fn postgres() -> Self {
        Self::Postgres(downbeat_testdb::Database::empty())
    }

    /// Another one, of the same kind.
    pub(crate) fn sibling(&self) -> Self {
        match self {
            Self::Sqlite => Self::Sqlite,
            Self::Postgres(_) => Self::postgres(),
            Self::Server(_) => Self::Server(Server::start_own()),
        }
    }

    /// Its URL, for a service with this data directory.
    pub(crate) fn url(&self, data: &Path) -> String {
        match self {
            Self::Sqlite => format!("sqlite://{}", data.join("downbeat.db").display()),
            Self::Postgres(database) => database.url(),
            Self::Server(server) => server.url("postgres"),
        }
    }
}
