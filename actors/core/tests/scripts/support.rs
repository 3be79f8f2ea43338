//! A device with a stopwatch, and the words in which its effects are written.
//!
//! | word | effect |
//! |---|---|
//! | `ask turn` `hold turn` `end turn` `read queue` | as they are named |
//! | `enqueue 2` | the second call of Enqueue, whose item is item 2 |
//! | `A accepted` | a step of the timeline of downlink A |
//! | `A waits: no_gateway until 10` | `until` is left out where no time is set, or it is set by chance |
//! | `A enqueued` `A transmitted` `A presumed` | `presumed`: transmitted, as an empty queue lets one conclude |
//! | `A not transmitted` `A refused: TOO_LATE` | the item is stuck; a gateway said so |
//! | `A missed: not_confirmed` | an attempt did not do |
//! | `A verified 4>5` | by state and counter; `setting 4>5` by counter, `state` by state, `ack`, `txack`; `late` |
//! | `A unverified: not_confirmed` | the end, with its reason if it has one |

use downbeat_core::codec::busylight::light_to_wire;
use downbeat_core::codec::{CodecKind, Command, Frame};
use downbeat_core::device::{
    Device, Effect, Event, Evidence, Origin, Policy, Priority, Reason, Record, Request, Step,
};
use downbeat_core::gateway::{
    GatewayConfig, GatewaySnapshot, GatewayTable, ListedGateway, ListedState,
};
use downbeat_core::id::{DevAddr, DevEui, DownlinkId, FPort, GatewayId, QueueItemId, TenantId};
use downbeat_core::light::{Color, LightState};
use downbeat_core::network::{
    Acknowledged, DropReason, Dropped, EnqueueFailure, Joined, NetworkEvent, QueueItem, Reception,
    Refused, Transmitted, Uplink,
};
use downbeat_core::pacer::{Ask, SilentItem};
use downbeat_core::radio::{DeviceClass, Modulation};
use downbeat_core::time::Timestamp;
use uuid::Uuid;

pub(crate) const RED: LightState = LightState::steady(Color::rgb(255, 0, 0));
pub(crate) const GREEN: LightState = LightState::steady(Color::rgb(0, 255, 0));
pub(crate) const BLUE: LightState = LightState::steady(Color::rgb(0, 0, 255));
/// What the lamp shows after a join.
pub(crate) const DIM: LightState = LightState::steady(Color::rgb(0, 50, 0));

/// The session of every story's beginning.
pub(crate) const FIRST: u32 = 0x0100_0001;
/// The gateway that hears the device.
pub(crate) const NEAR: u64 = 1;

/// A device and what happened to it.
pub(crate) struct Story {
    pub(crate) device: Device,
    pub(crate) policy: Policy,
    pub(crate) gateways: GatewaySnapshot,
    /// What was told of items that were sent without a word, the last one last.
    pub(crate) silences: Vec<SilentItem>,
}

impl Story {
    /// A device that nobody has heard, and a gateway that is there.
    ///
    /// It is not initialised by itself; [`Story::initialised`] tells of those that are.
    pub(crate) fn of_unknown(mut policy: Policy) -> Self {
        policy.initialise = false;
        Self::told(policy)
    }

    /// A lamp that reported green and a count of 4 at second 0, and gets its settings after a join.
    pub(crate) fn initialised() -> Self {
        let mut story = Self::told(Policy::default());
        story.at(0.0, report(10, 4, GREEN), "");
        story
    }

    fn told(policy: Policy) -> Self {
        Self {
            device: Device::new(CodecKind::KuandoBusylight, policy.clone(), 7),
            policy,
            gateways: alive(&[NEAR]),
            silences: Vec::new(),
        }
    }

    /// At second 0 the device reported green and a count of 4.
    pub(crate) fn with(policy: Policy) -> Self {
        let mut story = Self::of_unknown(policy);
        story.at(0.0, report(10, 4, GREEN), "");
        story
    }

    /// The same with the defaults.
    pub(crate) fn new() -> Self {
        Self::with(Policy::default())
    }

    /// A device of which only bytes are known, heard at second 0.
    pub(crate) fn generic() -> Self {
        let policy = Policy::default();
        let mut story = Self {
            device: Device::new(CodecKind::Generic, policy.clone(), 7),
            policy,
            gateways: alive(&[NEAR]),
            silences: Vec::new(),
        };
        story.at(0.0, report(10, 0, GREEN), "");
        story
    }

