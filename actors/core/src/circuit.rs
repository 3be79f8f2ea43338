//! Decides when to stop asking a ChirpStack that does not answer, and when to ask again.
//!
//! A call to a dead server costs its whole deadline, and a server that comes back is buried by everybody's retries at
//! once. So after some calls in a row without an answer the circuit opens: calls fail at once, but for one probe at a
//! time. Its pauses double up to a limit that keeps recovery prompt.
//!
//! A server that answers with an error is not unreachable: whether to repeat that call is not decided here. Results do
//! not say which call they belong to; see [`Circuit::on_result`] for why that is good enough.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// How long a probe without a result keeps the next one back: its caller must have died.
pub const PROBE_LOST_AFTER: Duration = Duration::from_secs(10);

/// When to open, and how often to probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitConfig {
    /// Calls in a row without an answer that open the circuit; 0 counts as 1.
    pub failures_to_open: u32,
    /// From opening to the first probe.
    pub probe_after: Duration,
    /// The longest pause before a probe; each failed one doubles it up to this.
    pub probe_after_max: Duration,
}

impl Default for CircuitConfig {
    /// 5 failures; 1, 2, 4, 4, ... s: what waits for a server resumes within 5 s of its return.
    fn default() -> Self {
        Self {
            failures_to_open: 5,
            probe_after: Duration::from_secs(1),
            probe_after_max: Duration::from_secs(4),
        }
    }
}

/// Whether a call may be made.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Make it.
    Yes,
    /// Make it: it is the one that finds out whether the server is back.
    Probe,
    /// Do not make it.
    No {
        /// No call is admitted before this, unless the circuit closes.
        retry_at: Timestamp,
    },
}

/// What became of an admitted call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The server answered, be it with an error.
    Answered,
    /// No connection, or no answer within the deadline.
    Unreachable,
    /// The server answered that it does not take the key: no call is of use until it does.
    KeyRefused,
    /// The server answered that the key may not do this: it is there, and whether it takes the key for anything is not
    /// told.
    NoRight,
}

/// A change that operators hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transition {
    /// Calls are held back from now on.
    Opened,
    /// Calls are made again.
    Closed,
}

/// The circuit as shown to operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CircuitState {
    /// Calls are made.
    Closed,
    /// Calls are held back.
    Open,
    /// Calls are held back while one probes.
    HalfOpen,
}

/// A circuit breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circuit {
    config: CircuitConfig,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed { failures: u32 },
    Open { since: Timestamp, pause: Duration },
    HalfOpen { since: Timestamp, pause: Duration },
}

impl Circuit {
    /// A closed circuit.
    pub const fn new(config: CircuitConfig) -> Self {
        Self {
            config,
            phase: Phase::Closed { failures: 0 },
        }
    }

    /// Whether a call may be made at `now`. Whoever gets anything but `No` reports back by [`Self::on_result`].
    pub fn admit(&mut self, now: Timestamp) -> Admission {
        let (since, pause, wait) = match self.phase {
            Phase::Closed { .. } => return Admission::Yes,
            Phase::Open { since, pause } => (since, pause, pause),
            Phase::HalfOpen { since, pause } => (since, pause, PROBE_LOST_AFTER),
        };
        // A clock that was set back must not hold calls back for as long.
        if now.since(since) >= wait || now < since {
            self.phase = Phase::HalfOpen { since: now, pause };
            return Admission::Probe;
        }
        Admission::No {
            retry_at: since + wait,
        }
    }

