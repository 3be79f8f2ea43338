//! What all parts of the server share: the model behind a lock, the clock, ChirpStack's faults and its integration.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use downbeat_core::id::DevEui;
use downbeat_core::random::Random;
use downbeat_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use super::clock::Clock;
use super::config::{KeyKind, SimConfig};
use crate::model::{Network, Webhook};

/// Events that ChirpStack keeps of a device (`monitoring.device_event_log_max_history`).
const LOG_LEN: usize = 10;

/// How ChirpStack misbehaves towards those who call it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct ChirpstackFaults {
    /// It does not run: calls get `UNAVAILABLE`, nothing is sent, heard or posted.
    pub down: bool,
    /// It hangs: its doors are open and nothing comes out, as of a process that is stopped or waits for its database.
    /// What was asked meanwhile and still waits is answered afterwards.
    pub hung: bool,
    /// It answers this much later, in ms.
    pub slow_ms: u64,
    /// It answers everything with `INTERNAL`.
    pub failing: bool,
    /// Probability that a call is carried out and its answer never comes.
    pub lose_answers: f64,
}

/// Body format of the HTTP integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Protobuf's JSON.
    #[default]
    Json,
    /// Protobuf itself (`application/octet-stream`).
    Protobuf,
}

/// ChirpStack's HTTP integration of the application.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpIntegration {
    /// Several are separated by commas and called one after another.
    pub url: String,
    /// Sent with each post.
    pub headers: BTreeMap<String, String>,
    /// Body format.
    pub encoding: Encoding,
}

/// See the module.
#[derive(Debug)]
pub(super) struct World {
    network: Mutex<Network>,
    /// Something was changed from outside; the driver looks anew.
    pub(super) changed: Notify,
    pub(super) clock: Clock,
    faults: watch::Sender<ChirpstackFaults>,
    integration: Mutex<Option<HttpIntegration>>,
    log: Mutex<BTreeMap<DevEui, VecDeque<Webhook>>>,
    chance: Mutex<Random>,
    pub(super) keys: BTreeMap<String, KeyKind>,
    pub(super) identity: super::config::Identity,
    /// Turns true when everything is to end.
    pub(super) stopping: watch::Sender<bool>,
}

impl World {
    pub(super) fn new(config: &SimConfig) -> Arc<Self> {
        let clock = Clock::start(config.speed);
        let network = Network::new(config.network.clone(), config.seed, clock.epoch());
        Arc::new(Self {
            network: Mutex::new(network),
            changed: Notify::new(),
            clock,
            faults: watch::Sender::new(ChirpstackFaults::default()),
            integration: Mutex::new(config.integration.clone()),
            log: Mutex::default(),
            chance: Mutex::new(Random::from_seed(config.seed)),
            keys: config.keys.iter().cloned().collect(),
            identity: config.identity.clone(),
            stopping: watch::Sender::new(false),
        })
    }

    /// Looks at the model or changes it, as it is now. Its lock is held meanwhile: do nothing slow.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut Network, Timestamp) -> R) -> R {
        let result = {
            let mut network = lock(&self.network);
            // Never before what the model has already lived through.
            let now = self.clock.now().max(network.now());
            act(&mut network, now)
        };
        self.changed.notify_one();
        result
    }

    /// As [`World::with`], for the driver itself, which needs no waking.
    pub(super) fn drive<R>(&self, act: impl FnOnce(&mut Network, Timestamp) -> R) -> R {
        let mut network = lock(&self.network);
        let now = self.clock.now().max(network.now());
        act(&mut network, now)
    }

    pub(super) fn faults(&self) -> ChirpstackFaults {
        *self.faults.borrow()
    }

    pub(super) fn set_faults(&self, faults: ChirpstackFaults) {
        self.faults.send_replace(faults);
        self.with(|network, now| network.set_server_up(now, !faults.down && !faults.hung));
    }

    /// Waits while it hangs.
    pub(super) async fn hangs(&self) {
        let mut faults = self.faults.subscribe();
        tokio::select! {
            _ = faults.wait_for(|faults| !faults.hung) => {}
            () = self.stopped() => {}
        }
    }

    pub(super) fn integration(&self) -> Option<HttpIntegration> {
        lock(&self.integration).clone()
    }

    pub(super) fn set_integration(&self, integration: Option<HttpIntegration>) {
        *lock(&self.integration) = integration;
    }

    /// Keeps an event in its device's log.
    pub(super) fn log(&self, webhook: &Webhook) {
        let mut logs = lock(&self.log);
        let log = logs.entry(webhook.dev_eui).or_default();
        if log.len() == LOG_LEN {
            log.pop_front();
        }
        log.push_back(webhook.clone());
    }

    /// A device's log, oldest first.
    pub(super) fn logged(&self, dev_eui: DevEui) -> VecDeque<Webhook> {
        lock(&self.log).get(&dev_eui).cloned().unwrap_or_default()
    }

    pub(super) fn answer_is_lost(&self) -> bool {
        let probability = self.faults().lose_answers;
        lock(&self.chance).chance(probability)
    }

    /// Waits that long, or until everything ends.
    pub(super) async fn sleep(&self, duration: Duration) {
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    /// Ends when everything is to end.
    pub(super) async fn stopped(&self) {
        // An error means that the sender is gone, which is the end as well.
        let _ = self
            .stopping
            .subscribe()
            .wait_for(|stopping| *stopping)
            .await;
    }
}

/// A panic of another holder leaves a value that is still whole for our purposes.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
