//! What holds of a device's synchronisation for any sequence of events, nonsense included.

use std::collections::BTreeMap;
use std::time::Duration;

use downbeat_core::id::DeviceId;
use downbeat_core::sync::{
    OWNER_TAG, RemoteDevice, Sync, SyncCall, SyncEffect, SyncEvent, SyncFailure, SyncState,
    WantedDevice, Wish,
};
use downbeat_core::time::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::support::{AnswerLost, CELLAR, DEV_EUI, HALL, instant, remote};

#[derive(Debug, Clone)]
enum Happening {
    /// A wish so many generations after (or before) the newest one.
    Wish(i64, Option<WantedDevice>, bool),
    /// The call under way is answered in its own kind.
    Answer(Result<Option<RemoteDevice>, SyncFailure>),
    /// Some call is answered, asked for or not.
    Stray(SyncEvent),
    ServerReturned,
    /// Milliseconds, also backwards.
    TimePasses(i64),
    Wake,
    Restart,
}

fn device_ids() -> impl Strategy<Value = DeviceId> {
    (1..4_u128).prop_map(|id| DeviceId::from_uuid(Uuid::from_u128(id)))
}

fn tags() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map("[ab]", "[xy]", 0..3)
}

fn applications() -> impl Strategy<Value = Uuid> {
    prop_oneof![Just(HALL), Just(CELLAR)]
}

fn wanted() -> impl Strategy<Value = WantedDevice> {
    let revision = prop::option::of(0..3_u32);
    (device_ids(), "[no]", applications(), tags(), revision).prop_map(
        |(device_id, name, application_id, tags, app_key_revision)| WantedDevice {
            device_id,
            name,
            description: String::new(),
            application_id,
            device_profile_id: Uuid::nil(),
            join_eui: None,
            tags,
            app_key_revision,
        },
    )
}

fn remotes() -> impl Strategy<Value = RemoteDevice> {
    let owner = prop_oneof![
        Just(None),
        device_ids().prop_map(|id| Some(id.to_string())),
        Just(Some("nonsense".to_owned()))
    ];
    ("[no]", applications(), tags(), owner).prop_map(|(name, application_id, mut tags, owner)| {
        tags.extend(owner.map(|owner| (OWNER_TAG.to_owned(), owner)));
        RemoteDevice {
            name,
            application_id,
            tags,
            ..remote()
        }
    })
}

fn failures() -> impl Strategy<Value = SyncFailure> {
    prop_oneof![
        Just(SyncFailure::Unavailable),
        Just(AnswerLost),
        ".{0,400}".prop_map(SyncFailure::Refused),
        Just(SyncFailure::UnknownDevice),
        Just(SyncFailure::Unauthenticated),
        ".{0,400}".prop_map(SyncFailure::Invalid),
    ]
}

fn results() -> impl Strategy<Value = Result<Option<RemoteDevice>, SyncFailure>> {
    prop_oneof![
        3 => prop::option::of(remotes()).prop_map(Ok),
        1 => failures().prop_map(Err),
    ]
}

fn happenings() -> impl Strategy<Value = Happening> {
    prop_oneof![
        2 => (-1..3_i64, prop::option::of(wanted()), any::<bool>())
            .prop_map(|(later, wanted, force)| Happening::Wish(later, wanted, force)),
        6 => results().prop_map(Happening::Answer),
        1 => (0..40_u32, 0..5_u8, results())
            .prop_map(|(call, kind, result)| Happening::Stray(answer(call, kind, result))),
        1 => Just(Happening::ServerReturned),
        1 => (-10_000_i64..600_000).prop_map(Happening::TimePasses),
        3 => Just(Happening::Wake),
        1 => Just(Happening::Restart),
    ]
}

fn answer(call: u32, kind: u8, result: Result<Option<RemoteDevice>, SyncFailure>) -> SyncEvent {
    let done = result.clone().map(|_| ());
    match kind {
        0 => SyncEvent::Looked { call, result },
        1 => SyncEvent::Created { call, result: done },
        2 => SyncEvent::Updated { call, result: done },
        3 => SyncEvent::Deleted { call, result: done },
        _ => SyncEvent::KeySet { call, result: done },
    }
}

/// What a shell knows.
struct Shell {
    sync: Sync,
    now: Timestamp,
    wish: Option<Wish>,
    under_way: Option<(u32, SyncCall)>,
    calls: u32,
    /// A Create was called, so that something may be there.
    begun: bool,
}

