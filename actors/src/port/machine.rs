//! The machine below: how long it has been up, and what is kept of its clock.

use std::fmt::Debug;

use downbeat_core::time::ClockRecord;

/// What is needed of the machine. Where it does not tell, a clock that was set before this process began makes what is
/// stored look older or younger than it is.
pub trait Machine: Debug + Send + Sync {
    /// How long it has been up, if it says.
    fn uptime(&self) -> Option<Uptime>;

    /// What was kept last; `None` if nothing was, or it cannot be read.
    fn clock_record(&self) -> Option<ClockRecord>;

    /// Keeps how the clock compared with the uptime, as well as it can.
    fn keep_clock_record(&self, record: &ClockRecord);
}

/// How long a machine has been up, times of sleep included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uptime {
    /// Another one after each start of it.
    pub boot_id: String,
    /// Milliseconds since that start.
    pub up_ms: i64,
}
