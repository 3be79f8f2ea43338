//! The one that writes devices' states: while one transaction is under way, changes gather for the next.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use downbeat_core::device::{Device, DownlinkState, Effect, Record, Step};
use downbeat_core::pacer::{SentBefore, SentLately, SilentItem};
use downbeat_core::time::Timestamp;

use crate::tally::Count;
use crate::world::{Planned, World};

/// Changes in one transaction at the most.
const BATCH_MAX: usize = 500;
/// A database that is busy for a moment is asked again this often before the changes are given up.
const TRIES: u32 = 4;
/// Pause before the second try, doubled for each further one.
const PAUSE: Duration = Duration::from_millis(50);

/// A device's change.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) slot: usize,
    /// The registry's row that it belongs to.
    pub(crate) row: u32,
    /// The actor that wrote it, and its step.
    pub(crate) life: u32,
    pub(crate) seq: u64,
    pub(crate) state: Rc<Device>,
    pub(crate) unfinished: bool,
    /// Records among them are stored.
    pub(crate) effects: Rc<Vec<Effect>>,
    /// By the world's time.
    pub(crate) written_at: Timestamp,
    /// By the process's clock.
    pub(crate) stamped_at: Timestamp,
    /// A frame that a gateway took.
    pub(crate) sent: Option<SentBefore>,
}

/// What is to be stored.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    gathered: VecDeque<Write>,
    batch: Vec<Write>,
    tries: u32,
    /// The batch is stored, though its answer was lost.
    is_stored: bool,
    /// Actors of which a change was given up and that do not know it yet: nothing of theirs is stored any more.
    failed: BTreeSet<(usize, u32)>,
}

/// Frames that gateways took, and items without a word of it, as the store keeps them.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    frames: Vec<SentBefore>,
    /// With the time under which each is kept.
    items: Vec<(Timestamp, SilentItem)>,
}

impl Kept {
    pub(crate) fn since(&self, since: Timestamp) -> SentLately {
        let frames = self.frames.iter().filter(|frame| frame.at >= since);
        let items = self.items.iter().filter(|(at, _)| *at >= since);
        SentLately {
            frames: frames.copied().collect(),
            items: items.map(|(_, item)| item.clone()).collect(),
        }
    }
}

/// As long as our key is not taken, commands wait: none fails for it. What was answered before may still be written down.
fn check_key(
    record: &Record,
    refused_since: Option<Timestamp>,
    written_at: Timestamp,
) -> Result<(), String> {
    let is_refused =
        refused_since.is_some_and(|since| written_at >= since + Duration::from_secs(10));
    let Step::Ended {
        state: DownlinkState::Failed,
        reason,
    } = &record.entry.step
    else {
        return Ok(());
    };
    if is_refused {
        let id = record.downlink.id;
        return Err(format!(
            "{id} failed ({reason:?}) while the key was not taken"
        ));
    }
    Ok(())
}

fn silent_items(write: &Write) -> impl Iterator<Item = (Timestamp, SilentItem)> {
    write.effects.iter().filter_map(|effect| {
        if let Effect::Silence(item) = effect {
            Some((write.stamped_at, item.as_ref().clone()))
        } else {
            None
        }
    })
}

impl World {
    pub(crate) fn write(&mut self, write: Write) {
        if !self.writer.failed.contains(&(write.slot, write.life)) {
            self.writer.gathered.push_back(write);
            self.begin_commit();
        }
    }

    fn begin_commit(&mut self) {
        let writer = &mut self.writer;
        if !writer.batch.is_empty() || writer.gathered.is_empty() {
            return;
        }
        let many = writer.gathered.len().min(BATCH_MAX);
        writer.batch.extend(writer.gathered.drain(..many));
        (writer.tries, writer.is_stored) = (1, false);
        let at = self.now + self.commit_time();
        self.plan_mine(at, Planned::CommitEnds);
    }

