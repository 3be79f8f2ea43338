//! `POST /api/v1/downlink/{dev_eui}`: tell a device something, and wait for the proof.

use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use downbeat_actors::port::By;
use downbeat_actors::{AskError, Order, Submission};
use downbeat_core::codec::{Command, Frame, MAX_PAYLOAD};
use downbeat_core::device::{Downlink, DownlinkState, TimelineEntry};
use downbeat_core::id::{DevEui, DeviceKey, DownlinkId, FPort, NetworkServerId, Scope, TenantId};
use downbeat_core::light::{Color, LightState};
use downbeat_core::time::Timestamp;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};

use crate::http::AppState;
use crate::http::admission::Place;
use crate::http::auth::{Caller, Operator};
use crate::http::extract::{Fields, JsonBody, Level, QueryFields, path_field};
use crate::http::idempotency::{Made, Making, Target};
use crate::http::problem::{ApiError, Problem};

use super::timeline::TimelineEntryBody;
use super::{DownlinkBody, location};

/// How long a caller waits who does not say.
const WAIT_DEFAULT: Duration = Duration::from_secs(30);

/// The longest that a caller may wait, in seconds.
const WAIT_MAX_S: u32 = 120;

/// The longest time to live, in seconds: a week.
const TTL_MAX_S: u32 = 7 * 24 * 3600;

/// The most attempts.
const ATTEMPTS_MAX: u8 = 10;

/// A command: a colour as `red`, `green` and `blue`, a colour as `color`, or bytes as `payload` and `f_port`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({"red": 255, "blue": 0, "green": 0, "on_time": 255, "off_time": 0, "wait_for_verification": true}))]
pub(in crate::http) struct SendCommand {
    pub(in crate::http) red: Option<Level>,
    pub(in crate::http) blue: Option<Level>,
    pub(in crate::http) green: Option<Level>,
    /// Units of 0.1 s; 255 if absent.
    pub(in crate::http) on_time: Option<Level>,
    /// Units of 0.1 s; 0, a steady light, if absent.
    pub(in crate::http) off_time: Option<Level>,
    /// `#rrggbb`.
    pub(in crate::http) color: Option<String>,
    /// Bytes in hex, 1 to 242 of them, sent as they are.
    pub(in crate::http) payload: Option<String>,
    /// 1 to 255; with `payload`.
    pub(in crate::http) f_port: Option<Level>,
    /// Wait for the device's proof; otherwise only until ChirpStack has the command. True if absent.
    pub(in crate::http) wait_for_verification: Option<bool>,
    /// Show a colour without making it the desired one.
    pub(in crate::http) transient: Option<bool>,
    /// No attempt is made after so many seconds, 1 to 604800; a day if absent.
    pub(in crate::http) ttl_s: Option<u32>,
    /// How often it is tried, 1 to 10; 4 if absent.
    pub(in crate::http) attempts: Option<u8>,
    /// It is tried, however often, until so many seconds have passed, 1 to 604800; excludes `ttl_s`, `attempts` and
    /// `deadline`.
    pub(in crate::http) deadline_s: Option<u32>,
    /// The same as an instant, RFC 3339, at most a week ahead.
    pub(in crate::http) deadline: Option<String>,
    /// Ask for a LoRaWAN acknowledgement.
    pub(in crate::http) confirmed: Option<bool>,
}

/// The query.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct SendQuery {
    /// How many seconds to wait, 0 to 120; 30 if absent. `Prefer: wait=N` does the same.
    #[param(value_type = Option<u32>, maximum = 120)]
    wait: Option<String>,
}

