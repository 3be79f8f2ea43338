//! What a gateway did in the last 24 hours, counted by the hour.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::link_quality::Verdict;
use crate::time::Timestamp;

/// Hours that are counted; the oldest one goes as a new one begins.
const HOURS: i64 = 24;

const HOUR_MS: i64 = 3_600_000;

/// Downlinks of a gateway within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Downlinks {
    /// Which it took (tx-ack).
    pub taken: u64,
    /// Of those that asked for proof: which the device proved.
    pub proven: u64,
    /// Of those that asked for proof: which it did not prove in time.
    pub unproven: u64,
    /// Which it refused, as far as a refusal could be attributed.
    pub refused: u64,
}

impl Downlinks {
    /// The share of those judged that were proven, 0 to 1; `None` before one was judged.
    pub fn success(&self) -> Option<f64> {
        let judged = self.proven + self.unproven;
        #[expect(clippy::cast_precision_loss, reason = "a share for people to read")]
        (judged > 0).then(|| self.proven as f64 / judged as f64)
    }
}

/// The last 24 hours; the current one counts from its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Day {
    /// Number of the hour since the Unix epoch, and what was done in it; oldest first.
    hours: VecDeque<(i64, Downlinks)>,
}

impl Day {
    pub(super) fn taken(&mut self, now: Timestamp) {
        if let Some(hour) = self.hour(now) {
            hour.taken += 1;
        }
    }

    pub(super) fn refused(&mut self, now: Timestamp) {
        if let Some(hour) = self.hour(now) {
            hour.refused += 1;
        }
    }

    pub(super) fn judged(&mut self, now: Timestamp, verdict: Verdict) {
        if verdict == Verdict::ProvenLate {
            let counted = self.hours.iter_mut().rev();
            if let Some((_, hour)) = counted.into_iter().find(|(_, hour)| hour.unproven > 0) {
                hour.unproven -= 1;
            }
        }
        if let Some(hour) = self.hour(now) {
            match verdict {
                Verdict::Proven | Verdict::ProvenLate => hour.proven += 1,
                Verdict::Unproven => hour.unproven += 1,
            }
        }
    }

    pub(super) fn sum(&self, now: Timestamp) -> Downlinks {
        let current = number(now);
        let counted = self
            .hours
            .iter()
            .filter(|(hour, _)| *hour > current - HOURS && *hour <= current);
        counted.fold(Downlinks::default(), |sum, (_, hour)| Downlinks {
            taken: sum.taken + hour.taken,
            proven: sum.proven + hour.proven,
            unproven: sum.unproven + hour.unproven,
            refused: sum.refused + hour.refused,
        })
    }

    /// Adds what was counted elsewhere, after this.
    pub(super) fn add(&mut self, later: &Self) {
        for (number, counted) in &later.hours {
            match self.hours.iter_mut().find(|(hour, _)| hour == number) {
                Some((_, hour)) => {
                    hour.taken += counted.taken;
                    hour.proven += counted.proven;
                    hour.unproven += counted.unproven;
                    hour.refused += counted.refused;
                }
                None => self.hours.push_back((*number, *counted)),
            }
        }
        self.hours.make_contiguous().sort_by_key(|(hour, _)| *hour);
    }

    /// The current hour. A clock that was set back counts on in the hour that had begun.
    fn hour(&mut self, now: Timestamp) -> Option<&mut Downlinks> {
        let current = number(now);
        // A clock that was far ahead for a while has left hours behind that never come.
        while self
            .hours
            .back()
            .is_some_and(|(hour, _)| *hour > current + 1)
        {
            self.hours.pop_back();
        }
        while self
            .hours
            .front()
            .is_some_and(|(hour, _)| *hour <= current - HOURS)
        {
            self.hours.pop_front();
        }
        if self.hours.back().is_none_or(|(hour, _)| *hour < current) {
            self.hours.push_back((current, Downlinks::default()));
        }
        self.hours.back_mut().map(|(_, hour)| hour)
    }
}

fn number(now: Timestamp) -> i64 {
    now.as_millis().div_euclid(HOUR_MS)
}
