//! ChirpStack's way up: joins, uplinks, and what each of them sets free on the way down.

use std::time::Duration;

use downbeat_core::id::{DevAddr, DevEui, FPort};
use downbeat_core::network::{
    Acknowledged, Joined, Logged, NetworkEvent, Reception, StatusReported, Uplink,
};
use downbeat_core::radio::{DeviceClass, Modulation};
use downbeat_core::time::Timestamp;
use uuid::Uuid;

use super::Network;
use super::event::Event;
use super::gateway::{Content, Frame};
use super::record::{DeviceFields, DeviceRecord, Session};
use super::webhook::{Heard, UplinkContent, UplinkFrame, Webhook, Wire};

/// From the first uplink of a session to the device's answer about battery and margin.
const DEVICE_STATUS_DELAY: Duration = Duration::from_millis(1_400);

/// A data uplink without what its frame says of the radio.
struct Data {
    dev_addr: DevAddr,
    f_cnt: u32,
    f_port: u8,
    payload: Vec<u8>,
    ack: bool,
    adr: bool,
}

impl DeviceRecord {
    pub(super) fn new(dev_eui: DevEui, fields: DeviceFields, now: Timestamp) -> Self {
        Self {
            dev_eui,
            fields,
            keys: None,
            created_at: now,
            updated_at: now,
            last_seen_at: None,
            class_enabled: DeviceClass::A,
            session: None,
            queue: Vec::new(),
            scheduler_run_after: now,
        }
    }

    /// Begins a session; the class is the profile's from now on.
    pub(super) fn activate(
        &mut self,
        dev_addr: DevAddr,
        spreading_factor: u8,
        heard_by: Vec<Heard>,
    ) {
        self.class_enabled = DeviceClass::C;
        self.session = Some(Session {
            dev_addr,
            f_cnt_up: 0,
            f_cnt_down: 0,
            heard_by,
            spreading_factor,
            status_asked: false,
        });
    }
}

impl Network {
    pub(super) fn on_uplink_merged(&mut self, mut frame: Box<UplinkFrame>) {
        if !self.server_up {
            return;
        }
        let placeholder = UplinkContent::JoinRequest { dev_nonce: 0 };
        match std::mem::replace(&mut frame.content, placeholder) {
            UplinkContent::JoinRequest { dev_nonce } => self.on_join(&frame, dev_nonce),
            UplinkContent::Data {
                dev_addr,
                f_cnt,
                f_port,
                payload,
                ack,
                adr,
            } => {
                self.on_data(
                    frame,
                    Data {
                        dev_addr,
                        f_cnt,
                        f_port,
                        payload,
                        ack,
                        adr,
                    },
                );
            }
        }
    }

    fn on_join(&mut self, frame: &UplinkFrame, dev_nonce: u32) {
        let dev_addr = self.random_dev_addr();
        let deduplication_id = self.random_uuid();
        let lamp_key = self.lamps[frame.lamp].config.app_key;
        let flush = self.config.server.flush_queue_on_activate;
        let Some(record) = self
            .devices
            .get_mut(&frame.dev_eui)
            .filter(|r| !r.fields.is_disabled)
        else {
            return;
        };
        let Some(keys) = record.keys else { return };
        let class_before = record.class_enabled;
        if lamp_key.is_some_and(|key| key != keys.nwk_key) {
            return self.post_wrong_key(frame.dev_eui, class_before, deduplication_id);
        }
        record.activate(dev_addr, frame.spreading_factor, frame.heard_by.clone());
        if flush {
            record.queue.clear();
            self.waiting.remove(&frame.dev_eui);
        }
        let Some(session) = record.session.clone() else {
            return;
        };
        let event = Joined {
            deduplication_id: Some(deduplication_id),
            dev_addr: Some(dev_addr),
        };
        self.post(
            frame.dev_eui,
            class_before,
            NetworkEvent::Joined(event),
            Wire::Join,
        );
        self.wake_scheduler(self.now);
        let Some(gateway) = self.choose_gateway(&session) else {
            return;
        };
        let accept = Frame {
            downlink_id: self.random_u32(),
            dev_eui: frame.dev_eui,
            content: Content::JoinAccept {
                dev_addr,
                dev_nonce,
            },
            options: self.rx_windows(frame, 5),
        };
        self.send_to_gateway(gateway, accept);
    }

    fn post_wrong_key(&mut self, dev_eui: DevEui, class: DeviceClass, deduplication_id: Uuid) {
        let description = "MIC of uplink frame is invalid, make sure keys are correct".to_owned();
        let event = Logged {
            level: "ERROR".to_owned(),
            code: "UPLINK_MIC".to_owned(),
            description: description.clone(),
        };
        let context = vec![("deduplication_id", deduplication_id.to_string())];
        let wire = Wire::Log {
            code: "UPLINK_MIC",
            description,
            context,
        };
        self.post(dev_eui, class, NetworkEvent::Logged(event), wire);
    }

