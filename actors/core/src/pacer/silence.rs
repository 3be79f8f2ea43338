//! What was sent without a word.
//!
//! As long as no tx-ack tells ChirpStack that a gateway took an item, it hands it over again every five seconds, and
//! draws a gateway each time (chirpstack-observed.md §3, §6). If the gateway is dark, nothing was sent; if its tx-acks are
//! lost, all was. What tells the two apart are its other signs of life: uplinks that it received, and those of its tx-acks
//! that do come. So each try counts as sent by each gateway that may have been drawn and gave a sign at about that time. A dark
//! one gives none, and when it is back, its budget is as it was.
//!
//! A try that another one followed, and no sign since: then it is doubtful whether the gateway is there, long before
//! ChirpStack's list says that it is not. As long as all gateways that may send to a device are doubtful, few turns are
//! given for them, as scouts; any sign of one ends that. So a darkness costs a handful of commands their first attempt and
//! not each of them, and nothing of the budget that will be needed after it.
//!
//! A restart forgets none of it. As an item ends, its device keeps what [`SilentItem`] tells with its own change, and
//! [`Pacer::recall`] counts it as it was counted before; of an item that has not ended, [`Pacer::hold`] says since when it
//! has been there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ledger::Whose;
use super::{Ask, Grant, Pacer, Reservation};
use crate::gateway::{GATEWAYS_MAX, GatewaySnapshot};
use crate::id::GatewayId;
use crate::region::DUTY_CYCLE_WINDOW;
use crate::time::{Steps, Timestamp};

/// ChirpStack hands over an item again no sooner than this (`class_c_lock_duration`).
pub(crate) const REPEAT: Duration = Duration::from_secs(5);

/// A gateway that gave a sign so long before a try, or since, may have sent it.
const PRESENCE: Duration = Duration::from_secs(15);

/// An item of which no tx-ack told that a gateway took it, or not of every try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilentItem {
    /// When it was put into ChirpStack's queue.
    pub from: Timestamp,
    /// When it was there last, and had not expired.
    pub until: Timestamp,
    /// Whether a tx-ack told of its last try.
    pub is_told: bool,
    /// Tries that a gateway refused.
    pub refused: u32,
    /// It was to find out whether a gateway is there.
    pub is_scout: bool,
    /// Application payload in bytes.
    pub payload_len: usize,
    /// Each of these may have sent it.
    pub gateways: Vec<SilentGateway>,
}

/// A gateway that may have sent an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilentGateway {
    /// Its id.
    pub gateway_id: GatewayId,
    /// When it last gave a sign of life, up to the item's end.
    pub seen_at: Option<Timestamp>,
}

impl SilentItem {
    /// Notes the signs of life that are known of its gateways.
    pub(crate) fn note_signs(&mut self, gateways: &GatewaySnapshot) {
        for gateway in &mut self.gateways {
            let known = gateways.gateways.get(&gateway.gateway_id);
            let seen_at = known.and_then(|known| known.last_seen);
            gateway.seen_at = gateway.seen_at.max(seen_at);
        }
    }

    /// Whether anything counts as sent.
    pub(crate) fn is_of_account(&self) -> bool {
        self.tries().next().is_some()
    }

    /// The same by the steady clock.
    #[must_use]
    pub fn by_steady(mut self, steps: &Steps, now: Timestamp) -> Self {
        let mut convert = |at: &mut Timestamp| *at = steps.steady_of(now, *at);
        convert(&mut self.from);
        convert(&mut self.until);
        for gateway in &mut self.gateways {
            gateway.seen_at.iter_mut().for_each(&mut convert);
        }
        self
    }

    /// What counts as sent: by whom, and when.
    pub(super) fn tries(&self) -> impl Iterator<Item = (GatewayId, Timestamp)> {
        let number_of = |span: Duration| {
            let number = span.as_millis() / REPEAT.as_millis();
            u32::try_from(number).unwrap_or(u32::MAX)
        };
        let last = number_of(self.until.since(self.from));
        let count = last.saturating_add(u32::from(!self.is_told));
        // Longer ago than an hour does not count any more.
        let first = count.saturating_sub(number_of(DUTY_CYCLE_WINDOW));
        (first.max(self.refused)..count).flat_map(move |number| {
            let at = self.from + REPEAT.saturating_mul(number);
            let counts_anyway = number == last && !self.is_scout;
            let gateways = self.gateways.iter().filter(move |gateway| {
                let is_there = |seen_at: Timestamp| seen_at + PRESENCE >= at;
                counts_anyway || gateway.seen_at.is_some_and(is_there)
            });
            gateways.map(move |gateway| (gateway.gateway_id, at))
        })
    }
}

