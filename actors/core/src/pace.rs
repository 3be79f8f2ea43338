//! So many a second, with a little saved up.

use std::time::Duration;

use crate::time::Timestamp;

/// Gives out places at a rate. A second's worth is saved up while nobody asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// Between two places.
    interval: Duration,
    /// A second's worth.
    saved_max: u32,
    /// When the next place would come if nothing was saved: the places saved lie in the past.
    next_at: Option<Timestamp>,
}

impl Pace {
    /// At least one a second.
    pub fn per_second(rate: u32) -> Self {
        let rate = rate.max(1);
        Self {
            interval: Duration::from_secs(1) / rate,
            saved_max: rate,
            next_at: None,
        }
    }

    /// Takes a place, or tells when there is one.
    pub fn take(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        let earliest = now - self.interval * (self.saved_max - 1);
        // A clock that was set back would hold everybody up for as long.
        let latest = now + self.interval;
        let next_at = self
            .next_at
            .map_or(earliest, |at| at.max(earliest).min(latest));
        if next_at > now {
            self.next_at = Some(next_at);
            return Err(next_at);
        }
        self.next_at = Some(next_at + self.interval);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    fn taken(pace: &mut Pace, now: Timestamp) -> usize {
        (0..1000).take_while(|_| pace.take(now).is_ok()).count()
    }

    #[test]
    fn a_seconds_worth_is_saved_and_no_more() {
        let mut pace = Pace::per_second(20);
        assert_eq!(taken(&mut pace, at(0)), 20);
        assert_eq!(pace.take(at(0)), Err(at(50)));
        assert_eq!(taken(&mut pace, at(49)), 0);
        assert_eq!(taken(&mut pace, at(50)), 1);
        assert_eq!(taken(&mut pace, at(250)), 4);
        assert_eq!(taken(&mut pace, at(60_000)), 20);
    }

    #[test]
    fn a_clock_set_back_holds_nobody_up() {
        let mut pace = Pace::per_second(2);
        assert_eq!(taken(&mut pace, at(100_000)), 2);
        assert_eq!(pace.take(at(0)), Err(at(500)));
        assert_eq!(taken(&mut pace, at(500)), 1);
    }

    #[test]
    fn no_rate_is_too_small() {
        assert_eq!(taken(&mut Pace::per_second(0), at(0)), 1);
    }
}
