//! What an inspection looks at: the key itself, device profiles, gateways' records, devices in operation, the version.

use std::time::Duration;

use chirpstack_api::api;
use chirpstack_api::api::device_profile_service_client::DeviceProfileServiceClient;
use chirpstack_api::api::fuota_service_client::FuotaServiceClient;
use chirpstack_api::api::gateway_service_client::GatewayServiceClient;
use chirpstack_api::api::internal_service_client::InternalServiceClient;
use chirpstack_api::api::tenant_service_client::TenantServiceClient;
use chirpstack_api::common;
use downbeat_actors::port::NetworkServerError;
use downbeat_core::app_key::AppKey;
use downbeat_core::id::{DevEui, GatewayId};
use downbeat_core::radio::DeviceClass;
use tonic::Code;
use uuid::Uuid;

use super::client::ChirpStackClient;
use super::failure::{CallFailure, Meaning, Subject};

/// ChirpStack looks into a device's log once a second.
const FIRST_EVENT: Duration = Duration::from_millis(1_500);

/// Further events of the log come at once.
const NEXT_EVENT: Duration = Duration::from_millis(300);

/// More than ChirpStack keeps of a device by default (10).
const EVENTS_MAX: usize = 100;

/// What ChirpStack says of the API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyVerdict {
    /// It sees everything.
    Global,
    /// It is a tenant's; which one's, ChirpStack does not say.
    Tenant,
    /// ChirpStack made it once and does not know it any more: it was deleted.
    Deleted,
    /// ChirpStack did not make it, or its `api.secret` was changed since.
    Foreign,
}

/// What ChirpStack's behaviour tells of its version, which it tells nobody but a logged-in administrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionSign {
    /// 4.12 or newer: it has FUOTA.
    Since4_12,
    /// Older than 4.12.
    Before4_12,
}

/// A device profile, as far as it decides whether downlinks arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceProfile {
    /// Its name.
    pub name: String,
    /// Whether ChirpStack switches devices to Class C.
    pub supports_class_c: bool,
    /// `LoRaWAN` 1.1.x. Such devices ask for Class C themselves.
    pub is_lorawan_1_1: bool,
    /// The region, as ChirpStack names it (`EU868`).
    pub region: String,
}

/// A device, as ChirpStack operates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceState {
    /// The class in force.
    pub class_enabled: DeviceClass,
    /// Whether it has a session.
    pub is_activated: bool,
}

/// An event of a device's log in ChirpStack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Its kind, as in a webhook's query.
    pub kind: String,
    /// Its body as JSON, as a webhook posts it.
    pub body: String,
}

impl ChirpStackClient {
    /// What kind of key it is. Two calls: one that any key may make, and one that only a global one may.
    pub async fn key_verdict(&self) -> Result<KeyVerdict, NetworkServerError> {
        let mut profiles = DeviceProfileServiceClient::new(self.channel());
        let any = profiles.list_adr_algorithms(self.request(()));
        if let Err(failure) = self.within_deadline(any).await {
            return refused_key(failure);
        }
        let mut tenants = TenantServiceClient::new(self.channel());
        let all = tenants.list(self.request(api::ListTenantsRequest::default()));
        match self.within_deadline(all).await {
            Ok(_) => Ok(KeyVerdict::Global),
            Err(failure) => match failure.meaning(Subject::Server) {
                Meaning::Error(error) => Err(error),
                Meaning::NoRight => Ok(KeyVerdict::Tenant),
            },
        }
    }

    /// Whether the key may send commands to a device that it sees; a read-only key may not. Asks for something that is
    /// always refused afterwards: `FPort` 0.
    pub async fn may_command(&self, dev_eui: DevEui) -> Result<bool, NetworkServerError> {
        let mut devices = self.devices_api();
        let enqueue = self.request(api::EnqueueDeviceQueueItemRequest {
            queue_item: Some(api::DeviceQueueItem {
                dev_eui: dev_eui.to_string(),
                f_port: 0,
                ..api::DeviceQueueItem::default()
            }),
            flush_queue: false,
        });
        let Err(refused) = self.within_deadline(devices.enqueue(enqueue)).await else {
            return Ok(true);
        };
        match refused.meaning(Subject::Device(dev_eui)) {
            Meaning::NoRight => Ok(false),
            Meaning::Error(NetworkServerError::Invalid(_)) => Ok(true),
            Meaning::Error(error) => Err(error),
        }
    }

    /// What its behaviour tells of its version.
    pub async fn version_sign(
        &self,
        application_id: Uuid,
    ) -> Result<VersionSign, NetworkServerError> {
        let mut fuota = FuotaServiceClient::new(self.channel());
        let list = self.request(api::ListFuotaDeploymentsRequest {
            application_id: application_id.to_string(),
            ..api::ListFuotaDeploymentsRequest::default()
        });
        match self.within_deadline(fuota.list_deployments(list)).await {
            Ok(_) => Ok(VersionSign::Since4_12),
            Err(failure) if failure.code() == Some(Code::Unimplemented) => {
                Ok(VersionSign::Before4_12)
            }
            Err(failure) => match failure.meaning(Subject::Server) {
                Meaning::Error(error) => Err(error),
                Meaning::NoRight => Err(NetworkServerError::Unauthenticated),
            },
        }
    }

