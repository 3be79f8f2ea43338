//! A gateway that hears and does not send: found by the tx-acks that do not come.

use std::collections::BTreeMap;

use downbeat_core::gateway::{
    Downlinks, GatewayRecord, GatewayTable, GatewayTransition, ListedGateway, ListedState,
};
use downbeat_core::id::{DevEui, GatewayId};
use downbeat_core::link_quality::{Judgement, Verdict};
use downbeat_core::network::Reception;
use downbeat_core::time::Timestamp;
use proptest::prelude::*;

use GatewayTransition::{CameOnline, FellMute, Revived, SendsAgain, WentOffline};

const ROOF: GatewayId = GatewayId::from_u64(0xaa);
const YARD: GatewayId = GatewayId::from_u64(0xbb);

/// What happens, at a second.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// ChirpStack got an item for a device that a gateway hears best.
    Item(u64, GatewayId),
    /// A gateway took the item of a device.
    Taken(u64, GatewayId),
    /// Some gateway refused it.
    Refused(u64),
    /// A gateway heard a device best.
    Heard(u64, GatewayId),
}

use Event::{Heard, Item, Refused, Taken};

/// Plays a script, a tick each second, and gives the changes with their seconds.
fn play(script: &[(i64, Event)], until: i64) -> Vec<(i64, GatewayId, GatewayTransition)> {
    let mut table = GatewayTable::default();
    let mut told = Vec::new();
    for second in 0..=until {
        let now = at(second);
        let mut changes = Vec::new();
        for (_, event) in script.iter().filter(|(when, _)| *when == second) {
            changes.extend(happen(&mut table, now, *event));
        }
        changes.extend(table.tick(now));
        told.extend(
            changes
                .into_iter()
                .map(|change| (second, change.gateway_id, change.transition)),
        );
    }
    told.retain(|(_, _, transition)| *transition != CameOnline);
    told
}

fn happen(
    table: &mut GatewayTable,
    now: Timestamp,
    event: Event,
) -> Vec<downbeat_core::gateway::GatewayChange> {
    match event {
        Item(device, best) => {
            table.handed_over(now, DevEui::from_u64(device), best);
            Vec::new()
        }
        Taken(device, gateway) => {
            table.answered(DevEui::from_u64(device));
            table.transmitted(now, gateway)
        }
        Refused(device) => {
            table.answered(DevEui::from_u64(device));
            Vec::new()
        }
        Heard(device, gateway) => {
            let dev_eui = DevEui::from_u64(device);
            table.rerouted(now, dev_eui, gateway);
            table.heard(now, dev_eui, &reception(gateway))
        }
    }
}

#[test]
fn a_gateway_that_takes_nothing_while_others_do_is_mute_within_15_seconds() {
    let script = [
        (0, Heard(1, ROOF)),
        (0, Heard(2, ROOF)),
        (0, Heard(3, YARD)),
        (10, Item(1, ROOF)),
        (11, Item(2, ROOF)),
        (12, Item(3, YARD)),
        (13, Taken(3, YARD)),
        // It still hears: it is there, and does not send.
        (15, Heard(4, ROOF)),
    ];
    let told = play(&script, 60);
    assert_eq!(told, [(22, ROOF, FellMute), (52, ROOF, Revived)]);
}

#[test]
fn one_silent_gateway_alone_or_one_stuck_item_accuses_nobody() {
    let alone = [
        (0, Heard(1, ROOF)),
        (1, Item(1, ROOF)),
        (1, Item(2, ROOF)),
        (1, Item(3, ROOF)),
    ];
    assert_eq!(play(&alone, 100), []);
    let one_item = [(1, Item(1, ROOF)), (2, Item(2, YARD)), (3, Taken(2, YARD))];
    assert_eq!(play(&one_item, 100), []);
}

#[test]
fn the_same_device_tried_twice_is_evidence_enough() {
    let script = [
        (0, Heard(1, ROOF)),
        (1, Item(1, ROOF)),
        (2, Item(2, YARD)),
        (3, Taken(2, YARD)),
        (25, Item(1, ROOF)),
    ];
    assert_eq!(play(&script, 40), [(32, ROOF, FellMute)]);
}

#[test]
fn whoever_takes_anything_or_refuses_is_not_silent() {
    let takes = [
        (1, Item(1, ROOF)),
        (1, Item(2, ROOF)),
        (2, Item(3, YARD)),
        (3, Taken(3, YARD)),
        (5, Taken(9, ROOF)),
        (6, Taken(8, YARD)),
    ];
    assert_eq!(play(&takes, 100), []);
    let refuses = [
        (1, Item(1, ROOF)),
        (1, Item(2, ROOF)),
        (3, Taken(3, YARD)),
        (4, Refused(1)),
    ];
    assert_eq!(play(&refuses, 100), []);
}

