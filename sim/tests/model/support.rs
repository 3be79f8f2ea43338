//! A network with a stopwatch.

use std::time::Duration;

use downbeat_core::id::{DevEui, GatewayId, QueueItemId};
use downbeat_core::network::NetworkEvent;
use downbeat_core::time::Timestamp;
use downbeat_sim::model::config::{DutyCycle, FIRST_DEV_EUI, FIRST_GATEWAY_ID, NetworkConfig};
use downbeat_sim::model::{Network, NewQueueItem, Webhook};

pub(crate) const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);

pub(crate) const RED: [u8; 5] = [255, 0, 0, 255, 0];
pub(crate) const GREEN: [u8; 5] = [0, 0, 255, 255, 0];
pub(crate) const BLUE: [u8; 5] = [0, 255, 0, 255, 0];

pub(crate) struct World {
    pub(crate) network: Network,
    pub(crate) now: Timestamp,
    pub(crate) webhooks: Vec<Webhook>,
}

/// Lamps as in the lab: each answers every downlink, and no duty cycle holds it back.
pub(crate) fn lab(lamps: u32, gateways: u32) -> NetworkConfig {
    NetworkConfig::fleet(lamps, gateways).with_lamps(|lamp| {
        lamp.auto_uplink = true;
        lamp.duty_cycle = DutyCycle::UNLIMITED;
    })
}

pub(crate) fn lamp(index: u64) -> DevEui {
    DevEui::from_u64(FIRST_DEV_EUI + index)
}

pub(crate) fn gateway(index: u64) -> GatewayId {
    GatewayId::from_u64(FIRST_GATEWAY_ID + index)
}

pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

impl World {
    /// A network in which every lamp has sent its first uplink and no lock is left.
    pub(crate) fn settled(config: NetworkConfig, seed: u64) -> Self {
        let mut world = Self::new(config, seed);
        world.wait(10.0);
        world.webhooks.clear();
        world
    }

    pub(crate) fn new(config: NetworkConfig, seed: u64) -> Self {
        Self {
            network: Network::new(config, seed, START),
            now: START,
            webhooks: Vec::new(),
        }
    }

    /// Lives on for so many seconds.
    pub(crate) fn wait(&mut self, duration: f64) {
        self.now = self.now + seconds(duration);
        self.webhooks.extend(self.network.advance(self.now));
    }

    /// Lives on in steps of the network's own until something holds: after how many seconds; at most `most`.
    pub(crate) fn wait_until(
        &mut self,
        most: f64,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> Option<f64> {
        let from = self.now;
        let end = from + seconds(most);
        while !holds(self) {
            let next = self.network.next_event_at()?;
            if next > end {
                return None;
            }
            self.now = self.now.max(next);
            self.webhooks.extend(self.network.advance(self.now));
        }
        Some(self.now.since(from).as_secs_f64())
    }

    pub(crate) fn enqueue(&mut self, dev_eui: DevEui, payload: [u8; 5]) -> QueueItemId {
        let item = NewQueueItem {
            f_port: 15,
            payload: payload.to_vec(),
            ..NewQueueItem::default()
        };
        self.network
            .enqueue(self.now, dev_eui, item)
            .expect("a known device")
    }

    /// Seconds until the lamp shows this item; `None` if not within `most`.
    pub(crate) fn shown_after(
        &mut self,
        most: f64,
        dev_eui: DevEui,
        item: QueueItemId,
    ) -> Option<f64> {
        self.wait_until(most, |world| world.has_shown(dev_eui, item))
    }

    pub(crate) fn has_shown(&self, dev_eui: DevEui, item: QueueItemId) -> bool {
        self.network
            .light(dev_eui)
            .expect("a known lamp")
            .has_shown(item)
    }

    /// Seconds until a webhook of this kind; `None` if not within `most`.
    pub(crate) fn told_after(
        &mut self,
        most: f64,
        is_it: impl Fn(&NetworkEvent) -> bool,
    ) -> Option<f64> {
        let seen = self.webhooks.len();
        self.wait_until(most, |world| {
            world.webhooks[seen..]
                .iter()
                .any(|webhook| is_it(&webhook.event))
        })
    }

    pub(crate) fn count(&self, is_it: impl Fn(&NetworkEvent) -> bool) -> usize {
        self.webhooks
            .iter()
            .filter(|webhook| is_it(&webhook.event))
            .count()
    }

    pub(crate) fn queue_len(&self, dev_eui: DevEui) -> usize {
        self.network.queue(dev_eui).expect("a known device").len()
    }
}

pub(crate) fn is_txack(event: &NetworkEvent) -> bool {
    matches!(event, NetworkEvent::Transmitted(_))
}

pub(crate) fn is_up(event: &NetworkEvent) -> bool {
    matches!(event, NetworkEvent::Heard(_))
}

/// Asserts that a measurement lies in the observed range.
#[track_caller]
pub(crate) fn assert_within(measured: Option<f64>, least: f64, most: f64) {
    let measured = measured.expect("it happens");
    assert!(
        (least..=most).contains(&measured),
        "{measured} s is not within {least} to {most} s"
    );
}
