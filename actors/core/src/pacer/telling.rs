//! What is told of frames, and what is there to be told.

use std::time::Duration;

use super::air::{Window, is_hurried};
use super::ledger::{CLASSES, Ledger};
use super::snapshot::{AirtimeOverview, AirtimeSnapshot, BandAir, GatewayAir, budget};
use super::{
    Answer, Ask, BLOCKED, Gateway, HeardDownlink, Hearing, PAUSED, Pacer, SentLately, UNKNOWN_LEN,
};
use crate::gateway::GATEWAYS_MAX;
use crate::id::{DevEui, GatewayId};
use crate::network::{Reception, Timing, Transmitted};
use crate::radio::Modulation;
use crate::region::{DUTY_CYCLE_WINDOW, Region};
use crate::time::Timestamp;

/// Two frames so far apart were not handed over in one run of ChirpStack's scheduler.
const RUN_SPREAD: Duration = Duration::from_millis(500);

/// From the tx-ack of a frame that follows an uplink to its beginning, at the most: RX2 comes two seconds after that.
const RX_WINDOWS: Duration = Duration::from_secs(2);

impl Pacer {
    /// A gateway took a frame of a device (tx-ack): now it is known which one sends, and what it costs.
    pub fn transmitted(&mut self, now: Timestamp, device: DevEui, event: &Transmitted) {
        self.charge_repeats(now);
        self.see(now, event.gateway_id);
        let grant = self.grants.get_mut(&device);
        let is_first = grant.as_ref().is_some_and(|grant| !grant.is_taken);
        if let Some(grant) = grant {
            grant.is_taken = true;
        }
        if is_first {
            self.leave_company(device);
        }
        let grant = self.grants.get(&device).cloned();
        let Some(gateway_id) = event.gateway_id else {
            if let Some(grant) = grant.filter(|_| is_first) {
                self.give_back(&grant);
                self.charge_all(now, &grant);
                self.forget_reservations(device);
            }
            return;
        };
        if let Some(grant) = grant.as_ref().filter(|_| is_first) {
            self.give_back(grant);
            self.forget_reservations(device);
        }
        self.learn(
            gateway_id,
            event.frequency_hz,
            event.modulation,
            event.timing,
        );
        let downlink = self.downlink_of(gateway_id);
        let frequency_hz = event.frequency_hz.unwrap_or(downlink.frequency_hz);
        let ask = grant.map(|grant| grant.ask);
        let modulation = event.modulation.unwrap_or(downlink.modulation);
        let len = ask.as_ref().map_or(UNKNOWN_LEN, |ask| ask.payload_len);
        let airtime = modulation.time_on_air(len, crate::radio::Direction::Down);
        let band = self.region_of(gateway_id).sub_band(frequency_hz).name;
        let whose = ask.as_ref().map(Ask::whose);
        if let Some(ledger) = self.ledger(gateway_id, band) {
            ledger.spend(now, whose, airtime);
        }
        let Some(gateway) = self.gateway(gateway_id) else {
            return;
        };
        let is_at_once = match event.timing {
            Some(Timing::Immediately) => true,
            Some(Timing::AfterUplink | Timing::AtGpsTime) => false,
            None => frequency_hz == downlink.frequency_hz,
        };
        // What is sent at a time of its own stands in no line.
        let (sent_from, sent_to) = if is_at_once {
            let sent_at = gateway.free_at.map_or(now, |free_at| free_at.max(now)) + airtime;
            gateway.free_at = Some(sent_at);
            (sent_at, sent_at)
        } else {
            (now + airtime, now + RX_WINDOWS + airtime)
        };
        gateway.paused_until = None;
        gateway.pause = Duration::ZERO;
        gateway.block = Duration::ZERO;
        if let Some(ask) = ask.filter(|_| self.config.half_duplex) {
            self.answers.push(Answer {
                device,
                ears: ask.hearing.ears,
                window: Window::after(sent_from, sent_to, ask.uplink),
                is_hurried: is_hurried(ask.priority),
            });
        }
        let is_next_run = self
            .beat
            .is_none_or(|beat| now < beat || now.since(beat) > RUN_SPREAD);
        if is_at_once && is_next_run {
            self.beat = Some(now);
        }
    }

