//! A server, and the watchdog that ends it.

use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::installation::{Installation, run};

/// Nothing here has to survive a power cut, and many tests connect at once. What is committed survives the server's own end.
const SETTINGS: &str = "
fsync = off
full_page_writes = off
autovacuum = off
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 500
shared_buffers = 64MB
";

/// How long the shared server outlives its last test: the next may be about to start, s.
const LINGER_S: &str = "10";

const WATCHDOG: &str = include_str!("watchdog.sh");

/// A PostgreSQL server on this machine. It runs at least as long as this value, and is gone soon after.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    port: u16,
    installation: Installation,
    /// Locked, shared with the other processes that use it.
    _held: File,
}

impl Server {
    /// A server of the test's own, to stop and start at will.
    ///
    /// # Panics
    ///
    /// If none can be started; the message says what is missing.
    pub fn start_own() -> Self {
        Self::start_own_in(&std::env::temp_dir())
    }

    /// The same, with all its files below that folder, which its user may enter.
    ///
    /// # Panics
    ///
    /// As [`Server::start_own`].
    pub fn start_own_in(parent: &Path) -> Self {
        let id = std::process::id();
        let number =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
        let name = format!("{id}-{}", number.map_or(0, |address| address.port()));
        Self::join(parent, &name, "0").unwrap_or_else(|error| panic!("{error}"))
    }

    /// The one server of all tests of this tree.
    pub(crate) fn shared() -> Result<Self, String> {
        let mut hasher = DefaultHasher::new();
        env!("CARGO_MANIFEST_DIR").hash(&mut hasher);
        let name = format!("{:016x}", hasher.finish());
        Self::join(&std::env::temp_dir(), &name, LINGER_S)
    }

    /// The URL of its superuser and a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Cuts all connections and stops, as a reboot does.
    ///
    /// # Panics
    ///
    /// If it does not stop.
    pub fn stop(&self) {
        self.control(&["stop", "-m", "fast"])
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// Starts again after [`Server::stop`], at the same address.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(&self) {
        self.control(&["start"])
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// Joins those who use the server of that name, and boots it if nobody has yet.
    fn join(parent: &Path, name: &str, linger: &str) -> Result<Self, String> {
        let installation = Installation::find()?;
        let folder = parent.join(format!("downbeat-testdb-{name}"));
        let held = hold(&folder, &installation)?;
        let booting = open(&folder.join("booting"))?;
        booting
            .lock()
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        let written = fs::read_to_string(folder.join("port"))
            .ok()
            .and_then(|port| port.trim().parse().ok());
        let mut server = Self {
            folder,
            port: written.unwrap_or(0),
            installation,
            _held: held,
        };
        if written.is_none() {
            server.watch(linger)?;
            server.boot()?;
        } else if TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).is_err() {
            // Its processes were killed, the watchdog maybe too.
            server.watch(linger)?;
            server.control(&["start"])?;
        }
        Ok(server)
    }

    /// Has a process of its own clean up, however this one ends.
    fn watch(&self, linger: &str) -> Result<(), String> {
        run(std::process::Command::new("flock").arg("--version"))
            .map_err(|_| "the tests need flock, of util-linux".to_owned())?;
        self.installation
            .command("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(&self.folder)
            .arg(self.installation.program("pg_ctl"))
            .arg(linger)
            .current_dir("/")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Not ended with the tests by Ctrl-C.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("sh: {error}"))?;
        Ok(())
    }

    fn boot(&mut self) -> Result<(), String> {
        let data = self.folder.join("data");
        // Left by a boot that was cut short.
        let _ = fs::remove_dir_all(&data);
        let initdb = self.installation.program("initdb");
        run(self
            .installation
            .command(initdb)
            .args([
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
                "-D",
            ])
            .arg(&data)
            .current_dir(&self.folder))?;
        append(&data.join("postgresql.conf"), SETTINGS)?;
        // Another process may take the port before the server does.
        let mut failure = String::new();
        for _ in 0..5 {
            self.port = free_port()?;
            append(
                &data.join("postgresql.conf"),
                &format!("port = {}\n", self.port),
            )?;
            match self.control(&["start"]) {
                Ok(()) => return write(&self.folder.join("port"), &self.port.to_string()),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn control(&self, arguments: &[&str]) -> Result<(), String> {
        let pg_ctl = self.installation.program("pg_ctl");
        let log = self.folder.join("log");
        run(self
            .installation
            .command(pg_ctl)
            .args(arguments)
            .args(["-w", "-s", "-D"])
            .arg(self.folder.join("data"))
            .arg("-l")
            .arg(&log)
            .current_dir(&self.folder))
        .map(drop)
        .map_err(|error| format!("{error}\n{}", fs::read_to_string(&log).unwrap_or_default()))
    }

    /// The program that talks to it.
    pub(crate) fn psql(&self) -> PathBuf {
        self.installation.program("psql")
    }

    /// Its folder: other things of the same life may be kept there.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Makes the folder if need be and takes the lock that keeps it there. The watchdog deletes it with the lock: then this
/// lock is nobody's, and there is a new one.
fn hold(folder: &Path, installation: &Installation) -> Result<File, String> {
    loop {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let path = folder.join("held");
        let Ok(held) = open(&path) else { continue };
        held.lock_shared()
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let locked = held.metadata().map_err(|error| error.to_string())?;
        if fs::metadata(&path).is_ok_and(|there| there.ino() == locked.ino()) {
            append(&folder.join("uses"), ".")?;
            for path in [folder, &path, &folder.join("uses")] {
                installation.give(path)?;
            }
            return Ok(held);
        }
    }
}

fn open(path: &Path) -> Result<File, String> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|error| format!("{}: {error}", path.display()))
}

fn append(path: &Path, text: &str) -> Result<(), String> {
    open(path)?
        .write_all(text.as_bytes())
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn free_port() -> Result<u16, String> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    socket
        .map(|address| address.port())
        .map_err(|error| format!("no free port: {error}"))
}
