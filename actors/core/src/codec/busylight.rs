//! Plenom kuando Busylight `IoT` Omega: a lamp that shows a colour and reports the last one it accepted.
//!
//! Section numbers (§) are those of the protocol reference, `kuando-busylight.md`. No vendor command table was at
//! hand, so each fact keeps the certainty it has there: `[V]` vendor text, `[C]` published codec, `[A]` captured
//! frames, `[N]` community notes, `[D]` deduced. What is called unverified is neither relied on nor guessed here.
//!
//! Two traps live in this file and nowhere else. Colours travel as red, **blue**, green (§2, `[V]` `[C]` `[A]`), so
//! only [`light_to_wire`] and [`light_from_wire`] know that order. Counters are unsigned (§4), although the published
//! codec reads them with signed arithmetic.

use std::num::NonZeroU8;

use serde::{Deserialize, Serialize};

use super::{Codec, Command, DecodeReportError, EncodeError, Frame, Proof, Report};
use crate::id::FPort;
use crate::light::{Color, LightState};

/// The port of commands and reports (§1, `[V]` `[C]` `[A]`).
pub const F_PORT: FPort = FPort::from_uplink(15);

/// What a lamp is told after it joined: `0601`, then `040f`.
static INITIALISATION: [Command; 2] = [
    Command::Busylight(Setting::AutomaticUplink(true)),
    Command::Busylight(Setting::KeepAlive {
        minutes: NonZeroU8::new(15).expect("15 is not 0"),
    }),
];

/// Resets the lamp, whoever sends it.
const FACTORY_RESET: [u8; 2] = Setting::FactoryReset.to_wire();

/// The codec of the Busylight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KuandoBusylight;

/// A setting of the lamp: the two-byte commands of §3 (`[A]`; keep-alive and automatic uplink also `[N]`).
///
/// Zero for the watchdog or the keep-alive interval has no known meaning and cannot be expressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// Adaptive data rate on or off. On by default.
    Adr(bool),
    /// Restart after this many uplinks without a downlink. 240 by default: 5 days at one uplink in 30 min.
    Watchdog {
        /// 1 to 255 uplinks.
        uplinks: NonZeroU8,
    },
    /// How often the lamp reports unasked. 30 min by default. A shorter interval shortens the watchdog's time (§6).
    KeepAlive {
        /// 1 to 255 minutes.
        minutes: NonZeroU8,
    },
    /// Report now.
    UplinkNow,
    /// Report after each downlink, or not. Off by default. Firmware 5.6 or later.
    AutomaticUplink(bool),
    /// Back to factory settings.
    FactoryReset,
}

impl Setting {
    /// The two bytes of §3.
    const fn to_wire(self) -> [u8; 2] {
        match self {
            Self::Adr(true) => [0x01, 0x00],
            Self::Adr(false) => [0x02, 0x00],
            Self::Watchdog { uplinks } => [0x03, uplinks.get()],
            Self::KeepAlive { minutes } => [0x04, minutes.get()],
            Self::UplinkNow => [0x05, 0x00],
            Self::AutomaticUplink(true) => [0x06, 0x01],
            Self::AutomaticUplink(false) => [0x06, 0x00],
            Self::FactoryReset => [0xaa, 0x00],
        }
    }
}

/// Sound settings as models with a loudspeaker report them (§4, 19 and 20 bytes, `[C]`), raw: units are not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sound {
    /// Which sound.
    pub number: u8,
    /// How loud.
    pub volume: u8,
    /// How long.
    pub duration: u8,
    /// Control byte; only the 20-byte form has it.
    pub control: Option<u8>,
}

/// Why the lamp last restarted, where [`Report::ambiguous`] tells it for certain.
///
/// Power-on (0x01) is missing: as high brightness mode the same byte is 1 as well (§4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetReason {
    /// The 1.2 V supply broke down.
    BrownOut1V2,
    /// The 3.3 V supply broke down.
    BrownOut3V3,
    /// The reset line.
    External,
    /// No downlink for too many uplinks ([`Setting::Watchdog`]), or the firmware hung.
    Watchdog,
    /// The firmware itself.
    Software,
    /// The backup domain.
    Backup,
}

