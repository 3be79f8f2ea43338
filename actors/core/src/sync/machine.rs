//! The one entry of a device's synchronisation, and what it does next.

use serde::{Deserialize, Serialize};

use crate::id::DevEui;
use crate::random::Random;
use crate::time::Timestamp;

use super::compare::{Standing, conflict, created, standing, updated};
use super::event::{SyncCall, SyncEffect, SyncEvent};
use super::remote::RemoteDevice;
use super::state::{CallKind, Doubt, Presence, Trouble, UnderWay, Verdict, Written};
use super::wish::{WantedDevice, Wish};

/// Keeps one `DevEUI` of one network server in step with the registry.
///
/// Whoever drives it stores it after each step, and carries out its calls after that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sync {
    pub(super) dev_eui: DevEui,
    pub(super) random: Random,
    /// The newest wish.
    pub(super) wish: Option<Wish>,
    pub(super) verdict: Verdict,
    pub(super) synced_generation: u64,
    /// Calls begun so far.
    pub(super) calls: u32,
    pub(super) call: Option<UnderWay>,
    pub(super) doubt: Option<Doubt>,
    pub(super) presence: Presence,
    /// The device was seen, or made, as the newest wish wants it; its key is another matter.
    pub(super) in_step: bool,
    pub(super) written: Written,
    /// Why a Create was refused, until a look tells whether that was for a device that is there already.
    pub(super) refusal: Option<String>,
    pub(super) trouble: Trouble,
    pub(super) note: Option<String>,
}

/// The next call, as it is remembered and as it is made.
type Next = (CallKind, SyncCall);

impl Sync {
    /// A `DevEUI` of which nothing was ever wanted. `seed` spreads its retries.
    pub fn new(dev_eui: DevEui, seed: u64) -> Self {
        Self {
            dev_eui,
            random: Random::from_seed(seed),
            wish: None,
            verdict: Verdict::Open,
            synced_generation: 0,
            calls: 0,
            call: None,
            doubt: None,
            presence: Presence::Nothing,
            in_step: false,
            written: Written::default(),
            refusal: None,
            trouble: Trouble::default(),
            note: None,
        }
    }

    /// The `DevEUI`.
    pub fn dev_eui(&self) -> DevEui {
        self.dev_eui
    }

    /// Takes up work after a restart: the value is as it was stored, a call that was under way may or may not have been
    /// carried out, or may still be. Gives effects as [`Sync::step`] does: store first.
    pub fn restore(&mut self, now: Timestamp) -> Vec<SyncEffect> {
        if let Some(call) = self.call.take() {
            self.doubt_if_it_changes(now, call);
        }
        if !self.is_settled() {
            // Time has passed since it was seen.
            self.in_step = false;
        }
        self.advance(now, None)
    }

    /// Advances by one event. Never fails: a surprise changes nothing.
    pub fn step(&mut self, now: Timestamp, event: SyncEvent) -> Vec<SyncEffect> {
        let mut seen = None;
        match event {
            SyncEvent::Wanted(wish) => self.on_wanted(wish),
            SyncEvent::Looked { call, result } => seen = self.on_looked(now, call, result),
            SyncEvent::Created { call, result } => self.on_created(now, call, result),
            SyncEvent::Updated { call, result } => self.on_updated(now, call, result),
            SyncEvent::Deleted { call, result } => self.on_deleted(now, call, result),
            SyncEvent::KeySet { call, result } => self.on_key_set(now, call, result),
            SyncEvent::ServerReturned => self.trouble.forgive(),
            SyncEvent::Elapsed => {}
        }
        self.advance(now, seen.as_ref())
    }

    /// When the machine wants to be woken by [`SyncEvent::Elapsed`], if no event comes before.
    pub fn next_wake(&self) -> Option<Timestamp> {
        if self.call.is_some() || self.is_settled() {
            None
        } else {
            self.due_at()
        }
    }

    /// The newest wish wins; what was known of what is there is looked at again.
    fn on_wanted(&mut self, wish: Wish) {
        if self
            .wish
            .as_ref()
            .is_some_and(|known| wish.generation <= known.generation)
        {
            return;
        }
        if wish.force {
            // Whoever insists wants the key there, too, whatever is believed to be there.
            self.written.key = None;
        }
        self.wish = Some(wish);
        self.verdict = Verdict::Open;
        self.in_step = false;
        self.refusal = None;
        self.trouble = Trouble::default();
        self.note = None;
    }

    /// One look at all facts. `seen` is the device as it was just read, after the newest wish and with no doubt left.
    fn advance(&mut self, now: Timestamp, seen: Option<&RemoteDevice>) -> Vec<SyncEffect> {
        self.trouble.check_clock(now);
        if let Some(doubt) = &mut self.doubt {
            // A clock that was set back: nothing tells how long ago it was.
            doubt.since = doubt.since.min(now);
        }
        if self.call.is_some() || self.is_settled() || self.due_at().is_some_and(|at| now < at) {
            return Vec::new();
        }
        let next = self.next_call(now, seen);
        next.map(|next| self.begin(next)).into_iter().collect()
    }

