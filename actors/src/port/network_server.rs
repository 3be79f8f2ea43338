//! A LoRaWAN network server: ChirpStack, or the simulated one.

use async_trait::async_trait;
use downbeat_core::gateway::ListedGateway;
use downbeat_core::id::{DevEui, QueueItemId};
use downbeat_core::network::{EnqueueFailure, QueueItem};
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

/// A device as the network server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedDevice {
    /// Its `DevEUI`.
    pub dev_eui: DevEui,
    /// Its name there.
    pub name: String,
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
            Self::Unauthenticated => EnqueueFailure::Refused(self.to_string()),
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

    /// All devices of an application, by `DevEUI`.
    async fn devices(
        &self,
        application_id: uuid::Uuid,
    ) -> Result<Vec<ListedDevice>, NetworkServerError>;

    /// All gateways that the key may see.
    async fn gateways(&self) -> Result<Vec<ListedGateway>, NetworkServerError>;

    /// The cheapest call that tells whether the server is there and takes the key.
    async fn ping(&self) -> Result<(), NetworkServerError>;
}
