//! What happens to a world: made from the seed before it begins, so that a change of the machine leaves it alone.

use std::time::Duration;

use downbeat_core::random::Random;
use downbeat_core::time::Timestamp;

/// When every world begins.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);

/// Everything that the seed decides beforehand.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// `DevEUI`s that the registry may want.
    pub(crate) slots: usize,
    pub(crate) calls: CallFaults,
    /// Probability that a step is the last one of a process.
    pub(crate) crash: f64,
    /// Looks are made before the machine is stored; answers of an earlier life then never arrive.
    pub(crate) early_looks: bool,
    /// Calls wait while the server is away; otherwise they are made and fail.
    pub(crate) holds_calls: bool,
    /// Calls that were not begun are taken back when a newer wish comes.
    pub(crate) takes_back_calls: bool,
    /// Until when anything goes wrong.
    pub(crate) faults_end: Timestamp,
    pub(crate) happenings: Vec<(Timestamp, Happening)>,
}

/// How ChirpStack's API answers as long as faults last.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CallFaults {
    pub(crate) unavailable: f64,
    pub(crate) refused: f64,
    pub(crate) unauthenticated: f64,
    pub(crate) slow: f64,
    pub(crate) answer_lost: f64,
    /// An answer arrives a second time, later.
    pub(crate) repeated: f64,
}

/// One thing that happens to the world or is asked of us. Slots by their index; `u64`s are decided with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Happening {
    Wish(usize, WishChange, u64),
    Others(usize, OthersDeed, u64),
    ServerStops(Duration),
    /// Milliseconds.
    ClockIsSet(i64),
    /// One actor ends and starts anew; the process goes on.
    ActorRestarts(usize),
}

/// What the registry's people do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WishChange {
    Register,
    Rename,
    RenameToInvalid,
    Describe,
    Retag,
    Move,
    ChangeProfile,
    ChangeJoinEui,
    ChangeKey,
    Delete,
    LookAgain,
    Force,
}

/// What other people do with the same `DevEUI`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OthersDeed {
    /// Register a device of theirs.
    Register,
    /// Keep a tag, a variable or a switch of theirs.
    Mark,
    /// Change a field that is ours.
    Drift,
    /// Remove the owner's tag.
    Disown,
    /// Delete whatever is there.
    Delete,
    /// Delete what is there and register theirs.
    TakeOver,
}

impl Scenario {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::from_seed(seed);
        let slots = 1 + pick(&mut random, 5);
        let seconds = 40 + random.below(140);
        let with_others = random.chance(0.7);
        let mut scenario = Self {
            slots,
            calls: CallFaults {
                unavailable: at_times(&mut random, 0.3),
                refused: at_times(&mut random, 0.3),
                unauthenticated: at_times(&mut random, 0.1),
                slow: at_times(&mut random, 0.5),
                answer_lost: at_times(&mut random, 0.5),
                repeated: at_times(&mut random, 0.2),
            },
            crash: at_times(&mut random, 0.05),
            early_looks: random.chance(0.5),
            holds_calls: random.chance(0.5),
            takes_back_calls: random.chance(0.5),
            faults_end: START + Duration::from_secs(seconds),
            happenings: Vec::new(),
        };
        let millis = seconds * 1000;
        for slot in 0..slots {
            for _ in 0..2 + random.below(1 + seconds / 5) {
                let at = instant(&mut random, millis);
                let wish = Happening::Wish(slot, wish_change(&mut random), random.next_u64());
                scenario.happenings.push((at, wish));
            }
            for _ in 0..random.below(1 + seconds / 12) {
                let at = instant(&mut random, millis);
                let deed = Happening::Others(slot, others_deed(&mut random), random.next_u64());
                if with_others {
                    scenario.happenings.push((at, deed));
                }
            }
            if random.chance(0.3) {
                let at = instant(&mut random, millis);
                scenario
                    .happenings
                    .push((at, Happening::ActorRestarts(slot)));
            }
        }
        for _ in 0..random.below(4) {
            let at = instant(&mut random, millis);
            let outage = Duration::from_millis(100 + random.below(40_000));
            scenario
                .happenings
                .push((at, Happening::ServerStops(outage)));
        }
        for _ in 0..random.below(3) {
            let at = instant(&mut random, millis);
            let step = i64::try_from(random.below(7_200_000)).expect("two hours") - 3_600_000;
            scenario.happenings.push((at, Happening::ClockIsSet(step)));
        }
        scenario
    }
}

/// In half of the worlds never; in the others with some probability.
fn at_times(random: &mut Random, most: f64) -> f64 {
    if random.chance(0.5) {
        random.unit() * most
    } else {
        0.0
    }
}

fn instant(random: &mut Random, millis: u64) -> Timestamp {
    START + Duration::from_millis(random.below(millis))
}

pub(crate) fn pick(random: &mut Random, bound: usize) -> usize {
    let bound = u64::try_from(bound).expect("a small number");
    usize::try_from(random.below(bound)).expect("a small number")
}

fn wish_change(random: &mut Random) -> WishChange {
    const CHANGES: [WishChange; 19] = [
        WishChange::Register,
        WishChange::Register,
        WishChange::Register,
        WishChange::Register,
        WishChange::Register,
        WishChange::Rename,
        WishChange::Rename,
        WishChange::RenameToInvalid,
        WishChange::Describe,
        WishChange::Retag,
        WishChange::Retag,
        WishChange::Move,
        WishChange::ChangeProfile,
        WishChange::ChangeJoinEui,
        WishChange::ChangeKey,
        WishChange::Delete,
        WishChange::Delete,
        WishChange::LookAgain,
        WishChange::Force,
    ];
    CHANGES[pick(random, CHANGES.len())]
}

fn others_deed(random: &mut Random) -> OthersDeed {
    const DEEDS: [OthersDeed; 10] = [
        OthersDeed::Register,
        OthersDeed::Register,
        OthersDeed::Mark,
        OthersDeed::Mark,
        OthersDeed::Mark,
        OthersDeed::Drift,
        OthersDeed::Drift,
        OthersDeed::Disown,
        OthersDeed::Delete,
        OthersDeed::TakeOver,
    ];
    DEEDS[pick(random, DEEDS.len())]
}
