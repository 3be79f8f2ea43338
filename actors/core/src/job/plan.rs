//! What a job will cost before it starts: who is left out, the air it takes by gateway, how long it lasts.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::GatewayId;
use crate::radio::{DeviceClass, Direction, Modulation};

/// Why a device is left out of a job: there is no use in telling it anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOut {
    /// There is no such device.
    UnknownDevice,
    /// It is registered without a `DevEUI`.
    NoDevEui,
    /// `ChirpStack` was never given it.
    NotSynced,
    /// It never spoke: `ChirpStack` sends nothing before that.
    NeverHeard,
    /// Its codec has no words for it.
    NotUnderstood,
}

impl LeftOut {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::UnknownDevice,
        Self::NoDevEui,
        Self::NotSynced,
        Self::NeverHeard,
        Self::NotUnderstood,
    ];

    /// The word in the API and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownDevice => "unknown_device",
            Self::NoDevEui => "no_dev_eui",
            Self::NotSynced => "not_synced",
            Self::NeverHeard => "never_heard",
            Self::NotUnderstood => "not_understood",
        }
    }
}

/// What is known of one device's air.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The gateway that heard it best, if that was named.
    pub gateway: Option<GatewayId>,
    /// How it speaks.
    pub uplink: Modulation,
    /// The class that it is in.
    pub class: DeviceClass,
}

/// What a job asks of one gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayLoad {
    /// The gateway; absent for devices whose gateway was not named.
    pub gateway_id: Option<GatewayId>,
    /// Devices that it is to reach.
    pub devices: u64,
    /// Air that the commands take, at one attempt each, in milliseconds.
    pub airtime_ms: u64,
    /// How long it is busy with them and their answers, in milliseconds.
    pub busy_ms: u64,
}

/// What a job will cost, at one attempt each.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Devices that are told.
    pub devices: u64,
    /// Those of them that listen only after they spoke: how long they take is theirs to say.
    pub class_a: u64,
    /// Air that the commands take, in milliseconds.
    pub airtime_ms: u64,
    /// How long it takes until the last one has answered, in milliseconds; devices of class A not counted.
    pub duration_ms: u64,
    /// By gateway, the busiest first.
    pub gateways: Vec<GatewayLoad>,
    /// Devices that are left out, by why.
    pub left_out: BTreeMap<LeftOut, u64>,
}

/// How a command and its answer fill the air.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Air {
    /// How gateways send.
    pub downlink: Modulation,
    /// The command's application payload, bytes.
    pub command_len: usize,
    /// Commands to each device.
    pub commands: u32,
    /// Whether the device answers each.
    pub is_answered: bool,
}

/// A status uplink's application payload in bytes.
const STATUS_LEN: usize = 24;

/// A gateway listens for so long between what it sends.
const BREATH: Duration = Duration::from_millis(50);

/// From the last command's end until its proof is here, when all is well.
const LAST_ANSWER: Duration = Duration::from_secs(3);

impl Air {
    /// The air that one device's commands take.
    fn airtime(&self) -> Duration {
        let command = self.downlink.time_on_air(self.command_len, Direction::Down);
        command * self.commands
    }

    /// For how long its gateway has nothing else to do: half of the time it listens (ADR 7).
    fn busy(&self, uplink: Modulation) -> Duration {
        let answer = uplink.time_on_air(STATUS_LEN, Direction::Up) * self.commands;
        let answer = if self.is_answered {
            answer
        } else {
            Duration::ZERO
        };
        (self.airtime() + answer + BREATH * self.commands) * 2
    }
}

