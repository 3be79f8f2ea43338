//! A device's root key.

use std::fmt;
use std::str::FromStr;

/// The `AppKey` of a `LoRaWAN` 1.0.x device (1.0.3 §6.1.1.3): 16 secret bytes. Printing it shows none of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AppKey([u8; 16]);

/// Why a text is no key. The text is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 32 hex digits")]
pub struct ParseAppKeyError;

impl AppKey {
    /// Wraps the bytes, most significant first.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The secret itself.
    pub const fn expose_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The secret as 32 lower-case hex digits, as `ChirpStack` takes it.
    pub fn expose_hex(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }

    /// Whether it is no secret: one byte repeated, bytes that count up or down, or an example of the AES standard
    /// (FIPS 197 A.1, C.1), which vendors and stacks ship as the default.
    pub fn is_default(&self) -> bool {
        const EXAMPLES: [[u8; 16]; 2] = [
            [
                0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf,
                0x4f, 0x3c,
            ],
            [
                0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd,
                0xee, 0xff,
            ],
        ];
        let step = self.0[1].wrapping_sub(self.0[0]);
        let is_regular = self
            .0
            .windows(2)
            .all(|pair| pair[1].wrapping_sub(pair[0]) == step);
        is_regular && matches!(step, 0 | 1 | 0xff) || EXAMPLES.contains(&self.0)
    }
}

impl fmt::Debug for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppKey(***)")
    }
}

impl FromStr for AppKey {
    type Err = ParseAppKeyError;

    fn from_str(text: &str) -> Result<Self, ParseAppKeyError> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ParseAppKeyError);
        }
        u128::from_str_radix(text, 16)
            .map(|number| Self(number.to_be_bytes()))
            .map_err(|_| ParseAppKeyError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_never_printed() {
        let key: AppKey = "2B7E151628AED2A6ABF7158809CF4F3C".parse().unwrap();
        assert_eq!(key.expose_hex(), "2b7e151628aed2a6abf7158809cf4f3c");
        assert!(!format!("{key:?}").contains("2b"));
        for text in [
            "",
            "2b",
            "2b7e151628aed2a6abf7158809cf4f3g",
            "+b7e151628aed2a6abf7158809cf4f3c",
        ] {
            assert_eq!(text.parse::<AppKey>(), Err(ParseAppKeyError), "{text:?}");
        }
    }

    #[test]
    fn keys_that_everybody_knows_are_recognised() {
        for text in [
            "00000000000000000000000000000000",
            "ffffffffffffffffffffffffffffffff",
            "01010101010101010101010101010101",
            "000102030405060708090a0b0c0d0e0f",
            "0f0e0d0c0b0a09080706050403020100",
            "2b7e151628aed2a6abf7158809cf4f3c",
            "00112233445566778899aabbccddeeff",
        ] {
            assert!(text.parse::<AppKey>().unwrap().is_default(), "{text}");
        }
        assert!(
            !"2b7e151628aed2a6abf7158809cf4f3d"
                .parse::<AppKey>()
                .unwrap()
                .is_default()
        );
    }
}
