//! One command to one device: its record, the words for its states, and the steps of its timeline.

use serde::{Deserialize, Serialize};

use crate::codec::{CodecKind, Command, EncodeError, Frame, Proof};
use crate::id::{DownlinkId, GatewayId, JobId, QueueItemId};
use crate::light::LightState;
use crate::time::Timestamp;

/// Who wants a downlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// An application or an operator.
    Api,
    /// Downbeat itself, because the device shows something else than what is wanted.
    Reconcile,
    /// A job over many devices.
    Job(JobId),
    /// Downbeat itself: a setting that the device gets after it joined, or because somebody asked for them all.
    Initialisation,
}

impl Origin {
    /// The word in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Reconcile => "reconcile",
            Self::Job(_) => "job",
            Self::Initialisation => "initialisation",
        }
    }

    /// The job, if it is one's.
    pub const fn job(self) -> Option<JobId> {
        match self {
            Self::Api | Self::Reconcile | Self::Initialisation => None,
            Self::Job(id) => Some(id),
        }
    }
}

/// Whose turn comes first; the order of the variants is the order of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Somebody waits for it.
    Interactive,
    /// Further attempts of such a command.
    Retry,
    /// Settings after a join.
    Initialisation,
    /// Part of a job for many devices.
    Bulk,
    /// Nobody waits for it.
    Reconcile,
}

/// A command as it is accepted: already put into bytes, so that nothing about it can fail later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its id, chosen by whoever asks.
    pub id: DownlinkId,
    /// Who asks.
    pub origin: Origin,
    /// Port and bytes.
    pub frame: Frame,
    /// What the device shows once it applied them, if that can be told from the bytes.
    pub light: Option<LightState>,
    /// Whether this is a state, of which only the newest counts. Otherwise order is kept and all are sent.
    pub is_state: bool,
    /// What will prove it; [`Proof::None`] is done when ChirpStack has it.
    pub proof: Proof,
    /// What has to do for it on a device that is not known to answer downlinks with an uplink; `None`: the same.
    pub proof_if_mute: Option<Proof>,
    /// Whether the downlink asks for a LoRaWAN acknowledgement.
    pub confirmed: bool,
    /// A state that is shown without becoming the desired one.
    pub transient: bool,
    /// How often it is enqueued at the most; the policy's number when absent.
    pub attempts_max: Option<u8>,
    /// No attempt is made after this; the policy's time to live when absent.
    pub expires_at: Option<Timestamp>,
    /// Whether attempts go on, uncounted, until then; the policy's word when absent.
    pub until_deadline: Option<bool>,
}

impl Request {
    /// Puts a command into a device's bytes.
    ///
    /// `verify` false asks for no proof: the downlink ends as `sent` when ChirpStack has it.
    pub fn new(
        id: DownlinkId,
        codec: CodecKind,
        command: &Command,
        confirmed: bool,
        verify: bool,
    ) -> Result<Self, EncodeError> {
        let codec = codec.codec();
        let frame = codec.encode(command)?;
        let (is_state, light) = match command {
            Command::SetLight(light) => (true, Some(*light)),
            Command::Busylight(_) => (false, None),
            Command::Raw(frame) => (false, codec.expected_light(frame)),
        };
        let proof = if verify {
            codec.proof(command, confirmed)
        } else {
            Proof::None
        };
        let proof_if_mute = codec
            .proof_if_mute(command)
            .filter(|_| proof == Proof::AutoUplink);
        Ok(Self {
            id,
            origin: Origin::Api,
            frame,
            light,
            is_state,
            proof,
            proof_if_mute,
            confirmed,
            transient: false,
            attempts_max: None,
            expires_at: None,
            until_deadline: None,
        })
    }
}

