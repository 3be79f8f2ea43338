//! The air between lamps and gateways, and the lamps' lives in it: power, joins, heartbeats, answers.

use std::time::Duration;

use downbeat_core::id::DevAddr;
use downbeat_core::time::Timestamp;

use super::Network;
use super::config::Link;
use super::event::Event;
use super::gateway::{Content, Frame};
use super::lamp::{self, Restart};
use super::truth::Cause;
use super::uplink::required_snr_db;
use super::webhook::{Heard, UplinkContent, UplinkFrame};

/// From the reception of a downlink to the uplink that answers it.
const ANSWER_DELAY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));
/// The same where frames take no time. What no radio can do is taken for somebody else's doing: the shortest command and
/// the report that answers it, both at SF7, take 0.13 s.
const PLAUSIBLE_ANSWER: Duration = Duration::from_millis(150);
/// From the join-accept to the first uplink.
const FIRST_UPLINK_DELAY: (Duration, Duration) =
    (Duration::from_millis(400), Duration::from_millis(800));
/// From power to the first join-request.
const BOOT_DELAY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(1_500));
/// Between join-requests that are not answered.
const JOIN_RETRY_DELAY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(20));
/// From a lamp's decision to restart to the restart, both RX windows included.
const RESTART_DELAY: Duration = Duration::from_secs(3);
/// A join-request has 23 bytes, of which radio counts 13 itself.
const JOIN_REQUEST_LEN: usize = 10;
/// EU868's channels of most networks.
const FREQUENCIES_HZ: [u32; 8] = [
    868_100_000,
    868_300_000,
    868_500_000,
    867_100_000,
    867_300_000,
    867_500_000,
    867_700_000,
    867_900_000,
];

impl Network {
    /// Starts a lamp's side of a session.
    pub(super) fn begin_session(
        &mut self,
        lamp: usize,
        dev_addr: DevAddr,
        first_uplink_at: Timestamp,
    ) {
        let now = self.now;
        self.lamps[lamp].join(dev_addr, now);
        self.lamps[lamp].report_due = true;
        self.plan_uplink(lamp, first_uplink_at);
        self.plan_heartbeat(lamp);
    }

    fn plan_heartbeat(&mut self, lamp: usize) {
        let light = &mut self.lamps[lamp];
        light.heartbeat_plan += 1;
        let event = Event::Heartbeat {
            lamp,
            boot: light.boot,
            plan: light.heartbeat_plan,
        };
        let at = self.now + light.heartbeat();
        self.schedule(at, event);
    }

    /// Plans an uplink for then or as soon as the duty cycle allows; an earlier plan stands.
    fn plan_uplink(&mut self, lamp: usize, at: Timestamp) {
        let light = &mut self.lamps[lamp];
        let at = light.may_send_at(at);
        if light.uplink_plan.is_some_and(|(planned, _)| planned <= at) {
            return;
        }
        light.uplink_plans += 1;
        let plan = light.uplink_plans;
        light.uplink_plan = Some((at, plan));
        self.schedule(at, Event::UplinkStarts { lamp, plan });
    }

    pub(super) fn on_heartbeat(&mut self, lamp: usize, boot: u32, plan: u32) {
        let light = &mut self.lamps[lamp];
        if (light.boot, light.heartbeat_plan) != (boot, plan) || !light.is_joined() {
            return;
        }
        light.report_due = true;
        self.plan_uplink(lamp, self.now);
        self.plan_heartbeat(lamp);
    }

    pub(super) fn on_uplink_starts(&mut self, lamp: usize, plan: u32) {
        let now = self.now;
        let light = &mut self.lamps[lamp];
        if light.uplink_plan != Some((now, plan)) {
            return;
        }
        light.uplink_plan = None;
        let Some((composed, restart)) = light.compose() else {
            return;
        };
        let lamp::Composed {
            dev_addr,
            f_cnt,
            f_port,
            payload,
            ack,
            adr,
        } = composed;
        let boot = light.boot;
        let len = payload.len();
        let content = UplinkContent::Data {
            dev_addr,
            f_cnt,
            f_port,
            payload,
            ack,
            adr,
        };
        let ended_at = self.radiate(lamp, content, len);
        if let Some(reason) = restart {
            self.schedule(
                ended_at + RESTART_DELAY,
                Event::Restart { lamp, boot, reason },
            );
        }
    }

