//! What a job costs and how long it takes, before it starts.
//!
//! ChirpStack picks a gateway at random among those that hear a device well, so a command counts for each of them by
//! its part. Two things bound a gateway's pace: the air that must stay free for answers, and its budget. Gateways work
//! side by side; the slowest one says when all is done.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::air::pace;
use super::snapshot::{AirtimeOverview, BandAir};
use crate::device::Priority;
use crate::id::GatewayId;
use crate::radio::Modulation;
use crate::region::DUTY_CYCLE_WINDOW;

/// A command that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The gateways that hear the device well ([`super::Hearing::candidates`]); none if that is not known.
    pub gateways: Vec<GatewayId>,
    /// Application payload in bytes.
    pub payload_len: usize,
    /// How the device answers.
    pub uplink: Modulation,
}

/// What commands cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Estimate {
    /// How many commands were counted.
    pub commands: usize,
    /// Commands to devices of which it is not known who hears them: in no figure but this one and `commands`.
    pub without_gateway: usize,
    /// Airtime in all.
    pub airtime: Duration,
    /// Airtime to be expected by gateway.
    pub per_gateway: BTreeMap<GatewayId, Duration>,
    /// From the first grant to the last, if nothing else is sent.
    pub eta: Duration,
    /// What says how long it takes.
    pub limited_by: LimitedBy,
}

/// What says how long it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitedBy {
    /// There is nothing to send.
    Nothing,
    /// The air that must stay free for the devices' answers.
    Answers {
        /// At this gateway.
        gateway_id: GatewayId,
    },
    /// The budget.
    DutyCycle {
        /// Of this gateway.
        gateway_id: GatewayId,
        /// In this sub-band.
        sub_band: &'static str,
    },
}

/// Pieces of time in which a budget is looked at.
const STEP: Duration = Duration::from_secs(10);

/// Steps after which a job simply goes on as it went in the hours before: three days.
const STEPS_MAX: u32 = 3 * 24 * 360;

/// What is to go over one gateway.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    airtime: Duration,
    /// Time that it takes for the answers' sake.
    time: Duration,
}

/// Reckons what commands of a class cost, and how long they take if they are all asked for now.
pub fn estimate(
    commands: impl IntoIterator<Item = Planned>,
    air: &AirtimeOverview,
    priority: Priority,
) -> Estimate {
    let mut loads: BTreeMap<GatewayId, Load> = BTreeMap::new();
    let mut downlinks = BTreeMap::new();
    let (mut airtime, mut counted, mut without_gateway) = (Duration::ZERO, 0, 0);
    for command in commands {
        counted += 1;
        let heard_by = u32::try_from(command.gateways.len()).unwrap_or(u32::MAX);
        if heard_by == 0 {
            without_gateway += 1;
            continue;
        }
        for gateway_id in &command.gateways {
            let downlink = *downlinks
                .entry(*gateway_id)
                .or_insert_with(|| air.gateway(*gateway_id).downlink);
            let cost = downlink.airtime(command.payload_len);
            let load = loads.entry(*gateway_id).or_default();
            load.airtime += cost / heard_by;
            load.time += pace(priority, command.gateways.len(), cost, command.uplink);
            airtime += cost / heard_by;
        }
    }
    let slowest = loads
        .iter()
        .map(|(gateway_id, load)| of_gateway(air, *gateway_id, *load, priority))
        .max_by_key(|(eta, _)| *eta);
    let (eta, limited_by) = slowest.unwrap_or((Duration::ZERO, LimitedBy::Nothing));
    Estimate {
        commands: counted,
        without_gateway,
        airtime,
        per_gateway: loads.iter().map(|(id, load)| (*id, load.airtime)).collect(),
        eta,
        limited_by,
    }
}

fn of_gateway(
    air: &AirtimeOverview,
    gateway_id: GatewayId,
    load: Load,
    priority: Priority,
) -> (Duration, LimitedBy) {
    let gateway = air.gateway(gateway_id);
    let by_answers = (load.time, LimitedBy::Answers { gateway_id });
    let Some(band) = gateway.sending_band() else {
        return by_answers;
    };
    let Some(budget) = band.budget else {
        return by_answers;
    };
    let share = budget.mul_f64(air.ceiling(priority));
    let by_budget = by_budget(air, band, share, load);
    // Less than a step apart, the two say the same.
    if by_budget > load.time + STEP {
        let sub_band = band.sub_band.name;
        (
            by_budget,
            LimitedBy::DutyCycle {
                gateway_id,
                sub_band,
            },
        )
    } else {
        by_answers
    }
}

/// Lives through the hours in steps: in each as much is sent as the answers' air and what is left of the budget allow.
fn by_budget(air: &AirtimeOverview, band: &BandAir, share: Duration, load: Load) -> Duration {
    if share.is_zero() || load.time.is_zero() {
        return load.time;
    }
    let per_step = load
        .airtime
        .mul_f64((STEP.as_secs_f64() / load.time.as_secs_f64()).min(1.0));
    let steps_an_hour = usize::try_from(DUTY_CYCLE_WINDOW.as_secs() / STEP.as_secs()).unwrap_or(1);
    let (mut used, mut left) = (band.used + band.reserved, load.airtime);
    let mut releases = band.releases.iter().copied().peekable();
    let mut own: VecDeque<Duration> = VecDeque::with_capacity(steps_an_hour + 1);
    let mut elapsed = Duration::ZERO;
    for _ in 0..STEPS_MAX {
        while let Some((_, airtime)) = releases.next_if(|(at, _)| *at <= air.at + elapsed) {
            used = used.saturating_sub(airtime);
        }
        // A piece of the hour is given back when all of it is an hour old.
        if own.len() > steps_an_hour {
            used = used.saturating_sub(own.pop_front().unwrap_or_default());
        }
        let sent = per_step.min(share.saturating_sub(used)).min(left);
        if sent == left {
            let rate = load.time.as_secs_f64() / load.airtime.as_secs_f64().max(1e-9);
            return elapsed + left.mul_f64(rate);
        }
        left -= sent;
        used += sent;
        own.push_back(sent);
        elapsed += STEP;
    }
    elapsed + DUTY_CYCLE_WINDOW.mul_f64(left.as_secs_f64() / share.as_secs_f64())
}
