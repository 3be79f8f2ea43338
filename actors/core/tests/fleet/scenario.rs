//! What happens to a world: made from the seed before it begins, so that a change of the product leaves it alone.

use std::num::NonZeroU8;
use std::time::Duration;

use downbeat_core::codec::busylight::{F_PORT, Setting, light_to_wire};
use downbeat_core::codec::{Command, Frame};
use downbeat_core::device::Policy;
use downbeat_core::light::{Color, LightState};
use downbeat_core::pacer::PacerConfig;
use downbeat_core::random::Random;
use downbeat_core::time::Timestamp;
use downbeat_sim::model::Refusal;
use downbeat_sim::model::config::{
    DutyCycle, LampStart, LinksConfig, NetworkConfig, ReportForm, WebhookConfig,
};

use crate::jobs::JobCommand;

/// When every world begins.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);

/// Entries kept of each lamp's true history: what happens to a lamp while its downlink is being proven, and more.
const HISTORY_MAX: usize = 400;

/// Our lights: few, so that commands often repeat what is shown or on its way.
const LIGHTS: [LightState; 4] = [
    LightState::steady(Color::rgb(255, 0, 0)),
    LightState::steady(Color::rgb(0, 255, 0)),
    LightState::steady(Color::rgb(0, 0, 255)),
    LightState {
        color: Color::rgb(255, 0, 0),
        on_time: 5,
        off_time: 5,
    },
];

/// Everything that the seed decides beforehand.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) network: NetworkConfig,
    pub(crate) policy: Policy,
    pub(crate) heartbeat: Duration,
    pub(crate) pacing: PacerConfig,
    pub(crate) calls: CallFaults,
    pub(crate) store: StoreFaults,
    /// A message between two actors takes up to so many milliseconds.
    pub(crate) mail_delay_ms: u64,
    /// Probability that a device with nothing to do is dropped from memory after a commit.
    pub(crate) idle_dropped: f64,
    /// Until when anything goes wrong.
    pub(crate) faults_end: Timestamp,
    pub(crate) happenings: Vec<(Timestamp, Happening)>,
}

/// How ChirpStack's API answers as long as faults last.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CallFaults {
    pub(crate) unavailable: f64,
    pub(crate) refused: f64,
    pub(crate) slow: f64,
    pub(crate) answer_lost: f64,
}

/// How the database fares as long as faults last.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StoreFaults {
    pub(crate) slow: f64,
    pub(crate) fails: f64,
    /// A commit that was carried out is answered with an error.
    pub(crate) answer_lost: f64,
}

/// One thing that happens to the world or is asked of us. Devices and gateways by their index; a `u64` is decided with.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    Ask(Order),
    /// The same of all devices.
    AskAll(LightState),
    CancelLast(usize),
    /// A job for all devices of the same tenant as this one.
    Job(LightState, usize),
    OfJob(JobCommand),
    /// Nothing is wanted any more.
    ClearWish(usize),
    Initialise(usize, bool),
    ForeignItem(usize, LightState),
    Links(LinksConfig),
    Webhooks(WebhookConfig),
    GatewayOnline(usize, bool),
    AllGatewaysOnline(bool),
    GatewayMute(usize, bool),
    GatewayRefusal(usize, Option<Refusal>),
    GatewayTxAck(usize, f64, Duration),
    Reboot(usize),
    Power(usize, bool),
    Server(bool),
    /// ChirpStack takes calls and answers none.
    ServerHangs(bool),
    Database(bool),
    /// ChirpStack takes our key.
    Key(bool),
    /// A webhook that was told before is told once more, or one that cannot be true; the number decides.
    BadWebhook(usize, u64),
    /// The pool of calls is started anew.
    ServicesRestart,
    /// The process dies after so many further actions.
    Crash(u64),
    /// Milliseconds by which the process's clock is set.
    ClockIsSet(i64),
    Registry(usize, Change, u64),
    /// Others work on the same ChirpStack.
    Others(usize, u64),
    /// Nothing goes wrong any more.
    FaultsEnd,
}

