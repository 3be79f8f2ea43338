//! Who gets a turn now.

use std::time::Duration;

use super::air::{
    BEAT, DROWNED_MAX, all_hit, frames_left, frames_until_deaf, is_hurried, unhurried_max,
};
use super::ledger::{Bounds, Ledger, Whose};
use super::snapshot::{Downlink, budget};
use super::{
    Ask, BEAT_MEMORY, FLOOR, FRESH, Gateway, Grant, LOOK_AGAIN, PASSED_BY, PASSES_MAX, Pacer,
    PacerConfig, Reservation, SCOUTED, SCOUTS, SCOUTS_HELD, TELLING, TOO_CLOSE, UNEVEN,
    UNHURRIED_HELD,
};
use crate::device::Priority;
use crate::id::{DevEui, GatewayId};
use crate::region::{Region, SubBand};
use crate::time::Timestamp;

/// Books are gone through for what is an hour old at most so often.
const TIDY_PAUSE: Duration = Duration::from_secs(1);

/// Not now; no sooner than then, unless something happens.
struct NotBefore(Timestamp);

impl Pacer {
    /// Nobody holds a turn, nobody waits, nothing was sent.
    pub fn new(config: PacerConfig) -> Self {
        Self {
            config,
            region: config.region.unwrap_or_default(),
            ..Self::default()
        }
    }

    /// A device wants a turn. Asking again changes what it asks for and keeps its place; one that asks holds none any
    /// more, whatever was known of it (it may have been started anew).
    pub fn ask(&mut self, now: Timestamp, ask: Ask) {
        self.drop_grant(now, ask.device);
        self.waiting.insert(now, ask);
    }

    /// A device holds a turn from before a restart, whether there is one or not. `tried`: from when until when its item was in
    /// ChirpStack's queue without a word of it, as far as is known; `None` if it has none there that is tried.
    pub fn hold(&mut self, now: Timestamp, ask: Ask, tried: Option<(Timestamp, Timestamp)>) {
        self.waiting.remove(ask.device);
        if !self.grants.contains_key(&ask.device) {
            let device = ask.device;
            self.place(now, ask);
            if let Some((from, until)) = tried {
                self.enqueued(now - until.min(now).since(from), device);
            }
        }
    }

    /// The device's item is about to be put into ChirpStack's queue.
    pub fn enqueued(&mut self, now: Timestamp, device: DevEui) {
        if let Some(grant) = self.grants.get_mut(&device) {
            grant.tried_at = Some(now);
        }
    }

    /// It certainly did not get there.
    pub fn not_enqueued(&mut self, device: DevEui) {
        if let Some(grant) = self.grants.get_mut(&device) {
            grant.tried_at = None;
        }
    }

    /// A device gives its turn back, or no longer wants one.
    pub fn end(&mut self, now: Timestamp, device: DevEui) {
        self.drop_grant(now, device);
        self.waiting.remove(device);
    }

    /// While closed, nobody gets a turn.
    pub fn set_closed(&mut self, closed: bool) {
        self.closed = closed;
    }

    /// Gives out the turns that can be given now.
    pub fn grant(&mut self, now: Timestamp) -> Vec<DevEui> {
        self.tidy(now);
        self.wake = None;
        let mut granted = Vec::new();
        while !self.closed && self.grants.len() < self.config.held_max {
            let Some(mut ask) = self.choose(now) else {
                break;
            };
            ask.is_scout |= self.is_in_doubt(&ask);
            self.count_pass(now, ask.priority);
            let airtime = self.airtime(&ask);
            self.waiting.serve(&ask, airtime);
            self.waiting.remove(ask.device);
            granted.push(ask.device);
            self.place(now, ask);
        }
        granted
    }

    /// When to ask [`Pacer::grant`] again, if nothing happens before.
    pub fn next_wake(&self) -> Option<Timestamp> {
        if self.closed || self.waiting.is_empty() {
            return None;
        }
        let first_lease = self.grants.values().map(|grant| grant.at).min();
        let lease = first_lease.map(|at| at + self.config.lease);
        if self.grants.len() < self.config.held_max {
            self.wake.into_iter().chain(lease).min()
        } else {
            lease
        }
    }

