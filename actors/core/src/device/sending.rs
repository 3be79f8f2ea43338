//! Attempts: when one may begin, how long it may take, and when the next one comes.
//!
//! What becomes of its item in ChirpStack's queue is told in `queue_item.rs`.

use std::time::Duration;

use crate::codec::Proof;
use crate::gateway::GatewaySnapshot;
use crate::radio::{DeviceClass, Modulation};
use crate::time::Timestamp;

use super::downlink::{Downlink, DownlinkState, Evidence, Origin, Priority, Reason, Step};
use super::event::{Effect, Enqueue};
use super::machine::record;
use super::proof::Proving;
use super::queue_item::CALL_PATIENCE;
use super::state::{Active, Call, Device, Flight, Item, Owner, Phase, Transmission, Turn};

/// A turn that comes within this is not worth a line in the timeline.
pub(super) const TURN_PATIENCE: Duration = Duration::from_secs(1);

/// Attempts that a downlink is granted on top: for a device that restarts under it, and for answers that are lost.
pub(super) const CREDIT_MAX: u8 = 20;

/// Attempts of a downlink that are made to find out whether a gateway is back.
pub(super) const SCOUTS_MAX: u8 = 8;

/// Between two of them, times their number.
const SCOUT_PAUSE: Duration = Duration::from_secs(30);

/// What is in the way of an attempt.
struct Obstacle {
    reason: Reason,
    until: Option<Timestamp>,
}

impl Device {
    /// Begins the active downlink's next attempt, or notes down what is in its way. Tells whether only the turn is.
    pub(super) fn send(
        &mut self,
        now: Timestamp,
        gateways: &GatewaySnapshot,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if !self.is_ready() {
            self.gateway_look_at = None;
            return false;
        }
        let Some(Obstacle { reason, until }) = self.obstacle(now, gateways) else {
            return self.send_in_turn(now, false, effects);
        };
        let is_scout = reason == Reason::NoGateway && self.may_scout(now);
        if reason != Reason::NoGateway {
            self.gateway_look_at = None;
        }
        if is_scout && self.turn == (Turn::Granted { is_scout }) {
            return self.send_in_turn(now, is_scout, effects);
        }
        self.wait(now, reason, until, effects);
        let may_ask = matches!(self.turn, Turn::None | Turn::Asked { .. });
        is_scout && may_ask && self.send_in_turn(now, is_scout, effects)
    }

    /// Begins the attempt if its turn has come, or asks for it. Tells whether only that is missing.
    fn send_in_turn(&mut self, now: Timestamp, is_scout: bool, effects: &mut Vec<Effect>) -> bool {
        let priority = self.priority();
        match self.turn {
            Turn::Asked {
                since,
                priority: asked,
                is_scout: as_scout,
            } if (asked, as_scout) == (priority, is_scout) => {
                if !is_scout && now >= since + TURN_PATIENCE {
                    let reason = if self.is_key_refused {
                        Reason::KeyRefused
                    } else {
                        Reason::Paced
                    };
                    self.wait(now, reason, None, effects);
                }
                true
            }
            Turn::None | Turn::Asked { .. } => {
                self.turn = Turn::Asked {
                    since: now,
                    priority,
                    is_scout,
                };
                effects.push(Effect::AskTurn(priority));
                true
            }
            Turn::Granted { .. } | Turn::Used => {
                self.turn = Turn::Used;
                self.begin_attempt(now, is_scout, effects);
                false
            }
        }
    }

    /// Whether there is an active downlink that is to be sent.
    pub(super) fn is_ready(&self) -> bool {
        matches!(
            self.active,
            Some(Active {
                phase: Phase::Ready { .. },
                ..
            })
        )
    }

    /// Whether an attempt of the active downlink is under way.
    pub(super) fn attempt_is_open(&self) -> bool {
        self.active.is_some() && !self.is_ready()
    }

    /// The turn has come. One that is not wanted any more is given back.
    pub(super) fn on_turn_granted(&mut self, effects: &mut Vec<Effect>) {
        match self.turn {
            Turn::None => effects.push(Effect::EndTurn),
            Turn::Asked { is_scout, .. } => self.turn = Turn::Granted { is_scout },
            Turn::Granted { .. } | Turn::Used => {}
        }
    }

