//! The port, and those of its calls that life is made of: the queue and the gateways.

use async_trait::async_trait;
use chirpstack_api::api;
use chirpstack_api::api::gateway_service_client::GatewayServiceClient;
use downbeat_actors::port::{
    ListedApplication, ListedDevice, NetworkServer, NetworkServerError, NewQueueItem,
};
use downbeat_core::app_key::AppKey;
use downbeat_core::gateway::{GATEWAYS_MAX, ListedGateway};
use downbeat_core::id::{DevEui, QueueItemId};
use downbeat_core::network::QueueItem;
use downbeat_core::sync::RemoteDevice;
use uuid::Uuid;

use super::client::{ANSWER_BYTES_MAX, ChirpStackClient, unreadable};
use super::convert::{self, ConvertError};
use super::key::Reach;

/// Rows of one List call.
pub(super) const PAGE: u32 = 500;

#[async_trait]
impl NetworkServer for ChirpStackClient {
    async fn enqueue(
        &self,
        dev_eui: DevEui,
        item: &NewQueueItem,
    ) -> Result<QueueItemId, NetworkServerError> {
        let mut devices = self.devices_api();
        let request = self.request(api::EnqueueDeviceQueueItemRequest {
            queue_item: Some(convert::new_queue_item(dev_eui, item)),
            flush_queue: false,
        });
        let answer = self.of_device(dev_eui, devices.enqueue(request)).await?;
        convert::queue_item_id(&answer.id).map_err(unreadable)
    }

    async fn queue(&self, dev_eui: DevEui) -> Result<Vec<QueueItem>, NetworkServerError> {
        let mut devices = self.devices_api();
        let request = self.request(api::GetDeviceQueueItemsRequest {
            dev_eui: dev_eui.to_string(),
            count_only: false,
        });
        let answer = self.of_device(dev_eui, devices.get_queue(request)).await?;
        answer
            .result
            .into_iter()
            .map(convert::queue_item)
            .collect::<Result<_, _>>()
            .map_err(unreadable)
    }

    async fn flush_queue(&self, dev_eui: DevEui) -> Result<(), NetworkServerError> {
        let mut devices = self.devices_api();
        let request = self.request(api::FlushDeviceQueueRequest {
            dev_eui: dev_eui.to_string(),
        });
        self.of_device(dev_eui, devices.flush_queue(request)).await
    }

    async fn applications(
        &self,
        tenant_id: Option<Uuid>,
    ) -> Result<Vec<ListedApplication>, NetworkServerError> {
        self.list_applications(tenant_id).await
    }

    async fn devices(
        &self,
        application_id: Uuid,
        offset: u32,
        limit: u32,
    ) -> Result<Vec<ListedDevice>, NetworkServerError> {
        self.list_devices(application_id, offset, limit).await
    }

    async fn device(&self, dev_eui: DevEui) -> Result<Option<RemoteDevice>, NetworkServerError> {
        self.get_device(dev_eui).await
    }

    async fn create_device(&self, device: &RemoteDevice) -> Result<(), NetworkServerError> {
        self.insert_device(device).await
    }

    async fn update_device(&self, device: &RemoteDevice) -> Result<(), NetworkServerError> {
        self.replace_device(device).await
    }

    async fn delete_device(&self, dev_eui: DevEui) -> Result<(), NetworkServerError> {
        self.remove_device(dev_eui).await
    }

    async fn set_app_key(&self, dev_eui: DevEui, key: &AppKey) -> Result<(), NetworkServerError> {
        self.put_app_key(dev_eui, key).await
    }

    async fn gateways(&self) -> Result<Vec<ListedGateway>, NetworkServerError> {
        // Whatever comes of it: some versions list gateways without knowing the tenant.
        let tenant_id = match self.reach().await {
            Ok(Reach::Tenant(tenant_id)) => Some(tenant_id),
            Ok(Reach::Everything | Reach::Unknown) | Err(_) => None,
        };
        let mut listed = Vec::new();
        let mut offset = 0;
        while listed.len() < GATEWAYS_MAX {
            let page = self.gateway_page(tenant_id, offset).await?;
            let rows = page.len();
            listed.extend(
                page.into_iter()
                    .filter_map(|gateway| readable(convert::listed_gateway(gateway))),
            );
            if rows < PAGE as usize {
                break;
            }
            offset += PAGE;
        }
        // Some versions list every tenant's gateways to everyone (chirpstack.md §1.1).
        if tenant_id.is_some() {
            listed.retain(|gateway| gateway.tenant_id.is_none() || gateway.tenant_id == tenant_id);
        }
        // Rows that came or went between two pages may have shifted one into both.
        listed.sort_by_key(|gateway| gateway.gateway_id);
        listed.dedup_by_key(|gateway| gateway.gateway_id);
        Ok(listed)
    }

    async fn ping(&self) -> Result<(), NetworkServerError> {
        self.ask_for_key().await
    }
}

impl ChirpStackClient {
    async fn gateway_page(
        &self,
        tenant_id: Option<Uuid>,
        offset: u32,
    ) -> Result<Vec<api::GatewayListItem>, NetworkServerError> {
        let mut gateways =
            GatewayServiceClient::new(self.channel()).max_decoding_message_size(ANSWER_BYTES_MAX);
        let page = self.request(api::ListGatewaysRequest {
            limit: PAGE,
            offset,
            tenant_id: tenant_id.map(|id| id.to_string()).unwrap_or_default(),
            order_by: api::list_gateways_request::OrderBy::GatewayId.into(),
            ..api::ListGatewaysRequest::default()
        });
        Ok(self.of_server(gateways.list(page)).await?.result)
    }
}

/// One row that breaks the API must not hide the others.
fn readable<T>(row: Result<T, ConvertError>) -> Option<T> {
    row.inspect_err(
        |error| tracing::warn!(%error, "ChirpStack listed something that cannot be read"),
    )
    .ok()
}
