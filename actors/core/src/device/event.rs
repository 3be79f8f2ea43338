//! What a device's machine is told, and what it wants done.

use crate::codec::Frame;
use crate::id::{DownlinkId, QueueItemId};
use crate::network::{EnqueueFailure, NetworkEvent, QueueItem};
use crate::pacer::SilentItem;
use crate::time::Timestamp;

use super::downlink::{Downlink, Priority, Request, TimelineEntry};

/// What happened, as one device sees it.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Somebody wants a downlink. Ask [`super::Device::admission`] first: a full device ignores it.
    Requested(Request),
    /// Somebody takes a downlink back.
    CancelRequested(DownlinkId),
    /// Somebody wants the light of this command shown from now on. The command is sent if that needs one.
    Wished(Request),
    /// Nothing is wanted of it any more.
    WishCleared,
    /// Somebody wants it initialised. [`super::Device::initialisation_plan`] tells beforehand what comes of it.
    InitialisationRequested {
        /// Even if that was done lately.
        force: bool,
    },
    /// ChirpStack told something.
    Network(NetworkEvent),
    /// The turn that was asked for has come.
    TurnGranted,
    /// ChirpStack took the attempt of this number.
    Enqueued {
        /// Number of the attempt, as in [`Enqueue`].
        attempt: u32,
        /// ChirpStack's id of the item.
        queue_item_id: QueueItemId,
    },
    /// ChirpStack did not, or it is not known.
    EnqueueFailed {
        /// Number of the attempt, as in [`Enqueue`].
        attempt: u32,
        /// What is known.
        failure: EnqueueFailure,
    },
    /// What ChirpStack's queue holds.
    QueueRead(Vec<QueueItem>),
    /// It did not say.
    QueueReadFailed,
    /// Gateways came or went.
    GatewaysChanged,
    /// Whoever gives turns and makes calls was started anew: turns are gone, and answers may never come.
    ServicesRestarted,
    /// Whether ChirpStack is still to be given the device (`true`), or has it.
    Awaited(bool),
    /// Whether the network server takes the API key.
    KeyTold(bool),
    /// Nothing was heard of it for longer than it may be silent.
    Silent,
    /// It leaves the registry, or becomes another device: everything under way is taken back.
    Retired,
    /// The time that [`super::Device::next_wake`] named has come.
    Elapsed,
}

/// What the shell does next, in the order given, after it saved the device.
///
/// Each is safe to repeat after a crash: [`super::Device::restore`] looks into the queue before anything is sent again.
#[must_use]
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Queue up for a place in ChirpStack's queue and on the air; [`Event::TurnGranted`] answers.
    AskTurn(Priority),
    /// Take that place without asking, because an item of ours is there already (after a restart).
    HoldTurn,
    /// Give the place back, or no longer want one.
    EndTurn,
    /// Put a frame into ChirpStack's queue.
    Enqueue(Enqueue),
    /// Read ChirpStack's queue of the device.
    ReadQueue,
    /// Store the downlink as it is now with one more step of its timeline, and tell all who watch.
    Record(Box<Record>),
    /// Store beside it that an item was, or may have been, sent without a word: budgets are computed from it after a restart.
    Silence(Box<SilentItem>),
}

/// A call of ChirpStack's Enqueue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueue {
    /// Number of the call; answers carry it.
    pub attempt: u32,
    /// The downlink it belongs to.
    pub downlink_id: DownlinkId,
    /// Port and bytes.
    pub frame: Frame,
    /// Whether the device is to acknowledge.
    pub confirmed: bool,
    /// When ChirpStack is to drop it unsent. Also recognises the item when the answer is lost.
    pub expires_at: Timestamp,
}

/// A downlink and what happened to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// As it is now.
    pub downlink: Downlink,
    /// What happened.
    pub entry: TimelineEntry,
}