    /// A device profile; `None` if this key cannot see it.
    pub async fn device_profile(
        &self,
        id: Uuid,
    ) -> Result<Option<DeviceProfile>, NetworkServerError> {
        let mut profiles = DeviceProfileServiceClient::new(self.channel());
        let get = self.request(api::GetDeviceProfileRequest { id: id.to_string() });
        let profile = self.seen(profiles.get(get)).await?;
        let profile = profile.and_then(|answer| answer.device_profile);
        Ok(profile.map(|profile| DeviceProfile {
            supports_class_c: profile.supports_class_c,
            is_lorawan_1_1: profile.mac_version() == common::MacVersion::Lorawan110,
            region: profile.region().as_str_name().to_owned(),
            name: profile.name,
        }))
    }

    /// How often a gateway is to send its statistics, s; 0 if nobody said, and then ChirpStack takes it for offline.
    /// `None` if this key cannot see the gateway.
    pub async fn stats_interval_s(
        &self,
        gateway_id: GatewayId,
    ) -> Result<Option<u32>, NetworkServerError> {
        let mut gateways = GatewayServiceClient::new(self.channel());
        let get = self.request(api::GetGatewayRequest {
            gateway_id: gateway_id.to_string(),
        });
        let gateway = self.seen(gateways.get(get)).await?;
        Ok(gateway
            .and_then(|answer| answer.gateway)
            .map(|gateway| gateway.stats_interval))
    }

    /// How ChirpStack operates a device; `None` if this key cannot see it.
    pub async fn device_state(
        &self,
        dev_eui: DevEui,
    ) -> Result<Option<DeviceState>, NetworkServerError> {
        let get = self.request(api::GetDeviceRequest {
            dev_eui: dev_eui.to_string(),
        });
        let Some(device) = self.seen(self.devices_api().get(get)).await? else {
            return Ok(None);
        };
        let get = self.request(api::GetDeviceActivationRequest {
            dev_eui: dev_eui.to_string(),
        });
        let activation = self.seen(self.devices_api().get_activation(get)).await?;
        Ok(Some(DeviceState {
            class_enabled: match device.class_enabled() {
                common::DeviceClass::ClassA => DeviceClass::A,
                common::DeviceClass::ClassB => DeviceClass::B,
                common::DeviceClass::ClassC => DeviceClass::C,
            },
            is_activated: activation.is_some_and(|answer| answer.device_activation.is_some()),
        }))
    }

    /// The root key of a `LoRaWAN` 1.0.x device; `None` if ChirpStack holds none that this key can see.
    pub async fn app_key(&self, dev_eui: DevEui) -> Result<Option<AppKey>, NetworkServerError> {
        let get = self.request(api::GetDeviceKeysRequest {
            dev_eui: dev_eui.to_string(),
        });
        let keys = self.seen(self.devices_api().get_keys(get)).await?;
        let keys = keys.and_then(|answer| answer.device_keys);
        Ok(keys.and_then(|keys| keys.nwk_key.parse().ok()))
    }

    /// What ChirpStack's log of a device holds, usually its last 10 events.
    ///
    /// The log is a stream without an end: this returns when nothing came for a while.
    pub async fn logged_events(
        &self,
        dev_eui: DevEui,
    ) -> Result<Vec<LoggedEvent>, NetworkServerError> {
        let mut internal = InternalServiceClient::new(self.channel());
        let mut request = tonic::Request::new(api::StreamDeviceEventsRequest {
            dev_eui: dev_eui.to_string(),
        });
        self.authorize(&mut request);
        let call = internal.stream_device_events(request);
        let mut stream = self.of_device(dev_eui, call).await?;
        let mut events = Vec::new();
        let mut patience = FIRST_EVENT;
        while events.len() < EVENTS_MAX {
            match tokio::time::timeout(patience, stream.message()).await {
                Ok(Ok(Some(item))) => events.push(LoggedEvent {
                    kind: item.description,
                    body: item.body,
                }),
                Ok(Err(status)) => {
                    return Err(NetworkServerError::AnswerLost(Box::new(status)));
                }
                Ok(Ok(None)) | Err(_) => break,
            }
            patience = NEXT_EVENT;
        }
        Ok(events)
    }

    /// A call about one object: `None` if it is not there for this key, or has not what was asked for.
    async fn seen<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<Option<T>, NetworkServerError> {
        match self.within_deadline(call).await {
            Ok(answer) => Ok(Some(answer)),
            Err(failure) if failure.is_not_found() => Ok(None),
            Err(failure) => match failure.meaning(Subject::Server) {
                Meaning::Error(error) => Err(error),
                Meaning::NoRight => {
                    self.check_key().await?;
                    Ok(None)
                }
            },
        }
    }
}

/// Whether it was the key that was refused, and why.
fn refused_key(failure: CallFailure) -> Result<KeyVerdict, NetworkServerError> {
    match failure.meaning(Subject::Server) {
        Meaning::NoRight => Ok(KeyVerdict::Deleted),
        Meaning::Error(NetworkServerError::Unauthenticated) => Ok(KeyVerdict::Foreign),
        Meaning::Error(error) => Err(error),
    }
}
