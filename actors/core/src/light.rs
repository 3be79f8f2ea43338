//! What a status light shows: a colour and its blink.

use serde::{Deserialize, Serialize};

/// A colour as people write it: red, green, blue, each 0 to 255.
///
/// The wire order of the Busylight (red, **blue**, green) exists only in [`crate::codec`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
pub struct Color {
    /// 0 to 255.
    pub red: u8,
    /// 0 to 255.
    pub green: u8,
    /// 0 to 255.
    pub blue: u8,
}

impl Color {
    /// A colour of its three parts.
    pub const fn rgb(red: u8, green: u8, blue: u8) -> Self {
        Self { red, green, blue }
    }
}

impl std::fmt::Display for Color {
    /// `#rrggbb`, as in CSS.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.red, self.green, self.blue)
    }
}

/// Why a text is not a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a colour of the form #rrggbb")]
pub struct ParseColorError;

impl std::str::FromStr for Color {
    type Err = ParseColorError;

    /// Reads `#rrggbb`, in either case.
    fn from_str(text: &str) -> Result<Self, ParseColorError> {
        let digits = text.strip_prefix('#').ok_or(ParseColorError)?;
        if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ParseColorError);
        }
        let value = u32::from_str_radix(digits, 16).map_err(|_| ParseColorError)?;
        let [_, red, green, blue] = value.to_be_bytes();
        Ok(Self { red, green, blue })
    }
}

/// What a light shows: colour, and how long it is on and off in turn.
///
/// Two states are equal when all five numbers are: a light that blinks is not the same light that stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
pub struct LightState {
    /// The colour while it is on.
    pub color: Color,
    /// On time in units of 0.1 s.
    pub on_time: u8,
    /// Off time in units of 0.1 s; 0 is steady light, whatever the on time.
    pub off_time: u8,
}

impl LightState {
    /// A steady light, the conventional way to ask for it (on 255, off 0).
    pub const fn steady(color: Color) -> Self {
        Self {
            color,
            on_time: 255,
            off_time: 0,
        }
    }

    /// Dark, as a light is told to be off (all five bytes 0).
    pub const OFF: Self = Self {
        color: Color::rgb(0, 0, 0),
        on_time: 0,
        off_time: 0,
    };
}

impl std::fmt::Display for LightState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.color, self.on_time, self.off_time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_read_in_the_order_people_write_them() {
        assert_eq!("#FFa500".parse(), Ok(Color::rgb(255, 165, 0)));
        assert_eq!(Color::rgb(255, 165, 0).to_string(), "#ffa500");
        for text in ["", "ffa500", "#ffa50", "#ffa5000", "#ffa50g", "#+fa500"] {
            assert_eq!(text.parse::<Color>(), Err(ParseColorError), "{text:?}");
        }
    }
}
