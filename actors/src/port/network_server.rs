//! A LoRaWAN network server: ChirpStack, or the simulated one.

use async_trait::async_trait;
use downbeat_core::app_key::AppKey;
use downbeat_core::gateway::ListedGateway;
use downbeat_core::id::{DevEui, QueueItemId};
use downbeat_core::network::{EnqueueFailure, QueueItem};
use downbeat_core::sync::RemoteDevice;
use downbeat_core::time::Timestamp;

/// A source of an error, whatever it is.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// An item to be put into a device's queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewQueueItem {
    /// 1 to 255.
    pub f_port: u8,
    /// The payload, to be encrypted by the network server.
    pub payload: Vec<u8>,
    /// Whether the device is to acknowledge.
    pub confirmed: bool,
    /// When the network server is to drop it unsent.
    pub expires_at: Timestamp,
}

/// An application as the network server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedApplication {
    /// Its id.
    pub id: uuid::Uuid,
    /// Its name there.
    pub name: String,
}

/// A device as the network server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedDevice {
    /// Its `DevEUI`.
    pub dev_eui: DevEui,
    /// Its name there.
    pub name: String,
    /// For people.
    pub description: String,
    /// Its labels there.
    pub tags: std::collections::BTreeMap<String, String>,
    /// Its device profile.
    pub device_profile_id: uuid::Uuid,
    /// When it was last heard, by the network server's clock.
    pub last_seen_at: Option<Timestamp>,
}

/// Why the network server did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum NetworkServerError {
    /// The request was certainly not carried out; the same one may succeed later.
    #[error("the network server cannot be reached")]
    Unavailable(#[source] BoxError),
    /// The request may have been carried out: its answer was lost, or did not come in time.
    #[error("the network server did not answer in time")]
    AnswerLost(#[source] BoxError),
    /// An error that may pass.
    #[error("the network server answered with an error: {0}")]
    Refused(String),
    /// It has no such device, or the key may not see it; ChirpStack does not tell the two apart.
    #[error("the network server does not know device {0}")]
    UnknownDevice(DevEui),
    /// The key is not accepted at all.
    #[error("the network server does not accept the API key")]
    Unauthenticated,
    /// The request is wrong, and always will be.
    #[error("the network server does not accept the request: {0}")]
    Invalid(String),
}

impl NetworkServerError {
    /// Whether the server was heard at all; if not, it is better left alone for a while.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::AnswerLost(_) => true,
            Self::Refused(_)
            | Self::UnknownDevice(_)
            | Self::Unauthenticated
            | Self::Invalid(_) => false,
        }
    }

    /// The same, as a device's machine hears of a failed Enqueue.
    pub fn as_enqueue_failure(&self) -> EnqueueFailure {
        match self {
            Self::Unavailable(_) => EnqueueFailure::Unavailable,
            Self::AnswerLost(_) => EnqueueFailure::Unknown,
            Self::Refused(text) => EnqueueFailure::Refused(text.clone()),
            Self::UnknownDevice(_) => EnqueueFailure::UnknownDevice,
            Self::Unauthenticated => EnqueueFailure::KeyRefused,
            Self::Invalid(text) => EnqueueFailure::Invalid(text.clone()),
        }
    }
}

/// The calls of a network server. Each has a deadline of its own, and none is repeated by the implementation.
#[async_trait]
pub trait NetworkServer: Send + Sync + 'static {
    /// Puts an item at the end of a device's queue. Not idempotent: look into the queue before repeating it.
    async fn enqueue(
        &self,
        dev_eui: DevEui,
        item: &NewQueueItem,
    ) -> Result<QueueItemId, NetworkServerError>;

    /// The items of a device's queue, oldest first.
    async fn queue(&self, dev_eui: DevEui) -> Result<Vec<QueueItem>, NetworkServerError>;

    /// Deletes all items of a device's queue, pending ones and those of others, too. Burns the next downlink when a
    /// frame is on its way; the life of a downlink never uses it.
    async fn flush_queue(&self, dev_eui: DevEui) -> Result<(), NetworkServerError>;

    /// The applications of one of its tenants; of the key's tenant, or of all for a global key, when none is named.
    async fn applications(
        &self,
        tenant_id: Option<uuid::Uuid>,
    ) -> Result<Vec<ListedApplication>, NetworkServerError>;

    /// One page of an application's devices, by `DevEUI`: at most `limit` from the row `offset` on. A short page is the
    /// last one.
    async fn devices(
        &self,
        application_id: uuid::Uuid,
        offset: u32,
        limit: u32,
    ) -> Result<Vec<ListedDevice>, NetworkServerError>;

    /// A device; `None` if it is certainly not there for this key.
    async fn device(&self, dev_eui: DevEui) -> Result<Option<RemoteDevice>, NetworkServerError>;

    /// Makes a device. One that is there already gives [`NetworkServerError::Refused`], as other failures do: look.
    async fn create_device(&self, device: &RemoteDevice) -> Result<(), NetworkServerError>;

    /// Replaces a device whole.
    async fn update_device(&self, device: &RemoteDevice) -> Result<(), NetworkServerError>;

    /// Takes a device out, and its keys and queue with it. [`NetworkServerError::UnknownDevice`] if it is not there.
    async fn delete_device(&self, dev_eui: DevEui) -> Result<(), NetworkServerError>;

    /// Sets a device's root key, whether it had one or not. For `LoRaWAN` 1.0.x, where `ChirpStack` keeps the `AppKey` in
    /// the field `nwk_key`.
    async fn set_app_key(&self, dev_eui: DevEui, key: &AppKey) -> Result<(), NetworkServerError>;

    /// All gateways that the key may see.
    async fn gateways(&self) -> Result<Vec<ListedGateway>, NetworkServerError>;

    /// The cheapest call that tells whether the server is there and takes the key.
    async fn ping(&self) -> Result<(), NetworkServerError>;
}
