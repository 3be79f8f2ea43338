//! What is known of gateways and links outlives the process: loaded at the start, stored once a minute what changed.
//!
//! Nothing waits for either. Who is there is found out anew in seconds; what is stored are counts, averages and history,
//! of which a minute may be lost.

use std::sync::{Arc, Weak};
use std::time::Duration;

use downbeat_core::gateway::StoredChanges;
use downbeat_core::id::{DevEui, NetworkServerId};
use downbeat_core::link_quality::table::LinkedDevice;
use downbeat_core::time::Timestamp;
use ractor::ActorRef;
use tokio::sync::oneshot;

use super::{MonitorMessage, MonitorState};
use crate::mailbox::Post as _;
use crate::port::{DeviceStore, GatewayMemory, StoreError, StoredGateway, StoredLinks};
use crate::system::Shared;

/// Devices whose links are loaded, or stored, at once.
const BATCH: u32 = 500;

/// Between two tries to load.
const RELOAD_PAUSE: Duration = Duration::from_secs(5);

/// Loads all, page after page; what cannot be read is left out.
pub(super) async fn load(
    monitor: ActorRef<MonitorMessage>,
    shared: Weak<Shared>,
    server: NetworkServerId,
) {
    let Some(store) = shared.upgrade().map(|shared| Arc::clone(&shared.store)) else {
        return;
    };
    loop {
        match load_gateways(&monitor, &*store, server).await {
            Ok(()) => break,
            Err(error) => tracing::warn!(%error, "what is known of gateways could not be loaded"),
        }
        tokio::time::sleep(RELOAD_PAUSE).await;
    }
    let mut after = None;
    loop {
        match load_links(&monitor, &*store, server, after).await {
            Ok(Some(last)) => after = Some(last),
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "what is known of links could not be loaded");
                tokio::time::sleep(RELOAD_PAUSE).await;
            }
        }
    }
}

async fn load_gateways(
    monitor: &ActorRef<MonitorMessage>,
    store: &dyn DeviceStore,
    server: NetworkServerId,
) -> Result<(), StoreError> {
    let stored = store.load_gateways(server).await?;
    let records = stored.into_iter().filter_map(|stored| {
        let record = serde_json::from_str(&stored.record)
            .inspect_err(|error| tracing::error!(gateway.id = %stored.gateway_id, %error, "a gateway's record cannot be read"))
            .ok()?;
        Some((stored.gateway_id, record))
    });
    let _ = monitor.post(MonitorMessage::GatewaysLoaded(records.collect()));
    Ok(())
}

/// Loads one page; gives its last device, if there may be more.
async fn load_links(
    monitor: &ActorRef<MonitorMessage>,
    store: &dyn DeviceStore,
    server: NetworkServerId,
    after: Option<DevEui>,
) -> Result<Option<DevEui>, StoreError> {
    let stored = store.load_links(server, after, BATCH).await?;
    let last = stored.last().map(|stored| stored.owner.dev_eui);
    let devices = stored.into_iter().filter_map(|StoredLinks { owner, links }| {
        let links = serde_json::from_str(&links)
            .inspect_err(|error| tracing::error!(device.dev_eui = %owner.dev_eui, %error, "a device's links cannot be read"))
            .ok()?;
        Some(LinkedDevice { owner, links })
    });
    let _ = monitor.post(MonitorMessage::LinksLoaded(devices.collect()));
    Ok(last)
}

impl MonitorState {
    /// Stores what changed, one batch at a time: the rest follows when this one is stored.
    pub(super) fn keep(
        &mut self,
        monitor: &ActorRef<MonitorMessage>,
        shared: &Shared,
        now: Timestamp,
    ) {
        if self.is_keeping {
            return;
        }
        let (changes, links) = self.take_changed();
        if changes == StoredChanges::default() && links.is_empty() {
            return;
        }
        self.is_keeping = true;
        let is_full = links.len() >= usize::try_from(BATCH).unwrap_or(usize::MAX);
        let (store, server) = (Arc::clone(&shared.store), self.link.id);
        let monitor = monitor.clone();
        tokio::spawn(async move {
            let result = store
                .keep_gateways(server, now, &memory(&changes, &links))
                .await;
            let lost = result
                .inspect_err(
                    |error| tracing::warn!(%error, "what is known of gateways could not be stored"),
                )
                .err()
                .map(|_| Box::new((changes, links)));
            let _ = monitor.post(MonitorMessage::Kept { is_full, lost });
        });
    }

    /// A batch was stored, or comes back to be stored the next time.
    pub(super) fn on_kept(&mut self, lost: Option<(StoredChanges, Vec<LinkedDevice>)>) {
        self.is_keeping = false;
        if let Some((changes, links)) = lost {
            self.table.not_stored(&changes);
            self.links.not_stored(&links);
        }
    }

    /// Stores all that changed, at the end.
    pub(super) fn keep_all(&mut self, shared: &Shared, now: Timestamp, done: oneshot::Sender<()>) {
        let mut batches = Vec::new();
        loop {
            let (changes, links) = self.take_changed();
            if changes == StoredChanges::default() && links.is_empty() {
                break;
            }
            batches.push(memory(&changes, &links));
        }
        let (store, server) = (Arc::clone(&shared.store), self.link.id);
        tokio::spawn(async move {
            for batch in batches {
                if let Err(error) = store.keep_gateways(server, now, &batch).await {
                    tracing::warn!(%error, "what is known of gateways could not be stored");
                    break;
                }
            }
            let _ = done.send(());
        });
    }

    fn take_changed(&mut self) -> (StoredChanges, Vec<LinkedDevice>) {
        let limit = usize::try_from(BATCH).unwrap_or(usize::MAX);
        (self.table.take_changed(), self.links.take_changed(limit))
    }
}

fn memory(changes: &StoredChanges, links: &[LinkedDevice]) -> GatewayMemory {
    let unfailing = "its maps have text keys and its floats are finite";
    let gateway = |(gateway_id, record): &(_, _)| StoredGateway {
        gateway_id: *gateway_id,
        record: serde_json::to_string(record).expect(unfailing),
    };
    let device = |device: &LinkedDevice| StoredLinks {
        owner: device.owner,
        links: serde_json::to_string(&device.links).expect(unfailing),
    };
    GatewayMemory {
        kept: changes.kept.iter().map(gateway).collect(),
        gone: changes.gone.clone(),
        links: links.iter().map(device).collect(),
    }
}
