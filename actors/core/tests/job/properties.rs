//! What holds for any sequence of events, crashes among them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use downbeat_core::device::{DownlinkState, Reason};
use downbeat_core::job::{
    Counts, Effect, Event, Item, ItemState, Job, JobState, Known, Refusal, TakenUp,
};
use proptest::prelude::*;

use crate::support::{LIMITS, at, id, item, known, moved, new, waits};

/// Something that happens to a job of a few devices.
#[derive(Debug, Clone, Copy)]
enum Happening {
    /// A device does something with the command it was handed.
    Device(u32, u8),
    Pause,
    Resume,
    Cancel,
    /// Everything that is not stored is lost.
    Crash,
    Pass(i64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        20 => (0..12_u32, 0..10_u8).prop_map(|(seq, what)| Happening::Device(seq, what)),
        1 => Just(Happening::Pause),
        3 => Just(Happening::Resume),
        1 => Just(Happening::Cancel),
        2 => Just(Happening::Crash),
        4 => (0..30_i64).prop_map(Happening::Pass),
    ]
}

/// The world of one job: its store, and devices that take a command once.
struct World {
    job: Job,
    items: BTreeMap<u32, ItemState>,
    state: JobState,
    spent: Duration,
    /// What devices accepted, and where it is.
    commands: BTreeMap<u32, DownlinkState>,
    /// Handed over and not taken yet; lost in a crash.
    in_flight: BTreeSet<u32>,
    now: i64,
}

impl World {
    fn new(devices: u32) -> Self {
        let (job, effects) = Job::take_up(new(devices), LIMITS, at(0));
        let mut world = Self {
            job,
            items: (0..devices).map(|seq| (seq, ItemState::Waiting)).collect(),
            state: JobState::Running,
            spent: Duration::ZERO,
            commands: BTreeMap::new(),
            in_flight: BTreeSet::new(),
            now: 0,
        };
        world.perform(effects);
        world
    }

    fn step(&mut self, event: Event) {
        let effects = self.job.step(at(self.now), event);
        self.perform(effects);
    }

