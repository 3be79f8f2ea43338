//! What ChirpStack keeps of a device: its registration, its session, its queue.

use std::collections::BTreeMap;

use downbeat_core::id::{DevAddr, DevEui, QueueItemId};
use downbeat_core::radio::DeviceClass;
use downbeat_core::time::Timestamp;
use uuid::Uuid;

use super::webhook::Heard;

/// What an API caller writes of a device (`Device` of ChirpStack's API). An update replaces all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceFields {
    /// Shown to people.
    pub name: String,
    /// For people.
    pub description: String,
    /// Its application.
    pub application_id: Uuid,
    /// Its device profile.
    pub device_profile_id: Uuid,
    /// Join `EUI` as a number, its bytes big-endian.
    pub join_eui: u64,
    /// Uplinks are ignored and nothing is scheduled.
    pub is_disabled: bool,
    /// Kept for the caller; the model always checks frame counters.
    pub skip_fcnt_check: bool,
    /// Travel in every event.
    pub tags: BTreeMap<String, String>,
    /// Never travel in events.
    pub variables: BTreeMap<String, String>,
}

/// Root keys of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceKeys {
    /// `LoRaWAN` 1.0.x: the `AppKey`.
    pub nwk_key: [u8; 16],
    /// `LoRaWAN` 1.1 only.
    pub app_key: [u8; 16],
    /// For multicast set-up on 1.0.x.
    pub gen_app_key: [u8; 16],
}

/// A device as ChirpStack knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceRecord {
    /// The key of it all.
    pub dev_eui: DevEui,
    /// What callers write.
    pub fields: DeviceFields,
    /// Without keys it cannot join.
    pub keys: Option<DeviceKeys>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last updated by a caller.
    pub updated_at: Timestamp,
    /// Its last uplink.
    pub last_seen_at: Option<Timestamp>,
    /// Class in force: A until the first join.
    pub class_enabled: DeviceClass,
    /// Its session, if it ever joined.
    pub(super) session: Option<Session>,
    /// Oldest first.
    pub(super) queue: Vec<QueuedItem>,
    /// The scheduler leaves it alone until then.
    pub(super) scheduler_run_after: Timestamp,
}

impl DeviceRecord {
    /// Address and counters of its session, if it has one.
    pub fn activation(&self) -> Option<Activation> {
        let session = self.session.as_ref()?;
        let Session {
            dev_addr,
            f_cnt_up,
            f_cnt_down,
            ..
        } = *session;
        Some(Activation {
            dev_addr,
            f_cnt_up,
            f_cnt_down,
        })
    }
}

/// What the API tells of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activation {
    /// Address, new with each join.
    pub dev_addr: DevAddr,
    /// The next uplink counter expected.
    pub f_cnt_up: u32,
    /// The counter of the next downlink.
    pub f_cnt_down: u32,
}

/// The server's side of a session.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Session {
    pub(super) dev_addr: DevAddr,
    /// The next counter expected; 0 before the first uplink.
    pub(super) f_cnt_up: u32,
    /// The counter of the next downlink; moves with a tx-ack only.
    pub(super) f_cnt_down: u32,
    /// Who heard the last uplink, and at which spreading factor.
    pub(super) heard_by: Vec<Heard>,
    pub(super) spreading_factor: u8,
    pub(super) status_asked: bool,
}

/// A downlink to be queued.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewQueueItem {
    /// 1 to 255.
    pub f_port: u8,
    /// At most what the data rate carries, which is checked only when it is to be sent.
    pub payload: Vec<u8>,
    /// Whether to ask for an acknowledgement.
    pub confirmed: bool,
    /// When to drop it unsent, in microseconds since the Unix epoch (`PostgreSQL`'s precision).
    pub expires_at_us: Option<i64>,
    /// Delete the items that are not pending first (`flush_queue` of Enqueue).
    pub flush_queue: bool,
}

/// An item of a device's queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedItem {
    /// ChirpStack's id.
    pub id: QueueItemId,
    /// Port.
    pub f_port: u8,
    /// Payload.
    pub payload: Vec<u8>,
    /// Whether an acknowledgement is asked for.
    pub confirmed: bool,
    /// Confirmed, accepted by a gateway, not yet acknowledged.
    pub is_pending: bool,
    /// Counter of the last try; 0 before the first one.
    pub f_cnt_down: u32,
    /// When it is dropped unsent, in microseconds since the Unix epoch.
    pub expires_at_us: Option<i64>,
    /// When a pending item counts as unanswered.
    pub(super) timeout_after: Option<Timestamp>,
}

impl QueuedItem {
    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at_us
            .is_some_and(|at| at < now.as_millis().saturating_mul(1000))
    }

    /// Whether it waits for an acknowledgement that may still come.
    pub(super) fn waits_for_acknowledgement(&self, now: Timestamp) -> bool {
        self.is_pending && self.timeout_after.is_none_or(|at| at > now)
    }
}

/// Why the API did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiFault {
    /// The server is down.
    Unavailable,
    /// There is no such device.
    UnknownDevice,
    /// There is no such object of a known device (keys).
    NotFound,
    /// There is one already.
    Duplicate,
    /// The request is wrong by itself.
    Invalid(&'static str),
}
