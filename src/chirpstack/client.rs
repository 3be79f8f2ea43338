//! The calls.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chirpstack_api::api;
use chirpstack_api::api::application_service_client::ApplicationServiceClient;
use chirpstack_api::api::device_service_client::DeviceServiceClient;
use chirpstack_api::api::gateway_service_client::GatewayServiceClient;
use chirpstack_api::api::tenant_service_client::TenantServiceClient;
use downbeat_actors::port::{ListedDevice, NetworkServer, NetworkServerError, NewQueueItem};
use downbeat_core::gateway::{GATEWAYS_MAX, ListedGateway};
use downbeat_core::id::{DevEui, QueueItemId};
use downbeat_core::network::QueueItem;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::convert::{self, ConvertError};
use super::failure::{CallFailure, Meaning};

/// Rows of one List call.
const PAGE: u32 = 500;

/// Devices of one application that are listed at the most.
const DEVICES_MAX: usize = 1_000_000;

/// The largest answer that is read. A page of 500 devices takes about 200 kB; tags may be long.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// For how long a key that was accepted counts as good, so that an unknown device costs no second call each time.
const KEY_GOOD_FOR: Duration = Duration::from_secs(10);

/// How often an idle connection is tried, so that one that died silently is replaced before a command needs it.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);

/// How ChirpStack is reached.
#[derive(Debug, Clone)]
pub struct ChirpStackConfig {
    /// `http://host:port` or `https://host[:port]`.
    pub url: String,
    /// An API key, a tenant's or a global one.
    pub api_key: SecretString,
    /// ChirpStack's tenant whose gateways count; of a global key all count without it. ChirpStack lists gateways for a
    /// tenant's key only when the tenant is named: without it, it is learnt from the first device that is reached.
    pub tenant_id: Option<Uuid>,
    /// Connections, 1 to 64, used in turn.
    pub channels: usize,
    /// How long one call may take, connecting included.
    pub deadline: Duration,
}

impl ChirpStackConfig {
    /// 4 connections and 3 s a call.
    pub fn new(url: impl Into<String>, api_key: SecretString) -> Self {
        Self {
            url: url.into(),
            api_key,
            tenant_id: None,
            channels: 4,
            deadline: Duration::from_secs(3),
        }
    }
}

/// Why a configuration cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The URL.
    #[error("the URL of ChirpStack must be http://host:port or https://host:port")]
    Url,
    /// The key. Its text is not repeated here.
    #[error("the API key of ChirpStack must be visible ASCII characters")]
    ApiKey,
    /// TLS.
    #[error("TLS to ChirpStack cannot be set up")]
    Tls(#[source] tonic::transport::Error),
}

/// ChirpStack by gRPC: a handle, cheap to clone.
#[derive(Clone)]
pub struct ChirpStackClient {
    inner: Arc<Inner>,
}

struct Inner {
    channels: Vec<Channel>,
    next: AtomicUsize,
    authorization: MetadataValue<Ascii>,
    deadline: Duration,
    key: Mutex<Key>,
}

/// What is known of the API key.
#[derive(Debug, Clone, Copy)]
struct Key {
    reach: Reach,
    /// When ChirpStack last granted something to it.
    good_at: Option<Instant>,
    /// A device that it may see, from which its tenant can be learnt.
    device: Option<DevEui>,
}

/// How far a key reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Unknown,
    /// A global key.
    Everything,
    /// One tenant, configured or learnt.
    Tenant(Uuid),
}

impl fmt::Debug for ChirpStackClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChirpStackClient").finish_non_exhaustive()
    }
}

impl ChirpStackClient {
    /// Makes the client without connecting: each connection is made by its first call, and again after it broke.
    ///
    /// Must be called within a tokio runtime.
    pub fn connect_lazy(config: ChirpStackConfig) -> Result<Self, ConfigError> {
        let endpoint = endpoint(config.url, config.deadline)?;
        let mut authorization: MetadataValue<Ascii> =
            format!("Bearer {}", config.api_key.expose_secret())
                .parse()
                .map_err(|_| ConfigError::ApiKey)?;
        authorization.set_sensitive(true);
        let channels = (0..config.channels.clamp(1, 64))
            .map(|_| endpoint.connect_lazy())
            .collect();
        let reach = config.tenant_id.map_or(Reach::Unknown, Reach::Tenant);
        Ok(Self {
            inner: Arc::new(Inner {
                channels,
                next: AtomicUsize::new(0),
                authorization,
                deadline: config.deadline,
                key: Mutex::new(Key {
                    reach,
                    good_at: None,
                    device: None,
                }),
            }),
        })
    }

