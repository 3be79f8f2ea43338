//! Knows which gateways are there.

use std::time::Duration;

use downbeat_core::device::{Event, Record};
use downbeat_core::gateway::{
    GatewayChange, GatewayConfig, GatewaySnapshot, GatewayTable, ListedGateway, ListedState,
};
use downbeat_core::id::{DevEui, DeviceId, GatewayId};
use downbeat_core::link_quality::table::{LinkTable, Owner};
use downbeat_core::link_quality::{no_answer_is_due_after, proof_told_by};
use downbeat_core::network::NetworkEvent;
use downbeat_core::radio::DeviceClass;
use downbeat_core::time::Timestamp;
use downbeat_sim::model::GatewayState;

use crate::actors::tenant_of;
use crate::world::{Planned, World};

/// Between two looks at the time: who goes offline or falls mute does so by what does not happen.
const TICK: Duration = Duration::from_secs(3);
/// Between two lists of ChirpStack's.
const PERIOD: Duration = Duration::from_secs(30);
/// News that change nobody's mind are published at most so often.
const PUBLISH_PAUSE: Duration = Duration::from_secs(1);

/// What a gateway may send within an hour: 10 % where Class C is sent in Europe, and the answers in RX1 and to joins
/// beside, which are not ours to decide.
const AIRTIME_MAX_MS: u64 = 360_000 + 108_000;

#[derive(Debug)]
pub(crate) struct Monitor {
    table: GatewayTable,
    links: LinkTable,
    pub(crate) snapshot: GatewaySnapshot,
    listed_at: Option<Timestamp>,
    published_at: Option<Timestamp>,
}

impl Monitor {
    pub(crate) fn new(clock: Timestamp) -> Self {
        let table = GatewayTable::new(GatewayConfig::default());
        Self {
            snapshot: table.snapshot(clock),
            table,
            links: LinkTable::default(),
            listed_at: None,
            published_at: None,
        }
    }
}

impl Monitor {
    /// Devices of which no gateway that heard them last is worth sending to.
    pub(crate) fn out_of_reach(&self) -> Vec<Owner> {
        self.links.out_of_reach(&self.snapshot)
    }

    pub(crate) fn is_out_of_reach(&self, dev_eui: DevEui) -> bool {
        let device = self.links.device(dev_eui);
        device.is_some_and(|device| device.links.is_out_of_reach(&self.snapshot))
    }

    /// The gateway that heard a device best last.
    fn best(&self, dev_eui: DevEui) -> Option<GatewayId> {
        self.links.device(dev_eui)?.links.route().first().copied()
    }
}

impl World {
    pub(crate) fn on_monitor_tick(&mut self) {
        self.plan_mine(self.now + TICK, Planned::MonitorTick);
        let clock = self.clock();
        let changes = self.monitor.table.tick(clock);
        let listed_at = self.monitor.listed_at;
        if listed_at.is_none_or(|at| clock < at || clock.since(at) >= PERIOD) {
            self.monitor.listed_at = Some(clock);
            self.publish(clock, &changes, true);
            self.check_airtime();
            self.list_gateways();
        } else if !changes.is_empty() {
            self.publish(clock, &changes, true);
        }
    }

    pub(crate) fn on_listed(&mut self, list: Option<Vec<ListedGateway>>) {
        let Some(list) = list else { return };
        let clock = self.clock();
        let changes = self.monitor.table.listed(clock, list);
        self.publish(clock, &changes, true);
    }

