//! The future: what happens when, in the order of time and then of planning.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use downbeat_core::time::Timestamp;

/// Plans of one kind. The heap holds numbers alone, because it moves what it holds again and again.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    order: BinaryHeap<Reverse<(Timestamp, u64, usize)>>,
    plans: Vec<Option<T>>,
    free: Vec<usize>,
    count: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self {
            order: BinaryHeap::new(),
            plans: Vec::new(),
            free: Vec::new(),
            count: 0,
        }
    }
}

impl<T> Agenda<T> {
    pub(crate) fn plan(&mut self, at: Timestamp, plan: T) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.plans.push(None);
            self.plans.len() - 1
        });
        self.plans[place] = Some(plan);
        self.count += 1;
        self.order.push(Reverse((at, self.count, place)));
    }

    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        self.order.peek().map(|Reverse((at, ..))| *at)
    }

    /// The next plan, if its time has come.
    pub(crate) fn next_until(&mut self, now: Timestamp) -> Option<T> {
        if self.next_at()? > now {
            return None;
        }
        let Reverse((_, _, place)) = self.order.pop()?;
        self.free.push(place);
        self.plans[place].take()
    }
}
