//! `ApplicationService`: the one application and its HTTP integration.

use chirpstack_api::api as cs;
use chirpstack_api::api::application_service_server::ApplicationService;
use chirpstack_api::api::{
    Application, ApplicationListItem, CreateHttpIntegrationRequest, DeleteHttpIntegrationRequest,
    GetApplicationRequest, GetApplicationResponse, GetHttpIntegrationRequest,
    GetHttpIntegrationResponse, IntegrationKind, IntegrationListItem, ListApplicationsRequest,
    ListApplicationsResponse, ListIntegrationsRequest, ListIntegrationsResponse,
    UpdateHttpIntegrationRequest,
};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::auth::duplicate;
use super::rpc::{Rpc, page, unimplemented_rpcs};
use super::world::{Encoding, HttpIntegration};

#[tonic::async_trait]
impl ApplicationService for Rpc {
    async fn get(
        &self,
        request: Request<GetApplicationRequest>,
    ) -> Result<Response<GetApplicationResponse>, Status> {
        self.admit_to_application(request.metadata(), &request.get_ref().id)
            .await?;
        let identity = &self.world.identity;
        let application = Application {
            id: identity.application_id.to_string(),
            name: identity.application_name.clone(),
            tenant_id: identity.tenant_id.to_string(),
            ..Application::default()
        };
        let answer = GetApplicationResponse {
            application: Some(application),
            created_at: Some(self.since_start()),
            updated_at: Some(self.since_start()),
            measurement_keys: Vec::new(),
        };
        self.world.answer(answer).await
    }

    async fn list(
        &self,
        request: Request<ListApplicationsRequest>,
    ) -> Result<Response<ListApplicationsResponse>, Status> {
        let kind = self.world.admit(request.metadata()).await?;
        let asked = request.into_inner();
        self.check_tenant(&asked.tenant_id, kind)?;
        let identity = &self.world.identity;
        let application = ApplicationListItem {
            id: identity.application_id.to_string(),
            created_at: Some(self.since_start()),
            updated_at: Some(self.since_start()),
            name: identity.application_name.clone(),
            description: String::new(),
        };
        let is_asked_for = application
            .name
            .to_lowercase()
            .contains(&asked.search.to_lowercase());
        let found = if is_asked_for {
            vec![application]
        } else {
            Vec::new()
        };
        let (total_count, result) = page(found, asked.limit, asked.offset);
        self.world
            .answer(ListApplicationsResponse {
                total_count,
                result,
            })
            .await
    }

    async fn list_integrations(
        &self,
        request: Request<ListIntegrationsRequest>,
    ) -> Result<Response<ListIntegrationsResponse>, Status> {
        self.admit_to_application(request.metadata(), &request.get_ref().application_id)
            .await?;
        let http = IntegrationListItem {
            kind: IntegrationKind::Http.into(),
        };
        let result: Vec<_> = self.world.integration().iter().map(|_| http).collect();
        let total_count = u32::try_from(result.len()).unwrap_or(u32::MAX);
        self.world
            .answer(ListIntegrationsResponse {
                total_count,
                result,
            })
            .await
    }

    async fn create_http_integration(
        &self,
        request: Request<CreateHttpIntegrationRequest>,
    ) -> Result<Response<()>, Status> {
        let (metadata, _, message) = request.into_parts();
        let integration = self
            .read_integration(&metadata, message.integration)
            .await?;
        if self.world.integration().is_some() {
            return Err(duplicate("application_integration_pkey"));
        }
        self.world.set_integration(Some(integration));
        self.world.answer(()).await
    }

    async fn get_http_integration(
        &self,
        request: Request<GetHttpIntegrationRequest>,
    ) -> Result<Response<GetHttpIntegrationResponse>, Status> {
        let application_id = &request.get_ref().application_id;
        self.admit_to_application(request.metadata(), application_id)
            .await?;
        let integration = self
            .world
            .integration()
            .ok_or_else(|| no_integration(application_id))?;
        let encoding = match integration.encoding {
            Encoding::Json => cs::Encoding::Json,
            Encoding::Protobuf => cs::Encoding::Protobuf,
        };
        let integration = cs::HttpIntegration {
            application_id: application_id.clone(),
            headers: integration.headers.into_iter().collect(),
            encoding: encoding.into(),
            event_endpoint_url: integration.url,
        };
        self.world
            .answer(GetHttpIntegrationResponse {
                integration: Some(integration),
            })
            .await
    }

    async fn update_http_integration(
        &self,
        request: Request<UpdateHttpIntegrationRequest>,
    ) -> Result<Response<()>, Status> {
        let (metadata, _, message) = request.into_parts();
        let integration = self
            .read_integration(&metadata, message.integration)
            .await?;
        if self.world.integration().is_none() {
            return Err(no_integration(
                &self.world.identity.application_id.to_string(),
            ));
        }
        self.world.set_integration(Some(integration));
        self.world.answer(()).await
    }

    async fn delete_http_integration(
        &self,
        request: Request<DeleteHttpIntegrationRequest>,
    ) -> Result<Response<()>, Status> {
        let application_id = &request.get_ref().application_id;
        self.admit_writer_to_application(request.metadata(), application_id)
            .await?;
        if self.world.integration().is_none() {
            return Err(no_integration(application_id));
        }
        self.world.set_integration(None);
        self.world.answer(()).await
    }

