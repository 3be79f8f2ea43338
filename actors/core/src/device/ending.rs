//! How a downlink ends: by proof, by giving up, by a newer one, by being taken back, by its time.

use std::collections::VecDeque;

use crate::codec::Proof;
use crate::id::DownlinkId;
use crate::time::Timestamp;

use super::downlink::{Downlink, DownlinkState, Evidence, Reason, Step};
use super::event::Effect;
use super::machine::record;
use super::state::{Active, Device, Owner, Phase, Unproven};

impl Device {
    /// A newer state is wanted: older ones that have not ended are over.
    pub(super) fn supersede_states(
        &mut self,
        now: Timestamp,
        newer: DownlinkId,
        effects: &mut Vec<Effect>,
    ) {
        let (states, rest): (VecDeque<Downlink>, VecDeque<Downlink>) = self
            .waiting
            .drain(..)
            .partition(|downlink| downlink.is_state);
        self.waiting = rest;
        for mut downlink in states {
            end(
                &mut downlink,
                now,
                DownlinkState::Superseded,
                Some(Reason::Newer(newer)),
                effects,
            );
        }
        if self
            .active
            .as_ref()
            .is_some_and(|active| active.downlink.is_state)
        {
            self.finish(
                now,
                DownlinkState::Superseded,
                Some(Reason::Newer(newer)),
                effects,
            );
        }
        if self
            .unproven
            .as_ref()
            .is_some_and(|unproven| unproven.downlink.is_state)
        {
            self.unproven = None;
        }
    }

    pub(super) fn on_cancel_requested(
        &mut self,
        now: Timestamp,
        id: DownlinkId,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(position) = self.waiting.iter().position(|downlink| downlink.id == id) {
            if let Some(mut downlink) = self.waiting.remove(position) {
                end(&mut downlink, now, DownlinkState::Cancelled, None, effects);
                self.forget_wish(now, id);
            }
        } else if self
            .active
            .as_ref()
            .is_some_and(|active| active.downlink.id == id)
        {
            self.finish(now, DownlinkState::Cancelled, None, effects);
            self.forget_wish(now, id);
        }
    }

    /// The device leaves the registry: its downlinks are over, and nothing is wanted of it any more.
    pub(super) fn on_retired(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for mut downlink in std::mem::take(&mut self.waiting) {
            let reason = Some(Reason::DeviceRemoved);
            end(
                &mut downlink,
                now,
                DownlinkState::Cancelled,
                reason,
                effects,
            );
        }
        let reason = Some(Reason::DeviceRemoved);
        self.finish(now, DownlinkState::Cancelled, reason, effects);
        self.unproven = None;
        self.desired = None;
        self.transient_light = None;
        self.reconcile = super::state::Reconcile::default();
        self.initialisation = super::initialisation::Initialisation::default();
    }

    /// Whether nothing is under way, wished for or remembered of commands: [`Event::Retired`](super::Event::Retired) would
    /// change nothing.
    pub fn is_blank(&self) -> bool {
        self.is_idle()
            && self.unproven.is_none()
            && self.desired.is_none()
            && self.transient_light.is_none()
            && self.reconcile == super::state::Reconcile::default()
            && self.initialisation.is_blank()
    }

    /// Ends what has outlived its time. What is in the queue or on the air is waited for: it cannot be called back,
    /// and its item expires no later than the downlink.
    pub(super) fn expire(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let (over, rest): (VecDeque<Downlink>, VecDeque<Downlink>) = self
            .waiting
            .drain(..)
            .partition(|downlink| downlink.expires_at <= now);
        self.waiting = rest;
        for mut downlink in over {
            end(&mut downlink, now, DownlinkState::Expired, None, effects);
        }
        if let Some(Active {
            downlink,
            phase: Phase::Ready { .. },
            ..
        }) = &self.active
            && downlink.expires_at <= now
        {
            self.give_up(now, None, effects);
        }
    }

    /// No further attempt: `unverified` where the device may have it, `expired` where its time ran out before.
    pub(super) fn give_up(
        &mut self,
        now: Timestamp,
        reason: Option<Reason>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(active) = &self.active else { return };
        let out_of_time = active.downlink.expires_at <= now;
        let state = if out_of_time && !active.transmitted {
            DownlinkState::Expired
        } else {
            DownlinkState::Unverified
        };
        let reason = reason.or_else(|| active.downlink.reason.clone());
        self.finish(now, state, reason, effects);
    }

    /// Ends the active downlink without proof. Its item, if it is in the queue, stays in the way.
    pub(super) fn finish(
        &mut self,
        now: Timestamp,
        state: DownlinkState,
        reason: Option<Reason>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(Active {
            mut downlink,
            proving,
            ..
        }) = self.active.take()
        else {
            return;
        };
        end(&mut downlink, now, state, reason, effects);
        self.disown_item(&downlink);
        if state == DownlinkState::Unverified && downlink.light.is_none() {
            self.session.answers = false;
        }
        if state == DownlinkState::Unverified
            && let Some(proving) = proving
        {
            self.unproven = Some(Unproven { downlink, proving });
        }
    }

    /// Ends the active downlink by proof.
    pub(super) fn verify(
        &mut self,
        now: Timestamp,
        evidence: Evidence,
        late: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(Active { mut downlink, .. }) = self.active.take() else {
            return;
        };
        if downlink.proof == Proof::AutoUplink && !late {
            self.session.answers = true;
        }
        prove(&mut downlink, now, evidence, late, effects);
        self.disown_item(&downlink);
    }

    /// The item outlives its downlink; what becomes of it still belongs to its timeline.
    fn disown_item(&mut self, downlink: &Downlink) {
        let Some(item) = &mut self.item else { return };
        if item.owner == Owner::Active {
            item.owner = match downlink.state {
                DownlinkState::Unverified => Owner::Nobody,
                DownlinkState::Accepted
                | DownlinkState::Waiting
                | DownlinkState::Enqueued
                | DownlinkState::Transmitted
                | DownlinkState::Verified
                | DownlinkState::Sent
                | DownlinkState::Failed
                | DownlinkState::Superseded
                | DownlinkState::Cancelled
                | DownlinkState::Expired => Owner::Ended(Box::new(downlink.clone())),
            };
        }
    }
}

/// Writes the end of a downlink.
fn end(
    downlink: &mut Downlink,
    now: Timestamp,
    state: DownlinkState,
    reason: Option<Reason>,
    effects: &mut Vec<Effect>,
) {
    downlink.state = state;
    downlink.reason.clone_from(&reason);
    downlink.finished_at = Some(now);
    record(downlink, now, Step::Ended { state, reason }, effects);
}

/// Writes the proof of a downlink, whether it had ended or not.
pub(super) fn prove(
    downlink: &mut Downlink,
    now: Timestamp,
    evidence: Evidence,
    late: bool,
    effects: &mut Vec<Effect>,
) {
    downlink.state = DownlinkState::Verified;
    downlink.reason = None;
    downlink.evidence = Some(evidence.clone());
    downlink.late = late;
    downlink.finished_at = Some(now);
    record(downlink, now, Step::Verified { evidence, late }, effects);
}
