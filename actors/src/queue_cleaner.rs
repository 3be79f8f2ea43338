//! Looks into ChirpStack's queues of devices that no gateway reaches, and flushes or reports what is stuck there.
//!
//! What may be flushed, and why so little, is told in [`downbeat_core::queue_cleaner`]. A look is one GetQueue; few are
//! made, one after the other with a pause in between.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use downbeat_core::circuit::Outcome;
use downbeat_core::id::DevEui;
use downbeat_core::link_quality::table::Owner;
use downbeat_core::network::QueueItem;
use downbeat_core::queue_cleaner::{
    Candidate, CleanerConfig, CleanerVerdict, FoundItem, QueueCleaner,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::chirpstack_pool::{Job, PoolMessage, outcome_of};
use crate::device::DeviceMessage;
use crate::gateway_monitor::MonitorMessage;
use crate::link::Link;
use crate::mailbox::{Post as _, taken};
use crate::observe::{FeedBody, FeedEvent, QueueView};
use crate::port::{NetworkServer, NetworkServerError};
use crate::system::Shared;

/// Between two rounds.
const PERIOD: Duration = Duration::from_mins(5);

/// Between two looks: commands come first.
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) enum CleanerMessage {
    /// A round begins.
    Round,
    /// These devices are out of reach.
    OutOfReach(Vec<Owner>),
    /// A look found this in a device's queue.
    Looked {
        owner: Owner,
        found: Vec<FoundItem>,
        go_on: oneshot::Sender<CleanerVerdict>,
    },
    /// A queue was flushed, here or because somebody wanted it.
    Flushed { owner: Owner, items: u32 },
    /// All looks of the round are done.
    RoundEnded,
}

pub(crate) struct Cleaner;

pub(crate) struct CleanerState {
    shared: Weak<Shared>,
    link: Arc<Link>,
    cleaner: QueueCleaner,
    is_looking: bool,
    ticker: JoinHandle<()>,
}

impl Drop for CleanerState {
    fn drop(&mut self) {
        self.ticker.abort();
    }
}

impl Actor for Cleaner {
    type Msg = CleanerMessage;
    type State = CleanerState;
    type Arguments = (Weak<Shared>, Arc<Link>);

    async fn pre_start(
        &self,
        myself: ActorRef<CleanerMessage>,
        (shared, link): (Weak<Shared>, Arc<Link>),
    ) -> Result<CleanerState, ActorProcessingErr> {
        link.publish_findings(Vec::new());
        let ticker = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(PERIOD);
            loop {
                ticks.tick().await;
                if myself.post(CleanerMessage::Round).is_err() {
                    return;
                }
            }
        });
        Ok(CleanerState {
            shared,
            link,
            cleaner: QueueCleaner::new(CleanerConfig::default()),
            is_looking: false,
            ticker,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<CleanerMessage>,
        message: CleanerMessage,
        state: &mut CleanerState,
    ) -> Result<(), ActorProcessingErr> {
        taken::<CleanerMessage>();
        let Some(shared) = state.shared.upgrade() else {
            myself.stop(None);
            return Ok(());
        };
        let now = shared.clock.now();
        match message {
            CleanerMessage::Round => {
                if state.link.is_configured() && !state.is_looking {
                    ask_who_is_out_of_reach(&myself, &state.link);
                }
            }
            CleanerMessage::OutOfReach(owners) => state.begin_round(&myself, &shared, &owners),
            CleanerMessage::Looked {
                owner,
                found,
                go_on,
            } => {
                let verdict = state.cleaner.looked(now, owner.dev_eui, &found);
                if let CleanerVerdict::Report(finding) = &verdict {
                    let view = QueueView {
                        owner,
                        items: finding.items,
                        finding: Some(finding.clone()),
                    };
                    publish(&shared, view);
                }
                let _ = go_on.send(verdict);
            }
            CleanerMessage::Flushed { owner, items } => {
                state.cleaner.flushed(owner.dev_eui);
                state.link.publish_findings(state.cleaner.findings());
                let view = QueueView {
                    owner,
                    items,
                    finding: None,
                };
                publish(&shared, view);
            }
            CleanerMessage::RoundEnded => {
                state.is_looking = false;
                state.link.publish_findings(state.cleaner.findings());
            }
        }
        Ok(())
    }
}

