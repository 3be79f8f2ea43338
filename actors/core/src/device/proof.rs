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
    /// The light reported with it.
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
    /// Judges a report that arrived at `now`.
    ///
    /// `others` are the lights of other frames of ours, oldest first, that may have landed since the baseline was
    /// reported (`None` for one that changes no light). Only what they cannot explain proves anything.
    pub fn judge(
        &self,
        now: Timestamp,
        epoch: u32,
        report: &Report,
        others: &[Option<LightState>],
    ) -> Verdict {
        if epoch != self.epoch {
            return Verdict::Nothing;
        }
        let alike = self.is_alike(report);
        let too_soon = now < self.not_before;
        let explained = self.explained_by(report, others);
        match (report.downlinks_received, self.baseline) {
            (Some(count), Some(baseline)) if count > baseline => {
                if !alike {
                    return Verdict::Another;
                }
                match explained {
                    Explained::Never if !too_soon => Verdict::Proven {
                        baseline,
                        downlinks_received: count,
                    },
                    Explained::UpTo(most) if !too_soon && count - baseline > most => {
                        Verdict::Proven {
                            baseline,
                            downlinks_received: count,
                        }
                    }
                    Explained::Never | Explained::UpTo(_) | Explained::Anyway => Verdict::Nothing,
                }
            }
            (Some(_), Some(_)) => Verdict::NotReceived,
            (Some(_), None) => Verdict::Nothing,
            (None, _) => match (self.light, self.light_before) {
                (Some(_), _) if !alike => Verdict::NotReceived,
                (Some(_), Some(before)) if explained == Explained::Never && !too_soon => {
                    Verdict::ProvenByState { before }
                }
                (_, _) => Verdict::Nothing,
            },
        }
    }

    /// Whether the report shows what this downlink puts on, if it puts on anything.
    pub fn is_alike(&self, report: &Report) -> bool {
        self.light.is_none_or(|light| report.light == Some(light))
    }

    /// Whether the report is the first to tell a count in this epoch, so that nothing can be counted up to it.
    pub fn is_first_count(&self, epoch: u32, report: &Report) -> bool {
        epoch == self.epoch && self.baseline.is_none() && report.downlinks_received.is_some()
    }

    /// Supposing that the downlink was not received: what else can have made the device report what it does?
    ///
    /// Other applications may send, too, and not be known of. What they put on is taken to be other lights than ours:
    /// after theirs, only a frame of ours shows ours.
    fn explained_by(&self, report: &Report, others: &[Option<LightState>]) -> Explained {
        let settings = || {
            let count = others.iter().filter(|light| light.is_none()).count();
            Explained::UpTo(u32::try_from(count).unwrap_or(u32::MAX))
        };
        match self.light {
            Some(light) if others.contains(&Some(light)) => Explained::Anyway,
            Some(light) if self.light_before.is_none_or(|before| before == light) => settings(),
            Some(_) => Explained::Never,
            // A setting: the light has to be the one before, or somebody else's frame was counted.
            None if others.iter().any(Option::is_some) => Explained::Anyway,
            None if self.light_before.is_none() || self.light_before != report.light => {
                Explained::Anyway
            }
            None => settings(),
        }
    }

    /// Takes a report that proved nothing as what was known before any later one: only a further step counts from
    /// here.
    pub fn rebase(&mut self, report: &Report) {
        self.baseline = report.downlinks_received.or(self.baseline);
        self.light_before = report.light.or(self.light_before);
    }

    /// What was reported is no measure any more.
    pub fn forget_baseline(&mut self) {
        self.baseline = None;
        self.light_before = None;
    }
}

