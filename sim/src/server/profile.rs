//! `DeviceProfileService` and `TenantService`: the one of each.

use chirpstack_api::api as cs;
use chirpstack_api::api::device_profile_service_server::DeviceProfileService;
use chirpstack_api::api::tenant_service_server::TenantService;
use chirpstack_api::api::{
    DeviceProfile, DeviceProfileListItem, GetDeviceProfileRequest, GetDeviceProfileResponse,
    GetTenantRequest, GetTenantResponse, ListDeviceProfilesRequest, ListDeviceProfilesResponse,
    ListTenantsRequest, ListTenantsResponse, Tenant, TenantListItem,
};
use chirpstack_api::common;
use tonic::{Request, Response, Status};

use super::auth::no_right;
use super::config::KeyKind;
use super::rpc::{Rpc, page, unimplemented_rpcs};

#[tonic::async_trait]
impl DeviceProfileService for Rpc {
    async fn get(
        &self,
        request: Request<GetDeviceProfileRequest>,
    ) -> Result<Response<GetDeviceProfileResponse>, Status> {
        let kind = self.world.admit_tenant(request.metadata()).await?;
        Rpc::the_one(
            kind,
            &request.get_ref().id,
            self.world.identity.device_profile_id,
        )?;
        let (server, heartbeat) = self.world.with(|network, _| {
            let config = network.config();
            (
                config.server,
                config
                    .lamps
                    .first()
                    .map_or(1800, |lamp| lamp.heartbeat.as_secs()),
            )
        });
        let identity = &self.world.identity;
        let profile = DeviceProfile {
            id: identity.device_profile_id.to_string(),
            tenant_id: identity.tenant_id.to_string(),
            name: identity.device_profile_name.clone(),
            region: common::Region::Eu868.into(),
            mac_version: common::MacVersion::Lorawan103.into(),
            reg_params_revision: common::RegParamsRevision::A.into(),
            adr_algorithm_id: "default".to_owned(),
            flush_queue_on_activate: server.flush_queue_on_activate,
            uplink_interval: u32::try_from(heartbeat).unwrap_or(u32::MAX),
            device_status_req_interval: u32::from(server.device_status),
            supports_otaa: true,
            supports_class_c: true,
            class_c_timeout: u32::try_from(server.class_c_timeout.as_secs()).unwrap_or(u32::MAX),
            ..DeviceProfile::default()
        };
        let answer = GetDeviceProfileResponse {
            device_profile: Some(profile),
            created_at: Some(self.since_start()),
            updated_at: Some(self.since_start()),
        };
        self.world.answer(answer).await
    }

    async fn list(
        &self,
        request: Request<ListDeviceProfilesRequest>,
    ) -> Result<Response<ListDeviceProfilesResponse>, Status> {
        let kind = self.world.admit(request.metadata()).await?;
        let asked = request.into_inner();
        self.check_tenant(&asked.tenant_id, kind)?;
        let identity = &self.world.identity;
        let profile = DeviceProfileListItem {
            id: identity.device_profile_id.to_string(),
            created_at: Some(self.since_start()),
            updated_at: Some(self.since_start()),
            name: identity.device_profile_name.clone(),
            region: common::Region::Eu868.into(),
            mac_version: common::MacVersion::Lorawan103.into(),
            reg_params_revision: common::RegParamsRevision::A.into(),
            supports_otaa: true,
            supports_class_c: true,
            ..DeviceProfileListItem::default()
        };
        let is_asked_for = profile
            .name
            .to_lowercase()
            .contains(&asked.search.to_lowercase());
        let found = if is_asked_for {
            vec![profile]
        } else {
            Vec::new()
        };
        let (total_count, result) = page(found, asked.limit, asked.offset);
        self.world
            .answer(ListDeviceProfilesResponse {
                total_count,
                result,
            })
            .await
    }

