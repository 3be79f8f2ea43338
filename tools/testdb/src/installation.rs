//! Where PostgreSQL is, and as whom it runs.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Debian's place; each major version has a folder there.
const DEBIAN: &str = "/usr/lib/postgresql";

/// PostgreSQL's programs, and the user that runs the server.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    bin: PathBuf,
    /// User and group, when it is another than ours.
    user: Option<(u32, u32)>,
}

impl Installation {
    /// The newest one here.
    pub(crate) fn find() -> Result<Self, String> {
        let bin = find_bin().ok_or_else(|| {
            format!(
                "the tests need PostgreSQL 13 or later, which is not installed: apt-get install postgresql (or set {} \
                 to the URL of a superuser)",
                crate::URL_VARIABLE
            )
        })?;
        let user = if is_root()? {
            Some(unprivileged_user()?)
        } else {
            None
        };
        Ok(Self { bin, user })
    }

    /// Gives a file or folder to the user that runs the server.
    pub(crate) fn give(&self, path: &Path) -> Result<(), String> {
        match self.user {
            Some((user, group)) => chown(path, Some(user), Some(group))
                .map_err(|error| format!("{}: {error}", path.display())),
            None => Ok(()),
        }
    }

    /// One of PostgreSQL's programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// A program as the server's user.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command.stdin(Stdio::null());
        command
    }
}

/// Runs a program to its end; what it said is the error.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().display().to_string();
    let output = command
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} failed: {text}{}", complaint.trim_end()))
}

fn find_bin() -> Option<PathBuf> {
    let is_bin =
        |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("psql").is_file();
    let versions = fs::read_dir(DEBIAN).ok().into_iter().flatten().flatten();
    let mut debian: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(version, folder)| *version >= 13 && is_bin(folder))
        .collect();
    debian.sort();
    if let Some((_, newest)) = debian.pop() {
        return Some(newest);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).find(is_bin)
}

fn is_root() -> Result<bool, String> {
    Ok(run(Command::new("id").arg("-u"))?.trim() == "0")
}

/// `postgres`, which the packages make, or else `nobody`.
fn unprivileged_user() -> Result<(u32, u32), String> {
    let known =
        fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
    let find = |wanted: &str| {
        known.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let (user, group) = (fields.nth(1)?, fields.next()?);
            (name == wanted).then_some((user.parse().ok()?, group.parse().ok()?))
        })
    };
    find("postgres")
        .or_else(|| find("nobody"))
        .ok_or_else(|| "there is no user postgres or nobody to run PostgreSQL as".to_owned())
}
