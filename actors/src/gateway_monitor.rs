//! Knows which gateways are there and how each device gets on with them, and publishes the former for anyone to read
//! without asking.
//!
//! One list of ChirpStack's every 30 s, not one a command; between the lists every uplink, tx-ack and refusal tells, and
//! every tx-ack that does not come. What was learnt is stored once a minute and at the end ([`memory`]).

mod gauges;
mod memory;

use std::sync::{Arc, Weak};
use std::time::Duration;

use downbeat_core::gateway::{
    GatewayChange, GatewayRecord, GatewayTable, ListedGateway, StoredChanges,
};
use downbeat_core::id::{DevEui, GatewayId, NetworkServerId, TenantId};
use downbeat_core::link_quality::table::{HeardDevice, LinkTable, LinkedDevice, Owner};
use downbeat_core::network::{NetworkEvent, Uplink};
use downbeat_core::radio::DeviceClass;
use downbeat_core::time::Timestamp;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use self::gauges::Gauges;
use crate::chirpstack_pool::PoolMessage;
use crate::device::DeviceMessage;
use crate::link::Link;
use crate::mailbox::{Post as _, taken};
use crate::observe::{FeedBody, FeedEvent, GatewayView};
use crate::system::Shared;

/// Between two looks at the time: who goes offline or falls mute does so by what does not happen.
const TICK: Duration = Duration::from_secs(1);

/// Between two lists of the network server.
pub(crate) const PERIOD: Duration = Duration::from_secs(30);

/// The same while no gateway is there: all commands wait for the first one to come back.
const PERIOD_IN_THE_DARK: Duration = Duration::from_secs(5);

/// Between two times that what changed is stored.
const KEEP_PERIOD: Duration = Duration::from_mins(1);

/// News that change nobody's mind are published at most so often.
const PUBLISH_PAUSE: Duration = Duration::from_secs(1);

pub(crate) enum MonitorMessage {
    /// A second has passed.
    Tick,
    Listed(Vec<ListedGateway>),
    /// What was stored before the start.
    GatewaysLoaded(Vec<(GatewayId, GatewayRecord)>),
    LinksLoaded(Vec<LinkedDevice>),
    Heard {
        owner: Owner,
        uplink: Box<Uplink>,
    },
    /// A gateway took a downlink for a device.
    Transmitted {
        dev_eui: DevEui,
        gateway_id: GatewayId,
    },
    /// Some gateway refused a downlink for a device.
    Refused {
        dev_eui: DevEui,
    },
    /// A device's item left the queue, as was found out otherwise.
    Answered {
        dev_eui: DevEui,
    },
    /// The network server has an item for a device.
    HandedOver {
        dev_eui: DevEui,
    },
    /// A device proved the downlink that was transmitted last, or did not.
    Judged {
        dev_eui: DevEui,
        proven: bool,
    },
    /// A device was registered, changed or taken out.
    RegistryChanged {
        dev_eui: DevEui,
    },
    /// A device left the registry.
    Left {
        dev_eui: DevEui,
    },
    /// A device's links are asked for.
    LinksOf {
        dev_eui: DevEui,
        reply: oneshot::Sender<Option<LinkedDevice>>,
    },
    /// The devices that a gateway hears are asked for.
    HeardBy {
        gateway_id: GatewayId,
        tenant_id: Option<TenantId>,
        after: Option<DevEui>,
        limit: usize,
        reply: oneshot::Sender<Vec<HeardDevice>>,
    },
    /// The devices that no gateway reaches are asked for.
    OutOfReach {
        reply: oneshot::Sender<Vec<Owner>>,
    },
    /// A tenant's devices of a class are asked for.
    OfClass {
        class: DeviceClass,
        tenant_id: TenantId,
        reply: oneshot::Sender<Vec<Owner>>,
    },
    /// All that changed is to be stored now.
    Keep {
        done: oneshot::Sender<()>,
    },
    /// Storing has ended; what was not stored comes back.
    Kept {
        /// There is more to store.
        is_full: bool,
        lost: Option<Box<(StoredChanges, Vec<LinkedDevice>)>>,
    },
    /// An event that tells nothing of gateways.
    Nothing,
}