    /// A device spoke: its answer is not outstanding any more, and ChirpStack sends by the gateways that heard it now,
    /// whichever they were when it asked for its turn.
    pub fn heard(
        &mut self,
        now: Timestamp,
        device: DevEui,
        receptions: &[Reception],
        uplink: Option<Modulation>,
    ) {
        self.charge_repeats(now);
        let named = receptions.iter().map(|it| it.gateway_id);
        self.see(now, named.filter(|id| id.is_named()));
        self.answers
            .retain(|answer| answer.device != device || now < answer.window.from);
        let rerouted = |ask: &Ask| {
            let uplink = uplink.unwrap_or(ask.uplink);
            let hearing = Hearing::of(receptions, uplink);
            let is_other =
                !hearing.ears.is_empty() && (&hearing, uplink) != (&ask.hearing, ask.uplink);
            is_other.then(|| Ask {
                hearing,
                uplink,
                ..ask.clone()
            })
        };
        if let Some(ask) = self.waiting.ask_of(device).and_then(rerouted) {
            self.waiting.insert(now, ask);
        }
        let granted = self.grants.get(&device);
        if let Some(ask) = granted
            .filter(|grant| !grant.is_taken)
            .and_then(|grant| rerouted(&grant.ask))
        {
            self.rereserve(device, ask);
        }
    }

    /// A gateway refused a frame of a device, for the reason that ChirpStack names. Which gateway is not said: it is
    /// taken to be the one that has the most reason to.
    pub fn refused(&mut self, now: Timestamp, device: DevEui, status: &str) {
        self.charge_repeats(now);
        let Some(grant) = self.grants.get_mut(&device) else {
            return;
        };
        grant.is_refused = true;
        grant.skip_try(now);
        let candidates = grant.ask.hearing.candidates.clone();
        match status {
            "DUTY_CYCLE_OVERFLOW" => {
                let fullest = candidates.into_iter().max_by_key(|id| self.used_of(*id));
                if let Some(id) = fullest {
                    self.block(now, id);
                }
            }
            "TOO_LATE" | "TOO_EARLY" | "COLLISION_PACKET" | "QUEUE_FULL" => {
                let busiest = candidates
                    .into_iter()
                    .max_by_key(|id| self.gateways.get(id).and_then(|it| it.free_at));
                if let Some(gateway) = busiest.and_then(|id| self.gateway(id)) {
                    gateway.pause = (gateway.pause * 2).clamp(PAUSED.0, PAUSED.1);
                    gateway.paused_until = Some(now + gateway.pause);
                }
            }
            _ => {}
        }
    }

    /// Takes up what was sent before a restart.
    pub fn recall(&mut self, now: Timestamp, sent: SentLately) {
        self.recalled_at = Some(now);
        let SentLately { mut frames, items } = sent;
        let is_recent = |at: Timestamp| now.since(at) < DUTY_CYCLE_WINDOW;
        frames.retain(|frame| is_recent(frame.at));
        frames.sort_by_key(|frame| frame.at);
        let mut charges = Vec::new();
        for frame in frames {
            self.learn(
                frame.gateway_id,
                frame.frequency_hz,
                frame.modulation,
                frame.timing,
            );
            let downlink = self.downlink_of(frame.gateway_id);
            let frequency_hz = frame.frequency_hz.unwrap_or(downlink.frequency_hz);
            let modulation = frame.modulation.unwrap_or(downlink.modulation);
            let airtime = modulation.time_on_air(UNKNOWN_LEN, crate::radio::Direction::Down);
            charges.push((frame.at, frame.gateway_id, frequency_hz, airtime));
        }
        // Only now is it known how each gateway sends.
        for item in &items {
            let tries = item.tries().filter(|(_, at)| is_recent(*at));
            charges.extend(tries.map(|(id, at)| {
                let downlink = self.downlink_of(id);
                let airtime = downlink.airtime(item.payload_len);
                (at, id, downlink.frequency_hz, airtime)
            }));
        }
        charges.sort_by_key(|(at, ..)| *at);
        for (at, id, frequency_hz, airtime) in charges {
            let band = self.region_of(id).sub_band(frequency_hz).name;
            if let Some(ledger) = self.ledger(id, band) {
                ledger.spend(at.min(now), None, airtime);
            }
        }
    }