/// Where a downlink is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DownlinkState {
    /// Committed to the database.
    Accepted,
    /// Cannot be sent now; the reason tells why.
    Waiting,
    /// In ChirpStack's queue.
    Enqueued,
    /// A gateway took it.
    Transmitted,
    /// The device proved that it applied it. Terminal.
    Verified,
    /// ChirpStack has it, and no more was asked. Terminal.
    Sent,
    /// Attempts used up without proof. Terminal, but a late proof still counts.
    Unverified,
    /// It cannot be done; the reason tells why. Terminal.
    Failed,
    /// A newer state took its place. Terminal.
    Superseded,
    /// Somebody took it back. Terminal.
    Cancelled,
    /// Its time to live ran out before it was transmitted. Terminal.
    Expired,
}

impl DownlinkState {
    /// Every state.
    pub const ALL: [Self; 11] = [
        Self::Accepted,
        Self::Waiting,
        Self::Enqueued,
        Self::Transmitted,
        Self::Verified,
        Self::Sent,
        Self::Unverified,
        Self::Failed,
        Self::Superseded,
        Self::Cancelled,
        Self::Expired,
    ];

    /// Whether this is the end of its life.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Accepted | Self::Waiting | Self::Enqueued | Self::Transmitted => false,
            Self::Verified
            | Self::Sent
            | Self::Unverified
            | Self::Failed
            | Self::Superseded
            | Self::Cancelled
            | Self::Expired => true,
        }
    }

    /// The word in the API and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Waiting => "waiting",
            Self::Enqueued => "enqueued",
            Self::Transmitted => "transmitted",
            Self::Verified => "verified",
            Self::Sent => "sent",
            Self::Unverified => "unverified",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// The state of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// Why a downlink waits, why an attempt did not do, or why it ended as it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Another command of the device is under way.
    BehindAnother,
    /// An older item of ours may still be in ChirpStack's queue; it is let go out or expire, never flushed.
    BehindQueueItem,
    /// Its turn has not come: the network server's queue, the air, or an unreachable network server.
    Paced,
    /// No gateway that hears this device is online.
    NoGateway,
    /// ChirpStack does not have the device yet: it is being registered there.
    NotSynced,
    /// The device joined and has not spoken yet; ChirpStack sends nothing before that.
    BeforeFirstUplink,
    /// The network server could not be reached.
    ServerUnavailable,
    /// Whether the network server took it is not known; its queue is looked at.
    AnswerLost,
    /// The network server answered with an error.
    ServerError(String),
    /// The network server does not know the device, or its key may not see it.
    UnknownDevice,
    /// The network server does not accept the API key: commands wait until it does, or another one is set.
    KeyRefused,
    /// No gateway transmitted it.
    NotTransmitted,
    /// A gateway refused it, with its word for why.
    GatewayRefused(String),
    /// Larger than the data rate allows.
    PayloadTooLarge,
    /// Transmitted, but the device did not prove it in time.
    NotConfirmed,
    /// The device spoke after the transmission and had not received it.
    LostOnAir,
    /// The device received something else.
    AnotherReceived,
    /// The device shows it, but how many downlinks it had received before was not known: sent once more, to be counted.
    Uncounted,
    /// The device answered that it did not receive it (confirmed downlinks).
    NotAcknowledged,
    /// The device restarted; what it had is gone.
    DeviceRestarted,
    /// The device left the registry.
    DeviceRemoved,
    /// A newer state took its place.
    Newer(DownlinkId),
}

