//! What is known of each device as each gateway hears it: a script for each rule, and what holds for any uplinks.

use downbeat_core::gateway::GatewayTable;
use downbeat_core::id::{DevAddr, DevEui, DeviceId, FPort, GatewayId, TenantId};
use downbeat_core::link_quality::table::{LinkTable, LinkedDevice, Owner};
use downbeat_core::link_quality::{DeviceLinks, Diagnosis, LINKS_MAX, Verdict};
use downbeat_core::network::{Reception, Uplink};
use downbeat_core::radio::DeviceClass;
use downbeat_core::time::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

const ROOF: GatewayId = GatewayId::from_u64(0xaa);
const YARD: GatewayId = GatewayId::from_u64(0xbb);

#[test]
fn a_gateway_loses_what_the_counter_tells_of_and_it_did_not_hear() {
    let mut links = DeviceLinks::default();
    // frame counter and who heard it
    let script = [
        (10, &[ROOF, YARD][..]),
        (11, &[ROOF]),
        (13, &[ROOF]),
        (14, &[YARD, ROOF]),
    ];
    for (f_cnt, heard_by) in script {
        assert!(links.heard(at(i64::from(f_cnt)), &uplink(f_cnt, heard_by)));
    }
    let counts = |id| {
        let link = links.link(id).unwrap();
        (link.uplinks_heard, link.uplinks_missed)
    };
    assert_eq!(counts(ROOF), (4, 1));
    assert_eq!(counts(YARD), (2, 3));
    assert!(links.link(YARD).unwrap().uplink_loss > links.link(ROOF).unwrap().uplink_loss);
    assert_eq!(links.route(), [YARD, ROOF]);
    assert_eq!(links.heard_at(), Some(at(14)));
}

#[test]
fn repetitions_change_nothing_and_late_ones_are_taken_back() {
    let mut links = DeviceLinks::default();
    for f_cnt in [1, 2, 5] {
        links.heard(at(0), &uplink(f_cnt, &[ROOF]));
    }
    let before = links.clone();
    assert!(!links.heard(at(9), &uplink(5, &[ROOF])));
    assert!(!links.heard(at(9), &uplink(2, &[ROOF])));
    assert_eq!(links, before);
    assert!(links.heard(at(9), &uplink(4, &[ROOF])));
    assert!(!links.heard(at(9), &uplink(4, &[ROOF])));
    let link = links.link(ROOF).unwrap();
    assert_eq!((link.uplinks_heard, link.uplinks_missed), (4, 1));
    assert_eq!(links.heard_at(), Some(at(0)), "it tells of an earlier time");
}

#[test]
fn a_new_session_or_a_counter_that_jumps_loses_nothing() {
    let mut links = DeviceLinks::default();
    links.heard(at(0), &uplink(500, &[ROOF]));
    let joined = Uplink {
        dev_addr: Some(DevAddr::from_u32(2)),
        ..uplink(0, &[ROOF])
    };
    assert!(links.heard(at(1), &joined));
    let jumped = Uplink {
        dev_addr: Some(DevAddr::from_u32(2)),
        ..uplink(60_000, &[ROOF])
    };
    assert!(links.heard(at(2), &jumped));
    let link = links.link(ROOF).unwrap();
    assert_eq!((link.uplinks_heard, link.uplinks_missed), (3, 0));
}

#[test]
fn averages_forget_and_tell_how_far_values_are_spread() {
    let mut links = DeviceLinks::default();
    for f_cnt in 0..100 {
        let rssi_dbm = if f_cnt % 2 == 0 { -80 } else { -100 };
        links.heard(at(0), &received(f_cnt, ROOF, rssi_dbm, 5.0));
    }
    let link = links.link(ROOF).unwrap();
    assert!((link.rssi_dbm.mean + 90.0).abs() < 2.0, "{link:?}");
    assert!((link.rssi_dbm.spread() - 10.0).abs() < 2.0, "{link:?}");
    assert!(link.snr_db.spread() < 0.1);
    for f_cnt in 100..160 {
        links.heard(at(0), &received(f_cnt, ROOF, -60, 5.0));
    }
    let link = links.link(ROOF).unwrap();
    assert!((link.rssi_dbm.mean + 60.0).abs() < 1.0 && link.rssi_dbm.spread() < 1.0);
}

