//! The fields that all versions and encodings share, checked.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use chrono::DateTime;
use downbeat_core::id::{DevAddr, DevEui, FPort, GatewayId, QueueItemId};
use downbeat_core::network::{
    DropReason, Dropped, Location, Logged, NetworkEvent, Reception, Refused, Timing,
};
use downbeat_core::radio::{DeviceClass, Modulation};
use downbeat_core::time::Timestamp;
use uuid::Uuid;

use super::{ParseWebhookError, RECEPTIONS_MAX};

/// The largest payload that a LoRaWAN frame can carry is 242 bytes; a byte counts to 255.
const PAYLOAD_MAX: usize = 255;

/// Texts of ChirpStack that are kept (names, descriptions, status words) are cut after this many bytes.
const TEXT_MAX: usize = 500;

/// Protobuf's JSON mapping writes padding; not every relay does.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What is wrong with a field.
pub(super) const fn wrong(field: &'static str, problem: &'static str) -> ParseWebhookError {
    ParseWebhookError::Field { field, problem }
}

/// A `DevEUI` in hex or, as Protobuf's JSON mapping writes bytes, in base64.
pub(super) fn dev_eui(field: &'static str, text: &str) -> Result<DevEui, ParseWebhookError> {
    let dev_eui = text.parse().ok();
    dev_eui
        .or_else(|| base64_bytes(text).map(|bytes| DevEui::from_u64(u64::from_be_bytes(bytes))))
        .ok_or(wrong(field, "must be 16 hex digits, or 8 bytes in base64"))
}

/// A gateway's id, written like a `DevEUI`.
pub(super) fn gateway_id(field: &'static str, text: &str) -> Result<GatewayId, ParseWebhookError> {
    let gateway_id = text.parse().ok();
    gateway_id
        .or_else(|| base64_bytes(text).map(|bytes| GatewayId::from_u64(u64::from_be_bytes(bytes))))
        .ok_or(wrong(field, "must be 16 hex digits, or 8 bytes in base64"))
}

/// Exactly so many bytes in base64.
fn base64_bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    // Texts of other lengths are not even tried: no id makes a decoder work for a megabyte.
    if text.len() > N * 2 {
        return None;
    }
    BASE64.decode(text).ok()?.try_into().ok()
}

/// An identifier that may be left empty.
pub(super) fn uuid(field: &'static str, text: &str) -> Result<Option<Uuid>, ParseWebhookError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| wrong(field, "must be a UUID"))
}

pub(super) fn queue_item_id(text: &str) -> Result<Option<QueueItemId>, ParseWebhookError> {
    Ok(uuid("queueItemId", text)?.map(QueueItemId::from_uuid))
}

pub(super) fn dev_addr(text: &str) -> Result<Option<DevAddr>, ParseWebhookError> {
    if text.is_empty() {
        return Ok(None);
    }
    let dev_addr = text.parse().ok();
    dev_addr
        .or_else(|| base64_bytes(text).map(|bytes| DevAddr::from_u32(u32::from_be_bytes(bytes))))
        .map(Some)
        .ok_or(wrong(
            "devAddr",
            "must be 8 hex digits, or 4 bytes in base64",
        ))
}

pub(super) fn f_port(port: u32) -> Result<FPort, ParseWebhookError> {
    u8::try_from(port)
        .map(FPort::from_uplink)
        .map_err(|_| wrong("fPort", "must be 0 to 255"))
}

pub(super) fn data_rate(data_rate: u32) -> Result<u8, ParseWebhookError> {
    u8::try_from(data_rate).map_err(|_| wrong("dr", "must be 0 to 255"))
}

pub(super) fn payload_base64(text: &str) -> Result<Vec<u8>, ParseWebhookError> {
    let bytes = BASE64
        .decode(text)
        .map_err(|_| wrong("data", "must be base64"))?;
    payload(bytes)
}

pub(super) fn payload(bytes: Vec<u8>) -> Result<Vec<u8>, ParseWebhookError> {
    if bytes.len() > PAYLOAD_MAX {
        return Err(wrong("data", "is longer than a LoRaWAN frame"));
    }
    Ok(bytes)
}

/// A gateway's or ChirpStack's clock. Nothing hangs on it, so one that cannot be read is left out.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|time| time.to_utc().into())
}

/// The class in force; words that are not known say nothing.
pub(super) fn class(word: &str) -> Option<DeviceClass> {
    match word {
        "CLASS_A" => Some(DeviceClass::A),
        "CLASS_B" => Some(DeviceClass::B),
        "CLASS_C" => Some(DeviceClass::C),
        _ => None,
    }
}

