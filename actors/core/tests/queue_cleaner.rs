//! What of ChirpStack's queues is flushed, reported or left alone.

use std::collections::BTreeMap;

use downbeat_core::id::{DevEui, DeviceId, QueueItemId, TenantId};
use downbeat_core::link_quality::table::Owner;
use downbeat_core::network::QueueItem;
use downbeat_core::queue_cleaner::{
    Candidate, CleanerConfig, CleanerVerdict, FoundItem, QueueCleaner,
};
use downbeat_core::time::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use CleanerVerdict::{Flush, Leave};

const LAMP: DevEui = DevEui::from_u64(1);

#[test]
fn expired_items_of_ours_go_after_ten_minutes_out_of_reach() {
    let mut cleaner = QueueCleaner::default();
    let queue = [ours(1, 20)];
    for (minute, verdict) in [(0, Leave), (5, Leave), (10, Flush)] {
        assert_eq!(cleaner.plan(at(minute), &[holding(1)]), [LAMP]);
        assert_eq!(cleaner.looked(at(minute), LAMP, &queue), verdict);
    }
    cleaner.flushed(LAMP);
    assert_eq!(
        cleaner.looked(at(10), LAMP, &queue),
        Leave,
        "it starts over"
    );
}

#[test]
fn what_moves_or_can_be_reached_is_left_alone() {
    let mut cleaner = QueueCleaner::default();
    for (minute, id) in [(0, 1), (5, 1), (10, 2), (15, 2)] {
        cleaner.plan(at(minute), &[holding(1)]).len();
        assert_eq!(cleaner.looked(at(minute), LAMP, &[ours(id, 20)]), Leave);
    }
    // A gateway hears it for one round.
    assert!(cleaner.plan(at(20), &[]).is_empty());
    assert_eq!(cleaner.looked(at(20), LAMP, &[ours(2, 20)]), Leave);
    cleaner.plan(at(25), &[holding(1)]).len();
    assert_eq!(cleaner.looked(at(25), LAMP, &[ours(2, 20)]), Leave);
}

#[test]
fn what_is_not_ours_not_expired_or_pending_is_reported_and_stays() {
    let expired = ours(1, 20);
    let foreign = FoundItem {
        is_ours: false,
        ..ours(2, 20)
    };
    let mut pending = ours(1, 20);
    pending.item.is_pending = true;
    let mut endless = ours(1, 20);
    endless.item.expires_at = None;
    for (queue, foreign_items) in [
        (vec![expired.clone(), foreign.clone()], 1),
        (vec![foreign.clone()], 1),
        (vec![pending], 0),
        (vec![endless], 0),
        // Expired less than a tx-ack's time ago.
        (vec![expired, ours(3, 590)], 0),
    ] {
        let mut cleaner = QueueCleaner::default();
        cleaner.plan(at(0), &[holding(1)]).len();
        assert_eq!(cleaner.looked(at(0), LAMP, &queue), Leave);
        assert!(cleaner.findings().is_empty());
        let CleanerVerdict::Report(finding) = cleaner.looked(at(10), LAMP, &queue) else {
            panic!("{queue:?} is stuck");
        };
        assert_eq!(finding.foreign_items, foreign_items, "{queue:?}");
        assert_eq!((finding.since, finding.looked_at), (at(0), at(10)));
        assert_eq!(cleaner.findings(), [finding]);
        if foreign_items > 0 {
            // Told once, and shown as long as it is so.
            assert_eq!(cleaner.looked(at(15), LAMP, &queue), Leave);
            assert_eq!(cleaner.findings()[0].looked_at, at(15));
        }
        assert_eq!(cleaner.looked(at(20), LAMP, &[]), Leave);
        assert!(cleaner.findings().is_empty());
    }
}

#[test]
fn what_somebody_flushed_is_reported_no_more_and_watched_anew() {
    let foreign = [FoundItem {
        is_ours: false,
        ..ours(1, 20)
    }];
    let mut cleaner = QueueCleaner::default();
    cleaner.plan(at(0), &[holding(1)]).len();
    assert_eq!(cleaner.looked(at(0), LAMP, &foreign), Leave);
    let report = cleaner.looked(at(10), LAMP, &foreign);
    assert!(matches!(report, CleanerVerdict::Report(_)), "{report:?}");
    cleaner.flushed(LAMP);
    assert!(cleaner.findings().is_empty());
    assert_eq!(cleaner.looked(at(11), LAMP, &foreign), Leave);
    let again = cleaner.looked(at(21), LAMP, &foreign);
    assert!(matches!(again, CleanerVerdict::Report(_)), "{again:?}");
}

