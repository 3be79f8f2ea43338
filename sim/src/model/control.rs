//! The hands and eyes of whoever runs the simulation: faults to cause, and the truth to compare with.

use std::time::Duration;

use downbeat_core::id::{DevEui, GatewayId};
use downbeat_core::time::Timestamp;

use super::Network;
use super::config::{LampConfig, Link, LinksConfig, NetworkConfig, WebhookConfig};
use super::gateway::{Gateway, Refusal};
use super::lamp::Lamp;
use super::truth::{Cause, GatewayState, GatewayTruth, LightTruth};

impl Network {
    /// How the network is configured now.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// ChirpStack stops or starts. Stopped, it answers nothing, hears nothing and sends nothing; its state survives.
    pub fn set_server_up(&mut self, now: Timestamp, up: bool) {
        self.catch_up(now);
        self.server_up = up;
        if up {
            self.wake_scheduler(self.now);
        }
    }

    /// Whether ChirpStack runs.
    pub fn is_server_up(&self) -> bool {
        self.server_up
    }

    /// A gateway gets or loses power and backhaul. False if there is no such gateway; so with the others below.
    pub fn set_gateway_online(&mut self, now: Timestamp, gateway: GatewayId, online: bool) -> bool {
        self.catch_up(now);
        let now = self.now;
        self.change_gateway(gateway, |gateway| gateway.set_online(online, now))
    }

    /// A gateway radiates nothing of what it takes, or does so again.
    pub fn set_gateway_mute(&mut self, gateway: GatewayId, mute: bool) -> bool {
        self.change_gateway(gateway, |gateway| gateway.mute = mute)
    }

    /// A gateway refuses each frame in this way, or takes them again.
    pub fn set_gateway_refusal(&mut self, gateway: GatewayId, refusal: Option<Refusal>) -> bool {
        self.change_gateway(gateway, |gateway| gateway.refusal = refusal)
    }

    /// A gateway's tx-acks are lost with this probability, and are late by `delay` beyond the latency.
    pub fn set_gateway_tx_ack(&mut self, gateway: GatewayId, loss: f64, delay: Duration) -> bool {
        self.change_gateway(gateway, |gateway| {
            gateway.tx_ack_loss = loss;
            gateway.tx_ack_delay = delay;
        })
    }

    /// Losses and latency of all links.
    pub fn set_links(&mut self, links: LinksConfig) {
        self.config.links = links;
    }

    /// How well one lamp and one gateway hear each other; `None` is not at all.
    pub fn set_link(&mut self, dev_eui: DevEui, gateway: GatewayId, link: Option<Link>) -> bool {
        let (Some(&lamp), Some(&gateway)) = (
            self.lamp_index.get(&dev_eui),
            self.gateway_index.get(&gateway),
        ) else {
            return false;
        };
        self.links[lamp][gateway] = link;
        true
    }

    /// Whether frames take time on air. Without, next to nothing else takes time either: gateways hear while they send,
    /// ChirpStack hands over and tells at once, lamps answer as soon as an answer is credible. The rest is what computers
    /// need.
    pub fn set_airtime(&mut self, now: Timestamp, has_airtime: bool) {
        self.catch_up(now);
        if has_airtime != self.has_airtime() {
            if let Some(before) = self.with_airtime.take() {
                self.config.server = before.server;
                self.config.links.latency = before.links.latency;
                self.config.webhooks.latency = before.webhooks.latency;
            } else {
                self.with_airtime = Some(Box::new(NetworkConfig {
                    links: self.config.links,
                    server: self.config.server,
                    webhooks: self.config.webhooks,
                    ..NetworkConfig::default()
                }));
                self.config.server = self.config.server.without_pauses();
                self.config.links.latency = Duration::ZERO;
                self.config.webhooks.latency = Duration::ZERO;
                for record in self.devices.values_mut() {
                    record.scheduler_run_after = now;
                }
            }
        }
        for gateway in &mut self.gateways {
            gateway.has_airtime = has_airtime;
        }
        for lamp in &mut self.lamps {
            lamp.has_airtime = has_airtime;
        }
        self.wake_scheduler(self.now);
    }

