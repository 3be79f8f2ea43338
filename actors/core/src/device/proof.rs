//! Decides what an uplink proves of a downlink.
//!
//! Queued proves nothing: the gateway may be dark. Transmitted proves nothing: the light may have no power. The
//! device's report does, if its count of downlinks grew since before the attempt *and* it shows what was sent, in the
//! same boot epoch (kuando-busylight.md §7). "Grew", never "by one": other downlinks count too. Nothing in an uplink
//! says *which* downlink was received, so frames of ours that went out before and show the same light are counted in.

use serde::{Deserialize, Serialize};

use crate::codec::Report;
use crate::light::LightState;
use crate::time::Timestamp;

/// What is looked for, noted down at the first attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proving {
    /// The light that it puts on; `None` for commands that change nothing that is reported.
    pub light: Option<LightState>,
    /// The boot epoch in which a proof counts.
    pub epoch: u32,
    /// The device's count of downlinks as last reported before the attempt; never 0 for "unknown".
    pub baseline: Option<u32>,
    /// The light reported before the attempt, in the same epoch.
    pub light_before: Option<LightState>,
    /// When the first attempt of this epoch began. An uplink sooner than the radio allows was not caused by it.
    pub not_before: Timestamp,
}

/// What a report says of a downlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The count grew and the light is the one.
    Proven {
        /// The count before.
        baseline: u32,
        /// The count now.
        downlinks_received: u32,
    },
    /// The light is the one and was another before; there is no count.
    ProvenByState {
        /// The light before.
        before: LightState,
    },
    /// The count grew, but the light is another: something else was received.
    Another,
    /// The count did not grow: not received so far.
    NotReceived,
    /// Nothing can be said.
    Nothing,
}

impl Proving {
    /// Judges a report of the same epoch that arrived at `now`.
    ///
    /// `earlier_alike` is how many downlinks of ours may land before this one, up to the last that puts on the same
    /// light; 0 when none does.
    pub fn judge(
        &self,
        now: Timestamp,
        epoch: u32,
        report: &Report,
        earlier_alike: u32,
    ) -> Verdict {
        if epoch != self.epoch {
            return Verdict::Nothing;
        }
        let alike = self.light.is_none_or(|light| report.light == Some(light));
        let too_soon = now < self.not_before;
        match (report.downlinks_received, self.baseline) {
            (Some(count), Some(baseline)) if count > baseline => {
                if !alike {
                    Verdict::Another
                } else if too_soon || count - baseline <= earlier_alike {
                    Verdict::Nothing
                } else {
                    Verdict::Proven {
                        baseline,
                        downlinks_received: count,
                    }
                }
            }
            (Some(_), Some(_)) => Verdict::NotReceived,
            (Some(_), None) => Verdict::Nothing,
            (None, _) => match (self.light, self.light_before) {
                (Some(light), Some(before))
                    if alike && before != light && !too_soon && earlier_alike == 0 =>
                {
                    Verdict::ProvenByState { before }
                }
                (Some(_), _) if !alike => Verdict::NotReceived,
                (_, _) => Verdict::Nothing,
            },
        }
    }