    /// An event, and all that comes of it, separated by commas.
    #[track_caller]
    pub(crate) fn at(&mut self, second: f64, event: Event, effects: &str) {
        let told = format!("{event:?} at {second} s");
        let done = self.device.step(instant(second), event, &self.gateways);
        assert_eq!(in_words(&done), effects, "{told}");
        self.silences.extend(done.iter().filter_map(|effect| {
            if let Effect::Silence(item) = effect {
                Some(item.as_ref().clone())
            } else {
                None
            }
        }));
        let json = stored(&self.device);
        let read: Device = serde_json::from_str(&json).expect("it was stored");
        assert_eq!(stored(&read), json, "{told}");
    }

    /// The device is woken when it wants to be; tells when.
    #[track_caller]
    pub(crate) fn wakes(&mut self, effects: &str) -> f64 {
        let second = self.next_wake().expect("it wants to be woken");
        self.at(second, Event::Elapsed, effects);
        second
    }

    /// What the pacer would be told now.
    pub(crate) fn asks(&self) -> Ask {
        let tenant = TenantId::from_uuid(Uuid::nil());
        let device = DevEui::from_u64(1);
        self.device.ask(device, tenant, Priority::Interactive)
    }

    /// When the device wants to be woken.
    pub(crate) fn next_wake(&self) -> Option<f64> {
        let wake = self.device.next_wake()?;
        Some(f64::from(i32::try_from(wake.as_millis()).expect("a story of days")) / 1000.0)
    }

    /// A command is asked for, gets its turn and is in ChirpStack's queue as item `attempt`.
    #[track_caller]
    pub(crate) fn enqueue(&mut self, second: f64, name: char, request: Request, attempt: u32) {
        self.at(
            second,
            Event::Requested(request),
            &format!("{name} accepted, ask turn"),
        );
        self.at(second, Event::TurnGranted, &format!("enqueue {attempt}"));
        self.at(second, enqueued(attempt), &format!("{name} enqueued"));
    }

    /// The same, and a second later a gateway has taken it.
    #[track_caller]
    pub(crate) fn transmit(&mut self, second: f64, name: char, request: Request, attempt: u32) {
        self.enqueue(second, name, request, attempt);
        self.at(
            second + 1.0,
            txack(attempt),
            &format!("{name} transmitted, end turn"),
        );
    }

    /// The process dies and takes up its work again from what was stored.
    #[track_caller]
    pub(crate) fn crash(&mut self, second: f64, effects: &str) {
        let json = stored(&self.device);
        self.device = serde_json::from_str(&json).expect("it was stored");
        let done = self.device.restore(self.policy.clone(), instant(second));
        assert_eq!(in_words(&done), effects, "after the crash at {second} s");
    }
}

/// So many seconds after the beginning.
pub(crate) fn instant(second: f64) -> Timestamp {
    Timestamp::from_millis(0) + std::time::Duration::from_secs_f64(second)
}

fn stored(device: &Device) -> String {
    serde_json::to_string(device).expect("a device can be stored")
}

fn id_of(name: char) -> DownlinkId {
    DownlinkId::from_uuid(Uuid::from_u128(u128::from(u32::from(name))))
}

/// The item of this Enqueue.
pub(crate) fn item(attempt: u32) -> QueueItemId {
    QueueItemId::from_uuid(Uuid::from_u128(u128::from(attempt)))
}

/// A light that is to be proven.
pub(crate) fn light(name: char, light: LightState) -> Request {
    request(name, &Command::SetLight(light), false, true)
}

/// Any command.
pub(crate) fn request(name: char, command: &Command, confirmed: bool, verify: bool) -> Request {
    Request::new(
        id_of(name),
        CodecKind::KuandoBusylight,
        command,
        confirmed,
        verify,
    )
    .expect("it can be put into bytes")
}

/// Bytes that nothing is known of, for a generic device.
pub(crate) fn bytes(name: char, confirmed: bool) -> Request {
    let frame = Frame {
        f_port: FPort::for_downlink(7).expect("a port"),
        payload: vec![1, 2, 3],
    };
    Request::new(
        id_of(name),
        CodecKind::Generic,
        &Command::Raw(frame),
        confirmed,
        true,
    )
    .expect("it can be put into bytes")
}