    /// How many hold a turn, and how many wait.
    pub fn counts(&self) -> (usize, usize) {
        (self.grants.len(), self.waiting.len())
    }

    /// Takes back turns that nobody gave back, and forgets what is over.
    pub(super) fn tidy(&mut self, now: Timestamp) {
        self.charge_repeats(now);
        let lease = self.config.lease;
        let is_over = |grant: &Grant| now.since(grant.at) >= lease;
        let over: Vec<DevEui> = self
            .grants
            .iter()
            .filter_map(|(device, grant)| is_over(grant).then_some(*device))
            .collect();
        for device in over {
            self.drop_grant(now, device);
        }
        self.answers.retain(|answer| answer.window.ends() > now);
        if self
            .tidied_at
            .is_some_and(|at| at <= now && now.since(at) < TIDY_PAUSE)
        {
            return;
        }
        self.tidied_at = Some(now);
        self.seen.retain(|_, seen| now.since(*seen) < lease);
        self.untold
            .retain(|_, tried_at| now.since(*tried_at) < lease);
        self.gateways.retain(|_, gateway| {
            gateway.forget(now);
            !gateway.is_forgotten(now)
        });
    }

    /// Whoever is next, if anybody can go.
    fn choose(&mut self, now: Timestamp) -> Option<Ask> {
        let mut wake = None;
        let mut found = None;
        if self.passes >= PASSES_MAX {
            let first = self.waiting.classes().next();
            let mut passed_by: Vec<_> = self
                .waiting
                .classes()
                .filter(|class| Some(*class) != first)
                .flat_map(|class| self.waiting.heads(class))
                .filter(|waiter| now.since(waiter.since) >= PASSED_BY)
                .collect();
            passed_by.sort_by_key(|waiter| waiter.since);
            let mut asks = passed_by.into_iter().map(|waiter| &waiter.ask);
            found = asks.find(|ask| self.check(now, ask).is_ok()).cloned();
        }
        if found.is_none() {
            let in_order = self.waiting.classes();
            let mut waiters = in_order.flat_map(|class| self.waiting.heads(class));
            found = waiters
                .find(|waiter| match self.check(now, &waiter.ask) {
                    Ok(()) => true,
                    Err(NotBefore(at)) => {
                        wake = Some(wake.map_or(at, |wake: Timestamp| wake.min(at)));
                        false
                    }
                })
                .map(|waiter| waiter.ask.clone());
        }
        self.wake = wake;
        found
    }

    /// Counts the turns in a row that pass by somebody of another class who waits for long.
    fn count_pass(&mut self, now: Timestamp, class: Priority) {
        let mut others = self.waiting.classes().filter(|other| *other > class);
        let is_passed_by = others.any(|other| {
            let mut heads = self.waiting.heads(other);
            heads.any(|waiter| now.since(waiter.since) >= PASSED_BY)
        });
        self.passes = if is_passed_by { self.passes + 1 } else { 0 };
    }

    fn check(&self, now: Timestamp, ask: &Ask) -> Result<(), NotBefore> {
        let (share, of) = UNHURRIED_HELD;
        if !is_hurried(ask.priority) && self.grants.len() * of >= self.config.held_max * share {
            return Err(NotBefore(now + LOOK_AGAIN));
        }
        self.check_budgets(now, ask)?;
        if ask.is_scout || self.is_in_doubt(ask) {
            return self.check_scouts(now, ask);
        }
        if ask.is_class_a || !self.config.half_duplex {
            return Ok(());
        }
        self.check_air(now, ask)
    }