    /// When there is something to do next; `None` is now.
    fn due_at(&self) -> Option<Timestamp> {
        let doubt_ends_at = self
            .doubt
            .filter(|doubt| doubt.looked)
            .map(|doubt| doubt.ends_at());
        self.trouble.paused_until().max(doubt_ends_at)
    }

    fn next_call(&mut self, now: Timestamp, seen: Option<&RemoteDevice>) -> Option<Next> {
        let late = self.doubt.is_none_or(|doubt| doubt.ends_at() <= now);
        let look = (CallKind::Look { late }, SyncCall::Look);
        if self.doubt.is_some() {
            return Some(look);
        }
        let wish = self.wish.clone()?;
        match wish.device {
            None => self.remove(look, seen),
            Some(wanted) => self.bring_about(look, &wanted, wish.force, seen),
        }
    }

    /// Nothing of ours is to be there.
    fn remove(&mut self, look: Next, seen: Option<&RemoteDevice>) -> Option<Next> {
        match self.presence {
            Presence::Nothing => self.finish(None),
            Presence::Others => self.finish(Some(
                "ChirpStack has a device with this DevEUI that is not the registry's; it was left alone.",
            )),
            Presence::Unknown | Presence::Ours if seen.is_none() => Some(look),
            Presence::Unknown | Presence::Ours => Some((CallKind::Delete, SyncCall::Delete)),
        }
    }

    /// A device is to be there: first the device as a whole, then its key.
    fn bring_about(
        &mut self,
        look: Next,
        wanted: &WantedDevice,
        force: bool,
        seen: Option<&RemoteDevice>,
    ) -> Option<Next> {
        if self.presence == Presence::Nothing {
            let device = Box::new(created(self.dev_eui, wanted));
            self.written.send(None, wanted);
            return Some((CallKind::Create, SyncCall::Create(device)));
        }
        if !self.in_step {
            let Some(remote) = seen else {
                return Some(look);
            };
            let standing = standing(remote, &self.written, Some(wanted));
            if let Some(reason) = conflict(remote, standing, wanted.application_id)
                && !force
            {
                return self.give_up(Verdict::Conflict, &reason);
            }
            let device = updated(remote, &self.written, wanted);
            if device != *remote {
                self.written.adopted |= standing != Standing::Ours;
                self.written.send(Some(remote), wanted);
                let call = SyncCall::Update(Box::new(device));
                return Some((CallKind::Update, call));
            }
            self.note_in_step(wanted);
        }
        match wanted.app_key_revision {
            Some(revision) if self.written.key != Some((wanted.device_id, revision)) => {
                let device_id = wanted.device_id;
                let kind = CallKind::SetKey {
                    device_id,
                    revision,
                };
                Some((kind, SyncCall::SetKey { revision }))
            }
            Some(_) | None => {
                let note =
                    "ChirpStack had a device with this DevEUI already; it was made the registry's.";
                self.finish(self.written.adopted.then_some(note))
            }
        }
    }

    /// The device is as the newest wish wants it.
    pub(super) fn note_in_step(&mut self, wanted: &WantedDevice) {
        self.in_step = true;
        self.written.owners = [wanted.device_id].into();
        self.written.tags = wanted.tags.keys().cloned().collect();
        self.written.sent.clear();
    }

    /// Notes what may be so from now on, and makes the call.
    fn begin(&mut self, (kind, what): Next) -> SyncEffect {
        match kind {
            CallKind::Look { .. } => {}
            CallKind::Create | CallKind::Update => {
                if self.presence != Presence::Ours {
                    self.presence = Presence::Unknown;
                    self.written.key = None;
                }
            }
            CallKind::Delete => self.presence = Presence::Unknown,
            CallKind::SetKey { .. } => self.written.key = None,
        }
        self.calls = self.calls.wrapping_add(1);
        self.call = Some(UnderWay {
            number: self.calls,
            kind,
            generation: self.generation(),
        });
        self.trouble.end_pause();
        SyncEffect::Call {
            call: self.calls,
            what,
        }
    }

    /// It may have been carried out, or still be.
    pub(super) fn doubt_if_it_changes(&mut self, now: Timestamp, call: UnderWay) {
        match call.kind {
            CallKind::Look { .. } => {}
            CallKind::Create | CallKind::Update | CallKind::Delete | CallKind::SetKey { .. } => {
                self.doubt = Some(Doubt::new(now, call));
            }
        }
    }

    /// The newest wish came true. Nothing is left to call.
    fn finish(&mut self, note: Option<&str>) -> Option<Next> {
        self.verdict = Verdict::Done;
        self.synced_generation = self.generation();
        self.refusal = None;
        self.trouble = Trouble::default();
        self.note = note.map(str::to_owned);
        None
    }

    /// Nothing more is done for the newest wish.
    pub(super) fn give_up(&mut self, verdict: Verdict, reason: &str) -> Option<Next> {
        self.verdict = verdict;
        self.refusal = None;
        self.trouble.error = Some(super::words::bounded(reason));
        None
    }
}
