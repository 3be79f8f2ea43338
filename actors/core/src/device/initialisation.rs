//! The settings that a device gets after it joined or restarted, one after the other.
//!
//! They begin with the first uplink of a boot epoch; before it nothing is sent. Each is a downlink of its own, with its
//! attempts and its proof. Whoever orders something goes first: a setting under way gives way to it and comes again
//! afterwards. So does the wanted light, once a first attempt of a setting has failed: a lamp that proves no setting
//! must not show the wrong light for as long.
//!
//! What proves a setting is the device's count of downlinks (kuando-busylight.md §7). Before the automatic uplink is on
//! nothing may answer the very setting that switches it on; then the count in a later report proves it, late.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::DownlinkId;
use crate::time::Timestamp;

use super::downlink::{Downlink, DownlinkState, Origin, Reason, Request, Step};
use super::event::Effect;
use super::machine::record;
use super::state::{Active, Device, Phase};

/// Least time from the end of one setting to the next.
const PAUSE: Duration = Duration::from_secs(2);

/// What was done in this boot epoch less than this ago is not done again unless that is insisted on.
const FRESH_FOR: Duration = Duration::from_hours(1);

/// How often a setting is begun that others interrupt, before the next one has its turn.
const INTERRUPTIONS_MAX: u8 = 8;

/// How far a device's initialisation is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Initialisation {
    /// It is wanted, and begins with the next uplink.
    awaits_uplink: bool,
    run: Option<Run>,
    last: Option<InitialisationState>,
    initialised_at: Option<Timestamp>,
    /// The boot epoch in which it was done.
    epoch: u32,
    /// Settings of the last run that ended without proof; a late one may come.
    unproven: Vec<DownlinkId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    /// Number of the setting, from 0.
    step: u8,
    due_at: Timestamp,
    /// The downlink under way.
    downlink_id: Option<DownlinkId>,
    interruptions: u8,
}

/// Where a device's initialisation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitialisationState {
    /// It begins when the device speaks.
    AwaitingUplink,
    /// Its settings are being sent.
    Running,
    /// Every setting is proven.
    Done,
    /// All were sent, and at least one is not proven.
    Unverified,
    /// A setting could not be sent.
    Failed,
    /// Somebody took a setting back.
    Cancelled,
}

impl InitialisationState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::AwaitingUplink,
        Self::Running,
        Self::Done,
        Self::Unverified,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Whether nothing more comes of it, but for a late proof.
    pub const fn is_over(self) -> bool {
        match self {
            Self::AwaitingUplink | Self::Running => false,
            Self::Done | Self::Unverified | Self::Failed | Self::Cancelled => true,
        }
    }

    /// The word in the API and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AwaitingUplink => "awaiting_uplink",
            Self::Running => "running",
            Self::Done => "done",
            Self::Unverified => "unverified",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A device's initialisation as it is shown and stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitialisationStatus {
    /// Where it is.
    pub state: InitialisationState,
    /// While it runs: the number of the setting under way, from 1.
    pub step: Option<u8>,
    /// How many settings there are.
    pub steps: u8,
    /// While it runs: the downlink of the setting under way.
    pub downlink_id: Option<DownlinkId>,
    /// When every setting was last proven.
    pub initialised_at: Option<Timestamp>,
}

/// What comes of the wish to initialise a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitialisationPlan {
    /// It begins.
    Start,
    /// It runs already.
    Running,
    /// It was done lately, in this boot epoch.
    Fresh {
        /// When.
        initialised_at: Timestamp,
    },
    /// A device of this kind needs none.
    NotNeeded,
}

impl Initialisation {
    /// Whether nothing is known of it, and nothing wanted.
    pub(super) fn is_blank(&self) -> bool {
        *self == Self::default()
    }

    /// When the next setting is to be begun.
    pub(super) fn due_at(&self) -> Option<Timestamp> {
        let run = self.run.as_ref()?;
        run.downlink_id.is_none().then_some(run.due_at)
    }

    pub(super) fn is_running(&self) -> bool {
        self.run.is_some()
    }

    fn begin(&mut self, now: Timestamp) {
        self.awaits_uplink = false;
        self.unproven.clear();
        self.run = Some(Run {
            step: 0,
            due_at: now,
            downlink_id: None,
            interruptions: 0,
        });
    }

    fn end(&mut self, state: InitialisationState) {
        self.run = None;
        self.last = Some(state);
    }
}

impl Device {
    /// How far its initialisation is; `None` if it never was begun, or none is needed.
    pub fn initialisation(&self) -> Option<InitialisationStatus> {
        let initialisation = &self.initialisation;
        let run = initialisation.run.as_ref();
        let state = if run.is_some() {
            InitialisationState::Running
        } else if initialisation.awaits_uplink {
            InitialisationState::AwaitingUplink
        } else {
            initialisation.last?
        };
        Some(InitialisationStatus {
            state,
            step: run.map(|run| run.step.saturating_add(1)),
            steps: self.initialisation_steps(),
            downlink_id: run.and_then(|run| run.downlink_id),
            initialised_at: initialisation.initialised_at,
        })
    }

    /// What comes of [`super::Event::InitialisationRequested`].
    pub fn initialisation_plan(&self, now: Timestamp, force: bool) -> InitialisationPlan {
        let initialisation = &self.initialisation;
        if self.initialisation_steps() == 0 {
            return InitialisationPlan::NotNeeded;
        }
        if initialisation.run.is_some() {
            return InitialisationPlan::Running;
        }
        match initialisation.initialised_at {
            Some(initialised_at)
                if !force
                    && initialisation.epoch == self.session.epoch
                    && now < initialised_at + FRESH_FOR =>
            {
                InitialisationPlan::Fresh { initialised_at }
            }
            Some(_) | None => InitialisationPlan::Start,
        }
    }

