//! The control API: faults to cause, and what the lamps really show.
//!
//! | call | does |
//! |---|---|
//! | `GET /` | gateways and links together |
//! | `GET /lights`, `GET /lights/{dev_eui}` | what each really shows, and every change with its time and cause |
//! | `POST /lights` | more of them: `first` (a DevEUI, the others count up), `count`, `joined` (false: without power, and unknown to ChirpStack), `heartbeat_s` |
//! | `PATCH /lights/{dev_eui}` | `{"powered": false}` |
//! | `POST /lights/{dev_eui}/reboot` | power off and on: it joins again |
//! | `GET /gateways`, `GET /gateways/{id}` | as ChirpStack lists them, and as they really are |
//! | `PATCH /gateways/{id}` | `online`, `mute`, `refusal`, `tx_ack_loss`, `tx_ack_delay_ms` |
//! | `GET`, `PATCH /links` | `loss_up`, `loss_down`, `latency_ms`, `webhook_loss`, `webhook_duplicate`, `webhook_reorder`, `airtime` (false: frames and all else take no time) |
//! | `GET`, `PATCH /chirpstack` | `down`, `hung`, `slow_ms`, `failing`, `lose_answers` |
//! | `GET /identity` | ids of ChirpStack's tenant, application and device profile |
//!
//! Whatever is left out of a `PATCH` stays. Errors are `application/problem+json`.

mod new_lights;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use downbeat_core::id::{DevEui, GatewayId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use super::world::{ChirpstackFaults, World};
use crate::model::{GatewayTruth, LightTruth, Network, Refusal};

/// Longest pause that may be asked for: an hour.
const PAUSE_MAX_MS: u64 = 3_600_000;

pub(super) fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/", get(overview))
        .route("/identity", get(identity))
        .route("/lights", get(lights).post(new_lights::create))
        .route("/lights/{dev_eui}", get(light).patch(change_light))
        .route("/lights/{dev_eui}/reboot", post(reboot_light))
        .route("/gateways", get(gateways))
        .route("/gateways/{id}", get(gateway).patch(change_gateway))
        .route("/links", get(links).patch(change_links))
        .route("/chirpstack", get(chirpstack).patch(change_chirpstack))
        .fallback(async || Problem::not_found("there is no such path"))
        .with_state(world)
}

type Shared = State<Arc<World>>;

/// Why a request is refused.
#[derive(Debug)]
struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
}

impl Problem {
    fn invalid(detail: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "urn:downbeat:problem:invalid",
            title: "The request is not valid",
            detail: detail.into(),
        }
    }

    fn not_found(detail: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            kind: "urn:downbeat:problem:not-found",
            title: "There is no such thing",
            detail: detail.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            r#type: &'static str,
            title: &'static str,
            status: u16,
            detail: String,
        }
        let body = Body {
            r#type: self.kind,
            title: self.title,
            status: self.status.as_u16(),
            detail: self.detail,
        };
        (
            self.status,
            [(header::CONTENT_TYPE, "application/problem+json")],
            Json(body),
        )
            .into_response()
    }
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::invalid(error.to_string()))
}

fn probability(name: &str, value: Option<f64>) -> Result<Option<f64>, Problem> {
    if value.is_none_or(|value| (0.0..=1.0).contains(&value)) {
        return Ok(value);
    }
    Err(Problem::invalid(format!("{name} must be from 0 to 1")))
}

fn pause(name: &str, ms: Option<u64>) -> Result<Option<u64>, Problem> {
    if ms.is_none_or(|ms| ms <= PAUSE_MAX_MS) {
        return Ok(ms);
    }
    Err(Problem::invalid(format!(
        "{name} must be at most {PAUSE_MAX_MS}"
    )))
}

fn dev_eui(text: &str) -> Result<DevEui, Problem> {
    text.parse()
        .map_err(|error| Problem::invalid(format!("dev_eui {error}")))
}

fn gateway_id(text: &str) -> Result<GatewayId, Problem> {
    text.parse()
        .map_err(|error| Problem::invalid(format!("gateway id {error}")))
}

fn no_light() -> Problem {
    Problem::not_found("there is no such light")
}

fn no_gateway() -> Problem {
    Problem::not_found("there is no such gateway")
}

#[derive(Serialize)]
struct Lights {
    lights: Vec<LightTruth>,
}