    /// Whether few others find out about the same gateways.
    fn check_scouts(&self, now: Timestamp, ask: &Ask) -> Result<(), NotBefore> {
        let (most, pause) = SCOUTS;
        let candidates = &ask.hearing.candidates;
        let is_known = |id: &GatewayId| self.downlink_of(*id).is_learnt;
        let most = if candidates.iter().any(is_known) {
            let gateways = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
            let tried =
                SCOUTED.saturating_mul(gateways).as_micros() / self.airtime(ask).as_micros().max(1);
            usize::try_from(tried).map_or(most, |it| it.clamp(1, most))
        } else {
            most
        };
        let out = || {
            let grants = self.grants.values();
            grants.filter(|grant| grant.ask.is_scout && !grant.is_taken)
        };
        if out().count() * SCOUTS_HELD >= self.config.held_max {
            return Err(NotBefore(now + pause));
        }
        let scouts = out().filter(|grant| grant.ask.hearing.may_send_by(candidates));
        let (count, last) = scouts.fold((0, None), |(count, last), grant| {
            (count + 1, last.max(Some(grant.at)))
        });
        // One that ends makes itself known.
        if count >= most {
            return Err(NotBefore(now + pause));
        }
        if let Some(at) = last.map(|at: Timestamp| at + pause).filter(|at| *at > now) {
            return Err(NotBefore(at));
        }
        Ok(())
    }

    /// Whether each gateway that may send it has the airtime left.
    fn check_budgets(&self, now: Timestamp, ask: &Ask) -> Result<(), NotBefore> {
        if ask.hearing.candidates.is_empty() {
            // Nobody knows which one sends: any may.
            let all = self.gateways.keys();
            return all
                .copied()
                .try_for_each(|id| self.check_budget(now, ask, id));
        }
        let candidates = &ask.hearing.candidates;
        for id in candidates {
            self.check_budget(now, ask, *id)?;
        }
        self.check_together(now, ask)
    }

    /// Whether the gateways that may send it have not reached the ceiling of its class together: the lots fall unevenly,
    /// and one that is drawn too often for a while must not hold up all others.
    fn check_together(&self, now: Timestamp, ask: &Ask) -> Result<(), NotBefore> {
        let ceiling = self.config.ceiling(ask.priority);
        let (mut full, mut count, mut may_always) = (0.0, 0_u32, true);
        let mut release: Option<Timestamp> = None;
        for id in &ask.hearing.candidates {
            let downlink = self.downlink_of(*id);
            let band = self.region_of(*id).sub_band(downlink.frequency_hz);
            let bounds = self.bounds(band, ask.priority);
            let ledger = self
                .gateways
                .get(id)
                .and_then(|it| it.ledgers.get(band.name));
            let (Some(budget), Some(ledger)) = (bounds.budget, ledger) else {
                return Ok(());
            };
            let airtime = downlink.airtime(ask.payload_len);
            full += ledger.filled(airtime + self.unplaced, budget);
            count += 1;
            may_always &= ledger.is_below_floor(ask.whose(), airtime, bounds);
            release = release.into_iter().chain(ledger.first_release()).min();
        }
        if may_always || full <= ceiling * f64::from(count) {
            return Ok(());
        }
        let at = release.unwrap_or(now + self.config.lease);
        Err(NotBefore(at.max(now + LOOK_AGAIN)))
    }

    fn check_budget(&self, now: Timestamp, ask: &Ask, id: GatewayId) -> Result<(), NotBefore> {
        let downlink = self.downlink_of(id);
        let band = self.region_of(id).sub_band(downlink.frequency_hz);
        let gateway = self.gateways.get(&id);
        if let Some(until) = gateway
            .and_then(|it| it.paused_until)
            .filter(|it| *it > now)
        {
            return Err(NotBefore(until));
        }
        let empty = Ledger::default();
        let ledger = gateway.and_then(|it| it.ledgers.get(band.name));
        let ledger = ledger.unwrap_or(&empty);
        if let Some(until) = ledger.blocked_until.filter(|it| *it > now) {
            return Err(NotBefore(until));
        }
        let bounds = self.bounds(band, ask.priority);
        let airtime = downlink.airtime(ask.payload_len);
        if ledger.fits(ask.whose(), airtime, self.unplaced, bounds) {
            return Ok(());
        }
        // What is reserved is given back, or is sent: then something happens.
        let at = ledger.first_release().unwrap_or(now + self.config.lease);
        Err(NotBefore(at.max(now + LOOK_AGAIN)))
    }

