//! A device that is loaded: its machine, what waits for a commit, and who watches.

use std::collections::VecDeque;

use downbeat_core::device::{
    Device, Effect, Enqueue, Event, InitialisationStatus, Presence, Record, UplinkCounts,
};
use downbeat_core::id::{DeviceKey, DownlinkId};
use downbeat_core::link_quality::{no_answer_is_due_after, proof_told_by};
use downbeat_core::time::Timestamp;
use ractor::ActorRef;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::own_time::OwnTime;
use super::{DeviceMessage, stay};
use crate::chirpstack_pool::PoolMessage;
use crate::gateway_monitor::MonitorMessage;
use crate::link::Link;
use crate::observe::{DeviceView, FeedBody, FeedEvent};
use crate::order::{AskError, Cancellation, Submission};
use crate::port::{
    AuditEntry, DeviceChange, FieldPath, HistoryEntry, StoredDevice, TelemetryValue,
};
use crate::system::Shared;
use crate::writer::{Write, WriterMessage};

pub(super) struct Running {
    pub(super) stored: StoredDevice,
    pub(super) machine: Device,
    /// Steps that are not committed yet, oldest first.
    pub(super) pending: VecDeque<Pending>,
    pub(super) next_seq: u64,
    pub(super) watchers: Vec<(DownlinkId, mpsc::UnboundedSender<Record>)>,
    /// Who waits for its initialisation.
    pub(super) initialisation_watchers: Vec<mpsc::UnboundedSender<InitialisationStatus>>,
    pub(super) last_view: Option<DeviceView>,
    /// What the last step left in the device's row; `None` where that may be anything.
    pub(super) last_row: Option<Row>,
    pub(super) own_time: OwnTime,
    pub(super) timer: Option<Timestamp>,
    pub(super) timer_generation: u64,
    pub(super) last_used: Timestamp,
    /// It is about to leave the registry, or to become another device: no command is taken.
    pub(super) retired: bool,
    /// The registry has it no more: the actor ends when everything is stored.
    pub(super) leaving: bool,
}

// A hundred thousand of them are in memory at once: what makes one larger shows here.
const _: () = assert!(size_of::<Running>() <= 2_304);

/// What the registry's row of the device holds beside its view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    unfinished: bool,
    /// And whether it was ever heard.
    presence: (Presence, bool),
    uplinks: UplinkCounts,
}

/// What waits for a commit.
pub(super) struct Pending {
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) effects: Vec<Effect>,
    /// When word came of what led to it, if it came from outside.
    pub(super) told_at: Option<Instant>,
    /// What watchers see of the device, if that changed.
    pub(super) view: Option<DeviceView>,
    pub(super) reply: Option<Reply>,
}

pub(super) enum Reply {
    Submitted(
        oneshot::Sender<Result<Submission, AskError>>,
        Box<Submission>,
        mpsc::UnboundedSender<Record>,
    ),
    Cancelled(
        oneshot::Sender<Result<Cancellation, AskError>>,
        Cancellation,
    ),
    Done(oneshot::Sender<Result<(), AskError>>),
    Then(Answer),
}

/// What is done when the step is committed, or cannot be.
pub(super) type Answer = Box<dyn FnOnce(Result<(), AskError>) + Send>;

/// Makes that of what the device is after the step.
pub(super) type Question = Box<dyn FnOnce(&Device) -> Answer + Send>;

/// Who waits for the step.
pub(super) enum Asked {
    Submit(DownlinkId, oneshot::Sender<Result<Submission, AskError>>),
    Cancel(DownlinkId, oneshot::Sender<Result<Cancellation, AskError>>),
    Done(oneshot::Sender<Result<(), AskError>>),
    Then(Question),
}

/// What a step leaves in the database beside the device's state.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) history: Vec<HistoryEntry>,
    pub(super) telemetry: Vec<(FieldPath, TelemetryValue)>,
    pub(super) audit: Option<AuditEntry>,
    /// When the edge got word of it.
    pub(super) told_at: Option<Instant>,
}

/// Events after which the stored state must be the new one, whatever they lead to.
pub(super) fn changes_state(event: &Event) -> bool {
    match event {
        Event::Requested(_)
        | Event::CancelRequested(_)
        | Event::Wished(_)
        | Event::WishCleared
        | Event::InitialisationRequested { .. }
        | Event::Retired
        | Event::Network(_)
        | Event::Enqueued { .. }
        | Event::EnqueueFailed { .. }
        | Event::QueueRead(_) => true,
        Event::TurnGranted
        | Event::QueueReadFailed
        | Event::GatewaysChanged
        | Event::ServicesRestarted
        | Event::Awaited(_)
        | Event::KeyTold(_)
        | Event::Silent
        | Event::Elapsed => false,
    }
}

