//! Looks into ChirpStack's queue: the two-stage diagnosis, and what became of an item whose answer was lost.
//!
//! A look is bound to the item that it is about: one that began before the item was there says nothing of it.

use std::time::Duration;

use crate::id::QueueItemId;
use crate::network::QueueItem;
use crate::radio::DeviceClass;
use crate::time::Timestamp;

use super::downlink::{Reason, Step};
use super::event::Effect;
use super::machine::record;
use super::queue_item::CALL_PATIENCE;
use super::state::{Call, Device, Item, Owner, Reading, Transmission};

/// An expired item is dropped when the scheduler next takes up the device: up to its 5 s lock and 1 s tick later
/// (chirpstack-observed.md §2: 2.8 s).
pub(super) const EXPIRY_GRACE: Duration = Duration::from_millis(6_500);

/// Between looks at an item that has expired and is still there (ChirpStack has no route to the device).
const LINGERING: Duration = Duration::from_secs(10);

/// Between two looks for an item whose Enqueue was not answered: a server that was slow may still insert it.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// No earlier than this after the call may an item be called absent that was never answered: the call itself may have
/// taken as long as its deadline.
const LATEST_INSERT: Duration = Duration::from_secs(6);

/// After a look into the queue that failed: soon enough that work goes on within 5 s of the server's return.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// After the first uplink of a session the queue may have been flushed, or its head sent: look so soon.
const AFTER_FIRST_UPLINK: Duration = Duration::from_millis(1_500);

impl Device {
    /// Whether an item of ChirpStack's queue is the one of ours that is, or may be, in it.
    pub fn owns(&self, found: &QueueItem) -> bool {
        let item = self.item.as_ref();
        item.is_some_and(|item| is_same_item(item, found))
    }

    /// Reads the queue when that is due.
    pub(super) fn look_into_queue(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.queue_read_due_at().is_none_or(|due_at| due_at > now) {
            return;
        }
        if let Some(item) = &mut self.item
            && item.call == Call::UnderWay
        {
            item.call = Call::Lost {
                looks: 0,
                is_over: false,
            };
        }
        self.reading = Reading::UnderWay {
            since: now,
            outdated: false,
        };
        effects.push(Effect::ReadQueue);
    }

    /// When the queue is to be read.
    pub(super) fn queue_read_due_at(&self) -> Option<Timestamp> {
        let check_at = self.item.as_ref()?.check_at?;
        match self.reading {
            Reading::Idle => Some(check_at),
            Reading::UnderWay { since, .. } => Some(check_at.max(since + CALL_PATIENCE)),
        }
    }

    pub(super) fn on_queue_read_failed(&mut self, now: Timestamp) {
        let was_of_use = self.reading.is_of_use();
        self.reading = Reading::Idle;
        if let Some(item) = self.item.as_mut().filter(|_| was_of_use) {
            item.check_at = Some(now + LOOK_AGAIN);
        }
    }

    pub(super) fn on_queue_read(
        &mut self,
        now: Timestamp,
        items: &[QueueItem],
        effects: &mut Vec<Effect>,
    ) {
        let was_of_use = self.reading.is_of_use();
        self.reading = Reading::Idle;
        let Some(item) = self.item.as_ref().filter(|_| was_of_use) else {
            return;
        };
        match items.iter().find(|found| is_same_item(item, found)) {
            Some(found) => {
                let foreign_items =
                    u32::try_from(items.len().saturating_sub(1)).unwrap_or(u32::MAX);
                self.on_item_found(now, found.id, foreign_items, effects);
            }
            None => self.on_item_absent(now, effects),
        }
    }

