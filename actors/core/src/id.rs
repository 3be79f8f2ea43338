//! Identifiers as newtypes, each checked once, where text enters.
//!
//! `DevEUI`s and gateway ids are shown as 16 lower-case hex digits; upper case and the separators `-`, `:` and space
//! are accepted on input. An empty text is refused (ChirpStack would take it for all zeroes).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not an EUI-64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 16 hex digits")]
pub struct ParseEuiError;

/// Reads 16 hex digits, separators allowed.
fn parse_eui64(text: &str) -> Result<u64, ParseEuiError> {
    let mut value: u64 = 0;
    let mut digits = 0;
    for character in text.chars() {
        if matches!(character, '-' | ':' | ' ') && digits > 0 {
            continue;
        }
        let digit = character.to_digit(16).ok_or(ParseEuiError)?;
        digits += 1;
        if digits > 16 {
            return Err(ParseEuiError);
        }
        value = (value << 4) | u64::from(digit);
    }
    if digits == 16 {
        Ok(value)
    } else {
        Err(ParseEuiError)
    }
}

macro_rules! eui64 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// From the number whose big-endian bytes are the identifier.
            pub const fn from_u64(value: u64) -> Self {
                Self(value)
            }

            /// The number whose big-endian bytes are the identifier.
            pub const fn as_u64(self) -> u64 {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseEuiError;

            fn from_str(text: &str) -> Result<Self, ParseEuiError> {
                parse_eui64(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:016x})"), self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("16 hex digits")
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Visitor)
            }
        }
    };
}

eui64! {
    /// A device's globally unique identifier (LoRaWAN 1.0.3 §6.1.1.2), the key of a device everywhere.
    DevEui
}
eui64! {
    /// A gateway's EUI-64 as ChirpStack names it.
    GatewayId
}
eui64! {
    /// The identifier of the join server that a device asks for (LoRaWAN 1.0.3 §6.1.1.1, there called `AppEUI`).
    JoinEui
}

impl GatewayId {
    /// Stands for a gateway that was not named: relays pass copies on without saying whose they are.
    pub const UNNAMED: Self = Self(0);

    /// Whether it names a gateway.
    pub const fn is_named(self) -> bool {
        self.0 != 0
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID that is known to name such a thing.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID itself.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::from_str(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

uuid_id! {
    /// One command to one device, for its whole life.
    DownlinkId
}
uuid_id! {
    /// One command to many devices.
    JobId
}
uuid_id! {
    /// A registered device; its `DevEui` may change, this never does.
    DeviceId
}
uuid_id! {
    /// A tenant of Downbeat.
    TenantId
}
uuid_id! {
    /// An item of ChirpStack's device queue; ChirpStack numbers them itself.
    QueueItemId
}

/// Whose data a caller may touch: every query on tenants' data takes one. Another tenant's rows do not exist for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everybody's.
    Platform,
    /// One tenant's.
    Tenant(TenantId),
}

impl Scope {
    /// The only tenant in it; `None` when that is everybody.
    pub const fn tenant(self) -> Option<TenantId> {
        match self {
            Self::Platform => None,
            Self::Tenant(id) => Some(id),
        }
    }

    /// Whether a tenant's data is in it.
    pub fn contains(self, tenant_id: TenantId) -> bool {
        self.tenant().is_none_or(|own| own == tenant_id)
    }
}

/// A network server: the one of the configuration, which serves every tenant that has none of its own, or a tenant's.
///
/// A `DevEUI` names one device of a network server; of another's it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkServerId {
    /// The configuration's.
    Default,
    /// That tenant's own.
    Tenant(TenantId),
}

impl NetworkServerId {
    /// As a UUID: its tenant's, or all zeroes.
    pub const fn as_uuid(self) -> Uuid {
        match self {
            Self::Default => Uuid::nil(),
            Self::Tenant(id) => id.as_uuid(),
        }
    }

    /// The inverse of [`NetworkServerId::as_uuid`].
    pub const fn from_uuid(uuid: Uuid) -> Self {
        if uuid.is_nil() {
            Self::Default
        } else {
            Self::Tenant(TenantId::from_uuid(uuid))
        }
    }
}

/// A device on the air: its `DevEUI`, and the network server that knows it by that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceKey {
    /// The network server.
    pub server: NetworkServerId,
    /// The device there.
    pub dev_eui: DevEui,
}

/// A LoRaWAN device address, new with every join. Shown as 8 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DevAddr(u32);

impl DevAddr {
    /// From the number whose big-endian bytes are the address.
    pub const fn from_u32(value: u32) -> Self {
        Self(value)
    }
}

impl fmt::Display for DevAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for DevAddr {
    type Err = ParseDevAddrError;

    fn from_str(text: &str) -> Result<Self, ParseDevAddrError> {
        if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ParseDevAddrError);
        }
        u32::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| ParseDevAddrError)
    }
}

/// Why a text is not a device address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 8 hex digits")]
pub struct ParseDevAddrError;

/// The port field of a frame with application payload: 1 to 255 on the way down (ChirpStack refuses 0), and 0 is
/// seen on uplinks that carry MAC commands or an acknowledgement only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FPort(u8);

impl FPort {
    /// A port for a downlink, 1 to 255.
    pub const fn for_downlink(port: u8) -> Option<Self> {
        if port == 0 { None } else { Some(Self(port)) }
    }

    /// A port as an uplink carries it, 0 included.
    pub const fn from_uplink(port: u8) -> Self {
        Self(port)
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn euis_are_read_with_separators_and_shown_in_lower_case() {
        for text in [
            "202020FF50330000",
            "20-20-20-ff-50-33-00-00",
            "20:20:20:ff:50:33:00:00",
            "202020ff 50330000",
        ] {
            assert_eq!(
                text.parse::<DevEui>().unwrap().to_string(),
                "202020ff50330000"
            );
        }
    }

    #[test]
    fn texts_that_are_no_eui_are_refused() {
        for text in [
            "",
            "-",
            "202020ff5033000",
            "202020ff503300001",
            "202020ff5033000g",
            "٢02020ff50330000",
        ] {
            assert!(text.parse::<DevEui>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn device_addresses_are_eight_digits() {
        assert_eq!(
            "005a28e6".parse::<DevAddr>().unwrap().to_string(),
            "005a28e6"
        );
        for text in ["", "5a28e6", "+05a28e6", "005a28e6f"] {
            assert!(text.parse::<DevAddr>().is_err(), "{text:?}");
        }
    }
}
