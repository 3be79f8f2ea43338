//! Attempts: when one may begin, and what becomes of its item in ChirpStack's queue.
//!
//! There is at most one item of ours, so that tx-acks, gateway errors (which carry no id) and what the queue holds can
//! be attributed. It is never flushed: it goes out, or it expires by itself. Whoever comes next waits for that.

use std::time::Duration;

use crate::codec::Proof;
use crate::gateway::GatewaySnapshot;
use crate::id::QueueItemId;
use crate::network::{Acknowledged, DropReason, Dropped, EnqueueFailure, QueueItem, TX_ACK_MEMORY};
use crate::radio::{DeviceClass, Modulation};
use crate::time::Timestamp;

use super::downlink::{DownlinkState, Evidence, Origin, Priority, Reason, Step};
use super::event::{Effect, Enqueue};
use super::proof::Proving;
use super::state::{Active, Call, Device, Flight, Item, Owner, Phase, Transmission, Turn, record};

/// A turn that comes within this is not worth a line in the timeline.
pub(super) const TURN_PATIENCE: Duration = Duration::from_secs(1);

/// An expired item is dropped when the scheduler next takes up the device: up to its 5 s lock and 1 s tick later
/// (chirpstack-observed.md §2: 2.8 s).
const EXPIRY_GRACE: Duration = Duration::from_millis(6_500);

/// Between looks at an item that has expired and is still there (ChirpStack has no route to the device).
const LINGERING: Duration = Duration::from_secs(10);

/// Between two looks for an item whose Enqueue was not answered: a server that was slow may still insert it.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// After a look into the queue that failed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Pause after a call that did not reach the server; the pool holds further turns back while its circuit is open.
const UNREACHABLE_PAUSE: Duration = Duration::from_secs(1);

/// How long after it left ChirpStack's queue a frame may still come out of a gateway: its own transmit queue, and
/// what ChirpStack remembers of it.
const LANDING: Duration = Duration::from_secs(2 * TX_ACK_MEMORY.as_secs());

/// An acknowledgement or its time-out comes within `class_c_timeout` (5 s by default) of the tx-ack.
const ACK_PATIENCE: Duration = Duration::from_secs(20);

/// tx-acks kept that arrived before the answer of their Enqueue.
const EARLY_TRANSMISSIONS: usize = 4;

/// Attempts that a restarting device is granted on top.
const CREDIT_MAX: u8 = 20;

/// Longest text of an error that is kept.
const ERROR_TEXT_MAX: usize = 200;

/// What is in the way of an attempt.
struct Obstacle {
    reason: Reason,
    until: Option<Timestamp>,
}

impl Device {
    /// Begins the active downlink's next attempt, or notes down what is in its way.
    pub(super) fn send(
        &mut self,
        now: Timestamp,
        gateways: &GatewaySnapshot,
        effects: &mut Vec<Effect>,
    ) {
        let Some(Active {
            phase: Phase::Ready { .. },
            ..
        }) = &self.active
        else {
            return;
        };
        if let Some(obstacle) = self.obstacle(now, gateways) {
            self.wait(now, &obstacle, effects);
            return;
        }
        match self.turn {
            Turn::None => {
                self.turn = Turn::Asked { since: now };
                effects.push(Effect::AskTurn(self.priority()));
            }
            Turn::Asked { since } => {
                if now >= since + TURN_PATIENCE {
                    self.wait(
                        now,
                        &Obstacle {
                            reason: Reason::Paced,
                            until: None,
                        },
                        effects,
                    );
                }
            }
            Turn::Granted => self.begin_attempt(now, effects),
        }
    }

    fn priority(&self) -> Priority {
        match &self.active {
            Some(active) if active.downlink.origin == Origin::Reconcile => Priority::Reconcile,
            Some(active) if active.downlink.attempts > 0 => Priority::Retry,
            Some(_) | None => Priority::Interactive,
        }
    }

    /// Gives back a turn that nothing needs.
    pub(super) fn settle_turn(&mut self, effects: &mut Vec<Effect>) {
        let ready = matches!(
            &self.active,
            Some(Active { phase: Phase::Ready { .. }, downlink, .. })
                if downlink.state != DownlinkState::Waiting || downlink.reason == Some(Reason::Paced)
        );
        let needed = match self.turn {
            Turn::None => return,
            Turn::Asked { .. } => ready,
            Turn::Granted => self
                .item
                .as_ref()
                .is_some_and(|item| self.occupies_turn(item)),
        };
        if !needed {
            self.turn = Turn::None;
            effects.push(Effect::EndTurn);
        }
    }

