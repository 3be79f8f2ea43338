//! Uplinks as `ChirpStack` v4 posts them: a real one, with another device's identity and counters.

use std::time::Duration;

use chirpstack_api::integration::UplinkEvent;
use clap::ValueEnum;
use prost::Message as _;
use reqwest::{Method, StatusCode, Url};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use uuid::Uuid;

use super::target::{LoadError, TAG, Target, answer_of, answered};
use super::wire::{Answer, Wire};

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

/// Where they are posted.
const PATH: &str = "/api/v1/webhooks/chirpstack?event=up";

/// The answer to an event that is stored.
const STORED: &[u8] = br#"{"status":"ok"}"#;

/// The `type` of a 503 whose event is kept all the same.
const HELD: &str = "urn:downbeat:problem:held";

/// An answer that takes longer is an error.
const PATIENCE: Duration = Duration::from_mins(3);

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

impl Encoding {
    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/octet-stream",
        }
    }
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
}

/// What became of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// The event is stored.
    Stored,
    /// It is not yet, and will be.
    Held,
    /// It is refused, with a time to come again.
    ComeAgain,
}

/// Posts bodies, one after the other.
pub(super) enum Posting {
    /// On a connection of its own.
    Wire(Wire),
    /// Where more is needed than that: TLS.
    Client(Target, Encoding),
}

impl Posting {
    /// To Downbeat.
    pub(super) fn of(target: &Target, encoding: Encoding) -> Self {
        Self::elsewhere(target, target.url(), encoding)
    }

    /// To another server with the same headers.
    pub(super) fn elsewhere(target: &Target, url: &Url, encoding: Encoding) -> Self {
        let authorization = target.authorization();
        let headers = [
            ("authorization", authorization.expose_secret()),
            ("content-type", encoding.content_type()),
        ];
        match Wire::to(url, PATH, &headers) {
            Some(wire) => Self::Wire(wire),
            None => Self::Client(target.clone(), encoding),
        }
    }

    /// Posts one.
    pub(super) async fn post(&mut self, body: Vec<u8>) -> Result<Received, String> {
        let answer = match self {
            Self::Client(target, encoding) => {
                let request = target.call(Method::POST, PATH);
                let request = request.header("content-type", encoding.content_type());
                answer_of(request.body(body)).await?
            }
            Self::Wire(wire) => {
                let answer = tokio::time::timeout(PATIENCE, wire.post(&body)).await;
                answer.map_err(|_| "no answer".to_owned())??
            }
        };
        Received::of(&answer)
    }
}

impl Received {
    fn of(answer: &Answer) -> Result<Self, String> {
        match answer.status {
            StatusCode::OK if answer.body == STORED => Ok(Self::Stored),
            StatusCode::SERVICE_UNAVAILABLE if answer.says_when => {
                let problem: Option<Value> = serde_json::from_slice(&answer.body).ok();
                let is_held = problem.is_some_and(|problem| problem["type"] == HELD);
                Ok(if is_held { Self::Held } else { Self::ComeAgain })
            }
            status => {
                let words = String::from_utf8_lossy(&answer.body);
                Err(format!("{status}: {words}"))
            }
        }
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
    fn what_is_held_is_told_from_what_is_refused() {
        let of = |status: u16, says_when, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            let body = body.as_bytes().to_vec();
            Received::of(&Answer {
                status,
                says_when,
                body,
            })
        };
        let problem = |name| format!(r#"{{"type":"urn:downbeat:problem:{name}","status":503}}"#);
        assert_eq!(of(200, false, r#"{"status":"ok"}"#), Ok(Received::Stored));
        assert_eq!(of(503, true, &problem("held")), Ok(Received::Held));
        assert_eq!(
            of(503, true, &problem("overloaded")),
            Ok(Received::ComeAgain)
        );
        assert_eq!(of(503, true, "no JSON"), Ok(Received::ComeAgain));
        assert!(of(503, false, &problem("held")).is_err());
        assert!(of(200, false, r#"{"status":"ignored"}"#).is_err());
    }

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
