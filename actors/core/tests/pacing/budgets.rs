//! Jobs for many devices: budgets, estimates, and commands that somebody waits for in between.

use std::time::Duration;

use downbeat_core::device::{DownlinkState, Priority};
use downbeat_core::id::GatewayId;
use downbeat_core::pacer::{Estimate, LimitedBy, PacerConfig, Planned, estimate};
use downbeat_core::radio::{Direction, Modulation};
use downbeat_core::time::Timestamp;
use downbeat_sim::model::Cause;
use downbeat_sim::model::config::{FIRST_GATEWAY_ID, NetworkConfig};

use crate::fleet::fleet;
use crate::shell::Shell;

/// Commands that somebody waits for, given during a job.
const URGENT: usize = 12;
/// Lamps of a job.
const JOB: usize = 1_000;
/// ChirpStack's scheduler, the calls before it, the way to the gateway, and the moment until it begins to send.
const HANDED_OVER: Duration = Duration::from_millis(1_006 + 24 + 30);

/// The job's lamps and those of the urgent commands; gateways refuse what is over their duty cycle.
fn world(gateways: u32, rx2_spreading_factor: u8) -> NetworkConfig {
    let lamps = u32::try_from(JOB + URGENT).unwrap();
    let mut config = fleet(lamps, gateways, rx2_spreading_factor);
    for gateway in &mut config.gateways {
        gateway.duty_cycle = Some(0.1);
    }
    config
}

/// Lets the gateways tell how they send: one command, long before the job.
fn learn(shell: &mut Shell) {
    shell.ask(JOB, Priority::Interactive);
    let until = shell.now + Duration::from_secs(90);
    shell.live_until(until);
}

fn estimate_of(shell: &mut Shell, gateways: u32) -> Estimate {
    let heard_by: Vec<GatewayId> = (0..u64::from(gateways))
        .map(|number| GatewayId::from_u64(FIRST_GATEWAY_ID + number))
        .collect();
    let commands = (0..JOB).map(|_| Planned {
        gateways: heard_by.clone(),
        payload_len: 5,
        uplink: Modulation::lora_125(7),
    });
    let now = shell.now;
    estimate(commands, &shell.pacer.snapshot(now), Priority::Bulk)
}

/// From the wish to the first symbol on the air.
fn on_air_after(shell: &Shell, lamp: usize, asked_at: Timestamp, frame: Duration) -> Duration {
    let light = shell.network.light(Shell::dev_eui(lamp)).unwrap();
    let shown = light
        .changes
        .iter()
        .find(|change| change.at > asked_at && matches!(change.cause, Cause::Downlink { .. }))
        .unwrap_or_else(|| panic!("{lamp} never showed what was asked at {asked_at}"));
    (shown.at - frame).since(asked_at)
}

fn is_within(took: Duration, expected: Duration, percent: u32) -> bool {
    took.abs_diff(expected) * 100 <= expected * percent
}