    /// Takes the report as what was known before any later one.
    ///
    /// A count that grew without proving is accounted for: only a further step counts from here.
    pub fn rebase(&mut self, report: &Report, verdict: Verdict) {
        match verdict {
            Verdict::Another => self.baseline = report.downlinks_received.or(self.baseline),
            Verdict::Nothing if self.baseline.is_none() => {
                self.baseline = report.downlinks_received;
            }
            Verdict::Nothing
            | Verdict::NotReceived
            | Verdict::Proven { .. }
            | Verdict::ProvenByState { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::light::Color;

    const RED: LightState = LightState::steady(Color::rgb(255, 0, 0));
    const GREEN: LightState = LightState::steady(Color::rgb(0, 255, 0));
    const RED_BLINKING: LightState = LightState {
        color: Color::rgb(255, 0, 0),
        on_time: 5,
        off_time: 5,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1000)
    }

    fn counted(light: LightState, count: u32) -> Report {
        Report {
            light: Some(light),
            downlinks_received: Some(count),
            ..Report::default()
        }
    }

    fn short(light: LightState) -> Report {
        Report {
            light: Some(light),
            ..Report::default()
        }
    }

    /// Red was sent in epoch 1 after the device reported `baseline` downlinks and green.
    fn red_after(baseline: Option<u32>, light_before: Option<LightState>) -> Proving {
        Proving {
            light: Some(RED),
            epoch: 1,
            baseline,
            light_before,
            not_before: at(10),
        }
    }

    /// The table of kuando-busylight.md §7, row by row, and what follows from it.
    #[test]
    fn every_rule_of_proof() {
        let counts = red_after(Some(4), Some(GREEN));
        let proven = Verdict::Proven {
            baseline: 4,
            downlinks_received: 5,
        };
        for (name, proving, second, epoch, report, earlier_alike, verdict) in [
            (
                "state and counter",
                counts,
                12,
                1,
                counted(RED, 5),
                0,
                proven,
            ),
            (
                "a counter that grew by more than one",
                counts,
                12,
                1,
                counted(RED, 9),
                0,
                Verdict::Proven {
                    baseline: 4,
                    downlinks_received: 9,
                },
            ),
            (
                "a stale report of the same colour",
                counts,
                12,
                1,
                counted(RED, 4),
                0,
                Verdict::NotReceived,
            ),
            (
                "nothing received",
                counts,
                12,
                1,
                counted(GREEN, 4),
                0,
                Verdict::NotReceived,
            ),
            (
                "something else received",
                counts,
                12,
                1,
                counted(GREEN, 5),
                0,
                Verdict::Another,
            ),
            (
                "the colour, but blinking",
                counts,
                12,
                1,
                counted(RED_BLINKING, 5),
                0,
                Verdict::Another,
            ),
            (
                "another epoch",
                counts,
                12,
                2,
                counted(RED, 5),
                0,
                Verdict::Nothing,
            ),
            (
                "sooner than the radio allows",
                counts,
                9,
                1,
                counted(RED, 5),
                0,
                Verdict::Nothing,
            ),
            (
                "explained by an earlier frame alike",
                counts,
                12,
                1,
                counted(RED, 5),
                1,
                Verdict::Nothing,
            ),
            (
                "more than the earlier frame explains",
                counts,
                12,
                1,
                counted(RED, 6),
                1,
                Verdict::Proven {
                    baseline: 4,
                    downlinks_received: 6,
                },
            ),
            (
                "no baseline is not zero",
                red_after(None, Some(GREEN)),
                12,
                1,
                counted(RED, 5),
                0,
                Verdict::Nothing,
            ),
            (
                "short form, other state before",
                red_after(None, Some(GREEN)),
                12,
                1,
                short(RED),
                0,
                Verdict::ProvenByState { before: GREEN },
            ),
            (
                "short form, same state before",
                red_after(None, Some(RED)),
                12,
                1,
                short(RED),
                0,
                Verdict::Nothing,
            ),
            (
                "short form, nothing known before",
                red_after(None, None),
                12,
                1,
                short(RED),
                0,
                Verdict::Nothing,
            ),
            (
                "short form, earlier frame alike",
                red_after(None, Some(GREEN)),
                12,
                1,
                short(RED),
                1,
                Verdict::Nothing,
            ),
            (
                "short form, not received",
                red_after(None, Some(GREEN)),
                12,
                1,
                short(GREEN),
                0,
                Verdict::NotReceived,
            ),
        ] {
            assert_eq!(
                proving.judge(at(second), epoch, &report, earlier_alike),
                verdict,
                "{name}"
            );
        }
    }

    #[test]
    fn without_a_baseline_the_first_count_becomes_one() {
        let mut proving = red_after(None, None);
        let first = counted(RED, 7);
        proving.rebase(&first, proving.judge(at(12), 1, &first, 0));
        assert_eq!(
            proving.judge(at(14), 1, &counted(RED, 7), 0),
            Verdict::NotReceived
        );
        assert_eq!(
            proving.judge(at(16), 1, &counted(RED, 8), 0),
            Verdict::Proven {
                baseline: 7,
                downlinks_received: 8
            }
        );
    }

    #[test]
    fn what_another_downlink_counted_does_not_count_again() {
        let mut proving = red_after(Some(4), Some(RED));
        let other = counted(GREEN, 5);
        proving.rebase(&other, proving.judge(at(12), 1, &other, 0));
        assert_eq!(
            proving.judge(at(14), 1, &counted(RED, 5), 0),
            Verdict::NotReceived
        );
    }

    #[test]
    fn settings_are_proven_by_the_count_alone() {
        let proving = Proving {
            light: None,
            ..red_after(Some(4), None)
        };
        assert_eq!(
            proving.judge(at(12), 1, &counted(GREEN, 5), 0),
            Verdict::Proven {
                baseline: 4,
                downlinks_received: 5
            }
        );
    }
}