#[test]
fn absurd_signals_spoil_nothing() {
    let mut links = DeviceLinks::default();
    for (f_cnt, rssi_dbm, snr_db) in [
        (1, i32::MIN, f32::NAN),
        (2, i32::MAX, f32::INFINITY),
        (3, -90, -1e30),
    ] {
        links.heard(at(0), &received(f_cnt, ROOF, rssi_dbm, snr_db));
    }
    let link = links.link(ROOF).unwrap();
    assert!((-200.0..=50.0).contains(&link.rssi_dbm.mean) && link.snr_db.mean >= -60.0);
    let back: DeviceLinks = through_json(&links);
    assert_eq!(back, links);
}

#[test]
fn uplinks_arrive_and_nothing_that_is_sent_ever_does() {
    let mut links = DeviceLinks::default();
    for f_cnt in 0..20 {
        links.heard(at(0), &uplink(f_cnt, &[ROOF]));
    }
    let diagnosis = |links: &DeviceLinks| links.link(ROOF).unwrap().diagnosis(at(0));
    for _ in 0..2 {
        links.taken(ROOF);
        assert_eq!(links.judged(false).unwrap().verdict, Verdict::Unproven);
        assert_eq!(links.judged(false), None, "told twice");
        assert_eq!(diagnosis(&links), Diagnosis::Fine);
    }
    links.taken(ROOF);
    links.judged(false);
    assert_eq!(diagnosis(&links), Diagnosis::DownlinkDead);
    // The proof was only late.
    let late = links.judged(true).unwrap();
    assert_eq!((late.gateway_id, late.verdict), (ROOF, Verdict::ProvenLate));
    assert_eq!(diagnosis(&links), Diagnosis::Fine);
    let link = links.link(ROOF).unwrap();
    assert_eq!((link.downlinks_proven, link.downlinks_unproven), (1, 2));
    assert_eq!(link.downlinks_taken, 3);
    assert_eq!(links.judged(true), None, "nobody sent anything since");
}

#[test]
fn loss_and_silence_are_named() {
    let mut links = DeviceLinks::default();
    for f_cnt in (0..60).step_by(3) {
        links.heard(at(0), &uplink(f_cnt, &[ROOF]));
    }
    let link = links.link(ROOF).unwrap();
    assert_eq!(link.diagnosis(at(0)), Diagnosis::LossyUplink);
    assert_eq!(link.diagnosis(at(90_000)), Diagnosis::Silent);
}

#[test]
fn there_are_only_so_many_links_and_the_longest_silent_one_goes() {
    let mut table = LinkTable::default();
    let gateways = 1..=LINKS_MAX as u64 + 1;
    for number in gateways.clone() {
        let f_cnt = u32::try_from(number).unwrap();
        let heard = uplink(f_cnt, &[GatewayId::from_u64(number)]);
        assert!(table.heard(at(i64::from(f_cnt)), owner(1), &heard));
    }
    let links = &table.device(DevEui::from_u64(1)).unwrap().links;
    assert_eq!(links.links().len(), LINKS_MAX);
    assert_eq!(links.link(GatewayId::from_u64(1)), None);
    assert_eq!(table.heard_by(GatewayId::from_u64(1)), 0);
    assert_eq!(table.heard_by(GatewayId::from_u64(2)), 1);
}

