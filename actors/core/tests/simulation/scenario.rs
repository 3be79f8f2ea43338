//! What happens to a world: made from the seed before it begins, so that a change of the machine leaves it alone.

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

/// When every world begins.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);

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
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) network: NetworkConfig,
    pub(crate) policy: Policy,
    pub(crate) pacing: PacerConfig,
    pub(crate) calls: CallFaults,
    /// Probability that a step is the last one of a process.
    pub(crate) crash: f64,
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
    pub(crate) key_refused: f64,
}

/// One thing that happens to the world or is asked of us. Lamps and gateways by their index.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    Ask(Wish),
    CancelLast {
        lamp: usize,
    },
    /// A light is wanted, without an order.
    Wish {
        lamp: usize,
        light: LightState,
    },
    /// Nothing is wanted any more.
    ClearWish {
        lamp: usize,
    },
    Initialise {
        lamp: usize,
        force: bool,
    },
    ForeignItem {
        lamp: usize,
        light: LightState,
    },
    Links(LinksConfig),
    Webhooks(WebhookConfig),
    GatewayOnline {
        gateway: usize,
        online: bool,
    },
    GatewayMute {
        gateway: usize,
        mute: bool,
    },
    GatewayRefusal {
        gateway: usize,
        refusal: Option<Refusal>,
    },
    GatewayTxAck {
        gateway: usize,
        loss: f64,
        delay: Duration,
    },
    Reboot {
        lamp: usize,
    },
    Power {
        lamp: usize,
        powered: bool,
    },
    Server {
        up: bool,
    },
    /// The pool of calls is started anew.
    ServicesRestart,
    /// Nothing goes wrong any more.
    FaultsEnd,
}

/// A command.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) lamp: usize,
    pub(crate) command: Command,
    pub(crate) confirmed: bool,
    pub(crate) verify: bool,
    pub(crate) transient: bool,
    pub(crate) attempts_max: Option<u8>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) until_deadline: bool,
}

