//! What a simulated network is made of. Every default is a figure observed on a real ChirpStack 4.20 or the
//! lamp's documented one; what a test wants otherwise it says.

use std::collections::BTreeMap;
use std::time::Duration;

use downbeat_core::id::{DevEui, GatewayId};
use downbeat_core::light::{Color, LightState};
use uuid::Uuid;

/// `DevEUI` of the first lamp of [`NetworkConfig::fleet`]; the others count up.
pub const FIRST_DEV_EUI: u64 = 0x70b3_d5e7_5e00_0000;
/// Id of the first gateway of [`NetworkConfig::fleet`]; the others count up.
pub const FIRST_GATEWAY_ID: u64 = 0x0016_c001_f000_0000;

/// The whole simulated network.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkConfig {
    /// The lamps, each a `DevEUI` of its own.
    pub lamps: Vec<LampConfig>,
    /// The gateways, each an id of its own.
    pub gateways: Vec<GatewayConfig>,
    /// How well lamps and gateways hear each other, and how far the gateways are from the server.
    pub links: LinksConfig,
    /// ChirpStack's settings.
    pub server: ServerConfig,
    /// How faithfully the HTTP integration delivers.
    pub webhooks: WebhookConfig,
    /// Application of the lamps that are registered at the start.
    pub application_id: Uuid,
    /// Device profile of the lamps that are registered at the start.
    pub device_profile_id: Uuid,
    /// Entries kept of each lamp's history (changes, frames received); the oldest go first.
    pub history_max: usize,
    /// Lamps begin to speak, or to boot, after this.
    pub quiet: Duration,
}

impl NetworkConfig {
    /// So many default lamps and gateways, all lamps heard by all gateways.
    pub fn fleet(lamps: u32, gateways: u32) -> Self {
        let lamps =
            (0..lamps).map(|i| LampConfig::new(DevEui::from_u64(FIRST_DEV_EUI + u64::from(i))));
        let gateways = (0..gateways)
            .map(|i| GatewayConfig::new(GatewayId::from_u64(FIRST_GATEWAY_ID + u64::from(i))));
        Self {
            lamps: lamps.collect(),
            gateways: gateways.collect(),
            ..Self::default()
        }
    }

    /// The same network with each lamp changed by `change`.
    #[must_use]
    pub fn with_lamps(mut self, change: impl FnMut(&mut LampConfig)) -> Self {
        self.lamps.iter_mut().for_each(change);
        self
    }
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            lamps: Vec::new(),
            gateways: Vec::new(),
            links: LinksConfig::default(),
            server: ServerConfig::default(),
            webhooks: WebhookConfig::default(),
            application_id: Uuid::from_u128(0x1a2b_7fa4_7f26_4109_bc88_d0b5_abe7_64e0),
            device_profile_id: Uuid::from_u128(0x0c25_3e79_1ee4_44a5_9786_475c_86ec_a57f),
            history_max: 10_000,
            quiet: Duration::ZERO,
        }
    }
}

/// What a lamp does when the simulation starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LampStart {
    /// Has a session and sends its first uplink within the first 2 s.
    #[default]
    Joined,
    /// Gets power within the first 2 s and joins.
    Booting,
    /// Has no power.
    Unpowered,
}

/// Which of the published layouts a lamp reports in (kuando-busylight §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReportForm {
    /// 24 bytes, the base form.
    #[default]
    Bytes24,
    /// 24 bytes and the reason of the last reset.
    Bytes25,
    /// The short form without a count of downlinks.
    Bytes10,
}

/// How much of the time a sender may send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DutyCycle {
    /// Share of time, 0.01 for 1 %; 1.0 and more is no limit.
    pub share: f64,
    /// Airtime that may be saved up while silent; zero means a pause after each frame.
    pub burst: Duration,
}

impl DutyCycle {
    /// No limit.
    pub const UNLIMITED: Self = Self {
        share: 1.0,
        burst: Duration::ZERO,
    };
    /// EU868's 1 % with a pause after each frame, as older device stacks keep it.
    pub const ONE_PERCENT: Self = Self {
        share: 0.01,
        burst: Duration::ZERO,
    };
}

/// One lamp.
#[derive(Debug, Clone, PartialEq)]
pub struct LampConfig {
    /// Its identifier.
    pub dev_eui: DevEui,
    /// What it does at the start.
    pub start: LampStart,
    /// Whether ChirpStack knows it (with keys) at the start.
    pub registered: bool,
    /// Name in ChirpStack when registered at the start.
    pub name: String,
    /// Tags in ChirpStack when registered at the start.
    pub tags: BTreeMap<String, String>,
    /// Its root key; a join needs the same one in ChirpStack's `nwk_key`. `None` joins with any.
    pub app_key: Option<[u8; 16]>,
    /// Spreading factor of its uplinks, 7 to 12.
    pub spreading_factor: u8,
    /// Pause between heartbeats (`04 nn` changes it).
    pub heartbeat: Duration,
    /// Whether it answers each downlink with an uplink (`06 01`). Off in the firmware's factory settings.
    pub auto_uplink: bool,
    /// Uplinks without a downlink after which it restarts (`03 nn`).
    pub watchdog: u32,
    /// What it shows after a join.
    pub join_state: LightState,
    /// Layout of its reports.
    pub report: ReportForm,
    /// How much it may send.
    pub duty_cycle: DutyCycle,
    /// Whether two-byte commands count as downlinks and are answered by the automatic uplink (unverified on hardware).
    pub commands_count: bool,
    /// Whether settings of commands 01 to 06 outlive a restart (unverified on hardware).
    pub keeps_settings: bool,
}

