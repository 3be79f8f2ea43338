//! What is promised of a device's downlinks, checked against what its lamp really did.

use std::collections::{BTreeMap, VecDeque};

use downbeat_core::device::{Downlink, DownlinkState, Enqueue, Evidence, Origin, Record, Step};
use downbeat_core::id::{DownlinkId, QueueItemId};
use downbeat_core::light::LightState;
use downbeat_core::time::Timestamp;
use downbeat_sim::model::{Cause, LightTruth, QueuedItem};

use crate::tally::{Count, Tally};

/// Attempts that may come on top of a downlink's own: restarts of the device and lost answers are not counted.
const CREDIT_MAX: u8 = 20;
/// Items that may beside find out whether a gateway is back.
const SCOUTS_MAX: u8 = 8;

/// Items of ours that are remembered: the lamp may still show them, or a proof rest on them.
const ITEMS_MAX: usize = 64;

/// What was promised of one device so far.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    downlinks: BTreeMap<DownlinkId, Known>,
    /// How often the device was registered. What an earlier registration left in the queue expires there.
    registration: u32,
    /// Items that we put into ChirpStack's queue, oldest first.
    items: VecDeque<Item>,
    /// The newest downlink that was proven: its number, and when that was committed.
    proven: Option<(usize, Timestamp)>,
    /// Changes of the light up to here were looked at.
    seen_until: Timestamp,
    /// Lights that may stand although another is desired: transient ones asked for since.
    transient: Vec<LightState>,
    last_accepted: Option<DownlinkId>,
}

#[derive(Debug)]
struct Known {
    /// In the order of acceptance.
    number: usize,
    state: DownlinkState,
    next_seq: u32,
    expires_at: Timestamp,
    attempts_max: u8,
    first_attempt_at: Option<Timestamp>,
    items: u8,
    fate: Fate,
}

/// What became of a command, by the world's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) origin: Origin,
    pub(crate) state: DownlinkState,
    pub(crate) attempts: u8,
    pub(crate) accepted_at: Timestamp,
    /// When its last change of state was committed.
    pub(crate) changed_at: Timestamp,
}

#[derive(Debug)]
struct Item {
    id: QueueItemId,
    registration: u32,
    number: usize,
    payload: Vec<u8>,
}

impl Promises {
    /// We begin to call Enqueue for a downlink.
    pub(crate) fn check_attempt(
        &mut self,
        now: Timestamp,
        enqueue: &Enqueue,
    ) -> Result<(), String> {
        let known = self
            .downlinks
            .get_mut(&enqueue.downlink_id)
            .ok_or("an attempt of a downlink that was never accepted")?;
        known.first_attempt_at.get_or_insert(now);
        if enqueue.expires_at > known.expires_at {
            return Err(format!(
                "{} would outlive its time in the queue",
                enqueue.downlink_id
            ));
        }
        Ok(())
    }

    /// ChirpStack took an item of ours; `queue` is what it holds now.
    pub(crate) fn check_item(
        &mut self,
        id: QueueItemId,
        enqueue: &Enqueue,
        queue: &[QueuedItem],
    ) -> Result<(), String> {
        let known = self
            .downlinks
            .get_mut(&enqueue.downlink_id)
            .ok_or("an item of a downlink that was never accepted")?;
        known.items = known.items.saturating_add(1);
        let most = known.attempts_max.saturating_add(CREDIT_MAX + SCOUTS_MAX);
        if known.items > most {
            return Err(format!("{} items of {}", known.items, enqueue.downlink_id));
        }
        if self.items.len() == ITEMS_MAX {
            self.items.pop_front();
        }
        self.items.push_back(Item {
            id,
            registration: self.registration,
            number: known.number,
            payload: enqueue.frame.payload.clone(),
        });
        let ours = queue.iter().filter(|item| self.is_ours(item.id)).count();
        if ours == 1 {
            Ok(())
        } else {
            Err(format!("{ours} items of ours in the queue"))
        }
    }

    /// The device is registered anew.
    pub(crate) fn begin_registration(&mut self) {
        self.registration += 1;
    }

    /// Whether an item was put there by us.
    pub(crate) fn is_ours(&self, id: QueueItemId) -> bool {
        let mut items = self.items.iter().rev();
        items.any(|item| item.id == id && item.registration == self.registration)
    }

