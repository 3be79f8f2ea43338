//! A database for one test.

use std::fs::OpenOptions;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::installation::{Installation, run};
use crate::server::Server;

/// Whom databases are asked of.
#[derive(Debug)]
enum Host {
    Own(Server),
    /// Somebody else's, by a superuser's URL.
    Other {
        url: String,
        installation: Installation,
    },
}

/// A database of the test's own. It is dropped with this value.
#[derive(Debug)]
pub struct Database {
    name: String,
    roles: Vec<String>,
}

impl Database {
    /// An empty one.
    ///
    /// # Panics
    ///
    /// If there is no PostgreSQL; the message says what to install.
    pub fn empty() -> Self {
        let name = new_name();
        execute("postgres", &format!("CREATE DATABASE {name}"));
        Self {
            name,
            roles: Vec::new(),
        }
    }

    /// A copy of a template that `fill` makes once a run, given the URL of its superuser. `template` names its content:
    /// another content needs another name (letters, digits and `_`).
    ///
    /// # Panics
    ///
    /// As [`Database::empty`].
    pub async fn copy_of(template: &str, fill: impl AsyncFnOnce(&str)) -> Self {
        let name = new_name();
        make_template(template, fill).await;
        execute(
            "postgres",
            &format!("CREATE DATABASE {name} TEMPLATE {template}"),
        );
        Self {
            name,
            roles: Vec::new(),
        }
    }

    /// The URL of a superuser. A database of this name is nobody else's.
    pub fn url(&self) -> String {
        host().url(&self.name)
    }

    /// Makes a role with these attributes and gives its name. It is dropped with the database.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub fn new_role(&mut self, attributes: &str) -> String {
        let role = format!("{}_role{}", self.name, self.roles.len());
        execute("postgres", &format!("CREATE ROLE {role} {attributes}"));
        self.roles.push(role.clone());
        role
    }

    /// The same as another role of the server.
    pub fn url_as(&self, role: &str) -> String {
        with_user(&self.url(), role)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Whoever is still connected is a process that a test killed.
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // The server is deleted anyway; a failing test has already said more.
        let _ = host().execute("postgres", &sql);
        for role in &self.roles {
            let _ = host().execute("postgres", &format!("DROP ROLE {role}"));
        }
    }
}

impl Host {
    fn find() -> Result<Self, String> {
        match std::env::var(crate::URL_VARIABLE) {
            Ok(url) => Ok(Self::Other {
                url,
                installation: Installation::find()?,
            }),
            Err(_) => Server::shared().map(Self::Own),
        }
    }

    fn url(&self, database: &str) -> String {
        match self {
            Self::Own(server) => server.url(database),
            Self::Other { url, .. } => with_database(url, database),
        }
    }

    fn execute(&self, database: &str, sql: &str) -> Result<String, String> {
        let psql = match self {
            Self::Own(server) => server.psql(),
            Self::Other { installation, .. } => installation.program("psql"),
        };
        run(Command::new(psql)
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d"])
            .arg(self.url(database))
            .args(["-c", sql]))
    }
}

fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| Host::find().unwrap_or_else(|error| panic!("{error}")))
}

fn execute(database: &str, sql: &str) -> String {
    host()
        .execute(database, sql)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Fills it under another name, so that what is there under its own is whole.
async fn make_template(template: &str, fill: impl AsyncFnOnce(&str)) {
    let folder = match host() {
        Host::Own(server) => server.folder().to_owned(),
        Host::Other { .. } => std::env::temp_dir(),
    };
    let path = folder.join(format!("downbeat-{template}.lock"));
    let lock = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|file| file.lock().map(|()| file));
    let lock = lock.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let there = format!("SELECT 1 FROM pg_database WHERE datname = '{template}'");
    if execute("postgres", &there).is_empty() {
        let filling = format!("{template}_filling");
        execute(
            "postgres",
            &format!("DROP DATABASE IF EXISTS {filling} WITH (FORCE)"),
        );
        execute("postgres", &format!("CREATE DATABASE {filling}"));
        fill(&host().url(&filling)).await;
        execute(
            "postgres",
            &format!("ALTER DATABASE {filling} RENAME TO {template}"),
        );
    }
    drop(lock);
}

fn new_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    format!(
        "downbeat_test_{}_{}_{number}",
        std::process::id(),
        since_1970.as_millis()
    )
}

/// Another database of the same server.
fn with_database(url: &str, database: &str) -> String {
    let (base, parameters) = url
        .split_once('?')
        .map_or((url, None), |(base, rest)| (base, Some(rest)));
    let start = base.find("://").map_or(0, |at| at + 3);
    let end = base[start..].find('/').map_or(base.len(), |at| start + at);
    let parameters = parameters
        .map(|text| format!("?{text}"))
        .unwrap_or_default();
    format!("{}/{database}{parameters}", &base[..end])
}

/// Another user, without password.
fn with_user(url: &str, user: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let host = url[start..].find('@').map_or(start, |at| start + at + 1);
    format!("{}{user}@{}", &url[..start], &url[host..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_of_another_database_or_user() {
        let url = "postgres://me:secret@[::1]:5433/mine?sslmode=disable";
        assert_eq!(
            with_database(url, "t1"),
            "postgres://me:secret@[::1]:5433/t1?sslmode=disable"
        );
        assert_eq!(with_database("postgres://host", "t1"), "postgres://host/t1");
        assert_eq!(
            with_user(url, "other"),
            "postgres://other@[::1]:5433/mine?sslmode=disable"
        );
        assert_eq!(
            with_user("postgres://host/x", "other"),
            "postgres://other@host/x"
        );
    }

    #[test]
    fn a_database_is_made_and_dropped() {
        let database = Database::empty();
        let count = format!(
            "SELECT count(*) FROM pg_database WHERE datname = '{}'",
            database.name
        );
        assert_eq!(execute("postgres", &count).trim(), "1");
        drop(database);
        assert_eq!(execute("postgres", &count).trim(), "0");
    }
}
