//! The item of ours in ChirpStack's queue, from the call of Enqueue until it is known to have left.
//!
//! There is at most one, so that tx-acks, gateway errors (which carry no id) and what the queue holds can be
//! attributed. It is never flushed: it goes out, or it expires by itself. Whoever comes next waits for that. An answer
//! that is lost is looked up: the instant of expiry, which only we can know, recognises the item.

use std::time::Duration;

use crate::codec::Proof;
use crate::id::QueueItemId;
use crate::network::{Acknowledged, DropReason, Dropped, EnqueueFailure, TX_ACK_MEMORY};
use crate::pacer::REPEAT;
use crate::radio::DeviceClass;
use crate::time::Timestamp;

use super::downlink::{DownlinkState, Evidence, Reason, Step};
use super::event::Effect;
use super::machine::record;
use super::queue_look::EXPIRY_GRACE;
use super::sending::{CREDIT_MAX, attempts_used_up, transmitted_step};
use super::state::{Call, Device, Owner, Phase, Transmission};

/// A call that was not answered for so long never will be: deadlines of calls are seconds.
pub(super) const CALL_PATIENCE: Duration = Duration::from_mins(1);

/// Pause after a call that did not reach the server; the pool holds further turns back while its circuit is open.
const UNREACHABLE_PAUSE: Duration = Duration::from_secs(1);

/// Pause after a call that was made with a key that is not accepted; the pool asks sooner whether it is again.
const KEY_PAUSE: Duration = Duration::from_mins(1);

/// How long after it left ChirpStack's queue a frame may still come out of a gateway: its own transmit queue, and
/// what ChirpStack remembers of it.
pub(super) const LANDING: Duration = Duration::from_secs(2 * TX_ACK_MEMORY.as_secs());

/// An acknowledgement or its time-out comes within `class_c_timeout` (5 s by default) of the tx-ack.
const ACK_PATIENCE: Duration = Duration::from_secs(20);

/// tx-acks kept that arrived before the answer of their Enqueue.
const EARLY_TRANSMISSIONS: usize = 4;

/// Longest text of an error that is kept.
const ERROR_TEXT_MAX: usize = 200;

impl Device {
    pub(super) fn on_enqueued(
        &mut self,
        now: Timestamp,
        attempt: u32,
        queue_item_id: QueueItemId,
        effects: &mut Vec<Effect>,
    ) {
        let Some(item) = &mut self.item else { return };
        if item.attempt != attempt || item.call == Call::Taken {
            return;
        }
        item.call = Call::Taken;
        item.queue_item_id = Some(queue_item_id);
        // A look that began before the item was there says nothing of it.
        self.reading = self.reading.outdated();
        item.check_at = match self.class {
            DeviceClass::A => Some(item.expires_at + EXPIRY_GRACE),
            DeviceClass::B | DeviceClass::C => {
                Some(now.max(item.started_at + self.policy.diagnose_after))
            }
        };
        let step = Step::Enqueued {
            queue_id: queue_item_id,
            expires_at: item.expires_at,
        };
        match &mut item.owner {
            Owner::Active => {
                let Some(active) = &mut self.active else {
                    return;
                };
                active.downlink.queue_item_id = Some(queue_item_id);
                active.downlink.state = DownlinkState::Enqueued;
                active.downlink.reason = None;
                record(&mut active.downlink, now, step, effects);
                if active.downlink.proof == Proof::None {
                    self.finish(now, DownlinkState::Sent, None, effects);
                }
            }
            Owner::Ended(downlink) => {
                downlink.queue_item_id = Some(queue_item_id);
                record(downlink, now, step, effects);
            }
            Owner::Nobody => {}
        }
        let is_it = |early: &Transmission| early.queue_item_id == Some(queue_item_id);
        if let Some(position) = self.early_transmissions.iter().position(is_it) {
            let transmission = self.early_transmissions.remove(position);
            self.take_transmission(now, transmission, false, effects);
        }
    }

