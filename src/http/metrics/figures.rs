//! Figures of commands, from counts of how they ended.
//!
//! What counts as what: `success` is `verified`, early or late. `failed` is `failed` and `expired`: it was never done.
//! `unverified` had all its attempts and no proof. Those three are tried to the end, and the success rate is of them.
//! `superseded` and `cancelled` commands were not wanted any more, and of `sent` ones no proof was wanted: they count in
//! `total` alone.

use std::collections::BTreeMap;
use std::time::Duration;

use downbeat_core::device::DownlinkState;
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::OutcomeCount;

/// How commands ended.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Figures {
    /// All that ended.
    pub(super) total: u64,
    /// Proven by the device.
    pub(super) success: u64,
    /// Refused, or expired before they could be sent.
    pub(super) failed: u64,
    /// All attempts made without a proof.
    pub(super) unverified: u64,
    /// Percent of success among success, failed and unverified; what was superseded, cancelled, or sent without asking
    /// for proof does not count. 0 when there is none.
    pub(super) success_rate: f64,
    /// Attempts by command, of those that were tried at least once; null when none was.
    pub(super) avg_attempts: Option<f64>,
    /// Half of the proven ones took no longer, in seconds from their acceptance to the proof, to within half a percent.
    pub(super) time_to_verify_p50_s: Option<f64>,
    /// 95 % of the proven ones took no longer, in seconds.
    pub(super) time_to_verify_p95_s: Option<f64>,
}

/// Upper bounds of the times that proofs are told by, in seconds.
const TIMES_S: [u64; 12] = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_800, 3_600];

/// Commands whose proofs took about as long.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::http) struct TookSoLong {
    /// No longer than this, and longer than those before, in seconds; null: any longer.
    up_to_s: Option<u64>,
    commands: u64,
}

/// Counts, added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    total: u64,
    success: u64,
    failed: u64,
    unverified: u64,
    tried: u64,
    attempts: u64,
    verified_in: BTreeMap<Duration, u64>,
}