impl MonitorMessage {
    /// What a device's event tells of gateways.
    pub(crate) fn of_event(owner: Owner, event: &NetworkEvent) -> Self {
        let dev_eui = owner.dev_eui;
        match event {
            NetworkEvent::Heard(uplink) => Self::Heard {
                owner,
                uplink: Box::new(uplink.clone()),
            },
            NetworkEvent::Transmitted(event) => match event.gateway_id {
                Some(gateway_id) => Self::Transmitted {
                    dev_eui,
                    gateway_id,
                },
                None => Self::Nothing,
            },
            NetworkEvent::Refused(_) => Self::Refused { dev_eui },
            NetworkEvent::Joined(_)
            | NetworkEvent::Acknowledged(_)
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
    links: LinkTable,
    listed_at: Option<Timestamp>,
    kept_at: Timestamp,
    is_keeping: bool,
    published_at: Option<Timestamp>,
    /// Something is known that is not published.
    is_news: bool,
    gauges: Gauges,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for MonitorState {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
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
        let loading = tokio::spawn(memory::load(myself.clone(), shared.clone(), link.id));
        let ticking = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(TICK);
            loop {
                ticks.tick().await;
                if myself.post(MonitorMessage::Tick).is_err() {
                    return;
                }
            }
        });
        let now = shared.upgrade().map(|shared| shared.clock.now());
        Ok(MonitorState {
            gauges: Gauges::default(),
            shared,
            link,
            table: GatewayTable::default(),
            links: LinkTable::default(),
            listed_at: None,
            kept_at: now.unwrap_or_default(),
            is_keeping: false,
            published_at: None,
            is_news: false,
            tasks: vec![loading, ticking],
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<MonitorMessage>,
        message: MonitorMessage,
        state: &mut MonitorState,
    ) -> Result<(), ActorProcessingErr> {
        taken::<MonitorMessage>();
        let Some(shared) = state.shared.upgrade() else {
            myself.stop(None);
            return Ok(());
        };
        let now = shared.clock.now();
        match message {
            MonitorMessage::Tick => state.on_tick(&myself, &shared, now),
            MonitorMessage::Listed(list) => {
                let changes = state.table.listed(now, list);
                state.publish(&shared, now, &changes, true);
            }
            MonitorMessage::GatewaysLoaded(stored) => {
                state.table.restore(now, stored);
                state.publish(&shared, now, &[], true);
            }
            MonitorMessage::LinksLoaded(stored) => state.links.restore(stored),
            MonitorMessage::Heard { owner, uplink } => {
                state.on_heard(&shared, now, owner, &uplink);
            }
            MonitorMessage::Transmitted {
                dev_eui,
                gateway_id,
            } => state.on_transmitted(&shared, now, dev_eui, gateway_id),
            MonitorMessage::Refused { dev_eui } => {
                state.table.answered(dev_eui);
                if let Some(best) = state.best(dev_eui) {
                    state.table.refused(now, best);
                    state.is_news = true;
                }
            }
            MonitorMessage::Answered { dev_eui } => state.table.answered(dev_eui),
            MonitorMessage::HandedOver { dev_eui } => state.on_handed_over(now, dev_eui),
            MonitorMessage::Judged { dev_eui, proven } => {
                if let Some(judgement) = state.links.judged(dev_eui, proven) {
                    state.table.judged(now, judgement);
                    state.is_news = true;
                }
            }
            MonitorMessage::RegistryChanged { dev_eui } => {
                if let Some(device) = state.links.device(dev_eui) {
                    look_up(&myself, &shared, &state.link, device.owner);
                }
            }
            MonitorMessage::Left { dev_eui } => {
                state.table.answered(dev_eui);
                state.links.forget(dev_eui);
            }
            MonitorMessage::LinksOf { dev_eui, reply } => {
                let _ = reply.send(state.links.device(dev_eui).cloned());
            }
            MonitorMessage::HeardBy {
                gateway_id,
                tenant_id,
                after,
                limit,
                reply,
            } => {
                let heard = state.links.of_gateway(gateway_id, tenant_id, after, limit);
                let _ = reply.send(heard);
            }
            MonitorMessage::OutOfReach { reply } => {
                let _ = reply.send(state.links.out_of_reach(&state.link.gateways()));
            }
            MonitorMessage::OfClass {
                class,
                tenant_id,
                reply,
            } => {
                let _ = reply.send(state.links.of_class(class, tenant_id));
            }
            MonitorMessage::Keep { done } => state.keep_all(&shared, now, done),
            MonitorMessage::Kept { is_full, lost } => {
                let is_stored = lost.is_none();
                state.on_kept(lost.map(|lost| *lost));
                if is_full && is_stored {
                    state.keep(&myself, &shared, now);
                }
            }
            MonitorMessage::Nothing => {}
        }
        Ok(())
    }
}

impl MonitorState {
    fn on_tick(&mut self, myself: &ActorRef<MonitorMessage>, shared: &Arc<Shared>, now: Timestamp) {
        let period = self.period();
        let is_due = self
            .listed_at
            .is_none_or(|listed_at| now < listed_at || now.since(listed_at) >= period);
        if is_due {
            self.listed_at = Some(now);
            if let Some(step) = shared.clock.resync() {
                tracing::warn!(step_ms = step, "the system's clock was set");
            }
            ask_for_list(myself, &self.link);
        }
        let changes = self.table.tick(now);
        if is_due || self.is_news || !changes.is_empty() {
            self.publish(shared, now, &changes, true);
        }
        if now < self.kept_at || now.since(self.kept_at) >= KEEP_PERIOD {
            self.kept_at = now;
            self.keep(myself, shared, now);
        }
        if self.link.id == NetworkServerId::Default {
            self.gauges.set(now, &shared.all_gateways());
        }
    }

    fn period(&self) -> Duration {
        let gateways = self.link.gateways();
        if gateways.gateways.is_empty() || gateways.any_alive() {
            PERIOD
        } else {
            PERIOD_IN_THE_DARK
        }
    }

    fn on_heard(&mut self, shared: &Shared, now: Timestamp, owner: Owner, uplink: &Uplink) {
        let named = uplink
            .receptions
            .iter()
            .filter(|reception| reception.gateway_id.is_named());
        let changes: Vec<GatewayChange> = named
            .flat_map(|reception| self.table.heard(now, owner.dev_eui, reception))
            .collect();
        if self.links.heard(now, owner, uplink)
            && let Some(best) = self.best(owner.dev_eui)
        {
            self.table.rerouted(now, owner.dev_eui, best);
        }
        self.publish(shared, now, &changes, false);
    }

    fn on_transmitted(
        &mut self,
        shared: &Shared,
        now: Timestamp,
        dev_eui: DevEui,
        gateway_id: GatewayId,
    ) {
        self.links.taken(dev_eui, gateway_id);
        self.table.answered(dev_eui);
        let changes = self.table.transmitted(now, gateway_id);
        self.publish(shared, now, &changes, false);
    }

    /// Items of Class A devices wait for an uplink; those of devices that nobody ever sent to may wait for anything.
    fn on_handed_over(&mut self, now: Timestamp, dev_eui: DevEui) {
        let Some(device) = self.links.device(dev_eui) else {
            return;
        };
        let links = &device.links;
        if links.class() != DeviceClass::A
            && links.has_been_sent_to()
            && let Some(best) = links.route().first()
        {
            self.table.handed_over(now, dev_eui, *best);
            self.is_news = true;
        }
    }

    /// The gateway that heard a device best last.
    fn best(&self, dev_eui: DevEui) -> Option<GatewayId> {
        self.links.device(dev_eui)?.links.route().first().copied()
    }

    /// Publishes what is known. Changes go out at once and wake the devices that wait for a gateway.
    fn publish(&mut self, shared: &Shared, now: Timestamp, changes: &[GatewayChange], due: bool) {
        let rested = self
            .published_at
            .is_none_or(|published| now.since(published) >= PUBLISH_PAUSE);
        self.is_news = changes.is_empty() && !due && !rested;
        if self.is_news {
            return;
        }
        self.published_at = Some(now);
        let snapshot = self.table.snapshot(now);
        let views: Vec<GatewayView> = changes
            .iter()
            .filter_map(|change| {
                Some(GatewayView {
                    server: self.link.id,
                    transition: change.transition,
                    status: snapshot.gateways.get(&change.gateway_id)?.clone(),
                })
            })
            .collect();
        self.link.publish_gateways(snapshot);
        for view in views {
            shared.feed.publish(FeedEvent {
                at: now,
                tenant_id: None,
                body: FeedBody::Gateway(Box::new(view)),
            });
        }
        if changes.iter().any(|change| change.transition.opens_a_way()) {
            shared.tell_unfinished_of(self.link.id, || DeviceMessage::GatewaysChanged);
        }
    }
}

/// Asks the registry whether it still has a device whose links are known.
fn look_up(
    myself: &ActorRef<MonitorMessage>,
    shared: &Shared,
    link: &Link,
    Owner {
        dev_eui, device_id, ..
    }: Owner,
) {
    let (store, key, myself) = (Arc::clone(&shared.store), link.key(dev_eui), myself.clone());
    tokio::spawn(async move {
        let Ok(found) = store.load(key).await else {
            return;
        };
        if found.is_none_or(|found| found.device_id != device_id) {
            let _ = myself.post(MonitorMessage::Left { dev_eui });
        }
    });
}

/// Asks for the list; it comes as a message, or not at all.
fn ask_for_list(myself: &ActorRef<MonitorMessage>, link: &Link) {
    let (reply, list) = oneshot::channel();
    link.pool(PoolMessage::ListGateways { reply });
    let myself = myself.clone();
    tokio::spawn(async move {
        if let Ok(list) = list.await {
            let _ = myself.post(MonitorMessage::Listed(list));
        }
    });
}