/// What the registry's people do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Register,
    Rename,
    Retag,
    LookAgain,
    Delete,
}

/// A command.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) device: usize,
    pub(crate) command: Command,
    pub(crate) confirmed: bool,
    pub(crate) verify: bool,
    pub(crate) transient: bool,
    pub(crate) attempts_max: Option<u8>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) until_deadline: bool,
    /// A light is wanted, whether that needs a command or not.
    pub(crate) is_wish: bool,
    /// One of many that nobody waits for.
    pub(crate) is_job: bool,
}

/// How large a world is.
struct Size {
    devices: u64,
    gateways: u64,
    minutes: u64,
}

impl Order {
    /// What a job tells each of its devices.
    pub(crate) fn of_job(light: LightState) -> Self {
        Self {
            device: 0,
            command: Command::SetLight(light),
            confirmed: false,
            verify: true,
            transient: false,
            attempts_max: None,
            ttl: None,
            until_deadline: false,
            is_wish: false,
            is_job: true,
        }
    }
}

impl Scenario {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice(Random::from_seed(seed ^ 0x5ce4_a210));
        let size = dice.size();
        let heartbeat = Duration::from_mins([3, 10, 30, 30, 30][dice.index(5)]);
        let faults_end = START + Duration::from_mins(size.minutes);
        let is_calm = dice.below(8) == 0;
        let mut scenario = Self {
            network: dice.network(&size, heartbeat),
            policy: Policy {
                reconcile_pause_max: Duration::from_mins(5),
                uplink_interval: heartbeat,
                waiting_max: 6,
                initialise: dice.below(3) == 0,
                ..Policy::default()
            },
            heartbeat,
            pacing: PacerConfig::default(),
            calls: CallFaults::default(),
            store: StoreFaults::default(),
            mail_delay_ms: [0, 0, 5, 200][dice.index(4)],
            idle_dropped: 0.02,
            faults_end,
            happenings: Vec::new(),
        };
        scenario.ask(&mut dice, &size);
        if !is_calm {
            scenario.calls = CallFaults {
                unavailable: dice.at_times(0.1),
                refused: dice.at_times(0.1),
                slow: dice.at_times(0.3),
                answer_lost: dice.at_times(0.2),
            };
            scenario.store = StoreFaults {
                slow: dice.at_times(0.1),
                fails: dice.at_times(0.02),
                answer_lost: dice.at_times(0.02),
            };
            scenario.weather(&mut dice);
            scenario.harm(&mut dice, &size);
        }
        scenario.happenings.push((faults_end, Happening::FaultsEnd));
        scenario
    }

    /// A fleet to which nothing happens, of lamps as they come, with Downbeat's usual settings.
    pub(crate) fn usual(network: NetworkConfig, heartbeat: Duration) -> Self {
        Self {
            network: NetworkConfig {
                history_max: HISTORY_MAX,
                ..network
            },
            policy: Policy::default(),
            heartbeat,
            pacing: PacerConfig::default(),
            calls: CallFaults::default(),
            store: StoreFaults::default(),
            mail_delay_ms: 0,
            idle_dropped: 0.02,
            faults_end: START + Duration::from_hours(24),
            happenings: Vec::new(),
        }
    }

    /// Commands, alone, in bursts and for all, up to a little after the faults' end.
    fn ask(&mut self, dice: &mut Dice, size: &Size) {
        let span = self.faults_end.since(START) + Duration::from_secs(30);
        let device_hours = size.devices * size.minutes / 60;
        let wanted = 2 + device_hours * (104 + dice.below(40)) / 100;
        let mut asked = 0;
        while asked < wanted {
            let at = START + dice.within(span);
            let for_all = dice.below(40);
            if for_all == 1 && size.devices >= 3 && asked + size.devices / 3 <= wanted {
                asked += size.devices / 3;
                self.begin_job(dice, size, at);
                continue;
            }
            if for_all == 0 && asked + size.devices <= wanted {
                let light = LIGHTS[dice.index(4)];
                self.happenings.push((at, Happening::AskAll(light)));
                asked += size.devices;
                continue;
            }
            asked += self.ask_one(dice, size, at);
        }
    }

    /// Some jobs are held up for a while, some taken back.
    fn begin_job(&mut self, dice: &mut Dice, size: &Size, at: Timestamp) {
        let device = dice.index_u64(size.devices);
        let light = LIGHTS[dice.index(4)];
        self.happenings.push((at, Happening::Job(light, device)));
        let soon = at + dice.within(Duration::from_mins(3));
        let later = soon + dice.within(Duration::from_mins(15));
        let commands = match dice.below(6) {
            0 | 1 => vec![(soon, JobCommand::Pause), (later, JobCommand::Resume)],
            2 => vec![(soon, JobCommand::Pause), (later, JobCommand::Cancel)],
            3 => vec![(soon, JobCommand::Cancel)],
            _ => Vec::new(),
        };
        let commands = commands.into_iter();
        let commands = commands.map(|(at, command)| (at, Happening::OfJob(command)));
        self.happenings.extend(commands);
    }

    fn ask_one(&mut self, dice: &mut Dice, size: &Size, mut at: Timestamp) -> u64 {
        let device = dice.index_u64(size.devices);
        let burst = 1 + dice.below(7) / 3;
        for _ in 0..burst {
            let order = dice.order(device);
            self.happenings.push((at, Happening::Ask(order)));
            at = at + dice.within(Duration::from_secs(4));
        }
        if dice.below(12) == 0 {
            let at = at + dice.within(Duration::from_secs(15));
            let happening = match dice.below(6) {
                0 => Happening::ClearWish(device),
                1 => Happening::Initialise(device, dice.below(2) == 0),
                _ => Happening::CancelLast(device),
            };
            self.happenings.push((at, happening));
        }
        burst
    }

    /// What holds all the time.
    fn weather(&mut self, dice: &mut Dice) {
        if dice.below(3) > 0 {
            let most = [0.1, 0.4][dice.index(2)];
            let links = LinksConfig {
                loss_up: dice.up_to(most),
                loss_down: dice.up_to(most),
                latency: Duration::from_millis(10 + dice.below(300)),
            };
            self.happenings.push((START, Happening::Links(links)));
        }
        if dice.below(2) == 0 {
            let longest = [4_000, 20_000][dice.index(2)];
            let webhooks = WebhookConfig {
                loss: dice.up_to(0.3),
                duplicate: dice.up_to(0.2),
                reorder: dice.up_to(0.4),
                reorder_delay: Duration::from_millis(500 + dice.below(longest)),
                ..WebhookConfig::default()
            };
            self.happenings.push((START, Happening::Webhooks(webhooks)));
        }
    }

    /// Faults that come and go. Some worlds have many.
    fn harm(&mut self, dice: &mut Dice, size: &Size) {
        let span = self.faults_end.since(START);
        let per_hour = [1, 4, 12][dice.index(3)];
        for number in 0..=size.minutes * per_hour / 60 {
            let at = START + dice.within(span);
            let longest = [20, 120, 600][dice.index(3)];
            let until = at + dice.within(Duration::from_secs(longest));
            let (begin, end) = dice.fault(size, number);
            if let Happening::Others(device, decide) = begin {
                let looked_at = at + dice.within(Duration::from_mins(10));
                let look = Happening::Registry(device, Change::LookAgain, decide);
                self.happenings.push((looked_at, look));
                self.restart_lamp(dice, device, looked_at);
            }
            self.happenings.push((at, begin));
            self.happenings.extend(end.map(|end| (until, end)));
        }
        if dice.below(8) == 0 {
            self.go_dark(dice, size);
        }
        let registered = size.devices.min(1 + size.devices / 10);
        for _ in 0..dice.below(2 + registered * size.minutes / 120) {
            let at = START + dice.within(span);
            let device = dice.index_u64(size.devices);
            let changes = [
                Change::Rename,
                Change::Retag,
                Change::LookAgain,
                Change::Delete,
            ];
            let (change, decide) = (changes[dice.index(4)], dice.0.next_u64());
            let happening = Happening::Registry(device, change, decide);
            self.happenings.push((at, happening));
            if change == Change::Delete {
                let again = at + Duration::from_secs(30) + dice.within(Duration::from_mins(20));
                let happening = Happening::Registry(device, Change::Register, decide);
                self.happenings.push((again, happening));
                self.restart_lamp(dice, device, again);
            }
        }
    }

    /// All gateways are away for so long that what is in queues is stuck.
    fn go_dark(&mut self, dice: &mut Dice, size: &Size) {
        let at = START + dice.within(self.faults_end.since(START));
        let until = at + Duration::from_mins(20 + dice.below(60));
        self.happenings
            .push((at, Happening::AllGatewaysOnline(false)));
        for number in 0..=dice.below(4) {
            let device = dice.index_u64(size.devices);
            let at = at + dice.within(Duration::from_mins(5));
            let light = foreign_light(0x8000 + number);
            self.happenings
                .push((at, Happening::ForeignItem(device, light)));
        }
        self.happenings
            .push((until, Happening::AllGatewaysOnline(true)));
    }

    /// A lamp whose session ChirpStack has forgotten is silent until somebody restarts it.
    fn restart_lamp(&mut self, dice: &mut Dice, device: usize, after: Timestamp) {
        let at = after + Duration::from_mins(1) + dice.within(Duration::from_mins(5));
        self.happenings.push((at, Happening::Reboot(device)));
    }
}

