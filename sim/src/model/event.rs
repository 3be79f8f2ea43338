//! The future of the model: what happens when, in the order of time and then of planning.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use downbeat_core::id::DevEui;
use downbeat_core::time::Timestamp;

use super::gateway::{Frame, Refusal, TxOption};
use super::lamp::Restart;
use super::webhook::{UplinkFrame, Webhook};

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Event {
    /// A scheduler run; void unless it is the planned one.
    SchedulerRun,
    /// A lamp gets ready to join; void after another boot.
    JoinRequest { lamp: usize, boot: u32 },
    /// A heartbeat is due; void unless it is the lamp's plan.
    Heartbeat { lamp: usize, boot: u32, plan: u32 },
    /// An uplink begins; void unless it is the lamp's plan.
    UplinkStarts { lamp: usize, plan: u32 },
    /// An uplink ends, and gateways have it or not.
    UplinkEnds(Box<UplinkFrame>),
    /// All copies of an uplink are collected.
    UplinkMerged(Box<UplinkFrame>),
    /// ChirpStack looks for something to send in the uplink's RX window.
    RxWindow(Box<UplinkFrame>),
    /// A frame arrives at a gateway.
    FrameArrives { gateway: usize, frame: Box<Frame> },
    /// A gateway stops sending a frame.
    TransmissionEnds { gateway: usize, transmission: u64 },
    /// A gateway's word on a frame arrives at the server.
    TxAck {
        gateway: usize,
        downlink_id: u32,
        result: Result<TxOption, Refusal>,
    },
    /// A lamp restarts by itself; void after another boot.
    Restart {
        lamp: usize,
        boot: u32,
        reason: Restart,
    },
    /// A device answers `DevStatusReq`.
    DeviceStatus { dev_eui: DevEui, margin_db: i32 },
    /// The HTTP integration's post reaches the receiver.
    Post(Box<Webhook>),
}

#[derive(Debug)]
struct Planned {
    at: Timestamp,
    number: u64,
    event: Event,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    /// The earliest is the greatest: `BinaryHeap` gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// All that is planned.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    planned: BinaryHeap<Planned>,
    count: u64,
}

impl Agenda {
    pub(super) fn plan(&mut self, at: Timestamp, event: Event) {
        self.count += 1;
        self.planned.push(Planned {
            at,
            number: self.count,
            event,
        });
    }

    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.planned.peek().map(|planned| planned.at)
    }

    /// The next event, if it happens no later than `to`.
    pub(super) fn next_until(&mut self, to: Timestamp) -> Option<(Timestamp, Event)> {
        if self.next_at()? > to {
            return None;
        }
        self.planned
            .pop()
            .map(|planned| (planned.at, planned.event))
    }
}