impl Plan {
    /// Adds the devices up.
    pub fn of(candidates: &[Candidate], air: Air, stagger: Duration) -> Self {
        let mut loads: BTreeMap<Option<GatewayId>, GatewayLoad> = BTreeMap::new();
        let mut plan = Self::default();
        let airtime = millis(air.airtime());
        for candidate in candidates {
            plan.devices += 1;
            plan.class_a += u64::from(candidate.class == DeviceClass::A);
            plan.airtime_ms += airtime;
            let gateway_id = candidate.gateway;
            let load = loads.entry(gateway_id).or_insert(GatewayLoad {
                gateway_id,
                devices: 0,
                airtime_ms: 0,
                busy_ms: 0,
            });
            load.devices += 1;
            load.airtime_ms += airtime;
            load.busy_ms += millis(air.busy(candidate.uplink));
        }
        let busiest = loads.values().map(|load| load.busy_ms).max().unwrap_or(0);
        let staggered = millis(stagger).saturating_mul(plan.devices.saturating_sub(1));
        let lasts = busiest.max(staggered);
        plan.duration_ms = if plan.devices == 0 {
            0
        } else {
            lasts + millis(LAST_ANSWER)
        };
        plan.gateways = loads.into_values().collect();
        plan.gateways
            .sort_by_key(|load| std::cmp::Reverse(load.busy_ms));
        plan
    }

    /// How long it takes.
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms)
    }
}

/// An order in which each gateway's devices are spread evenly over the whole job, so that all gateways are busy from
/// its beginning to its end: places in `gateways`, the first one's first.
pub fn spread(gateways: &[Option<GatewayId>]) -> Vec<usize> {
    let mut totals: BTreeMap<Option<GatewayId>, u64> = BTreeMap::new();
    for gateway in gateways {
        *totals.entry(*gateway).or_default() += 1;
    }
    let mut seen: BTreeMap<Option<GatewayId>, u64> = BTreeMap::new();
    let mut order: Vec<(u64, usize)> = gateways
        .iter()
        .enumerate()
        .map(|(place, gateway)| {
            let number = seen.entry(*gateway).or_default();
            let total = totals.get(gateway).copied().unwrap_or(1);
            // The middle of its share of the job, in parts of a million.
            let part = (2 * *number + 1) * 1_000_000 / (2 * total);
            *number += 1;
            (part, place)
        })
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, place)| place).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AIR: Air = Air {
        downlink: Modulation::lora_125(9),
        command_len: 5,
        commands: 1,
        is_answered: true,
    };

    fn gateway(number: u64) -> GatewayId {
        GatewayId::from_u64(number)
    }

    fn candidate(number: u64) -> Candidate {
        Candidate {
            gateway: Some(gateway(number)),
            uplink: Modulation::lora_125(7),
            class: DeviceClass::C,
        }
    }

    #[test]
    fn the_busiest_gateway_tells_how_long_it_takes() {
        let devices = [1, 1, 1, 2].map(candidate);
        let plan = Plan::of(&devices, AIR, Duration::ZERO);
        assert_eq!((plan.devices, plan.class_a), (4, 0));
        // kuando-busylight.md §7: 165 ms a command at SF9, 82 ms an answer at SF7.
        assert!((650..670).contains(&plan.airtime_ms), "{plan:?}");
        let first = plan.gateways[0];
        assert_eq!((first.gateway_id, first.devices), (Some(gateway(1)), 3));
        assert!((1_700..1_900).contains(&first.busy_ms), "{first:?}");
        assert_eq!(plan.duration_ms, first.busy_ms + 3_000);
        let staggered = Plan::of(&devices, AIR, Duration::from_secs(5));
        assert_eq!(staggered.duration_ms, 18_000);
        assert_eq!(Plan::of(&[], AIR, Duration::from_secs(5)).duration_ms, 0);
    }

    #[test]
    fn gateways_take_turns() {
        let of = [1, 1, 1, 1, 2, 2].map(|number| Some(gateway(number)));
        let order: Vec<_> = spread(&of).into_iter().map(|place| of[place]).collect();
        assert_eq!(
            order,
            [1, 2, 1, 1, 2, 1].map(|number| Some(gateway(number)))
        );
    }

    proptest! {
        #[test]
        fn everybody_is_in_the_order_once(of in proptest::collection::vec(0..5_u64, 0..200)) {
            let of: Vec<_> = of.into_iter().map(|number| Some(gateway(number))).collect();
            let mut order = spread(&of);
            order.sort_unstable();
            prop_assert_eq!(order, (0..of.len()).collect::<Vec<_>>());
        }
    }
}
