//! Knows which gateways are there, and publishes it for anyone to read without asking.
//!
//! One list of ChirpStack's every 30 s, not one a command; between the lists every uplink and tx-ack tells.

use std::sync::{Arc, Weak};
use std::time::Duration;

use downbeat_core::gateway::{GatewayChange, GatewayTable, GatewayTransition, ListedGateway};
use downbeat_core::id::{DevEui, GatewayId, NetworkServerId};
use downbeat_core::network::{NetworkEvent, Reception};
use downbeat_core::radio::{Direction, Modulation};
use downbeat_core::time::Timestamp;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::chirpstack_pool::PoolMessage;
use crate::device::DeviceMessage;
use crate::link::Link;
use crate::observe::{FeedBody, FeedEvent};
use crate::system::Shared;

/// Between two lists of the network server.
pub(crate) const PERIOD: Duration = Duration::from_secs(30);

/// News that change nobody's mind are published at most so often.
const PUBLISH_PAUSE: Duration = Duration::from_secs(1);

/// A colour command and the status that answers it, in bytes.
const COMMAND_LEN: usize = 5;
const STATUS_LEN: usize = 24;

/// Between the answer of one device and the turn of the next: the device's reaction and what else is on the air.
const BREATH: Duration = Duration::from_millis(100);

pub(crate) enum MonitorMessage {
    /// A period has passed.
    Tick,
    Listed(Vec<ListedGateway>),
    Heard {
        dev_eui: DevEui,
        receptions: Vec<Reception>,
        modulation: Option<Modulation>,
    },
    Transmitted {
        gateway_id: GatewayId,
        modulation: Option<Modulation>,
    },
    /// An event that tells nothing of gateways.
    Nothing,
}

impl MonitorMessage {
    /// What a device's event tells of gateways.
    pub(crate) fn of_event(dev_eui: DevEui, event: &NetworkEvent) -> Self {
        match event {
            NetworkEvent::Heard(uplink) => Self::Heard {
                dev_eui,
                receptions: uplink
                    .receptions
                    .iter()
                    .filter(|reception| reception.gateway_id.is_named())
                    .copied()
                    .collect(),
                modulation: uplink.modulation,
            },
            NetworkEvent::Transmitted(event) => match event.gateway_id {
                Some(gateway_id) => Self::Transmitted {
                    gateway_id,
                    modulation: event.modulation,
                },
                None => Self::Nothing,
            },
            NetworkEvent::Joined(_)
            | NetworkEvent::Acknowledged(_)
            | NetworkEvent::Refused(_)
            | NetworkEvent::Dropped(_)
            | NetworkEvent::Logged(_)
            | NetworkEvent::StatusReported(_)
            | NetworkEvent::Located(_)
            | NetworkEvent::PresenceTold(_)
            | NetworkEvent::Integrated => Self::Nothing,
        }
    }
}

pub(crate) struct GatewayMonitor;

pub(crate) struct MonitorState {
    shared: Weak<Shared>,
    link: Arc<Link>,
    table: GatewayTable,
    published_at: Option<Timestamp>,
    alive: usize,
    uplink: Option<Modulation>,
    downlink: Option<Modulation>,
    ticker: JoinHandle<()>,
}

impl Drop for MonitorState {
    fn drop(&mut self) {
        self.ticker.abort();
    }
}

impl Actor for GatewayMonitor {
    type Msg = MonitorMessage;
    type State = MonitorState;
    type Arguments = (Weak<Shared>, Arc<Link>);