impl Tally {
    pub(super) fn add(&mut self, count: &OutcomeCount) {
        self.total += count.downlinks;
        self.tried += count.tried;
        self.attempts += count.attempts;
        match count.state {
            DownlinkState::Verified => self.success += count.downlinks,
            DownlinkState::Failed | DownlinkState::Expired => self.failed += count.downlinks,
            DownlinkState::Unverified => self.unverified += count.downlinks,
            DownlinkState::Accepted
            | DownlinkState::Waiting
            | DownlinkState::Enqueued
            | DownlinkState::Transmitted
            | DownlinkState::Sent
            | DownlinkState::Superseded
            | DownlinkState::Cancelled => {}
        }
        if let Some(took) = count.verified_in {
            *self.verified_in.entry(took).or_default() += count.downlinks;
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn figures(&self) -> Figures {
        let tried_to_the_end = self.success + self.failed + self.unverified;
        Figures {
            total: self.total,
            success: self.success,
            failed: self.failed,
            unverified: self.unverified,
            success_rate: super::percent(self.success, tried_to_the_end),
            avg_attempts: average(self.attempts, self.tried),
            time_to_verify_p50_s: self.no_longer_than(50).map(|it| it.as_secs_f64()),
            time_to_verify_p95_s: self.no_longer_than(95).map(|it| it.as_secs_f64()),
        }
    }

    /// The proven ones by how long that took.
    pub(super) fn times(&self) -> Vec<TookSoLong> {
        let bounds = TIMES_S.into_iter().map(Some).chain([None]);
        let mut times: Vec<TookSoLong> = bounds
            .map(|up_to_s| TookSoLong {
                up_to_s,
                commands: 0,
            })
            .collect();
        for (took, downlinks) in &self.verified_in {
            let place = TIMES_S.partition_point(|bound| Duration::from_secs(*bound) < *took);
            times[place].commands += downlinks;
        }
        times
    }

    /// The smallest time that `percent` of the proven ones did not exceed (nearest rank).
    fn no_longer_than(&self, percent: u64) -> Option<Duration> {
        let proven: u64 = self.verified_in.values().sum();
        let mut left = (proven * percent).div_ceil(100).max(1);
        for (took, downlinks) in &self.verified_in {
            left = left.saturating_sub(*downlinks);
            if left == 0 {
                return Some(*took);
            }
        }
        None
    }
}

/// To two decimals; of nothing there is none.
#[expect(
    clippy::cast_precision_loss,
    reason = "an average of counts far below 2^52"
)]
fn average(sum: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| (sum as f64 * 100.0 / of as f64).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(state: DownlinkState, downlinks: u64, took_s: Option<u64>) -> OutcomeCount {
        OutcomeCount {
            state,
            verified_in: took_s.map(Duration::from_secs),
            downlinks,
            tried: downlinks,
            attempts: downlinks * 2,
        }
    }

    fn figures(counts: &[OutcomeCount]) -> Figures {
        let mut tally = Tally::default();
        for count in counts {
            tally.add(count);
        }
        tally.figures()
    }

    #[test]
    fn only_what_was_tried_to_the_end_counts_for_the_rate() {
        use DownlinkState::{Cancelled, Expired, Failed, Sent, Superseded, Unverified, Verified};
        let figures = figures(&[
            ended(Verified, 6, Some(2)),
            ended(Unverified, 1, None),
            ended(Expired, 1, None),
            ended(Failed, 4, None),
            ended(Superseded, 12, None),
            ended(Cancelled, 2, None),
            ended(Sent, 3, None),
        ]);
        assert_eq!(
            (
                figures.total,
                figures.success,
                figures.failed,
                figures.unverified
            ),
            (29, 6, 5, 1)
        );
        assert_eq!(figures.success_rate.to_string(), "50");
        assert_eq!(figures.avg_attempts.unwrap().to_string(), "2");
    }

    #[test]
    fn attempts_are_those_of_what_was_tried() {
        let figures = figures(&[
            OutcomeCount {
                tried: 3,
                attempts: 4,
                ..ended(DownlinkState::Verified, 3, Some(1))
            },
            OutcomeCount {
                tried: 0,
                attempts: 0,
                ..ended(DownlinkState::Superseded, 7, None)
            },
        ]);
        assert_eq!(figures.avg_attempts.unwrap().to_string(), "1.33");
    }

    #[test]
    fn times_are_told_up_to_and_with_their_bounds() {
        let mut tally = Tally::default();
        for (took, downlinks) in [(1, 2), (2, 3), (3, 1), (5, 1), (3_600, 4), (3_601, 5)] {
            tally.add(&ended(DownlinkState::Verified, downlinks, Some(took)));
        }
        let times = tally.times();
        let of = |up_to_s| {
            times
                .iter()
                .find(|it| it.up_to_s == up_to_s)
                .unwrap()
                .commands
        };
        let told = [Some(1), Some(2), Some(5), Some(10), Some(3_600), None].map(of);
        assert_eq!(told, [2, 3, 2, 0, 4, 5]);
        assert_eq!(times.iter().map(|it| it.commands).sum::<u64>(), 16);
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let p = |counts: &[(u64, u64)]| {
            let counts: Vec<OutcomeCount> = counts
                .iter()
                .map(|(took, downlinks)| ended(DownlinkState::Verified, *downlinks, Some(*took)))
                .collect();
            let figures = figures(&counts);
            let text = |it: Option<f64>| it.map(|it| it.to_string());
            (
                text(figures.time_to_verify_p50_s),
                text(figures.time_to_verify_p95_s),
            )
        };
        let some = |a: &str, b: &str| (Some(a.to_owned()), Some(b.to_owned()));
        assert_eq!(p(&[]), (None, None));
        assert_eq!(p(&[(3, 1)]), some("3", "3"));
        assert_eq!(p(&[(1, 1), (9, 1)]), some("1", "9"));
        assert_eq!(p(&[(9, 1), (1, 19)]), some("1", "1"));
        assert_eq!(p(&[(9, 2), (1, 19)]), some("1", "9"));
        let each: Vec<(u64, u64)> = (1..=20).map(|took| (took, 1)).collect();
        assert_eq!(p(&each), some("10", "19"));
    }
}
