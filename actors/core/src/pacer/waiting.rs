//! Who waits, and in which order they are looked at: by class, within a class the tenant that was served least, within
//! a tenant by age.
//!
//! Devices that the same gateways hear stand in one line: when its first cannot go, no other of it can. So a saturated
//! gateway costs a look for each line and not for each device.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Ask;
use crate::device::Priority;
use crate::id::{DevEui, TenantId};
use crate::pacer::Hearing;
use crate::time::Timestamp;

/// Lines that are looked at in one go at the most. Where so many are all held up, the rest waits for the next look.
const LOOKS_MAX: usize = 256;

/// Somebody who waits.
#[derive(Debug, Clone)]
pub(super) struct Waiter {
    pub(super) ask: Ask,
    pub(super) since: Timestamp,
}

/// All who wait.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting {
    classes: BTreeMap<Priority, Class>,
    /// Where each one stands.
    places: BTreeMap<DevEui, Place>,
    tickets: u64,
}

#[derive(Debug, Clone)]
struct Place {
    class: Priority,
    tenant: TenantId,
    line: Hearing,
    ticket: u64,
}

#[derive(Debug, Clone, Default)]
struct Class {
    tenants: BTreeMap<TenantId, Tenant>,
    /// What whoever was served last had been served before: newcomers begin there, not at nothing.
    level: Duration,
    count: usize,
}

#[derive(Debug, Clone, Default)]
struct Tenant {
    served: Duration,
    lines: BTreeMap<Hearing, BTreeMap<u64, Waiter>>,
}

impl Waiting {
    /// One that waits already keeps its place in the line of its class.
    pub(super) fn insert(&mut self, now: Timestamp, ask: Ask) {
        let before = self.remove(ask.device);
        let (ticket, since) = before.unwrap_or_else(|| {
            self.tickets += 1;
            (self.tickets, now)
        });
        let class = self.classes.entry(ask.priority).or_default();
        class.count += 1;
        let level = class.level;
        let tenant = class.tenants.entry(ask.tenant).or_default();
        if tenant.lines.is_empty() {
            tenant.served = tenant.served.max(level);
        }
        let place = Place {
            class: ask.priority,
            tenant: ask.tenant,
            line: ask.hearing.clone(),
            ticket,
        };
        let line = tenant.lines.entry(ask.hearing.clone()).or_default();
        self.places.insert(ask.device, place);
        line.insert(ticket, Waiter { ask, since });
    }

    /// What somebody who waits asks for.
    pub(super) fn ask_of(&self, device: DevEui) -> Option<&Ask> {
        let place = self.places.get(&device)?;
        let tenant = self.classes.get(&place.class)?.tenants.get(&place.tenant)?;
        let waiter = tenant.lines.get(&place.line)?.get(&place.ticket)?;
        Some(&waiter.ask)
    }

    /// Takes one out; tells its place and since when it had waited.
    pub(super) fn remove(&mut self, device: DevEui) -> Option<(u64, Timestamp)> {
        let place = self.places.remove(&device)?;
        let class = self.classes.get_mut(&place.class)?;
        let tenant = class.tenants.get_mut(&place.tenant)?;
        let line = tenant.lines.get_mut(&place.line)?;
        let waiter = line.remove(&place.ticket)?;
        class.count -= 1;
        if line.is_empty() {
            tenant.lines.remove(&place.line);
        }
        if tenant.lines.is_empty() && tenant.served <= class.level {
            class.tenants.remove(&place.tenant);
        }
        Some((place.ticket, waiter.since))
    }

    /// Notes what a tenant was served, before it is taken out.
    pub(super) fn serve(&mut self, ask: &Ask, airtime: Duration) {
        if let Some(class) = self.classes.get_mut(&ask.priority)
            && let Some(tenant) = class.tenants.get_mut(&ask.tenant)
        {
            class.level = class.level.max(tenant.served);
            tenant.served += airtime;
        }
    }

    /// The first of each line of a class, in the order of service.
    pub(super) fn heads(&self, class: Priority) -> impl Iterator<Item = &Waiter> {
        let mut tenants: Vec<&Tenant> = self
            .classes
            .get(&class)
            .into_iter()
            .flat_map(|class| class.tenants.values())
            .filter(|tenant| !tenant.lines.is_empty())
            .collect();
        tenants.sort_by_key(|tenant| tenant.served);
        tenants
            .into_iter()
            .flat_map(|tenant| {
                let mut heads: Vec<(&u64, &Waiter)> = tenant
                    .lines
                    .values()
                    .filter_map(BTreeMap::first_key_value)
                    .collect();
                heads.sort_by_key(|(ticket, _)| **ticket);
                heads.into_iter().map(|(_, waiter)| waiter)
            })
            .take(LOOKS_MAX)
    }

    /// The classes of which somebody waits, the most urgent first.
    pub(super) fn classes(&self) -> impl DoubleEndedIterator<Item = Priority> {
        self.classes
            .iter()
            .filter(|(_, class)| class.count > 0)
            .map(|(priority, _)| *priority)
    }

    pub(super) fn counts(&self) -> BTreeMap<Priority, usize> {
        let counts = self.classes.iter().filter(|(_, class)| class.count > 0);
        counts.map(|(class, it)| (*class, it.count)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}
