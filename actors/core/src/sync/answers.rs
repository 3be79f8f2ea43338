//! What the answers of calls tell. They change facts; what is done next is decided in `machine.rs`.

use crate::time::Timestamp;

use super::compare::{Standing, standing, updated};
use super::event::SyncFailure;
use super::machine::Sync;
use super::remote::RemoteDevice;
use super::state::{CallKind, Doubt, Presence, UnderWay, Verdict, Written};
use super::words;

impl Sync {
    /// Gives the device as read, if it can be decided on: read for the newest wish, with no doubt left.
    pub(super) fn on_looked(
        &mut self,
        now: Timestamp,
        number: u32,
        result: Result<Option<RemoteDevice>, SyncFailure>,
    ) -> Option<RemoteDevice> {
        let call = self.answered(number, |kind| matches!(kind, CallKind::Look { .. }))?;
        let remote = match result {
            Ok(remote) => remote,
            Err(SyncFailure::UnknownDevice) => None,
            Err(failure) => {
                self.on_failure(now, call, &failure);
                return None;
            }
        };
        if !self.ends_doubt(call, remote.as_ref()) {
            return None;
        }
        let Some(remote) = remote else {
            self.on_absence(now);
            return None;
        };
        self.refusal = None;
        let wanted = self.wish.as_ref().and_then(|wish| wish.device.as_ref());
        if standing(&remote, &self.written, wanted) == Standing::Ours {
            self.presence = Presence::Ours;
            self.written.note_seen(&remote);
        } else {
            self.presence = Presence::Others;
            self.written = Written::default();
        }
        (call.generation == self.generation()).then_some(remote)
    }

    pub(super) fn on_created(
        &mut self,
        now: Timestamp,
        number: u32,
        result: Result<(), SyncFailure>,
    ) {
        let Some(call) = self.answered(number, |kind| kind == CallKind::Create) else {
            return;
        };
        let Err(failure) = result else {
            self.on_written(call);
            return;
        };
        if failure.is_without_effect() {
            self.forget();
        }
        match failure {
            // Probably there is one already; who it belongs to is looked at.
            SyncFailure::Refused(text) if call.generation == self.generation() => {
                self.refusal = Some(words::bounded(&text));
            }
            SyncFailure::Unavailable
            | SyncFailure::AnswerLost
            | SyncFailure::Refused(_)
            | SyncFailure::UnknownDevice
            | SyncFailure::Unauthenticated
            | SyncFailure::Invalid(_) => self.on_failure(now, call, &failure),
        }
    }

    pub(super) fn on_updated(
        &mut self,
        now: Timestamp,
        number: u32,
        result: Result<(), SyncFailure>,
    ) {
        let Some(call) = self.answered(number, |kind| kind == CallKind::Update) else {
            return;
        };
        match result {
            Ok(()) => self.on_written(call),
            Err(failure) => {
                if failure == SyncFailure::UnknownDevice {
                    self.presence = Presence::Unknown;
                }
                self.on_failure(now, call, &failure);
            }
        }
    }

    pub(super) fn on_deleted(
        &mut self,
        now: Timestamp,
        number: u32,
        result: Result<(), SyncFailure>,
    ) {
        let Some(call) = self.answered(number, |kind| kind == CallKind::Delete) else {
            return;
        };
        match result {
            Ok(()) | Err(SyncFailure::UnknownDevice) => self.forget(),
            Err(failure) => self.on_failure(now, call, &failure),
        }
    }

    pub(super) fn on_key_set(
        &mut self,
        now: Timestamp,
        number: u32,
        result: Result<(), SyncFailure>,
    ) {
        let is_set_key = |kind| matches!(kind, CallKind::SetKey { .. });
        let Some(call) = self.answered(number, is_set_key) else {
            return;
        };
        match (result, call.kind) {
            (
                Ok(()),
                CallKind::SetKey {
                    device_id,
                    revision,
                },
            ) => self.written.key = Some((device_id, revision)),
            (Ok(()), _) => {}
            (Err(failure), _) => {
                // A key is written only to a device that was just seen to be ours.
                self.in_step = false;
                if failure == SyncFailure::UnknownDevice {
                    self.presence = Presence::Unknown;
                }
                self.on_failure(now, call, &failure);
            }
        }
    }