    /// Learns what became of an admitted call.
    ///
    /// Any answer closes the circuit, also one to a call from before it opened: the server is there. A failure during
    /// a probe counts as the probe's; should it be that of an older call, one more probe is made after a longer pause,
    /// which does no harm.
    pub fn on_result(&mut self, now: Timestamp, outcome: Outcome) -> Option<Transition> {
        match (outcome, self.phase) {
            (Outcome::Answered | Outcome::NoRight, Phase::Closed { .. }) => {
                self.phase = Phase::Closed { failures: 0 };
                None
            }
            (Outcome::Answered, Phase::Open { .. } | Phase::HalfOpen { .. }) => {
                self.phase = Phase::Closed { failures: 0 };
                Some(Transition::Closed)
            }
            (Outcome::Unreachable, Phase::Closed { failures }) => {
                self.on_failure(now, failures.saturating_add(1))
            }
            (Outcome::KeyRefused, Phase::Closed { .. }) => self.on_failure(now, u32::MAX),
            (Outcome::Unreachable | Outcome::KeyRefused | Outcome::NoRight, Phase::Open { .. }) => {
                None
            }
            (Outcome::NoRight, Phase::HalfOpen { pause, .. }) => {
                self.phase = Phase::Open { since: now, pause };
                None
            }
            (Outcome::Unreachable | Outcome::KeyRefused, Phase::HalfOpen { pause, .. }) => {
                let pause = pause.saturating_mul(2).min(self.config.probe_after_max);
                self.phase = Phase::Open { since: now, pause };
                None
            }
        }
    }