    /// See [`Network::set_airtime`].
    pub fn has_airtime(&self) -> bool {
        self.with_airtime.is_none()
    }

    /// One more lamp, heard by all gateways; its life begins now. False if there is one with this `DevEUI`.
    pub fn add_lamp(&mut self, now: Timestamp, config: LampConfig) -> bool {
        self.catch_up(now);
        if self.lamp_index.contains_key(&config.dev_eui) {
            return false;
        }
        let index = self.lamps.len();
        self.lamp_index.insert(config.dev_eui, index);
        let mut lamp = Lamp::new(config, self.now, self.config.history_max);
        lamp.has_airtime = self.has_airtime();
        self.lamps.push(lamp);
        self.settle(index);
        true
    }

    /// How faithfully the HTTP integration delivers from now on.
    pub fn set_webhooks(&mut self, webhooks: WebhookConfig) {
        self.config.webhooks = webhooks;
    }

    /// A lamp loses its power for an instant: it forgets its session and its colour and joins again.
    pub fn reboot_light(&mut self, now: Timestamp, dev_eui: DevEui) -> bool {
        self.catch_up(now);
        let Some(&lamp) = self.lamp_index.get(&dev_eui) else {
            return false;
        };
        self.restart_lamp(lamp, Cause::Rebooted);
        true
    }

    /// A lamp loses its power, or gets it back and joins.
    pub fn set_light_power(&mut self, now: Timestamp, dev_eui: DevEui, powered: bool) -> bool {
        self.catch_up(now);
        let Some(&lamp) = self.lamp_index.get(&dev_eui) else {
            return false;
        };
        if powered == self.lamps[lamp].powered {
            return true;
        }
        if powered {
            self.restart_lamp(lamp, Cause::Rebooted);
        } else {
            self.lamps[lamp].go_dark(self.now, Cause::PowerLost);
            self.lamps[lamp].powered = false;
            self.lamps[lamp].truth.powered = false;
        }
        true
    }

    /// Every lamp as it really is.
    pub fn lights(&self) -> impl Iterator<Item = &LightTruth> {
        self.lamps.iter().map(|lamp| &lamp.truth)
    }

    /// One lamp as it really is.
    pub fn light(&self, dev_eui: DevEui) -> Option<&LightTruth> {
        self.lamp_index
            .get(&dev_eui)
            .map(|&lamp| &self.lamps[lamp].truth)
    }

    /// Every gateway: as ChirpStack lists it, and as it really is.
    pub fn gateways(&self) -> Vec<GatewayTruth> {
        self.gateways
            .iter()
            .map(|gateway| truth_of(gateway, self.now))
            .collect()
    }

    /// One gateway.
    pub fn gateway(&self, id: GatewayId) -> Option<GatewayTruth> {
        self.gateway_index
            .get(&id)
            .map(|&gateway| truth_of(&self.gateways[gateway], self.now))
    }

    fn change_gateway(&mut self, id: GatewayId, change: impl FnOnce(&mut Gateway)) -> bool {
        let Some(&gateway) = self.gateway_index.get(&id) else {
            return false;
        };
        change(&mut self.gateways[gateway]);
        true
    }
}

fn truth_of(gateway: &Gateway, now: Timestamp) -> GatewayTruth {
    let last_seen_at = gateway.last_seen(now);
    let state = match last_seen_at {
        None => GatewayState::NeverSeen,
        Some(at) if now.since(at) > gateway.config.stats_interval * 2 => GatewayState::Offline,
        Some(_) => GatewayState::Online,
    };
    GatewayTruth {
        gateway_id: gateway.id(),
        name: gateway.config.name.clone(),
        state,
        last_seen_at,
        stats_interval: gateway.config.stats_interval,
        online: gateway.online,
        mute: gateway.mute,
        refusal: gateway.refusal,
        tx_ack_loss: gateway.tx_ack_loss,
        tx_ack_delay: gateway.tx_ack_delay,
        frames_sent: gateway.frames_sent,
        queued: gateway.queued(now),
        airtime_ms: u64::try_from(gateway.airtime_used(now).as_millis()).unwrap_or(u64::MAX),
    }
}