    /// The call under way, if this is its answer: it is over.
    fn answered(
        &mut self,
        number: u32,
        is_kind: impl FnOnce(CallKind) -> bool,
    ) -> Option<UnderWay> {
        self.call
            .take_if(|call| call.number == number && is_kind(call.kind))
    }

    /// A Create or Update was carried out.
    fn on_written(&mut self, call: UnderWay) {
        self.presence = Presence::Ours;
        self.written.note_sent();
        let Some(wish) = &self.wish else { return };
        if call.generation == wish.generation
            && let Some(wanted) = wish.device.clone()
        {
            self.note_in_step(&wanted);
        }
    }

    /// There is no such device.
    fn on_absence(&mut self, now: Timestamp) {
        self.forget();
        if let Some(text) = self.refusal.take() {
            self.trouble.add(now, false, &mut self.random);
            self.trouble.error = Some(words::of_refusal(&text));
        }
    }

    /// Nothing of ours is there.
    fn forget(&mut self) {
        self.presence = Presence::Nothing;
        self.in_step = false;
        self.written = Written::default();
    }

    /// What failed for an older wish is no failure of the newest one, whatever it left behind.
    fn on_failure(&mut self, now: Timestamp, call: UnderWay, failure: &SyncFailure) {
        if *failure == SyncFailure::AnswerLost {
            self.doubt_if_it_changes(now, call);
        }
        if call.generation != self.generation() {
            return;
        }
        let error = words::of_failure(call.kind, failure);
        let depends_on_wish = match call.kind {
            CallKind::Look { .. } | CallKind::Delete => false,
            CallKind::Create | CallKind::Update | CallKind::SetKey { .. } => true,
        };
        if depends_on_wish && matches!(failure, SyncFailure::Invalid(_)) {
            self.give_up(Verdict::Rejected, &error);
            return;
        }
        let unreachable = *failure == SyncFailure::Unavailable;
        self.trouble.add(now, unreachable, &mut self.random);
        self.trouble.error = Some(error);
    }

    /// Whether nothing is in doubt any more, now that this was seen.
    fn ends_doubt(&mut self, look: UnderWay, remote: Option<&RemoteDevice>) -> bool {
        let Some(doubt) = self.doubt else { return true };
        let is_late = look.kind == CallKind::Look { late: true };
        if is_late || self.shows_effect(doubt, look, remote) {
            self.doubt = None;
            return true;
        }
        self.doubt = Some(Doubt {
            looked: true,
            ..doubt
        });
        false
    }

    /// Whether what was seen can only be if the call in doubt was carried out.
    fn shows_effect(&self, doubt: Doubt, look: UnderWay, remote: Option<&RemoteDevice>) -> bool {
        match (doubt.kind, remote) {
            // Before it nothing of ours was there.
            (CallKind::Create, Some(remote)) => {
                standing(remote, &self.written, None) == Standing::Ours
            }
            // Before it the device differed from the wish; of an older wish it is not known how.
            (CallKind::Update, Some(remote)) => {
                let wish = self.wish.as_ref().filter(|wish| {
                    wish.generation == doubt.generation && wish.generation == look.generation
                });
                wish.and_then(|wish| wish.device.as_ref())
                    .is_some_and(|wanted| updated(remote, &self.written, wanted) == *remote)
            }
            (CallKind::Delete, None) => true,
            (
                CallKind::Look { .. }
                | CallKind::Create
                | CallKind::Update
                | CallKind::Delete
                | CallKind::SetKey { .. },
                _,
            ) => false,
        }
    }
}