    pub(super) fn on_join_request(&mut self, lamp: usize, boot: u32) {
        let now = self.now;
        let light = &mut self.lamps[lamp];
        if light.boot != boot || !light.powered || light.is_joined() {
            return;
        }
        let may_send_at = light.may_send_at(now);
        if may_send_at > now {
            return self.schedule(may_send_at, Event::JoinRequest { lamp, boot });
        }
        light.dev_nonce += 1;
        let content = UplinkContent::JoinRequest {
            dev_nonce: light.dev_nonce,
        };
        self.radiate(lamp, content, JOIN_REQUEST_LEN);
        let again = now + self.random_between(JOIN_RETRY_DELAY.0, JOIN_RETRY_DELAY.1);
        self.schedule(again, Event::JoinRequest { lamp, boot });
    }

    /// Sends a frame from now on: until when.
    fn radiate(&mut self, lamp: usize, content: UplinkContent, len: usize) -> Timestamp {
        let now = self.now;
        let channel = usize::try_from(self.random.below(8)).unwrap_or(0);
        let light = &mut self.lamps[lamp];
        let ended_at = light.send(len, now);
        let frame = UplinkFrame {
            dev_eui: light.config.dev_eui,
            lamp,
            content,
            spreading_factor: light.config.spreading_factor,
            frequency_hz: FREQUENCIES_HZ[channel % 8],
            started_at: now,
            ended_at,
            heard_by: Vec::new(),
        };
        self.schedule(ended_at, Event::UplinkEnds(Box::new(frame)));
        ended_at
    }

    pub(super) fn on_uplink_ends(&mut self, mut frame: Box<UplinkFrame>) {
        if self.lamps[frame.lamp].sending != Some((frame.started_at, frame.ended_at)) {
            return;
        }
        for gateway in 0..self.gateways.len() {
            let Some(link) = self.links[frame.lamp][gateway] else {
                continue;
            };
            let heard = self.with_noise(gateway, link);
            let lost = self.random.chance(self.config.links.loss_up);
            let ears = &self.gateways[gateway];
            let deaf = !ears.online || ears.sends_between(frame.started_at, frame.ended_at);
            if !lost && !deaf && heard.snr_db >= required_snr_db(frame.spreading_factor) {
                frame.heard_by.push(heard);
            }
        }
        if frame.heard_by.is_empty() {
            if matches!(frame.content, UplinkContent::Data { .. }) {
                self.lamps[frame.lamp].truth.uplinks_unheard += 1;
            }
            return;
        }
        let at = self.now + self.config.links.latency + self.config.server.deduplication_delay;
        self.schedule(at, Event::UplinkMerged(frame));
    }

    fn with_noise(&mut self, gateway: usize, link: Link) -> Heard {
        let (rssi, snr) = (self.random.below(5), self.random.below(5));
        let steps = [-0.5, -0.25, 0.0, 0.25, 0.5];
        Heard {
            gateway,
            gateway_id: self.gateways[gateway].id(),
            rssi_dbm: link.rssi_dbm - 2 + i32::try_from(rssi).unwrap_or(0),
            snr_db: link.snr_db + steps[usize::try_from(snr).unwrap_or(0) % 5],
        }
    }

    pub(super) fn on_frame_arrives(&mut self, gateway: usize, frame: Frame) {
        let now = self.now;
        let downlink_id = frame.downlink_id;
        let to = &mut self.gateways[gateway];
        if !to.online {
            return;
        }
        let result = to.accept(frame, now).map(|(transmission, option)| {
            (
                Event::TransmissionEnds {
                    gateway,
                    transmission: transmission.id,
                },
                transmission.end,
                option,
            )
        });
        let (loss, delay) = (to.tx_ack_loss, to.tx_ack_delay);
        let result = result.map(|(event, end, option)| {
            self.schedule(end, event);
            option
        });
        if !self.random.chance(loss) {
            let at = now + self.config.links.latency + delay;
            self.schedule(
                at,
                Event::TxAck {
                    gateway,
                    downlink_id,
                    result,
                },
            );
        }
    }

