//! Which wishes of the registry are to be read, and those that were read and wait for their turn.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use downbeat_core::id::DevEui;
use downbeat_core::time::Timestamp;

use crate::port::StoredSync;

/// Wishes in memory at the most, begun or waiting; further ones stay in the store until there is room.
pub(super) const KNOWN_MAX: usize = 5_000;

/// Wishes that are read at once, of those that are named; and of all, beyond those that are known.
const READ_MAX: usize = 500;

/// Between two readings: at a change of the registry every millisecond, twenty are read at once.
const READ_PAUSE: Duration = Duration::from_millis(20);

/// All are read so often without any hint, in case one was lost.
const PERIOD: Duration = Duration::from_secs(30);

/// What to ask the store for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// What is wanted of these.
    Named(Vec<DevEui>),
    /// Whatever is not fulfilled, so many at the most.
    All(u32),
}

/// What is known of the registry's wishes that nobody has begun with.
pub(super) struct Wishes {
    /// Something is wanted of them that was not read yet.
    hinted: BTreeSet<DevEui>,
    /// Anything may be wanted of anybody.
    all: bool,
    /// There was no room for some.
    missed: bool,
    is_reading: bool,
    /// When all are read without a hint.
    all_at: Timestamp,
    /// The store is left alone until then.
    rests_until: Timestamp,
    waiting: BTreeMap<DevEui, StoredSync>,
    turns: VecDeque<DevEui>,
    /// Wishes that came true while the store was being read: it may tell of them as they were before.
    over: BTreeMap<DevEui, u64>,
}

impl Wishes {
    /// Nothing is known, so all are to be read.
    pub(super) fn new() -> Self {
        Self {
            hinted: BTreeSet::new(),
            all: true,
            missed: false,
            is_reading: false,
            all_at: Timestamp::from_millis(0),
            rests_until: Timestamp::from_millis(0),
            waiting: BTreeMap::new(),
            turns: VecDeque::new(),
            over: BTreeMap::new(),
        }
    }

    /// Something new may be wanted of a device, or of any.
    pub(super) fn hint(&mut self, dev_eui: Option<DevEui>) {
        match dev_eui {
            Some(dev_eui) if self.hinted.len() < KNOWN_MAX => {
                self.hinted.insert(dev_eui);
            }
            Some(_) | None => self.all = true,
        }
    }

    /// What was read is not what is stored: all are read anew, but not before `at`.
    pub(super) fn forget(&mut self, at: Timestamp) {
        let is_reading = self.is_reading;
        *self = Self {
            is_reading,
            rests_until: at,
            ..Self::new()
        };
    }

    /// When the store is to be asked next; `None` while it is being asked, or there is no room. `begun` are known
    /// beside those that wait.
    pub(super) fn read_due_at(&self, now: Timestamp, begun: usize) -> Option<Timestamp> {
        if self.is_reading {
            return None;
        }
        let known = self.waiting.len() + begun;
        let at = if !self.hinted.is_empty()
            || (self.all && known < KNOWN_MAX)
            || (self.missed && known < KNOWN_MAX / 2)
        {
            now
        } else if known < KNOWN_MAX {
            self.all_at
        } else {
            return None;
        };
        Some(at.max(self.rests_until))
    }

    /// What to read now, if something is due.
    pub(super) fn read(&mut self, now: Timestamp, begun: usize) -> Option<Reading> {
        if self.read_due_at(now, begun).is_none_or(|at| now < at) {
            return None;
        }
        self.is_reading = true;
        self.over.clear();
        let known = self.waiting.len() + begun;
        let all_is_due = self.all || now >= self.all_at || (self.missed && known < KNOWN_MAX / 2);
        if all_is_due && known < KNOWN_MAX {
            (self.all, self.missed, self.all_at) = (false, false, now + PERIOD);
            let limit = known + READ_MAX;
            return Some(Reading::All(u32::try_from(limit).unwrap_or(u32::MAX)));
        }
        let named = if self.hinted.len() <= READ_MAX {
            std::mem::take(&mut self.hinted)
        } else {
            std::iter::from_fn(|| self.hinted.pop_first())
                .take(READ_MAX)
                .collect()
        };
        Some(Reading::Named(named.into_iter().collect()))
    }

    /// The store answered with so many.
    pub(super) fn was_read(&mut self, now: Timestamp, reading: &Reading, told: usize) {
        self.is_reading = false;
        self.rests_until = now + READ_PAUSE;
        if let Reading::All(limit) = reading
            && u32::try_from(told).unwrap_or(u32::MAX) >= *limit
        {
            // There may be more.
            self.all = true;
        }
    }

    /// The store did not answer: asked again, but not before `at`.
    pub(super) fn was_not_read(&mut self, at: Timestamp) {
        self.is_reading = false;
        self.all = true;
        self.rests_until = at;
    }

