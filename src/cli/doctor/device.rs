//! Devices: whether a downlink can reach them whenever it is sent, and how long it is on the air.

use std::collections::BTreeMap;
use std::time::Duration;

use downbeat_actors::clock::Clock;
use downbeat_actors::port::ListedDevice;
use downbeat_core::network::{NetworkEvent, Transmitted};
use downbeat_core::radio::{DeviceClass, Direction, Modulation};
use futures_util::future::join_all;

use super::report::Report;
use super::{chain, some};
use crate::chirpstack::ChirpStackClient;
use crate::webhook::{self, Encoding, EventKind};

/// Devices whose logs are read for their last downlinks.
const LOGS_MAX: usize = 5;

/// EU868's RX2. No other downlink uses it.
const RX2_HZ: u32 = 869_525_000;

/// The slowest data rate of EU868, which its RX2 has by default (regional parameters, DR0).
const SLOWEST_SF: u8 = 12;

/// Bytes of a command to a light.
const COMMAND_LEN: usize = 5;

pub(super) async fn examine(
    client: &ChirpStackClient,
    devices: &[ListedDevice],
    report: &mut Report,
) {
    rights(client, &devices[0], report).await;
    profiles(client, devices, report).await;
    states(client, devices, report).await;
    keys(client, devices, report).await;
    rx2(client, devices, report).await;
}

async fn rights(client: &ChirpStackClient, device: &ListedDevice, report: &mut Report) {
    const CHECK: &str = "rights";
    match client.may_command(device.dev_eui).await {
        Ok(true) => report.ok(CHECK, "the key may send commands"),
        Ok(false) => report.fail(
            CHECK,
            "the key is read-only: no command goes out",
            "make an API key in ChirpStack that is not read-only and set DOWNBEAT_CHIRPSTACK_API_KEY to it",
        ),
        Err(error) => report.unknown(CHECK, chain(&error), "run this again"),
    }
}

async fn profiles(client: &ChirpStackClient, devices: &[ListedDevice], report: &mut Report) {
    const CHECK: &str = "profile";
    let mut users = BTreeMap::<_, usize>::new();
    for device in devices {
        *users.entry(device.device_profile_id).or_default() += 1;
    }
    for (id, count) in users {
        let profile = match client.device_profile(id).await {
            Ok(Some(profile)) => profile,
            Ok(None) => {
                report.unknown(
                    CHECK,
                    format!("the key does not see device profile {id}"),
                    "look in ChirpStack whether it has Class C on",
                );
                continue;
            }
            Err(error) => {
                report.unknown(CHECK, chain(&error), "run this again");
                continue;
            }
        };
        let about = format!(
            "{:?} ({}, {count} devices looked at)",
            profile.name, profile.region
        );
        if !profile.supports_class_c {
            report.fail(
                CHECK,
                format!("{about} has Class C off: a command waits for the device's next uplink"),
                "turn Class C on in the device profile and have the devices join again",
            );
        } else if profile.is_lorawan_1_1 {
            report.warn(
                CHECK,
                format!("{about} is LoRaWAN 1.1, in which a device itself asks for Class C"),
                "choose 1.0.3 if the devices are 1.0.x",
            );
        } else {
            report.ok(CHECK, format!("{about} has Class C on"));
        }
    }
}

async fn states(client: &ChirpStackClient, devices: &[ListedDevice], report: &mut Report) {
    const CHECK: &str = "class c";
    let (mut not_in_force, mut never_joined) = (Vec::new(), Vec::new());
    for device in devices {
        match client.device_state(device.dev_eui).await {
            Ok(Some(state)) if !state.is_activated => never_joined.push(device.dev_eui.to_string()),
            Ok(Some(state)) if state.class_enabled != DeviceClass::C => {
                not_in_force.push(device.dev_eui.to_string());
            }
            // One that was deleted since it was listed is nobody's concern.
            Ok(_) => {}
            Err(error) => {
                report.unknown(CHECK, chain(&error), "run this again");
                return;
            }
        }
    }
    let looked = devices.len();
    if !not_in_force.is_empty() {
        report.fail(
            CHECK,
            format!(
                "not in force for {} of the {looked} devices looked at ({}): commands wait for their next uplink",
                not_in_force.len(),
                some(&not_in_force)
            ),
            "turn Class C on in the device profile and have these devices join again: a session keeps the class that \
             it began with",
        );
    }
    if !never_joined.is_empty() {
        report.warn(
            "joined",
            format!(
                "{} of the {looked} devices looked at never joined ({})",
                never_joined.len(),
                some(&never_joined)
            ),
            "see that they have power and that a gateway is near; see their AppKeys",
        );
    }
    if not_in_force.is_empty() && never_joined.len() < looked {
        report.ok(
            CHECK,
            format!("in force for all that joined of the {looked} looked at"),
        );
    }
}