impl ResetReason {
    /// Reads [`Report::ambiguous`] by the rule of §4: one of these values can only be a reset reason; 0, 1 and
    /// whatever is not published say nothing.
    pub const fn from_ambiguous(byte: u8) -> Option<Self> {
        match byte {
            0x02 => Some(Self::BrownOut1V2),
            0x04 => Some(Self::BrownOut3V3),
            0x10 => Some(Self::External),
            0x20 => Some(Self::Watchdog),
            0x40 => Some(Self::Software),
            0x80 => Some(Self::Backup),
            _ => None,
        }
    }
}

/// Estimate in dB of [`Report::downlink_snr_raw`], almost certainly quarter dB (§5, `[D]`). Decide nothing on it.
pub fn estimated_snr_db(raw: i32) -> f64 {
    f64::from(raw) / 4.0
}

/// A light as the lamp wants and reports it: red, blue, green, on time, off time (§2).
pub const fn light_to_wire(light: LightState) -> [u8; 5] {
    let Color { red, green, blue } = light.color;
    [red, blue, green, light.on_time, light.off_time]
}

/// The light of five bytes of a command or report (§2, §4).
pub const fn light_from_wire([red, blue, green, on_time, off_time]: [u8; 5]) -> LightState {
    LightState {
        color: Color { red, green, blue },
        on_time,
        off_time,
    }
}

impl KuandoBusylight {
    /// A light command that asks for an uplink at once by its sixth byte (§2).
    ///
    /// Never used by default: firmware 5.8 or later only `[N]`, and said to cause issues. [`Setting::AutomaticUplink`]
    /// does the same for all commands.
    pub fn encode_light_with_immediate_uplink(light: LightState) -> Frame {
        let mut payload = light_to_wire(light).to_vec();
        payload.push(1);
        Frame {
            f_port: F_PORT,
            payload,
        }
    }
}

impl Codec for KuandoBusylight {
    fn encode(&self, command: &Command) -> Result<Frame, EncodeError> {
        match command {
            Command::SetLight(light) => Ok(Frame {
                f_port: F_PORT,
                payload: light_to_wire(*light).to_vec(),
            }),
            Command::Busylight(setting) => Ok(Frame {
                f_port: F_PORT,
                payload: setting.to_wire().to_vec(),
            }),
            Command::Raw(frame) => frame.checked(),
        }
    }

    /// Reads the five forms of §4, told apart by their length.
    fn decode(&self, f_port: FPort, payload: &[u8]) -> Result<Report, DecodeReportError> {
        if f_port != F_PORT {
            return Err(DecodeReportError::Port(f_port.get()));
        }
        let mut fields = Fields(payload);
        match payload.len() {
            10 => fields.short_report(),
            19 | 20 => fields.sound_report(),
            24 | 25 => fields.full_report(),
            _ => None,
        }
        .ok_or(DecodeReportError::Length(payload.len()))
    }

    /// - A light: the automatic uplink shows it and counts it (§7).
    /// - A setting: the automatic uplink counts it, if this firmware counts settings, which is unverified (§3). So a
    ///   step of the counter proves it, and without one it ends as unverified, after repetitions that do no harm. An
    ///   acknowledgement, where one is asked for, is the better proof because it depends on nothing unverified.
    /// - A factory reset: afterwards the counters and the automatic uplink are gone, so no report can prove it and a
    ///   repetition would reset the lamp once more.
    /// - A raw frame: as the light or the setting that it is; else nothing is known of what it does. Two bytes that are
    ///   no setting of §3 are taken for one: they are counted if they are, and end as unverified if not.
    fn proof(&self, command: &Command, confirmed: bool) -> Proof {
        match command {
            Command::Busylight(_) | Command::Raw(_) if confirmed => Proof::LorawanAck,
            Command::Busylight(Setting::FactoryReset) => Proof::Transmitted,
            Command::SetLight(_) | Command::Busylight(_) => Proof::AutoUplink,
            Command::Raw(frame) if frame.payload == FACTORY_RESET => Proof::Transmitted,
            Command::Raw(frame) if self.expected_light(frame).is_some() => Proof::AutoUplink,
            Command::Raw(frame) if is_setting(frame) => Proof::AutoUplink,
            Command::Raw(_) => Proof::Transmitted,
        }
    }