impl Reason {
    /// The stable word of the API.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::BehindAnother => "behind_another",
            Self::BehindQueueItem => "behind_queue_item",
            Self::Paced => "paced",
            Self::NoGateway => "no_gateway",
            Self::NotSynced => "not_synced",
            Self::BeforeFirstUplink => "before_first_uplink",
            Self::ServerUnavailable => "server_unavailable",
            Self::AnswerLost => "answer_lost",
            Self::ServerError(_) => "server_error",
            Self::UnknownDevice => "unknown_device",
            Self::KeyRefused => "key_refused",
            Self::NotTransmitted => "not_transmitted",
            Self::GatewayRefused(_) => "gateway_refused",
            Self::PayloadTooLarge => "payload_too_large",
            Self::NotConfirmed => "not_confirmed",
            Self::LostOnAir => "lost_on_air",
            Self::AnotherReceived => "another_received",
            Self::Uncounted => "uncounted",
            Self::NotAcknowledged => "not_acknowledged",
            Self::DeviceRestarted => "device_restarted",
            Self::DeviceRemoved => "device_removed",
            Self::Newer(_) => "newer_command",
        }
    }

    /// What the word leaves out: the server's text, the gateway's status, the newer command.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::ServerError(text) | Self::GatewayRefused(text) => Some(text.clone()),
            Self::Newer(id) => Some(id.to_string()),
            Self::BehindAnother
            | Self::BehindQueueItem
            | Self::Paced
            | Self::NoGateway
            | Self::NotSynced
            | Self::BeforeFirstUplink
            | Self::ServerUnavailable
            | Self::AnswerLost
            | Self::UnknownDevice
            | Self::KeyRefused
            | Self::NotTransmitted
            | Self::PayloadTooLarge
            | Self::NotConfirmed
            | Self::LostOnAir
            | Self::AnotherReceived
            | Self::Uncounted
            | Self::NotAcknowledged
            | Self::DeviceRestarted
            | Self::DeviceRemoved => None,
        }
    }
}

/// What proves a downlink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Evidence {
    /// The device reports the state, and its count of downlinks grew since before the attempt.
    CounterAndState {
        /// The count before.
        baseline: u32,
        /// The count reported.
        downlinks_received: u32,
        /// The uplink.
        uplink: UplinkEvidence,
    },
    /// The count of downlinks grew; the command changes nothing that the device reports.
    Counter {
        /// The count before.
        baseline: u32,
        /// The count reported.
        downlinks_received: u32,
        /// The uplink.
        uplink: UplinkEvidence,
    },
    /// The device reports the state, and reported another one before; its form of report has no count. Weaker.
    StateOnly {
        /// What it reported before.
        before: LightState,
        /// The uplink.
        uplink: UplinkEvidence,
    },
    /// The device acknowledged the confirmed downlink.
    LorawanAck {
        /// The item that was acknowledged.
        queue_item_id: QueueItemId,
        /// Its frame counter.
        f_cnt_down: u32,
    },
    /// A gateway took the frame. Says nothing of the device.
    Transmitted {
        /// The gateway.
        gateway_id: Option<GatewayId>,
        /// Its frame counter.
        f_cnt_down: u32,
    },
}

/// The uplink that carries a proof.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UplinkEvidence {
    /// When Downbeat received it.
    pub at: Timestamp,
    /// Frame counter.
    pub f_cnt: u32,
    /// ChirpStack's id of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deduplication_id: Option<uuid::Uuid>,
    /// The gateway that heard it best.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gateway_id: Option<GatewayId>,
    /// dBm there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rssi_dbm: Option<i32>,
    /// dB there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub snr_db: Option<f32>,
}

/// A downlink as it is stored and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Downlink {
    /// Its id.
    pub id: DownlinkId,
    /// Who asked.
    pub origin: Origin,
    /// Port and bytes.
    pub frame: Frame,
    /// What the device shows once it applied them, if known.
    pub light: Option<LightState>,
    /// Whether only the newest of its kind counts.
    pub is_state: bool,
    /// What proves it.
    pub proof: Proof,
    /// Whether it asks for a LoRaWAN acknowledgement.
    pub confirmed: bool,
    /// Shown without becoming the desired state.
    pub transient: bool,
    /// How often it may be enqueued.
    pub attempts_max: u8,
    /// Attempts are not counted out: they go on until `expires_at`.
    #[serde(default)]
    pub until_deadline: bool,
    /// No attempt after this.
    pub expires_at: Timestamp,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When anything about it changed last.
    pub updated_at: Timestamp,
    /// Where it is in its life.
    pub state: DownlinkState,
    /// Why it waits, was tried again, or ended so.
    pub reason: Option<Reason>,
    /// How often it was put into ChirpStack's queue, or tried to be.
    pub attempts: u8,
    /// Its last item in ChirpStack's queue.
    pub queue_item_id: Option<QueueItemId>,
    /// What proves it.
    pub evidence: Option<Evidence>,
    /// The proof came after the window of its attempt.
    pub late: bool,
    /// When it reached its terminal state.
    pub finished_at: Option<Timestamp>,
    /// When ChirpStack first had it in its queue.
    #[serde(default)]
    pub enqueued_at: Option<Timestamp>,
    /// Its last transmission, whether the device received it or not.
    #[serde(default)]
    pub transmission: Option<LastTransmission>,
    /// Steps of its timeline so far: the number of the next one.
    pub steps: u32,
}

