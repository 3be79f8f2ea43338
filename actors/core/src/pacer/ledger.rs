//! What a gateway has sent in a sub-band over the last hour, and what is promised of the rest.
//!
//! The hour is kept in pieces of ten seconds, and a piece counts until all of it is an hour old: never less than what
//! really was sent. So an account holds 361 pieces at the most, however much goes on. The hour is that of a steady clock:
//! setting the system's makes nothing older.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::device::Priority;
use crate::id::TenantId;
use crate::region::DUTY_CYCLE_WINDOW;
use crate::time::Timestamp;

/// Length of a piece in ms.
const PIECE_MS: i64 = 10_000;

/// Airtime of the last hour.
#[derive(Debug, Clone, Default)]
pub(super) struct Hour {
    /// Number of the piece, and what was sent in it; oldest first.
    pieces: VecDeque<(i64, Duration)>,
    sum: Duration,
}

impl Hour {
    pub(super) fn add(&mut self, at: Timestamp, airtime: Duration) {
        let piece = at.as_millis().div_euclid(PIECE_MS);
        self.sum += airtime;
        match self.pieces.back_mut() {
            // What is told late, or with a clock that was set back, counts as sent now.
            Some((newest, sent)) if *newest >= piece => *sent += airtime,
            Some(_) | None => self.pieces.push_back((piece, airtime)),
        }
    }

    pub(super) fn forget(&mut self, now: Timestamp) {
        while let Some((piece, sent)) = self.pieces.front()
            && gone_at(*piece) <= now
        {
            self.sum = self.sum.saturating_sub(*sent);
            self.pieces.pop_front();
        }
    }

    pub(super) fn sum(&self) -> Duration {
        self.sum
    }

    fn first_release(&self) -> Option<Timestamp> {
        self.pieces.front().map(|(piece, _)| gone_at(*piece))
    }

    /// When how much of it will be an hour old.
    fn releases(&self) -> impl Iterator<Item = (Timestamp, Duration)> {
        self.pieces
            .iter()
            .map(|(piece, sent)| (gone_at(*piece), *sent))
    }
}

fn gone_at(piece: i64) -> Timestamp {
    Timestamp::from_millis((piece + 1).saturating_mul(PIECE_MS)) + DUTY_CYCLE_WINDOW
}

/// Used or reserved airtime, by class.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ByClass([Duration; 5]);

pub(super) const CLASSES: [Priority; 5] = [
    Priority::Interactive,
    Priority::Retry,
    Priority::Initialisation,
    Priority::Bulk,
    Priority::Reconcile,
];

const fn place(priority: Priority) -> usize {
    match priority {
        Priority::Interactive => 0,
        Priority::Retry => 1,
        Priority::Initialisation => 2,
        Priority::Bulk => 3,
        Priority::Reconcile => 4,
    }
}

impl ByClass {
    fn add(&mut self, class: Priority, airtime: Duration) {
        self.0[place(class)] += airtime;
    }

    fn take(&mut self, class: Priority, airtime: Duration) {
        let of_class = &mut self.0[place(class)];
        *of_class = of_class.saturating_sub(airtime);
    }

    fn of(&self, class: Priority) -> Duration {
        self.0[place(class)]
    }

    fn sum(&self) -> Duration {
        self.0.iter().sum()
    }
}

/// One gateway's account of one sub-band.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    /// By class, and last what is nobody's here: other applications, answers of the network server.
    used: [Hour; 6],
    reserved: ByClass,
    tenants: BTreeMap<TenantId, OfTenant>,
    /// The gateway itself said that it may not send, until then.
    pub(super) blocked_until: Option<Timestamp>,
}

#[derive(Debug, Clone, Default)]
struct OfTenant {
    used: Hour,
    reserved: Duration,
}

/// Whose airtime it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whose {
    pub(super) tenant: TenantId,
    pub(super) class: Priority,
}

