//! What the edges ask of the actors, and what they get.

use std::fmt::Write as _;
use std::time::Duration;

use downbeat_core::codec::{Command, EncodeError};
use downbeat_core::device::{
    Downlink, InitialisationPlan, InitialisationStatus, Record, TimelineEntry,
};
use downbeat_core::id::{DownlinkId, JobId};
use downbeat_core::network::NetworkEvent;
use downbeat_core::time::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::port::{By, FieldPath, HistoryEntry, TelemetryValue};

/// What was told of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What happened, for its machine.
    pub event: NetworkEvent,
    /// What is kept of it in the history.
    pub history: Vec<HistoryEntry>,
    /// Decoded fields, by their paths.
    pub telemetry: Vec<(FieldPath, TelemetryValue)>,
    /// When word of it came in.
    pub told_at: Instant,
}

/// A command as a caller gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The downlink's id, chosen beforehand by who may have to repeat the order; a new one when absent.
    pub id: Option<DownlinkId>,
    /// What is wanted.
    pub command: Command,
    /// Whether a LoRaWAN acknowledgement is asked for.
    pub confirmed: bool,
    /// Whether a proof is wanted; otherwise it is done when the network server has it.
    pub verify: bool,
    /// A light to be shown without becoming the desired one.
    pub transient: bool,
    /// How often it is tried at the most; the policy's number when absent.
    pub attempts_max: Option<u8>,
    /// Who gives it, for the audit log.
    pub by: By,
    /// How long it may take until its last attempt begins; the policy's when absent.
    pub ttl: Option<Duration>,
    /// Whether attempts go on, uncounted, until then; the policy's word when absent.
    pub until_deadline: Option<bool>,
    /// The job that it is part of: whose entry in the audit log stands for all of it.
    pub job: Option<OfJob>,
}

/// The job that an order is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfJob {
    /// Its id.
    pub id: JobId,
    /// When it was asked for: a device that was told what to show since is left as it is.
    pub asked_at: Timestamp,
}

impl Order {
    /// What is wanted, for the audit log.
    pub fn describe(&self) -> serde_json::Value {
        let mut words = serde_json::json!({
            "confirmed": self.confirmed,
            "verify": self.verify,
            "transient": self.transient,
        });
        match &self.command {
            Command::SetLight(light) => {
                words["color"] = light.color.to_string().into();
                words["on_time"] = light.on_time.into();
                words["off_time"] = light.off_time.into();
            }
            Command::Busylight(setting) => words["setting"] = format!("{setting:?}").into(),
            Command::Raw(frame) => {
                let mut payload = String::with_capacity(frame.payload.len() * 2);
                for byte in &frame.payload {
                    // Writing to a text cannot fail.
                    let _ = write!(payload, "{byte:02x}");
                }
                words["payload"] = payload.into();
                words["f_port"] = frame.f_port.get().into();
            }
        }
        words
    }
}

/// A command that was accepted: it is committed.
#[derive(Debug)]
pub struct Submission {
    /// As it was accepted.
    pub downlink: Downlink,
    /// Its steps up to then; none where it had been accepted before.
    pub steps: Vec<TimelineEntry>,
    /// Every further step of its life, each after it was committed; ends after the terminal one. It also ends when the
    /// device's actor does, so a terminal state is to be looked up when it ends without one.
    pub updates: mpsc::UnboundedReceiver<Record>,
}

/// What became of a wish to take a command back.
#[derive(Debug, Clone, PartialEq)]
pub enum Cancellation {
    /// It is cancelled. What is in the air cannot be called back.
    Cancelled(Box<Downlink>),
    /// It is not under way: unknown, or over.
    NotUnderWay,
}

/// What came of the wish for a light.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Desire {
    /// The command that pursues it, if it takes one.
    pub downlink_id: Option<DownlinkId>,
    /// Whether the device shows it already.
    pub is_converged: bool,
}

/// What came of the wish to initialise a device.
#[derive(Debug)]
pub struct Initialising {
    /// Whether it was begun, or why not.
    pub plan: InitialisationPlan,
    /// How far it is.
    pub status: Option<InitialisationStatus>,
    /// Every change of that, each after it was committed; ends when it is over. It also ends when the device's actor
    /// does, so that is to be asked again when it ends before.
    pub updates: mpsc::UnboundedReceiver<InitialisationStatus>,
}

/// Why the actors did not take something.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No such device, or not the caller's.
    #[error("no such device")]
    UnknownDevice,
    /// As many commands of this device wait as may.
    #[error("too many commands of this device are waiting")]
    DeviceBusy,
    /// As many messages to this device wait as may.
    #[error("the device's mailbox is full")]
    Overloaded,
    /// The command cannot be put into bytes for this device.
    #[error("the device does not understand the command")]
    NotUnderstood(#[source] EncodeError),
    /// The device was told something newer than the job that the command is part of.
    #[error("the device was told something newer")]
    Newer,
    /// Nothing was accepted, because it could not be stored.
    #[error("the database is unavailable")]
    StoreUnavailable,
    /// The service is going down.
    #[error("the service is stopping")]
    Stopping,
}
