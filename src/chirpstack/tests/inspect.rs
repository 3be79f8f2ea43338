//! What an inspection concludes from what ChirpStack answers.

use downbeat_core::id::DevEui;
use downbeat_sim::server::KeyKind;
use tonic::Code;
use uuid::Uuid;

use super::{ENQUEUE, LIST_TENANTS, Reply, Server, first_light, kind, light, simulated};
use crate::chirpstack::{HttpIntegration, KeyVerdict, VersionSign};
use crate::webhook::Encoding;

const ANY_KEY: &str = "/api.DeviceProfileService/ListAdrAlgorithms";
const FUOTA: &str = "/api.FuotaService/ListDeployments";
const GET_INTEGRATION: &str = "/api.ApplicationService/GetHttpIntegration";

#[tokio::test]
async fn a_key_is_judged_by_two_calls() {
    let refused = Reply::Refuse(Code::Unauthenticated, "");
    let garbage = Reply::Refuse(Code::Unauthenticated, "InvalidSignature");
    for (any, tenants, verdict) in [
        (Reply::Empty, Reply::Empty, KeyVerdict::Global),
        (Reply::Empty, refused, KeyVerdict::Tenant),
        (refused, refused, KeyVerdict::Deleted),
        (garbage, garbage, KeyVerdict::Foreign),
    ] {
        let server = Server::start(move |path| match path {
            ANY_KEY => any,
            LIST_TENANTS => tenants,
            other => panic!("{other} is not asked"),
        })
        .await;
        assert_eq!(server.client().key_verdict().await.unwrap(), verdict);
    }
    let server = Server::start(|_| Reply::Refuse(Code::Internal, "pool timed out")).await;
    let error = server.client().key_verdict().await.unwrap_err();
    assert_eq!(kind(&error), "refused");
}

#[tokio::test]
async fn a_read_only_key_is_found_by_a_command_that_never_goes_out() {
    for (code, text, may) in [
        (
            Code::InvalidArgument,
            "Validation error: FPort must be between 1 - 255",
            Some(true),
        ),
        (Code::Unauthenticated, "", Some(false)),
        (Code::Internal, "pool timed out", None),
    ] {
        let server = Server::start(move |_| Reply::Refuse(code, text)).await;
        assert_eq!(server.client().may_command(light()).await.ok(), may);
        assert_eq!(server.calls(), [ENQUEUE]);
    }
    let (sim, client) = simulated(KeyKind::Tenant, None).await;
    let light = first_light(&client).await;
    assert!(client.may_command(light).await.unwrap());
    assert_eq!(sim.network(|network, _| network.queue(light)), Ok(vec![]));
    sim.shutdown().await;
}

#[tokio::test]
async fn a_version_shows_in_what_it_knows() {
    for (reply, sign) in [
        (Reply::Empty, VersionSign::Since4_12),
        (
            Reply::Refuse(Code::Unimplemented, ""),
            VersionSign::Before4_12,
        ),
    ] {
        let server = Server::start(move |_| reply).await;
        assert_eq!(
            server.client().version_sign(Uuid::nil()).await.unwrap(),
            sign
        );
        assert_eq!(server.calls(), [FUOTA]);
    }
}

#[tokio::test]
async fn an_application_without_an_integration_is_told_from_no_application() {
    let nobody = Uuid::from_u128(7);
    for key in [KeyKind::Admin, KeyKind::Tenant] {
        let (sim, client) = simulated(key, Some(sim_tenant())).await;
        let application_id = sim.identity().application_id;
        assert_eq!(client.http_integration(application_id).await.unwrap(), None);
        let error = client.http_integration(nobody).await.unwrap_err();
        assert_eq!(kind(&error), "invalid", "{key:?}: {error:?}");
        let wanted = HttpIntegration {
            endpoints: "http://a/,http://b/".to_owned(),
            headers: [("X-Site".to_owned(), "north".to_owned())].into(),
            encoding: Encoding::Protobuf,
        };
        for is_new in [true, false] {
            client
                .set_http_integration(application_id, &wanted, is_new)
                .await
                .unwrap();
            let held = client.http_integration(application_id).await.unwrap();
            assert_eq!(held.as_ref(), Some(&wanted));
        }
        let again = client
            .set_http_integration(application_id, &wanted, true)
            .await;
        assert_eq!(kind(&again.unwrap_err()), "refused");
        assert!(!format!("{wanted:?}").contains("north"));
        sim.shutdown().await;
    }
    let server = Server::start(|_| Reply::Refuse(Code::Internal, "pool timed out")).await;
    let error = server.client().http_integration(nobody).await.unwrap_err();
    assert_eq!(kind(&error), "refused");
    assert_eq!(server.calls(), [GET_INTEGRATION]);
}

#[tokio::test]
async fn what_is_not_there_is_none() {
    for key in [KeyKind::Admin, KeyKind::Tenant] {
        let (sim, client) = simulated(key, Some(sim_tenant())).await;
        let nobody = DevEui::from_u64(1);
        assert_eq!(client.device_state(nobody).await.unwrap(), None);
        assert_eq!(client.app_key(nobody).await.unwrap(), None);
        assert_eq!(client.device_profile(Uuid::nil()).await.unwrap(), None);
        assert_eq!(
            kind(&client.logged_events(nobody).await.unwrap_err()),
            "unknown device"
        );
        sim.shutdown().await;
    }
}

fn sim_tenant() -> Uuid {
    downbeat_sim::server::Identity::default().tenant_id
}
