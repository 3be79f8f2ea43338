//! Rules of the gateway table, one script each, and what holds for any sequence of events.

use std::collections::BTreeMap;
use std::time::Duration;

use downbeat_core::gateway::{
    DEVICES_HEARD_MAX, GATEWAYS_MAX, GatewayChange, GatewayConfig, GatewaySnapshot, GatewayState,
    GatewayTable, GatewayTransition, HISTORY_MAX, LastHeard, ListedGateway, ListedState,
    UNLISTED_FORGOTTEN_AFTER,
};
use downbeat_core::id::{DevEui, GatewayId};
use downbeat_core::network::Reception;
use downbeat_core::time::Timestamp;
use proptest::prelude::*;

use GatewayTransition::{CameOnline, Revived, WentOffline};
use ListedState::{NeverSeen, Offline, Online};

const ROOF: GatewayId = GatewayId::from_u64(0xaa);
const LAMP: DevEui = DevEui::from_u64(1);

#[test]
fn a_gateway_is_judged_by_its_newest_sign_of_life_and_chirpstacks_opinion() {
    use GatewayState as State;
    // seconds ago: listed state and last statistics, own evidence; then our opinion and whether it is alive
    let rules = [
        (Some((Online, Some(10))), None, State::Online, true),
        (Some((Online, Some(300))), None, State::Online, true),
        (Some((Online, Some(301))), None, State::Offline, false),
        (Some((NeverSeen, None)), None, State::NeverSeen, false),
        (Some((NeverSeen, None)), Some(200), State::Online, true),
        // gone dark: ChirpStack noticed, and nothing of ours contradicts it
        (Some((Offline, Some(70))), None, State::Online, false),
        (Some((Offline, Some(70))), Some(61), State::Online, false),
        // created without a statistics interval, so OFFLINE for ever
        (Some((Offline, Some(1))), Some(60), State::Online, true),
        (Some((Offline, None)), Some(0), State::Online, true),
        (Some((Offline, Some(400))), Some(301), State::Offline, false),
        // not listed: another tenant's, or no list yet
        (None, Some(300), State::Online, true),
        (None, Some(301), State::Offline, false),
        // ChirpStack's clock is ahead
        (Some((Online, Some(-900))), None, State::Online, true),
    ];
    for (listing, own, state, alive) in rules {
        let mut table = GatewayTable::default();
        if let Some(ago) = own {
            table.transmitted(at(1_000 - ago), ROOF);
        }
        if let Some((listed_state, seen)) = listing {
            table.listed(
                at(1_000),
                vec![entry(ROOF, listed_state, seen.map(|ago| at(1_000 - ago)))],
            );
        }
        let snapshot = table.snapshot(at(1_000));
        let gateway = &snapshot.gateways[&ROOF];
        assert_eq!(
            (gateway.state, gateway.likely_alive),
            (state, alive),
            "{listing:?} {own:?}"
        );
        assert_eq!(
            (snapshot.is_alive(ROOF), snapshot.any_alive()),
            (alive, alive),
            "{listing:?} {own:?}"
        );
        assert!(gateway.last_seen <= Some(at(1_000)), "{listing:?} {own:?}");
    }
}

#[test]
fn the_life_of_a_gateway_is_told_in_changes() {
    let mut table = GatewayTable::default();
    let listed = |seconds, state| vec![entry(ROOF, state, Some(at(seconds)))];
    let mut told = Vec::new();
    told.extend(table.listed(at(0), vec![entry(ROOF, NeverSeen, None)]));
    assert_eq!(told, []);
    told.extend(table.listed(at(30), listed(20, Online)));
    told.extend(table.listed(at(90), listed(20, Offline)));
    assert!(!table.snapshot(at(90)).is_alive(ROOF));
    told.extend(table.heard(at(100), LAMP, &reception(ROOF)));
    told.extend(table.tick(at(400)));
    told.extend(table.tick(at(401)));
    told.extend(table.tick(at(402)));
    told.extend(table.transmitted(at(500), ROOF));
    told.extend(table.listed(at(510), vec![]));
    told.extend(table.tick(at(900)));
    let expected = [
        (30, CameOnline),
        (100, Revived),
        (401, WentOffline),
        (500, CameOnline),
        (900, WentOffline),
    ];
    assert_eq!(
        told,
        expected.map(|(second, transition)| change(ROOF, second, transition))
    );
    let history = told.iter().filter(|change| change.transition != Revived);
    assert!(
        table.snapshot(at(900)).gateways[&ROOF]
            .history
            .iter()
            .eq(history)
    );
}

#[test]
fn a_gateway_deleted_in_chirpstack_goes_offline_and_is_forgotten() {
    let mut table = GatewayTable::default();
    table.listed(at(0), vec![entry(ROOF, Online, Some(at(0)))]);
    assert_eq!(
        table.listed(at(30), vec![]),
        [change(ROOF, 30, WentOffline)]
    );
    assert!(!table.snapshot(at(30)).knows_any());
}

