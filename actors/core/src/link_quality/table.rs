//! All links of a network server, by device and by gateway.
//!
//! What changed is taken out in portions, to be stored; what was stored is put back at the start. In between nothing is
//! lost that matters: averages of a minute ago are as good as these.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{DeviceLinks, Judgement, Link};
use crate::gateway::GatewaySnapshot;
use crate::id::{DevEui, DeviceId, GatewayId, TenantId};
use crate::network::Uplink;
use crate::radio::DeviceClass;
use crate::time::Timestamp;

/// Devices that a table holds; further ones have no links.
pub const DEVICES_MAX: usize = 200_000;

/// Whose device it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its `DevEUI`.
    pub dev_eui: DevEui,
    /// Its id in the registry.
    pub device_id: DeviceId,
    /// Its tenant.
    pub tenant_id: TenantId,
}

/// A device with its links.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkedDevice {
    /// Whose it is.
    pub owner: Owner,
    /// Its links.
    pub links: DeviceLinks,
}

/// A device as one gateway hears it.
#[derive(Debug, Clone, PartialEq)]
pub struct HeardDevice {
    /// Whose it is.
    pub owner: Owner,
    /// The link between the two.
    pub link: Link,
    /// Whether this gateway heard the newest uplink best.
    pub is_best: bool,
}

/// All links of a network server.
#[derive(Debug, Clone, Default)]
pub struct LinkTable {
    devices: BTreeMap<DevEui, LinkedDevice>,
    by_gateway: BTreeMap<GatewayId, BTreeSet<DevEui>>,
    /// Changed since it was last taken out to be stored.
    changed: BTreeSet<DevEui>,
}

impl LinkTable {
    /// Puts back what was stored. What was learnt since then stands.
    pub fn restore(&mut self, stored: impl IntoIterator<Item = LinkedDevice>) {
        for mut device in stored {
            let dev_eui = device.owner.dev_eui;
            if self.devices.contains_key(&dev_eui) || self.devices.len() >= DEVICES_MAX {
                continue;
            }
            device.links.tidy();
            self.note_gateways(dev_eui, &device.links);
            self.devices.insert(dev_eui, device);
        }
    }

    /// A device spoke. Tells whether that was news.
    pub fn heard(&mut self, now: Timestamp, owner: Owner, uplink: &Uplink) -> bool {
        let dev_eui = owner.dev_eui;
        if self.devices.len() >= DEVICES_MAX && !self.devices.contains_key(&dev_eui) {
            return false;
        }
        let new = || LinkedDevice {
            owner,
            links: DeviceLinks::default(),
        };
        let device = self.devices.entry(dev_eui).or_insert_with(new);
        if device.owner != owner {
            // Registered anew: another device, as far as anyone knows.
            let before = std::mem::replace(device, new());
            for link in before.links.links() {
                forget(&mut self.by_gateway, link.gateway_id, dev_eui);
            }
        }
        let Some(device) = self.devices.get_mut(&dev_eui) else {
            return false;
        };
        let before: Vec<GatewayId> = ids(&device.links);
        if !device.links.heard(now, uplink) {
            return false;
        }
        let after = ids(&device.links);
        for gone in before.iter().filter(|id| !after.contains(id)) {
            forget(&mut self.by_gateway, *gone, dev_eui);
        }
        for gateway_id in after {
            self.by_gateway
                .entry(gateway_id)
                .or_default()
                .insert(dev_eui);
        }
        self.changed.insert(dev_eui);
        true
    }

    /// A gateway took a downlink for a device.
    pub fn taken(&mut self, dev_eui: DevEui, gateway_id: GatewayId) {
        if let Some(device) = self.devices.get_mut(&dev_eui) {
            device.links.taken(gateway_id);
            self.changed.insert(dev_eui);
        }
    }

    /// A device proved the downlink that a gateway took last for it, or did not in time.
    pub fn judged(&mut self, dev_eui: DevEui, proven: bool) -> Option<Judgement> {
        let judgement = self.devices.get_mut(&dev_eui)?.links.judged(proven)?;
        self.changed.insert(dev_eui);
        Some(judgement)
    }