    /// A wish that was read and that nobody has begun with. False if there is no room, or it came true meanwhile.
    pub(super) fn wait(&mut self, stored: StoredSync, begun: usize) -> bool {
        let dev_eui = stored.key.dev_eui;
        let over = self.over.get(&dev_eui);
        if over.is_some_and(|generation| stored.wish.generation <= *generation) {
            return false;
        }
        let known = self.waiting.len() + begun;
        match self.waiting.entry(dev_eui) {
            Entry::Occupied(mut waiting) => {
                waiting.insert(stored);
            }
            Entry::Vacant(_) if known >= KNOWN_MAX => {
                self.missed = true;
                return false;
            }
            Entry::Vacant(free) => {
                free.insert(stored);
                self.turns.push_back(dev_eui);
            }
        }
        true
    }

    /// The wish whose turn it is.
    pub(super) fn next(&mut self) -> Option<StoredSync> {
        let dev_eui = self.turns.pop_front()?;
        self.waiting.remove(&dev_eui)
    }

    /// A wish came true, or was given up.
    pub(super) fn is_over(&mut self, dev_eui: DevEui, generation: u64) {
        if self.is_reading {
            self.over.insert(dev_eui, generation);
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use downbeat_core::id::{DeviceKey, NetworkServerId, TenantId};
    use downbeat_core::sync::Wish;
    use uuid::Uuid;

    use super::*;

    fn dev_eui(number: u64) -> DevEui {
        DevEui::from_u64(number)
    }

    fn wish(number: u64, generation: u64) -> StoredSync {
        StoredSync {
            key: DeviceKey {
                server: NetworkServerId::Default,
                dev_eui: dev_eui(number),
            },
            tenant_id: TenantId::from_uuid(Uuid::nil()),
            wish: Wish {
                generation,
                force: false,
                device: None,
            },
            machine: None,
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// Wishes after a first reading of all, which told of none.
    fn read_once() -> Wishes {
        let mut wishes = Wishes::new();
        let reading = wishes.read(at(0), 0).unwrap();
        assert_eq!(reading, Reading::All(500));
        wishes.was_read(at(0), &reading, 0);
        wishes
    }

    #[test]
    fn what_is_named_is_read_together_after_a_pause() {
        let mut wishes = read_once();
        assert_eq!(wishes.read_due_at(at(1), 0), Some(at(30_000)));
        wishes.hint(Some(dev_eui(2)));
        wishes.hint(Some(dev_eui(1)));
        wishes.hint(Some(dev_eui(2)));
        assert_eq!(wishes.read(at(1), 0), None);
        assert_eq!(wishes.read_due_at(at(1), 0), Some(at(20)));
        let named = Reading::Named(vec![dev_eui(1), dev_eui(2)]);
        assert_eq!(wishes.read(at(20), 0), Some(named));
        // Not twice at a time.
        wishes.hint(Some(dev_eui(3)));
        assert_eq!(wishes.read_due_at(at(99), 0), None);
    }

    #[test]
    fn all_are_read_now_and_then_and_when_there_were_more() {
        let mut wishes = read_once();
        let reading = wishes.read(at(30_000), 7).unwrap();
        assert_eq!(reading, Reading::All(507));
        wishes.was_read(at(30_000), &reading, 507);
        assert_eq!(wishes.read(at(30_020), 7), Some(Reading::All(507)));
        wishes.was_not_read(at(31_020));
        assert_eq!(wishes.read(at(31_019), 7), None);
        assert_eq!(wishes.read(at(31_020), 7), Some(Reading::All(507)));
    }

    #[test]
    fn wishes_wait_in_order_and_the_newest_holds() {
        let mut wishes = read_once();
        for (number, generation) in [(1, 1), (2, 2), (1, 3)] {
            assert!(wishes.wait(wish(number, generation), 0));
        }
        assert_eq!(wishes.len(), 2);
        assert_eq!(wishes.next(), Some(wish(1, 3)));
        assert_eq!(wishes.next(), Some(wish(2, 2)));
        assert_eq!(wishes.next(), None);
    }

    #[test]
    fn a_wish_that_came_true_while_it_was_read_is_not_taken_up_again() {
        let mut wishes = read_once();
        wishes.hint(Some(dev_eui(1)));
        let reading = wishes.read(at(20), 1).unwrap();
        wishes.is_over(dev_eui(1), 5);
        wishes.was_read(at(21), &reading, 1);
        assert!(!wishes.wait(wish(1, 5), 0));
        assert!(wishes.wait(wish(1, 6), 0));
    }

    #[test]
    fn what_found_no_room_is_read_when_there_is_room() {
        let mut wishes = read_once();
        assert!(!wishes.wait(wish(1, 1), KNOWN_MAX));
        assert_eq!(wishes.read_due_at(at(20), KNOWN_MAX), None);
        // Not for every single one that is done.
        assert_eq!(wishes.read_due_at(at(20), KNOWN_MAX - 1), Some(at(30_000)));
        assert_eq!(wishes.read_due_at(at(20), KNOWN_MAX / 2 - 1), Some(at(20)));
        let reading = wishes.read(at(20), KNOWN_MAX / 2 - 1);
        assert_eq!(reading, Some(Reading::All(2_999)));
        // What is known is heard of even then.
        let mut full = read_once();
        full.hint(Some(dev_eui(1)));
        let reading = full.read(at(20), KNOWN_MAX);
        assert_eq!(reading, Some(Reading::Named(vec![dev_eui(1)])));
    }
}
