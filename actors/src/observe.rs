//! What happened, for those who watch: log line, metric and live feed come from here, each after its commit.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use downbeat_core::device::{InitialisationStatus, Presence, Record, Step};
use downbeat_core::gateway::{GatewayStatus, GatewayTransition};
use downbeat_core::id::{DevEui, DeviceId, JobId, NetworkServerId, TenantId};
use downbeat_core::job::JobKind;
use downbeat_core::light::LightState;
use downbeat_core::link_quality::table::Owner;
use downbeat_core::queue_cleaner::QueueFinding;
use downbeat_core::sync::SyncStatus;
use downbeat_core::time::Timestamp;
use tokio::sync::watch;

use crate::port::JobProgress;

/// Events that are kept for those who come back.
const KEPT: usize = 10_000;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedEvent {
    /// When.
    pub at: Timestamp,
    /// Whose it is; `None` is everybody's.
    pub tenant_id: Option<TenantId>,
    /// What.
    pub body: FeedBody,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum FeedBody {
    /// A downlink took a step (`device.downlink.*`).
    Downlink(Box<Record>, DevEui),
    /// A device was heard, or what is wanted of it changed (`device.changed`).
    Device(DeviceView),
    /// A device's synchronisation with the network server came further (`device.sync`).
    Sync(SyncView),
    /// A gateway came, went, fell mute, or is worth sending to again (`gateway.changed`). For all tenants that use its
    /// network server.
    Gateway(Box<GatewayView>),
    /// A device's queue in the network server is stuck, or was cleaned (`queue.stuck`, `queue.flushed`).
    Queue(QueueView),
    /// A device was registered, changed or taken out of the registry (`registry.changed`).
    Registry(RegistryView),
    /// A job came further, at most once a second for each, or began, was held up, or ended (`job.changed`).
    Job(Box<JobView>),
}

/// What watchers see of a gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayView {
    /// Whose gateway.
    pub server: NetworkServerId,
    /// What changed.
    pub transition: GatewayTransition,
    /// All that is known of it after that.
    pub status: GatewayStatus,
}

/// What watchers see of a queue that does not move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueView {
    /// The device.
    pub owner: Owner,
    /// Items in the queue, or that were.
    pub items: u32,
    /// Why it was left alone; `None` if it was flushed.
    pub finding: Option<QueueFinding>,
}

/// What watchers see of a change of the registry: that there was one. What it is now they look up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegistryView {
    /// The device's id.
    pub device_id: DeviceId,
    /// Its `DevEUI` after the change; that which it had, if it is gone; `None` if it is not on LoRaWAN.
    pub dev_eui: Option<DevEui>,
    /// What happened to it.
    pub change: RegistryChange,
}

/// What happened to a device in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistryChange {
    /// It is new.
    Created,
    /// It says something else.
    Changed,
    /// It is gone.
    Deleted,
}

impl RegistryChange {
    /// Its word in events, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Deleted => "deleted",
        }
    }
}

/// What watchers see of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// What it does.
    pub kind: JobKind,
    /// For people.
    pub name: String,
    /// When this was.
    pub at: Timestamp,
    /// How far it is.
    pub progress: JobProgress,
    /// Devices that have its command and are out of reach.
    pub out_of_reach: u64,
    /// How long it will still take, while it runs; `None` while nobody knows.
    pub remaining: Option<Duration>,
}

/// What watchers see of a device's synchronisation.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncView {
    /// Its id in the registry.
    pub device_id: DeviceId,
    /// Its `DevEUI`.
    pub dev_eui: DevEui,
    /// Whether the network server holds what the registry says.
    pub is_synced: bool,
    /// How far it is.
    pub status: SyncStatus,
}

/// What watchers see of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceView {
    /// Its id in the registry.
    pub device_id: DeviceId,
    /// Its `DevEUI`.
    pub dev_eui: DevEui,
    /// Whether it is there.
    pub presence: Presence,
    /// When it was last heard.
    pub last_seen: Option<Timestamp>,
    /// Best RSSI of its last uplink, dBm.
    pub rssi_dbm: Option<i32>,
    /// SNR there, dB.
    pub snr_db: Option<f32>,
    /// Percent.
    pub battery_percent: Option<f32>,
    /// The light that is wanted.
    pub desired: Option<LightState>,
    /// The light last reported, and when.
    pub reported: Option<(LightState, Timestamp)>,
    /// How far its initialisation is, if it was ever begun.
    pub initialisation: Option<InitialisationStatus>,
}

