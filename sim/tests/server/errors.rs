//! The answers to wrong calls: chirpstack-observed §9, chirpstack §1.3.

use chirpstack_api::api::application_service_client::ApplicationServiceClient;
use chirpstack_api::api::tenant_service_client::TenantServiceClient;
use chirpstack_api::api::{
    CreateDeviceRequest, Device, EnqueueDeviceQueueItemRequest, GetDeviceKeysRequest,
    GetDeviceMetricsRequest, GetDeviceRequest, ListApplicationsRequest, ListTenantsRequest,
};
use downbeat_sim::server::{DEFAULT_API_KEY, Identity};
use tonic::{Code, Request};

use crate::support::*;

const NO_LAMP: &str = "0000000000000001";

fn device(dev_eui: &str) -> Device {
    let identity = Identity::default();
    Device {
        dev_eui: dev_eui.to_owned(),
        name: "a".to_owned(),
        application_id: identity.application_id.to_string(),
        device_profile_id: identity.device_profile_id.to_string(),
        ..Device::default()
    }
}

#[tokio::test]
async fn enqueue_refuses_as_the_real_one_does() {
    let world = World::start(fast(1)).await;
    let mut devices = world.devices();
    let port = |f_port| {
        let mut request = enqueue_request(FIRST_LAMP, &RED);
        request.queue_item.as_mut().unwrap().f_port = f_port;
        request
    };
    let nothing = EnqueueDeviceQueueItemRequest {
        queue_item: None,
        flush_queue: false,
    };
    let cases = [
        (
            "wrong",
            enqueue_request(FIRST_LAMP, &RED),
            Code::Unauthenticated,
            "InvalidToken",
        ),
        (
            "other",
            enqueue_request(FIRST_LAMP, &RED),
            Code::Unauthenticated,
            "",
        ),
        (
            DEFAULT_API_KEY,
            enqueue_request(NO_LAMP, &RED),
            Code::Unauthenticated,
            "",
        ),
        (
            "admin",
            enqueue_request(NO_LAMP, &RED),
            Code::Internal,
            "foreign key",
        ),
        (
            DEFAULT_API_KEY,
            enqueue_request("70b3", &RED),
            Code::Internal,
            "Invalid string length",
        ),
        (
            DEFAULT_API_KEY,
            enqueue_request("70b3d5e75e00000g", &RED),
            Code::Internal,
            "Invalid character",
        ),
        (
            DEFAULT_API_KEY,
            enqueue_request("é0b3d5e75e0000", &RED),
            Code::Internal,
            "Invalid",
        ),
        (
            DEFAULT_API_KEY,
            port(0),
            Code::InvalidArgument,
            "FPort must be between 1 - 255",
        ),
        (
            DEFAULT_API_KEY,
            port(256),
            Code::InvalidArgument,
            "FPort must be between 1 - 255",
        ),
        (
            DEFAULT_API_KEY,
            nothing,
            Code::InvalidArgument,
            "queue_item is missing",
        ),
    ];
    for (key, request, code, text) in cases {
        let status = devices.enqueue(with_key(key, request)).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(
            status.message().contains(text) && text.is_empty() == status.message().is_empty(),
            "{status:?}"
        );
    }
    let status = devices
        .enqueue(Request::new(enqueue_request(FIRST_LAMP, &RED)))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unauthenticated, "no authorization provided")
    );
    assert!(
        world.enqueue(FIRST_LAMP, &[0; 200]).await.is_ok(),
        "too long is found out later"
    );
    assert!(
        devices
            .enqueue(with_key(DEFAULT_API_KEY, port(271)))
            .await
            .is_ok(),
        "271 becomes 15"
    );
}

#[tokio::test]
async fn registry_calls_refuse_as_the_real_ones_do() {
    let world = World::start(fast(1)).await;
    let mut devices = world.devices();
    let get = |dev_eui: &str| GetDeviceRequest {
        dev_eui: dev_eui.to_owned(),
    };
    let status = devices
        .get(with_key(DEFAULT_API_KEY, get(NO_LAMP)))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unauthenticated, "")
    );
    let status = devices
        .get(with_key("admin", get(NO_LAMP)))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (
            Code::NotFound,
            "Object does not exist (id: 0000000000000001)"
        )
    );
    let create = |device| CreateDeviceRequest {
        device: Some(device),
    };
    let status = devices
        .create(with_key(DEFAULT_API_KEY, create(device(FIRST_LAMP))))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Internal, "never ALREADY_EXISTS");
    assert!(status.message().contains("device_pkey"));
    let elsewhere = Device {
        application_id: uuid::Uuid::nil().to_string(),
        ..device(NO_LAMP)
    };
    let status = devices
        .create(with_key("admin", create(elsewhere.clone())))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Internal, "Record not found")
    );
    let status = devices
        .create(with_key(DEFAULT_API_KEY, create(elsewhere)))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let unknown = Device {
        application_id: "1".to_owned(),
        ..device(NO_LAMP)
    };
    let status = devices
        .create(with_key(DEFAULT_API_KEY, create(unknown)))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    devices
        .create(with_key(DEFAULT_API_KEY, create(device(NO_LAMP))))
        .await
        .unwrap();
    let keys = GetDeviceKeysRequest {
        dev_eui: NO_LAMP.to_owned(),
    };
    let status = devices
        .get_keys(with_key(DEFAULT_API_KEY, keys))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let metrics = GetDeviceMetricsRequest::default();
    let status = devices
        .get_metrics(with_key(DEFAULT_API_KEY, metrics))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_key_is_told_from_a_missing_device_by_listing_applications() {
    let world = World::start(fast(1)).await;
    let mut applications = ApplicationServiceClient::new(world.channel());
    let tenant_id = Identity::default().tenant_id.to_string();
    let asked = ListApplicationsRequest {
        limit: 1,
        tenant_id,
        ..ListApplicationsRequest::default()
    };
    assert!(
        applications
            .list(with_key(DEFAULT_API_KEY, asked.clone()))
            .await
            .is_ok()
    );
    for key in ["other", "wrong"] {
        let status = applications
            .list(with_key(key, asked.clone()))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{key}");
    }
    let mut tenants = TenantServiceClient::new(world.channel());
    let asked = ListTenantsRequest {
        limit: 1,
        ..ListTenantsRequest::default()
    };
    assert!(
        tenants
            .list(with_key(DEFAULT_API_KEY, asked.clone()))
            .await
            .is_err()
    );
    assert_eq!(
        tenants
            .list(with_key("admin", asked))
            .await
            .unwrap()
            .into_inner()
            .total_count,
        1
    );
}