/// Whether the device may report what it does without having received the downlink in question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Explained {
    /// It may not.
    Never,
    /// If its count grew by so much at the most.
    UpTo(u32),
    /// However much its count grew.
    Anyway,
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
        let proven = |downlinks_received| Verdict::Proven {
            baseline: 4,
            downlinks_received,
        };
        let by_state = Verdict::ProvenByState { before: GREEN };
        for (name, proving, report, verdict) in [
            ("state and counter", counts, counted(RED, 5), proven(5)),
            ("grown by more than one", counts, counted(RED, 9), proven(9)),
            ("stale", counts, counted(RED, 4), Verdict::NotReceived),
            ("not there", counts, counted(GREEN, 4), Verdict::NotReceived),
            ("another", counts, counted(GREEN, 5), Verdict::Another),
            (
                "but blinking",
                counts,
                counted(RED_BLINKING, 5),
                Verdict::Another,
            ),
            (
                "no baseline is not zero",
                red_after(None, Some(GREEN)),
                counted(RED, 5),
                Verdict::Nothing,
            ),
            (
                "short form, other state before",
                red_after(None, Some(GREEN)),
                short(RED),
                by_state,
            ),
            (
                "short form, same state before",
                red_after(None, Some(RED)),
                short(RED),
                Verdict::Nothing,
            ),
            (
                "short form, nothing known before",
                red_after(None, None),
                short(RED),
                Verdict::Nothing,
            ),
            (
                "short form, not there",
                red_after(None, Some(GREEN)),
                short(GREEN),
                Verdict::NotReceived,
            ),
        ] {
            assert_eq!(proving.judge(at(12), 1, &report, &[]), verdict, "{name}");
        }
    }

    #[test]
    fn another_epoch_or_a_report_sooner_than_the_radio_allows_proves_nothing() {
        for proving in [
            red_after(Some(4), Some(GREEN)),
            red_after(None, Some(GREEN)),
        ] {
            for report in [counted(RED, 5), short(RED)] {
                assert_eq!(proving.judge(at(12), 2, &report, &[]), Verdict::Nothing);
                assert_eq!(proving.judge(at(9), 1, &report, &[]), Verdict::Nothing);
            }
        }
    }

    #[test]
    fn without_a_baseline_the_first_count_becomes_one() {
        let mut proving = red_after(None, None);
        let first = counted(RED, 7);
        assert_eq!(proving.judge(at(12), 1, &first, &[]), Verdict::Nothing);
        proving.rebase(&first);
        assert_eq!(
            proving.judge(at(14), 1, &counted(RED, 7), &[]),
            Verdict::NotReceived
        );
        assert_eq!(
            proving.judge(at(16), 1, &counted(RED, 8), &[]),
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
        assert_eq!(proving.judge(at(12), 1, &other, &[]), Verdict::Another);
        proving.rebase(&other);
        assert_eq!(
            proving.judge(at(14), 1, &counted(RED, 5), &[]),
            Verdict::NotReceived
        );
    }

    /// Red is shown and counted 4; red is sent again, and other frames of ours are under way.
    #[test]
    fn what_other_frames_explain_proves_nothing() {
        let repeated = red_after(Some(4), Some(RED));
        for (name, others, count, proven) in [
            ("a setting keeps the light", &[None][..], 5, false),
            ("more than the setting", &[None], 6, true),
            ("green would be seen", &[Some(GREEN)], 5, true),
            ("green, then red", &[Some(GREEN), Some(RED)], 6, false),
            ("red, then a setting", &[Some(RED), None], 6, false),
            ("another application's, then red", &[Some(RED)], 6, false),
        ] {
            let verdict = repeated.judge(at(12), 1, &counted(RED, count), others);
            assert_eq!(matches!(verdict, Verdict::Proven { .. }), proven, "{name}");
        }
    }

    #[test]
    fn a_setting_is_not_proven_by_what_another_application_sent() {
        let setting = Proving {
            light: None,
            ..red_after(Some(4), Some(RED))
        };
        let verdict = setting.judge(at(12), 1, &counted(GREEN, 5), &[]);
        assert_eq!(verdict, Verdict::Nothing);
    }

    #[test]
    fn settings_are_proven_by_the_count_alone() {
        let proving = Proving {
            light: None,
            ..red_after(Some(4), Some(GREEN))
        };
        assert_eq!(
            proving.judge(at(12), 1, &counted(GREEN, 5), &[]),
            Verdict::Proven {
                baseline: 4,
                downlinks_received: 5
            }
        );
    }
}
