//! How fast commands can be at best, where ChirpStack draws the gateways by lot and answers have to be heard.
//!
//! The mere airtime of `n` frames on `g` gateways, `n·f/g`, is out of reach twice over: while all gateways send, nobody
//! hears an answer; and nobody chooses which gateway sends. ChirpStack hands over once a [`RUN`] all that is due, each
//! frame to a gateway drawn by lot, and all of them begin in that instant. So two frames may stand in line at one
//! gateway while another is silent, and whether an answer is heard is a matter of chance.
//!
//! What remains to be chosen is how many frames are due at each run. The best that can be done with that is a Markov
//! decision process: the state is how many frames each gateway was handed at the last run (the tx-acks tell), the
//! action how many are due at the next one, the reward a frame, less a price for each answer that is expected to be
//! lost. Relative value iteration solves it; a higher price means fewer frames and fewer lost answers, and between two
//! of these policies one may take turns. That gives the least time for commands of which no more than a given share
//! is lost. It is the optimum of a sender that knows all but which answers have come already; knowing that too is
//! worth little (less than 2 %), because most of them come within the run.
//!
//! All gateways hear all devices; the lamps answer 100 to 500 ms after the frame, any time alike, as in the model.

use std::collections::BTreeMap;
use std::time::Duration;

use downbeat_core::radio::{Direction, Modulation};

/// ChirpStack's scheduler: its interval and what a run takes.
const RUN: f64 = 1.006;
/// From a run to the first symbol.
const START: f64 = 0.02;
/// From the end of a frame to the answer.
const REACTION: (f64, f64) = (0.1, 0.5);
/// Prices of a lost answer, in frames.
const PRICES: [f64; 12] = [
    4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 16.0, 20.0, 30.0, 60.0, 1_000.0,
];
/// Value iterations; the values settle within some dozens.
const ITERATIONS: usize = 150;

/// Frames that each gateway is handed at a run.
type Lots = Vec<usize>;

/// Frames and lost answers of a policy, in a run on average.
#[derive(Debug, Clone, Copy)]
struct Rates {
    frames: f64,
    lost: f64,
}

/// What the best policies yield among so many gateways.
#[derive(Debug)]
pub(crate) struct Optimum {
    gateways: usize,
    /// With the price, from many frames and losses to few.
    rates: Vec<Rates>,
}

/// A colour's frame at SF9.
fn frame() -> f64 {
    let frame = Modulation::lora_125(9).time_on_air(5, Direction::Down);
    frame.as_secs_f64()
}

/// A status at SF7.
fn answer() -> f64 {
    let answer = Modulation::lora_125(7).time_on_air(24, Direction::Up);
    answer.as_secs_f64()
}

impl Optimum {
    pub(crate) fn among(gateways: usize) -> Self {
        // More frames at once than this lose so many answers that no price worth looking at pays for them.
        let process = Process::new(gateways, 2 * gateways + 2);
        Self {
            gateways,
            rates: PRICES.map(|price| process.solve(price)).to_vec(),
        }
    }

    /// The least time from the wish to the last lamp that shows it, if at most this share of the answers is lost.
    pub(crate) fn time(&self, commands: u32, lost_share: f64) -> Duration {
        let allowed = |it: &&Rates| it.lost <= it.frames * lost_share + 1e-9;
        let within = self.rates.iter().filter(allowed);
        let best = within.map(|it| it.frames).fold(0.0, f64::max);
        // Taking turns with a policy that loses more, just so often.
        let mixed = self.rates.iter().flat_map(|less| {
            self.rates.iter().filter_map(move |more| {
                let spare = less.frames * lost_share - less.lost;
                let excess = more.lost - more.frames * lost_share;
                let part = spare / (spare + excess);
                (spare >= 0.0 && excess > 0.0)
                    .then_some(less.frames + (more.frames - less.frames) * part)
            })
        });
        let frames = mixed.fold(best, f64::max);
        Duration::from_secs_f64(f64::from(commands) / frames * RUN)
    }

    /// The same if no answer mattered, and lots fell evenly.
    pub(crate) fn airtime_alone(&self, commands: u32) -> Duration {
        let gateways = u32::try_from(self.gateways).expect("a few gateways");
        Duration::from_secs_f64(frame()) * commands / gateways
    }
}

/// All that does not depend on the price.
struct Process {
    states: Vec<Lots>,
    /// By frames at a run: which state comes, with which probability.
    next: Vec<Vec<(usize, f64)>>,
    /// By state and frames at the next run: answers to the last run's frames that are expected to be lost.
    lost: Vec<Vec<f64>>,
}

impl Process {
    fn new(gateways: usize, frames_max: usize) -> Self {
        let fallen: Vec<Vec<(Lots, f64)>> = (0..=frames_max)
            .map(|frames| fall(frames, gateways))
            .collect();
        let mut numbers = BTreeMap::new();
        for (lots, _) in fallen.iter().flatten() {
            let number = numbers.len();
            numbers.entry(sorted(lots)).or_insert(number);
        }
        let mut states = vec![Vec::new(); numbers.len()];
        for (lots, number) in &numbers {
            states[*number].clone_from(lots);
        }
        let next = fallen.iter().map(|fallen| {
            let mut next = BTreeMap::new();
            for (lots, probability) in fallen {
                *next.entry(numbers[&sorted(lots)]).or_insert(0.0) += probability;
            }
            next.into_iter().collect()
        });
        let lost_if = |state: &Lots, fallen: &[(Lots, f64)]| {
            let lost = fallen
                .iter()
                .map(|(lots, probability)| probability * lost(state, lots));
            lost.sum()
        };
        Self {
            next: next.collect(),
            lost: states
                .iter()
                .map(|state| fallen.iter().map(|fallen| lost_if(state, fallen)).collect())
                .collect(),
            states,
        }
    }