/// Send a command
///
/// It is stored before it is answered, and then reaches exactly one end, whatever fails meanwhile. With
/// `wait_for_verification` the answer comes when it has ended; otherwise when ChirpStack has it. If that takes longer
/// than `wait`, the answer is 202 and tells where to look.
#[utoipa::path(
    post,
    path = "/api/v1/downlink/{dev_eui}",
    tag = "commands",
    params(
        ("dev_eui" = String, Path, description = "16 hex digits"),
        SendQuery,
        ("Prefer" = Option<String>, Header, description = "`wait=N`: how many seconds to wait"),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key and body give the same answer for a day"),
    ),
    request_body = SendCommand,
    responses(
        (status = 200, description = "It has ended, or ChirpStack has it; `status` tells how", body = DownlinkBody),
        (status = 202, description = "It is under way; `Location` tells where to look", body = DownlinkBody),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such device", body = Problem),
        (status = 409, description = "The same request is in progress", body = Problem),
        (status = 422, description = "The device does not understand it, or the key was used with another body", body = Problem),
        (status = 429, description = "Too many commands of this device are waiting, or the key or its tenant asks too often", body = Problem),
        (status = 503, description = "Nothing was accepted; try again", body = Problem),
    ),
)]
pub(in crate::http) async fn send(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Extension(place): Extension<Place>,
    Path(dev_eui): Path<String>,
    QueryFields(query): QueryFields<SendQuery>,
    headers: HeaderMap,
    body: JsonBody<SendCommand>,
) -> Result<Response, ApiError> {
    let dev_eui: DevEui = path_field("dev_eui", &dev_eui)?;
    let wait = wait(&query, &headers)?;
    let order = order(&body.value, state.clock().now(), caller.by())?;
    let making = Making {
        scope: caller.scope,
        headers: &headers,
        operation: format!("POST /api/v1/downlink/{dev_eui}"),
        body: &body.bytes,
        location,
    };
    let make = |target| submit(&state, caller, &place, dev_eui, order, wait, target);
    making.once(&state, make).await
}

async fn submit(
    state: &AppState,
    caller: Caller,
    place: &Place,
    dev_eui: DevEui,
    order: Order,
    wait: Duration,
    target: Target,
) -> Result<Made, ApiError> {
    let id = DownlinkId::from_uuid(target.id);
    if target.may_exist
        && let Some(earlier) = state.store().downlink(caller.scope, id).await?
    {
        return made(&DownlinkBody::with_timeline(&earlier));
    }
    let order = Order {
        id: Some(id),
        ..order
    };
    let verify = order.verify;
    let active = active(state, caller.scope, dev_eui);
    let is_active = active.is_some();
    let (tenant_id, key) = match active {
        Some(active) => active,
        None => registered(state, caller.scope, dev_eui).await?,
    };
    state.count_command(tenant_id).await?;
    let system = state.system();
    let submission = match system.submit(caller.scope, key, order.clone()).await {
        // It left the registry a moment ago; the caller may have another of that name elsewhere.
        Err(AskError::UnknownDevice) if is_active => {
            let (owner, key) = registered(state, caller.scope, dev_eui).await?;
            if owner != tenant_id {
                state.count_command(owner).await?;
            }
            system.submit(caller.scope, key, order).await?
        }
        answer => answer?,
    };
    place.give_back().await;
    // Whoever finds no place to wait is told where to look instead.
    let permit = state.admission().wait();
    let patience = if permit.is_some() {
        wait
    } else {
        Duration::ZERO
    };
    let settled = settle(submission, verify, patience, state.stopping());
    let (downlink, seen) = settled.await;
    made(&current(state, caller, dev_eui, &downlink, &seen).await)
}

/// The device without asking the database: the one on the configuration's network server comes before all others, and
/// who was commanded or heard lately is in memory.
fn active(state: &AppState, scope: Scope, dev_eui: DevEui) -> Option<(TenantId, DeviceKey)> {
    let server = NetworkServerId::Default;
    let key = DeviceKey { server, dev_eui };
    let owner = state.system().owner(key)?;
    scope.contains(owner).then_some((owner, key))
}

/// The device as the registry has it.
async fn registered(
    state: &AppState,
    scope: Scope,
    dev_eui: DevEui,
) -> Result<(TenantId, DeviceKey), ApiError> {
    let found = state.store().device_by_dev_eui(scope, dev_eui).await?;
    let device = found.ok_or(ApiError::NotFound("device"))?;
    let server = device.server;
    Ok((device.tenant_id, DeviceKey { server, dev_eui }))
}

fn made(body: &DownlinkBody) -> Result<Made, ApiError> {
    let status = if body.is_settled() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Made::new(status, body)
}