/// A place in the feed. Shown as `run-seq`; another run of the service is another feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedPosition {
    /// The run of the service.
    pub run: u64,
    /// The number of the event in it, from 1.
    pub seq: u64,
}

impl fmt::Display for FeedPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.run, self.seq)
    }
}

/// Why a text is not a place in the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an id of an event of this feed")]
pub struct ParsePositionError;

impl FromStr for FeedPosition {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, ParsePositionError> {
        let (run, seq) = text.split_once('-').ok_or(ParsePositionError)?;
        Ok(Self {
            run: u64::from_str_radix(run, 16).map_err(|_| ParsePositionError)?,
            seq: seq.parse().map_err(|_| ParsePositionError)?,
        })
    }
}

/// All that happens, in order, kept for a while.
#[derive(Debug, Clone)]
pub struct Feed {
    shared: Arc<FeedShared>,
}

#[derive(Debug)]
struct FeedShared {
    run: u64,
    kept: Mutex<Kept>,
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    last_seq: u64,
    events: VecDeque<Arc<FeedEvent>>,
}

/// What a subscriber gets.
#[derive(Debug, Clone, PartialEq)]
pub enum FeedItem {
    /// The next event.
    Event(FeedPosition, Arc<FeedEvent>),
    /// Events are missing before this place: what was known is to be loaded anew.
    Reset(FeedPosition),
}

impl Feed {
    /// An empty feed of this run of the service.
    pub fn new(run: u64) -> Self {
        let shared = FeedShared {
            run,
            kept: Mutex::default(),
            last: watch::Sender::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Adds an event: logs it, counts it and wakes who waits.
    pub fn publish(&self, event: FeedEvent) {
        log(&event);
        let seq = {
            let mut kept = self
                .shared
                .kept
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if kept.events.len() == KEPT {
                kept.events.pop_front();
            }
            kept.events.push_back(Arc::new(event));
            kept.last_seq += 1;
            kept.last_seq
        };
        self.shared.last.send_if_modified(|last| {
            let newer = seq > *last;
            *last = seq.max(*last);
            newer
        });
    }

    /// All from now on, or all since `after`, if that is still kept.
    pub fn subscribe(&self, after: Option<FeedPosition>) -> Subscription {
        let last_seq = self
            .shared
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .last_seq;
        let (next_seq, reset) = match after {
            None => (last_seq + 1, false),
            Some(position) if position.run == self.shared.run && position.seq <= last_seq => {
                (position.seq + 1, false)
            }
            Some(_) => (last_seq + 1, true),
        };
        Subscription {
            shared: Arc::clone(&self.shared),
            last: self.shared.last.subscribe(),
            next_seq,
            reset,
        }
    }
}

/// One watcher's place in the feed.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<FeedShared>,
    last: watch::Receiver<u64>,
    next_seq: u64,
    reset: bool,
}

impl Subscription {
    /// The next event, or word that some were missed. Loses nothing when it is dropped before it is ready.
    pub async fn next(&mut self) -> FeedItem {
        loop {
            self.last.mark_unchanged();
            if let Some(item) = self.take() {
                return item;
            }
            if self.last.changed().await.is_err() {
                // The feed cannot end before its subscriptions: they hold it.
                std::future::pending::<()>().await;
            }
        }
    }

