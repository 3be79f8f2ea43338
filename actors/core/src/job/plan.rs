//! What a job will cost before it starts: who is left out, the air it takes by gateway, how long it lasts.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::device::Priority;
use crate::id::GatewayId;
use crate::pacer::{AirtimeOverview, Hearing, LimitedBy, Planned, estimate};
use crate::radio::{DeviceClass, Modulation};

use super::progress::PlannedTime;

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
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Who hears it.
    pub hearing: Hearing,
    /// How it speaks.
    pub uplink: Modulation,
    /// The class that it is in.
    pub class: DeviceClass,
}

impl Candidate {
    /// The gateway that it counts for when gateways take turns.
    pub fn gateway(&self) -> Option<GatewayId> {
        self.hearing.candidates.first().copied()
    }
}

/// What each device is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// The application payloads' sizes in bytes, one a command.
    pub payload_lens: Vec<usize>,
    /// In which class.
    pub priority: Priority,
    /// At least so far apart are two devices told.
    pub stagger: Duration,
}

/// What a job asks of one gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayLoad {
    /// The gateway.
    pub gateway_id: GatewayId,
    /// Devices that ChirpStack may send to by it; some by others, too.
    pub devices: u64,
    /// Its part of the air, in milliseconds.
    pub airtime_ms: u64,
}

/// What says how long a job takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bottleneck {
    /// The gateway that is done last.
    pub gateway_id: GatewayId,
    /// The sub-band whose budget is short; none where air must stay free for the answers.
    pub sub_band: Option<String>,
}

/// What a job will cost, at one attempt each.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Devices that are told.
    pub devices: u64,
    /// Those of them that listen only after they spoke: how long they take is theirs to say.
    pub class_a: u64,
    /// Those of which it is not known who hears them; in no figure of air or time.
    pub without_gateway: u64,
    /// Air that the commands take, in milliseconds.
    pub airtime_ms: u64,
    /// How long it takes until the last one has answered, in milliseconds; devices of class A not counted.
    pub duration_ms: u64,
    /// What says so; none where the stagger does, or nothing.
    pub bottleneck: Option<Bottleneck>,
    /// By gateway, the busiest first.
    pub gateways: Vec<GatewayLoad>,
    /// Devices that are left out, by why.
    pub left_out: BTreeMap<LeftOut, u64>,
}

/// From the last command's end until its proof is here, when all is well.
const LAST_ANSWER: Duration = Duration::from_secs(3);

impl Plan {
    /// Adds the devices up, with the gateways' budgets as they are.
    pub fn of(candidates: &[Candidate], telling: &Telling, air: &AirtimeOverview) -> Self {
        let commands = candidates.iter().flat_map(|candidate| {
            telling.payload_lens.iter().map(|payload_len| Planned {
                gateways: candidate.hearing.candidates.clone(),
                payload_len: *payload_len,
                uplink: candidate.uplink,
            })
        });
        let cost = estimate(commands, air, telling.priority);
        let of_class_a = |candidate: &&Candidate| candidate.class == DeviceClass::A;
        let unheard = |candidate: &&Candidate| candidate.hearing.candidates.is_empty();
        let devices = count(candidates.iter());
        let staggered = millis(telling.stagger).saturating_mul(devices.saturating_sub(1));
        let lasts = millis(cost.eta);
        let answered = if devices == 0 {
            Duration::ZERO
        } else {
            LAST_ANSWER
        };
        Self {
            devices,
            class_a: count(candidates.iter().filter(of_class_a)),
            without_gateway: count(candidates.iter().filter(unheard)),
            airtime_ms: millis(cost.airtime),
            duration_ms: lasts.max(staggered) + millis(answered),
            bottleneck: Bottleneck::of(cost.limited_by).filter(|_| lasts > staggered),
            gateways: loads(candidates, &cost.per_gateway),
            left_out: BTreeMap::new(),
        }
    }

