//! Where ChirpStack and the registry differ: a comparison of all devices, now and then and on request.
//!
//! Both sides are read page by page in the order of their `DevEUI`s, so that memory does not grow with the fleet, and what
//! stands on one side only is looked up on the other before it is called missing: pages read one after the other may
//! miss what came or went in between.
//!
//! The comparison only finds. What ChirpStack is to hold is put there by the synchronizer as soon as the registry
//! changes; a difference that it is at work on is no drift.

mod applications;
mod compare;
mod remote;

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use downbeat_actors::System;
use downbeat_actors::port::{DeviceStore as _, NetworkServerError, StoreError};
use downbeat_core::id::{DevEui, DeviceKey, NetworkServerId, TenantId};
use downbeat_core::sync::{RemoteDevice, SyncState};
use downbeat_core::time::Timestamp;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use crate::store::{Device, Drift, DriftKind, PAGE_MAX, PageRequest, Scope, Store, Tenant};

pub use applications::Reach;
pub(crate) use applications::owned;
pub use compare::{Held, differences};
pub(crate) use remote::Devices;
use remote::RemoteDevices;

/// Devices that are found to differ, at the most; a tenant with more has another problem.
const FOUND_MAX: usize = 10_000;

/// Registered devices of a page.
const PAGE: u32 = 500;

/// Why a comparison came to nothing. What the last one found stays.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// ChirpStack could not be asked.
    #[error("ChirpStack's devices could not be listed")]
    NetworkServer(#[from] NetworkServerError),
    /// The registry could not be read, or the finding not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Compares tenants' devices with ChirpStack's, each tenant's once at a time. Clones are the same.
#[derive(Clone)]
pub struct Comparer {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    system: System,
    /// Tenants that are being compared.
    running: Mutex<HashSet<TenantId>>,
}

/// The right to compare a tenant; given back when it is dropped.
pub struct Turn {
    shared: Arc<Shared>,
    tenant_id: TenantId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let running = self.shared.running.lock();
        let mut running = running.unwrap_or_else(PoisonError::into_inner);
        running.remove(&self.tenant_id);
    }
}

impl Comparer {
    /// For the devices of this store and the network servers of these actors.
    pub fn new(store: Store, system: System) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                system,
                running: Mutex::default(),
            }),
        }
    }

    /// The right to compare a tenant; `None` while it is being compared.
    pub fn turn(&self, tenant_id: TenantId) -> Option<Turn> {
        let running = self.shared.running.lock();
        let mut running = running.unwrap_or_else(PoisonError::into_inner);
        let is_first = running.insert(tenant_id);
        is_first.then(|| Turn {
            shared: Arc::clone(&self.shared),
            tenant_id,
        })
    }

    /// Whether a tenant is being compared.
    pub fn is_comparing(&self, tenant_id: TenantId) -> bool {
        let running = self.shared.running.lock();
        running
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&tenant_id)
    }

    /// The applications of ChirpStack that are compared for a tenant. Another tenant's are not among them.
    pub async fn applications(
        &self,
        tenant: &Tenant,
    ) -> Result<BTreeMap<Uuid, Reach>, CompareError> {
        let server = self.shared.store.network_server_of(tenant.id).await?;
        applications::of(&self.shared.store, &self.shared.system, tenant, server).await
    }
}

impl Turn {
    /// Compares the tenant's devices and stores what is found.
    pub async fn compare(self, tenant: &Tenant) -> Result<(), CompareError> {
        let Shared { store, system, .. } = &*self.shared;
        let server = store.network_server_of(tenant.id).await?;
        let comparison = Comparison {
            store,
            system,
            tenant_id: tenant.id,
            server,
            applications: applications::of(store, system, tenant, server).await?,
            at: system.clock().now(),
            found: Vec::new(),
        };
        comparison.run().await
    }
}

/// One comparison.
struct Comparison<'a> {
    store: &'a Store,
    system: &'a System,
    tenant_id: TenantId,
    server: NetworkServerId,
    applications: BTreeMap<Uuid, Reach>,
    at: Timestamp,
    found: Vec<Drift>,
}

