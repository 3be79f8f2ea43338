//! What is stuck in ChirpStack's queues, and what of it may be removed.
//!
//! Items of devices that no gateway reaches stay in ChirpStack's queue: ours as long as its scheduler does not come to
//! the device to see that they have expired (no session, Class A, a device that is disabled), others' for ever if they
//! were put in without an expiry. They do harm when a gateway comes back: an hour-old command goes out first, and ours
//! waits behind it.
//!
//! ChirpStack has no call that deletes one item. `FlushQueue` deletes them all, others' and pending ones too, and while
//! a frame or its tx-ack is under way it makes ChirpStack use a frame counter twice, so that the next command is lost
//! (chirpstack-observed.md §5). The life of a downlink therefore never flushes (ADR 3), and this is no part of it. The
//! queue of a device is flushed here only if all of this holds, and each condition has its reason:
//!
//! - the head of the queue has been the same for [`CleanerConfig::still_for`]: by our own clock, because the API shows
//!   no time of creation; nothing moves, so no tx-ack came, ChirpStack's memory of frames on their way (30 s) is empty;
//! - all that time no gateway that heard the device last was worth sending to: there is nobody to put a frame on the air;
//! - every item is ours, has expired, and is not pending (a confirmed item that was transmitted): nothing that anybody
//!   still wants is deleted.
//!
//! What remains possible is that the last try went out unnoticed before the gateway went dark. Then the counter is used
//! twice, and the next attempt fails and is repeated: what an attempt that is lost on the air costs.
//!
//! Everything else that is stuck is reported: an operator who knows whose items they are may have the queue flushed.
//!
//! Looks are few: devices with an item of ours or with an open finding at each round, others in turn.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{DevEui, QueueItemId};
use crate::link_quality::table::Owner;
use crate::network::{QueueItem, TX_ACK_MEMORY};
use crate::time::Timestamp;

/// The numbers of the cleaner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanerConfig {
    /// A queue whose head stays for so long is stuck.
    pub still_for: Duration,
    /// A device in whose queue nothing was found is looked at again after this.
    pub again_after: Duration,
    /// Looks of one round at the most.
    pub looks_max: usize,
}

impl Default for CleanerConfig {
    /// 10 minutes, an hour, 100 looks.
    fn default() -> Self {
        Self {
            still_for: Duration::from_mins(10),
            again_after: Duration::from_hours(1),
            looks_max: 100,
        }
    }
}

/// A device that no gateway reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Whose it is.
    pub owner: Owner,
    /// Whether an item of ours is, or may be, in its queue.
    pub holds_ours: bool,
}

/// An item as a look found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundItem {
    /// The item.
    pub item: QueueItem,
    /// Whether we put it there.
    pub is_ours: bool,
}

/// What is to be done after a look.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum CleanerVerdict {
    /// Nothing.
    Leave,
    /// The queue is stuck, and all of it is ours: flush it, if the device is still out of reach.
    Flush,
    /// The queue is stuck, and it is not ours to remove. Told once, and again when another head is stuck.
    Report(QueueFinding),
}

/// A queue that is stuck and was left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueFinding {
    /// Whose device.
    pub owner: Owner,
    /// When its first item was first seen there.
    pub since: Timestamp,
    /// When it was last looked at.
    pub looked_at: Timestamp,
    /// Its first item.
    pub head: QueueItemId,
    /// Items in the queue.
    pub items: u32,
    /// Of these, items that we did not put there.
    pub foreign_items: u32,
    /// Whether the first one was transmitted and waits for its acknowledgement.
    pub is_pending: bool,
}

/// Goes through the queues of devices that no gateway reaches.
#[derive(Debug, Clone, Default)]
pub struct QueueCleaner {
    config: CleanerConfig,
    watched: BTreeMap<DevEui, Watched>,
}

#[derive(Debug, Clone)]
struct Watched {
    owner: Owner,
    looked_at: Option<Timestamp>,
    head: Option<Head>,
    finding: Option<QueueFinding>,
}

#[derive(Debug, Clone, Copy)]
struct Head {
    id: QueueItemId,
    since: Timestamp,
}

