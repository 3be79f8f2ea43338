//! What is known of gateways and links.

use downbeat_actors::port::{StoreError, StoredGateway, StoredLinks};
use downbeat_core::id::{DeviceId, ParseEuiError, TenantId};
use downbeat_core::link_quality::table::Owner;
use sqlx::FromRow;
use uuid::Uuid;

use super::{corrupt, parse_dev_eui};

#[derive(FromRow)]
pub(crate) struct GatewayRow {
    pub(crate) gateway_id: String,
    pub(crate) record: String,
}

impl TryFrom<GatewayRow> for StoredGateway {
    type Error = StoreError;

    fn try_from(row: GatewayRow) -> Result<Self, StoreError> {
        let id = row.gateway_id.parse();
        Ok(Self {
            gateway_id: id.map_err(|error: ParseEuiError| {
                corrupt("gateway", "gateway_id", &row.gateway_id, error)
            })?,
            record: row.record,
        })
    }
}

#[derive(FromRow)]
pub(crate) struct LinksRow {
    pub(crate) device_id: Uuid,
    pub(crate) tenant_id: Uuid,
    pub(crate) dev_eui: String,
    pub(crate) links: String,
}

impl TryFrom<LinksRow> for StoredLinks {
    type Error = StoreError;

    fn try_from(row: LinksRow) -> Result<Self, StoreError> {
        Ok(Self {
            owner: Owner {
                dev_eui: parse_dev_eui(&row.dev_eui, "device_link", row.device_id)?,
                device_id: DeviceId::from_uuid(row.device_id),
                tenant_id: TenantId::from_uuid(row.tenant_id),
            },
            links: row.links,
        })
    }
}