    /// What there is at `now`.
    pub fn snapshot(&mut self, now: Timestamp) -> AirtimeSnapshot {
        self.tidied_at = None;
        self.tidy(now);
        let gateways = self.gateways.iter();
        let gateways = gateways
            .map(|(id, gateway)| (*id, self.air_of(now, *id, gateway)))
            .collect();
        AirtimeSnapshot::new(AirtimeOverview {
            at: now,
            region: self.region,
            downlink: self.downlink_in(self.region),
            duty_cycle: self.config.duty_cycle,
            ceilings: CLASSES
                .into_iter()
                .map(|class| (class, self.config.ceiling(class)))
                .collect(),
            gateways,
            waiting: self.waiting.counts(),
            held: self.grants.len(),
        })
    }

    fn air_of(&self, now: Timestamp, id: GatewayId, gateway: &Gateway) -> GatewayAir {
        let (region, downlink) = (self.region_of(id), self.downlink_of(id));
        let sending = region.sub_band(downlink.frequency_hz);
        let empty = Ledger::default();
        let others =
            region.sub_bands().iter().copied().filter(|band| {
                band.name != sending.name && gateway.ledgers.contains_key(band.name)
            });
        let bands = std::iter::once(sending).chain(others).map(|sub_band| {
            let ledger = gateway.ledgers.get(sub_band.name).unwrap_or(&empty);
            BandAir {
                sub_band,
                budget: budget(sub_band, self.config.duty_cycle),
                used: ledger.used(),
                used_by: CLASSES
                    .into_iter()
                    .map(|class| (class, ledger.used_by(class)))
                    .collect(),
                reserved: ledger.reserved(),
                blocked_until: ledger.blocked_until,
                releases: ledger.releases(),
            }
        });
        GatewayAir {
            region,
            downlink,
            paused_until: gateway.paused_until.filter(|until| *until > now),
            bands: bands.collect(),
        }
    }

    fn learn(
        &mut self,
        id: GatewayId,
        frequency_hz: Option<u32>,
        modulation: Option<Modulation>,
        timing: Option<Timing>,
    ) {
        let (Some(frequency_hz), Some(modulation)) = (frequency_hz, modulation) else {
            return;
        };
        if self.config.region.is_none() {
            let presumed = self.region_of(id);
            let told = Region::of_downlink(presumed, frequency_hz);
            // Gateways that have not sent yet are likely to be where the last one is.
            self.region = told.unwrap_or(presumed);
            if let Some(gateway) = self.gateway(id) {
                gateway.region = told.or(Some(presumed));
            }
        }
        let region = self.region_of(id);
        let heard = HeardDownlink {
            frequency_hz,
            modulation,
            timing,
        };
        self.downlinks.note(self.region, heard);
        if let Some(gateway) = self.gateway(id) {
            gateway.downlinks.note(region, heard);
        }
    }

    /// Nobody sends by it for a while, longer each time until it sends again.
    fn block(&mut self, now: Timestamp, id: GatewayId) {
        let downlink = self.downlink_of(id);
        let band = self.region_of(id).sub_band(downlink.frequency_hz).name;
        let Some(gateway) = self.gateway(id) else {
            return;
        };
        gateway.block = (gateway.block * 2).clamp(BLOCKED.0, BLOCKED.1);
        let until = now + gateway.block;
        gateway.ledgers.entry(band).or_default().blocked_until = Some(until);
    }

    fn used_of(&self, id: GatewayId) -> Duration {
        let gateway = self.gateways.get(&id);
        gateway.map_or(Duration::ZERO, |it| {
            it.ledgers.values().map(Ledger::used).sum()
        })
    }

    fn forget_reservations(&mut self, device: DevEui) {
        if let Some(grant) = self.grants.get_mut(&device) {
            grant.reserved.clear();
            grant.unplaced = Duration::ZERO;
        }
    }

    pub(super) fn ledger(&mut self, id: GatewayId, band: &'static str) -> Option<&mut Ledger> {
        let gateway = self.gateway(id)?;
        Some(gateway.ledgers.entry(band).or_default())
    }

    /// A gateway's entry; none for those beyond the greatest number that is kept.
    fn gateway(&mut self, id: GatewayId) -> Option<&mut Gateway> {
        if self.gateways.len() >= GATEWAYS_MAX && !self.gateways.contains_key(&id) {
            return None;
        }
        Some(self.gateways.entry(id).or_default())
    }
}
