//! The numbers of a downlink's life, and what is computed from them.

use std::time::Duration;

use crate::radio::{DeviceClass, Direction, Modulation};
use crate::random::Random;

/// How patiently and how often a device is told something. Configurable; the defaults follow from docs/reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Attempts of a downlink in all: 1 and 3 retries.
    pub attempts_max: u8,
    /// Pause before the second attempt, doubled for each further one.
    pub backoff: Duration,
    /// Greatest such pause.
    pub backoff_max: Duration,
    /// Whether attempts go on, uncounted, until the time to live is over.
    pub until_deadline: bool,
    /// After an error of the network server: this times the attempt.
    pub server_error_backoff: Duration,
    /// While no gateway hears the device: this times the number of looks.
    pub no_gateway_backoff: Duration,
    /// Life of an item in ChirpStack's queue. A gateway that comes back later plays no old colour.
    pub item_ttl: Duration,
    /// No tx-ack for this long after the Enqueue: look into the queue.
    pub diagnose_after: Duration,
    /// Least time that a device has to prove a transmitted downlink.
    pub window_min: Duration,
    /// Time to live of a command that does not bring its own.
    pub command_ttl: Duration,
    /// Commands of one device that may wait.
    pub waiting_max: usize,
    /// Whether a device that joined or restarted gets its codec's settings without being asked.
    pub initialise: bool,
    /// Whether a device that shows something else than wanted is told again without being asked.
    pub reconcile: bool,
    /// Least pause between two such commands to a device; doubled while they fail.
    pub reconcile_pause: Duration,
    /// Greatest such pause.
    pub reconcile_pause_max: Duration,
    /// Reports in a row without a downlink after which the desired light is sent again. The Busylight's watchdog
    /// restarts it after 240 (kuando-busylight.md §3).
    pub refresh_after: u32,
    /// How often the device speaks on its own: the measure of windows for Class A.
    pub uplink_interval: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            attempts_max: 4,
            backoff: Duration::from_secs(10),
            backoff_max: Duration::from_mins(5),
            until_deadline: false,
            server_error_backoff: Duration::from_secs(5),
            no_gateway_backoff: Duration::from_secs(10),
            item_ttl: Duration::from_secs(20),
            diagnose_after: Duration::from_secs(10),
            window_min: Duration::from_secs(30),
            command_ttl: Duration::from_hours(24),
            waiting_max: 32,
            initialise: true,
            reconcile: true,
            reconcile_pause: Duration::from_mins(1),
            reconcile_pause_max: Duration::from_mins(30),
            refresh_after: 120,
            uplink_interval: Duration::from_mins(30),
        }
    }
}

/// A status uplink's application payload in bytes, the measure of a device's silence after it.
const STATUS_LEN: usize = 24;

/// A colour command's payload in bytes.
const COMMAND_LEN: usize = 5;

/// Copies of an uplink are collected for this long before ChirpStack posts it (its default).
const DEDUPLICATION: Duration = Duration::from_millis(200);

impl Policy {
    /// How long a device may take to prove a downlink after its transmission.
    ///
    /// Class C: its own 1 % duty cycle may hold its answer back for a hundred times the air time of its last uplink
    /// (kuando-busylight.md §7), so that SF12 takes minutes. Class A: it answers with its next uplinks.
    pub fn window(&self, class: DeviceClass, uplink: Modulation) -> Duration {
        match class {
            DeviceClass::A => self.uplink_interval * 2,
            DeviceClass::B | DeviceClass::C => {
                let silence = uplink.time_on_air(STATUS_LEN, Direction::Up) * 100;
                self.window_min.max(Duration::from_secs(10) + silence)
            }
        }
    }

    /// Life of a queue item: bounded by the window, and for Class A long enough for the device to speak.
    pub fn item_ttl(&self, class: DeviceClass, uplink: Modulation) -> Duration {
        match class {
            DeviceClass::A => self.uplink_interval * 3,
            DeviceClass::B | DeviceClass::C => self.item_ttl.min(self.window(class, uplink)),
        }
    }

    /// Pause before the next attempt after `attempts` of them, with ±10 % so that devices do not march in step.
    pub fn backoff(&self, attempts: u8, random: &mut Random) -> Duration {
        let doublings = u32::from(attempts.saturating_sub(1)).min(16);
        let pause = self.backoff.saturating_mul(1 << doublings);
        random.jittered(pause.min(self.backoff_max.max(self.backoff)))
    }

    /// Pause after an error of the network server.
    pub fn server_error_backoff(&self, attempts: u8, random: &mut Random) -> Duration {
        random.jittered(
            self.server_error_backoff
                .saturating_mul(u32::from(attempts.max(1))),
        )
    }

    /// An uplink that arrives sooner than this after a downlink was handed over cannot have been caused by it.
    pub fn soonest_answer(&self, uplink: Modulation) -> Duration {
        fastest_command() + uplink.time_on_air(STATUS_LEN, Direction::Up)
    }

    /// An uplink that arrives later than this after a tx-ack was begun after the downlink was on air, unless the
    /// gateway had a queue of its own; if it shows nothing, the downlink was lost.
    pub fn crossing(&self, downlink: Option<Modulation>, uplink: Modulation) -> Duration {
        let command = downlink
            .unwrap_or(Modulation::lora_125(12))
            .time_on_air(COMMAND_LEN, Direction::Down);
        command
            + uplink.time_on_air(STATUS_LEN, Direction::Up)
            + DEDUPLICATION
            + Duration::from_secs(1)
    }
}

fn fastest_command() -> Duration {
    Modulation::lora_125(7).time_on_air(COMMAND_LEN, Direction::Down)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_follows_the_data_rate() {
        let policy = Policy::default();
        let seconds = |sf| {
            policy
                .window(DeviceClass::C, Modulation::lora_125(sf))
                .as_secs()
        };
        assert_eq!([7, 8, 9].map(seconds), [30, 30, 36]);
        assert!((58..62).contains(&seconds(10)), "{}", seconds(10));
        assert!((205..212).contains(&seconds(12)), "{}", seconds(12));
    }

    #[test]
    fn backoff_doubles_and_spreads_by_ten_percent() {
        let (policy, mut random) = (Policy::default(), Random::from_seed(1));
        for (attempts, seconds) in [(1, 10), (2, 20), (3, 40)] {
            for _ in 0..1000 {
                let pause = policy.backoff(attempts, &mut random).as_millis();
                assert!(
                    (seconds * 900..=seconds * 1100).contains(&pause),
                    "{attempts}: {pause}"
                );
            }
        }
    }
}