#[test]
fn a_gateways_devices_are_listed_by_tenant_in_pages() {
    let mut table = LinkTable::default();
    for number in 1..=4 {
        table.heard(at(0), owner(number), &uplink(1, &[ROOF]));
    }
    table.heard(at(0), owner(5), &uplink(1, &[YARD]));
    let euis = |tenant, after: Option<u64>, limit| -> Vec<u64> {
        let found = table.of_gateway(ROOF, tenant, after.map(DevEui::from_u64), limit);
        found.iter().map(|it| it.owner.dev_eui.as_u64()).collect()
    };
    assert_eq!(euis(None, None, 3), [1, 2, 3]);
    assert_eq!(euis(None, Some(3), 3), [4]);
    let even = Some(owner(2).tenant_id);
    assert_eq!(euis(even, None, 9), [2, 4]);
    assert_eq!(table.of_gateway(GatewayId::from_u64(7), None, None, 9), []);
}

#[test]
fn devices_are_found_by_the_class_that_they_were_in_last() {
    let mut table = LinkTable::default();
    let class = |class| Uplink {
        class: Some(class),
        ..uplink(1, &[ROOF])
    };
    for (number, of) in [
        (2, DeviceClass::A),
        (3, DeviceClass::A),
        (4, DeviceClass::C),
    ] {
        table.heard(at(0), owner(number), &class(of));
    }
    table.heard(at(0), owner(6), &uplink(1, &[ROOF]));
    let tenant = owner(2).tenant_id;
    assert_eq!(table.of_class(DeviceClass::A, tenant), [owner(2)]);
    assert_eq!(table.of_class(DeviceClass::C, tenant), [owner(4), owner(6)]);
    let now_c = Uplink {
        f_cnt: 2,
        ..class(DeviceClass::C)
    };
    table.heard(at(1), owner(2), &now_c);
    assert_eq!(table.of_class(DeviceClass::A, tenant), []);
}

#[test]
fn a_device_that_is_registered_anew_starts_anew() {
    let mut table = LinkTable::default();
    table.heard(at(0), owner(1), &uplink(7, &[ROOF]));
    let again = Owner {
        device_id: DeviceId::from_uuid(Uuid::from_u128(99)),
        ..owner(1)
    };
    table.heard(at(1), again, &uplink(8, &[YARD]));
    let device = table.device(DevEui::from_u64(1)).unwrap();
    assert_eq!((device.owner, device.links.links().len()), (again, 1));
    assert_eq!((table.heard_by(ROOF), table.heard_by(YARD)), (0, 1));
    table.forget(DevEui::from_u64(1));
    assert_eq!(
        (table.device(DevEui::from_u64(1)), table.heard_by(YARD)),
        (None, 0)
    );
    assert_eq!(table.take_changed(9), []);
}

#[test]
fn what_changed_is_taken_out_once_and_put_back() {
    let mut table = LinkTable::default();
    for number in 1..=3 {
        table.heard(at(0), owner(number), &uplink(1, &[ROOF]));
    }
    let first = table.take_changed(2);
    assert_eq!(first.len(), 2);
    table.not_stored(&first[1..]);
    let rest: Vec<u64> = table
        .take_changed(9)
        .iter()
        .map(|device| device.owner.dev_eui.as_u64())
        .collect();
    assert_eq!(rest, [2, 3]);
    assert_eq!(table.take_changed(9), []);

    let mut again = LinkTable::default();
    again.heard(at(5), owner(2), &uplink(9, &[YARD]));
    again.restore(first.clone());
    assert_eq!(again.device(DevEui::from_u64(1)), Some(&first[0]));
    let newer: &LinkedDevice = again.device(DevEui::from_u64(2)).unwrap();
    assert_eq!(newer.links.route(), [YARD]);
    assert_eq!(again.heard_by(ROOF), 1);
}

#[test]
fn out_of_reach_is_whose_last_gateways_are_all_gone() {
    let mut links = LinkTable::default();
    links.heard(at(0), owner(1), &uplink(1, &[ROOF]));
    links.heard(at(0), owner(2), &uplink(1, &[ROOF, YARD]));
    links.heard(at(0), owner(3), &uplink(1, &[]));
    let mut gateways = GatewayTable::default();
    let out = |gateways: &GatewayTable, second| -> Vec<u64> {
        let out = links.out_of_reach(&gateways.snapshot(at(second)));
        out.iter().map(|owner| owner.dev_eui.as_u64()).collect()
    };
    assert!(out(&gateways, 0).is_empty(), "nobody knows any gateway");
    gateways.transmitted(at(0), ROOF);
    gateways.transmitted(at(200), YARD);
    gateways.tick(at(301));
    assert_eq!(out(&gateways, 301), [1]);
    gateways.tick(at(501));
    assert_eq!(out(&gateways, 501), [1, 2]);
}

