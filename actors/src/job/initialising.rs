//! A device of a job that initialises: its own machine does the work, and this follows it.

use downbeat_core::device::{
    DownlinkState, InitialisationPlan, InitialisationState, InitialisationStatus, Reason,
};
use downbeat_core::id::Scope;
use downbeat_core::job::{Event, Item, Known, Refusal};

use super::live::refused;
use crate::device::DeviceMessage;
use crate::order::Initialising;
use crate::port::StoredJob;
use crate::system::Shared;

/// Has the device initialised, and tells what becomes of it until that is over.
///
/// It may be asked a second time after a crash: what was done since the job was made is done, also where it is insisted
/// on.
pub(super) async fn follow(shared: &Shared, job: &StoredJob, item: Item, tell: impl Fn(Event)) {
    let (scope, id) = (Scope::Tenant(job.tenant_id), item.downlink_id);
    let mut force = false;
    loop {
        let asked = shared.ask(item.key, |reply| DeviceMessage::Initialise {
            scope,
            force,
            by: None,
            reply,
        });
        let begun = match asked.await {
            Ok(begun) => begun,
            Err(error) => {
                refused(id, &error).into_iter().for_each(tell);
                return;
            }
        };
        let moved = |known| Event::Moved {
            downlink_id: id,
            known,
        };
        match begun.plan {
            InitialisationPlan::Start | InitialisationPlan::Running => {
                tell(Event::Accepted(id));
                let told = |known| tell(moved(known));
                if !watch(begun, told).await {
                    // Its actor ended; the next one is asked how far it is.
                    tell(Event::Busy(id));
                }
                return;
            }
            InitialisationPlan::Fresh { initialised_at } if initialised_at >= job.created_at => {
                return tell(moved(known(InitialisationState::Done)));
            }
            InitialisationPlan::Fresh { .. } if job.order.force && !force => force = true,
            InitialisationPlan::Fresh { .. } => {
                return tell(Event::Refused(id, Refusal::DoneBefore));
            }
            InitialisationPlan::NotNeeded => {
                return tell(Event::Refused(id, Refusal::NotUnderstood));
            }
        }
    }
}

/// Tells of every change; whether it came to its end.
async fn watch(begun: Initialising, tell: impl Fn(Known)) -> bool {
    let Initialising {
        status,
        mut updates,
        ..
    } = begun;
    let mut status: Option<InitialisationStatus> = status;
    loop {
        if let Some(InitialisationStatus { state, .. }) = status {
            tell(known(state));
            if state.is_over() {
                return true;
            }
        }
        status = updates.recv().await;
        if status.is_none() {
            return false;
        }
    }
}

/// An initialisation in the words for commands.
fn known(state: InitialisationState) -> Known {
    let (state, reason) = match state {
        InitialisationState::AwaitingUplink => {
            (DownlinkState::Waiting, Some(Reason::BeforeFirstUplink))
        }
        // Some of its settings are on air, others are to come: it is in reach.
        InitialisationState::Running => (DownlinkState::Transmitted, None),
        InitialisationState::Done => (DownlinkState::Verified, None),
        InitialisationState::Unverified => (DownlinkState::Unverified, Some(Reason::NotConfirmed)),
        InitialisationState::Failed => (DownlinkState::Failed, None),
        InitialisationState::Cancelled => (DownlinkState::Cancelled, None),
    };
    Known {
        state,
        reason,
        attempts: u8::from(state.is_terminal()),
    }
}