/// A LoRa modulation; `None` where a part is absent, as with a server that does not send it.
pub(super) fn lora(
    spreading_factor: u32,
    bandwidth_hz: u32,
) -> Result<Option<Modulation>, ParseWebhookError> {
    const FIELD: &str = "txInfo.modulation.lora.spreadingFactor";
    match u8::try_from(spreading_factor) {
        Ok(0) => Ok(None),
        Ok(_) if bandwidth_hz == 0 => Ok(None),
        Ok(spreading_factor @ 5..=12) => Ok(Some(Modulation::Lora {
            spreading_factor,
            bandwidth_hz,
        })),
        Ok(_) | Err(_) => Err(wrong(FIELD, "must be 5 to 12")),
    }
}

/// A bandwidth in Hz of one in kHz, as v3 gives it. No LoRa bandwidth in Hz is below 7.8 kHz.
pub(super) fn bandwidth_hz(bandwidth: u32) -> u32 {
    if bandwidth < 7_800 {
        bandwidth * 1_000
    } else {
        bandwidth
    }
}

/// When a downlink is sent, by what a message names; `None` where that is nothing or not one thing.
pub(super) fn timing(immediately: bool, delay: bool, gps_epoch: bool) -> Option<Timing> {
    match (immediately, delay, gps_epoch) {
        (true, false, false) => Some(Timing::Immediately),
        (false, true, false) => Some(Timing::AfterUplink),
        (false, false, true) => Some(Timing::AtGpsTime),
        _ => None,
    }
}

pub(super) fn fsk(bitrate: u32) -> Option<Modulation> {
    (bitrate > 0).then_some(Modulation::Fsk { bitrate })
}

/// A signal to noise ratio, as a number that can be stored.
pub(super) fn snr_db(snr: f32) -> Result<f32, ParseWebhookError> {
    if snr.is_finite() {
        Ok(snr)
    } else {
        Err(wrong("rxInfo.snr", "must be a finite number"))
    }
}

/// Each gateway once, with the copy it heard best; best first; at most [`RECEPTIONS_MAX`].
pub(super) fn receptions(mut copies: Vec<Reception>) -> Vec<Reception> {
    copies.sort_by(|one, other| {
        (other.rssi_dbm.cmp(&one.rssi_dbm)).then(other.snr_db.total_cmp(&one.snr_db))
    });
    let mut seen = std::collections::BTreeSet::new();
    copies.retain(|copy| seen.len() < RECEPTIONS_MAX && seen.insert(copy.gateway_id));
    copies
}

/// The battery's charge in percent; `None` where the device has no battery or cannot tell.
pub(super) fn battery_percent(
    percent: f32,
    unavailable: bool,
    external_power: bool,
) -> Result<Option<f32>, ParseWebhookError> {
    if unavailable || external_power {
        return Ok(None);
    }
    if (0.0..=100.0).contains(&percent) {
        Ok(Some(percent))
    } else {
        Err(wrong("batteryLevel", "must be 0 to 100"))
    }
}

/// Whether somebody told that the device is there; `None` where neither field says anything.
pub(super) fn presence(
    online: Option<bool>,
    status: &str,
) -> Result<Option<bool>, ParseWebhookError> {
    match (online, status) {
        (Some(online), _) => Ok(Some(online)),
        (None, "") => Ok(None),
        (None, word) if word.eq_ignore_ascii_case("online") => Ok(Some(true)),
        (None, word) if word.eq_ignore_ascii_case("offline") => Ok(Some(false)),
        (None, _) => Err(wrong("status", "must be online or offline")),
    }
}

/// The charge in percent of a LoRaWAN `DevStatusAns` (LoRaWAN 1.0.3 §5.5): 0 is external power, 255 unknown, and between
/// them 1 is empty and 254 full, which ChirpStack counts as `battery / 254`.
pub(super) fn battery_of_status(battery: u8) -> Option<f32> {
    match battery {
        0 | 255 => None,
        level => Some(f32::from(level) / 254.0 * 100.0),
    }
}

pub(super) fn location(
    latitude: f64,
    longitude: f64,
    altitude: f64,
) -> Result<Location, ParseWebhookError> {
    if !(-90.0..=90.0).contains(&latitude) {
        return Err(wrong("location.latitude", "must be -90 to 90"));
    }
    if !(-180.0..=180.0).contains(&longitude) {
        return Err(wrong("location.longitude", "must be -180 to 180"));
    }
    if !altitude.is_finite() {
        return Err(wrong("location.altitude", "must be a finite number"));
    }
    Ok(Location {
        latitude,
        longitude,
        altitude,
    })
}