impl Scenario {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice(Random::from_seed(seed ^ 0x5ce4_a210));
        let lamps = 1 + dice.below(3);
        let gateways = 1 + dice.below(3);
        let heartbeat = Duration::from_secs(60 + 30 * dice.below(5));
        let network = dice.network(lamps, gateways, heartbeat);
        let policy = Policy {
            reconcile_pause_max: Duration::from_mins(5),
            uplink_interval: heartbeat,
            waiting_max: 6,
            ..Policy::default()
        };
        let minutes = 3 + dice.below(15);
        let faults_end = START + Duration::from_mins(minutes);
        let calls = match dice.below(3) {
            0 => CallFaults::default(),
            _ => CallFaults {
                unavailable: dice.up_to(0.1),
                refused: dice.up_to(0.1),
                slow: dice.up_to(0.3),
                answer_lost: dice.up_to(0.3),
                key_refused: 0.0,
            },
        };
        let crash = if dice.below(2) == 0 {
            0.0
        } else {
            dice.up_to(0.05)
        };
        let mut scenario = Self {
            network,
            policy,
            pacing: PacerConfig {
                held_max: if dice.below(4) == 0 { 1 } else { 80 },
                ..PacerConfig::default()
            },
            calls,
            crash,
            faults_end,
            happenings: Vec::new(),
        };
        let (lamps, gateways) = (to_index(lamps), to_index(gateways));
        scenario.ask(&mut dice, lamps);
        scenario.harm(&mut dice, lamps, gateways);
        scenario.want(&mut dice, lamps);
        scenario.happenings.push((faults_end, Happening::FaultsEnd));
        scenario
    }

    /// Commands, alone and in bursts, up to a little after the faults' end.
    fn ask(&mut self, dice: &mut Dice, lamps: usize) {
        let span = self.faults_end.since(START) + Duration::from_secs(30);
        for _ in 0..=dice.below(16) {
            let lamp = dice.index(lamps);
            let mut at = START + dice.within(span);
            for _ in 0..=dice.below(7) / 2 {
                self.happenings.push((at, Happening::Ask(dice.wish(lamp))));
                at = at + dice.within(Duration::from_secs(3));
            }
            if dice.below(4) == 0 {
                let at = at + dice.within(Duration::from_secs(15));
                self.happenings.push((at, Happening::CancelLast { lamp }));
            }
        }
    }

    /// Wishes, initialisations, deadlines and a refused key, in some of the worlds.
    fn want(&mut self, dice: &mut Dice, lamps: usize) {
        let span = self.faults_end.since(START) + Duration::from_secs(30);
        self.policy.initialise = dice.below(3) > 0;
        if self.calls.refused > 0.0 && dice.below(2) == 0 {
            self.calls.key_refused = dice.up_to(0.1);
        }
        if dice.below(3) > 0 {
            return;
        }
        for _ in 0..dice.below(8) {
            let (at, lamp) = (START + dice.within(span), dice.index(lamps));
            let happening = match dice.below(6) {
                0 => Happening::ClearWish { lamp },
                1 | 2 => Happening::Initialise {
                    lamp,
                    force: dice.below(2) == 0,
                },
                _ => Happening::Wish {
                    lamp,
                    light: LIGHTS[dice.index(4)],
                },
            };
            self.happenings.push((at, happening));
        }
        for (_, happening) in &mut self.happenings {
            if let Happening::Ask(wish) = happening {
                wish.until_deadline = dice.below(3) == 0;
                if wish.until_deadline {
                    wish.ttl = Some(Duration::from_secs(1 + dice.below(1_200)));
                }
            }
        }
    }

    /// Faults that come and go. Some worlds have many, some none.
    fn harm(&mut self, dice: &mut Dice, lamps: usize, gateways: usize) {
        let span = self.faults_end.since(START);
        if dice.below(2) == 0 {
            let links = LinksConfig {
                loss_up: dice.up_to(0.4),
                loss_down: dice.up_to(0.4),
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
        let many = [6, 12, 30][dice.index(3)];
        for number in 0..dice.below(many) {
            let at = START + dice.within(span);
            let until = at + dice.within(Duration::from_mins(2));
            let (lamp, gateway) = (dice.index(lamps), dice.index(gateways));
            let refusals = [
                Refusal::TooLate,
                Refusal::QueueFull,
                Refusal::DutyCycleOverflow,
                Refusal::CollisionPacket,
            ];
            let (begin, end) = match dice.below(11) {
                0 | 1 => (
                    Happening::GatewayOnline {
                        gateway,
                        online: false,
                    },
                    Some(Happening::GatewayOnline {
                        gateway,
                        online: true,
                    }),
                ),
                2 => (
                    Happening::GatewayTxAck {
                        gateway,
                        loss: dice.up_to(1.0),
                        delay: dice.within(Duration::from_secs(3)),
                    },
                    None,
                ),
                3 => (
                    Happening::GatewayRefusal {
                        gateway,
                        refusal: Some(refusals[dice.index(4)]),
                    },
                    Some(Happening::GatewayRefusal {
                        gateway,
                        refusal: None,
                    }),
                ),
                4 => (
                    Happening::GatewayMute {
                        gateway,
                        mute: true,
                    },
                    Some(Happening::GatewayMute {
                        gateway,
                        mute: false,
                    }),
                ),
                5 => (Happening::Reboot { lamp }, None),
                6 => (
                    Happening::Power {
                        lamp,
                        powered: false,
                    },
                    Some(Happening::Power {
                        lamp,
                        powered: true,
                    }),
                ),
                7 => (
                    Happening::Server { up: false },
                    Some(Happening::Server { up: true }),
                ),
                _ => (
                    Happening::ForeignItem {
                        lamp,
                        light: foreign_light(number),
                    },
                    (dice.below(2) == 0).then_some(Happening::ServicesRestart),
                ),
            };
            self.happenings.push((at, begin));
            if let Some(end) = end {
                self.happenings.push((until, end));
            }
        }
    }
}

/// What another application shows. Each of its own: of two equal lights nobody can tell whose it is.
fn foreign_light(number: u64) -> LightState {
    let shade = u8::try_from(number).unwrap_or(u8::MAX);
    LightState {
        color: Color::rgb(1, 2, shade),
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
        to_index(self.below(u64::try_from(len).expect("a small number")))
    }

    fn up_to(&mut self, most: f64) -> f64 {
        self.0.unit() * most
    }

    fn within(&mut self, span: Duration) -> Duration {
        Duration::from_millis(self.below(u64::try_from(span.as_millis()).expect("a short span")))
    }

    fn network(&mut self, lamps: u64, gateways: u64, heartbeat: Duration) -> NetworkConfig {
        let count = |number| u32::try_from(number).expect("a small number");
        let mut network = NetworkConfig::fleet(count(lamps), count(gateways)).with_lamps(|lamp| {
            lamp.heartbeat = heartbeat;
            lamp.spreading_factor = [7, 7, 7, 9, 10, 12][self.index(6)];
            lamp.auto_uplink = self.below(5) > 0;
            lamp.watchdog = if self.below(6) == 0 { 12 } else { 240 };
            lamp.report = match self.below(6) {
                0 => ReportForm::Bytes10,
                1 => ReportForm::Bytes25,
                _ => ReportForm::Bytes24,
            };
            lamp.commands_count = self.below(3) > 0;
            lamp.keeps_settings = true;
            if self.below(3) == 0 {
                lamp.duty_cycle = DutyCycle::UNLIMITED;
            }
            if self.below(4) == 0 {
                lamp.start = LampStart::Booting;
            }
        });
        network.server.rx2_spreading_factor = [12, 9][self.index(2)];
        network.server.flush_queue_on_activate = self.below(3) == 0;
        network
    }

    fn wish(&mut self, lamp: usize) -> Wish {
        let light = LIGHTS[self.index(4)];
        let minutes = NonZeroU8::new(2).expect("2 is not 0");
        let command = match self.below(10) {
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
        Wish {
            lamp,
            command,
            confirmed: self.below(8) == 0,
            verify: self.below(6) > 0,
            transient: self.below(8) == 0,
            attempts_max: (self.below(6) == 0).then(|| [1, 2, 3][self.index(3)]),
            ttl: (self.below(6) == 0).then(|| Duration::from_secs(1 + self.below(60))),
            until_deadline: false,
        }
    }
}
