//! What ChirpStack posts, turned into our words.
//!
//! ChirpStack names the kind of an event in the query (`?event=up`) and the encoding in the content type, so a body is
//! parsed once, straight into the type it has. The types are tolerant where a newer or older server may differ: unknown
//! fields are skipped, absent and null ones have their zero value, unknown enumeration words are kept as text. They are
//! strict where guessing would make something up: a number out of its range, a payload that is not base64, an
//! identifier that is none. Then the body is refused whole, and nothing of it takes effect.
//!
//! A body of ChirpStack v4 has a `deviceInfo`, one of v3 a device's EUI at its top; neither has both. So a body is read as
//! v4 first, and only what is none is looked at again and, if it has the shape of v3, read as that: v4 pays nothing for it.
//!
//! One file per version and encoding ([`v4_json`], [`v4_protobuf`], [`v3_json`], [`v3_protobuf`]); [`field`] checks what
//! they have in common, [`content`] tells what a payload means and [`history`] writes what is kept. Who may post, and what
//! becomes of the event, is decided elsewhere.

use downbeat_actors::port::{FieldPath, HistoryEntry, TelemetryValue};
use downbeat_core::id::DevEui;
use downbeat_core::network::NetworkEvent;
use downbeat_core::time::Timestamp;
use uuid::Uuid;

mod content;
mod field;
mod history;
mod text;
mod v3_json;
mod v3_protobuf;
mod v4_json;
mod v4_protobuf;

/// How many gateways' copies of one uplink are kept, best first. More than ever hear one device.
pub const RECEPTIONS_MAX: usize = 64;

/// The kinds of events that ChirpStack posts, by its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// An uplink.
    Up,
    /// A join.
    Join,
    /// The answer to a confirmed downlink.
    Ack,
    /// A gateway took a downlink.
    TxAck,
    /// A line of the device's log.
    Log,
    /// Battery and margin.
    Status,
    /// A resolved position.
    Location,
    /// What an integration of ChirpStack added (up to 4.13).
    Integration,
    /// What went wrong (v3; v4 has a log instead, and is read as such).
    Error,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Up,
        Self::Join,
        Self::Ack,
        Self::TxAck,
        Self::Log,
        Self::Status,
        Self::Location,
        Self::Integration,
        Self::Error,
    ];

    /// ChirpStack's word, as in the query and in the history.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Join => "join",
            Self::Ack => "ack",
            Self::TxAck => "txack",
            Self::Log => "log",
            Self::Status => "status",
            Self::Location => "location",
            Self::Integration => "integration",
            Self::Error => "error",
        }
    }

    /// The kind of that word.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// `application/json`: Protobuf's JSON mapping.
    Json,
    /// `application/octet-stream`: Protobuf.
    Protobuf,
}

/// One event, ready for the device's actor and for the history.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    /// The device it is about.
    pub dev_eui: DevEui,
    /// ChirpStack's name of the device; may be empty.
    pub device_name: String,
    /// ChirpStack's tenant, which is not ours.
    pub chirpstack_tenant_id: Option<Uuid>,
    /// ChirpStack's application.
    pub chirpstack_application_id: Option<Uuid>,
    /// ChirpStack's device profile.
    pub device_profile_id: Option<Uuid>,
    /// What happened.
    pub event: NetworkEvent,
    /// The same for people to read later.
    pub history: HistoryEntry,
    /// What can be drawn over time: the payload's decoded fields by their paths, and what Downbeat adds to them. Each
    /// path once, finite numbers, at most 64 decoded fields.
    pub telemetry: Vec<(FieldPath, TelemetryValue)>,
}

/// Why a body is not an event.
#[derive(Debug, thiserror::Error)]
pub enum ParseWebhookError {
    /// It is not JSON, or not of the event's shape.
    #[error("the body is not the JSON of this event: {0}")]
    Json(#[source] serde_json::Error),
    /// It is not Protobuf, or not of the event's shape.
    #[error("the body is not the Protobuf message of this event: {0}")]
    Protobuf(#[source] prost::DecodeError),
    /// A field does not hold what it has to.
    #[error("{field} {problem}")]
    Field {
        /// The field, as ChirpStack's JSON names it.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Reads one body of ChirpStack v4 or v3. Never panics, whatever the bytes.
pub fn parse(
    kind: EventKind,
    encoding: Encoding,
    body: &[u8],
    received_at: Timestamp,
) -> Result<Incoming, ParseWebhookError> {
    let read = match encoding {
        Encoding::Json => v4_json::parse(kind, body, received_at),
        Encoding::Protobuf => v4_protobuf::parse(kind, body, received_at),
    };
    read.or_else(|error| {
        let read = match encoding {
            Encoding::Json => v3_json::parse(kind, body, received_at),
            Encoding::Protobuf => v3_protobuf::parse(kind, body, received_at),
        };
        read.unwrap_or(Err(error))
    })
}

#[cfg(test)]
mod tests;