    /// Saves, then does the rest.
    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in &effects {
            match effect {
                Effect::Store(change) => {
                    let before = self.items.insert(change.seq, change.state);
                    let before = before.expect("items are there from the beginning");
                    let may = match before {
                        ItemState::Waiting => change.state == ItemState::UnderWay,
                        ItemState::UnderWay => change.state.is_over(),
                        ItemState::Unverified => change.state == ItemState::Verified,
                        ItemState::Verified
                        | ItemState::Sent
                        | ItemState::Failed
                        | ItemState::Superseded
                        | ItemState::Cancelled
                        | ItemState::Expired
                        | ItemState::Skipped => false,
                    };
                    assert!(may, "{before:?} becomes {:?}", change.state);
                }
                Effect::CancelWaiting => {
                    for state in self.items.values_mut() {
                        if *state == ItemState::Waiting {
                            *state = ItemState::Cancelled;
                        }
                    }
                }
                Effect::HandOver(_) | Effect::Withdraw(_) | Effect::Read { .. } => {}
            }
        }
        self.state = self.job.state();
        self.spent = self.job.spent(at(self.now));
        for effect in effects {
            match effect {
                Effect::HandOver(item) => {
                    assert_eq!(self.items[&item.seq], ItemState::UnderWay);
                    assert!(!self.commands.contains_key(&item.seq), "told twice");
                    assert!(self.in_flight.insert(item.seq), "handed over twice");
                }
                Effect::Withdraw(item) => {
                    if let Some(state) = self.commands.get_mut(&item.seq)
                        && !state.is_terminal()
                    {
                        *state = DownlinkState::Cancelled;
                        self.step(moved(item.seq, DownlinkState::Cancelled));
                    }
                }
                Effect::Read { after, limit } => {
                    let items = self.waiting_after(after).take(limit as usize).collect();
                    self.step(Event::Read(items));
                }
                Effect::Store(_) | Effect::CancelWaiting => {}
            }
        }
    }

    fn waiting_after(&self, after: Option<u32>) -> impl Iterator<Item = Item> {
        self.items
            .iter()
            .filter(move |(seq, state)| {
                **state == ItemState::Waiting && after.is_none_or(|after| **seq > after)
            })
            .map(|(seq, _)| item(*seq))
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Device(seq, what) => self.device_does(seq, what),
            Happening::Pause => self.step(Event::PauseRequested),
            Happening::Resume => self.step(Event::ResumeRequested),
            Happening::Cancel => self.step(Event::CancelRequested),
            Happening::Crash => self.crash(),
            Happening::Pass(seconds) => {
                self.now += seconds;
                self.step(Event::Elapsed);
            }
        }
    }

    fn device_does(&mut self, seq: u32, what: u8) {
        if self.in_flight.remove(&seq) {
            match what {
                0 => self.step(Event::Busy(id(seq))),
                1 => self.step(Event::Refused(id(seq), Refusal::Newer)),
                _ => {
                    self.commands.insert(seq, DownlinkState::Accepted);
                    self.step(Event::Accepted(id(seq)));
                }
            }
            return;
        }
        let Some(state) = self.commands.get(&seq).copied() else {
            return;
        };
        let next = match (state, what) {
            (DownlinkState::Unverified, 0) => DownlinkState::Verified,
            (state, _) if state.is_terminal() => return,
            (_, 0..=2) => return self.step(waits(seq, Reason::NoGateway)),
            (_, 3) => return self.step(waits(seq, Reason::Paced)),
            (_, 4 | 5) => DownlinkState::Transmitted,
            (_, 6) => DownlinkState::Unverified,
            (_, _) => DownlinkState::Verified,
        };
        self.commands.insert(seq, next);
        self.step(moved(seq, next));
    }

    fn crash(&mut self) {
        self.in_flight.clear();
        let mut counts = Counts::default();
        for state in self.items.values() {
            counts.add(*state, 1);
        }
        let in_state = |wanted: ItemState| {
            let items = self.items.iter();
            items
                .filter(move |(_, state)| **state == wanted)
                .map(|(seq, _)| *seq)
        };
        let under_way = in_state(ItemState::UnderWay).map(|seq| {
            let command = self.commands.get(&seq);
            let command: Option<Known> = command.map(|state| known(*state, None));
            (item(seq), at(self.now), command)
        });
        let stored = TakenUp {
            state: self.state,
            counts,
            spent: self.spent,
            under_way: under_way.collect(),
            unverified: in_state(ItemState::Unverified)
                .map(|seq| (seq, id(seq)))
                .collect(),
            ..new(0)
        };
        let (job, effects) = Job::take_up(stored, LIMITS, at(self.now));
        self.job = job;
        self.perform(effects);
    }

    fn check(&self) {
        let mut counts = Counts::default();
        for state in self.items.values() {
            counts.add(*state, 1);
        }
        assert_eq!(self.job.counts(), &counts, "counts are those of the store");
        let under_way = counts.get(ItemState::UnderWay);
        let out_of_reach = self.job.out_of_reach();
        let most = LIMITS.in_reach_max + LIMITS.out_of_reach_max;
        assert!(under_way <= u64::try_from(most).expect("it is a handful"));
        assert!(out_of_reach <= under_way);
        let is_over = !self.job.state().is_open() && counts.open() == 0;
        assert_eq!(self.job.is_over(), is_over);
        if counts.open() == 0 {
            assert!(!self.job.state().is_open(), "nothing is left to be resumed");
        }
    }
}

proptest! {
    #[test]
    fn nobody_is_told_twice_nobody_forgotten(happenings in proptest::collection::vec(happening(), 0..400)) {
        let mut world = World::new(12);
        for happening in happenings {
            world.happens(happening);
            world.check();
        }
        // Left alone, it comes to its end, whatever happened before.
        world.happens(Happening::Resume);
        for _ in 0..100 {
            (0..12).for_each(|seq| world.device_does(seq, 9));
            world.happens(Happening::Pass(60));
            world.check();
        }
        prop_assert!(world.job.is_over(), "{:?}", world.items);
        for (seq, command) in &world.commands {
            prop_assert_eq!(world.items[seq], ItemState::of(*command));
        }
    }
}
