//! Devices that speak and that nobody has registered: seen in webhooks, claimed with one call.
//!
//! A device is listed for the tenant whose key delivered its events, or that ChirpStack's tenant is. Where neither is
//! known, only the platform sees it.

use downbeat_core::id::{DevEui, Scope, TenantId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::store::{PAGE_MAX, Page, PageRequest, UnclaimedDevice};

use super::AppState;
use super::auth::Caller;
use super::extract::Fields;
use super::problem::ApiError;

pub(super) mod claim;
pub(super) mod dismiss;
pub(super) mod list;

/// Rows of a page if the caller does not say.
const LIMIT_DEFAULT: u32 = 100;

/// Which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// 1 to 1000; 100 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl PageQuery {
    fn checked(self) -> Result<PageRequest, ApiError> {
        let mut fields = Fields::default();
        let limit = fields.number("limit", self.limit.as_deref(), 1..=PAGE_MAX);
        let page = PageRequest {
            limit: limit.unwrap_or(LIMIT_DEFAULT),
            after: fields.parsed("cursor", self.cursor.as_deref()),
        };
        fields.done(page)
    }
}

/// A device that nobody has registered, as it was last seen.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UnclaimedBody {
    /// 16 hex digits.
    #[schema(example = "202020410a3f0012")]
    lorawan_dev_eui: String,
    /// Null if nothing tells whose it is.
    tenant_id: Option<String>,
    /// ChirpStack's name of it; may be empty.
    name: String,
    /// Its application in ChirpStack, where known.
    chirpstack_app_id: Option<String>,
    /// Its device profile in ChirpStack, where known.
    device_profile_id: Option<String>,
    /// Best RSSI of its last uplink, dBm.
    signal_strength: Option<i32>,
    /// Events seen of it.
    events: u32,
    /// RFC 3339.
    first_seen: String,
    /// RFC 3339.
    last_seen: String,
}

impl UnclaimedBody {
    fn new(device: &UnclaimedDevice) -> Self {
        let last = &device.last;
        Self {
            lorawan_dev_eui: last.key.dev_eui.to_string(),
            tenant_id: last.tenant_id.map(|id| id.to_string()),
            name: last.name.clone(),
            chirpstack_app_id: last.application_id.map(|id| id.to_string()),
            device_profile_id: last.device_profile_id.map(|id| id.to_string()),
            signal_strength: last.rssi_dbm,
            events: last.events,
            first_seen: device.first_seen.to_string(),
            last_seen: last.at.to_string(),
        }
    }
}

/// A page of devices that nobody has registered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UnclaimedPage {
    unclaimed: Vec<UnclaimedBody>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

impl UnclaimedPage {
    fn new(page: &Page<UnclaimedDevice>) -> Self {
        Self {
            unclaimed: page.items.iter().map(UnclaimedBody::new).collect(),
            next_cursor: page.next.map(|cursor| cursor.to_string()),
        }
    }
}

/// One that is a tenant's; for the platform also one that is nobody's.
async fn find(
    state: &AppState,
    caller: &Caller,
    tenant_id: TenantId,
    dev_eui: DevEui,
) -> Result<UnclaimedDevice, ApiError> {
    let found = state
        .store()
        .unclaimed(Scope::Tenant(tenant_id), dev_eui)
        .await?;
    if let Some(device) = found {
        return Ok(device);
    }
    let nobodys = match caller.scope {
        Scope::Platform => state.store().unclaimed(Scope::Platform, dev_eui).await?,
        Scope::Tenant(_) => None,
    };
    let nobodys = nobodys.filter(|device| device.last.tenant_id.is_none());
    // Registered, it would be looked for on its tenant's network server, so it has to speak there.
    let server = state.store().network_server_of(tenant_id).await?;
    nobodys
        .filter(|device| device.last.key.server == server)
        .ok_or(ApiError::NotFound("unclaimed device"))
}