    /// ChirpStack's scheduler takes up devices of Class C alone: only their items stand in each other's way.
    fn occupies_turn(&self, item: &Item) -> bool {
        !item.awaits_ack && (self.class != DeviceClass::A || item.call != Call::Taken)
    }

    /// The reason for which a long wait for a turn is already shown.
    pub(super) fn patience_with_turn_shown(&self) -> Option<()> {
        let active = self.active.as_ref()?;
        (active.downlink.state == DownlinkState::Waiting
            && active.downlink.reason == Some(Reason::Paced))
        .then_some(())
    }

    fn obstacle(&mut self, now: Timestamp, gateways: &GatewaySnapshot) -> Option<Obstacle> {
        if self.item.is_some() {
            return Some(Obstacle {
                reason: Reason::BehindQueueItem,
                until: None,
            });
        }
        if let Some(Active {
            phase:
                Phase::Ready {
                    not_before: Some(not_before),
                    reason,
                },
            ..
        }) = &self.active
            && *not_before > now
        {
            let reason = reason.clone().unwrap_or(Reason::Paced);
            return Some(Obstacle {
                reason,
                until: Some(*not_before),
            });
        }
        if self.session.awaiting_first_uplink {
            return Some(Obstacle {
                reason: Reason::BeforeFirstUplink,
                until: None,
            });
        }
        if self.is_within_reach(gateways) {
            self.gateway_looks = 0;
            self.gateway_look_at = None;
            return None;
        }
        if self.gateway_look_at.is_none_or(|look_at| look_at <= now) {
            self.gateway_looks = self.gateway_looks.saturating_add(1);
            let pause = self
                .policy
                .no_gateway_backoff
                .saturating_mul(self.gateway_looks.min(30));
            self.gateway_look_at = Some(now + pause);
        }
        Some(Obstacle {
            reason: Reason::NoGateway,
            until: self.gateway_look_at,
        })
    }

    /// Whether a gateway that heard the device's last uplink is there: ChirpStack sends through no other.
    fn is_within_reach(&self, gateways: &GatewaySnapshot) -> bool {
        let receptions = self.receptions();
        if !gateways.knows_any() {
            true
        } else if receptions.is_empty() {
            gateways.any_alive()
        } else {
            receptions
                .iter()
                .any(|reception| gateways.is_alive(reception.gateway_id))
        }
    }

    /// Shows why the active downlink waits, once for each reason.
    fn wait(&mut self, now: Timestamp, obstacle: &Obstacle, effects: &mut Vec<Effect>) {
        let Some(active) = &mut self.active else {
            return;
        };
        let downlink = &mut active.downlink;
        if downlink.state == DownlinkState::Waiting
            && downlink.reason.as_ref() == Some(&obstacle.reason)
        {
            return;
        }
        downlink.state = DownlinkState::Waiting;
        downlink.reason = Some(obstacle.reason.clone());
        let step = Step::Waiting {
            reason: obstacle.reason.clone(),
            until: obstacle.until,
        };
        record(downlink, now, step, effects);
    }