    /// A device left the registry.
    pub fn forget(&mut self, dev_eui: DevEui) {
        if let Some(device) = self.devices.remove(&dev_eui) {
            for link in device.links.links() {
                forget(&mut self.by_gateway, link.gateway_id, dev_eui);
            }
        }
        self.changed.remove(&dev_eui);
    }

    /// A device with its links.
    pub fn device(&self, dev_eui: DevEui) -> Option<&LinkedDevice> {
        self.devices.get(&dev_eui)
    }

    /// The devices that a gateway has a link with, by `DevEUI`, after one and of one tenant if that is asked.
    pub fn of_gateway(
        &self,
        gateway_id: GatewayId,
        tenant_id: Option<TenantId>,
        after: Option<DevEui>,
        limit: usize,
    ) -> Vec<HeardDevice> {
        let Some(heard) = self.by_gateway.get(&gateway_id) else {
            return Vec::new();
        };
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        heard
            .range((from, std::ops::Bound::Unbounded))
            .filter_map(|dev_eui| self.devices.get(dev_eui))
            .filter(|device| tenant_id.is_none_or(|tenant| device.owner.tenant_id == tenant))
            .filter_map(|device| {
                Some(HeardDevice {
                    owner: device.owner,
                    link: device.links.link(gateway_id)?.clone(),
                    is_best: device.links.route().first() == Some(&gateway_id),
                })
            })
            .take(limit)
            .collect()
    }

    /// How many devices a gateway has a link with.
    pub fn heard_by(&self, gateway_id: GatewayId) -> usize {
        self.by_gateway.get(&gateway_id).map_or(0, BTreeSet::len)
    }

    /// Devices of which no gateway that heard the newest uplink is worth sending to: nothing that is in ChirpStack's
    /// queue for them moves. None while no gateway is known at all.
    pub fn out_of_reach(&self, gateways: &GatewaySnapshot) -> Vec<Owner> {
        self.devices
            .values()
            .filter(|device| device.links.is_out_of_reach(gateways))
            .map(|device| device.owner)
            .collect()
    }

    /// A tenant's devices that are in a class, as their last uplink told.
    pub fn of_class(&self, class: DeviceClass, tenant_id: TenantId) -> Vec<Owner> {
        self.devices
            .values()
            .filter(|device| device.owner.tenant_id == tenant_id && device.links.class() == class)
            .map(|device| device.owner)
            .collect()
    }

    /// Takes out at most so many devices that changed, to be stored.
    pub fn take_changed(&mut self, limit: usize) -> Vec<LinkedDevice> {
        let mut taken = Vec::new();
        while taken.len() < limit
            && let Some(dev_eui) = self.changed.pop_first()
        {
            taken.extend(self.devices.get(&dev_eui).cloned());
        }
        taken
    }

    /// They could not be stored: they are to be taken out again.
    pub fn not_stored(&mut self, devices: &[LinkedDevice]) {
        let euis = devices.iter().map(|device| device.owner.dev_eui);
        self.changed
            .extend(euis.filter(|dev_eui| self.devices.contains_key(dev_eui)));
    }

    fn note_gateways(&mut self, dev_eui: DevEui, links: &DeviceLinks) {
        for gateway_id in ids(links) {
            self.by_gateway
                .entry(gateway_id)
                .or_default()
                .insert(dev_eui);
        }
    }
}

fn ids(links: &DeviceLinks) -> Vec<GatewayId> {
    links.links.iter().map(|link| link.gateway_id).collect()
}

fn forget(
    by_gateway: &mut BTreeMap<GatewayId, BTreeSet<DevEui>>,
    gateway_id: GatewayId,
    dev_eui: DevEui,
) {
    if let Some(heard) = by_gateway.get_mut(&gateway_id) {
        heard.remove(&dev_eui);
        if heard.is_empty() {
            by_gateway.remove(&gateway_id);
        }
    }
}
