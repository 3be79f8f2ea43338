//! What is printed of a life when it is replayed.

use std::fmt::Display;

use downbeat_core::time::Timestamp;

use crate::scenario::START;

/// Whether, and of whom, a life is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Telling {
    /// It is not.
    Silent,
    /// All of it.
    All,
    /// What concerns one device, or all of them.
    Only(usize),
}

impl Telling {
    /// One line about a device: seconds since the start, which one, what kind of line, what.
    pub(crate) fn of<T: Display>(
        self,
        now: Timestamp,
        device: usize,
        kind: &str,
        what: impl FnOnce() -> T,
    ) {
        let told = match self {
            Self::Silent => false,
            Self::All => true,
            Self::Only(only) => only == device,
        };
        if told {
            print(now, &format!("{device:3} {kind:7}"), what());
        }
    }

    /// One line that concerns all.
    pub(crate) fn all<T: Display>(self, now: Timestamp, kind: &str, what: impl FnOnce() -> T) {
        if self != Self::Silent {
            print(now, &format!("    {kind:7}"), what());
        }
    }
}

#[expect(clippy::print_stdout, reason = "a replay is there to be read")]
fn print<T: Display>(now: Timestamp, who: &str, what: T) {
    let seconds = now.since(START).as_secs_f64();
    println!("{seconds:10.3} {who} {what}");
}
