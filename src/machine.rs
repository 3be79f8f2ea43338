//! The machine as Linux tells of it, and a file for what its clock showed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use downbeat_actors::port::{Machine, Uptime};
use downbeat_core::time::ClockRecord;

/// The file in the data directory.
const FILE: &str = "clock.json";

/// This machine. Where there is no Linux it says nothing.
#[derive(Debug)]
pub(crate) struct ThisMachine {
    file: PathBuf,
}

impl ThisMachine {
    pub(crate) fn keeping_in(data_dir: &Path) -> Self {
        Self {
            file: data_dir.join(FILE),
        }
    }

    fn write(&self, record: &ClockRecord) -> io::Result<()> {
        let text = serde_json::to_vec(record)?;
        let fresh = self.file.with_extension("json.new");
        fs::write(&fresh, text)?;
        fs::rename(&fresh, &self.file)
    }
}

impl Machine for ThisMachine {
    fn uptime(&self) -> Option<Uptime> {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        Some(Uptime {
            boot_id: boot_id.trim().to_owned(),
            up_ms: milliseconds(uptime.split_whitespace().next()?)?,
        })
    }

    fn clock_record(&self) -> Option<ClockRecord> {
        let text = fs::read(&self.file).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn keep_clock_record(&self, record: &ClockRecord) {
        if let Err(error) = self.write(record) {
            tracing::warn!(%error, file = %self.file.display(), "what the clock shows could not be kept");
        }
    }
}

/// Of seconds with two decimals, as `/proc/uptime` has them (proc(5)).
fn milliseconds(seconds: &str) -> Option<i64> {
    let (whole, hundredths) = seconds.split_once('.')?;
    let (whole, hundredths): (i64, i64) = (whole.parse().ok()?, hundredths.parse().ok()?);
    whole.checked_mul(1_000)?.checked_add(hundredths * 10)
}

#[cfg(test)]
mod tests {
    use downbeat_core::time::Timestamp;

    use super::*;

    #[test]
    fn uptimes_are_read_in_milliseconds() {
        for (text, expected) in [
            ("350735.47", Some(350_735_470)),
            ("0.05", Some(50)),
            ("12", None),
            ("a.bc", None),
        ] {
            assert_eq!(milliseconds(text), expected, "{text}");
        }
    }

    #[test]
    fn what_the_clock_showed_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let machine = ThisMachine::keeping_in(dir.path());
        assert_eq!(machine.clock_record(), None);
        let mut record = ClockRecord::of_boot("one".to_owned());
        record.note(1_000, Timestamp::from_millis(1_800_000_000_000));
        machine.keep_clock_record(&record);
        assert_eq!(machine.clock_record(), Some(record));
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert_eq!(machine.clock_record(), None);
    }
}