    pub(super) fn priority(&self) -> Priority {
        let Some(active) = &self.active else {
            return Priority::Interactive;
        };
        match active.downlink.origin {
            Origin::Reconcile => Priority::Reconcile,
            Origin::Initialisation => Priority::Initialisation,
            // Further attempts, too: nobody waits for one device of many.
            Origin::Job(_) => Priority::Bulk,
            Origin::Api if active.downlink.attempts > 0 => Priority::Retry,
            Origin::Api => Priority::Interactive,
        }
    }

    /// Gives back the turn of an item that has gone out.
    pub(super) fn end_used_turn(&mut self, effects: &mut Vec<Effect>) {
        let is_held = self
            .item
            .as_ref()
            .is_some_and(|item| self.occupies_turn(item));
        if self.turn == Turn::Used && !is_held {
            self.turn = Turn::None;
            effects.push(Effect::EndTurn);
        }
    }

    /// Gives back a turn, or takes back the wish for one, when no attempt can begin now.
    pub(super) fn end_unwanted_turn(&mut self, only_turn_missing: bool, effects: &mut Vec<Effect>) {
        let unwanted = match self.turn {
            Turn::None | Turn::Used => false,
            Turn::Asked { .. } => !only_turn_missing,
            Turn::Granted { .. } => true,
        };
        if unwanted {
            self.turn = Turn::None;
            effects.push(Effect::EndTurn);
        }
    }