/// Follows a command until there is nothing to wait for any more, patience ends, or the service does.
async fn settle(
    mut submission: Submission,
    verify: bool,
    patience: Duration,
    stopping: &CancellationToken,
) -> (Downlink, Vec<TimelineEntry>) {
    let mut seen = std::mem::take(&mut submission.steps);
    let deadline = tokio::time::Instant::now() + patience;
    while !is_settled(&submission.downlink, verify) {
        let record = tokio::select! {
            biased;
            record = submission.updates.recv() => record,
            () = tokio::time::sleep_until(deadline) => None,
            () = stopping.cancelled() => None,
        };
        let Some(record) = record else {
            break;
        };
        submission.downlink = record.downlink;
        seen.push(record.entry);
    }
    (submission.downlink, seen)
}

fn is_settled(downlink: &Downlink, verify: bool) -> bool {
    let is_sent = matches!(
        downlink.state,
        DownlinkState::Enqueued | DownlinkState::Transmitted
    );
    downlink.state.is_terminal() || (!verify && is_sent)
}

/// The downlink as it is: with all its steps where each was seen, and else as it is stored; as it was last seen, if the database went away meanwhile: it is accepted all the same.
async fn current(
    state: &AppState,
    caller: Caller,
    dev_eui: DevEui,
    downlink: &Downlink,
    seen: &[TimelineEntry],
) -> DownlinkBody {
    let as_seen = || DownlinkBody {
        timeline: Some(seen.iter().map(TimelineEntryBody::new).collect()),
        ..DownlinkBody::new(dev_eui, downlink)
    };
    if usize::try_from(downlink.steps).is_ok_and(|steps| steps == seen.len()) {
        return as_seen();
    }
    match state.store().downlink(caller.scope, downlink.id).await {
        Ok(Some(whole)) => DownlinkBody::with_timeline(&whole),
        Ok(None) | Err(_) => as_seen(),
    }
}

/// How long to wait: the query's word, else the preference's (RFC 7240 §4.3), which is only a preference.
fn wait(query: &SendQuery, headers: &HeaderMap) -> Result<Duration, ApiError> {
    let mut fields = Fields::default();
    let asked = fields.number("wait", query.wait.as_deref(), 0..=WAIT_MAX_S);
    let asked = fields.done(asked)?;
    let preferred = || {
        let values = headers.get_all("prefer").into_iter();
        let mut preferences = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|preference| preference.trim().split_once('='));
        let (_, seconds) =
            preferences.find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))?;
        let seconds: u32 = seconds.trim().trim_matches('"').parse().ok()?;
        Some(seconds.min(WAIT_MAX_S))
    };
    let seconds = asked.or_else(preferred);
    Ok(seconds.map_or(WAIT_DEFAULT, |seconds| Duration::from_secs(seconds.into())))
}

/// What a command says, checked at `now`.
pub(in crate::http) fn order(
    body: &SendCommand,
    now: Timestamp,
    by: By,
) -> Result<Order, ApiError> {
    let mut fields = Fields::default();
    let command = command(body, &mut fields);
    if let Some(ttl_s) = body.ttl_s {
        let message = format!("must be 1 to {TTL_MAX_S}");
        fields.check((1..=TTL_MAX_S).contains(&ttl_s), "ttl_s", &message);
    }
    if let Some(attempts) = body.attempts {
        let message = format!("must be 1 to {ATTEMPTS_MAX}");
        fields.check((1..=ATTEMPTS_MAX).contains(&attempts), "attempts", &message);
    }
    let deadline = deadline(body, now, &mut fields);
    let order = command.map(|command| Order {
        id: None,
        command,
        confirmed: body.confirmed.unwrap_or(false),
        verify: body.wait_for_verification.unwrap_or(true),
        transient: body.transient.unwrap_or(false),
        attempts_max: body.attempts,
        by,
        ttl: deadline.or_else(|| {
            body.ttl_s
                .map(|seconds| Duration::from_secs(seconds.into()))
        }),
        until_deadline: if deadline.is_some() {
            Some(true)
        } else {
            // Who counts attempts wants them counted.
            body.attempts.map(|_| false)
        },
        job: None,
    });
    // Without a command something was wrong, and is noted.
    fields.done(())?;
    order.ok_or_else(|| ApiError::field("color", "is missing"))
}