#[test]
fn a_device_that_another_gateway_hears_accuses_the_old_one_no_more() {
    let script = [
        (0, Heard(1, ROOF)),
        (0, Heard(2, ROOF)),
        (1, Item(1, ROOF)),
        (1, Item(2, ROOF)),
        (3, Taken(3, YARD)),
        (8, Heard(1, YARD)),
    ];
    assert_eq!(play(&script, 30), []);
}

#[test]
fn a_tx_ack_ends_it_and_so_does_a_word_after_complete_silence() {
    let fall = [
        (0, Heard(1, ROOF)),
        (10, Item(1, ROOF)),
        (10, Item(2, ROOF)),
        (12, Taken(3, YARD)),
    ];
    let with = |more: (i64, Event)| play(&[&fall[..], &[more]].concat(), 45);
    assert_eq!(
        with((30, Taken(1, ROOF))),
        [(22, ROOF, FellMute), (30, ROOF, SendsAgain)]
    );
    // It heard nothing since the items were handed over: it was away as a whole, and is back.
    assert_eq!(
        with((30, Heard(7, ROOF))),
        [(22, ROOF, FellMute), (30, ROOF, SendsAgain)]
    );
}

#[test]
fn a_gateway_that_stays_mute_is_tried_less_and_less_often() {
    let mut script = vec![(0, Heard(1, ROOF)), (0, Heard(2, ROOF))];
    for second in (10..400).step_by(5) {
        script.push((second, Item(1, ROOF)));
        script.push((second, Item(2, ROOF)));
        script.push((second, Taken(3, YARD)));
        script.push((second, Heard(1, ROOF)));
    }
    let told: Vec<_> = play(&script, 399)
        .into_iter()
        .filter(|(_, gateway, _)| *gateway == ROOF)
        .collect();
    let pauses: Vec<i64> = told
        .chunks(2)
        .filter_map(|pair| match pair {
            [(fell, _, FellMute), (rose, _, Revived)] => Some(rose - fell),
            _ => None,
        })
        .collect();
    assert_eq!(pauses[..3], [30, 60, 120], "{told:?}");
}

#[test]
fn a_mute_gateway_is_online_and_not_worth_sending_to() {
    let mut table = GatewayTable::default();
    table.listed(at(0), vec![listed(ROOF, 0), listed(YARD, 0)]);
    table.handed_over(at(1), DevEui::from_u64(1), ROOF);
    table.handed_over(at(1), DevEui::from_u64(2), ROOF);
    table.transmitted(at(2), YARD);
    let waits = table.snapshot(at(5));
    assert_eq!(waits.gateways[&ROOF].awaited_since, Some(at(1)));
    assert!(waits.is_alive(ROOF));
    table.tick(at(14));
    let mute = table.snapshot(at(14));
    assert!(!mute.is_alive(ROOF) && mute.is_alive(YARD));
    assert_eq!(mute.online_count, 2);
    assert_eq!(mute.gateways[&ROOF].mute_since, Some(at(1)));
    let history: Vec<_> = mute.gateways[&ROOF].history.iter().collect();
    assert_eq!(history.last().unwrap().transition, FellMute);
}

#[test]
fn what_a_gateway_did_is_counted_for_a_day() {
    let mut table = GatewayTable::default();
    let hour = |hours: i64| at(hours * 3_600);
    let judge = |table: &mut GatewayTable, hours, verdict| {
        let gateway_id = ROOF;
        table.judged(
            hour(hours),
            Judgement {
                gateway_id,
                verdict,
            },
        );
    };
    let day = |table: &GatewayTable, hours| table.snapshot(hour(hours)).gateways[&ROOF].day;
    table.transmitted(hour(0), ROOF);
    judge(&mut table, 0, Verdict::Unproven);
    table.refused(hour(1), ROOF);
    table.transmitted(hour(20), ROOF);
    judge(&mut table, 20, Verdict::Proven);
    let whole = Downlinks {
        taken: 2,
        proven: 1,
        unproven: 1,
        refused: 1,
    };
    assert_eq!(day(&table, 20), whole);
    assert_eq!(whole.success(), Some(0.5));
    judge(&mut table, 21, Verdict::ProvenLate);
    let late = Downlinks {
        proven: 2,
        unproven: 0,
        ..whole
    };
    assert_eq!(day(&table, 21), late);
    assert_eq!(day(&table, 44).taken, 0);
    assert_eq!(day(&table, 60), Downlinks::default());
    assert_eq!(Downlinks::default().success(), None);
}