/// When a downlink was last on the air, and how, as far as that was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastTransmission {
    /// When Downbeat heard of it.
    pub at: Timestamp,
    /// The gateway.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gateway_id: Option<GatewayId>,
    /// Spreading factor, if LoRa.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spreading_factor: Option<u8>,
}

impl Downlink {
    /// Keeps what a step tells that the downlink as a whole is asked for later.
    pub(super) fn note(&mut self, at: Timestamp, step: &Step) {
        match step {
            Step::Enqueued { .. } => self.enqueued_at = self.enqueued_at.or(Some(at)),
            Step::Transmitted {
                gateway_id,
                spreading_factor,
                ..
            } => {
                self.transmission = Some(LastTransmission {
                    at,
                    gateway_id: *gateway_id,
                    spreading_factor: *spreading_factor,
                });
            }
            Step::Accepted
            | Step::Waiting { .. }
            | Step::NotTransmitted { .. }
            | Step::Refused { .. }
            | Step::AttemptFailed { .. }
            | Step::Verified { .. }
            | Step::Ended { .. } => {}
        }
    }
}

/// One step of a downlink's life, with its evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// Number of the step, from 0.
    pub seq: u32,
    /// When.
    pub at: Timestamp,
    /// The attempt it belongs to, from 1; 0 before the first.
    pub attempt: u8,
    /// What happened.
    #[serde(flatten)]
    pub step: Step,
}

/// What happened to a downlink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Committed.
    Accepted,
    /// It cannot be sent now.
    Waiting {
        /// Why.
        reason: Reason,
        /// When it is tried again without any other event, if a time is set.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        until: Option<Timestamp>,
    },
    /// ChirpStack has it.
    Enqueued {
        /// The queue item.
        queue_id: QueueItemId,
        /// When ChirpStack drops it unsent.
        expires_at: Timestamp,
    },
    /// A gateway took it.
    Transmitted {
        /// The queue item.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        queue_id: Option<QueueItemId>,
        /// The gateway.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        gateway_id: Option<GatewayId>,
        /// Frame counter; absent when the transmission is concluded from an empty queue.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        f_cnt_down: Option<u32>,
        /// Spreading factor, if LoRa.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        spreading_factor: Option<u8>,
        /// The item left ChirpStack's queue without a word; that it was transmitted is an inference.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        presumed: bool,
    },
    /// Still in ChirpStack's queue though it should be out: no gateway transmits.
    NotTransmitted {
        /// Items of others in the queue.
        foreign_items: u32,
    },
    /// A gateway refused it; ChirpStack tries again by itself.
    Refused {
        /// The gateway's word.
        status: String,
    },
    /// An attempt did not do.
    AttemptFailed {
        /// Why.
        reason: Reason,
    },
    /// Proven.
    Verified {
        /// By what.
        evidence: Evidence,
        /// After the window of the attempt.
        late: bool,
    },
    /// The end, other than by proof.
    Ended {
        /// The terminal state.
        state: DownlinkState,
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        reason: Option<Reason>,
    },
}
