//! The lights of a run: made in the simulator, registered over the API, and there when they were heard.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::simulator::Simulator;
use crate::cli::loadtest::sse::LiveStream;
use crate::cli::loadtest::target::{LoadError, TAG, Target, answered};
use crate::cli::loadtest::uplink::remove_devices;

/// Registrations at once.
const AT_ONCE: usize = 16;

/// Longer than any fleet takes: joins are tried again each 10 to 20 s, and settings wait for air.
const PATIENCE: Duration = Duration::from_mins(10);

/// Lights that are given power a second: each join takes air.
const POWERED_PER_SECOND: u64 = 10;

/// The lights of a run.
#[derive(Debug)]
pub(super) struct Fleet {
    /// In order.
    pub(super) dev_euis: Vec<String>,
    /// The registry's ids.
    ids: Vec<String>,
}

/// How they come to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct FleetPlan {
    pub(super) lights: u64,
    /// They are made in ChirpStack by Downbeat, join, and get their settings; otherwise ChirpStack has them, joined.
    pub(super) join: bool,
    /// Pause between what they say by themselves.
    pub(super) heartbeat: Duration,
}

/// The parts of `device` and `sync` events that matter here.
#[derive(Deserialize)]
struct Told<'a> {
    lorawan_dev_eui: &'a str,
    #[serde(default)]
    chirpstack_synced: bool,
    last_seen: Option<&'a str>,
    initialisation: Option<Initialisation<'a>>,
}

#[derive(Deserialize)]
struct Initialisation<'a> {
    state: &'a str,
}

impl Fleet {
    /// Makes it, and waits until each light can be reached.
    pub(super) async fn make(
        plan: FleetPlan,
        target: &Target,
        simulator: &Simulator,
    ) -> Result<Self, LoadError> {
        let dev_euis: Vec<String> = (0..plan.lights).map(|it| target.dev_eui(it)).collect();
        let live = LiveStream::open(target).await;
        let mut live = live.map_err(LoadError::of("following the live stream"))?;
        let heartbeat_s = plan.heartbeat.as_secs();
        if plan.join {
            let first = &dev_euis[0];
            simulator
                .add_lights(first, plan.lights, false, heartbeat_s)
                .await?;
        }
        let ids = register(plan, target, simulator, &dev_euis).await?;
        let fleet = Self { dev_euis, ids };
        if plan.join {
            let is_in_step = |told: &Told<'_>| told.chirpstack_synced;
            let what = "ChirpStack has all lights";
            fleet.wait(&mut live, "sync", is_in_step, what).await?;
            let mut beat = tokio::time::interval(Duration::from_millis(1000 / POWERED_PER_SECOND));
            for dev_eui in &fleet.dev_euis {
                beat.tick().await;
                simulator.power(dev_eui, true).await?;
            }
            let is_ready = |told: &Told<'_>| {
                let settings = told.initialisation.as_ref();
                told.last_seen.is_some() && settings.is_some_and(|it| it.state == "done")
            };
            let what = "all lights have joined and have their settings";
            fleet.wait(&mut live, "device", is_ready, what).await?;
        } else {
            let first = &fleet.dev_euis[0];
            simulator
                .add_lights(first, plan.lights, true, heartbeat_s)
                .await?;
            let is_heard = |told: &Told<'_>| told.last_seen.is_some();
            let what = "all lights are heard (does the simulator post its webhooks here?)";
            fleet.wait(&mut live, "device", is_heard, what).await?;
        }
        Ok(fleet)
    }

    /// Waits for such an event of each light.
    async fn wait(
        &self,
        live: &mut LiveStream,
        name: &str,
        fits: impl Fn(&Told<'_>) -> bool,
        what: &str,
    ) -> Result<(), LoadError> {
        let mut missing: BTreeSet<&str> = self.dev_euis.iter().map(String::as_str).collect();
        let all = async {
            while !missing.is_empty() {
                let event = live.next().await;
                if event.name == name
                    && let Ok(told) = serde_json::from_str::<Told<'_>>(&event.data)
                    && fits(&told)
                {
                    missing.remove(told.lorawan_dev_eui);
                }
            }
        };
        let all = tokio::time::timeout(PATIENCE, all).await;
        all.map_err(|_| LoadError::TooLate {
            what: what.to_owned(),
            patience: PATIENCE,
        })
    }

    /// Takes the lights out of the registry, and their power. Gives how many could not be taken out.
    pub(super) async fn remove(
        self,
        target: &Target,
        simulator: &Simulator,
    ) -> Result<usize, LoadError> {
        let left = remove_devices(target, self.ids.iter()).await;
        for dev_eui in &self.dev_euis {
            simulator.power(dev_eui, false).await?;
        }
        Ok(left)
    }
}

async fn register(
    plan: FleetPlan,
    target: &Target,
    simulator: &Simulator,
    dev_euis: &[String],
) -> Result<Vec<String>, LoadError> {
    let identity = simulator.identity().await?;
    let register = |(number, dev_eui): (usize, String)| {
        let mut body = json!({
            "name": format!("Load {number}"),
            "lorawan_dev_eui": dev_eui,
            "codec": "kuando_busylight",
            "tags": {TAG: target.run()},
        });
        if plan.join {
            body["chirpstack_app_id"] = identity.application_id.to_string().into();
            body["device_profile_id"] = identity.device_profile_id.to_string().into();
            body["app_key"] = format!("{number:032x}").into();
        } else {
            // They have the settings that matter.
            body["policy"] = json!({"initialise": false});
        }
        let request = target.of_tenant(Method::POST, "/devices").json(&body);
        async move {
            let device = answered(request, StatusCode::CREATED).await;
            let device = device.map_err(LoadError::of(format!("registering {dev_eui}")))?;
            Ok(device["id"].as_str().unwrap_or_default().to_owned())
        }
    };
    let made = stream::iter(dev_euis.iter().cloned().enumerate()).map(register);
    made.buffered(AT_ONCE).try_collect().await
}