impl QueueCleaner {
    /// A cleaner that has seen nothing.
    pub fn new(config: CleanerConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// A round begins: these devices are out of reach, and no others. Gives those to look at, in that order.
    ///
    /// A device that is not among them any more is forgotten, and its finding with it: a gateway hears it, so its queue
    /// moves by itself.
    pub fn plan(&mut self, now: Timestamp, candidates: &[Candidate]) -> Vec<DevEui> {
        let mut before = std::mem::take(&mut self.watched);
        let mut looks = Vec::new();
        for candidate in candidates {
            let owner = candidate.owner;
            let known = before.remove(&owner.dev_eui);
            let mut watched = known
                .filter(|watched| watched.owner == owner)
                .unwrap_or(Watched {
                    owner,
                    looked_at: None,
                    head: None,
                    finding: None,
                });
            // A clock that was set back begins anew.
            watched.looked_at = watched.looked_at.map(|at| at.min(now));
            if let Some(head) = &mut watched.head {
                head.since = head.since.min(now);
            }
            let is_urgent = candidate.holds_ours || watched.head.is_some();
            let is_due = watched
                .looked_at
                .is_none_or(|at| now.since(at) >= self.config.again_after);
            if is_urgent || is_due {
                looks.push((!is_urgent, watched.looked_at, owner.dev_eui));
            }
            self.watched.insert(owner.dev_eui, watched);
        }
        looks.sort_unstable();
        looks.truncate(self.config.looks_max);
        looks.into_iter().map(|(_, _, dev_eui)| dev_eui).collect()
    }

    /// What a look found; an empty queue too. A look that failed is not told: the next round looks again.
    pub fn looked(
        &mut self,
        now: Timestamp,
        dev_eui: DevEui,
        found: &[FoundItem],
    ) -> CleanerVerdict {
        let Some(watched) = self.watched.get_mut(&dev_eui) else {
            return CleanerVerdict::Leave;
        };
        watched.looked_at = Some(now);
        let Some(first) = found.first() else {
            watched.head = None;
            watched.finding = None;
            return CleanerVerdict::Leave;
        };
        let id = first.item.id;
        let head = watched
            .head
            .filter(|head| head.id == id)
            .unwrap_or(Head { id, since: now });
        watched.head = Some(head);
        if now.since(head.since) < self.config.still_for {
            watched.finding = None;
            return CleanerVerdict::Leave;
        }
        if found.iter().all(|found| may_be_removed(now, found)) {
            watched.finding = None;
            return CleanerVerdict::Flush;
        }
        let foreign = found.iter().filter(|found| !found.is_ours).count();
        let finding = QueueFinding {
            owner: watched.owner,
            since: head.since,
            looked_at: now,
            head: head.id,
            items: u32::try_from(found.len()).unwrap_or(u32::MAX),
            foreign_items: u32::try_from(foreign).unwrap_or(u32::MAX),
            is_pending: first.item.is_pending,
        };
        let told = watched
            .finding
            .replace(finding.clone())
            .is_some_and(|before| before.head == finding.head);
        if told {
            CleanerVerdict::Leave
        } else {
            CleanerVerdict::Report(finding)
        }
    }

    /// A queue was flushed: what comes into it later is another matter.
    pub fn flushed(&mut self, dev_eui: DevEui) {
        if let Some(watched) = self.watched.get_mut(&dev_eui) {
            watched.head = None;
            watched.finding = None;
        }
    }

    /// Queues that are stuck and were left alone, by `DevEUI`.
    pub fn findings(&self) -> Vec<QueueFinding> {
        self.watched
            .values()
            .filter_map(|watched| watched.finding.clone())
            .collect()
    }
}

/// Ours, wanted by nobody any more, and not on its way.
fn may_be_removed(now: Timestamp, found: &FoundItem) -> bool {
    let has_expired = found
        .item
        .expires_at
        .is_some_and(|expires_at| now > expires_at && now.since(expires_at) >= TX_ACK_MEMORY);
    found.is_ours && has_expired && !found.item.is_pending
}