impl Running {
    #[expect(
        clippy::too_many_arguments,
        reason = "straight-line continuation of `step`, called from there alone"
    )]
    pub(super) fn save(
        &mut self,
        myself: &ActorRef<DeviceMessage>,
        shared: &Shared,
        now: Timestamp,
        key: DeviceKey,
        effects: Vec<Effect>,
        kept: Kept,
        asked: Option<Asked>,
    ) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let records = effects
            .iter()
            .filter_map(|effect| {
                if let Effect::Record(record) = effect {
                    Some(record.as_ref().clone())
                } else {
                    None
                }
            })
            .collect::<Vec<Record>>();
        let reply = asked.and_then(|asked| self.reply(asked, &records));
        let view = self.view(key);
        let uplinks = self.machine.uplink_counts();
        let row = Row {
            unfinished: !self.machine.is_idle(),
            presence: (view.presence, view.last_seen.is_some()),
            uplinks,
        };
        let is_new_view = self.last_view.as_ref() != Some(&view);
        let row_changed = is_new_view || self.last_row != Some(row);
        let last_row = self.last_row.replace(row);
        let change = DeviceChange {
            dev_eui: key.dev_eui,
            device_id: self.stored.device_id,
            tenant_id: self.stored.tenant_id,
            state: serde_json::to_string(&self.machine)
                .expect("the machine's maps have text keys and its floats are finite"),
            unfinished: row.unfinished,
            row_changed,
            presence_changed: last_row.is_none_or(|last| last.presence != row.presence),
            unfinished_changed: last_row.is_none_or(|last| last.unfinished != row.unfinished),
            at: now,
            last_seen: view.last_seen,
            rssi_dbm: view.rssi_dbm,
            snr_db: view.snr_db,
            battery_percent: view.battery_percent,
            desired: view.desired,
            reported: view.reported,
            records,
            presence: view.presence,
            initialisation: view.initialisation,
            uplinks_heard: uplinks.heard,
            uplinks_missed: uplinks.missed,
            history: kept.history,
            telemetry: kept.telemetry,
            audit: kept.audit,
        };
        shared.set_unfinished(key, change.unfinished);
        let view = is_new_view.then_some(view);
        if view.is_some() {
            self.last_view.clone_from(&view);
        }
        self.pending.push_back(Pending {
            seq,
            at: now,
            effects,
            told_at: kept.told_at,
            view,
            reply,
        });
        shared.writer(WriterMessage::Write(Box::new(Write {
            change,
            device: myself.clone(),
            seq,
        })));
    }

    /// What is to be answered after the commit. A machine that did not take the request is full.
    fn reply(&self, asked: Asked, records: &[Record]) -> Option<Reply> {
        match asked {
            Asked::Done(reply) => Some(Reply::Done(reply)),
            Asked::Then(question) => Some(Reply::Then(question(&self.machine))),
            Asked::Submit(id, reply) => {
                let Some(downlink) = self.machine.unfinished().find(|downlink| downlink.id == id)
                else {
                    let _ = reply.send(Err(AskError::DeviceBusy));
                    return None;
                };
                let (sender, updates) = mpsc::unbounded_channel();
                {
                    let submission = Box::new(Submission {
                        downlink: downlink.clone(),
                        steps: records
                            .iter()
                            .filter(|record| record.downlink.id == id)
                            .map(|record| record.entry.clone())
                            .collect(),
                        updates,
                    });
                    Some(Reply::Submitted(reply, submission, sender))
                }
            }
            Asked::Cancel(id, reply) => {
                let cancelled = records.iter().rev().find(|record| record.downlink.id == id);
                let answer = cancelled.map_or(Cancellation::NotUnderWay, |record| {
                    Cancellation::Cancelled(Box::new(record.downlink.clone()))
                });
                Some(Reply::Cancelled(reply, answer))
            }
        }
    }

    fn view(&self, key: DeviceKey) -> DeviceView {
        let best = self.machine.receptions().first();
        DeviceView {
            device_id: self.stored.device_id,
            dev_eui: key.dev_eui,
            presence: self.machine.presence(),
            last_seen: self.machine.last_seen(),
            rssi_dbm: best.map(|reception| reception.rssi_dbm),
            snr_db: best.map(|reception| reception.snr_db),
            battery_percent: self.machine.battery_percent(),
            desired: self.machine.desired().map(|desired| desired.light),
            reported: self
                .machine
                .reported()
                .and_then(|reported| reported.report.light.map(|light| (light, reported.at))),
            initialisation: self.machine.initialisation(),
        }
    }

    /// The commit has come: answer, tell all who watch, and do what was to be done.
    pub(super) fn release(
        &mut self,
        shared: &Shared,
        link: &Link,
        key: DeviceKey,
        pending: Pending,
    ) {
        let Pending {
            at,
            effects,
            told_at,
            view,
            reply,
            ..
        } = pending;
        let tenant_id = Some(self.stored.tenant_id);
        for effect in effects {
            match effect {
                Effect::Record(record) => {
                    if let Some(proven) = proof_told_by(&record) {
                        let dev_eui = key.dev_eui;
                        link.monitor(MonitorMessage::Judged { dev_eui, proven });
                    }
                    if no_answer_is_due_after(&record) {
                        let dev_eui = key.dev_eui;
                        link.monitor(MonitorMessage::Answered { dev_eui });
                    }
                    self.tell_watchers(&record);
                    if let Some(told_at) = told_at {
                        crate::measure::settled(&record, told_at.elapsed());
                    }
                    shared.feed.publish(FeedEvent {
                        at,
                        tenant_id,
                        body: FeedBody::Downlink(record, key.dev_eui),
                    });
                }
                Effect::Enqueue(Enqueue {
                    attempt,
                    downlink_id,
                    frame,
                    confirmed,
                    expires_at,
                }) => {
                    link.pool(PoolMessage::Enqueue {
                        dev_eui: key.dev_eui,
                        attempt,
                        frame,
                        confirmed,
                        expires_at,
                        own_since: self.own_time.take(downlink_id),
                    });
                }
                Effect::AskTurn(_)
                | Effect::HoldTurn
                | Effect::EndTurn
                | Effect::ReadQueue
                | Effect::Silence(_) => {}
            }
        }
        if let Some(view) = view {
            self.tell_of_initialisation(view.initialisation);
            shared.feed.publish(FeedEvent {
                at,
                tenant_id,
                body: FeedBody::Device(view),
            });
        }
        match reply {
            // A caller that has gone away is no reason not to go on.
            Some(Reply::Submitted(reply, submission, sender)) => {
                self.watchers.push((submission.downlink.id, sender));
                let _ = reply.send(Ok(*submission));
            }
            Some(Reply::Cancelled(reply, answer)) => {
                let _ = reply.send(Ok(answer));
            }
            Some(Reply::Done(reply)) => {
                let _ = reply.send(Ok(()));
            }
            Some(Reply::Then(answer)) => answer(Ok(())),
            None => {}
        }
    }

    fn tell_of_initialisation(&mut self, status: Option<InitialisationStatus>) {
        let Some(status) = status else {
            self.initialisation_watchers.clear();
            return;
        };
        self.initialisation_watchers
            .retain(|watcher| watcher.send(status).is_ok() && !status.state.is_over());
    }

    fn tell_watchers(&mut self, record: &Record) {
        let id = record.downlink.id;
        self.watchers.retain(|(watched, sender)| {
            if *watched != id {
                return !sender.is_closed();
            }
            sender.send(record.clone()).is_ok() && !record.downlink.state.is_terminal()
        });
    }

    /// One timer: the machine's next look, or the end of an idle device's stay.
    pub(super) fn set_timer(&mut self, shared: &Shared, key: DeviceKey, now: Timestamp) {
        let idle_at = self.last_used.max(now) + stay(shared.devices.len());
        let wake = self
            .machine
            .next_wake()
            .map_or(idle_at, |wake| wake.min(idle_at));
        if self.timer.is_some_and(|armed| armed <= wake && armed > now) {
            return;
        }
        self.timer = Some(wake);
        self.timer_generation += 1;
        shared
            .timers()
            .set(key, self.timer_generation, Some(shared.clock.instant(wake)));
    }
}

impl Reply {
    pub(super) fn store_unavailable(self) {
        match self {
            Self::Submitted(reply, ..) => drop(reply.send(Err(AskError::StoreUnavailable))),
            Self::Cancelled(reply, _) => drop(reply.send(Err(AskError::StoreUnavailable))),
            Self::Done(reply) => drop(reply.send(Err(AskError::StoreUnavailable))),
            Self::Then(answer) => answer(Err(AskError::StoreUnavailable)),
        }
    }
}
