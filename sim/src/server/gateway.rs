//! `GatewayService`: what ChirpStack tells of gateways. Only `List` tells their state.

use chirpstack_api::api::gateway_service_server::GatewayService;
use chirpstack_api::api::{
    CreateGatewayRequest, DeleteGatewayRequest, DeleteRelayGatewayRequest, Gateway,
    GatewayListItem, GatewayState, GenerateGatewayClientCertificateRequest,
    GenerateGatewayClientCertificateResponse, GetGatewayDutyCycleMetricsRequest,
    GetGatewayDutyCycleMetricsResponse, GetGatewayMetricsRequest, GetGatewayMetricsResponse,
    GetGatewayRequest, GetGatewayResponse, GetRelayGatewayRequest, GetRelayGatewayResponse,
    ListGatewaysRequest, ListGatewaysResponse, ListRelayGatewaysRequest, ListRelayGatewaysResponse,
    UpdateGatewayRequest, UpdateRelayGatewayRequest, list_gateways_request::OrderBy,
};
use chirpstack_api::common;
use downbeat_core::id::GatewayId;
use tonic::{Request, Response, Status};

use super::auth::{eui, missing, no_right, uuid};
use super::config::KeyKind;
use super::rpc::{Rpc, page, unimplemented_rpcs};
use crate::model::{self, GatewayTruth};

/// What ChirpStack gives a gateway of which nothing else was said.
const DOWNLINK_PRIORITY: u32 = 10;

#[tonic::async_trait]
impl GatewayService for Rpc {
    async fn get(
        &self,
        request: Request<GetGatewayRequest>,
    ) -> Result<Response<GetGatewayResponse>, Status> {
        let kind = self.world.admit_tenant(request.metadata()).await?;
        let id = GatewayId::from_u64(eui(&request.get_ref().gateway_id)?);
        let gateway = self.world.with(|network, now| {
            network.catch_up(now);
            network.gateway(id)
        });
        let truth = gateway.ok_or_else(|| missing(kind, &id.to_string()))?;
        let gateway = Gateway {
            gateway_id: truth.gateway_id.to_string(),
            name: truth.name.clone(),
            location: Some(location(truth.gateway_id)),
            tenant_id: self.world.identity.tenant_id.to_string(),
            stats_interval: u32::try_from(truth.stats_interval.as_secs()).unwrap_or(u32::MAX),
            downlink_priority: DOWNLINK_PRIORITY,
            ..Gateway::default()
        };
        let answer = GetGatewayResponse {
            gateway: Some(gateway),
            created_at: Some(self.since_start()),
            updated_at: Some(self.since_start()),
            last_seen_at: truth.last_seen_at.map(|at| self.time(at)),
        };
        self.world.answer(answer).await
    }

    async fn list(
        &self,
        request: Request<ListGatewaysRequest>,
    ) -> Result<Response<ListGatewaysResponse>, Status> {
        let kind = self.world.admit(request.metadata()).await?;
        let asked = request.into_inner();
        self.check_tenant(&asked.tenant_id, kind)?;
        let mut found = self.world.with(|network, now| {
            network.catch_up(now);
            network.gateways()
        });
        found.retain(|gateway| {
            gateway
                .name
                .to_lowercase()
                .contains(&asked.search.to_lowercase())
        });
        match asked.order_by() {
            OrderBy::Name => found.sort_by(|a, b| a.name.cmp(&b.name)),
            OrderBy::GatewayId => found.sort_by_key(|gateway| gateway.gateway_id),
            OrderBy::LastSeenAt => found.sort_by_key(|gateway| gateway.last_seen_at),
        }
        if asked.order_by_desc {
            found.reverse();
        }
        let (total_count, found) = page(found, asked.limit, asked.offset);
        let result = found
            .iter()
            .map(|gateway| self.gateway_list_item(gateway))
            .collect();
        self.world
            .answer(ListGatewaysResponse {
                total_count,
                result,
            })
            .await
    }

    unimplemented_rpcs! {
        create: CreateGatewayRequest => ();
        update: UpdateGatewayRequest => ();
        delete: DeleteGatewayRequest => ();
        generate_client_certificate: GenerateGatewayClientCertificateRequest => GenerateGatewayClientCertificateResponse;
        get_metrics: GetGatewayMetricsRequest => GetGatewayMetricsResponse;
        get_duty_cycle_metrics: GetGatewayDutyCycleMetricsRequest => GetGatewayDutyCycleMetricsResponse;
        get_relay_gateway: GetRelayGatewayRequest => GetRelayGatewayResponse;
        list_relay_gateways: ListRelayGatewaysRequest => ListRelayGatewaysResponse;
        update_relay_gateway: UpdateRelayGatewayRequest => ();
        delete_relay_gateway: DeleteRelayGatewayRequest => ();
    }
}

impl Rpc {
    /// An empty tenant is all of them, which only an admin key may see (as of 4.19).
    pub(super) fn check_tenant(&self, tenant_id: &str, kind: KeyKind) -> Result<(), Status> {
        if tenant_id.is_empty() {
            return if kind == KeyKind::Admin {
                Ok(())
            } else {
                Err(no_right())
            };
        }
        if uuid(tenant_id)? == self.world.identity.tenant_id && kind != KeyKind::OtherTenant {
            Ok(())
        } else {
            Err(no_right())
        }
    }

    fn gateway_list_item(&self, truth: &GatewayTruth) -> GatewayListItem {
        let state = match truth.state {
            model::GatewayState::NeverSeen => GatewayState::NeverSeen,
            model::GatewayState::Online => GatewayState::Online,
            model::GatewayState::Offline => GatewayState::Offline,
        };
        let properties = [
            ("region_config_id", "eu868"),
            ("region_common_name", "EU868"),
        ];
        GatewayListItem {
            tenant_id: self.world.identity.tenant_id.to_string(),
            gateway_id: truth.gateway_id.to_string(),
            name: truth.name.clone(),
            description: String::new(),
            location: Some(location(truth.gateway_id)),
            properties: properties
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            created_at: Some(self.since_start()),
            updated_at: Some(self.since_start()),
            last_seen_at: truth.last_seen_at.map(|at| self.time(at)),
            state: state.into(),
            downlink_priority: DOWNLINK_PRIORITY,
        }
    }
}

/// A row of gateways, a hundred metres apart.
pub(super) fn location(id: GatewayId) -> common::Location {
    let number = u32::try_from(id.as_u64() & 0xff).unwrap_or(0);
    common::Location {
        latitude: 52.37 + f64::from(number) * 0.001,
        longitude: 4.89,
        ..common::Location::default()
    }
}
