//! The real binary as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use downbeat_sim::server::{DEFAULT_API_KEY, RunningSim};
use tempfile::TempDir;

use super::database::Outage;
use super::{Database, SmallDisk, until};

/// How long systemd and Docker wait until they kill.
const SUPERVISORS_PATIENCE: Duration = Duration::from_secs(10);

/// A running service; killed when it is dropped.
pub(crate) struct Service {
    child: Child,
    address: Address,
    database: Database,
    data: TempDir,
    /// No other service knows it: while this one is down another may listen on its port, and must not take its
    /// commands and events.
    admin_key: String,
}

/// Where it listens now: somewhere else after each start.
#[derive(Clone)]
pub(crate) struct Address(Arc<Mutex<SocketAddr>>);

impl Address {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.lock().unwrap())
    }
}

impl Service {
    /// Starts it on data of its own, in front of a simulated network.
    pub(crate) async fn start(sim: &RunningSim, database: Database) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let admin_key = format!("an-administrator-of-{}", data.path().display());
        let (child, address) = spawn(&data, &database, &admin_key, sim).await;
        Self {
            child,
            address: Address(Arc::new(Mutex::new(address))),
            database,
            data,
            admin_key,
        }
    }

    /// The key of its administrator.
    pub(crate) fn admin_key(&self) -> &str {
        &self.admin_key
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Takes its database away until the outage ends.
    pub(crate) async fn interrupt_database(&self) -> Outage<'_> {
        let url = self.database.url(self.data.path());
        self.database.interrupt(&url).await
    }

    /// The disk that its database has for itself.
    pub(crate) fn disk(&self) -> &SmallDisk {
        self.database.disk()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it has ended");
    }

    /// SIGTERM. Waits for it to end by itself, and gives its exit code.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").arg(pid).status().expect("kill runs");
        assert!(killed.success());
        let ended = async || self.child.try_wait().expect("it is our child");
        until("it stops", SUPERVISORS_PATIENCE, ended).await.code()
    }

    /// Starts it again on the same data.
    pub(crate) async fn restart(&mut self, sim: &RunningSim) {
        let (child, address) = spawn(&self.data, &self.database, &self.admin_key, sim).await;
        self.child = child;
        *self.address.0.lock().unwrap() = address;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the process and waits until it says where it listens.
async fn spawn(
    data: &TempDir,
    database: &Database,
    admin_key: &str,
    sim: &RunningSim,
) -> (Child, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_downbeat"))
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("DOWNBEAT_DATA_DIR", data.path())
        .env("DOWNBEAT_DATABASE_URL", database.url(data.path()))
        .env("DOWNBEAT_ADMIN_KEY", admin_key)
        .env(
            "DOWNBEAT_CHIRPSTACK_URL",
            format!("http://{}", sim.grpc_addr()),
        )
        .env("DOWNBEAT_CHIRPSTACK_API_KEY", DEFAULT_API_KEY)
        .env(
            "DOWNBEAT_CHIRPSTACK_TENANT_ID",
            sim.identity().tenant_id.to_string(),
        )
        .env(
            "DOWNBEAT_LOG",
            std::env::var("DOWNBEAT_LOG").unwrap_or_else(|_| "error".to_owned()),
        )
        // The simulated network lives faster than real time; so may the patience with it.
        .env("DOWNBEAT_DOWNLINK_BACKOFF_S", "2")
        .env("DOWNBEAT_DOWNLINK_WINDOW_S", "6")
        .env("DOWNBEAT_DOWNLINK_ITEM_TTL_S", "6")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let stdout = child.stdout.take().expect("it is piped");
    let address = tokio::task::spawn_blocking(move || {
        let mut lines = BufReader::new(stdout).lines();
        lines.find_map(|line| {
            line.ok()?
                .strip_prefix("Downbeat listens on http://")?
                .parse()
                .ok()
        })
    })
    .await
    .expect("reading does not panic")
    .expect("it says where it listens");
    (child, address)
}