#[test]
fn an_unlisted_gateway_is_remembered_for_a_day() {
    let mut table = GatewayTable::default();
    table.transmitted(at(0), ROOF);
    let last = at(0) + UNLISTED_FORGOTTEN_AFTER;
    table.tick(last);
    assert!(table.snapshot(last).knows_any());
    table.tick(last + Duration::from_millis(1));
    assert!(!table.snapshot(last).knows_any());
}

#[test]
fn a_clock_set_back_keeps_no_gateway_online() {
    let mut table = GatewayTable::default();
    table.transmitted(at(3_600), ROOF);
    assert_eq!(table.tick(at(0)), []);
    assert_eq!(table.tick(at(301)), [change(ROOF, 301, WentOffline)]);
}

#[test]
fn an_empty_table_knows_nothing() {
    let snapshot = GatewayTable::new(GatewayConfig::default()).snapshot(at(0));
    assert!(!snapshot.knows_any() && !snapshot.any_alive() && !snapshot.is_alive(ROOF));
    assert_eq!(snapshot.listed_at, None);
}

#[test]
fn what_a_gateway_does_is_counted() {
    let mut table = GatewayTable::default();
    table.refused(at(0), ROOF);
    assert!(
        !table.snapshot(at(0)).knows_any(),
        "an attributed refusal is no sign of life"
    );
    table.heard(at(1), LAMP, &reception(ROOF));
    table.heard(at(2), DevEui::from_u64(2), &reception(ROOF));
    table.heard(at(3), LAMP, &reception(ROOF));
    table.transmitted(at(4), ROOF);
    table.refused(at(0), ROOF);
    table.refused(at(0), ROOF);
    let snapshot = table.snapshot(at(5));
    let gateway = &snapshot.gateways[&ROOF];
    assert_eq!((gateway.uplinks_heard, gateway.devices_heard), (3, 2));
    assert_eq!((gateway.downlinks_taken, gateway.refusals), (1, 2));
    assert_eq!(
        gateway.last_heard,
        Some(LastHeard {
            dev_eui: LAMP,
            at: at(3),
            rssi_dbm: -90,
            snr_db: 7.5
        })
    );
    assert_eq!(gateway.last_seen, Some(at(4)));
}

#[test]
fn nothing_grows_without_end() {
    let mut table = GatewayTable::default();
    for n in 0..=DEVICES_HEARD_MAX as u64 {
        table.heard(at(0), DevEui::from_u64(n), &reception(ROOF));
    }
    for n in 0..2 * HISTORY_MAX {
        let second = i64::try_from(n).unwrap() * 1_000;
        table.transmitted(at(second), ROOF);
        table.tick(at(second + 500));
    }
    let last = at(2_000 * i64::try_from(HISTORY_MAX).unwrap() - 500);
    for n in 0..=GATEWAYS_MAX as u64 {
        table.transmitted(last, GatewayId::from_u64(1_000 + n));
    }
    let snapshot = table.snapshot(last);
    assert_eq!(snapshot.gateways.len(), GATEWAYS_MAX);
    assert_eq!(snapshot.gateways[&ROOF].devices_heard, DEVICES_HEARD_MAX);
    assert_eq!(snapshot.gateways[&ROOF].history.len(), HISTORY_MAX);
    assert_eq!(
        snapshot.gateways[&ROOF].history.back(),
        Some(&GatewayChange {
            at: last,
            ..change(ROOF, 0, WentOffline)
        })
    );
}

#[test]
fn a_snapshot_is_json_for_operators() {
    let mut table = GatewayTable::default();
    table.listed(
        at(0),
        vec![
            entry(ROOF, Online, Some(at(0))),
            entry(GatewayId::from_u64(2), NeverSeen, None),
        ],
    );
    let json = serde_json::to_value(table.snapshot(at(0))).unwrap();
    assert_eq!(
        (&json["online_count"], &json["never_seen_count"]),
        (&1.into(), &1.into())
    );
    assert_eq!(json["gateways"]["00000000000000aa"]["state"], "online");
    assert_eq!(
        json["gateways"]["0000000000000002"]["listed_state"],
        "never_seen"
    );
}

/// One event of the property test; numbers name gateways, 0 to 2.
#[derive(Debug, Clone)]
enum Step {
    Heard(u64),
    Transmitted(u64),
    Refused(u64),
    Listed(Vec<(u64, ListedState, Option<u32>)>),
    Tick,
}

fn steps() -> impl Strategy<Value = Step> {
    let listing = (
        0..3_u64,
        prop::sample::select(vec![NeverSeen, Online, Offline]),
        prop::option::of(0..900_u32),
    );
    prop_oneof![
        (0..3_u64).prop_map(Step::Heard),
        (0..3_u64).prop_map(Step::Transmitted),
        (0..3_u64).prop_map(Step::Refused),
        prop::collection::vec(listing, 0..4).prop_map(Step::Listed),
        Just(Step::Tick),
    ]
}