impl Comparison<'_> {
    async fn run(mut self) -> Result<(), CompareError> {
        let ids = self.applications.keys().copied();
        let mut remotes = RemoteDevices::of(self.system, self.server, ids);
        let mut registered = Registered::of(self.store, self.tenant_id);
        let (mut ours, mut theirs) = (registered.next().await?, remotes.next().await?);
        while self.found.len() < FOUND_MAX {
            let order = match (&ours, &theirs) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(device), Some(remote)) => dev_eui(device).cmp(&Some(remote.device.dev_eui)),
            };
            let device = if order.is_le() {
                std::mem::replace(&mut ours, registered.next().await?)
            } else {
                None
            };
            let remote = if order.is_ge() {
                std::mem::replace(&mut theirs, remotes.next().await?)
            } else {
                None
            };
            match (device, remote) {
                (Some(device), Some(remote)) => {
                    let held = Held {
                        application_id: Some(remote.application_id),
                        ..Held::listed(&remote.device)
                    };
                    self.both(&device, &held);
                }
                (Some(device), None) => self.only_ours(&device).await?,
                (None, Some(remote)) => self.only_theirs(&remote).await?,
                (None, None) => break,
            }
        }
        if self.found.len() >= FOUND_MAX {
            tracing::warn!(
                tenant.id = %self.tenant_id,
                "more devices differ than are listed: the comparison ended there"
            );
        }
        self.store
            .replace_drift(self.tenant_id, self.at, &self.found)
            .await?;
        tracing::debug!(tenant.id = %self.tenant_id, found = self.found.len(), "drift.compared");
        Ok(())
    }

    fn both(&mut self, device: &Device, held: &Held<'_>) {
        if !is_settled(device) {
            return;
        }
        let differences = differences(device, held);
        if !differences.is_empty() {
            self.found.push(Drift {
                dev_eui: held.dev_eui,
                device_id: Some(device.id),
                kind: DriftKind::Differs,
                // What stands in an application of others is not told.
                chirpstack_name: held.application_id.map(|_| held.name.to_owned()),
                application_id: held.application_id,
                device_profile_id: held.application_id.map(|_| held.device_profile_id),
                differences,
                found_at: self.at,
                ignored: false,
            });
        }
    }

    async fn only_ours(&mut self, device: &Device) -> Result<(), CompareError> {
        let Some(dev_eui) = dev_eui(device).filter(|_| is_settled(device)) else {
            return Ok(());
        };
        if let Some(remote) = get(self.system, self.server, dev_eui).await? {
            let reachable = Some(remote.application_id);
            let held = Held {
                application_id: reachable.filter(|id| self.applications.contains_key(id)),
                ..Held::read(&remote)
            };
            self.both(device, &held);
            return Ok(());
        }
        self.found.push(Drift {
            dev_eui,
            device_id: Some(device.id),
            kind: DriftKind::MissingInChirpstack,
            chirpstack_name: None,
            application_id: None,
            device_profile_id: None,
            differences: Vec::new(),
            found_at: self.at,
            ignored: false,
        });
        Ok(())
    }

    async fn only_theirs(&mut self, remote: &remote::InApplication) -> Result<(), CompareError> {
        let reach = self.applications.get(&remote.application_id);
        if reach != Some(&Reach::All) {
            return Ok(());
        }
        let dev_eui = remote.device.dev_eui;
        let server = self.server;
        let key = DeviceKey { server, dev_eui };
        // Registered meanwhile or by another tenant, or on its way out.
        let is_known = self
            .store
            .device_by_key(Scope::Platform, key)
            .await?
            .is_some()
            || self.store.load_sync(key).await?.is_some();
        if is_known {
            return Ok(());
        }
        self.found.push(Drift {
            dev_eui,
            device_id: None,
            kind: DriftKind::MissingInRegistry,
            chirpstack_name: Some(remote.device.name.clone()),
            application_id: Some(remote.application_id),
            device_profile_id: Some(remote.device.device_profile_id),
            differences: Vec::new(),
            found_at: self.at,
            ignored: false,
        });
        Ok(())
    }
}

/// ChirpStack's device, whole.
pub async fn get(
    system: &System,
    server: NetworkServerId,
    dev_eui: DevEui,
) -> Result<Option<RemoteDevice>, NetworkServerError> {
    let call = move |server: Arc<dyn downbeat_actors::port::NetworkServer>| async move {
        server.device(dev_eui).await
    };
    match system.call_server(server, call).await {
        Err(NetworkServerError::UnknownDevice(_)) => Ok(None),
        result => result,
    }
}

fn dev_eui(device: &Device) -> Option<DevEui> {
    device.fields.dev_eui
}

/// Whether a device is kept in step and nobody is at work on it.
fn is_settled(device: &Device) -> bool {
    let Some(sync) = &device.sync else {
        return false;
    };
    match sync.status.state {
        SyncState::Synced => sync.is_synced(),
        SyncState::Conflict | SyncState::Rejected => true,
        SyncState::Pending | SyncState::Failing => false,
    }
}

/// A tenant's registered devices, by DevEUI.
struct Registered<'a> {
    store: &'a Store,
    tenant_id: TenantId,
    page: std::vec::IntoIter<Device>,
    after: Option<DevEui>,
    is_over: bool,
}

impl<'a> Registered<'a> {
    fn of(store: &'a Store, tenant_id: TenantId) -> Self {
        Self {
            store,
            tenant_id,
            page: Vec::new().into_iter(),
            after: None,
            is_over: false,
        }
    }

    async fn next(&mut self) -> Result<Option<Device>, StoreError> {
        loop {
            if let Some(device) = self.page.next() {
                self.after = device.fields.dev_eui;
                return Ok(Some(device));
            }
            if self.is_over {
                return Ok(None);
            }
            let page = self
                .store
                .devices_by_dev_eui(self.tenant_id, self.after, PAGE);
            let page = page.await?;
            self.is_over = page.len() < PAGE as usize;
            self.page = page.into_iter();
        }
    }
}

/// Compares all tenants, one after the other, once in `interval`, until the service stops.
pub async fn run(comparer: Comparer, interval: Duration, mut stopping: watch::Receiver<bool>) {
    if interval.is_zero() {
        return;
    }
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Not at the start: whatever was missed while the service was down is being put right then.
    ticks.reset();
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            result = round(&comparer) => {
                if let Err(error) = result {
                    tracing::warn!(%error, "tenants could not be listed for the comparison with ChirpStack");
                }
            }
        }
    }
}

async fn round(comparer: &Comparer) -> Result<(), StoreError> {
    let Shared { store, system, .. } = &*comparer.shared;
    let mut page = PageRequest::first(PAGE_MAX);
    loop {
        let tenants = store.list_tenants(Scope::Platform, page).await?;
        for tenant in &tenants.items {
            let server = store.network_server_of(tenant.id).await?;
            let is_configured =
                server != NetworkServerId::Default || system.health().network_server_configured;
            let turn = comparer.turn(tenant.id).filter(|_| is_configured);
            if let Some(turn) = turn
                && let Err(error) = turn.compare(tenant).await
            {
                tracing::warn!(tenant.id = %tenant.id, error = %error, "drift.not_compared");
            }
        }
        match tenants.next {
            Some(cursor) => page.after = Some(cursor),
            None => return Ok(()),
        }
    }
}
