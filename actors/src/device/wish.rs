//! What is wanted of a device without an order: a light that stays, and the settings of its codec.

use downbeat_core::codec::Command;
use downbeat_core::device::{Admission, Event, InitialisationPlan, Request, WishPlan};
use downbeat_core::id::{DownlinkId, Scope, TenantId};
use downbeat_core::light::LightState;
use ractor::ActorRef;
use tokio::sync::{mpsc, oneshot};

use super::running::{Asked, Kept, Running};
use super::{DeviceMessage, DeviceState, Life};
use crate::order::{AskError, Desire, Initialising};
use crate::port::By;

impl DeviceState {
    pub(super) fn is_of(&self, tenant_id: TenantId) -> bool {
        match &self.life {
            Life::Running(running) => running.stored.tenant_id == tenant_id,
            Life::Loading(_) | Life::Ended(_) => false,
        }
    }

    pub(super) fn on_desire(
        &mut self,
        myself: &ActorRef<DeviceMessage>,
        scope: Scope,
        (id, light): (DownlinkId, LightState),
        by: &By,
        reply: oneshot::Sender<Result<Desire, AskError>>,
    ) {
        let now = self.shared.clock.now();
        let (request, plan) = match self.staying(scope).and_then(|running| {
            let command = Command::SetLight(light);
            let request = Request::new(id, running.machine.codec(), &command, false, true)
                .map_err(AskError::NotUnderstood)?;
            let plan = running.machine.wish_plan(now, light);
            if plan == WishPlan::Send && running.machine.admission() == Admission::Full {
                return Err(AskError::DeviceBusy);
            }
            Ok((request, plan))
        }) {
            Ok(planned) => planned,
            Err(error) => {
                let _ = reply.send(Err(error));
                return;
            }
        };
        let words = serde_json::json!({
            "color": light.color.to_string(),
            "on_time": light.on_time,
            "off_time": light.off_time,
        });
        let kept = self.kept_of_wish(by, "device.desire", words);
        let downlink_id = match plan {
            WishPlan::Send => Some(id),
            WishPlan::UnderWay(under_way) => Some(under_way),
            WishPlan::Shown => None,
        };
        let asked = Asked::Then(Box::new(move |machine| {
            let answer = Desire {
                downlink_id,
                is_converged: machine.is_converged(),
            };
            Box::new(move |committed| {
                // A caller that has gone away is no reason not to want it.
                let _ = reply.send(committed.map(|()| answer));
            })
        }));
        self.step(myself, Event::Wished(request), kept, Some(asked));
    }

    pub(super) fn on_clear_desire(
        &mut self,
        myself: &ActorRef<DeviceMessage>,
        scope: Scope,
        by: &By,
        reply: oneshot::Sender<Result<(), AskError>>,
    ) {
        if let Err(error) = self.staying(scope) {
            let _ = reply.send(Err(error));
            return;
        }
        let kept = self.kept_of_wish(by, "device.desire_nothing", serde_json::json!({}));
        self.step(myself, Event::WishCleared, kept, Some(Asked::Done(reply)));
    }

    pub(super) fn on_initialise(
        &mut self,
        myself: &ActorRef<DeviceMessage>,
        scope: Scope,
        force: bool,
        by: Option<&By>,
        reply: oneshot::Sender<Result<Initialising, AskError>>,
    ) {
        let now = self.shared.clock.now();
        let plan = match self.staying(scope) {
            Ok(running) => running.machine.initialisation_plan(now, force),
            Err(error) => {
                let _ = reply.send(Err(error));
                return;
            }
        };
        let (sender, updates) = mpsc::unbounded_channel();
        let kept = match (by, plan) {
            (Some(by), InitialisationPlan::Start) => {
                let words = serde_json::json!({ "force": force });
                self.kept_of_wish(by, "device.initialise", words)
            }
            (Some(_) | None, _) => Kept::default(),
        };
        let Life::Running(running) = &mut self.life else {
            return;
        };
        match plan {
            InitialisationPlan::Start | InitialisationPlan::Running => {
                running.initialisation_watchers.push(sender);
            }
            InitialisationPlan::Fresh { .. } | InitialisationPlan::NotNeeded => {}
        }
        let asked = Asked::Then(Box::new(move |machine| {
            let status = machine.initialisation();
            Box::new(move |committed| {
                let _ = reply.send(committed.map(|()| Initialising {
                    plan,
                    status,
                    updates,
                }));
            })
        }));
        self.step(
            myself,
            Event::InitialisationRequested { force },
            kept,
            Some(asked),
        );
    }

    fn kept_of_wish(&self, by: &By, action: &str, words: serde_json::Value) -> Kept {
        let device_id = match &self.life {
            Life::Running(running) => running.stored.device_id.to_string(),
            Life::Loading(_) | Life::Ended(_) => String::new(),
        };
        Kept {
            audit: self.audit(by, action, device_id, Some(words)),
            ..Kept::default()
        }
    }

    /// The device, if it is the caller's and stays in the registry.
    fn staying(&self, scope: Scope) -> Result<&Running, AskError> {
        let running = self.running_for(scope)?;
        if running.retired || running.leaving {
            return Err(AskError::UnknownDevice);
        }
        Ok(running)
    }
}