    /// The connection whose turn it is.
    fn channel(&self) -> Channel {
        let inner = &self.inner;
        let turn = inner.next.fetch_add(1, Ordering::Relaxed) % inner.channels.len();
        inner.channels[turn].clone()
    }

    fn devices_api(&self) -> DeviceServiceClient<Channel> {
        DeviceServiceClient::new(self.channel()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// A request with the key, and with the deadline as the server sees it.
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("authorization", self.inner.authorization.clone());
        request.set_timeout(self.inner.deadline);
        request
    }

    /// Waits no longer than the deadline, which also covers the waiting for a connection.
    async fn within_deadline<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CallFailure> {
        let answer = tokio::time::timeout(self.inner.deadline, call)
            .await
            .map_err(CallFailure::Deadline)?;
        answer
            .map(Response::into_inner)
            .map_err(|status| CallFailure::Status(Box::new(status)))
    }

    /// A call that names a device.
    async fn of_device<T>(
        &self,
        dev_eui: DevEui,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, NetworkServerError> {
        let failure = match self.within_deadline(call).await {
            Ok(answer) => {
                self.granted(|key| key.device = Some(dev_eui));
                return Ok(answer);
            }
            Err(failure) => failure,
        };
        match failure.meaning(Some(dev_eui)) {
            Meaning::Error(error) => Err(error),
            Meaning::NoRight => Err(self.device_or_key(dev_eui).await),
        }
    }

    /// Finds out whether it is the device that is unknown, or the key that is not accepted.
    async fn device_or_key(&self, dev_eui: DevEui) -> NetworkServerError {
        let good_at = self.key().good_at;
        if good_at.is_some_and(|at| at.elapsed() < KEY_GOOD_FOR) {
            return NetworkServerError::UnknownDevice(dev_eui);
        }
        match self.ping().await {
            Ok(()) => NetworkServerError::UnknownDevice(dev_eui),
            // That the question got no answer does not put the command itself in doubt: it was refused.
            Err(NetworkServerError::AnswerLost(cause)) => NetworkServerError::Unavailable(cause),
            Err(error) => error,
        }
    }

    /// A call that names no device.
    async fn of_server<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, NetworkServerError> {
        let answer = self.within_deadline(call).await;
        answer.map_err(|failure| match failure.meaning(None) {
            Meaning::Error(error) => error,
            Meaning::NoRight => NetworkServerError::Unauthenticated,
        })
    }

    fn key(&self) -> Key {
        *self
            .inner
            .key
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// ChirpStack granted something to the key.
    fn granted(&self, learn: impl FnOnce(&mut Key)) {
        let mut key = self
            .inner
            .key
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        key.good_at = Some(Instant::now());
        learn(&mut key);
    }

    async fn ping_tenant(&self, tenant_id: Uuid) -> Result<(), NetworkServerError> {
        let mut applications = ApplicationServiceClient::new(self.channel());
        let count = self.request(api::ListApplicationsRequest {
            tenant_id: tenant_id.to_string(),
            ..api::ListApplicationsRequest::default()
        });
        self.of_server(applications.list(count)).await?;
        self.granted(|_| ());
        Ok(())
    }

    /// As a global key's holder; a key that turns out to be a tenant's is asked what its tenant is.
    async fn ping_everything(&self, known: Key) -> Result<(), NetworkServerError> {
        let mut tenants = TenantServiceClient::new(self.channel());
        let count = self.request(api::ListTenantsRequest::default());
        let Err(failure) = self.within_deadline(tenants.list(count)).await else {
            self.granted(|key| key.reach = Reach::Everything);
            return Ok(());
        };
        match (failure.meaning(None), known.device) {
            (Meaning::Error(error), _) => Err(error),
            (Meaning::NoRight, Some(device)) if known.reach == Reach::Unknown => {
                let tenant_id = self.tenant_of(device).await?;
                self.granted(|key| key.reach = Reach::Tenant(tenant_id));
                Ok(())
            }
            (Meaning::NoRight, _) => Err(NetworkServerError::Unauthenticated),
        }
    }

    /// The tenant that a device belongs to.
    async fn tenant_of(&self, dev_eui: DevEui) -> Result<Uuid, NetworkServerError> {
        let get = self.request(api::GetDeviceRequest {
            dev_eui: dev_eui.to_string(),
        });
        let device = self.of_server(self.devices_api().get(get)).await?.device;
        let get = self.request(api::GetApplicationRequest {
            id: device.unwrap_or_default().application_id,
        });
        let mut applications = ApplicationServiceClient::new(self.channel());
        let application = self.of_server(applications.get(get)).await?.application;
        convert::tenant_id(&application.unwrap_or_default().tenant_id).map_err(unreadable)
    }

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

    async fn device_page(
        &self,
        application_id: Uuid,
        offset: u32,
    ) -> Result<Vec<api::DeviceListItem>, NetworkServerError> {
        let mut devices = self.devices_api();
        let page = self.request(api::ListDevicesRequest {
            limit: PAGE,
            offset,
            application_id: application_id.to_string(),
            // Names are not unique.
            order_by: api::list_devices_request::OrderBy::DevEui.into(),
            ..api::ListDevicesRequest::default()
        });
        Ok(self.of_server(devices.list(page)).await?.result)
    }
}

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

    async fn devices(&self, application_id: Uuid) -> Result<Vec<ListedDevice>, NetworkServerError> {
        let mut listed = Vec::new();
        let mut offset = 0;
        while listed.len() < DEVICES_MAX {
            let page = self.device_page(application_id, offset).await?;
            let rows = page.len();
            listed.extend(
                page.into_iter()
                    .filter_map(|device| readable(convert::listed_device(device))),
            );
            // The server's total counts some devices twice; a short page is the end.
            if rows < PAGE as usize {
                break;
            }
            offset += PAGE;
        }
        // Rows that came or went between two pages may have shifted one into both.
        listed.sort_by_key(|device| device.dev_eui);
        listed.dedup_by_key(|device| device.dev_eui);
        Ok(listed)
    }

    async fn gateways(&self) -> Result<Vec<ListedGateway>, NetworkServerError> {
        if self.key().reach == Reach::Unknown {
            // Whatever comes of it: some versions list gateways without knowing the tenant.
            let _ = self.ping().await;
        }
        let tenant_id = match self.key().reach {
            Reach::Tenant(tenant_id) => Some(tenant_id),
            Reach::Everything | Reach::Unknown => None,
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
        listed.sort_by_key(|gateway| gateway.gateway_id);
        listed.dedup_by_key(|gateway| gateway.gateway_id);
        Ok(listed)
    }

    /// Counts the tenant's applications, or all tenants: both ask for the key's rights, which listing gateways does not in
    /// all versions.
    async fn ping(&self) -> Result<(), NetworkServerError> {
        let key = self.key();
        match key.reach {
            Reach::Tenant(tenant_id) => self.ping_tenant(tenant_id).await,
            Reach::Everything | Reach::Unknown => self.ping_everything(key).await,
        }
    }
}

/// An answer that came and cannot be read: what was asked is done.
fn unreadable(error: ConvertError) -> NetworkServerError {
    NetworkServerError::AnswerLost(Box::new(error))
}

/// One row that breaks the API must not hide the others.
fn readable<T>(row: Result<T, ConvertError>) -> Option<T> {
    row.inspect_err(
        |error| tracing::warn!(%error, "ChirpStack listed something that cannot be read"),
    )
    .ok()
}

fn endpoint(url: String, deadline: Duration) -> Result<Endpoint, ConfigError> {
    let endpoint = Endpoint::from_shared(url).map_err(|_| ConfigError::Url)?;
    let is_tls = match endpoint.uri().scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(ConfigError::Url),
    };
    let endpoint = endpoint
        // Half of the deadline, so that a host that swallows packets is found unreachable, and not merely late.
        .connect_timeout(deadline / 2)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(deadline)
        .keep_alive_while_idle(true);
    if !is_tls {
        return Ok(endpoint);
    }
    let tls = ClientTlsConfig::new().with_webpki_roots();
    endpoint.tls_config(tls).map_err(ConfigError::Tls)
}
