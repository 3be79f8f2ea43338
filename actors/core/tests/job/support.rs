//! What the scripts are written in.

use std::time::Duration;

use downbeat_core::device::{DownlinkState, Reason};
use downbeat_core::id::{DevEui, DeviceKey, DownlinkId, NetworkServerId};
use downbeat_core::job::{
    Change, Counts, Effect, Event, Item, ItemState, Job, JobLimits, JobState, Known, PlannedTime,
    TakenUp,
};
use downbeat_core::time::Timestamp;

/// Items of these tests before the air at once.
pub(crate) const LIMITS: JobLimits = JobLimits {
    before_air_max: 2,
    in_reach_max: 4,
    out_of_reach_max: 3,
};

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000 + seconds * 1_000)
}

pub(crate) fn id(seq: u32) -> DownlinkId {
    DownlinkId::from_uuid(uuid::Uuid::from_u128(u128::from(seq) + 1))
}

pub(crate) fn item(seq: u32) -> Item {
    Item {
        seq,
        key: DeviceKey {
            server: NetworkServerId::Default,
            dev_eui: DevEui::from_u64(u64::from(seq)),
        },
        downlink_id: id(seq),
    }
}

/// A job of so many devices that was just made.
pub(crate) fn new(devices: u32) -> TakenUp {
    let mut counts = Counts::default();
    counts.add(ItemState::Waiting, u64::from(devices));
    TakenUp {
        state: JobState::Running,
        counts,
        stagger: Duration::ZERO,
        planned: PlannedTime {
            duration: Duration::from_secs(u64::from(devices)),
            waits_for_air: false,
        },
        spent: Duration::ZERO,
        attempts: 0,
        finished_at: None,
        time_to_live: Duration::from_hours(24),
        under_way: Vec::new(),
        unverified: Vec::new(),
    }
}

/// A job of so many devices whose items were read.
pub(crate) fn begun(devices: u32) -> (Job, Vec<Effect>) {
    begun_as(new(devices), devices)
}

pub(crate) fn begun_as(stored: TakenUp, devices: u32) -> (Job, Vec<Effect>) {
    let (mut job, effects) = Job::take_up(stored, LIMITS, at(0));
    assert_eq!(
        effects,
        [Effect::Read {
            after: None,
            limit: 500
        }]
    );
    let effects = job.step(at(0), Event::Read((0..devices).map(item).collect()));
    (job, effects)
}

pub(crate) fn known(state: DownlinkState, reason: Option<Reason>) -> Known {
    Known {
        state,
        reason,
        attempts: u8::from(state.is_terminal()),
    }
}

pub(crate) fn moved(seq: u32, state: DownlinkState) -> Event {
    Event::Moved {
        downlink_id: id(seq),
        known: known(state, None),
    }
}

pub(crate) fn waits(seq: u32, reason: Reason) -> Event {
    Event::Moved {
        downlink_id: id(seq),
        known: known(DownlinkState::Waiting, Some(reason)),
    }
}

/// An item that becomes something else.
pub(crate) fn stored(seq: u32, state: ItemState, attempts: u8) -> Effect {
    Effect::Store(Change {
        seq,
        state,
        reason: None,
        attempts,
    })
}

/// An item that is stored as handed over, and then is.
pub(crate) fn handed_over(seq: u32) -> [Effect; 2] {
    [
        stored(seq, ItemState::UnderWay, 0),
        Effect::HandOver(item(seq)),
    ]
}