impl Pacer {
    /// These gateways are there.
    pub(super) fn see(&mut self, now: Timestamp, ids: impl IntoIterator<Item = GatewayId>) {
        for id in ids {
            if self.seen.len() < GATEWAYS_MAX || self.seen.contains_key(&id) {
                self.seen.insert(id, now);
            }
            self.untold.remove(&id);
        }
    }

    /// Whether all gateways that may send for it were silent when they should not have been.
    pub(super) fn is_in_doubt(&self, ask: &Ask) -> bool {
        let candidates = &ask.hearing.candidates;
        !ask.is_class_a
            && !candidates.is_empty()
            && candidates.iter().all(|id| self.untold.contains_key(id))
    }

    /// Notes a try that another one followed.
    fn doubt(&mut self, id: GatewayId, tried_at: Timestamp) {
        let gave_a_sign = self.seen.get(&id).is_some_and(|seen| *seen >= tried_at);
        if !gave_a_sign && (self.untold.len() < GATEWAYS_MAX || self.untold.contains_key(&id)) {
            self.untold.entry(id).or_insert(tried_at);
        }
    }

    fn may_have_sent(&self, id: GatewayId, tried_at: Timestamp) -> bool {
        // What signs there were before a restart is not known.
        let seen = self.seen.get(&id).copied().max(self.recalled_at);
        seen.is_some_and(|seen| seen + PRESENCE >= tried_at)
    }

    /// Charges the tries of items that were followed by another one: no tx-ack told of them.
    pub(super) fn charge_repeats(&mut self, now: Timestamp) {
        let mut tries = Vec::new();
        let silent = self
            .grants
            .values_mut()
            .filter(|grant| !grant.is_taken && !grant.ask.is_class_a);
        for grant in silent {
            while let Some(at) = grant.tried_at.filter(|at| now.since(*at) >= REPEAT) {
                grant.tried_at = Some(at + REPEAT);
                let whose = grant.ask.whose();
                tries.extend(grant.reserved.iter().map(|it| (at, whose, *it)));
            }
        }
        for (at, whose, reservation) in tries {
            self.doubt(reservation.gateway_id, at);
            if self.may_have_sent(reservation.gateway_id, at) {
                self.charge(now, whose, reservation);
            }
        }
    }

    /// Charges the last try of an item that ended without a word, to all gateways that seemed to be there.
    pub(super) fn charge_last(&mut self, now: Timestamp, grant: &Grant) {
        let Some(at) = grant.tried_at.filter(|at| *at <= now) else {
            return;
        };
        if grant.is_taken || grant.ask.is_class_a {
            return;
        }
        for reservation in &grant.reserved {
            if !grant.ask.is_scout || self.may_have_sent(reservation.gateway_id, at) {
                self.charge(now, grant.ask.whose(), *reservation);
            }
        }
    }

    /// Charges a frame that was sent, nobody knows by which gateway, to all that may have.
    pub(super) fn charge_all(&mut self, now: Timestamp, grant: &Grant) {
        for reservation in &grant.reserved {
            self.charge(now, grant.ask.whose(), *reservation);
        }
    }

    fn charge(&mut self, now: Timestamp, whose: Whose, reservation: Reservation) {
        if let Some(ledger) = self.ledger(reservation.gateway_id, reservation.band) {
            ledger.spend(now, Some(whose), reservation.airtime);
        }
    }
}

impl Grant {
    /// The last try was refused: it was not sent.
    pub(super) fn skip_try(&mut self, now: Timestamp) {
        if let Some(at) = self.tried_at.filter(|at| *at <= now) {
            self.tried_at = Some(at + REPEAT);
        }
    }
}
