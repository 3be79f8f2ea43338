//! A synchronisation with a stopwatch, and the words in which its calls are written.

use std::collections::BTreeMap;

use downbeat_core::id::{DevEui, DeviceId, JoinEui};
use downbeat_core::sync::{
    OWNER_TAG, RemoteDevice, Sync, SyncCall, SyncEffect, SyncEvent, SyncFailure, SyncState,
    WantedDevice, Wish,
};
use downbeat_core::time::Timestamp;
use uuid::Uuid;

pub(crate) use downbeat_core::sync::SyncEvent::{Elapsed, ServerReturned, Wanted};
pub(crate) use downbeat_core::sync::SyncFailure::{
    AnswerLost, Unauthenticated, Unavailable, UnknownDevice,
};

/// The `DevEUI` of all stories.
pub(crate) const DEV_EUI: DevEui = DevEui::from_u64(0x70b3_d57e_d000_0001);
/// The registry's device.
pub(crate) const LAMP: DeviceId = DeviceId::from_uuid(Uuid::from_u128(0x11));
/// Another one of the registry, with the same `DevEUI` after the first was deleted.
pub(crate) const LATER_LAMP: DeviceId = DeviceId::from_uuid(Uuid::from_u128(0x12));
/// A device of somebody else's registry.
pub(crate) const STRANGER: DeviceId = DeviceId::from_uuid(Uuid::from_u128(0x99));
/// The application that is wanted, and another one.
pub(crate) const HALL: Uuid = Uuid::from_u128(0xa1);
pub(crate) const CELLAR: Uuid = Uuid::from_u128(0xa2);

/// A synchronisation and what it asked for last.
pub(crate) struct Story {
    pub(crate) sync: Sync,
    pub(crate) sent: Option<SyncCall>,
}

impl Story {
    pub(crate) fn new() -> Self {
        Self {
            sync: Sync::new(DEV_EUI, 7),
            sent: None,
        }
    }

    /// The lamp was wished for and created at second 0.
    pub(crate) fn of_created(wanted: &WantedDevice) -> Self {
        let mut story = Self::new();
        story.at(0.0, wish(1, wanted), "create 1");
        story.at(0.0, created(1, Ok(())), "");
        assert!(story.sync.is_known_present());
        story
    }

    /// An event, and the calls that come of it.
    #[track_caller]
    pub(crate) fn at(&mut self, second: f64, event: SyncEvent, calls: &str) {
        let told = format!("{event:?} at {second} s");
        let effects = self.sync.step(instant(second), event);
        self.check(effects, calls, &told);
    }

    /// The process is killed and started again.
    #[track_caller]
    pub(crate) fn restarts(&mut self, second: f64, calls: &str) {
        let effects = self.sync.restore(instant(second));
        self.check(effects, calls, "restart");
    }

    /// The machine is woken when it wants to be; tells when.
    #[track_caller]
    pub(crate) fn wakes(&mut self, calls: &str) -> f64 {
        let second = self.next_wake().expect("it wants to be woken");
        self.at(second, Elapsed, calls);
        second
    }

    pub(crate) fn next_wake(&self) -> Option<f64> {
        let wake = self.sync.next_wake()?;
        Some(f64::from(i32::try_from(wake.as_millis()).expect("a story of days")) / 1000.0)
    }

    /// The device that was last sent.
    #[track_caller]
    pub(crate) fn sent(&self) -> RemoteDevice {
        match &self.sent {
            Some(SyncCall::Create(device) | SyncCall::Update(device)) => (**device).clone(),
            other => panic!("{other:?} carries no device"),
        }
    }

    #[track_caller]
    pub(crate) fn is(&self, state: SyncState) {
        assert_eq!(self.sync.status().state, state, "{:?}", self.sync);
    }

    #[track_caller]
    pub(crate) fn is_done(&self) {
        self.is(SyncState::Synced);
        assert!(self.sync.is_settled());
        assert_eq!(self.sync.synced_generation(), self.sync.generation());
        assert_eq!(self.sync.next_wake(), None);
        assert_eq!(self.sync.status().error, None);
    }

    #[track_caller]
    pub(crate) fn error(&self) -> String {
        self.sync.status().error.expect("something went wrong")
    }

