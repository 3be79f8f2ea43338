//! How a world ends: once faults end, everything comes to rest within a bound, and is as it was wanted.

use std::time::Duration;

use super::{Planned, World};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(30);
/// How long everything has to stay at rest.
const REST: Duration = Duration::from_mins(3);
/// Lamps whose session ChirpStack has forgotten are restarted by people when its registry is in order again.
const NOTICED: Duration = Duration::from_mins(2);
/// The last commands come no later than this after the faults' end.
const LAST_ASKED: Duration = Duration::from_mins(5);
/// How long the world may take to come to rest, beside the lamps' heartbeats: an hour for airtime that is used up.
const REST_MAX: Duration = Duration::from_mins(100);

impl World {
    /// Looks whether everything is at rest.
    pub(super) fn look_for_rest(&mut self) {
        let since_end = self.now.since(self.scenario.faults_end);
        if !self.is_down && !std::mem::replace(&mut self.has_looked_again, true) {
            self.look_at_registry();
        }
        if since_end >= NOTICED {
            self.restart_forgotten_lamps();
        }
        match self.unrest() {
            Some(unrest) => {
                self.rested_since = None;
                if since_end > REST_MAX + 3 * self.scenario.heartbeat {
                    self.check(Err(format!("no rest: {unrest}")));
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

    /// Why the world is not at rest, if it is not.
    fn unrest(&self) -> Option<String> {
        if self.is_down {
            return Some("the process is down".to_owned());
        }
        if !self.syncer.is_at_rest() {
            return Some("the registry is not in step".to_owned());
        }
        (0..self.slots.len()).find_map(|slot| {
            self.unrest_of(slot)
                .map(|unrest| format!("device {slot}: {unrest}"))
        })
    }

    fn unrest_of(&self, index: usize) -> Option<String> {
        let slot = &self.slots[index];
        // A light is told again for its watchdog's sake at any time.
        let asked = self.scenario.faults_end + LAST_ASKED;
        if let Some(id) = slot.promises.unfinished(asked) {
            return Some(format!("{id} has not ended"));
        }
        if let Err(difference) = self.is_in_step(index) {
            return Some(difference);
        }
        let state = slot.row.as_ref().and_then(|row| row.state.as_ref())?;
        let desired = state.desired()?.light;
        let shown = self.network.light(slot.dev_eui)?.shown;
        (shown != desired && !slot.promises.is_transient(shown))
            .then(|| format!("shows {shown} instead of {desired}"))
    }
}
