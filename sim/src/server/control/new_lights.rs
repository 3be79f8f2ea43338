//! `POST /lights`: more lights, while everything runs.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use downbeat_core::id::DevEui;
use serde::{Deserialize, Serialize};

use super::{Problem, Shared, dev_eui, read};
use crate::model::config::{LampConfig, LampStart};
use crate::server::config::as_in_fleets;

/// At most so many in one call.
const COUNT_MAX: u64 = 100_000;

/// The longest heartbeat that the firmware knows, in seconds: 255 minutes.
const HEARTBEAT_MAX_S: u64 = 255 * 60;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewLights {
    first: String,
    count: u64,
    joined: Option<bool>,
    heartbeat_s: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Created {
    dev_euis: Vec<DevEui>,
}

/// All of them, or none where one is there already.
pub(super) async fn create(
    State(world): Shared,
    body: Bytes,
) -> Result<(StatusCode, Json<Created>), Problem> {
    let new: NewLights = read(&body)?;
    let first = dev_eui(&new.first)?.as_u64();
    if new.count > COUNT_MAX || first.checked_add(new.count).is_none() {
        return Err(Problem::invalid(format!(
            "count must be at most {COUNT_MAX}"
        )));
    }
    if new
        .heartbeat_s
        .is_some_and(|it| !(1..=HEARTBEAT_MAX_S).contains(&it))
    {
        return Err(Problem::invalid(format!(
            "heartbeat_s must be from 1 to {HEARTBEAT_MAX_S}"
        )));
    }
    let dev_euis: Vec<DevEui> = (first..first + new.count).map(DevEui::from_u64).collect();
    let is_joined = new.joined.unwrap_or(true);
    let is_new = world.with(|network, now| {
        let are_new = dev_euis.iter().all(|it| network.light(*it).is_none());
        for dev_eui in dev_euis.iter().filter(|_| are_new) {
            let mut lamp = LampConfig::new(*dev_eui);
            as_in_fleets(&mut lamp);
            if let Some(seconds) = new.heartbeat_s {
                lamp.heartbeat = Duration::from_secs(seconds);
            }
            if !is_joined {
                lamp.registered = false;
                lamp.start = LampStart::Unpowered;
            }
            network.add_lamp(now, lamp);
        }
        are_new
    });
    if is_new {
        Ok((StatusCode::CREATED, Json(Created { dev_euis })))
    } else {
        Err(Problem {
            status: StatusCode::CONFLICT,
            kind: "urn:downbeat:problem:conflict",
            title: "There is one already",
            detail: "a light has one of these DevEUIs".to_owned(),
        })
    }
}
