//! ChirpStack's way down: the scheduler, the choice of a gateway, the queue, the tx-ack.
//!
//! What hurts in practice is kept exactly: the frame counter moves only when a tx-ack still finds its queue item, a
//! frame without tx-ack is sent again for ever with the same counter, and the gateway is one that heard the last
//! uplink, whether it still lives or not.

use std::time::Duration;

use downbeat_core::id::{DevEui, QueueItemId};
use downbeat_core::network::{
    Acknowledged, DropReason, Dropped, NetworkEvent, Refused, Timing as TxTiming, Transmitted,
};
use downbeat_core::radio::{DeviceClass, Modulation};
use downbeat_core::time::Timestamp;

use super::Network;
use super::event::Event;
use super::gateway::{Content, Frame, Refusal, Timing, TxOption};
use super::record::{DeviceRecord, QueuedItem, Session};
use super::uplink::required_snr_db;
use super::webhook::{UplinkFrame, Wire};

/// Carrier of RX2 in EU868.
const RX2_FREQUENCY_HZ: u32 = 869_525_000;

/// A frame that waits for its tx-ack.
#[derive(Debug, Clone, Copy)]
pub(super) struct SentFrame {
    dev_eui: DevEui,
    queue_item_id: QueueItemId,
    f_cnt: u32,
}

impl DeviceRecord {
    /// When the scheduler may take the device up next; `None` while there is nothing to take up.
    fn schedulable_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.fields.is_disabled || self.class_enabled == DeviceClass::A {
            return None;
        }
        let free_at = |item: &QueuedItem| match item.timeout_after {
            Some(timeout) if item.waits_for_acknowledgement(now) => timeout,
            _ => now,
        };
        let earliest = self.queue.iter().map(free_at).min()?;
        Some(earliest.max(self.scheduler_run_after))
    }
}

impl Network {
    /// Sees to it that the scheduler runs at its first beat from `not_before` on.
    pub(super) fn wake_scheduler(&mut self, not_before: Timestamp) {
        let server = &self.config.server;
        let period = (server.scheduler_interval + server.scheduler_run)
            .as_millis()
            .max(1);
        let since = not_before.since(self.scheduler_phase).as_millis();
        let into = since % period;
        let wait = if into == 0 { 0 } else { period - into };
        let at = not_before.max(self.scheduler_phase)
            + Duration::from_millis(u64::try_from(wait).unwrap_or(0));
        if self.scheduler_run_at.is_none_or(|planned| at < planned) {
            self.scheduler_run_at = Some(at);
            self.schedule(at, Event::SchedulerRun);
        }
    }

    pub(super) fn on_scheduler_run(&mut self) {
        if self.scheduler_run_at != Some(self.now) {
            return;
        }
        self.scheduler_run_at = None;
        if !self.server_up {
            return;
        }
        let now = self.now;
        let due = |dev_eui: &&DevEui| {
            self.devices
                .get(dev_eui)
                .and_then(|record| record.schedulable_at(now))
                .is_some_and(|at| at <= now)
        };
        let batch: Vec<DevEui> = self
            .waiting
            .iter()
            .filter(due)
            .take(self.config.server.batch_size)
            .copied()
            .collect();
        for dev_eui in batch {
            self.schedule_device(dev_eui);
        }
        let next = self
            .waiting
            .iter()
            .filter_map(|dev_eui| self.devices.get(dev_eui)?.schedulable_at(now))
            .min();
        if let Some(at) = next {
            self.wake_scheduler(at.max(now + Duration::from_millis(1)));
        }
    }

    /// One attempt for one device, in ChirpStack's order of steps.
    fn schedule_device(&mut self, dev_eui: DevEui) {
        let (now, server) = (self.now, self.config.server);
        let Some(record) = self.devices.get_mut(&dev_eui) else {
            return;
        };
        record.scheduler_run_after = now + server.scheduler_lock;
        let Some(session) = record.session.clone() else {
            return;
        };
        let Some(gateway) = self.choose_gateway(&session) else {
            return;
        };
        let Some(record) = self.devices.get_mut(&dev_eui) else {
            return;
        };
        record.scheduler_run_after = now + server.class_c_lock;
        if session.f_cnt_up == 0 {
            return;
        }
        let rx2 = TxOption {
            timing: Timing::Immediately,
            spreading_factor: server.rx2_spreading_factor,
            frequency_hz: RX2_FREQUENCY_HZ,
            rx_delay_s: 0,
        };
        if let Some(item) = self.take_up_head(dev_eui, max_payload(rx2.spreading_factor)) {
            self.publish(dev_eui, &session, gateway, item, [Some(rx2), None]);
        }
    }

