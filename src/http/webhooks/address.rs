//! Whose an event is, and which device of theirs.
//!
//! A `DevEUI` says nothing without the network server that knows it, and a body says nothing that its sender may not have
//! made up: what counts is whose key delivers it. Whatever speaks of another tenant is refused.
//!
//! Tenants change rarely, so what is known of them is remembered for seconds, and for an hour while the database is away:
//! events are to be held then, not refused.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use downbeat_actors::port::StoreError;
use downbeat_core::id::{DevEui, DeviceKey, NetworkServerId, Scope, TenantId};
use downbeat_core::time::Timestamp;
use uuid::Uuid;

use crate::store::{DeviceFilter, PAGE_MAX, PageRequest, Store, Tenant};

/// What is known is read again after this.
const FRESH: Duration = Duration::from_secs(5);

/// While the database is away, what was known counts for this long.
const STALE: Duration = Duration::from_hours(1);

/// How much of a kind is remembered.
const REMEMBERED_MAX: usize = 10_000;

/// Where an event goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Address {
    /// To this device, if it is in this scope.
    Device(Scope, DeviceKey),
    /// Nowhere: it speaks of another tenant than its key's.
    TenantMismatch,
}

/// What a device is that is not known where its event went first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stranger {
    /// Nobody's.
    Unclaimed(DeviceKey, Option<TenantId>),
    /// Another tenant's.
    TenantMismatch,
    /// One on a tenant's own network server.
    Elsewhere(DeviceKey),
    /// Several tenants have one of that `DevEUI`, each on a network server of its own.
    Ambiguous,
}

/// What is known of the tenants.
pub(super) struct Addresses {
    store: Store,
    tenants: Memory<TenantId, Known>,
    of_chirpstack: Memory<Uuid, Option<TenantId>>,
    any_of_chirpstack: Memory<(), bool>,
    of_path: Memory<(Scope, String), Option<TenantId>>,
}

/// What is known of a tenant.
#[derive(Debug, Clone, Copy)]
struct Known {
    server: NetworkServerId,
    chirpstack_tenant_id: Option<Uuid>,
}

impl Known {
    /// Whether it is another one in ChirpStack than that.
    fn is_not(self, told: Uuid) -> bool {
        self.chirpstack_tenant_id.is_some_and(|own| own != told)
    }
}

