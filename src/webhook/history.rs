//! What the history keeps of an event: the same few fields whatever version and encoding it came in.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use downbeat_actors::port::{FieldPath, HistoryEntry, TelemetryValue};
use downbeat_core::id::{DevAddr, GatewayId, QueueItemId};
use downbeat_core::network::{DropReason, Location, NetworkEvent, Reception, Timing};
use downbeat_core::radio::{DeviceClass, Modulation};
use downbeat_core::time::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::EventKind;
use super::content::Content;

/// What a body says beyond the event.
#[derive(Debug, Default)]
pub(super) struct Extra<'a> {
    /// What a codec in ChirpStack made of the payload, or the payload itself where that is JSON.
    pub(super) object: Option<Cow<'a, RawValue>>,
    /// Its fields, which the history does not repeat.
    pub(super) telemetry: Vec<(FieldPath, TelemetryValue)>,
    /// The context of a line of the log.
    pub(super) context: Option<&'a BTreeMap<&'a str, &'a str>>,
}

impl<'a> Extra<'a> {
    /// What a payload means.
    pub(super) fn of(content: Content<'a>) -> Self {
        Self {
            object: content.object,
            telemetry: content.telemetry,
            context: None,
        }
    }
}

/// The entry of an event.
pub(super) fn entry(
    kind: EventKind,
    event: &NetworkEvent,
    extra: &Extra<'_>,
    at: Timestamp,
) -> HistoryEntry {
    let said = Said {
        event: word(event),
        object: extra.object.as_deref(),
        context: extra.context.filter(|context| !context.is_empty()),
    };
    HistoryEntry {
        at,
        kind: kind.name(),
        body: serde_json::to_string(&said).expect("strings, numbers and maps of strings are JSON"),
    }
}

#[derive(Serialize)]
struct Said<'a> {
    #[serde(flatten)]
    event: Word<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a BTreeMap<&'a str, &'a str>>,
}

/// The event with its words of the API: snake case, units in the names, payload in base64.
#[derive(Serialize)]
#[serde(untagged)]
enum Word<'a> {
    Heard {
        f_cnt: u32,
        f_port: u8,
        confirmed: bool,
        data: String,
        data_rate: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        modulation: Option<Modulation>,
        #[serde(skip_serializing_if = "Option::is_none")]
        class: Option<DeviceClass>,
        #[serde(skip_serializing_if = "Option::is_none")]
        dev_addr: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        deduplication_id: Option<Uuid>,
        #[serde(skip_serializing_if = "Option::is_none")]
        received_at: Option<String>,
        receptions: &'a [Reception],
    },
    Joined {
        dev_addr: Option<String>,
        deduplication_id: Option<Uuid>,
    },
    Transmitted {
        queue_id: Option<QueueItemId>,
        f_cnt_down: u32,
        gateway_id: Option<GatewayId>,
        modulation: Option<Modulation>,
        frequency_hz: Option<u32>,
        timing: Option<Timing>,
    },
    Acknowledged {
        queue_id: Option<QueueItemId>,
        acknowledged: bool,
        f_cnt_down: u32,
    },
    Refused {
        code: &'static str,
        description: &'a str,
    },
    Dropped {
        code: &'static str,
        queue_id: QueueItemId,
    },
    Logged {
        level: &'a str,
        code: &'a str,
        description: &'a str,
    },
    StatusReported {
        margin_db: i32,
        external_power: bool,
        battery_percent: Option<f32>,
    },
    PresenceTold {
        online: bool,
    },
    Located(Location),
    Integrated {},
}

fn word(event: &NetworkEvent) -> Word<'_> {
    let address = |address: Option<DevAddr>| address.map(|address| address.to_string());
    match event {
        NetworkEvent::Heard(uplink) => Word::Heard {
            f_cnt: uplink.f_cnt,
            f_port: uplink.f_port.get(),
            confirmed: uplink.confirmed,
            data: STANDARD.encode(&uplink.payload),
            data_rate: uplink.data_rate,
            modulation: uplink.modulation,
            class: uplink.class,
            dev_addr: address(uplink.dev_addr),
            deduplication_id: uplink.deduplication_id,
            received_at: uplink.received_at.map(|at| at.to_string()),
            receptions: &uplink.receptions,
        },
        NetworkEvent::Joined(joined) => Word::Joined {
            dev_addr: address(joined.dev_addr),
            deduplication_id: joined.deduplication_id,
        },
        NetworkEvent::Transmitted(sent) => Word::Transmitted {
            queue_id: sent.queue_item_id,
            f_cnt_down: sent.f_cnt_down,
            gateway_id: sent.gateway_id,
            modulation: sent.modulation,
            frequency_hz: sent.frequency_hz,
            timing: sent.timing,
        },
        NetworkEvent::Acknowledged(ack) => Word::Acknowledged {
            queue_id: ack.queue_item_id,
            acknowledged: ack.acknowledged,
            f_cnt_down: ack.f_cnt_down,
        },
        NetworkEvent::Refused(refused) => Word::Refused {
            code: "DOWNLINK_GATEWAY",
            description: &refused.status,
        },
        NetworkEvent::Dropped(dropped) => Word::Dropped {
            code: match dropped.reason {
                DropReason::Expired => "EXPIRED",
                DropReason::PayloadTooLarge => "DOWNLINK_PAYLOAD_SIZE",
                DropReason::FrameCounter => "F_CNT_DOWN",
            },
            queue_id: dropped.queue_item_id,
        },
        NetworkEvent::Logged(logged) => Word::Logged {
            level: &logged.level,
            code: &logged.code,
            description: &logged.description,
        },
        NetworkEvent::StatusReported(status) => Word::StatusReported {
            margin_db: status.margin_db,
            external_power: status.external_power,
            battery_percent: status.battery_percent,
        },
        NetworkEvent::PresenceTold(online) => Word::PresenceTold { online: *online },
        NetworkEvent::Located(location) => Word::Located(*location),
        NetworkEvent::Integrated => Word::Integrated {},
    }
}
