//! What holds of a device's machine for any sequence of events, nonsense included: unknown ids, absurd counters,
//! answers to questions that were never asked, a clock that is set back, crashes in between.

mod nonsense;

use std::collections::BTreeMap;

use downbeat_core::codec::CodecKind;
use downbeat_core::device::{Device, DownlinkState, Effect, Event, Policy, Record};
use downbeat_core::gateway::GatewaySnapshot;
use downbeat_core::id::DownlinkId;
use downbeat_core::network::NetworkEvent;
use downbeat_core::time::Timestamp;
use proptest::prelude::*;

use self::nonsense::{Happening, fit, gateways, happenings};

/// Attempts on top of a downlink's own: restarts of the device and lost answers are not counted.
const CREDIT_MAX: u8 = 20;

/// What a shell knows of a device, and what it may rely on.
struct Shell {
    device: Device,
    policy: Policy,
    gateways: GatewaySnapshot,
    now: Timestamp,
    states: BTreeMap<DownlinkId, DownlinkState>,
    /// A call of Enqueue whose outcome the machine has not asked for otherwise.
    outstanding: Option<u32>,
    last_attempt: u32,
    /// What the network told, oldest first.
    told: Vec<NetworkEvent>,
}

impl Shell {
    fn new(codec: CodecKind, seed: u64) -> Self {
        let policy = Policy {
            waiting_max: 4,
            refresh_after: 3,
            ..Policy::default()
        };
        Self {
            device: Device::new(codec, policy.clone(), seed),
            policy,
            gateways: gateways(true),
            now: Timestamp::from_millis(1_795_000_000_000),
            states: BTreeMap::new(),
            outstanding: None,
            last_attempt: 0,
            told: Vec::new(),
        }
    }

    /// Lives through one happening and gives the effects.
    fn live(&mut self, happening: Happening) -> Result<Vec<Effect>, TestCaseError> {
        let effects = match happening {
            Happening::TimePasses(millis) => {
                self.now = Timestamp::from_millis(self.now.as_millis().saturating_add(millis));
                self.step(Event::Elapsed)
            }
            Happening::Wake => {
                self.now = self.device.next_wake().unwrap_or(self.now);
                self.step(Event::Elapsed)
            }
            Happening::Gateways(alive) => {
                self.gateways = gateways(alive);
                self.step(Event::GatewaysChanged)
            }
            Happening::Crash => {
                self.outstanding = None;
                let mut device: Device = read_back(&self.device)?;
                let effects = device.restore(self.policy.clone(), self.now);
                self.device = device;
                effects
            }
            Happening::Replay(before) => {
                let told = self.told.iter().rev().nth(before).cloned();
                told.map_or_else(Vec::new, |event| self.step(Event::Network(event)))
            }
            Happening::Event(mut event) => {
                let unfinished: Vec<_> = self.device.unfinished().map(|known| known.id).collect();
                fit(&mut event, self.last_attempt, &unfinished);
                self.name(&mut event);
                if let Event::Network(told) = &event {
                    self.told.push(told.clone());
                }
                self.step(event)
            }
        };
        self.check(&effects)?;
        Ok(effects)
    }

    /// An id that is over is never given again; one that is under way may come twice.
    fn name(&self, event: &mut Event) {
        if let Event::Requested(request) | Event::Wished(request) = event
            && !self.device.unfinished().any(|known| known.id == request.id)
        {
            let number = 100 + self.states.len() as u128;
            request.id = DownlinkId::from_uuid(uuid::Uuid::from_u128(number));
        }
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        match &event {
            Event::Enqueued { attempt, .. } | Event::EnqueueFailed { attempt, .. } => {
                self.outstanding = self
                    .outstanding
                    .filter(|outstanding| outstanding != attempt);
            }
            Event::ServicesRestarted => self.outstanding = None,
            Event::Requested(_)
            | Event::Wished(_)
            | Event::WishCleared
            | Event::InitialisationRequested { .. }
            | Event::KeyTold(_)
            | Event::CancelRequested(_)
            | Event::Network(_)
            | Event::TurnGranted
            | Event::QueueRead(_)
            | Event::QueueReadFailed
            | Event::GatewaysChanged
            | Event::Awaited(_)
            | Event::Silent
            | Event::Retired
            | Event::Elapsed => {}
        }
        let effects = self.device.step(self.now, event, &self.gateways);
        assert!(
            self.device.next_wake().is_none_or(|wake| wake > self.now),
            "what was looked at just now is asked for again"
        );
        effects
    }

