//! Downlinks as the API shows them.

use downbeat_core::codec::Proof;
use downbeat_core::device::{Downlink, DownlinkState, Reason};
use downbeat_core::id::DevEui;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::store::{DownlinkWithTimeline, StoredDownlink};

use super::devices::ColorBody;

pub(super) mod cancel;
pub(super) mod get;
pub(super) mod list;
pub(super) mod send;
pub(super) mod timeline;

use timeline::{EvidenceBody, TimelineEntryBody};

/// What became of a command, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// The device proved that it applied it.
    Success,
    /// All attempts were made without a proof. A late proof may still turn it into `success`.
    Unverified,
    /// ChirpStack has it, and no proof was asked for.
    Sent,
    /// It did not come to an end: refused, superseded, cancelled, expired.
    Failed,
    /// ChirpStack cannot or will not take it.
    Error,
    /// It is under way.
    Pending,
}

/// One command to one device.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct DownlinkBody {
    /// UUID v7.
    id: String,
    /// 16 hex digits.
    #[schema(example = "202020410a3f0012")]
    dev_eui: String,
    status: Status,
    /// `accepted`, `waiting`, `enqueued`, `transmitted`, or the end: `verified`, `sent`, `unverified`, `failed`,
    /// `superseded`, `cancelled`, `expired`.
    state: &'static str,
    /// Whether the device proved it; null while that is open, and where no proof was asked for.
    verified: Option<bool>,
    /// The proof came after its time.
    late: bool,
    /// ChirpStack's id of its last queue item.
    queue_id: Option<String>,
    /// How often it was tried.
    attempts: u8,
    /// How often it may be.
    attempts_max: u8,
    /// What the light is to show; null for a payload that is no colour.
    color: Option<ColorBody>,
    /// Units of 0.1 s.
    on_time: Option<u8>,
    /// Units of 0.1 s; 0 is steady light.
    off_time: Option<u8>,
    f_port: u8,
    /// The bytes, in hex.
    payload: String,
    /// Whether a LoRaWAN acknowledgement is asked for.
    confirmed: bool,
    /// Shown without becoming the desired state.
    transient: bool,
    /// `api`, `job` when it is part of one, or `reconcile` when Downbeat itself wants it.
    origin: &'static str,
    /// The job that it is part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<String>,
    /// Why it waits, was tried again, or ended as it did.
    reason: Option<&'static str>,
    /// What the word leaves out: ChirpStack's text, the gateway's status, the newer command.
    reason_detail: Option<String>,
    evidence: Option<EvidenceBody>,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    updated_at: String,
    /// No attempt is made after this.
    expires_at: String,
    /// RFC 3339; null while it is under way.
    finished_at: Option<String>,
    /// Every step; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    timeline: Option<Vec<TimelineEntryBody>>,
}

impl DownlinkBody {
    /// A downlink without its timeline.
    pub(super) fn new(dev_eui: DevEui, downlink: &Downlink) -> Self {
        let (reason, reason_detail) = reason(downlink);
        Self {
            id: downlink.id.to_string(),
            dev_eui: dev_eui.to_string(),
            status: status(downlink),
            state: downlink.state.name(),
            verified: verified(downlink),
            late: downlink.late,
            queue_id: downlink.queue_item_id.map(|id| id.to_string()),
            attempts: downlink.attempts,
            attempts_max: downlink.attempts_max,
            color: downlink.light.map(|light| ColorBody::new(light.color)),
            on_time: downlink.light.map(|light| light.on_time),
            off_time: downlink.light.map(|light| light.off_time),
            f_port: downlink.frame.f_port.get(),
            payload: hex::encode(&downlink.frame.payload),
            confirmed: downlink.confirmed,
            transient: downlink.transient,
            origin: downlink.origin.name(),
            job_id: downlink.origin.job().map(|id| id.to_string()),
            reason,
            reason_detail,
            evidence: downlink.evidence.as_ref().map(EvidenceBody::new),
            created_at: downlink.accepted_at.to_string(),
            updated_at: downlink.updated_at.to_string(),
            expires_at: downlink.expires_at.to_string(),
            finished_at: downlink.finished_at.map(|at| at.to_string()),
            timeline: None,
        }
    }

    /// A row of a list.
    pub(super) fn of_stored(stored: &StoredDownlink) -> Self {
        Self::new(stored.dev_eui, &stored.downlink)
    }

    /// A downlink with its timeline.
    pub(super) fn with_timeline(whole: &DownlinkWithTimeline) -> Self {
        let entries = whole.timeline.iter().map(TimelineEntryBody::new);
        Self {
            timeline: Some(entries.collect()),
            ..Self::of_stored(&whole.stored)
        }
    }

    /// Whether there is nothing more to wait for.
    pub(super) fn is_settled(&self) -> bool {
        self.status != Status::Pending
    }
}

/// Where a downlink is to be found, from its body.
pub(super) fn location(body: &Value) -> Option<String> {
    Some(format!("/api/v1/downlinks/{}", body.get("id")?.as_str()?))
}

pub(super) fn status(downlink: &Downlink) -> Status {
    match downlink.state {
        DownlinkState::Verified => Status::Success,
        DownlinkState::Unverified => Status::Unverified,
        DownlinkState::Sent => Status::Sent,
        DownlinkState::Enqueued | DownlinkState::Transmitted if downlink.proof == Proof::None => {
            Status::Sent
        }
        DownlinkState::Accepted
        | DownlinkState::Waiting
        | DownlinkState::Enqueued
        | DownlinkState::Transmitted => Status::Pending,
        DownlinkState::Failed if is_chirpstacks(downlink.reason.as_ref()) => Status::Error,
        DownlinkState::Failed
        | DownlinkState::Superseded
        | DownlinkState::Cancelled
        | DownlinkState::Expired => Status::Failed,
    }
}

/// Whether it failed at ChirpStack, and not on the air or by somebody's wish.
fn is_chirpstacks(reason: Option<&Reason>) -> bool {
    matches!(
        reason,
        Some(
            Reason::ServerError(_)
                | Reason::ServerUnavailable
                | Reason::AnswerLost
                | Reason::UnknownDevice
                | Reason::KeyRefused
        )
    )
}

fn verified(downlink: &Downlink) -> Option<bool> {
    let was_asked_for = downlink.proof != Proof::None;
    let is_proven = downlink.state == DownlinkState::Verified;
    (is_proven || (was_asked_for && downlink.state.is_terminal())).then_some(is_proven)
}

/// The reason as a word and what it leaves out. The ends that nobody's failure brought about are their own reason.
fn reason(downlink: &Downlink) -> (Option<&'static str>, Option<String>) {
    let detail = downlink.reason.as_ref().and_then(Reason::detail);
    match downlink.state {
        DownlinkState::Superseded | DownlinkState::Cancelled | DownlinkState::Expired => {
            (Some(downlink.state.name()), detail)
        }
        DownlinkState::Accepted
        | DownlinkState::Waiting
        | DownlinkState::Enqueued
        | DownlinkState::Transmitted
        | DownlinkState::Verified
        | DownlinkState::Sent
        | DownlinkState::Unverified
        | DownlinkState::Failed => (downlink.reason.as_ref().map(Reason::name), detail),
    }
}
