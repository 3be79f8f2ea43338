//! What happens to the world around the shell, and what is asked of it.

use std::time::Duration;

use downbeat_core::codec::{CodecKind, Command};
use downbeat_core::device::{Admission, Event, Request};
use downbeat_core::id::{DevEui, DownlinkId, GatewayId};
use downbeat_core::light::LightState;
use downbeat_sim::model::NewQueueItem;
use downbeat_sim::model::config::{FIRST_DEV_EUI, FIRST_GATEWAY_ID, LinksConfig, WebhookConfig};

use super::{Planned, Shell};
use crate::scenario::{CallFaults, Happening, Wish};

impl Shell {
    pub(super) fn on_happening(&mut self, happening: Happening) -> Result<(), String> {
        self.trace
            .line(self.now, "world", || format!("{happening:?}"));
        let now = self.now;
        match happening {
            Happening::Ask(wish) => return self.ask(&wish),
            Happening::CancelLast { lamp } => {
                if let Some(id) = self.lamps[lamp]
                    .last_asked
                    .filter(|_| self.down_until.is_none())
                {
                    return self.step(lamp, Event::CancelRequested(id));
                }
            }
            Happening::Wish { lamp, light } => return self.want(lamp, light),
            Happening::ClearWish { lamp } => {
                if self.down_until.is_none() {
                    return self.step(lamp, Event::WishCleared);
                }
            }
            Happening::Initialise { lamp, force } => {
                if self.down_until.is_none() {
                    return self.step(lamp, Event::InitialisationRequested { force });
                }
            }
            Happening::ForeignItem { lamp, light } => {
                let item = NewQueueItem {
                    f_port: 15,
                    payload: downbeat_core::codec::busylight::light_to_wire(light).to_vec(),
                    ..NewQueueItem::default()
                };
                // A server that is down takes nothing from others, either.
                let _ = self.network.enqueue(now, dev_eui(lamp), item);
            }
            Happening::Links(links) => self.network.set_links(links),
            Happening::Webhooks(webhooks) => self.network.set_webhooks(webhooks),
            Happening::GatewayOnline { gateway, online } => {
                self.network
                    .set_gateway_online(now, gateway_id(gateway), online);
            }
            Happening::GatewayMute { gateway, mute } => {
                self.network.set_gateway_mute(gateway_id(gateway), mute);
            }
            Happening::GatewayRefusal { gateway, refusal } => {
                self.network
                    .set_gateway_refusal(gateway_id(gateway), refusal);
            }
            Happening::GatewayTxAck {
                gateway,
                loss,
                delay,
            } => {
                self.network
                    .set_gateway_tx_ack(gateway_id(gateway), loss, delay);
            }
            Happening::Reboot { lamp } => {
                self.network.reboot_light(now, dev_eui(lamp));
            }
            Happening::Power { lamp, powered } => {
                self.network.set_light_power(now, dev_eui(lamp), powered);
            }
            Happening::Server { up } => self.network.set_server_up(now, up),
            Happening::ServicesRestart => return self.restart_services(),
            Happening::FaultsEnd => self.end_faults(),
        }
        Ok(())
    }

    pub(super) fn end_faults(&mut self) {
        self.faulty = false;
        self.calls = CallFaults::default();
        self.network.set_links(LinksConfig::default());
        self.network.set_webhooks(WebhookConfig::default());
        self.network.set_server_up(self.now, true);
        for gateway in (0..self.network.gateways().len()).map(gateway_id) {
            self.network.set_gateway_online(self.now, gateway, true);
            self.network.set_gateway_mute(gateway, false);
            self.network.set_gateway_refusal(gateway, None);
            self.network
                .set_gateway_tx_ack(gateway, 0.0, Duration::ZERO);
        }
        for lamp in &self.lamps {
            self.network.set_light_power(self.now, lamp.dev_eui, true);
        }
        // Ends of single faults that were planned for later change nothing any more.
        self.agenda
            .retain(|_, planned| !matches!(planned, Planned::Happening(happening) if !is_asked_of_us(happening)));
    }

    fn want(&mut self, lamp: usize, light: LightState) -> Result<(), String> {
        if self.down_until.is_some() || self.lamps[lamp].device.admission() == Admission::Full {
            return Ok(());
        }
        let id = DownlinkId::from_uuid(self.random.uuid_v7(self.now));
        let command = Command::SetLight(light);
        let request = Request::new(id, CodecKind::KuandoBusylight, &command, false, true)
            .expect("a Busylight understands it");
        self.step(lamp, Event::Wished(request))?;
        if self.down_until.is_some() {
            return Ok(());
        }
        let lamp = &mut self.lamps[lamp];
        if lamp.device.desired().map(|desired| desired.light) != Some(light) {
            return Err("a wish was not taken".to_owned());
        }
        lamp.transient.clear();
        Ok(())
    }

    pub(super) fn ask(&mut self, wish: &Wish) -> Result<(), String> {
        let lamp = wish.lamp;
        if self.down_until.is_some() || self.lamps[lamp].device.admission() == Admission::Full {
            return Ok(());
        }
        let id = DownlinkId::from_uuid(self.random.uuid_v7(self.now));
        let request = Request::new(
            id,
            CodecKind::KuandoBusylight,
            &wish.command,
            wish.confirmed,
            wish.verify,
        )
        .expect("a Busylight understands it");
        let request = Request {
            transient: wish.transient,
            attempts_max: wish.attempts_max,
            expires_at: wish.ttl.map(|ttl| self.now + ttl),
            until_deadline: Some(wish.until_deadline),
            ..request
        };
        let light = request.light;
        self.step(lamp, Event::Requested(request))?;
        if !self.promises.was_accepted(id) {
            return Ok(());
        }
        let lamp = &mut self.lamps[lamp];
        lamp.last_asked = Some(id);
        match light {
            Some(light) if wish.transient || matches!(wish.command, Command::Raw(_)) => {
                lamp.transient.push(light);
            }
            Some(_) => lamp.transient.clear(),
            None => {}
        }
        Ok(())
    }
}

fn is_asked_of_us(happening: &Happening) -> bool {
    matches!(
        happening,
        Happening::Ask(_)
            | Happening::CancelLast { .. }
            | Happening::Wish { .. }
            | Happening::ClearWish { .. }
            | Happening::Initialise { .. }
    )
}

pub(super) fn gateway_id(index: usize) -> GatewayId {
    GatewayId::from_u64(FIRST_GATEWAY_ID + index as u64)
}

fn dev_eui(index: usize) -> DevEui {
    DevEui::from_u64(FIRST_DEV_EUI + index as u64)
}
