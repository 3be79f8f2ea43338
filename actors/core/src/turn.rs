//! Whose turn it is to occupy ChirpStack's queue and the air.
//!
//! ChirpStack's scheduler takes up a hundred devices a run, in `DevEUI` order, and items that cannot be transmitted
//! stay: a hundred stuck ones would starve all others. So at most [`TurnLimits::held_max`] devices hold an item of ours
//! that is not transmitted yet; the rest wait here, by priority and then by age. Turns are also spaced in time: a
//! gateway that sends hears no answers (chirpstack-observed.md §10), so handing everything over at once would lose them.
//! While the network server does not answer, nobody gets a turn.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::device::Priority;
use crate::id::DevEui;
use crate::time::Timestamp;

/// How many turns there are at a time, and how close they follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnLimits {
    /// Devices that may hold a turn at once.
    pub held_max: usize,
    /// A turn that nobody gave back is taken back after this.
    pub lease: Duration,
}

impl Default for TurnLimits {
    fn default() -> Self {
        Self {
            held_max: 80,
            lease: Duration::from_mins(30),
        }
    }
}

/// Who holds a turn and who waits for one.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    limits: TurnLimits,
    held: BTreeMap<DevEui, Timestamp>,
    waiting: BTreeSet<(Priority, u64, DevEui)>,
    asked: BTreeMap<DevEui, (Priority, u64)>,
    next_ticket: u64,
    closed: bool,
    spacing: Duration,
    next_at: Option<Timestamp>,
}

impl Turns {
    /// Nobody holds a turn, nobody waits.
    pub fn new(limits: TurnLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// A device wants a turn. Asking again changes only its priority; one that asks holds none any more, whatever was
    /// known of it (it may have been started anew).
    pub fn ask(&mut self, device: DevEui, priority: Priority) {
        self.held.remove(&device);
        let ticket = if let Some(asked) = self.asked.get(&device) {
            self.waiting.remove(&(asked.0, asked.1, device));
            asked.1
        } else {
            self.next_ticket += 1;
            self.next_ticket
        };
        self.asked.insert(device, (priority, ticket));
        self.waiting.insert((priority, ticket, device));
    }

    /// A device has an item in the queue from before a restart: it holds a turn whether there is one or not.
    pub fn hold(&mut self, now: Timestamp, device: DevEui) {
        self.withdraw(device);
        self.held.insert(device, now);
    }

    /// A device gives its turn back, or no longer wants one.
    pub fn end(&mut self, device: DevEui) {
        self.held.remove(&device);
        self.withdraw(device);
    }

    /// Turns are given out at least so far apart.
    pub fn set_spacing(&mut self, spacing: Duration) {
        self.spacing = spacing;
    }

    /// While closed, nobody gets a turn.
    pub fn set_closed(&mut self, closed: bool) {
        self.closed = closed;
    }

    /// Gives out the turns that can be given now.
    pub fn grant(&mut self, now: Timestamp) -> Vec<DevEui> {
        self.held
            .retain(|_, since| now.since(*since) < self.limits.lease);
        let mut granted = Vec::new();
        while !self.closed
            && self.held.len() < self.limits.held_max
            && self.next_at.is_none_or(|next_at| next_at <= now)
        {
            let Some((_, _, device)) = self.waiting.pop_first() else {
                break;
            };
            self.asked.remove(&device);
            self.held.insert(device, now);
            self.next_at = Some(now + self.spacing);
            granted.push(device);
        }
        granted
    }

    /// When to ask [`Turns::grant`] again, if nothing happens before.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let can_grant =
            !self.closed && !self.waiting.is_empty() && self.held.len() < self.limits.held_max;
        let first_lease = self
            .held
            .values()
            .min()
            .map(|since| *since + self.limits.lease);
        if can_grant {
            self.next_at
        } else {
            first_lease.filter(|_| !self.waiting.is_empty())
        }
    }

    /// How many hold a turn, and how many wait.
    pub fn counts(&self) -> (usize, usize) {
        (self.held.len(), self.waiting.len())
    }

    fn withdraw(&mut self, device: DevEui) {
        if let Some((priority, ticket)) = self.asked.remove(&device) {
            self.waiting.remove(&(priority, ticket, device));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn device(number: u64) -> DevEui {
        DevEui::from_u64(number)
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn the_urgent_come_first_and_then_the_early() {
        let mut turns = Turns::new(TurnLimits {
            held_max: 1,
            ..TurnLimits::default()
        });
        turns.ask(device(1), Priority::Reconcile);
        turns.ask(device(2), Priority::Interactive);
        turns.ask(device(3), Priority::Interactive);
        let mut order = Vec::new();
        for second in 0..3 {
            let granted = turns.grant(at(second * 1000));
            order.extend(granted.iter().copied());
            for device in granted {
                turns.end(device);
            }
        }
        assert_eq!(order, [device(2), device(3), device(1)]);
    }

    #[test]
    fn turns_are_spaced_and_none_is_given_while_closed() {
        let mut turns = Turns::new(TurnLimits::default());
        turns.set_spacing(Duration::from_millis(100));
        (0..3).for_each(|number| turns.ask(device(number), Priority::Interactive));
        turns.set_closed(true);
        assert_eq!(turns.grant(at(0)), []);
        turns.set_closed(false);
        assert_eq!(turns.grant(at(0)), [device(0)]);
        assert_eq!(turns.grant(at(99)), []);
        assert_eq!(turns.next_wake(), Some(at(100)));
        assert_eq!(turns.grant(at(100)), [device(1)]);
    }

    #[test]
    fn a_turn_that_is_never_given_back_is_taken_back() {
        let limits = TurnLimits {
            held_max: 1,
            lease: Duration::from_mins(1),
        };
        let mut turns = Turns::new(limits);
        turns.hold(at(0), device(1));
        turns.ask(device(2), Priority::Interactive);
        assert_eq!(turns.grant(at(59_999)), []);
        assert_eq!(turns.next_wake(), Some(at(60_000)));
        assert_eq!(turns.grant(at(60_000)), [device(2)]);
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_and_nobody_is_forgotten(steps in proptest::collection::vec((0..3_u8, 0..20_u64), 1..200)) {
            let mut turns = Turns::new(TurnLimits { held_max: 5, ..TurnLimits::default() });
            let mut wanting = BTreeSet::new();
            let mut holding = BTreeSet::new();
            for (number, (kind, who)) in steps.into_iter().enumerate() {
                holding.remove(&who);
                if kind == 0 {
                    turns.ask(device(who), Priority::Interactive);
                    wanting.insert(who);
                } else {
                    turns.end(device(who));
                    wanting.remove(&who);
                }
                for granted in turns.grant(at(i64::try_from(number).unwrap())) {
                    prop_assert!(wanting.remove(&granted.as_u64()));
                    holding.insert(granted.as_u64());
                }
                prop_assert!(holding.len() <= 5);
                prop_assert!(holding.len() == 5 || wanting.is_empty());
                prop_assert_eq!(turns.counts(), (holding.len(), wanting.len()));
            }
        }
    }
}
