//! Regional rules: who may send where for how long, and how RX2 sounds before anything better is known.
//!
//! Sub-bands and duty cycles of Europe: ETSI EN 300 220-2 V3.2.1, annex B (bands K to Q), in the words of the LoRaWAN
//! community `g` to `g4`. Data rates and RX2: LoRaWAN Regional Parameters RP002-1.0.4, §2.4 (EU868), §2.5 (US915), §2.8
//! (AU915), §2.10 (AS923), §2.12 (IN865). A gateway is a sender like any other: its downlinks count.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::radio::{Direction, Modulation};

/// A region of the LoRaWAN Regional Parameters.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Region {
    /// Europe, 863 to 870 MHz.
    #[default]
    Eu868,
    /// North America, 902 to 928 MHz.
    Us915,
    /// Australia and South America, 915 to 928 MHz.
    Au915,
    /// Asia, 915 to 928 MHz.
    As923,
    /// India, 865 to 867 MHz.
    In865,
}

/// A region that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a region is one of eu868, us915, au915, as923, in865")]
pub struct ParseRegionError;

/// A piece of spectrum with one rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SubBand {
    /// Its name, unique in its region.
    pub name: &'static str,
    /// Its first frequency, Hz.
    pub from_hz: u32,
    /// The frequency after its last one, Hz.
    pub to_hz: u32,
    /// The share of an hour that one sender may send; `None`: any.
    pub duty_cycle: Option<f64>,
}

/// Over which a duty cycle is measured (EN 300 220-1 §5.4: one hour).
pub const DUTY_CYCLE_WINDOW: Duration = Duration::from_hours(1);

const fn band(name: &'static str, from_khz: u32, to_khz: u32, duty_cycle: Option<f64>) -> SubBand {
    SubBand {
        name,
        from_hz: from_khz * 1000,
        to_hz: to_khz * 1000,
        duty_cycle,
    }
}

const EU868: &[SubBand] = &[
    band("g0", 863_000, 865_000, Some(0.001)),
    band("g", 865_000, 868_000, Some(0.01)),
    band("g1", 868_000, 868_600, Some(0.01)),
    band("g2", 868_700, 869_200, Some(0.001)),
    band("g3", 869_400, 869_650, Some(0.1)),
    band("g4", 869_700, 870_000, Some(0.01)),
];
const US915: &[SubBand] = &[band("us915", 902_000, 928_000, None)];
const AU915: &[SubBand] = &[band("au915", 915_000, 928_000, None)];
const AS923: &[SubBand] = &[band("as923", 915_000, 928_000, Some(0.01))];
const IN865: &[SubBand] = &[band("in865", 865_000, 867_000, None)];

/// Where a region's frequency plan ends: what is sent there all the same is held to the strictest rule.
const ELSEWHERE: SubBand = band("elsewhere", 0, 0, Some(0.001));

const fn lora(spreading_factor: u8, bandwidth_khz: u32) -> Modulation {
    Modulation::Lora {
        spreading_factor,
        bandwidth_hz: bandwidth_khz * 1000,
    }
}