    fn bounds(&self, band: SubBand, class: Priority) -> Bounds {
        let ceiling = self.config.ceiling(class);
        Bounds {
            budget: budget(band, self.config.duty_cycle),
            ceiling: (ceiling + UNEVEN).min(1.0),
            floor: FLOOR.min(ceiling),
            tenant_share: self.config.tenant_share,
        }
    }

    /// Whether the answers that are outstanding, and its own, will be heard.
    fn check_air(&self, now: Timestamp, ask: &Ask) -> Result<(), NotBefore> {
        let again = Err(NotBefore(now + LOOK_AGAIN));
        let hearing = &ask.hearing;
        if hearing.ears.is_empty() {
            let mut others = self.fresh(now).filter(|it| it.ask.hearing.ears.is_empty());
            return if others.next().is_none() {
                Ok(())
            } else {
                again
            };
        }
        let is_alone =
            |is_hurried: bool, ears: &[GatewayId]| !is_hurried || !hearing.may_send_by(ears);
        if is_hurried(ask.priority)
            && self
                .fresh(now)
                .all(|it| is_alone(is_hurried(it.ask.priority), &it.ask.hearing.ears))
            && self
                .answers
                .iter()
                .all(|it| is_alone(it.is_hurried, &it.ears))
        {
            // Somebody waits for it: what nobody waits for gives way.
            return Ok(());
        }
        let airtime = self.airtime(ask);
        let (run, run_ends) = self.next_run(now);
        if run == run_ends && run <= now + TOO_CLOSE.0 {
            return Err(NotBefore(run + TOO_CLOSE.1));
        }
        if let Some(beat) = self
            .beat
            .filter(|beat| now.since(*beat) < TELLING && *beat <= now)
        {
            return Err(NotBefore(beat + TELLING));
        }
        if !is_hurried(ask.priority)
            && self.unhurried_ahead(now, ask, run) >= unhurried_max(hearing.candidates.len())
        {
            return again;
        }
        if self.company(now, ask) + 1 > self.company_max(ask, run) {
            return again;
        }
        let mut crowded = self.fresh(now).filter(|it| {
            hearing.may_send_by(&it.ask.hearing.ears) && it.company + 1 > it.company_max
        });
        if crowded.next().is_some() {
            return again;
        }
        let drowned: f64 = self
            .answers
            .iter()
            .filter(|answer| hearing.may_send_by(&answer.ears))
            .map(|answer| {
                let frames = self
                    .fresh(now)
                    .filter(|it| it.ask.hearing.may_send_by(&answer.ears))
                    .count();
                let silent = answer
                    .ears
                    .iter()
                    .map(|id| self.free_at(*id, run))
                    .filter(|free_at| *free_at <= answer.window.from.max(run));
                let (mut count, mut overlap) = (0, 0.0_f64);
                for free_at in silent {
                    count += 1;
                    overlap = overlap.max(
                        answer
                            .window
                            .overlap(free_at, run_ends.max(free_at) + airtime),
                    );
                }
                overlap * all_hit(frames + 1, count, answer.ears.len())
            })
            .sum();
        if drowned > DROWNED_MAX {
            return again;
        }
        Ok(())
    }

    /// Frames that may be ahead of a command, or be sent with it, in the gateways that may send it.
    fn unhurried_ahead(&self, now: Timestamp, ask: &Ask, run: Timestamp) -> usize {
        let candidates = &ask.hearing.candidates;
        let handed = self
            .fresh(now)
            .filter(|it| it.ask.hearing.may_send_by(candidates))
            .count();
        let airtime = self.airtime(ask);
        let sending: usize = candidates
            .iter()
            .map(|id| frames_left(self.free_at(*id, run).since(run), airtime))
            .sum();
        handed + sending
    }