    /// How long it takes.
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms)
    }

    /// How long it takes, and whether for want of air.
    pub fn planned(&self) -> PlannedTime {
        let bottleneck = self.bottleneck.as_ref();
        PlannedTime {
            duration: self.duration(),
            waits_for_air: bottleneck.is_some_and(|it| it.sub_band.is_some()),
        }
    }
}

impl Bottleneck {
    fn of(limit: LimitedBy) -> Option<Self> {
        match limit {
            LimitedBy::Nothing => None,
            LimitedBy::Answers { gateway_id } => Some(Self {
                gateway_id,
                sub_band: None,
            }),
            LimitedBy::DutyCycle {
                gateway_id,
                sub_band,
            } => Some(Self {
                gateway_id,
                sub_band: Some(sub_band.to_owned()),
            }),
        }
    }
}

fn loads(candidates: &[Candidate], airtime: &BTreeMap<GatewayId, Duration>) -> Vec<GatewayLoad> {
    let mut devices: BTreeMap<GatewayId, u64> = BTreeMap::new();
    for gateway_id in candidates.iter().flat_map(|it| &it.hearing.candidates) {
        *devices.entry(*gateway_id).or_default() += 1;
    }
    let mut loads: Vec<GatewayLoad> = airtime
        .iter()
        .map(|(gateway_id, airtime)| GatewayLoad {
            gateway_id: *gateway_id,
            devices: devices.get(gateway_id).copied().unwrap_or(0),
            airtime_ms: millis(*airtime),
        })
        .collect();
    loads.sort_by_key(|load| std::cmp::Reverse(load.airtime_ms));
    loads
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

fn count(items: impl Iterator) -> u64 {
    u64::try_from(items.count()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pacer::{Pacer, PacerConfig};
    use crate::time::Timestamp;
    use proptest::prelude::*;

    fn gateway(number: u64) -> GatewayId {
        GatewayId::from_u64(number)
    }

    fn candidate(gateways: &[u64]) -> Candidate {
        let gateways: Vec<GatewayId> = gateways.iter().copied().map(gateway).collect();
        Candidate {
            hearing: Hearing {
                candidates: gateways.clone(),
                ears: gateways,
            },
            uplink: Modulation::lora_125(7),
            class: DeviceClass::C,
        }
    }

    fn plan(candidates: &[Candidate], stagger_s: u64) -> Plan {
        let telling = Telling {
            payload_lens: vec![5],
            priority: Priority::Bulk,
            stagger: Duration::from_secs(stagger_s),
        };
        let air = Pacer::new(PacerConfig::default()).snapshot(Timestamp::from_millis(0));
        Plan::of(candidates, &telling, &air)
    }

    #[test]
    fn the_busiest_gateway_comes_first_and_says_how_long_it_takes() {
        let found = plan(
            &[
                candidate(&[1]),
                candidate(&[1]),
                candidate(&[1, 2]),
                candidate(&[]),
            ],
            0,
        );
        assert_eq!((found.devices, found.without_gateway), (4, 1));
        let loads: Vec<_> = found
            .gateways
            .iter()
            .map(|it| (it.gateway_id, it.devices))
            .collect();
        assert_eq!(loads, [(gateway(1), 3), (gateway(2), 1)]);
        let parts: u64 = found.gateways.iter().map(|it| it.airtime_ms).sum();
        assert!(parts.abs_diff(found.airtime_ms) <= 2, "{found:?}");
        assert_eq!(
            found.bottleneck.as_ref().map(|it| it.gateway_id),
            Some(gateway(1))
        );
        assert!(found.duration_ms > 3_000, "{found:?}");
    }

    #[test]
    fn nothing_is_faster_than_its_stagger() {
        let devices = [candidate(&[1]), candidate(&[1]), candidate(&[1])];
        let found = plan(&devices, 600);
        assert_eq!((found.duration_ms, found.bottleneck), (1_203_000, None));
        assert_eq!(plan(&[], 600).duration_ms, 0);
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