    pub(super) fn on_initialisation_requested(&mut self, now: Timestamp, force: bool) {
        if self.initialisation_plan(now, force) == InitialisationPlan::Start {
            self.initialisation.begin(now);
        }
    }

    /// A boot epoch began: settings may be lost, and those under way are begun anew.
    pub(super) fn initialise_anew(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let was_running = self.initialisation.run.take().is_some();
        self.initialisation.unproven.clear();
        self.initialisation.awaits_uplink = self.initialisation_steps() > 0
            && (self.policy.initialise || was_running || self.initialisation.awaits_uplink);
        if self.active_is_initialisation() {
            let reason = Some(Reason::DeviceRestarted);
            self.finish(now, DownlinkState::Superseded, reason, effects);
        }
    }

    /// The device spoke.
    pub(super) fn begin_initialisation_if_due(&mut self, now: Timestamp) {
        if self.initialisation.awaits_uplink {
            self.initialisation.begin(now);
        }
    }

    /// Begins the next setting, when nothing else is under way.
    pub(super) fn initialise_if_due(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let is_due = self.initialisation.due_at().is_some_and(|due| due <= now);
        if !is_due || self.active.is_some() || self.item.is_some() {
            return;
        }
        let id = DownlinkId::from_uuid(self.random.uuid_v7(now));
        let Some(run) = &mut self.initialisation.run else {
            return;
        };
        let commands = self.codec.codec().initialisation();
        let request = commands
            .get(usize::from(run.step))
            .and_then(|command| Request::new(id, self.codec, command, false, true).ok());
        let Some(mut request) = request else {
            self.initialisation.end(InitialisationState::Failed);
            return;
        };
        run.downlink_id = Some(id);
        request.origin = Origin::Initialisation;
        let mut downlink = self.accept(now, request);
        record(&mut downlink, now, Step::Accepted, effects);
        self.waiting.push_back(downlink);
        self.promote();
    }

    /// A setting under way gives way; it comes again afterwards.
    pub(super) fn interrupt_initialisation(
        &mut self,
        now: Timestamp,
        reason: Reason,
        effects: &mut Vec<Effect>,
    ) {
        if self.active_is_initialisation() {
            self.finish(now, DownlinkState::Superseded, Some(reason), effects);
        }
    }

    /// Whether all that is under way is a setting whose first attempt failed.
    pub(super) fn is_initialising_in_vain(&self) -> bool {
        self.waiting.is_empty()
            && matches!(
                &self.active,
                Some(Active {
                    downlink: Downlink {
                        origin: Origin::Initialisation,
                        attempts: 1..,
                        ..
                    },
                    phase: Phase::Ready { .. },
                    ..
                })
            )
    }

    /// What ended in this step may have been a setting.
    pub(super) fn follow_initialisation(&mut self, now: Timestamp, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Record(record) = effect
                && record.downlink.origin == Origin::Initialisation
                && record.downlink.state.is_terminal()
            {
                self.on_setting_ended(now, record.downlink.id, record.downlink.state);
            }
        }
    }

    fn on_setting_ended(&mut self, now: Timestamp, id: DownlinkId, state: DownlinkState) {
        let initialisation = &mut self.initialisation;
        let Some(run) = initialisation
            .run
            .as_mut()
            .filter(|run| run.downlink_id == Some(id))
        else {
            if state == DownlinkState::Verified {
                initialisation.unproven.retain(|unproven| *unproven != id);
                self.complete_initialisation(now);
            }
            return;
        };
        run.downlink_id = None;
        run.due_at = now + PAUSE;
        match state {
            DownlinkState::Accepted
            | DownlinkState::Waiting
            | DownlinkState::Enqueued
            | DownlinkState::Transmitted => {}
            DownlinkState::Superseded if run.interruptions < INTERRUPTIONS_MAX => {
                run.interruptions += 1;
            }
            DownlinkState::Verified
            | DownlinkState::Sent
            | DownlinkState::Unverified
            | DownlinkState::Superseded => {
                if state != DownlinkState::Verified {
                    initialisation.unproven.push(id);
                }
                run.step += 1;
                run.interruptions = 0;
                if run.step >= self.initialisation_steps() {
                    self.initialisation.end(InitialisationState::Unverified);
                    self.complete_initialisation(now);
                }
            }
            DownlinkState::Failed | DownlinkState::Expired => {
                initialisation.end(InitialisationState::Failed);
            }
            DownlinkState::Cancelled => initialisation.end(InitialisationState::Cancelled),
        }
    }

    /// All settings were sent: it is done as soon as each is proven.
    fn complete_initialisation(&mut self, now: Timestamp) {
        let epoch = self.session.epoch;
        let initialisation = &mut self.initialisation;
        let is_over = initialisation.run.is_none()
            && initialisation.last == Some(InitialisationState::Unverified);
        if is_over && initialisation.unproven.is_empty() {
            initialisation.last = Some(InitialisationState::Done);
            initialisation.initialised_at = Some(now);
            initialisation.epoch = epoch;
        }
    }

    fn active_is_initialisation(&self) -> bool {
        self.active
            .as_ref()
            .is_some_and(|active| active.downlink.origin == Origin::Initialisation)
    }

    fn initialisation_steps(&self) -> u8 {
        let steps = self.codec.codec().initialisation().len();
        u8::try_from(steps).unwrap_or(u8::MAX)
    }
}