/// How long a command that has a deadline is tried.
fn deadline(body: &SendCommand, now: Timestamp, fields: &mut Fields) -> Option<Duration> {
    let week = Duration::from_secs(TTL_MAX_S.into());
    let seconds = body.deadline_s.map(|it| Duration::from_secs(it.into()));
    let instant = fields.time("deadline", body.deadline.as_deref());
    if (body.deadline_s.is_some() || body.deadline.is_some())
        && (body.ttl_s.is_some() || body.attempts.is_some())
    {
        fields.wrong("deadline", "excludes ttl_s and attempts");
    }
    let message = format!("must be 1 to {TTL_MAX_S}");
    let within = |span: Duration| !span.is_zero() && span <= week;
    fields.check(seconds.is_none_or(within), "deadline_s", &message);
    let from_now = instant.map(|instant| instant.since(now));
    let message = "must be in the future, by a week at the most";
    fields.check(from_now.is_none_or(within), "deadline", message);
    if seconds.is_some() && body.deadline.is_some() {
        fields.wrong("deadline", "excludes deadline_s");
    }
    seconds.or(from_now)
}

/// The one command that the body holds.
fn command(body: &SendCommand, fields: &mut Fields) -> Option<Command> {
    let parts = [
        ("red", body.red),
        ("green", body.green),
        ("blue", body.blue),
    ];
    let has_parts = parts.iter().any(|(_, part)| part.is_some());
    match (has_parts, &body.color, &body.payload) {
        (false, None, Some(payload)) => raw(body, payload, fields),
        (true, None, None) => {
            for (name, part) in parts {
                fields.check(
                    part.is_some(),
                    name,
                    "is missing: a colour has red, green and blue",
                );
            }
            let [red, green, blue] = parts.map(|(_, part)| part.map_or(0, |level| level.0));
            Some(light(body, Color::rgb(red, green, blue), fields))
        }
        (false, Some(color), None) => {
            let color = fields.parsed("color", Some(color))?;
            Some(light(body, color, fields))
        }
        (false, None, None) => {
            fields.wrong(
                "color",
                "is missing: give red, green and blue, or color, or payload and f_port",
            );
            None
        }
        (true, Some(_), _) => {
            fields.wrong("color", "excludes red, green and blue");
            None
        }
        (_, _, Some(_)) => {
            fields.wrong("payload", "excludes a colour");
            None
        }
    }
}

fn light(body: &SendCommand, color: Color, fields: &mut Fields) -> Command {
    fields.check(body.f_port.is_none(), "f_port", "belongs to a payload");
    Command::SetLight(LightState {
        color,
        on_time: body.on_time.map_or(255, |level| level.0),
        off_time: body.off_time.map_or(0, |level| level.0),
    })
}