/// The bytes of a light, as an application may send them itself.
pub(crate) fn raw(name: char, light: LightState) -> Request {
    let frame = Frame {
        f_port: FPort::for_downlink(15).expect("a port"),
        payload: light_to_wire(light).to_vec(),
    };
    request(name, &Command::Raw(frame), false, true)
}

pub(crate) fn ask(request: Request) -> Event {
    Event::Requested(request)
}

pub(crate) fn cancel(name: char) -> Event {
    Event::CancelRequested(id_of(name))
}

pub(crate) fn enqueued(attempt: u32) -> Event {
    Event::Enqueued {
        attempt,
        queue_item_id: item(attempt),
    }
}

pub(crate) fn failed(attempt: u32, failure: EnqueueFailure) -> Event {
    Event::EnqueueFailed { attempt, failure }
}

/// A gateway took the item.
pub(crate) fn txack(attempt: u32) -> Event {
    Event::Network(NetworkEvent::Transmitted(Transmitted {
        queue_item_id: Some(item(attempt)),
        f_cnt_down: attempt,
        gateway_id: Some(GatewayId::from_u64(NEAR)),
        modulation: Some(Modulation::lora_125(9)),
        frequency_hz: Some(869_525_000),
        timing: None,
    }))
}

pub(crate) fn ack(attempt: u32, acknowledged: bool) -> Event {
    Event::Network(NetworkEvent::Acknowledged(Acknowledged {
        queue_item_id: Some(item(attempt)),
        acknowledged,
        f_cnt_down: attempt,
    }))
}

pub(crate) fn refused(status: &str) -> Event {
    Event::Network(NetworkEvent::Refused(Refused {
        status: status.to_owned(),
    }))
}

pub(crate) fn dropped(attempt: u32, reason: DropReason) -> Event {
    Event::Network(NetworkEvent::Dropped(Dropped {
        queue_item_id: item(attempt),
        reason,
    }))
}

pub(crate) fn joined(dev_addr: u32) -> Event {
    Event::Network(NetworkEvent::Joined(Joined {
        deduplication_id: None,
        dev_addr: Some(DevAddr::from_u32(dev_addr)),
    }))
}

/// What the queue holds: items of ours by number with the seconds at which they expire, and items of others.
pub(crate) fn queue(ours: &[(u32, f64, LightState)], foreign: usize) -> Event {
    let ours = ours.iter().map(|(attempt, expires, light)| QueueItem {
        id: item(*attempt),
        f_port: 15,
        payload: light_to_wire(*light).to_vec(),
        confirmed: false,
        is_pending: false,
        expires_at: Some(instant(*expires)),
    });
    let others = (0..foreign).map(|number| QueueItem {
        id: QueueItemId::from_uuid(Uuid::from_u128(0xffff_0000 + number as u128)),
        f_port: 15,
        payload: vec![9; 5],
        confirmed: false,
        is_pending: false,
        expires_at: None,
    });
    Event::QueueRead(ours.chain(others).collect())
}

/// An uplink of the first session at SF7, class C.
pub(crate) fn report(f_cnt: u32, count: u32, light: LightState) -> Event {
    Event::Network(NetworkEvent::Heard(uplink(FIRST, f_cnt, count, light)))
}

/// An uplink of another session.
pub(crate) fn report_of(dev_addr: u32, f_cnt: u32, count: u32, light: LightState) -> Event {
    Event::Network(NetworkEvent::Heard(uplink(dev_addr, f_cnt, count, light)))
}

/// An uplink with everything in it that a story may want to change.
pub(crate) fn uplink(dev_addr: u32, f_cnt: u32, count: u32, light: LightState) -> Uplink {
    let mut payload = vec![0; 24];
    payload[8..12].copy_from_slice(&count.to_le_bytes());
    payload[12..16].copy_from_slice(&f_cnt.to_le_bytes());
    payload[16..21].copy_from_slice(&light_to_wire(light));
    Uplink {
        deduplication_id: None,
        dev_addr: Some(DevAddr::from_u32(dev_addr)),
        f_cnt,
        f_port: FPort::from_uplink(15),
        confirmed: false,
        payload,
        data_rate: 5,
        modulation: Some(Modulation::lora_125(7)),
        class: Some(DeviceClass::C),
        receptions: vec![Reception {
            gateway_id: GatewayId::from_u64(NEAR),
            rssi_dbm: -80,
            snr_db: 8.0,
        }],
        battery_percent: None,
        received_at: None,
    }
}

