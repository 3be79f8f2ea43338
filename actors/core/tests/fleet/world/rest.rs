//! How a world ends: once faults end, everything comes to rest within a bound, and is as it was wanted.

use std::time::Duration;

use downbeat_core::time::Timestamp;
use downbeat_sim::model::Cause;

use super::{Planned, World};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(30);
/// How long everything has to stay at rest.
const REST: Duration = Duration::from_mins(3);
/// Lamps whose session ChirpStack has forgotten are restarted by people when its registry is in order again.
const NOTICED: Duration = Duration::from_mins(2);
/// Within this ChirpStack is known to answer again, and to take the key: a probe every four seconds, or every ten where the
/// answer to one was lost; and a process that is down begins within two minutes.
const REACHED: Duration = Duration::from_secs(150);
/// The last commands come no later than this after the faults' end.
const LAST_ASKED: Duration = Duration::from_mins(5);
/// How long the world may take to come to rest, beside the lamps' heartbeats: an hour for airtime that is used up. A lamp
/// that its watchdog restarts after the faults' end has as long from then: nobody knows when it will do that, and until it
/// is told again it is as it should not be.
const REST_MAX: Duration = Duration::from_mins(100);

impl World {
    /// Looks whether everything is at rest.
    pub(super) fn look_for_rest(&mut self) {
        let since_end = self.now.since(self.scenario.faults_end);
        if !self.is_down && !std::mem::replace(&mut self.has_looked_again, true) {
            self.look_at_registry();
            self.resume_jobs();
        }
        if since_end >= REACHED && self.pool.is_away() && !self.is_down {
            self.check(Err("the network server counts as away".to_owned()));
        }
        if since_end >= NOTICED {
            self.restart_forgotten_lamps();
        }
        match self.unrest() {
            Some(Unrest { since, what }) => {
                self.rested_since = None;
                let most = REST_MAX + 3 * self.scenario.heartbeat;
                if self.now.since(since) > most {
                    self.check(Err(format!("no rest: {what}")));
                } else if since_end > most {
                    // Nothing but lamps that were restarted since; some are so over and over.
                    self.is_over = true;
                }
            }
            None if self.now >= *self.rested_since.get_or_insert(self.now) + REST => {
                self.is_over = true;
            }
            None => {}
        }
        self.plan(self.now + LOOK, Planned::LookForRest);
    }

    /// A device that was deleted and registered anew has no session; a lamp does not notice for hours.
    fn restart_forgotten_lamps(&mut self) {
        for slot in 0..self.slots.len() {
            let dev_eui = self.slots[slot].dev_eui;
            let is_joined = self
                .network
                .light(dev_eui)
                .is_some_and(|light| light.joined);
            let record = self.network.registered(dev_eui);
            if is_joined && record.is_some_and(|record| record.activation().is_none()) {
                self.network.reboot_light(self.now, dev_eui);
            }
        }
    }

    /// Why the world is not at rest, if it is not; what lasts longest.
    fn unrest(&self) -> Option<Unrest> {
        let since_end = |what: &str| {
            Some(Unrest {
                since: self.scenario.faults_end,
                what: what.to_owned(),
            })
        };
        if self.is_down {
            return since_end("the process is down");
        }
        if let Some(what) = self.unrest_of_jobs() {
            return since_end(&what);
        }
        if !self.syncer.is_at_rest() {
            return since_end("the registry is not in step");
        }
        let unrests = (0..self.slots.len()).filter_map(|slot| {
            let Unrest { since, what } = self.unrest_of(slot)?;
            let what = format!("device {slot}: {what}");
            Some(Unrest { since, what })
        });
        unrests.min_by_key(|unrest| unrest.since)
    }

    fn unrest_of(&self, index: usize) -> Option<Unrest> {
        let slot = &self.slots[index];
        let since = self.scenario.faults_end;
        // A light is told again for its watchdog's sake at any time.
        if let Some(id) = slot.promises.unfinished(since + LAST_ASKED) {
            let what = format!("{id} has not ended");
            return Some(Unrest { since, what });
        }
        if let Err(what) = self.is_in_step(index) {
            return Some(Unrest { since, what });
        }
        let state = slot.row.as_ref().and_then(|row| row.state.as_ref())?;
        let desired = state.desired()?.light;
        let light = self.network.light(slot.dev_eui)?;
        let shown = light.shown;
        let what = (shown != desired && !slot.promises.is_transient(shown))
            .then(|| format!("shows {shown} instead of {desired}"))?;
        let watchdogs = light.changes.iter().rev();
        let mut watchdogs = watchdogs.filter(|change| change.cause == Cause::Watchdog);
        let restarted_at = watchdogs.next().map_or(since, |change| change.at);
        let since = since.max(restarted_at);
        Some(Unrest { since, what })
    }
}

/// What keeps the world from being at rest, and from when on its time counts.
struct Unrest {
    since: Timestamp,
    what: String,
}