/// RX2 at SF12: a colour takes 1.3 s, and the budget of an hour does not do for the job.
#[test]
fn a_job_keeps_to_its_share_of_the_budget_and_lets_the_urgent_pass() {
    let gateways = 4;
    let frame = Modulation::lora_125(12).time_on_air(5, Direction::Down);
    let share = Duration::from_secs(252);
    let mut shell = Shell::new(world(gateways, 12), PacerConfig::default(), 1);
    learn(&mut shell);
    let forecast = estimate_of(&mut shell, gateways);
    assert!(matches!(
        forecast.limited_by,
        LimitedBy::DutyCycle { sub_band: "g3", .. }
    ));
    let began_at = shell.now;
    let job: Vec<_> = (0..JOB)
        .map(|lamp| shell.ask(lamp, Priority::Bulk))
        .collect();
    let mut used_at_most = Duration::ZERO;
    let mut urgent = Vec::new();
    while !job.iter().all(|id| shell.endings.contains_key(id)) {
        let next = shell.now + Duration::from_secs(30);
        shell.live_until(next);
        let airtimes = shell.network.gateways().into_iter();
        let used: Vec<u64> = airtimes.map(|gateway| gateway.airtime_ms).collect();
        assert!(used.iter().all(|ms| *ms <= 360_000), "{used:?}");
        used_at_most = used_at_most.max(Duration::from_millis(used.iter().sum()));
        if urgent.len() < URGENT - 1 && shell.now.since(began_at).as_secs() % 300 < 30 {
            let lamp = JOB + 1 + urgent.len();
            urgent.push((lamp, shell.now));
            shell.ask(lamp, Priority::Interactive);
        }
        assert!(
            shell.now.since(began_at) < Duration::from_hours(3),
            "it does not end"
        );
    }
    let last = shell.taken.iter().map(|(at, _)| *at).max().unwrap();
    let took = last.since(began_at);
    let of_urgent = frame * u32::try_from(urgent.len() + 1).unwrap();
    println!(
        "ended after {took:?} of {:?}; used {used_at_most:?}",
        forecast.eta
    );
    assert!(
        job.iter()
            .all(|id| shell.endings[id].state == DownlinkState::Verified)
    );
    assert!(
        used_at_most >= (share * gateways).mul_f64(0.9),
        "{used_at_most:?}"
    );
    assert!(
        used_at_most <= share * gateways + of_urgent,
        "{used_at_most:?}"
    );
    assert!(
        is_within(took, forecast.eta, 15),
        "{took:?}, not {:?}",
        forecast.eta
    );
    assert!(urgent.len() > 5);
    for (lamp, asked_at) in urgent {
        let after = on_air_after(&shell, lamp, asked_at, frame);
        println!("on air after {after:?}");
        assert!(after <= HANDED_OVER + 2 * frame, "{lamp}: {after:?}");
    }
}

/// RX2 at SF9: the answers' air says how long it takes.
#[test]
fn a_job_that_budgets_do_not_hold_up_ends_when_it_was_said_to() {
    let gateways = 3;
    let frame = Modulation::lora_125(9).time_on_air(5, Direction::Down);
    let mut shell = Shell::new(world(gateways, 9), PacerConfig::default(), 2);
    learn(&mut shell);
    let forecast = estimate_of(&mut shell, gateways);
    assert!(matches!(forecast.limited_by, LimitedBy::Answers { .. }));
    let began_at = shell.now;
    let job: Vec<_> = (0..JOB)
        .map(|lamp| shell.ask(lamp, Priority::Bulk))
        .collect();
    let mut urgent = Vec::new();
    while !job.iter().all(|id| shell.endings.contains_key(id)) {
        let next = shell.now + Duration::from_millis(17_300);
        shell.live_until(next);
        if urgent.len() < URGENT - 1 {
            let lamp = JOB + 1 + urgent.len();
            urgent.push((lamp, shell.now));
            shell.ask(lamp, Priority::Interactive);
        }
    }
    let endings = &shell.endings;
    let at_first = job.iter().filter(|id| endings[id].attempts == 1).count();
    let last_first = shell
        .taken
        .iter()
        .filter(|(_, device)| *device == Shell::dev_eui(JOB - 1));
    let took = last_first.map(|(at, _)| at.since(began_at)).min().unwrap();
    println!(
        "{at_first} at the first attempt, ended after {took:?} of {:?}",
        forecast.eta
    );
    assert!(at_first * 1000 >= JOB * 995, "{at_first}");
    assert!(
        is_within(took, forecast.eta, 15),
        "{took:?}, not {:?}",
        forecast.eta
    );
    for (lamp, asked_at) in urgent {
        let after = on_air_after(&shell, lamp, asked_at, frame);
        println!("on air after {after:?}");
        assert!(after <= HANDED_OVER + 2 * frame, "{lamp}: {after:?}");
    }
}