    /// What a device's event tells of gateways.
    pub(crate) fn on_news_of_gateways(&mut self, slot: usize, event: &NetworkEvent) {
        let (clock, owner) = (self.clock(), self.owner(slot));
        let dev_eui = owner.dev_eui;
        let monitor = &mut self.monitor;
        let mut changes = Vec::new();
        match event {
            NetworkEvent::Heard(uplink) => {
                for reception in &uplink.receptions {
                    changes.extend(monitor.table.heard(clock, dev_eui, reception));
                }
                if monitor.links.heard(clock, owner, uplink)
                    && let Some(best) = monitor.best(dev_eui)
                {
                    monitor.table.rerouted(clock, dev_eui, best);
                }
            }
            NetworkEvent::Transmitted(event) => {
                let Some(gateway_id) = event.gateway_id else {
                    return;
                };
                monitor.links.taken(dev_eui, gateway_id);
                monitor.table.answered(dev_eui);
                changes = monitor.table.transmitted(clock, gateway_id);
            }
            NetworkEvent::Refused(_) => {
                monitor.table.answered(dev_eui);
                if let Some(best) = monitor.best(dev_eui) {
                    monitor.table.refused(clock, best);
                }
                return;
            }
            NetworkEvent::Joined(_)
            | NetworkEvent::Acknowledged(_)
            | NetworkEvent::Dropped(_)
            | NetworkEvent::Logged(_)
            | NetworkEvent::StatusReported(_)
            | NetworkEvent::Located(_)
            | NetworkEvent::PresenceTold(_)
            | NetworkEvent::Integrated => return,
        }
        self.publish(clock, &changes, false);
    }

    /// ChirpStack has an item for a device: a gateway ought to take it.
    pub(crate) fn on_handed_over(&mut self, slot: usize) {
        let (clock, dev_eui) = (self.clock(), self.slots[slot].dev_eui);
        let monitor = &mut self.monitor;
        let Some(device) = monitor.links.device(dev_eui) else {
            return;
        };
        let links = &device.links;
        if links.class() != DeviceClass::A
            && links.has_been_sent_to()
            && let Some(best) = links.route().first()
        {
            monitor.table.handed_over(clock, dev_eui, *best);
        }
    }

    /// What a step of a downlink that is stored says of gateways.
    pub(crate) fn on_record_of_gateways(&mut self, slot: usize, record: &Record) {
        let (clock, dev_eui) = (self.clock(), self.slots[slot].dev_eui);
        let monitor = &mut self.monitor;
        if let Some(proven) = proof_told_by(record)
            && let Some(judgement) = monitor.links.judged(dev_eui, proven)
        {
            monitor.table.judged(clock, judgement);
        }
        if no_answer_is_due_after(record) {
            monitor.table.answered(dev_eui);
        }
    }

    fn owner(&self, index: usize) -> Owner {
        let slot = &self.slots[index];
        Owner {
            dev_eui: slot.dev_eui,
            device_id: slot.row.as_ref().map_or_else(
                || DeviceId::from_uuid(uuid::Uuid::nil()),
                |row| row.device_id,
            ),
            tenant_id: tenant_of(index),
        }
    }

    /// Changes go out at once and wake the devices that wait for a gateway.
    fn publish(&mut self, clock: Timestamp, changes: &[GatewayChange], is_due: bool) {
        let monitor = &mut self.monitor;
        let has_rested = monitor
            .published_at
            .is_none_or(|published| clock.since(published) >= PUBLISH_PAUSE);
        if changes.is_empty() && !is_due && !has_rested {
            return;
        }
        monitor.published_at = Some(clock);
        monitor.snapshot = monitor.table.snapshot(clock);
        let came = changes.iter().any(|change| change.transition.opens_a_way());
        if came {
            self.deliver_to_all(&Event::GatewaysChanged, true);
        }
    }

    /// No gateway sends for longer than it may.
    fn check_airtime(&mut self) {
        for gateway in self.network.gateways() {
            if gateway.airtime_ms > AIRTIME_MAX_MS {
                let (id, seconds) = (gateway.gateway_id, gateway.airtime_ms / 1000);
                self.check(Err(format!("{id} sent for {seconds} s within an hour")));
            }
        }
    }

    /// As ChirpStack lists them.
    pub(crate) fn listed_gateways(&self) -> Vec<ListedGateway> {
        let gateways = self.network.gateways().into_iter();
        gateways
            .map(|gateway| ListedGateway {
                gateway_id: gateway.gateway_id,
                name: gateway.name,
                tenant_id: None,
                state: match gateway.state {
                    GatewayState::NeverSeen => ListedState::NeverSeen,
                    GatewayState::Online => ListedState::Online,
                    GatewayState::Offline => ListedState::Offline,
                },
                last_seen_at: gateway.last_seen_at,
                location: None,
            })
            .collect()
    }
}