proptest! {
    /// Whatever arrives, in whatever order: no panic, bounded, shares are shares, and it can be stored.
    #[test]
    fn nothing_that_arrives_breaks_the_rules(
        uplinks in prop::collection::vec(
            (any::<u32>(), prop::option::of(0..3_u32), prop::collection::vec((0..40_u64, any::<i32>(), any::<f32>()), 0..20), 0..4_u8),
            1..60,
        ),
    ) {
        let mut table = LinkTable::default();
        for (f_cnt, dev_addr, receptions, then) in uplinks {
            let f_cnt = if f_cnt % 3 == 0 { f_cnt } else { f_cnt % 200 };
            let heard = Uplink {
                dev_addr: dev_addr.map(DevAddr::from_u32),
                receptions: receptions
                    .into_iter()
                    .map(|(id, rssi_dbm, snr_db)| Reception { gateway_id: GatewayId::from_u64(id), rssi_dbm, snr_db })
                    .collect(),
                ..uplink(f_cnt, &[])
            };
            table.heard(at(i64::from(f_cnt % 1000)), owner(1), &heard);
            match then {
                0 => table.taken(DevEui::from_u64(1), GatewayId::from_u64(u64::from(f_cnt % 40))),
                1 => drop(table.judged(DevEui::from_u64(1), true)),
                2 => drop(table.judged(DevEui::from_u64(1), false)),
                _ => {}
            }
            let links = &table.device(DevEui::from_u64(1)).unwrap().links;
            prop_assert!(links.links().len() <= LINKS_MAX);
            for link in links.links() {
                prop_assert!((0.0..=1.0).contains(&link.uplink_loss));
                prop_assert!(link.downlink_success().is_none_or(|share| (0.0..=1.0).contains(&share)));
                prop_assert!(link.rssi_dbm.spread().is_finite() && link.snr_db.spread().is_finite());
                prop_assert_eq!(table.heard_by(link.gateway_id), 1);
            }
            let back = through_json(links);
            prop_assert_eq!(back.links().len(), links.links().len());
        }
    }
}

fn through_json(links: &DeviceLinks) -> DeviceLinks {
    let json = serde_json::to_string(links).expect("all numbers are finite");
    serde_json::from_str(&json).expect("it was written so")
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + second * 1_000)
}

fn owner(number: u64) -> Owner {
    Owner {
        dev_eui: DevEui::from_u64(number),
        device_id: DeviceId::from_uuid(Uuid::from_u128(u128::from(number))),
        tenant_id: TenantId::from_uuid(Uuid::from_u128(u128::from(number % 2))),
    }
}

fn received(f_cnt: u32, gateway_id: GatewayId, rssi_dbm: i32, snr_db: f32) -> Uplink {
    let reception = Reception {
        gateway_id,
        rssi_dbm,
        snr_db,
    };
    Uplink {
        receptions: vec![reception],
        ..uplink(f_cnt, &[])
    }
}

fn uplink(f_cnt: u32, heard_by: &[GatewayId]) -> Uplink {
    let reception = |gateway_id: &GatewayId| Reception {
        gateway_id: *gateway_id,
        rssi_dbm: -90,
        snr_db: 7.0,
    };
    Uplink {
        deduplication_id: None,
        dev_addr: Some(DevAddr::from_u32(1)),
        f_cnt,
        f_port: FPort::for_downlink(15).expect("15 is one"),
        confirmed: false,
        payload: Vec::new(),
        data_rate: 5,
        modulation: None,
        class: None,
        receptions: heard_by.iter().map(reception).collect(),
        battery_percent: None,
        received_at: None,
    }
}
