//! Calls that machines ask for: in which order they are begun, and what their answers are called.

use std::collections::VecDeque;
use std::time::Duration;

use downbeat_core::circuit::Outcome;
use downbeat_core::id::{DevEui, DeviceKey};
use downbeat_core::sync::{SyncCall, SyncEffect, SyncEvent, SyncFailure};
use downbeat_core::time::Timestamp;

use crate::chirpstack_pool::outcome_of;
use crate::port::{DeviceStore, NetworkServer, NetworkServerError};

/// A call that decides from what was just read is not begun later than this after it was asked for.
const STALE_AFTER: Duration = Duration::from_secs(5);

/// A call that was asked for and not begun.
pub(super) struct Call {
    pub(super) dev_eui: DevEui,
    pub(super) number: u32,
    pub(super) what: SyncCall,
    asked_at: Timestamp,
}

impl Call {
    /// What a machine is told of a call that is not made.
    pub(super) fn not_made(&self) -> SyncEvent {
        self.what.failed(self.number, SyncFailure::Unavailable)
    }
}

/// All that were asked for and not begun. Those that go stale come first.
#[derive(Default)]
pub(super) struct Calls {
    urgent: VecDeque<Call>,
    patient: VecDeque<Call>,
}

impl Calls {
    pub(super) fn len(&self) -> usize {
        self.urgent.len() + self.patient.len()
    }

    pub(super) fn ask(&mut self, now: Timestamp, dev_eui: DevEui, effect: SyncEffect) {
        let SyncEffect::Call { call, what } = effect;
        let goes_stale = what.goes_stale();
        let call = Call {
            dev_eui,
            number: call,
            what,
            asked_at: now,
        };
        if goes_stale {
            self.urgent.push_back(call);
        } else {
            self.patient.push_back(call);
        }
    }

    /// Takes back a device's call that was not begun.
    pub(super) fn call_back(&mut self, dev_eui: DevEui) -> Option<Call> {
        let take = |queue: &mut VecDeque<Call>| {
            let at = queue.iter().position(|call| call.dev_eui == dev_eui)?;
            queue.remove(at)
        };
        take(&mut self.urgent).or_else(|| take(&mut self.patient))
    }

    /// A call that is not to be begun any more.
    pub(super) fn stale(&mut self, now: Timestamp) -> Option<Call> {
        let first = self.urgent.front()?;
        if now.since(first.asked_at) > STALE_AFTER {
            self.urgent.pop_front()
        } else {
            None
        }
    }

    pub(super) fn next(&mut self) -> Option<Call> {
        self.urgent.pop_front().or_else(|| self.patient.pop_front())
    }
}

/// Makes one call and puts its answer into words for the machine.
pub(super) async fn carry_out(
    server: &dyn NetworkServer,
    store: &dyn DeviceStore,
    key: DeviceKey,
    call: u32,
    what: SyncCall,
) -> (SyncEvent, Outcome) {
    let dev_eui = key.dev_eui;
    let changed = match &what {
        SyncCall::Look => {
            let result = server.device(dev_eui).await;
            let outcome = outcome_of(&result);
            let result = result.map_err(failure);
            return (SyncEvent::Looked { call, result }, outcome);
        }
        SyncCall::Create(device) => server.create_device(device).await,
        SyncCall::Update(device) => server.update_device(device).await,
        SyncCall::Delete => server.delete_device(dev_eui).await,
        SyncCall::SetKey { revision } => {
            let Ok(Some(app_key)) = store.app_key(key, *revision).await else {
                // Another revision is there, so a newer wish is on its way; or the store is away for a moment.
                let event = what.failed(call, SyncFailure::Unavailable);
                return (event, Outcome::Answered);
            };
            server.set_app_key(dev_eui, &app_key).await
        }
    };
    let outcome = outcome_of(&changed);
    (what.answered(call, changed.map_err(failure)), outcome)
}

fn failure(error: NetworkServerError) -> SyncFailure {
    match error {
        NetworkServerError::Unavailable(_) => SyncFailure::Unavailable,
        NetworkServerError::AnswerLost(_) => SyncFailure::AnswerLost,
        NetworkServerError::Refused(text) => SyncFailure::Refused(text),
        NetworkServerError::UnknownDevice(_) => SyncFailure::UnknownDevice,
        NetworkServerError::Unauthenticated => SyncFailure::Unauthenticated,
        NetworkServerError::Invalid(text) => SyncFailure::Invalid(text),
    }
}