/// A line of the log: the few codes that concern a downlink become what they mean.
pub(super) fn log(
    level: &str,
    code: &str,
    description: &str,
    queue_item_id: Option<&str>,
) -> NetworkEvent {
    if code == "DOWNLINK_GATEWAY" {
        return NetworkEvent::Refused(Refused {
            status: text(description),
        });
    }
    let reason = match code {
        "EXPIRED" => Some(DropReason::Expired),
        "DOWNLINK_PAYLOAD_SIZE" => Some(DropReason::PayloadTooLarge),
        "F_CNT_DOWN" => Some(DropReason::FrameCounter),
        _ => None,
    };
    // Without the item's id nothing can be said of an item, and the line stays a line.
    let item = queue_item_id.and_then(|id| id.parse().ok());
    match (reason, item) {
        (Some(reason), Some(id)) => NetworkEvent::Dropped(Dropped {
            queue_item_id: QueueItemId::from_uuid(id),
            reason,
        }),
        (Some(_) | None, _) => NetworkEvent::Logged(Logged {
            level: text(level),
            code: text(code),
            description: text(description),
        }),
    }
}

/// What v3 calls an error: without the item's id it is a line of the log, but a gateway's refusal is told as such.
pub(super) fn error(code: &str, description: &str) -> NetworkEvent {
    log("ERROR", code, description, None)
}

/// A text to keep: cut where it would be longer than anything ChirpStack writes, and without zero bytes, which not every
/// database can hold.
pub(super) fn text(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_MAX)].replace('\0', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(gateway: u64, rssi_dbm: i32, snr_db: f32) -> Reception {
        Reception {
            gateway_id: GatewayId::from_u64(gateway),
            rssi_dbm,
            snr_db,
        }
    }

    #[test]
    fn a_gateway_counts_once_with_its_best_copy_and_the_best_comes_first() {
        let merged = receptions(vec![
            copy(1, -100, 3.0),
            copy(2, -80, 1.0),
            copy(1, -70, 2.0),
            copy(3, -80, 5.0),
        ]);
        assert_eq!(
            merged,
            [copy(1, -70, 2.0), copy(3, -80, 5.0), copy(2, -80, 1.0)]
        );
    }

    #[test]
    fn of_many_gateways_the_best_are_kept() {
        let copies = (0..200).map(|number| copy(number, -i32::try_from(number).unwrap(), 0.0));
        let merged = receptions(copies.collect());
        assert_eq!(merged.len(), RECEPTIONS_MAX);
        assert_eq!(merged.last(), Some(&copy(63, -63, 0.0)));
    }

    #[test]
    fn an_item_that_was_dropped_without_its_id_is_only_a_line() {
        for id in [None, Some(""), Some("no uuid")] {
            assert!(
                matches!(log("ERROR", "EXPIRED", "gone", id), NetworkEvent::Logged(_)),
                "{id:?}"
            );
        }
    }

    #[test]
    fn identifiers_are_read_in_hex_and_in_base64() {
        let hex = dev_eui("devEUI", "20-20-20-FF-50-33-00-01").unwrap();
        for text in ["ICAg/1AzAAE=", "ICAg/1AzAAE"] {
            assert_eq!(dev_eui("devEUI", text).unwrap(), hex, "{text:?}");
        }
        let gateway = gateway_id("gatewayID", "0016c00150330002").unwrap();
        assert_eq!(gateway_id("gatewayID", "ABbAAVAzAAI=").unwrap(), gateway);
        let address = dev_addr("01e260eb").unwrap();
        assert_eq!(dev_addr("AeJg6w==").unwrap(), address);
        assert!(address.is_some() && dev_addr("").unwrap().is_none());
        for text in ["", "ICAg/1AzAA==", "ICAg/1AzAAEB", "202020ff5033000", "%%%"] {
            assert!(dev_eui("devEUI", text).is_err(), "{text:?}");
        }
        assert!(dev_addr("AeJg").is_err());
    }

    #[test]
    fn base64_is_read_with_and_without_padding_and_nothing_else() {
        assert_eq!(payload_base64("AQI=").unwrap(), [1, 2]);
        assert_eq!(payload_base64("AQI").unwrap(), [1, 2]);
        assert!(payload_base64("").unwrap().is_empty());
        for text in ["A", "AQ I=", "AQI=AQI=", "%%%%"] {
            assert!(payload_base64(text).is_err(), "{text:?}");
        }
        assert!(payload(vec![0; 256]).is_err());
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(text(&"ü".repeat(400)).len(), TEXT_MAX);
        assert_eq!(text(&format!("x{}", "ü".repeat(400))).len(), TEXT_MAX - 1);
        assert_eq!(text("a\0b"), "ab");
    }
}