    /// A record was committed; it was written at `written_at`, by the world's time.
    pub(crate) fn check_record(
        &mut self,
        now: Timestamp,
        written_at: Timestamp,
        record: &Record,
        light: &LightTruth,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let Record { downlink, entry } = record;
        let number = self.downlinks.len();
        let known = self.downlinks.entry(downlink.id).or_insert_with(|| Known {
            number,
            state: DownlinkState::Accepted,
            next_seq: 0,
            expires_at: downlink.expires_at,
            attempts_max: if downlink.until_deadline {
                u8::MAX
            } else {
                downlink.attempts_max
            },
            first_attempt_at: None,
            items: 0,
            fate: Fate {
                origin: downlink.origin,
                state: downlink.state,
                attempts: 0,
                accepted_at: now,
                changed_at: now,
            },
        });
        if entry.seq != known.next_seq {
            return Err(format!(
                "step {} of {} follows {}",
                entry.seq, downlink.id, known.next_seq
            ));
        }
        known.next_seq += 1;
        let (number, before, after) = (known.number, known.state, downlink.state);
        let late_proof = (before, after) == (DownlinkState::Unverified, DownlinkState::Verified);
        if before.is_terminal() && before != after && !late_proof {
            return Err(format!("{} became {after:?} after {before:?}", downlink.id));
        }
        known.state = after;
        known.fate.attempts = downlink.attempts;
        if before != after {
            (known.fate.state, known.fate.changed_at) = (after, now);
        }
        let most = downlink.attempts_max.saturating_add(CREDIT_MAX);
        if downlink.attempts > most && !downlink.until_deadline {
            return Err(format!("{} attempts of {}", downlink.attempts, downlink.id));
        }
        match &entry.step {
            Step::Accepted => self.note_accepted(downlink, tally),
            Step::Verified { evidence, late } => {
                let first_attempt_at = known.first_attempt_at;
                self.check_evidence(downlink, evidence, light, first_attempt_at, written_at)?;
                if self.proven.is_none_or(|(newest, _)| newest <= number) {
                    self.proven = Some((number, now));
                }
                if *late {
                    tally.count(Count::LateProofs);
                }
            }
            Step::Ended {
                state: DownlinkState::Sent,
                ..
            } if known.items == 0 => {
                return Err(format!("{} was never sent", downlink.id));
            }
            Step::Ended { .. }
            | Step::Waiting { .. }
            | Step::Enqueued { .. }
            | Step::Transmitted { .. }
            | Step::NotTransmitted { .. }
            | Step::Refused { .. }
            | Step::AttemptFailed { .. } => {}
        }
        if after.is_terminal() && !before.is_terminal() {
            tally.count_end(after);
            tally.count_many(Count::Attempts, u64::from(downlink.attempts));
        }
        Ok(())
    }

    fn note_accepted(&mut self, downlink: &Downlink, tally: &mut Tally) {
        match downlink.origin {
            Origin::Api => tally.count(Count::Commands),
            Origin::Job(_) => {
                tally.count(Count::Commands);
                tally.count(Count::JobCommands);
            }
            Origin::Reconcile | Origin::Initialisation => {
                tally.count(Count::Reconciled);
                return;
            }
        }
        self.last_accepted = Some(downlink.id);
        match downlink.light {
            Some(light) if downlink.transient || !downlink.is_state => self.transient.push(light),
            Some(_) => self.transient.clear(),
            None => {}
        }
    }

    /// `verified` is said only where the device really got it from us, no earlier than the first attempt.
    fn check_evidence(
        &self,
        downlink: &Downlink,
        evidence: &Evidence,
        light: &LightTruth,
        since: Option<Timestamp>,
        until: Timestamp,
    ) -> Result<(), String> {
        let is_ours = |id: QueueItemId, at: Timestamp| {
            since.is_some_and(|since| (since..=until).contains(&at))
                && self
                    .items
                    .iter()
                    .any(|item| item.id == id && item.payload == downlink.frame.payload)
        };
        let really = match evidence {
            Evidence::CounterAndState { .. } | Evidence::StateOnly { .. } => {
                light.changes.iter().rev().any(|change| {
                    matches!(change.cause, Cause::Downlink { queue_item_id } if is_ours(queue_item_id, change.at))
                        && Some(change.state) == downlink.light
                })
            }
            Evidence::Counter { .. } | Evidence::LorawanAck { .. } => light
                .received
                .iter()
                .rev()
                .any(|frame| is_ours(frame.queue_item_id, frame.at)),
            Evidence::Transmitted { .. } => true,
        };
        if really {
            Ok(())
        } else {
            Err(format!("{} is not true of {evidence:?}", downlink.id))
        }
    }

    /// Looks at what the lamp showed since the last look: never an older command's light after a newer one's proof.
    pub(crate) fn check_changes(&mut self, light: &LightTruth) -> Result<(), String> {
        let Some(last) = light
            .changes
            .back()
            .filter(|last| last.at > self.seen_until)
        else {
            return Ok(());
        };
        let fresh = light
            .changes
            .iter()
            .rev()
            .take_while(|change| change.at > self.seen_until);
        for change in fresh {
            let Cause::Downlink { queue_item_id } = change.cause else {
                continue;
            };
            let Some(item) = self.items.iter().find(|item| item.id == queue_item_id) else {
                continue;
            };
            if let Some((newest, proven_at)) = self.proven
                && item.number < newest
                && change.at > proven_at
            {
                return Err(format!(
                    "the light of command {} is shown though {newest} was proven before",
                    item.number
                ));
            }
        }
        self.seen_until = last.at;
        Ok(())
    }

    /// The last command that was accepted.
    pub(crate) fn last_accepted(&self) -> Option<DownlinkId> {
        self.last_accepted
    }

    /// Whether a light may stand although another one is desired.
    pub(crate) fn is_transient(&self, light: LightState) -> bool {
        self.transient.contains(&light)
    }

    /// What became of the commands so far.
    pub(crate) fn fates(&self) -> impl Iterator<Item = Fate> {
        let known = self.downlinks.values().map(|known| known.fate);
        known.filter(|fate| matches!(fate.origin, Origin::Api | Origin::Job(_)))
    }

    /// What became of a command that the store knows.
    pub(crate) fn fate(&self, id: DownlinkId) -> Option<Fate> {
        self.downlinks.get(&id).map(|known| known.fate)
    }

    /// A downlink that was accepted until then and has not reached its end.
    pub(crate) fn unfinished(&self, accepted_until: Timestamp) -> Option<DownlinkId> {
        let is_open =
            |known: &Known| !known.state.is_terminal() && known.fate.accepted_at <= accepted_until;
        self.downlinks
            .iter()
            .find(|(_, known)| is_open(known))
            .map(|(id, _)| *id)
    }
}