    fn take(&mut self) -> Option<FeedItem> {
        let kept = self
            .shared
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let run = self.shared.run;
        let first_kept = kept.last_seq + 1 - u64::try_from(kept.events.len()).unwrap_or(0);
        if self.reset || self.next_seq < first_kept {
            self.reset = false;
            self.next_seq = kept.last_seq + 1;
            return Some(FeedItem::Reset(FeedPosition {
                run,
                seq: kept.last_seq,
            }));
        }
        let index = usize::try_from(self.next_seq - first_kept).ok()?;
        let event = Arc::clone(kept.events.get(index)?);
        let position = FeedPosition {
            run,
            seq: self.next_seq,
        };
        self.next_seq += 1;
        Some(FeedItem::Event(position, event))
    }
}

/// The log line and the metric of an event.
fn log(event: &FeedEvent) {
    match &event.body {
        FeedBody::Downlink(record, dev_eui) => log_downlink(record, *dev_eui),
        FeedBody::Device(view) => {
            metrics::counter!("downbeat_device_changes_total").increment(1);
            tracing::debug!(device.dev_eui = %view.dev_eui, "device.changed");
        }
        FeedBody::Sync(view) => {
            let status = &view.status;
            match &status.error {
                Some(error) => {
                    tracing::warn!(device.dev_eui = %view.dev_eui, state = status.state.name(), error, "device.sync");
                }
                None => {
                    tracing::debug!(device.dev_eui = %view.dev_eui, state = status.state.name(), "device.sync");
                }
            }
        }
        FeedBody::Gateway(view) => {
            let change = view.transition.name();
            metrics::counter!("downbeat_gateway_changes_total", "change" => change).increment(1);
            let status = &view.status;
            if view.transition == GatewayTransition::FellMute {
                tracing::warn!(gateway.id = %status.gateway_id, change, "gateway.changed");
            } else {
                tracing::info!(gateway.id = %status.gateway_id, gateway.state = ?status.state, change, "gateway.changed");
            }
        }
        FeedBody::Queue(view) => {
            let (dev_eui, items) = (view.owner.dev_eui, view.items);
            if let Some(finding) = &view.finding {
                metrics::counter!("downbeat_queues_stuck_total").increment(1);
                let foreign_items = finding.foreign_items;
                tracing::warn!(device.dev_eui = %dev_eui, items, foreign_items, "queue.stuck");
            } else {
                metrics::counter!("downbeat_queues_flushed_total").increment(1);
                tracing::info!(device.dev_eui = %dev_eui, items, "queue.flushed");
            }
        }
        FeedBody::Registry(view) => {
            let change = view.change.name();
            metrics::counter!("downbeat_registry_changes_total", "change" => change).increment(1);
            tracing::debug!(device.id = %view.device_id, change, "registry.changed");
        }
        FeedBody::Job(view) => {
            metrics::counter!("downbeat_job_changes_total").increment(1);
            tracing::info!(
                job.id = %view.id,
                job.state = view.progress.state.name(),
                open = view.progress.counts.open(),
                finished = view.progress.counts.finished(),
                "job.changed"
            );
        }
    }
}

fn log_downlink(record: &Record, dev_eui: DevEui) {
    crate::measure::downlink(record);
    let downlink = &record.downlink;
    let name = step_name(&record.entry.step);
    tracing::info!(
        device.dev_eui = %dev_eui,
        downlink.id = %downlink.id,
        downlink.state = downlink.state.name(),
        attempt = record.entry.attempt,
        "device.downlink.{name}"
    );
}

/// The stable word of a step, in events, logs and metrics.
pub fn step_name(step: &Step) -> &'static str {
    match step {
        Step::Accepted => "accepted",
        Step::Waiting { .. } => "waiting",
        Step::Enqueued { .. } => "enqueued",
        Step::Transmitted { .. } => "transmitted",
        Step::NotTransmitted { .. } => "not_transmitted",
        Step::Refused { .. } => "refused",
        Step::AttemptFailed { .. } => "attempt_failed",
        Step::Verified { .. } => "verified",
        Step::Ended { state, .. } => state.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use downbeat_core::id::DeviceId;

    fn event(number: i64) -> FeedEvent {
        let view = DeviceView {
            presence: Presence::NeverSeen,
            device_id: DeviceId::from_uuid(uuid::Uuid::nil()),
            dev_eui: DevEui::from_u64(1),
            last_seen: Some(Timestamp::from_millis(number)),
            rssi_dbm: None,
            snr_db: None,
            battery_percent: None,
            desired: None,
            reported: None,
            initialisation: None,
        };
        FeedEvent {
            at: Timestamp::from_millis(number),
            tenant_id: None,
            body: FeedBody::Device(view),
        }
    }

    fn number(item: &FeedItem) -> Option<i64> {
        match item {
            FeedItem::Event(_, event) => Some(event.at.as_millis()),
            FeedItem::Reset(_) => None,
        }
    }

    #[tokio::test]
    async fn who_comes_back_gets_what_was_missed() {
        let feed = Feed::new(7);
        (1..=3).for_each(|at| feed.publish(event(at)));
        let mut back: Subscription = feed.subscribe(Some("7-1".parse().unwrap()));
        assert_eq!(number(&back.next().await), Some(2));
        assert_eq!(number(&back.next().await), Some(3));
        feed.publish(event(4));
        assert_eq!(number(&back.next().await), Some(4));
    }

    #[tokio::test]
    async fn who_comes_back_too_late_or_from_another_run_is_told_so() {
        let feed = Feed::new(7);
        (1..=i64::try_from(KEPT).unwrap() + 5).for_each(|at| feed.publish(event(at)));
        for place in ["7-2", "6-2", "7-99999999"] {
            let mut back = feed.subscribe(Some(place.parse().unwrap()));
            assert!(matches!(back.next().await, FeedItem::Reset(_)), "{place}");
            feed.publish(event(0));
            assert_eq!(number(&back.next().await), Some(0), "{place}");
        }
    }
}