    /// A raw setting would be repeated in vain on a lamp whose automatic uplink is off: there the tx-ack has to do. The
    /// one that switches it on is proven by the count in its answer, or in the next heartbeat.
    fn proof_if_mute(&self, command: &Command) -> Option<Proof> {
        match command {
            Command::Raw(frame)
                if is_setting(frame)
                    && frame.payload != Setting::AutomaticUplink(true).to_wire() =>
            {
                Some(Proof::Transmitted)
            }
            Command::Raw(_) | Command::SetLight(_) | Command::Busylight(_) => None,
        }
    }

    /// First the automatic uplink, because it proves what follows; then a report each 15 minutes (§3).
    fn initialisation(&self) -> &'static [Command] {
        &INITIALISATION
    }

    /// Five or six bytes are a light, two are a setting (§3, `[D]`).
    fn expected_light(&self, frame: &Frame) -> Option<LightState> {
        if frame.f_port != F_PORT || !matches!(frame.payload.len(), 5 | 6) {
            return None;
        }
        frame.payload.first_chunk().copied().map(light_from_wire)
    }
}

/// Two bytes are a setting (§3, `[D]`).
fn is_setting(frame: &Frame) -> bool {
    frame.f_port == F_PORT && frame.payload.len() == 2
}

/// Takes the fields of a report from the front, in the order of §4; integers are little-endian.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// 10 bytes: probably the fallback at slow data rates. No downlink counter, so it proves little (§7).
    ///
    /// | Offset | Field |
    /// |---|---|
    /// | 0–3 | uplinks sent |
    /// | 4–8 | light |
    /// | 9 | ambiguous |
    fn short_report(&mut self) -> Option<Report> {
        Some(Report {
            uplinks_sent: Some(self.u32()?),
            light: Some(self.light()?),
            ambiguous: Some(self.u8()?),
            ..Report::default()
        })
    }

    /// 19 and 20 bytes: models with a loudspeaker.
    ///
    /// The published codec takes the off time from byte 1, which belongs to the counter: evidently a slip (§4, `[D]`).
    ///
    /// | Offset | Field |
    /// |---|---|
    /// | 0–3 | downlinks received |
    /// | 4–7 | uplinks sent |
    /// | 8–12 | light |
    /// | 13, 14 | software, hardware revision |
    /// | 15, 16, 17 | sound number, volume, duration |
    /// | 18 | high brightness |
    /// | 19 | control byte, 20-byte form only |
    fn sound_report(&mut self) -> Option<Report> {
        let report = Report {
            downlinks_received: Some(self.u32()?),
            uplinks_sent: Some(self.u32()?),
            light: Some(self.light()?),
            software_rev: Some(self.u8()?),
            hardware_rev: Some(self.u8()?),
            ..Report::default()
        };
        let (number, volume, duration) = (self.u8()?, self.u8()?, self.u8()?);
        let high_brightness = Some(self.u8()?);
        let sound = Some(Sound {
            number,
            volume,
            duration,
            control: self.u8(),
        });
        Some(Report {
            high_brightness,
            sound,
            ..report
        })
    }

    /// 24 and 25 bytes.
    ///
    /// | Offset | Field |
    /// |---|---|
    /// | 0–3 | RSSI of the last downlink, signed |
    /// | 4–7 | SNR of the last downlink, signed, raw |
    /// | 8–11 | downlinks received |
    /// | 12–15 | uplinks sent |
    /// | 16–20 | light |
    /// | 21, 22 | software, hardware revision |
    /// | 23 | ADR |
    /// | 24 | ambiguous, 25-byte form only |
    fn full_report(&mut self) -> Option<Report> {
        Some(Report {
            downlink_rssi_dbm: Some(self.i32()?),
            downlink_snr_raw: Some(self.i32()?),
            downlinks_received: Some(self.u32()?),
            uplinks_sent: Some(self.u32()?),
            light: Some(self.light()?),
            software_rev: Some(self.u8()?),
            hardware_rev: Some(self.u8()?),
            adr: Some(self.u8()?),
            ambiguous: self.u8(),
            ..Report::default()
        })
    }

    fn light(&mut self) -> Option<LightState> {
        self.take().map(light_from_wire)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_le_bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}
