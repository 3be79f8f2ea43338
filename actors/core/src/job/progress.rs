//! How far a job is, and how long it will still take.

use std::time::Duration;

use crate::time::Timestamp;

use super::words::ItemState;

/// How many items are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts([u64; ItemState::ALL.len()]);

impl Counts {
    /// How many are in a state.
    pub fn get(&self, state: ItemState) -> u64 {
        self.0.get(state as usize).copied().unwrap_or(0)
    }

    /// So many more are in a state.
    pub fn add(&mut self, state: ItemState, items: u64) {
        if let Some(count) = self.0.get_mut(state as usize) {
            *count = count.saturating_add(items);
        }
    }

    /// One goes from a state to another.
    pub fn shift(&mut self, from: ItemState, to: ItemState) {
        self.shift_many(from, to, 1);
    }

    /// All of a state go to another; tells how many.
    pub fn shift_all(&mut self, from: ItemState, to: ItemState) -> u64 {
        let items = self.get(from);
        self.shift_many(from, to, items);
        items
    }

    /// All items.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Those that have not reached their end.
    pub fn open(&self) -> u64 {
        self.get(ItemState::Waiting) + self.get(ItemState::UnderWay)
    }

    /// Those that were tried and have reached their end.
    pub fn finished(&self) -> u64 {
        self.total() - self.open() - self.get(ItemState::Skipped)
    }

    fn shift_many(&mut self, from: ItemState, to: ItemState, items: u64) {
        if let Some(count) = self.0.get_mut(from as usize) {
            *count = count.saturating_sub(items);
        }
        self.add(to, items);
    }
}

/// The time in which a job was running: pauses do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clockwork {
    spent: Duration,
    runs_since: Option<Timestamp>,
}

impl Clockwork {
    /// One that has run for so long and stands still.
    pub const fn after(spent: Duration) -> Self {
        Self {
            spent,
            runs_since: None,
        }
    }

    /// Runs from now on.
    pub fn start(&mut self, now: Timestamp) {
        self.runs_since.get_or_insert(now);
    }

    /// Stands still from now on.
    pub fn stop(&mut self, now: Timestamp) {
        self.spent = self.spent(now);
        self.runs_since = None;
    }

    /// How long it ran until now.
    pub fn spent(&self, now: Timestamp) -> Duration {
        let current = self.runs_since.map(|since| now.since(since));
        self.spent + current.unwrap_or_default()
    }
}

/// How long all devices of a job were planned to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlannedTime {
    /// From the first to the last.
    pub duration: Duration,
    /// Whether a gateway's budget says so: it is given at once as far as it goes, and the rest an hour later.
    pub waits_for_air: bool,
}

/// How long a job will still take that ran for `spent` so far; `out_of_reach` of the open ones wait for a gateway, and
/// nobody knows for how long.
///
/// At first the plan is all that is known; the further the job is, the more what it really took counts: unless it waits for
/// air, when having been fast at first means nothing. `None` when nothing but devices out of reach is left.
pub fn remaining(
    counts: &Counts,
    out_of_reach: u64,
    planned: PlannedTime,
    spent: Duration,
    stagger: Duration,
) -> Option<Duration> {
    let open = counts.open();
    if open == 0 {
        return Some(Duration::ZERO);
    }
    let ahead = open.saturating_sub(out_of_reach);
    if ahead == 0 {
        return None;
    }
    let finished = counts.finished();
    let all = finished + open;
    let by_plan = part(planned.duration, ahead, all);
    let expected = if finished == 0 {
        by_plan
    } else {
        let by_rate = part(spent, ahead, finished);
        part(by_plan, open, all) + part(by_rate, finished, all)
    };
    let until_air = if planned.waits_for_air {
        planned.duration.saturating_sub(spent)
    } else {
        Duration::ZERO
    };
    let waiting = u32::try_from(counts.get(ItemState::Waiting)).unwrap_or(u32::MAX);
    let staggered = stagger.saturating_mul(waiting);
    Some(expected.max(until_air).max(staggered))
}

/// So many parts of a time, of so many.
fn part(whole: Duration, parts: u64, of: u64) -> Duration {
    let millis = whole.as_millis() * u128::from(parts) / u128::from(of.max(1));
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn by_answers(duration: Duration) -> PlannedTime {
        PlannedTime {
            duration,
            waits_for_air: false,
        }
    }

    fn counts(waiting: u64, under_way: u64, verified: u64) -> Counts {
        let mut counts = Counts::default();
        counts.add(ItemState::Waiting, waiting);
        counts.add(ItemState::UnderWay, under_way);
        counts.add(ItemState::Verified, verified);
        counts.add(ItemState::Skipped, 7);
        counts
    }

    #[test]
    fn the_plan_counts_at_first_and_what_it_took_in_the_end() {
        for (counts, out_of_reach, spent, seconds) in [
            (counts(100, 0, 0), 0, Duration::ZERO, Some(60)),
            (counts(50, 0, 50), 0, MINUTE / 2, Some(30)),
            // Twice as slow as planned: half is believed of each.
            (counts(50, 0, 50), 0, MINUTE, Some(45)),
            (counts(0, 10, 90), 0, MINUTE * 9, Some(55)),
            (counts(0, 10, 90), 5, MINUTE * 9, Some(28)),
            (counts(0, 10, 90), 10, MINUTE * 9, None),
            (counts(0, 0, 100), 0, MINUTE, Some(0)),
        ] {
            let found = remaining(
                &counts,
                out_of_reach,
                by_answers(MINUTE),
                spent,
                Duration::ZERO,
            );
            let found = found.map(|time| time.as_millis().div_ceil(1000));
            assert_eq!(found, seconds, "{counts:?}");
        }
    }

    /// A thousand frames at SF12: most of the hour's share goes in the first minutes.
    #[test]
    fn what_waits_for_air_is_not_sooner_done_for_having_been_fast_at_first() {
        let planned = PlannedTime {
            duration: 65 * MINUTE,
            waits_for_air: true,
        };
        for (counts, spent, minutes) in [
            (counts(1000, 0, 0), Duration::ZERO, 65),
            (counts(250, 50, 700), 20 * MINUTE, 45),
            (counts(0, 10, 990), 64 * MINUTE, 1),
            // Later than planned: what it took is all that is known.
            (counts(100, 0, 900), 90 * MINUTE, 9),
        ] {
            let found = remaining(&counts, 0, planned, spent, Duration::ZERO);
            let found = found.map(|time| time.as_secs() / 60);
            assert_eq!(found, Some(minutes), "{counts:?}");
        }
    }

    #[test]
    fn nothing_is_faster_than_its_stagger() {
        let stagger = Duration::from_secs(5);
        let found = remaining(
            &counts(100, 0, 0),
            0,
            by_answers(MINUTE),
            Duration::ZERO,
            stagger,
        );
        assert_eq!(found, Some(Duration::from_secs(500)));
    }

    #[test]
    fn pauses_do_not_count() {
        let at = |second: i64| Timestamp::from_millis(second * 1000);
        let mut clock = Clockwork::after(Duration::from_secs(5));
        assert_eq!(clock.spent(at(100)), Duration::from_secs(5));
        clock.start(at(100));
        clock.start(at(103));
        assert_eq!(clock.spent(at(110)), Duration::from_secs(15));
        clock.stop(at(110));
        assert_eq!(clock.spent(at(200)), Duration::from_secs(15));
    }
}
