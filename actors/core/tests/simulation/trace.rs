//! What is printed of a life when it is replayed.

use std::fmt::Display;

use downbeat_core::time::Timestamp;

use crate::scenario::START;

/// Whether a life is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trace {
    /// It is not.
    Silent,
    /// On standard output.
    Printed,
}

impl Trace {
    /// One line: seconds since the start, who, what.
    #[expect(clippy::print_stdout, reason = "a replay is there to be read")]
    pub(crate) fn line<T: Display>(self, now: Timestamp, who: &str, what: impl FnOnce() -> T) {
        if self == Self::Printed {
            let seconds = now.since(START).as_secs_f64();
            println!("{seconds:10.3} {who:8} {}", what());
        }
    }
}