    pub(super) fn on_enqueue_failed(
        &mut self,
        now: Timestamp,
        attempt: u32,
        failure: EnqueueFailure,
        effects: &mut Vec<Effect>,
    ) {
        let Some(item) = &mut self.item else { return };
        let is_open = match item.call {
            Call::UnderWay => true,
            // Looks began before the call was made (its commit took long): a slow server may insert the item only now.
            Call::Lost { is_over, .. } => !is_over && failure == EnqueueFailure::Unknown,
            Call::Taken => false,
        };
        if item.attempt != attempt || !is_open {
            return;
        }
        match failure {
            EnqueueFailure::Unavailable => {
                self.undo_attempt(again_at(now + UNREACHABLE_PAUSE));
            }
            EnqueueFailure::KeyRefused => {
                // Whoever calls says when it is taken again; should that be missed, this asks.
                self.is_key_refused = true;
                let again = Phase::Ready {
                    not_before: Some(now + KEY_PAUSE),
                    reason: Some(Reason::KeyRefused),
                };
                self.undo_attempt(again);
            }
            EnqueueFailure::Unknown => {
                item.call = Call::Lost {
                    looks: 0,
                    is_over: true,
                };
                item.check_at = Some(now);
                self.reading = self.reading.outdated();
                if item.owner == Owner::Active {
                    self.wait(now, Reason::AnswerLost, None, effects);
                }
            }
            EnqueueFailure::Refused(text) => {
                self.on_server_error(now, Reason::ServerError(shortened(text)), effects);
            }
            EnqueueFailure::UnknownDevice => {
                self.on_server_error(now, Reason::UnknownDevice, effects);
            }
            EnqueueFailure::Invalid(text) => {
                if self.forget_item() {
                    self.finish(
                        now,
                        DownlinkState::Failed,
                        Some(Reason::ServerError(shortened(text))),
                        effects,
                    );
                }
            }
        }
    }

    /// An error that may pass: again after a pause, `failed` when the attempts are used up.
    fn on_server_error(&mut self, now: Timestamp, reason: Reason, effects: &mut Vec<Effect>) {
        if !self.forget_item() {
            return;
        }
        let Some(active) = &mut self.active else {
            return;
        };
        if attempts_used_up(active) && !active.transmitted {
            self.finish(now, DownlinkState::Failed, Some(reason), effects);
            return;
        }
        let pause = self
            .policy
            .server_error_backoff(active.downlink.attempts, &mut self.random);
        self.fail_attempt(now, reason, now + pause, effects);
    }

    /// The call certainly did not happen: the attempt is none.
    fn undo_attempt(&mut self, phase: Phase) {
        if !self.forget_item() {
            return;
        }
        if let Some(active) = &mut self.active {
            active.downlink.attempts = active.downlink.attempts.saturating_sub(1);
            active.phase = phase;
        }
    }

    /// Whether the key is taken. Once it is again, nobody waits for the end of the pause.
    pub(super) fn on_key_told(&mut self, is_taken: bool) {
        self.is_key_refused = !is_taken;
        if is_taken
            && let Some(active) = &mut self.active
            && let Phase::Ready { not_before, reason } = &mut active.phase
            && *reason == Some(Reason::KeyRefused)
        {
            (*not_before, *reason) = (None, None);
        }
    }

    /// The call was not answered, and its item is not in the queue: it did not happen, or the item is out already. It
    /// is repeated without being counted, but not for ever.
    pub(super) fn repeat_attempt(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if !self.drop_item(now, effects) {
            return;
        }
        let Some(active) = &mut self.active else {
            return;
        };
        if active.credit >= CREDIT_MAX {
            self.fail_after_backoff(now, Reason::AnswerLost, effects);
            return;
        }
        active.credit += 1;
        active.phase = again_at(now + UNREACHABLE_PAUSE);
    }

    /// Forgets the item because it never was in the queue. Tells whether it was the active downlink's.
    fn forget_item(&mut self) -> bool {
        let Some(item) = self.item.take() else {
            return false;
        };
        self.reading = self.reading.outdated();
        self.flights.retain(|flight| flight.attempt != item.attempt);
        item.owner == Owner::Active
    }

    /// Forgets the item because it is not in the queue any more: it may have gone out. Tells whether it was the active
    /// downlink's.
    pub(super) fn drop_item(&mut self, now: Timestamp, effects: &mut Vec<Effect>) -> bool {
        self.account_for_item(now, false, effects);
        let Some(item) = self.item.take() else {
            return false;
        };
        self.reading = self.reading.outdated();
        if let Some(flight) = self
            .flights
            .iter_mut()
            .find(|flight| flight.attempt == item.attempt)
        {
            flight.over_at = Some(now + LANDING);
        }
        item.owner == Owner::Active
    }

