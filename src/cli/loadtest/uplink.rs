//! Uplinks as `ChirpStack` v4 posts them: a real one, with another device's identity and counters.

use chirpstack_api::integration::UplinkEvent;
use clap::ValueEnum;
use prost::Message as _;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;
use uuid::Uuid;

use super::target::{LoadError, TAG, Target, answered};

/// The body of a lamp's status that three gateways heard, 1.8 kB as JSON.
const JSON: &str = include_str!("../../../tests/fixtures/chirpstack-v4/up-status-3gw.json");
const PROTOBUF: &[u8] = include_bytes!("../../../tests/fixtures/chirpstack-v4/up-status-3gw.pb");

/// What is put in anew, as it stands in [`JSON`].
const FIELDS: [&str; 4] = [
    "32789f4a-25bc-438a-8177-128935a50387",
    "202020ff50330001",
    "\"fCnt\":0",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAPAwB",
];

/// Registrations at once.
const REGISTRATIONS: usize = 16;

/// Format of the posts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Encoding {
    /// Protobuf's JSON.
    #[default]
    Json,
    /// Protobuf itself.
    Protobuf,
}

/// Makes bodies.
#[derive(Debug, Clone)]
pub(super) struct Uplinks {
    encoding: Encoding,
    /// What stands between the fields.
    pieces: Vec<&'static str>,
    event: UplinkEvent,
}

impl Uplinks {
    /// # Panics
    /// Never: the real ones are what they are.
    pub(super) fn new(encoding: Encoding) -> Self {
        let mut pieces = Vec::new();
        let mut rest = JSON.trim_end();
        for field in FIELDS {
            let (before, after) = rest.split_once(field).expect("the field is there");
            pieces.push(before);
            rest = after;
        }
        pieces.push(rest);
        Self {
            encoding,
            pieces,
            event: UplinkEvent::decode(PROTOBUF).expect("it is ChirpStack's own"),
        }
    }

    /// A status of the device with this counter. The light's colour holds the counter's lowest 24 bits, so that who hears of
    /// the light knows which uplink told it.
    pub(super) fn body(&self, dev_eui: &str, f_cnt: u32) -> Vec<u8> {
        let payload = status(f_cnt);
        let id = Uuid::now_v7().to_string();
        match self.encoding {
            Encoding::Json => {
                use base64::Engine as _;
                let data = base64::engine::general_purpose::STANDARD.encode(payload);
                let f_cnt = format!("\"fCnt\":{f_cnt}");
                let mut body = String::with_capacity(JSON.len() + 16);
                for (piece, field) in self.pieces.iter().zip([&id, dev_eui, &f_cnt, &data]) {
                    body.push_str(piece);
                    body.push_str(field);
                }
                body.push_str(self.pieces[FIELDS.len()]);
                body.into_bytes()
            }
            Encoding::Protobuf => {
                let mut event = self.event.clone();
                event.deduplication_id = id;
                if let Some(info) = &mut event.device_info {
                    dev_eui.clone_into(&mut info.dev_eui);
                }
                event.f_cnt = f_cnt;
                event.data = payload.to_vec();
                event.encode_to_vec()
            }
        }
    }

    /// The post of it.
    pub(super) fn post(&self, target: &Target, dev_eui: &str, f_cnt: u32) -> RequestBuilder {
        let content_type = match self.encoding {
            Encoding::Json => "application/json",
            Encoding::Protobuf => "application/octet-stream",
        };
        target
            .call(Method::POST, "/api/v1/webhooks/chirpstack?event=up")
            .header("content-type", content_type)
            .body(self.body(dev_eui, f_cnt))
    }
}

/// kuando-busylight §4: counts little-endian at 8 and 12, the light (red, blue, green, on, off) from 16 on.
fn status(number: u32) -> [u8; 24] {
    let mut payload = [0; 24];
    payload[12..16].copy_from_slice(&number.to_le_bytes());
    let [_, red, green, blue] = number.to_be_bytes();
    payload[16..21].copy_from_slice(&[red, blue, green, 255, 0]);
    payload[21..].copy_from_slice(&[60, 12, 1]);
    payload
}

/// Registers devices of this run that nobody commands: their `DevEUI`s and ids, in order.
pub(super) async fn register_devices(
    target: &Target,
    count: u64,
) -> Result<Vec<(String, String)>, LoadError> {
    use futures_util::{StreamExt as _, TryStreamExt as _, stream};
    let register = |number: u64| async move {
        let dev_eui = target.dev_eui(number);
        let body = json!({
            "name": format!("Load {number}"),
            "lorawan_dev_eui": dev_eui,
            "codec": "kuando_busylight",
            "tags": {TAG: target.run()},
            "policy": {"initialise": false, "reconcile": false},
        });
        let request = target.of_tenant(Method::POST, "/devices").json(&body);
        let device = answered(request, StatusCode::CREATED).await;
        let device = device.map_err(LoadError::of(format!("registering {dev_eui}")))?;
        let id = device["id"].as_str().unwrap_or_default().to_owned();
        Ok((dev_eui, id))
    };
    let made = stream::iter(0..count).map(register).buffered(REGISTRATIONS);
    made.try_collect().await
}

/// Takes the devices of this run out again. What is left over is told in the report by its name.
pub(super) async fn remove_devices(target: &Target, ids: impl Iterator<Item = &String>) -> usize {
    use futures_util::{StreamExt as _, stream};
    let remove = |id: &String| {
        let path = format!("/devices/{id}");
        answered(
            target.of_tenant(Method::DELETE, &path),
            StatusCode::NO_CONTENT,
        )
    };
    let removed = stream::iter(ids)
        .map(remove)
        .buffer_unordered(REGISTRATIONS);
    removed
        .filter(|it| std::future::ready(it.is_err()))
        .count()
        .await
}

#[cfg(test)]
mod tests {
    use downbeat_core::network::NetworkEvent;
    use downbeat_core::time::Timestamp;

    use super::*;
    use crate::webhook::{self, EventKind};

    #[test]
    fn both_encodings_say_the_same_of_the_device_that_was_named() {
        let now = Timestamp::from_millis(1_795_000_000_000);
        for (encoding, ours) in [
            (Encoding::Json, webhook::Encoding::Json),
            (Encoding::Protobuf, webhook::Encoding::Protobuf),
        ] {
            let body = Uplinks::new(encoding).body("0000000000000042", 70_000);
            let read = webhook::parse(EventKind::Up, ours, &body, now).expect("it is an uplink");
            assert_eq!(read.dev_eui.to_string(), "0000000000000042");
            let NetworkEvent::Heard(uplink) = read.event else {
                panic!("{:?}", read.event);
            };
            assert_eq!((uplink.f_cnt, uplink.receptions.len()), (70_000, 3));
            assert_eq!(uplink.payload, status(70_000));
            assert_eq!(uplink.payload[16..21], [1, 112, 17, 255, 0]);
        }
    }
}