    fn check(&mut self, effects: &[Effect]) -> Result<(), TestCaseError> {
        for effect in effects {
            match effect {
                Effect::Enqueue(enqueue) => {
                    prop_assert_eq!(self.outstanding, None, "two calls at a time");
                    self.outstanding = Some(enqueue.attempt);
                    self.last_attempt = enqueue.attempt;
                }
                // The machine finds out by itself what became of the call.
                Effect::ReadQueue => self.outstanding = None,
                Effect::Record(record) => self.check_record(record)?,
                Effect::AskTurn(_) | Effect::HoldTurn | Effect::EndTurn | Effect::Silence(_) => {}
            }
        }
        prop_assert!(self.device.unfinished().count() <= self.policy.waiting_max + 1);
        prop_assert!(
            self.device
                .unfinished()
                .all(|downlink| !downlink.state.is_terminal())
        );
        let _: Device = read_back(&self.device)?;
        Ok(())
    }

    fn check_record(&mut self, record: &Record) -> Result<(), TestCaseError> {
        let downlink = &record.downlink;
        prop_assert!(
            downlink.until_deadline
                || downlink.attempts <= downlink.attempts_max.saturating_add(CREDIT_MAX)
        );
        let before = self.states.insert(downlink.id, downlink.state);
        if let Some(before) = before.filter(|before| before.is_terminal()) {
            let late_proof =
                (before, downlink.state) == (DownlinkState::Unverified, DownlinkState::Verified);
            prop_assert!(
                before == downlink.state || late_proof,
                "{:?} after {:?}",
                downlink.state,
                before
            );
        }
        Ok(())
    }
}

/// What is stored is what runs.
fn read_back(device: &Device) -> Result<Device, TestCaseError> {
    let fail = |error: serde_json::Error| TestCaseError::fail(error.to_string());
    let json = serde_json::to_string(device).map_err(fail)?;
    let read: Device = serde_json::from_str(&json).map_err(fail)?;
    prop_assert_eq!(serde_json::to_string(&read).map_err(fail)?, json);
    Ok(read)
}

fn codec() -> impl Strategy<Value = CodecKind> {
    prop_oneof![4 => Just(CodecKind::KuandoBusylight), 1 => Just(CodecKind::Generic)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whatever_happens_the_promises_hold(
        codec in codec(),
        seed in any::<u64>(),
        happenings in happenings(),
    ) {
        let mut shell = Shell::new(codec, seed);
        for happening in happenings {
            let _ = shell.live(happening)?;
        }
    }

    #[test]
    fn the_same_events_have_the_same_effects(
        codec in codec(),
        seed in any::<u64>(),
        happenings in happenings(),
    ) {
        let (mut one, mut other) = (Shell::new(codec, seed), Shell::new(codec, seed));
        for happening in happenings {
            prop_assert_eq!(one.live(happening.clone())?, other.live(happening)?);
            prop_assert_eq!(&one.device, &other.device);
        }
    }

    /// What was told already changes nothing that counts: no light is shown that was not, no restart is noticed.
    #[test]
    fn an_uplink_that_is_told_again_at_once_is_history(
        seed in any::<u64>(),
        happenings in happenings(),
    ) {
        let mut shell = Shell::new(CodecKind::KuandoBusylight, seed);
        for happening in happenings {
            let heard = matches!(&happening, Happening::Event(Event::Network(NetworkEvent::Heard(uplink)))
                if uplink.dev_addr.is_some());
            let _ = shell.live(happening)?;
            if heard {
                let (reported, counts) = (shell.device.reported().copied(), shell.device.uplink_counts());
                let _ = shell.live(Happening::Replay(0))?;
                prop_assert_eq!(shell.device.reported().copied(), reported);
                prop_assert_eq!(shell.device.uplink_counts().heard, counts.heard);
            }
        }
    }

    /// Left alone with a server that answers nothing any more, a device comes to rest or waits for its next time.
    #[test]
    fn left_alone_every_wake_is_later_than_the_one_before(
        codec in codec(),
        seed in any::<u64>(),
        happenings in happenings(),
    ) {
        let mut shell = Shell::new(codec, seed);
        for happening in happenings {
            let _ = shell.live(happening)?;
        }
        for _ in 0..100 {
            let Some(wake) = shell.device.next_wake() else { break };
            // A restart may ask to be looked at in what is the past by now; a step cannot.
            let first = shell.now.max(wake);
            shell.now = first;
            let _ = shell.live(Happening::Event(Event::Elapsed))?;
            prop_assert!(shell.device.next_wake().is_none_or(|next| next > first));
        }
    }
}