impl CleanerState {
    fn begin_round(
        &mut self,
        myself: &ActorRef<CleanerMessage>,
        shared: &Arc<Shared>,
        owners: &[Owner],
    ) {
        let candidates: Vec<Candidate> = owners
            .iter()
            .map(|owner| Candidate {
                owner: *owner,
                holds_ours: may_hold_ours(shared, &self.link, owner.dev_eui),
            })
            .collect();
        let looks = self.cleaner.plan(shared.clock.now(), &candidates);
        // Whoever is within reach again has no finding any more.
        self.link.publish_findings(self.cleaner.findings());
        let looks: Vec<Owner> = looks
            .into_iter()
            .filter_map(|dev_eui| owners.iter().find(|owner| owner.dev_eui == dev_eui))
            .copied()
            .collect();
        if looks.is_empty() {
            return;
        }
        self.is_looking = true;
        let round = Round {
            cleaner: myself.clone(),
            shared: Arc::downgrade(shared),
            link: Arc::clone(&self.link),
        };
        tokio::spawn(async move {
            for owner in looks {
                tokio::time::sleep(PAUSE).await;
                round.look(owner).await;
            }
            let _ = round.cleaner.post(CleanerMessage::RoundEnded);
        });
    }
}

/// The looks of one round.
struct Round {
    cleaner: ActorRef<CleanerMessage>,
    shared: Weak<Shared>,
    link: Arc<Link>,
}

impl Round {
    /// One look, and what follows from it. What fails is left for the next round.
    async fn look(&self, owner: Owner) {
        let dev_eui = owner.dev_eui;
        let look = call(&self.link, move |server| async move {
            server.queue(dev_eui).await
        });
        let Some(items) = look.await else {
            return;
        };
        let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let Some(found) = self.whose(dev_eui, items).await else {
            return;
        };
        let (go_on, verdict) = oneshot::channel();
        let looked = CleanerMessage::Looked {
            owner,
            found,
            go_on,
        };
        let _ = self.cleaner.post(looked);
        if !matches!(verdict.await, Ok(CleanerVerdict::Flush)) {
            return;
        }
        // The last look before it is done: a gateway may have come in this very second.
        if !self.is_out_of_reach(dev_eui).await {
            return;
        }
        let flush = call(&self.link, move |server| async move {
            server.flush_queue(dev_eui).await
        });
        if flush.await.is_some() {
            let items = count;
            let _ = self.cleaner.post(CleanerMessage::Flushed { owner, items });
        }
    }

    /// Tells items of ours from others'. At most one is ours, and its device's machine knows it: a device that is not in
    /// memory has none.
    async fn whose(&self, dev_eui: DevEui, items: Vec<QueueItem>) -> Option<Vec<FoundItem>> {
        let (reply, owned) = oneshot::channel();
        let message = DeviceMessage::Owns {
            items: items.clone(),
            reply,
        };
        let is_asked = !items.is_empty()
            && self
                .shared
                .upgrade()?
                .deliver(self.link.key(dev_eui), message);
        let owned = if is_asked {
            owned.await.ok()?
        } else {
            vec![false; items.len()]
        };
        let found = items.into_iter().zip(owned);
        let found = found.map(|(item, is_ours)| FoundItem { item, is_ours });
        Some(found.collect())
    }

    async fn is_out_of_reach(&self, dev_eui: DevEui) -> bool {
        let (reply, device) = oneshot::channel();
        self.link
            .monitor(MonitorMessage::LinksOf { dev_eui, reply });
        let Ok(Some(device)) = device.await else {
            return false;
        };
        device.links.is_out_of_reach(&self.link.gateways())
    }
}

/// Whether an item of ours is, or may be, in a device's queue: such a device is in memory and has something to do.
fn may_hold_ours(shared: &Shared, link: &Link, dev_eui: DevEui) -> bool {
    let entry = shared.devices.get(&link.key(dev_eui));
    entry.is_some_and(|entry| entry.unfinished.load(Ordering::Relaxed))
}

fn ask_who_is_out_of_reach(myself: &ActorRef<CleanerMessage>, link: &Link) {
    let (reply, owners) = oneshot::channel();
    link.monitor(MonitorMessage::OutOfReach { reply });
    let myself = myself.clone();
    tokio::spawn(async move {
        if let Ok(owners) = owners.await {
            let _ = myself.post(CleanerMessage::OutOfReach(owners));
        }
    });
}

/// A call, if the network server may be called; `None` if it could not be made or failed.
async fn call<T, Answer>(
    link: &Link,
    call: impl FnOnce(Arc<dyn NetworkServer>) -> Answer + Send + 'static,
) -> Option<T>
where
    T: Send + 'static,
    Answer: Future<Output = Result<T, NetworkServerError>> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let job: Job = Box::new(move |server| {
        Box::pin(async move {
            let Some(server) = server else {
                return Outcome::Unreachable;
            };
            let result = call(server).await;
            let outcome = outcome_of(&result);
            let _ = reply.send(result);
            outcome
        })
    });
    link.pool(PoolMessage::Run(job));
    answer
        .await
        .ok()?
        .inspect_err(|error| tracing::debug!(%error, "a device's queue could not be looked at"))
        .ok()
}

fn publish(shared: &Shared, view: QueueView) {
    shared.feed.publish(FeedEvent {
        at: shared.clock.now(),
        tenant_id: Some(view.owner.tenant_id),
        body: FeedBody::Queue(view),
    });
}