    #[track_caller]
    fn check(&mut self, effects: Vec<SyncEffect>, calls: &str, told: &str) {
        let words: Vec<_> = effects.iter().map(in_words).collect();
        assert_eq!(words.join(", "), calls, "{told}");
        for SyncEffect::Call { what, .. } in effects {
            self.sent = Some(what);
        }
        let json = serde_json::to_string(&self.sync).expect("it can be stored");
        let read: Sync = serde_json::from_str(&json).expect("it was stored");
        assert_eq!(read, self.sync, "{told}");
    }
}

fn in_words(SyncEffect::Call { call, what }: &SyncEffect) -> String {
    match what {
        SyncCall::Look => format!("look {call}"),
        SyncCall::Create(_) => format!("create {call}"),
        SyncCall::Update(_) => format!("update {call}"),
        SyncCall::Delete => format!("delete {call}"),
        SyncCall::SetKey { revision } => format!("key {revision} as {call}"),
    }
}

pub(crate) fn instant(second: f64) -> Timestamp {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a story's seconds are small"
    )]
    Timestamp::from_millis((second * 1000.0).round() as i64)
}

/// What the registry wants in every story, unless it says otherwise.
pub(crate) fn lamp() -> WantedDevice {
    WantedDevice {
        device_id: LAMP,
        name: "hall lamp".to_owned(),
        description: "by the door".to_owned(),
        application_id: HALL,
        device_profile_id: Uuid::from_u128(0xb1),
        join_eui: None,
        tags: texts([("room", "hall"), ("floor", "2")]),
        app_key_revision: None,
    }
}

/// The lamp as ChirpStack holds it after a Create.
pub(crate) fn remote() -> RemoteDevice {
    RemoteDevice {
        dev_eui: DEV_EUI,
        name: "hall lamp".to_owned(),
        description: "by the door".to_owned(),
        application_id: HALL,
        device_profile_id: Uuid::from_u128(0xb1),
        join_eui: JoinEui::from_u64(0),
        is_disabled: false,
        skip_fcnt_check: false,
        tags: texts([
            ("room", "hall"),
            ("floor", "2"),
            (OWNER_TAG, &LAMP.to_string()),
        ]),
        variables: BTreeMap::new(),
    }
}

/// A device that somebody else registered there, without knowing of owners.
pub(crate) fn unclaimed() -> RemoteDevice {
    RemoteDevice {
        name: "lamp 7".to_owned(),
        is_disabled: true,
        skip_fcnt_check: true,
        tags: texts([("room", "old"), ("asset", "77")]),
        variables: texts([("secret", "x")]),
        join_eui: JoinEui::from_u64(5),
        ..remote()
    }
}

pub(crate) fn texts<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

pub(crate) fn wish(generation: u64, wanted: &WantedDevice) -> SyncEvent {
    Wanted(Wish {
        generation,
        force: false,
        device: Some(wanted.clone()),
    })
}

pub(crate) fn forced(generation: u64, wanted: &WantedDevice) -> SyncEvent {
    Wanted(Wish {
        generation,
        force: true,
        device: Some(wanted.clone()),
    })
}

pub(crate) fn gone(generation: u64) -> SyncEvent {
    Wanted(Wish {
        generation,
        force: false,
        device: None,
    })
}

pub(crate) fn refused(text: &str) -> SyncFailure {
    SyncFailure::Refused(text.to_owned())
}

pub(crate) fn invalid(text: &str) -> SyncFailure {
    SyncFailure::Invalid(text.to_owned())
}

pub(crate) fn saw(call: u32, device: RemoteDevice) -> SyncEvent {
    SyncEvent::Looked {
        call,
        result: Ok(Some(device)),
    }
}

pub(crate) fn saw_nothing(call: u32) -> SyncEvent {
    SyncEvent::Looked {
        call,
        result: Ok(None),
    }
}

pub(crate) fn look_failed(call: u32, failure: SyncFailure) -> SyncEvent {
    SyncEvent::Looked {
        call,
        result: Err(failure),
    }
}

pub(crate) fn created(call: u32, result: Result<(), SyncFailure>) -> SyncEvent {
    SyncEvent::Created { call, result }
}

pub(crate) fn updated(call: u32, result: Result<(), SyncFailure>) -> SyncEvent {
    SyncEvent::Updated { call, result }
}

pub(crate) fn deleted(call: u32, result: Result<(), SyncFailure>) -> SyncEvent {
    SyncEvent::Deleted { call, result }
}

pub(crate) fn key_set(call: u32, result: Result<(), SyncFailure>) -> SyncEvent {
    SyncEvent::KeySet { call, result }
}
