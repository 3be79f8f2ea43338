//! How a world ends: once faults end, everything comes to rest within a bound, and is as it was wanted.

use std::time::Duration;

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
/// How long the world may take to come to rest, beside the lamps' heartbeats, while gateways have air left.
const REST_MAX: Duration = Duration::from_mins(40);
/// A gateway that sent for so long within the last hour has no air for what nobody waits for.
const FULL_MS: u64 = 180_000;
/// A frame at SF12 with the pause that 10 % of the air demand.
const FRAME_PAUSE: Duration = Duration::from_secs(15);
/// Frames that it takes at the most to bring one lamp to rest, those that are lost among them: two settings, a command of
/// a job and the wish.
const FRAMES_EACH: u32 = 8;

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
            Some(what) => {
                self.rested_since = None;
                if !self.is_air_full() {
                    self.restless += LOOK;
                }
                let set_back = self.set_back_until.since(self.scenario.faults_end);
                let most = REST_MAX + 3 * self.scenario.heartbeat + set_back;
                if self.restless > most || since_end > most + self.all_told_once() {
                    self.check(Err(format!("no rest: {what}")));
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

    /// Whether one of the gateways has sent as much as it may.
    fn is_air_full(&self) -> bool {
        let mut gateways = self.network.gateways().into_iter();
        gateways.any(|gateway| gateway.airtime_ms >= FULL_MS)
    }

    /// How long the gateways' air takes to tell every lamp all there is.
    fn all_told_once(&self) -> Duration {
        let lamps = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        lamps * FRAMES_EACH * FRAME_PAUSE
    }

    /// Why the world is not at rest, if it is not.
    fn unrest(&self) -> Option<String> {
        if self.is_down {
            return Some("the process is down".to_owned());
        }
        if let Some(what) = self.unrest_of_jobs() {
            return Some(what);
        }
        if !self.syncer.is_at_rest() {
            return Some("the registry is not in step".to_owned());
        }
        let mut unrests = (0..self.slots.len())
            .filter_map(|slot| Some(format!("device {slot}: {}", self.unrest_of(slot)?)));
        unrests.next()
    }

    fn unrest_of(&self, index: usize) -> Option<String> {
        let slot = &self.slots[index];
        // A light is told again for its watchdog's sake at any time.
        let last_asked = self.scenario.faults_end + LAST_ASKED;
        if let Some(id) = slot.promises.unfinished(last_asked) {
            return Some(format!("{id} has not ended"));
        }
        if let Err(what) = self.is_in_step(index) {
            return Some(what);
        }
        let state = slot.row.as_ref().and_then(|row| row.state.as_ref())?;
        let desired = state.desired()?.light;
        let shown = self.network.light(slot.dev_eui)?.shown;
        (shown != desired && !slot.promises.is_transient(shown))
            .then(|| format!("shows {shown} instead of {desired}"))
    }
}
