//! The real binary as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use downbeat_sim::server::{DEFAULT_API_KEY, RunningSim};
use tempfile::TempDir;

use super::ADMIN_KEY;

/// A running service; killed when it is dropped.
pub(crate) struct Service {
    child: Child,
    address: SocketAddr,
    data: TempDir,
}

impl Service {
    /// Starts it on data of its own, in front of a simulated network.
    pub(crate) async fn start(sim: &RunningSim) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let (child, address) = spawn(&data, sim).await;
        Self {
            child,
            address,
            data,
        }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it has ended");
    }

    /// Waits for it to end by itself.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().expect("it has ended").code()
    }

    /// Starts it again on the same data.
    pub(crate) async fn restart(&mut self, sim: &RunningSim) {
        (self.child, self.address) = spawn(&self.data, sim).await;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the process and waits until it says where it listens.
async fn spawn(data: &TempDir, sim: &RunningSim) -> (Child, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_downbeat"))
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("DOWNBEAT_DATA_DIR", data.path())
        .env("DOWNBEAT_ADMIN_KEY", ADMIN_KEY)
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