    fn on_item_found(
        &mut self,
        now: Timestamp,
        id: QueueItemId,
        foreign_items: u32,
        effects: &mut Vec<Effect>,
    ) {
        let Some(item) = &mut self.item else { return };
        if item.call != Call::Taken {
            let attempt = item.attempt;
            self.on_enqueued(now, attempt, id, effects);
            return;
        }
        if now >= item.expires_at {
            item.check_at = Some(now + LINGERING);
            item.is_overdue = true;
            if now >= item.expires_at + EXPIRY_GRACE
                && item.owner == Owner::Active
                && !item.awaits_ack
            {
                self.fail_after_backoff(now, Reason::NotTransmitted, effects);
            }
            return;
        }
        item.check_at = Some(if now < item.started_at + self.policy.diagnose_after {
            item.started_at + self.policy.diagnose_after
        } else {
            item.expires_at + EXPIRY_GRACE
        });
        let stuck = now >= item.started_at + self.policy.diagnose_after
            && !item.awaits_ack
            && self.class != DeviceClass::A;
        if stuck && !item.seen_stuck {
            item.seen_stuck = true;
            let step = Step::NotTransmitted { foreign_items };
            match &mut item.owner {
                Owner::Active => {
                    if let Some(active) = &mut self.active {
                        active.downlink.reason = Some(Reason::NotTransmitted);
                        record(&mut active.downlink, now, step, effects);
                    }
                }
                Owner::Ended(downlink) => record(downlink, now, step, effects),
                Owner::Nobody => {}
            }
        }
    }

    fn on_item_absent(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(item) = &mut self.item else { return };
        match item.call {
            Call::UnderWay => {}
            Call::Lost { looks, is_over } => {
                let started_at = item.started_at;
                if looks == 0 {
                    item.call = Call::Lost { looks: 1, is_over };
                    item.check_at = Some((now + SECOND_LOOK).max(started_at + LATEST_INSERT));
                } else if self
                    .early_transmissions
                    .iter()
                    .any(|early| early.at >= started_at)
                {
                    // Whose tx-ack it was cannot be told: the id of our item never came.
                    let presumed = self.silent_transmission(now);
                    self.take_transmission(now, presumed, true, effects);
                } else {
                    self.repeat_attempt(now, effects);
                }
            }
            Call::Taken if item.awaits_ack => {
                if self.drop_item(now, effects) {
                    self.fail_after_backoff(now, Reason::NotAcknowledged, effects);
                }
            }
            Call::Taken if item.epoch != self.session.epoch => {
                // The join flushed it, or it went out in answer to the first uplink and the tx-ack was lost.
                if self.drop_item(now, effects) {
                    self.void_attempt(now, effects);
                }
            }
            Call::Taken if now < item.expires_at => {
                let presumed = self.silent_transmission(now);
                self.take_transmission(now, presumed, true, effects);
            }
            Call::Taken => {
                let reason = item
                    .refusal
                    .take()
                    .map_or(Reason::NotTransmitted, Reason::GatewayRefused);
                if self.drop_item(now, effects) {
                    self.fail_after_backoff(now, reason, effects);
                }
            }
        }
    }

    /// Our item left the queue before it expired, and nobody said how.
    fn silent_transmission(&self, now: Timestamp) -> Transmission {
        Transmission {
            at: now,
            queue_item_id: self.item.as_ref().and_then(|item| item.queue_item_id),
            gateway_id: None,
            f_cnt_down: None,
            modulation: None,
        }
    }

    /// When the device spoke after a join, its queue may have been flushed: look soon.
    pub(super) fn check_item_soon(&mut self, now: Timestamp) {
        if let Some(item) = &mut self.item
            && item.call == Call::Taken
        {
            item.check_at = Some(now + AFTER_FIRST_UPLINK);
        }
    }
}

/// Recognises our item: by its id, else by what only we can know, the instant at which it expires.
fn is_same_item(item: &Item, found: &QueueItem) -> bool {
    match item.queue_item_id {
        Some(id) => found.id == id,
        None => {
            found.expires_at == Some(item.expires_at)
                && found.f_port == item.f_port
                && found.payload == item.payload
                && found.confirmed == item.confirmed
        }
    }
}