    /// The Class A windows after an uplink also carry the head of a Class C device's queue.
    pub(super) fn on_rx_window(&mut self, uplink: &UplinkFrame) {
        if !self.server_up {
            return;
        }
        let Some(record) = self.devices.get(&uplink.dev_eui) else {
            return;
        };
        let Some(session) = record.session.clone().filter(|_| !record.queue.is_empty()) else {
            return;
        };
        let Some(gateway) = self.choose_gateway(&session) else {
            return;
        };
        let options = self.rx_windows(uplink, 1);
        let limit = options
            .iter()
            .flatten()
            .map(|option| max_payload(option.spreading_factor))
            .min()
            .unwrap_or(0);
        if let Some(item) = self.take_up_head(uplink.dev_eui, limit) {
            self.publish(uplink.dev_eui, &session, gateway, item, options);
        }
    }

    /// RX1 `delay_s` seconds after the uplink, and RX2 one second later.
    pub(super) fn rx_windows(&self, uplink: &UplinkFrame, delay_s: u8) -> [Option<TxOption>; 2] {
        let after =
            |seconds: u8| Timing::At(uplink.ended_at + Duration::from_secs(u64::from(seconds)));
        let rx1 = TxOption {
            timing: after(delay_s),
            spreading_factor: uplink.spreading_factor,
            frequency_hz: uplink.frequency_hz,
            rx_delay_s: delay_s,
        };
        let rx2 = TxOption {
            timing: after(delay_s + 1),
            spreading_factor: self.config.server.rx2_spreading_factor,
            frequency_hz: RX2_FREQUENCY_HZ,
            rx_delay_s: delay_s + 1,
        };
        [Some(rx1), Some(rx2)]
    }

    /// One of those that heard the last uplink well, at random; else the best. Their state is not asked.
    pub(super) fn choose_gateway(&mut self, session: &Session) -> Option<usize> {
        let required = required_snr_db(session.spreading_factor);
        let least = f32::from(self.config.server.prefer_min_margin_db);
        let is_good = |snr_db: f32| snr_db - required >= least;
        let good = session
            .heard_by
            .iter()
            .filter(|heard| is_good(heard.snr_db))
            .count();
        if good > 0 {
            let pick = usize::try_from(self.random.below(good as u64)).unwrap_or(0);
            return session
                .heard_by
                .iter()
                .filter(|heard| is_good(heard.snr_db))
                .nth(pick)
                .map(|heard| heard.gateway);
        }
        let best = session.heard_by.iter().max_by(|a, b| {
            a.snr_db
                .total_cmp(&b.snr_db)
                .then(a.rssi_dbm.cmp(&b.rssi_dbm))
        });
        best.map(|heard| heard.gateway)
    }

    /// The head of the queue that may be sent, its counter written on it; what cannot be sent any more is dropped.
    fn take_up_head(&mut self, dev_eui: DevEui, limit: usize) -> Option<QueuedItem> {
        let now = self.now;
        loop {
            let record = self.devices.get_mut(&dev_eui)?;
            let f_cnt_down = record.session.as_ref()?.f_cnt_down;
            let head = record.queue.first_mut()?;
            if head.waits_for_acknowledgement(now) {
                return None;
            }
            if !head.is_pending && !head.has_expired(now) && head.payload.len() <= limit {
                head.f_cnt_down = f_cnt_down;
                return Some(head.clone());
            }
            let class = record.class_enabled;
            let item = self.remove_item(dev_eui, 0)?;
            self.post_drop(dev_eui, class, &item, limit);
        }
    }

    fn post_drop(&mut self, dev_eui: DevEui, class: DeviceClass, item: &QueuedItem, limit: usize) {
        if item.is_pending {
            let event = Acknowledged {
                queue_item_id: Some(item.id),
                acknowledged: false,
                f_cnt_down: item.f_cnt_down,
            };
            let wire = Wire::Ack {
                deduplication_id: None,
            };
            return self.post(dev_eui, class, NetworkEvent::Acknowledged(event), wire);
        }
        let queue_item_id = ("queue_item_id", item.id.to_string());
        let (reason, code, description, context) = if item.has_expired(self.now) {
            let description = "Device queue-item discarded because it has expired";
            (
                DropReason::Expired,
                "EXPIRED",
                description,
                vec![queue_item_id],
            )
        } else {
            let sizes = [
                ("item_size", item.payload.len()),
                ("max_payload_size", limit),
            ];
            let mut context: Vec<_> = sizes.map(|(key, size)| (key, size.to_string())).into();
            context.push(queue_item_id);
            let description =
                "Device queue-item discarded because it exceeds the max. payload size";
            (
                DropReason::PayloadTooLarge,
                "DOWNLINK_PAYLOAD_SIZE",
                description,
                context,
            )
        };
        let event = NetworkEvent::Dropped(Dropped {
            queue_item_id: item.id,
            reason,
        });
        let wire = Wire::Log {
            code,
            description: description.to_owned(),
            context,
        };
        self.post(dev_eui, class, event, wire);
    }

