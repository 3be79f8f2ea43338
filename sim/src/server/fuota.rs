//! `FuotaService`: there are no deployments.

use chirpstack_api::api as cs;
use chirpstack_api::api::fuota_service_server::FuotaService;
use tonic::{Request, Response, Status};

use super::rpc::{Rpc, unimplemented_rpcs};

#[tonic::async_trait]
impl FuotaService for Rpc {
    async fn list_deployments(
        &self,
        request: Request<cs::ListFuotaDeploymentsRequest>,
    ) -> Result<Response<cs::ListFuotaDeploymentsResponse>, Status> {
        let kind = self.world.admit_tenant(request.metadata()).await?;
        let application_id = &request.get_ref().application_id;
        Rpc::the_one(kind, application_id, self.world.identity.application_id)?;
        let answer = cs::ListFuotaDeploymentsResponse::default();
        self.world.answer(answer).await
    }

    unimplemented_rpcs! {
        create_deployment: cs::CreateFuotaDeploymentRequest => cs::CreateFuotaDeploymentResponse;
        get_deployment: cs::GetFuotaDeploymentRequest => cs::GetFuotaDeploymentResponse;
        update_deployment: cs::UpdateFuotaDeploymentRequest => ();
        delete_deployment: cs::DeleteFuotaDeploymentRequest => ();
        start_deployment: cs::StartFuotaDeploymentRequest => ();
        add_devices: cs::AddDevicesToFuotaDeploymentRequest => ();
        remove_devices: cs::RemoveDevicesFromFuotaDeploymentRequest => ();
        list_devices: cs::ListFuotaDeploymentDevicesRequest => cs::ListFuotaDeploymentDevicesResponse;
        add_gateways: cs::AddGatewaysToFuotaDeploymentRequest => ();
        list_gateways: cs::ListFuotaDeploymentGatewaysRequest => cs::ListFuotaDeploymentGatewaysResponse;
        remove_gateways: cs::RemoveGatewaysFromFuotaDeploymentRequest => ();
        list_jobs: cs::ListFuotaDeploymentJobsRequest => cs::ListFuotaDeploymentJobsResponse;
    }
}
