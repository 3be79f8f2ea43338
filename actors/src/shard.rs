//! Supervises the devices that fall to it by their `DevEUI`.
//!
//! A device's actor is created when something first concerns it and goes when it has been idle. One that failed is
//! created again from the store, after a pause that grows; its failure concerns nobody else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use downbeat_core::id::DeviceKey;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::device::{DeviceActor, DeviceArguments};
use crate::mailbox::{Post as _, taken};
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
        key: DeviceKey,
        reply: Option<oneshot::Sender<Entry>>,
    },
    Restore {
        key: DeviceKey,
        pause: Duration,
    },
}

pub(crate) struct ShardState {
    shared: Arc<Shared>,
    children: HashMap<ActorId, DeviceKey>,
    /// How often a device had to be created again in a row, and when last.
    restarts: HashMap<DeviceKey, (u32, Instant)>,
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
        taken::<ShardMessage>();
        match message {
            ShardMessage::Create { key, reply } => {
                let known = state.shared.devices.get(&key).map(|entry| entry.clone());
                let entry = match known {
                    Some(entry) => entry,
                    None => state.create(&myself, key).await?,
                };
                if let Some(reply) = reply {
                    let _ = reply.send(entry);
                }
            }
            ShardMessage::Restore { key, pause } if pause.is_zero() => {
                if !state.shared.devices.contains_key(&key) {
                    state.create(&myself, key).await?;
                }
            }
            ShardMessage::Restore { key, pause } => {
                state.restore_after(&myself, key, pause);
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
                let Some(key) = state.children.remove(&cell.get_id()) else {
                    return Ok(());
                };
                tracing::error!(device.dev_eui = %key.dev_eui, %error, "a device's actor failed; it starts anew from what is stored");
                metrics::counter!("downbeat_device_failures_total").increment(1);
                state.shared.leave(key, cell.get_id());
                state.restore_after(&myself, key, RESTART_PAUSE);
            }
            SupervisionEvent::ActorTerminated(cell, _, _) => {
                if let Some(key) = state.children.remove(&cell.get_id()) {
                    state.shared.leave(key, cell.get_id());
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
        key: DeviceKey,
    ) -> Result<Entry, ActorProcessingErr> {
        let arguments = DeviceArguments {
            key,
            shared: Arc::clone(&self.shared),
        };
        let (actor, _) =
            Actor::spawn_linked(None, DeviceActor, arguments, myself.get_cell()).await?;
        self.children.insert(actor.get_id(), key);
        let entry = Entry {
            actor,
            depth: Arc::default(),
            unfinished: Arc::default(),
            owner: Arc::default(),
        };
        self.shared.devices.insert(key, entry.clone());
        Ok(entry)
    }

    /// Creates the device again after a pause that doubles as long as it keeps failing.
    fn restore_after(&mut self, myself: &ActorRef<ShardMessage>, key: DeviceKey, pause: Duration) {
        let now = Instant::now();
        self.restarts
            .retain(|_, (_, last)| now - *last < RESTART_FORGOTTEN);
        let (restarts, last) = self.restarts.entry(key).or_insert((0, now));
        let pause = pause
            .saturating_mul(1 << (*restarts).min(8))
            .min(RESTART_PAUSE_MAX);
        (*restarts, *last) = (*restarts + 1, now);
        let myself = myself.clone();
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let _ = myself.post(ShardMessage::Restore {
                key,
                pause: Duration::ZERO,
            });
        });
    }
}