/// The short form, without a count.
pub(crate) fn short_report(f_cnt: u32, light: LightState) -> Event {
    let mut payload = f_cnt.to_le_bytes().to_vec();
    payload.extend(light_to_wire(light));
    payload.push(0);
    Event::Network(NetworkEvent::Heard(Uplink {
        payload,
        ..uplink(FIRST, f_cnt, 0, light)
    }))
}

/// A snapshot in which these gateways are alive, and others that are known are not.
pub(crate) fn alive(gateways: &[u64]) -> GatewaySnapshot {
    let mut table = GatewayTable::new(GatewayConfig::default());
    let list = (1..=3).map(|number| ListedGateway {
        gateway_id: GatewayId::from_u64(number),
        name: String::new(),
        tenant_id: None,
        state: if gateways.contains(&number) {
            ListedState::Online
        } else {
            ListedState::Offline
        },
        last_seen_at: gateways.contains(&number).then(|| instant(0.0)),
        location: None,
    });
    table.listed(instant(0.0), list.collect());
    table.snapshot(instant(0.0))
}

fn in_words(effects: &[Effect]) -> String {
    let words: Vec<String> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::AskTurn(_) => Some("ask turn".to_owned()),
            Effect::HoldTurn => Some("hold turn".to_owned()),
            Effect::EndTurn => Some("end turn".to_owned()),
            Effect::ReadQueue => Some("read queue".to_owned()),
            Effect::Enqueue(enqueue) => Some(format!("enqueue {}", enqueue.attempt)),
            Effect::Record(record) => Some(format!(
                "{} {}",
                name_of(record),
                step_in_words(&record.entry.step)
            )),
            // The stories of `silence.rs` tell of it.
            Effect::Silence(_) => None,
        })
        .collect();
    words.join(", ")
}

/// A letter; of the commands that the machine makes itself, reconciling ones are `R` and settings are `I`.
fn name_of(record: &Record) -> char {
    match record.downlink.origin {
        Origin::Api | Origin::Job(_) => {}
        Origin::Reconcile => return 'R',
        Origin::Initialisation => return 'I',
    }
    let number = record.downlink.id.as_uuid().as_u128();
    u32::try_from(number)
        .ok()
        .and_then(char::from_u32)
        .expect("a name")
}

fn step_in_words(step: &Step) -> String {
    let because = |reason: &Option<Reason>| {
        reason
            .as_ref()
            .map_or(String::new(), |reason| format!(": {}", reason.name()))
    };
    match step {
        Step::Accepted => "accepted".to_owned(),
        Step::Waiting { reason, until } => {
            // Backoffs are spread by chance.
            let exact = matches!(
                reason,
                Reason::NoGateway | Reason::ServerUnavailable | Reason::KeyRefused
            );
            let until = until.filter(|_| exact).map_or(String::new(), |until| {
                format!(" until {}", until.as_millis() / 1000)
            });
            format!("waits: {}{until}", reason.name())
        }
        Step::Enqueued { .. } => "enqueued".to_owned(),
        Step::Transmitted { presumed: true, .. } => "presumed".to_owned(),
        Step::Transmitted { .. } => "transmitted".to_owned(),
        Step::NotTransmitted { foreign_items: 0 } => "not transmitted".to_owned(),
        Step::NotTransmitted { foreign_items } => {
            format!("not transmitted, nor {foreign_items} of others")
        }
        Step::Refused { status } => format!("refused: {status}"),
        Step::AttemptFailed { reason } => format!("missed: {}", reason.name()),
        Step::Verified { evidence, late } => {
            let by = match evidence {
                Evidence::CounterAndState {
                    baseline,
                    downlinks_received,
                    ..
                } => format!("{baseline}>{downlinks_received}"),
                Evidence::Counter {
                    baseline,
                    downlinks_received,
                    ..
                } => format!("setting {baseline}>{downlinks_received}"),
                Evidence::StateOnly { .. } => "state".to_owned(),
                Evidence::LorawanAck { .. } => "ack".to_owned(),
                Evidence::Transmitted { .. } => "txack".to_owned(),
            };
            format!("verified {by}{}", if *late { " late" } else { "" })
        }
        Step::Ended { state, reason } => format!("{}{}", state.name(), because(reason)),
    }
}