    /// A tx-ack. It is an item's of ours only if it carries its id, or cannot carry one (v3).
    pub(super) fn on_transmitted(
        &mut self,
        now: Timestamp,
        transmission: Transmission,
        effects: &mut Vec<Effect>,
    ) {
        let id = transmission.queue_item_id;
        let told_already = id.is_some()
            && self
                .active
                .as_ref()
                .is_some_and(|active| active.transmitted_item == id);
        if told_already {
            return;
        }
        if let Some(item) = &self.item {
            if item.call != Call::Taken {
                if self.early_transmissions.len() == EARLY_TRANSMISSIONS {
                    self.early_transmissions.remove(0);
                }
                self.early_transmissions.push(transmission);
                return;
            }
            if id.is_none() || id == item.queue_item_id {
                if !item.awaits_ack {
                    self.take_transmission(now, transmission, false, effects);
                }
                return;
            }
        }
        let Some(id) = id else { return };
        // The item was thought to have expired unsent, or to be out without a word: here the word is.
        if self
            .active
            .as_ref()
            .is_some_and(|active| active.downlink.queue_item_id == Some(id))
        {
            self.await_proof(now, transmission, false, effects);
        } else {
            self.prove_late_by_transmission(now, &transmission, effects);
        }
    }

    /// An unverified downlink whose proof is the tx-ack gets it late.
    fn prove_late_by_transmission(
        &mut self,
        now: Timestamp,
        transmission: &Transmission,
        effects: &mut Vec<Effect>,
    ) {
        let Some(f_cnt_down) = transmission.f_cnt_down else {
            return;
        };
        let evidence = Evidence::Transmitted {
            gateway_id: transmission.gateway_id,
            f_cnt_down,
        };
        self.prove_late(
            now,
            transmission.queue_item_id,
            Proof::Transmitted,
            evidence,
            effects,
        );
    }

    /// Upgrades the unverified downlink whose last item this is, if that is what proves it.
    fn prove_late(
        &mut self,
        now: Timestamp,
        queue_item_id: Option<QueueItemId>,
        proof: Proof,
        evidence: Evidence,
        effects: &mut Vec<Effect>,
    ) {
        let Some(unproven) = &mut self.unproven else {
            return;
        };
        if queue_item_id.is_some()
            && unproven.downlink.queue_item_id == queue_item_id
            && unproven.downlink.proof == proof
        {
            super::ending::prove(&mut unproven.downlink, now, evidence, true, effects);
            self.unproven = None;
        }
    }

    /// The item went out: it has left the queue, or waits there for its acknowledgement.
    pub(super) fn take_transmission(
        &mut self,
        now: Timestamp,
        transmission: Transmission,
        presumed: bool,
        effects: &mut Vec<Effect>,
    ) {
        self.early_transmissions.clear();
        if !presumed && transmission.gateway_id.is_some() {
            self.account_for_item(now.min(transmission.at), true, effects);
        }
        let Some(item) = &mut self.item else { return };
        let step = transmitted_step(&transmission, presumed);
        if let Owner::Ended(downlink) = &mut item.owner {
            if downlink.state == DownlinkState::Sent {
                downlink.evidence =
                    transmission
                        .f_cnt_down
                        .map(|f_cnt_down| Evidence::Transmitted {
                            gateway_id: transmission.gateway_id,
                            f_cnt_down,
                        });
            }
            record(downlink, now, step, effects);
        }
        let is_active = if item.confirmed && !presumed {
            item.awaits_ack = true;
            item.check_at = Some(now + ACK_PATIENCE);
            item.owner == Owner::Active
        } else {
            self.drop_item(now, effects)
        };
        if is_active {
            self.await_proof(now, transmission, presumed, effects);
        } else {
            self.prove_late_by_transmission(now, &transmission, effects);
        }
    }