    pub(super) fn remove_item(&mut self, dev_eui: DevEui, index: usize) -> Option<QueuedItem> {
        let record = self.devices.get_mut(&dev_eui)?;
        let item = (index < record.queue.len()).then(|| record.queue.remove(index))?;
        if record.queue.is_empty() {
            self.waiting.remove(&dev_eui);
        }
        Some(item)
    }

    fn publish(
        &mut self,
        dev_eui: DevEui,
        session: &Session,
        gateway: usize,
        item: QueuedItem,
        options: [Option<TxOption>; 2],
    ) {
        let downlink_id = self.random_u32();
        let memory = self.config.server.frame_memory;
        while self
            .sent_order
            .front()
            .is_some_and(|(at, _)| self.now.since(*at) > memory)
        {
            if let Some((_, old)) = self.sent_order.pop_front() {
                self.sent.remove(&old);
            }
        }
        self.sent_order.push_back((self.now, downlink_id));
        let sent = SentFrame {
            dev_eui,
            queue_item_id: item.id,
            f_cnt: item.f_cnt_down,
        };
        self.sent.insert(downlink_id, sent);
        let content = Content::Data {
            dev_addr: session.dev_addr,
            f_cnt: item.f_cnt_down,
            f_port: item.f_port,
            confirmed: item.confirmed,
            payload: item.payload,
            queue_item_id: item.id,
        };
        self.send_to_gateway(
            gateway,
            Frame {
                downlink_id,
                dev_eui,
                content,
                options,
            },
        );
    }

    pub(super) fn send_to_gateway(&mut self, gateway: usize, frame: Frame) {
        let at = self.now + self.config.links.latency;
        self.schedule(
            at,
            Event::FrameArrives {
                gateway,
                frame: Box::new(frame),
            },
        );
    }

    /// A gateway's word on a frame. It moves the counter only if the queue item is still there.
    pub(super) fn on_tx_ack(
        &mut self,
        gateway: usize,
        downlink_id: u32,
        result: Result<TxOption, Refusal>,
    ) {
        if !self.server_up {
            return;
        }
        let Some(sent) = self.sent.remove(&downlink_id) else {
            return;
        };
        let now = self.now;
        let timeout = now + self.config.server.class_c_timeout;
        let Some(record) = self.devices.get_mut(&sent.dev_eui) else {
            return;
        };
        let class = record.class_enabled;
        let option = match result {
            Ok(option) => option,
            Err(refusal) => return self.post_refusal(sent.dev_eui, class, refusal),
        };
        let Some(index) = record
            .queue
            .iter()
            .position(|item| item.id == sent.queue_item_id)
        else {
            return;
        };
        if let Some(session) = &mut record.session {
            session.f_cnt_down += 1;
        }
        let item = &mut record.queue[index];
        if item.confirmed {
            item.is_pending = true;
            item.timeout_after = Some(timeout);
            self.wake_scheduler(timeout);
        } else {
            self.remove_item(sent.dev_eui, index);
        }
        let event = Transmitted {
            queue_item_id: Some(sent.queue_item_id),
            f_cnt_down: sent.f_cnt,
            gateway_id: self.gateways.get(gateway).map(super::gateway::Gateway::id),
            modulation: Some(Modulation::lora_125(option.spreading_factor)),
            frequency_hz: Some(option.frequency_hz),
            timing: Some(match option.timing {
                Timing::Immediately => TxTiming::Immediately,
                Timing::At(_) => TxTiming::AfterUplink,
            }),
        };
        let wire = Wire::TxAck {
            downlink_id,
            delay_s: (option.timing != Timing::Immediately).then_some(option.rx_delay_s),
            frequency_hz: option.frequency_hz,
            spreading_factor: option.spreading_factor,
        };
        self.post(sent.dev_eui, class, NetworkEvent::Transmitted(event), wire);
    }

    fn post_refusal(&mut self, dev_eui: DevEui, class: DeviceClass, refusal: Refusal) {
        let status = refusal.name().to_owned();
        let wire = Wire::Log {
            code: "DOWNLINK_GATEWAY",
            description: status.clone(),
            context: Vec::new(),
        };
        self.post(
            dev_eui,
            class,
            NetworkEvent::Refused(Refused { status }),
            wire,
        );
    }
}

/// Application bytes that EU868's data rates carry.
fn max_payload(spreading_factor: u8) -> usize {
    match spreading_factor {
        10.. => 51,
        9 => 115,
        _ => 222,
    }
}
