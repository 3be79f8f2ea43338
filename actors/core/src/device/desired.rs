//! What is wanted of the device beyond the commands: a colour is a wish that stays.
//!
//! When a report differs from it and no command is under way, the device is told again without being asked: at most
//! once in a while, longer apart as long as that does not help, at the lowest priority. A device that shows the right
//! thing is told so again before its watchdog would restart it for want of downlinks.

use crate::codec::{Command, Report};
use crate::id::DownlinkId;
use crate::light::LightState;
use crate::time::Timestamp;

use super::downlink::{Downlink, Origin, Reason, Request, Step};
use super::event::Effect;
use super::machine::record;
use super::state::{Desired, Device, Reconcile};

/// What it takes to make a light the desired one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WishPlan {
    /// Nothing: the device shows it.
    Shown,
    /// Nothing more than the command that is under way.
    UnderWay(DownlinkId),
    /// A command.
    Send,
}

impl Device {
    /// A new state command is a new wish, unless it is transient.
    pub(super) fn note_wish(&mut self, now: Timestamp, request: &Request) {
        let Some(light) = request.light else { return };
        if matches!(request.origin, Origin::Reconcile | Origin::Initialisation) {
            return;
        }
        if request.transient || !request.is_state {
            self.transient_light = Some(light);
            return;
        }
        self.desire(now, light, Some(request.id));
    }

    fn desire(&mut self, now: Timestamp, light: LightState, downlink_id: Option<DownlinkId>) {
        let before = self.desired.map(|desired| desired.light);
        self.transient_light = None;
        self.reconcile = Reconcile::default();
        self.desired = Some(Desired {
            light,
            since: now,
            downlink_id,
            before,
        });
    }

    /// What it takes to make a light the desired one.
    pub fn wish_plan(&self, now: Timestamp, light: LightState) -> WishPlan {
        if let Some(newest) = self.unfinished().filter(|known| known.is_state).last() {
            return if newest.light == Some(light) {
                WishPlan::UnderWay(newest.id)
            } else {
                WishPlan::Send
            };
        }
        // A frame of another light that may still land would undo what is shown.
        let undone = self.flights.iter().any(|flight| {
            flight.light.is_some_and(|landing| landing != light)
                && flight.over_at.is_none_or(|over_at| over_at > now)
        });
        if self.session.light == Some(light) && !undone {
            WishPlan::Shown
        } else {
            WishPlan::Send
        }
    }

    /// Whether it shows what is wanted, as far as it said so since it last restarted; nothing wanted is shown, too.
    pub fn is_converged(&self) -> bool {
        let desired = self.desired.map(|desired| desired.light);
        desired.is_none_or(|light| self.session.light == Some(light))
    }

    pub(super) fn on_wished(
        &mut self,
        now: Timestamp,
        request: Request,
        effects: &mut Vec<Effect>,
    ) {
        let Some(light) = request.light else { return };
        match self.wish_plan(now, light) {
            WishPlan::Send => self.on_requested(now, request, effects),
            WishPlan::UnderWay(_) | WishPlan::Shown
                if self.desired.is_some_and(|desired| desired.light == light) => {}
            WishPlan::UnderWay(id) => self.desire(now, light, Some(id)),
            WishPlan::Shown => self.desire(now, light, None),
        }
    }

    /// Nothing is wanted any more. What somebody ordered goes on; what only the wish asked for does not.
    pub(super) fn on_wish_cleared(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.desired = None;
        self.transient_light = None;
        self.reconcile = Reconcile::default();
        let reconciling = |downlink: &Downlink| downlink.origin == Origin::Reconcile;
        let told = self.unfinished().find(|downlink| reconciling(downlink));
        if let Some(id) = told.map(|downlink| downlink.id) {
            self.on_cancel_requested(now, id, effects);
        }
    }

    /// A cancelled wish is none: what was wanted before is wanted again.
    pub(super) fn forget_wish(&mut self, now: Timestamp, id: DownlinkId) {
        let Some(desired) = self.desired else { return };
        if desired.downlink_id != Some(id) {
            return;
        }
        self.desired = desired.before.map(|light| Desired {
            light,
            since: now,
            before: None,
            ..desired
        });
    }

    /// After a report: arranges for a reconcile command if the light is not the wanted one.
    pub(super) fn compare_with_desired(&mut self, now: Timestamp, shown: LightState) {
        let Some(desired) = self.desired else { return };
        if shown == desired.light {
            self.reconcile = Reconcile::default();
            self.transient_light = None;
            if self.policy.reconcile && self.session.quiet_reports >= self.policy.refresh_after {
                self.session.quiet_reports = if self.counts_downlinks() {
                    0
                } else {
                    // Whether it arrives will not be known: told twice as often, it may miss one.
                    self.policy.refresh_after / 2
                };
                self.reconcile.due_at = Some(now);
                self.reconcile.refresh = true;
            }
            return;
        }
        if !self.policy.reconcile || self.transient_light == Some(shown) {
            self.reconcile.due_at = None;
            return;
        }
        let doublings = self.reconcile.streak.saturating_sub(1).min(16);
        let pause = self
            .policy
            .reconcile_pause
            .saturating_mul(1 << doublings)
            .min(self.policy.reconcile_pause_max);
        // A frame on its way may still put it right.
        let landing = self
            .flights
            .iter()
            .filter(|flight| {
                flight.light == Some(desired.light) && flight.epoch == self.session.epoch
            })
            .filter_map(|flight| flight.over_at)
            .max();
        self.reconcile.refresh = false;
        let rested = self.reconcile.last_at.map(|last| last + pause);
        self.reconcile.due_at = Some(
            [Some(now), landing, rested]
                .into_iter()
                .flatten()
                .max()
                .unwrap_or(now),
        );
    }

    /// A device that gets no downlink for many reports restarts by its watchdog and forgets its light.
    pub(super) fn count_quiet_reports(&mut self, report: &Report) {
        if report.downlinks_received == self.session.downlinks_received {
            self.session.quiet_reports = self.session.quiet_reports.saturating_add(1);
        } else {
            self.session.quiet_reports = 0;
        }
    }

    /// Whether its reports count the downlinks that it received.
    fn counts_downlinks(&self) -> bool {
        self.session.downlinks_received.is_some()
    }

    /// Tells the device again, if that is due and nothing is under way.
    pub(super) fn reconcile_if_due(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.reconcile.due_at.is_none_or(|due| due > now) || self.item.is_some() {
            return;
        }
        if self.active.is_some() && !self.is_initialising_in_vain() {
            return;
        }
        self.reconcile.due_at = None;
        let refresh = std::mem::take(&mut self.reconcile.refresh);
        let Some(desired) = self.desired else { return };
        if self.session.light == Some(desired.light) && !refresh {
            return;
        }
        let id = DownlinkId::from_uuid(self.random.uuid_v7(now));
        let command = Command::SetLight(desired.light);
        // That it shows the same as before proves nothing, and further attempts would never do, either.
        let is_provable = !refresh || self.counts_downlinks();
        let Ok(mut request) = Request::new(id, self.codec, &command, false, is_provable) else {
            return;
        };
        request.origin = Origin::Reconcile;
        self.reconcile.last_at = Some(now);
        self.reconcile.streak += 1;
        // A late proof of an older frame of the same light could be this one's.
        self.unproven = self
            .unproven
            .take()
            .filter(|unproven| unproven.downlink.light.is_none());
        self.interrupt_initialisation(now, Reason::Newer(id), effects);
        let mut downlink = self.accept(now, request);
        record(&mut downlink, now, Step::Accepted, effects);
        self.waiting.push_back(downlink);
        self.promote();
    }
}
