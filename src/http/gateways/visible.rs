//! Which gateways a caller sees.
//!
//! A tenant sees the gateways of the network server that it uses. On one that several tenants share, those are left out
//! that ChirpStack keeps for a tenant of its own which is another tenant here: they are somebody else's property. What
//! belongs to nobody in particular (the usual case: one tenant of ChirpStack's for all) is seen by all.
//!
//! The platform sees every network server's gateways, each with the server it is on, or with `?tenant_id=` what that
//! tenant sees.

use std::collections::{BTreeMap, BTreeSet};

use downbeat_core::gateway::{GatewaySnapshot, GatewayStatus};
use downbeat_core::id::{NetworkServerId, Scope, TenantId};
use downbeat_core::time::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::http::auth::Caller;
use crate::http::problem::ApiError;
use crate::http::{AppState, tenants};

/// Whose gateways.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct WhoseQuery {
    /// The id or name of a tenant: what it sees. Without it, a key of the platform sees all.
    pub(in crate::http) tenant_id: Option<String>,
}

/// What a tenant sees.
#[derive(Debug, Clone)]
pub(in crate::http) struct TenantView {
    tenant_id: TenantId,
    server: NetworkServerId,
    /// ChirpStack's tenants that have gateways there, and whether they are other tenants here.
    owners: BTreeMap<Uuid, bool>,
}

impl TenantView {
    /// Asks the registry, once for all gateways.
    pub(in crate::http) async fn of(
        state: &AppState,
        tenant_id: TenantId,
    ) -> Result<Self, ApiError> {
        let server = state.store().network_server_of(tenant_id).await?;
        let mut view = Self {
            tenant_id,
            server,
            owners: BTreeMap::new(),
        };
        if server == NetworkServerId::Default {
            let snapshot = state.system().gateways(server);
            let owners = snapshot.gateways.values();
            let owners: BTreeSet<Uuid> = owners.filter_map(|gateway| gateway.tenant_id).collect();
            for owner in owners {
                view.look_up(state, owner).await?;
            }
        }
        Ok(view)
    }

    /// The gateways that the tenant sees, by id.
    pub(in crate::http) fn gateways(&self, state: &AppState) -> Vec<GatewayStatus> {
        let snapshot = state.system().gateways(self.server);
        let seen = snapshot.gateways.values();
        seen.filter(|gateway| self.shows(self.server, gateway))
            .cloned()
            .collect()
    }

    /// Learns whose a gateway is, if that is not known.
    pub(in crate::http) async fn learn(
        &mut self,
        state: &AppState,
        gateway: &GatewayStatus,
    ) -> Result<(), ApiError> {
        let is_shared = self.server == NetworkServerId::Default;
        let owner = gateway.tenant_id.filter(|_| is_shared);
        match owner.filter(|owner| !self.owners.contains_key(owner)) {
            Some(owner) => self.look_up(state, owner).await,
            None => Ok(()),
        }
    }

    async fn look_up(&mut self, state: &AppState, owner: Uuid) -> Result<(), ApiError> {
        let tenant = state.store().tenant_by_chirpstack_id(owner).await?;
        let is_another = tenant.is_some_and(|tenant| tenant.id != self.tenant_id);
        self.owners.insert(owner, is_another);
        Ok(())
    }

    /// Whether the tenant sees a gateway.
    pub(in crate::http) fn shows(&self, server: NetworkServerId, gateway: &GatewayStatus) -> bool {
        let is_shared = server == NetworkServerId::Default;
        let owner = gateway.tenant_id.filter(|_| is_shared);
        // Whose is not known is not shown.
        server == self.server && owner.is_none_or(|owner| self.owners.get(&owner) == Some(&false))
    }
}

/// The gateways that a caller sees, by network server.
pub(super) struct Visible {
    /// Whose devices may be named beside them; `None`: everybody's.
    pub(super) tenant_id: Option<TenantId>,
    servers: Vec<(NetworkServerId, GatewaySnapshot)>,
    view: Option<TenantView>,
}

impl Visible {
    pub(super) async fn to(
        state: &AppState,
        caller: &Caller,
        query: &WhoseQuery,
    ) -> Result<Self, ApiError> {
        let tenant_id = match (&query.tenant_id, caller.scope) {
            (Some(text), _) => Some(tenants::id_of_path(state, caller, text).await?),
            (None, Scope::Tenant(tenant_id)) => Some(tenant_id),
            (None, Scope::Platform) => None,
        };
        let Some(tenant_id) = tenant_id else {
            return Ok(Self {
                tenant_id: None,
                servers: state.system().all_gateways(),
                view: None,
            });
        };
        let view = TenantView::of(state, tenant_id).await?;
        let server = view.server;
        Ok(Self {
            tenant_id: Some(view.tenant_id),
            servers: vec![(server, state.system().gateways(server))],
            view: Some(view),
        })
    }

    /// Each gateway with its network server: the configuration's first, by id.
    pub(super) fn gateways(&self) -> impl Iterator<Item = (NetworkServerId, &GatewayStatus)> {
        let all = self.servers.iter();
        let all = all.flat_map(|(server, snapshot)| {
            let gateways = snapshot.gateways.values();
            gateways.map(|gateway| (*server, gateway))
        });
        all.filter(|(server, gateway)| {
            let view = self.view.as_ref();
            view.is_none_or(|view| view.shows(*server, gateway))
        })
    }

    /// The oldest of the snapshots' times, and of ChirpStack's lists; `None` if one never gave its list.
    pub(super) fn times(&self) -> Times {
        let snapshots = || self.servers.iter().map(|(_, snapshot)| snapshot);
        let listed: Option<Vec<Timestamp>> =
            snapshots().map(|snapshot| snapshot.listed_at).collect();
        Times {
            checked_at: snapshots().map(|snapshot| snapshot.checked_at).min(),
            listed_at: listed.and_then(|listed| listed.into_iter().min()),
        }
    }
}

/// When it was looked.
pub(super) struct Times {
    pub(super) checked_at: Option<Timestamp>,
    pub(super) listed_at: Option<Timestamp>,
}