fn raw(body: &SendCommand, payload: &str, fields: &mut Fields) -> Option<Command> {
    for (name, is_given) in [
        ("on_time", body.on_time.is_some()),
        ("off_time", body.off_time.is_some()),
        ("transient", body.transient == Some(true)),
    ] {
        fields.check(!is_given, name, "belongs to a colour");
    }
    let payload = hex::decode(payload)
        .ok()
        .filter(|bytes| (1..=MAX_PAYLOAD).contains(&bytes.len()));
    if payload.is_none() {
        fields.wrong(
            "payload",
            format!("must be 1 to {MAX_PAYLOAD} bytes in hex"),
        );
    }
    let f_port = body.f_port.and_then(|port| FPort::for_downlink(port.0));
    fields.check(
        f_port.is_some(),
        "f_port",
        "must be 1 to 255 with a payload",
    );
    Some(Command::Raw(Frame {
        f_port: f_port?,
        payload: payload?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(body: Value) -> Result<Order, ApiError> {
        let now = Timestamp::from_millis(1_795_000_000_000);
        order(&serde_json::from_value(body).unwrap(), now, By::downbeat())
    }

    #[test]
    fn each_form_of_a_command_is_read() {
        let light = |color, on_time, off_time| {
            Command::SetLight(LightState {
                color,
                on_time,
                off_time,
            })
        };
        for (body, command) in [
            (
                json!({"red": 1, "blue": 2, "green": 3}),
                light(Color::rgb(1, 3, 2), 255, 0),
            ),
            (
                json!({"red": 1, "blue": 2, "green": 3, "on_time": 4, "off_time": 5}),
                light(Color::rgb(1, 3, 2), 4, 5),
            ),
            (
                json!({"color": "#FFa500"}),
                light(Color::rgb(255, 165, 0), 255, 0),
            ),
            (
                json!({"payload": "0601", "f_port": 15}),
                Command::Raw(Frame {
                    f_port: FPort::from_uplink(15),
                    payload: vec![6, 1],
                }),
            ),
        ] {
            let order = read(body).unwrap();
            assert_eq!(order.command, command);
            assert!(order.verify && !order.confirmed && !order.transient);
        }
    }

    #[test]
    fn a_deadline_is_so_many_seconds_or_an_instant() {
        let until = |body| {
            let order = read(body).unwrap();
            (order.ttl.map(|ttl| ttl.as_secs()), order.until_deadline)
        };
        let color = "#000000";
        assert_eq!(
            until(json!({"color": color, "deadline_s": 90})),
            (Some(90), Some(true))
        );
        // The clock of these tests stands at 11:06:40.
        assert_eq!(
            until(json!({"color": color, "deadline": "2026-11-18T11:07:00Z"})),
            (Some(20), Some(true))
        );
        assert_eq!(
            until(json!({"color": color, "attempts": 2, "ttl_s": 9})),
            (Some(9), Some(false))
        );
        assert_eq!(until(json!({"color": color})), (None, None));
    }

    #[test]
    fn what_is_wrong_with_a_command_is_named() {
        for (body, fields) in [
            (json!({}), vec!["color"]),
            (json!({"on_time": 1}), vec!["color"]),
            (json!({"red": 1}), vec!["green", "blue"]),
            (
                json!({"red": 1, "green": 1, "blue": 1, "color": "#000000"}),
                vec!["color"],
            ),
            (
                json!({"red": 1, "green": 1, "blue": 1, "payload": "00"}),
                vec!["payload"],
            ),
            (
                json!({"color": "#000000", "payload": "00", "f_port": 1}),
                vec!["payload"],
            ),
            (json!({"color": "red"}), vec!["color"]),
            (json!({"color": "#000000", "f_port": 1}), vec!["f_port"]),
            (json!({"payload": "0"}), vec!["payload", "f_port"]),
            (
                json!({"payload": "", "f_port": 0}),
                vec!["payload", "f_port"],
            ),
            (
                json!({"payload": "00".repeat(243), "f_port": 1}),
                vec!["payload"],
            ),
            (
                json!({"payload": "00", "f_port": 1, "on_time": 1, "transient": true}),
                vec!["on_time", "transient"],
            ),
            (
                json!({"color": "#000000", "ttl_s": 0, "attempts": 11}),
                vec!["ttl_s", "attempts"],
            ),
            (
                json!({"color": "#000000", "ttl_s": 604_801, "attempts": 0}),
                vec!["ttl_s", "attempts"],
            ),
            (
                json!({"color": "#000000", "deadline_s": 0}),
                vec!["deadline_s"],
            ),
            (
                json!({"color": "#000000", "deadline_s": 1, "attempts": 1}),
                vec!["deadline"],
            ),
            (
                json!({"color": "#000000", "deadline": "2001-01-01T00:00:00Z"}),
                vec!["deadline"],
            ),
            (
                json!({"color": "#000000", "deadline": "soon"}),
                vec!["deadline"],
            ),
            (
                json!({"color": "#000000", "deadline_s": 5, "deadline": "2026-11-18T11:07:00Z"}),
                vec!["deadline"],
            ),
        ] {
            match read(body.clone()) {
                Err(ApiError::Invalid(errors)) => {
                    let named: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
                    assert_eq!(named, fields, "{body}");
                }
                other => panic!("{body}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_query_says_how_long_to_wait_and_else_the_preference() {
        let asked = |query: Option<&str>, prefer: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(prefer) = prefer {
                headers.insert("prefer", prefer.parse().unwrap());
            }
            let query = SendQuery {
                wait: query.map(str::to_owned),
            };
            wait(&query, &headers).ok().map(|wait| wait.as_secs())
        };
        assert_eq!(asked(None, None), Some(30));
        assert_eq!(asked(Some("0"), Some("wait=5")), Some(0));
        assert_eq!(asked(None, Some("respond-async, wait=5")), Some(5));
        assert_eq!(asked(None, Some("wait=9999")), Some(120));
        assert_eq!(asked(None, Some("wait=soon")), Some(30));
        for query in ["121", "-1", "1.5", "soon", ""] {
            assert_eq!(asked(Some(query), None), None, "{query:?}");
        }
    }
}