impl Addresses {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            tenants: Memory::default(),
            of_chirpstack: Memory::default(),
            any_of_chirpstack: Memory::default(),
            of_path: Memory::default(),
        }
    }

    /// The tenant that a path names by its id or its name, if a caller may see it.
    pub(super) async fn tenant_of_path(
        &self,
        scope: Scope,
        text: &str,
        now: Timestamp,
    ) -> Result<Option<TenantId>, StoreError> {
        let id = text.parse().ok();
        // Whoever names their own tenant by its id is there, or their key would not be.
        if id.is_some() && scope.tenant() == id {
            return Ok(id);
        }
        let read = async {
            let tenant = match id {
                Some(id) => self.store.tenant(scope, id).await?,
                None => self.store.tenant_by_name(scope, text).await?,
            };
            Ok(tenant.map(|tenant| tenant.id))
        };
        self.of_path.get((scope, text.to_owned()), now, read).await
    }

    /// Where to tell an event first.
    pub(super) async fn find(
        &self,
        scope: Scope,
        chirpstack_tenant: Option<Uuid>,
        dev_eui: DevEui,
        now: Timestamp,
    ) -> Result<Address, StoreError> {
        let owner = match chirpstack_tenant {
            Some(id) => self.owner_of(id, now).await?,
            None => None,
        };
        let Some(tenant_id) = scope.tenant().or(owner) else {
            let server = NetworkServerId::Default;
            let key = DeviceKey { server, dev_eui };
            if let Some(told) = chirpstack_tenant
                && self.is_told_of_any(now).await?
                && let Some(device) = self.store.device_by_key(scope, key).await?
                && self.is_elsewhere(device.tenant_id, told, now).await?
            {
                return Ok(Address::TenantMismatch);
            }
            return Ok(Address::Device(scope, key));
        };
        let known = self.known(tenant_id, now).await?;
        let is_anothers = owner.is_some_and(|owner| owner != tenant_id);
        let is_elsewhere = chirpstack_tenant.is_some_and(|told| known.is_not(told));
        if is_anothers || is_elsewhere {
            return Ok(Address::TenantMismatch);
        }
        let server = known.server;
        let key = DeviceKey { server, dev_eui };
        Ok(Address::Device(Scope::Tenant(tenant_id), key))
    }

    /// What a device is that was not found at its address.
    pub(super) async fn stranger(
        &self,
        scope: Scope,
        chirpstack_tenant: Option<Uuid>,
        key: DeviceKey,
        now: Timestamp,
    ) -> Result<Stranger, StoreError> {
        if let Some(tenant_id) = scope.tenant() {
            let device = self.store.device_by_key(Scope::Platform, key).await?;
            return Ok(match device {
                Some(device) if device.tenant_id != tenant_id => Stranger::TenantMismatch,
                Some(_) | None => Stranger::Unclaimed(key, Some(tenant_id)),
            });
        }
        let filter = DeviceFilter {
            dev_eui: Some(key.dev_eui),
            ..DeviceFilter::default()
        };
        let page = PageRequest::first(2);
        let devices = self.store.list_devices(scope, &filter, page).await?.items;
        Ok(match &*devices {
            [] => Stranger::Unclaimed(key, None),
            [device] => {
                if let Some(told) = chirpstack_tenant
                    && self.is_elsewhere(device.tenant_id, told, now).await?
                {
                    return Ok(Stranger::TenantMismatch);
                }
                Stranger::Elsewhere(DeviceKey {
                    server: device.server,
                    dev_eui: key.dev_eui,
                })
            }
            [_, _, ..] => Stranger::Ambiguous,
        })
    }

    /// The tenant that is that tenant of ChirpStack.
    async fn owner_of(&self, id: Uuid, now: Timestamp) -> Result<Option<TenantId>, StoreError> {
        let read = async {
            let tenant = self.store.tenant_by_chirpstack_id(id).await?;
            Ok(tenant.map(|tenant| tenant.id))
        };
        self.of_chirpstack.get(id, now, read).await
    }

    /// Whether a tenant is another one in ChirpStack than that.
    async fn is_elsewhere(
        &self,
        tenant_id: TenantId,
        told: Uuid,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(self.known(tenant_id, now).await?.is_not(told))
    }

    /// Whether it is known of any tenant which one it is in ChirpStack. If of none, no device needs to be looked up.
    async fn is_told_of_any(&self, now: Timestamp) -> Result<bool, StoreError> {
        let read = async {
            let page = PageRequest::first(PAGE_MAX);
            let tenants = self.store.list_tenants(Scope::Platform, page).await?;
            let is_told = |tenant: &Tenant| tenant.fields.chirpstack_tenant_id.is_some();
            Ok(tenants.next.is_some() || tenants.items.iter().any(is_told))
        };
        self.any_of_chirpstack.get((), now, read).await
    }

    async fn known(&self, tenant_id: TenantId, now: Timestamp) -> Result<Known, StoreError> {
        let read = async {
            let scope = Scope::Tenant(tenant_id);
            let tenant = self.store.tenant(scope, tenant_id).await?;
            Ok(Known {
                server: self.store.network_server_of(tenant_id).await?,
                chirpstack_tenant_id: tenant.and_then(|it| it.fields.chirpstack_tenant_id),
            })
        };
        self.tenants.get(tenant_id, now, read).await
    }
}

/// What was read lately.
struct Memory<K, V>(Mutex<HashMap<K, (V, Timestamp)>>);

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Copy> Memory<K, V> {
    /// What is remembered, if it is fresh; else what is read; else, while nothing can be read, what was known.
    async fn get(
        &self,
        key: K,
        now: Timestamp,
        read: impl Future<Output = Result<V, StoreError>>,
    ) -> Result<V, StoreError> {
        let known = self.known().get(&key).copied();
        if let Some((value, at)) = known
            && now.since(at) < FRESH
        {
            return Ok(value);
        }
        match (read.await, known) {
            (Ok(value), _) => {
                let mut known = self.known();
                if known.len() >= REMEMBERED_MAX {
                    // What is lost is one look-up each.
                    known.clear();
                }
                known.insert(key, (value, now));
                Ok(value)
            }
            (Err(StoreError::Unavailable(_)), Some((value, at))) if now.since(at) < STALE => {
                Ok(value)
            }
            (Err(error), _) => Err(error),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<K, (V, Timestamp)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_read_counts_for_seconds_and_without_a_database_for_longer() {
        let memory = Memory::default();
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let ok = |value: u32| async move { Ok(value) };
        let away = || async { Err(StoreError::Unavailable("away".into())) };
        assert!(memory.get("a", at(0), away()).await.is_err());
        assert_eq!(memory.get("a", at(0), ok(1)).await.unwrap(), 1);
        assert_eq!(memory.get("a", at(4), ok(2)).await.unwrap(), 1);
        assert_eq!(memory.get("a", at(6), away()).await.unwrap(), 1);
        assert_eq!(memory.get("a", at(6), ok(2)).await.unwrap(), 2);
        assert!(memory.get("a", at(3_700), away()).await.is_err());
        let rejected = async { Err(StoreError::Rejected("no".into())) };
        assert!(memory.get("a", at(20), rejected).await.is_err());
    }
}
