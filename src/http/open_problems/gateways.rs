//! What is wrong with gateways and their air.

use downbeat_core::gateway::{GatewayState, GatewayStatus};
use downbeat_core::pacer::{AirtimeSnapshot, BandAir};

use crate::http::airtime;

use super::{NAMED_MAX, OpenProblem, Severity};

/// From this share of its budget on, a gateway has none left to speak of.
const SPENT: f64 = 0.95;

fn name(gateway: &GatewayStatus) -> String {
    let name = gateway.name.clone().filter(|name| !name.is_empty());
    name.unwrap_or_else(|| gateway.gateway_id.to_string())
}

pub(super) fn of_gateways(gateways: &[GatewayStatus]) -> Vec<OpenProblem> {
    let mut problems = Vec::new();
    let is_any_online = gateways.iter().any(|it| it.state == GatewayState::Online);
    let silent = || {
        gateways
            .iter()
            .filter(|it| it.state == GatewayState::Offline)
    };
    if !is_any_online && silent().next().is_some() {
        let all = OpenProblem::new(
            "all_gateways_silent",
            Severity::Error,
            "No gateway is online",
        );
        problems.push(all.at("/gateways").saying(
            "Nothing can be sent before one is back. Commands are accepted and wait.",
            "See to the gateways' power and network, and to the broker between them and ChirpStack.",
        ));
    }
    for gateway in silent().take(NAMED_MAX) {
        let title = format!("Gateway {} is silent", name(gateway));
        let heard = match gateway.devices_heard {
            0 => "No device was heard by it.".to_owned(),
            1 => "One device was heard by it.".to_owned(),
            devices => format!("{devices} devices were heard by it."),
        };
        let problem = OpenProblem::new("gateway_silent", Severity::Warning, title);
        let problem = problem
            .since(gateway.last_seen)
            .of_gateway(gateway.gateway_id);
        problems.push(problem.saying(
            format!("It has given no sign of life for five minutes. {heard}"),
            "See to its power and network. If it is gone for good, delete it in ChirpStack.",
        ));
    }
    for gateway in gateways
        .iter()
        .filter(|it| it.mute_since.is_some())
        .take(NAMED_MAX)
    {
        let title = format!("Gateway {} sends nothing", name(gateway));
        let problem = OpenProblem::new("gateway_mute", Severity::Warning, title);
        let problem = problem
            .since(gateway.mute_since)
            .of_gateway(gateway.gateway_id);
        problems.push(problem.saying(
            "It hears devices, and takes no downlinks though it should and others do. Commands go round it where they can.",
            "Restart its packet forwarder; see whether the broker lets ChirpStack's commands through to it.",
        ));
    }
    let never = gateways
        .iter()
        .filter(|it| it.state == GatewayState::NeverSeen)
        .count();
    let never = OpenProblem::of_several(
        "gateway_never_seen",
        Severity::Info,
        never as u64,
        ("A gateway was never seen", "gateways were never seen"),
    );
    problems.extend(never.map(|problem| {
        problem.at("/gateways").saying(
            "ChirpStack has them, and they never gave a sign of life.",
            "Compare their ids with what stands on them, and see whether their stats_interval is set.",
        )
    }));
    problems
}

pub(super) fn of_air(gateways: &[GatewayStatus], air: &AirtimeSnapshot) -> Vec<OpenProblem> {
    let mut problems = Vec::new();
    let airs = || gateways.iter().map(|it| (it, air.gateway(it.gateway_id)));
    let slow = airs().find_map(|(_, of_it)| {
        let note = airtime::note(&of_it)?;
        of_it.downlink.is_learnt.then_some(note)
    });
    if let Some(note) = slow {
        let problem = OpenProblem::new("rx2_slow", Severity::Warning, "RX2 is slow");
        problems.push(problem.at("/gateways").saying(
            note,
            "Set rx2_dr to 3 (SF9) in ChirpStack's region and restart it; devices learn it when they join again.",
        ));
    }
    let is_spent = |band: &BandAir| {
        let taken = band.used.saturating_add(band.reserved);
        let budget = band.budget.filter(|budget| !budget.is_zero());
        budget.is_some_and(|budget| taken.div_duration_f64(budget) >= SPENT)
    };
    let spent = airs().filter(|(_, air)| air.bands.first().is_some_and(is_spent));
    for (gateway, _) in spent.take(NAMED_MAX) {
        let title = format!("Gateway {} has used its airtime", name(gateway));
        let problem = OpenProblem::new("airtime_spent", Severity::Warning, title);
        problems.push(problem.of_gateway(gateway.gateway_id).saying(
            "What may be sent within an hour is sent. Commands wait until some of it is over.",
            "Send less often, let devices speak at a lower spreading factor, or add a gateway.",
        ));
    }
    problems
}
