//! What the pacer has to know of a device that wants a turn.

use crate::id::{DevEui, TenantId};
use crate::pacer::{Ask, Hearing};
use crate::radio::DeviceClass;

use super::downlink::Priority;
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
            is_scout: matches!(self.turn, Turn::Asked { is_scout: true, .. }),
        }
    }

    /// The same for an item that is in the queue already, in the class of what is under way.
    pub fn ask_again(&self, device: DevEui, tenant: TenantId) -> Ask {
        self.ask(device, tenant, self.priority())
    }
}