async fn lights(State(world): Shared) -> Json<Lights> {
    let lights = up_to_now(&world, |network| {
        network.lights().cloned().collect::<Vec<_>>()
    });
    Json(Lights {
        lights: lights
            .into_iter()
            .map(|light| in_real_time(&world, light))
            .collect(),
    })
}

async fn light(State(world): Shared, Path(id): Path<String>) -> Result<Json<LightTruth>, Problem> {
    let id = dev_eui(&id)?;
    let light = up_to_now(&world, |network| network.light(id).cloned()).ok_or_else(no_light)?;
    Ok(Json(in_real_time(&world, light)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LightPatch {
    powered: bool,
}

async fn change_light(
    State(world): Shared,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<LightTruth>, Problem> {
    let eui = dev_eui(&id)?;
    let LightPatch { powered } = read(&body)?;
    if !world.with(|network, now| network.set_light_power(now, eui, powered)) {
        return Err(no_light());
    }
    light(State(world), Path(id)).await
}

async fn reboot_light(
    State(world): Shared,
    Path(id): Path<String>,
) -> Result<Json<LightTruth>, Problem> {
    let eui = dev_eui(&id)?;
    if !world.with(|network, now| network.reboot_light(now, eui)) {
        return Err(no_light());
    }
    light(State(world), Path(id)).await
}

#[derive(Serialize)]
struct Gateways {
    gateways: Vec<GatewayTruth>,
}

async fn gateways(State(world): Shared) -> Json<Gateways> {
    let gateways = up_to_now(&world, Network::gateways);
    Json(Gateways {
        gateways: gateways
            .into_iter()
            .map(|gateway| seen_in_real_time(&world, gateway))
            .collect(),
    })
}

async fn gateway(
    State(world): Shared,
    Path(id): Path<String>,
) -> Result<Json<GatewayTruth>, Problem> {
    let id = gateway_id(&id)?;
    let gateway = up_to_now(&world, |network| network.gateway(id)).ok_or_else(no_gateway)?;
    Ok(Json(seen_in_real_time(&world, gateway)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GatewayPatch {
    online: Option<bool>,
    mute: Option<bool>,
    #[expect(
        clippy::option_option,
        reason = "left out, null and a value are three different things"
    )]
    #[serde(default, deserialize_with = "present")]
    refusal: Option<Option<Refusal>>,
    tx_ack_loss: Option<f64>,
    tx_ack_delay_ms: Option<u64>,
}

/// Tells `null`, which takes a setting back, from a field that is left out.
#[expect(
    clippy::option_option,
    reason = "left out, null and a value are three different things"
)]
fn present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<Refusal>>, D::Error> {
    Option::<Refusal>::deserialize(deserializer).map(Some)
}

async fn change_gateway(
    State(world): Shared,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<GatewayTruth>, Problem> {
    let key = gateway_id(&id)?;
    let patch: GatewayPatch = read(&body)?;
    let loss = probability("tx_ack_loss", patch.tx_ack_loss)?;
    let delay = pause("tx_ack_delay_ms", patch.tx_ack_delay_ms)?;
    let found = world.with(|network, now| {
        let Some(before) = network.gateway(key) else {
            return false;
        };
        if let Some(online) = patch.online {
            network.set_gateway_online(now, key, online);
        }
        if let Some(mute) = patch.mute {
            network.set_gateway_mute(key, mute);
        }
        if let Some(refusal) = patch.refusal {
            network.set_gateway_refusal(key, refusal);
        }
        let delay = delay.map_or(before.tx_ack_delay, Duration::from_millis);
        network.set_gateway_tx_ack(key, loss.unwrap_or(before.tx_ack_loss), delay)
    });
    if found {
        gateway(State(world), Path(id)).await
    } else {
        Err(no_gateway())
    }
}

#[derive(Serialize)]
struct Links {
    loss_up: f64,
    loss_down: f64,
    latency_ms: u64,
    webhook_loss: f64,
    webhook_duplicate: f64,
    webhook_reorder: f64,
    airtime: bool,
}

#[derive(Serialize)]
struct Overview {
    gateways: Vec<GatewayTruth>,
    links: Links,
}

/// What a page of switches needs to begin with.
async fn overview(world: Shared) -> Json<Overview> {
    let Json(Gateways { gateways }) = gateways(State(Arc::clone(&world.0))).await;
    let Json(links) = links(world).await;
    Json(Overview { gateways, links })
}

async fn links(State(world): Shared) -> Json<Links> {
    let (links, webhooks, airtime) = world.with(|network, _| {
        let config = network.config();
        (config.links, config.webhooks, network.has_airtime())
    });
    Json(Links {
        loss_up: links.loss_up,
        loss_down: links.loss_down,
        latency_ms: u64::try_from(links.latency.as_millis()).unwrap_or(u64::MAX),
        webhook_loss: webhooks.loss,
        webhook_duplicate: webhooks.duplicate,
        webhook_reorder: webhooks.reorder,
        airtime,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinksPatch {
    loss_up: Option<f64>,
    loss_down: Option<f64>,
    latency_ms: Option<u64>,
    webhook_loss: Option<f64>,
    webhook_duplicate: Option<f64>,
    webhook_reorder: Option<f64>,
    airtime: Option<bool>,
}

async fn change_links(State(world): Shared, body: Bytes) -> Result<Json<Links>, Problem> {
    let patch: LinksPatch = read(&body)?;
    let loss_up = probability("loss_up", patch.loss_up)?;
    let loss_down = probability("loss_down", patch.loss_down)?;
    let latency_ms = pause("latency_ms", patch.latency_ms)?;
    let loss = probability("webhook_loss", patch.webhook_loss)?;
    let duplicate = probability("webhook_duplicate", patch.webhook_duplicate)?;
    let reorder = probability("webhook_reorder", patch.webhook_reorder)?;
    world.with(|network, now| {
        if let Some(airtime) = patch.airtime {
            network.set_airtime(now, airtime);
        }
        let (mut links, mut webhooks) = (network.config().links, network.config().webhooks);
        links.loss_up = loss_up.unwrap_or(links.loss_up);
        links.loss_down = loss_down.unwrap_or(links.loss_down);
        links.latency = latency_ms.map_or(links.latency, Duration::from_millis);
        webhooks.loss = loss.unwrap_or(webhooks.loss);
        webhooks.duplicate = duplicate.unwrap_or(webhooks.duplicate);
        webhooks.reorder = reorder.unwrap_or(webhooks.reorder);
        network.set_links(links);
        network.set_webhooks(webhooks);
    });
    Ok(self::links(State(world)).await)
}

#[derive(Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "ChirpStack's own names, as in the API"
)]
struct IdentityBody {
    tenant_id: Uuid,
    application_id: Uuid,
    device_profile_id: Uuid,
}

async fn identity(State(world): Shared) -> Json<IdentityBody> {
    let identity = &world.identity;
    Json(IdentityBody {
        tenant_id: identity.tenant_id,
        application_id: identity.application_id,
        device_profile_id: identity.device_profile_id,
    })
}

async fn chirpstack(State(world): Shared) -> Json<ChirpstackFaults> {
    Json(world.faults())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChirpstackPatch {
    down: Option<bool>,
    hung: Option<bool>,
    slow_ms: Option<u64>,
    failing: Option<bool>,
    lose_answers: Option<f64>,
}

async fn change_chirpstack(
    State(world): Shared,
    body: Bytes,
) -> Result<Json<ChirpstackFaults>, Problem> {
    let patch: ChirpstackPatch = read(&body)?;
    let lose_answers = probability("lose_answers", patch.lose_answers)?;
    let slow_ms = pause("slow_ms", patch.slow_ms)?;
    let mut faults = world.faults();
    faults.down = patch.down.unwrap_or(faults.down);
    faults.hung = patch.hung.unwrap_or(faults.hung);
    faults.slow_ms = slow_ms.unwrap_or(faults.slow_ms);
    faults.failing = patch.failing.unwrap_or(faults.failing);
    faults.lose_answers = lose_answers.unwrap_or(faults.lose_answers);
    world.set_faults(faults);
    Ok(Json(faults))
}

fn up_to_now<R>(world: &World, look: impl FnOnce(&Network) -> R) -> R {
    world.with(|network, now| {
        network.catch_up(now);
        look(network)
    })
}

fn in_real_time(world: &World, mut light: LightTruth) -> LightTruth {
    light.since = world.clock.to_real(light.since);
    for change in &mut light.changes {
        change.at = world.clock.to_real(change.at);
    }
    for frame in &mut light.received {
        frame.at = world.clock.to_real(frame.at);
    }
    light
}

fn seen_in_real_time(world: &World, mut gateway: GatewayTruth) -> GatewayTruth {
    gateway.last_seen_at = gateway.last_seen_at.map(|at| world.clock.to_real(at));
    gateway
}
