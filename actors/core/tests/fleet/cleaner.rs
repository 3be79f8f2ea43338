//! Looks into the queues of devices that no gateway reaches, and flushes or reports what is stuck there.

use std::time::Duration;

use downbeat_core::id::QueueItemId;
use downbeat_core::network::QueueItem;
use downbeat_core::queue_cleaner::{
    Candidate, CleanerConfig, CleanerVerdict, FoundItem, QueueCleaner,
};

use crate::tally::Count;
use crate::world::{Planned, World, slot_of};

/// Between two rounds.
const PERIOD: Duration = Duration::from_mins(5);
/// Between two looks: commands come first.
const PAUSE: Duration = Duration::from_millis(500);

/// The cleaner of one process.
#[derive(Debug)]
pub(crate) struct Cleaner {
    machine: QueueCleaner,
    looks: usize,
}

impl Default for Cleaner {
    fn default() -> Self {
        Self {
            machine: QueueCleaner::new(CleanerConfig::default()),
            looks: 0,
        }
    }
}

impl World {
    pub(crate) fn on_cleaner_round(&mut self) {
        self.plan_mine(self.now + PERIOD, Planned::CleanerRound);
        if self.cleaner.looks > 0 {
            return;
        }
        let owners = self.monitor.out_of_reach();
        let candidates: Vec<Candidate> = owners
            .into_iter()
            .map(|owner| {
                let actor = self.slots[slot_of(owner.dev_eui)].actor.as_ref();
                Candidate {
                    owner,
                    holds_ours: actor.is_some_and(|actor| !actor.machine.is_idle()),
                }
            })
            .collect();
        let looks = self.cleaner.machine.plan(self.clock(), &candidates);
        self.cleaner.looks = looks.len();
        for (number, dev_eui) in (1..).zip(looks) {
            let at = self.now + PAUSE.saturating_mul(number);
            self.plan_mine(at, Planned::CleanerLooks(slot_of(dev_eui)));
        }
    }

    pub(crate) fn on_cleaner_looks(&mut self, slot: usize) {
        if !self.look_into_queue_of(slot) {
            self.end_look();
        }
    }

    /// What fails is left for the next round.
    pub(crate) fn end_look(&mut self) {
        self.cleaner.looks = self.cleaner.looks.saturating_sub(1);
    }

    /// What is in a device's queue, and whose that is: at most one item is ours, and its machine knows it.
    pub(crate) fn on_queue_looked_at(&mut self, slot: usize, items: Vec<QueueItem>) {
        self.end_look();
        let clock = self.clock();
        let entry = &self.slots[slot];
        let owns = |item: &QueueItem| {
            let actor = entry.actor.as_ref();
            actor.is_some_and(|actor| actor.machine.owns(item))
        };
        let seen: Vec<QueueItemId> = items.iter().map(|item| item.id).collect();
        let found: Vec<FoundItem> = items
            .into_iter()
            .map(|item| FoundItem {
                is_ours: owns(&item),
                item,
            })
            .collect();
        match self.cleaner.machine.looked(clock, entry.dev_eui, &found) {
            CleanerVerdict::Leave => {}
            CleanerVerdict::Report(finding) => {
                self.tally.count(Count::QueueFindings);
                self.telling
                    .of(self.now, slot, "cleaner", || format!("{finding:?}"));
                let foreign = found
                    .iter()
                    .filter(|found| !entry_is_ours(self, slot, found));
                let foreign = u32::try_from(foreign.count()).expect("a few");
                if finding.foreign_items < foreign {
                    let what = format!("{finding:?} has {foreign} items of others");
                    self.check(Err(format!("device {slot}: {what}")));
                }
            }
            CleanerVerdict::Flush => {
                // The last look before it is done: a gateway may have come in this very second.
                if self.monitor.is_out_of_reach(self.slots[slot].dev_eui) {
                    self.flush_queue_of(slot, seen);
                }
            }
        }
    }

    /// ChirpStack is about to delete all that is in a queue: nothing that is another's, or waits to be acknowledged. What
    /// came in since the look is nobody's to know.
    pub(crate) fn check_flush(&mut self, slot: usize, seen: &[QueueItemId]) {
        let entry = &self.slots[slot];
        let queue = self.network.queue(entry.dev_eui).unwrap_or_default();
        let lost = queue.iter().find(|item| {
            seen.contains(&item.id) && (item.is_pending || !entry.promises.is_ours(item.id))
        });
        if let Some(item) = lost {
            let id = item.id;
            self.check(Err(format!("device {slot}: {id} is flushed")));
        }
    }

    pub(crate) fn on_queue_flushed(&mut self, slot: usize) {
        let dev_eui = self.slots[slot].dev_eui;
        self.cleaner.machine.flushed(dev_eui);
    }
}

fn entry_is_ours(world: &World, slot: usize, found: &FoundItem) -> bool {
    world.slots[slot].promises.is_ours(found.item.id)
}
