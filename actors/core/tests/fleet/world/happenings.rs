//! What happens to the world, and what is asked of us.

use std::time::Duration;

use downbeat_core::codec::Command;
use downbeat_core::codec::busylight::{F_PORT, light_to_wire};
use downbeat_core::device::Event;
use downbeat_core::id::GatewayId;
use downbeat_core::light::LightState;
use downbeat_sim::model::NewQueueItem;
use downbeat_sim::model::config::{FIRST_GATEWAY_ID, LinksConfig, WebhookConfig};

use super::{Planned, World};
use crate::pool::NO_CALL_FAULTS;
use crate::scenario::{Change, Happening, Order, StoreFaults};
use crate::tally::Count;

impl World {
    pub(super) fn on_happening(&mut self, happening: Happening) {
        let is_ours = matches!(
            happening,
            Happening::Ask(_)
                | Happening::AskAll(_)
                | Happening::CancelLast(_)
                | Happening::Job(..)
                | Happening::OfJob(_)
                | Happening::ClearWish(_)
                | Happening::Initialise(..)
        );
        if !self.is_faulty && !is_ours {
            return;
        }
        self.telling
            .all(self.now, "world", || format!("{happening:?}"));
        let now = self.now;
        match happening {
            Happening::Ask(order) => self.ask(&order),
            Happening::AskAll(light) => self.ask_all(light),
            Happening::CancelLast(slot) => self.cancel_last(slot),
            Happening::Job(light, slot) => self.begin_job(light, slot),
            Happening::OfJob(command) => self.command_job(command),
            Happening::ClearWish(slot) => self.tell_device(slot, Event::WishCleared),
            Happening::Initialise(slot, force) => {
                self.tell_device(slot, Event::InitialisationRequested { force });
            }
            Happening::ForeignItem(slot, light) => self.enqueue_foreign(slot, light),
            Happening::Links(links) => self.network.set_links(links),
            Happening::Webhooks(webhooks) => self.network.set_webhooks(webhooks),
            Happening::GatewayOnline(gateway, is_online) => {
                self.network
                    .set_gateway_online(now, gateway_id(gateway), is_online);
            }
            Happening::AllGatewaysOnline(is_online) => self.set_gateways_online(is_online),
            Happening::GatewayMute(gateway, is_mute) => {
                self.network.set_gateway_mute(gateway_id(gateway), is_mute);
            }
            Happening::GatewayRefusal(gateway, refusal) => {
                self.network
                    .set_gateway_refusal(gateway_id(gateway), refusal);
            }
            Happening::GatewayTxAck(gateway, loss, delay) => {
                self.network
                    .set_gateway_tx_ack(gateway_id(gateway), loss, delay);
            }
            Happening::Reboot(slot) => {
                self.network.reboot_light(now, self.slots[slot].dev_eui);
            }
            Happening::Power(slot, is_powered) => {
                let dev_eui = self.slots[slot].dev_eui;
                self.network.set_light_power(now, dev_eui, is_powered);
            }
            Happening::Server(is_up) => self.network.set_server_up(now, is_up),
            Happening::ServerHangs(hangs) => self.server_hangs = hangs,
            Happening::Database(is_up) => self.database_up = is_up,
            Happening::Key(is_taken) => self.set_key(is_taken),
            Happening::BadWebhook(slot, decide) => self.tell_nonsense(slot, decide),
            Happening::ServicesRestart => self.restart_services(),
            Happening::Crash(actions) => self.crash_in = Some(actions),
            Happening::ClockIsSet(step) => {
                self.tally.count(Count::ClockSteps);
                self.set_clock(step);
            }
            Happening::Registry(slot, change, decide) => self.change_registry(slot, change, decide),
            Happening::Others(slot, decide) => self.meddle(slot, decide),
            Happening::FaultsEnd => self.end_faults(),
        }
    }

    fn ask_all(&mut self, light: LightState) {
        for device in 0..self.slots.len() {
            self.ask(&Order {
                device,
                command: Command::SetLight(light),
                confirmed: false,
                verify: true,
                transient: false,
                attempts_max: None,
                ttl: None,
                until_deadline: false,
                is_wish: false,
                is_job: false,
            });
        }
    }

    fn enqueue_foreign(&mut self, slot: usize, light: LightState) {
        let item = NewQueueItem {
            f_port: F_PORT.get(),
            payload: light_to_wire(light).to_vec(),
            ..NewQueueItem::default()
        };
        // A server that is down, or does not have the device, takes nothing from others, either.
        let _ = self
            .network
            .enqueue(self.now, self.slots[slot].dev_eui, item);
    }

    fn set_key(&mut self, is_taken: bool) {
        if is_taken {
            self.key_refused_since = None;
        } else {
            self.tally.count(Count::KeyRefusals);
            self.key_refused_since.get_or_insert(self.now);
        }
    }

    fn set_gateways_online(&mut self, is_online: bool) {
        for gateway in 0..self.network.config().gateways.len() {
            self.network
                .set_gateway_online(self.now, gateway_id(gateway), is_online);
        }
    }

    /// From now on all is well. Where somebody may have meddled, people have a look.
    fn end_faults(&mut self) {
        self.is_faulty = false;
        self.crash_in = None;
        self.set_clock(-self.clock_ahead);
        self.calls = NO_CALL_FAULTS;
        self.store = StoreFaults::default();
        (self.database_up, self.server_hangs) = (true, false);
        self.key_refused_since = None;
        self.network.set_links(LinksConfig::default());
        self.network.set_webhooks(WebhookConfig::default());
        self.network.set_server_up(self.now, true);
        self.set_gateways_online(true);
        for gateway in (0..self.network.config().gateways.len()).map(gateway_id) {
            self.network.set_gateway_mute(gateway, false);
            self.network.set_gateway_refusal(gateway, None);
            self.network
                .set_gateway_tx_ack(gateway, 0.0, Duration::ZERO);
        }
        for slot in &self.slots {
            self.network.set_light_power(self.now, slot.dev_eui, true);
        }
        self.plan(self.now + Duration::from_secs(1), Planned::LookForRest);
    }

    /// Once the process runs again, everybody's device is looked at once more.
    pub(super) fn look_at_registry(&mut self) {
        for slot in 0..self.slots.len() {
            let change = if self.slots[slot].row.is_some() {
                Change::LookAgain
            } else {
                Change::Register
            };
            let decide = self.random.next_u64();
            self.change_registry(slot, change, decide);
        }
    }
}

fn gateway_id(index: usize) -> GatewayId {
    GatewayId::from_u64(FIRST_GATEWAY_ID + u64::try_from(index).expect("a few gateways"))
}