impl LampConfig {
    /// A registered, joined lamp with the firmware's defaults.
    pub fn new(dev_eui: DevEui) -> Self {
        Self {
            dev_eui,
            start: LampStart::Joined,
            registered: true,
            name: format!("lamp-{:04}", dev_eui.as_u64() & 0xffff),
            tags: BTreeMap::new(),
            app_key: None,
            spreading_factor: 7,
            heartbeat: Duration::from_mins(30),
            auto_uplink: false,
            watchdog: 240,
            join_state: LightState::steady(Color::rgb(0, 50, 0)),
            report: ReportForm::Bytes24,
            duty_cycle: DutyCycle::ONE_PERCENT,
            commands_count: true,
            keeps_settings: true,
        }
    }
}

/// One gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayConfig {
    /// Its identifier.
    pub id: GatewayId,
    /// Name in ChirpStack.
    pub name: String,
    /// Time between its stats, from which alone ChirpStack tells whether it is online.
    pub stats_interval: Duration,
    /// Share of an hour it may send, above which it refuses (`DUTY_CYCLE_OVERFLOW`); `None` is no limit.
    pub duty_cycle: Option<f64>,
}

impl GatewayConfig {
    /// A gateway without a duty cycle limit.
    pub fn new(id: GatewayId) -> Self {
        Self {
            id,
            name: format!("gateway-{:02}", id.as_u64() & 0xff),
            stats_interval: Duration::from_secs(30),
            duty_cycle: None,
        }
    }
}

/// One lamp as one gateway hears it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// Mean received signal strength in dBm.
    pub rssi_dbm: i32,
    /// Mean signal to noise ratio in dB.
    pub snr_db: f32,
}

/// What holds for all links.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinksConfig {
    /// Probability that one gateway misses an uplink.
    pub loss_up: f64,
    /// Probability that a lamp misses a downlink.
    pub loss_down: f64,
    /// One way between gateway and server.
    pub latency: Duration,
}

impl Default for LinksConfig {
    fn default() -> Self {
        Self {
            loss_up: 0.0,
            loss_down: 0.0,
            latency: Duration::from_millis(20),
        }
    }
}

/// ChirpStack's settings (`[network]`, region and device profile).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerConfig {
    /// Pause between scheduler runs.
    pub scheduler_interval: Duration,
    /// What a run itself takes; with it a silent item is tried each 5.03 s, as observed.
    pub scheduler_run: Duration,
    /// Devices a run takes up at most.
    pub batch_size: usize,
    /// A device is not taken up again this long after a run took it.
    pub scheduler_lock: Duration,
    /// No Class C downlink this long after an uplink.
    pub class_a_lock: Duration,
    /// Between two Class C downlinks to a device.
    pub class_c_lock: Duration,
    /// How long a confirmed Class C downlink may go unanswered.
    pub class_c_timeout: Duration,
    /// How long copies of an uplink are collected.
    pub deduplication_delay: Duration,
    /// From the uplink's event to the choice of a downlink for its RX window.
    pub get_downlink_data_delay: Duration,
    /// How long a sent frame is remembered for its tx-ack.
    pub frame_memory: Duration,
    /// Link margin in dB from which gateways count as equally good.
    pub prefer_min_margin_db: u8,
    /// Spreading factor of RX2, which carries Class C; the stock EU868 region has 12.
    pub rx2_spreading_factor: u8,
    /// Whether a join empties the queue (`flush_queue_on_activate`).
    pub flush_queue_on_activate: bool,
    /// Whether the device profile asks devices for battery and margin once a session (`status` events).
    pub device_status: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            scheduler_interval: Duration::from_secs(1),
            scheduler_run: Duration::from_millis(6),
            batch_size: 100,
            scheduler_lock: Duration::from_secs(2),
            class_a_lock: Duration::from_secs(5),
            class_c_lock: Duration::from_secs(5),
            class_c_timeout: Duration::from_secs(5),
            deduplication_delay: Duration::from_millis(200),
            get_downlink_data_delay: Duration::from_millis(100),
            frame_memory: Duration::from_secs(30),
            prefer_min_margin_db: 10,
            rx2_spreading_factor: 12,
            flush_queue_on_activate: false,
            device_status: false,
        }
    }
}

impl ServerConfig {
    /// The same without its pauses: what is due is handed over and told at once.
    #[must_use]
    pub const fn without_pauses(self) -> Self {
        Self {
            scheduler_interval: Duration::ZERO,
            scheduler_run: Duration::ZERO,
            scheduler_lock: Duration::ZERO,
            class_a_lock: Duration::ZERO,
            // An item that a dark gateway got is not handed over again in the same instant.
            class_c_lock: Duration::from_millis(10),
            deduplication_delay: Duration::ZERO,
            get_downlink_data_delay: Duration::ZERO,
            ..self
        }
    }
}

/// How the HTTP integration delivers. ChirpStack itself never repeats a post and keeps no order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WebhookConfig {
    /// From the event to the receiver.
    pub latency: Duration,
    /// Probability that a post is lost.
    pub loss: f64,
    /// Probability that a post arrives twice.
    pub duplicate: f64,
    /// Probability that a post is held up by up to `reorder_delay`, so that later ones overtake it.
    pub reorder: f64,
    /// See `reorder`.
    pub reorder_delay: Duration,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(5),
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_delay: Duration::from_secs(2),
        }
    }
}