    /// Grants whose frames may be handed over with a command and keep its listeners from hearing its answer.
    fn company(&self, now: Timestamp, ask: &Ask) -> usize {
        self.fresh(now)
            .filter(|it| it.ask.hearing.may_send_by(&ask.hearing.ears))
            .count()
    }

    fn company_max(&self, ask: &Ask, run: Timestamp) -> usize {
        let airtime = self.airtime(ask);
        let until_deaf: usize = ask
            .hearing
            .ears
            .iter()
            .map(|id| frames_until_deaf(self.free_at(*id, run).since(run), airtime))
            .sum();
        until_deaf.saturating_sub(1)
    }

    /// Grants that ChirpStack will hand over in its next run, as far as is known.
    fn fresh(&self, now: Timestamp) -> impl Iterator<Item = &Grant> {
        self.grants.values().filter(move |grant| {
            !grant.is_taken
                && !grant.is_refused
                && !grant.ask.is_class_a
                && now.since(grant.at) < FRESH
        })
    }

    /// When the gateways will take what ChirpStack hands over next: no sooner, and no later.
    fn next_run(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let seen = |beat: &Timestamp| *beat <= now && now.since(*beat) < BEAT_MEMORY;
        let Some(beat) = self.beat.filter(seen) else {
            return (now, now + BEAT);
        };
        let since = now.since(beat).saturating_sub(TOO_CLOSE.1).as_micros();
        let runs = u32::try_from(since / BEAT.as_micros() + 1).unwrap_or(u32::MAX);
        let run = beat + BEAT.saturating_mul(runs);
        (run, run)
    }

    /// When a gateway can begin to send what it is handed at `run`.
    fn free_at(&self, id: GatewayId, run: Timestamp) -> Timestamp {
        let gateway = self.gateways.get(&id);
        gateway
            .and_then(|gateway| gateway.free_at)
            .map_or(run, |free_at| free_at.max(run))
    }

    pub(super) fn region_of(&self, id: GatewayId) -> Region {
        let gateway = self.gateways.get(&id);
        gateway.and_then(|it| it.region).unwrap_or(self.region)
    }

    /// How a gateway sends to devices that always listen.
    pub(super) fn downlink_of(&self, id: GatewayId) -> Downlink {
        let gateway = self.gateways.get(&id);
        gateway
            .and_then(|gateway| gateway.downlinks.in_force)
            .unwrap_or_else(|| self.downlink_in(self.region_of(id)))
    }

    /// How those gateways of a region send that have not sent yet.
    pub(super) fn downlink_in(&self, region: Region) -> Downlink {
        let of_server = self.downlinks.in_force.filter(|_| region == self.region);
        of_server.unwrap_or(Downlink::default_of(region))
    }

    /// What it costs at the most.
    fn airtime(&self, ask: &Ask) -> Duration {
        let candidates = ask.hearing.candidates.iter();
        candidates
            .map(|id| self.downlink_of(*id).airtime(ask.payload_len))
            .max()
            .unwrap_or_else(|| self.downlink_in(self.region).airtime(ask.payload_len))
    }

    /// Notes a turn, and reserves its airtime with every gateway that may send it.
    fn place(&mut self, now: Timestamp, ask: Ask) {
        let (reserved, unplaced) = self.reservations(&ask);
        let (run, _) = self.next_run(now);
        let company_max = self.company_max(&ask, run);
        let mut company = 1;
        for grant in self.grants.values_mut() {
            let is_fresh = !grant.is_taken && now.since(grant.at) < FRESH;
            if is_fresh && grant.ask.hearing.may_send_by(&ask.hearing.ears) {
                company += 1;
            }
            if is_fresh && ask.hearing.may_send_by(&grant.ask.hearing.ears) {
                grant.company += 1;
            }
        }
        self.reserve(ask.whose(), &reserved, unplaced);
        let grant = Grant {
            at: now,
            tried_at: None,
            is_refused: false,
            is_taken: false,
            reserved,
            unplaced,
            company,
            company_max,
            ask,
        };
        self.grants.insert(grant.ask.device, grant);
    }