#[test]
fn a_restart_keeps_counts_and_history_and_invents_no_outage() {
    let mut table = GatewayTable::default();
    table.listed(at(0), vec![listed(ROOF, 0)]);
    table.heard(at(1), DevEui::from_u64(1), &reception(ROOF));
    table.transmitted(at(2), ROOF);
    let changed = table.take_changed();
    assert_eq!(changed.kept.len(), 1);
    assert_eq!(
        table.take_changed(),
        downbeat_core::gateway::StoredChanges::default()
    );
    table.not_stored(&changed);
    assert_eq!(table.take_changed(), changed);

    let stored = through_json(&changed.kept);
    // Ten minutes later, and ChirpStack's list comes after five seconds.
    let mut table = GatewayTable::default();
    table.restore(at(600), stored.clone());
    assert_eq!(table.tick(at(601)), []);
    table.transmitted(at(602), YARD);
    // What waits for a gateway may try.
    let told = table.listed(at(605), vec![listed(ROOF, 590)]);
    assert_eq!(
        told.iter().map(|it| it.transition).collect::<Vec<_>>(),
        [Revived]
    );
    let snapshot = table.snapshot(at(605));
    let roof = &snapshot.gateways[&ROOF];
    assert_eq!((roof.uplinks_heard, roof.downlinks_taken), (1, 1));
    assert_eq!((roof.day.taken, roof.history.len()), (1, 1));

    // It really went: that is noticed when ChirpStack had its time to list it.
    let mut table = GatewayTable::default();
    table.restore(at(600), stored);
    assert_eq!(table.tick(at(660)), []);
    let told: Vec<_> = table.tick(at(661)).iter().map(|it| it.transition).collect();
    assert_eq!(told, [WentOffline]);
}

#[test]
fn a_gateway_that_is_forgotten_is_told_to_the_store() {
    let mut table = GatewayTable::default();
    table.listed(at(0), vec![listed(ROOF, 0)]);
    table.take_changed();
    table.listed(at(30), Vec::new());
    let changed = table.take_changed();
    assert_eq!((changed.kept.len(), changed.gone), (0, vec![ROOF]));
}

fn through_json(kept: &[(GatewayId, GatewayRecord)]) -> Vec<(GatewayId, GatewayRecord)> {
    let json = serde_json::to_string(kept).expect("all numbers are finite");
    serde_json::from_str(&json).expect("it was written so")
}

fn events() -> impl Strategy<Value = Event> {
    let gateway = || prop::sample::select(vec![ROOF, YARD, GatewayId::from_u64(0xcc)]);
    prop_oneof![
        (0..6_u64, gateway()).prop_map(|(device, best)| Item(device, best)),
        (0..6_u64, gateway()).prop_map(|(device, best)| Taken(device, best)),
        (0..6_u64).prop_map(Refused),
        (0..6_u64, gateway()).prop_map(|(device, best)| Heard(device, best)),
    ]
}

proptest! {
    /// Whatever happens: only a gateway that has taken nothing lately falls mute, another one has taken something, and
    /// it is not mute for longer than the longest pause.
    #[test]
    fn mute_is_who_alone_takes_nothing(
        script in prop::collection::vec((0..8_i64, events()), 1..200),
    ) {
        let mut table = GatewayTable::default();
        let mut taken: BTreeMap<GatewayId, i64> = BTreeMap::new();
        let mut fell: BTreeMap<GatewayId, i64> = BTreeMap::new();
        let mut second = 0;
        for (pause, event) in script {
            for _ in 0..pause {
                second += 1;
                for change in table.tick(at(second)) {
                    if change.transition == FellMute {
                        let own = taken.get(&change.gateway_id).copied();
                        prop_assert!(own.is_none_or(|own| second - own >= 12));
                        let others = taken.iter().filter(|(id, _)| **id != change.gateway_id);
                        prop_assert!(others.map(|(_, at)| *at).max() > own);
                        fell.insert(change.gateway_id, second);
                    }
                }
            }
            happen(&mut table, at(second), event);
            if let Taken(_, gateway) = event {
                taken.insert(gateway, second);
                prop_assert!(table.snapshot(at(second)).gateways[&gateway].mute_since.is_none());
            }
            for (id, gateway) in &table.snapshot(at(second)).gateways {
                if gateway.mute_since.is_some() {
                    prop_assert!(!gateway.likely_alive);
                    prop_assert!(second - fell[id] < 300);
                }
            }
        }
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_799_998_200_000 + second * 1_000)
}

fn reception(gateway_id: GatewayId) -> Reception {
    Reception {
        gateway_id,
        rssi_dbm: -90,
        snr_db: 7.5,
    }
}

fn listed(gateway_id: GatewayId, second: i64) -> ListedGateway {
    ListedGateway {
        gateway_id,
        name: "roof".into(),
        tenant_id: None,
        state: ListedState::Online,
        last_seen_at: Some(at(second)),
        location: None,
    }
}
