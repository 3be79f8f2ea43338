//! The history of devices.

use downbeat_actors::port::StoreError;
use downbeat_core::id::{DeviceId, GatewayId};
use downbeat_core::network::Timing;
use downbeat_core::pacer::{SentBefore, SentLately, SilentItem};
use downbeat_core::radio::Modulation;
use downbeat_core::time::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use sqlx::FromRow;
use uuid::Uuid;

use super::{corrupt, instant};
use crate::store::DeviceEvent;

#[derive(FromRow)]
pub(crate) struct EventRow {
    pub(crate) id: Uuid,
    pub(crate) device_id: Uuid,
    pub(crate) at: i64,
    pub(crate) kind: String,
    pub(crate) body: String,
}

impl TryFrom<EventRow> for DeviceEvent {
    type Error = StoreError;

    fn try_from(row: EventRow) -> Result<Self, StoreError> {
        let body = RawValue::from_string(row.body)
            .map_err(|error| corrupt("device_event", "body", &row.id, error))?;
        Ok(Self {
            id: row.id,
            device_id: DeviceId::from_uuid(row.device_id),
            at: instant(row.at),
            kind: row.kind,
            body,
        })
    }
}

/// What gateways sent, as the history keeps it.
#[derive(FromRow)]
pub(crate) struct SentRow {
    at: i64,
    kind: String,
    body: String,
}

#[derive(Deserialize)]
struct SentBody {
    #[serde(default)]
    gateway_id: Option<GatewayId>,
    #[serde(default)]
    modulation: Option<Modulation>,
    #[serde(default)]
    frequency_hz: Option<u32>,
    #[serde(default)]
    timing: Option<Timing>,
}

/// What the rows tell. What an older version kept and this one cannot read says nothing of the air.
pub(crate) fn sent_lately(rows: Vec<SentRow>) -> SentLately {
    let mut sent = SentLately::default();
    for row in rows {
        if row.kind == "txack" {
            sent.frames.extend(row.frame());
        } else {
            sent.items
                .extend(serde_json::from_str::<SilentItem>(&row.body).ok());
        }
    }
    sent
}

impl SentRow {
    /// `None` where it is not told which gateway took it.
    fn frame(self) -> Option<SentBefore> {
        let body: SentBody = serde_json::from_str(&self.body).ok()?;
        Some(SentBefore {
            at: instant(self.at),
            gateway_id: body.gateway_id?,
            modulation: body.modulation,
            frequency_hz: body.frequency_hz,
            timing: body.timing,
        })
    }
}

/// The id of an event: its time, then a digest of what it says. The same event, stored again, has the same id.
pub(crate) fn event_id(device_id: DeviceId, at: Timestamp, kind: &str, body: &str) -> Uuid {
    use sha2::{Digest, Sha256};

    let digest = Sha256::new()
        .chain_update(device_id.as_uuid().as_bytes())
        .chain_update(kind.as_bytes())
        .chain_update([0])
        .chain_update(body.as_bytes())
        .finalize();
    let mut tail = [0; 10];
    tail.copy_from_slice(&digest[..10]);
    uuid_of(at, tail)
}

/// Not greater than the id of any event of that time or later.
pub(crate) fn first_id_of(at: Timestamp) -> Uuid {
    uuid_of(at, [0; 10])
}

/// A `UUIDv7`; times before 1970 count as 1970.
fn uuid_of(at: Timestamp, tail: [u8; 10]) -> Uuid {
    let millis = u64::try_from(at.as_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
}