impl Region {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Eu868,
        Self::Us915,
        Self::Au915,
        Self::As923,
        Self::In865,
    ];

    /// The word in the configuration and in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eu868 => "eu868",
            Self::Us915 => "us915",
            Self::Au915 => "au915",
            Self::As923 => "as923",
            Self::In865 => "in865",
        }
    }

    /// Its sub-bands, by frequency.
    pub const fn sub_bands(self) -> &'static [SubBand] {
        match self {
            Self::Eu868 => EU868,
            Self::Us915 => US915,
            Self::Au915 => AU915,
            Self::As923 => AS923,
            Self::In865 => IN865,
        }
    }

    /// The sub-band that a frequency lies in. One outside of the plan gets a band of its own with 0.1 %.
    pub fn sub_band(self, frequency_hz: u32) -> SubBand {
        let within = |band: &&SubBand| (band.from_hz..band.to_hz).contains(&frequency_hz);
        *self.sub_bands().iter().find(within).unwrap_or(&ELSEWHERE)
    }

    /// RX2's default frequency, Hz: Class C listens there whenever it does nothing else.
    pub const fn rx2_frequency_hz(self) -> u32 {
        match self {
            Self::Eu868 => 869_525_000,
            Self::Us915 | Self::Au915 => 923_300_000,
            Self::As923 => 923_200_000,
            Self::In865 => 866_550_000,
        }
    }

    /// RX2's default data rate.
    pub const fn rx2_data_rate(self) -> u8 {
        match self {
            Self::Eu868 => 0,
            Self::Us915 | Self::Au915 => 8,
            Self::As923 | Self::In865 => 2,
        }
    }

    /// How RX2 is modulated by default.
    pub fn rx2_modulation(self) -> Modulation {
        self.modulation(self.rx2_data_rate(), Direction::Down)
            .unwrap_or(Modulation::lora_125(12))
    }

    /// The modulation of a data rate; `None` where the region has no such data rate in that direction.
    pub const fn modulation(self, data_rate: u8, direction: Direction) -> Option<Modulation> {
        let modulation = match (self, direction, data_rate) {
            (Self::Eu868 | Self::As923 | Self::In865, _, 0..=5)
            | (Self::Au915, Direction::Up, 0..=5) => lora(12 - data_rate, 125),
            (Self::Eu868 | Self::As923, _, 6) => lora(7, 250),
            (Self::Eu868 | Self::As923 | Self::In865, _, 7) => Modulation::Fsk { bitrate: 50_000 },
            (Self::Us915, Direction::Up, 0..=3) => lora(10 - data_rate, 125),
            (Self::Us915, Direction::Up, 4) | (Self::Au915, Direction::Up, 6) => lora(8, 500),
            (Self::Us915 | Self::Au915, Direction::Down, 8..=13) => lora(20 - data_rate, 500),
            _ => return None,
        };
        Some(modulation)
    }

    /// The longest that one frame may take in that direction where dwell time is limited: uplinks at 125 kHz by FCC
    /// §15.247 (US915) and by default in AU915 and AS923 (RP002 §2.8.2, §2.10.2); downlinks by default in AS923.
    pub const fn dwell_max(self, direction: Direction) -> Option<Duration> {
        match (self, direction) {
            (Self::Us915 | Self::Au915, Direction::Up) | (Self::As923, _) => {
                Some(Duration::from_millis(400))
            }
            (Self::Eu868 | Self::In865, _) | (Self::Us915 | Self::Au915, Direction::Down) => None,
        }
    }

    /// The region that a frame of Class C tells of. `None` if it says nothing against the one that is `presumed`: US915
    /// and AU915 share RX2, and a frame that answers in RX1 may lie where regions overlap.
    pub fn of_downlink(presumed: Self, frequency_hz: u32) -> Option<Self> {
        if presumed.rx2_frequency_hz() == frequency_hz {
            return None;
        }
        let by_rx2 = Self::ALL
            .into_iter()
            .find(|region| region.rx2_frequency_hz() == frequency_hz);
        let is_within = |region: Self| region.sub_band(frequency_hz) != ELSEWHERE;
        if by_rx2.is_none() && is_within(presumed) {
            return None;
        }
        by_rx2.or_else(|| Self::ALL.into_iter().find(|region| is_within(*region)))
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Region {
    type Err = ParseRegionError;

    fn from_str(text: &str) -> Result<Self, ParseRegionError> {
        let lower = text.to_ascii_lowercase();
        Self::ALL
            .into_iter()
            .find(|region| region.name() == lower)
            .ok_or(ParseRegionError)
    }
}

#[cfg(test)]
mod tests {
    use super::Direction::{Down, Up};
    use super::Region::{As923, Au915, Eu868, In865, Us915};
    use super::*;

    /// EN 300 220-2 annex B, and the frequencies that EU868 networks use.
    #[test]
    fn a_frequency_lies_in_its_sub_band() {
        for (region, frequency_hz, name, duty_cycle) in [
            (Eu868, 863_500_000, "g0", Some(0.001)),
            (Eu868, 867_100_000, "g", Some(0.01)),
            (Eu868, 868_100_000, "g1", Some(0.01)),
            (Eu868, 868_599_999, "g1", Some(0.01)),
            (Eu868, 868_600_000, "elsewhere", Some(0.001)),
            (Eu868, 868_800_000, "g2", Some(0.001)),
            (Eu868, 869_525_000, "g3", Some(0.1)),
            (Eu868, 869_649_999, "g3", Some(0.1)),
            (Eu868, 869_700_000, "g4", Some(0.01)),
            (Eu868, 923_300_000, "elsewhere", Some(0.001)),
            (Us915, 923_300_000, "us915", None),
            (Au915, 923_300_000, "au915", None),
            (As923, 923_200_000, "as923", Some(0.01)),
            (In865, 866_550_000, "in865", None),
        ] {
            let found = region.sub_band(frequency_hz);
            assert_eq!(
                (found.name, found.duty_cycle),
                (name, duty_cycle),
                "{region} {frequency_hz}"
            );
        }
    }

    #[test]
    fn sub_bands_are_in_order_and_do_not_overlap() {
        for region in Region::ALL {
            let bands = region.sub_bands();
            assert!(bands.iter().all(|band| band.from_hz < band.to_hz));
            assert!(bands.windows(2).all(|two| two[0].to_hz <= two[1].from_hz));
        }
    }

    /// RP002-1.0.4: tables of data rates, and RX2's defaults.
    #[test]
    fn data_rates_are_those_of_the_regional_parameters() {
        for (region, direction, data_rate, expected) in [
            (Eu868, Down, 0, Some(lora(12, 125))),
            (Eu868, Up, 5, Some(lora(7, 125))),
            (Eu868, Up, 6, Some(lora(7, 250))),
            (Eu868, Down, 7, Some(Modulation::Fsk { bitrate: 50_000 })),
            (Eu868, Up, 8, None),
            (Us915, Up, 0, Some(lora(10, 125))),
            (Us915, Up, 3, Some(lora(7, 125))),
            (Us915, Up, 4, Some(lora(8, 500))),
            (Us915, Up, 5, None),
            (Us915, Down, 3, None),
            (Us915, Down, 8, Some(lora(12, 500))),
            (Us915, Down, 13, Some(lora(7, 500))),
            (Au915, Up, 0, Some(lora(12, 125))),
            (Au915, Up, 6, Some(lora(8, 500))),
            (Au915, Down, 8, Some(lora(12, 500))),
            (As923, Down, 2, Some(lora(10, 125))),
            (In865, Up, 6, None),
            (In865, Down, 5, Some(lora(7, 125))),
        ] {
            assert_eq!(
                region.modulation(data_rate, direction),
                expected,
                "{region} {direction:?} DR{data_rate}"
            );
        }
        for (region, frequency_hz, modulation) in [
            (Eu868, 869_525_000, lora(12, 125)),
            (Us915, 923_300_000, lora(12, 500)),
            (Au915, 923_300_000, lora(12, 500)),
            (As923, 923_200_000, lora(10, 125)),
            (In865, 866_550_000, lora(10, 125)),
        ] {
            assert_eq!(region.rx2_frequency_hz(), frequency_hz, "{region}");
            assert_eq!(region.rx2_modulation(), modulation, "{region}");
        }
    }

    /// Downlinks of 5 bytes at RX2's default: what one colour costs in each region (AN1200.13).
    #[test]
    fn a_colour_at_rx2_takes_what_the_formula_says() {
        for (region, micros) in [
            (Eu868, 1_318_912),
            (Us915, 288_768),
            (Au915, 288_768),
            (As923, 329_728),
            (In865, 329_728),
        ] {
            let airtime = region.rx2_modulation().time_on_air(5, Down);
            assert_eq!(airtime, Duration::from_micros(micros), "{region}");
            assert!(region.dwell_max(Down).is_none_or(|max| airtime <= max));
        }
    }

    #[test]
    fn a_frame_tells_its_region() {
        for (presumed, frequency_hz, expected) in [
            (Eu868, 869_525_000, None),
            (Eu868, 868_100_000, None),
            (Eu868, 866_550_000, Some(In865)),
            (Eu868, 923_300_000, Some(Us915)),
            (Au915, 923_300_000, None),
            (Au915, 923_200_000, Some(As923)),
            (As923, 869_525_000, Some(Eu868)),
            (In865, 868_100_000, Some(Eu868)),
            (Eu868, 433_000_000, None),
        ] {
            assert_eq!(
                Region::of_downlink(presumed, frequency_hz),
                expected,
                "{presumed} {frequency_hz}"
            );
        }
    }

    #[test]
    fn a_region_is_read_in_any_case() {
        assert_eq!("EU868".parse(), Ok(Eu868));
        assert_eq!("mars".parse::<Region>(), Err(ParseRegionError));
    }
}
