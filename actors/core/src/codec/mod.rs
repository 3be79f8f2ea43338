//! Codecs: command bytes out, report bytes in. One file per device type.

use serde::{Deserialize, Serialize};

use crate::id::FPort;
use crate::light::LightState;

pub mod busylight;
pub mod generic;

/// Which codec a device speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodecKind {
    /// Plenom kuando Busylight `IoT` Omega.
    KuandoBusylight,
    /// Any device: raw payloads, proven by `LoRaWAN` acknowledgement or by the gateway's tx-ack.
    Generic,
}

impl CodecKind {
    /// Every codec there is.
    pub const ALL: [Self; 2] = [Self::KuandoBusylight, Self::Generic];

    /// The name in the API and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KuandoBusylight => "kuando_busylight",
            Self::Generic => "generic",
        }
    }

    /// The codec of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The codec itself.
    pub fn codec(self) -> &'static dyn Codec {
        match self {
            Self::KuandoBusylight => &busylight::KuandoBusylight,
            Self::Generic => &generic::Generic,
        }
    }
}

/// What a caller wants of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Show this light. A state: the newest wins.
    SetLight(LightState),
    /// Change a setting of a Busylight.
    Busylight(busylight::Setting),
    /// Send these bytes as they are. Not a state: order is kept.
    Raw(Frame),
}

/// Port and bytes of a downlink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// 1 to 255.
    pub f_port: FPort,
    /// At most 242 bytes, the largest payload of any region.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The frame itself, if `ChirpStack` can be asked to send it.
    fn checked(&self) -> Result<Self, EncodeError> {
        if self.f_port.get() == 0 {
            return Err(EncodeError::Port);
        }
        if self.payload.is_empty() || self.payload.len() > MAX_PAYLOAD {
            return Err(EncodeError::PayloadLength);
        }
        Ok(self.clone())
    }
}

/// How a device proves that it received a downlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// The device answers each downlink with an uplink that tells its state and counts downlinks.
    AutoUplink,
    /// The device acknowledges a confirmed downlink. ChirpStack does not retransmit it; we do.
    LorawanAck,
    /// A gateway took the frame. Says nothing of the device.
    Transmitted,
    /// None: done when ChirpStack has it.
    None,
}

/// What a device said of itself in one uplink. Fields that a form does not carry are `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// The last light that the device accepted.
    pub light: Option<LightState>,
    /// Downlinks received since the last join, as the device counts them.
    pub downlinks_received: Option<u32>,
    /// Uplinks sent since the last join, as the device counts them.
    pub uplinks_sent: Option<u32>,
    /// Signal strength of the last downlink at the device, dBm; 0 before the first.
    pub downlink_rssi_dbm: Option<i32>,
    /// Signal to noise ratio of the last downlink at the device, raw; probably quarter dB, so decide nothing on it.
    pub downlink_snr_raw: Option<i32>,
    /// Software revision times ten: 58 is 5.8.
    pub software_rev: Option<u8>,
    /// Hardware revision times ten.
    pub hardware_rev: Option<u8>,
    /// Adaptive data rate as the device reports it.
    pub adr: Option<u8>,
    /// A byte with two published meanings (last reset reason, or high brightness), kept raw.
    pub ambiguous: Option<u8>,
    /// High brightness mode of the models that report it without ambiguity, raw.
    pub high_brightness: Option<u8>,
    /// Sound settings of the models that have them, raw.
    pub sound: Option<busylight::Sound>,
}

impl Report {
    /// What can be drawn over time, by the names of the API. Revisions and bytes of doubtful meaning are not.
    pub fn measurements(&self) -> Vec<(&'static str, f64)> {
        let light = self.light.map(|light| {
            [
                ("red", light.color.red),
                ("green", light.color.green),
                ("blue", light.color.blue),
                ("on_time", light.on_time),
                ("off_time", light.off_time),
            ]
        });
        let light = light.into_iter().flatten();
        let others = [
            ("downlinks_received", self.downlinks_received.map(f64::from)),
            ("uplinks_sent", self.uplinks_sent.map(f64::from)),
            ("downlink_rssi", self.downlink_rssi_dbm.map(f64::from)),
            ("downlink_snr_raw", self.downlink_snr_raw.map(f64::from)),
        ];
        let others = others
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        light
            .map(|(name, level)| (name, f64::from(level)))
            .chain(others)
            .collect()
    }
}

/// Why a command cannot be put into bytes for this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The device has no such ability.
    #[error("a {codec} device does not understand this command")]
    NotUnderstood {
        /// Name of the codec.
        codec: &'static str,
    },
    /// A raw payload that no region can carry.
    #[error("a payload has 1 to {max} bytes", max = MAX_PAYLOAD)]
    PayloadLength,
    /// Port 0 belongs to the network.
    #[error("a downlink goes to port 1 to 255")]
    Port,
}

/// Why bytes of a device were not understood. They are kept raw; nothing is guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeReportError {
    /// Not a port on which this device reports.
    #[error("no report is known on port {0}")]
    Port(u8),
    /// Not a length that any form of report has.
    #[error("no report of {0} bytes is known")]
    Length(usize),
}

/// The largest application payload of any region and data rate, in bytes (US915 DR4: 242).
pub const MAX_PAYLOAD: usize = 242;

/// Between what people mean and what a device type's bytes say.
pub trait Codec: Send + Sync {
    /// The bytes of a command.
    fn encode(&self, command: &Command) -> Result<Frame, EncodeError>;

    /// What an uplink says. Never panics, whatever the bytes.
    fn decode(&self, f_port: FPort, payload: &[u8]) -> Result<Report, DecodeReportError>;

    /// How this device proves a command when the caller does not say otherwise.
    fn proof(&self, command: &Command, confirmed: bool) -> Proof;

    /// How it proves a command while it is not known to answer downlinks with an uplink; `None`: as otherwise.
    fn proof_if_mute(&self, _command: &Command) -> Option<Proof> {
        None
    }

    /// The settings that a device needs after a join, in order.
    fn initialisation(&self) -> &'static [Command] {
        &[]
    }

    /// The light that a report shows once the device has applied this frame; `None` if the frame changes no light.
    fn expected_light(&self, _frame: &Frame) -> Option<LightState> {
        None
    }
}