    /// Any key may ask, another tenant's, too.
    async fn list_adr_algorithms(
        &self,
        request: Request<()>,
    ) -> Result<Response<cs::ListDeviceProfileAdrAlgorithmsResponse>, Status> {
        self.world.admit(request.metadata()).await?;
        let algorithm = cs::AdrAlgorithmListItem {
            id: "default".to_owned(),
            name: "Default ADR algorithm (LoRa only)".to_owned(),
        };
        let answer = cs::ListDeviceProfileAdrAlgorithmsResponse {
            total_count: 1,
            result: vec![algorithm],
        };
        self.world.answer(answer).await
    }

    unimplemented_rpcs! {
        create: cs::CreateDeviceProfileRequest => cs::CreateDeviceProfileResponse;
        get_by_profile_id: cs::GetDeviceProfileByProfileIdRequest => cs::GetDeviceProfileByProfileIdResponse;
        update: cs::UpdateDeviceProfileRequest => ();
        delete: cs::DeleteDeviceProfileRequest => ();
        list_vendors: cs::ListDeviceProfileVendorsRequest => cs::ListDeviceProfileVendorsResponse;
        get_vendor: cs::GetDeviceProfileVendorRequest => cs::GetDeviceProfileVendorResponse;
        delete_vendor: cs::DeleteDeviceProfileVendorRequest => ();
        list_devices: cs::ListDeviceProfileDevicesRequest => cs::ListDeviceProfileDevicesResponse;
        get_device: cs::GetDeviceProfileDeviceRequest => cs::GetDeviceProfileDeviceResponse;
        delete_device: cs::DeleteDeviceProfileDeviceRequest => ();
    }
}

#[tonic::async_trait]
impl TenantService for Rpc {
    async fn get(
        &self,
        request: Request<GetTenantRequest>,
    ) -> Result<Response<GetTenantResponse>, Status> {
        let kind = self.world.admit_tenant(request.metadata()).await?;
        let identity = &self.world.identity;
        Rpc::the_one(kind, &request.get_ref().id, identity.tenant_id)?;
        let tenant = Tenant {
            id: identity.tenant_id.to_string(),
            name: identity.tenant_name.clone(),
            can_have_gateways: true,
            ..Tenant::default()
        };
        let answer = GetTenantResponse {
            tenant: Some(tenant),
            created_at: Some(self.since_start()),
            updated_at: Some(self.since_start()),
        };
        self.world.answer(answer).await
    }

    /// Only an admin key may list tenants.
    async fn list(
        &self,
        request: Request<ListTenantsRequest>,
    ) -> Result<Response<ListTenantsResponse>, Status> {
        if self.world.admit(request.metadata()).await? != KeyKind::Admin {
            return Err(no_right());
        }
        let asked = request.into_inner();
        let identity = &self.world.identity;
        let tenant = TenantListItem {
            id: identity.tenant_id.to_string(),
            created_at: Some(self.since_start()),
            updated_at: Some(self.since_start()),
            name: identity.tenant_name.clone(),
            can_have_gateways: true,
            ..TenantListItem::default()
        };
        let (total_count, result) = page(vec![tenant], asked.limit, asked.offset);
        self.world
            .answer(ListTenantsResponse {
                total_count,
                result,
            })
            .await
    }

    unimplemented_rpcs! {
        create: cs::CreateTenantRequest => cs::CreateTenantResponse;
        update: cs::UpdateTenantRequest => ();
        delete: cs::DeleteTenantRequest => ();
        list_by_dev_addr_prefix_overlap: cs::ListTenantsByDevAddrPrefixOverlapRequest => cs::ListTenantsResponse;
        add_user: cs::AddTenantUserRequest => ();
        get_user: cs::GetTenantUserRequest => cs::GetTenantUserResponse;
        update_user: cs::UpdateTenantUserRequest => ();
        delete_user: cs::DeleteTenantUserRequest => ();
        list_users: cs::ListTenantUsersRequest => cs::ListTenantUsersResponse;
    }
}
