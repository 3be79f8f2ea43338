//! Supervises the devices that fall to it by their `DevEUI`.
//!
//! A device's actor is created when something first concerns it and goes when it has been idle. One that failed is
//! created again from the store, after a pause that grows; its failure concerns nobody else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use downbeat_core::id::DevEui;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::device::{DeviceActor, DeviceArguments};
use crate::system::{Entry, Shared};

/// Pause before a device that failed is created again, doubled each time it fails anew.
pub(crate) const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Greatest such pause.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(30);

/// A device that went well for so long has failed for the first time when it fails again.
const RESTART_FORGOTTEN: Duration = Duration::from_mins(2);

pub(crate) struct Shard;

pub(crate) enum ShardMessage {
    Create {
        dev_eui: DevEui,
        reply: Option<oneshot::Sender<Entry>>,
    },
    Restore {
        dev_eui: DevEui,
        pause: Duration,
    },
}

pub(crate) struct ShardState {
    shared: Arc<Shared>,
    children: HashMap<ActorId, DevEui>,
    /// How often a device had to be created again in a row, and when last.
    restarts: HashMap<DevEui, (u32, Instant)>,
}

impl Actor for Shard {
    type Msg = ShardMessage;
    type State = ShardState;
    type Arguments = Arc<Shared>;

    async fn pre_start(
        &self,
        _myself: ActorRef<ShardMessage>,
        shared: Arc<Shared>,
    ) -> Result<ShardState, ActorProcessingErr> {
        Ok(ShardState {
            shared,
            children: HashMap::new(),
            restarts: HashMap::new(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<ShardMessage>,
        message: ShardMessage,
        state: &mut ShardState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ShardMessage::Create { dev_eui, reply } => {
                let known = state
                    .shared
                    .devices
                    .get(&dev_eui)
                    .map(|entry| entry.clone());
                let entry = match known {
                    Some(entry) => entry,
                    None => state.create(&myself, dev_eui).await?,
                };
                if let Some(reply) = reply {
                    let _ = reply.send(entry);
                }
            }
            ShardMessage::Restore { dev_eui, pause } if pause.is_zero() => {
                if !state.shared.devices.contains_key(&dev_eui) {
                    state.create(&myself, dev_eui).await?;
                }
            }
            ShardMessage::Restore { dev_eui, pause } => {
                state.restore_after(&myself, dev_eui, pause);
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<ShardMessage>,
        event: SupervisionEvent,
        state: &mut ShardState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, error) => {
                let Some(dev_eui) = state.children.remove(&cell.get_id()) else {
                    return Ok(());
                };
                tracing::error!(device.dev_eui = %dev_eui, %error, "a device's actor failed; it starts anew from what is stored");
                metrics::counter!("downbeat_device_failures_total").increment(1);
                state.shared.leave(dev_eui, cell.get_id());
                state.restore_after(&myself, dev_eui, RESTART_PAUSE);
            }
            SupervisionEvent::ActorTerminated(cell, _, _) => {
                if let Some(dev_eui) = state.children.remove(&cell.get_id()) {
                    state.shared.leave(dev_eui, cell.get_id());
                }
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

impl ShardState {
    async fn create(
        &mut self,
        myself: &ActorRef<ShardMessage>,
        dev_eui: DevEui,
    ) -> Result<Entry, ActorProcessingErr> {
        let arguments = DeviceArguments {
            dev_eui,
            shared: Arc::clone(&self.shared),
        };
        let (actor, _) =
            Actor::spawn_linked(None, DeviceActor, arguments, myself.get_cell()).await?;
        self.children.insert(actor.get_id(), dev_eui);
        let entry = Entry {
            actor,
            depth: Arc::default(),
            unfinished: Arc::default(),
        };
        self.shared.devices.insert(dev_eui, entry.clone());
        metrics::gauge!("downbeat_devices_active")
            .set(u32::try_from(self.shared.devices.len()).unwrap_or(u32::MAX));
        Ok(entry)
    }

    /// Creates the device again after a pause that doubles as long as it keeps failing.
    fn restore_after(&mut self, myself: &ActorRef<ShardMessage>, dev_eui: DevEui, pause: Duration) {
        let now = Instant::now();
        self.restarts
            .retain(|_, (_, last)| now - *last < RESTART_FORGOTTEN);
        let (restarts, last) = self.restarts.entry(dev_eui).or_insert((0, now));
        let pause = pause
            .saturating_mul(1 << (*restarts).min(8))
            .min(RESTART_PAUSE_MAX);
        (*restarts, *last) = (*restarts + 1, now);
        let myself = myself.clone();
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let _ = myself.cast(ShardMessage::Restore {
                dev_eui,
                pause: Duration::ZERO,
            });
        });
    }
}
