//! The steps of a downlink's life as the API shows them: flat, with only the fields that a step has.

use downbeat_actors::observe::step_name;
use downbeat_core::device::downlink::UplinkEvidence;
use downbeat_core::device::{Evidence, Reason, Step, TimelineEntry};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::devices::LightBody;

/// One step.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(in crate::http) struct TimelineEntryBody {
    /// From 0.
    seq: u32,
    /// RFC 3339.
    at: String,
    /// `accepted`, `waiting`, `enqueued`, `transmitted`, `not_transmitted`, `refused`, `attempt_failed`, `verified`, or
    /// the state it ended in.
    step: &'static str,
    /// From 1; null before the first.
    attempt: Option<u8>,
    /// Why, as a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// What the word leaves out.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_detail: Option<String>,
    /// When it is tried again at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// ChirpStack's queue item.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_id: Option<String>,
    /// When ChirpStack drops the item unsent.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// The gateway that took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    f_cnt_down: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spreading_factor: Option<u8>,
    /// Concluded from an empty queue, not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    presumed: Option<bool>,
    /// Items of others in ChirpStack's queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    foreign_items: Option<u32>,
    /// The gateway's word for its refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<EvidenceBody>,
    /// The proof came after its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    late: Option<bool>,
}

impl TimelineEntryBody {
    pub(in crate::http) fn new(entry: &TimelineEntry) -> Self {
        let body = Self {
            seq: entry.seq,
            at: entry.at.to_string(),
            step: step_name(&entry.step),
            attempt: Some(entry.attempt).filter(|attempt| *attempt > 0),
            ..Self::default()
        };
        match &entry.step {
            Step::Accepted => body,
            Step::Waiting { reason, until } => Self {
                until: until.map(|until| until.to_string()),
                ..body.because(Some(reason))
            },
            Step::Enqueued {
                queue_id,
                expires_at,
            } => Self {
                queue_id: Some(queue_id.to_string()),
                expires_at: Some(expires_at.to_string()),
                ..body
            },
            Step::Transmitted {
                queue_id,
                gateway_id,
                f_cnt_down,
                spreading_factor,
                presumed,
            } => Self {
                queue_id: queue_id.map(|id| id.to_string()),
                gateway_id: gateway_id.map(|id| id.to_string()),
                f_cnt_down: *f_cnt_down,
                spreading_factor: *spreading_factor,
                presumed: presumed.then_some(true),
                ..body
            },
            Step::NotTransmitted { foreign_items } => Self {
                foreign_items: Some(*foreign_items),
                ..body
            },
            Step::Refused { status } => Self {
                status: Some(status.clone()),
                ..body
            },
            Step::AttemptFailed { reason } => body.because(Some(reason)),
            Step::Verified { evidence, late } => Self {
                evidence: Some(EvidenceBody::new(evidence)),
                late: Some(*late),
                ..body
            },
            Step::Ended { state: _, reason } => body.because(reason.as_ref()),
        }
    }

    fn because(self, reason: Option<&Reason>) -> Self {
        Self {
            reason: reason.map(Reason::name),
            reason_detail: reason.and_then(Reason::detail),
            ..self
        }
    }
}

/// What proves a downlink.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(in crate::http) enum EvidenceBody {
    /// The device reports the state, and its count of downlinks grew.
    CounterAndState {
        /// The count before.
        baseline: u32,
        /// The count reported.
        downlinks_received: u32,
        uplink: UplinkBody,
    },
    /// The count of downlinks grew; the command changes nothing that the device reports.
    Counter {
        /// The count before.
        baseline: u32,
        /// The count reported.
        downlinks_received: u32,
        uplink: UplinkBody,
    },
    /// The device reports the state, and reported another one before; its report has no count. Weaker.
    StateOnly {
        before: LightBody,
        uplink: UplinkBody,
    },
    /// The device acknowledged the confirmed downlink.
    LorawanAck { queue_id: String, f_cnt_down: u32 },
    /// A gateway took the frame. Says nothing of the device.
    Transmitted {
        gateway_id: Option<String>,
        f_cnt_down: u32,
    },
}

/// The uplink that carries a proof.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::http) struct UplinkBody {
    /// When it was received, RFC 3339.
    at: String,
    f_cnt: u32,
    /// ChirpStack's id of it.
    deduplication_id: Option<String>,
    /// The gateway that heard it best.
    gateway_id: Option<String>,
    rssi_dbm: Option<i32>,
    snr_db: Option<f32>,
}

impl EvidenceBody {
    pub(in crate::http) fn new(evidence: &Evidence) -> Self {
        match evidence {
            Evidence::CounterAndState {
                baseline,
                downlinks_received,
                uplink,
            } => Self::CounterAndState {
                baseline: *baseline,
                downlinks_received: *downlinks_received,
                uplink: UplinkBody::new(uplink),
            },
            Evidence::Counter {
                baseline,
                downlinks_received,
                uplink,
            } => Self::Counter {
                baseline: *baseline,
                downlinks_received: *downlinks_received,
                uplink: UplinkBody::new(uplink),
            },
            Evidence::StateOnly { before, uplink } => Self::StateOnly {
                before: LightBody::new(*before),
                uplink: UplinkBody::new(uplink),
            },
            Evidence::LorawanAck {
                queue_item_id,
                f_cnt_down,
            } => Self::LorawanAck {
                queue_id: queue_item_id.to_string(),
                f_cnt_down: *f_cnt_down,
            },
            Evidence::Transmitted {
                gateway_id,
                f_cnt_down,
            } => Self::Transmitted {
                gateway_id: gateway_id.map(|id| id.to_string()),
                f_cnt_down: *f_cnt_down,
            },
        }
    }
}

impl UplinkBody {
    fn new(uplink: &UplinkEvidence) -> Self {
        Self {
            at: uplink.at.to_string(),
            f_cnt: uplink.f_cnt,
            deduplication_id: uplink.deduplication_id.map(|id| id.to_string()),
            gateway_id: uplink.gateway_id.map(|id| id.to_string()),
            rssi_dbm: uplink.rssi_dbm,
            snr_db: uplink.snr_db,
        }
    }
}