    fn on_data(&mut self, frame: Box<UplinkFrame>, data: Data) {
        let (now, server) = (self.now, self.config.server);
        let deduplication_id = self.random_uuid();
        let dev_eui = frame.dev_eui;
        let Some(record) = self
            .devices
            .get_mut(&dev_eui)
            .filter(|r| !r.fields.is_disabled)
        else {
            return;
        };
        let Some(session) = record
            .session
            .as_mut()
            .filter(|s| s.dev_addr == data.dev_addr)
        else {
            return;
        };
        if data.f_cnt < session.f_cnt_up {
            return;
        }
        session.f_cnt_up = data.f_cnt + 1;
        session.heard_by.clone_from(&frame.heard_by);
        session.spreading_factor = frame.spreading_factor;
        let ask_status =
            server.device_status && !std::mem::replace(&mut session.status_asked, true);
        record.last_seen_at = Some(now);
        record.scheduler_run_after = record.scheduler_run_after.max(now + server.class_a_lock);
        let class = record.class_enabled;
        if data.ack {
            self.on_acknowledgement(dev_eui, class, deduplication_id);
        }
        if ask_status {
            let margin_db = frame
                .heard_by
                .first()
                .map_or(0, |heard| margin_db(heard.snr_db));
            self.schedule(
                now + DEVICE_STATUS_DELAY,
                Event::DeviceStatus { dev_eui, margin_db },
            );
        }
        self.post_uplink(&frame, data, class, deduplication_id);
        self.schedule(now + server.get_downlink_data_delay, Event::RxWindow(frame));
    }

    fn on_acknowledgement(&mut self, dev_eui: DevEui, class: DeviceClass, deduplication_id: Uuid) {
        let pending = self
            .devices
            .get(&dev_eui)
            .and_then(|r| r.queue.iter().position(|item| item.is_pending));
        let Some(item) = pending.and_then(|index| self.remove_item(dev_eui, index)) else {
            return;
        };
        let event = Acknowledged {
            queue_item_id: Some(item.id),
            acknowledged: true,
            f_cnt_down: item.f_cnt_down,
        };
        let wire = Wire::Ack {
            deduplication_id: Some(deduplication_id),
        };
        self.post(dev_eui, class, NetworkEvent::Acknowledged(event), wire);
    }

    fn post_uplink(
        &mut self,
        frame: &UplinkFrame,
        data: Data,
        class: DeviceClass,
        deduplication_id: Uuid,
    ) {
        let mut receptions: Vec<Reception> = frame.heard_by.iter().map(Heard::reception).collect();
        receptions.sort_by_key(|reception| std::cmp::Reverse(reception.rssi_dbm));
        let event = Uplink {
            deduplication_id: Some(deduplication_id),
            dev_addr: Some(data.dev_addr),
            f_cnt: data.f_cnt,
            f_port: FPort::from_uplink(data.f_port),
            confirmed: false,
            payload: data.payload,
            data_rate: 12_u8.saturating_sub(frame.spreading_factor),
            modulation: Some(Modulation::lora_125(frame.spreading_factor)),
            class: Some(class),
            receptions,
            battery_percent: None,
            received_at: Some(frame.ended_at),
        };
        let wire = Wire::Up {
            adr: data.adr,
            frequency_hz: frame.frequency_hz,
            spreading_factor: frame.spreading_factor,
        };
        self.deliver(Webhook {
            at: self.now,
            time: frame.ended_at,
            dev_eui: frame.dev_eui,
            class,
            event: NetworkEvent::Heard(event),
            wire,
        });
    }

    pub(super) fn on_device_status(&mut self, dev_eui: DevEui, margin_db: i32) {
        let Some(record) = self.devices.get(&dev_eui) else {
            return;
        };
        let class = record.class_enabled;
        let deduplication_id = self.random_uuid();
        let event = StatusReported {
            margin_db,
            external_power: true,
            battery_percent: None,
        };
        self.post(
            dev_eui,
            class,
            NetworkEvent::StatusReported(event),
            Wire::Status { deduplication_id },
        );
    }
}

impl Heard {
    fn reception(&self) -> Reception {
        Reception {
            gateway_id: self.gateway_id,
            rssi_dbm: self.rssi_dbm,
            snr_db: self.snr_db,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a signal to noise ratio is a few tens of decibels"
)]
fn margin_db(snr_db: f32) -> i32 {
    snr_db.round() as i32
}

/// The signal to noise ratio below which a spreading factor is not demodulated (Semtech SX1276, table 13).
pub(super) fn required_snr_db(spreading_factor: u8) -> f32 {
    -7.5 - 2.5 * f32::from(spreading_factor.clamp(7, 12) - 7)
}
