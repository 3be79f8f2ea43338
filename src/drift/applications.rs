//! Which applications of ChirpStack are a tenant's to look at.

use std::collections::BTreeMap;
use std::sync::Arc;

use downbeat_actors::System;
use downbeat_actors::port::{ListedApplication, NetworkServer, NetworkServerError};
use downbeat_core::id::NetworkServerId;
use uuid::Uuid;

use crate::store::{DeviceFilter, Scope, Store, Tenant};

use super::{CompareError, Registered};

/// Applications of a tenant, at the most; further ones are not compared.
const APPLICATIONS_MAX: usize = 200;

/// How much of an application is a tenant's to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All of its devices.
    All,
    /// Those that the tenant has registered: other tenants have devices in it, too.
    Registered,
}

/// For a tenant that is one of ChirpStack's, or that has a network server of its own: all applications there. For others:
/// those that its devices name.
pub(super) async fn of(
    store: &Store,
    system: &System,
    tenant: &Tenant,
    server: NetworkServerId,
) -> Result<BTreeMap<Uuid, Reach>, CompareError> {
    if let Some(owned) = owned(system, tenant, server).await? {
        let ids = owned.into_iter().take(APPLICATIONS_MAX);
        return Ok(ids.map(|it| (it.id, Reach::All)).collect());
    }
    let mut reaches = BTreeMap::new();
    let mut registered = Registered::of(store, tenant.id);
    while let Some(device) = registered.next().await? {
        let Some(id) = device.fields.chirpstack_app_id else {
            continue;
        };
        if reaches.contains_key(&id) || reaches.len() >= APPLICATIONS_MAX {
            continue;
        }
        let filter = DeviceFilter {
            chirpstack_app_id: Some(id),
            ..DeviceFilter::default()
        };
        let all = store.count_devices(Scope::Platform, &filter).await?;
        let own = store
            .count_devices(Scope::Tenant(tenant.id), &filter)
            .await?;
        let reach = if all == own {
            Reach::All
        } else {
            Reach::Registered
        };
        reaches.insert(id, reach);
    }
    Ok(reaches)
}

/// The applications that are certainly the tenant's own; `None` if that cannot be told.
pub(crate) async fn owned(
    system: &System,
    tenant: &Tenant,
    server: NetworkServerId,
) -> Result<Option<Vec<ListedApplication>>, NetworkServerError> {
    let chirpstack_tenant_id = tenant.fields.chirpstack_tenant_id;
    if chirpstack_tenant_id.is_none() && server == NetworkServerId::Default {
        return Ok(None);
    }
    let call = move |server: Arc<dyn NetworkServer>| async move {
        server.applications(chirpstack_tenant_id).await
    };
    system.call_server(server, call).await.map(Some)
}