    /// What an ask takes of whose airtime, and what of nobody knows whose.
    fn reservations(&self, ask: &Ask) -> (Vec<Reservation>, Duration) {
        let reserved: Vec<Reservation> = ask
            .hearing
            .candidates
            .iter()
            .map(|id| {
                let downlink = self.downlink_of(*id);
                Reservation {
                    gateway_id: *id,
                    band: self.region_of(*id).sub_band(downlink.frequency_hz).name,
                    airtime: downlink.airtime(ask.payload_len),
                }
            })
            .collect();
        let unplaced = if reserved.is_empty() {
            self.airtime(ask)
        } else {
            Duration::ZERO
        };
        (reserved, unplaced)
    }

    fn reserve(&mut self, whose: Whose, reserved: &[Reservation], unplaced: Duration) {
        for reservation in reserved {
            if let Some(ledger) = self.ledger(reservation.gateway_id, reservation.band) {
                ledger.reserve(whose, reservation.airtime);
            }
        }
        self.unplaced += unplaced;
    }

    /// A turn's frame will be sent by others than was thought.
    pub(super) fn rereserve(&mut self, device: DevEui, ask: Ask) {
        let Some(mut grant) = self.grants.remove(&device) else {
            return;
        };
        self.give_back(&grant);
        (grant.reserved, grant.unplaced) = self.reservations(&ask);
        self.reserve(ask.whose(), &grant.reserved, grant.unplaced);
        grant.ask = ask;
        self.grants.insert(device, grant);
    }

    pub(super) fn give_back(&mut self, grant: &Grant) {
        self.unplaced = self.unplaced.saturating_sub(grant.unplaced);
        let whose = grant.ask.whose();
        for reservation in &grant.reserved {
            if let Some(ledger) = self.ledger(reservation.gateway_id, reservation.band) {
                ledger.give_back(whose, reservation.airtime);
            }
        }
    }

    /// A frame is on its way: those that are still to be handed over have one less with them.
    pub(super) fn leave_company(&mut self, device: DevEui) {
        let Some(hearing) = self
            .grants
            .get(&device)
            .map(|grant| grant.ask.hearing.clone())
        else {
            return;
        };
        for grant in self.grants.values_mut() {
            if !grant.is_taken && hearing.may_send_by(&grant.ask.hearing.ears) {
                grant.company = grant.company.saturating_sub(1);
            }
        }
    }

    /// Takes a turn back. What may have gone out without word counts as sent by each gateway that may have done it.
    fn drop_grant(&mut self, now: Timestamp, device: DevEui) {
        self.charge_repeats(now);
        if self
            .grants
            .get(&device)
            .is_some_and(|grant| !grant.is_taken)
        {
            self.leave_company(device);
        }
        if let Some(grant) = self.grants.remove(&device) {
            self.give_back(&grant);
            self.charge_last(now, &grant);
        }
    }
}

impl Ask {
    pub(super) fn whose(&self) -> Whose {
        Whose {
            tenant: self.tenant,
            class: self.priority,
        }
    }
}

impl Gateway {
    fn forget(&mut self, now: Timestamp) {
        for ledger in self.ledgers.values_mut() {
            ledger.forget(now);
        }
        self.ledgers.retain(|_, ledger| !ledger.is_empty());
    }

    /// Whether all that it said is old: it is as good as one that was never heard of.
    fn is_forgotten(&self, now: Timestamp) -> bool {
        self.ledgers.is_empty()
            && self.paused_until.is_none_or(|until| until <= now)
            && self.free_at.is_none_or(|free_at| free_at <= now)
            && self.downlinks.in_force.is_none()
    }
}
