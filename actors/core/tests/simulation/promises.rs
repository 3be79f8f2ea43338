//! What is promised of a downlink, checked against what the lamp really did.

use std::collections::BTreeMap;

use downbeat_core::device::{Downlink, DownlinkState, Evidence, Record, Step};
use downbeat_core::id::{DevEui, DownlinkId, QueueItemId};
use downbeat_core::time::Timestamp;
use downbeat_sim::model::{Cause, LightTruth, Network};

/// Attempts that may come on top of a downlink's own: restarts of the device and lost answers are not counted.
const CREDIT_MAX: u8 = 20;

/// What was promised so far.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    downlinks: BTreeMap<DownlinkId, Known>,
    /// Items that we put into ChirpStack's queues, and their payload.
    items: BTreeMap<QueueItemId, Vec<u8>>,
    first_attempts: BTreeMap<DownlinkId, Timestamp>,
}

#[derive(Debug)]
struct Known {
    state: DownlinkState,
    next_seq: u32,
}

impl Promises {
    /// We put an item into a queue.
    pub(crate) fn note_item(&mut self, id: QueueItemId, payload: Vec<u8>) {
        self.items.insert(id, payload);
    }

    /// We began to call Enqueue for a downlink.
    pub(crate) fn note_attempt(&mut self, now: Timestamp, id: DownlinkId) {
        self.first_attempts.entry(id).or_insert(now);
    }

    /// A record was committed.
    pub(crate) fn check_record(
        &mut self,
        record: &Record,
        light: &LightTruth,
    ) -> Result<(), String> {
        let Record { downlink, entry } = record;
        let known = self.downlinks.entry(downlink.id).or_insert(Known {
            state: DownlinkState::Accepted,
            next_seq: 0,
        });
        if entry.seq != known.next_seq {
            return Err(format!("step {} follows {}", entry.seq, known.next_seq));
        }
        known.next_seq += 1;
        let (before, after) = (known.state, downlink.state);
        let late_proof = (before, after) == (DownlinkState::Unverified, DownlinkState::Verified);
        if before.is_terminal() && before != after && !late_proof {
            return Err(format!("{} became {after:?} after {before:?}", downlink.id));
        }
        known.state = after;
        let most = downlink.attempts_max.saturating_add(CREDIT_MAX);
        if downlink.attempts > most && !downlink.until_deadline {
            return Err(format!("{} attempts of {}", downlink.attempts, downlink.id));
        }
        if let Step::Verified { evidence, .. } = &entry.step {
            self.check_evidence(downlink, evidence, light)?;
        }
        Ok(())
    }

    /// `verified` is said only where the device really got it from us, no earlier than the first attempt.
    fn check_evidence(
        &self,
        downlink: &Downlink,
        evidence: &Evidence,
        light: &LightTruth,
    ) -> Result<(), String> {
        let since = self.first_attempts.get(&downlink.id).copied();
        let is_ours = |item: &QueueItemId, at: Timestamp| {
            self.items.get(item) == Some(&downlink.frame.payload)
                && since.is_some_and(|since| at >= since)
        };
        let really = match evidence {
            Evidence::CounterAndState { .. } | Evidence::StateOnly { .. } => {
                light.changes.iter().any(|change| {
                    matches!(change.cause, Cause::Downlink { queue_item_id } if is_ours(&queue_item_id, change.at))
                        && Some(change.state) == downlink.light
                })
            }
            Evidence::Counter { .. } | Evidence::LorawanAck { .. } => light
                .received
                .iter()
                .any(|frame| is_ours(&frame.queue_item_id, frame.at)),
            Evidence::Transmitted { .. } => true,
        };
        if really {
            Ok(())
        } else {
            Err(format!("{} is not true of {evidence:?}", downlink.id))
        }
    }

    /// At most one item of ours is in a device's queue.
    pub(crate) fn check_queue(&self, network: &Network, dev_eui: DevEui) -> Result<(), String> {
        let Ok(queue) = network.queue(dev_eui) else {
            return Ok(());
        };
        let ours = queue
            .iter()
            .filter(|item| self.items.contains_key(&item.id));
        match ours.count() {
            0 | 1 => Ok(()),
            count => Err(format!("{count} items of ours in the queue of {dev_eui}")),
        }
    }

    /// Whether its acceptance was committed.
    pub(crate) fn was_accepted(&self, id: DownlinkId) -> bool {
        self.downlinks.contains_key(&id)
    }

    /// Whether every downlink has reached its end.
    pub(crate) fn all_ended(&self) -> bool {
        self.downlinks
            .values()
            .all(|known| known.state.is_terminal())
    }

    /// Those that have not.
    pub(crate) fn unfinished(&self) -> Vec<DownlinkId> {
        self.downlinks
            .iter()
            .filter(|(_, known)| !known.state.is_terminal())
            .map(|(id, _)| *id)
            .collect()
    }

    /// How many ended in which way.
    pub(crate) fn tally(&self) -> BTreeMap<&'static str, usize> {
        let mut tally = BTreeMap::new();
        for known in self.downlinks.values() {
            *tally.entry(known.state.name()).or_default() += 1;
        }
        tally
    }
}