    pub(crate) fn commit_time(&mut self) -> Duration {
        let is_slow = self.random.chance(self.store.slow);
        let most = if is_slow { 3_000 } else { 8 };
        Duration::from_millis(1 + self.random.below(most))
    }

    pub(crate) fn on_commit_ends(&mut self) {
        if self.dies() {
            return;
        }
        let fails = !self.database_up || self.random.chance(self.store.fails);
        let is_doubtful = !fails && self.random.chance(self.store.answer_lost);
        if !fails {
            self.store_batch();
        }
        if !fails && !is_doubtful {
            return self.on_batch_stored();
        }
        if is_doubtful {
            self.tally.count(Count::DoubtfulCommits);
        }
        if self.writer.tries < TRIES {
            let pause = PAUSE * (1 << (self.writer.tries - 1));
            self.writer.tries += 1;
            let at = self.now + pause + self.commit_time();
            self.plan_mine(at, Planned::CommitEnds);
            return;
        }
        self.tally.count(Count::FailedCommits);
        self.telling.all(self.now, "store", || "a commit failed");
        let writer = &mut self.writer;
        let devices: BTreeSet<(usize, u32)> = writer
            .batch
            .drain(..)
            .map(|write| (write.slot, write.life))
            .collect();
        writer.failed.extend(&devices);
        let failed = &writer.failed;
        writer
            .gathered
            .retain(|write| !failed.contains(&(write.slot, write.life)));
        for (slot, life) in devices {
            let at = self.mail_at(self.now);
            self.plan_mine(at, Planned::CommitFailed { slot, life });
        }
        self.begin_commit();
    }

    /// An actor that was told of a failed commit has ended.
    pub(crate) fn forget_failed(&mut self, slot: usize, life: u32) {
        self.writer.failed.remove(&(slot, life));
    }

    /// One transaction. Carrying it out a second time changes nothing.
    pub(crate) fn store_batch(&mut self) {
        if std::mem::replace(&mut self.writer.is_stored, true) {
            return;
        }
        self.tally.count(Count::Commits);
        for write in &self.writer.batch {
            let slot = &mut self.slots[write.slot];
            // The state of a device that is not registered so any more would come back with the next one.
            let Some(row) = slot.row.as_mut().filter(|row| row.number == write.row) else {
                continue;
            };
            self.kept.frames.extend(write.sent);
            self.kept.items.extend(silent_items(write));
            row.state = Some(Rc::clone(&write.state));
            row.unfinished = write.unfinished;
            let light = self.network.light(slot.dev_eui).expect("a known lamp");
            for effect in write.effects.iter() {
                let Effect::Record(record) = effect else {
                    continue;
                };
                self.telling.of(self.now, write.slot, "record", || {
                    let entry = &record.entry;
                    format!("{} #{} {:?}", record.downlink.id, entry.seq, entry.step)
                });
                let refused_since = self.key_refused_since;
                if let Err(broken) = check_key(record, refused_since, write.written_at) {
                    self.broken
                        .get_or_insert(format!("device {}: {broken}", write.slot));
                }
                if record.entry.step == Step::Accepted
                    && let Err(broken) =
                        Self::check_job_runs(&self.jobs, self.now, &record.downlink)
                {
                    self.broken
                        .get_or_insert(format!("device {}: {broken}", write.slot));
                }
                let checked = slot.promises.check_record(
                    self.now,
                    write.written_at,
                    record,
                    light,
                    &mut self.tally,
                );
                if let Err(broken) = checked.and_then(|()| slot.promises.check_changes(light)) {
                    self.broken
                        .get_or_insert(format!("device {}: {broken}", write.slot));
                }
            }
        }
    }

    fn on_batch_stored(&mut self) {
        for write in std::mem::take(&mut self.writer.batch) {
            self.on_committed(write.slot, write.life, write.seq);
            if self.is_down {
                return;
            }
        }
        self.begin_commit();
    }
}
