//! The connection, and what every call has in common.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chirpstack_api::api::application_service_client::ApplicationServiceClient;
use chirpstack_api::api::device_service_client::DeviceServiceClient;
use downbeat_actors::port::NetworkServerError;
use downbeat_core::id::DevEui;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::convert::ConvertError;
use super::failure::{CallFailure, Meaning, Subject};
use super::key::{Key, Reach, Witness};
use super::metered::Metered;

/// The largest answer that is read. A page of 500 devices takes about 200 kB; tags may be long.
pub(super) const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

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
                key: Mutex::new(Key::new(reach)),
            }),
        })
    }

    /// The connection whose turn it is.
    pub(super) fn channel(&self) -> Metered {
        let inner = &self.inner;
        let turn = inner.next.fetch_add(1, Ordering::Relaxed) % inner.channels.len();
        Metered::new(inner.channels[turn].clone())
    }

    pub(super) fn devices_api(&self) -> DeviceServiceClient<Metered> {
        DeviceServiceClient::new(self.channel()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(super) fn applications_api(&self) -> ApplicationServiceClient<Metered> {
        ApplicationServiceClient::new(self.channel()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// A request with the key, and with the deadline as the server sees it.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        self.authorize(&mut request);
        request.set_timeout(self.inner.deadline);
        request
    }

    pub(super) fn authorize<T>(&self, request: &mut Request<T>) {
        let authorization = self.inner.authorization.clone();
        request
            .metadata_mut()
            .insert("authorization", authorization);
    }

    /// Waits no longer than the deadline, which also covers the waiting for a connection.
    pub(super) async fn within_deadline<T>(
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
    pub(super) async fn of_device<T>(
        &self,
        dev_eui: DevEui,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, NetworkServerError> {
        let failure = match self.within_deadline(call).await {
            Ok(answer) => {
                self.granted(|key| key.witness = Some(Witness::Device(dev_eui)));
                return Ok(answer);
            }
            Err(failure) => failure,
        };
        match failure.meaning(Subject::Device(dev_eui)) {
            Meaning::Error(error) => Err(error),
            Meaning::NoRight => {
                self.check_key().await?;
                Err(NetworkServerError::UnknownDevice(dev_eui))
            }
        }
    }

    /// A call that names an object of which `absent` tells that this key cannot use it.
    pub(super) async fn of_object<T>(
        &self,
        subject: Subject,
        call: impl Future<Output = Result<Response<T>, Status>>,
        absent: impl FnOnce() -> String,
    ) -> Result<T, NetworkServerError> {
        match self.within_deadline(call).await {
            Ok(answer) => Ok(answer),
            Err(failure) => match failure.meaning(subject) {
                Meaning::Error(error) => Err(error),
                Meaning::NoRight => {
                    self.check_key().await?;
                    Err(NetworkServerError::Invalid(absent()))
                }
            },
        }
    }

    /// A call whose refusal for want of rights means the key itself.
    pub(super) async fn of_server<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, NetworkServerError> {
        let answer = self.within_deadline(call).await;
        answer.map_err(|failure| match failure.meaning(Subject::Server) {
            Meaning::Error(error) => error,
            Meaning::NoRight => NetworkServerError::Unauthenticated,
        })
    }

    pub(super) fn key(&self) -> Key {
        *self
            .inner
            .key
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// ChirpStack granted something to the key.
    pub(super) fn granted(&self, learn: impl FnOnce(&mut Key)) {
        let mut key = self
            .inner
            .key
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        key.good_at = Some(Instant::now());
        learn(&mut key);
    }
}

/// An answer that came and cannot be read: what was asked is done.
pub(super) fn unreadable(error: ConvertError) -> NetworkServerError {
    NetworkServerError::AnswerLost(Box::new(error))
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