    /// What the last call of the other two left.
    pub const fn state(&self) -> CircuitState {
        match self.phase {
            Phase::Closed { .. } => CircuitState::Closed,
            Phase::Open { .. } => CircuitState::Open,
            Phase::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }

    fn on_failure(&mut self, now: Timestamp, failures: u32) -> Option<Transition> {
        if failures < self.config.failures_to_open {
            self.phase = Phase::Closed { failures };
            return None;
        }
        let pause = self.config.probe_after.min(self.config.probe_after_max);
        self.phase = Phase::Open { since: now, pause };
        Some(Transition::Opened)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Outcome::{Answered, Unreachable};
    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Ask(Admission),
        Result(Outcome, Option<Transition>),
    }
    use Step::{Ask, Result};

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + ms)
    }

    fn run(script: &[(i64, Step)]) -> Circuit {
        let mut circuit = Circuit::new(CircuitConfig::default());
        for (ms, step) in script {
            match step {
                Ask(admission) => assert_eq!(circuit.admit(at(*ms)), *admission, "at {ms} ms"),
                Result(outcome, transition) => {
                    assert_eq!(
                        circuit.on_result(at(*ms), *outcome),
                        *transition,
                        "at {ms} ms"
                    );
                }
            }
        }
        circuit
    }

    const fn no(retry_at_ms: i64) -> Admission {
        Admission::No {
            retry_at: Timestamp::from_millis(1_800_000_000_000 + retry_at_ms),
        }
    }

    /// Open since 0 ms.
    const OPENED: [(i64, Step); 5] = [
        (0, Result(Unreachable, None)),
        (0, Result(Unreachable, None)),
        (0, Result(Unreachable, None)),
        (0, Result(Unreachable, None)),
        (0, Result(Unreachable, Some(Transition::Opened))),
    ];

    #[test]
    fn five_failures_in_a_row_open_it_and_an_answer_in_between_starts_the_count_anew() {
        let interrupted = [
            &OPENED[..4],
            &[(0, Result(Answered, None))],
            &OPENED[..4],
            &[(1, Ask(Admission::Yes))],
        ];
        assert_eq!(run(&interrupted.concat()).state(), CircuitState::Closed);
        assert_eq!(run(&OPENED).state(), CircuitState::Open);
    }

    #[test]
    fn probes_go_out_one_at_a_time_after_1_2_4_and_4_seconds() {
        let script = [
            (999, Ask(no(1_000))),
            (1_000, Ask(Admission::Probe)),
            (1_000, Ask(no(11_000))),
            (1_500, Result(Unreachable, None)),
            (3_499, Ask(no(3_500))),
            (3_500, Ask(Admission::Probe)),
            (3_500, Result(Unreachable, None)),
            (7_499, Ask(no(7_500))),
            (7_500, Ask(Admission::Probe)),
            (7_500, Result(Unreachable, None)),
            (11_499, Ask(no(11_500))),
            (11_500, Ask(Admission::Probe)),
            (11_600, Result(Answered, Some(Transition::Closed))),
            (11_600, Ask(Admission::Yes)),
        ];
        assert_eq!(
            run(&[&OPENED[..], &script].concat()).state(),
            CircuitState::Closed
        );
    }

    #[test]
    fn a_lost_probe_frees_its_place_after_ten_seconds() {
        let script = [
            (1_000, Ask(Admission::Probe)),
            (10_999, Ask(no(11_000))),
            (11_000, Ask(Admission::Probe)),
            (11_000, Ask(no(21_000))),
        ];
        assert_eq!(
            run(&[&OPENED[..], &script].concat()).state(),
            CircuitState::HalfOpen
        );
    }

    #[test]
    fn late_results_of_older_calls_close_it_or_change_nothing() {
        let script = [
            (500, Result(Unreachable, None)),
            (999, Ask(no(1_000))),
            (999, Result(Answered, Some(Transition::Closed))),
            (999, Ask(Admission::Yes)),
        ];
        run(&[&OPENED[..], &script].concat());
    }

    #[test]
    fn a_clock_set_back_does_not_hold_calls_back() {
        run(&[&OPENED[..], &[(-3_600_000, Ask(Admission::Probe))]].concat());
    }

    #[test]
    fn zero_failures_to_open_count_as_one() {
        let mut circuit = Circuit::new(CircuitConfig {
            failures_to_open: 0,
            ..CircuitConfig::default()
        });
        assert_eq!(circuit.admit(at(0)), Admission::Yes);
        assert_eq!(
            circuit.on_result(at(0), Unreachable),
            Some(Transition::Opened)
        );
    }

    proptest! {
        #[test]
        fn whatever_happens_probes_are_alone_and_recovery_is_prompt(
            steps in prop::collection::vec((0_i64..6_000, prop::option::of(prop::bool::ANY)), 0..300),
        ) {
            let mut circuit = Circuit::new(CircuitConfig::default());
            let (mut now, mut probing_since, mut last) = (at(0), None, Transition::Closed);
            for (pause, answered) in steps {
                now = now + Duration::from_millis(pause.unsigned_abs());
                if let Some(answered) = answered {
                    probing_since = None;
                    let outcome = if answered { Answered } else { Unreachable };
                    if let Some(transition) = circuit.on_result(now, outcome) {
                        prop_assert_ne!(transition, last);
                        last = transition;
                    }
                    prop_assert!(!answered || circuit.state() == CircuitState::Closed);
                    continue;
                }
                let closed = circuit.state() == CircuitState::Closed;
                match circuit.admit(now) {
                    Admission::Yes => prop_assert!(closed),
                    Admission::Probe => {
                        let alone = probing_since.is_none_or(|since| now.since(since) >= PROBE_LOST_AFTER);
                        prop_assert!(alone && !closed);
                        probing_since = Some(now);
                    }
                    Admission::No { retry_at } => {
                        let longest = if probing_since.is_some() { 10_000 } else { 4_000 };
                        prop_assert!(!closed && retry_at > now);
                        prop_assert!(retry_at.since(now) <= Duration::from_millis(longest));
                        prop_assert_eq!(circuit.clone().admit(retry_at), Admission::Probe);
                    }
                }
                prop_assert_eq!(last == Transition::Closed, circuit.state() == CircuitState::Closed);
            }
        }
    }

    #[test]
    fn a_refused_key_opens_at_once_and_only_a_call_that_succeeds_closes() {
        let mut circuit = Circuit::new(CircuitConfig::default());
        assert_eq!(circuit.on_result(at(0), Outcome::NoRight), None);
        assert_eq!(
            circuit.on_result(at(0), Outcome::KeyRefused),
            Some(Transition::Opened)
        );
        assert_eq!(circuit.on_result(at(1), Outcome::NoRight), None);
        assert_eq!(circuit.admit(at(1_000)), Admission::Probe);
        assert_eq!(circuit.on_result(at(1_010), Outcome::NoRight), None);
        assert_eq!(circuit.state(), CircuitState::Open);
        assert_eq!(circuit.admit(at(2_010)), Admission::Probe);
        assert_eq!(circuit.on_result(at(2_020), Outcome::KeyRefused), None);
        assert_eq!(circuit.admit(at(4_020)), Admission::Probe);
        assert_eq!(
            circuit.on_result(at(4_030), Answered),
            Some(Transition::Closed)
        );
    }
}
