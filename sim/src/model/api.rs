//! ChirpStack's API, as far as it is a matter of state: queue and registry. Codes and texts are the server's business.

use downbeat_core::id::{DevEui, QueueItemId};
use downbeat_core::time::Timestamp;

use super::Network;
use super::record::{ApiFault, DeviceFields, DeviceKeys, DeviceRecord, NewQueueItem, QueuedItem};

impl Network {
    /// Puts a downlink at the end of a device's queue. Size, class, activation and reachability are not looked at.
    pub fn enqueue(
        &mut self,
        now: Timestamp,
        dev_eui: DevEui,
        new: NewQueueItem,
    ) -> Result<QueueItemId, ApiFault> {
        let id = QueueItemId::from_uuid(self.random_uuid());
        let record = self.known(now, dev_eui)?;
        if new.flush_queue {
            record.queue.retain(|item| item.is_pending);
        }
        if new.f_port == 0 {
            return Err(ApiFault::Invalid("FPort must be between 1 - 255"));
        }
        record.queue.push(QueuedItem {
            id,
            f_port: new.f_port,
            payload: new.payload,
            confirmed: new.confirmed,
            is_pending: false,
            f_cnt_down: 0,
            expires_at_us: new.expires_at_us,
            timeout_after: None,
        });
        let free_at = record.scheduler_run_after;
        self.waiting.insert(dev_eui);
        self.wake_scheduler(self.now.max(free_at));
        Ok(id)
    }

    /// A device's queue, oldest first. It cannot tell what was never sent from what waits for its tx-ack.
    pub fn queue(&self, dev_eui: DevEui) -> Result<Vec<QueuedItem>, ApiFault> {
        self.device(dev_eui).map(|record| record.queue.clone())
    }

    /// Empties a device's queue, pending items included, without any event.
    pub fn flush(&mut self, now: Timestamp, dev_eui: DevEui) -> Result<(), ApiFault> {
        self.known(now, dev_eui)?.queue.clear();
        self.waiting.remove(&dev_eui);
        Ok(())
    }

    /// Registers a device.
    pub fn create_device(
        &mut self,
        now: Timestamp,
        dev_eui: DevEui,
        fields: DeviceFields,
    ) -> Result<(), ApiFault> {
        self.ready(now)?;
        if self.devices.contains_key(&dev_eui) {
            return Err(ApiFault::Duplicate);
        }
        self.devices
            .insert(dev_eui, DeviceRecord::new(dev_eui, fields, self.now));
        Ok(())
    }

    /// One device.
    pub fn device(&self, dev_eui: DevEui) -> Result<&DeviceRecord, ApiFault> {
        if !self.server_up {
            return Err(ApiFault::Unavailable);
        }
        self.devices.get(&dev_eui).ok_or(ApiFault::UnknownDevice)
    }

    /// One device, whether ChirpStack runs or not.
    pub fn registered(&self, dev_eui: DevEui) -> Option<&DeviceRecord> {
        self.devices.get(&dev_eui)
    }

    /// All devices, by `DevEUI`.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceRecord> {
        self.devices.values()
    }

    /// Replaces everything that a caller writes of a device.
    pub fn update_device(
        &mut self,
        now: Timestamp,
        dev_eui: DevEui,
        fields: DeviceFields,
    ) -> Result<(), ApiFault> {
        let record = self.known(now, dev_eui)?;
        record.fields = fields;
        record.updated_at = now;
        self.wake_scheduler(self.now);
        Ok(())
    }

    /// Removes a device with its keys and queue.
    pub fn delete_device(&mut self, now: Timestamp, dev_eui: DevEui) -> Result<(), ApiFault> {
        self.known(now, dev_eui)?;
        self.devices.remove(&dev_eui);
        self.waiting.remove(&dev_eui);
        Ok(())
    }

    /// Gives a device its first keys.
    pub fn create_keys(
        &mut self,
        now: Timestamp,
        dev_eui: DevEui,
        keys: DeviceKeys,
    ) -> Result<(), ApiFault> {
        let record = self.known(now, dev_eui)?;
        if record.keys.is_some() {
            return Err(ApiFault::Duplicate);
        }
        record.keys = Some(keys);
        Ok(())
    }

    /// Replaces a device's keys.
    pub fn update_keys(
        &mut self,
        now: Timestamp,
        dev_eui: DevEui,
        keys: DeviceKeys,
    ) -> Result<(), ApiFault> {
        let record = self.known(now, dev_eui)?;
        record
            .keys
            .as_mut()
            .map(|stored| *stored = keys)
            .ok_or(ApiFault::NotFound)
    }

    /// A device's keys.
    pub fn keys(&self, dev_eui: DevEui) -> Result<DeviceKeys, ApiFault> {
        self.device(dev_eui)?.keys.ok_or(ApiFault::NotFound)
    }

    /// Takes a device's keys away; a session stays.
    pub fn delete_keys(&mut self, now: Timestamp, dev_eui: DevEui) -> Result<(), ApiFault> {
        self.known(now, dev_eui)?
            .keys
            .take()
            .map(|_| ())
            .ok_or(ApiFault::NotFound)
    }

    /// The counter that the next downlink to a device would carry.
    pub fn next_f_cnt_down(&self, dev_eui: DevEui) -> Result<u32, ApiFault> {
        let record = self.device(dev_eui)?;
        let of_session = record
            .session
            .as_ref()
            .map_or(0, |session| session.f_cnt_down);
        let queued = record
            .queue
            .iter()
            .filter(|item| item.f_cnt_down > 0)
            .map(|item| item.f_cnt_down + 1)
            .max();
        Ok(of_session.max(queued.unwrap_or(0)))
    }

    /// Drops a device's session and queue.
    pub fn deactivate(&mut self, now: Timestamp, dev_eui: DevEui) -> Result<(), ApiFault> {
        let record = self.known(now, dev_eui)?;
        record.session = None;
        record.queue.clear();
        self.waiting.remove(&dev_eui);
        Ok(())
    }

    fn ready(&mut self, now: Timestamp) -> Result<(), ApiFault> {
        self.catch_up(now);
        if self.server_up {
            Ok(())
        } else {
            Err(ApiFault::Unavailable)
        }
    }

    fn known(&mut self, now: Timestamp, dev_eui: DevEui) -> Result<&mut DeviceRecord, ApiFault> {
        self.ready(now)?;
        self.devices
            .get_mut(&dev_eui)
            .ok_or(ApiFault::UnknownDevice)
    }
}