#[test]
fn looks_are_few_and_the_urgent_ones_come_first() {
    let config = CleanerConfig {
        looks_max: 3,
        ..CleanerConfig::default()
    };
    let mut cleaner = QueueCleaner::new(config);
    let others: Vec<Candidate> = (2..=6).map(idle).collect();
    let candidates: Vec<Candidate> = others.into_iter().chain([holding(1)]).collect();
    let mut round = |minute: i64, found: &[FoundItem]| -> Vec<u64> {
        let looks = cleaner.plan(at(minute), &candidates);
        for dev_eui in &looks {
            let found = if *dev_eui == DevEui::from_u64(2) {
                found
            } else {
                &[]
            };
            assert_eq!(cleaner.looked(at(minute), *dev_eui, found), Leave);
        }
        looks.iter().map(|dev_eui| dev_eui.as_u64()).collect()
    };
    let foreign = FoundItem {
        is_ours: false,
        ..ours(1, 20)
    };
    assert_eq!(round(0, std::slice::from_ref(&foreign)), [1, 2, 3]);
    // Something lies in the queue of 2: it is urgent from now on.
    assert_eq!(round(5, &[]), [1, 2, 4]);
    assert_eq!(round(10, &[]), [1, 5, 6]);
    assert_eq!(round(15, &[]), [1]);
    assert_eq!(round(61, &[]), [1, 3]);
}

proptest! {
    /// Whatever is found: nothing is ever flushed that is not ours, not expired, pending, or moved in ten minutes, and
    /// never a device that was within reach in that time.
    #[test]
    fn nobody_loses_what_is_wanted(
        rounds in prop::collection::vec(
            (1..12_i64, any::<bool>(), prop::collection::vec((0..4_u128, any::<bool>(), any::<bool>(), prop::option::of(0..3_000_i64)), 0..4)),
            1..40,
        ),
    ) {
        let mut cleaner = QueueCleaner::default();
        let mut minute = 0;
        let mut head_since: BTreeMap<QueueItemId, Timestamp> = BTreeMap::new();
        for (pause, is_out, items) in rounds {
            minute += pause;
            let now = at(minute);
            let queue: Vec<FoundItem> = items
                .into_iter()
                .map(|(id, is_ours, is_pending, expiry)| {
                    let mut found = ours(id, 0);
                    found.is_ours = is_ours;
                    found.item.is_pending = is_pending;
                    found.item.expires_at = expiry.map(second);
                    found
                })
                .collect();
            let candidates: Vec<Candidate> = is_out.then(|| holding(1)).into_iter().collect();
            cleaner.plan(now, &candidates).len();
            let verdict = cleaner.looked(now, LAMP, &queue);
            let head = queue.first().map(|found| found.item.id).filter(|_| is_out);
            head_since.retain(|id, _| Some(*id) == head);
            let since = head.map(|head| *head_since.entry(head).or_insert(now));
            if verdict == Flush {
                prop_assert!(since.is_some_and(|since| now.since(since).as_secs() >= 600));
                for found in &queue {
                    prop_assert!(found.is_ours && !found.item.is_pending);
                    prop_assert!(found.item.expires_at.is_some_and(|at| at < now));
                }
                cleaner.flushed(LAMP);
                head_since.clear();
            }
            prop_assert!(cleaner.findings().len() <= candidates.len());
        }
    }
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + second * 1_000)
}

fn at(minute: i64) -> Timestamp {
    second(minute * 60)
}

fn idle(number: u64) -> Candidate {
    Candidate {
        owner: Owner {
            dev_eui: DevEui::from_u64(number),
            device_id: DeviceId::from_uuid(Uuid::from_u128(u128::from(number))),
            tenant_id: TenantId::from_uuid(Uuid::nil()),
        },
        holds_ours: false,
    }
}

fn holding(number: u64) -> Candidate {
    Candidate {
        holds_ours: true,
        ..idle(number)
    }
}

fn ours(id: u128, expires_after: i64) -> FoundItem {
    FoundItem {
        item: QueueItem {
            id: QueueItemId::from_uuid(Uuid::from_u128(id)),
            f_port: 15,
            payload: vec![1],
            confirmed: false,
            is_pending: false,
            expires_at: Some(second(expires_after)),
        },
        is_ours: true,
    }
}