/// No key is shown, not even a bad one.
async fn keys(client: &ChirpStackClient, devices: &[ListedDevice], report: &mut Report) {
    const CHECK: &str = "app keys";
    let mut default = Vec::new();
    for device in devices {
        match client.app_key(device.dev_eui).await {
            Ok(Some(key)) if key.is_default() => default.push(device.dev_eui.to_string()),
            Ok(_) => {}
            Err(error) => {
                report.unknown(CHECK, chain(&error), "run this again");
                return;
            }
        }
    }
    let looked = devices.len();
    if default.is_empty() {
        report.ok(
            CHECK,
            format!("none of the {looked} looked at is a default one"),
        );
    } else {
        report.warn(
            CHECK,
            format!(
                "{} of the {looked} looked at are default ones, which everybody knows ({})",
                default.len(),
                some(&default)
            ),
            "give each device a key of its own, on the device and here",
        );
    }
}

/// ChirpStack tells its region's settings to no API key, so what was sent last has to tell them.
async fn rx2(client: &ChirpStackClient, devices: &[ListedDevice], report: &mut Report) {
    const CHECK: &str = "rx2";
    const LOOK: &str =
        "send a command and run this again, or look at rx2_dr in ChirpStack's region file";
    let heard: Vec<_> = devices
        .iter()
        .filter(|device| device.last_seen_at.is_some())
        .take(LOGS_MAX)
        .collect();
    let logs = join_all(
        heard
            .iter()
            .map(|device| client.logged_events(device.dev_eui)),
    )
    .await;
    let mut events = 0;
    let mut slowest: Option<u8> = None;
    for log in logs {
        let log = match log {
            Ok(log) => log,
            Err(error) => {
                report.unknown(CHECK, chain(&error), LOOK);
                return;
            }
        };
        events += log.len();
        for event in log
            .iter()
            .filter(|event| event.kind == EventKind::TxAck.name())
        {
            slowest = slowest.max(rx2_spreading_factor(&event.body));
        }
    }
    match slowest {
        Some(factor) if factor >= SLOWEST_SF => report.warn(
            CHECK,
            format!(
                "it is at SF{factor}: a command is {:.1} s on the air, and one gateway can send about {} an hour",
                on_air(factor).as_secs_f64(),
                an_hour(factor)
            ),
            format!(
                "set rx2_dr = 3 (SF9, about {} an hour) in ChirpStack's region file if the devices are near enough",
                an_hour(9)
            ),
        ),
        Some(factor) => report.ok(
            CHECK,
            format!("it is at SF{factor}: one gateway can send about {} commands an hour", an_hour(factor)),
        ),
        None if events == 0 && !heard.is_empty() => report.unknown(
            CHECK,
            "ChirpStack's log of the devices is empty, though they were heard: its history may be too short \
             (monitoring.device_event_log_max_history)",
            LOOK,
        ),
        None => report.unknown(
            CHECK,
            "none of the last downlinks that ChirpStack remembers went out in RX2 of EU868 (869.525 MHz)",
            LOOK,
        ),
    }
}

/// The spreading factor of a downlink that went out in RX2.
fn rx2_spreading_factor(body: &str) -> Option<u8> {
    let now = Clock::system().now();
    let event = webhook::parse(EventKind::TxAck, Encoding::Json, body.as_bytes(), now).ok()?;
    let NetworkEvent::Transmitted(Transmitted {
        frequency_hz: Some(RX2_HZ),
        modulation: Some(Modulation::Lora {
            spreading_factor, ..
        }),
        ..
    }) = event.event
    else {
        return None;
    };
    Some(spreading_factor)
}

fn on_air(factor: u8) -> Duration {
    Modulation::lora_125(factor).time_on_air(COMMAND_LEN, Direction::Down)
}

/// Commands that fit into the tenth of an hour that EU868 leaves a gateway in that band.
fn an_hour(factor: u8) -> u128 {
    Duration::from_mins(6).as_millis() / on_air(factor).as_millis().max(1)
}