    /// The device acknowledged a confirmed downlink, or its time for that ran out. Either way the item is gone.
    pub(super) fn on_acknowledged(
        &mut self,
        now: Timestamp,
        event: Acknowledged,
        effects: &mut Vec<Effect>,
    ) {
        self.drop_acknowledged(now, event, effects);
        let id = event.queue_item_id;
        let evidence = |queue_item_id| Evidence::LorawanAck {
            queue_item_id,
            f_cnt_down: event.f_cnt_down,
        };
        let Some(active) = &self.active else {
            if let Some(id) = id.filter(|_| event.acknowledged)
                && let Some(unproven) = &self.unproven
                && !self.is_ack_ambiguous(unproven.downlink.id)
            {
                self.prove_late(now, Some(id), Proof::LorawanAck, evidence(id), effects);
            }
            return;
        };
        let Some(queue_item_id) = active.downlink.queue_item_id else {
            return;
        };
        if active.downlink.proof != Proof::LorawanAck || id.is_some_and(|id| id != queue_item_id) {
            return;
        }
        if event.acknowledged && !self.is_ack_ambiguous(active.downlink.id) {
            let late = self.is_ready();
            self.verify(now, evidence(queue_item_id), late, effects);
        } else {
            self.fail_after_backoff(now, Reason::NotAcknowledged, effects);
        }
    }

    /// The item that was acknowledged, or not, has left the queue; so it had been on the air.
    fn drop_acknowledged(
        &mut self,
        now: Timestamp,
        event: Acknowledged,
        effects: &mut Vec<Effect>,
    ) {
        let id = event.queue_item_id;
        let ours = self.item.as_ref().is_some_and(|item| {
            item.confirmed
                && item.queue_item_id.is_some()
                && (id.is_none() || id == item.queue_item_id)
        });
        if !ours {
            return;
        }
        if let Some(item) = self.item.as_ref().filter(|_| event.acknowledged) {
            self.settle_ack(item.attempt);
        }
        if !self.drop_item(now, effects) {
            return;
        }
        if let Some(active) = &self.active
            && active.phase == Phase::Sending
        {
            let transmission = Transmission {
                at: now,
                queue_item_id: active.downlink.queue_item_id,
                gateway_id: None,
                f_cnt_down: Some(event.f_cnt_down),
                modulation: None,
            };
            self.await_proof(now, transmission, true, effects);
        }
    }

    /// A gateway refused a frame of this device. With one item of ours at the most, it is that one's; ChirpStack tries
    /// it again by itself.
    pub(super) fn on_refused(&mut self, now: Timestamp, status: String, effects: &mut Vec<Effect>) {
        let Some(item) = &mut self.item else { return };
        if item.awaits_ack {
            return;
        }
        let status = shortened(status);
        item.refusal = Some(status.clone());
        // The same may be told twice.
        if now >= item.started_at + REPEAT.saturating_mul(item.refused) {
            item.refused += 1;
        }
        let step = Step::Refused { status };
        match &mut item.owner {
            Owner::Active => {
                if let Some(active) = &mut self.active {
                    record(&mut active.downlink, now, step, effects);
                }
            }
            Owner::Ended(downlink) => record(downlink, now, step, effects),
            Owner::Nobody => {}
        }
    }

    /// ChirpStack dropped an item unsent, or so it says: a frame whose tx-ack was lost is dropped like that, too.
    pub(super) fn on_dropped(&mut self, now: Timestamp, event: Dropped, effects: &mut Vec<Effect>) {
        let Some(item) = &mut self.item else { return };
        if item.queue_item_id != Some(event.queue_item_id) {
            return;
        }
        let reason = match (event.reason, &item.refusal) {
            (DropReason::PayloadTooLarge, _) => Reason::PayloadTooLarge,
            (DropReason::Expired | DropReason::FrameCounter, Some(status)) => {
                Reason::GatewayRefused(status.clone())
            }
            (DropReason::Expired | DropReason::FrameCounter, None) => Reason::NotTransmitted,
        };
        if let Owner::Ended(downlink) = &mut item.owner {
            record(
                downlink,
                now,
                Step::AttemptFailed {
                    reason: reason.clone(),
                },
                effects,
            );
        }
        if !self.drop_item(now, effects) {
            return;
        }
        match event.reason {
            DropReason::PayloadTooLarge => {
                self.finish(now, DownlinkState::Failed, Some(reason), effects);
            }
            DropReason::Expired | DropReason::FrameCounter => {
                self.fail_after_backoff(now, reason, effects);
            }
        }
    }
}

/// To be tried again without having been counted, because the server could not be reached.
fn again_at(at: Timestamp) -> Phase {
    Phase::Ready {
        not_before: Some(at),
        reason: Some(Reason::ServerUnavailable),
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > ERROR_TEXT_MAX {
        let end = (0..=ERROR_TEXT_MAX)
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        text.truncate(end);
    }
    text
}