impl Shell {
    fn live(&mut self, happening: Happening) -> Result<(), TestCaseError> {
        let generation = self.sync.generation();
        let mut seen = None;
        let effects = match happening {
            Happening::Wish(later, device, force) => {
                let generation = generation.saturating_add_signed(later);
                let wish = Wish {
                    generation,
                    force,
                    device,
                };
                if self
                    .wish
                    .as_ref()
                    .is_none_or(|known| known.generation < generation)
                {
                    self.wish = Some(wish.clone());
                }
                self.sync.step(self.now, SyncEvent::Wanted(wish))
            }
            Happening::Answer(result) => {
                let Some((call, what)) = self.under_way.take() else {
                    return Ok(());
                };
                let kind = match what {
                    SyncCall::Look => 0,
                    SyncCall::Create(_) => 1,
                    SyncCall::Update(_) => 2,
                    SyncCall::Delete => 3,
                    SyncCall::SetKey { .. } => 4,
                };
                if kind == 0 {
                    seen = result.clone().ok().flatten();
                }
                self.sync.step(self.now, answer(call, kind, result))
            }
            Happening::Stray(event) => {
                if self.under_way.as_ref().is_some_and(|(call, _)| {
                    matches!(&event, SyncEvent::Looked { call: number, .. } | SyncEvent::Created { call: number, .. } | SyncEvent::Updated { call: number, .. } | SyncEvent::Deleted { call: number, .. } | SyncEvent::KeySet { call: number, .. } if number == call)
                }) {
                    return Ok(());
                }
                let before = (self.sync.status(), self.sync.is_known_present());
                let effects = self.sync.step(self.now, event);
                let after = (self.sync.status(), self.sync.is_known_present());
                if effects.is_empty() {
                    prop_assert_eq!(before, after);
                }
                effects
            }
            Happening::ServerReturned => self.sync.step(self.now, SyncEvent::ServerReturned),
            Happening::TimePasses(millis) => {
                self.now = Timestamp::from_millis(self.now.as_millis() + millis);
                self.sync.step(self.now, SyncEvent::Elapsed)
            }
            Happening::Wake => {
                let Some(wake) = self.sync.next_wake() else {
                    return Ok(());
                };
                self.now = self.now.max(wake);
                let effects = self.sync.step(self.now, SyncEvent::Elapsed);
                // It does what it wanted to be woken for.
                prop_assert!(!effects.is_empty() || self.sync.is_settled());
                effects
            }
            Happening::Restart => {
                let json = serde_json::to_string(&self.sync).expect("it can be stored");
                let mut sync: Sync = serde_json::from_str(&json).expect("it was stored");
                prop_assert_eq!(&sync, &self.sync);
                self.under_way = None;
                let effects = sync.restore(self.now);
                self.sync = sync;
                effects
            }
        };
        self.check(&effects, seen.as_ref())
    }

    fn check(
        &mut self,
        effects: &[SyncEffect],
        seen: Option<&RemoteDevice>,
    ) -> Result<(), TestCaseError> {
        prop_assert!(effects.len() <= 1);
        for SyncEffect::Call { call, what } in effects {
            prop_assert!(self.under_way.is_none(), "two calls at once");
            prop_assert_eq!(*call, self.calls + 1);
            self.calls = *call;
            self.check_call(what, seen)?;
            self.under_way = Some((*call, what.clone()));
        }
        let status = self.sync.status();
        prop_assert_eq!(self.sync.next_wake(), status.next_attempt_at);
        let error = status.error.unwrap_or_default();
        prop_assert!(error.chars().count() <= 300);
        prop_assert!(!error.chars().any(char::is_control));
        if self.sync.is_settled() {
            prop_assert!(self.under_way.is_none());
            prop_assert_eq!(self.sync.next_wake(), None);
        } else {
            prop_assert!(
                self.under_way.is_some() || self.sync.next_wake().is_some(),
                "forgotten"
            );
        }
        if let Some(wake) = self.sync.next_wake() {
            prop_assert!(wake.since(self.now) <= Duration::from_secs(330));
        }
        if status.state == SyncState::Synced {
            prop_assert_eq!(self.sync.generation(), self.sync.synced_generation());
        }
        let wished = self.wish.as_ref().map_or(0, |wish| wish.generation);
        prop_assert_eq!(self.sync.generation(), wished);
        Ok(())
    }

    /// A call serves the newest wish, and what is changed was just seen to be ours to change.
    fn check_call(
        &mut self,
        what: &SyncCall,
        seen: Option<&RemoteDevice>,
    ) -> Result<(), TestCaseError> {
        let wanted = self.wish.as_ref().and_then(|wish| wish.device.as_ref());
        match what {
            SyncCall::Look => {}
            SyncCall::Create(device) => {
                let wanted = wanted.expect("created only what is wanted");
                prop_assert_eq!(&device.name, &wanted.name);
                prop_assert_eq!(device.tags[OWNER_TAG].clone(), wanted.device_id.to_string());
                self.begun = true;
            }
            SyncCall::Update(device) => {
                let wanted = wanted.expect("updated only what is wanted");
                let seen = seen.expect("updated only what was just seen");
                prop_assert_ne!(&**device, seen);
                prop_assert_eq!(&device.name, &wanted.name);
                prop_assert!(
                    wanted
                        .tags
                        .iter()
                        .all(|tag| device.tags.get(tag.0) == Some(tag.1))
                );
                self.begun = true;
            }
            SyncCall::Delete => {
                prop_assert!(wanted.is_none() && self.begun);
                let seen = seen.expect("deleted only what was just seen");
                prop_assert!(
                    seen.tags
                        .get(OWNER_TAG)
                        .is_some_and(|tag| tag != "nonsense")
                );
            }
            SyncCall::SetKey { revision } => {
                prop_assert_eq!(
                    wanted.and_then(|wanted| wanted.app_key_revision),
                    Some(*revision)
                );
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_works_on_the_newest_wish_one_call_at_a_time(
        happenings in prop::collection::vec(happenings(), 1..80),
    ) {
        let mut shell = Shell {
            sync: Sync::new(DEV_EUI, 1),
            now: instant(100_000.0),
            wish: None,
            under_way: None,
            calls: 0,
            begun: false,
        };
        for happening in happenings {
            shell.live(happening)?;
        }
    }
}
