//! A disk that can be filled without harm to others.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A file system of a few megabytes, in memory.
pub(crate) struct SmallDisk {
    place: TempDir,
}

impl SmallDisk {
    /// Mounts one, which takes the right to: root's, as a rule.
    pub(crate) fn of_mebibytes(size: u32) -> Self {
        let place = tempfile::tempdir().expect("a temporary directory");
        let options = format!("size={size}m,mode=755");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "downbeat-test"])
            .arg(place.path())
            .output()
            .expect("mount runs");
        assert!(
            mount.status.success(),
            "the tests of full disks mount file systems, as root or in a container that may: {}",
            String::from_utf8_lossy(&mount.stderr)
        );
        Self { place }
    }

    pub(crate) fn path(&self) -> &Path {
        self.place.path()
    }

    /// Takes all that is free.
    pub(crate) fn fill(&self) {
        let mut filler = File::create(self.filler()).expect("a new file");
        for size in [1 << 20, 1 << 12, 1] {
            let block = vec![0; size];
            while filler.write_all(&block).is_ok() {}
        }
    }

    /// Gives it back.
    pub(crate) fn free(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    fn unmount(&self, how: &[&str]) -> std::io::Result<Output> {
        Command::new("umount").args(how).arg(self.path()).output()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A server whose files are here is just being stopped.
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if self.unmount(&[]).is_ok_and(|it| it.status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.unmount(&["--lazy"]);
    }
}