    /// The best policy where a lost answer costs so many frames.
    fn solve(&self, price: f64) -> Rates {
        let mut values = vec![0.0; self.states.len()];
        let mut policy = vec![0; self.states.len()];
        for _ in 0..ITERATIONS {
            let ahead = self.expected(&values);
            for state in 0..self.states.len() {
                let gains = self.lost[state].iter().zip(&ahead).enumerate();
                let gains = gains
                    .map(|(frames, (lost, ahead))| (frames, count(frames) - price * lost + ahead));
                let best = gains.max_by(|one, other| one.1.total_cmp(&other.1));
                (policy[state], values[state]) = best.expect("some number of frames");
            }
            let level = values[0];
            for value in &mut values {
                *value -= level;
            }
        }
        self.rates(&policy)
    }

    /// The value to be expected after so many frames at a run.
    fn expected(&self, values: &[f64]) -> Vec<f64> {
        let next = self.next.iter();
        let expected = next.map(|next| next.iter().map(|(state, p)| p * values[*state]).sum());
        expected.collect()
    }

    /// What a policy yields in the long run.
    fn rates(&self, policy: &[usize]) -> Rates {
        let mut share = vec![0.0; self.states.len()];
        share[0] = 1.0;
        let mut sums = Rates {
            frames: 0.0,
            lost: 0.0,
        };
        for iteration in 0..2 * ITERATIONS {
            let mut after = vec![0.0; self.states.len()];
            for (state, probability) in share.iter().enumerate() {
                let frames = policy[state];
                if iteration >= ITERATIONS {
                    sums.frames += probability * count(frames) / count(ITERATIONS);
                    sums.lost += probability * self.lost[state][frames] / count(ITERATIONS);
                }
                for (next, p) in &self.next[frames] {
                    after[*next] += probability * p;
                }
            }
            share = after;
        }
        sums
    }
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).expect("a small number"))
}

fn sorted(lots: &Lots) -> Lots {
    let mut sorted = lots.clone();
    sorted.sort_unstable();
    sorted
}

/// All ways in which frames fall on gateways, with their probabilities.
fn fall(frames: usize, gateways: usize) -> Vec<(Lots, f64)> {
    let mut fallen: BTreeMap<Lots, f64> = BTreeMap::from([(vec![0; gateways], 1.0)]);
    for _ in 0..frames {
        let mut next = BTreeMap::new();
        for (lots, probability) in fallen {
            for gateway in 0..gateways {
                let mut lots = lots.clone();
                lots[gateway] += 1;
                *next.entry(lots).or_insert(0.0) += probability / count(gateways);
            }
        }
        fallen = next;
    }
    fallen.into_iter().collect()
}

/// Answers to a run's frames that are expected to be lost, if the next run's lots fall so.
fn lost(lots: &Lots, next: &Lots) -> f64 {
    let sends = |from: f64, frames: usize| (from, from + count(frames) * frame());
    let deaf: Vec<[(f64, f64); 2]> = lots
        .iter()
        .zip(next)
        .map(|(frames, next)| [sends(START, *frames), sends(RUN + START, *next)])
        .collect();
    let mut sum = 0.0;
    for frames in lots {
        for number in 1..=*frames {
            let ends = START + count(number) * frame();
            sum += lost_share(ends, &deaf);
        }
    }
    sum
}

/// The probability that all gateways send at some instant of the answer to a frame that ends then.
fn lost_share(ends: f64, deaf: &[[(f64, f64); 2]]) -> f64 {
    let window = (ends + REACTION.0, ends + REACTION.1);
    let mut beginnings = vec![window];
    for intervals in deaf {
        let cut = |(from, to): &(f64, f64)| {
            intervals
                .iter()
                .filter(|(begins, ends)| ends > begins)
                .map(|(begins, ends)| (from.max(begins - answer()), to.min(*ends)))
                .filter(|(from, to)| to > from)
                .collect::<Vec<_>>()
        };
        beginnings = beginnings.iter().flat_map(cut).collect();
    }
    beginnings.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut sum, mut until) = (0.0, f64::NEG_INFINITY);
    for (from, to) in beginnings {
        sum += (to - from.max(until)).max(0.0);
        until = until.max(to);
    }
    sum / (REACTION.1 - REACTION.0)
}

/// One gateway: a frame a run, since with two the first answer is drowned by the second frame now and then. Three: the
/// figures that the documentation names.
#[test]
fn the_optimum_is_what_it_is_said_to_be() {
    for (gateways, lost_share, seconds) in [(1, 0.0, 301.8), (3, 0.0, 78.6), (3, 0.01, 65.3)] {
        let time = Optimum::among(gateways).time(300, lost_share).as_secs_f64();
        assert!(
            (time - seconds).abs() < 0.5,
            "{gateways} {lost_share}: {time}"
        );
    }
}