/// How much of a sub-band may be used, and by whom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    /// What one sender may send in an hour; `None`: any.
    pub(super) budget: Option<Duration>,
    /// Up to which share of it this class may fill the account.
    pub(super) ceiling: f64,
    /// What a class may use of it whatever the others used.
    pub(super) floor: f64,
    /// Which share of it one tenant may use.
    pub(super) tenant_share: f64,
}

impl Ledger {
    pub(super) fn forget(&mut self, now: Timestamp) {
        self.used.iter_mut().for_each(|hour| hour.forget(now));
        self.tenants.retain(|_, tenant| {
            tenant.used.forget(now);
            tenant.used.sum() > Duration::ZERO || tenant.reserved > Duration::ZERO
        });
        self.blocked_until = self.blocked_until.filter(|until| *until > now);
    }

    pub(super) fn reserve(&mut self, whose: Whose, airtime: Duration) {
        self.reserved.add(whose.class, airtime);
        self.tenants.entry(whose.tenant).or_default().reserved += airtime;
    }

    pub(super) fn give_back(&mut self, whose: Whose, airtime: Duration) {
        self.reserved.take(whose.class, airtime);
        if let Some(tenant) = self.tenants.get_mut(&whose.tenant) {
            tenant.reserved = tenant.reserved.saturating_sub(airtime);
        }
    }

    /// It was sent. `None`: by nobody here.
    pub(super) fn spend(&mut self, now: Timestamp, whose: Option<Whose>, airtime: Duration) {
        self.used[whose.map_or(5, |whose| place(whose.class))].add(now, airtime);
        if let Some(whose) = whose {
            let tenant = self.tenants.entry(whose.tenant).or_default();
            tenant.used.add(now, airtime);
        }
    }

    pub(super) fn used(&self) -> Duration {
        self.used.iter().map(Hour::sum).sum()
    }

    pub(super) fn used_by(&self, class: Priority) -> Duration {
        self.used[place(class)].sum()
    }

    pub(super) fn reserved(&self) -> Duration {
        self.reserved.sum()
    }

    /// Whether so much more fits, beside `unplaced` of which it is not known which gateway will send it.
    pub(super) fn fits(
        &self,
        whose: Whose,
        airtime: Duration,
        unplaced: Duration,
        bounds: Bounds,
    ) -> bool {
        let Some(budget) = bounds.budget else {
            return true;
        };
        let total = self.used() + self.reserved() + unplaced + airtime;
        let of_tenant = self
            .tenants
            .get(&whose.tenant)
            .map_or(Duration::ZERO, |it| it.used.sum() + it.reserved)
            + airtime;
        let below_ceiling = total <= budget.mul_f64(bounds.ceiling)
            || (total <= budget && self.is_below_floor(whose, airtime, bounds));
        below_ceiling && of_tenant <= budget.mul_f64(bounds.tenant_share)
    }

    /// Whether so much more is what its class may always use.
    pub(super) fn is_below_floor(&self, whose: Whose, airtime: Duration, bounds: Bounds) -> bool {
        let of_class = self.used_by(whose.class) + self.reserved.of(whose.class) + airtime;
        bounds
            .budget
            .is_none_or(|budget| of_class <= budget.mul_f64(bounds.floor))
    }

    /// How full a budget is with so much more, 1 is full.
    pub(super) fn filled(&self, more: Duration, budget: Duration) -> f64 {
        let total = self.used() + self.reserved() + more;
        total.as_secs_f64() / budget.as_secs_f64().max(f64::EPSILON)
    }

    /// When some of what was used is an hour old.
    pub(super) fn first_release(&self) -> Option<Timestamp> {
        self.used.iter().filter_map(Hour::first_release).min()
    }

    /// When how much of what was used is an hour old, by time.
    pub(super) fn releases(&self) -> Vec<(Timestamp, Duration)> {
        let mut releases = BTreeMap::new();
        for (at, airtime) in self.used.iter().flat_map(Hour::releases) {
            *releases.entry(at).or_insert(Duration::ZERO) += airtime;
        }
        releases.into_iter().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocked_until.is_none()
            && self.used() == Duration::ZERO
            && self.reserved() == Duration::ZERO
    }
}