proptest! {
    #[test]
    fn changes_alternate_and_snapshots_follow_from_the_evidence(
        script in prop::collection::vec((prop_oneof![0..400_i64, Just(90_000)], steps()), 1..80),
    ) {
        let mut table = GatewayTable::default();
        let mut told: BTreeMap<GatewayId, Vec<GatewayTransition>> = BTreeMap::new();
        let mut own: BTreeMap<GatewayId, Timestamp> = BTreeMap::new();
        let mut listing = Listing::new();
        let mut second = 0;
        for (pause, step) in script {
            second += pause;
            let now = at(second);
            // As the shell calls it: time passes first, then something happens.
            let mut changes = table.tick(now);
            forget(&mut own, &listing, now);
            match step {
                Step::Heard(n) => {
                    own.insert(GatewayId::from_u64(n), now);
                    changes.extend(table.heard(now, LAMP, &reception(GatewayId::from_u64(n))));
                }
                Step::Transmitted(n) => {
                    own.insert(GatewayId::from_u64(n), now);
                    changes.extend(table.transmitted(now, GatewayId::from_u64(n)));
                }
                Step::Refused(n) => table.refused(now, GatewayId::from_u64(n)),
                Step::Listed(list) => {
                    let list = list.into_iter().map(|(n, state, ago)| {
                        (GatewayId::from_u64(n), (state, ago.map(|ago| at(second - i64::from(ago)))))
                    });
                    listing = list.collect();
                    let list = listing.iter().map(|(id, (state, seen))| entry(*id, *state, *seen));
                    changes.extend(table.listed(now, list.collect()));
                }
                Step::Tick => {}
            }
            forget(&mut own, &listing, now);
            for change in changes {
                prop_assert_eq!(change.at, now);
                let before = told.entry(change.gateway_id).or_default();
                let online = before.last().is_some_and(|last| *last != WentOffline);
                prop_assert_eq!(online, change.transition != CameOnline, "{:?} after {:?}", change, before);
                before.push(change.transition);
            }
            let snapshot = table.snapshot(now);
            for id in (0..3).map(GatewayId::from_u64) {
                let last = told.get(&id).and_then(|told| told.last());
                let expected = recomputed(now, own.get(&id).copied(), listing.get(&id).copied());
                prop_assert_eq!(found(&snapshot, id), expected, "gateway {}", id);
                let online = expected.is_some_and(|(state, ..)| state == GatewayState::Online);
                prop_assert_eq!(last.is_some_and(|last| *last != WentOffline), online);
            }
            let counted = snapshot.online_count + snapshot.offline_count + snapshot.never_seen_count;
            prop_assert_eq!(counted, snapshot.gateways.len());
        }
    }
}

type Listing = BTreeMap<GatewayId, (ListedState, Option<Timestamp>)>;

/// A gateway that is not listed is forgotten, with what it did, a day after its last sign of life.
fn forget(own: &mut BTreeMap<GatewayId, Timestamp>, listing: &Listing, now: Timestamp) {
    own.retain(|id, seen| listing.contains_key(id) || now.since(*seen) <= UNLISTED_FORGOTTEN_AFTER);
}

type Judgement = (GatewayState, bool, Option<Timestamp>);

fn found(snapshot: &GatewaySnapshot, id: GatewayId) -> Option<Judgement> {
    let gateway = snapshot.gateways.get(&id)?;
    Some((gateway.state, gateway.likely_alive, gateway.last_seen))
}

/// The rules once more, from all evidence at once.
fn recomputed(
    now: Timestamp,
    own: Option<Timestamp>,
    listing: Option<(ListedState, Option<Timestamp>)>,
) -> Option<Judgement> {
    let seconds_since = |seen: Timestamp| now.since(seen).as_secs();
    if own.is_none() && listing.is_none() {
        return None;
    }
    let last_seen = own.max(listing.and_then(|(_, seen)| seen));
    let Some(seen) = last_seen else {
        return Some((GatewayState::NeverSeen, false, None));
    };
    if seconds_since(seen) > 300 {
        return Some((GatewayState::Offline, false, last_seen));
    }
    let fresh = own.is_some_and(|seen| seconds_since(seen) <= 60);
    let called_offline = listing.is_some_and(|(state, _)| state == Offline);
    Some((GatewayState::Online, fresh || !called_offline, last_seen))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + second * 1_000)
}

fn change(gateway_id: GatewayId, second: i64, transition: GatewayTransition) -> GatewayChange {
    GatewayChange {
        gateway_id,
        transition,
        at: at(second),
    }
}

fn reception(gateway_id: GatewayId) -> Reception {
    Reception {
        gateway_id,
        rssi_dbm: -90,
        snr_db: 7.5,
    }
}

fn entry(
    gateway_id: GatewayId,
    state: ListedState,
    last_seen_at: Option<Timestamp>,
) -> ListedGateway {
    ListedGateway {
        gateway_id,
        name: "roof".into(),
        tenant_id: None,
        state,
        last_seen_at,
        location: None,
    }
}
