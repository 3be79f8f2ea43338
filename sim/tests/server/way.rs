//! The way of a colour, and what is registered on the way.

use std::time::Duration;

use chirpstack_api::api::application_service_client::ApplicationServiceClient;
use chirpstack_api::api::gateway_service_client::GatewayServiceClient;
use chirpstack_api::api::{
    CreateDeviceKeysRequest, CreateDeviceRequest, Device, DeviceKeys, GatewayState,
    GetDeviceQueueItemsRequest, GetDeviceRequest, GetHttpIntegrationRequest,
    ListApplicationsRequest, ListDevicesRequest, ListGatewaysRequest, UpdateHttpIntegrationRequest,
};
use chirpstack_api::integration::UplinkEvent;
use chirpstack_api::prost::Message;
use chirpstack_api::prost_types::Timestamp;
use downbeat_sim::model::config::{LampConfig, LampStart};
use downbeat_sim::server::{DEFAULT_API_KEY, Encoding, Identity};

use crate::support::*;

#[tokio::test]
async fn a_colour_is_enqueued_taken_shown_and_reported() {
    let mut world = World::start(fast(1)).await;
    let first = world.post("up", |_| true).await;
    assert_eq!(first.headers["x-secret"], "hush");
    assert_eq!(first.headers["content-type"], "application/json");
    assert_eq!(first.json()["fCnt"], 0);
    let id = world
        .enqueue(FIRST_LAMP, &RED)
        .await
        .unwrap()
        .into_inner()
        .id;
    let txack = world.post("txack", |_| true).await.json();
    assert_eq!(txack["queueItemId"], id);
    // Enqueued right after the first uplink it may still leave in its window, at the uplink's data rate.
    let tx_info = &txack["txInfo"];
    let in_window = tx_info["timing"]["delay"].is_object();
    assert_eq!(
        tx_info["modulation"]["lora"]["spreadingFactor"],
        if in_window { 7 } else { 9 }
    );
    // R 255, B 0, G 0, on 255, off 0 as bytes 16 to 20 of the report, after one downlink.
    let up = world
        .post("up", |post| post.json()["fCnt"] == 1)
        .await
        .json();
    assert_eq!(up["deviceInfo"]["devEui"], FIRST_LAMP);
    let data = up["data"].as_str().unwrap();
    assert!(data.ends_with("AAABAAAAAQAAAP8AAP8AOgwB"), "{data}");
    world.sim.shutdown().await;
}

#[tokio::test]
async fn protobuf_bodies_are_posted_when_asked_for() {
    let mut world = World::start_with(fast(1), Encoding::Protobuf).await;
    let up = world
        .post("up", |post| {
            post.headers["content-type"] == "application/octet-stream"
        })
        .await;
    let event = UplinkEvent::decode(up.body.as_slice()).unwrap();
    assert_eq!(event.device_info.unwrap().dev_eui, FIRST_LAMP);
}

#[tokio::test]
async fn an_expiry_comes_back_as_it_was_given_whatever_the_speed() {
    let world = World::start(fast(1)).await;
    let mut request = enqueue_request(FIRST_LAMP, &RED);
    let expires_at = Timestamp {
        seconds: 4_000_000_000,
        nanos: 123_456_000,
    };
    if let Some(item) = &mut request.queue_item {
        item.expires_at = Some(expires_at);
    }
    world.sim.network(|network, now| {
        for gateway in network.gateways() {
            network.set_gateway_online(now, gateway.gateway_id, false);
        }
    });
    world
        .devices()
        .enqueue(with_key(DEFAULT_API_KEY, request))
        .await
        .unwrap();
    let asked = GetDeviceQueueItemsRequest {
        dev_eui: FIRST_LAMP.to_owned(),
        count_only: false,
    };
    let queue = world
        .devices()
        .get_queue(with_key(DEFAULT_API_KEY, asked))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (queue.total_count, queue.result[0].expires_at),
        (1, Some(expires_at))
    );
}