/// What another application shows. Each of its own: of two equal lights nobody can tell whose it is.
fn foreign_light(number: u64) -> LightState {
    let [.., high, low] = number.to_be_bytes();
    LightState {
        color: Color::rgb(1, high, low),
        on_time: 77,
        off_time: 0,
    }
}

fn to_index(number: u64) -> usize {
    usize::try_from(number).expect("a small number")
}

struct Dice(Random);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn index(&mut self, len: usize) -> usize {
        self.index_u64(u64::try_from(len).expect("a small number"))
    }

    fn index_u64(&mut self, len: u64) -> usize {
        to_index(self.below(len))
    }

    fn up_to(&mut self, most: f64) -> f64 {
        self.0.unit() * most
    }

    /// In half of the worlds never; in the others with some probability.
    fn at_times(&mut self, most: f64) -> f64 {
        if self.below(2) == 0 {
            self.up_to(most)
        } else {
            0.0
        }
    }

    fn within(&mut self, span: Duration) -> Duration {
        Duration::from_millis(self.below(u64::try_from(span.as_millis()).expect("a short span")))
    }

    fn size(&mut self) -> Size {
        let (devices, hours) = match self.below(20) {
            0..=8 => (1 + self.below(6), 2 + self.below(5)),
            9..=16 => (10 + self.below(50), 4 + self.below(20)),
            _ => (100 + self.below(200), 3 + self.below(6)),
        };
        Size {
            devices,
            gateways: 1 + self.below(4),
            minutes: hours * 60 + self.below(60),
        }
    }

    fn network(&mut self, size: &Size, heartbeat: Duration) -> NetworkConfig {
        let count = |number| u32::try_from(number).expect("a small number");
        let far = self.below(3);
        let mut network = NetworkConfig::fleet(count(size.devices), count(size.gateways));
        network.history_max = HISTORY_MAX;
        network.lamps.iter_mut().for_each(|lamp| {
            lamp.heartbeat = heartbeat;
            lamp.spreading_factor = match far {
                0 => 7,
                1 => [7, 7, 8, 9][self.index(4)],
                _ => [7, 7, 7, 9, 10, 12][self.index(6)],
            };
            lamp.auto_uplink = self.below(12) > 0;
            lamp.watchdog = if self.below(12) == 0 { 12 } else { 240 };
            lamp.report = match self.below(8) {
                0 => ReportForm::Bytes10,
                1 => ReportForm::Bytes25,
                _ => ReportForm::Bytes24,
            };
            lamp.commands_count = self.below(3) > 0;
            if self.below(3) == 0 {
                lamp.duty_cycle = DutyCycle::UNLIMITED;
            }
            if self.below(6) == 0 {
                lamp.start = LampStart::Booting;
                lamp.registered = self.below(2) == 0;
            }
        });
        network.server.rx2_spreading_factor = [12, 9, 9][self.index(3)];
        network.server.flush_queue_on_activate = self.below(3) == 0;
        network
    }

    fn fault(&mut self, size: &Size, number: u64) -> (Happening, Option<Happening>) {
        let device = self.index_u64(size.devices);
        let gateway = self.index_u64(size.gateways);
        let refusals = [
            Refusal::TooLate,
            Refusal::QueueFull,
            Refusal::DutyCycleOverflow,
            Refusal::CollisionPacket,
        ];
        match self.below(28) {
            0..=2 => (
                Happening::GatewayOnline(gateway, false),
                Some(Happening::GatewayOnline(gateway, true)),
            ),
            3 => (
                Happening::AllGatewaysOnline(false),
                Some(Happening::AllGatewaysOnline(true)),
            ),
            4 => {
                let (loss, delay) = (self.up_to(1.0), self.within(Duration::from_secs(3)));
                let end = Happening::GatewayTxAck(gateway, 0.0, Duration::ZERO);
                (Happening::GatewayTxAck(gateway, loss, delay), Some(end))
            }
            5 => (
                Happening::GatewayRefusal(gateway, Some(refusals[self.index(4)])),
                Some(Happening::GatewayRefusal(gateway, None)),
            ),
            6 => (
                Happening::GatewayMute(gateway, true),
                Some(Happening::GatewayMute(gateway, false)),
            ),
            7..=8 => (Happening::Reboot(device), None),
            9 => (
                Happening::Power(device, false),
                Some(Happening::Power(device, true)),
            ),
            10..=11 => (Happening::Server(false), Some(Happening::Server(true))),
            12 => (
                Happening::ServerHangs(true),
                Some(Happening::ServerHangs(false)),
            ),
            13..=14 => (Happening::Database(false), Some(Happening::Database(true))),
            15..=18 => (Happening::Crash(self.below(200)), None),
            19 => (Happening::ServicesRestart, None),
            20 => {
                let longest = [1_000, 60_000, 3_600_000][self.index(3)];
                let step = i64::try_from(self.below(2 * longest + 1)).expect("some hours");
                let step = step - i64::try_from(longest).expect("an hour");
                (
                    Happening::ClockIsSet(step),
                    Some(Happening::ClockIsSet(-step)),
                )
            }
            21 => (Happening::Others(device, self.0.next_u64()), None),
            22 => (Happening::Key(false), Some(Happening::Key(true))),
            23..=25 => (Happening::BadWebhook(device, self.0.next_u64()), None),
            _ => (Happening::ForeignItem(device, foreign_light(number)), None),
        }
    }

    fn order(&mut self, device: usize) -> Order {
        let light = LIGHTS[self.index(4)];
        let minutes = NonZeroU8::new(30).expect("30 is not 0");
        let command = match self.below(12) {
            0 => Command::Raw(Frame {
                f_port: F_PORT,
                payload: light_to_wire(light).to_vec(),
            }),
            1 => Command::Busylight(
                [
                    Setting::AutomaticUplink(true),
                    Setting::UplinkNow,
                    Setting::KeepAlive { minutes },
                ][self.index(3)],
            ),
            _ => Command::SetLight(light),
        };
        let until_deadline = self.below(16) == 0;
        let ttl = match self.below(8) {
            _ if until_deadline => Some(Duration::from_secs(1 + self.below(1_200))),
            0 => Some(Duration::from_secs(1 + self.below(90))),
            _ => None,
        };
        let is_wish = matches!(command, Command::SetLight(_)) && self.below(12) == 0;
        Order {
            device,
            command,
            confirmed: !is_wish && self.below(10) == 0,
            verify: is_wish || self.below(10) > 0,
            transient: !is_wish && self.below(12) == 0,
            attempts_max: (self.below(10) == 0).then(|| [1, 2, 3][self.index(3)]),
            ttl,
            until_deadline,
            is_wish,
            is_job: false,
        }
    }
}