    unimplemented_rpcs! {
        create: cs::CreateApplicationRequest => cs::CreateApplicationResponse;
        update: cs::UpdateApplicationRequest => ();
        delete: cs::DeleteApplicationRequest => ();
        create_influx_db_integration: cs::CreateInfluxDbIntegrationRequest => ();
        get_influx_db_integration: cs::GetInfluxDbIntegrationRequest => cs::GetInfluxDbIntegrationResponse;
        update_influx_db_integration: cs::UpdateInfluxDbIntegrationRequest => ();
        delete_influx_db_integration: cs::DeleteInfluxDbIntegrationRequest => ();
        create_things_board_integration: cs::CreateThingsBoardIntegrationRequest => ();
        get_things_board_integration: cs::GetThingsBoardIntegrationRequest => cs::GetThingsBoardIntegrationResponse;
        update_things_board_integration: cs::UpdateThingsBoardIntegrationRequest => ();
        delete_things_board_integration: cs::DeleteThingsBoardIntegrationRequest => ();
        create_my_devices_integration: cs::CreateMyDevicesIntegrationRequest => ();
        get_my_devices_integration: cs::GetMyDevicesIntegrationRequest => cs::GetMyDevicesIntegrationResponse;
        update_my_devices_integration: cs::UpdateMyDevicesIntegrationRequest => ();
        delete_my_devices_integration: cs::DeleteMyDevicesIntegrationRequest => ();
        create_gcp_pub_sub_integration: cs::CreateGcpPubSubIntegrationRequest => ();
        get_gcp_pub_sub_integration: cs::GetGcpPubSubIntegrationRequest => cs::GetGcpPubSubIntegrationResponse;
        update_gcp_pub_sub_integration: cs::UpdateGcpPubSubIntegrationRequest => ();
        delete_gcp_pub_sub_integration: cs::DeleteGcpPubSubIntegrationRequest => ();
        create_aws_sns_integration: cs::CreateAwsSnsIntegrationRequest => ();
        get_aws_sns_integration: cs::GetAwsSnsIntegrationRequest => cs::GetAwsSnsIntegrationResponse;
        update_aws_sns_integration: cs::UpdateAwsSnsIntegrationRequest => ();
        delete_aws_sns_integration: cs::DeleteAwsSnsIntegrationRequest => ();
        create_azure_service_bus_integration: cs::CreateAzureServiceBusIntegrationRequest => ();
        get_azure_service_bus_integration:
            cs::GetAzureServiceBusIntegrationRequest => cs::GetAzureServiceBusIntegrationResponse;
        update_azure_service_bus_integration: cs::UpdateAzureServiceBusIntegrationRequest => ();
        delete_azure_service_bus_integration: cs::DeleteAzureServiceBusIntegrationRequest => ();
        create_pilot_things_integration: cs::CreatePilotThingsIntegrationRequest => ();
        get_pilot_things_integration: cs::GetPilotThingsIntegrationRequest => cs::GetPilotThingsIntegrationResponse;
        update_pilot_things_integration: cs::UpdatePilotThingsIntegrationRequest => ();
        delete_pilot_things_integration: cs::DeletePilotThingsIntegrationRequest => ();
        create_ifttt_integration: cs::CreateIftttIntegrationRequest => ();
        get_ifttt_integration: cs::GetIftttIntegrationRequest => cs::GetIftttIntegrationResponse;
        update_ifttt_integration: cs::UpdateIftttIntegrationRequest => ();
        delete_ifttt_integration: cs::DeleteIftttIntegrationRequest => ();
        create_blynk_integration: cs::CreateBlynkIntegrationRequest => ();
        get_blynk_integration: cs::GetBlynkIntegrationRequest => cs::GetBlynkIntegrationResponse;
        update_blynk_integration: cs::UpdateBlynkIntegrationRequest => ();
        delete_blynk_integration: cs::DeleteBlynkIntegrationRequest => ();
        generate_mqtt_integration_client_certificate:
            cs::GenerateMqttIntegrationClientCertificateRequest => cs::GenerateMqttIntegrationClientCertificateResponse;
        list_device_profiles: cs::ListApplicationDeviceProfilesRequest => cs::ListApplicationDeviceProfilesResponse;
        list_device_tags: cs::ListApplicationDeviceTagsRequest => cs::ListApplicationDeviceTagsResponse;
    }
}

impl Rpc {
    async fn admit_to_application(&self, metadata: &MetadataMap, id: &str) -> Result<(), Status> {
        let kind = self.world.admit_tenant(metadata).await?;
        Rpc::the_one(kind, id, self.world.identity.application_id)
    }

    async fn admit_writer_to_application(
        &self,
        metadata: &MetadataMap,
        id: &str,
    ) -> Result<(), Status> {
        let kind = self.world.admit_writer(metadata).await?;
        Rpc::the_one(kind, id, self.world.identity.application_id)
    }

    async fn read_integration(
        &self,
        metadata: &MetadataMap,
        integration: Option<cs::HttpIntegration>,
    ) -> Result<HttpIntegration, Status> {
        let integration =
            integration.ok_or_else(|| Status::invalid_argument("integration is missing"))?;
        self.admit_writer_to_application(metadata, &integration.application_id)
            .await?;
        let encoding = match integration.encoding() {
            cs::Encoding::Json => Encoding::Json,
            cs::Encoding::Protobuf => Encoding::Protobuf,
        };
        Ok(HttpIntegration {
            url: integration.event_endpoint_url,
            headers: integration.headers.into_iter().collect(),
            encoding,
        })
    }
}

fn no_integration(application_id: &str) -> Status {
    Status::not_found(format!("Object does not exist (id: {application_id})"))
}
