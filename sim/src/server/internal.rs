//! `InternalService`: a device's log of events. The rest is the web interface's own.

use std::pin::Pin;

use chirpstack_api::api as cs;
use chirpstack_api::api::internal_service_server::InternalService;
use chirpstack_api::api::{LogItem, StreamDeviceEventsRequest};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::auth::{dev_eui, missing};
use super::body::{self, About};
use super::rpc::{Rpc, unimplemented_rpcs};
use super::world::Encoding;
use crate::model::Webhook;

type Log = Pin<Box<dyn Stream<Item = Result<LogItem, Status>> + Send>>;

#[tonic::async_trait]
impl InternalService for Rpc {
    type StreamGatewayFramesStream = Log;
    type StreamDeviceFramesStream = Log;
    type StreamDeviceEventsStream = Log;

    /// What the log holds, and then nothing more: the stream stays open, as ChirpStack's does.
    async fn stream_device_events(
        &self,
        request: Request<StreamDeviceEventsRequest>,
    ) -> Result<Response<Log>, Status> {
        let kind = self.world.admit_tenant(request.metadata()).await?;
        let eui = dev_eui(&request.get_ref().dev_eui)?;
        let device = self.world.with(|network, _| {
            let fields = &network.registered(eui)?.fields;
            Some((fields.name.clone(), fields.tags.clone()))
        });
        let (device_name, tags) = device.ok_or_else(|| missing(kind, &eui.to_string()))?;
        let about = About {
            identity: &self.world.identity,
            device_name: &device_name,
            tags: &tags,
            clock: self.world.clock,
        };
        let log = self.world.logged(eui);
        let items: Vec<_> = log
            .iter()
            .filter_map(|webhook| item(webhook, about))
            .map(Ok)
            .collect();
        let stream = tokio_stream::iter(items).chain(tokio_stream::pending());
        self.world.answer(Box::pin(stream) as Log).await
    }

    unimplemented_rpcs! {
        login: cs::LoginRequest => cs::LoginResponse;
        profile: () => cs::ProfileResponse;
        global_search: cs::GlobalSearchRequest => cs::GlobalSearchResponse;
        create_api_key: cs::CreateApiKeyRequest => cs::CreateApiKeyResponse;
        delete_api_key: cs::DeleteApiKeyRequest => ();
        list_api_keys: cs::ListApiKeysRequest => cs::ListApiKeysResponse;
        settings: () => cs::SettingsResponse;
        open_id_connect_login: cs::OpenIdConnectLoginRequest => cs::OpenIdConnectLoginResponse;
        o_auth2_login: cs::OAuth2LoginRequest => cs::OAuth2LoginResponse;
        get_devices_summary: cs::GetDevicesSummaryRequest => cs::GetDevicesSummaryResponse;
        get_gateways_summary: cs::GetGatewaysSummaryRequest => cs::GetGatewaysSummaryResponse;
        stream_gateway_frames: cs::StreamGatewayFramesRequest => Log;
        stream_device_frames: cs::StreamDeviceFramesRequest => Log;
        list_regions: () => cs::ListRegionsResponse;
        get_region: cs::GetRegionRequest => cs::GetRegionResponse;
        get_version: () => cs::GetVersionResponse;
    }
}

fn item(webhook: &Webhook, about: About<'_>) -> Option<LogItem> {
    let body = body::write(webhook, about, Encoding::Json)?;
    Some(LogItem {
        description: body.event.to_owned(),
        body: String::from_utf8(body.bytes).ok()?,
        ..LogItem::default()
    })
}