    /// ChirpStack's scheduler takes up devices of Class C alone: only their items stand in each other's way.
    fn occupies_turn(&self, item: &Item) -> bool {
        !item.awaits_ack && (self.class != DeviceClass::A || item.call != Call::Taken)
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
        if let Some(obstacle) = self.too_late_for_a_retry(now) {
            return Some(obstacle);
        }
        if self.is_awaited {
            return Some(Obstacle {
                reason: Reason::NotSynced,
                until: None,
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

    /// A downlink that is tried until its deadline is tried again only where the device can still prove it in time.
    fn too_late_for_a_retry(&self, now: Timestamp) -> Option<Obstacle> {
        let active = self.active.as_ref()?;
        let downlink = &active.downlink;
        let is_retry = downlink.until_deadline && downlink.attempts > 0;
        let failed_because = match &active.phase {
            Phase::Ready { reason, .. } => reason.clone(),
            Phase::Sending | Phase::Transmitted { .. } => None,
        };
        (is_retry && now > self.last_retry_at(downlink)).then(|| Obstacle {
            reason: failed_because.unwrap_or(Reason::NotConfirmed),
            until: Some(downlink.expires_at),
        })
    }

    /// When an attempt has to begin at the latest for its window to end before the downlink's time is over.
    fn last_retry_at(&self, downlink: &Downlink) -> Timestamp {
        downlink.expires_at - self.policy.window(self.class, self.session.modulation())
    }

    /// Whether a gateway that heard the device's last uplink is there: ChirpStack sends through no other.
    fn is_within_reach(&self, gateways: &GatewaySnapshot) -> bool {
        let ids = self
            .receptions()
            .iter()
            .map(|reception| reception.gateway_id);
        let mut named = ids.filter(|id| id.is_named()).peekable();
        if !gateways.knows_any() {
            true
        } else if named.peek().is_none() {
            gateways.any_alive()
        } else {
            named.any(|id| gateways.is_alive(id))
        }
    }

    /// Whether an attempt may find out if there is a gateway after all. ChirpStack tells of one that is back after half a
    /// minute or more; an item in its queue is tried every five seconds, and the tx-ack tells at once. The pacer sees to
    /// it that few do this at a time.
    fn may_scout(&self, now: Timestamp) -> bool {
        let scouts = self.active.as_ref().map_or(0, |active| active.scouts);
        self.class != DeviceClass::A
            && !self.receptions().is_empty()
            && scouts < SCOUTS_MAX
            && self.scout_at.is_none_or(|at| at <= now)
    }

    /// Shows why the active downlink waits, once for each reason.
    pub(super) fn wait(
        &mut self,
        now: Timestamp,
        reason: Reason,
        until: Option<Timestamp>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(active) = &mut self.active else {
            return;
        };
        let downlink = &mut active.downlink;
        if downlink.state == DownlinkState::Waiting && downlink.reason.as_ref() == Some(&reason) {
            return;
        }
        downlink.state = DownlinkState::Waiting;
        downlink.reason = Some(reason.clone());
        record(downlink, now, Step::Waiting { reason, until }, effects);
    }

    fn begin_attempt(&mut self, now: Timestamp, is_scout: bool, effects: &mut Vec<Effect>) {
        let modulation = self.session.modulation();
        let (baseline, light_before) = self.known_before();
        let Some(active) = &mut self.active else {
            return;
        };
        active.is_scouting = is_scout;
        if is_scout {
            active.scouts = active.scouts.saturating_add(1);
            self.scout_at = Some(now + SCOUT_PAUSE.saturating_mul(u32::from(active.scouts)));
        }
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
                baseline,
                light_before,
                not_before: now + self.policy.soonest_answer(modulation),
            });
        }
        active.phase = Phase::Sending;
        let flight = Flight {
            attempt,
            downlink_id: downlink.id,
            light: downlink.light,
            epoch: self.session.epoch,
            awaits_ack: downlink.confirmed,
            over_at: None,
        };
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
            check_at: Some(now + CALL_PATIENCE),
            awaits_ack: false,
            refusal: None,
            seen_stuck: false,
            is_scout,
            refused: 0,
            is_overdue: false,
            is_accounted: false,
        });
        effects.push(Effect::Enqueue(Enqueue {
            attempt,
            downlink_id: downlink.id,
            frame: downlink.frame.clone(),
            confirmed: downlink.confirmed,
            expires_at,
        }));
        self.take_off(flight);
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
        let until_deadline = active.downlink.until_deadline;
        active.phase = Phase::Ready {
            not_before: Some(retry_at),
            reason: Some(reason),
        };
        if until_deadline {
            self.bring_forward(now);
        }
    }

    /// The last retry comes sooner than its backoff says, if only then its window ends before the deadline.
    fn bring_forward(&mut self, now: Timestamp) {
        let Some(active) = &self.active else { return };
        let last_retry_at = self.last_retry_at(&active.downlink);
        if let Some(Active {
            phase:
                Phase::Ready {
                    not_before: Some(not_before),
                    ..
                },
            ..
        }) = &mut self.active
            && *not_before > last_retry_at
            && last_retry_at >= now
        {
            *not_before = last_retry_at;
        }
    }

    pub(super) fn fail_after_backoff(
        &mut self,
        now: Timestamp,
        reason: Reason,
        effects: &mut Vec<Effect>,
    ) {
        if !self.attempt_is_open() {
            return;
        }
        let Some(active) = &mut self.active else {
            return;
        };
        if active.is_scouting && reason == Reason::NotTransmitted {
            // There is no gateway, as was thought: nothing was tried.
            active.downlink.attempts = active.downlink.attempts.saturating_sub(1);
            return self.fail_attempt(now, reason, now, effects);
        }
        let pause = self
            .policy
            .backoff(active.downlink.attempts, &mut self.random);
        self.fail_attempt(now, reason, now + pause, effects);
    }

    /// The device restarted under the attempt: the next one comes as soon as it may. A light that was lost like that
    /// does not count as tried; other commands may be what made the device restart.
    pub(super) fn void_attempt(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if !self.attempt_is_open() {
            return;
        }
        if let Some(active) = &mut self.active
            && active.downlink.light.is_some()
        {
            active.credit = active.credit.saturating_add(1).min(CREDIT_MAX);
        }
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

    /// The active downlink is on the air; from here on the device has its window to prove it.
    pub(super) fn await_proof(
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
        if !presumed {
            active.transmitted_item = transmission.queue_item_id;
        }
        let late = matches!(active.phase, Phase::Ready { .. });
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
            self.verify(now, evidence, late, effects);
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

pub(super) fn attempts_used_up(active: &Active) -> bool {
    let most = active.downlink.attempts_max.saturating_add(active.credit);
    !active.downlink.until_deadline && active.downlink.attempts >= most
}

pub(super) fn transmitted_step(transmission: &Transmission, presumed: bool) -> Step {
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