    fn begin_attempt(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(active) = &mut self.active else {
            return;
        };
        let modulation = self.session.modulation();
        let downlink = &mut active.downlink;
        downlink.attempts = downlink.attempts.saturating_add(1);
        downlink.queue_item_id = None;
        let attempt = self.next_attempt;
        self.next_attempt = self.next_attempt.wrapping_add(1);
        let expires_at =
            (now + self.policy.item_ttl(self.class, modulation)).min(downlink.expires_at);
        if active
            .proving
            .is_none_or(|proving| proving.epoch != self.session.epoch)
        {
            active.proving = Some(Proving {
                light: downlink.light,
                epoch: self.session.epoch,
                baseline: self.session.downlinks_received,
                light_before: self.session.light,
                not_before: now + self.policy.soonest_answer(modulation),
            });
        }
        active.phase = Phase::Sending;
        self.flights.push(Flight {
            attempt,
            downlink_id: downlink.id,
            light: downlink.light,
            epoch: self.session.epoch,
            over_at: None,
        });
        self.item = Some(Item {
            attempt,
            owner: Owner::Active,
            f_port: downlink.frame.f_port.get(),
            payload: downlink.frame.payload.clone(),
            confirmed: downlink.confirmed,
            queue_item_id: None,
            call: Call::UnderWay,
            started_at: now,
            expires_at,
            epoch: self.session.epoch,
            check_at: None,
            reading: false,
            awaits_ack: false,
            refusal: None,
            seen_stuck: false,
        });
        effects.push(Effect::Enqueue(Enqueue {
            attempt,
            downlink_id: downlink.id,
            frame: downlink.frame.clone(),
            confirmed: downlink.confirmed,
            expires_at,
        }));
    }

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
            Owner::Ended(downlink) => record(downlink, now, step, effects),
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
        if item.attempt != attempt || item.call != Call::UnderWay {
            return;
        }
        match failure {
            EnqueueFailure::Unavailable => self.undo_attempt(now, false),
            EnqueueFailure::Unknown => {
                item.call = Call::Lost { looks: 0 };
                item.check_at = Some(now);
                if item.owner == Owner::Active {
                    self.wait(
                        now,
                        &Obstacle {
                            reason: Reason::AnswerLost,
                            until: None,
                        },
                        effects,
                    );
                }
            }
            EnqueueFailure::Refused(text) => {
                self.on_server_error(now, Reason::ServerError(shortened(text)), effects);
            }
            EnqueueFailure::UnknownDevice => {
                self.on_server_error(now, Reason::UnknownDevice, effects);
            }
            EnqueueFailure::Invalid(text) => {
                if self.drop_item(now, true) {
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
        if !self.drop_item(now, true) {
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

    /// The call did not happen, as far as can be known: the attempt is not counted.
    fn undo_attempt(&mut self, now: Timestamp, may_be_out: bool) {
        if !self.drop_item(now, !may_be_out) {
            return;
        }
        let Some(active) = &mut self.active else {
            return;
        };
        active.downlink.attempts = active.downlink.attempts.saturating_sub(1);
        active.phase = Phase::Ready {
            not_before: Some(now + UNREACHABLE_PAUSE),
            reason: Some(Reason::ServerUnavailable),
        };
    }

    /// Forgets the item because it is not in the queue (any more). `never_sent`: it cannot have gone out.
    /// Tells whether it was the active downlink's.
    fn drop_item(&mut self, now: Timestamp, never_sent: bool) -> bool {
        let Some(item) = self.item.take() else {
            return false;
        };
        if never_sent {
            self.flights.retain(|flight| flight.attempt != item.attempt);
        } else if let Some(flight) = self
            .flights
            .iter_mut()
            .find(|flight| flight.attempt == item.attempt)
        {
            flight.over_at = Some(now + LANDING);
        }
        item.owner == Owner::Active
    }

    /// An attempt did not do: the next one at `retry_at`, or the end.
    pub(super) fn fail_attempt(
        &mut self,
        now: Timestamp,
        reason: Reason,
        retry_at: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(active) = &mut self.active else {
            return;
        };
        record(
            &mut active.downlink,
            now,
            Step::AttemptFailed {
                reason: reason.clone(),
            },
            effects,
        );
        if attempts_used_up(active) || active.downlink.expires_at <= now {
            self.give_up(now, Some(reason), effects);
            return;
        }
        active.downlink.reason = None;
        active.phase = Phase::Ready {
            not_before: Some(retry_at),
            reason: Some(reason),
        };
    }

    fn fail_after_backoff(&mut self, now: Timestamp, reason: Reason, effects: &mut Vec<Effect>) {
        let Some(active) = &self.active else { return };
        let pause = self
            .policy
            .backoff(active.downlink.attempts, &mut self.random);
        self.fail_attempt(now, reason, now + pause, effects);
    }

    /// The device restarted under the attempt: it does not count, and the next one comes as soon as it may.
    pub(super) fn void_attempt(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(active) = &mut self.active else {
            return;
        };
        active.credit = active.credit.saturating_add(1).min(CREDIT_MAX);
        self.fail_attempt(now, Reason::DeviceRestarted, now, effects);
    }

    /// The window of a transmitted downlink has passed without proof.
    pub(super) fn close_window(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(Active {
            phase: Phase::Transmitted { window_ends, .. },
            ..
        }) = &self.active
        else {
            return;
        };
        if *window_ends <= now {
            self.fail_after_backoff(now, Reason::NotConfirmed, effects);
        }
    }

    /// A tx-ack. It is an item's of ours only if it carries its id, or cannot carry one (v3).
    pub(super) fn on_transmitted(
        &mut self,
        now: Timestamp,
        transmission: Transmission,
        effects: &mut Vec<Effect>,
    ) {
        let id = transmission.queue_item_id;
        if let Some(item) = &self.item {
            if item.queue_item_id.is_some() && (id == item.queue_item_id || id.is_none()) {
                if !item.awaits_ack {
                    self.take_transmission(now, transmission, false, effects);
                }
                return;
            }
            if item.call != Call::Taken {
                if self.early_transmissions.len() == EARLY_TRANSMISSIONS {
                    self.early_transmissions.remove(0);
                }
                self.early_transmissions.push(transmission);
                return;
            }
        }
        // The item was thought to have expired unsent; its frame is on the air all the same.
        if let Some(Active {
            downlink,
            phase: Phase::Ready { .. },
            ..
        }) = &self.active
            && self.item.is_none()
            && id.is_some()
            && downlink.queue_item_id == id
        {
            self.await_proof(now, transmission, false, effects);
        }
    }

    /// The item went out: it has left the queue, or waits there for its acknowledgement.
    fn take_transmission(
        &mut self,
        now: Timestamp,
        transmission: Transmission,
        presumed: bool,
        effects: &mut Vec<Effect>,
    ) {
        self.early_transmissions.clear();
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
            self.drop_item(now, false)
        };
        if is_active {
            self.await_proof(now, transmission, presumed, effects);
        }
    }

    /// The active downlink is on the air; from here on the device has its window to prove it.
    fn await_proof(
        &mut self,
        now: Timestamp,
        transmission: Transmission,
        presumed: bool,
        effects: &mut Vec<Effect>,
    ) {
        let window = self.policy.window(self.class, self.session.modulation());
        let Some(active) = &mut self.active else {
            return;
        };
        active.transmitted = true;
        active.phase = Phase::Transmitted {
            since: now,
            window_ends: now + window,
            modulation: transmission.modulation,
        };
        active.downlink.state = DownlinkState::Transmitted;
        active.downlink.reason = None;
        record(
            &mut active.downlink,
            now,
            transmitted_step(&transmission, presumed),
            effects,
        );
        if active.downlink.proof == Proof::Transmitted
            && let Some(f_cnt_down) = transmission.f_cnt_down
        {
            let evidence = Evidence::Transmitted {
                gateway_id: transmission.gateway_id,
                f_cnt_down,
            };
            self.verify(now, evidence, false, effects);
        }
    }

    /// The device acknowledged a confirmed downlink, or its time for that ran out. Either way the item is gone.
    pub(super) fn on_acknowledged(
        &mut self,
        now: Timestamp,
        event: Acknowledged,
        effects: &mut Vec<Effect>,
    ) {
        let id = event.queue_item_id;
        let ours = self.item.as_ref().is_some_and(|item| {
            item.queue_item_id.is_some() && (id.is_none() || id == item.queue_item_id)
        });
        if ours {
            self.drop_item(now, false);
        }
        let Some(active) = &self.active else {
            self.prove_late_by_ack(now, event, effects);
            return;
        };
        let queue_item_id = active.downlink.queue_item_id;
        if active.downlink.proof != Proof::LorawanAck
            || queue_item_id.is_none()
            || (id.is_some() && id != queue_item_id)
        {
            return;
        }
        match (event.acknowledged, queue_item_id) {
            (true, Some(queue_item_id)) => {
                let late = !matches!(active.phase, Phase::Transmitted { .. } | Phase::Sending);
                let evidence = Evidence::LorawanAck {
                    queue_item_id,
                    f_cnt_down: event.f_cnt_down,
                };
                self.verify(now, evidence, late, effects);
            }
            (_, _) => {
                if !matches!(active.phase, Phase::Ready { .. }) {
                    self.fail_after_backoff(now, Reason::NotAcknowledged, effects);
                }
            }
        }
    }

    fn prove_late_by_ack(
        &mut self,
        now: Timestamp,
        event: Acknowledged,
        effects: &mut Vec<Effect>,
    ) {
        let Some(unproven) = &mut self.unproven else {
            return;
        };
        let Some(queue_item_id) = unproven.downlink.queue_item_id else {
            return;
        };
        if event.acknowledged
            && event.queue_item_id == Some(queue_item_id)
            && unproven.downlink.proof == Proof::LorawanAck
        {
            let evidence = Evidence::LorawanAck {
                queue_item_id,
                f_cnt_down: event.f_cnt_down,
            };
            super::ending::prove(&mut unproven.downlink, now, evidence, true, effects);
            self.unproven = None;
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
        if !self.drop_item(now, false) {
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

    /// Reads the queue when that is due.
    pub(super) fn look_into_queue(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(item) = &mut self.item else { return };
        if !item.reading && item.check_at.is_some_and(|check_at| check_at <= now) {
            item.reading = true;
            effects.push(Effect::ReadQueue);
        }
    }

    pub(super) fn on_queue_read_failed(&mut self, now: Timestamp) {
        if let Some(item) = &mut self.item {
            item.reading = false;
            item.check_at = Some(now + LOOK_AGAIN);
        }
    }

    pub(super) fn on_queue_read(
        &mut self,
        now: Timestamp,
        items: &[QueueItem],
        effects: &mut Vec<Effect>,
    ) {
        let Some(item) = &mut self.item else { return };
        item.reading = false;
        if item.call == Call::UnderWay {
            return;
        }
        let found = items.iter().find(|found| is_same_item(item, found));
        match found {
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
            Call::Lost { looks } => {
                let started_at = item.started_at;
                if let Some(early) = self
                    .early_transmissions
                    .iter()
                    .copied()
                    .find(|early| early.at >= started_at)
                {
                    if let Some(active) = &mut self.active
                        && item.owner == Owner::Active
                    {
                        active.downlink.queue_item_id = early.queue_item_id;
                    }
                    self.take_transmission(now, early, false, effects);
                } else if looks == 0 {
                    item.call = Call::Lost { looks: 1 };
                    item.check_at = Some(now + SECOND_LOOK);
                } else {
                    self.undo_attempt(now, true);
                }
            }
            Call::Taken if item.awaits_ack => {
                if self.drop_item(now, false) {
                    self.fail_after_backoff(now, Reason::NotAcknowledged, effects);
                }
            }
            Call::Taken if item.epoch != self.session.epoch => {
                // The join flushed it, or it went out in answer to the first uplink and the tx-ack was lost.
                if self.drop_item(now, false) {
                    self.void_attempt(now, effects);
                }
            }
            Call::Taken if now < item.expires_at => {
                let silent = Transmission {
                    at: now,
                    queue_item_id: item.queue_item_id,
                    gateway_id: None,
                    f_cnt_down: None,
                    modulation: None,
                };
                self.take_transmission(now, silent, true, effects);
            }
            Call::Taken => {
                let reason = item
                    .refusal
                    .take()
                    .map_or(Reason::NotTransmitted, Reason::GatewayRefused);
                if self.drop_item(now, false) {
                    self.fail_after_backoff(now, reason, effects);
                }
            }
        }
    }

    /// When the device spoke after a join, its queue may have been flushed: look soon.
    pub(super) fn check_item_soon(&mut self, now: Timestamp) {
        if let Some(item) = &mut self.item
            && item.call == Call::Taken
        {
            item.check_at = Some(now + Duration::from_millis(1_500));
        }
    }

    /// Uplink and downlink would have crossed until this instant.
    pub(super) fn crossing_ends(
        &self,
        since: Timestamp,
        downlink: Option<Modulation>,
    ) -> Timestamp {
        since + self.policy.crossing(downlink, self.session.modulation())
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

fn attempts_used_up(active: &Active) -> bool {
    active.downlink.attempts >= active.downlink.attempts_max.saturating_add(active.credit)
}

fn transmitted_step(transmission: &Transmission, presumed: bool) -> Step {
    Step::Transmitted {
        queue_id: transmission.queue_item_id,
        gateway_id: transmission.gateway_id,
        f_cnt_down: transmission.f_cnt_down,
        spreading_factor: match transmission.modulation {
            Some(Modulation::Lora {
                spreading_factor, ..
            }) => Some(spreading_factor),
            Some(Modulation::Fsk { .. }) | None => None,
        },
        presumed,
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