    pub(super) fn on_transmission_ends(&mut self, gateway: usize, transmission: u64) {
        let now = self.now;
        let Some((started_at, option, frame)) = self.gateways[gateway].finish(transmission) else {
            return;
        };
        if self.gateways[gateway].mute {
            return;
        }
        let Some(&lamp) = self.lamp_index.get(&frame.dev_eui) else {
            return;
        };
        let Some(link) = self.links[lamp][gateway] else {
            return;
        };
        let heard = self.with_noise(gateway, link);
        let lost = self.random.chance(self.config.links.loss_down);
        let light = &self.lamps[lamp];
        let deaf = !light.powered || light.sends_between(started_at, now);
        if !lost && !deaf && heard.snr_db >= required_snr_db(option.spreading_factor) {
            self.reach_lamp(lamp, &frame.content, heard);
        }
    }

    fn reach_lamp(&mut self, lamp: usize, content: &Content, heard: Heard) {
        let now = self.now;
        match *content {
            Content::JoinAccept {
                dev_addr,
                dev_nonce,
            } => {
                let light = &self.lamps[lamp];
                if light.dev_nonce == dev_nonce && !light.is_joined() {
                    let first =
                        now + self.random_between(FIRST_UPLINK_DELAY.0, FIRST_UPLINK_DELAY.1);
                    self.begin_session(lamp, dev_addr, first);
                }
            }
            Content::Data {
                dev_addr,
                f_cnt,
                f_port,
                confirmed,
                ref payload,
                queue_item_id,
            } => {
                let frame = lamp::Heard {
                    dev_addr,
                    f_cnt,
                    f_port,
                    confirmed,
                    payload,
                    queue_item_id,
                    rssi_dbm: heard.rssi_dbm,
                    snr_db: heard.snr_db,
                };
                let reaction = self.lamps[lamp].receive(frame, now);
                self.react(lamp, reaction);
            }
        }
    }

    fn react(&mut self, lamp: usize, reaction: lamp::Reaction) {
        if reaction.report || reaction.acknowledge {
            let delay = if self.lamps[lamp].has_airtime {
                self.random_between(ANSWER_DELAY.0, ANSWER_DELAY.1)
            } else {
                PLAUSIBLE_ANSWER
            };
            self.plan_uplink(lamp, self.now + delay);
        }
        if reaction.heartbeat_changed {
            self.plan_heartbeat(lamp);
        }
        if let Some(reason) = reaction.restart {
            let boot = self.lamps[lamp].boot;
            self.schedule(
                self.now + RESTART_DELAY,
                Event::Restart { lamp, boot, reason },
            );
        }
    }

    pub(super) fn on_restart(&mut self, lamp: usize, boot: u32, reason: Restart) {
        let light = &self.lamps[lamp];
        if light.boot != boot || (reason == Restart::Watchdog && !light.watchdog_expired()) {
            return;
        }
        let cause = match reason {
            Restart::Watchdog => Cause::Watchdog,
            Restart::FactoryReset => Cause::FactoryReset,
        };
        self.restart_lamp(lamp, cause);
    }

    /// Off and on again.
    pub(super) fn restart_lamp(&mut self, lamp: usize, cause: Cause) {
        let now = self.now;
        self.lamps[lamp].go_dark(now, cause);
        self.lamps[lamp].powered = true;
        self.lamps[lamp].truth.powered = true;
        let boot = self.lamps[lamp].boot;
        let at = now + self.random_between(BOOT_DELAY.0, BOOT_DELAY.1);
        self.schedule(at, Event::JoinRequest { lamp, boot });
    }
}