#[tokio::test]
async fn a_lamp_joins_once_it_is_registered_with_its_keys() {
    let mut config = fast(0);
    let mut lamp = LampConfig::new("70b3d5e75e00abcd".parse().unwrap());
    (lamp.registered, lamp.start, lamp.app_key) = (false, LampStart::Booting, Some([0xab; 16]));
    config.network.lamps.push(lamp);
    let mut world = World::start(config).await;
    let identity = Identity::default();
    let device = Device {
        dev_eui: "70B3D5E75E00ABCD".to_owned(),
        name: "desk 7".to_owned(),
        application_id: identity.application_id.to_string(),
        device_profile_id: identity.device_profile_id.to_string(),
        tags: [("downbeat_device_id".to_owned(), "x".to_owned())].into(),
        ..Device::default()
    };
    let mut devices = world.devices();
    devices
        .create(with_key(
            DEFAULT_API_KEY,
            CreateDeviceRequest {
                device: Some(device),
            },
        ))
        .await
        .unwrap();
    let device_keys = DeviceKeys {
        dev_eui: "70b3d5e75e00abcd".to_owned(),
        nwk_key: "ab".repeat(16),
        ..DeviceKeys::default()
    };
    let keys = CreateDeviceKeysRequest {
        device_keys: Some(device_keys),
    };
    devices
        .create_keys(with_key(DEFAULT_API_KEY, keys))
        .await
        .unwrap();
    let join = world.post("join", |_| true).await.json();
    assert_eq!(join["deviceInfo"]["tags"]["downbeat_device_id"], "x");
    world.post("up", |_| true).await;
    let asked = GetDeviceRequest {
        dev_eui: "70b3d5e75e00abcd".to_owned(),
    };
    let got = devices
        .get(with_key(DEFAULT_API_KEY, asked))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (
            got.class_enabled().as_str_name(),
            got.device.unwrap().name.as_str()
        ),
        ("CLASS_C", "desk 7")
    );
    let listed = ListDevicesRequest {
        limit: 10,
        application_id: identity.application_id.to_string(),
        ..ListDevicesRequest::default()
    };
    let listed = devices
        .list(with_key(DEFAULT_API_KEY, listed))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((listed.total_count, listed.result[0].tags.len()), (1, 1));
}

#[tokio::test]
async fn gateways_and_applications_are_listed_with_their_state() {
    let world = World::start(fast(1)).await;
    let tenant_id = Identity::default().tenant_id.to_string();
    let asked = ListGatewaysRequest {
        limit: 2,
        tenant_id: tenant_id.clone(),
        ..ListGatewaysRequest::default()
    };
    let mut gateways = GatewayServiceClient::new(world.channel());
    let listed = gateways
        .list(with_key(DEFAULT_API_KEY, asked))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((listed.total_count, listed.result.len()), (3, 2));
    assert_eq!(
        (
            listed.result[0].state(),
            listed.result[0].gateway_id.as_str()
        ),
        (GatewayState::Online, FIRST_GATEWAY)
    );
    let mut applications = ApplicationServiceClient::new(world.channel());
    let asked = ListApplicationsRequest {
        limit: 10,
        tenant_id,
        ..ListApplicationsRequest::default()
    };
    let listed = applications
        .list(with_key(DEFAULT_API_KEY, asked))
        .await
        .unwrap()
        .into_inner();
    let application_id = listed.result[0].id.clone();
    let asked = GetHttpIntegrationRequest { application_id };
    let got = applications
        .get_http_integration(with_key(DEFAULT_API_KEY, asked))
        .await
        .unwrap();
    let mut integration = got.into_inner().integration.unwrap();
    assert_eq!(integration.event_endpoint_url, world.webhook_url);
    integration
        .event_endpoint_url
        .push_str(",http://127.0.0.1:1/other");
    let update = UpdateHttpIntegrationRequest {
        integration: Some(integration),
    };
    applications
        .update_http_integration(with_key(DEFAULT_API_KEY, update))
        .await
        .unwrap();
}

#[tokio::test]
async fn it_ends_when_told_even_with_a_call_under_way() {
    let mut world = World::start(fast(1)).await;
    world.post("up", |_| true).await;
    let faults = downbeat_sim::server::ChirpstackFaults {
        lose_answers: 1.0,
        ..Default::default()
    };
    world.sim.set_faults(faults);
    let mut devices = world.devices();
    let lost = tokio::spawn(async move {
        devices
            .enqueue(with_key(DEFAULT_API_KEY, enqueue_request(FIRST_LAMP, &RED)))
            .await
    });
    world.post("txack", |_| true).await;
    assert!(!lost.is_finished(), "it was done and nobody was told");
    tokio::time::timeout(Duration::from_secs(5), world.sim.shutdown())
        .await
        .unwrap();
    assert!(lost.await.unwrap().is_err());
}
