//! What the pacer has to know of a device that wants a turn.

use crate::id::{DevEui, TenantId};
use crate::pacer::{Ask, Hearing, SilentGateway, SilentItem};
use crate::radio::DeviceClass;
use crate::time::Timestamp;

use super::downlink::Priority;
use super::event::Effect;
use super::state::{Device, Turn};

impl Device {
    /// What is to be sent, or is in the queue already, and who hears the device.
    pub fn ask(&self, device: DevEui, tenant: TenantId, priority: Priority) -> Ask {
        let in_queue = self.item.as_ref().map(|item| item.payload.len());
        let to_send = || Some(self.active.as_ref()?.downlink.frame.payload.len());
        let uplink = self.session.modulation();
        Ask {
            device,
            tenant,
            priority,
            payload_len: in_queue.or_else(to_send).unwrap_or(0),
            hearing: Hearing::of(self.receptions(), uplink),
            uplink,
            is_class_a: self.class == DeviceClass::A,
            is_scout: matches!(self.turn, Turn::Asked { is_scout: true, .. })
                || self.item.as_ref().is_some_and(|item| item.is_scout),
        }
    }

    /// The same for an item that is in the queue already, in the class of what is under way.
    pub fn ask_again(&self, device: DevEui, tenant: TenantId) -> Ask {
        self.ask(device, tenant, self.priority())
    }

    /// From when until when ChirpStack may have tried that item without a word, up to `now`. `None`: there is none that it
    /// tries by itself, or a tx-ack told of it.
    pub fn silent_since(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let item = self.item.as_ref().filter(|item| !item.is_accounted)?;
        let until = if item.is_overdue {
            now
        } else {
            now.min(item.expires_at)
        };
        (self.class != DeviceClass::A).then_some((item.started_at, until))
    }

    /// Tells, once, what was or may have been sent of the item without a word, up to `now` or the tx-ack that came then.
    pub(super) fn account_for_item(
        &mut self,
        now: Timestamp,
        is_told: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some((from, until)) = self.silent_since(now) else {
            return;
        };
        let hearing = Hearing::of(self.receptions(), self.session.modulation());
        let heard_by = |id| self.receptions().iter().any(|it| it.gateway_id == id);
        let heard_at = self.last_seen();
        let gateways = hearing.candidates.into_iter().map(|id| SilentGateway {
            gateway_id: id,
            seen_at: heard_at.filter(|_| heard_by(id)),
        });
        let gateways = gateways.collect();
        let Some(item) = &mut self.item else { return };
        item.is_accounted = true;
        effects.push(Effect::Silence(Box::new(SilentItem {
            from,
            until,
            is_told,
            refused: item.refused,
            is_scout: item.is_scout,
            payload_len: item.payload.len(),
            gateways,
        })));
    }
}