    async fn pre_start(
        &self,
        myself: ActorRef<MonitorMessage>,
        (shared, link): (Weak<Shared>, Arc<Link>),
    ) -> Result<MonitorState, ActorProcessingErr> {
        let ticker = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(PERIOD);
            loop {
                ticks.tick().await;
                if myself.cast(MonitorMessage::Tick).is_err() {
                    return;
                }
            }
        });
        Ok(MonitorState {
            shared,
            link,
            table: GatewayTable::default(),
            published_at: None,
            alive: 0,
            uplink: None,
            downlink: None,
            ticker,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<MonitorMessage>,
        message: MonitorMessage,
        state: &mut MonitorState,
    ) -> Result<(), ActorProcessingErr> {
        let Some(shared) = state.shared.upgrade() else {
            myself.stop(None);
            return Ok(());
        };
        let now = shared.clock.now();
        match message {
            MonitorMessage::Tick => {
                if let Some(step) = shared.clock.resync() {
                    tracing::warn!(step_ms = step, "the system's clock was set");
                }
                ask_for_list(&myself, &state.link);
                let changes = state.table.tick(now);
                state.publish(&shared, now, &changes, true);
                state.link.pool(PoolMessage::Spacing(state.spacing()));
            }
            MonitorMessage::Listed(list) => {
                let changes = state.table.listed(now, list);
                state.publish(&shared, now, &changes, true);
                state.link.pool(PoolMessage::Spacing(state.spacing()));
            }
            MonitorMessage::Heard {
                dev_eui,
                receptions,
                modulation,
            } => {
                state.uplink = modulation.or(state.uplink);
                let changes: Vec<GatewayChange> = receptions
                    .iter()
                    .flat_map(|reception| state.table.heard(now, dev_eui, reception))
                    .collect();
                state.publish(&shared, now, &changes, false);
            }
            MonitorMessage::Transmitted {
                gateway_id,
                modulation,
            } => {
                let learnt = modulation.is_some() && modulation != state.downlink;
                state.downlink = modulation.or(state.downlink);
                let changes = state.table.transmitted(now, gateway_id);
                state.publish(&shared, now, &changes, false);
                if learnt {
                    state.link.pool(PoolMessage::Spacing(state.spacing()));
                }
            }
            MonitorMessage::Nothing => {}
        }
        Ok(())
    }
}

impl MonitorState {
    /// Publishes what is known. Changes go out at once and wake the devices that wait for a gateway.
    fn publish(&mut self, shared: &Shared, now: Timestamp, changes: &[GatewayChange], due: bool) {
        let rested = self
            .published_at
            .is_none_or(|published| now.since(published) >= PUBLISH_PAUSE);
        if changes.is_empty() && !due && !rested {
            return;
        }
        self.published_at = Some(now);
        let snapshot = self.table.snapshot(now);
        self.alive = snapshot
            .gateways
            .values()
            .filter(|gateway| gateway.likely_alive)
            .count();
        let states: Vec<_> = changes
            .iter()
            .filter_map(|change| snapshot.gateways.get(&change.gateway_id).cloned())
            .collect();
        self.link.publish_gateways(snapshot);
        for status in states {
            shared.feed.publish(FeedEvent {
                at: now,
                tenant_id: match self.link.id {
                    NetworkServerId::Default => None,
                    NetworkServerId::Tenant(id) => Some(id),
                },
                body: FeedBody::Gateway(Box::new(status)),
            });
        }
        let came = changes.iter().any(|change| match change.transition {
            GatewayTransition::CameOnline | GatewayTransition::Revived => true,
            GatewayTransition::WentOffline => false,
        });
        if came {
            shared.tell_unfinished_of(self.link.id, || DeviceMessage::GatewaysChanged);
        }
    }

    /// How far apart turns are given, so that gateways hear the answers of the devices that just had theirs.
    ///
    /// The time one command and its answer take on the air, spread over the gateways that are there, and twice that:
    /// ChirpStack's scheduler hands over a second's worth of items at once, so the gateways send in the first part of
    /// each second and need the rest of it to listen. Measured with 300 lights and 4 gateways without other loss: half
    /// as far apart one answer in six was lost, like this 2 of 300.
    fn spacing(&self) -> Duration {
        let command = self
            .downlink
            .unwrap_or(Modulation::lora_125(9))
            .time_on_air(COMMAND_LEN, Direction::Down);
        let status = self
            .uplink
            .unwrap_or(Modulation::lora_125(7))
            .time_on_air(STATUS_LEN, Direction::Up);
        let gateways = u32::try_from(self.alive).unwrap_or(u32::MAX).max(1);
        (command + status + BREATH) * 2 / gateways
    }
}

/// Asks for the list; it comes as a message, or not at all.
fn ask_for_list(myself: &ActorRef<MonitorMessage>, link: &Link) {
    let (reply, list) = oneshot::channel();
    link.pool(PoolMessage::ListGateways { reply });
    let myself = myself.clone();
    tokio::spawn(async move {
        if let Ok(list) = list.await {
            let _ = myself.cast(MonitorMessage::Listed(list));
        }
    });
}
